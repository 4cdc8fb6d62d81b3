#!/bin/bash
# The first start makes the database, with a server that only this script can reach, and sets the password.
set -eo pipefail
shopt -s nullglob

note() { echo "[Note] [Entrypoint]: $*"; }
die() { echo "[ERROR] [Entrypoint]: $*" >&2; exit 1; }
data=/var/lib/mysql
socket=/run/mysqld/mysqld.sock

[[ ${1-} != -* ]] || set -- mariadbd "$@"
[ "$1" = mariadbd ] || exec "$@"
if [ "$(id -u)" = 0 ]; then
    note 'Switching to dedicated user mysql'
    find "$data" ! -user mysql -exec chown mysql: {} +
    find "${socket%/*}" ! -user mysql -exec chown mysql: {} +
    exec gosu mysql "${BASH_SOURCE[0]}" "$@"
fi
if [ ! -d "$data/mysql" ]; then
    [ -n "${MARIADB_ROOT_PASSWORD-}" ] || die 'Database is uninitialized and MARIADB_ROOT_PASSWORD is not set'
    note 'Initializing database files'
    mariadb-install-db --datadir="$data" --auth-root-authentication-method=normal --skip-test-db --rpm >/dev/null
    note 'Starting temporary server'
    "$@" --skip-networking --socket="$socket" --datadir="$data" &
    server=$!
    for ((i = 300; i > 0; i--)); do
        if mariadb --protocol=socket --user=root --socket="$socket" --execute='SELECT 1' >/dev/null 2>&1; then break; fi
        sleep 0.2
    done
    [ $i != 0 ] || die 'Unable to start server'
    mariadb --protocol=socket --user=root --socket="$socket" <<-END
		SET @@SESSION.SQL_LOG_BIN=0;
		DELETE FROM mysql.global_priv WHERE user = '' OR host != 'localhost';
		FLUSH PRIVILEGES;
		CREATE USER 'root'@'%' IDENTIFIED BY '${MARIADB_ROOT_PASSWORD//\'/\'\'}';
		GRANT ALL ON *.* TO 'root'@'%' WITH GRANT OPTION;
		${MARIADB_DATABASE:+CREATE DATABASE \`$MARIADB_DATABASE\`;}
		SET PASSWORD FOR 'root'@'localhost' = PASSWORD('${MARIADB_ROOT_PASSWORD//\'/\'\'}');
	END
    for file in /docker-entrypoint-initdb.d/*.sql; do
        mariadb --protocol=socket --user=root --password="$MARIADB_ROOT_PASSWORD" --socket="$socket" <"$file"
    done
    note 'Stopping temporary server'
    kill "$server"
    wait "$server" || die 'Unable to stop server'
    note 'MariaDB init process done. Ready for start up.'
fi
exec "$@" --datadir="$data" --socket="$socket"
