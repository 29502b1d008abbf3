"""The producer: puts its argument, as a message, into the queue by_hand."""

import json
import sys

import pika

BROKER = "amqp://myuser:mypassword@localhost:5672//"

parameters = pika.URLParameters(BROKER)
parameters.virtual_host = parameters.virtual_host or "/"  # what `//` means to Celery; pika reads no name in it
connection = pika.BlockingConnection(parameters)
channel = connection.channel()

# TODO exercise 00: declare the queue by_hand, durable
# TODO exercise 00: publish {"message": sys.argv[1]} as JSON; exchange "", routing key by_hand, delivery mode 2
# TODO exercise 00: print what you sent

connection.close()
