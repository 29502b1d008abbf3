"""What a web API in front of the queue costs: exercises/20_http, with 200 callers at once, beside predict.delay().

    .venv/bin/python benchmarks/web_api.py [ROUNDS]

takes some three minutes. It starts a RabbitMQ, a Valkey, the API and a worker of its own, in a temporary folder. The
callers and delay() send in turn, as many each, ROUNDS times (5). Then a worker predicts what was accepted, and it is
counted. The callers are two processes with httpx, on the same processors as the API: alone, it would be faster.
"""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import httpx
import psutil
from conftest import free_port
from e2e.student import Student, eventually

CALLERS, PROCESSES, SENT = 200, 2, 2000

DELAY = f"""
import time
from my_ml_app import app, predict
app.conf.task_default_queue = "bare"
predict.delay({{"message": "the first one connects"}})
begin = time.perf_counter()
for number in range({SENT}):
    predict.delay({{"message": "hello"}})
print({SENT} / (time.perf_counter() - begin))
app.control.purge()
"""

CALL = f"""
import asyncio, json, ssl, sys, time
import httpx

async def caller(context):
    async with httpx.AsyncClient(base_url=sys.argv[1], timeout=60, verify=context) as client:
        for _ in range({SENT // CALLERS}):
            begin = time.perf_counter()
            answer = await client.post("/predictions", json={{"message": "hello"}})
            calls.append([answer.status_code, time.perf_counter() - begin, answer.headers.get("Location")])

async def main():
    context = ssl.create_default_context()
    await asyncio.gather(*[caller(context) for _ in range({CALLERS // PROCESSES})])

calls = []
print("ready", flush=True)
input()
asyncio.run(main())
print(json.dumps(calls))
"""


def main(rounds):
    with tempfile.TemporaryDirectory() as folder:
        student = Student(Path(folder), f"amqp://myuser:mypassword@localhost:{free_port()}//")
        for part in ("stub", "solution"):
            shutil.copytree(ROOT / "exercises/20_http" / part, student.path, dirs_exist_ok=True)
        try:
            student.open("python", "-m", "lab", "servers").see("Ctrl-C ends")
            port = free_port()
            api = student.open("uvicorn", "api:app", "--port", str(port), "--no-access-log")
            api.see("Uvicorn running")
            api.unwatched()
            url = f"http://127.0.0.1:{port}"
            accepted = measure(student, url, psutil.Process(api.pid), rounds)
            look(url, accepted[-1])
            predicted(student, accepted)
        finally:
            student.close()


def measure(student, url, server, rounds):
    """Print the table; what was accepted is returned, as paths."""
    print("round  accepted/s  delay()/s  ratio  p50 in ms  p99 in ms  memory of the API in MB")
    ratios, accepted = [], []
    for number in range(1, rounds + 1):
        seconds, calls = called(student, url)
        each = SENT / seconds
        bare = float(student.run(sys.executable, "-c", DELAY, seconds=300)[0].split()[-1])
        ratios.append(each / bare)
        waits = statistics.quantiles([1000 * seconds for _, seconds, _ in calls], n=100)
        memory = server.memory_info().rss / 2**20
        print(
            f"{number:5}{each:12.0f}{bare:11.0f}{ratios[-1]:7.2f}{waits[49]:11.0f}{waits[98]:11.0f}{memory:16.1f}",
            flush=True,
        )
        accepted += [path for status, _, path in calls if status == 202]
    print(f"ratio: median {statistics.median(ratios):.2f}, from {min(ratios):.2f} to {max(ratios):.2f}")
    print(f"{len(accepted)} of {rounds * SENT} accepted")
    return accepted


def called(student, url):
    """The seconds that all calls of all callers took, and of each call [status, seconds, path]."""
    command = [sys.executable, "-c", CALL, url]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, env=student.env, **pipes) for _ in range(PROCESSES)]
    for process in processes:
        process.stdout.readline()  # it is ready
    begin = time.perf_counter()
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    calls = [call for process in processes for call in json.loads(process.communicate()[0])]
    return time.perf_counter() - begin, calls


def look(url, path):
    """What it costs to ask for the last one of all that wait."""
    with httpx.Client(base_url=url) as client:
        seconds = []
        for _ in range(100):
            begin = time.perf_counter()
            answer = client.get(path).json()
            seconds.append(time.perf_counter() - begin)
    print(f"GET with {answer['position']} before it: {1000 * statistics.median(seconds):.1f} ms")


def predicted(student, accepted):
    """Let a worker predict, and count."""
    log = ["--loglevel", "ERROR", "--logfile", "worker.log"]
    options = ["-c", "2", "-I", "cancelled", *log, "--", "task_track_started=1"]
    student.open("celery", "-A", "my_ml_app", "worker", *options, PREDICT_SECONDS="0").unwatched()
    backend = student.app.backend
    keys = [backend.get_key_for_task(path.rpartition("/")[2]) for path in accepted]

    def done():
        states = [json.loads(one)["status"] for one in backend.mget(keys) if one]
        return states.count("SUCCESS") == len(set(keys))

    eventually(done, "all that was accepted is predicted", 300)
    print(f"{len(set(keys))} predicted, {len(accepted) - len(set(keys))} ids twice, {len(student.messages())} left")


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 5)
