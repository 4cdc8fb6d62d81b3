#!/bin/bash
# Real services in images as anyone makes them, without /exports: nginx, redis and postgresql, with crun and runc.
. "$(dirname "$0")/lib.sh"

FILES=/usr/libexec/syscontainers-tests/services
[ -d $FILES ] || skip 'their packages could not be had'
# service_image NAME CONFIG
service_image() {
    build_image "$1" --owners --config="$2" "$FILES/$1"
    pull_image "$1"
}
service_image nginx '{
    "Cmd": ["nginx", "-g", "daemon off;"],
    "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
    "StopSignal": "SIGQUIT",
    "ExposedPorts": {"8080/tcp": {}},
    "Volumes": {"/usr/share/nginx/html": {}, "/var/log/nginx": {}, "/var/lib/nginx": {}}
}'
service_image redis '{
    "Entrypoint": ["redis-server"],
    "Cmd": ["--bind", "127.0.0.1", "--dir", "/data", "--supervised", "systemd"],
    "User": "redis",
    "WorkingDir": "/data",
    "Volumes": {"/data": {}},
    "Env": ["PATH=/usr/bin:/bin"]
}'
service_image postgresql '{
    "Entrypoint": ["entrypoint"],
    "Cmd": ["postgres", "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=/tmp"],
    "User": "postgres",
    "Env": ["PATH=/usr/lib/postgresql/15/bin:/usr/bin:/bin", "PGDATA=/var/lib/postgresql/data", "LC_ALL=C"],
    "Volumes": {"/var/lib/postgresql/data": {}},
    "StopSignal": "SIGINT"
}'
# client NAME COMMAND…: a program of the image, on the host's network.
client() { chroot "$FILES/$1" "${@:2}"; }
redis() { client redis /usr/bin/redis-cli "$@"; }
sql() {
    client postgresql /usr/lib/postgresql/15/bin/psql --host=127.0.0.1 --username=postgres \
        --no-align --tuples-only --command="$1"
}

for runtime in crun runc; do
    path=/usr/bin/$runtime
    say "$runtime: nginx"
    checkout --runtime=$path --name=nginx "$REGISTRY/nginx"
    check 'it starts' systemctl start nginx
    wait_for 'it answers' http 8080
    expect 'welcome to nginx' http 8080
    # Volumes have what the image has in them, and are the user's from then on.
    echo 'my page' >/var/lib/syscontainers/nginx/usr-share-nginx-html/index.html
    systemctl restart nginx
    wait_for 'it answers again' http 8080
    expect 'my page' http 8080
    for line in 'CapBnd:.*00000000800405fb' 'NoNewPrivs:.*0' 'Seccomp:.*2'; do
        expect_like "^$line\$" main_process nginx status
    done
    expect closed unit_property nginx DevicePolicy
    check 'its stop signal ends it' systemctl stop nginx
    expect 'inactive dead success' state nginx
    expect_like 'signal 3 \(SIGQUIT\)|SIGQUIT|gracefully shutting down|Deactivated' journal_of nginx

    say "$runtime: redis"
    checkout --runtime=$path --name=redis --notify=ready "$REGISTRY/redis"
    check 'it starts' systemctl start redis
    # Ready means ready: nothing is waited for.
    expect PONG redis PING
    expect OK redis SET key "of $runtime"
    expect OK redis SAVE
    expect_like $'^Uid:\t105\t105\t105\t105$' main_process redis status
    check 'it stops' systemctl stop redis
    expect 'inactive dead success' state redis
    check 'its data is on the host' test -f /var/lib/syscontainers/redis/data/dump.rdb
    systemctl start redis
    expect "of $runtime" redis GET key
    systemctl stop redis

    say "$runtime: postgresql"
    checkout --runtime=$path --name=db --set PGOPTIONS_OF_MINE='a "b"' "$REGISTRY/postgresql"
    check 'it starts' systemctl start db
    wait_for 'it answers' sql 'SELECT 1'
    sql "CREATE TABLE IF NOT EXISTS t (x text); INSERT INTO t VALUES ('$runtime')" >/dev/null
    expect_like '^PGOPTIONS_OF_MINE=a "b"$' main_process db environ
    expect_like $'^Groups:\t106 107 *$' main_process db status
    check 'it stops at once' systemctl stop db
    expect 'inactive dead success' state db
    expect_like 'received fast shutdown request' journal_of db
    systemctl start db
    wait_for 'it answers again' sql 'SELECT 1'
    expect "$runtime" sql 'SELECT x FROM t'
    systemctl stop db
    expect '106:106' stat --format=%u:%g /var/lib/syscontainers/db/var-lib-postgresql-data
    forget nginx redis db
    check 'its state outlives a container' test -e /var/lib/syscontainers/db/var-lib-postgresql-data/PG_VERSION
    rm -r /var/lib/syscontainers/{nginx,redis,db}
done

say 'nonsense'
# bad_image_config NAME CONFIG ERE: an image that has this configuration cannot be pulled, or not be installed.
bad_image_config() {
    build_image "$1" --config="$2" "$WORK/empty"
    if syscontainer-pull --quiet "$REGISTRY/$1" >/dev/null 2>"$WORK/said"; then
        run_fails 1 "$3" syscontainer-checkout "$REGISTRY/$1"
    else
        expect 1 bash -c "wc -l <'$WORK/said'"
        ok "refused when it is pulled: $(cat "$WORK/said")"
    fi
}
mkdir -p "$WORK/empty/etc"
bad_image_config types '{"Cmd": "sh", "Env": 3}' 'cannot (make|read) .*configuration'
bad_image_config volumes '{"Cmd": ["sh"], "Volumes": {"data": {}}}' 'its volume "data" is not an absolute path'
bad_image_config climbing '{"Cmd": ["sh"], "Volumes": {"/a/../../etc": {}}}' 'is not an absolute path of a directory'
bad_image_config user '{"Cmd": ["sh"], "User": "nobody-knows"}' 'its user "nobody-knows" is not in its /etc/passwd'
bad_image_config group '{"Cmd": ["sh"], "User": "0:nobody-knows"}' 'its group in "0:nobody-knows" is not in its /etc/group'
bad_image_config directory '{"Cmd": ["sh"], "WorkingDir": "srv"}' 'its WorkingDir "srv" is not absolute'
bad_image_config signal '{"Cmd": ["sh"], "StopSignal": "SIGNONSENSE"}' 'its StopSignal "SIGNONSENSE" is not a signal'
bad_image_config command '{}' 'nothing to run'
bad_image_config empty '{"Entrypoint": [], "Cmd": null}' 'nothing to run'
run_fails 2 'expected no, ready or full' syscontainer-checkout --notify=maybe "$REGISTRY/nginx"
