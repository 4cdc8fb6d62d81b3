#!/bin/bash
# What the programs of a start touch, seen by strace: no network, no writing but to their own places.
. "$(dirname "$0")/lib.sh"

exports traced "$(shell_args 'sleep 0.2')"
build_and_pull traced

# writes TRACE: paths that were successfully opened for writing, made, renamed, removed, linked or changed, one a line. What is
# relative to an open directory is shown with that directory's path.
writes() {
    local opens='openat2?|open' calls='creat|mkdir(at)?|rename(at2?)?|unlink(at)?|rmdir|link(at)?|symlink(at)?|mknod(at)?'
    calls="$calls|f?chmod(at)?|f?chown(at)?|truncate"
    grep -E " ($opens|$calls)\\(" "$1" | grep -v -e ' = -1 ' -e 'resumed>' |
        grep -E "^[^(]*($opens)\\(.*O_(WRONLY|RDWR|CREAT|TRUNC)|^[^(]* ($calls)\\(" |
        sed -E 's/^[0-9]+ +[a-z0-9]+\(//
            s/^AT_FDCWD(<[^>]*>)?, //
            s/^[0-9]+<([^>]*)>, "([^"]*)".*/\1\/\2/
            s/^[0-9]+<([^>]*)>.*/\1/
            s/^"([^"]*)".*/\1/
            s/^"[^"]*", (AT_FDCWD, )?"([^"]*)".*/\2/' | sort -u
}

# only_allowed TRACE: nothing is written but below /run, cgroups and /proc/self; devices and pipes are no files.
only_allowed() {
    local allowed='/run/|/sys/fs/cgroup|/proc/(self|thread-self|[0-9]+)/|/dev/null|/dev/pts|pipe:|socket:|anon_inode'
    writes "$1" | grep -v -E "^($allowed)" >"$WORK/.elsewhere" || true
}

for runtime in crun runc; do
    say "$runtime"
    checkout --name=$runtime --runtime="$(command -v $runtime)" "$REGISTRY/traced"
    mkdir -p /etc/systemd/system/$runtime.service.d
    strace="/usr/bin/strace -f -y -s 300 -qq"
    libexec=/usr/libexec/syscontainers
    cat >/etc/systemd/system/$runtime.service.d/10-trace.conf <<-END
		[Service]
		ExecStartPre=
		ExecStartPre=$strace -o /run/prepare.trace $libexec/syscontainer-prepare $runtime
		ExecStart=
		ExecStart=$strace -o /run/start.trace $libexec/syscontainer-start $runtime
	END
    systemctl daemon-reload
    check 'it starts' systemctl start $runtime
    wait_for 'and ends' ended $runtime
    expect 'inactive dead success' state $runtime
    for trace in prepare start; do
        [ "$(wc -l </run/$trace.trace)" -gt 50 ] || fail "the trace of $trace is too short to be true"
        refuse "$trace opens no network socket" grep -E 'AF_(INET|INET6|PACKET)' /run/$trace.trace
        only_allowed /run/$trace.trace
        if [ $trace = prepare ]; then
            expect '' cat "$WORK/.elsewhere"
            refuse 'prepare runs nothing but itself' \
                grep -E 'execve\("/usr/(s?bin|libexec)/(crun|runc|skopeo|ostree|systemctl)' /run/prepare.trace
        else
            # The runtime also makes mount points in the container's own mounts: relative to them, or seen through the rootfs
            # (where the tests run in a chroot, strace shows paths of the host's).
            mounts='(/.*)?/var/lib/containers/atomic/[^/]*/rootfs/(dev|proc|sys)'
            grep -v -E "^([^/]|/dev|/proc|/\$|$mounts|(/.*)?/dev/null\$|/tmp/crun|/tmp\$)" "$WORK/.elsewhere" \
                >"$WORK/.start" || true
            expect '' cat "$WORK/.start"
        fi
        writes /run/$trace.trace | sed -n '1,40 s/^/  wrote /p'
    done
    systemctl stop $runtime
done
expect '' find $CO/crun/rootfs/{dev,proc} $CO/runc/rootfs/{dev,proc} -mindepth 1

say 'the generator'
generator=/usr/lib/systemd/system-generators/syscontainer-generator
strace -f -y -qq -o /run/generator.trace $generator "$WORK/units" "$WORK/early" "$WORK/late"
expect 'crun.service.d runc.service.d' names_in "$WORK/units"
refuse 'it starts no process' grep -E ' (clone3?|v?fork)\(|execve\(.*' <(tail -n +2 /run/generator.trace)
# Its own output is there in this story.
refuse 'it never looks below /var' grep -F '"/var' <(grep -v -F "$WORK/" /run/generator.trace)
refuse 'it opens no socket' grep -F 'socket(' /run/generator.trace
find "$WORK/units" -type f -exec sha256sum {} + >"$WORK/with"
rm -rf "$WORK/units"
unshare --mount bash -c 'mount -t tmpfs tmpfs /var/lib/containers && exec "$0" "$1"' $generator "$WORK/units"
check 'its output is the same without /var' diff "$WORK/with" <(find "$WORK/units" -type f -exec sha256sum {} +)
