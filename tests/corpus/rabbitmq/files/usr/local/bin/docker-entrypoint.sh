#!/bin/bash
set -euo pipefail

if [[ "$1" == rabbitmq* ]] && [ "$(id -u)" = 0 ]; then
    find /var/lib/rabbitmq ! -user rabbitmq -exec chown rabbitmq {} +
    exec gosu rabbitmq "${BASH_SOURCE[0]}" "$@"
fi
# The first user is made from variables; the configuration is written beside that of the image.
if [ -n "${RABBITMQ_DEFAULT_USER-}" ]; then
    printf 'default_user = %s\ndefault_pass = %s\nloopback_users = none\n' "$RABBITMQ_DEFAULT_USER" "${RABBITMQ_DEFAULT_PASS-}" \
        >/etc/rabbitmq/conf.d/20-user.conf
fi
exec "$@"
