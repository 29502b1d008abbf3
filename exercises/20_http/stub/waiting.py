"""What a queue does not say: who waits in which order, and how fast it goes. api.py asks; all of it is kept in Redis.

An id has one state, where its result will be: SENT, which api.py stores, then STARTED and SUCCESS or FAILURE, which the
worker stores in its place. REVOKED is what was cancelled. PENDING is Celery's word for an id that it does not know.
"""

import json
import time

from my_ml_app import app

WAITING, RUNNING, ENDED = "predictions:waiting", "predictions:running", "predictions:ended"
PACE = "predictions:pace"  # how many had ended, and when that was seen, for the last hundred times
CANCELLED = "predictions:cancelled"  # which cancelled.py reads when a worker starts
WAITS = {"SENT", "RETRY"}  # the states of what has not begun
AT_ONCE = 20  # ids that are looked at together: about as many as run at a time

# Who asks over HTTP does not wait for a server that says nothing: one try, and a few seconds.
app.conf.update(
    broker_transport_options={"confirm_publish": True, "max_retries": 0, "read_timeout": 5, "socket_timeout": 5},
    redis_socket_timeout=3,
    result_backend_always_retry=False,
    result_backend_transport_options={"retry_policy": {"max_retries": 1}},
)


def mark(task_id, state, instead_of):
    """Store a state under an id, but only in place of one of these: a worker may be faster. Whether it was stored."""
    key = app.backend.get_key_for_task(task_id)

    def swap(pipe):
        if fits := state_of(pipe.get(key)) in instead_of:
            pipe.multi()
            meta = {"task_id": task_id, "status": state, "result": None}
            pipe.set(key, json.dumps(meta), ex=app.backend.expires or None)
        return fits

    return app.backend.client.transaction(swap, key, value_from_callable=True)


def state_of(stored):
    return json.loads(stored)["status"] if stored else "PENDING"


def states(ids):
    return [state_of(one) for one in app.backend.mget(map(app.backend.get_key_for_task, ids))] if ids else []


def add(task_id):
    """Remember an id that was sent."""
    if mark(task_id, "SENT", {"PENDING"}):
        app.backend.client.zadd(WAITING, {task_id: time.time()})


def cancel(task_id):
    """Tell all workers, and those that start later, not to begin an id. Whether it waited."""
    now, store = time.time(), app.backend.client
    store.zadd(CANCELLED, {task_id: now})
    store.zremrangebyscore(CANCELLED, 0, now - (app.backend.expires or now))
    with app.connection_for_write() as connection:  # one that does not try for ever
        app.control.revoke(task_id, connection=connection)
    if waited := mark(task_id, "REVOKED", WAITS):
        store.zrem(WAITING, task_id)
    else:
        store.zrem(CANCELLED, task_id)  # it may have to begin again, when its worker dies
    return waited


def look():
    """Note what has begun, and what has ended."""
    store = app.backend.client
    while ids := store.zrange(WAITING, 0, AT_ONCE - 1):
        found = dict(zip(ids, states(ids), strict=True))
        if not (gone := [task_id for task_id in ids if found[task_id] not in WAITS]):
            break
        if begun := [task_id for task_id in gone if found[task_id] not in ("PENDING", "REVOKED")]:
            store.sadd(RUNNING, *begun)
        # One that was overtaken is no longer in the queue: a worker holds it, or it is lost.
        store.zrem(WAITING, *ids[: ids.index(gone[-1]) + 1])
    running = list(store.smembers(RUNNING))
    ended = [task_id for task_id, state in zip(running, states(running), strict=True) if state != "STARTED"]
    if ended and (number := store.srem(RUNNING, *ended)):  # who asks at the same moment counts none twice
        store.zadd(PACE, {store.incrby(ENDED, number): time.time()})
        store.zremrangebyrank(PACE, 0, -101)


def place(task_id):
    """(how many begin before it, how many seconds until it begins). The seconds are None while nobody can know them.

    Only what was sent here is counted. The seconds come from what has ended since the first that waits was sent: since
    then, no worker was idle. They do not know whether there will be more workers, or fewer.
    """
    look()
    store = app.backend.client
    position, first = store.zrank(WAITING, task_id) or 0, store.zrange(WAITING, 0, 0, withscores=True)
    seen = first and store.zrangebyscore(PACE, first[0][1], "+inf", withscores=True)
    if not seen or len(seen) == 1:
        return position, None
    (before, begin), (after, end) = seen[0], seen[-1]
    number = int(after) - int(before)
    each = max((end - begin) / number, (time.time() - begin) / (number + 1))  # the next one has not ended yet
    return position, round((position + 1) * each, 1)
