"""Stop workers of this machine by their names: `python stop.py w3 kill w2 cold w1 warm`."""

import os
import signal
import socket
import sys

from my_ml_app import app

SIGNALS = {
    "warm": signal.SIGTERM,  # finish what runs, then end; so does the first Ctrl-C
    "cold": signal.SIGQUIT,  # end what runs, then end; so does the second Ctrl-C
    "kill": signal.SIGKILL,  # the worker is not asked
}
words = sys.argv[1:]
if not words or len(words) % 2 or not set(words[1::2]) <= set(SIGNALS):
    sys.exit(__doc__)

for name, how in zip(words[::2], words[1::2], strict=True):
    worker = f"{name}@{socket.gethostname()}"
    answer = app.control.inspect([worker], timeout=5).stats()  # as `celery -A my_ml_app inspect stats` shows it
    if not answer:
        print(f"No worker answers to the name {worker}.")
        continue
    process = answer[worker]["pid"]
    print(f"{worker}: kill -{SIGNALS[how].name} {process}")
    os.kill(process, SIGNALS[how])
