"""A trial's verdict as a table."""

from collections.abc import Iterator

from lab.trial.verdict import Verdict

YOURS, DEFAULTS = "your settings", "Celery's defaults"
ROWS = {  # field of Verdict: in words; the second part is shown only where it is not 0
    "accepted": "accepted by delay()",
    "predicted": "predicted",
    "failed": "  but ended with an error",
    "twice": "begun more than once",
    "made_twice": "  to the end more than once",
    "refused": "refused with an error",
    "made_anyway": "  and predicted all the same",
    "dead": "in the dead-letter queue",
    "waiting": "still in the queue",
    "lost": "lost",
    "told": "  and reported as a failure",
    "missing": "results missing",
    "heard": "ends that events told of",
    "ended": "the worker ended by itself",
}
ALWAYS = {"accepted", "predicted", "twice", "refused", "lost", "missing", "heard"}


def table(verdicts: dict[str, Verdict], with_results: bool) -> Iterator[str]:
    """The lines of a table with a column for each of these, by its heading."""
    rows = {
        words: [getattr(verdict, name) for verdict in verdicts.values()]
        for name, words in ROWS.items()
        if with_results or name not in ("missing", "told")
        if name in ALWAYS or any(getattr(verdict, name) for verdict in verdicts.values())
    }
    width = max(map(len, rows))
    yield f"{'':<{width}}  {'  '.join(verdicts)}"
    for words, numbers in rows.items():
        cells = (f"{number:>{len(heading)}}" for number, heading in zip(numbers, verdicts, strict=True))
        yield f"{words:<{width}}  {'  '.join(cells)}"
