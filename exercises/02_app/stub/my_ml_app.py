"""The Celery app and its one task, predict."""

from celery import Celery

# TODO exercise 02: make the app, and let it read celeryconfig.py


# TODO exercise 02: make this a task
def predict(payload):
    """Simulate a prediction function"""
    print("Received:")
    print(payload)
    return
