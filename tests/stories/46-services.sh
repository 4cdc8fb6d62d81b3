#!/bin/bash
# Real services in images as anyone makes them, without /exports, with options of an administrator: nginx, redis and postgres, with
# crun and runc. All of the corpus is for 97-corpus.
. "$(dirname "$0")/lib.sh"

need_corpus
for image in nginx redis postgres; do
    publish_corpus $image 1
    pull_image corpus/$image
done
# shellcheck disable=SC2034 # for client()
ENGINE=crun
sql_of_db() {
    client env PGPASSWORD=secret /usr/lib/postgresql/15/bin/psql --host=127.0.0.1 --username=postgres --no-align --tuples-only --command="$1"
}

for runtime in crun runc; do
    path=/usr/bin/$runtime
    say "$runtime: nginx"
    checkout --runtime=$path --name=nginx "$REGISTRY/corpus/nginx"
    check 'it starts' systemctl start nginx
    wait_for 'it answers' http 80
    for line in 'CapBnd:.*00000000800405fb' 'NoNewPrivs:.*0' 'Seccomp:.*2'; do
        expect_like "^$line\$" main_process nginx status
    done
    expect closed unit_property nginx DevicePolicy
    check 'its stop signal ends it' systemctl stop nginx
    expect 'inactive dead success' state nginx
    expect_like 'signal 3 \(SIGQUIT\)|SIGQUIT|gracefully shutting down|Deactivated' journal_of nginx

    say "$runtime: redis"
    CONTAINER=redis
    checkout --runtime=$path --name=redis --notify=ready -o Exec='redis-server --supervised systemd' "$REGISTRY/corpus/redis"
    check 'it starts' systemctl start redis
    # Ready means ready: nothing is waited for.
    expect PONG client redis-cli PING
    expect OK client redis-cli SET key "of $runtime"
    expect OK client redis-cli SAVE
    expect_like $'^Uid:\t999\t999\t999\t999$' main_process redis status
    check 'it stops' systemctl stop redis
    expect 'inactive dead success' state redis
    check 'its data is on the host' test -f /var/lib/syscontainers/redis/data/dump.rdb
    systemctl start redis
    expect "of $runtime" client redis-cli GET key
    systemctl stop redis

    say "$runtime: postgres, as its own user from the beginning"
    CONTAINER=db
    checkout --runtime=$path --name=db -o User=postgres --set POSTGRES_PASSWORD=secret --set PGOPTIONS_OF_MINE='a "b"' "$REGISTRY/corpus/postgres"
    check 'it starts' systemctl start db
    wait_for 'it answers' sql_of_db 'SELECT 1'
    expect_like '^PGOPTIONS_OF_MINE=a "b"$' main_process db environ
    expect_like $'^Groups:\t107 999 *$' main_process db status
    check 'it stops' systemctl stop db
    expect 'inactive dead success' state db
    expect_like 'received fast shutdown request' journal_of db
    expect '999:999' stat --format=%u:%g /var/lib/syscontainers/db/var-lib-postgresql-data
    forget nginx redis db
    check 'its state outlives a container' test -e /var/lib/syscontainers/db/var-lib-postgresql-data/PG_VERSION
    rm -r /var/lib/syscontainers/{redis,db}
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
bad_image_config climbing '{"Cmd": ["sh"], "Volumes": {"/a/../..": {}}}' 'its volume "/a/../.." would be the whole root file system'
bad_image_config user '{"Cmd": ["sh"], "User": "nobody-knows"}' 'its user "nobody-knows" is not in its /etc/passwd'
bad_image_config group '{"Cmd": ["sh"], "User": "0:nobody-knows"}' 'its group in "0:nobody-knows" is not in its /etc/group'
bad_image_config signal '{"Cmd": ["sh"], "StopSignal": "SIGNONSENSE"}' 'its StopSignal "SIGNONSENSE" is not a signal'
bad_image_config command '{}' 'nothing to run'
bad_image_config empty '{"Entrypoint": [], "Cmd": null}' 'nothing to run'
run_fails 2 'expected no, ready or full' syscontainer-checkout --notify=maybe "$REGISTRY/corpus/nginx"
