#!/bin/sh
# As process 1 the command would not see its signals.
set -eu
"$@" &
child=$!
trap 'kill -TERM "$child"' TERM INT
# A signal ends the first wait.
wait "$child" || true
wait "$child" || true
