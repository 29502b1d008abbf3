"""How a student can stand before exercise 00."""

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
