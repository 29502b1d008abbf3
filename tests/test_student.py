"""What lab/student.py says of a student's files, without any server."""

import textwrap

import pytest

from lab.fault import Fault
from lab.student import nothing_after_return


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a file of the student's, in a folder that is the current one."""
    monkeypatch.chdir(tmp_path)

    def write(name, text):
        (tmp_path / name).write_text(textwrap.dedent(text))

    return write


def said(function, *arguments):
    """The sentence with which a function ends, or nothing."""
    try:
        function(*arguments)
    except Fault as fault:
        return fault.sentences()


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
