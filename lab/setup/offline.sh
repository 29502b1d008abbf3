#!/bin/sh
# Gather in offline/ what is fetched otherwise, for machines of this one's kind. Run on a machine of another kind too, it
# adds what that one needs.
set -u
cd -P "${0%/*}/../.." || exit

fail() {
    echo "$1" >&2
    exit 1
}

mkdir -p offline/wheels
echo "Gathering the packages of $(.venv/bin/python --version) …"
builder=$(.venv/bin/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"])')
others=$(sed -n "s/ ; python_full_version [<>=]* '3\.[0-9]*\..*//p" constraints.txt) # for another 3.11.x, say, than is here
.venv/bin/python -m pip wheel -qq --disable-pip-version-check --wheel-dir offline/wheels \
    -r requirements.txt -c constraints.txt $builder $others || fail "The packages could not be fetched. pip's own messages are above."

if command -v apt-get >/dev/null; then
    kind=$(. /etc/os-release && echo "$ID$VERSION_ID")-$(dpkg --print-architecture) # lab/setup/apt.sh looks there
    for package in rabbitmq-server python3-venv; do
        debs=offline/$kind/$package
        echo "Gathering $package and what it needs, in $debs …"
        # As if nothing were installed here: another machine may have less.
        needed=$(apt-get -s -o Dir::State::status=/dev/null install --no-install-recommends $package |
            sed -n 's/^Inst \([^ ]*\).*/\1/p')
        mkdir -p "$debs" && rm -f "$debs"/*.deb && (cd "$debs" && apt-get -qq -o APT::Sandbox::User=root download $needed) ||
            fail "The packages could not be fetched. \`sudo apt-get update\`, and try again."
    done
else
    echo "Without RabbitMQ's packages: they are gathered on Debian and Ubuntu only."
fi

if docker info >/dev/null 2>&1; then
    echo "Gathering the images of docker-compose.yml …"
    docker compose pull --quiet --policy missing --ignore-buildable && docker compose build --quiet &&
        docker save --output offline/images.tar $(docker compose config --images) ||
        fail "The images could not be gathered. Docker's own messages are above."
else
    echo "Without images: Docker does not run here."
fi
echo "All of it: $(du -sh offline | cut -f 1). Copy this folder, with offline/ in it, to each laptop."
