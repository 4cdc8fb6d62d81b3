#!/bin/bash
# How payloads of all kinds start, end and are stopped, with crun and with runc.
# Rows of tests/atomic.md: 2.A8, 4.33, a.
. "$(dirname "$0")/lib.sh"

# Programs of this host, for payloads that notify.
host_usr=('--mount=/usr:/usr:bind,ro' '--mount=/usr/lib:/lib:bind,ro' '--mount=/usr/lib64:/lib64:bind,ro')
notifies() { until_stopped "sleep 0.5; /usr/bin/systemd-notify $1"; }

say 'images'
exports true '["true"]'
exports seven "$(shell_args 'exit 7')"
exports missing '["/nonexistent"]'
exports task "$(shell_args 'echo did it')" --unit='Type=oneshot'
exports badtask "$(shell_args 'exit 3')" --unit='Type=oneshot'
exports kept '["true"]' --unit=$'Type=oneshot\nRemainAfterExit=yes'
exports polite "$(until_stopped 'echo begins')" --unit='Restart=on-failure'
exports deaf "$(shell_args 'while :; do sleep 1; done')" --unit=$'Restart=on-failure\nTimeoutStopSec=1s'
exports tells "$(notifies '--ready --status=up')" --unit='Type=notify' "${host_usr[@]}"
exports tellshost "$(notifies '--ready --status=up')" --unit='Type=notify' --namespaces=ipc,mount "${host_usr[@]}"
exports lies "$(notifies 'MAINPID=1 READY=1')" --unit='Type=notify' "${host_usr[@]}"
exports dies "$(shell_args 'exit 4')" --unit='Type=notify'
exports someone "$(until_stopped)" --unit=$'User=daemon\nExecStartPre=/bin/sh -c "id -un"'
exports pidfile "$(until_stopped)" --unit='PIDFile=$PIDFILE'
exports native '["true"]'
cat >"$WORK/native/exports/service.template" <<'END'
[Service]
Type=forking
PIDFile=/run/native.pid
ExecStart=/bin/sh -c 'sleep 1000 & echo $$$$! >/run/native.pid'
END
names='true seven missing task badtask kept polite deaf tells tellshost lies dies someone pidfile native'
for name in $names; do build_image "$name" "$WORK/$name"; done
for name in $names; do pull_image "$name"; done

# clean NAME: nothing is left of a container that does not run.
clean() {
    [ ! -e "/run/crun/$1" ] && [ ! -e "/run/runc/$1" ] && [ ! -e "/run/syscontainers/$1" ] || fail "$1 left something in /run"
    [ -z "$(processes "$1")" ] || fail "$1 left processes: $(processes "$1")"
    ok "nothing is left of $1"
}

for runtime in crun runc; do
    path=$(command -v "$runtime")
    say "$runtime"
    for name in $names; do
        checkout --name="$name-$runtime" --runtime="$path" "$REGISTRY/$name"
    done

    say 'payloads that end'
    check 'a payload may end at once' systemctl start "true-$runtime"
    wait_for 'and is gone' ended "true-$runtime"
    expect 'inactive dead success' state "true-$runtime"
    check 'and fail later' systemctl start "seven-$runtime"
    wait_for 'as it does' ended "seven-$runtime"
    expect 'failed failed exit-code 7' state "seven-$runtime"
    refuse 'a missing program fails the start' systemctl start "missing-$runtime"
    expect 'failed failed exit-code 1' state "missing-$runtime"
    expect_like 'cannot start missing-.* failed' journal_of "missing-$runtime"
    check 'a oneshot waits for its payload' systemctl start "task-$runtime"
    expect_like '^did it$' journal_of "task-$runtime"
    refuse 'and fails with it' systemctl start "badtask-$runtime"
    expect 'failed failed exit-code 3' state "badtask-$runtime"
    check 'a oneshot may stay' systemctl start "kept-$runtime"
    expect 'active exited success' state "kept-$runtime"
    systemctl stop "kept-$runtime"
    for name in true seven missing task badtask kept; do clean "$name-$runtime"; done

    say 'a payload that handles its stop signal'
    check 'it starts' systemctl start "polite-$runtime"
    expect 'active running success' state "polite-$runtime"
    expect_soon 'sh sleep' processes "polite-$runtime"
    expect sh cat "/proc/$(unit_property "polite-$runtime" MainPID)/comm"
    expect_like "^0::.*/polite-$runtime.service" cat "/proc/$(unit_property "polite-$runtime" MainPID)/cgroup"
    wait_for 'its output is in the journal of the unit' journal_has "polite-$runtime" '^begins$'
    kill -KILL "$(unit_property "polite-$runtime" MainPID)"
    wait_for 'it is restarted after SIGKILL' unit_has "polite-$runtime" NRestarts 1
    expect 'active running success' state "polite-$runtime"
    check 'it stops' systemctl stop "polite-$runtime"
    expect 'inactive dead success' state "polite-$runtime"
    clean "polite-$runtime"

    say 'one that does not'
    systemctl start "deaf-$runtime"
    check 'it is killed when its time is over' systemctl stop "deaf-$runtime"
    expect 'inactive dead success' state "deaf-$runtime"
    expect_no '[Tt]imed out' journal_of "deaf-$runtime"
    systemctl start "deaf-$runtime"
    check 'and restarts' systemctl restart "deaf-$runtime"
    systemctl stop "deaf-$runtime"
    clean "deaf-$runtime"

    say 'notification'
    for name in tells tellshost; do
        check 'the start waits for READY' systemctl start "$name-$runtime"
        expect 'active running success' state "$name-$runtime"
        expect up unit_property "$name-$runtime" StatusText
        expect_soon 'sh sleep' processes "$name-$runtime"
        systemctl stop "$name-$runtime"
        expect 'inactive dead success' state "$name-$runtime"
        clean "$name-$runtime"
    done
    check 'a payload cannot name another main process' systemctl start "lies-$runtime"
    expect sh cat "/proc/$(unit_property "lies-$runtime" MainPID)/comm"
    systemctl stop "lies-$runtime"
    refuse 'one that ends before READY fails the start' systemctl start "dies-$runtime"
    expect 'failed failed exit-code 4' state "dies-$runtime"
    clean "dies-$runtime"

    say 'special templates'
    check 'User= is for other commands of the unit' systemctl start "someone-$runtime"
    expect_like '^daemon$' journal_of "someone-$runtime"
    expect 'active running success' state "someone-$runtime"
    systemctl stop "someone-$runtime"
    clean "someone-$runtime"
    systemctl start "pidfile-$runtime"
    expect "$(unit_property "pidfile-$runtime" MainPID)" cat "/run/container-pidfile-$runtime.pid"
    systemctl stop "pidfile-$runtime"
    refuse 'PIDFILE goes with the payload' test -e "/run/container-pidfile-$runtime.pid"
    check 'a template may use no runtime at all' systemctl start "native-$runtime"
    expect 'active running success' state "native-$runtime"
    systemctl stop "native-$runtime"

    say 'what a crash left'
    mkdir -p "/run/$runtime/polite-$runtime" "/run/syscontainers/polite-$runtime"
    echo garbage | tee "/run/$runtime/polite-$runtime/status" "/run/$runtime/polite-$runtime/state.json" >/dev/null
    check 'state that is garbage is no obstacle' systemctl start "polite-$runtime"
    wait_for 'the start is over' bash -c "[ ! -e /run/$runtime/polite-$runtime/exec.fifo ]"
    cp -a "/run/$runtime/polite-$runtime" "$WORK/state-$runtime"
    cp -a "/run/syscontainers/polite-$runtime" "$WORK/bundle-$runtime"
    systemctl stop "polite-$runtime"
    cp -a "$WORK/state-$runtime" "/run/$runtime/polite-$runtime"
    cp -a "$WORK/bundle-$runtime" "/run/syscontainers/polite-$runtime"
    check 'nor is that of a payload that is gone' systemctl start "polite-$runtime"
    expect 'active running success' state "polite-$runtime"
    systemctl stop "polite-$runtime"
    clean "polite-$runtime"
done
