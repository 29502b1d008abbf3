"""Does a worker take the messages that the student's app sends?"""

from lab.desk import (
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
)
from lab.observe import BrokerFull, ManagementAway

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


def check(desk):
    yield from desk.ready()
    yield desk.worker_fact()
    if not desk.broker.is_rabbitmq:
        return
    queue = desk.wait(desk.consumers_on_dashboard, "the dashboard to show the consumer", 6)
    if not queue:
        raise ManagementAway(
            found=f"{desk.dashboard(desk.broker)} does not show the queue {desk.queue!r} with its consumer"
        )
    consumers = "1 consumer" if queue["consumers"] == 1 else f"{queue['consumers']} consumers"
    yield (
        f"dashboard: queue {desk.queue!r} has {consumers}, "
        f"{queue['messages_ready']} messages Ready, {queue['messages_unacknowledged']} Unacked"
    )
