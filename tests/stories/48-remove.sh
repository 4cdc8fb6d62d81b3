#!/bin/bash
# syscontainer-remove: nothing is left of a container but what it wrote and what the user changed, whatever state it was in.
. "$(dirname "$0")/lib.sh"

# These come with the first container, and stay.
mkdir -p /etc/systemd/system.attached /etc/tmpfiles.d /etc/syscontainers/attached
# with_state: all that an installation may change, host files and state too.
with_state() { { snapshot; host_files '%y %m %U:%G %p -> %l' /opt /srv /usr/local /var/lib; } | sort -u; }
# as_it_was TEXT: all of it is as it was before there was a container.
as_it_was() { check "$1" same_as "$WORK/before" with_state; }
# remove ARGUMENT…: what syscontainer-remove says, or prints, is in $WORK/said.
remove() { check "remove $*" bash -c 'syscontainer-remove "$@" 2>&1 | tee "$0"' "$WORK/said" "$@"; }

exports full "$(until_stopped)" --mount='$STATE_DIRECTORY/$NAME:/data' --template
mkdir -p "$WORK/full/exports/hostfs/etc/full" "$WORK/full/exports/hostfs/opt/full/sub"
echo x >"$WORK/full/exports/hostfs/etc/full/conf"
echo x >"$WORK/full/exports/hostfs/opt/full/sub/x"
build_and_pull full
mkdir -p "$WORK/plain/data"
build_and_pull plain --config="{\"Cmd\": $(until_stopped), \"Volumes\": {\"/data\": {}, \"/other\": {}}}"
exports job '["true"]'
rm "$WORK/job/exports/service.template"
build_and_pull job --label=atomic.run=once
mkdir -p "$WORK/files/exports/hostfs/etc/files"
echo x >"$WORK/files/exports/hostfs/etc/files/x"
echo '{"noContainerService": true}' >"$WORK/files/exports/manifest.json"
build_and_pull files
hello_world
pull_image hello-world
with_state >"$WORK/before"

say 'each kind, as it runs'
for name in full plain job files hello-world; do
    checkout "$REGISTRY/$name"
    [ $name = files ] || systemctl start $name
done
for name in full plain job files hello-world; do remove --purge $name; done
rmdir /run/hello-world 2>/dev/null || rm -r /run/hello-world
as_it_was 'nothing is left'
for name in full plain job hello-world; do expect not-found unit_property $name LoadState; done
expect '' bash -c 'systemctl list-units --all --no-legend --plain "full*" "plain*" "job*"'

say 'what is mounted in it stays'
checkout "$REGISTRY/plain"
mkdir "$WORK/precious"
touch "$WORK/precious/file"
mount --bind "$WORK/precious" $CO/plain.0/rootfs/data
run_fails 1 'cannot remove plain: /.*/plain.0/rootfs/data is a mount point; unmount that first' syscontainer-remove --purge plain
expect plain.0 readlink $CO/plain
umount $CO/plain.0/rootfs/data
check 'it is there' test -e "$WORK/precious/file"
remove --purge plain
as_it_was 'nothing is left'

say 'what it wrote stays, unless it is to go'
checkout "$REGISTRY/full"
checkout "$REGISTRY/plain"
systemctl start full plain
echo data >/var/lib/full/data
echo data >/var/lib/syscontainers/plain/data/x
remove full
expect_like "left /var/lib/full, which full wrote to; 'syscontainer-remove --purge full' removes it" cat "$WORK/said"
remove plain
expect_like "left /var/lib/syscontainers/plain, which plain wrote to; 'syscontainer-remove --purge plain' removes it" cat "$WORK/said"
expect $'data\ndata' cat /var/lib/full/data /var/lib/syscontainers/plain/data/x
checkout "$REGISTRY/full"
checkout "$REGISTRY/plain"
systemctl start plain
expect data cat "/proc/$(unit_property plain MainPID)/root/data/x"
remove --purge full
remove --purge plain
as_it_was 'now everything is gone'

say 'what nothing reads is not spoken of'
checkout "$REGISTRY/job"
echo 'Image=x' >/etc/syscontainers/job.conf
remove job
expect_no 'job.conf' cat "$WORK/said"
rm /etc/syscontainers/job.conf
as_it_was 'nothing is left but it'

say 'what was there before is never purged'
mkdir -p /var/lib/full /var/lib/plain/data
echo precious | tee /var/lib/full/mine /var/lib/plain/data/mine >/dev/null
checkout "$REGISTRY/full"
checkout "$REGISTRY/plain"
systemctl start full plain
remove --purge full
expect_like 'left /var/lib/full, which was there before full' cat "$WORK/said"
remove --purge plain
expect_no /var/lib/plain cat "$WORK/said"
expect $'precious\nprecious' cat /var/lib/full/mine /var/lib/plain/data/mine
refuse 'its volumes go' test -e /var/lib/syscontainers/plain
rm -r /var/lib/full /var/lib/plain
say 'what an installation made is its own in the next one, too, and can go later'
for _ in 1 2; do
    checkout "$REGISTRY/plain"
    systemctl start plain
    remove plain
done
check 'it is there' test -d /var/lib/syscontainers/plain/data
remove --purge plain
expect_like 'purged /var/lib/syscontainers/plain' cat "$WORK/said"
say 'a purge that cannot be is not begun'
checkout "$REGISTRY/plain"
systemctl start plain
mount -t tmpfs tmpfs /var/lib/syscontainers/plain/data
run_fails 1 'cannot purge /var/lib/syscontainers/plain: .*mount point; unmount that first' syscontainer-remove --purge plain
expect 'active running success' state plain
umount /var/lib/syscontainers/plain/data
remove --purge plain
say 'what is in the way, or somebody else has put there'
mkdir $CO/backup.2
echo precious >$CO/backup.2/data
printf '[Service]\nExecStart=/bin/sleep 1000\n' >/etc/systemd/system/backup.service
systemctl daemon-reload
systemctl start backup
run_fails 3 'there is no container backup' syscontainer-remove backup
expect 'active running success' state backup
syscontainer-prune >/dev/null 2>&1
expect precious cat $CO/backup.2/data
expect_like 'backup.2 .*it is not a deployment' syscontainer-list
expect_like 'kept file .*backup.2: it is not a deployment' syscontainer-prune --explain
systemctl stop backup
rm -r $CO/backup.2 /etc/systemd/system/backup.service
systemctl daemon-reload
say 'a link that is lost under a service that runs'
checkout "$REGISTRY/plain"
systemctl start plain
rm $CO/plain
systemctl restart syscontainers-reconcile
expect plain.0 readlink $CO/plain
expect 'active running success' state plain
remove --purge plain
say 'what you have set is named'
checkout "$REGISTRY/plain"
mkdir -p /etc/systemd/system/plain.service.d
remove plain
expect_like 'left /etc/systemd/system/plain.service.d, which is yours' cat "$WORK/said"
rmdir /etc/systemd/system/plain.service.d
remove --purge plain
as_it_was 'nothing is left'

say 'what the user changed stays'
checkout "$REGISTRY/full"
echo mine >>/etc/full/conf
remove --purge full
expect_like '/etc/full/conf was changed on this host, leaving it behind' cat "$WORK/said"
check 'it is there' grep -q mine /etc/full/conf
rm -r /etc/full
as_it_was 'and nothing else'

say 'those that need it'
checkout "$REGISTRY/full"
cat >/run/systemd/system/needs.service <<'END'
[Unit]
Requires=full.service
After=full.service
[Service]
ExecStart=/bin/sleep 1000
END
systemctl daemon-reload
systemctl start needs
# It is active a moment before its start is over.
wait_for 'it has started' test -e /run/syscontainers/full/main.pid
with_state >"$WORK/installed"
run_fails 1 'cannot remove full: active units need it: needs.service; stop them first, or use --force' syscontainer-remove full
expect_same "$WORK/installed" with_state
expect 'active running success' state full
remove --force --purge full
rm /run/systemd/system/needs.service
systemctl daemon-reload
as_it_was 'forced'

say 'states that none should be in'
# removable TEXT COMMANDS: after this was done to an installed container, it can be removed.
removable() {
    checkout "$REGISTRY/full"
    eval "$2"
    remove --purge full
    rm -rf /etc/full /opt/full /var/lib/full
    as_it_was "$1"
}
# runs NAME: its payload, no longer the runtime.
runs() { ! grep -qE '^(crun|runc)' "/proc/$(unit_property "$1" MainPID)/comm"; }
removable 'failed' 'systemctl start full; wait_for "it runs" runs full; systemctl kill --signal=ABRT full; wait_for "it is" ended full'
removable 'no link' "rm $CO/full"
removable 'a link to nowhere' "rm -r $CO/full.0"
removable 'no registration' 'rm /etc/syscontainers/attached/full.json'
removable 'a broken registration' 'echo "{" >/etc/syscontainers/attached/full.json; systemctl daemon-reload'
removable 'no stub' 'rm /etc/systemd/system.attached/full.service; systemctl daemon-reload'
removable 'an unreadable info' "echo '{' >$CO/full.0/info"
removable 'a half-made deployment' "mkdir -p $CO/.full.1.new/rootfs"
removable 'two deployments' 'syscontainer-checkout --update --set X=y full >/dev/null 2>&1'
removable 'masked' 'systemctl --quiet mask full'' && systemctl --quiet unmask full'
removable 'nothing but a registration' "rm -r $CO/full $CO/full.0"
removable 'nothing but deployments' "rm $CO/full /etc/syscontainers/attached/full.json
    systemctl --quiet disable full
    rm /etc/systemd/system.attached/full.service /etc/tmpfiles.d/full.conf"

say 'bad ones'
run_fails 3 'cannot remove nothing: there is no container nothing' syscontainer-remove nothing
run_fails 2 'invalid container name' syscontainer-remove ../full
run_fails 2 'missing NAME' syscontainer-remove
mkdir $CO/odd $CO/odd.0
run_fails 1 'cannot remove odd: .*/odd is not a symlink to a deployment; remove it by hand' syscontainer-remove odd
check 'it is untouched' test -d $CO/odd -a -d $CO/odd.0
rm -r $CO/odd $CO/odd.0

say 'killed on the way'
for call in unlink unlinkat rename rmdir; do
    for n in 1 3 6; do
        checkout "$REGISTRY/full"
        strace -qq -o /dev/null -e trace=$call -e inject=$call:signal=SIGKILL:when=$n \
            syscontainer-remove --purge full >/dev/null 2>&1 || true
        # A boot, or the same command again, completes it, once it has begun; and a prune, what was to be purged.
        if [ -L $CO/full ]; then
            must 'once more' syscontainer-remove --purge full
        else
            touch $CO/.full.0.new
            quietly /usr/libexec/syscontainers/syscontainer-reconcile
        fi
        quietly syscontainer-prune
        rm -rf /var/lib/full
        as_it_was "$call $n"
    done
done

say 'installed half-way'
for spec in symlink:1 fsync:3 fsync:4 fsync:5 fsync:6 rename:2 rename:3; do
    if strace -f -qq -o /dev/null -e trace=${spec%:*} -e inject=${spec%:*}:signal=SIGKILL:when=${spec#*:} \
        syscontainer-checkout "$REGISTRY/full" >/dev/null 2>&1; then fail "it is not killed at $spec"; fi
    syscontainer-remove --purge full >/dev/null 2>"$WORK/said" || [ $? = 3 ] ||
        { shown "$WORK/said"; fail "after a kill at $spec"; }
    [ -z "$(find /etc/syscontainers /etc/systemd/system.attached /etc/tmpfiles.d -name "*full*")" ] ||
        fail "$spec: something is left"
    syscontainer-prune >/dev/null
done
rm -f $CO/..*.new
as_it_was 'nothing is left'

say 'in an unpacked tree'
unpacked_tree
syscontainer-pull --quiet --root="$tree" "$REGISTRY/full" >/dev/null
checkout --root="$tree" "$REGISTRY/full"
check 'it is there' test -e "$tree/opt/full/sub/x"
remove --root="$tree" full
expect '' find "$tree" \( -path "$tree$CO/.storage" -o -path "$tree/run/syscontainers/.locks" \) -prune -o \
    -name '*full*' -print
