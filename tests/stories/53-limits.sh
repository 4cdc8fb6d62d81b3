#!/bin/bash
# Limits of a unit hold its payload, in the kernel: by drop-in, by set-property and by the runtime configuration, with both
# runtimes.
# runs in: vm
. "$(dirname "$0")/lib.sh"

# group UNIT: the cgroup of its payload.
group() { sed -n 's,^0::,/sys/fs/cgroup,p' "/proc/$(unit_property "$1" MainPID)/cgroup"; }
# event FILE KEY UNIT: a counter of the unit's own cgroup, which includes what is below.
event() { sed -n "s/^$2 //p" "/sys/fs/cgroup$(unit_property "$3" ControlGroup)/$1"; }
# refusals UNIT: how many forks its limit refused. Before Linux 6.11 they are counted where they are tried, which may be further
# below.
refusals() { sed -n 's/^max //p' "$(group "$1")/pids.events"; }
# at_least N COMMAND…: it prints such a number.
at_least() { [ "$("${@:2}")" -ge "$1" ]; }
eat=$(cat <<'END'
trap 'exit 0' TERM
until [ -e /run/eat/go ]; do sleep 0.05; done
case $(cat /run/eat/go) in
    memory) exec tail /dev/zero ;;
    cpu) while :; do :; done ;;
    pids) for n in $(seq 30); do sleep 1000 & done; wait ;;
esac
END
)
# What stops a payload has the payload's limits, and so a sixth of an emulated processor.
restart=$'Restart=on-failure\nRestartSec=200ms\nTimeoutStopSec=3min'
exports eater "$(shell_args "$eat")" --unit="$restart" --mount=/run/eat:/run/eat:bind,ro
build_image eater "$WORK/eater"
# The same, with limits of its own. Twenty tasks are enough for runc's own threads.
exports limited "$(shell_args "$eat")" --unit="$restart" --mount=/run/eat:/run/eat:bind,ro --resources='{
    "memory": {"limit": 33554432},
    "cpu": {"quota": 20000, "period": 100000},
    "pids": {"limit": 20}
}'
build_image limited "$WORK/limited"
devices=$(cat <<'END'
mknod /dev/full c 1 7
mknod /dev/kmsg c 1 11
(echo x >/dev/full) 2>&1 | sed s/^/full:/
(: </dev/kmsg) 2>&1 | sed s/^/kmsg:/
echo done
END
)
exports devices "$(until_stopped "$devices")" --resources='{
    "devices": [
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 1, "minor": 7, "access": "rwm"},
        {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "m"}
    ]
}' --process='"capabilities": {"bounding": ["CAP_MKNOD"], "effective": ["CAP_MKNOD"], "permitted": ["CAP_MKNOD"]}'
build_image devices "$WORK/devices"
mkdir -p /run/eat
for image in eater limited devices; do pull_image "$image"; done

# eat WHAT UNIT: starts it anew, and has its payload eat that.
eat() {
    rm -f /run/eat/go
    systemctl reset-failed "$2" 2>/dev/null || true
    systemctl restart "$2" 2>/dev/null
    expect 'active running success' state "$2"
    echo "$1" >/run/eat/go
}
# All three, however they were set.
limits_hold() {
    local unit=$1
    eat memory "$unit"
    wait_for "$unit: an OOM kill is the unit's result" journal_has "$unit" "Failed with result 'oom-kill'"
    rm -f /run/eat/go
    wait_for "$unit: it is restarted, as the unit says" at_least 1 unit_property "$unit" NRestarts
    expect 'active running success' state "$unit"

    eat cpu "$unit"
    wait_for "$unit: it is throttled" at_least 1 event cpu.stat nr_throttled "$unit"
    # From now on it gets what it may have, and on a busy machine less: 20 % of one processor. Without a limit, it would take
    # nearly all of one. The time goes on while the counter is read.
    local used throttled before
    before=${EPOCHREALTIME/./}
    used=$(event cpu.stat usage_usec "$unit") throttled=$(event cpu.stat nr_throttled "$unit")
    wait_for "$unit: it is throttled again and again" at_least $((throttled + 20)) event cpu.stat nr_throttled "$unit"
    used=$(($(event cpu.stat usage_usec "$unit") - used))
    local share=$((100 * used / (${EPOCHREALTIME/./} - before)))
    [ "$share" -lt 38 ] || fail "$unit: it got $share % of a processor"
    ok "$unit: it got $share % of a processor"

    eat pids "$unit"
    wait_for "$unit: forks fail" at_least 1 refusals "$unit"
    rm -f /run/eat/go
    systemctl restart "$unit"
}

for runtime in crun runc; do
    say "$runtime: without limits"
    checkout --runtime=/usr/bin/$runtime --name=free-$runtime "$REGISTRY/eater"
    systemctl start free-$runtime
    expect domain cat "$(group free-$runtime)/cgroup.type"
    expect_like "/free-$runtime.service(/|\$)" group free-$runtime
    # Of all that systemd shows of units.
    expect_like '^[1-9][0-9]*$' unit_property free-$runtime MemoryCurrent
    expect_like '^[1-9][0-9]*$' unit_property free-$runtime TasksCurrent
    rm -f /run/eat/go
    expect_like "free-$runtime.service +[1-9]" systemd-cgtop --batch --iterations=1 --depth=4 --order=tasks
    say "$runtime: by set-property, while it runs"
    systemctl set-property --runtime free-$runtime MemoryMax=32M CPUQuota=20% TasksMax=20
    expect 33554432 cat "/sys/fs/cgroup$(unit_property free-$runtime ControlGroup)/memory.max"
    limits_hold free-$runtime
    systemctl stop free-$runtime
    expect 'inactive dead success' state free-$runtime

    say "$runtime: by a drop-in"
    checkout --runtime=/usr/bin/$runtime --name=dropped-$runtime "$REGISTRY/eater"
    mkdir -p /etc/systemd/system/dropped-$runtime.service.d
    printf '%s\n' '[Service]' MemoryMax=32M CPUQuota=20% TasksMax=20 \
        >/etc/systemd/system/dropped-$runtime.service.d/limits.conf
    systemctl daemon-reload
    limits_hold dropped-$runtime
    systemctl stop dropped-$runtime

    say "$runtime: by the runtime configuration"
    checkout --runtime=/usr/bin/$runtime --name=limited-$runtime "$REGISTRY/limited"
    limits_hold limited-$runtime
    systemctl stop limited-$runtime
    expect 'inactive dead success' state limited-$runtime

    say "$runtime: devices"
    checkout --runtime=/usr/bin/$runtime --name=devices-$runtime "$REGISTRY/devices"
    systemctl start devices-$runtime
    wait_for 'it has tried' journal_has devices-$runtime '^done$'
    expect_like '^full:.*No space left on device' journal_of devices-$runtime
    expect_like '^kmsg:.*Operation not permitted' journal_of devices-$runtime
    systemctl stop devices-$runtime
    # A stop of runc's left the unit failed where its cgroup was a threaded one.
    expect 'inactive dead success' state devices-$runtime
done
expect '' bash -c 'systemctl --failed --no-legend --plain'
