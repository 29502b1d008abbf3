#!/usr/bin/env node
// A worker in another language: it serves one task, js_ml_app.predict. `node worker.mjs [QUEUE]`

import { once } from "node:events";
import os from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { connect } from "amqplib";
import { createClient } from "redis";

const BROKER = process.env.CELERY_BROKER_URL || "amqp://myuser:mypassword@localhost:5672//";
const RESULTS = process.env.CELERY_RESULT_BACKEND || "redis://localhost:6379/0";
const TASK = "js_ml_app.predict";
const QUEUE = process.argv[2] || "js_ml_app";
const NAME = `js-${process.pid}@${os.hostname()}`; // what Flower calls this worker
const HEARTBEAT = 2; // seconds between two signs of life
const KEPT = 3600; // seconds that a result is kept

class ValueError extends Error { name = "ValueError" } // Python has one, too

// The task itself. It takes 10 seconds, or PREDICT_SECONDS from the environment.
async function predict(payload) {
  console.log("Received:", payload);
  if (typeof payload?.message !== "string") throw new ValueError('predict needs {"message": "some text"}.');
  await sleep(1000 * (process.env.PREDICT_SECONDS || 10));
  const prediction = payload.message.trimEnd().endsWith("?") ? "question" : "statement";
  return { message: payload.message, prediction, process: process.pid };
}

// What a message asks for; an error when that is nothing for this worker.
function read({ content, properties: { contentType, headers } }) {
  if (contentType !== "application/json") throw new Error(`its content type is ${contentType}`);
  if (headers?.task !== TASK) throw new Error(`this worker has no task ${headers?.task}`);
  if (typeof headers.id !== "string") throw new Error("its id is not a text");
  const body = JSON.parse(content);
  if (!Array.isArray(body) || body.length !== 3) throw new Error("its body is not a list of three");
  const [args, kwargs] = body; // the third says what comes next in a chain or a chord: that is for Celery
  return { id: headers.id, expires: headers.expires, payload: args[0] ?? kwargs.payload, args: short(args) };
}

// Do the task, and return what became of it, in Celery's words.
async function run({ id, expires, payload }) {
  if (Date.parse(expires) < Date.now()) {
    return { status: "REVOKED", result: raised("celery.exceptions", "TaskRevokedError", "expired") };
  }
  tell("task-started", { uuid: id });
  try {
    return { status: "SUCCESS", result: (await predict(payload)) ?? null };
  } catch (error) {
    // TODO exercise 19: make the error one that Python can raise
    return { status: "FAILURE", result: error.message, traceback: error.stack };
  }
}

// An error as JSON, of which Python's get() makes one again: a class of this module, called with these arguments.
const raised = (exc_module, exc_type, ...exc_message) => ({ exc_module, exc_type, exc_message });

// Keep what became of a task under its id, and tell who waits for it. While Redis is away, try again.
async function store(id, outcome) {
  const key = `celery-task-meta-${id}`, date_done = new Date().toISOString();
  const meta = JSON.stringify({ task_id: id, traceback: null, children: [], date_done, ...outcome });
  for (;;) {
    try {
      return await redis.multi().setEx(key, KEPT, meta).publish(key, meta).exec();
    } catch (error) {
      complain(error);
      await sleep(1000);
    }
  }
}

// One message, from its arrival to its end.
async function receive(message, channel) {
  let task;
  try {
    task = read(message);
  } catch (error) {
    complain(`Refused: ${error.message}`);
    // TODO exercise 19: give RabbitMQ an answer after which this message never comes again
    return;
  }
  const { id, args } = task, start = Date.now();
  tell("task-received", { uuid: id, name: TASK, args });
  const outcome = await run(task);
  // TODO exercise 19: store the outcome, and acknowledge the message. If this worker dies in between, what is lost?
  processed += 1;
  const kind = { SUCCESS: "succeeded", FAILURE: "failed", REVOKED: "revoked" }[outcome.status];
  const what = { [outcome.status === "SUCCESS" ? "result" : "exception"]: short(outcome.result) };
  tell(`task-${kind}`, { uuid: id, runtime: (Date.now() - start) / 1000, ...what });
}

// Send an event, to which Flower and `lab view` listen.
function tell(type, fields) {
  const event = { type, hostname: NAME, pid: process.pid, timestamp: Date.now() / 1000, ...fields };
  const content = Buffer.from(JSON.stringify(event));
  try {
    channel?.publish("celeryev", type.replace("-", "."), content, { contentType: "application/json" });
  } catch {} // RabbitMQ is away, and nobody listens
}

// Tell that this worker is there.
function show(type) {
  const software = { sw_ident: "worker.mjs", sw_ver: process.version, sw_sys: os.type() };
  tell(type, { freq: HEARTBEAT, active: running.size, processed, loadavg: os.loadavg(), ...software });
}

const short = (value) => JSON.stringify(value).slice(0, 1000);
const complain = (error) => console.error(error.message || error.code || error);

let connection, channel; // to RabbitMQ, the newest
const running = new Set(); // what is made of messages now, as promises
let processed = 0, stopping = false;

// Declare what is needed, and take messages, one at a time, until the connection ends.
async function listen() {
  connection = await connect(BROKER);
  connection.on("error", complain);
  const ended = once(connection, "close").catch(() => []);
  const own = (channel = await connection.createChannel());
  const leave = (error) => {
    complain(error);
    connection.close().catch(complain);
  };
  own.on("error", leave);
  await own.assertExchange("celeryev", "topic");
  await own.assertQueue(QUEUE, { durable: true });
  await own.prefetch(1); // the others wait in the queue, where any worker can take them
  show("worker-online");
  const take = (message) => {
    if (!message) return leave("The queue was deleted.");
    const work = receive(message, own).catch(complain).finally(() => running.delete(work));
    running.add(work);
  };
  await own.consume(QUEUE, take, { consumerTag: NAME });
  console.log(`Waiting for messages in ${QUEUE}. Ctrl-C ends this.`);
  const [why] = await ended;
  if (why) complain(why);
}

// Take no more messages, finish what runs, and leave.
async function stop() {
  console.log("Finishing what runs. Ctrl-C again ends it at once.");
  // TODO exercise 19: take no more messages, wait for all that is in running, show("worker-offline"), and close
  process.exit();
}

const redis = createClient({ url: RESULTS }).on("error", complain);
await redis.connect();
setInterval(show, 1000 * HEARTBEAT, "worker-heartbeat").unref();
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, stop);
while (!stopping) {
  await listen().catch(complain);
  if (!stopping) await sleep(1000); // RabbitMQ is away: try again
}
redis.destroy();
