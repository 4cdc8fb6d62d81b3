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
echo data >/var/lib/plain/data/x
remove full
expect_like 'left /var/lib/full, which full wrote to; --purge would have removed it' cat "$WORK/said"
remove plain
expect_like 'left /var/lib/plain, which' cat "$WORK/said"
expect $'data\ndata' cat /var/lib/full/data /var/lib/plain/data/x
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
