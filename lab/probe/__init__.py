"""Asks the real thing, and changes nothing: addresses, servers, workers, Flower, ports.

Two do more: ask_workers also carries commands that change workers, and first_message gives a message back, which is
marked as redelivered then.
"""
