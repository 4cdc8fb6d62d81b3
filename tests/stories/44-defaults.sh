#!/bin/bash
# What /exports may leave out, and what stands in for it; what every variable is.
# Rows of tests/atomic.md: s, 1.01, 1.02, 1.04, 1.05, 1.06, 1.10, 1.11, 1.12, 1.13, 1.15, 1.16, 1.18, 1.A2, 2.06, 2.09, 2.10,
#   rows 2.11, 2.A1, 2.A2, 2.A3, 2.A4, 2.A5, 2.A6, 2.A7, 2.A8, 2.A9, 2.A10, 2.A11, 2.A12, 2.A13, 2.B3, 4.01, 4.20, 8.08, 8.09,
#   rows 8.12, 8.13, 8.18, 8.23, a, g, i.
. "$(dirname "$0")/lib.sh"


say 'no /exports at all'
mkdir -p "$WORK/plain/etc"
echo x >"$WORK/plain/etc/x"
build_and_pull plain --config='{
    "Entrypoint": ["/bin/sh", "-c"],
    "Cmd": ["trap \"exit 0\" TERM; echo home $HOME of $(id -u); sleep 1000 & wait"],
    "Env": ["HOME=/srv"],
    "WorkingDir": "/etc"
}'
for runtime in crun runc; do
    checkout --name=plain-$runtime --runtime=/usr/bin/$runtime "$REGISTRY/plain"
    # It has been executed a moment after it is active.
    systemctl start plain-$runtime
    wait_for 'it says who it is' journal_has plain-$runtime '^home /srv of 0$'
    start_and_stop plain-$runtime
done
expect_like '^WantedBy=multi-user.target' cat /etc/systemd/system.attached/plain-crun.service
expect on-failure unit_property plain-crun Restart
mkdir -p "$WORK/nothing/etc"
build_and_pull nothing
run_fails 1 'neither exports/config.json nor an Entrypoint or Cmd' syscontainer-checkout "$REGISTRY/nothing"

say 'no unit, and a configuration that comes before the template'
exports both "$(until_stopped)"
sed 's/"args": /"annotation": "$RAW $$", &/' "$WORK/both/exports/config.json" >"$WORK/both/exports/.config.json"
echo '{ $NOTHING' >"$WORK/both/exports/config.json.template"
mv "$WORK/both/exports/.config.json" "$WORK/both/exports/config.json"
rm "$WORK/both/exports/service.template"
build_and_pull both
checkout "$REGISTRY/both"
expect_like '"annotation": "\$RAW \$\$"' cat $CO/both/config.json
expect 'Description=both' grep ^Description /etc/systemd/system.attached/both.service
expect notify unit_property both Type
start_and_stop both

say 'tmpfiles for bind sources that are missing'
# binds NAME: the files of an image that has some.
binds() {
    exports "$1" "$(until_stopped)" --template --mount='/var/lib/$NAME-a:/a:bind' \
        --mounts='{"destination": "/b", "type": "rbind", "source": "/run/$NAME-b", "options": ["rbind"]}' \
        --mount=/run/story-there:/d:rbind --mount=rootfs/etc:/e:bind,ro --mount=/etc/passwd:/f:bind,ro
    mkdir -p "$WORK/$1/etc"
}
mkdir /run/story-there
binds made
build_and_pull made
checkout "$REGISTRY/made"
expect 'd /run/made-b :0700 :0 :0 - -
d /run/story-there :0700 :0 :0 - -
d /var/lib/made-a :0700 :0 :0 - -' grep -v '^#' /etc/tmpfiles.d/made.conf
expect 'drwx------ root root' stat --format='%A %U %G' /var/lib/made-a
# Those of volatile directories come back at every start, whether they were there when it was installed or not.
rm -r /run/made-b /run/story-there
start_and_stop made
check 'they are made again' test -d /run/made-b -a -d /run/story-there
binds none
: >"$WORK/none/exports/tmpfiles.template"
build_and_pull none
checkout "$REGISTRY/none"
refuse 'an empty template means none' test -e /etc/tmpfiles.d/none.conf
refuse 'and a missing source is an error' systemctl start none
expect_like '/var/lib/none-a|No such file' journal_of none
systemctl reset-failed none
exports user "$(until_stopped)" --mount=/var/lib/user:/a:bind --process='"user": {"uid": 996, "gid": 994}'
build_and_pull user
checkout "$REGISTRY/user"
expect '700 996:994' stat --format='%a %u:%g' /var/lib/user
start_and_stop user

say 'every variable'
exports all "$(until_stopped)"
mkdir -p "$WORK/all/exports/hostfs/etc/story"
cat >"$WORK/all/exports/hostfs/etc/story/all" <<'END'
NAME=$NAME
DESTDIR=$DESTDIR
EXEC_START=$EXEC_START
EXEC_STOP=$EXEC_STOP
EXEC_STARTPRE=${EXEC_STARTPRE}
EXEC_STOPPOST=${EXEC_STOPPOST}
HOST_UID=$HOST_UID
HOST_GID=$HOST_GID
IMAGE_NAME=$IMAGE_NAME
IMAGE_ID=$IMAGE_ID
RUN_DIRECTORY=$RUN_DIRECTORY
PIDFILE=$PIDFILE
CONF_DIRECTORY=$CONF_DIRECTORY
STATE_DIRECTORY=$STATE_DIRECTORY
UUID=$UUID
RUNTIME=$RUNTIME
ALL=$ALL_PROCESS_CAPABILITIES
TEXT=$TEXT NUMBER=$NUMBER YES=$YES NULL=$NULL
END
cat >"$WORK/all/exports/manifest.json" <<'END'
{
    "version": "1.0",
    "unknown": [],
    "installedFilesTemplate": ["/etc/story/all"],
    "defaultValues": {
        "TEXT": "a b", "NUMBER": 5, "YES": true, "NULL": null, "NAME": "evil", "STATE_DIRECTORY": "/srv"
    }
}
END
build_and_pull all
id=${DIGEST#sha256:}
checkout --set RUN_DIRECTORY=/run/x --set DESTDIR=/evil --set UNUSED=1 --set YES=twice --set YES=no "$REGISTRY/all"
expect_like 'DESTDIR says how the container is installed, ignoring --set DESTDIR' cat "$WORK/said"
expect_like 'no template of .* uses UNUSED' cat "$WORK/said"
helper=/usr/libexec/syscontainers/syscontainer
for line in NAME=all DESTDIR=$CO/all \
    "EXEC_START=$helper-start all" "EXEC_STOP=$helper-stop all" "EXEC_STARTPRE=$helper-prepare all" \
    "EXEC_STOPPOST=$helper-prepare --cleanup all" HOST_UID=0 HOST_GID=0 \
    "IMAGE_NAME=$REGISTRY/all:latest" "IMAGE_ID=$id" RUN_DIRECTORY=/run/x \
    PIDFILE=/run/x/container-all.pid CONF_DIRECTORY=/etc STATE_DIRECTORY=/srv RUNTIME=/usr/bin/crun \
    'TEXT=a b NUMBER=5 YES=no NULL=None'; do
    expect "$line" grep -xF -- "$line" /etc/story/all
done
expect_like '^UUID=[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$' cat /etc/story/all
expect_like '^ALL="CAP_CHOWN",$' cat /etc/story/all
expect '"CAP_AUDIT_READ",' grep AUDIT_READ /etc/story/all
expect 600 stat --format=%a $CO/all.0/info

say 'an agent with an empty tmpfiles.template and a manifest without values'
exports snmp "$(until_stopped)" --unit=$'RuntimeDirectory=${NAME}\nRestart=on-crash\nStartLimitInterval=0' \
    --mount=/run/snmp:/run/snmp:rbind --mount=/run:/var/run/:rbind,mode=755 --mount=/run/systemd/journal/dev-log:/dev/log:bind
: >"$WORK/snmp/exports/tmpfiles.template"
echo '{"version": "1.0"}' >"$WORK/snmp/exports/manifest.json"
build_and_pull snmp
for runtime in crun runc; do
    checkout --name=snmp --runtime=/usr/bin/$runtime "$REGISTRY/snmp"
    start_and_stop snmp
    forget snmp
done

say 'commands in a running container, by its runtime'
for runtime in crun runc; do
    systemctl start plain-$runtime
    # The shell has been executed.
    expect_soon 'sh sleep' processes plain-$runtime
    status=0
    $runtime exec plain-$runtime /bin/sh -c 'echo in $(cat /etc/x); exit 7' >"$WORK/printed" || status=$?
    expect '7 in x' echo "$status $(cat "$WORK/printed")"
    expect 'active running success' state plain-$runtime
    systemctl stop plain-$runtime
    refuse 'none in one that is stopped' $runtime exec plain-$runtime true
done

say 'names of containers'
for pair in both:both both:1.2:both-1-2 both:v1:both-v1; do
    reference=${pair%:*}
    skopeo copy --quiet "docker://$REGISTRY/both" "docker://$REGISTRY/$reference"
    pull_image "$reference"
    expect "${pair##*:}" quietly syscontainer-checkout --no-enable "$REGISTRY/$reference"
done

say 'another directory of deployments'
export ATOMIC_OSTREE_CHECKOUT_PATH=/var/lib/containers/other ATOMIC_OSTREE_REPO=$CO/.storage/ostree
checkout --name=elsewhere "$REGISTRY/both"
expect elsewhere.0 readlink /var/lib/containers/other/elsewhere
start_and_stop elsewhere
must 'it goes' quietly syscontainer-remove elsewhere
unset ATOMIC_OSTREE_CHECKOUT_PATH ATOMIC_OSTREE_REPO
