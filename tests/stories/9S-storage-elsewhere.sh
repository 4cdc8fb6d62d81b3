#!/bin/bash
# What is not there is not gone: storage that another variable names, that is behind a symlink on a late mount, not mounted,
# read-only, another host's, or empty.
# runs in: vm
. "$(dirname "$0")/lib.sh"

ATTACHED=/etc/syscontainers/attached STUBS=/etc/systemd/system.attached
RECONCILE=/usr/libexec/syscontainers/syscontainer-reconcile
# Besides our own, systemd's mount unit of the disk.
SWEPT+=(/data)

# everything_derived: what is derived from deployments, with its times, and what is enabled.
everything_derived() {
    find $ATTACHED $STUBS /etc/systemd/system/*.wants -printf '%p %l %s %C@\n' 2>/dev/null | sort
    cat $ATTACHED/*.json $STUBS/*.service
}
# description_of NAME: of its unit.
description_of() { unit_property "$1" Description; }
# disk_unit OPTIONS: the mount unit of the file system that storage is on, which comes late.
disk_unit() {
    cat >/etc/systemd/system/data.mount <<-END
		[Unit]
		Requires=late.service
		After=late.service
		DefaultDependencies=no
		[Mount]
		What=/srv/disk.img
		Where=/data
		Type=ext4
		Options=$1
	END
    cat >/etc/systemd/system/late.service <<-'END'
		[Unit]
		DefaultDependencies=no
		[Service]
		Type=oneshot
		RemainAfterExit=yes
		ExecStart=/bin/sleep 2
	END
}

say "boot $BOOT"
case $BOOT in
    1)
        exports image "$(until_stopped)"
        build_and_pull image
        mkdir -p "$WORK/plain"
        build_and_pull plain --config="{\"Cmd\": $(until_stopped)}"
        checkout --name=one "$REGISTRY/image"
        checkout --name=two "$REGISTRY/plain"
        systemctl --quiet disable two
        for name in one two; do must "$name starts" systemctl start $name; done
        everything_derived >"$WORK/before"

        say 'another directory in the environment'
        mkdir -m 0700 /elsewhere
        export ATOMIC_OSTREE_CHECKOUT_PATH=/elsewhere ATOMIC_OSTREE_REPO=$CO/.storage/ostree
        why="it is installed in $CO, not in /elsewhere; unset ATOMIC_OSTREE_CHECKOUT_PATH"
        for command in 'switch one' 'switch --recover one' 'rollback one' 'checkout --update one' 'remove one' 'remove two' \
            "checkout --name=one $REGISTRY/image" "checkout --name=two $REGISTRY/plain"; do
            # shellcheck disable=SC2086 # words
            run_fails 1 "$why" syscontainer-$command
            expect_same "$WORK/before" everything_derived
        done
        expect_like "$why" syscontainer-list
        quietly $RECONCILE
        expect_same "$WORK/before" everything_derived
        check 'no image goes, either' quietly syscontainer-prune --keep-for=0
        unset ATOMIC_OSTREE_CHECKOUT_PATH ATOMIC_OSTREE_REPO
        check 'images are kept' quietly syscontainer-images "$REGISTRY/image"
        systemctl restart syscontainers-reconcile
        expect_same "$WORK/before" everything_derived
        for name in one two; do expect 'active running success' state $name; done
        rm -r /elsewhere

        say 'storage moves to another disk'
        systemctl stop one two
        head -c 200M /dev/zero >/srv/disk.img
        mkfs.ext4 -q /srv/disk.img
        mkdir -p /data
        disk_unit rw
        systemctl daemon-reload
        must 'it is mounted' systemctl start data.mount
        mkdir -m 0700 /data/atomic
        cp -a $CO/. /data/atomic/
        mv $CO /srv/old
        ln -s /data/atomic $CO
        systemctl restart syscontainers-reconcile
        for name in one two; do
            expect_like '"path": "/data/atomic"' cat $ATTACHED/$name.json
            expect_like '/data/atomic' unit_property $name RequiresMountsFor
        done
        expect_like '/data/atomic' unit_property syscontainers-reconcile RequiresMountsFor
        must 'it starts' systemctl start one
        everything_derived >"$WORK/before"
        reboot
        ;;
    2)
        say 'a symlink to a mount that comes late'
        expect 'active running success' state one
        expect 'inactive dead success' state two
        expect disabled enablement two
        expect_same "$WORK/before" everything_derived
        expect '' bash -c 'systemctl --failed --no-legend --plain'
        say 'the next boot has no such disk'
        mv /srv/disk.img /srv/away.img
        reboot
        ;;
    3)
        expect_same "$WORK/before" everything_derived
        refuse 'nothing runs' systemctl is-active one
        expect_like 'it is installed in /data/atomic, on the file system at /data, which is not mounted' syscontainer-list
        why='it is installed in /data/atomic, on the file system at /data, which is not mounted; mount that'
        for command in 'switch one' 'rollback one' 'checkout --update one'; do
            # shellcheck disable=SC2086 # words
            run_fails 1 "$why" syscontainer-$command
        done
        run_fails 1 'cannot open the image store' syscontainer-checkout --name=one "$REGISTRY/image"
        refuse 'reconciliation waits for it' systemctl restart syscontainers-reconcile
        quietly $RECONCILE
        expect_same "$WORK/before" everything_derived
        say 'it comes while the host runs'
        mv /srv/away.img /srv/disk.img
        systemctl reset-failed
        must 'it is mounted' systemctl start data.mount
        must 'nothing else is needed' systemctl start one
        expect 'active running success' state one
        expect_same "$WORK/before" everything_derived
        say 'the disk of another host, with a container of that name'
        systemctl stop one
        systemctl stop data.mount
        cp --sparse=always /srv/disk.img /srv/other.img
        mount /srv/other.img /data
        tr 0-8 1-9 <$CO/.identity >"$WORK/identity"
        cp "$WORK/identity" $CO/.identity
        umount /data
        mv /srv/disk.img /srv/right.img
        mv /srv/other.img /srv/disk.img
        reboot
        ;;
    4)
        expect_same "$WORK/before" everything_derived
        refuse 'nothing of it runs' systemctl is-active one
        why="$CO is not the directory that it was installed in, but another one in its place"
        expect_like "one \(not there: $why" description_of one
        refuse 'it is not started' systemctl start one
        check 'and says why' journal_has one "$why"
        run_fails 1 "$why" syscontainer-remove one
        run_fails 1 "$why" syscontainer-checkout --update one
        expect_like "$why" syscontainer-list
        quietly syscontainer-prune --keep-for=0
        expect one.0 readlink $CO/one
        expect_same "$WORK/before" everything_derived
        say 'the right one is back'
        systemctl stop data.mount
        mv /srv/disk.img /srv/other.img
        mv /srv/right.img /srv/disk.img
        must 'it is mounted' systemctl start data.mount
        systemctl restart syscontainers-reconcile
        systemctl reset-failed
        must 'it starts' systemctl start one
        expect_no 'not there' description_of one
        expect_same "$WORK/before" everything_derived
        say 'or the other one is taken for it'
        systemctl stop one data.mount
        mv /srv/disk.img /srv/right.img
        mv /srv/other.img /srv/disk.img
        must 'it is mounted' systemctl start data.mount
        refuse 'it is not started' systemctl start one
        must 'it is adopted' quietly $RECONCILE --adopt
        must 'it starts' systemctl start one
        expect disabled enablement two
        say 'a disk that is read-only'
        systemctl stop one data.mount
        disk_unit ro
        systemctl daemon-reload
        must 'it is mounted' systemctl start data.mount
        everything_derived >"$WORK/before"
        check 'reconciliation has nothing to do' systemctl restart syscontainers-reconcile
        expect_same "$WORK/before" everything_derived
        must 'what writes nothing there starts' systemctl start one
        systemctl stop one data.mount
        disk_unit rw
        say 'an empty disk'
        mkfs.ext4 -q -F /srv/disk.img
        systemctl daemon-reload
        must 'it is mounted' systemctl start data.mount
        mkdir -m 0700 /data/atomic
        systemctl restart syscontainers-reconcile
        expect_like "one \(broken: $ATTACHED/one.json:[0-9]+: deployment one.0 is not in $CO; install image .* again, or remove what is left with 'syscontainer-remove one'" \
            description_of one
        quietly syscontainer-pull "$REGISTRY/image" >/dev/null
        must 'it is installed again' quietly syscontainer-checkout --name=one "$REGISTRY/image"
        must 'it starts' systemctl start one
        must 'the other one is removed' quietly syscontainer-remove two
        forget one
        systemctl stop data.mount
        rm -r $CO /etc/systemd/system/{data.mount,late.service} /srv/*.img
        mv /srv/old $CO
        ;;
esac
