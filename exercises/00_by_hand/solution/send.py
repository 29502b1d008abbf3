"""The producer: puts its argument, as a message, into the queue by_hand."""

import json
import sys

import pika

BROKER = "amqp://myuser:mypassword@localhost:5672//"

parameters = pika.URLParameters(BROKER)
parameters.virtual_host = parameters.virtual_host or "/"  # what `//` means to Celery; pika reads no name in it
connection = pika.BlockingConnection(parameters)
channel = connection.channel()
channel.queue_declare("by_hand", durable=True)

message = {"message": sys.argv[1]}
persistent = pika.BasicProperties(content_type="application/json", delivery_mode=2)
channel.basic_publish(exchange="", routing_key="by_hand", body=json.dumps(message), properties=persistent)
connection.close()
print(f"Sent: {message}")
