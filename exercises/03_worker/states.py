"""How a student can stand before exercise 03."""

import os
import signal


def stub(student):
    student.hand_out()


no_worker = stub


def reference(student):
    student.solve()
    student.worker()


def other_app(student):
    student.solve()
    (student.path / "other_app.py").write_text((student.path / "my_ml_app.py").read_text())
    student.worker(app="other_app")


def other_queue(student):
    student.solve()
    student.worker("-Q", "predictions")


def other_folder(student):
    """The lab's own folder, say, where the same files are."""
    student.solve()
    elsewhere = student.path / "elsewhere"
    elsewhere.mkdir()
    for name in ("celeryconfig.py", "my_ml_app.py"):
        (elsewhere / name).write_text((student.path / name).read_text())
    student.worker(folder=elsewhere)


def same_name(student):
    """With RabbitMQ the second of them ends at once, with RESOURCE_LOCKED; with Redis both go on."""
    student.solve(broker=student.results)
    student.worker()
    student.worker()


def stale_code(student):
    student.solve()
    student.worker()
    student.edit_later("my_ml_app.py")


def broker_full(student):
    """A RabbitMQ of its own, whose disk has less than the 90,000 GB free that it wants."""
    student.solve(broker=f"amqp://myuser:mypassword@localhost:{student.free_port()}//")
    settings = student.path / ".lab" / "rabbitmq" / "conf.d" / "disk.conf"
    settings.parent.mkdir(parents=True)
    settings.write_text("disk_free_limit.absolute = 90000GB\n")
    student.open("python", "-m", "lab", "servers").see("Ctrl-C ends")


def suspended(student):
    """As Ctrl-Z does."""
    student.solve()
    os.killpg(student.worker().pid, signal.SIGSTOP)


def silent(student):
    """Somebody takes from the queue whose process cannot be seen, as in a container."""
    student.solve()
    student.consumer()


def not_ready(student):
    student.solve()
    student.edit("my_ml_app.py", "    return", "    import time\n\n    time.sleep(60)")
    worker = student.worker("--pool=solo")
    student.ask("hello")
    worker.see("Received:")


def not_connected(student):
    """Terminal 5 knows of the broker that stands in, and terminal 2 does not."""
    student.solve()
    student.celery("worker", CELERY_BROKER_URL=f"redis://localhost:{student.free_port()}/0").see("Cannot connect")


def unreadable(student):
    """A message that another program wrote has ended the worker."""
    student.solve()
    student.publish("[[], {}, {}]", headers={"task": "my_ml_app.predict", "id": "1"})
    student.celery("worker").see("Unrecoverable error")
