#!/bin/bash
# Limits of a unit hold its payload, in the kernel: by drop-in, by set-property and by the runtime configuration, with both runtimes.
# runs in: vm
. "$(dirname "$0")/lib.sh"

# group UNIT: the cgroup of its payload.
group() { sed -n 's,^0::,/sys/fs/cgroup,p' "/proc/$(unit_property "$1" MainPID)/cgroup"; }
# event FILE KEY UNIT: a counter of the unit's own cgroup, which includes what is below.
event() { sed -n "s/^$2 //p" "/sys/fs/cgroup$(unit_property "$3" ControlGroup)/$1"; }
# refusals UNIT: how many forks its limit refused. Before Linux 6.11 they are counted where they are tried, which may be further below.
refusals() { sed -n 's/^max //p' "$(group "$1")/pids.events"; }
# more COMMAND…: its number is not 0.
more() { [ "$("$@")" -gt 0 ]; }
# Twenty tasks are enough for runc's own threads.
eater='["sh","-c","trap \"exit 0\" TERM; until [ -e /run/eat/go ]; do sleep 0.05; done; case $(cat /run/eat/go) in memory) exec tail /dev/zero ;; cpu) while :; do :; done ;; pids) for n in $(seq 30); do sleep 1000 & done; wait ;; esac"]'
exports eater "$eater" $'Restart=on-failure\nRestartSec=200ms' '' '{"destination": "/run/eat", "type": "bind", "source": "/run/eat", "options": ["bind", "ro"]}'
build_image eater "$WORK/eater"
# The same, with limits of its own.
cp -r "$WORK/eater" "$WORK/limited"
sed -i 's/"linux": {/"linux": {"resources": {"memory": {"limit": 33554432}, "cpu": {"quota": 20000, "period": 100000}, "pids": {"limit": 20}},/' "$WORK/limited/exports/config.json"
build_image limited "$WORK/limited"
exports devices '["sh","-c","trap \"exit 0\" TERM; mknod /dev/full c 1 7; mknod /dev/kmsg c 1 11; (echo x >/dev/full) 2>&1 | sed s/^/full:/; (: </dev/kmsg) 2>&1 | sed s/^/kmsg:/; echo done; sleep 1000 & wait"]'
sed -i 's/"linux": {/"linux": {"resources": {"devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 7, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "m"}]},/
    s/"process": {/"process": {"capabilities": {"bounding": ["CAP_MKNOD"], "effective": ["CAP_MKNOD"], "permitted": ["CAP_MKNOD"]},/' "$WORK/devices/exports/config.json"
build_image devices "$WORK/devices"
mkdir -p /run/eat
for image in eater limited devices; do syscontainer-pull --quiet "$REGISTRY/$image" >/dev/null; done

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
    wait_for "$unit: an OOM kill is the unit's result" bash -c "journalctl --sync; journalctl --boot --unit=$unit --output=cat | grep -q \"Failed with result 'oom-kill'\""
    rm -f /run/eat/go
    wait_for "$unit: it is restarted, as the unit says" bash -c "[ \"\$(systemctl show --property=NRestarts --value $unit)\" -gt 0 ] && systemctl is-active --quiet $unit"
    journalctl --rotate --vacuum-time=1s >/dev/null 2>&1

    eat cpu "$unit"
    local begin used
    begin=$(event cpu.stat usage_usec "$unit")
    sleep 4
    used=$(($(event cpu.stat usage_usec "$unit") - begin))
    # 20 % of one processor for 4 s are 800 ms; an unlimited one would take nearly all of what the machine has.
    [ "$used" -gt 100000 ] && [ "$used" -lt 1500000 ] || fail "$unit: it got $used us in 4 s"
    ok "$unit: it got $used us of 4 s"
    check "$unit: it was throttled" more event cpu.stat nr_throttled "$unit"

    eat pids "$unit"
    wait_for "$unit: forks fail" more refusals "$unit"
    rm -f /run/eat/go
    systemctl restart "$unit"
}

for runtime in crun runc; do
    say "$runtime: without limits"
    syscontainer-checkout --runtime=/usr/bin/$runtime --name=free-$runtime "$REGISTRY/eater" >/dev/null 2>&1
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
    syscontainer-checkout --runtime=/usr/bin/$runtime --name=dropped-$runtime "$REGISTRY/eater" >/dev/null 2>&1
    mkdir -p /etc/systemd/system/dropped-$runtime.service.d
    printf '[Service]\nMemoryMax=32M\nCPUQuota=20%%\nTasksMax=20\n' >/etc/systemd/system/dropped-$runtime.service.d/limits.conf
    systemctl daemon-reload
    limits_hold dropped-$runtime
    systemctl stop dropped-$runtime

    say "$runtime: by the runtime configuration"
    syscontainer-checkout --runtime=/usr/bin/$runtime --name=limited-$runtime "$REGISTRY/limited" >/dev/null 2>&1
    limits_hold limited-$runtime
    systemctl stop limited-$runtime
    expect 'inactive dead success' state limited-$runtime

    say "$runtime: devices"
    syscontainer-checkout --runtime=/usr/bin/$runtime --name=devices-$runtime "$REGISTRY/devices" >/dev/null 2>&1
    systemctl start devices-$runtime
    wait_for 'it has tried' bash -c "journalctl --sync; journalctl --boot --unit=devices-$runtime --output=cat | grep -qx done"
    expect_like '^full:.*No space left on device' journal_of devices-$runtime
    expect_like '^kmsg:.*Operation not permitted' journal_of devices-$runtime
    systemctl stop devices-$runtime
    # A stop of runc's left the unit failed where its cgroup was a threaded one.
    expect 'inactive dead success' state devices-$runtime
done
expect '' bash -c 'systemctl --failed --no-legend --plain'
