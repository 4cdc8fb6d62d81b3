#!/bin/bash
# syscontainer-switch: a new version proves itself, or everything is as before, and the service goes on.
. "$(dirname "$0")/lib.sh"

CO=/var/lib/containers/atomic
# version N BEHAVIOUR [LINES]: the image of web in another version; BEHAVIOUR is what its payload does before it settles.
version() {
    exports web "[\"sh\",\"-c\",\"trap 'exit 0' TERM; echo $1 >>/data/log; $2; sleep 1000 & wait\"]" \
        "TimeoutStartSec=3"$'\n'"${3-}" '' '{"destination": "/data", "type": "bind", "source": "/var/lib/web", "options": ["bind", "rw"]}'
    mkdir -p "$WORK/web/exports/hostfs/etc/web"
    echo "$1" >"$WORK/web/exports/hostfs/etc/web/version"
    echo "d /var/lib/web 0700 - - -"$'\n'"d /run/web-$1 0755 - - -" >"$WORK/web/exports/tmpfiles.template"
    build_image web "$WORK/web"
    syscontainer-pull --quiet "$REGISTRY/web" >/dev/null
}
stage() { syscontainer-checkout --update --stage "$@" web >"$WORK/.out" 2>"$WORK/said" || { shown "$WORK/said"; fail "stage $*"; }; }
runs() { sed -n 's/.*"deployment": *"\([^"]*\)".*/\1/p' /run/syscontainers/web/launch.json; }
# is DEPLOYMENT VERSION: that one is current and runs, with its host file, and is what is registered.
is() {
    expect "$1" readlink $CO/web
    expect 'active running success' state web
    expect "$1" runs
    expect "$2" cat /etc/web/version
    expect_like "\"deployment\": \"$1\"" cat /etc/syscontainers/attached/web.json
    refuse 'no switch is under way' grep -q '"from"' $CO/.web.state
}
entry() { # entry ID FIELD: of the last journal entry with this MESSAGE_ID
    journalctl --sync
    journalctl --no-pager --output=json --output-fields="$2" -n1 MESSAGE_ID="$1" SYSCONTAINER_NAME=web | sed -n "s/.*\"$2\":\"\([^\"]*\)\".*/\1/p"
}
SWITCHED=a1a97b339a4346bd8574a1173effdc74 CONFIRMED=0d643b14320e4d1bb3b0242d6f6d2b22 REVERTED=090a3a8f3ef8499d8c36d375beac169f

version 1 true
syscontainer-checkout "$REGISTRY/web" >/dev/null 2>&1
systemctl start web
check 'short watches in this story' syscontainer-switch --set-soak=2 web
is web.0 1

say 'nothing staged'
snapshot >"$WORK/before"
ends 0 syscontainer-switch web
expect_like 'nothing is staged for web, web.0 stays' cat "$WORK/said"
unchanged "$WORK/before"

say 'staged while the old version runs'
version 2 true
pid=$(unit_property web MainPID)
stage
expect_like 'staged web.1: 127.0.0.1:5000/web:latest .sha256:' cat "$WORK/said"
is web.0 1
expect "$pid" unit_property web MainPID
stage
expect_like 'web.1 is staged already' cat "$WORK/said"
expect_like '"web.1"' bash -c "syscontainer-list --json"

expect_like "^# web.1 is staged already: 127.0.0.1:5000/web:latest" syscontainer-checkout --dry-run --update --stage web
snapshot >"$WORK/before"
expect_like "^# staged web.2: .*only $CO/web.2 is made; the rest is what 'syscontainer-switch web' does then" syscontainer-checkout --dry-run --update --stage --set X=1 web
unchanged "$WORK/before"

say 'a version that is good'
ends 0 syscontainer-switch web
expect_like 'updated web to web.1' cat "$WORK/said"
expect_like 'web runs web.1 and stays with it' cat "$WORK/said"
is web.1 2
check 'its tmpfiles are there' test -d /run/web-2
expect web.1 entry $SWITCHED SYSCONTAINER_DEPLOYMENT
expect web.0 entry $SWITCHED SYSCONTAINER_PREVIOUS
expect web.1 entry $CONFIRMED SYSCONTAINER_DEPLOYMENT
expect "$DIGEST" entry $CONFIRMED SYSCONTAINER_DIGEST
expect $'1\n2' cat /var/lib/web/log
stage
expect_like 'web is up to date' cat "$WORK/said"

say 'versions that are bad'
# bad TEXT REASON BEHAVIOUR [LINES]
bad() {
    say "a version that $1"
    version bad ": $1; $3" "${4-}"
    stage
    echo "$(date +%s)" >/var/lib/web/data
    ends 4 syscontainer-switch web
    expect_like "cannot switch web: web.2 failed: $2.*; web.1 is current again" cat "$WORK/said"
    is web.1 2
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
syscontainer-switch --set-soak=5 web 2>/dev/null
bad 'starts and dies after 3 s' 'it did not stay, it is failed .exit-code, status 7' 'sleep 3; exit 7'
syscontainer-switch --set-soak=2 web 2>/dev/null
bad 'exits 0 at once' 'it did not (stay|start), it is inactive' 'exit 0'
bad 'is started again and again' 'it (does not stay up|did not stay|was started and ended)' 'sleep 0.5; exit 9' $'Restart=always\nStartLimitIntervalSec=0'
bad 'never says that it is ready' 'it did not start, it is failed .timeout' true $'Type=notify\nNotifyAccess=all'
bad 'hangs before it starts' 'it did not start, it is failed .timeout' true 'ExecStartPre=/bin/sleep 100'
say 'what failed is tried again where the user says so'
stage --force
expect_like 'staged web.2' cat "$WORK/said"
ends 4 syscontainer-switch web
expect_like '"digest"' cat $CO/.web.state
is web.1 2

say 'a version that does not run at all'
version none true
sed -i 's/"sh","-c"/"nothing-of-that-name","-c"/' "$WORK/web/exports/config.json"
build_image web "$WORK/web"
syscontainer-pull --quiet "$REGISTRY/web" >/dev/null
stage
ends 4 syscontainer-switch web
is web.1 2

say 'versions that cannot be staged'
pid=$(unit_property web MainPID)
snapshot | grep -v '\.web\.state' >"$WORK/before"
version unrendered true 'Environment=X=$NOWHERE'
ends 1 syscontainer-checkout --update --stage web
expect_like 'cannot update web: cannot render .*no value for NOWHERE' cat "$WORK/said"
version unparsed true 'RestartSec=5 parsecs'$'\nNonsense=1'
stage
expect_like 'web.service: .*RestartSec.*parsecs' cat "$WORK/said"
version unloaded true 'Type=dbus'
ends 1 syscontainer-checkout --update --stage web
expect_like 'systemd would not load the unit' cat "$WORK/said"
expect "$pid" unit_property web MainPID
is web.1 2

say 'the next good one'
version 3 true
stage
ends 0 syscontainer-switch --soak=1 web
is web.3 3
expect_like '^web.1 web.3$' bash -c "cd $CO && echo web.*"
expect '1 2 3' bash -c "grep -v bad /var/lib/web/log | uniq | paste -sd' '"

say 'stopped stays stopped'
version 4 true
stage
systemctl stop web
ends 0 syscontainer-switch web
expect 'inactive dead success' state web
expect web.4 readlink $CO/web
expect 4 cat /etc/web/version
systemctl start web
is web.4 4

say 'one that failed gets its chance'
version 5 'sleep 0.2; exit 3'
syscontainer-checkout --update web >/dev/null 2>&1
systemctl restart web
wait_for 'it failed' ended web
version 6 true
stage
ends 0 syscontainer-switch web
is web.6 6

say 'what needs it'
for unit in needs binds; do
    word=Requires
    [ $unit = needs ] || word=BindsTo
    printf '%s\n' '[Unit]' "$word=web.service" 'After=web.service' '[Service]' 'ExecStart=/bin/sleep 1000' >/etc/systemd/system/$unit.service
done
printf '%s\n' '[Unit]' Requires=needs.service After=needs.service '[Service]' 'ExecStart=/bin/sleep 1000' >/etc/systemd/system/far.service
printf '%s\n' '[Unit]' Requires=web.service After=web.service '[Service]' 'ExecStart=/bin/sh -c "grep -q 8 /etc/web/version && exit 1; exec sleep 1000"' >/etc/systemd/system/picky.service
systemctl daemon-reload
systemctl start needs binds far picky
version 7 true
stage
ends 0 syscontainer-switch web
is web.7 7
for unit in needs binds far picky; do expect 'active running success' state $unit; done
version 8 true
stage
ends 4 syscontainer-switch web
expect_like 'picky.service, which needs it, is failed' cat "$WORK/said"
is web.7 7
for unit in needs binds far picky; do expect 'active running success' state $unit; done
version 9 'exit 1'
stage
ends 4 syscontainer-switch web
is web.7 7
for unit in needs binds far picky; do expect 'active running success' state $unit; done
systemctl stop needs binds far picky

say 'what needs it and is started again and again'
printf '%s\n' '[Unit]' Requires=web.service After=web.service StartLimitIntervalSec=0 '[Service]' Restart=always 'ExecStart=/bin/sh -c "grep -q flaps /etc/web/version && { sleep 0.3; exit 1; }; exec sleep 1000"' >/etc/systemd/system/flaps.service
systemctl daemon-reload
systemctl start flaps
version flaps true
stage
ends 4 syscontainer-switch web
expect_like 'flaps.service, which needs it' cat "$WORK/said"
is web.7 7
expect 'active running success' state flaps
systemctl stop flaps

say 'who stops it while it is watched means it'
version stopped true
stage
syscontainer-switch --soak=20 web 2>"$WORK/said" &
wait_for 'it is watched' grep -q watching "$WORK/said"
systemctl stop web
check 'the switch is over' wait $!
expect_like 'web stays with web.8, which does not run now' cat "$WORK/said"
expect 'inactive dead success' state web
expect web.8 readlink $CO/web
systemctl start web
is web.8 stopped

say 'one that was made current meanwhile, and never ran'
version never 'exit 9'
syscontainer-checkout --update web >/dev/null 2>&1
version bad 'exit 8'
stage
ends 4 syscontainer-switch web
is web.8 stopped

say 'a new version that fills the disk'
version 12 true
mkdir "$WORK/disk"
mount -t tmpfs -o size=48M tmpfs "$WORK/disk"
cp -a $CO/. "$WORK/disk/"
mount --bind "$WORK/disk" $CO
version full 'sleep 1; exit 5'
stage
syscontainer-switch --soak=20 web 2>"$WORK/said" &
wait_for 'it is watched' grep -q watching "$WORK/said"
head -c 100M /dev/zero >$CO/.filler 2>/dev/null || true
wait $! && fail 'it stays' || expect 4 echo $?
rm $CO/.filler
is web.8 stopped
systemctl stop web
cp -a "$WORK/disk/." "$WORK/copy"
umount $CO
rm -rf ${CO:?}/web* $CO/.web*
cp -a "$WORK/copy/"{web,web.*,.web.state} $CO/
umount "$WORK/disk"
systemctl start web
is web.8 stopped

say '[Install] is that of the version'
version 10 true
sed -i 's/^WantedBy=.*/WantedBy=sockets.target/' "$WORK/web/exports/service.template"
build_image web "$WORK/web"
syscontainer-pull --quiet "$REGISTRY/web" >/dev/null
stage
ends 0 syscontainer-switch web
links() { find /etc/systemd/system -name web.service | sort | paste -sd' '; }
expect '/etc/systemd/system/sockets.target.wants/web.service /etc/systemd/system/syscontainers.target.wants/web.service' links
version 11 'exit 1'
stage
ends 4 syscontainer-switch web
expect '/etc/systemd/system/sockets.target.wants/web.service /etc/systemd/system/syscontainers.target.wants/web.service' links
version 12 true
sed -i '/^\[Install\]/,$d' "$WORK/web/exports/service.template"
build_image web "$WORK/web"
syscontainer-pull --quiet "$REGISTRY/web" >/dev/null
stage
ends 0 syscontainer-switch web
expect '' links
ends 0 syscontainer-rollback web
expect '/etc/systemd/system/sockets.target.wants/web.service /etc/systemd/system/syscontainers.target.wants/web.service' links

say 'called wrongly'
run_fails 3 'cannot switch nothing: there is no container nothing' syscontainer-switch nothing
run_fails 3 'there is no container nothing' syscontainer-switch --hold nothing
run_fails 2 'invalid container name' syscontainer-switch a/b
run_fails 2 'missing NAME' syscontainer-switch
run_fails 2 'a number from 2 on' syscontainer-switch --keep=1 web
run_fails 2 'cannot be combined with a switch' syscontainer-switch --keep=3 --force web
run_fails 2 'alone' syscontainer-switch --recover --force web
