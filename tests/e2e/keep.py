"""keep.py PID COMMAND …: run a command in the background for as long as that process lives, however it ends."""

import os
import subprocess
import sys

import psutil

session = psutil.Process(int(sys.argv[1]))
if os.fork() == 0:
    os.setsid()  # neither Ctrl-C at the tests nor the end of their terminal reaches it
    command = subprocess.Popen(sys.argv[2:])
    session.wait()
    command.terminate()
    command.wait()
