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
    # TODO exercise 21: verify the bytes that came, await request.body(); 401 for what is forged or old
    event = await request.json()
    # TODO exercise 21: print each webhook-id once: the same one may come again
    print(event, flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning")  # at 127.0.0.1
