#!/bin/sh
# Install what the tests need from Debian. What cannot be installed is skipped by the tests, with its name.
sh lab/setup/rabbitmq.sh || true
command -v chromium >/dev/null || sh lab/setup/apt.sh chromium || true
command -v ip >/dev/null || sh lab/setup/apt.sh iproute2 || true
