"""What a student's folder gets, and which folder is one."""

import os
from functools import cache
from pathlib import Path

from lab.course.exercise import course
from lab.course.progress import FILE
from lab.paths import ROOT

ROOMS = ("benchmarks", "exercises", "lab", "monitoring", "tests")


def handed_out() -> dict[Path, Path]:
    """What a new folder gets: {path in it: stub}, each file as the first exercise with it hands it out."""
    return {
        stub.relative_to(exercise.path / "stub"): stub for exercise in reversed(course()) for stub in exercise.stubs
    }


@cache
def own_files() -> frozenset[Path]:
    """What a student's folder can have of the course, as paths in it."""
    ends_up = [file.relative_to(exercise.path / "solution") for exercise in course() for file in exercise.solutions]
    return frozenset([*handed_out(), *ends_up])


def is_students(folder: Path) -> bool:
    """Whether a folder has files of the course in it."""
    return any((folder / name).exists() for name in (Path(FILE), *handed_out()))


def is_labs(folder: Path) -> bool:
    """Whether a folder is the lab's own, or one of the folders in it: there everything is solved."""
    parts = Path(os.path.relpath(folder.resolve(), ROOT)).parts
    return not parts or parts[0] in ROOMS or (parts[0].startswith(".") and parts[0] != os.pardir)
