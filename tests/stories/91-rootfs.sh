#!/bin/bash
# The root file system of a plain image: it can be written to and forgets, or is read-only; it has the host's names, and shows its
# limits; with crun and runc.
. "$(dirname "$0")/lib.sh"

# rootfs_image NAME[:TAG] ARGS [MEMBER…]: an image of the files in $WORK/NAME, with their owners, and further members of its config.
rootfs_image() {
    local name=${1%:*} member config="{\"Cmd\": $2"
    for member in "${@:3}"; do config+=", $member"; done
    mkdir -p "$WORK/$name"
    build_image "$1" --owners --config="$config}" "$WORK/$name"
    pull_image "$1"
}
# names_seen NAME FILE: what it has there.
names_seen() { in_payload "$1" /bin/busybox cat "$2"; }
# shared: what containers share, and what is beside it.
shared() {
    find $CO/.storage/ostree/objects -type f -printf '%i %s %m %U:%G %C@ %p\n' | sort
    find $CO/*.0 -printf '%y %m %U:%G %p -> %l\n' | sort
}
# is_forgotten NAME
is_forgotten() {
    refuse "$1: what it wrote is gone" test -e "$CO/.$1.scratch"
    refuse "$1: nothing is mounted any more" grep "syscontainers/$1" /proc/self/mountinfo
}

if [ "$BOOT" = 2 ]; then
    say 'after a power failure'
    check 'it had left something' test -e $CO/.cut.scratch/upper/left
    systemctl start cut
    wait_for 'it runs' journal_has cut '^begins anew$'
    refuse 'with what the image has' journal_has cut '^finds it$'
    systemctl stop cut
    is_forgotten cut
    exit 0
fi

say 'whatever the image lets it write'
image=$WORK/writer
mkdir -p "$image"/{etc,run/app,run/other,var/cache/app,var/log,srv}
echo image | tee "$image/run/app/socket" "$image/var/log/old" "$image/srv/file" >/dev/null
chmod 0750 "$image/run/app"
chown -R 55:66 "$image/run/app"
mkdir -m 1777 "$image/tmp"
echo of-the-image >"$image/tmp/begin"
write=$(cat <<'END'
exec 2>&1
[ ! -e /var/cache/app/mine ] || echo 'it is not forgotten'
mkdir /var/cache/app/client && echo x >/var/cache/app/mine && echo x >>/var/log/old && rm -r /srv && echo x >/run/app/pid && echo x >/new || echo 'it cannot write'
[ "$(cat /run/app/socket /tmp/begin)" = "$(printf 'image\nof-the-image')" ] || echo 'files are missing'
chown 77 /bin/busybox && mv /var/log /var/moved || echo 'it cannot change what the image has'
echo "$(stat -c '%a %u:%g' /run/app) $(stat -c '%a %u:%g' /tmp)"
cp /bin/busybox /var/cache/app/copy
mknod /var/cache/disk b 254 0; mknod /var/cache/null c 1 3 && echo x >/var/cache/null && echo 'it has a device'
pwd; stat -c '%a %F' /app/place
echo written
END
)
rootfs_image writer "$(until_stopped "$write")" '"WorkingDir": "/app/place"'
for runtime in crun runc; do checkout --name=$runtime --runtime=/usr/bin/$runtime "$REGISTRY/writer"; done
refuse "/app is not made in the deployment" test -e $CO/crun.0/rootfs/app
shared >"$WORK/shared"
for runtime in crun runc; do
    for _ in 1 2; do
        mark_journal
        check "$runtime: it starts" systemctl start $runtime
        wait_for 'it has written' has_said $runtime '^written$'
        expect_no 'it cannot|missing|not forgotten|has a device' journal_of $runtime
        expect_like '^750 55:66 1777 0:0$' journal_of $runtime
        expect_like '^/app/place$' journal_of $runtime
        expect_like '^755 directory$' journal_of $runtime
        check 'it is on disk' test -s $CO/.$runtime.scratch/upper/var/cache/app/copy
        expect 700 stat --format=%a $CO/.$runtime.scratch
        expect_same "$WORK/shared" shared
        check 'it stops' systemctl stop $runtime
        expect 'inactive dead success' state $runtime
        is_forgotten $runtime
    done
done
forget crun runc

say 'what the image does not have'
mkdir -p "$WORK/bare/bin"
cp "$(command -v busybox)" "$WORK/bare/bin/"
ln -s busybox "$WORK/bare/bin/sh"
build_image bare --bare --config="{\"Cmd\": $(until_stopped 'busybox ls -d /run /tmp /var 2>&1; echo looked')}" "$WORK/bare"
pull_image bare
checkout "$REGISTRY/bare"
systemctl start bare
wait_for 'it has looked' journal_has bare '^looked$'
for path in /tmp /var; do expect_like "$path: No such file" journal_of bare; done
systemctl stop bare
forget bare

say 'read-only'
chmod 1771 "$image/run"
chown 7:8 "$image/run"
mkdir -p "$image/var/tmp"
chmod 1777 "$image/var/tmp"
ln -s /srv "$image/run/link"
strict=$(cat <<'END'
exec 2>&1
for file in /new /etc/new /var/log/new /srv/new /bin/new; do (echo x >$file) 2>/dev/null && echo "it writes $file"; done
for directory in /run /run/app /run/other /tmp /var/tmp; do echo x >$directory/new || echo "it does not write to $directory"; done
[ "$(cat /run/app/socket /tmp/begin)" = "$(printf 'image\nof-the-image')" ] || echo 'files are missing'
echo "$(stat -c '%a %u:%g' /run) $(stat -c '%a %u:%g' /run/app) $(stat -c '%a %u:%g' /tmp)"
grep -E ' (/|/run|/tmp|/var/tmp) ' /proc/mounts
mkdir /tmp/many
(cd /tmp/many && seq 300000 | xargs touch) 2>&1 | tail -n 1
rm -rf /tmp/many
pwd
ls /srv/data
echo looked
END
)
rootfs_image strict "$(until_stopped)"
cp -a "$image/." "$WORK/strict"
rootfs_image strict "$(until_stopped "$strict")" '"WorkingDir": "/app/place"' '"Volumes": {"/run/link/data": {}}'
for runtime in crun runc; do checkout --name=$runtime --runtime=/usr/bin/$runtime -o ReadOnly=yes "$REGISTRY/strict"; done
for path in app srv/data; do refuse "/$path is not made in the deployment" test -e "$CO/crun.0/rootfs/$path"; done
for runtime in crun runc; do
    mark_journal
    check "$runtime: it starts" systemctl start $runtime
    wait_for 'it has looked' has_said $runtime '^looked$'
    expect_no 'it writes|it does not|missing' said_since $runtime
    expect_like '^1771 7:8 750 55:66 1777 0:0$' said_since $runtime
    expect_like '^overlay / overlay ro,' said_since $runtime
    for directory in /run /tmp /var/tmp; do
        expect_like " $directory tmpfs .*nosuid.*size=[0-9]+k,.*nr_inodes=" said_since $runtime
    done
    expect_like 'No space left on device' said_since $runtime
    expect_like '^/app/place$' said_since $runtime
    check 'the volume is where the link of the image leads' grep -q ' /srv/data ' "/proc/$(unit_property $runtime MainPID)/mountinfo"
    systemctl stop $runtime
    is_forgotten $runtime
done
check 'updates keep it' syscontainer-checkout --update -o HostName=named crun
expect_like '"readonly": true' cat $CO/crun.1/config.json
check 'it can be unset' syscontainer-checkout --update -o ReadOnly= crun
expect_like '"readonly": false' cat $CO/crun.2/config.json
forget crun runc

say 'names'
names=$WORK/names
mkdir -p "$names"/{etc,x}
look() { for file in hosts resolv.conf hostname; do names_seen "$1" /etc/$file; done; in_payload "$1" /bin/busybox hostname; }
host_looks() { cat /etc/hosts /etc/resolv.conf; cat /proc/sys/kernel/hostname /proc/sys/kernel/hostname; }
mkdir -p /run/resolver
echo 'nameserver 192.0.2.53' >/run/resolver/stub.conf
rm /etc/resolv.conf
ln -s ../run/resolver/stub.conf /etc/resolv.conf
echo '192.0.2.7 story.example' >>/etc/hosts
for image in missing dangling empty linked absolute; do
    rm -rf "$names"
    mkdir -p "$names/etc" "$names/x/etc"
    case $image in
        missing) rmdir "$names/etc" ;;
        dangling) ln -s ../run/systemd/resolve/stub-resolv.conf "$names/etc/resolv.conf" ;;
        empty) touch "$names"/etc/{resolv.conf,hosts,hostname} ;;
        linked) rmdir "$names/etc" && ln -s x/etc "$names/etc" && echo bad >"$names/x/etc/hosts" ;;
        absolute) for file in resolv.conf hosts hostname; do ln -s /proc/self/status "$names/etc/$file"; done ;;
    esac
    rootfs_image names:$image "$(until_stopped)"
    for runtime in crun runc; do
        for option in ReadOnly=no ReadOnly=yes; do
            case $image-$option in empty-ReadOnly=yes | absolute-ReadOnly=yes) continue ;; esac
            checkout --name=names --runtime=/usr/bin/$runtime -o $option "$REGISTRY/names:$image"
            check "$image, $runtime, $option: it starts" systemctl start names
            host_looks >"$WORK/host"
            expect_same "$WORK/host" look names
            systemctl stop names
            is_forgotten names
            forget names
        done
    done
done
rootfs_image names "$(until_stopped)"
for runtime in crun runc; do
    checkout --name=names --runtime=/usr/bin/$runtime "$REGISTRY/names"
    systemctl start names
    echo "192.0.2.8 in-place.$runtime" >>/etc/hosts
    echo "search $runtime.example" >>/run/resolver/stub.conf
    wait_for 'it sees what is written to one' same_as /etc/hosts names_seen names /etc/hosts
    wait_for 'and to the other' same_as /run/resolver/stub.conf names_seen names /etc/resolv.conf
    sed "s/^/# /" /etc/hosts >/etc/.hosts.new
    mv /etc/.hosts.new /etc/hosts
    { cat /etc/hosts; printf '%s localhost\n' 127.0.0.1 ::1; } >"$WORK/hosts"
    wait_for 'and what takes the place of one, with localhost' same_as "$WORK/hosts" names_seen names /etc/hosts
    systemctl stop names
    sed -i 's/^[# ]*//' /etc/hosts
    say "$runtime: a host without any"
    mv /etc/hosts /etc/.hosts.old
    mv /run/resolver /run/.resolver
    systemctl start names
    expect '' names_seen names /etc/resolv.conf
    expect $'127.0.0.1 localhost\n::1 localhost' names_seen names /etc/hosts
    systemctl stop names
    mv /etc/.hosts.old /etc/hosts
    mv /run/.resolver /run/resolver
    say "$runtime: those of a host whose files are not for everybody"
    chmod 0640 /etc/hosts
    systemctl start names
    expect_same /etc/hosts names_seen names /etc/hosts
    expect 644 in_payload names /bin/busybox stat -c %a /etc/hosts
    systemctl stop names
    chmod 0644 /etc/hosts
    forget names
done

say 'a host name of its own'
for bad in 'a b' '-a' 'a.' '..' "$(printf 'a%.0s' {1..65})"; do
    run_fails 2 "invalid HostName=$bad: .*host name" syscontainer-checkout -o "HostName=$bad" "$REGISTRY/names"
done
for runtime in crun runc; do
    checkout --name=names --runtime=/usr/bin/$runtime -o HostName=web.example "$REGISTRY/names"
    systemctl start names
    expect web.example in_payload names /bin/busybox hostname
    expect web.example names_seen names /etc/hostname
    { cat /etc/hosts; echo '127.0.1.1 web.example'; } >"$WORK/hosts"
    expect_same "$WORK/hosts" names_seen names /etc/hosts
    systemctl stop names
    forget names
done
old=$(cat /proc/sys/kernel/hostname)
checkout --name=names "$REGISTRY/names"
echo renamed >/proc/sys/kernel/hostname
systemctl start names
expect renamed in_payload names /bin/busybox hostname
expect renamed names_seen names /etc/hostname
echo "$old" >/proc/sys/kernel/hostname
expect renamed in_payload names /bin/busybox hostname
systemctl stop names
forget names

say 'the same as with podman'
podman_here create --quiet --name=names --network=host --tls-verify=false "$REGISTRY/names" >/dev/null
# Where this host does not let it have its limits the container is not made, but its files are.
podman_here init names >/dev/null 2>&1 || true
checkout --name=names "$REGISTRY/names"
systemctl start names
userdata=/run/podman-story/vfs-containers/$(podman_here inspect --format='{{.Id}}' names)/userdata
expect "$(cat "$userdata/hostname")" names_seen names /etc/hostname
words() { sed -E '/^(#|$)/d; s/[[:space:]]+/ /g' | grep -v containers.internal | sort -u; }
words <"$userdata/hosts" >"$WORK/his"
words </etc/hosts >"$WORK/ours"
expect "$(cat "$WORK/his")" cat "$WORK/ours"
expect "$(grep ^nameserver "$userdata/resolv.conf")" bash -c "grep ^nameserver '/proc/$(unit_property names MainPID)/root/etc/resolv.conf'"
systemctl stop names
podman_here rm --all --force >/dev/null
rm -r "$WORK/podman"
forget names

say 'how much it writes'
mkdir -p "$WORK/much"
rootfs_image much "$(until_stopped 'mkdir -p /data/x; head -c 3000000 /dev/urandom >/data/x/file; ln /data/x/file /data/again; ln -s / /data/link; echo written')"
rootfs_image little "$(until_stopped 'mkdir -p /data; echo begun')"
# written NAME: what the list says of it.
written() { syscontainer-list --json --filter=name="$1" | sed -n 's/^ *"written": \(.*\),$/\1/p'; }
for runtime in crun runc; do
    checkout --name=much --runtime=/usr/bin/$runtime "$REGISTRY/much"
    checkout --name=little --runtime=/usr/bin/$runtime "$REGISTRY/little"
    expect null written much
    mark_journal
    systemctl start much little
    wait_for 'it has written' has_said much '^written$'
    wait_for 'the other has begun' has_said little '^begun$'
    bytes=$(written much)
    [ "$bytes" -ge 3000000 ] && [ "$bytes" -lt 3200000 ] || fail "it is said to have written $bytes bytes"
    expect 0 written little
    systemctl stop much little
    expect null written much
    expect_like '^much wrote 2.9 MiB to its root file system, which is forgotten$' said_since much
    expect_no 'wrote' said_since little
    forget much little
done

say 'a limit that would not hold'
snapshot >"$WORK/before"
for bad in 0 -1 1.5G much; do
    run_fails 2 "invalid ScratchSize=$bad: expected a size such as 64m" syscontainer-checkout -o ScratchSize=$bad "$REGISTRY/much"
done
run_fails 1 'ScratchSize= limits what is written to the root file system, which is read-only' \
    syscontainer-checkout -o ScratchSize=1G -o ReadOnly=yes "$REGISTRY/much"
run_fails 1 "cannot give much ScratchSize=: $CO/.much.scratch is on a file system without project quotas; mount one with the option prjquota" \
    syscontainer-checkout -o ScratchSize=16M "$REGISTRY/much"
unchanged "$WORK/before"
exports system "$(until_stopped)"
build_and_pull system
for option in HostName=web ReadOnly=yes; do
    run_fails 1 "so ${option%=*}= cannot be set; Label=" syscontainer-checkout -o $option "$REGISTRY/system"
done
# As if the file system had been changed since.
checkout "$REGISTRY/much"
sed -i 's/"confined": true/"confined": true, "scratch-size": 1000000/' /etc/syscontainers/attached/much.json
refuse 'nor does a start go without it' systemctl start much
expect_like 'cannot prepare much: .*cannot limit .*/.much.scratch to 1000000 bytes' journal_of much
systemctl reset-failed much
is_forgotten much
must 'it goes' syscontainer-remove much

say 'cgroups, as programs that look for their limits see them'
look=$(cat <<'END'
sed -n 's/^0::/its cgroup: /p' /proc/self/cgroup
grep -c ' /sys/fs/cgroup cgroup2 ro,' /proc/mounts | sed 's/^/mounts: /'
ls /sys/fs/cgroup/cgroup.procs
grep -q "^$$\$" /sys/fs/cgroup/cgroup.procs && echo 'it is there'
(mkdir /sys/fs/cgroup/x) 2>&1
echo looked
END
)
rootfs_image little "$(until_stopped "$look")"
for runtime in crun runc; do
    checkout --name=$runtime --runtime=/usr/bin/$runtime "$REGISTRY/little"
    mark_journal
    systemctl start $runtime
    wait_for 'it has looked' has_said $runtime '^looked$'
    for line in 'its cgroup: /' 'mounts: 1' /sys/fs/cgroup/cgroup.procs 'it is there' 'mkdir: .*Read-only file system'; do
        expect_like "^$line\$" said_since $runtime
    done
    systemctl stop $runtime
    forget $runtime
done

say 'volumes begin with what the image has, not with what was written'
mkdir -p "$WORK/filled"/{data,etc/conf}
echo image | tee "$WORK/filled/data/file" "$WORK/filled/etc/conf/file" >/dev/null
rootfs_image filled "$(until_stopped 'echo x >>/etc/conf/file; echo x >/data/more; echo done')" '"Volumes": {"/data": {}}'
checkout "$REGISTRY/filled"
systemctl start filled
wait_for 'it writes' journal_has filled '^done$'
systemctl stop filled
rootfs_image filled "$(until_stopped)" '"Volumes": {"/data": {}, "/etc/conf": {}, "/etc": {}}'
check 'an update with more of them' syscontainer-checkout --update filled
systemctl start filled
expect image names_seen filled /etc/conf/file
expect 'file more' names_in /var/lib/syscontainers/filled/data
expect_same /etc/hosts names_seen filled /etc/hosts
expect '' cat /var/lib/syscontainers/filled/etc/hosts
systemctl stop filled
must 'its volumes go' syscontainer-remove --purge filled

say 'killed'
cuts=0
for runtime in crun runc; do
    rootfs_image cut "$(until_stopped '[ ! -e /left ] || echo finds it; echo begins anew; echo x >/left')"
    checkout --name=cut --runtime=/usr/bin/$runtime "$REGISTRY/cut"
    systemctl start cut
    wait_for 'it runs' test -e $CO/.cut.scratch/upper/left
    systemctl kill --kill-whom=main --signal=KILL cut
    wait_for 'it is started again' bash -c "journalctl --sync; [ \$(journalctl --unit=cut --output=cat | grep -c '^begins anew\$') = $((2 * ++cuts - 1)) ]"
    refuse 'without what it wrote' journal_has cut '^finds it$'
    systemctl stop cut
    is_forgotten cut
    # The helper that prepares a start, at any of its steps.
    for spec in mkdirat:{1..3} mkdir:{1..6} mount:1 renameat:{1..3} rename:{1..5} unlinkat:{1..3} openat2:{1..9..2}; do
        strace -f -qq -o /dev/null -e trace="${spec%:*}" -e inject="${spec%:*}:signal=SIGKILL:when=${spec#*:}" \
            /usr/libexec/syscontainers/syscontainer-prepare cut >/dev/null 2>&1 || true
        must "after $spec" /usr/libexec/syscontainers/syscontainer-prepare cut
        must "after $spec" /usr/libexec/syscontainers/syscontainer-prepare --cleanup cut
        [ ! -e $CO/.cut.scratch ] || fail "$spec: something is left"
    done
    is_forgotten cut
    systemctl start cut
    wait_for 'it runs' test -e $CO/.cut.scratch/upper/left
    must 'removed while it runs' syscontainer-remove cut
    is_forgotten cut
done
checkout --name=cut "$REGISTRY/cut"
systemctl start cut
wait_for 'it runs' test -e $CO/.cut.scratch/upper/left
cut_off
