#!/bin/bash
# What payloads write to in ways that are easily overlooked, and who keeps others from starting by what they mount.
. "$(dirname "$0")/lib.sh"

GOT=/var/lib/syscontainers/.got
mkdir -m 0700 /srv/secret
echo TOKEN=host-only >/srv/secret/env
# has_acted NAME FILE: its payload made FILE, and is over.
has_acted() {
    must "$1 starts" systemctl start "$1"
    wait_for 'it has acted' test -e "$2"
    put_down "$1"
}
# is_turned_away NAME OUTER: it is not started, since a link in OUTER is not followed, and got nothing.
is_turned_away() {
    mark_journal
    systemctl start "$1" || true
    wait_for "$1 is refused" has_said "$1" "cannot bind .*, which is in $2, where a payload can put anything: .*it is a symlink"
    put_down "$1"
    refuse 'the payload has read nothing of it' journal_has "$1" host-only
    expect env names_in /srv/secret
}
for name in first second plain; do mkdir -p "$WORK/$name"; done
build_and_pull second --config="{\"Cmd\": $(shell_args 'cat /x/env; touch /x/pwned; sleep 100000')}"
build_and_pull plain --config="{\"Cmd\": $(until_stopped)}"

say 'an overlay in a directory'
build_and_pull first --config="{\"Cmd\": $(shell_args 'rm -r /data/merged/www; ln -s /srv/secret /data/merged/www; touch /data/done; sleep 100000')}"
for runtime in crun runc; do
    mkdir -p /srv/app/merged /srv/over
    mount -t tmpfs over /srv/over
    mkdir -p /srv/over/{low,up,work}/www
    mount -t overlay over -o lowerdir=/srv/over/low,upperdir=/srv/over/up,workdir=/srv/over/work /srv/app/merged
    checkout --no-enable --runtime="$(type -P $runtime)" -o Volume=/srv/app:/data "$REGISTRY/first"
    checkout --no-enable --runtime="$(type -P $runtime)" -o Volume=/srv/over/up/www:/x "$REGISTRY/second"
    has_acted first /srv/app/done
    check 'its link is in the layer' test -L /srv/over/up/www
    is_turned_away second /srv/over/up
    # Also when the overlay is gone, and the container.
    umount /srv/app/merged
    must 'removed' syscontainer-remove --purge first
    is_turned_away second /srv/over/up
    must 'removed' syscontainer-remove --purge second
    umount /srv/over
    rm -r /srv/app /srv/over
    # The file system is not mounted any more, and so not forgotten.
    must 'a prune' syscontainer-prune
    expect_like '^/srv/over/up /srv/over$' cat $GOT
    rm $GOT
done

say 'what is mounted in a volume'
build_and_pull first --config="{\"Cmd\": $(shell_args 'rm -r /data/shared/www; ln -s /srv/secret /data/shared/www; touch /data/done; sleep 100000'), \"Volumes\": {\"/data\": {}}}"
volume=/var/lib/syscontainers/first/data
for runtime in crun runc; do
    mkdir -p /srv/shared/www
    checkout --no-enable --runtime="$(type -P $runtime)" "$REGISTRY/first"
    checkout --no-enable --runtime="$(type -P $runtime)" -o Volume=/srv/shared/www:/x "$REGISTRY/second"
    has_acted first $volume/done
    refuse 'a volume is not recorded' test -e $GOT
    rm $volume/done
    mkdir -p $volume/shared
    mount --bind /srv/shared $volume/shared
    has_acted first $volume/done
    expect_like '^/srv/shared /$' cat $GOT
    expect_no '^/var/lib/syscontainers/' cat $GOT
    is_turned_away second /srv/shared
    umount $volume/shared
    is_turned_away second /srv/shared
    must 'removed' syscontainer-remove --purge first
    must 'removed' syscontainer-remove --purge second
    rm -r /srv/shared
    must 'a prune' syscontainer-prune
done

say 'a directory on a host that does not answer'
mkdir -p /srv/far
mount -t tmpfs far /srv/far
mkdir /srv/far/app
build_and_pull first --config="{\"Cmd\": $(until_stopped)}"
checkout --no-enable -o Volume=/srv/far/app:/data "$REGISTRY/first"
must 'it starts' systemctl start first
must 'removed' syscontainer-remove --purge first
umount /srv/far
expect '/srv/far/app /srv/far' cat $GOT
printf '#!/bin/sh\nexec sleep 600\n' >/sbin/mount.far
chmod +x /sbin/mount.far
printf '[Mount]\nWhat=dead.example:/x\nWhere=/srv/far\nType=far\n' >/run/systemd/system/srv-far.mount
printf '[Automount]\nWhere=/srv/far\n' >/run/systemd/system/srv-far.automount
systemctl daemon-reload
if systemctl start srv-far.automount; then
    for runtime in crun runc; do
        checkout --no-enable --runtime="$(type -P $runtime)" "$REGISTRY/plain"
        must 'nothing is looked at there' timeout 30 systemctl start plain
        expect 'active running success' state plain
        expect inactive eval 'systemctl is-active srv-far.mount || true'
        must 'removed' syscontainer-remove --purge plain
    done
    must 'a prune' timeout 60 syscontainer-prune
    expect inactive eval 'systemctl is-active srv-far.mount || true'
    expect '/srv/far/app /srv/far' cat $GOT
    systemctl stop srv-far.automount
else
    echo '# this machine mounts nothing by itself'
fi
rm -f /sbin/mount.far $GOT

say 'a file system of a user'
# user_mounts: as fusermount does for user 65534.
user_mounts() {
    # shellcheck disable=SC2016 # for Perl
    exec perl -e 'open F, "+<", "/dev/fuse" or exit 77;
        my ($s, $d, $t) = ("/\0", "/home/u/share\0", "fuse\0");
        my $o = "fd=" . fileno(F) . ",rootmode=40000,user_id=65534,group_id=65534\0";
        syscall(165, $s, $d, $t, 6, $o) == 0 or exit 77;
        sleep 1000'
}
[ -e /dev/fuse ] || mknod /dev/fuse c 10 229 || true
mkdir -p /home/u/share
chown 65534 /home/u
checkout --no-enable -o Volume=/home/u/share:/data "$REGISTRY/first"
user_mounts &
mounted=$!
for _ in {1..20}; do
    grep -q ' /home/u/share .* fuse ' /proc/self/mountinfo && break
    sleep 0.2
done
if grep -q ' /home/u/share .* fuse ' /proc/self/mountinfo; then
    echo A=1 >/etc/story.env
    ln -sfn /etc/story.env /srv/link
    for runtime in crun runc; do
        checkout --no-enable --runtime="$(type -P $runtime)" -o EnvironmentFile=/srv/link "$REGISTRY/plain"
        must 'links of the host lead where they did' systemctl start plain
        expect 'active running success' state plain
        must 'removed' syscontainer-remove --purge plain
    done
    checkout --no-enable --name=all -o Volume=/:/host:ro "$REGISTRY/first"
    must 'it starts' systemctl start all
    expect_no /home/u eval "cat $GOT 2>/dev/null || true"
    must 'removed' syscontainer-remove --purge all
    umount -l /home/u/share
else
    echo '# this machine has no file systems in userspace'
fi
kill $mounted 2>/dev/null || true
must 'removed' syscontainer-remove --purge first
