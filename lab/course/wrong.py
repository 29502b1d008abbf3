"""Wrong states that the checks of several exercises recognise."""

from lab.fault import Wrong


class NoRabbit(Wrong):
    """This exercise needs RabbitMQ, but {found}."""

    next = """`make rabbitmq` installs it. Then `make servers` starts it in terminal 1. Or skip this exercise: few need
        RabbitMQ"""


class NotRegistered(Wrong):
    """The app has no task called predict: it knows {tasks}."""

    next = "A decorator on the line above makes a function a task, and its name must be predict: see `lab hint 2`"


class OtherName(Wrong):
    """The task is registered as {name!r}, but others will ask for 'my_ml_app.predict'."""

    next = """Celery names a task after its module and its function, with the same small and capital letters. Call the
        function in my_ml_app.py predict, and give `@app.task` no other name"""


class NoWorker(Wrong):
    """No worker answers, and {waiting} in the queue {queue!r}."""

    next = "In terminal 2: `celery -A my_ml_app worker`. If it ends at once, the last lines there say why"


class Suspended(Wrong):
    """The worker in process {pid} is suspended (Ctrl-Z does that): it is there, but it does nothing."""

    next = "Type `fg` in terminal 2: it goes on where it was. Or, in another terminal: `kill -CONT {pid}`"


class Silent(Wrong):
    """The queue {queue!r} has {consumers}, but {answering}. Perhaps a worker is suspended, or another program takes the
    messages."""

    next = """If terminal 2 shows a prompt and the word Stopped, type `fg` there. Otherwise look in each terminal and in
        Docker for the program that takes messages, and end it"""


class NotReady(Wrong):
    """The worker in process {pid} does not answer: {why}."""

    temporary = True
    next = """Wait a moment, and check again. If terminal 2 shows a prompt, start the worker: `celery -A my_ml_app
        worker`"""


class NotConnected(Wrong):
    """The worker in process {pid} is not connected to your broker at {ours}: it was started with {theirs}."""

    next = """Did you type an `export …` line in another terminal? Type it in terminal 2 too. End the worker there
        (Ctrl-C), and start it again, without `-b`"""


class Unreadable(Wrong):
    """The first message in the queue {queue!r} ends every worker that takes it, and stays there. {flaw} Its body is
    {body}."""

    next = """Empty the queue, with all that waits there: `celery -A my_ml_app purge`. Then start the worker again, and
        send with `predict.delay(payload)`: it writes messages that a worker can read"""


class OtherApp(Wrong):
    """{worker} takes messages from the queue {queue!r}, but does not know the task my_ml_app.predict. It runs another
    app, and discards your messages. It knows {tasks}."""

    next = "End that worker (Ctrl-C), and start yours, in this folder: `celery -A my_ml_app worker`"


class OtherQueue(Wrong):
    """{worker} takes messages from {queues}, but your app sends them to the queue {queue!r}."""

    next = "Start the worker without `-Q`, or with your queue: `celery -A my_ml_app worker -Q {queue}`"


class OtherFolder(Wrong):
    """{worker} runs in the folder {theirs}, not in yours: it takes your messages, but runs the code from there."""

    next = "End it there (Ctrl-C, or `exit` in a `make lab`). Then, in your folder: `celery -A my_ml_app worker`"


class NoContrast(Wrong):
    """Your trial at {time} lost nothing, but you have not seen the same faults with Celery's own settings."""

    next = "Hold it once more, with `--defaults`: then both run, one after the other"


class SameName(Wrong):
    """{number} workers are called {worker}: Celery cannot tell them apart. With RabbitMQ, the second one would end at
    once with `RESOURCE_LOCKED`."""

    next = "End one of them, or give it another name: `celery -A my_ml_app worker -n w2@%h`"


class StaleCode(Wrong):
    """{worker} started {seconds} seconds before you last changed {file}: it runs the old code."""

    next = "End the worker in terminal 2 with Ctrl-C, and start it again"


class TooLong(Wrong):
    """The check waited {seconds} seconds for {what}, but it did not happen."""

    temporary = True
    next = "See what the worker in terminal 2 says, and check again"


class PredictFails(Wrong):
    """predict failed: {error}."""

    next = """Correct the line that terminal 2 shows. A name that is not defined must be imported first. Then start the
        worker again"""


class EndsItsProcess(Wrong):
    """predict ended the pool process in which it ran: it did not return, and did not raise an error."""

    next = """Look in predict for what ends Python itself, for example `exit()`. Terminal 2 shows with which signal or
        exit status the process ended. Then start the worker again"""
