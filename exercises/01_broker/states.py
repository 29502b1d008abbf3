"""How a student can stand before exercise 01."""

import os
import signal


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
