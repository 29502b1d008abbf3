"""Does the broker of celeryconfig.py let this user in, and its dashboard too?"""

from lab.fault import Fault, Wrong
from lab.observe import (
    Address,
    GuestFromElsewhere,
    ManagementAway,
    NotAnswering,
    NothingListens,
    WrongPassword,
    WrongVirtualHost,
    ask,
)


class NoBroker(Wrong):
    """celeryconfig.py sets no broker_url."""

    next = "Write it there: `broker_url = ...`, with the address that `make servers` shows"


class WrongPort(Wrong):
    """No broker is at port {port} of {host}: it is at port {right}, and lets you in there."""

    next = "Write {right} instead of {port} into broker_url. (15672 is the dashboard's port, 5672 the broker's)"


REFUSALS = (WrongPassword, WrongVirtualHost, GuestFromElsewhere)
RECOGNISES = (NoBroker, NothingListens, WrongPort, NotAnswering, *REFUSALS, ManagementAway)


def check(desk):
    url = desk.configuration.broker_url
    if not url:
        raise NoBroker()
    address = Address(url)
    yield f"celeryconfig.py: broker_url is {address}"
    try:
        product = ask(url)
    except REFUSALS:
        raise
    except Fault:
        if stand_in := desk.join(url):
            yield f"broker: Valkey stands in, at {stand_in}. It has no dashboard: `make rabbitmq` gets you RabbitMQ"
            return
        for port in desk.other_ports(address):
            if lets_in(url.replace(f":{address.port}", f":{port}")):
                raise WrongPort(port=address.port, host=address.host, right=port) from None
        raise
    if not address.is_rabbitmq:
        yield f"broker: {product}. It has no dashboard"
        return
    yield f"broker: {product}, logged in as {address.user!r}, virtual host {address.virtual_host!r}"
    desk.on_dashboard(address, "overview")
    yield f"dashboard: {desk.dashboard(address)} lets {address.user!r} in"


def lets_in(url):
    try:
        return ask(url)
    except Fault:
        return None
