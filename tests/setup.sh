#!/bin/sh
# Install what the tests need from Debian. What cannot be installed is skipped by the tests, with its name.
sh lab/setup/rabbitmq.sh || true
command -v chromium >/dev/null || sh lab/setup/apt.sh chromium || true
command -v ip >/dev/null || sh lab/setup/apt.sh iproute2 || true
command -v node >/dev/null || sh lab/setup/apt.sh nodejs || true
command -v npm >/dev/null || sh lab/setup/apt.sh npm || true
dpkg -s php-amqplib php-redis >/dev/null 2>&1 || sh lab/setup/apt.sh php-cli php-amqplib php-redis || true
# The packages of Node.js: the folders of the tests' students link to them.
any_language=exercises/18_any_language/stub
if [ -e $any_language ] && command -v npm >/dev/null && ! cmp -s $any_language/package-lock.json .venv/node/package-lock.json; then
    mkdir -p .venv/node && cp $any_language/package.json .venv/node && echo "Installing the packages of Node.js …"
    (cd .venv/node && cp ../../$any_language/package-lock.json new.json && mv new.json package-lock.json &&
        npm ci --silent --no-audit --no-fund) || rm -f .venv/node/package-lock.json
fi
