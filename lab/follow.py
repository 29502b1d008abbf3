"""What happens to predictions, told as it happens: Celery's events, the broker's counts, and the workers' answers."""

import os
import socket
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial
from queue import Empty, SimpleQueue

import psutil
from celery.utils.nodenames import nodesplit

from lab.fault import Fault
from lab.observe import ANSWER, AWAY, Totals, ask, totals, wait_until

LOOK = 0.1  # seconds between two looks for events
HEARING = 1  # seconds in which every worker answers a question to all of them
EVERY = 0.5  # seconds between two rounds of questions to broker and workers
ROLL_CALL = 5  # seconds between two calls to all workers to send events; Flower's come as often
GONE = 15  # seconds without a sign of a worker elsewhere; its heartbeat comes every 2
TTL = 60  # seconds that an event waits for a busy follower; Celery's 5 would lose the end of a large burst
EVENTS_SWITCHED_ON = {"ok": "task events enabled"}  # what a worker answers that sent none of its tasks
KINDS = {"sent", "received", "started", "succeeded", "failed", "retried", "rejected", "revoked"}


@contextmanager
def hearing(app, note):
    """Call note(event) for each event of workers and producers from now on, in a thread, which is yielded.

    The thread ends when the broker goes away.
    """
    heard, mark = threading.Event(), f"{os.getpid()}-{time.monotonic_ns()}"

    def hear(event):
        if event["type"] == "lab-listens":
            if event["mark"] == mark:
                heard.set()
        else:
            note(event)

    def listen():
        with suppress(*AWAY):
            for _ in receiver.consume(safety_interval=LOOK, wakeup=False):
                pass

    def announced():
        announcer.send("lab-listens", mark=mark)
        return heard.wait(LOOK)

    with app.connection_for_read() as connection, app.events.default_dispatcher() as announcer:
        connection.connect()
        receiver = app.events.Receiver(connection, handlers={"*": hear}, queue_ttl=TTL)
        # Timestamps are seconds since 1970 everywhere: Celery would move them by the difference of two time zones.
        receiver.event_from_message = partial(receiver.event_from_message, localize=False)
        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        try:
            # With Redis, events that come before the first look for them are lost: so hear one's own first.
            wait_until(announced, HEARING)
            yield listener
        finally:
            receiver.should_stop = True
            listener.join(HEARING)


def switch_events_on(app, workers=None, connection=None):
    """Let workers, by default all, send events of their tasks: their names, and of these who did not do so before."""
    answers = app.control.enable_events(
        workers, reply=True, timeout=HEARING, limit=workers and len(workers), connection=connection
    )
    said = {name: say for answer in answers or [] for name, say in answer.items()}
    return list(said), [name for name, say in said.items() if say == EVENTS_SWITCHED_ON]


class Follower:
    """Tells what happens until it is closed, as facts: {"time": seconds since 1970, "fact": kind, …}. The kinds:

    sent, received, started, succeeded, failed, retried, rejected, revoked: Celery's event of a task (id; worker, unless
    sent; why, when it failed or is tried again; requeue, when rejected; runtime in seconds, when it succeeded).
    active: what a worker runs (worker; tasks, each with id, process or None, and when it started).
    pool: the processes of a worker's pool, when others than before, None for each thread. gone: a worker has not been
    heard since (worker; lost, unless it had said that it ends).
    counts: the broker's: ready, {queue: messages that wait}; unacked, how many workers hold, or None if nobody says.
    broker: whether it answers; why, if not.
    """

    def __init__(self, desk):
        self._app, self._desk = desk.app, desk
        self._told = SimpleQueue()
        self._queues = {desk.app.conf.task_default_queue}
        self._signs = {}  # worker: when it was last heard
        self._pools = {}  # worker: its processes
        self._mains = {}  # worker: its main process, if it runs on this machine
        self._leaving = set()  # workers that have said that they end, and may yet finish what they run
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join(2 * ANSWER)

    def facts(self):
        """All that was told since the last time."""
        with suppress(Empty):
            while True:
                yield self._told.get_nowait()

    def _tell(self, fact, at=None, **details):
        self._told.put({"time": round(at or time.time(), 4), "fact": fact, **details})

    def _follow(self):
        why = None
        while not self._over.is_set():
            try:
                ask(self._app.conf.broker_url)
                with hearing(self._app, self._note) as heard:
                    why = None
                    self._tell("broker", answers=True)
                    self._call_roll(None)
                    self._repeat_all(heard)
            except (*AWAY, Fault) as error:
                if why is None:
                    why = error.sentences() if isinstance(error, Fault) else f"The broker does not answer: {error}."
                    self._tell("broker", answers=False, why=why)
                self._over.wait(EVERY)

    def _repeat_all(self, heard):
        """Ask for everything, each in a thread of its own, until this is closed or one of them finds no broker."""
        failed = threading.Event()
        jobs = (self._count, EVERY), (self._ask, EVERY), (self._call_roll, ROLL_CALL)
        threads = [threading.Thread(target=self._repeat, args=(failed, *job), daemon=True) for job in jobs]
        for thread in threads:
            thread.start()
        while all(thread.is_alive() for thread in (heard, *threads)) and not self._over.wait(LOOK):
            pass
        failed.set()
        for thread in threads:
            thread.join(ANSWER)

    def _repeat(self, failed, job, every):
        with suppress(*AWAY), self._app.connection_for_read() as connection:
            connection.connect()
            while not failed.wait(every):
                job(connection)

    def _note(self, event):
        group, _, kind = event["type"].partition("-")
        worker = event["hostname"]
        if group == "worker":
            self._signs[worker] = time.time()
            if kind in ("offline", "online"):
                (self._leaving.add if kind == "offline" else self._leaving.discard)(worker)
        elif group == "task" and kind in KINDS:
            details = {"id": event["uuid"], "worker": worker}
            if kind == "sent":
                details = {"id": event["uuid"]}
                self._queues.add(event["queue"] or self._app.conf.task_default_queue)
            else:
                self._signs[worker] = time.time()
            if "exception" in event:
                details["why"] = event["exception"][:200]
            details |= {name: event[name] for name in ("requeue", "runtime") if name in event}
            self._tell(kind, event["timestamp"], **details)

    def _call_roll(self, connection):
        """Find all workers, also those without heartbeats, and let them send events."""
        self._switch_events_on(None, connection)

    def _switch_events_on(self, workers, connection):
        found, _ = switch_events_on(self._app, workers, connection)
        self._signs |= dict.fromkeys(found, time.time())

    def _ask(self, connection):
        for worker in [worker for worker in self._leaving & self._signs.keys() if self._is_gone(worker)]:
            self._gone(worker)
        known = sorted(self._signs.keys() - self._leaving)
        if new := [worker for worker in known if worker not in self._pools]:
            self._switch_events_on(new, connection)
            for queues in (self._inspect(connection, new).active_queues() or {}).values():
                self._queues.update(queue["name"] for queue in queues)
        if known:
            inspect = self._inspect(connection, known)
            pools, active = inspect.stats() or {}, inspect.active() or {}
            for worker in known:
                self._see(worker, pools.get(worker), active.get(worker))

    def _inspect(self, connection, workers):
        return self._app.control.inspect(workers, HEARING, connection=connection, limit=len(workers))

    def _see(self, worker, stats, active):
        if stats:
            self._signs[worker] = time.time()
            if nodesplit(worker)[1] == socket.gethostname():
                self._mains[worker] = stats["pid"]
            pool = stats["pool"]
            processes = sorted(pool.get("processes") or []) or [None] * pool["max-concurrency"]
            if self._pools.get(worker) != processes:
                self._pools[worker] = processes
                self._tell("pool", worker=worker, processes=processes)
        elif self._is_gone(worker):
            self._gone(worker)
        if active is not None:
            self._tell("active", worker=worker, tasks=[self._running(task) for task in active if task["time_start"]])

    def _running(self, task):
        process = task["worker_pid"]
        if process not in self._pools.get(task["hostname"], []):
            process = None  # a thread has no process of its own
        return {"id": task["id"], "process": process, "started": round(task["time_start"], 4)}

    def _is_gone(self, worker):
        """A worker on this machine may be busy as long as it likes; of another one only its signs are seen."""
        if worker in self._mains:
            with suppress(psutil.NoSuchProcess):
                return psutil.Process(self._mains[worker]).status() == psutil.STATUS_ZOMBIE
            return True
        return time.time() - self._signs[worker] > GONE

    def _gone(self, worker):
        sign = self._signs.pop(worker)
        self._mains.pop(worker, None)
        if self._pools.pop(worker, None) is not None:
            self._tell("gone", sign, worker=worker, lost=worker not in self._leaving)
        self._leaving.discard(worker)

    def _count(self, connection):
        """Ready and Unacked of one moment: of RabbitMQ from its dashboard, if it has one, and otherwise Ready alone."""
        broker = self._desk.broker
        if broker.is_rabbitmq:
            with suppress(Fault):
                counts = totals(self._desk.dashboard(broker), broker)
                counts = {queue: counts.get(queue, Totals(0, 0)) for queue in sorted(self._queues)}
                ready = {queue: one.ready for queue, one in counts.items()}
                return self._tell("counts", ready=ready, unacked=sum(one.unacked for one in counts.values()))
        ready = {}
        for queue in sorted(self._queues):
            channel = connection.channel()
            try:
                ready[queue] = channel.queue_declare(queue, passive=True).message_count
            except connection.channel_errors:
                ready[queue] = 0
            finally:
                channel.close()
        unacked = None
        if broker.is_redis:
            channel = connection.default_channel
            unacked = channel.client.hlen(channel.unacked_key)
        self._tell("counts", ready=ready, unacked=unacked)
