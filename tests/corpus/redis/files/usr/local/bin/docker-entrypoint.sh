#!/bin/sh
set -e
# Options alone, or a configuration, are for the server.
case ${1-} in
    -* | *.conf) set -- redis-server "$@" ;;
esac
# Root gives the data to the server's own user, and becomes that user.
if [ "$1" = redis-server ] && [ "$(id -u)" = 0 ]; then
    find . ! -user redis -exec chown redis {} +
    exec gosu redis "$0" "$@"
fi
# Nobody else is to read the dump, unless somebody wants it so.
[ "$(umask)" != 0022 ] || umask 0077
exec "$@"
