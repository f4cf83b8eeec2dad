#!/bin/sh
# Starts smp-server as smp-conformance wants it, and does what its operator can:
# smp-conformance --spawn 'sh smp-server.sh' --operate 'sh smp-server.sh'
# SMP_SERVER names the program, unless it is in the path.
set -e
server=${SMP_SERVER:-smp-server}
ms() { echo "${1}ms"; }

export SMP_SERVER_DIRECTORY="$CONFORMANCE_DIRECTORY"
export SMP_SERVER_BIND=127.0.0.1
export SMP_SERVER_PORT="$CONFORMANCE_PORT"
export SMP_SERVER_QUEUE_QUOTA="$CONFORMANCE_QUOTA"
export SMP_SERVER_MESSAGE_TTL="$(ms "$CONFORMANCE_MESSAGE_TTL")"
export SMP_SERVER_EXPIRY_INTERVAL="$(ms "$CONFORMANCE_EXPIRY_INTERVAL")"
export SMP_SERVER_EXPIRE_ON_SEND="$CONFORMANCE_EXPIRE_ON_SEND"
export SMP_SERVER_EXPIRE_ON_START="$CONFORMANCE_EXPIRE_ON_START"
export SMP_SERVER_EVENT_INTERVAL="$(ms "$CONFORMANCE_EVENT_INTERVAL")"
export SMP_SERVER_NOTIFICATION_INTERVAL="$(ms "$CONFORMANCE_NOTIFICATION_INTERVAL")"
export SMP_SERVER_PROXY_CONNECT_TIMEOUT="$(ms "$CONFORMANCE_PROXY_TIMEOUT")"
export SMP_SERVER_PROXY_ANSWER_TIMEOUT="$(ms "$CONFORMANCE_PROXY_TIMEOUT")"
export SMP_SERVER_NEW_QUEUES="$CONFORMANCE_NEW_QUEUES"
[ -z "$CONFORMANCE_PASSWORD" ] || export SMP_SERVER_CREATE_PASSWORD="$CONFORMANCE_PASSWORD"
if [ "$CONFORMANCE_INACTIVE_TTL" = 0 ]; then
    export SMP_SERVER_DISCONNECT_INACTIVE=off
else
    export SMP_SERVER_INACTIVE_TTL="$(ms "$CONFORMANCE_INACTIVE_TTL")"
    export SMP_SERVER_INACTIVE_INTERVAL="$(ms "$CONFORMANCE_INACTIVE_TTL")"
fi

if [ "$CONFORMANCE_WEB" = on ]; then
    export SMP_SERVER_WEB_HTTPS="$CONFORMANCE_PORT"
    export SMP_SERVER_WEB_CERTIFICATE="$CONFORMANCE_WEB_CERTIFICATE"
    export SMP_SERVER_WEB_PRIVATE_KEY="$CONFORMANCE_WEB_KEY"
fi

case "${CONFORMANCE_ACTION:-start}" in
block)
    case "$CONFORMANCE_NOTICE" in
    '') exec "$server" ctl block "$CONFORMANCE_QUEUE" --reason "$CONFORMANCE_REASON" ;;
    forever) notice=forever ;;
    *) notice="${CONFORMANCE_NOTICE}s" ;;
    esac
    exec "$server" ctl block "$CONFORMANCE_QUEUE" --reason "$CONFORMANCE_REASON" --notice "$notice"
    ;;
unblock) exec "$server" ctl unblock "$CONFORMANCE_QUEUE" ;;
esac

[ -e "$CONFORMANCE_DIRECTORY/server.key" ] || "$server" init --host 127.0.0.1 >&2
exec "$server" start
