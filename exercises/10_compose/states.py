"""How a student can stand before exercise 10."""

FILE = "docker-compose.yml"
PASSWORD = "${RABBITMQ_PASSWORD:-mypassword}"
URL = f"amqp://${{RABBITMQ_USER:-myuser}}:{PASSWORD}@rabbitmq:5672//"


def stub(student):
    student.hand_out()


service_missing = stub


def reference(student):
    student.solve()


def no_compose_file(student):
    student.solve()
    (student.path / FILE).unlink()


def invalid(student):
    student.solve()
    student.edit(FILE, "\nservices:\n", "\nservices\n")


def bad_service(student):
    student.solve()
    student.edit(FILE, "celery -A my_ml_app worker", "celery worker -A my_ml_app")


def looks_at_itself(student):
    """The address of celeryconfig.py, in a file of variables; another one names RabbitMQ."""
    student.solve()
    student.edit(
        FILE, f"  environment:\n    CELERY_BROKER_URL: {URL}\n", "  env_file: [{path: celery.env}]\n  environment:\n"
    )
    (student.path / "celery.env").write_text('CELERY_BROKER_URL="amqp://localhost" # as before\nBROKER=rabbitmq\n')


def no_address(student):
    student.solve()
    (student.path / ".env").write_text("RABBITMQ_PASSWORD=p/w#rd\n")


def not_there(student):
    student.solve()
    student.edit(FILE, "@rabbitmq:5672//", "@broker:5672//")


def outside_port(student):
    """Published at 5673, since 5672 is taken; inside it is 5672 as before."""
    student.solve()
    student.edit(FILE, "127.0.0.1:5672:5672", "127.0.0.1:5673:5672")
    student.edit(FILE, "@rabbitmq:5672//", "@rabbitmq:5673//")


def other_user(student):
    student.solve()
    student.edit(FILE, "      RABBITMQ_DEFAULT_USER: ${RABBITMQ_USER:-myuser}\n", "")


def no_health_check(student):
    student.solve()
    student.edit(FILE, "test: redis-cli -e ping", "disable: true")


def no_start_order(student):
    student.solve()
    student.edit(FILE, "rabbitmq: {condition: service_healthy}", "rabbitmq: {condition: service_started}")


def stop_too_short(student):
    student.solve()
    student.edit(FILE, "stop_grace_period: 60s", "stop_grace_period: 10s")


def open_to_the_world(student):
    student.solve()
    student.edit(FILE, "127.0.0.1:15672:15672", "15672:15672")


def published_password(student):
    """Opened by a variable in .env."""
    student.solve()
    student.edit(FILE, "127.0.0.1:5555:5555", "${FLOWER_ADDRESS:-127.0.0.1}:5555:5555")
    student.edit(
        FILE, "celery -A my_ml_app flower", "celery -A my_ml_app flower --basic-auth=${WHO:-me}:${PASSWORD:-mypassword}"
    )
    (student.path / ".env").write_text("FLOWER_ADDRESS=0.0.0.0\n")


def open_interface(student):
    """As advice on the Internet has it, for Flower's API."""
    student.solve()
    student.edit(
        FILE, "  environment:\n    CELERY", "  environment:\n    FLOWER_UNAUTHENTICATED_API: 'true'\n    CELERY"
    )


def host_network(student):
    student.solve()
    student.edit(FILE, "    image: redis", "    network_mode: host\n    image: redis")


def credentials_written(student):
    student.solve()
    student.edit(FILE, f"RABBITMQ_DEFAULT_PASS: {PASSWORD}", "RABBITMQ_DEFAULT_PASS: mypassword")


def only_inside(student):
    """As exercise 06 starts it, where that is right."""
    student.solve()
    student.edit(FILE, "my_ml_app flower", "my_ml_app flower --address=127.0.0.1")
