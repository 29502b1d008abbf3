"""A web API in front of the queue: `uvicorn api:app --port 8000`. http://localhost:8000/docs describes it."""

import json
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Annotated, Any

from amqp import AMQPError
from anyio import CapacityLimiter, fail_after, to_thread
from celery import uuid
from celery.result import denied_join_result
from fastapi import FastAPI, Header, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from kombu.exceptions import OperationalError
from pydantic import BaseModel, Field
from redis.exceptions import RedisError

import waiting
from my_ml_app import app as celery
from my_ml_app import predict

SECONDS = 5  # that a caller waits for its turn
LARGEST = 100_000  # bytes of a body
UNKNOWN = "No prediction has this id: it was never accepted, or it is not kept any more."
senders = CapacityLimiter(celery.conf.broker_pool_limit)  # threads, each with a connection to the broker


class Payload(BaseModel, extra="forbid"):
    message: str = Field(max_length=10_000, examples=["Is it true?"])


@asynccontextmanager
async def lifespan(_):
    with denied_join_result():  # nobody waits for a result here, so Celery need not listen for each
        yield


app = FastAPI(title="Predictions", lifespan=lifespan, max_body_size=LARGEST)


# TODO exercise 20: answer 202 (accepted, not done), and say in Location where to ask, and in Retry-After when
@app.post("/predictions")
async def post(
    payload: Payload,
    response: Response,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
):
    """Accept a prediction. The same Idempotency-Key never asks for a second one."""
    task_id = await in_turn(accept, payload.model_dump(), idempotency_key)
    return {"id": task_id}


async def in_turn(function, *arguments):
    """Call what may wait for the broker in a thread of its own: meanwhile, everybody else is answered."""
    with fail_after(SECONDS):
        return await to_thread.run_sync(function, *arguments, limiter=senders)


def accept(payload, key):
    """The id of a prediction: a new one, or that which was sent with this key before."""
    # TODO exercise 20: the same key and payload get the same id again, and nothing is sent twice
    return send(uuid(), payload)


def send(task_id, payload):
    # TODO exercise 20: remember what was accepted: waiting.look() before it is sent, waiting.add(task_id) afterwards
    predict.apply_async([payload], task_id=task_id, retry=False)
    return task_id


@app.get("/predictions/{task_id}")
def get(task_id: str, response: Response) -> dict[str, Any]:
    """What is known of a prediction now. It never waits."""
    meta = celery.backend.get_task_meta(task_id)
    match meta["status"]:
        case "PENDING":
            raise HTTPException(404, UNKNOWN)
        case "SENT" | "RETRY":
            position, seconds = waiting.place(task_id)
            response.headers["Retry-After"] = str(min(max(round(seconds or 0), 1), 60))
            return {"id": task_id, "state": "waiting", "position": position, "estimated_seconds": seconds}
        case "STARTED":
            response.headers["Retry-After"] = "1"
            return {"id": task_id, "state": "running"}
        case "SUCCESS":
            return {"id": task_id, "state": "done", "result": meta["result"]}
        case "REVOKED":
            return {"id": task_id, "state": "cancelled"}
        case _:
            return {"id": task_id, "state": "failed", "error": str(meta["result"]) or type(meta["result"]).__name__}


@app.delete("/predictions/{task_id}")
async def delete(task_id: str):
    """Cancel a prediction that has not begun."""
    await in_turn(cancel, task_id)
    return {"id": task_id, "state": "cancelled"}


def cancel(task_id):
    # TODO exercise 20: waiting.cancel(task_id), if it still waits; 404 for an unknown id, 409 for one that has begun
    raise HTTPException(501, "Nobody has written this yet.")


@app.exception_handler(RequestValidationError)
async def not_valid(request: Request, error: RequestValidationError):
    """A sentence, and nothing of what was sent."""
    if "json" not in request.headers.get("content-type", "") and request.method == "POST":
        return JSONResponse({"detail": "Send JSON, with the header Content-Type: application/json."}, 415)
    where, why = error.errors()[0]["loc"][0], error.errors()[0]["msg"]
    return JSONResponse({"detail": f'{where}: {why}. A body is {{"message": "some text"}}, and no more.'}, 422)


# TODO exercise 20: 503, a sentence and a Retry-After when a server is away (OperationalError, RedisError, OSError)
