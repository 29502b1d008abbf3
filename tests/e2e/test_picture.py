"""Pictures of long and odd records: no server is needed, but seconds are."""

import json
import time

import pytest

from lab.live.history import History
from lab.live.picture import draw, rows


def fact(seconds, kind, **more):
    return {"time": 1000 + seconds, "fact": kind, **more}


MANY = 5_000


WORKERS = [f"{number}@here" for number in range(MANY)]


HOSTILE = {
    "workers": [fact(0, "pool", worker=name, processes=list(range(1, 11))) for name in WORKERS]
    + [fact(n, "started", id=name, worker=name) for n, name in enumerate(WORKERS)],
    "incidents": [fact(0, "sent", id="1")] + [fact(n, "gone", worker="a@b", lost=True) for n in range(MANY)],
    "pools": [fact(0, "sent", id="1")] + [fact(n, "pool", worker="a@b", processes=[n + 1]) for n in range(MANY)],
    "nobody saw": [fact(n / 100, "started", id=str(n), worker="a@b") for n in range(MANY)],
    "failed": [
        fact(n + end, kind, id=str(n), worker="a@b", why="")
        for n in range(MANY)
        for end, kind in ((0, "started"), (0.9, "failed"))
    ],
    "counts": [fact(0, "sent", id="1")]
    + [fact(n, "counts", ready={"q": n % 9 * 1e13}, unacked=n % 7) for n in range(MANY)],
    "names": [
        fact(0, "started", id="1", worker="$\\frac{$\x1b[31m\x00<b>漢@here"),
        fact(1, "gone", worker="$\x1b$", lost=True),
    ],
    "ages": [{"time": 0, "fact": "sent", "id": "1"}, {"time": 9e14, "fact": "received", "id": "1", "worker": "a@b"}],
}


@pytest.mark.parametrize("facts", HOSTILE.values(), ids=HOSTILE)
def test_a_picture_of_whatever_a_file_may_hold_is_bounded(tmp_path, facts):
    path = tmp_path / "odd.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in facts))
    begin = time.process_time()
    svg, png = draw(History.read(path), path)
    assert time.process_time() - begin < 20
    assert svg.stat().st_size < 2_000_000 and png.stat().st_size < 2_000_000
    assert not [character for character in svg.read_text() if character < " " and character != "\n"]


def test_a_picture_of_many_predictions_drops_none(tmp_path):
    path = tmp_path / "many.jsonl"
    with open(path, "w") as file:
        file.write('{"time": 1000, "fact": "pool", "worker": "one@here", "processes": [1, 2]}\n')
        for number in range(6000):
            task = {"id": f"task {number}", "worker": "one@here"}
            for kind, seconds in (("started", 0), ("succeeded", 0.009)):
                fact = {"time": 1000 + number / 100 + seconds, "fact": kind, "runtime": 0.009, **task}
                file.write(json.dumps(fact) + "\n")
    drawn = rows(History.read(path))["one@here"]
    assert sum(len(row.works) for row in drawn) == 6000
    svg = draw(History.read(path), path)[0].read_text()
    assert "6000 predictions are too many for a bar each" in svg
    assert "predictions whose process is unknown, drawn where there was room: 6000" in svg
