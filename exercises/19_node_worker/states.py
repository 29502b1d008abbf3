"""How a student can stand before exercise 19. The check starts worker.mjs itself."""

FILE = "worker.mjs"
ACK = "  channel.ack(message);"
STORE = "  await store(id, outcome);\n"
REJECT = "channel.reject(message, false);"
MULTI = "redis.multi().setEx(key, KEPT, meta).publish(key, meta).exec()"
WAIT = "  await Promise.all(running);\n"


def stub(student):
    student.hand_out()


stores_nothing = stub


def reference(student):
    student.solve()
    student.install()


def no_rabbit(student):
    student.solve(broker=f"amqp://myuser:mypassword@localhost:{student.free_port()}//")


def not_importable(student):
    student.solve()
    student.edit(FILE, "await sleep(1000 * (", "await sleep(1000 * ((")


def not_installed(student):
    student.solve()
    (student.path / "node_modules").unlink()


def ends_early(student):
    student.solve()
    student.edit(FILE, "const redis = createClient(", "process.exit();\nconst redis = createClient(")


def never_consumes(student):
    student.solve()
    student.edit(FILE, "  await own.consume(QUEUE, take, { consumerTag: NAME });\n", "")


def takes_elsewhere(student):
    student.solve()
    student.edit(FILE, 'process.argv[2] || "js_ml_app"', 'process.argv[2] || "celery"')


def declared_otherwise(student):
    student.solve()
    student.edit(FILE, "assertQueue(QUEUE, { durable: true })", "assertQueue(QUEUE, { durable: false })")


def stores_elsewhere(student):
    student.solve()
    student.edit(FILE, "`celery-task-meta-${id}`", "`celery-task-${id}`")


def no_success(student):
    student.solve()
    student.edit(FILE, '{ status: "SUCCESS", result:', '{ state: "SUCCESS", result:')


def kept_for_ever(student):
    student.solve()
    student.edit(FILE, "setEx(key, KEPT, meta)", "set(key, meta)")


def tells_nobody(student):
    student.solve()
    student.edit(FILE, MULTI, "redis.setEx(key, KEPT, meta)")


def never_acknowledges(student):
    student.solve()
    student.edit(FILE, ACK, "  //")


def answers_twice(student):
    """Twice is safer."""
    student.solve()
    student.edit(FILE, ACK, f"{ACK}\n{ACK}")


def takes_ahead(student):
    student.solve()
    student.edit(FILE, "  await own.prefetch(1);", "  //")


def acknowledges_first(student):
    student.solve()
    student.edit(FILE, ACK, "  //")
    student.edit(FILE, STORE, f"{ACK}\n{STORE}")


def no_failure(student):
    student.solve()
    student.edit(FILE, '"FAILURE", result: raised', '"SUCCESS", result: raised')


def unreadable_failure(student):
    student.solve()
    student.edit(FILE, 'raised("builtins", error.name, error.message), traceback', "error.message, traceback")


def dies_of_message(student):
    student.solve()
    student.edit(FILE, "  try {\n    task = read(message);\n  } catch", "  task = read(message);\n  try {} catch")
    student.edit(FILE, "receive(message, own).catch(complain)", "receive(message, own)")


def requeues(student):
    student.solve()
    student.edit(FILE, REJECT, "channel.nack(message);")


def leaves_unacked(student):
    student.solve()
    student.edit(FILE, REJECT, "")


def acknowledges_all(student):
    student.solve()
    student.edit(FILE, REJECT, "channel.ack(message);")


def predicts_all(student):
    student.solve()
    student.edit(FILE, 'if (contentType !== "application/json")', "if (!contentType)")


def predicts_expired(student):
    student.solve()
    student.edit(FILE, "if (Date.parse(expires) < Date.now())", "if (expires < Date.now())")


def dies_at_once(student):
    student.solve()
    student.edit(FILE, "process.once(signal, stop)", "process.once(signal, process.exit)")


def takes_on(student):
    student.solve()
    student.edit(FILE, "  await channel?.cancel(NAME).catch(complain);\n", "")
    student.edit(FILE, WAIT, f"{WAIT}  await sleep(300);\n{WAIT}")


def never_ends(student):
    student.solve()
    student.edit(FILE, "  await connection?.close().catch(complain);\n", "")


def acknowledgement_lost(student):
    student.solve()
    student.edit(FILE, "  await channel?.close().catch(complain);", "  //")
