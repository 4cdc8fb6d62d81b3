#!/bin/bash
# What /exports may leave out, and what stands in for it; what every variable is.
# Rows of tests/atomic.md: s, 1.01, 1.02, 1.04, 1.05, 1.06, 1.10, 1.11, 1.12, 1.13, 1.15, 1.16, 1.18, 1.A2, 2.06, 2.09, 2.10,
#   rows 2.11, 2.A1, 2.A2, 2.A3, 2.A4, 2.A5, 2.A6, 2.A7, 2.A8, 2.A9, 2.A10, 2.A11, 2.A12, 2.A13, 2.B3, 4.01, 4.20, 8.08, 8.09, 8.12,
#   rows 8.13, 8.18, 8.23, a, g, i.
. "$(dirname "$0")/lib.sh"

CO=/var/lib/containers/atomic
sleeping='["sh","-c","trap \"exit 0\" TERM; sleep 1000 & wait"]'
checkout() { syscontainer-checkout "$@" >"$WORK/out" 2>"$WORK/messages" || { shown "$WORK/messages"; return 1; }; }
# image NAME [OPTION…]: of $WORK/NAME.
image() {
    build_image "$1" "${@:2}" "$WORK/$1"
    syscontainer-pull --quiet "$REGISTRY/$1" >/dev/null
}
runs() {
    check "$1 starts" systemctl start "$1"
    expect 'active running success' state "$1"
    systemctl stop "$1"
    expect 'inactive dead success' state "$1"
}

say 'no /exports at all'
mkdir -p "$WORK/plain/etc"
echo x >"$WORK/plain/etc/x"
image plain --config='{"Entrypoint": ["/bin/sh", "-c"], "Cmd": ["trap \"exit 0\" TERM; echo home $HOME of $(id -u); sleep 1000 & wait"], "Env": ["HOME=/srv"], "WorkingDir": "/etc"}'
for runtime in crun runc; do
    checkout --name=plain-$runtime --runtime=/usr/bin/$runtime "$REGISTRY/plain"
    runs plain-$runtime
    expect_like '^home /srv of 0$' journal_of plain-$runtime
done
expect_like '^WantedBy=multi-user.target' cat /etc/systemd/system.attached/plain-crun.service
expect on-failure unit_property plain-crun Restart
mkdir -p "$WORK/nothing/etc"
image nothing
run_fails 1 'neither exports/config.json nor an Entrypoint or Cmd' syscontainer-checkout "$REGISTRY/nothing"

say 'no unit, and a configuration that comes before the template'
exports both "$sleeping"
sed 's/"args": /"annotation": "$RAW $$", &/' "$WORK/both/exports/config.json" >"$WORK/both/exports/.config.json"
echo '{ $NOTHING' >"$WORK/both/exports/config.json.template"
mv "$WORK/both/exports/.config.json" "$WORK/both/exports/config.json"
rm "$WORK/both/exports/service.template"
image both
checkout "$REGISTRY/both"
expect_like '"annotation": "\$RAW \$\$"' cat $CO/both/config.json
expect 'Description=both' bash -c 'grep ^Description /etc/systemd/system.attached/both.service'
expect notify unit_property both Type
runs both

say 'tmpfiles for bind sources that are missing'
sources() { # NAME TMPFILES
    exports "$1" "$sleeping" "$2" '' '{"destination": "/a", "type": "bind", "source": "/var/lib/$NAME-a", "options": ["bind"]},
        {"destination": "/b", "type": "rbind", "source": "/run/$NAME-b", "options": ["rbind"]},
        {"destination": "/c", "type": "none", "source": "/var/lib/none", "options": ["rbind"]},
        {"destination": "/d", "type": "bind", "source": "/run/story-there", "options": ["rbind"]},
        {"destination": "/e", "type": "bind", "source": "rootfs/etc", "options": ["bind", "ro"]},
        {"destination": "/f", "type": "bind", "source": "/etc/passwd", "options": ["bind", "ro"]}'
    sed -i '/"none"/d' "$WORK/$1/exports/config.json"
    mv "$WORK/$1/exports/config.json" "$WORK/$1/exports/config.json.template"
    mkdir -p "$WORK/$1/etc"
}
mkdir /run/story-there
sources made ''
image made
checkout "$REGISTRY/made"
expect 'd /run/made-b :0700 :0 :0 - -
d /run/story-there :0700 :0 :0 - -
d /var/lib/made-a :0700 :0 :0 - -' bash -c "grep -v '^#' /etc/tmpfiles.d/made.conf"
expect 'drwx------ root root' bash -c "stat --format='%A %U %G' /var/lib/made-a"
# Those of volatile directories come back at every start, whether they were there when it was installed or not.
rm -r /run/made-b /run/story-there
runs made
check 'they are made again' test -d /run/made-b -a -d /run/story-there
sources none ''
: >"$WORK/none/exports/tmpfiles.template"
image none
checkout "$REGISTRY/none"
refuse 'an empty template means none' test -e /etc/tmpfiles.d/none.conf
refuse 'and a missing source is an error' systemctl start none
expect_like '/var/lib/none-a|No such file' journal_of none
systemctl reset-failed none
exports user "$sleeping" '' '' '{"destination": "/a", "type": "bind", "source": "/var/lib/user", "options": ["bind"]}'
sed -i 's/"cwd"/"user": {"uid": 996, "gid": 994}, &/' "$WORK/user/exports/config.json"
image user
checkout "$REGISTRY/user"
expect '700 996:994' stat --format='%a %u:%g' /var/lib/user
runs user

say 'every variable'
exports all "$sleeping"
mkdir -p "$WORK/all/exports/hostfs/etc/story"
printf '%s\n' 'NAME=$NAME' 'DESTDIR=$DESTDIR' 'EXEC_START=$EXEC_START' 'EXEC_STOP=$EXEC_STOP' 'EXEC_STARTPRE=${EXEC_STARTPRE}' 'EXEC_STOPPOST=${EXEC_STOPPOST}' \
    'HOST_UID=$HOST_UID' 'HOST_GID=$HOST_GID' 'IMAGE_NAME=$IMAGE_NAME' 'IMAGE_ID=$IMAGE_ID' 'RUN_DIRECTORY=$RUN_DIRECTORY' 'PIDFILE=$PIDFILE' \
    'CONF_DIRECTORY=$CONF_DIRECTORY' 'STATE_DIRECTORY=$STATE_DIRECTORY' 'UUID=$UUID' 'RUNTIME=$RUNTIME' 'ALL=$ALL_PROCESS_CAPABILITIES' \
    'TEXT=$TEXT NUMBER=$NUMBER YES=$YES NULL=$NULL' >"$WORK/all/exports/hostfs/etc/story/all"
echo '{"version": "1.0", "unknown": [], "installedFilesTemplate": ["/etc/story/all"], "defaultValues": {"TEXT": "a b", "NUMBER": 5, "YES": true, "NULL": null, "NAME": "evil", "STATE_DIRECTORY": "/srv"}}' >"$WORK/all/exports/manifest.json"
image all
id=${DIGEST#sha256:}
checkout --set RUN_DIRECTORY=/run/x --set DESTDIR=/evil --set UNUSED=1 --set YES=twice --set YES=no "$REGISTRY/all"
expect_like 'DESTDIR says how the container is installed, ignoring --set DESTDIR' cat "$WORK/messages"
expect_like 'no template of .* uses UNUSED' cat "$WORK/messages"
helper=/usr/libexec/syscontainers/syscontainer
for line in NAME=all DESTDIR=$CO/all "EXEC_START=$helper-start all" "EXEC_STOP=$helper-stop all" "EXEC_STARTPRE=$helper-prepare all" \
    "EXEC_STOPPOST=$helper-prepare --cleanup all" HOST_UID=0 HOST_GID=0 "IMAGE_NAME=$REGISTRY/all:latest" "IMAGE_ID=$id" RUN_DIRECTORY=/run/x \
    PIDFILE=/run/x/container-all.pid CONF_DIRECTORY=/etc STATE_DIRECTORY=/srv RUNTIME=/usr/bin/crun 'TEXT=a b NUMBER=5 YES=no NULL=None'; do
    expect "$line" grep -xF -- "$line" /etc/story/all
done
expect_like '^UUID=[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$' cat /etc/story/all
expect_like '^ALL="CAP_CHOWN",$' cat /etc/story/all
expect '"CAP_AUDIT_READ",' grep AUDIT_READ /etc/story/all
expect 600 stat --format=%a $CO/all.0/info

say 'an agent with an empty tmpfiles.template and a manifest without values'
exports snmp "$sleeping" $'RuntimeDirectory=${NAME}\nRestart=on-crash\nStartLimitInterval=0' '' '{"destination": "/run/snmp", "type": "bind", "source": "/run/snmp", "options": ["rbind"]},
    {"destination": "/var/run/", "type": "bind", "source": "/run", "options": ["rbind", "mode=755"]},
    {"destination": "/dev/log", "type": "bind", "source": "/run/systemd/journal/dev-log", "options": ["bind"]}'
: >"$WORK/snmp/exports/tmpfiles.template"
echo '{"version": "1.0"}' >"$WORK/snmp/exports/manifest.json"
image snmp
for runtime in crun runc; do
    checkout --name=snmp --runtime=/usr/bin/$runtime "$REGISTRY/snmp"
    runs snmp
    forget snmp
done

say 'commands in a running container, by its runtime'
for runtime in crun runc; do
    systemctl start plain-$runtime
    status=0
    $runtime exec plain-$runtime /bin/sh -c 'echo in $(cat /etc/x); exit 7' >"$WORK/out" || status=$?
    expect '7 in x' echo "$status $(cat "$WORK/out")"
    expect 'active running success' state plain-$runtime
    systemctl stop plain-$runtime
    refuse 'none in one that is stopped' $runtime exec plain-$runtime true
done

say 'names of containers'
for pair in both:both both:1.2:both-1-2 both:v1:both-v1; do
    reference=${pair%:*}
    skopeo copy --quiet "docker://$REGISTRY/both" "docker://$REGISTRY/$reference"
    syscontainer-pull --quiet "$REGISTRY/$reference" >/dev/null
    expect "${pair##*:}" bash -c "syscontainer-checkout --no-enable '$REGISTRY/$reference' 2>/dev/null"
done

say 'another directory of deployments'
export ATOMIC_OSTREE_CHECKOUT_PATH=/var/lib/containers/other ATOMIC_OSTREE_REPO=$CO/.storage/ostree
checkout --name=elsewhere "$REGISTRY/both"
expect elsewhere.0 readlink /var/lib/containers/other/elsewhere
runs elsewhere
