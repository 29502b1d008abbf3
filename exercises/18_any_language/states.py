"""How a student can stand before exercise 18. Most have written one producer, and the others are as handed out."""

NODE, PHP, CURL = "use_ml_app.mjs", "use_ml_app.php", "use_ml_app.sh"
BODY = '[[["message" => $message]], new stdClass, new stdClass]'
RETURN = 'return "Sent as task $headers[id]";'


def _wrote(student, file):
    """They have solved it in one language."""
    student.solve()
    for other in {NODE, PHP, CURL} - {file}:
        (student.path / other).unlink()


def _wrote_php(student, old, new):
    _wrote(student, PHP)
    student.edit(PHP, old, new)


def stub(student):
    student.hand_out()


nothing_written = stub


def reference(student):
    student.solve()
    student.install()


def no_rabbit(student):
    student.solve(broker=f"amqp://myuser:mypassword@localhost:{student.free_port()}//")


def cannot_run(student):
    """Without `npm install`."""
    _wrote(student, NODE)
    (student.path / "node_modules").unlink()


def nothing_arrives(student):
    """It waits for a confirmation of nothing."""
    _wrote_php(student, "$channel->basic_publish(", "strlen($body); // (")


def other_queue(student):
    """It makes a queue of another name."""
    _wrote(student, NODE)
    student.edit(NODE, 'checkQueue("celery")', 'assertQueue("my_ml_app")')
    student.edit(NODE, 'publish("", "celery"', 'publish("", "my_ml_app"')


def ends_after_one(student):
    _wrote(student, CURL)
    student.edit(CURL, '&& send "$line"\n', '&& send "$line" && break\n')


def no_content_type(student):
    _wrote(student, CURL)
    student.edit(CURL, '"content_type": "application/json", ', "")


def other_body(student):
    """It is empty."""
    _wrote(student, CURL)
    student.edit(CURL, '"payload": "$body"', '"payload": ""')


def list_for_dictionary(student):
    _wrote_php(student, BODY, '[[["message" => $message]], [], []]')


def other_payload(student):
    _wrote_php(student, BODY, "[[$message], new stdClass, new stdClass]")


def damaged_text(student):
    """Its quotes are escaped, and its backslashes are not."""
    _wrote(student, CURL)
    student.edit(CURL, "| hex | sed 's/..../\\\\u&/g')", "| iconv -f UTF-16BE -t UTF-8 | sed 's/\"/\\\\\"/g')")


def other_task(student):
    _wrote_php(student, '"my_ml_app.predict"', '"predict"')


def no_id(student):
    """It numbers its messages."""
    _wrote(student, NODE)
    student.edit(NODE, "id: randomUUID()", "id: Date.now()")


def same_id(student):
    _wrote_php(student, "bin2hex(random_bytes(16))", '"my-first-task"')


def not_persistent(student):
    _wrote(student, NODE)
    student.edit(NODE, ", persistent: true", "")


def flawed(student):
    _wrote_php(student, '["lang" => "php",', '["lang" => "php", "eta" => "tomorrow",')


def twice(student):
    """Once more, to be sure."""
    publish = '    $channel->basic_publish(new AMQPMessage($body, $properties), "", "celery");\n'
    _wrote_php(student, publish, 2 * publish)


def other_id(student):
    _wrote(student, NODE)
    student.edit(NODE, "task ${headers.id}", "task ${randomUUID()}")


def never_exits(student):
    _wrote_php(student, ' && trim($line) !== "exit"', "")
    student.edit(PHP, 'if (trim($line) !== "") say', 'if (!in_array(trim($line), ["", "exit"])) say')


def dies_at_end(student):
    """What is read at the end is no text."""
    _wrote_php(student, "is_string($line = $ask())", "strlen($line = $ask() ?: throw new Exception('no line'))")


def vanishes(student):
    _wrote(student, NODE)
    student.edit(NODE, "  await channel.checkQueue", "  // await channel.checkQueue")


def declared_otherwise(student):
    """It would be another kind of queue than the worker's."""
    _wrote(student, NODE)
    student.edit(NODE, 'checkQueue("celery")', 'assertQueue("celery", { durable: true, autoDelete: true })')


def not_confirmed(student):
    _wrote_php(student, "    $channel->wait_for_pending_acks(5);\n", "")


def crashes(student):
    """Nobody catches the error."""
    _wrote_php(student, "catch (Exception $error)", "catch (JsonException $error)")


def nothing_said(student):
    """The error is caught, and kept secret."""
    _wrote_php(student, 'echo "$fails {$error->getMessage()}\\n";', "")


def not_yet(student):
    """It looks again and again."""
    _wrote(student, CURL)
    student.edit(CURL, '{ look "$1"; exit; }', '{ until look "$1" | grep SUCCESS; do sleep 1; done; exit; }')


def other_key(student):
    _wrote_php(student, '"celery-task-meta-$id"', '"celery-task-$id"')


def no_result(student):
    """It shows the state alone."""
    _wrote_php(student, '"$stored->status: " . json_encode($stored->result)', "$stored->status")
