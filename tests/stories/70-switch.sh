#!/bin/bash
# syscontainer-switch: a new version proves itself, or everything is as before, and the service goes on.
. "$(dirname "$0")/lib.sh"

# pull_version N [OPTION…]: the image of web in another version, as new_version makes it.
pull_version() {
    new_version web "$@" --data --files
    build_and_pull web
}
stage() { ends 0 syscontainer-checkout --update --stage "$@" web; }
# The watch of a version that is to fail ends when it does, however long that takes; that of a good one is waited for.
switch_to_good() { ends 0 syscontainer-switch --soak=1 web; }
switch_to_bad() { ends 4 syscontainer-switch --soak=600 web; }
# entry ID FIELD: of the last journal entry with this MESSAGE_ID.
entry() {
    journalctl --sync
    journalctl --no-pager --output=json --output-fields="$2" -n1 MESSAGE_ID="$1" SYSCONTAINER_NAME=web |
        sed -n "s/.*\"$2\":\"\([^\"]*\)\".*/\1/p"
}
SWITCHED=a1a97b339a4346bd8574a1173effdc74
CONFIRMED=0d643b14320e4d1bb3b0242d6f6d2b22
REVERTED=090a3a8f3ef8499d8c36d375beac169f
# write_unit NAME COMMAND DEPENDENCY… [-- LINE…]: a unit of this host, which comes after what it depends on.
write_unit() {
    local name=$1 command=$2 lines=('[Unit]')
    shift 2
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        lines+=("$1" "After=${1#*=}")
        shift
    done
    printf '%s\n' "${lines[@]}" '[Service]' "ExecStart=$command" "${@:2}" >"/etc/systemd/system/$name.service"
}
dependents_run() { for unit in needs binds far picky; do expect 'active running success' state $unit; done; }

pull_version 1
checkout "$REGISTRY/web"
systemctl start web
check 'short watches in this story' set_soak web 2
expect_current web.0 version=1

say 'nothing staged'
snapshot >"$WORK/before"
ends 0 syscontainer-switch web
expect_like 'nothing is staged for web, web.0 stays' cat "$WORK/said"
unchanged "$WORK/before"

say 'staged while the old version runs'
pull_version 2
pid=$(unit_property web MainPID)
stage
expect_like 'staged web.1: 127.0.0.1:5000/web:latest .sha256:' cat "$WORK/said"
expect_current web.0 version=1
expect "$pid" unit_property web MainPID
stage
expect_like 'web.1 is staged already' cat "$WORK/said"
expect_like '"web.1"' syscontainer-list --json

expect_like "^# web.1 is staged already: 127.0.0.1:5000/web:latest" syscontainer-checkout --dry-run --update --stage web
snapshot >"$WORK/before"
expect_like "^# staged web.2: .*only $CO/web.2 is made; the rest is what 'syscontainer-switch web' does then" \
    syscontainer-checkout --dry-run --update --stage --set X=1 web
unchanged "$WORK/before"

say 'a version that is good'
ends 0 syscontainer-switch web
expect_like 'switched web to web.1' cat "$WORK/said"
expect_like 'confirmed web.1, which is running' cat "$WORK/said"
expect_current web.1 version=2
check 'its tmpfiles are there' test -d /run/web-2
expect web.1 entry $SWITCHED SYSCONTAINER_DEPLOYMENT
expect web.0 entry $SWITCHED SYSCONTAINER_PREVIOUS
expect web.1 entry $CONFIRMED SYSCONTAINER_DEPLOYMENT
expect "$DIGEST" entry $CONFIRMED SYSCONTAINER_DIGEST
expect $'1\n2' cat /var/lib/web/log
stage
expect_like 'web is up to date' cat "$WORK/said"

say 'versions that are bad'
# The state in a reason may be that of the moment: a unit is deactivating before it is inactive or failed.
# bad_version TEXT REASON [OPTION…]: one that new_version makes with these is not stayed with, for that reason.
bad_version() {
    say "a version that $1"
    # The digest of each is another one.
    pull_version bad --env="\"THAT=$1\"" "${@:3}"
    stage
    switch_to_bad
    expect_like "cannot switch web: web.2 failed: $2.*; web.1 is current again" cat "$WORK/said"
    expect_current web.1 version=2
    expect_like "$2" entry $REVERTED SYSCONTAINER_REASON
    expect "$DIGEST" entry $REVERTED SYSCONTAINER_DIGEST
    expect web.1 entry $REVERTED SYSCONTAINER_DEPLOYMENT
    refuse 'the deployment that failed is gone' test -e $CO/web.2
    check 'the one to go back to is not' test -e $CO/web.0/rootfs
    stage
    expect_like "skipping 127.0.0.1:5000/web:latest .*tried before and failed: $2.*--force" cat "$WORK/said"
    ends 0 syscontainer-switch web
    expect_like 'nothing is staged' cat "$WORK/said"
}
bad_version 'starts and dies after 3 s' 'the service left the active state: (failed|deactivating) .exit-code, status 7' \
    --first='sleep 3; exit 7'
bad_version 'exits 0 at once' '(the service left the active state|it did not start): (inactive|deactivating)' --first='exit 0'
bad_version 'is started again and again' '(it does not stay up|the service left the active state|the main process exited)' \
    --first='sleep 0.5; exit 9' --unit=$'Restart=always\nStartLimitIntervalSec=0'
bad_version 'never says that it is ready' 'it did not start: failed .timeout' \
    --unit=$'Type=notify\nNotifyAccess=all\nTimeoutStartSec=3'
bad_version 'hangs before it starts' 'it did not start: failed .timeout' \
    --unit=$'ExecStartPre=/bin/sleep 100\nTimeoutStartSec=3'
say 'what failed is tried again where the user says so'
stage --force
expect_like 'staged web.2' cat "$WORK/said"
switch_to_bad
expect_like '"digest"' cat $CO/.web.state
expect_current web.1 version=2

say 'a version that does not run at all'
pull_version none --args='["nothing-of-that-name"]'
stage
switch_to_bad
expect_current web.1 version=2

say 'versions that cannot be staged'
pid=$(unit_property web MainPID)
snapshot | grep -v '\.web\.state' >"$WORK/before"
pull_version unrendered --unit='Environment=X=$NOWHERE'
ends 1 syscontainer-checkout --update --stage web
expect_like 'cannot update web: cannot render .*no value for NOWHERE' cat "$WORK/said"
pull_version unparsed --unit=$'RestartSec=5 parsecs\nNonsense=1'
stage
expect_like 'web.service: .*RestartSec.*parsecs' cat "$WORK/said"
pull_version unloaded --unit='Type=dbus'
ends 1 syscontainer-checkout --update --stage web
expect_like 'systemd would not load the unit' cat "$WORK/said"
expect "$pid" unit_property web MainPID
expect_current web.1 version=2

say 'the next good one'
pull_version 3
stage
switch_to_good
expect_current web.3 version=3
expect 'web.1 web.3' names_in $CO 'web.*'
expect '1 2 3' bash -c "grep -v bad /var/lib/web/log | uniq | paste -sd' '"

say 'stopped stays stopped'
pull_version 4
stage
systemctl stop web
ends 0 syscontainer-switch web
expect 'inactive dead success' state web
expect web.4 readlink $CO/web
expect 4 cat /etc/web/version
systemctl start web
expect_current web.4 version=4

say 'one that failed gets its chance'
pull_version 5 --first='sleep 0.2; exit 3'
checkout --update web
systemctl restart web
wait_for 'it failed' ended web
pull_version 6
stage
switch_to_good
expect_current web.6 version=6

say 'what needs it'
write_unit needs '/bin/sleep 100000' Requires=web.service
write_unit binds '/bin/sleep 100000' BindsTo=web.service
write_unit far '/bin/sleep 100000' Requires=needs.service
write_unit picky '/bin/sh -c "grep -q 8 /etc/web/version && exit 1; exec sleep 100000"' Requires=web.service
systemctl daemon-reload
systemctl start needs binds far picky
pull_version 7
stage
switch_to_good
expect_current web.7 version=7
dependents_run
pull_version 8
stage
switch_to_bad
expect_like 'picky.service, which needs it, is (failed|deactivating)' cat "$WORK/said"
expect_current web.7 version=7
dependents_run
pull_version 9 --first='exit 1'
stage
switch_to_bad
expect_current web.7 version=7
dependents_run
systemctl stop needs binds far picky

say 'what needs it and is started again and again'
write_unit flaps '/bin/sh -c "grep -q flaps /etc/web/version && { sleep 0.3; exit 1; }; exec sleep 100000"' \
    Requires=web.service -- Restart=always
sed -i 's/^\[Unit\]/&\nStartLimitIntervalSec=0/' /etc/systemd/system/flaps.service
systemctl daemon-reload
systemctl start flaps
pull_version flaps
stage
switch_to_bad
expect_like 'flaps.service, which needs it' cat "$WORK/said"
expect_current web.7 version=7
expect 'active running success' state flaps
systemctl stop flaps

say 'who stops it while it is watched means it'
pull_version stopped
stage
rm "$WORK/said"
syscontainer-switch --soak=600 web 2>"$WORK/said" &
wait_for 'it is watched' grep -q watching "$WORK/said"
systemctl stop web
check 'the switch is over' wait $!
expect_like 'confirmed web.8, which is not running' cat "$WORK/said"
expect 'inactive dead success' state web
expect web.8 readlink $CO/web
systemctl start web
expect_current web.8 version=stopped

say 'one that was made current meanwhile, and never ran'
pull_version never --first='exit 9'
checkout --update web
pull_version bad --first='exit 8'
stage
switch_to_bad
expect_current web.8 version=stopped

say 'a new version that fills the disk'
pull_version 12
mkdir "$WORK/disk"
mount -t tmpfs -o size=48M tmpfs "$WORK/disk"
cp -a $CO/. "$WORK/disk/"
mount --bind "$WORK/disk" $CO
pull_version full --first='until [ -e /data/full ]; do sleep 0.1; done; exit 5'
stage
rm "$WORK/said"
syscontainer-switch --soak=600 web 2>"$WORK/said" &
wait_for 'it is watched' grep -q watching "$WORK/said"
head -c 100M /dev/zero >$CO/.filler 2>/dev/null || true
touch /var/lib/web/full
status=0
wait $! || status=$?
expect 4 echo $status
rm $CO/.filler /var/lib/web/full
expect_current web.8 version=stopped
systemctl stop web
cp -a "$WORK/disk/." "$WORK/copy"
umount $CO
rm -rf ${CO:?}/web* $CO/.web*
cp -a "$WORK/copy/"{web,web.*,.web.state} $CO/
umount "$WORK/disk"
systemctl start web
expect_current web.8 version=stopped

say '[Install] is that of the version'
pull_version 10
sed -i 's/^WantedBy=.*/WantedBy=sockets.target/' "$WORK/web/exports/service.template"
build_and_pull web
stage
switch_to_good
# wanted_by: by which targets it is.
wanted_by() {
    find /etc/systemd/system -name web.service | sed 's,/etc/systemd/system/,,; s,/web.service$,,' | sort | paste -sd' '
}
expect 'sockets.target.wants syscontainers.target.wants' wanted_by
pull_version 11 --first='exit 1'
stage
switch_to_bad
expect 'sockets.target.wants syscontainers.target.wants' wanted_by
pull_version 12
sed -i '/^\[Install\]/,$d' "$WORK/web/exports/service.template"
build_and_pull web
stage
ends 0 syscontainer-switch web
expect '' wanted_by
ends 0 syscontainer-rollback web
expect 'sockets.target.wants syscontainers.target.wants' wanted_by

say 'called wrongly'
run_fails 3 'cannot switch nothing: there is no container nothing' syscontainer-switch nothing
run_fails 3 'there is no container nothing' syscontainer-switch --hold nothing
run_fails 2 'invalid container name' syscontainer-switch a/b
run_fails 2 'missing NAME' syscontainer-switch
run_fails 2 'a number of at least 2' syscontainer-switch --keep=1 web
run_fails 2 'cannot be combined with a switch' syscontainer-switch --keep=3 --force web
run_fails 2 '--recover cannot be combined with' syscontainer-switch --recover --force web
