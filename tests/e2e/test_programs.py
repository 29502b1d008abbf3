"""What is said of a program of the student's that ends: each runs in a process of its own."""

import pytest
from conftest import said

from lab.course.student import Program
from lab.probe.wait import wait_until


@pytest.mark.parametrize(
    "program, says",
    [
        ("print('a'", "SyntaxError: '(' was never closed (use_ml_app.py, line 3)"),
        (
            "while True:\nprint(1)",
            "IndentationError: expected an indented block after 'while' statement on line 3 (use_",
        ),
        ("import my_ml_ap", "ModuleNotFoundError: No module named 'my_ml_ap' (use_ml_app.py, line 3)"),
        ("from my_ml_app import predikt", "ImportError: cannot import name 'predikt' from 'my_ml_app'"),
        ("from my_ml_app import broken", "(my_ml_app.py, line 3)"),
        ("input('> ')\nprint(hallo)", "NameError: name 'hallo' is not defined (use_ml_app.py, line 4)"),
        ("input('> ')\nraise KeyError('hello')", "KeyError: 'hello' (use_ml_app.py, line 4)"),
        ("input('> ')\nraise ValueError", "ValueError (use_ml_app.py, line 4)"),
        ("input('> ')\nprint('Bye: now')\nsys.exit(1)", "it ended with exit status 1, and said 'Bye: now'"),
        ("input('> ')\nos._exit(3)", "it ended with exit status 3, and said nothing"),
        ("input('> ')\nos.kill(os.getpid(), 9)", "signal 9 ended it, and said nothing"),
        (
            "try:\n    1 / 0\nexcept Exception:\n    os.chdir('/nowhere')",
            "FileNotFoundError: [Errno 2] No such file or",
        ),
        (
            "import json; json.loads('no')",
            "JSONDecodeError: Expecting value: line 1 column 1 (char 0) (use_ml_app.py, line",
        ),
    ],
)
def test_the_error_of_a_program_is_its_own_and_not_what_was_typed(write, program, says):
    write(
        "my_ml_app.py",
        "def __getattr__(name):\n    if name == 'broken':\n        return 1 / 0\n    raise AttributeError\n",
    )
    write("use_ml_app.py", f"import os\nimport sys\n{program}\n")
    with Program("use_ml_app.py") as one:
        wait_until(lambda: one.ended() or one.said, 10)
        one.type("hello: there\nhello")
        assert wait_until(one.ended, 10)
        sentence = said(one.raise_its_error)
    assert says in sentence and sentence.startswith("use_ml_app.py cannot be used: ") and "> " not in sentence


@pytest.mark.parametrize(
    "first, says",
    [
        ("#!/bin/sh", "hello"),
        ("#!/usr/bin/env sh", "hello"),
        ("#! /usr/bin/env -S sh -e", "hello"),
        ("#!/bin/no-such-shell", "use_ml_app.sh cannot be used: '/bin/no-such-shell' cannot be started"),
        ("#!", "use_ml_app.sh cannot be used: "),
        ("", "use_ml_app.sh cannot be used: "),
    ],
)
def test_a_program_in_another_language_is_run_as_its_first_line_says(write, first, says):
    write("use_ml_app.sh", f"{first}\necho hello\n")

    def run():
        with Program("use_ml_app.sh") as one:
            assert wait_until(one.ended, 10)
            return one

    sentence = said(run)
    assert says in (sentence or run().said)
