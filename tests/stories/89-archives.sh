#!/bin/bash
# Archives and layouts of strangers: reading one writes nothing outside of the store, whatever is in it; and a container is not
# updated from a path that somebody else may have taken.
. "$(dirname "$0")/lib.sh"

POLICY=/etc/containers/policy.json
FOREIGN=/tmp/foreign
SLEEPS='{"Cmd":["sh","-c","trap \"exit 0\" TERM; sleep 100000 & wait"]}'
# push_thing NUMBER: pushes an image that says in /version which one it is.
push_thing() {
    mkdir -p "$WORK/thing"
    echo "$1" >"$WORK/thing/version"
    build_image thing --config="$SLEEPS" "$WORK/thing"
}
# save_to TRANSPORT:PATH…: the image, once more in each of these.
save_to() {
    local to path
    for to; do
        path=${to#*:}
        rm -rf "${path%%:*}"
        skopeo copy --quiet "docker://$REGISTRY/thing" "$to"
    done
}
# What this host's own tests have in there is seen in the machine.
temporary_files() {
    find /var/tmp -mindepth 1 -maxdepth 1 ! -name 'systemd-private-*' ! -name 'syscontainers-machine.*' ! -name 'syscontainers-vm.*'
}
nothing_was_written() {
    expect '' find /etc/cron.d "$WORK/target" -name 'evil*'
    expect '' temporary_files
    expect '' find "$STORE/tmp" -name 'syscontainers-*'
}

mkdir -p "$WORK/target" $FOREIGN /etc/cron.d
push_thing 1
save_to "oci:$WORK/layout:latest" "oci-archive:$WORK/good.tar:latest"

say 'links in an archive lead nowhere'
# hostile_archive NAME TARGET: an archive of a layout in which d is a link, and a file below it.
hostile_archive() {
    local parts=$WORK/parts
    rm -rf "$parts"
    mkdir -p "$parts/dir/d"
    ln -s "$2" "$parts/d"
    echo '* * * * * root id' >"$parts/dir/d/evil-$1"
    tar -C "$WORK/layout" -cf "$FOREIGN/$1.tar" oci-layout
    tar -C "$parts" -rf "$FOREIGN/$1.tar" d
    tar -C "$parts/dir" -rf "$FOREIGN/$1.tar" "d/evil-$1"
    tar -C "$WORK/layout" -rf "$FOREIGN/$1.tar" index.json blobs
}
hostile_archive cron /etc/cron.d
hostile_archive target "$WORK/target"
hostile_archive above ../../../../../../../../../../../../etc/cron.d
for name in cron target above; do
    ends 5 syscontainer-pull --check "oci-archive:$FOREIGN/$name.tar"
    expect_like '' quietly syscontainer-pull --quiet "oci-archive:$FOREIGN/$name.tar"
    syscontainer-lint "oci-archive:$FOREIGN/$name.tar" >"$WORK/printed" 2>&1 || true
    nothing_was_written
done
expect "oci-archive:$FOREIGN/cron.tar $DIGEST" quietly syscontainer-pull --quiet "oci-archive:$FOREIGN/cron.tar"
say 'files of a layout that are none'
rm -rf "$WORK/parts"
mkdir -p "$WORK/parts/blobs/sha256"
ln -s /dev/zero "$WORK/parts/blobs/sha256/${DIGEST#sha256:}"
tar -C "$WORK/parts" -cf $FOREIGN/zero.tar blobs
ends 1 syscontainer-pull --quiet "oci-archive:$FOREIGN/zero.tar"
expect_like 'not a regular file' cat "$WORK/said"
cp -a "$WORK/layout" "$WORK/zero"
ln -sf /dev/zero "$WORK/zero/blobs/sha256/${DIGEST#sha256:}"
run_fails 1 'it is a symlink, and not a regular file' syscontainer-pull --quiet "oci:$WORK/zero:latest"
mkfifo $FOREIGN/fifo.tar
for transport in oci-archive docker-archive; do
    ends 1 timeout 60 syscontainer-pull --quiet "$transport:$FOREIGN/fifo.tar"
    expect_like 'it is not a regular file' cat "$WORK/said"
done

say 'compressed archives'
gzip -k "$WORK/good.tar"
expect "oci-archive:$WORK/good.tar.gz:latest $DIGEST" syscontainer-pull --quiet "oci-archive:$WORK/good.tar.gz:latest"
nothing_was_written

say 'a policy refuses an archive before it is read'
cp $POLICY "$WORK/policy.before"
archive_rule() { printf '{"default": [{"type": "insecureAcceptAnything"}], "transports": {"oci-archive": {"%s": [{"type": "reject"}]}}}' "$1"; }
archive_rule "$FOREIGN" >$POLICY
ln -s $FOREIGN/cron.tar "$WORK/link.tar"
for archive in $FOREIGN/cron.tar $WORK/link.tar; do
    ends 1 syscontainer-pull --quiet "oci-archive:$archive"
    expect_like "rejected by policy; the rule is transports.oci-archive\[\"$FOREIGN\"\]: reject in $POLICY" cat "$WORK/said"
    ends 1 syscontainer-pull --check "oci-archive:$archive"
    expect_like 'rejected by policy' cat "$WORK/said"
done
echo no archive >$FOREIGN/text.tar
ends 1 syscontainer-pull --quiet "oci-archive:$FOREIGN/text.tar"
expect_like 'rejected by policy' cat "$WORK/said"
expect_like "^oci-archive:$WORK/good.tar:latest " syscontainer-pull --quiet "oci-archive:$WORK/good.tar:latest"
nothing_was_written
# What accepts the archive need not accept the layout that is made of it.
printf '{"default": [{"type": "reject"}], "transports": {"oci-archive": {"%s": [{"type": "insecureAcceptAnything"}]}}}' "$WORK" >$POLICY
mv "$WORK/good.tar" "$WORK/fine.tar"
expect "oci-archive:$WORK/fine.tar:latest $DIGEST" syscontainer-pull --quiet "oci-archive:$WORK/fine.tar:latest"
cp "$WORK/policy.before" $POLICY

say 'docker archives'
save_to "docker-archive:$WORK/docker.tar:$REGISTRY/thing:latest"
expect_like "^docker-archive:$WORK/docker.tar " syscontainer-pull --quiet "docker-archive:$WORK/docker.tar"
nothing_was_written
# A name of 4 GiB of zeros that takes hardly any memory.
mkdir -p "$WORK/long"
touch "$WORK/long/$(printf 'x%.0s' {1..200})"
tar --format=gnu -C "$WORK/long" -cf "$WORK/long.tar" .
head -c 2048 "$WORK/long.tar" | grep LongLink >/dev/null
block=$(grep -abo '././@LongLink' "$WORK/long.tar" | cut -d: -f1)
dd if="$WORK/long.tar" of=$FOREIGN/long.tar bs=512 skip=$((block / 512)) count=1 status=none
# Its size is 4 GiB, 040000000000 in octal, and the checksum is that of the new header.
printf '40000000000' | dd of=$FOREIGN/long.tar bs=1 seek=124 conv=notrunc status=none
printf '        ' | dd of=$FOREIGN/long.tar bs=1 seek=148 conv=notrunc status=none
sum=$(od -An -v -tu1 $FOREIGN/long.tar | tr -s ' ' '\n' | awk '{ s += $1 } END { printf "%06o", s }')
printf '%s\0 ' "$sum" | dd of=$FOREIGN/long.tar bs=1 seek=148 conv=notrunc status=none
truncate -s 5G $FOREIGN/long.tar
ends 1 syscontainer-pull --quiet "docker-archive:$FOREIGN/long.tar"
expect_like 'a name or PAX record is longer than 1048576 bytes' cat "$WORK/said"

say 'a container is not updated from a path that others can take'
for transport in oci-archive docker-archive oci dir; do
    path=/tmp/planted-$transport
    case $transport in oci*) source=$transport:$path:latest ;; docker*) source=$transport:$path:$REGISTRY/thing:latest ;; *) source=$transport:$path ;; esac
    push_thing 1
    save_to "$source"
    ends 0 syscontainer-pull --quiet "$source"
    expect 1 grep -c 'other users may change /tmp (owner 0, mode 1777), so containers are not updated from there' "$WORK/said"
    checkout --name="$transport" "$source"
    push_thing 2
    save_to "$source"
    chown -R nobody "$path"
    for option in --quiet --check; do
        run_fails 1 "cannot update $transport from $transport:$path.*: other users may change /tmp .*move it to .*--rebase=IMAGE $transport'" \
            syscontainer-pull $option --container="$transport"
    done
    refuse 'by the unit' systemctl start "syscontainer-fetch@$transport.service"
    expect_like "other users may change /tmp " journal_of "syscontainer-fetch@$transport.service"
    syscontainer-remove "$transport" 2>/dev/null
    rm -rf "$path"
done
say 'nor from files of others in a directory of root'
push_thing 1
save_to "oci:$WORK/owned:latest"
syscontainer-pull --quiet "oci:$WORK/owned:latest" >/dev/null
checkout --name=owned "oci:$WORK/owned:latest"
push_thing 2
save_to "oci:$WORK/owned:latest"
for name in "blobs/sha256/${DIGEST#sha256:}" blobs index.json .; do
    chown nobody "$WORK/owned/$name"
    ends 1 syscontainer-pull --quiet --container=owned
    expect_like 'other users may change .*owner 65534' cat "$WORK/said"
    chown root "$WORK/owned/$name"
done
say 'but from one of root'
check 'the unit updates it' systemctl start syscontainer-fetch@owned.service
expect_like "^oci:$WORK/owned:latest $DIGEST" syscontainer-pull --quiet --container=owned

say "root's own policy counts for units as well"
push_thing 3
save_to "oci:$WORK/owned:latest"
mkdir -p /root/.config/containers
printf '{"default": [{"type": "reject"}]}' >/root/.config/containers/policy.json
for home in HOME=/root -uHOME HOME=; do
    ends 1 env "$home" syscontainer-pull --quiet --container=owned
    expect_like 'rejected by policy.*default: reject in /root/.config/containers/policy.json' cat "$WORK/said"
done
refuse 'the unit is refused' systemctl start syscontainer-fetch@owned.service
expect_like 'default: reject in /root/.config' journal_of syscontainer-fetch@owned.service
rm -r /root/.config/containers
syscontainer-remove owned 2>/dev/null
rm -rf $FOREIGN
nothing_was_written
