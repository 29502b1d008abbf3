"""Takes webhooks, and prints each once: `python receiver.py PORT`."""

import os
import sys

import uvicorn
from fastapi import FastAPI, HTTPException, Request
from standardwebhooks import Webhook, WebhookVerificationError

SECRET = os.environ.get("WEBHOOK_SECRET", "whsec_bXlzZWNyZXRteXNlY3JldG15c2VjcmV0")  # this one is for the lab only

app = FastAPI()
seen = set()  # ids; in a database they would outlive this program


@app.post("/", status_code=204)
async def receive(request: Request):
    body = await request.body()  # the bytes that came: parsed and written again, they could be others
    headers = dict(request.headers)  # each name once: the id that is remembered is the one that was signed
    try:
        event = Webhook(SECRET).verify(body, headers)
    except (WebhookVerificationError, ValueError):  # ValueError: a header or a body that cannot be decoded
        raise HTTPException(401) from None
    if headers["webhook-id"] in seen:
        print("again:", headers["webhook-id"], flush=True)
        return
    seen.add(headers["webhook-id"])
    print(event, flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning")  # at 127.0.0.1
