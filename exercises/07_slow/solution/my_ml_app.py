"""The Celery app and its one task, predict."""

import time

from celery import Celery

app = Celery("my_ml_app")

# Load the Celery configuration from celeryconfig.py
app.config_from_object("celeryconfig")


@app.task
def predict(payload):
    """Simulate a slow prediction function"""
    print("Received:")
    print(payload)

    # Simulate a long task
    time.sleep(10)

    print("Ended processing:")
    print(payload)
    return
