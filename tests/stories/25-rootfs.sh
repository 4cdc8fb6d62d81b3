#!/bin/bash
# An existing root file system instead of a checkout: --rootfs=DIR.
# Rows of tests/atomic.md: 4.34, n.
. "$(dirname "$0")/lib.sh"

CO=/var/lib/containers/atomic
ROOT=/srv/image
hello_world
syscontainer-pull --quiet "$REGISTRY/hello-world" >/dev/null
mkdir -p /srv
ostree --repo=$CO/.storage/ostree checkout -U "ociimage/127.0.0.1_3A5000_2Fhello-world_3Alatest" $ROOT
checkout() { syscontainer-checkout "$@" >/dev/null 2>"$WORK/messages" || { shown "$WORK/messages"; return 1; }; }
runs() {
    systemctl start "$1"
    wait_for "$1 answers" http "$2"
    expect "Hello ${3:-World}" http "$2"
    systemctl stop "$1"
}

say 'the root file system itself'
expect "" find $ROOT/srv $ROOT/proc -mindepth 1
find $ROOT -printf '%p %m %s\n' | sort >"$WORK/root"
for runtime in crun runc; do
    checkout --rootfs=$ROOT --runtime=/usr/bin/$runtime --name=$runtime "$REGISTRY/hello-world"
    expect $ROOT readlink $CO/$runtime.0/rootfs
    expect_like "\"remote\": \"$ROOT\"" cat $CO/$runtime.0/info
    runs $runtime 8081
done
expect_like "RequiresMountsFor=.*$ROOT" systemctl cat crun
expect '' cat <(grep -v installed "$WORK/messages" || true)
find $ROOT -printf '%p %m %s\n' | sort | diff "$WORK/root" - || fail 'it was changed'
ok 'it is as it was'

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
runs inner 8083
runs runc 8081

say 'updated any number of times'
for port in 8086 8087 8088; do
    expect inner syscontainer-checkout --update --set PORT=$port inner 2>"$WORK/messages"
    runs inner $port
done
expect 'inner.2 inner.3' bash -c "cd $CO && echo inner.*"
expect /srv/bundle/rootfs readlink $CO/inner.3/rootfs

say 'read-only'
mkdir /srv/ro
mount --bind /srv/bundle/rootfs /srv/ro
mount -o remount,bind,ro /srv/ro
checkout --rootfs=/srv/ro --name=ro --set PORT=8084 --set RECEIVER=ro "$REGISTRY/hello-world"
runs ro 8084 ro
umount /srv/ro
refuse 'it fails with a reason where the root is not there' systemctl start ro
expect_like 'ro.service|/srv/ro' journal_of ro
# It is not to be started once more by itself, and write there.
systemctl stop ro

say 'mount points that are not there'
rmdir /srv/bundle/rootfs/srv
checkout --rootfs=/srv/bundle --name=lacking --set PORT=8085 "$REGISTRY/hello-world"
expect_like 'lacks the mount points /srv; the runtime will make them' cat "$WORK/messages"
refuse 'checkout does not' test -e /srv/bundle/rootfs/srv
mount --bind /srv/bundle/rootfs /srv/ro
mount -o remount,bind,ro /srv/ro
snapshot >"$WORK/before"
run_fails 1 '/srv/ro lacks the mount points /srv, and it is read-only; make them there' \
    syscontainer-checkout --rootfs=/srv/ro --name=no "$REGISTRY/hello-world"
umount /srv/ro
runs lacking 8085

say 'bad ones'
mkdir /srv/empty
run_fails 1 'cannot use the root file system /nowhere: No such file' syscontainer-checkout --rootfs=/nowhere --name=no "$REGISTRY/hello-world"
run_fails 1 'cannot use the root file system /srv/empty: there is neither' syscontainer-checkout --rootfs=/srv/empty --name=no "$REGISTRY/hello-world"
run_fails 1 'cannot use the root file system /etc/passwd' syscontainer-checkout --rootfs=/etc/passwd --name=no "$REGISTRY/hello-world"
unchanged "$WORK/before"
