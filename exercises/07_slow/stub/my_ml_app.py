"""The Celery app and its one task, predict."""

from celery import Celery

app = Celery("my_ml_app")

# Load the Celery configuration from celeryconfig.py
app.config_from_object("celeryconfig")


@app.task
def predict(payload):
    """Simulate a slow prediction function"""
    print("Received:")
    print(payload)

    # TODO exercise 07: let it take 10 seconds, and then print "Ended processing:" and the payload
    return
