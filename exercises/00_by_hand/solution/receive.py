"""The consumer: prints what arrives in the queue by_hand."""

import json

import pika

BROKER = "amqp://myuser:mypassword@localhost:5672//"


def receive(channel, method, properties, body):
    message = json.loads(body)
    print(f"Received: {message['message']}")
    channel.basic_ack(method.delivery_tag)


parameters = pika.URLParameters(BROKER)
parameters.virtual_host = parameters.virtual_host or "/"  # what `//` means to Celery; pika reads no name in it
connection = pika.BlockingConnection(parameters)
channel = connection.channel()
channel.queue_declare("by_hand", durable=True)

channel.basic_consume("by_hand", receive)
print("Waiting for messages. Ctrl-C ends this.")
try:
    channel.start_consuming()
except KeyboardInterrupt:
    connection.close()
