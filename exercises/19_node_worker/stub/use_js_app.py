"""Ask the worker in worker.mjs for a prediction: `python use_js_app.py TEXT [QUEUE]`."""

import sys

from my_ml_app import app

text = sys.argv[1]
queue = sys.argv[2] if len(sys.argv) > 2 else "js_ml_app"
# By its name: there is no such function in Python.
result = app.send_task("js_ml_app.predict", [{"message": text}], queue=queue)
try:
    print(result.get(timeout=60))
except Exception as error:
    print(f"{type(error).__name__}: {error}")
