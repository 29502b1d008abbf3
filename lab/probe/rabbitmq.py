"""What RabbitMQ says of itself and its queues, over its management API."""

from contextlib import suppress
from typing import Any
from urllib.parse import quote

import amqp

from lab.fault import Fault, Wrong
from lab.probe.address import Address
from lab.probe.connection import ANSWER, AWAY, rabbitmq
from lab.probe.login import ask
from lab.probe.web import ODD, get


class ManagementAway(Wrong):
    """RabbitMQ answers, but its dashboard does not: {found}."""

    next = """Switch its plugin on: `rabbitmq-plugins enable rabbitmq_management`. In Docker, use an image whose name
        ends in `-management`, and publish port 15672. If it answers 401, the user needs a tag: `rabbitmqctl
        set_user_tags {user} management`"""


class BrokerFull(Wrong):
    """RabbitMQ at {where} takes no message now: its machine has too little {what} left."""

    temporary = True
    next = """Make room there: the page Overview of its dashboard shows in red how much it needs. It then goes on by
        itself. Messages in its queues are kept"""


def management(dashboard: str | None, broker: Address, path: str = "/overview") -> Any:
    """What RabbitMQ's management API says, asked with the broker's own credentials. Raises Fault.

    dashboard is its base URL, by default at the port of Address.management.
    """
    dashboard = dashboard or broker.management
    try:
        said = get(dashboard, f"/api{path}", (broker.user, broker.password)).json()
        if path == "/overview":
            said["rabbitmq_version"]  # only RabbitMQ has this
        return said
    except ODD:
        raise Fault(f"The program at {dashboard} is not RabbitMQ's management API") from None


def totals(dashboard: str | None, broker: Address) -> dict[str, tuple[int, int]]:
    """{queue: (Ready, Unacked)} of the broker's virtual host, as they are now. Raises Fault.

    Asked like this, RabbitMQ's queues answer themselves. Its other answers, and its pages, are statistics: up to ten
    seconds old, where they are collected every five.
    """
    path = f"/queues/{quote(broker.virtual_host, safe='')}?disable_stats=true&enable_queue_totals=true"
    said = management(dashboard, broker, path)
    try:
        numbers = {one["name"]: (one.get("messages_ready"), one.get("messages_unacknowledged")) for one in said}
    except ODD:
        raise Fault(f"The program at {dashboard} is not RabbitMQ's management API") from None
    # A queue whose node is down has no numbers.
    return {name: both for name, both in numbers.items() if all(isinstance(one, int) and one >= 0 for one in both)}


def alarm(address: Address, dashboard: str | None) -> str | None:
    """What RabbitMQ at an Address has too little of, for example "disk space"; None while it takes messages.

    A program that sends then waits forever. RabbitMQ tells only programs that send, so this sends a message, to nobody.
    What is short, the dashboard says, to users with the tag monitoring. Raises OSError and AMQPError.
    """
    if not address.is_rabbitmq:
        return None
    blocked: list[str] = []  # why
    connection = rabbitmq(address, on_blocked=blocked.append)
    try:
        connection.connect()
        channel = connection.channel()
        channel.confirm_select()
        channel.basic_publish(amqp.Message(""), routing_key="nobody")
        connection.drain_events(ANSWER)  # a confirmation, or the message that it is blocked
    finally:
        connection.collect()
    if not blocked:
        return None
    nodes = []
    with suppress(Fault):
        nodes = management(dashboard, address, "/nodes")
    short = {"disk_free_alarm": "disk space", "mem_alarm": "memory"}
    named = [what for flag, what in short.items() if any(node.get(flag) for node in nodes)]
    return " and ".join(named) or "disk space or memory"


def takes_messages(url: str, dashboard: str | None) -> str:
    """What ask(url) says about a broker that takes messages, too. Raises Fault, BrokerFull for one."""
    product, address = ask(url), Address(url)
    with suppress(*AWAY):
        if short := alarm(address, dashboard):
            raise BrokerFull(where=f"{address.host}:{address.port}", what=short)
    return product
