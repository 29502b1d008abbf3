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
  const headers = { lang: "js", task: "my_ml_app.predict", id: randomUUID() };
  const properties = { headers, contentType: "application/json", contentEncoding: "utf-8", persistent: true };
  const connection = (await connect(BROKER, { timeout: 5000 })).on("error", () => {}); // who waits is told, too
  const channel = (await connection.createConfirmChannel()).on("error", () => connection.close());
  await channel.checkQueue("celery"); // without a queue, the message would be dropped
  channel.publish("", "celery", Buffer.from(JSON.stringify([[{ message }], {}, {}])), properties);
  await channel.waitForConfirms().finally(() => connection.close());
  return `Sent as task ${headers.id}`;
}

async function look(id) {
  const client = createClient({ url: RESULTS, socket: { reconnectStrategy: false } }).on("error", () => {});
  const stored = JSON.parse(await (await client.connect()).get(`celery-task-meta-${id}`));
  return stored ? `${stored.status}: ${JSON.stringify(stored.result)}` : "Nothing is stored yet.";
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
