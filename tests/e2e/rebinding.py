"""For a network of its own: a name server whose one name changes, and web servers at both of its addresses.

`python rebinding.py FOLDER` prints, as JSON, what came to the public address and to loopback: first from httpx, after
the name was looked up for a check, then from callback.py in that folder.
"""

import itertools
import json
import socket
import sys
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx

PUBLIC, LOOPBACK = "93.184.215.14", "127.0.0.1"  # the first one is only in this network, too
NAME = "changes.example"
came = {PUBLIC: 0, LOOPBACK: 0}
changing = itertools.cycle([PUBLIC, LOOPBACK])


class Web(BaseHTTPRequestHandler):
    def do_POST(self):  # noqa: N802 - the library's name
        came[self.server.server_address[0]] += self.headers["Host"] == NAME
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def answer_names(server):
    """Answer each question for an IPv4 address with the next one, and say that nobody may keep it."""
    while True:
        question, client = server.recvfrom(512)
        end = question.index(b"\0", 12) + 5
        record = b""
        if question[end - 4 : end - 2] == b"\0\1":
            record = b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4" + socket.inet_aton(next(changing))
        counts = bytes([0, 1, 0, bool(record), 0, 0, 0, 0])
        server.sendto(question[:2] + b"\x81\x80" + counts + question[12:end] + record, client)


def main():
    names = socket.socket(type=socket.SOCK_DGRAM)
    names.bind((LOOPBACK, 53))
    threading.Thread(target=answer_names, args=[names], daemon=True).start()
    for address in came:
        threading.Thread(target=HTTPServer((address, 80), Web).serve_forever, daemon=True).start()
    assert socket.gethostbyname(NAME) == PUBLIC  # which is a check
    httpx.post(f"http://{NAME}/", trust_env=False)
    checked_first = dict(came)
    sys.path.insert(0, sys.argv[1])
    from callback import NotDelivered, post

    refused = 0
    for number in range(20):
        with suppress(NotDelivered):
            post(f"http://{NAME}/", {}, "", number)
            continue
        refused += 1
    print(json.dumps({"checked first": checked_first, "in the end": came, "refused": refused}))


main()
