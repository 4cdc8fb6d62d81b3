#!/bin/bash
# What a payload writes to, or ever wrote to, is known by whatever mount of the host it is reached: no symlink in it leads another
# container, or the same one later, anywhere; with crun and runc.
. "$(dirname "$0")/lib.sh"

GOT=/var/lib/syscontainers/.got
# Of the host's, and for nobody but root.
mkdir -m 0700 /srv/secret
echo TOKEN=host-only >/srv/secret/env
# acts TEXT: the process.args of a payload that tries to reach the host by /x, prints what it got, and then runs TEXT.
acts() { shell_args "cat /x/env; touch /x/pwned; $1; touch /data/done; sleep 100000"; }
# ends NAME: what it does on the host is done.
ends() {
    systemctl kill --signal=KILL "$1" 2>/dev/null || true
    systemctl stop "$1"
    systemctl reset-failed "$1" 2>/dev/null || true
}
# acted NAME DIRECTORY: its payload, which has /data there, did what it does, and is over.
acted() {
    check "$1 starts" systemctl start "$1"
    wait_for 'it has acted' test -e "$2/done"
    ends "$1"
    rm "$2/done"
}
# is_refused NAME OUTER: it is not started, since a link in OUTER is not followed, and got nothing.
is_refused() {
    mark_journal
    systemctl start "$1" || true
    wait_for "$1 is refused" has_said "$1" "cannot bind $2/.*, which is in $2, where a payload can put anything: .*it is a symlink"
    ends "$1"
    nothing_got "$1"
}
nothing_got() {
    refuse 'the payload has read nothing of it' journal_has "$1" host-only
    expect env names_in /srv/secret
}
begin() {
    rm -rf /srv/app
    mkdir -p /srv/app/www/html
}
remove() { check 'removed' syscontainer-remove --purge "$@"; }
for name in maker user own; do mkdir -p "$WORK/$name"; done
build_and_pull maker --config="{\"Cmd\":$(acts 'while [ ! -e /data/go ]; do sleep 0.1; done; rm -rf /data/www /data/go; ln -s /srv/secret /data/www')}"
build_and_pull user --config="{\"Cmd\":$(acts true)}"
build_and_pull own --config="{\"Cmd\":$(acts 'ln -s /srv/secret /data/www'),\"Volumes\":{\"/data\":{}}}"

say 'a mount of a directory in it'
mkdir -p "$WORK/inner" /var/www
build_and_pull inner --config="{\"Cmd\":$(acts 'rm -r /data/www/html; ln -s /srv/secret /data/www/html')}"
for runtime in crun runc; do
    begin
    mount --bind /srv/app/www /var/www
    checkout --no-enable --runtime=/usr/bin/$runtime -o Volume=/srv/app:/data -o Volume=/var/www/html:/x "$REGISTRY/inner"
    acted inner /srv/app
    is_refused inner /var/www
    # A record that is lost, as with /var, makes that no worse.
    rm $GOT
    is_refused inner /var/www
    # With a directory there again, it starts.
    rm /srv/app/www/html
    mkdir /srv/app/www/html
    acted inner /srv/app
    remove inner
    umount /var/www
done

say 'a mount of the directory above, and what is mounted in one that is read-only'
mkdir -p "$WORK/nested" /mnt/view
build_and_pull nested --config="{\"Cmd\":$(acts 'rm -r /data/app/www; ln -s /srv/secret /data/app/www; touch /data/app/done')}"
for runtime in crun runc; do
    begin
    mount --bind /srv /mnt/view
    checkout --no-enable --runtime=/usr/bin/$runtime -o Volume=/mnt/view/app:/data "$REGISTRY/maker"
    checkout --no-enable --runtime=/usr/bin/$runtime -o Volume=/srv/app/www:/x "$REGISTRY/user"
    touch /srv/app/go
    acted maker /srv/app
    is_refused user /srv/app
    # It stays known when that mount is gone, and the container.
    remove maker
    umount /mnt/view
    is_refused user /srv/app
    remove user
    rm $GOT
    rm -r /srv/app
    mkdir /srv/app
    mount -t tmpfs disk /srv/app
    mkdir /srv/app/www
    checkout --no-enable --runtime=/usr/bin/$runtime -o Volume=/srv:/data:ro "$REGISTRY/nested"
    checkout --no-enable --runtime=/usr/bin/$runtime -o Volume=/srv/app/www:/x "$REGISTRY/user"
    acted nested /srv/app
    is_refused user /srv/app
    remove nested
    remove user
    umount /srv/app
    syscontainer-prune
    rm $GOT
done

say 'a payload that goes on with what its container no longer gets'
for runtime in crun runc; do
    begin
    checkout --no-enable --runtime=/usr/bin/$runtime -o Volume=/srv/app:/data "$REGISTRY/maker"
    checkout --no-enable --runtime=/usr/bin/$runtime -o Volume=/srv/app/www:/x "$REGISTRY/user"
    check 'it starts' systemctl start maker
    check 'the next deployment has nothing of it' syscontainer-checkout --update -o Volume= maker
    touch /srv/app/go
    wait_for 'it has acted' test -L /srv/app/www
    is_refused user /srv/app
    ends maker
    is_refused user /srv/app
    # Nor does it once it is gone.
    remove maker
    is_refused user /srv/app
    remove user
done

say 'a container that gets less'
for runtime in crun runc; do
    begin
    checkout --no-enable --runtime=/usr/bin/$runtime -o Volume=/srv/app:/data "$REGISTRY/maker"
    touch /srv/app/go
    acted maker /srv/app
    check 'it gets less' syscontainer-checkout --update -o Volume= -o Volume=/srv/app/www:/x maker
    is_refused maker /srv/app
    remove maker
done

say 'what is left in volumes of its own'
volume=/var/lib/syscontainers/own/data
for runtime in crun runc; do
    checkout --no-enable --runtime=/usr/bin/$runtime "$REGISTRY/own"
    acted own $volume
    check 'removed' syscontainer-remove own
    checkout --no-enable --runtime=/usr/bin/$runtime --name=own -o Volume=$volume/www:/x "$REGISTRY/user"
    is_refused own $volume
    remove own
done

say 'what is missing in a directory of another payload'
for runtime in crun runc; do
    begin
    chown 1000:1000 /srv/app
    checkout --no-enable -o Volume=/srv/app:/data "$REGISTRY/maker"
    checkout --no-enable --runtime=/usr/bin/$runtime -o Volume=/srv/app/www:/x "$REGISTRY/user"
    rm -r /srv/app/www
    mark_journal
    systemctl start user || true
    wait_for 'it says what to do' has_said user 'cannot mount /srv/app/www at /x: it is not on this host; make it'
    refuse 'and makes nothing' test -e /srv/app/www
    ends user
    remove maker
    remove user
done

say 'a device'
mkdir -p "$WORK/device"
build_and_pull device --config="{\"Cmd\":$(acts 'rm /data/own; ln -s /dev/full /data/own')}"
mkdir /dev/story
for runtime in crun runc; do
    mknod /dev/story/own c 1 5
    checkout --no-enable --runtime=/usr/bin/$runtime -o Volume=/dev/story:/data -o AddDevice=/dev/story/own:/dev/own "$REGISTRY/device"
    acted device /dev/story
    mark_journal
    systemctl start device || true
    wait_for 'it is not given another one' has_said device \
        'cannot add the device /dev/story/own: a symlink leads to it, and none is followed in /dev/story, where a payload can put anything'
    ends device
    remove device
    rm /dev/story/own
done
rmdir /dev/story

say 'the record'
begin
rm -f $GOT
checkout --no-enable -o Volume=/srv/app:/data -o Volume=/srv/app/www:/x:ro "$REGISTRY/maker"
refuse 'nothing is recorded before the start' test -e $GOT
touch /srv/app/go
acted maker /srv/app
expect '600 root /srv/app /' echo "$(stat -c '%a %U' $GOT) $(cat $GOT)"
before=$(stat -c '%i %y' $GOT)
rm /srv/app/www
mkdir /srv/app/www
touch /srv/app/go
acted maker /srv/app
expect "$before" stat -c '%i %y' $GOT
check 'prune keeps what is there' syscontainer-prune --explain
expect '/srv/app /' cat $GOT
expect_like "^kept file $GOT: payloads may have written to 1 " syscontainer-prune --explain
remove maker
rm -r /srv/app
check 'and forgets what is gone' syscontainer-prune
refuse 'nothing is recorded any more' test -e $GOT
