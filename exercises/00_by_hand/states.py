"""How a student can stand before exercise 00."""

import signal

RECEIVE = "python", "receive.py"


def stub(student):
    student.hand_out()


def reference(student):
    student.solve()
    student.open(*RECEIVE).see("Waiting for messages")


def no_rabbit(student):
    student.broker = f"amqp://myuser:mypassword@localhost:{student.free_port()}//"
    student.solve()


def not_importable(student):
    student.solve()
    student.edit("send.py", "json.dumps(message)", "json.dumps(mesage)")


def nothing_arrives(student):
    student.solve()
    student.edit("send.py", 'routing_key="by_hand"', 'routing_key="by-hand"')


def sent_elsewhere(student):
    student.solve()
    student.edit("send.py", 'routing_key="by_hand"', 'routing_key="hello"')
    student.edit("send.py", 'queue_declare("by_hand"', 'queue_declare("hello"')


def auto_acknowledges(student):
    student.solve()
    student.edit("receive.py", "    channel.basic_ack(method.delivery_tag)\n", "")
    student.edit("receive.py", '("by_hand", receive)', '("by_hand", receive, auto_ack=True)')
    student.open(*RECEIVE).see("Waiting for messages")


def never_acknowledges(student):
    student.solve()
    student.edit("receive.py", "    channel.basic_ack(method.delivery_tag)\n", "")
    student.open(*RECEIVE).see("Waiting for messages")


def no_receiver(student):
    student.solve()


def other_address(student):
    """At the dashboard's port, which a browser shows all the time."""
    student.solve()
    student.edit("send.py", f":{student.port}", f":{student.port + 10000}")


def suspended_receiver(student):
    student.solve()
    terminal = student.open(*RECEIVE)
    terminal.see("Waiting for messages")
    terminal.kill(signal.SIGSTOP)


def stale_receiver(student):
    student.solve()
    student.open(*RECEIVE).see("Waiting for messages")
    student.edit_later("receive.py")


def declared_otherwise(student):
    student.solve()
    student.open(*RECEIVE).see("Waiting for messages")
    student.edit("send.py", "durable=True", "durable=False")


def ends_early(student):
    student.solve()
    student.edit("receive.py", "    channel.start_consuming()\n", "    pass\n")


def never_consumes(student):
    student.solve()
    student.edit("receive.py", "channel.basic_consume", "channel.basic_get  # ")
    student.edit("receive.py", "channel.start_consuming()", "connection.sleep(60)")


def dies_of_message(student):
    """It is not JSON, and is there from before."""
    student.solve()
    student.edit("send.py", "body=json.dumps(message)", 'body="Is it true?"')
    student.run("python", "send.py", "Is it true?")
    student.edit("send.py", 'body="Is it true?"', "body=json.dumps(message)")
    assert "JSONDecodeError" in student.run(*RECEIVE)[0]


def prints_nothing(student):
    student.solve()
    student.edit("receive.py", """    print(f"Received: {message['message']}")\n""", "")
    student.open(*RECEIVE).see("Waiting for messages")


def exclusive(student):
    student.solve()
    student.edit("receive.py", "durable=True", "exclusive=True")
    student.open(*RECEIVE).see("Waiting for messages")
