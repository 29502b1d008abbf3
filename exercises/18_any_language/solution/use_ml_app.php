#!/usr/bin/env php
<?php // The producer in PHP: type a message, it becomes a task. With the id of a task: its state and result.
use PhpAmqpLib\{Connection\AMQPStreamConnection, Message\AMQPMessage, Wire\AMQPTable};
require is_file("vendor/autoload.php") ? "vendor/autoload.php" : "PhpAmqpLib/autoload.php"; // Composer's, or Debian's
$broker = getenv("CELERY_BROKER_URL") ?: "amqp://myuser:mypassword@localhost:5672//";
$results = getenv("CELERY_RESULT_BACKEND") ?: "redis://localhost:6379/0";

function send($broker, $message) {
    extract(array_map("rawurldecode", parse_url($broker))); // $host, $port, $user, $pass, $path
    $headers = ["lang" => "php", "task" => "my_ml_app.predict", "id" => bin2hex(random_bytes(16))];
    $properties = ["content_type" => "application/json", "content_encoding" => "utf-8", "delivery_mode" => 2];
    $properties["application_headers"] = new AMQPTable($headers);
    $body = json_encode([[["message" => $message]], new stdClass, new stdClass], JSON_THROW_ON_ERROR); // [] is not {}
    $channel = (new AMQPStreamConnection($host, $port, $user, $pass, substr($path, 1) ?: "/"))->channel();
    $channel->confirm_select();
    $channel->set_nack_handler(fn() => throw new Exception("RabbitMQ refuses this message"));
    $channel->queue_declare("celery", passive: true); // without a queue, the message would be dropped
    $channel->basic_publish(new AMQPMessage($body, $properties), "", "celery");
    $channel->wait_for_pending_acks(5);
    return "Sent as task $headers[id]";
}

function look($results, $id) {
    ["host" => $host, "port" => $port, "path" => $path] = parse_url($results);
    $client = new Redis();
    $client->connect($host, $port, 5, null, 0, 5);
    $client->select((int) substr($path, 1));
    $stored = json_decode($client->get("celery-task-meta-$id"));
    return $stored ? "$stored->status: " . json_encode($stored->result) : "Nothing is stored yet.";
}

function say($work, $fails) {
    try { echo $work(), "\n"; } catch (Exception $error) { echo "$fails {$error->getMessage()}\n"; }
}
if (isset($argv[1])) exit(say(fn() => look($results, $argv[1]), "Ask again later. redis said:"));
$ask = fn() => posix_isatty(0) ? readline("Enter a message: ") : fgets(STDIN); // fgets: 4095 bytes of a terminal
while (is_string($line = $ask()) && trim($line) !== "exit")
    if (trim($line) !== "") say(fn() => send($broker, rtrim($line, "\n")),
        "Not sent: '" . mb_substr(trim($line), 0, 60) . "'. Check that the broker runs. php-amqplib said:");
