#!/bin/bash
# Stopping: every payload has its time, whatever is its process 1; a stop is never a failure, and anything else is one.
. "$(dirname "$0")/lib.sh"

FILES=/usr/libexec/syscontainers-tests/services

# script_image NAME SCRIPT [CONFIG]: an image without /exports, whose Entrypoint is /start, an sh script; CONFIG has more members.
script_image() {
    mkdir -p "$WORK/$1"
    printf '#!/bin/sh\n%s\n' "$2" >"$WORK/$1/start"
    chmod 755 "$WORK/$1/start"
    build_image "$1" --config="{\"Entrypoint\": [\"/start\"]${3:+, $3}}" "$WORK/$1"
    pull_image "$1"
}
# drop_in NAME LINES
drop_in() {
    mkdir -p "/etc/systemd/system/$1.service.d"
    printf '%b\n' "$2" >"/etc/systemd/system/$1.service.d/50-story.conf"
    systemctl daemon-reload
}
# no_drop_in NAME
no_drop_in() {
    rm -r "/etc/systemd/system/$1.service.d"
    systemctl daemon-reload
}
# milliseconds COMMAND…: how long it takes; fails with it.
milliseconds() {
    local begin=${EPOCHREALTIME/./}
    "$@" || return
    echo $(((${EPOCHREALTIME/./} - begin) / 1000))
}
# says NAME ERE: since its last start.
says() {
    journalctl --quiet --no-pager --output=cat "_SYSTEMD_INVOCATION_ID=$(unit_property "$1" InvocationID)" | grep -E -- "$2"
}
# stops NAME: it ends at once, the unit is clean, and nobody was told of a failure.
stops() {
    check "$1 stops" systemctl stop "$1"
    is_clean "$1"
}
# is_clean NAME: it is down, and that is no failure.
is_clean() {
    expect 'inactive dead success' state "$1"
    refuse 'OnFailure= has not run' test -e /run/failures
    expect '' systemctl list-units --failed --plain --no-legend "$1.service"
}
# has_successor NAME: its stop has begun, and goes on whatever happens to the command of the stop.
has_successor() { [ "$(cat "/run/syscontainers/$1/main.pid")" != "$(unit_property "$1" MainPID)" ]; }
# sleeps_before_start NAME: its command before the start is at work; systemd's own process, before that, loses signals.
sleeps_before_start() { [ "$(cat "/proc/$(unit_property "$1" ControlPID)/comm")" = sleep ]; }
# takes_its_time NAME: of TimeoutStopSec=2s, once, as systemd would say otherwise; then it is killed, which is said once.
takes_its_time() {
    local begin took
    begin=$(date +%s.%N)
    took=$(milliseconds systemctl stop "$1")
    [ "$took" -ge 1700 ] || fail "$1 had $took ms only"
    ok "$1 had its time"
    is_clean "$1"
    journalctl --sync
    expect 1 bash -c "journalctl --unit='$1' --since='@$begin' --output=cat | grep -c 'still running .* after .*; killing it'"
    expect_no '[Tt]imed out|timeout' journal_of "$1"
}
printf '[Service]\nType=oneshot\nExecStart=touch /run/failures\n' >/etc/systemd/system/failures.service

say 'images'
# What programs end with when they are asked to: JVMs, Go programs, others, and some that kill themselves.
script_image ends 'trap "exit $STATUS" TERM
echo begins
while :; do sleep 0.05; done'
script_image dies 'trap "kill -KILL \$\$; exec sleep 100" TERM
while :; do sleep 0.05; done'
script_image quits 'trap "echo asked >&2; exit 0" QUIT
trap "echo told >&2" TERM
echo begins
while :; do sleep 0.05; done' '"StopSignal": "SIGQUIT"'
script_image deaf 'sleep 100000'
mkdir -p "$WORK/execs/bin"
printf '#!/bin/sh\necho serves\ntrap "echo bye >&2; exit 3" TERM\nwhile :; do sleep 0.05; done\n' >"$WORK/execs/bin/serve"
chmod 755 "$WORK/execs/bin/serve"
script_image execs 'exec /bin/serve'
# Its first start takes a while, during which it has no handler, and is not to be cut short.
script_image first 'if [ ! -e /data/made ]; then
    touch /data/begun
    sleep 1.2
    echo secret >/data/password
    touch /data/made
fi
trap "exit 143" TERM
while :; do sleep 0.05; done' '"Volumes": {"/data": {}}'
script_image forks 'sleep 100000 &
sleep 100001 &
exec sleep 0.3'
exports job "$(shell_args 'trap "exit 143" TERM; echo works; while :; do sleep 0.05; done')" --unit='Type=oneshot'
exports daemon "$(shell_args 'sleep 100000 &')" --unit='Type=forking'
exports guarded "$(until_stopped)" --unit=$'Type=notify\nWatchdogSec=30\nUser=daemon'
exports failing "$(shell_args 'exit 4')" --unit='Type=oneshot'
host_libraries=('--mount=/usr:/usr:bind,ro' '--mount=/usr/lib:/lib:bind,ro' '--mount=/usr/lib64:/lib64:bind,ro')
exports late "$(shell_args 'trap "exit 143" TERM; echo waits; while [ ! -e /gate/open ]; do sleep 0.05; done; systemd-notify --ready; while :; do sleep 0.05; done')" \
    --unit=$'Type=notify\nRestart=on-failure' "${host_libraries[@]}" --mount=/run/gate:/gate
for name in job failing late; do build_and_pull "$name"; done


# What others have as process 1, with a database below it that writes when it is asked to end.
inits=''
if [ -d $FILES/inits ]; then
    inits=yes
    mkdir -p "$WORK/s6/etc/s6/redis" "$WORK/supervisor/etc"
    printf '#!/bin/sh\nexec redis-server --port 6391 --dir /data --save "3600 1"\n' >"$WORK/s6/etc/s6/redis/run"
    chmod 755 "$WORK/s6/etc/s6/redis/run"
    printf '%s\n' '[supervisord]' nodaemon=true user=root logfile=/dev/null logfile_maxbytes=0 pidfile=/run/supervisord.pid \
        '[program:one]' 'command=/bin/sh -c "trap \"echo ended >/data/ended; exit 0\" TERM; while :; do sleep 0.05; done"' \
        >"$WORK/supervisor/etc/supervisord.conf"
    # init NAME ENTRYPOINT DIRECTORY…
    init() {
        build_image "$1" --config="{\"Entrypoint\": $2, \"Volumes\": {\"/data\": {}, \"/etc/s6\": {}}}" "${@:3}"
        pull_image "$1"
    }
    redis='"redis-server", "--port", "6391", "--dir", "/data", "--save", "3600 1"'
    init tini "[\"/usr/bin/tini\", \"--\", $redis]" $FILES/inits
    init dumb "[\"/usr/bin/dumb-init\", $redis]" $FILES/inits
    init s6 '["/usr/bin/s6-svscan", "/etc/s6"]' $FILES/inits "$WORK/s6"
    init supervisor '["/usr/bin/supervisord", "-c", "/etc/supervisord.conf"]' $FILES/supervisor "$WORK/supervisor"
fi
# inits_client COMMAND…: of redis.
inits_client() { chroot $FILES/inits /usr/bin/redis-cli -p 6391 "$@"; }
# stop_inits: with what was written since the last start.
stop_inits() {
    local name
    for name in tini dumb s6; do
        say "$runtime: $name"
        checkout --runtime="$path" "$REGISTRY/$name"
        drop_in $name '[Unit]\nOnFailure=failures.service'
        systemctl start $name
        wait_for 'it answers' inits_client ping
        expect OK inits_client set key "$name"
        stops $name
        systemctl start $name
        wait_for 'it answers' inits_client ping
        expect "$name" inits_client get key
        stops $name
        forget_init $name
    done
    say "$runtime: supervisord"
    checkout --runtime="$path" "$REGISTRY/supervisor"
    drop_in supervisor '[Unit]\nOnFailure=failures.service'
    systemctl start supervisor
    wait_for 'it runs' says supervisor 'entered RUNNING state'
    stops supervisor
    expect ended cat /var/lib/syscontainers/supervisor/data/ended
    forget_init supervisor
}
# forget_init NAME
forget_init() {
    syscontainer-remove --purge "$1" 2>/dev/null
    no_drop_in "$1"
}

say 'units that cannot be kept'
bad_image daemon 'invalid unit in exports/service.template: line 8: Type=forking: a container ends with its first process'
build_and_pull guarded
checkout --no-enable "$REGISTRY/guarded"
expect_like 'exports/service.template:9: WatchdogSec= is not kept' cat "$WORK/said"
expect_like "exports/service.template:10: User= is for other commands of the unit, and there are none" cat "$WORK/said"
syscontainer-remove guarded 2>/dev/null
expect_like '/start, a script of sh.*\[stop-signal\]$' syscontainer-lint "$REGISTRY/deaf"
expect_no 'stop-signal' syscontainer-lint "$REGISTRY/execs"

for runtime in crun runc; do
    path=$(command -v $runtime)
    say "$runtime: whatever a payload ends with"
    for status in 143 2 1 0; do
        checkout --name="ends-$status" --runtime="$path" --set STATUS=$status "$REGISTRY/ends"
        drop_in "ends-$status" '[Unit]\nOnFailure=failures.service\n[Service]\nRestart=no'
        systemctl start "ends-$status"
        wait_for 'it runs' says "ends-$status" begins
        stops "ends-$status"
        systemctl start "ends-$status"
        check 'it restarts' systemctl restart "ends-$status"
        expect 'active running success' state "ends-$status"
        if [ $status != 0 ]; then
            # Before, it has no handler.
            wait_for 'it runs again' says "ends-$status" begins
            kill -TERM "$(unit_property "ends-$status" MainPID)"
            wait_for 'the same without a stop is a failure' test -e /run/failures
            expect "failed failed exit-code $status" state "ends-$status"
            rm /run/failures
        fi
        syscontainer-remove "ends-$status" 2>/dev/null
        rm -r "/etc/systemd/system/ends-$status.service.d"
    done
    checkout --runtime="$path" "$REGISTRY/dies"
    drop_in dies '[Unit]\nOnFailure=failures.service\n[Service]\nTimeoutStopSec=2s'
    systemctl start dies
    stops dies
    systemctl start dies
    kill -KILL "$(unit_property dies MainPID)"
    wait_for 'a kill without a stop is a failure, and it is restarted after a while' unit_has dies NRestarts 1
    stops dies
    checkout --runtime="$path" "$REGISTRY/execs"
    systemctl start execs
    wait_for 'it runs' says execs serves
    stops execs
    expect_like '^bye$' journal_of execs

    say "$runtime: the signal and the time are the image's, or the user's"
    checkout --runtime="$path" "$REGISTRY/quits"
    systemctl start quits
    wait_for 'it runs' says quits begins
    stops quits
    expect_like '^asked$' journal_of quits
    checkout --update -o StopSignal=TERM -o StopTimeout=2s quits
    expect 2s unit_property quits TimeoutStopUSec
    expect_like '"StopTimeout"' cat "$CO/quits/info"
    systemctl start quits
    wait_for 'it runs' says quits begins
    takes_its_time quits
    expect_like '^told$' journal_of quits
    checkout --update -o StopSignal= -o StopTimeout= quits
    expect 10s unit_property quits TimeoutStopUSec

    say "$runtime: one that does not listen"
    checkout --runtime="$path" "$REGISTRY/deaf"
    drop_in deaf '[Unit]\nOnFailure=failures.service\n[Service]\nTimeoutStopSec=2s'
    systemctl start deaf
    takes_its_time deaf
    systemctl start deaf
    check 'a restart takes its time as well' systemctl restart deaf
    expect 'active running success' state deaf
    systemctl stop deaf & first=$!
    systemctl stop deaf & second=$!
    check 'two stops are one' wait $first
    check 'for both' wait $second
    is_clean deaf
    # The command of the stop is killed: what it began goes on.
    systemctl start deaf
    systemctl stop --no-block deaf
    wait_for 'the stop began' has_successor deaf
    control=$(unit_property deaf ControlPID)
    kill -KILL "$control"
    is_clean deaf
    drop_in deaf '[Unit]\nOnFailure=failures.service\n[Service]\nTimeoutStopSec=infinity'
    systemctl start deaf
    systemctl stop --no-block deaf
    wait_for 'the stop began' has_successor deaf
    sleep 3
    expect deactivating unit_property deaf ActiveState
    kill -KILL "$(unit_property deaf MainPID)"
    is_clean deaf
    no_drop_in deaf

    say "$runtime: commands after the start and for a reload find their main process"
    drop_in quits '[Service]\nExecStartPost=/bin/true\nExecReload=/bin/true'
    systemctl start quits
    expect 'active running success' state quits
    main=$(unit_property quits MainPID)
    check 'a reload' systemctl reload quits
    expect "$main" unit_property quits MainPID
    stops quits
    no_drop_in quits

    say "$runtime: a first start that must not be cut short"
    rm -rf /var/lib/syscontainers/first
    checkout --runtime="$path" "$REGISTRY/first"
    drop_in first '[Unit]\nOnFailure=failures.service'
    systemctl start first
    wait_for 'it began' test -e /var/lib/syscontainers/first/data/begun
    stops first
    expect secret cat /var/lib/syscontainers/first/data/password
    systemctl start first
    expect 'active running success' state first
    stops first

    say "$runtime: a drop-in that a container cannot have"
    for line in User=daemon DynamicUser=yes; do
        drop_in first "[Service]\\n$line"
        refuse "it does not start with $line" systemctl start first
        journalctl --sync
        expect_like 'cannot prepare first: a drop-in of first.service has User=.* or DynamicUser=, but an OCI runtime needs root' journal_of first
        systemctl stop first
    done
    drop_in first '[Service]\nEnvironment=USER=x'
    check 'a variable is none' systemctl start first
    systemctl stop first
    drop_in first '[Service]\nWatchdogSec=300'
    systemctl start first
    expect_like 'a drop-in of first.service has WatchdogSec=, but' journal_of first
    systemctl stop first

    say "$runtime: a program that forks and leaves"
    checkout --runtime="$path" "$REGISTRY/forks"
    systemctl start forks
    wait_for 'it ends with its first process' unit_has forks ActiveState inactive
    expect '' processes forks

    say "$runtime: a stop while it starts"
    checkout --runtime="$path" --name=before "$REGISTRY/ends" --set STATUS=1
    drop_in before '[Unit]\nOnFailure=failures.service\n[Service]\nExecStartPre=/bin/sleep 1000'
    systemctl start --no-block before
    wait_for 'a command before it runs' sleeps_before_start before
    stops before
    mkdir -p /run/gate
    checkout --runtime="$path" "$REGISTRY/late"
    drop_in late '[Unit]\nOnFailure=failures.service'
    systemctl start --no-block late
    wait_for 'it is starting' says late waits
    expect activating unit_property late ActiveState
    stops late
    touch /run/gate/open
    systemctl start late
    expect sh cat "/proc/$(unit_property late MainPID)/comm"
    stops late
    rm /run/gate/open
    checkout --runtime="$path" "$REGISTRY/job"
    drop_in job '[Unit]\nOnFailure=failures.service'
    systemctl start --no-block job
    wait_for 'a task runs' says job works
    expect activating unit_property job ActiveState
    stops job
    systemctl start --no-block job
    wait_for 'it runs again' says job works
    systemctl kill job
    wait_for 'killed without a stop, it failed' test -e /run/failures
    expect 'failed failed exit-code 143' state job
    rm /run/failures
    checkout --runtime="$path" "$REGISTRY/failing"
    refuse 'it ends as its payload' systemctl start failing
    expect 'failed failed exit-code 4' state failing
    [ -z "$inits" ] || stop_inits
    for name in before dies execs quits deaf first forks late job failing; do
        syscontainer-remove --purge "$name" 2>/dev/null
        rm -rf "/etc/systemd/system/$name.service.d"
    done
    systemctl daemon-reload
done
