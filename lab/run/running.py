"""What a lab of ours runs already: in the current folder, or else in its own."""

import os

from lab.fault import Fault
from lab.probe.address import Address
from lab.probe.login import AnothersServer, NothingListens, ask
from lab.probe.web import flower_port
from lab.run.folder import Claim, Facts


def broker() -> Facts:
    """The broker of the lab that runs here, as facts of a Server, with those of its results; {} when none runs."""
    return Claim.held("servers").get("broker") or {}


def join(url: str) -> Address | None:
    """If nothing answers at the broker's url, and a lab that runs here uses Valkey instead, use that from now on.

    Returns its Address; None without one.
    """
    try:
        ask(url)
    except (NothingListens, AnothersServer):
        held = Claim.held("servers")
        if held and held["broker"]["instead"]:
            use(held)
            return Address(held["broker"]["url"])
    except Fault:
        pass  # the code that needs the broker says so
    return None


def use(servers: Facts) -> None:
    """Let this process use these servers, which a lab that runs here has published."""
    for role, variable in (("broker", "CELERY_BROKER_URL"), ("results", "CELERY_RESULT_BACKEND")):
        if servers.get(role):
            os.environ[variable] = servers[role]["url"]


def dashboard(address: Address) -> str | None:
    """Base URL of a broker's dashboard: where the lab that runs here has it, or 10000 above the broker's port.

    None where the broker is not RabbitMQ.
    """
    if not address.is_rabbitmq:
        return None
    held = broker()
    return held["dashboard"] if held.get("url") == address.url else address.management


def flower() -> str:
    """URL of Flower: at FLOWER_PORT, or where the lab that runs here has it, or at 5555. Raises Fault."""
    held = None if os.environ.get("FLOWER_PORT") else Claim.held("stack").get("flower")
    return held or f"http://localhost:{flower_port()}"
