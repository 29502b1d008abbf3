"""The producer: type a message, it becomes a prediction task."""

import sys

from my_ml_app import app, predict

try:
    import readline  # noqa: F401 - a terminal alone cuts lines at 4096 bytes
except ImportError:
    pass  # Windows has no readline, and no such limit

sys.stdin.reconfigure(errors="replace")  # bytes that are no text become a question mark

while True:
    try:
        text = input("Enter a message: ")
    except (EOFError, KeyboardInterrupt):
        print()
        break
    if text == "exit":
        break

    # A pasted block can be several lines
    for msg in text.split("\n"):
        if not msg.strip():
            continue

        # Call Celery task
        payload = {"message": msg}
        try:
            result = predict.delay(payload)
        except Exception as error:
            broker = app.connection().as_uri()  # without the password
            print(f"Not sent: {msg[:60]!r}. The broker {broker} answered: {error}")
            print("Is it running, and are user, password and virtual host in celeryconfig.py right?")
        else:
            print(f"Sent as task {result.id}")
