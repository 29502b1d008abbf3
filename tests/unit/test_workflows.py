"""What runs for whoever forks the lab, or opens it in a development container, is there to be run."""

import json
import re
import tomllib

import yaml
from conftest import ROOT

CONTAINER = json.loads(
    re.sub("^ *//.*", "", (ROOT / ".devcontainer/devcontainer.json").read_text(), flags=re.MULTILINE)
)
JOBS = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]


def test_every_command_of_a_workflow_or_a_container_is_there():
    commands = [step["run"] for job in JOBS.values() for step in job["steps"] if "run" in step]
    assert {"bash .ci/run unit", "sudo bash .ci/run"} <= set(commands)
    words = " && ".join([*commands, CONTAINER["onCreateCommand"], *CONTAINER["postAttachCommand"].values()])
    for file in re.findall(r"\b(?:ba)?sh (\S+)", words):
        assert (ROOT / file).is_file(), file
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"rabbitmq", "lab"} <= set(re.findall(r"\bmake (\w+)", words)) <= set(targets)


def test_the_oldest_python_that_is_allowed_is_tried():
    allowed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert f">={JOBS['unit']['strategy']['matrix']['python'][0]}" == allowed
