"""What the checks of exercises are made of. A check.py imports from here, and from nowhere else in lab/.

A check is a function, `check(desk: Desk) -> Iterator[str]`: it yields facts, as sentences, and raises the first wrong
state that it finds. The Desk (lab/course/desk.py) is the student's world: app, task, queue, workers, predictions,
Flower. Beside it:

To say something: Wrong is the base of a wrong state (a docstring, and `next`), Fault of what has no name; printable and
counted make text and numbers fit to be shown; is_of_a_check tells a check's own tasks from a student's.

To read what the student wrote: settings, load, tree, literal, nothing_after_return; TASK is the name that the task must
have. Program runs a program of theirs, in any language, in a terminal; in_printed_line finds a Python error in what it
printed, and require_packages one that says that a package is missing.

To ask servers: Address is a parsed URL; ask logs in there, answers says whether that works; get is HTTP; waiting,
consumers, first_message, totals and dead look into queues; findings says what is wrong in a message; ask_workers is
`celery inspect`; running is what a lab runs here. AWAY and ODD are what they raise when nobody answers, or something
odd does. ANSWER is how many seconds they wait.

To start a server of the check's own: own_valkey, which ends however the check ends; url_of says where it is, and
free_port where nobody listens. own_virtual_host is an empty part of the student's RabbitMQ; it raises NotAdministrator
where they may not make one.

To read what a burst or a view saw: History. What trials found: trials, the newest first, each a Record;
with_defaults, what the same faults did with Celery's own settings.

And the wrong states that several exercises recognise.
"""

from lab.course.desk import Desk, broker_of
from lab.course.prediction import is_of_a_check
from lab.course.student import (
    TASK,
    AfterReturn,
    AlwaysEager,
    AsyncPredict,
    MisspeltSetting,
    NoApp,
    NoPackages,
    NotAList,
    NotAssigned,
    NoTimeZone,
    NotImportable,
    OtherFormat,
    OtherModule,
    Program,
    SendsAtImport,
    in_printed_line,
    literal,
    load,
    nothing_after_return,
    require_packages,
    settings,
    tree,
)
from lab.course.wrong import (
    EndsItsProcess,
    NoContrast,
    NoRabbit,
    NotConnected,
    NotReady,
    NotRegistered,
    NoWorker,
    OtherApp,
    OtherFolder,
    OtherName,
    OtherQueue,
    PredictFails,
    SameName,
    Silent,
    StaleCode,
    Suspended,
    TooLong,
    Unreadable,
)
from lab.fault import Fault, Wrong, counted, printable
from lab.live.history import History
from lab.messages import OtherArguments
from lab.probe.address import LOCAL, Address, UnreadableAddress, hidden, place, why_unreadable
from lab.probe.connection import ANSWER, AWAY
from lab.probe.dead import dead
from lab.probe.login import (
    GuestFromElsewhere,
    NoDatabase,
    NoMachine,
    NoProtocol,
    NotAnswering,
    NothingListens,
    OtherServer,
    RedisRefuses,
    UnknownProtocol,
    WrongPassword,
    WrongVirtualHost,
    answers,
    ask,
)
from lab.probe.protocol import findings
from lab.probe.queue import Totals, consumers, first_message, waiting
from lab.probe.rabbitmq import BrokerFull, ManagementAway, totals
from lab.probe.web import ODD, get
from lab.probe.workers import ask_workers
from lab.run import running
from lab.run.servers import NotAdministrator, free_port, own_valkey, own_virtual_host, url_of
from lab.trial.record import Record, trials, with_defaults
