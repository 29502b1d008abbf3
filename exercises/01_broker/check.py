"""Does the broker in celeryconfig.py accept this user, and does its dashboard?"""

from collections.abc import Iterator

from lab.course.kit import (
    Address,
    AlwaysEager,
    Desk,
    Fault,
    GuestFromElsewhere,
    ManagementAway,
    MisspeltSetting,
    NoDatabase,
    NoMachine,
    NoProtocol,
    NotAList,
    NotAnswering,
    NotAssigned,
    NothingListens,
    NoTimeZone,
    OtherFormat,
    OtherServer,
    RedisRefuses,
    UnknownProtocol,
    UnreadableAddress,
    Wrong,
    WrongPassword,
    WrongVirtualHost,
    answers,
    ask,
    place,
    running,
)


class NoBroker(Wrong):
    """celeryconfig.py has no broker_url."""

    next = "Set it to the address that `make servers` shows (`**` hides the password)"


class OtherBroker(Wrong):
    """broker_url begins with {scheme}://, but the checks of this course know only RabbitMQ, at amqp://."""

    next = "Correct the address in celeryconfig.py: `make servers` shows it"


class WrongPort(Wrong):
    """No broker is at port {port} of {host}. It is at port {right}, and accepts your login there."""

    next = "Correct the port in broker_url. The broker's port is 5672; 15672 is the dashboard's"


IS_NOT = "this is not RabbitMQ. It has no users, virtual hosts or dashboard. The next exercises work with it"
MISTYPED = (UnreadableAddress, NoProtocol, UnknownProtocol, NoMachine, NoDatabase)
REFUSALS = (WrongPassword, WrongVirtualHost, GuestFromElsewhere, RedisRefuses)
SETTINGS = (MisspeltSetting, NotAssigned, AlwaysEager, NotAList, OtherFormat, NoTimeZone)
RECOGNISES = (
    *SETTINGS,
    NoBroker,
    *MISTYPED,
    OtherBroker,
    NothingListens,
    WrongPort,
    NotAnswering,
    OtherServer,
    *REFUSALS,
    ManagementAway,
)


def check(desk: Desk) -> Iterator[str]:
    if not desk.configuration["broker_url"]:  # by key, as it is in the file: the attribute prefers the environment's
        raise NoBroker()
    url = desk.configuration.broker_url
    address = Address(url)
    yield f"{place(url)}: broker_url is {address}"
    try:
        product = ask(url)
    except (*MISTYPED, *REFUSALS):
        raise
    except Fault:
        if stand_in := running.join(url):
            yield f"broker: {ask(stand_in.url)} is used instead, at {stand_in}: {IS_NOT}. `make rabbitmq` gets RabbitMQ"
            return
        for port in desk.other_ports(address):
            if answers(url.replace(f":{address.port}", f":{port}")):
                raise WrongPort(port=address.port, host=address.host, right=port) from None
        raise
    if address.is_redis:
        yield f"broker: {product}; {IS_NOT}"
        return
    if not address.is_rabbitmq:
        raise OtherBroker(scheme=address.scheme)
    yield f"broker: {product}, logged in as {address.user!r}, virtual host {address.virtual_host!r}"
    desk.on_dashboard(address, "whoami")
    yield f"dashboard: {running.dashboard(address)} accepts {address.user!r}"
