"""Does delay() wait for RabbitMQ's confirmation, but not for ever, and has the student seen that nothing is lost?"""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from lab.course.kit import Desk, MisspeltSetting, NoContrast, Wrong, counted, settings, trials, with_defaults

OPTIONS = "broker_transport_options"
CONFIRM, TIMEOUT = NAMES = "confirm_publish", "read_timeout"
LONGEST = 60  # seconds; whoever has typed a message does not wait longer
KINDS = {"broker", "broker-frozen", "network"}  # faults between the producer and its message's place in the queue
TRIAL = "In terminal 3: `lab trial --break network --number 60 --defaults`"


class NotInside(Wrong):
    """celeryconfig.py sets {name} by itself. Celery has no such setting, ignores it, and does not say so."""

    next = "It is an option of the broker's transport: put it into the dictionary broker_transport_options"


class NoDictionary(Wrong):
    """broker_transport_options in celeryconfig.py is {value!r}, which is no dictionary."""

    next = "A dictionary has curly brackets. Inside: a name in quotation marks, a colon, its value, then a comma"


class MisspeltOption(Wrong):
    """broker_transport_options has {name!r}, but the option is called {right!r}."""

    next = "Correct its name. Options that nobody knows are ignored, and Celery does not say so"


class NotConfirmed(Wrong):
    """With this celeryconfig.py, delay() returns as soon as it has written the message to the network: it does not wait
    until RabbitMQ has it."""

    next = "Switch confirm_publish on there, in broker_transport_options"


class NoTimeout(Wrong):
    """delay() waits for RabbitMQ's confirmation, but without a limit: when RabbitMQ freezes, it never returns."""

    next = "Give read_timeout beside confirm_publish, as a number of seconds"


class OddTimeout(Wrong):
    """read_timeout is {value!r}: it is a number of seconds, more than 0, and 60 at most."""

    next = "Write a number, such as 5, without quotation marks. Start with a few seconds"


class NoTrial(Wrong):
    """The lab has not seen what your settings are worth: no trial in .lab/runs broke the broker or its network, and ran
    to its end."""

    next = TRIAL


class OtherTrial(Wrong):
    """Your trials broke something else, the newest one: {kinds}. Between delay() and the broker, all went well."""

    next = TRIAL


class StaleTrial(Wrong):
    """Your newest trial that broke the broker or its network, at {time}, ran with {name} = {then!r}, but now it is
    {now!r}."""

    next = f"Do it again. {TRIAL}"


class NothingAccepted(Wrong):
    """In your trial at {time}, delay() accepted nothing: of {number} predictions, each was refused. So nothing could be
    lost, and the lab has not seen what your settings are worth."""

    next = f"Send more, and is read_timeout long enough for a broker that is well? {TRIAL}"


class StillLost(Wrong):
    """In your trial at {time}, delay() accepted {number} predictions, and {lost} of them were lost."""

    next = f"The trial has told the story of one: which fault hit it, and where was it then? Do it again. {TRIAL}"


RECOGNISES = (
    MisspeltSetting,
    NotInside,
    NoDictionary,
    MisspeltOption,
    NotConfirmed,
    NoTimeout,
    OddTimeout,
    NoTrial,
    OtherTrial,
    StaleTrial,
    NothingAccepted,
    StillLost,
    NoContrast,
)


def check(desk: Desk) -> Iterator[str]:
    options = right_options()
    yield f"settings: delay() waits for the broker's confirmation, and {options[TIMEOUT]:g} s of silence are an error"
    found = [one for one in trials() if not one.defaults]
    if not found:
        raise NoTrial()
    met = [one for one in found if KINDS & set(one.kinds)]
    if not met:
        raise OtherTrial(kinds=" and ".join(found[0].kinds))
    newest = met[0]
    then = newest.settings.get(OPTIONS) or {}
    for name in NAMES:
        if then.get(name) != options[name]:
            raise StaleTrial(time=newest.clock, name=name, then=then.get(name), now=options[name])
    verdict = newest.verdict
    if not verdict.accepted:
        raise NothingAccepted(time=newest.clock, number=verdict.refused)
    if verdict.lost:
        raise StillLost(time=newest.clock, number=verdict.accepted, lost=verdict.lost)
    yield f"trial: at {newest.clock}, {counted(verdict.faults, 'fault')}, and nothing lost that delay() had accepted"
    if not (beside := with_defaults([one for one in met if one.settings.get(OPTIONS) == then])):
        raise NoContrast(time=newest.clock)
    yield f"defaults: the same faults with Celery's own settings, {beside[0].lost} of {beside[0].accepted} lost"


def right_options() -> dict[str, Any]:
    """broker_transport_options in celeryconfig.py. Raises what is wrong with them."""
    written = settings()
    for name in NAMES:
        if name in written:
            raise NotInside(name=name)
    options = written.get(OPTIONS) or {}
    if not isinstance(options, dict):
        raise NoDictionary(value=options)
    for name in NAMES:
        near = get_close_matches(name, map(str, options), 1, 0.8)
        if near and name not in options:
            raise MisspeltOption(name=near[0], right=name)
    if not options.get(CONFIRM):
        raise NotConfirmed()
    seconds = options.get(TIMEOUT)
    if seconds is None:
        raise NoTimeout()
    if not isinstance(seconds, int | float) or not 0 < seconds <= LONGEST:
        raise OddTimeout(value=seconds)
    return options
