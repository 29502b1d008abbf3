"""How a student can stand before exercise 22."""

FLOWER = ["flower", "--conf=flower_api.py"]
READY = "Visit me at"
API = """
import os, time, httpx, flower_api
url = f"http://127.0.0.1:{os.environ.get('FLOWER_PORT') or 5555}/api"
with httpx.Client(base_url=url, auth=tuple(flower_api.basic_auth[0].split(":", 1)), trust_env=False) as api:
    deadline = time.monotonic() + 20
    while not (workers := list(api.get("/workers?refresh=1").json())) and time.monotonic() < deadline:
        time.sleep(0.2)
    for path in PATHS:
        print(api.post(path.format(worker=workers[0]), json={"args": [{"message": "Is it sent?"}]}).text)
"""
SEND, GROW = "/task/async-apply/my_ml_app.predict", "/worker/pool/grow/{worker}"


def stub(student):
    student.hand_out()


no_password = stub


def reference(student):
    student.solve()
    _start(student)
    _post(student, SEND, GROW)


def _start(student, *options):
    student.worker("--concurrency=2", "--task-events")
    student.celery(*FLOWER, *options).see(READY)


def _post(student, *paths):
    student.run("python", "-c", f"PATHS = {paths}\n{API}")


def not_importable(student):
    student.solve()
    student.edit("flower_api.py", '["me:secret"]', "[me:secret]")


def no_flower(student):
    student.solve()


def other_program(student):
    """The README's server of somebody else's page, at Flower's port."""
    student.solve()
    port = student.flower.rpartition(":")[2]
    student.open("python", "-m", "http.server", port, "--bind", "127.0.0.1").see("Serving HTTP")


def open_api(student):
    student.solve()
    student.celery("flower", "--address=127.0.0.1", FLOWER_UNAUTHENTICATED_API="true").see(READY)


def without_password(student):
    """The file is right, and was not given."""
    student.solve()
    student.celery("flower", "--address=127.0.0.1").see(READY)


def in_process_list(student):
    student.solve()
    student.celery("flower", "--address=127.0.0.1", "--basic-auth=me:secret").see(READY)


def other_password(student):
    """It was changed after Flower had read it."""
    student.solve()
    student.celery(*FLOWER).see(READY)
    student.edit("flower_api.py", "me:secret", "me:another")


def nobody_sent(student):
    student.solve()
    _start(student)
    _post(student, GROW)


def pool_not_grown(student):
    student.solve()
    _start(student)
    _post(student, SEND)
