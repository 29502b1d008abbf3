.PHONY: lab servers soak rabbitmq offline unit test
# With the first, no Python but one would work; with the second, each command would compile the lab anew.
unexport PYTHONHOME PYTHONDONTWRITEBYTECODE

# The main job: broker, result backend, worker, Flower, and a prompt to type messages at.
# Another Python than the first that fits: make lab PYTHON=python3.12
lab:
	@sh lab/setup/install.sh requirements.txt
	@.venv/bin/python -m lab start

# Broker and result backend only, for a worker, Flower and producer started by hand
servers:
	@sh lab/setup/install.sh requirements.txt
	@.venv/bin/python -m lab servers

# Everything breaks, again and again, and nothing may be lost: make soak MINUTES=10
MINUTES = 10
soak:
	@sh lab/setup/install.sh requirements.txt
	@.venv/bin/python -m lab soak $(MINUTES)

# RabbitMQ from Debian's or Ubuntu's packages
rabbitmq:
	@sh lab/setup/rabbitmq.sh

# What the above fetches, into offline/: for laptops without a network
offline:
	@sh lab/setup/install.sh requirements.txt
	@sh lab/setup/offline.sh

# The tests that need no server: seconds
unit:
	@sh lab/setup/install.sh tests/requirements.txt
	@.venv/bin/python -m pytest tests/unit

# Everything that the tests need, and all tests. Those of e2e wait for servers: eight at once keep two cores busy.
test: unit
	@sh tests/setup.sh
	@.venv/bin/python -m pytest -n 8 --dist loadgroup -m "not reference" tests/e2e
