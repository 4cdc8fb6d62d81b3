#!/bin/bash
# What a payload writes to, or ever wrote to, is known by whatever mount of the host it is reached: no symlink in it leads another
# container, or the same one later, anywhere; with crun and runc.
. "$(dirname "$0")/lib.sh"

GOT=/var/lib/syscontainers/.got
# Of the host's, and for nobody but root.
mkdir -m 0700 /srv/secret
echo TOKEN=host-only >/srv/secret/env
# tries TEXT: the process.args of a payload that tries to reach the host by /x, prints what it got, and then runs TEXT.
tries() { shell_args "cat /x/env; touch /x/pwned; $1; touch /data/done; sleep 100000"; }
# did_it NAME DIRECTORY: its payload, which has /data there, did what it does, and is over.
did_it() {
    check "$1 starts" systemctl start "$1"
    wait_for 'it has acted' test -e "$2/done"
    put_down "$1"
    rm "$2/done"
}
# gets_nothing NAME OUTER: it is not started, since a link in OUTER is not followed, and got nothing.
gets_nothing() {
    mark_journal
    systemctl start "$1" || true
    wait_for "$1 is refused" has_said "$1" "cannot bind $2/.*, which is in $2, where a payload can put anything: .*it is a symlink"
    put_down "$1"
    has_nothing "$1"
}
has_nothing() {
    refuse 'the payload has read nothing of it' journal_has "$1" host-only
    expect env names_in /srv/secret
}
begin() {
    rm -rf /srv/app
    mkdir -p /srv/app/www/html
}
purge_away() { check 'removed' syscontainer-remove --purge "$@"; }
for name in maker user own; do mkdir -p "$WORK/$name"; done
build_and_pull maker --config="{\"Cmd\":$(tries 'while [ ! -e /data/go ]; do sleep 0.1; done; rm -rf /data/www /data/go; ln -s /srv/secret /data/www')}"
build_and_pull user --config="{\"Cmd\":$(tries true)}"
build_and_pull own --config="{\"Cmd\":$(tries 'ln -s /srv/secret /data/www'),\"Volumes\":{\"/data\":{}}}"

say 'a mount of a directory in it'
mkdir -p "$WORK/inner" /var/www
build_and_pull inner --config="{\"Cmd\":$(tries 'rm -r /data/www/html; ln -s /srv/secret /data/www/html')}"
for runtime in crun runc; do
    begin
    mount --bind /srv/app/www /var/www
    checkout --no-enable --runtime=/usr/bin/$runtime -o Volume=/srv/app:/data -o Volume=/var/www/html:/x "$REGISTRY/inner"
    did_it inner /srv/app
    gets_nothing inner /var/www
    # A record that is lost, as with /var, makes that no worse.
    rm $GOT
    gets_nothing inner /var/www
    # With a directory there again, it starts.
    rm /srv/app/www/html
    mkdir /srv/app/www/html
    did_it inner /srv/app
    purge_away inner
    umount /var/www
done

say 'a mount of the directory above, and what is mounted in one that is read-only'
mkdir -p "$WORK/nested" /mnt/view
build_and_pull nested --config="{\"Cmd\":$(tries 'rm -r /data/app/www; ln -s /srv/secret /data/app/www; touch /data/app/done')}"
for runtime in crun runc; do
    begin
    mount --bind /srv /mnt/view
    checkout --no-enable --runtime=/usr/bin/$runtime -o Volume=/mnt/view/app:/data "$REGISTRY/maker"
    checkout --no-enable --runtime=/usr/bin/$runtime -o Volume=/srv/app/www:/x "$REGISTRY/user"
    touch /srv/app/go
    did_it maker /srv/app
    gets_nothing user /srv/app
    # It stays known when that mount is gone, and the container.
    purge_away maker
    umount /mnt/view
    gets_nothing user /srv/app
    purge_away user
    rm $GOT
    rm -r /srv/app
    mkdir /srv/app
    mount -t tmpfs disk /srv/app
    mkdir /srv/app/www
    checkout --no-enable --runtime=/usr/bin/$runtime -o Volume=/srv:/data:ro "$REGISTRY/nested"
    checkout --no-enable --runtime=/usr/bin/$runtime -o Volume=/srv/app/www:/x "$REGISTRY/user"
    did_it nested /srv/app
    gets_nothing user /srv/app
    purge_away nested
    purge_away user
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
    gets_nothing user /srv/app
    put_down maker
    gets_nothing user /srv/app
    # Nor does it once it is gone.
    purge_away maker
    gets_nothing user /srv/app
    purge_away user
done

say 'a container that gets less'
for runtime in crun runc; do
    begin
    checkout --no-enable --runtime=/usr/bin/$runtime -o Volume=/srv/app:/data "$REGISTRY/maker"
    touch /srv/app/go
    did_it maker /srv/app
    check 'it gets less' syscontainer-checkout --update -o Volume= -o Volume=/srv/app/www:/x maker
    gets_nothing maker /srv/app
    purge_away maker
done

say 'what is left in volumes of its own'
volume=/var/lib/syscontainers/own/data
for runtime in crun runc; do
    checkout --no-enable --runtime=/usr/bin/$runtime "$REGISTRY/own"
    did_it own $volume
    check 'removed' syscontainer-remove own
    checkout --no-enable --runtime=/usr/bin/$runtime --name=own -o Volume=$volume/www:/x "$REGISTRY/user"
    gets_nothing own $volume
    purge_away own
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
    put_down user
    purge_away maker
    purge_away user
done

say 'a device'
mkdir -p "$WORK/device"
build_and_pull device --config="{\"Cmd\":$(tries 'rm /data/own; ln -s /dev/full /data/own')}"
mkdir /dev/story
for runtime in crun runc; do
    mknod /dev/story/own c 1 5
    checkout --no-enable --runtime=/usr/bin/$runtime -o Volume=/dev/story:/data -o AddDevice=/dev/story/own:/dev/own "$REGISTRY/device"
    did_it device /dev/story
    mark_journal
    systemctl start device || true
    wait_for 'it is not given another one' has_said device \
        'cannot add the device /dev/story/own: a symlink leads to it, and none is followed in /dev/story, where a payload can put anything'
    put_down device
    purge_away device
    rm /dev/story/own
done
rmdir /dev/story

say 'the record'
begin
rm -f $GOT
checkout --no-enable -o Volume=/srv/app:/data -o Volume=/srv/app/www:/x:ro "$REGISTRY/maker"
refuse 'nothing is recorded before the start' test -e $GOT
touch /srv/app/go
did_it maker /srv/app
expect '600 root /srv/app /' echo "$(stat -c '%a %U' $GOT) $(cat $GOT)"
before=$(stat -c '%i %y' $GOT)
rm /srv/app/www
mkdir /srv/app/www
touch /srv/app/go
did_it maker /srv/app
expect "$before" stat -c '%i %y' $GOT
check 'prune keeps what is there' syscontainer-prune --explain
expect '/srv/app /' cat $GOT
expect_like "^kept file $GOT: it names host directories that payloads may have written to \(1\)" syscontainer-prune --explain
purge_away maker
rm -r /srv/app
check 'and forgets what is gone' syscontainer-prune
refuse 'nothing is recorded any more' test -e $GOT
