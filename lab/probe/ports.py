"""Who listens at a port of this machine."""

import os
import pwd
import socket
from contextlib import suppress

import psutil

from lab.probe.connection import ANSWER

PEOPLE = 1000  # the first user id of a person; lower ones are Linux's system accounts


def listeners(port: int) -> set[int]:
    """The user ids that listen at a port of this machine; none where that cannot be seen, for example on macOS."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError), open(table) as lines:
            for line in lines:
                _, local, _, state, _, _, _, uid, *_ = line.split()
                if state == "0A" and int(local.rpartition(":")[2], 16) == port:
                    found.add(int(uid))
    return found


def stranger(port: int) -> str | None:
    """Which other person on this machine listens at this port: "the user 'ada'", or None.

    System accounts (RabbitMQ's, Redis's, and root, for Docker) serve everybody. A lab of root's does not.
    """
    for uid in listeners(port) - {os.geteuid()}:
        if uid >= PEOPLE or (uid == 0 and root_runs_a_lab()):
            return user(uid)
    return None


def root_runs_a_lab() -> bool:
    """Whether the keeper of a lab runs as root."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.uids().effective == 0 and any(part.endswith("/lab/run/keeper.py") for part in process.cmdline()):
                return True
    return False


def user(uid: int) -> str:
    """A user as a person calls it."""
    try:
        return f"the user {pwd.getpwuid(uid).pw_name!r}"
    except KeyError:
        return f"the user {uid}"


def port_holder(port: int) -> str | None:
    """Who listens on a port of this machine: "name (process 42)" if that can be seen, or None for nobody."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:  # macOS shows them to root only
        connections = []
    for connection in connections:
        at = connection.laddr and connection.laddr.port
        if connection.status == psutil.CONN_LISTEN and at == port and connection.pid:
            with suppress(psutil.NoSuchProcess):
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    for uid in listeners(port):
        return f"a process of {user(uid)}"
    return "another process" if takes_connections(port) else None


def takes_connections(port: int) -> bool:
    """Whether something listens at this port of localhost, at any of its addresses."""
    try:
        socket.create_connection(("localhost", port), ANSWER).close()
    except OSError:
        return False
    return True
