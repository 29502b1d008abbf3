"""The producer: type a message, it becomes a prediction task."""

import contextlib
import sys

from my_ml_app import predict

with contextlib.suppress(ImportError):  # on Windows, which needs no readline
    import readline  # noqa: F401 - without it, a terminal cuts lines at 4096 bytes

sys.stdin.reconfigure(errors="replace")  # bytes that are not text become a question mark


def send(msg):
    payload = {"message": msg}
    try:
        # Call Celery task
        result = predict.delay(payload)
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        print(f"Not sent: {msg[:60]!r}. Check that the broker and the result backend run, and their")
        print(f"user, password and virtual host in celeryconfig.py. Celery said: {reason}")
    else:
        print(f"Sent as task {result.id}")


try:
    while True:
        text = input("Enter a message: ")
        if text.strip() == "exit":
            break
        for msg in text.split("\n"):  # a pasted block can have several lines
            if msg.strip():
                send(msg)
except (EOFError, KeyboardInterrupt):
    print()
