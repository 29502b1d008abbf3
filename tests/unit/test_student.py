"""What is said of a student's files, without any server."""

import sys
from types import SimpleNamespace

import pytest
from conftest import said

from lab.course.desk import Desk, broker_of
from lab.course.student import nothing_after_return, settings


@pytest.mark.parametrize(
    "body, below",
    [
        ("return", None),
        ("return\n    time.sleep(10)", 5),
        ("if payload:\n        return 1\n        time.sleep(10)", 6),
        ("if payload:\n        return 1\n    time.sleep(10)", None),
        ("try:\n        pass\n    finally:\n        return 1\n        time.sleep(10)", 8),
    ],
)
def test_what_stands_below_return_is_found(write, body, below):
    write(
        "my_ml_app.py",
        f"import time\n\ndef predict(payload):\n    {body}\n\ndef other():\n    return\n    time.sleep(1)\n",
    )
    sentence = said(nothing_after_return)
    assert (below is None) == (sentence is None)
    assert below is None or f"from line {below} on, never runs" in sentence


@pytest.mark.parametrize(
    "line, says",
    [
        ("brokerurl = 1", "sets 'brokerurl', but Celery's setting is called 'broker_url'"),
        ("broker_URL = 1", "'broker_url'"),
        ("BROKER_URL = 1", "'broker_url'"),
        ("Broker_Url = 1", "'broker_url'"),
        ("broker = 'amqp://localhost'", "'broker_url'"),
        ("backend = 'redis://localhost'", "'result_backend'"),
        ("resultbackend = 1", "'result_backend'"),
        ("CELERY_RESULT_BACKEND = 1", "'result_backend'"),
        ("CELERY_TIMEZONE = 'UTC'", "'timezone'"),
        ("task_serialiser = 'json'", "'task_serializer'"),
        ("accepted_content = ['json']", "'accept_content'"),
        ("task_ack_late = True", "'task_acks_late'"),
        ("acks_late = True", "'task_acks_late'"),
        ("worker_prefetch_multiplyer = 1", "'worker_prefetch_multiplier'"),
        ("enable_UTC = True", "'enable_utc'"),
        ("broker_url: 'amqp://localhost'", "names broker_url, but gives it no value"),
        ("task_always_eager = True", "no message is sent"),
        ("accept_content = 'json'", "is 'json', not a list"),
        ("task_serializer = 'pickle'", "task_serializer in celeryconfig.py is 'pickle', but accept_content"),
        ("result_serializer = 'yaml'", "result_serializer in celeryconfig.py is 'yaml'"),
        ("timezone = 'Europe/Bern'", "timezone in celeryconfig.py is 'Europe/Bern'"),
        ("timezone = '../etc'", "there is no such time zone"),
        ("timezone = 'Europe'", "there is no such time zone"),
        ("timezone = 2", "there is no such time zone"),
        ("broker_url = amqp://localhost", "SyntaxError: invalid syntax (celeryconfig.py, line 2)"),
        (
            "broker_url = 'amqp://localhost",
            "SyntaxError: unterminated string literal (detected at line 2) (celeryconfig",
        ),
        ("timezone = UTC", "NameError: name 'UTC' is not defined (celeryconfig.py, line 2)"),
        ("\tbroker_url = ''", "IndentationError: unexpected indent (celeryconfig.py, line 2)"),
        (
            "if 1:\n\ta = 1\n        b = 2",
            "TabError: inconsistent use of tabs and spaces in indentation (celeryconfig.py",
        ),
        ("import kombuu", "ModuleNotFoundError: No module named 'kombuu' (celeryconfig.py, line 2)"),
        ("raise ValueError('a\\n\\nb')", "ValueError: a b (celeryconfig.py, line 2)"),
        ("import sys; sys.exit(1)", "SystemExit: 1 (celeryconfig.py, line 2)"),
    ],
)
def test_a_mistaken_setting_has_a_sentence_of_its_own(write, line, says):
    write("celeryconfig.py", "'''Where messages live.'''\n")
    with open("celeryconfig.py", "a") as file:
        file.write(line)
    assert says in said(fresh, settings)


@pytest.mark.parametrize(
    "line",
    [
        "import os, random as rate_limits",
        "from kombu import Exchange, Queue",
        "broker_host = 'localhost'\nbroker_url = f'amqp://{broker_host}//'",
        "broker = 'amqp://localhost'\nbroker_url = broker",
        "user = 'myuser'\npassword = 'mypassword'\nhost = 'localhost'",
        "rabbitmq = 'amqp://localhost'",
        "accept_content = ['application/json']\ntask_serializer = 'json'",
        "timezone = None",
        "task_default_queue = 'predictions'",
        "print('celeryconfig is read')",
    ],
)
def test_what_is_no_mistake_is_none(write, line):
    write("celeryconfig.py", line)
    assert said(fresh, settings) is None


def fresh(function):
    """Call it as a process would that has not read a student's file yet."""
    for name in ("celeryconfig", "my_ml_app"):
        sys.modules.pop(name, None)
    return function()


@pytest.mark.parametrize(
    "decorator, function, says",
    [
        (
            "@app.task(shared=False)",
            "def Predict(payload)",
            "The task is registered as 'my_ml_app.Predict', but others will ask for",
        ),
        ("@app.task(shared=False)", "def predikt(payload)", "The task is registered as 'my_ml_app.predikt'"),
        ("@app.task(shared=False, name='predict')", "def predict(payload)", "The task is registered as 'predict'"),
        (
            "@app.task(shared=False)",
            "def other(payload)",
            "The app has no task called predict: it knows my_ml_app.other",
        ),
        ("", "def predict(payload)", "The app has no task called predict: it knows no task at all"),
        ("@app.task(shared=False)", "def predict(payload)", None),
    ],
)
def test_a_task_of_another_name_is_named(write, decorator, function, says):
    source = f"from celery import Celery\n\napp = Celery('my_ml_app')\n\n\n{decorator}\n{function}:\n    return\n"
    write("my_ml_app.py", source)
    sentence = said(fresh, lambda: Desk().task)
    assert (sentence is None) == (says is None) and (says or "") in (sentence or ""), sentence


@pytest.mark.parametrize(
    "argument, options, told, address",
    [
        ("broker='amqp://ada@localhost//'", "", None, "amqp://ada@localhost//"),
        ("broker='amqp://ada@localhost//'", "", "redis://localhost:1/0", "redis://localhost:1/0"),
        ("set_as_current=False", "", None, "amqp://"),
        ("set_as_current=False", "-b redis://localhost:3/0", "redis://localhost:1/0", "redis://localhost:3/0"),
        ("set_as_current=False", "--broker=redis://localhost:3/0", None, "redis://localhost:3/0"),
    ],
)
def test_the_broker_of_a_worker_whose_app_has_no_celeryconfig(write, monkeypatch, argument, options, told, address):
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://localhost:2/0")  # this terminal's, and not the worker's
    write("my_ml_app.py", f"from celery import Celery\n\napp = Celery('my_ml_app', {argument})\n")
    environment = {"CELERY_BROKER_URL": told} if told else {}
    process = SimpleNamespace(environ=lambda: environment, cmdline=lambda: ["celery", *options.split(), "worker"])
    assert str(fresh(lambda: broker_of(process))) == address
