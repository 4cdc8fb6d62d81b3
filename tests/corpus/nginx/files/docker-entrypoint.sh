#!/bin/sh
# Lets every script of a directory prepare the configuration, and becomes the command.
set -eu
case $1 in
    nginx | nginx-debug)
        for script in /docker-entrypoint.d/*; do
            [ -x "$script" ] || { echo "$0: $script is not executable" >&2; continue; }
            echo "$0: running $script"
            "$script"
        done
        ;;
esac
exec "$@"
