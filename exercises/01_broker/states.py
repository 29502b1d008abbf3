"""How a student can stand before exercise 01."""

import os
import signal

import redis


def stub(student):
    student.hand_out()


no_broker = stub


def reference(student):
    student.solve()


def nothing_listens(student):
    student.solve(broker=f"amqp://nobody:nothing@localhost:{student.free_port()}//")


def wrong_password(student):
    student.solve(broker=student.broker.replace("mypassword", "password"))


def guest_from_elsewhere(student):
    student.solve(broker=f"amqp://guest:guest@{student.rabbitmq_on_another_machine()}//")


def wrong_virtual_host(student):
    student.solve(broker=f"{student.broker}-2")


def wrong_port(student):
    """The dashboard's port, which a browser shows all the time."""
    student.solve(broker=student.broker.replace(f":{student.port}", f":{student.port + 10000}"))


def not_answering(student):
    """Frozen, as under SIGSTOP: it takes connections and says nothing."""
    os.kill(student.valkey.pid, signal.SIGSTOP)
    student.solve(broker=student.results)


def management_away(student):
    """In Docker without `-p 15672:15672`: the broker's port is there, and the dashboard's is not."""
    student.solve(broker=student.broker.replace(f":{student.port}", f":{student.forward(student.port)}"))


def misspelt_setting(student):
    student.solve()
    student.edit("celeryconfig.py", "broker_url", "brokerurl")


def always_eager(student):
    student.solve()
    student.edit("celeryconfig.py", "timezone =", "task_always_eager = True\ntimezone =")


def not_a_list(student):
    student.solve()
    student.edit("celeryconfig.py", '["json"]', '"json"')


def other_format(student):
    student.solve()
    student.edit("celeryconfig.py", 'task_serializer = "json"', 'task_serializer = "pickle"')


def no_time_zone(student):
    student.solve()
    student.edit("celeryconfig.py", '"UTC"', '"Europe/Bern"')


def unreadable_address(student):
    student.solve()
    student.edit("celeryconfig.py", "mypassword", "my/password")


def no_protocol(student):
    student.solve(broker=student.broker.removeprefix("amqp://"))


def unknown_protocol(student):
    student.solve(broker=student.broker.replace("amqp", "ampq"))


def no_machine(student):
    student.solve(broker=student.broker.replace("localhost", "loclahost.invalid"))


def no_database(student):
    student.solve(broker=student.results.replace("/0", "/99"))


def other_broker(student):
    student.solve()
    student.edit("celeryconfig.py", student.broker, "memory://")


def other_server(student):
    """RabbitMQ's address, and Redis's protocol."""
    student.solve(broker=f"redis://localhost:{student.port}/0")


def redis_refuses(student):
    """It wants a password, and none is configured."""
    redis.Redis.from_url(student.results).config_set("requirepass", "secret")
    student.solve(broker=student.results)


def not_assigned(student):
    student.solve()
    student.edit("celeryconfig.py", "broker_url =", "broker_url:")
