.PHONY: lab servers rabbitmq test

# The main job: broker, result backend, worker, Flower, and a prompt to type messages at
lab: .venv/lab.done
	@.venv/bin/python -m lab start

# Broker and result backend only, for a worker, Flower and producer started by hand
servers: .venv/lab.done
	@.venv/bin/python -m lab servers

# RabbitMQ from Debian's or Ubuntu's packages
rabbitmq:
	@sh lab/rabbitmq.sh

# Everything that the tests need, and the tests
test: .venv/tests.done
	@sh tests/setup.sh
	@.venv/bin/python -m pytest

.venv/lab.done: requirements.txt lab/install.sh
	@sh lab/install.sh requirements.txt
	@touch $@

.venv/tests.done: requirements.txt tests/requirements.txt lab/install.sh
	@sh lab/install.sh tests/requirements.txt
	@touch $@ .venv/lab.done
