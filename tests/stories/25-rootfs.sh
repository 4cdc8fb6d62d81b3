#!/bin/bash
# An existing root file system instead of a checkout: --rootfs=DIR.
# Rows of tests/atomic.md: 4.34, n.
. "$(dirname "$0")/lib.sh"

ROOT=/srv/image
hello_world
pull_image hello-world
mkdir -p /srv
ostree --repo=$CO/.storage/ostree checkout -U "ociimage/127.0.0.1_3A5000_2Fhello-world_3Alatest" $ROOT
# start_answers_stop NAME PORT [RECEIVER]
start_answers_stop() {
    systemctl start "$1"
    answers "$@"
    systemctl stop "$1"
}
# root: all that is in it.
root() { find $ROOT -printf '%p %m %s\n' | sort; }

say 'the root file system itself'
expect "" find $ROOT/srv $ROOT/proc -mindepth 1
root >"$WORK/root"
for runtime in crun runc; do
    checkout --rootfs=$ROOT --runtime=/usr/bin/$runtime --name=$runtime "$REGISTRY/hello-world"
    expect $ROOT readlink $CO/$runtime.0/rootfs
    expect_like "\"remote\": \"$ROOT\"" cat $CO/$runtime.0/info
    start_answers_stop $runtime 8081
done
expect_like "RequiresMountsFor=.*$ROOT" systemctl cat crun
expect '' cat <(grep -v installed "$WORK/said" || true)
expect_same "$WORK/root" root

say 'the same again'
snapshot >"$WORK/before"
checkout --rootfs=$ROOT --runtime=/usr/bin/runc --name=runc "$REGISTRY/hello-world"
unchanged "$WORK/before"
run_fails 1 'installed already' syscontainer-checkout --name=runc "$REGISTRY/hello-world"
unchanged "$WORK/before"

say 'a directory with rootfs in it, through a symlink'
mkdir /srv/bundle
mv $ROOT /srv/bundle/rootfs
ln -s /srv/bundle /srv/link
ln -s /srv/bundle/rootfs $ROOT
checkout --rootfs=/srv/link --name=inner --set PORT=8083 "$REGISTRY/hello-world"
expect /srv/bundle/rootfs readlink $CO/inner.0/rootfs
expect_like '"remote": "/srv/link"' cat $CO/inner.0/info
start_answers_stop inner 8083
start_answers_stop runc 8081

say 'updated any number of times'
for port in 8086 8087 8088; do
    expect inner syscontainer-checkout --update --set PORT=$port inner 2>"$WORK/said"
    start_answers_stop inner $port
done
expect 'inner.2 inner.3' names_in $CO 'inner.*'
expect /srv/bundle/rootfs readlink $CO/inner.3/rootfs

say 'read-only'
mkdir /srv/ro
mount --bind /srv/bundle/rootfs /srv/ro
mount -o remount,bind,ro /srv/ro
checkout --rootfs=/srv/ro --name=ro --set PORT=8084 --set RECEIVER=ro "$REGISTRY/hello-world"
start_answers_stop ro 8084 ro
umount /srv/ro
refuse 'it fails with a reason where the root is not there' systemctl start ro
expect_like 'ro.service|/srv/ro' journal_of ro
# It is not to be started once more by itself, and write there.
systemctl stop ro

say 'mount points that are not there'
rmdir /srv/bundle/rootfs/srv
checkout --rootfs=/srv/bundle --name=lacking --set PORT=8085 "$REGISTRY/hello-world"
expect_like 'lacks the mount points /srv; the runtime will make them' cat "$WORK/said"
refuse 'checkout does not' test -e /srv/bundle/rootfs/srv
mount --bind /srv/bundle/rootfs /srv/ro
mount -o remount,bind,ro /srv/ro
snapshot >"$WORK/before"
run_fails 1 '/srv/ro lacks the mount points /srv, and it is read-only; make them there' \
    syscontainer-checkout --rootfs=/srv/ro --name=no "$REGISTRY/hello-world"
umount /srv/ro
start_answers_stop lacking 8085

say 'bad ones'
mkdir /srv/empty
run_fails 1 'cannot use the root file system /nowhere: No such file' \
    syscontainer-checkout --rootfs=/nowhere --name=no "$REGISTRY/hello-world"
run_fails 1 'cannot use the root file system /srv/empty: there is neither' \
    syscontainer-checkout --rootfs=/srv/empty --name=no "$REGISTRY/hello-world"
run_fails 1 'cannot use the root file system /etc/passwd' \
    syscontainer-checkout --rootfs=/etc/passwd --name=no "$REGISTRY/hello-world"
unchanged "$WORK/before"
