#!/bin/bash
# systemd as a payload: it is recognised as by podman, has the file systems and the cgroup that it needs, boots, runs its services and
# stops in time, with crun and runc. It gets no more of this host than other payloads.
. "$(dirname "$0")/lib.sh"

PORT=8097
PAGE='served by a unit in a container'

# files_of_systemd: its package's, or, where there is no database of packages, what has such names.
files_of_systemd() {
    dpkg -L systemd 2>/dev/null ||
        find /usr/lib/systemd /usr/lib/*/systemd /usr/bin/systemctl /usr/bin/journalctl /usr/bin/systemd-* ! -name '*syscontainer*' ! -name '*dbus*'
}
# systemd_tree NAME: an image's files: this host's systemd, and a service that answers.
systemd_tree() {
    local root=$WORK/$1 path
    mkdir -p "$root"/{etc/systemd/system/multi-user.target.wants,usr/bin,usr/sbin,usr/lib64,srv,run/of-image,var/log}
    for path in bin sbin lib lib64; do ln -s "usr/$path" "$root/$path"; done
    files_of_systemd | sed -E 's,^/(lib|bin|sbin)/,/usr/\1/,' | grep -vE '^/(usr/share|var|etc/init)' | sort -u |
        while read -r path; do [ -d "$path" ] || [ ! -e "$path" ] || echo "${path#/}"; done |
        tar -C / -cf - --files-from=- | tar -C "$root" -xf -
    for path in /usr/bin/{dash,mount} \
        $(ldd /usr/lib/systemd/systemd{,-journald,-shutdown} /usr/bin/{systemctl,journalctl,mount,systemd-tmpfiles} | grep -o '/[^ :]*'); do
        case $path in /usr/*) ;; *) path=/usr$path ;; esac
        [ -e "$root$path" ] || install -D "$(realpath "$path")" "$root$path"
    done
    ln -s dash "$root/usr/bin/sh"
    ln -s ../lib/systemd/systemd "$root/usr/sbin/init"
    cp "$(command -v busybox)" "$root/usr/bin/"
    cp /etc/passwd /etc/group "$root/etc/"
    : >"$root/etc/machine-id"
    echo of-image >"$root/run/of-image/file"
    echo "$PAGE" >"$root/srv/index.html"
    printf '%s\n' '[Service]' "ExecStart=/bin/busybox httpd -f -p 127.0.0.1:$PORT -h /srv" >"$root/etc/systemd/system/answer.service"
    ln -s ../answer.service "$root/etc/systemd/system/multi-user.target.wants/"
    ln -sf /lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
}
# systemd_image NAME ARGS [MEMBER…]: the image of these files, with a shell that makes way for its last command, and members of its config.
systemd_image() {
    local member config="{\"Cmd\": $2"
    for member in "${@:3}"; do config+=", $member"; done
    build_image "$1" --config="$config}" "$WORK/tree" "$WORK/bash"
    pull_image "$1"
}
# run_in NAME COMMAND…: of busybox, or of systemd, in the container.
run_in() {
    local name=$1 program=(/bin/busybox "$2")
    case $2 in systemctl | journalctl) program=("/bin/$2") ;; esac
    $runtime --root="/run/$runtime" exec "$name" "${program[@]}" "${@:3}"
}
# has_booted NAME
answer_has_started() { run_in init journalctl --unit=answer | grep 'Started answer.service'; }
has_booted() { [ "$(run_in "$1" systemctl is-system-running)" = running ]; }
# answers_of NAME: it has booted, and its service is there.
answers_of() {
    wait_for "$1 has booted" has_booted "$1"
    expect_soon "$PAGE" quietly http $PORT
}
cgroup_of() { echo "/sys/fs/cgroup$(unit_property "$1" ControlGroup)"; }
# kinds NAME: what is mounted where systemd wants memory.
# shellcheck disable=SC2016 # for awk
kinds() { run_in "$1" awk '$2 ~ "^(/run|/run/lock|/tmp|/var/log/journal)$" { print $2, $3 }' /proc/mounts | sort | paste -sd' '; }
# has_ended NAME: without a word on it, and without a trace.
has_ended() {
    expect 'inactive dead success' state "$1"
    refuse "$1: its cgroup is gone" test -e "/sys/fs/cgroup/system.slice/$1.service"
    refuse "$1: nothing is mounted any more" grep "syscontainers/$1" /proc/self/mountinfo
}

# wants FILE: what a configuration has for systemd.
wants() {
    python3 - "$1" <<'END'
import json, sys
config = json.load(open(sys.argv[1]))
places = ["/run", "/run/lock", "/tmp", "/var/log/journal", "/sys/fs/cgroup"]
for mount in sorted(config["mounts"], key=lambda mount: mount["destination"]):
    if mount["destination"] in places:
        kind = mount["type"]
        print(mount["destination"], kind, "ro" if "ro" in mount["options"] else "rw", "copies" if "tmpcopyup" in mount["options"] else "")
print(config["process"]["user"]["uid"], config["process"]["args"])
END
}

systemd_tree tree
install -D "$(command -v bash)" "$WORK/bash/usr/bin/sh"
for path in $(ldd "$(command -v bash)" | grep -o '/[^ :]*'); do
    case $path in /usr/*) ;; *) path=/usr$path ;; esac
    [ -e "$WORK/tree$path" ] || install -D "$(realpath "$path")" "$WORK/bash$path"
done
systemd_image init '["/sbin/init"]' '"Volumes": {"/sys/fs/cgroup": {}, "/run": {}, "/tmp": {}, "/data": {}}'
systemd_image shell '["/bin/sh", "-c", "/sbin/init"]'
systemd_image user '["/usr/lib/systemd/systemd"]' '"User": "1000"' '"StopSignal": "SIGINT"'
systemd_image script '["/bin/sh", "-c", "exec /sbin/init"]'

for runtime in crun runc; do
    install=(syscontainer-checkout "--runtime=/usr/bin/$runtime")
    say "$runtime: it boots"
    "${install[@]}" "$REGISTRY/init" 2>"$WORK/said"
    expect_like '^syscontainer-checkout: init runs systemd: with cgroups of its own, ' cat "$WORK/said"
    check 'it starts' systemctl start init
    answers_of init
    expect 0 sh -c "$runtime --root=/run/$runtime exec init /bin/systemctl list-units --failed --quiet | wc -l"
    expect '/run tmpfs /run/lock tmpfs /tmp tmpfs /var/log/journal tmpfs' kinds init
    expect of-image run_in init cat /run/of-image/file
    expect 'data' names_in /var/lib/syscontainers/init
    wait_for 'it has a journal' answer_has_started
    id=$(run_in init cat /etc/machine-id)
    expect "container_uuid=$id" sh -c "tr '\\0' '\\n' </proc/$(unit_property init MainPID)/environ | grep ^container_uuid="
    [ "$id" != "$(cat /etc/machine-id)" ] || fail 'it has the ID of this host'

    say "$runtime: it has a cgroup of its own, and no other"
    unit=$(cgroup_of init)
    expect '0::/init.scope' run_in init grep ^0:: /proc/1/cgroup
    expect "0::${unit#/sys/fs/cgroup}/payload/root/init.scope" grep ^0:: "/proc/$(unit_property init MainPID)/cgroup"
    check 'its services have some in it' test -d "$unit/payload/root/system.slice/answer.service"
    expect '' cat "$unit/cgroup.procs"
    expect '' cat "$unit/payload/root/cgroup.procs"
    expect '2048 32' sh -c "cd $unit/payload && echo \$(cat cgroup.max.descendants cgroup.max.depth)"
    refuse 'it does not see those above' run_in init ls /sys/fs/cgroup/payload /sys/fs/cgroup/root /sys/fs/cgroup/start /sys/fs/cgroup/init.scope/../../cgroup/system.slice/init.service
    refuse 'it cannot mount them' run_in init mount -t cgroup2 none /mnt
    sleep 1000 &
    refuse 'it cannot take processes of this host' run_in init sh -c "echo $! >/sys/fs/cgroup/init.scope/cgroup.procs"
    expect "$(cat /proc/self/cgroup)" cat "/proc/$!/cgroup"
    kill $!
    check 'it makes cgroups' run_in init mkdir /sys/fs/cgroup/many
    refuse 'not any number of them' run_in init sh -c 'cd /sys/fs/cgroup/many && seq 3000 | busybox xargs busybox mkdir'
    check 'but many' test -d "$unit/payload/root/many/1800"
    refuse 'and no more than 2048' test -d "$unit/payload/root/many/2048"
    for file in memory.max pids.max; do
        # Where this host has such limits.
        [ ! -e "$unit/$file" ] || refuse "it cannot change $file" run_in init sh -c "echo max >/sys/fs/cgroup/$file"
    done

    say "$runtime: it stops, and starts again"
    # It cannot shut down in that state, and so is killed in the end.
    check 'it restarts' systemctl restart init
    answers_of init
    mark_journal
    check 'it restarts again' systemctl restart init
    answers_of init
    expect "$id" run_in init cat /etc/machine-id
    refuse 'with nothing of what it made' test -e "$(cgroup_of init)/payload/root/many"
    expect_no 'is still running|[Ff]ailed|warning' said_since init
    run_in init mkdir /sys/fs/cgroup/left
    pid=$(unit_property init MainPID)
    kill -KILL "$pid"
    wait_for 'it fails, and is started anew' sh -c "systemctl is-active --quiet init && [ \$(systemctl show --property=MainPID --value init) != $pid ]"
    answers_of init
    refuse 'with nothing of what was left' test -e "$(cgroup_of init)/payload/root/left"
    check 'it stops' systemctl stop init
    has_ended init
    expect_no 'is still running' said_since init
    systemctl start init
    answers_of init
    quietly run_in init systemctl poweroff || true
    wait_for 'it ends itself' ended init
    has_ended init

    say "$runtime: no payload keeps its unit from stopping"
    "${install[@]}" --update -o StopTimeout=2s init >/dev/null 2>&1
    systemctl start init
    answers_of init
    mark_journal
    check 'it freezes itself' run_in init sh -c 'echo 1 >/sys/fs/cgroup/init.scope/cgroup.freeze'
    check 'it is stopped' systemctl stop init
    expect_like 'is still running .* after signal 37; killing it' said_since init
    has_ended init

    say "$runtime: it is only run as a service"
    /usr/libexec/syscontainers/syscontainer-prepare init
    refuse 'not from a shell' env -u NOTIFY_SOCKET /usr/libexec/syscontainers/syscontainer-start init
    expect_like "systemd as a payload needs a cgroup of its own; use 'systemctl start init'$" cat "$WORK/.checked"
    /usr/libexec/syscontainers/syscontainer-prepare --cleanup init

    say "$runtime: its own word that it is up"
    "${install[@]}" --update -o Notify=ready init >/dev/null 2>&1
    check 'it starts' systemctl start init
    expect running run_in init systemctl is-system-running
    systemctl stop init
    has_ended init
    syscontainer-remove --purge init

    say "$runtime: what a shell runs"
    "${install[@]}" "$REGISTRY/shell" 2>/dev/null
    systemctl start shell
    answers_of shell
    systemctl stop shell
    has_ended shell
    syscontainer-remove --purge shell

    say "$runtime: who is to decide"
    "${install[@]}" -o Systemd=always "$REGISTRY/script" 2>/dev/null
    systemctl start script
    answers_of script
    systemctl stop script
    has_ended script
    syscontainer-remove --purge script
    "${install[@]}" -o Systemd=no "$REGISTRY/init" 2>"$WORK/said"
    expect_no 'runs systemd' cat "$WORK/said"
    expect_no 'tmpfs|cgroup rw' wants $CO/init/config.json
    expect_no 'stop-signal' cat /etc/syscontainers/attached/init.json
    if [ $runtime = runc ]; then delegates=Delegate=yes; else delegates=; fi
    expect "$delegates" sh -c "systemctl cat init | grep ^Delegate= || true"
    syscontainer-remove --purge init
done

say 'as podman has it'
runtime=crun
for image in init shell user script; do
    podman_here create --quiet --name=his --network=host --tls-verify=false --image-volume=ignore "$REGISTRY/$image" >/dev/null
    podman_here init his >/dev/null 2>&1 || true
    wants "$WORK/podman/vfs-containers/$(podman_here inspect --format='{{.Id}}' his)/userdata/config.json" >"$WORK/his"
    signal=$(podman_here inspect --format='{{.Config.StopSignal}}' his)
    podman_here rm --force his >/dev/null
    syscontainer-checkout "$REGISTRY/$image" >/dev/null 2>&1
    expect_same "$WORK/his" wants "$CO/$image/config.json"
    expect "${signal/#15/}" sh -c "grep -o '\"stop-signal\": *[0-9]*' /etc/syscontainers/attached/$image.json | grep -o '[0-9]*$' || true"
    syscontainer-remove --purge "$image"
done

say 'podman runs the same, and does not run the same'
# He cannot have cgroups and raise limits in this machine.
podman_runs() { podman_here run --rm --network=host --cgroups=disabled --ulimit=host --tls-verify=false "$@" </dev/null; }
podman_runs --name=his "$REGISTRY/init" >/dev/null 2>&1 &
wait_for 'he has booted it' sh -c "[ \"\$(${PODMAN[*]} exec his systemctl is-system-running)\" = running ]"
expect_soon "$PAGE" quietly http $PORT
podman_here stop his >/dev/null
ends 255 podman_runs "$REGISTRY/user"
syscontainer-checkout "$REGISTRY/user" >/dev/null 2>&1
systemctl start user
wait_for 'systemd of another user than root ends at once' unit_has user ExecMainStatus 255
systemctl stop user
syscontainer-remove --purge user

say 'a host without cgroups of version 2 alone'
# shellcheck disable=SC2016 # for the inner shell
other_cgroups() { unshare --mount sh -c 'mount -t tmpfs none /sys/fs/cgroup && mkdir /sys/fs/cgroup/memory && exec "$@"' sh "$@"; }
snapshot >"$WORK/before"
refuse 'it is refused' other_cgroups syscontainer-checkout "$REGISTRY/init"
expect_like 'its command is systemd, which can have cgroups of its own only on a host with cgroup version 2 at /sys/fs/cgroup, ' cat "$WORK/.checked"
unchanged "$WORK/before"
check 'but without that it is not' other_cgroups syscontainer-checkout -o Systemd=no "$REGISTRY/init"
syscontainer-remove --purge init
run_fails 2 'invalid Systemd=yes: expected auto, always or no' syscontainer-checkout -o Systemd=yes "$REGISTRY/init"
run_fails 1 'Systemd=always cannot be set with PidNamespace=host' syscontainer-checkout -o Systemd=always -o PidNamespace=host "$REGISTRY/init"
rm -rf "$WORK/podman"
