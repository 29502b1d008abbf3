"""Ask the worker in worker.mjs for a prediction: `python use_js_app.py TEXT [QUEUE]`."""

import sys

from my_ml_app import app

match sys.argv[1:]:
    case [text]:
        queue = "js_ml_app"
    case [text, queue]:
        pass
    case _:
        sys.exit(__doc__)

try:
    # By its name: Python has no function that could be imported.
    result = app.send_task("js_ml_app.predict", [{"message": text}], queue=queue)
    try:
        print(result.get(timeout=60))
    finally:  # without an answer, Celery would stop listening too late: while Python ends
        app.backend.remove_pending_result(result)
except Exception as error:
    print(f"{type(error).__name__}: {error}")
