#!/bin/bash
# The machine itself: if this fails, no other story tells anything.
. "$(dirname "$0")/lib.sh"

say "boot $BOOT"
expect running systemctl is-system-running
check 'process 1 is systemd' grep -qx systemd /proc/1/comm
expect '{}' http 5000/v2/

say 'what is tested is installed'
while read -r file; do
    [ -s "/$file" ] || fail "/$file is missing"
done <"$TESTS/install.files"
ok "all $(wc -l <"$TESTS/install.files") files"
for program in generator prepare start stop; do
    check "the manual has syscontainer-$program(8)" man -w 8 "syscontainer-$program"
done
expect loaded unit_property syscontainers.target LoadState
expect '' systemd-analyze verify syscontainers.target
expect '711 root' stat --format='%a %U' /run/syscontainers
expect '700 root' stat --format='%a %U' /var/lib/containers/atomic
expect '700 root' stat --format='%a %U' /etc/syscontainers/attached
mkdir -p "$WORK/units"
generator=/usr/lib/systemd/system-generators/syscontainer-generator
expect '' bash -c "SYSTEMD_LOG_TARGET=console $generator $WORK/units 2>&1"

case $BOOT in
    1)
        say 'images'
        hello_world hello-world
        expect "$DIGEST" skopeo inspect --format='{{.Digest}}' "docker://$REGISTRY/hello-world:latest"
        first=$DIGEST
        hello_world hello-world
        expect "$first" echo "$DIGEST"
        build_image two --label=a=b --label=c=d --config='{"Cmd":["/bin/sh"]}' "$TESTS/hello-world" "$TESTS/hello-world"
        expect '3 map[a:b c:d]' skopeo inspect --format='{{len .Layers}} {{.Labels}}' "docker://$REGISTRY/two:latest"
        echo kept | tee /var/lib/containers/kept >"$WORK/kept"
        ln /var/lib/containers/kept /var/lib/containers/linked
        expect 2 stat --format=%h /var/lib/containers/kept
        reboot
        ;;
    *) say 'files, registry and journal are kept' ;;
esac
expect kept cat /var/lib/containers/kept
expect kept cat "$WORK/kept"
expect_like hello-world skopeo inspect --format='{{.Name}}' "docker://$REGISTRY/hello-world:latest"
expect "$BOOT" bash -c 'journalctl --list-boots --quiet | grep -cv IDX'
[ "$BOOT" = 3 ] || cut_off
