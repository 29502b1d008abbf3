"""Can the app be imported, does it read celeryconfig.py, and does it know the task?"""

import importlib

from lab.desk import NotRegistered, OtherName
from lab.fault import Wrong
from lab.student import NoApp, NotImportable

JSON = {"json", "application/json"}


class NoConfiguration(Wrong):
    """Your app does not read celeryconfig.py: its {name} is {here!r}, and the file says {there!r}."""

    next = 'Below the line that makes the app, write `app.config_from_object("celeryconfig")`'


class NotOnlyJson(Wrong):
    """Your app accepts {content}, and a message in another format than JSON can run code on the worker."""

    next = 'Write `accept_content = ["json"]` into celeryconfig.py'


RECOGNISES = (NotImportable, NoApp, NoConfiguration, NotOnlyJson, NotRegistered, OtherName)


def check(desk):
    app = desk.app
    for name in vars(importlib.import_module("celeryconfig")):
        # By key, as it is in the file: an attribute would prefer the environment's.
        if not name.startswith("_") and name in app.conf and app.conf[name] != desk.configuration[name]:
            raise NoConfiguration(name=name, here=app.conf[name], there=desk.configuration[name])
    yield f"app: {app.main!r}, with the broker of celeryconfig.py"
    if set(app.conf.accept_content) - JSON:
        raise NotOnlyJson(content=", ".join(app.conf.accept_content))
    yield "content: json, and nothing else"
    yield f"task: {desk.task.name}"
