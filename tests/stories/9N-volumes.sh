#!/bin/bash
# Volumes that take long to begin, those that there is no room for, and files with users that are mounted. With crun and runc.
. "$(dirname "$0")/lib.sh"

PREPARE=/usr/libexec/syscontainers/syscontainer-prepare

say 'a volume whose copy takes longer than a start may'
mkdir -p "$WORK/slow/data"
echo 'of the image' >"$WORK/slow/data/file"
build_and_pull slow --config="{\"Cmd\": $(until_stopped 'cat /data/file; echo begun'), \"Volumes\": {\"/data\": {}}}"
for runtime in crun runc; do
    checkout --name=slow --runtime=/usr/bin/$runtime "$REGISTRY/slow"
    mkdir -p /run/systemd/system/slow.service.d
    # As on a disk that is busy: what was copied takes four seconds to be there.
    cat >/run/systemd/system/slow.service.d/10-story.conf <<-END
		[Service]
		TimeoutStartSec=2s
		ExecStartPre=
		ExecStartPre=+strace -f -qq -o /dev/null -e trace=syncfs -e inject=syncfs:delay_enter=4000000 $PREPARE slow
	END
    systemctl daemon-reload
    mark_journal
    check "$runtime: it starts" systemctl start slow
    wait_for 'it has what the image had' has_said slow '^begun$'
    expect_like '^of the image$' said_since slow
    expect_no 'timed out' said_since slow
    systemctl stop slow
    rm -r /run/systemd/system/slow.service.d
    systemctl daemon-reload
    forget slow
done

say 'a mount in a directory of a file system that is read-only'
mkdir -p /srv/closed/there /srv/more /srv/open
mount -t tmpfs tmpfs /srv/closed
mkdir /srv/closed/there
mount -o remount,ro /srv/closed
build_image room --config="{\"Cmd\": $(until_stopped)}" "$WORK/slow"
build_image inner --config="{\"Cmd\": $(until_stopped), \"Volumes\": {\"/d/a/sub\": {}}}" "$WORK/slow"
pull_image room inner
snapshot >"$WORK/before"
why='there is no a/sub in /srv/closed, and it cannot be made on a read-only file system; make it, or mount that elsewhere'
for option in Volume=/srv/more:/d/a/sub Tmpfs=/d/a/sub; do
    run_fails 1 "cannot mount anything at /d/a/sub in what is mounted at /d: $why" \
        syscontainer-checkout -o Volume=/srv/closed:/d -o $option "$REGISTRY/room"
done
run_fails 1 "cannot mount anything at /d/a/sub in what is mounted at /d: $why" \
    syscontainer-checkout -o Volume=/srv/closed:/d "$REGISTRY/inner"
unchanged "$WORK/before"
for runtime in crun runc; do
    checkout --name=room --runtime=/usr/bin/$runtime -o Volume=/srv/closed:/d -o Volume=/srv/more:/d/there "$REGISTRY/room"
    check "$runtime: what is there is mounted on" systemctl start room
    systemctl stop room
    forget room
    checkout --name=room --runtime=/usr/bin/$runtime -o Volume=/srv/open:/d -o Volume=/srv/more:/d/sub "$REGISTRY/room"
    check "$runtime: what is missing is made" systemctl start room
    systemctl stop room
    rmdir /srv/open/sub
    say 'as if it had been changed since'
    mount --bind -o ro /srv/open /srv/open
    mark_journal
    refuse 'it does not start' systemctl start room
    expect_like 'cannot prepare room: cannot mount mount "/d/sub" in the directory that is mounted at /d: there is no sub in /srv/open, and it cannot be made on a read-only' said_since room
    umount /srv/open
    systemctl stop room
    systemctl reset-failed room || true
    forget room
done
umount /srv/closed

say 'users of a file that is mounted in the place of the image'\''s'
mkdir -p "$WORK/users/etc" /srv/users
echo 'app:x:1000:1000::/home/app:/bin/sh' >"$WORK/users/etc/passwd"
echo 'app:x:1000:' >"$WORK/users/etc/group"
printf 'root:x:0:0:::\nlocal:x:4242:4343::/home/local:/bin/sh\n' >/srv/users/passwd
printf 'extra:x:4444:local\n' >/srv/users/group
build_and_pull users --config="{\"Cmd\": $(until_stopped 'echo $(id -u) $(id -g) $(id -G) $HOME'), \"User\": \"app\"}"
for mounts in '/srv/users:/etc' '/srv/users/passwd:/etc/passwd /srv/users/group:/etc/group'; do
    options=()
    for mount in $mounts; do options+=(-o "Volume=$mount:ro"); done
    say "$mounts"
    run_fails 1 'its user "app" is not in its /etc/passwd' syscontainer-checkout "${options[@]}" "$REGISTRY/users"
    for runtime in crun runc; do
        checkout --name=users --runtime=/usr/bin/$runtime -o User=local "${options[@]}" "$REGISTRY/users"
        mark_journal
        systemctl start users
        wait_for "$runtime: it is that user" has_said users '^4242 4343 4343 4444 /home/local$'
        systemctl stop users
        forget users
    done
done
