"""Does the student's Flower ask for a password, and has it sent a prediction and scaled a pool over its API?"""

import re
from collections.abc import Iterator
from contextlib import suppress

import httpx
import psutil

from lab.course.kit import ANSWER, TASK, Desk, Fault, NotImportable, Wrong, counted, is_of_a_check, load, printable

FILE = "flower_api.py"
START = f"`celery -A my_ml_app flower --conf={FILE}`"
PATIENCE = 3  # seconds for a prediction, and a pool process, to be known
ELSEWHERE = {"Origin": "http://elsewhere.example", "Sec-Fetch-Site": "cross-site"}  # as a browser says it


class NoPassword(Wrong):
    """flower_api.py has no user and password for Flower: {found}."""

    next = (
        "`basic_auth` is a list of texts, each a user, a colon and a password. `me:secret` will do on your own machine"
    )


class NoFlower(Wrong):
    """Nothing listens at {flower}, where the check looks for Flower."""

    next = f"In terminal 4: {START}. If it has another port, tell the lab in terminal 5: `export FLOWER_PORT=5556`"


class OtherProgram(Wrong):
    """The program at {flower} is not Flower: asked for its health, it says {said!r}."""

    next = f"""End that program. Or start Flower with another port, {START[:-1]} --port=5556`, and tell the lab in
        terminal 5: `export FLOWER_PORT=5556`"""


class OpenApi(Wrong):
    """Flower's API at {flower} obeys everybody: {how}. Any web page that you visit may send predictions to your queue,
    and end your workers."""

    next = f"End it, start a terminal in which FLOWER_UNAUTHENTICATED_API is not set, and there: {START}"


class WithoutPassword(Wrong):
    """Flower at {flower} asks for no password: everybody on this machine sees your predictions, and its API is closed,
    for you too."""

    next = f"End it (Ctrl-C in terminal 4). Then start it with your file: {START}"


class InProcessList(Wrong):
    """Flower's password stands in its command, `{option}`: everybody on this machine can read it there, with `ps`."""

    next = f"End it (Ctrl-C in terminal 4). Then start it with the file that only you need to read: {START}"


class OtherPassword(Wrong):
    """Flower at {flower} does not take the user and the password in flower_api.py."""

    next = f"Flower has read an older file, or another one. End it (Ctrl-C in terminal 4), and start it again: {START}"


class NobodySent(Wrong):
    """Flower at {flower} knows no prediction of yours: none was sent since it started."""

    next = """Post one to `/api/task/apply/my_ml_app.predict`, as the README shows. Did you? Then start the worker with
        `--task-events`, and post again: Flower knows only what workers tell it"""


class PoolNotGrown(Wrong):
    """{worker} was started with {size}, and nobody has made its pool larger since then."""

    next = """Post to `/api/worker/pool/grow/` and the worker's name, as the README shows, to a worker that was started
        with `--concurrency=2`"""


RECOGNISES = (
    NotImportable,
    NoPassword,
    NoFlower,
    OtherProgram,
    OpenApi,
    WithoutPassword,
    InProcessList,
    OtherPassword,
    NobodySent,
    PoolNotGrown,
)


def check(desk: Desk) -> Iterator[str]:
    login = written()
    with httpx.Client(base_url=desk.flower, trust_env=False, timeout=ANSWER) as flower:
        if (said := ask(flower, "/healthcheck").text) != "OK":
            raise OtherProgram(flower=desk.flower, said=printable(said, 40))
        closed(flower, desk.flower)
        flower.auth = login
        if ask(flower, "/api/workers?status=1").status_code == httpx.codes.UNAUTHORIZED:
            raise OtherPassword(flower=desk.flower)
        yield f"Flower: {desk.flower} asks for a password, and takes yours; /healthcheck and /metrics ask for none"
        # A task that nobody knows: if Flower let this in, it would answer 404, and send nothing.
        status = ask(flower, "/api/task/async-apply/nobody", "POST", headers=ELSEWHERE).status_code
        yield f"from a page on another origin, even with your password: {status}"
        yield from desk.ready()
        yield desk.worker_fact()
        sent = desk.wait(lambda: predictions(flower), "Flower to know of a prediction", PATIENCE)
        if not sent:
            raise NobodySent(flower=desk.flower)
        yield f"predictions in Flower: {len(sent)}, the last one {printable(sent[-1]['args'])}: {sent[-1]['state']}"
        yield grown(desk)


def written():
    """The user and the password in the student's file. Raises NoFile, NotImportable and NoPassword."""
    logins = getattr(load(FILE.removesuffix(".py")), "basic_auth", None)
    if logins is None:
        raise NoPassword(found="it does not set basic_auth")
    if not isinstance(logins, list) or not logins or not all(isinstance(one, str) and ":" in one for one in logins):
        raise NoPassword(found=f"its basic_auth is {printable(repr(logins), 60)}")
    return tuple(logins[0].split(":", 1))


def ask(flower, path, method="GET", **options):
    """The answer of Flower, whatever its status. Raises NoFlower, and Fault when it does not answer."""
    try:
        return flower.request(method, path, **options)
    except httpx.ConnectError:
        raise NoFlower(flower=flower.base_url) from None
    except httpx.HTTPError as error:
        found = f"Flower at {flower.base_url} does not answer: {printable(error).rstrip('.') or type(error).__name__}"
        raise Fault(found, f"End it (Ctrl-C in terminal 4), and start it again: {START}") from None


def closed(flower, url):
    """Raise OpenApi, WithoutPassword or InProcessList if somebody without a password may do, or know, too much."""
    answer = ask(flower, "/api/workers?status=1")
    if answer.is_success:
        raise OpenApi(flower=url, how="nobody is asked for a password")
    if origin := answer.headers.get("access-control-allow-origin"):
        raise OpenApi(flower=url, how=f"it sends `Access-Control-Allow-Origin: {printable(origin)}`")
    if ask(flower, "/workers").status_code != httpx.codes.UNAUTHORIZED:
        raise WithoutPassword(flower=url)
    for word in command_of(httpx.URL(url).port):
        if re.match("--?basic[_-]auth", word):
            raise InProcessList(option=re.sub("=.*", "=…", word))


def command_of(port):
    """The command of the Flower that listens at a port of this machine; nothing when it cannot be seen."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            command = process.cmdline()
            if "flower" in command and any(one.laddr.port == port for one in process.net_connections("tcp")):
                return command
    return []


def grown(desk):
    """The fact that the worker's pool has more processes than it was started with. Raises PoolNotGrown."""
    started = desk.worker.stats["pool"]["max-concurrency"]

    def larger():
        processes = (desk.inspect("stats") or desk.worker.stats)["pool"].get("processes", [])
        return len(processes) if len(processes) > started else None

    number = not desk.worker.autoscale and desk.wait(larger, "the pool to grow", PATIENCE)
    if not number:
        raise PoolNotGrown(worker=desk.worker.name, size=counted(started, "pool process"))
    return f"workers: {desk.worker.name}, started with {counted(started, 'pool process')}, has {number} by now"


def predictions(flower):
    """What Flower knows of the student's own predictions, the oldest first; it keeps them in memory."""
    try:
        tasks = ask(flower, "/api/tasks").json()
    except ValueError:
        return []
    own = [one for name, one in tasks.items() if one["name"] == TASK and not is_of_a_check(name)]
    return sorted(own, key=lambda one: one["timestamp"])
