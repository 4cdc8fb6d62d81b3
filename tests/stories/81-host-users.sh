#!/bin/bash
# Files of images are for nobody but root: not in the store, which is always our own, not in deployments, not in what runs. Where
# the host has a repository of its own, objects are shared with it and images of Atomic are found in it, and it stays as it is.
. "$(dirname "$0")/lib.sh"

HOST=/ostree/repo
SWEPT+=(/run/crun /run/runc)
PREPARE=/usr/libexec/syscontainers/syscontainer-prepare

# setuid_image NAME: what a user of the host would look for in it.
setuid_image() {
    mkdir -p "$WORK/$1"/{usr/bin,srv,root}
    cp /bin/busybox "$WORK/$1/usr/bin/busybox-root"
    chmod 4755 "$WORK/$1/usr/bin/busybox-root"
    cp /bin/busybox "$WORK/$1/usr/bin/busybox-group"
    chmod 2711 "$WORK/$1/usr/bin/busybox-group"
    echo 'of the image' >"$WORK/$1/srv/file"
    chmod 0644 "$WORK/$1/srv/file"
    chmod 0777 "$WORK/$1/srv"
}
# object FILE: the path, below a repository, of the object of a file without extended attributes.
object() {
    local sum
    rm -rf "$WORK/.object" && mkdir -p "$WORK/.object/tree"
    cp -p "$1" "$WORK/.object/tree/file"
    ostree --repo="$WORK/.object/repo" init --mode=bare
    ostree --repo="$WORK/.object/repo" commit --orphan --no-xattrs "$WORK/.object/tree" >/dev/null
    sum=$(cd "$WORK/.object/repo" && find objects -name '*.file')
    echo "$sum"
}
inode() { stat --format=%i "$1"; }
# tree_of DIRECTORY: everything about what is there, but for how many links there are.
tree_of() { (cd "$1" && find . ! -type d -printf '%y %m %U:%G %s %T@ %p %l\n' -o -printf '%y %m %U:%G %T@ %p\n' | sort; find . -type f ! -name .lock -exec sha256sum {} + | sort -k2); }

say 'directories'
expect '700 root' stat --format='%a %U' $CO
expect '711 root' stat --format='%a %U' /run/syscontainers
expect '700 root' stat --format='%a %U' /run/syscontainers/attached

say 'whatever umask root has'
for umask in 000 077; do
    for kind in service user once; do
        name=$kind-$umask
        setuid_image "$name"
        case $kind in
            service) exports "$name" "$(until_stopped)" ;;
            user) exports "$name" "$(until_stopped)" --unit=$'User=daemon\nExecStartPre=/bin/sh -c "id -un"' ;;
            once)
                exports "$name" "$(shell_args 'cp /bin/busybox /busybox-two; chmod 4755 /busybox-two; echo result >/result; while [ ! -e /data/end ]; do sleep 0.1; done')" \
                    --mount="/run/$name:/data"
                sed -i 's/"readonly": true/"readonly": false/' "$WORK/$name/exports/config.json"
                ;;
        esac
        [ $kind != once ] || label=--label=atomic.run=once
        build_image "$name" ${label-} "$WORK/$name"
        unset label
        (
            umask $umask
            syscontainer-pull --quiet "$REGISTRY/$name"
            syscontainer-checkout "$REGISTRY/$name"
        ) >/dev/null 2>&1
        check "$name is started" systemctl start --no-block "$name"
    done
    for name in service user; do expect 'active running success' state "$name-$umask"; done
    wait_for 'the job has written' test -s "$CO/.once-$umask.scratch/upper/result"
    check 'it is setuid' test -u "$CO/.once-$umask.scratch/upper/busybox-two"
    expect '' find "/run/syscontainers/once-$umask/rootfs" -mindepth 1
    refuse 'the host has no such mount' grep -F "once-$umask" /proc/self/mountinfo
    for directory in $CO $CO/.storage $STORE $CO/{service,user,once}-$umask.0 $CO/.once-$umask.scratch \
        /run/syscontainers/{service,user,once}-$umask; do
        expect '700 0:0' stat --format='%a %u:%g' "$directory"
    done
    expect '755 0:0' stat --format='%a %u:%g' /etc/syscontainers
    host_users_get_nothing "with umask $umask"
    for file in "$CO/service-$umask.0/rootfs/usr/bin/busybox-root" \
        "$CO/.once-$umask.scratch/upper/busybox-two" "$CO/user-$umask.0/rootfs/usr/bin/busybox-root" "/proc/$(unit_property "service-$umask" MainPID)/root/usr/bin/busybox-root"; do
        check 'root sees it' test -u "$file"
        refuse "nobody runs $file" as_nobody "$file" id -u
    done
    touch "/run/once-$umask/end"
    expect 'inactive dead success' state "once-$umask"
    systemctl stop "service-$umask" "user-$umask"
    forget "once-$umask" "service-$umask" "user-$umask"
    syscontainer-prune --keep-for=0 >/dev/null
    rm -r $CO/.storage
done

say 'commands of another user'
setuid_image direct
exports direct '["true"]'
rm "$WORK/direct/exports/config.json"
cat >"$WORK/direct/exports/service.template" <<'END'
[Service]
User=daemon
ExecStart=$DESTDIR/rootfs/usr/bin/busybox-root sleep 1000
END
bad_image direct 'exports/service.template:3: ExecStart= runs .*/rootfs/usr/bin/busybox-root as another user.*RootDirectory=\$DESTDIR/rootfs'
sed -i 's,\$DESTDIR/rootfs,,; s/^User/RootDirectory=$DESTDIR\/rootfs\n&/' "$WORK/direct/exports/service.template"
build_and_pull direct
checkout "$REGISTRY/direct"
check 'it starts' systemctl start direct
expect 'active running success' state direct
expect daemon stat --format=%U "/proc/$(unit_property direct MainPID)"
host_users_get_nothing 'of a unit with a root directory'
systemctl stop direct
# Directories and commands of ours that others cannot use are no reason to fail.
exports shell "$(until_stopped)" --unit=$'User=daemon\nWorkingDirectory=$DESTDIR\nExecStartPre=/bin/sh -c "$EXEC_STARTPRE; id -un; pwd"'
build_and_pull shell
checkout "$REGISTRY/shell"
check 'it starts' systemctl start shell
expect 'active running success' state shell
check 'as the other user' journal_has shell '^daemon$'
check 'which gets no further' journal_has shell '^/$'
refuse 'but outside of the unit it is not prepared' as_nobody $PREPARE shell
systemctl stop shell

say 'a host file that only root may read, while it is written'
exports hostfile "$(until_stopped)"
mkdir -p "$WORK/hostfile/exports/hostfs/etc/hostfile"
(umask 077 && echo secret >"$WORK/hostfile/exports/hostfs/etc/hostfile/secret")
build_and_pull hostfile
strace -f -qq -o "$WORK/trace" -e trace=openat,chmod,fchmod,fchmodat syscontainer-checkout "$REGISTRY/hostfile" >/dev/null 2>&1
expect_like '"/etc/hostfile/.secret.new", .*O_CREAT.*, 0600' cat "$WORK/trace"
expect '600' stat --format=%a /etc/hostfile/secret
forget hostfile
rm -r /etc/hostfile

say 'user namespaces'
for runtime in crun runc; do
    setuid_image "mapped-$runtime"
    exports "mapped-$runtime" "$(until_stopped 'id -u; cat /proc/self/uid_map /srv/file')" --namespaces=pid,ipc,mount,user
    sed -i 's/"linux": {/&"uidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}], "gidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}], /' \
        "$WORK/mapped-$runtime/exports/config.json"
    build_and_pull "mapped-$runtime"
    checkout --runtime=/usr/bin/$runtime "$REGISTRY/mapped-$runtime"
    check "$runtime starts it" systemctl start "mapped-$runtime"
    expect 'active running success' state "mapped-$runtime"
    wait_for 'it has run' journal_has "mapped-$runtime" 'of the image'
    check 'root in it is nobody outside' journal_has "mapped-$runtime" '^ *0 +100000 +65536$'
    expect 100000 stat --format=%u "/proc/$(unit_property "mapped-$runtime" MainPID)"
    expect '' find /run/syscontainers/.rootfs -mindepth 1
    refuse 'the host has no such mount' grep /.rootfs /proc/self/mountinfo
    host_users_get_nothing 'of a user namespace'
    for id in 100000 1; do
        refuse "user $id runs nothing" setpriv --reuid=$id --regid=$id --clear-groups sh -c 'exec "$@"' sh "$CO/mapped-$runtime.0/rootfs/usr/bin/busybox-root" id
    done
    systemctl stop "mapped-$runtime"
done
forget direct shell mapped-crun mapped-runc
syscontainer-prune --keep-for=0 >/dev/null
rm -r $CO/.storage

say 'a host with a repository of its own'
# As on a host: one file system, and /var is a bind mount of a part of it.
physical=/var/lib/containers/physical
mkdir -p $physical/ostree/{repo,deploy/os/var} /sysroot /ostree
mount --bind $physical /sysroot
mount --bind $physical/ostree /ostree
mkdir $physical/ostree/deploy/os/var/atomic
chmod 0700 $physical/ostree/deploy/os/var/atomic
mount --bind /sysroot/ostree/deploy/os/var/atomic $CO
ostree --repo=$HOST init --mode=bare
setuid_image shared
dd if=/dev/urandom of="$WORK/shared/srv/large" bs=1M count=3 status=none
echo damaged >"$WORK/shared/srv/damaged"
echo other >"$WORK/shared/srv/other"
echo only-ours >"$WORK/shared/srv/ours"
# Whoever can write to the host's object could write to ours.
echo theirs >"$WORK/shared/srv/theirs"
chown 1000:1000 "$WORK/shared/srv/theirs"
echo writable >"$WORK/shared/srv/writable"
chmod 0664 "$WORK/shared/srv/writable"
exports shared "$(until_stopped)"
mkdir "$WORK/os"
cp -p "$WORK/shared/srv/"{file,large,damaged,other,theirs,writable} "$WORK/shared/usr/bin/busybox-root" "$WORK/os/"
chmod 0600 "$WORK/os/other"
ostree --repo=$HOST commit --branch=os --no-xattrs "$WORK/os" >/dev/null
damaged=$(object "$WORK/shared/srv/damaged")
printf broken | dd of="$HOST/$damaged" conv=notrunc status=none
# Commands of the host have opened it.
ostree --repo=$HOST refs >/dev/null
tree_of $HOST >"$WORK/host"
build_and_pull shared --owners
for file in srv/file srv/large usr/bin/busybox-root; do
    object=$(object "$WORK/shared/$file")
    expect "$(inode "$HOST/$object")" inode "$STORE/$object"
done
for file in srv/damaged srv/ours srv/other srv/theirs srv/writable; do
    object=$(object "$WORK/shared/$file")
    check "$file is written" test -e "$STORE/$object"
    expect 1 stat --format=%h "$STORE/$object"
done
check 'the host has those' test -e "$HOST/$(object "$WORK/shared/srv/theirs")" -a -e "$HOST/$(object "$WORK/shared/srv/writable")"
refuse 'what the host has is of another mode' test -e "$HOST/$(object "$WORK/shared/srv/other")"
store_is_sound
expect_same "$WORK/host" tree_of $HOST
checkout "$REGISTRY/shared"
check 'it starts' systemctl start shared
host_users_get_nothing 'beside the host repository'
refuse 'nothing of the image is in the host repository' test -e "$HOST/$(object "$WORK/shared/srv/ours")"
systemctl stop shared
forget shared
syscontainer-prune --keep-for=0 >/dev/null
expect_same "$WORK/host" tree_of $HOST
check 'the host has what it had' test -e "$HOST/$(object "$WORK/shared/srv/file")"
for named in --repo=$HOST --repo=/sysroot/ostree/repo; do
    run_fails 1 "it is the host's own repository, which every user can enter; leave out --repo" syscontainer-pull --quiet "$named" "$REGISTRY/shared"
    run_fails 1 "it is the host's own repository" syscontainer-images "$named"
done
run_fails 1 "it is the host's own repository" env ATOMIC_OSTREE_REPO=$HOST syscontainer-pull --quiet "$REGISTRY/shared"
expect_same "$WORK/host" tree_of $HOST

say 'where nothing can be linked it is written'
mkdir "$WORK/elsewhere" && mount -t tmpfs -o mode=0700 tmpfs "$WORK/elsewhere"
SWEPT+=("$WORK/elsewhere/store")
syscontainer-pull --quiet --repo="$WORK/elsewhere/store" "$REGISTRY/shared" >/dev/null
store_is_sound "$WORK/elsewhere/store"
umount "$WORK/elsewhere"
object=$(object "$WORK/shared/srv/file")
rm -r $CO/.storage
setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin syscontainer-pull --quiet "$REGISTRY/shared" >/dev/null
store_is_sound
say 'a read-only /sysroot'
for mount in /sysroot /ostree /var/lib/containers /mnt; do mount -o remount,bind,ro $mount; done
rm -r $CO/.storage
setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin syscontainer-pull --quiet "$REGISTRY/shared" >/dev/null
check 'it is written' test "$(inode "$HOST/$object")" != "$(inode "$STORE/$object")"
store_is_sound
rm -r $CO/.storage
pull_image shared
expect "$(inode "$HOST/$object")" inode "$STORE/$object"
for mount in /sysroot /var/lib/containers; do refuse "$mount is still read-only for others" touch $mount/x; done
store_is_sound
expect_same "$WORK/host" tree_of $HOST
for mount in /sysroot /ostree /var/lib/containers /mnt; do mount -o remount,bind,rw $mount; done
rm -r $CO/.storage

say 'what Atomic pulled into it'
setuid_image atomic
exports atomic "$(until_stopped)"
echo theirs >"$WORK/atomic/srv/theirs"
chown 1000:1000 "$WORK/atomic/srv/theirs"
"$TESTS/build-image" --owners "$WORK/layout:latest" "$WORK/atomic" >/dev/null
skopeo copy --quiet --format=v2s2 "oci:$WORK/layout:latest" "dir:$WORK/dir"
write_as_atomic $HOST registry.example_2Fatomic_3Alatest
tree_of $HOST >"$WORK/host"
run_fails 1 "there is none yet; .*install one that Atomic pulled into $HOST, with 'syscontainer-checkout registry.example/atomic:latest'" syscontainer-images
run_fails 1 'there is none yet' syscontainer-checkout --dry-run registry.example/atomic
refuse 'none was made' test -e $STORE
pull_image shared
syscontainer-images 2>"$WORK/said" >/dev/null
expect_like "Atomic pulled registry.example/atomic:latest into the host's repository" cat "$WORK/said"
run_fails 1 "Atomic pulled it into $HOST, where 'syscontainer-checkout registry.example/atomic' finds it" \
    syscontainer-images registry.example/atomic
rm -r $CO/.storage
checkout registry.example/atomic
expect_like "registry.example/atomic +latest" quietly syscontainer-images
object=$(cd $STORE && find objects -links +2 -name '*.file' -perm 4755)
expect "$(inode "$HOST/$object")" inode "$STORE/$object"
object=$(object "$WORK/atomic/srv/theirs")
check 'what another user can write to is copied' test "$(inode "$HOST/$object")" != "$(inode "$STORE/$object")"
check 'it starts' systemctl start atomic
expect 'active running success' state atomic
store_is_sound
host_users_get_nothing 'of what Atomic pulled'
expect_same "$WORK/host" tree_of $HOST
say 'a pull of it brings the times, which Atomic did not keep; what has none is the host'"'"'s'
rm -r $CO/.storage
skopeo copy --quiet --format=v2s2 "oci:$WORK/layout:latest" "docker://$REGISTRY/again"
expect_like '"layers-reused": 0' quietly syscontainer-pull --json "$REGISTRY/again"
expect_like '"layers-fetched": 0' quietly syscontainer-pull --json "$REGISTRY/again"
object=$(cd $STORE && find objects -links +1 -name '*.file' -perm 4755)
expect "$(inode "$HOST/$object")" inode "$STORE/$object"
store_is_sound
systemctl stop atomic
forget atomic
syscontainer-prune --keep-for=0 >/dev/null
expect_same "$WORK/host" tree_of $HOST
expect "$image" ostree --repo=$HOST rev-parse ociimage/registry.example_2Fatomic_3Alatest
umount $CO /ostree /sysroot
rm -r $physical

say 'a store that others can enter, replace, or own'
pull_image shared
chmod 0755 $CO $CO/.storage $STORE
pull_image shared 2>"$WORK/said"
for directory in $CO $CO/.storage $STORE; do
    expect 700 stat --format=%a "$directory"
    expect_like "other users could enter $directory until now \(mode 0755\); closed it" cat "$WORK/said"
done
chmod 0711 $STORE
quietly syscontainer-list >/dev/null
expect 700 stat --format=%a $STORE
chown 1000 $STORE
for command in "syscontainer-pull --quiet $REGISTRY/shared" syscontainer-images "syscontainer-checkout $REGISTRY/shared"; do
    # shellcheck disable=SC2086 # words
    run_fails 1 "cannot use the image store $STORE: .*it belongs to user 1000, and this is user 0; .*'chown -R 0 $STORE'" $command
done
syscontainer-list 2>"$WORK/said" >/dev/null
expect_like 'it belongs to user 1000.*; not showing what is pending' cat "$WORK/said"
chown 0 $STORE
named=$WORK/named
SWEPT+=("$named")
mkdir -m 0755 "$named"
run_fails 1 "cannot use the image store $named: other users may enter it \(mode 0755\).*'chmod 0700 $named'" syscontainer-pull --quiet --repo="$named" "$REGISTRY/shared"
expect '' find "$named" -mindepth 1
chmod 0700 "$named"
syscontainer-pull --quiet --repo="$named" "$REGISTRY/shared" >/dev/null
chmod 0711 "$named"
for command in syscontainer-images syscontainer-prune; do
    _judge 1 '' '~other users may enter it \(mode 0711\)' $command --repo="$named"
    ok "$command refuses it"
done
chmod 0700 "$named"
mkdir -m 0777 "$WORK/open"
run_fails 1 "other users could replace it, since they may write to $WORK/open \(owner 0, mode 0777\)" \
    syscontainer-pull --quiet --repo="$WORK/open/store" "$REGISTRY/shared"
run_fails 1 "cannot use the directory of deployments $WORK/open/atomic/?: other users could replace it" \
    env ATOMIC_OSTREE_CHECKOUT_PATH="$WORK/open/atomic" ATOMIC_OSTREE_REPO="$named" syscontainer-checkout "$REGISTRY/shared"
rm -r "$WORK/open"

say 'a root file system with links out of it'
mkdir -p /srv/hostile/{usr,bin} /srv/victim/hostfs/etc
echo '{"defaultValues": {"LEAK": "hostleak"}}' >/srv/victim/manifest.json
echo hostleak >/srv/victim/hostfs/etc/leaked
printf '[Service]\nExecStart=/bin/true\n' >/srv/victim/service.template
echo 'nobody2:x:0:0::/:' >/srv/victim/passwd
ln -s ../victim /srv/hostile/exports
ln -s /srv/victim /srv/hostile/etc
build_image plain --config='{"Cmd": ["/bin/true"], "User": "nobody2"}' "$WORK/config"
pull_image plain
run_fails 1 'nobody2' syscontainer-checkout --rootfs=/srv/hostile "$REGISTRY/plain"
sed -i 's/nobody2/other/' /srv/victim/passwd
build_image plain --config='{"Cmd": ["/bin/true"]}' "$WORK/config"
pull_image plain
syscontainer-checkout --rootfs=/srv/hostile --dry-run "$REGISTRY/plain" >"$WORK/preview" 2>"$WORK/said"
expect_no "hostleak|leaked|LEAK" cat "$WORK/preview"
rm /srv/hostile/exports
mkdir /srv/hostile/exports
ln -s ../../victim/hostfs /srv/hostile/exports/hostfs
syscontainer-checkout --rootfs=/srv/hostile --dry-run "$REGISTRY/plain" >"$WORK/preview" 2>"$WORK/said"
expect_no "hostleak|leaked" cat "$WORK/preview"
mkfifo /srv/hostile/exports/service.template
run_fails 1 'exports/service.template: it is not a regular file' timeout 60 syscontainer-checkout --rootfs=/srv/hostile "$REGISTRY/plain"
rm -r /srv/hostile/exports
ln -s /srv/victim /srv/hostile/rootfs
run_fails 1 'rootfs in it is a symlink to /srv/victim; name that directory' syscontainer-checkout --rootfs=/srv/hostile "$REGISTRY/plain"
