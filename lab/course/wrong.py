"""Wrong states that the checks of several exercises recognise."""

from lab.fault import Wrong


class NotRegistered(Wrong):
    """The app has no task called predict: it knows {tasks}."""

    next = """A function becomes a task by a decorator on the line above it, and by being called predict: see
        `lab hint 2`"""


class OtherName(Wrong):
    """The task is registered as {name!r}, and others will ask for 'my_ml_app.predict'."""

    next = """Celery names a task after its module and its function, small and capital letters as they are there. Let
        the function in my_ml_app.py be called predict, and give `@app.task` no other name"""


class NoWorker(Wrong):
    """No worker answers, and {waiting} in the queue {queue!r}."""

    next = """In terminal 2: `celery -A my_ml_app worker`. If it ends at once, the last lines there say why"""


class Suspended(Wrong):
    """The worker in process {pid} is suspended: it is there, and nothing of it runs (Ctrl-Z does that)."""

    next = "Type `fg` in terminal 2: it goes on where it was. Or, from elsewhere: `kill -CONT {pid}`"


class Silent(Wrong):
    """The queue {queue!r} has {consumers}, and {answering}. Perhaps a worker is suspended, or another program takes
    the messages."""

    next = """If terminal 2 shows a prompt and the word Stopped, type `fg` there. Otherwise look for what takes
        messages, in each terminal and in Docker, and end it"""


class NotReady(Wrong):
    """The worker in process {pid} does not answer: {why}."""

    passes = True
    next = (
        "Wait a moment, and check again. Once terminal 2 shows a prompt, start the worker: `celery -A my_ml_app worker`"
    )


class NotConnected(Wrong):
    """The worker in process {pid} has no connection to your broker at {ours}: it was started with {theirs}."""

    next = """If you typed an `export …` line into another terminal, type it into terminal 2 too. End the worker there
        (Ctrl-C), and start it again, without `-b`"""


class Unreadable(Wrong):
    """The first message in the queue {queue!r} ends each worker that takes it, and stays: it has {flaw}. It says
    {body}."""

    next = """Empty the queue, with all that waits there: `celery -A my_ml_app purge`. Then start the worker again, and
        send with `predict.delay(payload)`, which writes messages as a worker needs them"""


class OtherApp(Wrong):
    """{worker} takes messages from the queue {queue!r}, and does not know the task my_ml_app.predict: it runs another
    app, and discards your messages. It knows {tasks}."""

    next = "End that worker (Ctrl-C), and start yours, in this folder: `celery -A my_ml_app worker`"


class OtherQueue(Wrong):
    """{worker} takes messages from {queues}, and your app sends them to the queue {queue!r}."""

    next = "Start it without `-Q`, or with `-Q {queue}`: `celery -A my_ml_app worker -Q {queue}`"


class OtherFolder(Wrong):
    """{worker} runs in the folder {theirs}, and not in yours: it takes your messages, and runs the code from there."""

    next = "End it there (Ctrl-C, or `exit` in a `make lab`). Then, in your folder: `celery -A my_ml_app worker`"


class SameName(Wrong):
    """{number} workers are called {worker}: Celery takes them for one. With RabbitMQ, the second one would end at once
    with `RESOURCE_LOCKED`."""

    next = "End one of them. Or give it a name of its own: `celery -A my_ml_app worker -n w2@%h`"


class StaleCode(Wrong):
    """{worker} started {seconds} seconds before you last changed {file}: it runs what was in it before."""

    next = "End the worker in terminal 2 with Ctrl-C, and start it again"


class TooLong(Wrong):
    """The check waited for {what}, and it did not happen in {seconds} seconds."""

    passes = True
    next = "See what the worker in terminal 2 says, and check again"
