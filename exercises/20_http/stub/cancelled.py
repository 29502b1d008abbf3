"""For a worker: what was cancelled before it started, it does not begin. celery -A my_ml_app worker -I cancelled

`revoke()` tells the workers that run, and they keep it in memory. A worker that starts reads what api.py has kept.
"""

from celery.signals import worker_ready
from celery.worker import state

from my_ml_app import app


@worker_ready.connect  # it hears `revoke()` already, and has not begun anything
def learn(**_):
    state.revoked.update(one.decode() for one in app.backend.client.zrange("predictions:cancelled", 0, -1))
