"""The Celery app and its one task, predict."""

import os
import time

from celery import Celery

app = Celery("my_ml_app")

# Load the Celery configuration from celeryconfig.py
app.config_from_object("celeryconfig")


@app.task(throws=ValueError)  # an error that we expect: stored as FAILURE, without a traceback in the log
def predict(payload):
    """Simulate a slow prediction: is this message a question?

    payload is a dictionary with a string "message"; anything else raises ValueError.
    It takes 10 seconds, or PREDICT_SECONDS from the environment, or as many "seconds" as the payload says.
    """
    print("Received:")
    print(payload)

    if not isinstance(payload, dict) or not isinstance(payload.get("message"), str):
        raise ValueError('predict needs a payload like {"message": "some text"}.')

    # Simulate a long task
    time.sleep(float(payload.get("seconds", os.environ.get("PREDICT_SECONDS", "10"))))

    print("Ended processing:")
    print(payload)

    message = payload["message"]
    prediction = "question" if message.rstrip().endswith("?") else "statement"
    return {"message": message, "prediction": prediction, "process": os.getpid()}
