"""How a student can stand before exercise 06."""

import os
import signal

FLOWER, READY = ["flower", "--address=127.0.0.1"], "Visit me at"


def stub(student):
    student.hand_out()


flower_away = stub


def reference(student):
    student.solve()
    student.worker()
    student.celery(*FLOWER).see(READY)


def flower_silent(student):
    """Suspended, as Ctrl-Z does."""
    student.solve()
    flower = student.celery(*FLOWER)
    flower.see(READY)
    os.kill(flower.pid, signal.SIGSTOP)


def flower_locked(student):
    student.solve()
    student.celery(*FLOWER, "--basic-auth=me:secret").see(READY)


def not_flower(student):
    student.solve()
    student.celery(*FLOWER, "--url-prefix=flower").see(READY)


def open_to_the_network(student):
    """As without `--address`, by two of them: no test listens to the network."""
    student.solve()
    student.worker()
    for address in ("127.0.0.1", "127.0.0.2"):
        student.celery("flower", f"--address={address}").see(READY)


def flower_elsewhere(student):
    """An `export CELERY_BROKER_URL=…` that was typed in terminal 4 only."""
    student.solve()
    student.worker()
    student.celery(*FLOWER, CELERY_BROKER_URL=student.results).see(READY)


def without_events(student):
    student.solve()
    student.worker()
    student.celery(*FLOWER, "--enable-events=False").see(READY)


def empty_broker_page(student):
    student.solve()
    student.worker("--task-events")
    student.celery(*FLOWER, f"--broker-api=http://localhost:{student.free_port()}/api/").see(READY)
