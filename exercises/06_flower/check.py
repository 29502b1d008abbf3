"""Does Flower hear the student's worker, follow a prediction, and show the queue?"""

import re
import time
from html import unescape

from lab.desk import TooLong
from lab.fault import Fault, Wrong
from lab.observe import Address, flower_answers, get, waiting

START = "`celery -A my_ml_app flower --address=127.0.0.1`"
PATIENCE = 1.5  # seconds for a worker, a prediction and a queue to reach Flower's pages
SWITCH = 5  # seconds between Flower's requests to all workers to send events
YOUNG = 8  # seconds; a Flower that has run for longer has asked
NUMBERS = 3  # seconds for the numbers of a new queue; RabbitMQ has them every 5


class FlowerAway(Wrong):
    """No Flower answers at {flower}."""

    next = f"In terminal 4: {START}. If yours has another port, tell the lab in terminal 5: `export FLOWER_PORT=5556`"


class OtherBroker(Wrong):
    """Flower listens to the broker at {theirs}, and your app sends to the one at {ours}."""

    next = f"End Flower (Ctrl-C in terminal 4), and start it in your folder, where celeryconfig.py is: {START}"


class WithoutEvents(Wrong):
    """Flower hears nothing of what {worker} does: the worker sends no events, and Flower does not ask it to."""

    next = f"Start Flower without `--enable-events=False`: {START}. Or the worker with `-E`"


class EmptyBrokerPage(Wrong):
    """Flower's page Broker does not show the queue {queue!r}, and RabbitMQ's dashboard does: Flower asks elsewhere."""

    next = "Tell Flower where to ask: `celery -A my_ml_app flower --address=127.0.0.1 --broker-api={dashboard}/api/`"


RECOGNISES = (FlowerAway, OtherBroker, WithoutEvents, EmptyBrokerPage)


def check(desk):
    yield from desk.ready()
    flower = desk.flower
    if not flower_answers(flower):
        raise FlowerAway(flower=flower)
    worker, theirs = desk.worker, broker_of(flower)
    if not desk.wait(lambda: worker.name in desk.workers_in_flower(), f"Flower to list {worker.name}", PATIENCE):
        raise deaf(desk, theirs)
    names = desk.workers_in_flower()
    yield f"Flower: {flower}, listens to {theirs}"
    yield f"workers: {len(names)} in Flower, {', '.join(names)}"
    tries_until = time.monotonic() + (SWITCH if seconds_together(desk) < YOUNG else 0)
    while not (tasks := tasks_after_one_more(desk)):
        if time.monotonic() > tries_until:
            raise deaf(desk, theirs)
    yield f"tasks: {tasks} in Flower, the last of them sent by the check"
    yield queue_fact(desk)


def deaf(desk, theirs):
    """Why Flower does not hear the worker."""
    ours = desk.broker
    if place(theirs) != place(ours):
        return OtherBroker(theirs=theirs, ours=ours)
    return WithoutEvents(worker=desk.worker.name)


def place(address):
    return address.is_local or address.host, address.port, address.virtual_host


def broker_of(flower):
    """Address of the broker that Flower listens to, as its page Broker has it."""
    url = re.search(r"broker-url[^>]*>\s*(\S+?)\s*<", get(flower, "/broker").text)
    if not url:
        raise Fault(f"{flower}/broker does not say which broker Flower listens to", "Is it an old Flower?")
    return Address(unescape(url[1]))


def seconds_together(desk):
    """How long both Flower and the worker have been running."""
    uptime = (desk.inspect("stats") or desk.worker.stats)["uptime"]
    started = re.search(r"^process_start_time_seconds (\S+)", get(desk.flower, "/metrics").text, re.MULTILINE)
    return min(uptime, time.time() - float(started[1])) if started else uptime  # Flower tells it on Linux only


def tasks_after_one_more(desk):
    """How many tasks Flower knows, with one that is sent now; None when it does not hear of that one."""
    with desk.predictions(events=False) as (sent,):
        tasks = desk.wait(lambda: tasks_in_flower(desk.flower, sent), "Flower to show a prediction", PATIENCE)
        if not tasks and waiting(desk.app, desk.queue):
            raise TooLong(what="the worker to take one more prediction", seconds=PATIENCE)
        return tasks


def tasks_in_flower(flower, sent):
    """How many tasks Flower knows, once a worker's event has told it of the one that was sent; until then None."""
    query = f"draw=1&start=0&length=1&order[0][column]=0&search[value]={sent.id}"
    answer = get(flower, f"/tasks/datatable?{query}").json()
    return answer["recordsTotal"] if any(task["worker"] for task in answer["data"]) else None


def queue_fact(desk):
    """What Flower's page Broker says of the queue, once it has numbers. Raises EmptyBrokerPage and ManagementAway."""
    if not desk.wait(lambda: cells(desk), "Flower's page Broker to show the queue", PATIENCE):
        desk.on_dashboard(desk.broker, "overview")
        raise EmptyBrokerPage(queue=desk.queue, dashboard=desk.dashboard(desk.broker))
    desk.wait(lambda: cells(desk)[1].isdecimal(), "the queue's numbers", NUMBERS)
    _, messages, unacked, ready, consumers = cells(desk)[:5]
    if not desk.broker.is_rabbitmq:
        return f"queue: {desk.queue!r} on Flower's page Broker, {messages} messages"
    consumers += " consumer" if consumers == "1" else " consumers"
    return f"queue: {desk.queue!r} on Flower's page Broker, {ready} Ready, {unacked} Unacked, {consumers}"


def cells(desk):
    """The queue's row on Flower's page Broker: name, messages, Unacked, Ready, consumers; None when it is not there."""
    page = get(desk.flower, "/broker").text
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in page.split("<tr")]
    return next((row for row in rows if row and unescape(row[0]) == desk.queue), None)
