"""Flower's settings, for `--conf=flower_api.py`. What stands in a command, everybody on the machine can read."""

address = "127.0.0.1"

# TODO exercise 22: basic_auth, a list with one text: a user, a colon and a password
