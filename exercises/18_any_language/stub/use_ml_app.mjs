#!/usr/bin/env node
// The producer in Node.js: type a message, it becomes a task. With the id of a task: its state and result.
import { randomUUID } from "node:crypto";
import { createInterface } from "node:readline";
import { connect } from "amqplib";
import { createClient } from "redis";

const BROKER = process.env.CELERY_BROKER_URL || "amqp://myuser:mypassword@localhost:5672//";
const RESULTS = process.env.CELERY_RESULT_BACKEND || "redis://localhost:6379/0";
const late = () => new Promise((_, fail) => setTimeout(fail, 5000, Error("no answer for 5 seconds")));

async function send(message) {
  // TODO exercise 18: headers: lang, task, and an id of its own for each message
  // TODO exercise 18: properties: contentType, contentEncoding, persistent, and the headers
  const connection = (await connect(BROKER, { timeout: 5000 })).on("error", () => {}); // who waits is told, too
  const channel = (await connection.createConfirmChannel()).on("error", () => connection.close());
  // TODO exercise 18: is the queue there? channel.checkQueue("celery")
  // TODO exercise 18: channel.publish("", "celery", Buffer.from(a body in JSON), properties)
  // TODO exercise 18: wait for the confirmation: channel.waitForConfirms(); then close the connection
  return "Sent as task"; // TODO exercise 18: and its id
}

async function look(id) {
  const client = createClient({ url: RESULTS, socket: { reconnectStrategy: false } }).on("error", () => {});
  await client.connect();
  // TODO exercise 18: client.get("celery-task-meta-" and the id) is JSON with a status and a result, or null
}

const say = (work, fails) =>
  Promise.race([work, late()]).then(console.log, (error) => console.log(fails, error.message || error.code));
if (process.argv[2]) await say(look(process.argv[2]), "Ask again later. redis said:").then(process.exit);
const lines = createInterface({ input: process.stdin, output: process.stdout, prompt: "Enter a message: " });
lines.prompt();
for await (const line of lines.on("close", console.log)) {
  if (line.trim() === "exit") break;
  if (line.trim()) await say(send(line), `Not sent: '${line.slice(0, 60)}'. Check that the broker runs. amqplib said:`);
  lines.prompt();
}
process.exit();
