"""What texts point at is there."""

import re

from conftest import ROOT

README = (ROOT / "README.md").read_text()
TEXTS = [
    README,
    (ROOT / "CONTRIBUTING.md").read_text(),
    *(path.read_text() for path in (ROOT / "exercises").rglob("*.md")),
]


def test_the_readme_names_both_commands_and_all_that_it_links_to():
    assert "    make lab\n" in README and "    make test\n" in README
    for path in re.findall(r"\]\((?!http)(.*?)\)|^\| `([\w./]+)` \|", README, re.MULTILINE):
        name = "".join(path)
        assert name == ".lab/" or (ROOT / name).exists(), name


def test_every_target_that_a_text_tells_to_make_is_there():
    targets = re.findall(r"^([\w./]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for text in TEXTS:
        assert set(re.findall(r"(?:`|\$ |command: |^    )make ([\w./]+)", text, re.MULTILINE)) <= set(targets)
