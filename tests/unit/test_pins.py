"""What is installed, here and in the image, is the same tomorrow: requirements and constraints say all of it."""

import re
from importlib import metadata

from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

STUB = ROOT / "exercises" / "10_compose" / "stub"


def read(file):
    """The requirements in a file, and in those that it names with -r."""
    lines = [line.partition(" #")[0] for line in file.read_text().splitlines()]
    named = [file.parent / line.removeprefix("-r ") for line in lines if line.startswith("-r ")]
    own = [Requirement(line) for line in lines if line and line[0] not in "#- "]
    return own + [one for other in named for one in read(other)]


def pins(file):
    """What a file of constraints pins for this Python: {name: version}."""
    return {one.name: str(one.specifier)[2:] for one in read(file) if not one.marker or one.marker.evaluate()}


def needed(requirements, **python):
    """Versions of what is installed because of these requirements, themselves included: {name: version}."""
    found, left = {}, list(requirements)
    while left:
        one = left.pop()
        found[canonicalize_name(one.name)] = metadata.version(one.name)
        for child in map(Requirement, metadata.requires(one.name) or []):
            where = [python | {"extra": extra} for extra in one.extras | {""}]
            wanted = not child.marker or any(map(child.marker.evaluate, where))
            if wanted and (child.extras or canonicalize_name(child.name) not in found):
                left.append(child)
    return found


def test_everything_that_is_installed_is_pinned():
    pinned = pins(ROOT / "constraints.txt")
    installed = needed(read(ROOT / "tests" / "requirements.txt"))
    assert not installed.keys() - pinned, "not pinned: run the command in the first lines of constraints.txt"
    assert installed == {name: pinned[name] for name in installed}, "run make test, which installs what is pinned"


def test_the_image_is_the_labs_own():
    """Also the one of exercise 10, whose folder has neither the lab's tests nor its constraints."""
    ours, theirs = pins(ROOT / "constraints.txt"), pins(STUB / "constraints.txt")
    direct = read(STUB / "requirements.txt")
    assert theirs.items() <= ours.items(), "take the versions of constraints.txt over"
    needs = needed(direct, python_version="3.12", python_full_version="3.12.0")  # the Dockerfile's Python
    assert theirs.keys() == needs.keys() - {one.name for one in direct}


def test_no_address_of_an_index_is_in_what_is_pinned():
    assert "://" not in (ROOT / "constraints.txt").read_text() + (STUB / "constraints.txt").read_text()


def test_exercise_10_names_the_images_that_the_lab_has():
    """In its hints too, which no updater reads."""

    def images(file):
        return set(re.findall(r"^(?:\s*image:|FROM) (\S+)", file.read_text(), re.MULTILINE))

    ours = images(ROOT / "docker-compose.yml") | images(ROOT / "Dockerfile")
    named = [STUB / "docker-compose.yml", STUB / "Dockerfile", STUB.parent / "hints.md"]
    for file in [*named, STUB.parent / "solution" / "docker-compose.yml"]:
        assert images(file) and images(file) <= ours, file
