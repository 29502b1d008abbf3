"""Can the app be imported, does it read celeryconfig.py, and does it know the task?"""

from lab.desk import NotRegistered, OtherName
from lab.observe import Wrong
from lab.student import NoApp, NotImportable

JSON = {"json", "application/json"}


class NoConfiguration(Wrong):
    """Your app does not read celeryconfig.py: its broker is {broker}."""

    next = 'Below the line that makes the app, write `app.config_from_object("celeryconfig")`'


class NotOnlyJson(Wrong):
    """Your app accepts {content}, and a message in another format than JSON can run code on the worker."""

    next = 'Write `accept_content = ["json"]` into celeryconfig.py'


RECOGNISES = (NotImportable, NoApp, NoConfiguration, NotOnlyJson, NotRegistered, OtherName)


def check(desk):
    app = desk.app
    broker = app.conf["broker_url"]  # as it is in the file: an attribute would prefer the environment's
    if broker != desk.configuration["broker_url"]:
        raise NoConfiguration(broker=broker or "Celery's default")
    yield f"app: {app.main!r}, with the broker of celeryconfig.py"
    if set(app.conf.accept_content) - JSON:
        raise NotOnlyJson(content=", ".join(app.conf.accept_content))
    yield "content: json, and nothing else"
    yield f"task: {desk.task.name}"
