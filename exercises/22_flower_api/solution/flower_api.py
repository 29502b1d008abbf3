"""Flower's settings, for `--conf=flower_api.py`. What stands in a command, everybody on the machine can read."""

address = "127.0.0.1"

basic_auth = ["me:secret"]
