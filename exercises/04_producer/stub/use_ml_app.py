"""The producer: type a message, it becomes a prediction task."""

from my_ml_app import predict

# TODO exercise 04: ask for messages, again and again: input("Enter a message: ")
# TODO exercise 04: for each message, send the payload {"message": msg} to the task predict; do not wait for the result
# TODO exercise 04: end when somebody types exit, and also when the input ends (Ctrl-D: input raises EOFError)
