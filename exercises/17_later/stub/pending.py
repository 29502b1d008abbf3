"""What Celery says about predictions, with and without a result. A worker has to run: celery -A my_ml_app worker"""

import time
from uuid import uuid4

from celery import Celery

from my_ml_app import app, predict

PAYLOAD = {"message": "Is it true?"}


def show(what, task_id):
    print(f"{what:40} {app.AsyncResult(task_id).state}", flush=True)


show("never sent", str(uuid4()))

waits = predict.apply_async([PAYLOAD], queue="nobody")  # no worker takes from this queue
show("waits in a queue", waits.id)
with app.connection_for_write() as connection:
    connection.default_channel.queue_delete("nobody")

ignored = predict.apply_async([PAYLOAD], ignore_result=True)
done = predict.delay(PAYLOAD)
done.get(timeout=60)
show("done, and its result was ignored", ignored.id)
show("done", done.id)

app.backend.store_result(done.id, None, "SENT")
show("done, then marked as SENT", done.id)

app.backend.expire(app.backend.get_key_for_task(done.id), 1)  # in a second, and not after result_expires
time.sleep(1.5)
show("done, and its result has expired", done.id)

failed = app.send_task(predict.name)  # without a payload, so it fails
failed.get(timeout=60, propagate=False)
show("failed", failed.id)

app.backend.store_result(failed.id, None, "SENT")
show("failed, then marked as SENT", failed.id)

failed.forget()
show("failed, and its result was forgotten", failed.id)

try:
    Celery(backend="disabled://").AsyncResult(done.id).get()
except NotImplementedError:
    print(f"{'without a result backend':40} NotImplementedError")
