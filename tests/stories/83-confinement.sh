#!/bin/bash
# The payload of a plain image is confined as podman confines it, and no other process speaks for it.
. "$(dirname "$0")/lib.sh"

CASES=$WORK/cases
mkdir -p "$CASES"

# with_users NAME USER COMMANDS [VOLUMES]: an image of a shell that does them and sleeps, with some users, in the registry and the
# store. VOLUMES are members of a JSON object.
with_users() {
    mkdir -p "$WORK/$1/etc"
    cat >"$WORK/$1/etc/passwd" <<-'END'
		root:x:0:0:root:/root:/bin/sh
		app:x:1000:1000:App:/home/app:/bin/sh
		twin:x:1000:2000::/t:/bin/sh
	END
    cat >"$WORK/$1/etc/group" <<-'END'
		root:x:0:
		wheel:x:10:root,app
		app:x:1000:
		extra:x:1005:app
		twins:x:1006:twin
	END
    build_and_pull "$1" --config="{\"Cmd\": $(until_stopped "$3"), \"User\": \"$2\", \"Volumes\": {${4-}}}"
}

# his NAME: the configuration that podman makes of the image, with what was said of it in $WORK/said. Where this host does not
# let it have its limits the container is not made, but its configuration is.
his() {
    podman_here create --quiet --name="$1" --network=host --tls-verify=false "$REGISTRY/$1" >/dev/null
    podman_here init "$1" >"$WORK/said" 2>&1 || true
    cat "$WORK/podman/vfs-containers/$(podman_here inspect --format='{{.Id}}' "$1")/userdata/config.json"
}

say 'what podman makes of the same images'
names=()
while read -r name user; do
    with_users "$name" "$user" 'echo begins' '"/data": {}'
    his "$name" >"$CASES/$name.podman.json"
    checkout --name="$name" "$REGISTRY/$name"
    systemctl start "$name"
    cp "/run/syscontainers/$name/config.json" "$CASES/$name.ours.json"
    systemctl show --property=TasksMax,DevicePolicy,LimitNOFILE "$name" >"$CASES/$name.unit"
    systemctl stop "$name"
    names+=("$name")
done <<'END'
default
root root
number 1000
named app
twin twin
group app:extra
numbers 1000:1005
unknown 1234
alone 0:1000
END
compare() { CONFINEMENT=$CASES /usr/libexec/syscontainers-tests/confinement --nocapture >"$WORK/compared" 2>&1 || { cat "$WORK/compared"; return 1; }; }
check 'ours is not weaker in anything' compare
for name in "${names[@]}"; do expect_like "^\"$name\" is not weaker" cat "$WORK/compared"; done
podman_here rm --all --force >/dev/null
rm -r "$WORK/podman"
forget "${names[@]}"

say 'what is seen from inside'
look=$(cat <<'END'
exec 2>&1
for path in /proc/scsi /proc/acpi /sys/dev/block /sys/firmware /sys/devices/virtual/powercap; do
    [ ! -e $path ] || echo "in $path: $(ls -A $path | wc -l)"
done
sed -n 's/^0::/cgroup: /p' /proc/self/cgroup
echo "groups: $(id -G)"
(mkdir /sys/fs/cgroup/mine && echo 'cgroup: made one') | tail -n 1
(echo $$ >/sys/fs/cgroup/cgroup.procs && echo 'cgroup: moved') | tail -n 1
mount -o remount,rw /sys/fs/cgroup || true
for directory in /dev /dev/shm /tmp; do
    cp /bin/busybox $directory/true && $directory/true && echo "runs: $directory"
    rm -f $directory/true
done
grep -E ' (/dev|/dev/shm|/sys/fs/cgroup) ' /proc/mounts
grep -E '^(Seccomp|NoNewPrivs|CapEff|CapBnd|Groups):' /proc/self/status
echo looked
END
)
with_users inside '' "$look"
for runtime in crun runc; do
    checkout --name="$runtime" --runtime=/usr/bin/$runtime "$REGISTRY/inside"
    systemctl start "$runtime"
    wait_for "$runtime: it has looked" journal_has "$runtime" '^looked$'
    expect_no '^in .*: [1-9]' journal_of "$runtime"
    expect_like '^cgroup: /$' journal_of "$runtime"
    expect_like '^groups: 0 10$' journal_of "$runtime"
    expect_no 'made one|cgroup: moved' journal_of "$runtime"
    expect_like 'mine.*Read-only file system' journal_of "$runtime"
    expect_no '^runs: /dev' journal_of "$runtime"
    expect_like '^runs: /tmp$' journal_of "$runtime"
    expect_like ' /dev tmpfs .*noexec' journal_of "$runtime"
    expect_like ' /dev/shm tmpfs .*noexec.*size=65536k' journal_of "$runtime"
    expect_like ' /sys/fs/cgroup cgroup2? ro,.*noexec' journal_of "$runtime"
    expect_like $'^Seccomp:\t2$' journal_of "$runtime"
    expect_like $'^NoNewPrivs:\t0$' journal_of "$runtime"
    expect 2048 unit_property "$runtime" TasksMax
    # The administrator's own limit wins.
    systemctl set-property --runtime "$runtime" TasksMax=100
    expect 100 unit_property "$runtime" TasksMax
    # It is still in its unit.
    expect_like "^0::.*/$runtime.service(/payload)?\$" main_process "$runtime" cgroup
    systemctl stop "$runtime"
done
forget crun runc

say 'the seccomp profile is that of the day'
# ruled: the system calls that the configuration of the last start has rules for, each in a line.
ruled() { sed -n '/"seccomp"/,$p' /run/syscontainers/guarded/config.json | sed -n 's/^ *"\([a-z_0-9]*\)",\{0,1\}$/\1/p' | sort -u; }
# guarded_again MADE: after a restart it has tried to make a directory, and MADE times that was done in all.
starts=0
guarded_again() {
    starts=$((starts + 1))
    systemctl restart guarded
    wait_for 'it has tried' bash -c "journalctl --sync; [ \$(journalctl --boot --output=cat --unit=guarded | grep -c '^tried\$') = $starts ]"
    expect "$1" bash -c "journalctl --boot --output=cat --unit=guarded | grep -c '^made\$'"
    expect_like $'^Seccomp:\t2$' main_process guarded status
}
host=/usr/share/containers/seccomp.json
mv "$host" "$WORK/seccomp.json"
with_users guarded '' 'mkdir /tmp/x && echo made; echo tried'
checkout --name=guarded "$REGISTRY/guarded"
guarded_again 1
ruled >"$WORK/built-in"
mv "$WORK/seccomp.json" "$host"
guarded_again 2
ruled >"$WORK/of-the-host"
check 'what is built in has no call that the file does not know' \
    bash -c "[ \$(wc -l <'$WORK/built-in') -gt 300 ] && [ -z \"\$(comm -23 '$WORK/built-in' '$WORK/of-the-host')\" ]"
# A security update of the file, or a file of the administrator's: mkdir is refused from the next start on.
sed 's/"mkdir",//; s/"mkdirat",//' "$host" | tr '\n' ' ' | sed 's/"mkdir", *//; s/"mkdirat", *//' >/etc/containers/seccomp.json
guarded_again 2
rm /etc/containers/seccomp.json
guarded_again 3
printf '{' >/etc/containers/seccomp.json
refuse 'a damaged profile is never none' systemctl restart guarded
expect_like 'cannot prepare guarded: cannot use the seccomp profile /etc/containers/seccomp.json; repair or remove it; nothing is run without a profile: it is not valid JSON' journal_of guarded
rm /etc/containers/seccomp.json
systemctl reset-failed guarded
guarded_again 4
forget guarded

say 'who speaks for a unit'
# Programs of this host, for payloads that notify.
usr=('--mount=/usr:/usr:bind,ro' '--mount=/usr/lib:/lib:bind,ro' '--mount=/usr/lib64:/lib64:bind,ro')
tell=$(cat <<'END'
until [ -e /run/tell/own ]; do sleep 0.05; done
/usr/bin/systemd-notify "--status=$(printf 'up \033[2J\342\200\256done\r')" EXTEND_TIMEOUT_USEC=600000000 MAINPID=1
until [ -e /run/tell/ready ]; do sleep 0.05; done
/usr/bin/systemd-notify --ready
END
)
exports speaker "$(until_stopped "$tell")" --unit=$'Type=notify\nTimeoutStartSec=120' --mount=/run/tell:/run/tell:bind,ro "${usr[@]}"
forge='until [ -e /run/tell/forge ]; do sleep 0.05; done; NOTIFY_SOCKET=/run/syscontainers/speaker/notify /usr/bin/systemd-notify --ready --status=forged; echo forged'
exports other "$(until_stopped "$forge")" --mount=/run:/run:bind,rw "${usr[@]}"
mkdir -p /run/tell
build_and_pull speaker
install_image other
# forge COMMAND…: a process of no unit of speaker's says that it is ready.
forge() { "$@" env NOTIFY_SOCKET=/run/syscontainers/speaker/notify systemd-notify --ready --status=forged EXTEND_TIMEOUT_USEC=900000000 || true; }
is_listened_to() { [[ $(processes speaker) == 'sh '*syscontainer-st* ]]; }
warnings() {
    journalctl --sync
    journalctl --since="$mark" --output=cat --unit=speaker | grep -c 'ignoring a notification'
}
for runtime in crun runc; do
    rm -f /run/tell/*
    checkout --name=speaker --runtime=/usr/bin/$runtime "$REGISTRY/speaker"
    systemctl start other
    mark_journal
    systemctl start --no-block speaker
    wait_for 'its payload runs, and is listened to' is_listened_to
    say "$runtime: others"
    forge as_nobody
    forge env
    forge systemd-run --quiet --pipe --wait --property=User=nobody
    touch /run/tell/forge
    wait_for 'another container has tried' has_said other '^forged$'
    wait_for 'it is told once' has_said speaker 'ignoring a notification, and further ones like it: (process [0-9]+ is not one of this unit|its sender, process [0-9]+, was gone)'
    expect 1 warnings
    expect activating unit_property speaker ActiveState
    expect '' unit_property speaker StatusText
    say "$runtime: its own payload"
    touch /run/tell/own
    wait_for 'its status comes' unit_has speaker StatusText $'up \xef\xbf\xbd[2J\xef\xbf\xbddone\xef\xbf\xbd'
    expect activating unit_property speaker ActiveState
    forge env
    expect $'up \xef\xbf\xbd[2J\xef\xbf\xbddone\xef\xbf\xbd' unit_property speaker StatusText
    touch /run/tell/ready
    wait_for 'it is ready' unit_has speaker ActiveState active
    expect sh main_process speaker comm
    systemctl stop speaker other
    expect 'inactive dead success' state speaker
    forget speaker
done
forget other
