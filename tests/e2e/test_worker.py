"""What the worker does with the lecture's commands: scale by itself, and lose nothing when it is killed."""

import os
import signal

import psutil

from e2e.student import eventually

WORKER = ["celery", "-A", "my_ml_app", "worker"]


def pool(student):
    """Process ids of the one worker's pool, as `celery inspect stats` has them."""
    stats = student.app.control.inspect(timeout=1).stats() or {}
    return [process for worker in stats.values() for process in worker["pool"]["processes"]]


def running(student):
    """The message of a prediction that runs, and the process that makes it."""
    for tasks in (student.app.control.inspect(timeout=1, limit=1).active() or {}).values():
        for task in tasks:
            return task["args"][0]["message"], task["worker_pid"]


def test_a_burst_takes_the_pool_from_2_to_10_and_back(with_rabbitmq):
    """Celery waits AUTOSCALE_KEEPALIVE seconds (30) without a new message before it goes back."""
    with_rabbitmq.open(*WORKER, "--autoscale=10,2", PREDICT_SECONDS="2", AUTOSCALE_KEEPALIVE="2")
    eventually(lambda: len(pool(with_rabbitmq)) == 2, "2 processes at the start")
    results = [with_rabbitmq.ask(f"message {number}") for number in range(30)]
    eventually(lambda: len(pool(with_rabbitmq)) == 10, "10 processes in the burst")
    for result in results:
        result.get(timeout=30)
    assert len({result.get()["process"] for result in results}) == 10
    eventually(lambda: len(pool(with_rabbitmq)) == 2, "2 processes after it")


def test_a_message_waits_in_the_queue_and_not_with_the_worker(with_rabbitmq):
    """Prefetch multiplier 1: each process holds what it works on, and no more."""
    with_rabbitmq.open(*WORKER, "--concurrency=2", PREDICT_SECONDS="60")
    for number in range(10):
        with_rabbitmq.ask(f"message {number}")

    def counts():
        with with_rabbitmq.app.connection() as connection:
            return connection.default_channel.queue_declare("celery", passive=True).message_count

    eventually(lambda: counts() == 8, "8 of 10 messages wait")


def test_kill_9_of_a_pool_process_loses_nothing(served):
    worker = served.open(*WORKER, "--concurrency=2", PREDICT_SECONDS="3")
    results = [served.ask(f"message {number}") for number in range(4)]
    worker.see("Received:", "Received:")
    message, process = eventually(lambda: running(served), "a prediction runs")
    os.kill(process, signal.SIGKILL)
    worker.see("Received:", f"'message': '{message}'")  # once more
    assert {result.get(timeout=30)["message"] for result in results} == {f"message {n}" for n in range(4)}


def test_kill_9_of_the_worker_loses_nothing(with_rabbitmq):
    worker = with_rabbitmq.open(*WORKER, "--concurrency=2", PREDICT_SECONDS="2")
    results = [with_rabbitmq.ask(f"message {number}") for number in range(6)]
    worker.see("Received:", "Received:")
    for process in [psutil.Process(worker.pid), *psutil.Process(worker.pid).children()]:
        process.kill()
    with_rabbitmq.open(*WORKER, "--concurrency=2", PREDICT_SECONDS="0")
    assert {result.get(timeout=30)["message"] for result in results} == {f"message {n}" for n in range(6)}


def test_what_would_come_back_or_run_for_ever_ends(with_rabbitmq):
    """A prediction that ends its process is tried 3 times; a stored one is not made again."""
    code = with_rabbitmq.path / "my_ml_app.py"
    line = 'print("Received:")'
    code.write_text(code.read_text().replace(line, f'{line}\n    payload["message"] == "dies" and os._exit(3)'))
    settings = with_rabbitmq.path / "celeryconfig.py"
    settings.write_text(settings.read_text().replace("soft_time_limit = 120", "soft_time_limit = 8"))
    dies, endless, stored = (with_rabbitmq.ask(message) for message in ("dies", "endless", "stored"))
    stored.backend.store_result(stored.id, "made before", "SUCCESS")
    with with_rabbitmq.app.connection() as connection:  # its acknowledgement was lost
        channel = connection.default_channel
        for message in [channel.basic_get("celery") for _ in range(3)]:
            channel.basic_reject(message.delivery_tag, requeue=True)
    worker = with_rabbitmq.open(*WORKER, "--concurrency=2", PREDICT_SECONDS="60")
    worker.see(*["Received:"] * 4)  # 3 times one, once the other
    assert str(dies.get(timeout=20, propagate=False)) == "It has ended 3 processes."
    assert "SoftTimeLimitExceeded" in type(endless.get(timeout=20, propagate=False)).__name__
    assert stored.get() == "made before"
    worker.sendintr()
    worker.left()
    assert "stored" not in worker.seen + worker.before and "Received:" not in worker.before


def test_a_worker_that_ends_at_once_counts_no_lost_process(served):
    """SIGQUIT ends its processes, and guard.py counts those that a prediction has ended."""
    task = served.ask("long").id
    worker = served.open(*WORKER, "--concurrency=1", PREDICT_SECONDS="60")
    eventually(lambda: running(served), "a prediction runs")
    worker.kill(signal.SIGQUIT)
    worker.left()
    with served.app.connection() as connection, connection.SimpleQueue("celery") as queue:
        message = queue.get(timeout=10)
        assert message.headers["id"] == task and "lost-processes" not in message.headers


def test_ctrl_c_lets_running_predictions_finish(served):
    worker = served.open(*WORKER, PREDICT_SECONDS="1")
    result = served.ask("hi")
    worker.see("Received:")
    worker.sendintr()
    worker.see("Warm shutdown", "Ended processing:")
    assert result.get(timeout=10)["message"] == "hi"
