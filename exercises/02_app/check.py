"""Can the app be imported, does it read celeryconfig.py, and does it know the task?"""

import inspect
from collections.abc import Iterator

from celery.app.defaults import DEFAULTS

from lab.course.kit import (
    AsyncPredict,
    Desk,
    NoApp,
    NotImportable,
    NotRegistered,
    OtherArguments,
    OtherModule,
    OtherName,
    SendsAtImport,
    Wrong,
    hidden,
    settings,
)

JSON = {"json", "application/json"}


class NoConfiguration(Wrong):
    """Your app does not read celeryconfig.py: its {name} is {here}, but the file says {there}."""

    next = "The app has a method that reads its configuration from a module. Call it below the line that makes the app"


class OwnSetting(Wrong):
    """my_ml_app.py sets {name} to {here}, but celeryconfig.py sets it to {there}. The app uses its own value."""

    next = "Remove it from my_ml_app.py, so that it is set in one place only"


class NotOnlyJson(Wrong):
    """Your app accepts {content}. A message in another format than JSON can run code on the worker."""

    next = "In celeryconfig.py, accept_content should contain only json, as in the file that you got"


RECOGNISES = (
    NotImportable,
    SendsAtImport,
    NoApp,
    OtherModule,
    NoConfiguration,
    OwnSetting,
    NotOnlyJson,
    NotRegistered,
    OtherName,
    AsyncPredict,
    OtherArguments,
)


def check(desk: Desk) -> Iterator[str]:
    app = desk.app
    # By key, as it is in the file: an attribute would prefer the environment's.
    wanted = {name: desk.configuration[name] for name in settings() if name in app.conf}
    heeded = any(app.conf[name] == value != DEFAULTS.get(name) for name, value in wanted.items())
    for name, value in wanted.items():
        if app.conf[name] != value:
            kind = OwnSetting if heeded else NoConfiguration
            raise kind(name=name, here=shown(app.conf[name]), there=shown(value))
    yield f"app: {app.main!r}, with the broker of celeryconfig.py"
    if set(app.conf.accept_content) - JSON:
        raise NotOnlyJson(content=", ".join(app.conf.accept_content))
    yield "content: json, and nothing else"
    if inspect.iscoroutinefunction(desk.task.run):
        raise AsyncPredict()
    try:
        inspect.signature(desk.task.run).bind({"message": "hello"})
    except TypeError as error:
        raise OtherArguments(error=error) from None
    yield f"task: {desk.task.name}"


def shown(value):
    """A setting's value as a person reads it, without a password."""
    return hidden(value) if "://" in str(value) else repr(value)
