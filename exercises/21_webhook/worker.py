"""`celery`, for which one name changes: each time that it is looked up, it has the next of these addresses."""

import itertools
import socket
import sys

from celery.__main__ import main

name, *addresses = sys.argv.pop(1).split()
look_up, addresses = socket.getaddrinfo, itertools.chain(addresses, itertools.repeat(addresses[-1]))


def getaddrinfo(host, *arguments, **options):
    asked = host.decode() if isinstance(host, bytes) else host
    return look_up(next(addresses) if asked == name else host, *arguments, **options)


socket.getaddrinfo = getaddrinfo
socket.gethostbyname = lambda host: getaddrinfo(host, None, socket.AF_INET)[0][4][0]
main()
