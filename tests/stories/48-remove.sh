#!/bin/bash
# syscontainer-remove: nothing is left of a container but what it wrote and what the user changed, whatever state it was in.
. "$(dirname "$0")/lib.sh"

CO=/var/lib/containers/atomic
sleeping='["sh","-c","trap \"exit 0\" TERM; sleep 1000 & wait"]'
# These come with the first container, and stay.
mkdir -p /etc/systemd/system.attached /etc/tmpfiles.d /etc/syscontainers/attached
# everything: all that an installation may change, host files and state too.
everything() { { snapshot; find /opt /srv /usr/local /var/lib -xdev -path "$WORK" -prune -o -path /var/lib/systemd -prune -o -path /var/lib/registry -prune -o -printf '%y %m %U:%G %p -> %l\n'; } | sort -u; }
same() { everything | diff -u "$WORK/before" - >"$WORK/.diff" || { shown "$WORK/.diff"; fail "$1"; }; ok "$1"; }
image() {
    build_image "$1" "${@:2}" "$WORK/$1"
    syscontainer-pull --quiet "$REGISTRY/$1" >/dev/null
}
install() { syscontainer-checkout "$@" >/dev/null 2>"$WORK/messages" || { shown "$WORK/messages"; fail 'checkout'; }; }
remove() { check "remove $*" bash -c 'syscontainer-remove "$@" 2>&1 | tee "$0"' "$WORK/said" "$@"; }

exports full "$sleeping" '' '' '{"destination": "/data", "type": "bind", "source": "$STATE_DIRECTORY/$NAME", "options": ["bind", "rw"]}'
sed -i 's/"destination"/"destination"/' "$WORK/full/exports/config.json"
mv "$WORK/full/exports/config.json" "$WORK/full/exports/config.json.template"
mkdir -p "$WORK/full/exports/hostfs/etc/full" "$WORK/full/exports/hostfs/opt/full/sub"
echo x >"$WORK/full/exports/hostfs/etc/full/conf"
echo x >"$WORK/full/exports/hostfs/opt/full/sub/x"
image full
mkdir -p "$WORK/plain/data"
image plain --config='{"Cmd": ["sh", "-c", "trap \"exit 0\" TERM; sleep 1000 & wait"], "Volumes": {"/data": {}, "/other": {}}}'
image plain --config='{"Cmd": ["sh", "-c", "trap \"exit 0\" TERM; sleep 1000 & wait"], "Volumes": {"/data": {}, "/other": {}}}'
exports job '["true"]'
rm "$WORK/job/exports/service.template"
image job --label=atomic.run=once
mkdir -p "$WORK/files/exports/hostfs/etc/files"
echo x >"$WORK/files/exports/hostfs/etc/files/x"
echo '{"noContainerService": true}' >"$WORK/files/exports/manifest.json"
image files
hello_world
syscontainer-pull --quiet "$REGISTRY/hello-world" >/dev/null
everything >"$WORK/before"

say 'each kind, as it runs'
for name in full plain job files hello-world; do
    install "$REGISTRY/$name"
    [ $name = files ] || systemctl start $name
done
for name in full plain job files hello-world; do remove --purge $name; done
rmdir /run/hello-world 2>/dev/null || rm -r /run/hello-world
same 'nothing is left'
for name in full plain job hello-world; do expect not-found unit_property $name LoadState; done
expect '' bash -c 'systemctl list-units --all --no-legend --plain "full*" "plain*" "job*"'

say 'what is mounted in it stays'
install "$REGISTRY/plain"
mkdir "$WORK/precious"
touch "$WORK/precious/file"
mount --bind "$WORK/precious" $CO/plain.0/rootfs/data
run_fails 1 'cannot remove plain: /.*/plain.0/rootfs/data is a mount point; unmount that first' syscontainer-remove --purge plain
expect plain.0 readlink $CO/plain
umount $CO/plain.0/rootfs/data
check 'it is there' test -e "$WORK/precious/file"
remove --purge plain
same 'nothing is left'

say 'what it wrote stays, unless it is to go'
install "$REGISTRY/full"
install "$REGISTRY/plain"
systemctl start full plain
echo data >/var/lib/full/data
echo data >/var/lib/plain/data/x
remove full
expect_like 'left /var/lib/full, which full wrote to; --purge would have removed it' cat "$WORK/said"
remove plain
expect_like 'left /var/lib/plain, which' cat "$WORK/said"
expect $'data\ndata' cat /var/lib/full/data /var/lib/plain/data/x
install "$REGISTRY/full"
install "$REGISTRY/plain"
systemctl start plain
expect data cat "/proc/$(unit_property plain MainPID)/root/data/x"
remove --purge full
remove --purge plain
same 'now everything is gone'

say 'a declaration brings it back, and how not'
install "$REGISTRY/job"
mkdir -p /usr/lib/syscontainers
echo 'Image=x' >/usr/lib/syscontainers/job.conf
remove job
expect_like "/usr/lib/syscontainers/job.conf declares job, which brings it back; .*'ln -sf /dev/null /etc/syscontainers/job.conf'" cat "$WORK/said"
install "$REGISTRY/job"
ln -s /dev/null /etc/syscontainers/job.conf
remove job
expect_no 'declares' cat "$WORK/said"
rm /etc/syscontainers/job.conf
mv /usr/lib/syscontainers/job.conf /etc/syscontainers/
install "$REGISTRY/job"
remove job
expect_like "to keep it away, run 'ln -sf /dev/null /etc/syscontainers/job.conf'" cat "$WORK/said"
rm /etc/syscontainers/job.conf
rmdir /usr/lib/syscontainers
same 'nothing is left but it'

say 'what was there before is never purged'
mkdir -p /var/lib/full /var/lib/plain/data /var/lib/backup
echo precious | tee /var/lib/full/mine /var/lib/plain/data/mine >/dev/null
install "$REGISTRY/full"
install "$REGISTRY/plain"
systemctl start full plain
remove --purge full
expect_like 'left /var/lib/full, which was there before full' cat "$WORK/said"
remove --purge plain
expect_like 'left /var/lib/plain, which was there before plain' cat "$WORK/said"
expect $'precious\nprecious' cat /var/lib/full/mine /var/lib/plain/data/mine
refuse 'what it made goes' test -e /var/lib/plain/other
rm -r /var/lib/full /var/lib/plain /var/lib/backup
say 'what an installation made is its own in the next one, too, and can go later'
for _ in 1 2; do
    install "$REGISTRY/plain"
    systemctl start plain
    remove plain
done
check 'it is there' test -d /var/lib/plain/data
remove --purge plain
expect_like 'purged /var/lib/plain' cat "$WORK/said"
say 'a purge that cannot be is not begun'
install "$REGISTRY/plain"
systemctl start plain
mount -t tmpfs tmpfs /var/lib/plain/data
run_fails 1 'cannot purge /var/lib/plain: .*mount point; unmount that first' syscontainer-remove --purge plain
expect 'active running success' state plain
umount /var/lib/plain/data
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
install "$REGISTRY/plain"
systemctl start plain
rm $CO/plain
systemctl restart syscontainers-reconcile
expect plain.0 readlink $CO/plain
expect 'active running success' state plain
remove --purge plain
say 'what you have set is named'
install "$REGISTRY/plain"
mkdir -p /etc/systemd/system/plain.service.d
remove plain
expect_like 'left /etc/systemd/system/plain.service.d, which is yours' cat "$WORK/said"
rmdir /etc/systemd/system/plain.service.d
remove --purge plain
same 'nothing is left'

say 'what the user changed stays'
install "$REGISTRY/full"
echo mine >>/etc/full/conf
remove --purge full
expect_like '/etc/full/conf was changed on this host, leaving it behind' cat "$WORK/said"
check 'it is there' grep -q mine /etc/full/conf
rm -r /etc/full
same 'and nothing else'

say 'those that need it'
install "$REGISTRY/full"
printf '[Unit]\nRequires=full.service\nAfter=full.service\n[Service]\nExecStart=/bin/sleep 1000\n' >/run/systemd/system/needs.service
systemctl daemon-reload
systemctl start needs
everything >"$WORK/installed"
run_fails 1 'cannot remove full: needs.service needs it and is active; stop that first, or use --force' syscontainer-remove full
everything | diff "$WORK/installed" - || fail 'something was changed'
expect 'active running success' state full
remove --force --purge full
rm /run/systemd/system/needs.service
systemctl daemon-reload
same 'forced'

say 'states that none should be in'
# broken TEXT COMMAND: after this was done to an installed container, it can be removed.
broken() {
    install "$REGISTRY/full"
    bash -c "$2"
    remove --purge full
    rm -rf /etc/full /opt/full /var/lib/full
    same "$1"
}
broken 'failed' 'systemctl start full; systemctl kill --signal=ABRT full; sleep 0.3'
broken 'no link' "rm $CO/full"
broken 'a link to nowhere' "rm -r $CO/full.0"
broken 'no registration' 'rm /etc/syscontainers/attached/full.json'
broken 'a broken registration' 'echo "{" >/etc/syscontainers/attached/full.json; systemctl daemon-reload'
broken 'no stub' 'rm /etc/systemd/system.attached/full.service; systemctl daemon-reload'
broken 'an unreadable info' "echo '{' >$CO/full.0/info"
broken 'a half-made deployment' "mkdir -p $CO/.full.1.new/rootfs"
broken 'two deployments' 'syscontainer-checkout --update --set X=y full >/dev/null 2>&1'
broken 'masked' 'systemctl --quiet mask full'' && systemctl --quiet unmask full'
broken 'nothing but a registration' "rm -r $CO/full $CO/full.0"
broken 'nothing but deployments' "rm $CO/full /etc/syscontainers/attached/full.json; systemctl --quiet disable full; rm /etc/systemd/system.attached/full.service /etc/tmpfiles.d/full.conf"

say 'bad ones'
run_fails 3 'cannot remove nothing: there is no container nothing' syscontainer-remove nothing
run_fails 2 'invalid container name' syscontainer-remove ../full
run_fails 2 'missing NAME' syscontainer-remove
mkdir $CO/odd
run_fails 1 'cannot remove odd: .*/odd is no symlink to a deployment; remove it by hand' bash -c "mkdir -p $CO/odd.0; syscontainer-remove odd"
check 'it is untouched' test -d $CO/odd -a -d $CO/odd.0
rm -r $CO/odd $CO/odd.0

say 'killed on the way'
for call in unlink unlinkat rename rmdir; do
    for n in 1 3 6; do
        install "$REGISTRY/full"
        strace -qq -o /dev/null -e trace=$call -e inject=$call:signal=SIGKILL:when=$n syscontainer-remove --purge full >/dev/null 2>&1 || true
        # A boot, or the same command again, completes it, once it has begun.
        if [ -L $CO/full ]; then syscontainer-remove --purge full >/dev/null 2>&1; else touch $CO/.full.0.new; /usr/libexec/syscontainers/syscontainer-reconcile 2>/dev/null; fi
        rm -rf /var/lib/full
        same "$call $n"
    done
done

say 'installed half-way'
for spec in symlink:1 fsync:3 fsync:4 fsync:5 fsync:6 rename:2 rename:3; do
    if strace -f -qq -o /dev/null -e trace=${spec%:*} -e inject=${spec%:*}:signal=SIGKILL:when=${spec#*:} \
        syscontainer-checkout "$REGISTRY/full" >/dev/null 2>&1; then fail "it is not killed at $spec"; fi
    syscontainer-remove --purge full >/dev/null 2>"$WORK/said" || [ $? = 3 ] || { shown "$WORK/said"; fail "after a kill at $spec"; }
    [ -z "$(find /etc/syscontainers /etc/systemd/system.attached /etc/tmpfiles.d -name "*full*")" ] || fail "$spec: something is left"
    syscontainer-prune >/dev/null
done
rm -f $CO/..*.new
same 'nothing is left'

say 'in an unpacked tree'
tree=$WORK/tree
mkdir -p "$tree"/{usr/bin,etc}
printf '#!/bin/sh\n' >"$tree/usr/bin/crun"
syscontainer-pull --quiet --root="$tree" "$REGISTRY/full" >/dev/null
install --root="$tree" "$REGISTRY/full"
check 'it is there' test -e "$tree/opt/full/sub/x"
remove --root="$tree" full
expect '' find "$tree" \( -path "$tree$CO/.storage" -o -path "$tree/run/syscontainers/.locks" \) -prune -o -name '*full*' -print
