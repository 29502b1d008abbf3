"""`python callback.py URL "message"` sends a prediction whose result `celery -A callback worker` posts to that URL."""

import json
import os
import random
import socket
import sys
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network

import httpx
from celery.exceptions import SoftTimeLimitExceeded
from standardwebhooks import Webhook

from my_ml_app import app, predict

SECRET = os.environ.get("WEBHOOK_SECRET", "whsec_bXlzZWNyZXRteXNlY3JldG15c2VjcmV0")  # this one is for the lab only
ALLOWED = [ip_network(text) for text in os.environ.get("WEBHOOK_ALLOW", "").split()]  # although they are not public
# Not public either: multicast, reserved, 6to4, and all of IPv6 but 2000::/3. That is where NAT64 hides IPv4 addresses.
CLOSED = [ip_network(text) for text in ("224.0.0.0/3", "192.88.99.0/24", "2002::/16", "::/3", "4000::/2", "8000::/1")]


class NotDelivered(Exception):
    """Why the caller was not told, in a sentence."""


def may_call(address):
    address = ip_address(address)
    public = address.is_global and not any(address in network for network in CLOSED)
    return public or any(address in network for network in ALLOWED)


def post(text, headers, body, number):
    """The HTTP status of the answer to try number 0, 1, … Raises NotDelivered when nobody may be called there."""
    try:
        url = httpx.URL(text)
        if url.scheme not in ("http", "https") or not url.host or (url.port or 0) not in range(65536):
            raise ValueError
        answers = socket.getaddrinfo(url.raw_host, None, type=socket.SOCK_STREAM)
    except (httpx.InvalidURL, ValueError):
        raise NotDelivered(f"{text!r} is no URL on the web.") from None
    addresses = [address for *_, (address, *_) in answers if may_call(address)]
    if not addresses:
        raise NotDelivered(f"{text!r} is on no public machine, so nobody was called.")
    # From here on nobody looks the name up again: what was checked is what is called. TLS still verifies the name.
    there = url.copy_with(host=addresses[number % len(addresses)])
    headers, name = headers | {"Host": url.netloc.decode()}, {"sni_hostname": url.raw_host.decode()}
    # No proxy: it would look the name up itself. And nothing of the answer's body: it may have no end.
    with (
        httpx.Client(trust_env=False, timeout=15) as client,
        client.stream("POST", there, headers=headers, content=body, extensions=name) as answer,
    ):
        return answer.status_code


@app.task(bind=True, name="callback.deliver", max_retries=7, soft_time_limit=30, throws=NotDelivered)
def deliver(self, told, url, failed=False):
    """Post to the caller's URL what predict returned. If it failed, told is its id."""
    event, number = self.request.parent_id, self.request.retries  # predict's id, the same at each try
    data = {"error": str(app.AsyncResult(event).result)} if failed else {"result": told}
    body = json.dumps({"type": f"prediction.{'failed' if failed else 'done'}", "data": {"id": event} | data})
    now = datetime.now(UTC)
    headers = {
        "Content-Type": "application/json",
        "webhook-id": event,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(SECRET).sign(event, now, body),
    }
    try:
        said = post(url, headers, body, number)
    # InvalidURL and UnicodeError: httpx reads where a redirect leads, although it does not go there.
    except (httpx.TransportError, httpx.InvalidURL, UnicodeError, OSError, SoftTimeLimitExceeded) as error:
        said = type(error).__name__
    if said in range(200, 300):
        return said
    if said == httpx.codes.GONE:
        raise NotDelivered(f"{url} wants no webhooks any more: 410.")
    later = 2**number * random.uniform(1, 2)  # seconds. A receiver that is back is not met by all senders at once
    raise self.retry(exc=NotDelivered(f"{url} was tried {number + 1} times: {said}."), countdown=later)


def send(url, message):
    """Send a prediction, and return its id. Who asked is told of its success, and of its failure."""
    told = {"link": deliver.s(url), "link_error": deliver.s(url, failed=True)}
    return predict.apply_async([{"message": message}], **told).id


if __name__ == "__main__":
    match sys.argv[1:]:
        case [url, message]:
            print(f"Sent as task {send(url, message)}")
        case _:
            print(__doc__)
