#!/bin/sh
set -e
case ${1-} in -*) set -- haproxy "$@" ;; esac
if [ "$1" = haproxy ]; then
    shift
    # A master that takes signals, and in the foreground.
    set -- haproxy -W -db "$@"
fi
exec "$@"
