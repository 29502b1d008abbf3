"""Asks the real thing, and changes nothing: addresses, servers, workers, Flower, ports."""
