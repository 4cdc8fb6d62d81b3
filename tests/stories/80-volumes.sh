#!/bin/bash
# Volumes: what a payload, an image or a host user does to them leads nowhere on the host; with crun and runc.
. "$(dirname "$0")/lib.sh"

VOLUMES=/var/lib/syscontainers
# Of the host's, and none of the container's business.
mkdir -p /srv/victim /srv/secret
echo victim | tee /srv/victim/victim.db /srv/victim/other.conf >/dev/null
echo topsecret >/srv/secret/key
chmod 0600 /srv/secret/key
# the_host: what a container could do to it here. Of / and /etc, where the host may make files of its own at any time, it is what
# the payloads here would make there.
the_host() {
    local name names=(-name PWNED)
    for name in 'loot*' 'victim*' precious new-on-the-host x b a c d e g 'done' seen image 'evil*' '.*data.*' '.syscontainers.*'; do
        names+=(-o -name "$name")
    done
    host_files '%y %m %U:%G %p -> %l' /srv /opt
    find / /etc -maxdepth 1 '(' "${names[@]}" ')' -printf '%y %p\n' | sort
}
# volumes_image NAME[:TAG] VOLUMES ARGS [MEMBER…]: an image with these volumes, as "/a /b", and further members of its config.
volumes_image() {
    local name=$1 volumes='' volume member config
    for volume in $2; do volumes+=", \"$volume\": {}"; done
    config="{\"Cmd\": $3, \"Volumes\": {${volumes#, }}"
    for member in "${@:4}"; do config+=", $member"; done
    mkdir -p "$WORK/${name%:*}"
    build_image "$name" --owners --config="$config}" "$WORK/${name%:*}"
    pull_image "$name"
}
# in_volume CONTAINER [VOLUME]: what is in it, or which there are.
in_volume() { names_in "$VOLUMES/$1/${2-}"; }
the_host >"$WORK/host"

say 'where they are, and who gets there'
mkdir -p "$WORK/plain"/{data/sub,var/log/x,own}
echo image >"$WORK/plain/data/sub/file"
cp "$(command -v busybox)" "$WORK/plain/data/suid"
chmod 4755 "$WORK/plain/data/suid"
touch -d 2001-02-03 "$WORK/plain/data/sub/file"
chown 55:66 "$WORK/plain/own"
chmod 2750 "$WORK/plain/own"
long=/$(printf 'component%s/' {1..40})end
volumes_image plain "/data /data/sub /var/log/x /own /missing /a-b.c/.d $long" "$(until_stopped 'cp /bin/busybox /data/mine; chmod 4755 /data/mine; touch /data/done')" '"User": "1000:77"'
checkout --set STATE_DIRECTORY=/srv/state "$REGISTRY/plain"
refuse 'a value does not move them' test -e /srv/state
systemctl start plain
expect 'active running success' state plain
for volume in /data /data/sub /var/log/x /own /missing /a-b.c/.d; do
    check "$volume is called as systemd-escape does it" test -d "$VOLUMES/plain/$(systemd-escape --path "$volume")"
done
expect_like '^component1-component2-.*~[0-9a-f]{32}$' ls $VOLUMES/plain
check 'the one with the long path is mounted' grep -q " $long " "/proc/$(unit_property plain MainPID)/mountinfo"
expect '700 0:0' stat --format='%a %u:%g' $VOLUMES
expect '700 0:0' stat --format='%a %u:%g' $VOLUMES/plain
expect 'sub suid' in_volume plain data
expect file in_volume plain data-sub
expect '4755' stat --format=%a $VOLUMES/plain/data/suid
expect '2750 55:66' stat --format='%a %u:%g' $VOLUMES/plain/own
expect '755 1000:77' stat --format='%a %u:%g' $VOLUMES/plain/missing
expect '755 0:0' stat --format='%a %u:%g' $VOLUMES/plain/data
refuse 'no tmpfiles line is about them' test -e /etc/tmpfiles.d/plain.conf
systemctl stop plain
checkout --name=root "$REGISTRY/plain"
sed -i 's/"uid": 1000/"uid": 0/' $CO/root.0/config.json
systemctl start root
wait_for 'the payload has a setuid program, too' test -e $VOLUMES/root/data/done
for program in plain/data/suid root/data/mine; do
    refuse "nobody runs $program" as_nobody $VOLUMES/$program id
done
refuse 'nobody sees which there are' as_nobody ls $VOLUMES
refuse 'nor enters one' as_nobody ls $VOLUMES/plain/missing
systemctl stop root
expect_like 'RequiresMountsFor=.*"/var/lib/syscontainers/plain/data"( |$)' systemctl cat plain

say 'the same as with podman'
if podman_here run --quiet --pull=never --network=host --tls-verify=false --name=plain "$REGISTRY/plain" true >/dev/null 2>&1 ||
    podman_here run --quiet --network=host --cgroups=disabled --tls-verify=false --name=plain "$REGISTRY/plain" true >"$WORK/said" 2>&1 ||
    podman_here container exists plain; then
    podman_here inspect --format '{{range .Mounts}}{{.Destination}} {{.Source}}{{"\n"}}{{end}}' plain >"$WORK/mounts"
    check 'it made them all' test "$(grep -c . "$WORK/mounts")" = 7
    # without_payload DIRECTORY: what the image brought.
    without_payload() { find "$1" ! -name mine ! -name 'done' -printf '%y %m %U:%G %P -> %l\n' | sort; }
    while read -r destination source; do
        [ -n "$destination" ] || continue
        [ "$destination" != "$long" ] || continue
        without_payload "$source" >"$WORK/podmans"
        check "$destination" same_as "$WORK/podmans" without_payload "$VOLUMES/plain/$(systemd-escape --path "$destination")"
    done <"$WORK/mounts"
    podman_here rm --force --volumes plain >/dev/null 2>&1 || true
else
    say "podman makes no container here: $(tail -n 1 "$WORK/said")"
fi
rm -rf "$WORK/podman"
host_is_unchanged() { expect_same "$WORK/host" the_host; }
host_is_unchanged

say 'a payload that makes a link of a directory between two volumes'
# The second time it takes what it gets.
volumes_image nest '/a /a/b/etc /a/b/srv/victim /a/b/new-on-the-host/x' "$(shell_args '
    if [ ! -e /a/x ]; then mv /a/b /a/x; ln -s "$TARGET" /a/b; exit 1; fi
    for directory in etc srv/victim new-on-the-host/x; do
        ls -A /a/b/$directory >>/a/loot; cat /a/b/$directory/* >>/a/loot; touch /a/b/$directory/PWNED; rm -f /a/b/$directory/victim.db
    done 2>/dev/null
    cp /a/b/etc/shadow /a/loot-shadow 2>/dev/null
    touch /a/done; trap "exit 0" TERM; sleep 100000 & wait')"
# came_back NAME: it was started again since the journal was marked, or that was refused.
came_back() { [ -e "$VOLUMES/$1/a/done" ] || has_said "$1" "cannot (prepare|start) $1"; }
# Wherever it leads, it is refused.
number=0
for runtime in crun runc; do
    for target in / /etc /proc/1/root ../../../../../.. /new-on-the-host /proc/self/cwd/../../.. x none; do
        number=$((number + 1))
        checkout --name=nest$number --runtime=/usr/bin/$runtime --set TARGET=$target "$REGISTRY/nest"
        systemctl start nest$number || true
        wait_for 'the link is made' test -L $VOLUMES/nest$number/a/b
        # Not after RestartSec=.
        mark_journal
        systemctl restart nest$number 2>/dev/null || true
        wait_for "$runtime: it comes back with a link to $target" came_back nest$number
        check 'for which there is a reason' journal_has nest$number 'cannot prepare nest[0-9]*: cannot mount volume "/a/b/.*" in the directory that is mounted at /a: b/.* in /var/lib/syscontainers/nest[0-9]*/a leads through a symlink'
        refuse 'it did not run' test -e $VOLUMES/nest$number/a/done
        check 'the link is there' test "$(readlink $VOLUMES/nest$number/a/b)" = $target
        refuse 'it got no shadow of the host' test -s $VOLUMES/nest$number/a/loot-shadow
        refuse 'nor anything else' grep -rqsE 'victim|topsecret|hostname|machine-id' $VOLUMES/nest$number/a/loot
        must 'a stop' systemctl stop nest$number
        systemctl reset-failed nest$number 2>/dev/null || true
        host_is_unchanged
        must 'its volumes go' syscontainer-remove --purge nest$number
        host_is_unchanged
    done
done
refuse 'nothing was made in /etc' test -e /etc/PWNED -o -e /etc/loot

say 'volumes in /proc'
mkdir -p "$WORK/inproc"
ln -sfn /proc "$WORK/inproc/process"
for volume in /proc /proc/sys /process/self; do
    volumes_image inproc $volume "$(until_stopped)"
    run_fails 1 "its volume \"$volume\" would be in /proc, which is the kernel's" syscontainer-checkout "$REGISTRY/inproc"
done

say 'the same as a user, with a volume that an update brings'
mkdir -p "$WORK/user/a"
chown 1000:1000 "$WORK/user/a"
for runtime in crun runc; do
    volumes_image user /a "$(until_stopped 'ln -sfn / /a/b; touch /a/done')" '"User": "1000:1000"'
    checkout --runtime=/usr/bin/$runtime "$REGISTRY/user"
    systemctl start user
    wait_for "$runtime: the link is made" test -e $VOLUMES/user/a/done
    rm $VOLUMES/user/a/done
    volumes_image user '/a /a/b/srv/victim /a/b/new-on-the-host/y' "$(until_stopped 'for d in /a/b/srv/victim /a/b/new-on-the-host/y; do cat $d/*; touch $d/PWNED; done >/a/loot 2>/dev/null; touch /a/done')" '"User": "1000:1000"'
    check 'an update' syscontainer-checkout --update user
    mark_journal
    systemctl restart user || true
    wait_for 'it was started, or refused' came_back user
    refuse 'it got nothing' test -s $VOLUMES/user/a/loot
    host_is_unchanged
    systemctl stop user
    systemctl reset-failed user 2>/dev/null || true
    must 'its volumes go' syscontainer-remove --purge user
    host_is_unchanged
done

say 'an image whose links lead to the host'
mkdir -p "$WORK/leak"/{etc,run/app,var}
ln -s / "$WORK/leak/l"
ln -s ../../../../../../../.. "$WORK/leak/up"
ln -s /srv/secret "$WORK/leak/direct"
ln -s /run "$WORK/leak/var/run"
echo "image's" | tee "$WORK/leak/etc/image" "$WORK/leak/run/app/image" >/dev/null
mkdir -p /run/app
echo "host's" >/run/app/host
volumes_image leak '/l/etc /l/srv/secret /up/etc /direct /var/run/app /l/run' "$(until_stopped)"
for runtime in crun runc; do
    checkout --runtime=/usr/bin/$runtime "$REGISTRY/leak"
    systemctl start leak || true
    for volume in l-etc up-etc; do
        expect_like image in_volume leak $volume
        refuse "no shadow in $volume" test -e $VOLUMES/leak/$volume/shadow
    done
    expect image in_volume leak var-run-app
    refuse 'nothing in it is from the host' grep -rqsE "topsecret|host's" $VOLUMES/leak
    systemctl stop leak
    systemctl reset-failed leak 2>/dev/null || true
    must 'its volumes go' syscontainer-remove --purge leak
done
host_is_unchanged
# Every Debian image has that link.
volumes_image runapp /var/run/app "$(until_stopped)"
mkdir -p "$WORK/runapp"/{run/app,var}
ln -sfn /run "$WORK/runapp/var/run"
echo "image's" >"$WORK/runapp/run/app/image"
volumes_image runapp /var/run/app "$(until_stopped)"
checkout "$REGISTRY/runapp"
start_and_stop runapp
expect image in_volume runapp var-run-app

say 'what is neither a file, nor a directory, nor a link'
mkdir -p "$WORK/special/data"
mkfifo "$WORK/special/data/fifo"
chown 5:6 "$WORK/special/data/fifo"
chmod 620 "$WORK/special/data/fifo"
echo x >"$WORK/special/data/x"
volumes_image special /data "$(until_stopped)"
checkout "$REGISTRY/special"
fifo_in() { stat --format='%F %a %u:%g' "$1/fifo"; }
expect 'fifo 620 5:6' fifo_in $CO/special.0/rootfs/data
# What no image can have.
systemd-run --quiet --unit=other --socket-property=ListenStream=$CO/special.0/rootfs/data/socket true
systemctl stop other.socket
check 'it starts all the same' systemctl start special
expect 'fifo 620 5:6' fifo_in $VOLUMES/special/data
expect 'fifo x' in_volume special data
expect 1 bash -c 'journalctl --sync; journalctl --unit=special --output=cat | grep -c "volume /data: skipped 1 device nodes or sockets of the image"'
systemctl stop special

say 'marks in a volume mean nothing'
volumes_image mover /data "$(until_stopped 'for name in .syscontainers.ready .syscontainers.new .data.new ..data.old; do ln -s /srv/victim /data/$name; done; touch /data/done')"
checkout "$REGISTRY/mover"
systemctl start mover
wait_for 'they are there' test -e $VOLUMES/mover/data/done
for _ in 1 2; do check 'it is started again' systemctl restart mover; done
host_is_unchanged
expect '755' stat --format=%a $VOLUMES/mover/data
# Nor does one that it would empty.
systemctl stop mover
find $VOLUMES/mover/data -mindepth 1 -delete
systemctl start mover
wait_for 'what is empty stays so, but for what it writes' test -e $VOLUMES/mover/data/done
systemctl stop mover

say 'names of images that are those of directories of the host'
mkdir -p "$WORK/dpkg/info"
volumes_image dpkg '/info /alternatives' "$(until_stopped 'ls -A /info /alternatives >/info/seen; touch /info/evil.postinst')"
checkout "$REGISTRY/dpkg"
systemctl start dpkg
wait_for 'it writes' test -e $VOLUMES/dpkg/info/evil.postinst
refuse 'not to what dpkg has' test -e /var/lib/dpkg/info/evil.postinst
refuse 'of which it sees nothing' grep -q '\.list$' $VOLUMES/dpkg/info/seen
systemctl stop dpkg
must 'removal' syscontainer-remove --purge dpkg
check 'and which stays' test -d /var/lib/dpkg/info

say 'names that are those of our own directories and units'
run_fails 2 "invalid container name \"attached\": the name is reserved; choose another name, at an installation with --name=NAME" \
    syscontainer-checkout --name=attached "$REGISTRY/plain"
for name in stale web.conf web.conf.d syscontainers syscontainer-prune syscontainers-reconcile; do
    run_fails 2 "invalid container name \"$name\": .*; choose another name" syscontainer-checkout --name=$name "$REGISTRY/plain"
done
volumes_image stale /data "$(until_stopped)"
run_fails 2 "cannot name a container after image $REGISTRY/stale:latest, use --name=NAME: invalid container name \"stale\"" syscontainer-checkout "$REGISTRY/stale"
checkout --name=not-stale "$REGISTRY/stale"
start_and_stop not-stale

say 'a directory that is not what it should be'
systemctl stop plain
mv $VOLUMES/plain "$WORK/moved"
ln -s /srv/victim $VOLUMES/plain
refuse 'a link' systemctl start plain
expect_like "cannot use $VOLUMES/plain: it is a symlink, which could lead anywhere; put a directory in its place, or mount one there" journal_of plain
rm $VOLUMES/plain
mkdir $VOLUMES/plain
mount --bind "$WORK/moved" $VOLUMES/plain
systemctl reset-failed plain
check 'a mount is fine' systemctl start plain
systemctl stop plain
umount $VOLUMES/plain
rmdir $VOLUMES/plain
mv "$WORK/moved" $VOLUMES/plain
chown 1000 $VOLUMES/plain
refuse 'one that is not of root' systemctl start plain
expect_like "cannot use $VOLUMES/plain: it belongs to user 1000, who could change what is in it" journal_of plain
chown 0 $VOLUMES/plain
chmod 0755 $VOLUMES/plain
systemctl reset-failed plain
check 'one that others may only read is closed' systemctl start plain
expect 700 stat --format=%a $VOLUMES/plain
systemctl stop plain
host_is_unchanged

say 'killed while they are made'
volumes_image killed '/data /data/sub /missing' "$(until_stopped)"
mkdir -p "$WORK/killed/data/sub"
echo image | tee "$WORK/killed/data/file" "$WORK/killed/data/sub/file" >/dev/null
volumes_image killed '/data /data/sub /missing' "$(until_stopped)"
checkout "$REGISTRY/killed"
for spec in mkdirat:{1..6} fchown:{1..5} fchmod:{1..4} syncfs:{1..3} renameat:{1..3} fsync:{1..4}; do
    rm -rf $VOLUMES/killed
    strace -f -qq -o /dev/null -e trace="${spec%:*}" -e inject="${spec%:*}:signal=SIGKILL:when=${spec#*:}" \
        /usr/libexec/syscontainers/syscontainer-prepare killed >/dev/null 2>&1 || true
    for volume in data data-sub; do
        [ ! -d $VOLUMES/killed/$volume ] || [ "$(cat $VOLUMES/killed/$volume/file)" = image ] || fail "$spec: $volume is half made"
    done
    must "after $spec" /usr/libexec/syscontainers/syscontainer-prepare killed
    expect 'data data-sub missing' in_volume killed
    [ -z "$(find $VOLUMES/killed -name '.*')" ] || fail "$spec: something is left"
done
half=''
for n in 1 2 3 5; do
    must 'it is prepared' /usr/libexec/syscontainers/syscontainer-prepare killed
    strace -f -qq -o /dev/null -e trace=unlinkat -e inject="unlinkat:signal=SIGKILL:when=$n" \
        syscontainer-remove --purge killed >/dev/null 2>&1 && fail "it is not killed at $n" || true
    [ ! -d $VOLUMES/killed ] || [ "$(in_volume killed)" = 'data data-sub missing' ] || fail "unlinkat $n: some are gone"
    if [ -d $VOLUMES/.killed.old ]; then
        half=yes
        must 'a prune completes it' syscontainer-prune
        [ ! -e $VOLUMES/.killed.old ] || fail "unlinkat $n: a prune leaves some"
    fi
    # The volumes are the last that is removed.
    [ ! -L $CO/killed ] || must "after unlinkat $n" syscontainer-remove --purge killed
    expect '' bash -c "find $VOLUMES -mindepth 1 -name '*killed*'"
    checkout "$REGISTRY/killed"
done

check 'a purge was killed half-way' [ "$half" ]

say 'a purge follows nothing'
volumes_image purge '/a /a/b/srv/precious' "$(until_stopped 'rm -rf /a/c; ln -s /srv/victim /a/c; ln -s / /a/d; mkdir -p /a/e; ln -s ../../../../../../srv /a/e/f; ln -sfn /srv/victim /a/b/g; touch /a/done')"
mkdir -p $VOLUMES/purge/a /srv/precious
echo precious >/srv/precious/file
checkout "$REGISTRY/purge"
systemctl start purge
wait_for 'links are there' test -e $VOLUMES/purge/a/done
# Deeper than directories are opened at a time.
bash -c "cd $VOLUMES/purge/a; for _ in {1..100}; do mkdir deep; cd deep || exit; done" 2>/dev/null || true
check 'purged' syscontainer-remove --purge purge
expect '' bash -c "find $VOLUMES -name '*purge*'"
expect precious cat /srv/precious/file
rm -r /srv/precious
host_is_unchanged

say 'an image with /exports whose payload does that to what it keeps'
for runtime in crun runc; do
    exports state "$(shell_args 'if [ ! -e /s/x ]; then mv /s/a /s/x; ln -s / /s/a; exit 1; fi; cat /t/* >/s/loot; touch /s/done; sleep 100000')" \
        --unit=$'Restart=on-failure\nRestartSec=50ms' --template \
        --mount='$STATE_DIRECTORY/$NAME:/s:bind,rw' --mount='$STATE_DIRECTORY/$NAME/a/srv/victim:/t:bind,rw' \
        --mount='$STATE_DIRECTORY/$NAME/a/new-on-the-host/z:/u:bind,rw'
    build_and_pull state
    checkout --runtime=/usr/bin/$runtime "$REGISTRY/state"
    expect 'd /var/lib/state :0700 :0 :0 - -' grep -v '^#' /etc/tmpfiles.d/state.conf
    mark_journal
    systemctl start state || true
    wait_for "$runtime: the next start is refused" has_said state \
        'cannot bind /var/lib/state/a/.*, which is in /var/lib/state, where a payload can put anything: /var/lib/state/a: it is a symlink, which is not followed; put a directory in its place'
    refuse 'it got nothing' test -e /var/lib/state/loot
    systemd-tmpfiles --create state.conf
    host_is_unchanged
    systemctl stop state
    systemctl reset-failed state 2>/dev/null || true
    # The link goes, if it is in what was made for the container.
    check 'purged' syscontainer-remove --purge state
    refuse 'and is gone' test -e /var/lib/state
    host_is_unchanged
done
say 'a purge of what is behind a link'
exports deep "$(until_stopped 'mv /s/a /s/x; ln -s /srv /s/a; touch /s/done')" --mount='/var/lib/deep:/s:bind,rw'
printf 'd /var/lib/deep/a 0700 - - -\nd /var/lib/deep/a/victim 0700 - - -\n' >"$WORK/deep/exports/tmpfiles.template"
build_and_pull deep
mkdir -p /var/lib/deep/a
checkout "$REGISTRY/deep"
check 'it is made' test -d /var/lib/deep/a/victim
systemctl start deep
wait_for 'the link is there' test -e /var/lib/deep/done
run_fails 1 'cannot remove deep: cannot purge /var/lib/deep/a/victim: .*/var/lib/deep/a: it is a symlink, which is not followed' syscontainer-remove --purge deep
expect 'active running success' state deep
check 'it can be removed' syscontainer-remove deep
host_is_unchanged
rm -r /var/lib/deep
