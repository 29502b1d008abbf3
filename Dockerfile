# One image for worker, Flower and producer: Python (3.12 is supported until October 2028), Celery, Flower, and the
# student's files.
FROM python:3.12-slim
RUN useradd --system --no-create-home celery
WORKDIR /app

# Before the code, so that a change of code does not install again. Only what runs here, as requirements.txt pins it, and
# what that needs in turn, as constraints.txt does: tomorrow's image has the same versions.
COPY requirements.txt constraints.txt ./
RUN grep -E '^(celery|flower)\b' requirements.txt | \
    pip install --no-cache-dir --root-user-action=ignore -r /dev/stdin -c constraints.txt

COPY *.py ./
USER celery
# Flower follows each task by its events. What workers tell each other is not needed, and a broken event ends who listens.
CMD ["celery", "-A", "my_ml_app", "worker", "--autoscale=10,2", "--task-events", "--without-gossip"]
