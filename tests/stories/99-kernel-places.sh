#!/bin/bash
# Where runtimes look things up that they mount, make or change, before the payload has a root of its own: no link of an image or of
# a payload leads them to anything of the host's, or takes away what protects it. With crun and runc.
. "$(dirname "$0")/lib.sh"

V=/var/lib/syscontainers
# image_of NAME[:TAG] CONFIG: makes and pulls an image with this configuration, of the files in $WORK/NAME.
image_of() {
    mkdir -p "$WORK/${1%:*}"
    build_image "$1" --owners --config="$2" "$WORK/${1%:*}"
    pull_image "$1"
}
# stopped NAME: it does not come back either.
stopped() {
    systemctl stop "$1" 2>/dev/null || true
    systemctl reset-failed "$1" 2>/dev/null || true
}
# gone NAME: removes a container, and what it wrote.
gone() {
    stopped "$1"
    must "$1 goes" syscontainer-remove --purge "$1"
}
# what is there, on the host
mkdir -p /srv/target /srv/precious
echo precious | tee /srv/target/ptmx /srv/precious/file >/dev/null
the_target() { find /srv/target -printf '%y %m %p -> %l\n' | sort; cat /srv/target/ptmx; ls -l /dev; }
the_target >"$WORK/target"

say 'an image whose /dev, /proc or /sys is none of its directories'
for place in dev proc sys; do
    for kind in link file steered; do
        name=$place$kind
        mkdir -p "$WORK/$name/v" "$WORK/$name/d"
        case $kind in
            link) ln -sfn /srv/target "$WORK/$name/$place" ;;
            file) rm -df "$WORK/$name/$place"; touch "$WORK/$name/$place" ;;
            steered) ln -sfn v/link "$WORK/$name/$place"; ln -sfn ../d "$WORK/$name/v/link" ;;
        esac
        image_of "$name" "{\"Cmd\": $(until_stopped), \"User\": \"1000:1000\", \"Volumes\": {\"/v\": {}}}"
        why="its /$place is a (symlink to \"[a-z/]*\"|regular file), not a directory, and runtimes would write to wherever that leads on this host"
        for runtime in crun runc; do
            run_fails 1 "cannot generate a configuration for .*: $why" syscontainer-checkout --runtime=/usr/bin/$runtime "$REGISTRY/$name"
        done
        run_fails 1 "$why" syscontainer-checkout --dry-run "$REGISTRY/$name"
        run_fails 1 "$why" syscontainer-checkout --plain "$REGISTRY/$name"
        ends 1 syscontainer-lint "$REGISTRY/$name"
        check 'lint says why' grep -qE "$why" "$WORK/printed"
        refuse 'nothing was installed' test -e "$CO/$name"
    done
done
expect_same "$WORK/target" the_target

say 'an update that brings one'
mkdir -p "$WORK/upd"
image_of upd "{\"Cmd\": $(until_stopped)}"
checkout "$REGISTRY/upd"
must 'a start' systemctl start upd
ln -sfn /srv/target "$WORK/upd/dev"
build_image upd --owners --config="{\"Cmd\": $(until_stopped)}" "$WORK/upd"
expect_like 'upd: .*: unusable: .*its /dev is a symlink to "/srv/target", not a directory' syscontainer-pull --quiet --check --container=upd
expect_like '"update": "unusable"' syscontainer-pull --quiet --check --json --container=upd
refuse 'it is not fetched' systemctl start syscontainer-fetch@upd
expect_like 'its /dev is a symlink to "/srv/target", not a directory' journal_of syscontainer-fetch@upd
run_fails 1 'its /dev is a symlink' syscontainer-checkout --update upd
run_fails 1 'its /dev is a symlink' syscontainer-checkout --update --stage upd
expect upd.0 readlink "$CO"/upd
refuse 'nothing is staged' grep -q '"staged": *"' "$CO"/.upd.state
expect 'active running success' state upd
expect_same "$WORK/target" the_target
gone upd

say 'a root file system that is used in place, and that was changed since'
mkdir -p /srv/rootfs/{dev,proc,sys,run,tmp,var/tmp,usr,bin}
cp /bin/busybox /srv/rootfs/bin/sh
image_of inplace "{\"Cmd\": $(until_stopped)}"
for runtime in crun runc; do
    checkout --rootfs=/srv/rootfs --runtime=/usr/bin/$runtime "$REGISTRY/inplace"
    must "$runtime: a start" systemctl start inplace
    systemctl stop inplace
    for place in dev proc sys; do
        rmdir /srv/rootfs/$place
        ln -s /srv/target /srv/rootfs/$place
        refuse "$runtime: no start with a link in place of /$place" systemctl start inplace
        expect_like "^cannot prepare inplace: /$place in /srv/rootfs is a symlink" journal_of inplace
        stopped inplace
        rm /srv/rootfs/$place
        mkdir /srv/rootfs/$place
    done
    gone inplace
done
rmdir /srv/rootfs/dev
ln -sfn /srv/target /srv/rootfs/dev
run_fails 1 'its /dev is a symlink to "/srv/target"' syscontainer-checkout --rootfs=/srv/rootfs "$REGISTRY/inplace"
rm -r /srv/rootfs
expect_same "$WORK/target" the_target

say 'what is mounted in every container, through links of the image'
for link in tmp:/proc tmp:/dev var/tmp:/sys run:/proc/sys run:/dev/shm tmp:/proc/self/fd tmp:/dev/pts tmp:/; do
    rm -rf "$WORK/through"
    mkdir -p "$WORK/through/var"
    ln -s "${link#*:}" "$WORK/through/${link%%:*}"
    image_of through "{\"Cmd\": $(until_stopped)}"
    run_fails 1 "its mount \"/${link%%:*}\" would be (in /[a-z]*, which is the kernel's|its whole root)" syscontainer-checkout -o ReadOnly=yes "$REGISTRY/through"
done

say 'a volume whose way leads through itself, or another one, by a link of the image'
mkdir -p "$WORK/self/m/a"
ln -sfn /m "$WORK/self/m/k"
ln -sfn /srv "$WORK/self/m/a/s"
for volumes in '"/m/k": {}' '"/m/k/x": {}, "/n": {}, "/m": {}'; do
    image_of self "{\"Cmd\": $(until_stopped), \"Volumes\": {$volumes}}"
    case $volumes in
        *n*) checkout "$REGISTRY/self"; gone self ;;
        *) run_fails 1 'its volume "/m/k" is behind the symlink /m/k, which would be covered by what is mounted at /m' syscontainer-checkout "$REGISTRY/self" ;;
    esac
done

say 'flags that a payload moves to something else'
# The inner volume covers the link that it was found by.
mkdir -p "$WORK/nest/a/d/k" "$WORK/nest/a/ro"
# shellcheck disable=SC2016 # for the payload
payload='grep -E " /sys | /a" /proc/self/mountinfo | cut -d" " -f4-6 >>/a/seen
    echo changed >/a/ro/file; v=$(cat /sys/kernel/mm/ksm/sleep_millisecs); echo "$v" >/sys/kernel/mm/ksm/sleep_millisecs && touch /a/written
    if [ ! -e /a/old ]; then mv /a/d /a/old; ln -s "$TARGET" /a/old/k/k; mkdir /a/d; ln -s ../d /a/d/k; exit 1; fi
    touch /a/again; trap "exit 0" TERM; sleep 100000 & wait'
image_of nest "{\"Cmd\": $(shell_args "$payload"), \"Volumes\": {\"/a\": {}, \"/a/d/k\": {}}}"
# was_refused NAME: it came back, and there was a reason not to start it.
was_refused() { journal_has "$1" 'cannot (prepare|start) ' >/dev/null; }
for runtime in crun runc; do
    for target in /sys /sys/fs/cgroup /a/ro /proc; do
        mkdir -p $V/nest
        chmod 700 $V $V/nest
        mkdir -p $V/nest/a/{d/k,ro}
        mount --bind /srv/precious $V/nest/a/ro
        mount -o remount,bind,ro $V/nest/a/ro
        checkout --name=nest --runtime=/usr/bin/$runtime --set TARGET=$target "$REGISTRY/nest"
        systemctl start nest || true
        wait_for "$runtime, $target: it comes back" was_refused nest
        expect_like 'cannot prepare nest: cannot mount volume "/a/d/k" in the directory that is mounted at /a: d/k in .* leads through a symlink' journal_of nest
        refuse 'it did not run again' test -e $V/nest/a/again
        refuse 'nothing of the kernel was written' test -e $V/nest/a/written
        expect precious cat /srv/precious/file
        stopped nest
        umount $V/nest/a/ro
        gone nest
        journalctl --rotate --vacuum-time=1s >/dev/null 2>&1
    done
done

say 'the same while the runtime is at work'
mkdir -p "$WORK/led/w/a" "$WORK/led/v"
image_of led "{\"Cmd\": $(until_stopped 'touch /v/begun'), \"Volumes\": {\"/w\": {}, \"/w/a\": {}, \"/v\": {}}}"
# wrapped_runtime RUNTIME AFTER: one that does this after it created a container, whose process is $pid.
wrapped_runtime() {
    mkdir -p /usr/local/lib/wrapped
    cat >/usr/local/lib/wrapped/"$1" <<-END
		#!/bin/bash
		/usr/bin/$1 "\$@" || exit
		case " \$* " in
		    *' create '*)
		        while [ \$# -gt 1 ]; do [ "\$1" != --pid-file ] || pid=\$(cat "\$2"); shift; done
		        nsenter --mount --pid --target \$pid /bin/sh -c '$2'
		        ;;
		esac
	END
    chmod 755 /usr/local/lib/wrapped/"$1"
}
make_disk() {
    mkdir -p $V/led/w/disk
    chmod 700 $V $V/led
}
make_disk
for runtime in crun runc; do
    wrapped_runtime $runtime :
    mount --bind /srv/precious $V/led/w/disk
    mount -o remount,bind,ro,nosuid,noexec $V/led/w/disk
    checkout -o ReadOnly=yes --runtime=/usr/local/lib/wrapped/$runtime "$REGISTRY/led"
    must "$runtime: it starts as it is" systemctl start led
    wait_for 'it runs' test -e $V/led/v/begun
    expect_like ' /w/disk ro,nosuid,.*noexec' cat "/proc/$(unit_property led MainPID)/mountinfo"
    while read -r place options option; do
        stopped led
        rm -f $V/led/v/begun
        wrapped_runtime $runtime "mount -o remount,bind,$options $place"
        refuse "$runtime: it does not start with $place $options" systemctl start led
        expect_like "the runtime mounted [a-z0-9]* at $place without the option $option, which the (configuration|mount on the host) has" journal_of led
        refuse 'it did not run' test -e $V/led/v/begun
    done <<-END
		/sys rw ro
		/sys/fs/cgroup rw ro
		/ rw ro
		/proc exec noexec
		/dev suid nosuid
		/dev/shm exec noexec
		/tmp suid nosuid
		/w dev nodev
		/w/a suid nosuid
		/w/disk rw ro
		/w/disk suid nosuid
	END
    stopped led
    wrapped_runtime $runtime 'mount --make-shared /w/a'
    refuse 'nor with one that is shared' systemctl start led
    expect_like 'at /w/a without the option private' journal_of led
    stopped led
    wrapped_runtime $runtime 'mount -t tmpfs tmpfs /proc'
    refuse 'nor with something over /proc' systemctl start led
    stopped led
    wrapped_runtime $runtime 'umount /dev/shm'
    refuse 'nor with something missing' systemctl start led
    expect_like 'the runtime did not mount tmpfs /dev/shm there' journal_of led
    stopped led
    umount $V/led/w/disk
    gone led
    make_disk
done
rm -r /usr/local/lib/wrapped $V/led
expect_same "$WORK/target" the_target

say 'a working directory in a volume'
mkdir -p "$WORK/cwd/v" "$WORK/cwd/opt/app"
image_of cwd "{\"Cmd\": $(until_stopped 'pwd >/v/pwd'), \"Volumes\": {\"/v\": {}}, \"WorkingDir\": \"/v/l/etc/made-by-payload\"}"
for runtime in crun runc; do
    checkout --runtime=/usr/bin/$runtime "$REGISTRY/cwd"
    must "$runtime: the first start makes it" systemctl start cwd
    wait_for 'it is there' test -s $V/cwd/v/pwd
    stopped cwd
    rm -r $V/cwd/v/{l,pwd}
    ln -s / $V/cwd/v/l
    must 'with a link, it is made where that leads in the container' systemctl start cwd
    wait_for 'it runs' test -s $V/cwd/v/pwd
    refuse 'nothing was made in the files of the image' test -e "$CO/cwd.0/rootfs/etc/made-by-payload"
    refuse 'nor on the host' test -e /etc/made-by-payload
    gone cwd
done

say 'what a payload does not get'
mkdir -p "$WORK/keys/v" "$WORK/keys/usr/bin"
for file in /usr/bin/perl $(ldd /usr/bin/perl | grep -o '/[^ ]*'); do cp --parents --dereference "$file" "$WORK/keys"; done
case $(uname -m) in aarch64) calls='217 218 219' ;; *) calls='248 249 250' ;; esac
# shellcheck disable=SC2016 # for the payload
image_of keys "{\"Cmd\": $(until_stopped "for call in $calls; do"' perl -e '\''$! = 0; syscall($ARGV[0], 0, -3, 0, 0, 0); print "$!\n"'\'' $call; done >/v/said 2>&1; printf "<0>to all terminals\\n"; touch /v/done'), \"Volumes\": {\"/v\": {}}}"
for runtime in crun runc; do
    checkout --runtime=/usr/bin/$runtime "$REGISTRY/keys"
    must "$runtime: a start" systemctl start keys
    wait_for 'it has tried' test -e $V/keys/v/done
    expect "$(printf 'Operation not permitted\n%.0s' 1 2 3)" cat $V/keys/v/said
    expect_no '<[0-9]>.*(prepare|start) keys' journal_of keys
    expect_soon 6 bash -c 'journalctl --unit=keys --output=json | grep -F "<0>to all terminals" | tail -n 1 | grep -o "\"PRIORITY\":\"[0-9]\"" | tr -dc 0-9'
    gone keys
done

say 'volumes that another image has left'
mkdir -p "$WORK/db/data"
image_of db "{\"Cmd\": $(until_stopped 'echo topsecret >/data/secret'), \"Volumes\": {\"/data\": {}, \"/more\": {}}}"
build_image other/db --owners --config="{\"Cmd\": $(until_stopped), \"Volumes\": {\"/data\": {}, \"/more\": {}}}" "$WORK/db"
pull_image other/db
checkout "$REGISTRY/db"
must 'a start' systemctl start db
wait_for 'it writes' test -s $V/db/data/secret
systemctl stop db
must 'a removal without --purge' syscontainer-remove db
left="db takes over what an earlier container of this name left in $V/db: the volume /data and 1 more; 'syscontainer-remove --purge db' would remove it"
ends 0 syscontainer-checkout --dry-run "$REGISTRY/other/db"
check 'a dry run says it' grep -qF "$left" "$WORK/said"
ends 0 syscontainer-checkout "$REGISTRY/other/db"
check 'an installation says it' grep -qF "$left" "$WORK/said"
ends 0 syscontainer-checkout --update db
check 'an update does not' bash -c "! grep -q earlier '$WORK/said'"
gone db
ends 0 syscontainer-checkout "$REGISTRY/other/db"
check 'nor an installation where there is none' bash -c "! grep -q earlier '$WORK/said'"
gone db
