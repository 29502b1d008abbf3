#!/bin/sh
# Install RabbitMQ where this user may. The lab runs a node of its own, so a new system-wide one is switched off.
set -u
if PATH="/usr/lib/rabbitmq/bin:$PATH:/opt/homebrew/sbin:/usr/local/sbin" command -v rabbitmq-server >/dev/null; then
    echo "RabbitMQ is installed. The next \`make lab\` uses it."
    ! pgrep -u rabbitmq beam >/dev/null 2>&1 ||
        echo "One runs already, as a service of this machine. If it refuses your user, stop it:" \
            "sudo systemctl disable --now rabbitmq-server"
    exit 0
fi
sh lab/setup/apt.sh rabbitmq-server || exit
sudo=$([ "$(id -u)" = 0 ] || echo sudo -n)
if [ -d /run/systemd/system ]; then
    $sudo systemctl disable --now --quiet rabbitmq-server
elif pgrep -u rabbitmq beam.smp >/dev/null 2>&1; then
    $sudo service rabbitmq-server stop >/dev/null
fi || echo "Debian's own RabbitMQ still runs: stop it, or it keeps the lab's port." >&2
echo "RabbitMQ is installed. The next \`make lab\` uses it."
