"""Which folder is graded, where its servers have to be, and what is started there."""

import pytest
from conftest import pass_all

from lab.course.grade import must_be_free, students_folders, written
from lab.fault import Fault


def begin(folder, *names):
    """A folder in which a student has begun these files."""
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_the_folder_in_which_most_has_passed_is_graded_and_never_the_labs_own(tmp_path):
    assert students_folders(tmp_path) == []
    for room in ("lab", "exercises/02_app/solution", "tests"):
        begin(tmp_path / room, "my_ml_app.py")
    (tmp_path / "celeryconfig.py").touch()
    begin(tmp_path / "thesis", "requirements.txt", "Dockerfile")
    begin(tmp_path / ".venv", "send.py")
    assert students_folders(tmp_path) == []
    few = begin(tmp_path / "few", "send.py")
    many = begin(tmp_path / "a" / "many", "send.py", "receive.py")
    assert students_folders(tmp_path) == [many, few]
    pass_all(few)
    (many / "progress.json").write_text("{")  # which is no reason to fall
    assert students_folders(tmp_path) == [few, many]
    assert students_folders(few) == [few]


@pytest.mark.parametrize(
    "source, address",
    [
        ('broker_url = "redis://localhost:1/0"\n', "redis://localhost:1/0"),
        ('broker_url = "redis://localhost:" + str(exit())\n', None),
        ("broker_url = \n", None),
        (f"broker_url = {'-' * 200_000}1\n", None),
        (None, None),
    ],
    ids=["plain", "computed", "unfinished", "deep", "missing"],
)
def test_an_address_is_read_without_running_anything(tmp_path, monkeypatch, source, address):
    monkeypatch.chdir(tmp_path)
    if source:
        (tmp_path / "celeryconfig.py").write_text(source)
    assert written("celeryconfig.py", "broker_url") == address


def test_an_address_at_which_somebody_listens_is_refused(answering):
    port = answering(b"")
    with pytest.raises(Fault, match=f"Something listens at localhost:{port} already"):
        must_be_free(f"redis://localhost:{port}/0")
    must_be_free("redis://elsewhere.invalid:1/0")
    must_be_free("amqp://my/password@localhost//")
