#!/bin/bash
# Bind sources of images with /exports: what a payload makes of them leads nowhere on the host; with crun and runc.
. "$(dirname "$0")/lib.sh"

# Of the host's, and none of the container's business.
mkdir -p /srv/victim
echo victim >/srv/victim/victim.db
chmod 0700 /srv/victim
# no_loot WHAT: nobody was there.
no_loot() { expect victim.db names_in /srv/victim; expect victim cat /srv/victim/victim.db; ok "$1"; }
# no_mounts: the host has none of those that runtimes are shown.
no_mounts() {
    refuse 'the host has no such mount' grep -F /run/syscontainers/.sources /proc/self/mountinfo
    expect '' find /run/syscontainers/.sources -mindepth 1
}

say 'a payload that makes a link of what is on the way to a second source'
for where in /srv/app /var/log/app /var/run/app; do
    for runtime in crun runc; do
        exports app "$(shell_args 'if [ ! -e /s/x ]; then mv /s/a /s/x; ln -s / /s/a; exit 1; fi; cat /t/* >/s/loot; touch /t/PWNED; sleep 100000')" \
            --unit=$'Restart=on-failure\nRestartSec=50ms' --mount="$where:/s:bind,rw" --mount="$(realpath -m "$where")/a/srv/victim:/t:bind,rw"
        build_and_pull app
        checkout --runtime=/usr/bin/$runtime "$REGISTRY/app"
        expect_no '/a/' cat /etc/tmpfiles.d/app.conf
        mark_journal
        systemctl start app || true
        wait_for "$runtime: the next start is refused" has_said app \
            "cannot bind .*/app/a/srv/victim, which is in .*/app, where a payload can put anything: .*/app/a: it is a symlink"
        refuse 'it got nothing' test -e "$where/loot"
        systemd-tmpfiles --create app.conf
        no_loot "$where with $runtime"
        systemctl stop app
        systemctl reset-failed app 2>/dev/null || true
        check 'removed' syscontainer-remove app
        rm -r "${where:?}"
    done
done

say 'one that does it after the start was prepared'
for runtime in crun runc; do
    exports late "$(until_stopped 'cat /t/* >/s/loot; touch /t/PWNED')" --mount=/srv/late:/s:bind,rw --mount=/srv/late/a/srv/victim:/t:bind,rw \
        --unit="ExecStartPre=/bin/sh -c 'mv /srv/late/a /srv/late/x; ln -s / /srv/late/a'"
    build_and_pull late
    checkout --runtime=/usr/bin/$runtime "$REGISTRY/late"
    refuse "$runtime does not start it" systemctl start late
    expect_like 'cannot bind /srv/late/a/srv/victim, which is in /srv/late, .*: /srv/late/a: it is a symlink' journalctl --unit=late --output=cat --no-pager
    check 'it was prepared' test -d /srv/late/x/srv/victim
    no_loot "$runtime"
    no_mounts
    check 'removed' syscontainer-remove late
    rm -r /srv/late
done

say 'one that does it while the runtime is at work'
# shellcheck disable=SC2016 # for that shell
printf '#!/bin/sh\ncase " $* " in *" create "*) mv /srv/during/a /srv/during/x; ln -s / /srv/during/a ;; esac\nexec "/usr/bin/${0##*/}" "$@"\n' >"$WORK/crun"
cp "$WORK/crun" "$WORK/runc"
chmod 0755 "$WORK"/{crun,runc}
for runtime in crun runc; do
    exports during "$(until_stopped 'touch /t/mine')" --mount=/srv/during:/s:bind,rw --mount=/srv/during/a/srv/victim:/t:bind,rw
    build_and_pull during
    checkout --runtime="$WORK/$runtime" "$REGISTRY/during"
    check "$runtime starts it" systemctl start during
    wait_for 'it has what was opened' test -e /srv/during/x/srv/victim/mine
    no_loot "$runtime"
    systemctl stop during
    check 'removed' syscontainer-remove during
    rm -r /srv/during
done

say 'sources in others that are as they should be'
for runtime in crun runc; do
    for kind in plain mapped; do
        name=$kind-$runtime
        options=()
        [ $kind = plain ] || options=('--namespaces=pid,ipc,mount,user')
        exports "$name" "$(until_stopped 'cat /f /t/deep/file >/s/seen; touch /s/done')" "${options[@]}" \
            --mount=/srv/honest:/s:rbind,rw --mount=/srv/honest/a/b:/t:rbind,rslave,ro --mount=/srv/honest/file:/f:bind,ro \
            --mount=/srv/honest/made/here:/m:bind,rw
        # With less, runtimes cut what they bind off from the host's mounts.
        sed -i 's/"linux": {/&"rootfsPropagation": "rslave", "uidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}], "gidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}], /' \
            "$WORK/$name/exports/config.json"
        [ $kind = mapped ] || sed -i 's/"uidMappings.*}\], "gid[^]]*\], //' "$WORK/$name/exports/config.json"
        build_and_pull "$name"
        mkdir -p /srv/honest/a/b/deep
        echo one >/srv/honest/file
        chmod 0777 /srv/honest
        mount -t tmpfs deep /srv/honest/a/b/deep
        echo two >/srv/honest/a/b/deep/file
        checkout --runtime=/usr/bin/$runtime "$REGISTRY/$name"
        check "$name starts" systemctl start "$name"
        wait_for 'it has run' test -e /srv/honest/done
        # In a user namespace, crun binds no mounts below.
        case $name in mapped-crun) expect one cat /srv/honest/seen ;; *) expect $'one\ntwo' cat /srv/honest/seen ;; esac
        check 'what was missing is made' test -d /srv/honest/made/here
        no_mounts
        # A mount that the host makes later appears in it.
        mkdir /srv/honest/a/b/later
        mount -t tmpfs later /srv/honest/a/b/later
        check 'mounts of the host appear' grep -F ' /t/later ' "/proc/$(unit_property "$name" MainPID)/mountinfo"
        umount /srv/honest/a/b/later
        kill -KILL "$(unit_property "$name" MainPID)"
        expect_soon failed unit_property "$name" ActiveState
        check 'what is mounted in it stays' mountpoint -q /srv/honest/a/b/deep
        expect two cat /srv/honest/a/b/deep/file
        check 'prepared by hand' /usr/libexec/syscontainers/syscontainer-prepare "$name"
        no_mounts
        check 'and cleaned up' /usr/libexec/syscontainers/syscontainer-prepare --cleanup "$name"
        expect two cat /srv/honest/a/b/deep/file
        forget "$name"
        umount /srv/honest/a/b/deep
        rm -r /srv/honest
    done
done

say 'files that containers share are not written to'
exports other "$(until_stopped)"
mkdir -p "$WORK/other/srv"
echo original >"$WORK/other/srv/file"
build_and_pull other
checkout "$REGISTRY/other"
# shellcheck disable=SC2016 # variables of images
for source in rootfs/srv '$DESTDIR/rootfs/srv' $CO/shared/rootfs/srv $CO/shared.0/rootfs/srv $CO/other.0 $CO $STORE; do
    exports shared "$(until_stopped 'echo EVIL >>/w/file')" --template --mount="$source:/w:bind,rw"
    mkdir -p "$WORK/shared/srv"
    cp -p "$WORK/other/srv/file" "$WORK/shared/srv/file"
    bad_image shared 'exports/config.json.template: the bind source .* is in a deployment or the image store, .*; make it read-only \(the option "ro"\), or use a directory below'
    run_fails 1 'make it read-only' syscontainer-checkout --dry-run "$REGISTRY/shared"
done
exports shared "$(until_stopped)" --mount=rootfs/srv:/w:bind,ro --mount=/var/lib:/v:bind,rw
build_and_pull shared
checkout "$REGISTRY/shared"
check 'read-only, or with more of the host than that, it starts' systemctl start shared
systemctl stop shared
forget shared
for runtime in crun runc; do
    exports shared "$(until_stopped 'echo EVIL >>/w/file')" --mount=/srv/alias:/w:bind,rw
    build_and_pull shared
    checkout --runtime=/usr/bin/$runtime "$REGISTRY/shared"
    rmdir /srv/alias 2>/dev/null || true
    ln -sfn $CO/other.0/rootfs/srv /srv/alias
    refuse 'by another path, too' systemctl start shared
    check 'it says why' journal_has shared 'the bind source /srv/alias is in a deployment or the image store'
    rm /srv/alias
    mkdir /srv/alias
    mount --bind $CO /srv/alias
    systemctl reset-failed shared
    refuse 'a mount is another path' systemctl start shared
    umount /srv/alias
    check 'removed' syscontainer-remove shared
    rm -r /srv/alias
done
expect original cat $CO/other.0/rootfs/srv/file

say 'nor by a program of a unit'
exports own '["true"]'
rm "$WORK/own/exports/config.json"
mkdir -p "$WORK/own"/{bin,srv,dev,proc,sys}
cp "$(command -v busybox)" "$WORK/own/bin/busybox"
echo original >"$WORK/own/srv/file"
chown daemon "$WORK/own/srv/file"
cat >"$WORK/own/exports/service.template" <<'END'
[Service]
RootDirectory=$DESTDIR/rootfs
User=daemon
StateDirectory=own
ExecStart=/bin/busybox sh -c '/bin/busybox echo EVIL >>/srv/file; /bin/busybox touch /var/lib/own/done; /bin/busybox sleep 1000'
END
build_and_pull own --owners
checkout "$REGISTRY/own"
check 'it starts' systemctl start own
wait_for 'it has run, and keeps its state' test -e /var/lib/own/done
expect original cat $CO/own.0/rootfs/srv/file
systemctl stop own
rm -r /var/lib/own

say 'a PID file where the payload can put a link'
# shellcheck disable=SC2016 # a variable of images
exports pid "$(until_stopped)" --template --mount=/run/pid:/s:bind,rw --unit='PIDFile=$PIDFILE'
bad_image pid 'PIDFILE is /run/pid/sub/x.pid, which is in /run/pid, where the payload can put anything; set another one' --set PIDFILE=/run/pid/sub/x.pid
checkout "$REGISTRY/pid"
check 'elsewhere it can be' systemctl start pid
systemctl stop pid
no_loot 'in the end'
rm -r /srv/victim
