"""The consumer: prints what arrives in the queue by_hand."""

import json

import pika

BROKER = "amqp://myuser:mypassword@localhost:5672//"


def receive(channel, method, properties, body):
    """Called by pika for each message; body is what was published, in bytes."""
    # TODO exercise 00: print the message, then acknowledge it: method.delivery_tag is its number


parameters = pika.URLParameters(BROKER)
parameters.virtual_host = parameters.virtual_host or "/"  # what `//` means to Celery; pika reads no name in it
connection = pika.BlockingConnection(parameters)
channel = connection.channel()

# TODO exercise 00: declare the same queue in the same way; whoever starts first makes it
# TODO exercise 00: say that it waits for messages
# TODO exercise 00: consume from the queue with receive, until Ctrl-C (KeyboardInterrupt), and then end quietly
