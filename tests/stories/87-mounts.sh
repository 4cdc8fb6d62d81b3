#!/bin/bash
# Nothing is mounted in a container of a plain image but what its configuration says, and nothing of its payload's in the place of
# what is the kernel's; with crun and runc.
. "$(dirname "$0")/lib.sh"

# mounting NAME VOLUMES ARGS: an image with these volumes, as "/a /b", of the files in $WORK/NAME.
mounting() {
    local volumes='' volume
    for volume in $2; do volumes+=", \"$volume\": {}"; done
    mkdir -p "$WORK/$1"
    build_image "$1" --owners --config="{\"Cmd\": $3, \"Volumes\": {${volumes#, }}}" "$WORK/$1"
    pull_image "$1"
}

say 'volumes in the place of what is the kernel'\''s'
mkdir -p "$WORK/kernels"
ln -sfn /dev "$WORK/kernels/x"
ln -sfn /sys "$WORK/kernels/y"
while read -r volume place; do
    mounting kernels "$volume" "$(until_stopped)"
    for runtime in crun runc; do
        run_fails 1 "its volume \"$volume\" would be in $place, which is the kernel's" \
            syscontainer-checkout --runtime=/usr/bin/$runtime "$REGISTRY/kernels"
    done
done <<'END'
/dev /dev
/dev/shm /dev
/sys /sys
/sys/fs /sys
/x /dev
/y/fs/cgroup /sys
END
mkdir -p "$WORK/linked/d"
ln -sfn /d "$WORK/linked/dev"
mounting linked /d "$(until_stopped)"
run_fails 1 'its /dev is a symlink to "/d", not a directory, and runtimes would write to wherever that leads' syscontainer-checkout "$REGISTRY/linked"

say 'cgroups, as many images of systemd declare them'
mounting cgroups '/sys/fs/cgroup /v' "$(until_stopped 'touch /v/begun; touch /sys/fs/cgroup/mine && touch /v/written')"
for runtime in crun runc; do
    checkout --runtime=/usr/bin/$runtime "$REGISTRY/cgroups"
    check "$runtime: it starts" systemctl start cgroups
    wait_for 'it runs' test -e /var/lib/syscontainers/cgroups/v/begun
    expect v names_in /var/lib/syscontainers/cgroups
    expect_like ' /sys/fs/cgroup ro,.* - cgroup' cat "/proc/$(unit_property cgroups MainPID)/mountinfo"
    systemctl stop cgroups
    refuse 'it writes nothing there' test -e /var/lib/syscontainers/cgroups/v/written
    must 'its volume goes' syscontainer-remove --purge cgroups
done

say 'a runtime that is led elsewhere while it mounts'
mkdir -p "$WORK/led"/{w/a,etc,v}
mounting led '/w /w/a /v' "$(until_stopped 'touch /v/begun')"
# wrapped RUNTIME BEFORE AFTER: one that does this before it creates a container, and that afterwards, with its process ID in $pid.
wrapped() {
    mkdir -p /usr/local/lib/wrapped
    cat >/usr/local/lib/wrapped/"$1" <<-END
		#!/bin/bash
		case " \$* " in
		    *' create '*)
		        $2
		        /usr/bin/$1 "\$@" || exit
		        while [ \$# -gt 1 ]; do [ "\$1" != --pid-file ] || pid=\$(cat "\$2"); shift; done
		        $3
		        ;;
		    *) exec /usr/bin/$1 "\$@" ;;
		esac
	END
    chmod 755 /usr/local/lib/wrapped/"$1"
}
volume=/var/lib/syscontainers/led/w
# is_not_started RUNTIME REASON: for that reason, and nothing is left of it.
is_not_started() {
    refuse "$1: it does not start" systemctl start led
    expect_like "cannot start led: $2" journal_of led
    refuse 'the payload did not run' test -e /var/lib/syscontainers/led/v/begun
    refuse 'the container is gone' test -e "/run/$1/led"
    systemctl stop led
    systemctl reset-failed led 2>/dev/null || true
}
for runtime in crun runc; do
    wrapped $runtime : :
    checkout --runtime=/usr/local/lib/wrapped/$runtime "$REGISTRY/led"
    check "$runtime: it starts as it is" systemctl start led
    wait_for 'it runs' test -e /var/lib/syscontainers/led/v/begun
    systemctl stop led
    rm /var/lib/syscontainers/led/v/begun
    wrapped $runtime "rmdir $volume/a; ln -s /etc $volume/a" :
    is_not_started $runtime 'the runtime mounted .* at /etc, where the configuration has nothing like that'
    rm $volume/a
    wrapped $runtime "mkdir -p $volume/b; rm -df $volume/a; ln -s b $volume/a" "rm $volume/a; mkdir $volume/a"
    is_not_started $runtime 'the runtime mounted .* at /w/b, where the configuration has nothing like that'
    # shellcheck disable=SC2016 # for the wrapper
    wrapped $runtime : 'nsenter --mount --target $pid /bin/busybox umount /sys/dev/block'
    is_not_started $runtime 'the runtime did not mask /sys/dev/block'
    # shellcheck disable=SC2016
    wrapped $runtime : 'nsenter --mount --target $pid /bin/busybox mount -t proc proc /etc'
    is_not_started $runtime 'the runtime mounted proc at /etc, where the configuration has nothing like that'
    # shellcheck disable=SC2016
    wrapped $runtime : 'nsenter --mount --target $pid /bin/busybox umount /v'
    is_not_started $runtime 'the runtime did not mount volume /v there'
    must 'its volumes go' syscontainer-remove --purge led
done
rm -r /usr/local/lib/wrapped

say 'the notification socket is in no volume'
mkdir -p "$WORK/notified"/{run,v,etc}
# shellcheck disable=SC2016 # for the payload
mounting notified '/run /v' "$(until_stopped 'rm -rf /run/host; ln -s /etc /run/host; echo "$NOTIFY_SOCKET" >/v/socket; touch /v/begun$(ls /v | wc -l)')"
for runtime in crun runc; do
    checkout --notify=ready --runtime=/usr/bin/$runtime "$REGISTRY/notified"
    for number in 1 2; do
        systemctl start --no-block notified
        wait_for "$runtime: start $number" test -e /var/lib/syscontainers/notified/v/begun$number
        # It is the main process of its unit as soon as it is ready, which it never is.
        mounts=/proc/$(cut -d' ' -f1 /run/syscontainers/notified/payload)/mountinfo
        check 'the socket is mounted' grep -q ' /dev/notify ' "$mounts"
        refuse 'nothing is mounted where its link leads' grep -E ' /etc/[^ ]+ ' <(grep -vE ' /etc/(hosts|hostname|resolv.conf) ' "$mounts")
        systemctl stop notified
    done
    expect /dev/notify cat /var/lib/syscontainers/notified/v/socket
    refuse 'the files of the image stay as they are' test -e $CO/notified.0/rootfs/etc/notify
    must 'its volumes go' syscontainer-remove --purge notified
done
