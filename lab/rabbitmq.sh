#!/bin/sh
# Install RabbitMQ where this user may. The lab runs a node of its own, so a new system-wide one is switched off.
set -u
if command -v /usr/lib/rabbitmq/bin/rabbitmq-server rabbitmq-server >/dev/null 2>&1; then
    echo "RabbitMQ is installed."
    exit
fi
sh lab/apt.sh rabbitmq-server || exit
if [ -d /run/systemd/system ]; then
    sudo=$([ "$(id -u)" = 0 ] || echo sudo -n)
    $sudo systemctl disable --now --quiet rabbitmq-server
fi
echo "RabbitMQ is installed. The next \`make lab\` uses it."
