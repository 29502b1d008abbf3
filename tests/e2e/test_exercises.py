"""Every exercise: its stub fails, its reference passes, and each wrong state is recognised by its own sentence."""

import json
import re
import shutil
import time

import pytest
from conftest import ROOT, free_port, words

from e2e.learner import Learner
from e2e.student import ID, eventually, predict, require
from e2e.test_readme import follow
from lab.course.desk import EXPIRES
from lab.course.exercise import course
from lab.course.gaps import snake

COURSE = course()
TRIAL = 200  # seconds; with --defaults, one took 95 on a busy machine
STATES = [
    pytest.param(
        exercise,
        state,
        id=f"{exercise.path.name}-{state.__name__}",
        # `make test` leaves them to test_grade.py, where `lab grade` checks each reference: they take longest.
        marks=[pytest.mark.reference] if state.__name__ == "reference" else [],
    )
    for exercise in COURSE
    for state in dict.fromkeys(exercise.states.values())
]


@pytest.fixture
def learner(with_rabbitmq, tmp_path):
    """Makes a student at an exercise."""
    made = []

    def make(exercise):
        require_programs(exercise)
        folder = tmp_path / "folder"
        folder.mkdir()
        valkey = with_rabbitmq.given[0]
        made.append(Learner(folder, exercise, with_rabbitmq.broker, with_rabbitmq.results, valkey))
        return made[-1]

    yield make
    for student in made:
        student.close()


def require_programs(exercise):
    """Skip a test without the languages in which an exercise is written, each named in a file's first line."""
    for file in exercise.solutions:
        if program := re.match("#!/usr/bin/env (.+)", file.read_text()):
            require(program[1], shutil.which(program[1]))


def check(student, *options):
    """What `lab check` prints for the student's exercise, and its exit status."""
    return student.run("python", "-m", "lab", "check", str(student.exercise.number), *options)


@pytest.mark.timeout(TRIAL + 60)
@pytest.mark.parametrize("exercise, state", STATES)
def test_state(learner, record_property, exercise, state):
    student = learner(exercise)
    state(student)
    printed, status = check(student)
    record = json.loads((student.path / "progress.json").read_text())[exercise.path.name]
    record_property("seconds", record["seconds"])  # `--junitxml=FILE` writes them down
    assert "Traceback" not in printed
    if state.__name__ == "reference":
        assert status == 0, f"the check does not pass on the reference:\n{printed}"
        assert words(exercise.why)[3:] in words(printed)  # after the letter
        return
    assert status == 1, f"the check passes, and something is wrong here:\n{printed}"
    assert not record["passed"]
    says = printed.split("✗ ")[1].partition("\n")[0]
    for name, kind in exercise.wrong_states.items():
        if exercise.states[snake(name)] is state:
            assert re.fullmatch(pattern(kind.__doc__), says), f"{says!r} is not what {name} says"


def pattern(template):
    """A regular expression for a sentence in which facts are filled in."""
    pieces = re.split(r"\{.*?\}", " ".join(template.split()))
    return ".+".join(re.escape(piece) for piece in pieces)


@pytest.mark.timeout(2 * TRIAL)
@pytest.mark.parametrize("exercise", COURSE, ids=[exercise.path.name for exercise in COURSE])
def test_what_the_readme_shows_happens(learner, exercise):
    """Each command in the terminal that its README names; what ran there before is ended with Ctrl-C."""
    student = learner(exercise)
    student.solve()
    terminals, task = {}, None
    ports = {port: str(free_port()) for port in ("5699", "8000")}  # of servers of the README's own
    if (student.path / "promise.py").exists():
        student.edit("promise.py", "5699", ports["5699"])
    blocks = list(commands(exercise.text("README.md")))
    for position, (number, command, promised) in enumerate(blocks, 1):
        if command:
            if number in terminals and terminals[number].isalive():
                terminals[number].sendintr()
                terminals[number].left()
            command = re.sub("|".join(ports), lambda port: ports[port[0]], command)
            command = re.sub(ID, task or "", student.addressed(command))
            terminals[number] = student.open("sh", "-c", f"exec {command}")
            terminals[number].timeout = TRIAL
            if "lab check" in command:
                predict(terminals[number], letter=exercise.prediction[2])
        task = follow(terminals[number], promised) or task
        passes = "✓" in promised
        if passes or "Enter a message: exit" in promised:
            assert terminals[number].left() == 0, terminals[number].before
        if passes:
            shown = re.sub(r"\x1b\[[\d;]*m", "", terminals[number].seen + terminals[number].before)
            assert words(exercise.why)[3:] in words(shown)  # after the letter
        if number not in [later for later, *_ in blocks[position:]]:
            terminals[number].unwatched()


@pytest.mark.timeout(240)
def test_the_checks_pass_in_the_repository_itself(with_rabbitmq):
    """On other files than the solutions, another queue, and the lab's own worker.

    Exercise 00 has no files there, 12 wants a second worker, 13 and 15 a trial, 14 has seen workers end, and 22 wants
    another Flower.
    """
    for exercise in COURSE:
        require_programs(exercise)
    for name in ("docker-compose.yml", "Dockerfile"):
        (with_rabbitmq.path / name).symlink_to(ROOT / name)
    (with_rabbitmq.path / "node_modules").symlink_to(ROOT / ".venv/node/node_modules")
    files = (
        "17_later/solution/page.py",
        "18_any_language/solution/use_ml_app.sh",
        "19_node_worker/solution/worker.mjs",
        "20_http/solution/api.py",
        "20_http/stub/waiting.py",
        "21_webhook/solution/callback.py",
        "21_webhook/solution/receiver.py",
    )
    for file in files:
        shutil.copy(ROOT / "exercises" / file, with_rabbitmq.path)
    with open(with_rabbitmq.path / "celeryconfig.py", "a") as configuration:
        configuration.write('task_default_queue = "predictions"\n')
    prompt = with_rabbitmq.open("python", "-m", "lab", "start", PREDICT_SECONDS="10")
    prompt.see("Enter a message:")
    waits = with_rabbitmq.open("python", "-m", "lab", "check", "5")
    predict(waits)
    waits.see("waiting for a message from you")
    prompt.sendline("Is it true?")
    waits.see("yours: 'Is it true\\?'", r"runs in the pool process \d+", "Passed")
    with_rabbitmq.run("python", "-m", "lab", "burst", "15", "--seconds=1")  # which exercise 08 wants to have seen
    poison = str(ROOT / "exercises/16_poison/stub")
    with_rabbitmq.run("python", "-m", "poison", "malformed", PYTHONPATH=poison)  # which exercise 16 wants to have seen
    numbers = [str(exercise.number) for exercise in COURSE[1:] if exercise.number not in (5, 12, 13, 14, 15, 22)]
    printed, status = with_rabbitmq.run("python", "-m", "lab", "check", *numbers, seconds=100)
    assert status == 0, printed
    assert "takes from 'predictions'" in printed
    eventually(lambda: left_in("predictions", with_rabbitmq) == 0, "nothing of the checks is left")


def test_an_interrupted_check_takes_back_what_it_has_sent(learner):
    student = learner(next(exercise for exercise in COURSE if exercise.keeps_worker_busy))
    student.solve()
    student.worker("--concurrency=2", "--autoscale=10,2")
    terminal = student.open("python", "-m", "lab", "check", str(student.exercise.number))
    predict(terminal)
    terminal.see("waiting for 10 predictions")
    terminal.sendintr()
    assert terminal.left() == 130
    assert "Traceback" not in terminal.before
    assert left_in("celery", student) == 0


@pytest.mark.parametrize("with_redis", [False, True], ids=["RabbitMQ", "Redis"])
def test_what_a_check_has_sent_expires_before_a_restarted_worker_runs_it(learner, with_redis):
    """That the check revoked it stood in the memory of the worker that has ended."""
    student = learner(next(exercise for exercise in COURSE if exercise.keeps_worker_busy))
    student.solve(broker=re.sub("/0$", "/1", student.results) if with_redis else None)
    worker = student.worker("--autoscale=10,2")
    printed, status = check(student)  # whose predictions of 10 seconds still run when it has ended
    assert status == 0, printed
    expired = time.time() + EXPIRES
    worker.sendintr()
    worker.see("Warm shutdown")
    worker.sendintr()  # at once: RabbitMQ itself throws away what has expired
    worker.left()
    assert left_in("celery", student) >= 10, "what the worker had taken ahead is back in the queue"
    eventually(lambda: time.time() > expired, "all that the check has sent has expired")
    student.ask("mine")
    student.number_of_workers = 0
    student.worker("--autoscale=10,2").see("Received:")
    assert student.terminals[-1].see(r"\{'message': '(.*)'\}")[1] == "mine"


OTHER_COMPOSE_FILE = """
services:
  queue:
    image: rabbitmq:4-management
    environment:
      - RABBITMQ_DEFAULT_USER=${WHO:-myuser}
      - RABBITMQ_DEFAULT_PASS=${SECRET:?no password}
    ports:
      - {host_ip: 127.0.0.1, published: "15672", target: 15672}
    healthcheck: {test: rabbitmq-diagnostics -q ping}
  store:
    image: valkey/valkey:8
    healthcheck: {test: [CMD, valkey-cli, ping]}
  models:
    build: {context: .}
    entrypoint: [celery, --app, my_ml_app]
    command: [worker, "--autoscale=10,2"]
    stop_grace_period: 1m30s
    environment: &addresses
      CELERY_BROKER_URL: amqp://${WHO:-myuser}:${SECRET}@queue//
      CELERY_RESULT_BACKEND: redis://store/0
    depends_on:
      queue: {condition: service_healthy}
      store: {condition: service_healthy}
  watcher:
    build: .
    command: celery -A my_ml_app flower
    environment: *addresses
    ports: ["127.0.0.1:5555:5555"]
    depends_on:
      models: {condition: service_started}
"""


def test_another_compose_file_that_does_the_same_is_accepted(learner):
    student = learner(next(exercise for exercise in COURSE if exercise.number == 10))
    student.solve()
    (student.path / "docker-compose.yml").write_text(OTHER_COMPOSE_FILE)
    printed, status = check(student)
    assert status == 0, printed
    assert "'queue' is RabbitMQ, 'store' is Redis, 'models' is a Celery worker, 'watcher' is Flower" in printed


def left_in(queue, student):
    with student.app.connection() as connection:
        return connection.default_channel.queue_declare(queue, passive=True).message_count


def commands(readme):
    """Each console block: its terminal's number, its command, and the output that it promises.

    A block without a command shows what its terminal says by now.
    """
    number = None
    for match in re.finditer(r"Terminal (\d)|^```console\n(?:\$ (.*)\n)?((?:.*\n)*?)```", readme, re.MULTILINE):
        if match[1]:
            number = match[1]
        else:
            yield number, match[2], match[3]
