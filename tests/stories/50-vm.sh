#!/bin/bash
# The virtual machine itself: if this fails, no other story in one tells anything.
# runs in: vm
. "$(dirname "$0")/lib.sh"

say "boot $BOOT"
expect running systemctl is-system-running
check 'process 1 is systemd' grep -qx systemd /proc/1/comm
expect '{}' http 5000/v2/
expect "$BOOT" bash -c 'journalctl --list-boots --quiet | grep -cv IDX'

say 'the kernel is one of its own'
refuse 'it is no container' systemd-detect-virt --container --quiet
for controller in cpu io memory pids; do
    expect_like "\\b$controller\\b" cat /sys/fs/cgroup/cgroup.controllers
done

say '/var is another disk, which systemd mounts'
expect ext4 findmnt --noheadings --output=FSTYPE --mountpoint /var
expect active unit_property var.mount ActiveState
expect /etc/fstab unit_property var.mount SourcePath
refuse 'it is not that of /' test "$(stat --format=%d /)" = "$(stat --format=%d /var)"
mkdir /run/root
mount --bind / /run/root
expect '' ls -A /run/root/var
umount /run/root
# Generators could not see it.
expect_like '^[1-9]' bash -c 'a=$(systemctl show --property=GeneratorsFinishTimestampMonotonic --value)
    b=$(systemctl show --property=ActiveEnterTimestampMonotonic --value var.mount); echo $((b - a))'

words='story.word=x story.other=y'
unsynced=/var/lib/containers/unsynced synced=/var/lib/containers/synced
case $BOOT in
    1)
        say 'extended attributes'
        touch /var/lib/containers/capable
        check 'are set' setcap cap_net_raw=ep /var/lib/containers/capable
        say 'containers'
        hello_world
        expect "$REGISTRY/hello-world:latest $DIGEST" syscontainer-pull --quiet "$REGISTRY/hello-world"
        port=8081
        for runtime in crun runc; do
            expect "hello-$runtime" quietly syscontainer-checkout --runtime="$(command -v $runtime)" --name="hello-$runtime" \
                --set PORT=$port --set RECEIVER=$runtime "$REGISTRY/hello-world"
            check "$runtime starts it" systemctl start "hello-$runtime"
            wait_for 'it answers' http $port
            expect "Hello $runtime" http $port
            port=$((port + 1))
        done
        expect 3 stat --format=%h /var/lib/containers/atomic/hello-crun/rootfs/bin/busybox
        echo "$words" >/run/cmdline
        reboot
        ;;
    2)
        expect '/var/lib/containers/capable cap_net_raw=ep' getcap /var/lib/containers/capable
        say 'containers are started at boot'
        for runtime in crun runc; do expect 'active running success' state "hello-$runtime"; done
        expect "Hello crun" http 8081
        expect "Hello runc" http 8082
        expect_like " $words\$" cat /proc/cmdline
        say 'one file reaches the disk, one does not'
        echo kept >"$synced"
        sync
        echo lost >"$unsynced"
        cut_off
        ;;
    *)
        expect_no "$words" cat /proc/cmdline
        expect kept cat "$synced"
        refuse 'what was not flushed is lost' test -s "$unsynced"
        for runtime in crun runc; do expect 'active running success' state "hello-$runtime"; done
        ;;
esac
