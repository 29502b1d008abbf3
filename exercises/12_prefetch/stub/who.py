"""Who holds what: the predictions that each worker runs, the messages that it merely holds, and those in the queue."""

from my_ml_app import app

inspect = app.control.inspect()
running, held = inspect.active() or {}, inspect.reserved() or {}
with app.connection_for_read() as connection:
    queue = connection.default_channel.queue_declare(app.conf.task_default_queue, passive=True)

for worker in sorted(running):
    print(f"{worker:24} {len(running[worker]):3} run {len(held.get(worker, [])):4} held")
print(f"{queue.queue:24} {queue.message_count:3} Ready")
