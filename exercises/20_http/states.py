"""How a student can stand before exercise 20. No worker runs: api.py is asked, and nothing else."""

SEND = "    predict.apply_async([payload], task_id=task_id, retry=False)\n"
ADD = "    waiting.add(task_id)  # the broker has confirmed it\n"
HANDLED = "(OperationalError, AMQPError, RedisError, OSError)"


def stub(student):
    student.hand_out()


not_accepted = stub


def reference(student):
    student.solve()


def no_packages(student):
    """They are installed here, so the file says what Python says without them."""
    student.solve()
    student.edit("api.py", "import json\n", "raise ModuleNotFoundError(\"No module named 'fastapi'\")\n")


def not_importable(student):
    student.solve()
    student.edit("api.py", "from celery import uuid\n", "from celery import uuid4\n")


def sends_nothing(student):
    """It makes the signature of a task."""
    student.solve()
    student.edit("api.py", "predict.apply_async(", "predict.signature(")


def waits_for_result(student):
    student.solve()
    student.edit("api.py", SEND, SEND.rstrip() + ".get()\n")


def no_answer(student):
    """Who asks waits until there is a result."""
    student.solve()
    wait = "    while meta['status'] == 'SENT':\n        time.sleep(1)\n"
    student.edit("api.py", '    match meta["status"]:\n', f'{wait}    match meta["status"]:\n')
    student.edit("api.py", "import json\n", "import json\nimport time\n")


def no_location(student):
    student.solve()
    student.edit("api.py", '    response.headers["Location"] = f"/predictions/{task_id}"\n', "")


def not_remembered(student):
    student.solve()
    student.edit("api.py", ADD, "")


def unknown_found(student):
    student.solve()
    unknown = '            raise HTTPException(404, UNKNOWN)\n        case "SENT"'
    student.edit("api.py", unknown, '            return {"id": task_id, "state": "waiting"}\n        case "SENT"')


def other_state(student):
    """STARTED is one of the states that it does not know."""
    student.solve()
    student.edit("api.py", 'case "STARTED"', 'case "RUNNING"')


def shows_traceback(student):
    student.solve()
    student.edit("api.py", 'str(meta["result"]) or', 'meta["traceback"] or')


def takes_bad_payload(student):
    """Whatever is in the JSON is sent."""
    student.solve()
    student.edit("api.py", 'extra="forbid"', 'extra="allow"')


def takes_large(student):
    student.solve()
    student.edit("api.py", ", max_body_size=LARGEST", "")


def sent_twice(student):
    student.solve()
    student.edit("api.py", "    if key is None:\n", "    if True:\n")


def other_payload(student):
    student.solve()
    student.edit("api.py", 'if known["payload"] != payload:', "if not known:")


def twice_at_once(student):
    student.solve()
    lock = '    with store.lock(f"{name}:lock", timeout=60, sleep=0.02, blocking_timeout=SECONDS):'
    student.edit("api.py", lock, "    if True:")


def blocks_everybody(student):
    student.solve()
    student.edit("api.py", "await in_turn(accept, payload.model_dump(), ", "accept(payload.model_dump(), ")


def not_cancelled(student):
    """It only says so."""
    student.solve()
    student.edit("api.py", "    await in_turn(cancel, task_id)\n", "")


def cancels_too_much(student):
    student.solve()
    student.edit("api.py", "        raise HTTPException(404, UNKNOWN)\n    if state", "        return\n    if state")


def broker_away(student):
    student.solve()
    student.edit("api.py", HANDLED, "[RedisError]")


def backend_away(student):
    student.solve()
    student.edit("api.py", HANDLED, "[OperationalError]")


def no_retry_after(student):
    student.solve()
    student.edit("api.py", ', {"Retry-After": "5"}', "")


def half_sent(student):
    """What may not be sent is remembered."""
    student.solve()
    student.edit("api.py", SEND, "    waiting.add(task_id)\n" + SEND)
