#!/bin/bash
# What an administrator gives a container with -o KEY=VALUE.
. "$(dirname "$0")/lib.sh"

SRV=/srv/keys
mkdir -p "$SRV/data" "$SRV/other" "$SRV/sub"
echo of-the-host >"$SRV/data/file"
printf '# of the host\nA=file\nB=file\nC="as it is"\n' >"$SRV/env"
echo configuration >"$SRV/conf"

# An image that says what it is given, and then sleeps.
mkdir -p "$WORK/given/etc" "$WORK/given/data" "$WORK/given/tmpfs"
echo of-the-image >"$WORK/given/data/file"
echo of-the-image >"$WORK/given/tmpfs/file"
echo of-the-image >"$WORK/given/etc/app.conf"
printf 'root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:App:/home/app:/bin/sh\n' >"$WORK/given/etc/passwd"
printf 'root:x:0:\napp:x:1000:\nextra:x:1005:\n' >"$WORK/given/etc/group"
cat >"$WORK/given/say" <<'END'
#!/bin/sh
[ $# -eq 0 ] || echo "arguments: $*"
tr '\0' '\n' </proc/$$/environ | sed 's/^/env: /'
echo "user: $(id -u):$(id -g) $(id -G), in $(pwd)"
sed -n 's/^\(Cap...\|NoNewPrivs\):/\1:/p' /proc/$$/status
sed -n 's/^Max open files *\([^ ]*\)  *\([^ ]*\) .*/open files: \1 \2/p' /proc/$$/limits
sed 's/^[^ ]* [^ ]* [^ ]* [^ ]* /mount: /' /proc/self/mountinfo
for file in /data/file /tmpfs/file /etc/app.conf /data/sub/file /env-of-host; do [ ! -e $file ] || echo "$file: $(cat $file)"; done
(echo written >/data/written) 2>&1 | sed 's/^/data: /'
echo "interfaces: $(ls /sys/class/net | tr '\n' ' ')"
echo "host's processes: $(grep -c . /proc/1/comm) $(cat /proc/1/comm)"
ls -l /dev/mine 2>/dev/null | sed 's/^/device: /'
head -c 4 /dev/mine 2>&1 | od -An -tx1 | sed 's/^/read:/'
date +zone:%Z
echo said
trap 'exit 0' TERM
sleep 100000 &
wait
END
chmod 755 "$WORK/given/say"
build_and_pull given --config='{"Entrypoint": ["/bin/sh", "/say"], "Cmd": ["of", "image"], "User": "app", "Volumes": {"/data": {}}, "Env": ["A=image", "D=image"]}'

# given NAME OPTION…: installs a container, starts it, and has what it said in $WORK/own.
given() {
    checkout --name="$1" "${@:2}" "$REGISTRY/given"
    mark_journal
    systemctl start "$1"
    wait_for "$1 says what it is given" has_said "$1" '^said$'
    said_since "$1" >"$WORK/own"
}
# has ERE…, has_not ERE…: in what it said.
has() { local ere; for ere; do expect_like "$ere" cat "$WORK/own"; done; }
has_not() { local ere; for ere; do expect_no "$ere" cat "$WORK/own"; done; }
# options NAME: those that list tells.
options() { syscontainer-list --json | sed -n "/\"name\": \"$1\"/,/^  }/p" | sed -n '/"options"/,/^    }/p'; }

for runtime in crun runc; do
    say "$runtime: without any key"
    given "$runtime" --runtime=/usr/bin/$runtime
    has '^arguments: of image$' '^env: A=image$' '^env: HOME=/home/app$' '^env: container=oci$' '^user: 1000:1000 1000, in /$' \
        '^/data/file: of-the-image$' $'^CapEff:\t0+$' $'^NoNewPrivs:\t0$'
    expect_no '"AddDevice"|"User"' options "$runtime"
    forget "$runtime"
    rm -rf "/var/lib/syscontainers/$runtime"

    say "$runtime: mounts"
    given "$runtime" --runtime=/usr/bin/$runtime -o Volume=$SRV/data:/data:ro -o Volume=$SRV/conf:/etc/app.conf:ro,noexec \
        -o Volume=$SRV/sub:/data/sub -o Tmpfs=/tmpfs:size=1m -o "Mount=type=bind,source=$SRV/env,destination=/env-of-host,ro" \
        -o Timezone=Etc/GMT-7 -o ShmSize=2m
    has '^/data/file: of-the-host$' '^data: .*Read-only file system' '^/etc/app.conf: configuration$' '^/tmpfs/file: of-the-image$' \
        '^/env-of-host: # of the host$' '^mount: /data ro,' '^mount: /etc/app.conf ro,noexec' '^mount: /data/sub rw,' \
        '^mount: /tmpfs rw,nosuid,nodev.*size=1024k' '^mount: /dev/shm .*size=2048k' '^zone:\+07$'
    expect_no . names_in "$SRV/sub"
    # Its own volume is not there: the administrator has something in its place.
    refuse 'there is no volume of its own' test -e "/var/lib/syscontainers/$runtime/data"
    forget "$runtime"

    say "$runtime: who and what"
    given "$runtime" --runtime=/usr/bin/$runtime -o User=4711 -o Group=extra -o WorkingDir=/srv -o 'Exec=a "b c"' \
        -o 'Environment=B=key "E=x y"' -o EnvironmentFile=$SRV/env -o AddCapability='sys_time CAP_NET_ADMIN' -o DropCapability=CHOWN \
        -o NoNewPrivileges=yes -o Ulimit=nofile=512:1024
    has '^arguments: a b c$' '^env: A=file$' '^env: B=key$' '^env: C="as it is"$' '^env: D=image$' '^env: E=x y$' \
        '^user: 4711:1005 1005, in /srv$' $'^CapEff:\t0000000002001000$' $'^CapAmb:\t0000000002001000$' \
        $'^CapBnd:\t00000000820415fa$' $'^NoNewPrivs:\t1$' '^open files: 512 1024$'
    say "$runtime: a start has what the host has then"
    sed -i s/A=file/A=later/ "$SRV/env"
    systemctl restart "$runtime"
    wait_for 'it says so' journal_has "$runtime" '^env: A=later$'
    mv "$SRV/env" "$SRV/gone"
    refuse 'it does not start without it' systemctl restart "$runtime"
    expect_like "cannot prepare $runtime: cannot read the environment of $SRV/env: it is not on this host; make it, or change EnvironmentFile=" \
        journal_of "$runtime"
    mv "$SRV/gone" "$SRV/env"
    sed -i s/A=later/A=file/ "$SRV/env"
    systemctl reset-failed "$runtime"
    forget "$runtime"

    say "$runtime: namespaces and devices"
    given "$runtime" --runtime=/usr/bin/$runtime -o Entrypoint='["/bin/sh","/say"]' -o Network=private -o PidNamespace=host \
        -o IpcNamespace=host -o Device=/dev/zero:/dev/mine:r
    has_not '^arguments:'
    has '^interfaces: lo *$' "^host's processes: 1 systemd$" '^device: c.* 1, *5 ' '^read: 00 00 00 00$' '^mount: /dev/shm .* - tmpfs'
    expect_like '/dev/zero r|char-mem|1:5' unit_property "$runtime" DeviceAllow
    forget "$runtime"
    ip netns add story
    given "$runtime" --runtime=/usr/bin/$runtime -o Network=ns:/run/netns/story
    expect_same <(stat -L --format=%i /run/netns/story) stat -L --format=%i "/proc/$(unit_property "$runtime" MainPID)/ns/net"
    forget "$runtime"
    ip netns delete story
    rm -rf "/var/lib/syscontainers/$runtime"
done

say 'what is set stays, until it is unset'
checkout --name=kept -o Volume=$SRV/data:/host -o User=0 -o Label=team=blue -o 'Environment=PASSWORD=half-secret LEVEL=1' "$REGISTRY/given"
options kept >"$WORK/options"
expect_like "\"$SRV/data:/host\"" cat "$WORK/options"
expect_like '"team=blue"' cat "$WORK/options"
expect_like 'PASSWORD=\*+ LEVEL=1' cat "$WORK/options"
expect_no half-secret cat "$WORK/options"
syscontainer-checkout --update kept 2>"$WORK/said"
expect_like 'unchanged|up to date' cat "$WORK/said"
syscontainer-checkout --update -o User=0 kept 2>"$WORK/said"
expect_like 'unchanged|up to date' cat "$WORK/said"
expect kept.0 readlink "$CO/kept"
syscontainer-checkout --dry-run --update -o User=app -o Environment=LEVEL=2 kept >"$WORK/printed" 2>/dev/null
expect_like '"uid": 1000' cat "$WORK/printed"
expect_like 'LEVEL=2' cat "$WORK/printed"
expect_no half-secret cat "$WORK/printed"
expect kept.0 readlink "$CO/kept"
checkout --update -o Volume= -o User= kept
expect kept.1 readlink "$CO/kept"
expect_no "$SRV|\"User\"" options kept
expect_like '"team=blue"' options kept
expect_no "$SRV/data" cat "$CO/kept/config.json"
expect_like half-secret cat "$CO/kept/config.json"
echo 2 >"$WORK/given/etc/version"
build_and_pull given --config='{"Entrypoint": ["/bin/sh", "/say"], "User": "app"}'
checkout --update kept
expect_like '"team=blue"' options kept
expect_like half-secret cat "$CO/kept/config.json"
forget kept

say 'what cannot be set'
snapshot >"$WORK/before"
# refused STATUS ERE OPTION…: one line says why, and nothing is changed.
refused() {
    local words=() option
    for option in "${@:3}"; do words+=(-o "$option"); done
    run_fails "$1" "$2" syscontainer-checkout --name=bad "${words[@]}" "$REGISTRY/given"
    unchanged "$WORK/before"
}
refused 2 'there is no key "Pod"' Pod=x
refused 2 'there is no key "volume"; did you mean Volume=\?' volume=/a:/b
refused 2 'invalid Volume=/srv:/proc/x: /proc/x is in /proc, which is the kernel.s' Volume=/srv:/proc/x
refused 2 'invalid Volume=/srv:/sys: /sys is in /sys, which is the kernel.s' Volume=/srv:/sys
refused 2 'invalid Volume=/dev:/dev: /dev is the container.s own' Volume=/dev:/dev
refused 2 'invalid Volume=/srv:/d:Z: files of the host keep their labels' Volume=/srv:/d:Z
refused 2 'invalid Volume=/srv:/d:U: U would change the owner' Volume=/srv:/d:U
refused 2 'invalid Volume=data:/d: named volumes such as "data" are not supported' Volume=data:/d
refused 2 '^syscontainer-checkout: invalid Environment=: expected NAME=VALUE; quote a value that contains white space; see' \
    'Environment=PW=half secret'
refused 2 'invalid AddCapability=FLY: there is no capability "FLY"' AddCapability=FLY
refused 2 'invalid Network=bridge: expected host, private, none or ns:PATH' Network=bridge
refused 1 'cannot mount /srv/none at /d: it is not on this host; make it, or change Volume= or Mount=' Volume=/srv/none:/d
refused 1 'cannot mount a file at /etc, which is a directory in the image' Volume=$SRV/conf:/etc
refused 1 'cannot mount a directory at /etc/app.conf, which is a file in the image' Volume=$SRV/data:/etc/app.conf
refused 1 'cannot use User=nobodyknows: its user "nobodyknows" is not in its /etc/passwd' User=nobodyknows
refused 1 'Group= needs User=' Group=app
refused 1 'CAP_CHOWN is in both AddCapability= and DropCapability=' AddCapability=chown DropCapability=chown
refused 1 'two of Volume=, Tmpfs= and Mount= are for /d' Volume=$SRV/data:/d Tmpfs=/d
refused 1 'ShmSize= cannot be set with IpcNamespace=host' ShmSize=1m IpcNamespace=host
refused 1 'cannot use the time zone /usr/share/zoneinfo/Moon/Base: it is not on this host' Timezone=Moon/Base
refused 1 'cannot add the device /dev/none: it is not on this host' AddDevice=/dev/none
refused 1 'cannot add the device /dev/log: it is neither a device nor a directory of devices' AddDevice=/dev/log
refused 1 'cannot read the environment of /none: it is not on this host' EnvironmentFile=/none
refused 1 'in a deployment or the image store' Volume=/var/lib/containers/atomic:/d
run_fails 1 '--set A and Environment= have different values of A' syscontainer-checkout --name=bad --set A=1 -o Environment=A=2 "$REGISTRY/given"
run_fails 1 '--notify and Notify= contradict each other' syscontainer-checkout --name=bad --notify=full -o Notify=no "$REGISTRY/given"
unchanged "$WORK/before"

say 'an image with a configuration decides itself'
exports decider "$(until_stopped)"
build_and_pull decider
run_fails 1 'exports/config.json says how its payload is run, so User=, Volume= cannot be set; Label=, Notify=, Output=, ScratchSize=, StopSignal=, StopTimeout= can' \
    syscontainer-checkout --name=decider -o User=1 -o Volume=/srv:/d "$REGISTRY/decider"
checkout --name=decider -o Label=a=b -o Notify=no "$REGISTRY/decider"
start_and_stop decider
forget decider

say 'a link on the way to a mount, in a directory that a payload writes to'
mkdir -p "$SRV/mine" "$WORK/linker"
build_and_pull linker --config="{\"Cmd\": $(until_stopped), \"Volumes\": {\"/mine/in\": {}}}"
for runtime in crun runc; do
    checkout --name="$runtime" --runtime=/usr/bin/$runtime -o Volume=$SRV/mine:/mine "$REGISTRY/linker"
    start_and_stop "$runtime"
    rmdir "$SRV/mine/in"
    # Another container that has the directory could do that.
    ln -s /etc "$SRV/mine/in"
    refuse 'it does not start' systemctl start "$runtime"
    expect_like 'the runtime mounted .* at /etc, where the configuration has nothing like that|did not mount volume|cannot mount' \
        journal_of "$runtime"
    rm "$SRV/mine/in"
    systemctl reset-failed "$runtime"
    start_and_stop "$runtime"
    forget "$runtime"
    rm -rf "/var/lib/syscontainers/$runtime" "$SRV/mine/in"
done
rm -r "$SRV"
