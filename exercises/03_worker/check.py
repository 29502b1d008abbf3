"""Does a worker take the messages that the student's app sends?"""

from collections.abc import Iterator

from lab.course.kit import (
    BrokerFull,
    Desk,
    NotConnected,
    NotReady,
    NoWorker,
    OtherApp,
    OtherFolder,
    OtherQueue,
    SameName,
    Silent,
    StaleCode,
    Suspended,
    Unreadable,
    consumers,
    counted,
)

RECOGNISES = (
    BrokerFull,
    NoWorker,
    Suspended,
    Silent,
    NotReady,
    NotConnected,
    Unreadable,
    SameName,
    OtherApp,
    OtherQueue,
    OtherFolder,
    StaleCode,
)


def check(desk: Desk) -> Iterator[str]:
    yield from desk.ready()
    yield desk.worker_fact()
    if not desk.broker.is_rabbitmq:
        return
    desk.on_dashboard(desk.broker, "whoami")
    number = desk.wait(lambda: consumers(desk.app, desk.queue), "the queue to have a consumer", 2) or 0
    totals = desk.totals()
    has = f"{counted(number, 'consumer')}, {totals.ready} messages Ready, {totals.unacked} Unacked"
    yield f"dashboard: queue {desk.queue!r} has {has}"
