"""Does Flower hear the student's worker, follow a prediction, and show the queue?"""

import re
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from html import unescape

import httpx

from lab.course.kit import ANSWER, ODD, Address, Desk, Fault, TooLong, Wrong, get, running, waiting

START = "`celery -A my_ml_app flower --address=127.0.0.1`"
TELL = "tell the lab in terminal 5: `export FLOWER_PORT=5556`"
OTHER_PORT = f"If it is another program, start Flower with `--port=5556`, and {TELL}"
ELSEWHERE = "127.0.0.2"  # this machine too, and what listens at 127.0.0.1 only does not answer there
PATIENCE = 3  # seconds for a worker, a prediction and a queue to reach Flower's pages
SWITCH = 5  # seconds between Flower's requests to all workers to send events
YOUNG = 8  # seconds; a Flower that has run for longer has asked
NUMBERS = 3  # seconds for the numbers of a new queue; RabbitMQ has them every 5


class FlowerAway(Wrong):
    """Nothing listens at {flower}, where the check looks for Flower."""

    next = f"In terminal 4: {START}. If it has another port, {TELL}"


class FlowerSilent(Wrong):
    """The program at {flower} does not answer within {seconds} seconds."""

    next = f"If it is Flower, suspended with Ctrl-Z, type `fg` in terminal 4. {OTHER_PORT}"


class FlowerLocked(Wrong):
    """Flower at {flower} asks for a user and a password, and the check has none."""

    next = f"For now, start Flower without `--basic-auth`: {START}. Only your own machine can reach that address"


class NotFlower(Wrong):
    """The program at {flower} is not Flower, or its pages are elsewhere: {found}."""

    next = f"If it is Flower, start it without `--url-prefix`: {START}. {OTHER_PORT}"


class OpenToTheNetwork(Wrong):
    """Flower at {flower} is open to the whole network: everybody there can see what your worker does."""

    next = f"End it (Ctrl-C in terminal 4). Then start it for your own machine only: {START}"


class FlowerElsewhere(Wrong):
    """Flower listens to the broker at {theirs}, but your app sends to the one at {ours}."""

    next = f"End Flower (Ctrl-C in terminal 4). Then start it in your folder, where celeryconfig.py is: {START}"


class WithoutEvents(Wrong):
    """Flower hears nothing from {worker}: the worker sends no events, and Flower does not ask for them."""

    next = f"Start Flower without `--enable-events=False`: {START}. Or start the worker with `-E`"


class EmptyBrokerPage(Wrong):
    """RabbitMQ's dashboard shows the queue {queue!r}, but Flower's page Broker does not: Flower asks at another
    address."""

    next = "Tell Flower where to ask: `celery -A my_ml_app flower --address=127.0.0.1 --broker-api={dashboard}/api/`"


RECOGNISES = (
    FlowerAway,
    FlowerSilent,
    FlowerLocked,
    NotFlower,
    OpenToTheNetwork,
    FlowerElsewhere,
    WithoutEvents,
    EmptyBrokerPage,
)


def check(desk: Desk) -> Iterator[str]:
    yield from desk.ready()
    flower = desk.flower
    if (said := page(flower, "/healthcheck").text) != "OK":
        raise NotFlower(flower=flower, found=f"its health is {said[:40]!r}")
    page(flower, "/workers")  # which is locked where there is a password: its health is not
    if listens_everywhere(flower):
        raise OpenToTheNetwork(flower=flower)
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


def page(flower, path):
    """One of Flower's pages. Raises FlowerAway, FlowerSilent, FlowerLocked and NotFlower."""
    try:
        return get(flower, path)
    except Fault as fault:
        why = fault.__cause__
        if isinstance(why, httpx.ConnectError):
            raise FlowerAway(flower=flower) from None
        if isinstance(why, httpx.TimeoutException):
            raise FlowerSilent(flower=flower, seconds=ANSWER) from None
        if isinstance(why, httpx.HTTPStatusError) and why.response.status_code == httpx.codes.UNAUTHORIZED:
            raise FlowerLocked(flower=flower) from None
        raise NotFlower(flower=flower, found=fault) from None


def listens_everywhere(flower):
    """Whether Flower's port answers at another address of this machine, too. (On macOS there is none to try.)"""
    with suppress(OSError), socket.create_connection((ELSEWHERE, httpx.URL(flower).port), PATIENCE):
        return True
    return False


def deaf(desk, theirs):
    """Why Flower does not hear the worker."""
    if not theirs.is_same_as(desk.broker):
        return FlowerElsewhere(theirs=theirs, ours=desk.broker)
    return WithoutEvents(worker=desk.worker.name)


def broker_of(flower):
    """Address of the broker that Flower listens to, as its page Broker has it."""
    if url := re.search(r"broker-url[^>]*>\s*(\S+?)\s*<", page(flower, "/broker").text):
        return Address(re.sub(r":\*+@", ":hidden@", unescape(url[1])))  # Flower does not show the password
    raise NotFlower(flower=flower, found="its page Broker shows no broker")


def seconds_together(desk):
    """How long both Flower and the worker have been running."""
    uptime = (desk.inspect("stats") or desk.worker.stats)["uptime"]
    metrics = page(desk.flower, "/metrics").text
    started = re.search(r"^process_start_time_seconds (\d+(?:\.\d+)?(?:e\+\d+)?)$", metrics, re.MULTILINE)
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
    try:
        answer = page(flower, f"/tasks/datatable?{query}").json()
        return int(answer["recordsTotal"]) if any(task["worker"] for task in answer["data"]) else None
    except ODD:
        raise NotFlower(flower=flower, found="its list of tasks cannot be read") from None


def queue_fact(desk):
    """What Flower's page Broker says of the queue, once it has numbers. Raises EmptyBrokerPage and ManagementAway."""
    row = desk.wait(lambda: cells(desk), "Flower's page Broker to show the queue", PATIENCE)
    if not row:
        desk.on_dashboard(desk.broker, "whoami")
        raise EmptyBrokerPage(queue=desk.queue, dashboard=running.dashboard(desk.broker))

    def numbers():
        nonlocal row
        row = cells(desk) or row
        return row[1].isdecimal()

    desk.wait(numbers, "the queue's numbers", NUMBERS)
    _, messages, unacked, ready, consumers = row
    if not desk.broker.is_rabbitmq:
        return f"queue: {desk.queue!r} on Flower's page Broker, {messages} messages"
    consumers += " consumer" if consumers == "1" else " consumers"
    return f"queue: {desk.queue!r} on Flower's page Broker, {ready} Ready, {unacked} Unacked, {consumers}"


def cells(desk):
    """The queue's row on Flower's page Broker: name, messages, Unacked, Ready, consumers; None when it is not there."""
    rows = page(desk.flower, "/broker").text.split("<tr")
    rows = [re.findall(r"<td[^>]*>\s*(.*?)\s*</td>", row, re.DOTALL)[:5] for row in rows]
    return next((row for row in rows if len(row) == 5 and unescape(row[0]) == desk.queue), None)
