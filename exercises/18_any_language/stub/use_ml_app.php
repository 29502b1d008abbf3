#!/usr/bin/env php
<?php // The producer in PHP: type a message, it becomes a task. With the id of a task: its state and result.
use PhpAmqpLib\{Connection\AMQPStreamConnection, Message\AMQPMessage, Wire\AMQPTable};
require is_file("vendor/autoload.php") ? "vendor/autoload.php" : "PhpAmqpLib/autoload.php"; // Composer's, or Debian's
$broker = getenv("CELERY_BROKER_URL") ?: "amqp://myuser:mypassword@localhost:5672//";
$results = getenv("CELERY_RESULT_BACKEND") ?: "redis://localhost:6379/0";

function send($broker, $message) {
    extract(array_map("rawurldecode", parse_url($broker))); // $host, $port, $user, $pass, $path
    // TODO exercise 18: headers: lang, task, and an id of its own for each message: bin2hex(random_bytes(16))
    // TODO exercise 18: properties: content_type, content_encoding, delivery_mode
    // TODO exercise 18: and application_headers, which are new AMQPTable(the headers)
    // TODO exercise 18: the body, with json_encode(…, JSON_THROW_ON_ERROR)
    $channel = (new AMQPStreamConnection($host, $port, $user, $pass, substr($path, 1) ?: "/"))->channel();
    // TODO exercise 18: confirm_select; and set_nack_handler, for what RabbitMQ refuses
    // TODO exercise 18: is the queue there? queue_declare("celery", passive: true)
    // TODO exercise 18: $channel->basic_publish(new AMQPMessage(body, properties), "", "celery")
    // TODO exercise 18: wait_for_pending_acks(5)
    return "Sent as task"; // TODO exercise 18: and its id
}

function look($results, $id) {
    ["host" => $host, "port" => $port, "path" => $path] = parse_url($results);
    $client = new Redis();
    $client->connect($host, $port, 5, null, 0, 5);
    $client->select((int) substr($path, 1));
    // TODO exercise 18: $client->get("celery-task-meta-" and the id) is JSON with a status and a result, or false
    return "";
}

function say($work, $fails) {
    try { echo $work(), "\n"; } catch (Exception $error) { echo "$fails {$error->getMessage()}\n"; }
}
if (isset($argv[1])) exit(say(fn() => look($results, $argv[1]), "Ask again later. redis said:"));
$ask = fn() => posix_isatty(0) ? readline("Enter a message: ") : fgets(STDIN); // fgets: 4095 bytes of a terminal
while (is_string($line = $ask()) && trim($line) !== "exit")
    if (trim($line) !== "") say(fn() => send($broker, rtrim($line, "\n")),
        "Not sent: '" . mb_substr(trim($line), 0, 60) . "'. Check that the broker runs. php-amqplib said:");
