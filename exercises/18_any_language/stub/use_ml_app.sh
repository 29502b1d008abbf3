#!/usr/bin/env bash
# The producer with curl alone: type a message, it becomes a task. With the id of a task: its state and result.
API=${RABBITMQ_API:-http://myuser:mypassword@localhost:15672/api}
VHOST=${RABBITMQ_VHOST:-%2F}
RESULTS=${CELERY_RESULT_BACKEND:-redis://localhost:6379/0}
set -o pipefail; [ -t 0 ] || LC_ALL=C # what comes from a file may be no UTF-8

hex() { od -An -v -tx1 | tr -d ' \n'; }
not_sent() { echo "Not sent: '${1:0:60}'. $2"; }

send() {
    id=$(head -c 16 /dev/urandom | hex)
    # Each character as \uXXXX: then no quote, backslash or tab needs a rule of its own.
    text=$(printf %s "$1" | iconv -f UTF-8 -t UTF-16BE 2>&- | hex | sed 's/..../\\u&/g') ||
        { not_sent "$1" "It is not UTF-8."; return; }
    # TODO exercise 18: body, in base64: all of it in JSON, with "$text" in it
    # The address comes from a file: it has the password in it, and everybody on a machine can list its commands.
    answer=$(curl --config <(echo "url = \"$API/exchanges/$VHOST/amq.default/publish\"") -sS -m 5 --data @- 2>&1 <<END
{"routing_key": "celery", "payload": "$body", "payload_encoding": "base64", "properties": {
  TODO exercise 18: content_type, content_encoding, delivery_mode, and headers: lang, task, id}}
END
    ) # which RabbitMQ answers when it has confirmed the message; routed is false without a queue
    # TODO exercise 18: is the answer {"routed":true}? Then: Sent as task, and its id. Otherwise: not_sent "$1" "…"
}

look() {
    # TODO exercise 18: curl "dict://HOST:PORT/GET:KEY" asks Redis; the key is celery-task-meta- and the id, "$1"
    echo "Nothing is stored yet."
}

[ "$1" ] && { look "$1"; exit; }
while IFS= read -r -e -p "Enter a message: " line || [ "$line" ]; do
    [[ $line =~ ^[[:space:]]*exit[[:space:]]*$ ]] && exit
    [[ $line =~ [^[:space:]] ]] && send "$line"
done
echo
