#!/bin/bash
# What users of the host, images and payloads can take up of what others need: the time of a start, the disk, and locks.
. "$(dirname "$0")/lib.sh"

# find_socket: where the socket of the payload is, which only root finds out, is at /tmp/socket as soon as it is there.
find_socket() {
    while :; do
        for socket in /run/syscontainers/.notify/*/notify; do [ ! -S "$socket" ] || ln -sfn "$socket" /tmp/socket; done
        sleep 0.1
    done
}
# crowd SOCKET N: so many processes of another user that send to it as fast as they can; until they are killed with this one.
crowd() {
    # shellcheck disable=SC2016 # for Perl
    exec setpriv --reuid=65534 --regid=65534 --clear-groups perl -e '
        $SIG{TERM} = sub { kill "KILL", @children; exit };
        for (1..$ARGV[1]) {
            my $child = fork;
            if ($child) { push @children, $child; next }
            $SIG{TERM} = "DEFAULT";
            while (1) {
                if (socket(S, 1, 2, 0) && connect(S, pack("Sa*", 1, "$ARGV[0]\0"))) { 1 while send(S, "x", 0) }
                select(undef, undef, undef, 0.3);
            }
        }
        sleep 1 while 1' "$@"
}

with_perl crowded
for runtime in crun runc; do
    say "$runtime: users of the host who send to a socket that they can reach"
    # shellcheck disable=SC2016 # for Perl
    exports crowded "[\"/usr/bin/perl\", \"-e\", $(json_string 'socket(S, 1, 2, 0) or die;
        connect(S, pack("Sa*", 1, "$ENV{NOTIFY_SOCKET}\0")) or die "$!"; sleep 3; send(S, "READY=1", 0); sleep 1 while 1')]" \
        --unit=$'Type=notify\nTimeoutStartSec=20' --mount=/run:/run:rbind,rslave,rw
    build_and_pull crowded
    checkout --no-enable --runtime="$(type -P $runtime)" "$REGISTRY/crowded"
    find_socket &
    finder=$!
    crowd /tmp/socket 1500 &
    crowd=$!
    must 'the payload is heard' systemctl start crowded
    expect 'active running success' state crowded
    kill $crowd $finder
    wait $crowd $finder || true
    check 'it was there' test -L /tmp/socket
    # And nobody else finds it in the first place.
    refuse 'it has no name that is known' test -e /run/syscontainers/.notify/crowded
    refuse 'nobody can list them' setpriv --reuid=65534 --regid=65534 --clear-groups ls /run/syscontainers/.notify
    expect_no '/run/syscontainers/.notify' cat /proc/net/unix
    rm /tmp/socket
    must 'it goes' syscontainer-remove --purge crowded
    expect '' names_in /run/syscontainers/.notify
done
# free_megabytes DIRECTORY
free_megabytes() { stat --file-system --format='%a %S' "$1" | awk '{ printf "%d\n", $1 * $2 / 1048576 }'; }
# fill_tree DIRECTORY N: so many directories with so many in each, and a symlink beside each of these.
fill_tree() {
    mkdir -p "$1"
    # shellcheck disable=SC2016 # for Perl
    perl -e 'chdir $ARGV[0] or die; for my $n (1..$ARGV[1]) {
        mkdir "d$n"; for my $m (1..$ARGV[1]) { mkdir "d$n/m$m" or die; symlink "x", "d$n/l$m" or die } }' "$@"
}

say 'images with more names than inodes may have'
mkdir -p "$WORK/two/a" "$WORK/two/b"
echo small >"$WORK/two/a/x"
head -c 65536 /dev/zero >"$WORK/two/b/y"
# shellcheck disable=SC2016 # for Perl
for file in a/x b/y; do
    perl -e 'for my $n (1..66000) { link $ARGV[0], "$ARGV[0].$n" or link "$ARGV[0].1", "$ARGV[0].$n" or
        do { system("cp", $ARGV[0], "$ARGV[0].$n"); unlink $ARGV[0]; link "$ARGV[0].$n", $ARGV[0] } }' "$WORK/two/$file"
done
build_and_pull two --config="{\"Cmd\": $(until_stopped)}"
# Copies of the larger one would take four times as much. Others may write to this disk meanwhile.
ostree --repo="$STORE" config set core.min-free-space-size "$(($(free_megabytes "$CO") - 1000))MB"
must 'it is installed' quietly syscontainer-checkout --no-enable "$REGISTRY/two"
for directory in a b; do
    expect 66001 eval "find '$CO/two/rootfs/$directory' -type f | wc -l"
    check "$directory has no copies" eval "[ \$(find '$CO/two/rootfs/$directory' -type f -printf '%i\n' | sort -u | wc -l) -le 2 ]"
done
ostree --repo="$STORE" config unset core.min-free-space-size
store_is_sound "$STORE"
must 'it starts' systemctl start two
must 'it goes' syscontainer-remove --purge two

say 'directories that the disk has no room for'
fill_tree "$WORK/tree/d" 100
build_and_pull tree --config="{\"Cmd\": $(until_stopped), \"Volumes\": {\"/d\": {}}}"
# Whatever others write to this disk, or remove from it, meanwhile.
ostree --repo="$STORE" config set core.min-free-space-size "$(($(free_megabytes "$CO") + 1000))MB"
names_in "$CO" >"$WORK/before"
run_fails 1 'cannot create deployment tree.0: cannot check out .*: the file system of .* is full: [0-9]+ MiB more are needed, and the last [0-9]+ MiB of it stay free; remove something' \
    syscontainer-checkout "$REGISTRY/tree"
expect_same "$WORK/before" names_in "$CO"
ostree --repo="$STORE" config unset core.min-free-space-size

for runtime in crun runc; do
    say "$runtime: a volume of directories and links"
    checkout --no-enable --runtime="$(type -P $runtime)" "$REGISTRY/tree"
    mkdir -p /var/lib/syscontainers
    mount -t tmpfs -o size=64m,nr_inodes=16000,mode=0700 tmpfs /var/lib/syscontainers
    refuse 'it starts' systemctl start tree
    check 'why' journal_has tree 'cannot create volume /d: cannot copy .*: the file system of .* is full: [0-9]+ of its 16000 inodes are free'
    expect '' find /var/lib/syscontainers/tree -mindepth 1
    mount -o remount,nr_inodes=40000 /var/lib/syscontainers
    systemctl reset-failed tree
    must 'with room, it starts' systemctl start tree
    expect 10100 eval "find /var/lib/syscontainers/tree/d -mindepth 1 -type d | wc -l"
    must 'it goes' syscontainer-remove --purge tree
    umount /var/lib/syscontainers
done
# many_files DIRECTORY N: so many names in it.
many_files() {
    # shellcheck disable=SC2016 # for Perl
    perl -e 'chdir $ARGV[0] or die; open F, ">f"; for my $d (1..$ARGV[1] / 1000) {
        mkdir "d$d"; for my $n (1..1000) { link "f", "d$d/$n" or die $! } }' "$@"
}
VOLUMES=/var/lib/syscontainers
mkdir -p "$WORK/purged" "$WORK/beside"

say 'a purge of what a payload made much of'
build_and_pull purged --config="{\"Cmd\": $(until_stopped), \"Volumes\": {\"/v\": {}}}"
build_and_pull beside --config="{\"Cmd\": $(until_stopped)}"
checkout --no-enable "$REGISTRY/beside"
checkout --no-enable "$REGISTRY/purged"
systemctl start purged
systemctl stop purged
many_files $VOLUMES/purged/v 200000
syscontainer-remove --purge purged >"$WORK/purge" 2>&1 &
purge=$!
wait_for 'the volumes are away' test -e $VOLUMES/.purged.old
wait_for 'and the container' sh -c "! test -e $CO/purged.0"
wait_for 'and only they are missing' flock --nonblock /run/syscontainers/.locks/.host-files true
kill -STOP $purge
check 'they are being removed' test -e $VOLUMES/.purged.old
refuse 'its volumes are nowhere' test -e $VOLUMES/purged
echo new >"$WORK/beside/new"
build_and_pull beside --config="{\"Cmd\": $(until_stopped)}"
must 'another container is updated meanwhile' quietly timeout 60 syscontainer-checkout --update beside
kill -KILL $purge
wait $purge || true
check 'some are left' test -e $VOLUMES/.purged.old
syscontainer-prune --explain >"$WORK/pruned" 2>&1
expect_like 'leftover .*\.purged\.old: a purge of these volumes was killed' cat "$WORK/pruned"
refuse 'nothing is' test -e $VOLUMES/.purged.old

say 'a purge of an image that says itself where it writes'
# shellcheck disable=SC2016 # for the template
exports purged "$(until_stopped)" --mount='$STATE_DIRECTORY/$NAME:/data' --template
build_and_pull purged
checkout --no-enable "$REGISTRY/purged"
systemctl start purged
systemctl stop purged
many_files /var/lib/purged 100000
syscontainer-remove --purge purged >"$WORK/purge" 2>&1 &
purge=$!
wait_for 'the directory is away' test -e /var/lib/.purged.0.old
wait_for 'and the container' sh -c "! test -e $CO/purged.0"
kill -KILL $purge
wait $purge || true
refuse 'it is nowhere' test -e /var/lib/purged
check 'some of it is left' test -e /var/lib/.purged.0.old
syscontainer-prune --explain >"$WORK/pruned" 2>&1
expect_like 'leftover .*/var/lib/\.purged\.0\.old: a purge of this directory was killed' cat "$WORK/pruned"
refuse 'nothing is' test -e /var/lib/.purged.0.old
must 'the other goes' syscontainer-remove --purge beside
leave_nothing
