"""How a student can stand before exercise 10."""

FILE = "docker-compose.yml"
PASSWORD = "${RABBITMQ_PASSWORD:-mypassword}"


def stub(student):
    student.hand_out()


service_missing = stub


def reference(student):
    student.solve()


def no_file(student):
    student.solve()
    (student.path / FILE).unlink()


def invalid(student):
    student.solve()
    student.edit(FILE, "\nservices:\n", "\nservices\n")


def looks_at_itself(student):
    """The worker's addresses are celeryconfig.py's: localhost."""
    student.solve()
    student.edit(FILE, f"    CELERY_BROKER_URL: amqp://${{RABBITMQ_USER:-myuser}}:{PASSWORD}@rabbitmq:5672//\n", "")


def no_health_check(student):
    student.solve()
    student.edit(FILE, "test: redis-cli -e ping", "disable: true")


def no_start_order(student):
    student.solve()
    student.edit(FILE, "rabbitmq: {condition: service_healthy}", "rabbitmq: {condition: service_started}")


def stop_too_short(student):
    student.solve()
    student.edit(FILE, "    stop_grace_period: 60s\n", "")


def open_to_the_world(student):
    student.solve()
    student.edit(FILE, "127.0.0.1:15672:15672", "15672:15672")


def credentials_written(student):
    student.solve()
    student.edit(FILE, f"RABBITMQ_DEFAULT_PASS: {PASSWORD}", "RABBITMQ_DEFAULT_PASS: mypassword")


def only_inside(student):
    """As exercise 06 starts it, where that is right."""
    student.solve()
    student.edit(FILE, "my_ml_app flower", "my_ml_app flower --address=127.0.0.1")
