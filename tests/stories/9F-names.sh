#!/bin/bash
# The names of plain images: copies of the host's that a payload may write to, which follow the host; with crun and runc.
. "$(dirname "$0")/lib.sh"

PREPARE=/usr/libexec/syscontainers/syscontainer-prepare

# a_named_image NAME COMMANDS [MEMBER…]: an image of a shell that does them and sleeps, with further members of its config.
a_named_image() {
    local member config
    config="{\"Cmd\": $(until_stopped "$2")"
    for member in "${@:3}"; do config+=", $member"; done
    mkdir -p "$WORK/$1/etc"
    build_and_pull "$1" --owners --config="$config}"
}
# its NAME FILE: what its payload has there.
its() { in_payload "$1" /bin/busybox cat "/etc/$2"; }
# has_line NAME FILE LINE
has_line() { its "$1" "$2" | grep -xF -- "$3" >/dev/null; }
# starts NAME [OPTION…]: a container of the image NAME is started with this $runtime.
starts() {
    checkout --name="$1" --runtime="/usr/bin/$runtime" "${@:2}" "$REGISTRY/$1"
    check "$runtime, ${*:2}: it starts" systemctl start "$1"
}
# ends_without_a_trace NAME
ends_without_a_trace() {
    check "$1 stops" systemctl stop "$1"
    expect 'inactive dead success' state "$1"
    refuse 'its copies are gone' test -e "$CO/.$1.scratch"
    refuse 'and what was known of them' test -e "/run/syscontainers/$1"
    forget "$1"
}
# podman_says NAME COMMANDS [OPTION…]: what a shell in the image says of that under podman.
podman_says() {
    env --default-signal "${PODMAN[@]}" run --rm --network=host --cgroups=disabled --ulimit=host --tls-verify=false --quiet \
        "${@:3}" "$REGISTRY/$1" sh -c "$2" </dev/null 2>&1
}
# lease_on FILE: what a payload can do to a file of its own: nobody else writes to it any more without waiting. Sets $lease.
lease_on() {
    # shellcheck disable=SC2016 # for perl
    perl -e '$SIG{IO} = "IGNORE"; open(F, "<", $ARGV[0]) or die; fcntl(F, 1024, 0) or die; open(D, ">", $ARGV[1]); close(D); sleep 600' \
        "$1" "$WORK/leased" &
    lease=$!
    wait_for 'it has a lease' test -e "$WORK/leased"
    rm "$WORK/leased"
}
# restore: the host's files are as they were.
restore() { cp "$WORK/hosts.host" /etc/hosts; rm -f /etc/resolv.conf; cp "$WORK/resolv.conf.host" /etc/resolv.conf; }
# unwatched: nothing happens by itself any more when the host changes, and all have what it has.
unwatched() {
    systemctl stop 'syscontainers-names@*.path'
    expect_soon '' systemctl list-jobs --no-legend 'syscontainers-names*'
    must 'all have the names' $PREPARE --names
}

cp /etc/hosts "$WORK/hosts.host"
cp -L /etc/resolv.conf "$WORK/resolv.conf.host"
a_named_image still ':'

say 'without a container, nothing runs when the host changes something'
runtime=crun
starts still
ends_without_a_trace still
expect active systemctl is-active syscontainers-names@etc.path
looked=$(unit_property syscontainers-names.service ConditionTimestampMonotonic)
before=$(unit_property syscontainers-names.service InvocationID)
has_looked() { ! unit_has syscontainers-names.service ConditionTimestampMonotonic "$looked"; }
echo '192.0.2.1 nobody' >>/etc/hosts
wait_for 'systemd sees it' has_looked
expect no unit_property syscontainers-names.service ConditionResult
expect "$before" unit_property syscontainers-names.service InvocationID
restore

say 'start scripts that add names'
script=$(cat <<'END2'
exec 2>&1
echo '10.0.0.1 db' >>/etc/hosts && echo 'search x.example' >>/etc/resolv.conf && echo renamed >/etc/hostname && echo 'appended'
sed -i s/db/dc/ /etc/hosts || echo 'sed fails'
sed s/db/dc/ /etc/hosts >/tmp/hosts && cat /tmp/hosts >/etc/hosts && echo 'copied'
mv /tmp/hosts /etc/hosts || echo 'mv fails'
grep -c '^10.0.0.1 dc$' /etc/hosts
rm -f /etc/hosts || echo 'rm fails'
stat -c '%a %u:%g' /etc/hosts /etc/resolv.conf /etc/hostname
grep -c '^search x.example$' /etc/resolv.conf; echo "$(cat /etc/hostname)"
END2
)
a_named_image writing "mkdir -p /tmp; $script; echo said"
for option in '' --read-only; do
    podman_says writing "mkdir -p /tmp; $script" ${option:+$option} | sed 's/hosts[A-Za-z0-9]\{6\}/hosts.temporary/g' >"$WORK/his"
    expect_like 'sed fails' cat "$WORK/his"
    for runtime in crun runc; do
        sha256sum /etc/hosts /etc/resolv.conf /etc/hostname >"$WORK/sums"
        checkout --name=writing --runtime="/usr/bin/$runtime" ${option:+-o ReadOnly=yes} "$REGISTRY/writing"
        mark_journal
        systemctl start writing
        wait_for 'it has tried' has_said writing '^said$'
        # Seccomp and shells are the same; names of temporary files are not.
        said_since writing | sed '/^said$/,$d; s/hosts[A-Za-z0-9]\{6\}/hosts.temporary/g' | grep -v '^Start' >"$WORK/ours"
        check "$runtime $option: as with podman" diff "$WORK/his" "$WORK/ours"
        check 'the host has nothing of it' sha256sum --quiet --check "$WORK/sums"
        systemctl stop writing
        case $option in
            '') expect_like '^writing wrote [0-9.]+ [KM]iB to its root file system' said_since writing ;;
            *) expect_no 'wrote' said_since writing ;;
        esac
        ends_without_a_trace writing
    done
done

for runtime in crun runc; do
    say "$runtime: what the host changes is seen, without a restart"
    starts still
    pid=$(unit_property still MainPID)
    inode=$(in_payload still /bin/busybox stat -c %i /etc/hosts)
    refuse 'it is no inode of the host' test /etc/hosts -ef "/proc/$pid/root/etc/hosts"
    echo '192.0.2.1 in-place' >>/etc/hosts
    wait_for 'in place' has_line still hosts '192.0.2.1 in-place'
    sed 's/in-place/by-rename/' /etc/hosts >/etc/.hosts.new
    mv /etc/.hosts.new /etc/hosts
    wait_for 'by rename' has_line still hosts '192.0.2.1 by-rename'
    expect_same /etc/hosts its still hosts
    cp "$WORK/hosts.host" /etc/hosts
    wait_for 'and less of it' same_as /etc/hosts its still hosts 2>/dev/null
    mkdir -p /run/resolver
    echo 'nameserver 192.0.2.1' >/run/resolver/one
    echo 'nameserver 192.0.2.2' >/run/resolver/two
    ln -s ../run/resolver/one /etc/.resolv.new
    mv -T /etc/.resolv.new /etc/resolv.conf
    wait_for 'a link in its place' has_line still resolv.conf 'nameserver 192.0.2.1'
    echo 'options a' >>/run/resolver/one
    wait_for 'where it leads, in place' has_line still resolv.conf 'options a'
    echo 'options b' >/run/resolver/.one
    mv /run/resolver/.one /run/resolver/one
    wait_for 'where it leads, by rename' has_line still resolv.conf 'options b'
    ln -s ../run/resolver/two /etc/.resolv.new
    mv -T /etc/.resolv.new /etc/resolv.conf
    wait_for 'a link that leads elsewhere' has_line still resolv.conf 'nameserver 192.0.2.2'
    echo 'options c' >>/run/resolver/two
    wait_for 'and what changes there' has_line still resolv.conf 'options c'
    rm -f /etc/resolv.conf
    ln -s ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf
    expect_soon '' its still resolv.conf
    mkdir -p /run/systemd/resolve
    echo 'nameserver 127.0.0.53' >/run/systemd/resolve/stub-resolv.conf
    wait_for 'and what is made there' has_line still resolv.conf 'nameserver 127.0.0.53'
    expect "$inode" in_payload still /bin/busybox stat -c %i /etc/hosts
    expect "$pid" unit_property still MainPID
    rm -r /run/systemd/resolve
    restore
    wait_for 'all is as it was' same_as /etc/resolv.conf its still resolv.conf

    say "$runtime: what the payload changed is its own"
    in_payload still /bin/busybox sh -c 'echo "10.0.0.1 db" >>/etc/hosts'
    its still hosts >"$WORK/theirs"
    echo '192.0.2.1 later' >>/etc/hosts
    echo 'options later' >>/etc/resolv.conf
    wait_for 'the other file follows' has_line still resolv.conf 'options later'
    expect_same "$WORK/theirs" its still hosts
    mark_journal
    systemctl restart still
    expect_like '^still wrote 4.0 KiB to its root file system' said_since still
    expect_same /etc/hosts its still hosts
    restore
    must 'by hand' $PREPARE --names
    expect_same /etc/hosts its still hosts

    say "$runtime: a lease keeps nobody waiting"
    checkout --name=other --runtime="/usr/bin/$runtime" "$REGISTRY/still"
    systemctl start other
    lease_on "/proc/$(unit_property still MainPID)/root/etc/hosts"
    mark_journal
    must 'not who writes to the host' timeout 20 sh -c 'echo "192.0.2.1 leased" >>/etc/hosts'
    wait_for 'another container has it' has_line other hosts '192.0.2.1 leased'
    wait_for 'it is said' unit_has syscontainers-names.service Result exit-code
    refuse 'that one has not' has_line still hosts '192.0.2.1 leased'
    run_fails 1 "cannot update the names of still: cannot update its /etc/hosts: its payload holds a lease on it|cannot update the names of all containers" \
        bash -c "timeout 20 $PREPARE --names 2>&1 >/dev/null | head -n 1 >&2; exit 1"
    kill "$lease"
    wait "$lease" 2>/dev/null || true
    must 'without it' $PREPARE --names
    check 'it has' has_line still hosts '192.0.2.1 leased'
    # Another change, and the units are as before.
    echo '192.0.2.1 unleased' >>/etc/hosts
    wait_for 'and what is next' has_line still hosts '192.0.2.1 unleased'
    for unit in syscontainers-names{,-again}.service; do expect_soon 'inactive dead success' state "$unit"; done
    mark_journal
    systemctl stop other
    expect_no wrote said_since other
    ends_without_a_trace other
    restore

    say "$runtime: killed anywhere"
    unwatched
    for spec in pwrite64:1 ftruncate:1 rename:{1..2} openat:{20..60..5} flock:1 fallocate:1; do
        for hosts in long short; do
            its still hosts >"$WORK/old"
            cp "$WORK/hosts.host" "$WORK/new"
            [ $hosts = short ] || printf '%s\n' "192.0.2.1 $spec" "192.0.2.2 more" >>"$WORK/new"
            cat "$WORK/new" >/etc/hosts
            # The shell says that it was killed.
            { strace -f -qq -o /dev/null -e trace="${spec%:*}" -e inject="${spec%:*}:signal=SIGKILL:when=${spec#*:}" \
                $PREPARE --names || true; } >/dev/null 2>&1
            its still hosts | sed -e :a -e '/^\n*$/{$d;N;ba' -e '}' >"$WORK/left"
            cmp -s "$WORK/left" "$WORK/old" || cmp -s "$WORK/left" "$WORK/new" || { shown "$WORK/left"; fail "$spec: neither old nor new"; }
            must "after $spec" $PREPARE --names
            cmp -s "$WORK/new" <(its still hosts) || fail "$spec, $hosts: the next one does not complete it"
        done
    done
    ok 'it has the old content or the new, and then the new'
    restore
    echo '192.0.2.1 again' >>/etc/hosts
    flock --no-fork /run/syscontainers/still/names sleep 600 &
    holder=$!
    wait_for 'somebody has the lock' bash -c '! flock --nonblock /run/syscontainers/still/names true'
    systemctl start --no-block syscontainers-names.service
    wait_for 'it waits' unit_has syscontainers-names.service ActiveState activating
    systemctl kill --signal=KILL syscontainers-names.service
    wait_for 'the unit runs it again' unit_has syscontainers-names.service NRestarts 1
    refuse 'which waits as well' has_line still hosts '192.0.2.1 again'
    kill "$holder"
    wait "$holder" 2>/dev/null || true
    wait_for 'and has it then' has_line still hosts '192.0.2.1 again'
    expect 'inactive dead success' state syscontainers-names.service
    systemctl start syscontainers-names.target
    restore
    ends_without_a_trace still
done

say 'a full disk'
runtime=crun
starts still
unwatched
its still hosts >"$WORK/old"
{ cat "$WORK/hosts.host"; seq --format='192.0.2.1 a-long-name-of-number-%.0f.example' 2000; } >/etc/hosts
while IFS=: read -r call why; do
    ends 1 strace -f -qq -o /dev/null -e trace="$call" -e inject="$call:error=ENOSPC" $PREPARE --names
    expect_like "^syscontainer-prepare: cannot update the names of still: cannot update its /etc/hosts: $why: No space left on device" cat "$WORK/said"
    expect_same "$WORK/old" its still hosts
done <<'END2'
fallocate:there is no room for it
pwrite64:cannot write to its copy
END2
must 'with room' $PREPARE --names
expect_same /etc/hosts its still hosts
systemctl start syscontainers-names.target
restore
ends_without_a_trace still

say 'where something else is mounted'
a_named_image above ':' '"Volumes": {"/etc": {}}'
echo 'of the image' >"$WORK/above/etc/hosts"
build_and_pull above --owners --config="{\"Cmd\": $(until_stopped), \"Volumes\": {\"/etc\": {}}}"
for runtime in crun runc; do
    starts above
    expect_same /etc/hosts its above hosts
    expect_same /etc/resolv.conf its above resolv.conf
    expect "$(cat /proc/sys/kernel/hostname)" its above hostname
    in_payload above /bin/busybox sh -c 'echo x >>/etc/hosts; echo of the payload >/etc/own'
    expect 'of the image' cat /var/lib/syscontainers/above/etc/hosts
    expect 'of the payload' cat /var/lib/syscontainers/above/etc/own
    echo '192.0.2.1 above' >>/etc/resolv.conf
    wait_for 'it follows the host' has_line above resolv.conf '192.0.2.1 above'
    systemctl stop above
    say "$runtime: a payload that puts something there"
    echo victim >"$WORK/victim"
    ln -sf "$WORK/victim" /var/lib/syscontainers/above/etc/resolv.conf
    rm /var/lib/syscontainers/above/etc/hostname
    mkdir /var/lib/syscontainers/above/etc/hostname
    mark_journal
    check 'it starts' systemctl start above
    expect_same /etc/hosts its above hosts
    expect_like "etc/resolv.conf is a symlink, starting it without this host's resolv.conf; put a regular file there" said_since above
    expect_like "etc/hostname is a directory, starting it without this host's hostname; put a regular file there" said_since above
    expect victim cat "$WORK/victim"
    restore
    must 'it goes' syscontainer-remove --purge above
done
mkdir -p "$WORK/mine"
echo 'mine' >"$WORK/own-hosts"
for runtime in crun runc; do
    rm -f "$WORK/mine"/*
    starts still -o "Volume=$WORK/mine:/etc:ro"
    expect_same /etc/hosts its still hosts
    in_payload still /bin/busybox sh -c 'echo x >>/etc/hosts'
    refuse 'all else is read-only' in_payload still /bin/busybox sh -c 'echo x >>/etc/other'
    expect 'hostname hosts resolv.conf' names_in "$WORK/mine"
    expect '' cat "$WORK/mine/hosts"
    ends_without_a_trace still
    starts still -o Tmpfs=/etc
    expect_same /etc/hosts its still hosts
    ends_without_a_trace still
    starts still -o "Volume=$WORK/own-hosts:/etc/hosts"
    expect mine its still hosts
    expect_same /etc/resolv.conf its still resolv.conf
    must 'nothing is brought there' systemctl start syscontainers-names.service
    expect mine its still hosts
    ends_without_a_trace still
    say "$runtime: other networks and names"
    for option in Network=private Network=none; do
        starts still -o $option -o HostName=web.example
        expect "$({ cat /etc/hosts; echo '127.0.0.1 web.example'; })" its still hosts
        echo '192.0.2.1 more' >>/etc/hosts
        wait_for 'it follows' has_line still hosts '192.0.2.1 more'
        expect "$({ cat /etc/hosts; echo '127.0.0.1 web.example'; })" its still hosts
        expect web.example its still hostname
        restore
        ends_without_a_trace still
    done
    starts still -o ReadOnly=yes
    refuse 'it cannot write' in_payload still /bin/busybox sh -c 'echo x >>/etc/hosts'
    echo '192.0.2.1 read-only' >>/etc/hosts
    wait_for 'and follows' has_line still hosts '192.0.2.1 read-only'
    restore
    ends_without_a_trace still
done

say 'started and stopped while the host changes'
for number in 1 2 3 4; do checkout --name="still$number" "$REGISTRY/still"; done
for round in 1 2 3 4 5 6; do
    echo "192.0.2.$round round" >>/etc/hosts &
    systemctl restart still{1,2,3,4}
    # So often is too often for systemd.
    systemctl reset-failed still{1,2,3,4}
    wait $!
    for number in 1 2 3 4; do wait_for "round $round: it has it" has_line "still$number" hosts "192.0.2.$round round"; done
done
expect '' systemctl list-units --state=failed --no-legend --plain 'still*' 'syscontainers-names*'
for number in 1 2 3 4; do ends_without_a_trace "still$number"; done
restore
podman_here rm --all --force >/dev/null
rm -r "$WORK/podman"
