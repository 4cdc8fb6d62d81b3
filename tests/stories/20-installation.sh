#!/bin/bash
# What an installation consists of, and that it is a unit like any other.
# Rows of tests/atomic.md: 1.14, 4.01, 4.05, 4.10, 4.23, 8.07.
. "$(dirname "$0")/lib.sh"

checkout_named() { quietly syscontainer-checkout "$@"; }

if [ "$BOOT" = 2 ]; then
    say 'after a reboot'
    expect running systemctl is-system-running
    expect 'active running success' state hello-world
    expect 'Hello there' http 8081
    expect inactive unit_property second ActiveState
    exit 0
fi

hello_world
expect "$REGISTRY/hello-world:latest $DIGEST" syscontainer-pull --quiet "$REGISTRY/hello-world"
snapshot >"$WORK/before"

say 'what there is'
expect hello-world checkout_named --set RECEIVER=there "$REGISTRY/hello-world"
snapshot | diff "$WORK/before" - | sed -n 's/^> //p' | grep -v rootfs/ >"$WORK/new" || true
cat >"$WORK/expected" <<END
d 700 0:0 $CO/hello-world.0 -> 
d 755 0:0 $CO/hello-world.0/rootfs -> 
f 600 0:0 $CO/hello-world.0/config.json -> 
f 600 0:0 $CO/hello-world.0/hello-world.service -> 
f 600 0:0 $CO/hello-world.0/info -> 
f 600 0:0 $CO/hello-world.0/tmpfiles-hello-world.conf -> 
f 600 0:0 /etc/syscontainers/attached/hello-world.json -> 
f 644 0:0 /etc/systemd/system.attached/hello-world.service -> 
f 644 0:0 /etc/tmpfiles.d/hello-world.conf -> 
l 777 0:0 $CO/hello-world -> hello-world.0
l 777 0:0 /etc/systemd/system/multi-user.target.wants/hello-world.service -> /etc/systemd/system.attached/hello-world.service
l 777 0:0 /etc/systemd/system/syscontainers.target.wants/hello-world.service -> /etc/systemd/system.attached/hello-world.service
END
# Directories of systemd's come with the first link in them.
check 'exactly these files' \
    diff -u <(sort "$WORK/expected") <(grep -v -e '^d .*/systemd/' -e '^d .*/tmpfiles.d ' "$WORK/new")
expect 2 stat --format=%h $CO/hello-world/rootfs/bin/busybox
expect "sha256:$(sed -n 's/.*"revision": "\(.*\)",/\1/p' $CO/hello-world/info)" echo "$DIGEST"
expect enabled systemctl is-enabled hello-world
expect inactive unit_property hello-world ActiveState
check 'tmpfiles are created' test -d /run/hello-world
expect '' systemd-analyze --generators=yes verify hello-world.service
expect_like hello-world systemctl list-dependencies syscontainers.target

say 'it runs'
check 'it starts' systemctl start hello-world
wait_for 'it answers' http 8081
expect 'Hello there' http 8081
systemctl stop hello-world
rm -r /run/hello-world
systemctl start hello-world
check 'its tmpfiles are made again at the next start' test -d /run/hello-world

say 'the same again, and again'
snapshot >"$WORK/installed"
for _ in 1 2; do
    expect hello-world checkout_named --set RECEIVER=there "$REGISTRY/hello-world"
    unchanged "$WORK/installed"
done
run_fails 1 'installed already.*other values.*--name' syscontainer-checkout --set RECEIVER=you "$REGISTRY/hello-world"
unchanged "$WORK/installed"
expect 'active running success' state hello-world
rm /etc/systemd/system.attached/hello-world.service /etc/syscontainers/attached/hello-world.json
expect hello-world checkout_named --set RECEIVER=there "$REGISTRY/hello-world"
unchanged "$WORK/installed"

say 'a second one of the same image'
expect second checkout_named --no-enable --name=second --set RECEIVER=you --set PORT=8082 "$REGISTRY/hello-world"
expect 3 stat --format=%h $CO/second/rootfs/bin/busybox
expect disabled enablement second
systemctl start second
wait_for 'it answers too' http 8082
expect 'Hello you' http 8082
expect 'Hello there' http 8081

say 'the administrator has the last word'
expect 10s unit_property hello-world TimeoutStopUSec
mkdir -p /etc/systemd/system/hello-world.service.d
cat >/etc/systemd/system/hello-world.service.d/10-x.conf <<'END'
[Service]
TimeoutStopSec=33s
ExecStopPost=/bin/touch /run/stopped
END
systemctl daemon-reload
expect 33s unit_property hello-world TimeoutStopUSec
systemctl restart hello-world
check 'and adds commands' test -e /run/stopped
for verb in disable enable; do
    check "$verb" systemctl --quiet $verb hello-world
    expect "${verb}d" enablement hello-world
done
check 'preset' systemctl --quiet preset hello-world
check 'mask' systemctl --quiet mask hello-world
refuse 'a masked one does not start' systemctl restart hello-world
check 'unmask' systemctl --quiet unmask hello-world
check 'start' systemctl restart hello-world
expect_like 'SourcePath=/etc/syscontainers' systemctl cat hello-world

say 'resources are properties of the unit'
resources=$(cat <<'END'
{
    "memory": {"limit": 67108864, "swappiness": 3},
    "pids": {"limit": 20},
    "cpu": {"quota": 20000, "period": 50000},
    "devices": [
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 10, "minor": 200, "access": "rw"}
    ]
}
END
)
exports limited "$(until_stopped)" --unit=$'TasksMax=\nExecStartPre=\nDeviceAllow=\nMemoryMax=' --resources="$resources"
install_image limited
expect_like 'no setting for linux.resources.memory.swappiness' cat "$WORK/said"
expect 67108864 unit_property limited MemoryMax
expect 20 unit_property limited TasksMax
expect 400ms unit_property limited CPUQuotaPerSecUSec
expect 50ms unit_property limited CPUQuotaPeriodUSec
expect closed unit_property limited DevicePolicy
expect '/dev/char/10:200 rw' unit_property limited DeviceAllow
check 'an image resets nothing of ours with empty assignments' systemctl start limited
expect 'active running success' state limited
check set-property systemctl set-property limited TasksMax=17 MemoryMax=32M
systemctl daemon-reload
expect 17 unit_property limited TasksMax
expect 33554432 unit_property limited MemoryMax

say 'a unit of that name'
printf '[Service]\nExecStart=/bin/true\n' >/usr/lib/systemd/system/theirs.service
snapshot >"$WORK/before"
run_fails 1 '/usr/lib/systemd/system/theirs.service .*--replace-unit' syscontainer-checkout --name=theirs "$REGISTRY/limited"
unchanged "$WORK/before"
expect theirs checkout_named --name=theirs --replace-unit "$REGISTRY/limited"
systemctl start theirs
expect_soon 'sh sleep' processes theirs

say 'in an unpacked tree'
unpacked_tree
ln -s usr/lib "$tree/lib"
expect_like ' sha256:' syscontainer-pull --quiet --root="$tree" "$REGISTRY/hello-world"
expect hello-world checkout_named --root="$tree" "$REGISTRY/hello-world"
expect enabled systemctl --root="$tree" is-enabled hello-world
mkdir "$WORK/units"
expect '' /usr/lib/systemd/system-generators/syscontainer-generator --root="$tree" "$WORK/units"
expect_like '/usr/libexec/syscontainers/syscontainer-start hello-world' \
    cat "$WORK/units/hello-world.service.d/00-syscontainer.conf"

reboot
