#!/bin/bash
# Updates by units: fetch@, update@, its timer and the target of all; hold, --check, and sources that are away.
. "$(dirname "$0")/lib.sh"

CO=/var/lib/containers/atomic
# version NAME N [BEHAVIOUR]: pushes it, and pulls nothing.
version() {
    exports "$1" "[\"sh\",\"-c\",\"trap 'exit 0' TERM; ${3-true}; sleep 1000 & wait\"]"
    echo "$2" >"$WORK/$1/version"
    build_image "$1" "$WORK/$1"
}
installed() {
    version "$1" 1
    syscontainer-pull --quiet "$REGISTRY/$1" >/dev/null
    syscontainer-checkout "$REGISTRY/$1" >/dev/null 2>&1
    systemctl start "$1"
    syscontainer-switch --set-soak=1 "$1" 2>/dev/null
}
update() { systemctl start "syscontainer-update@$1.service" 2>"$WORK/said"; }
is() {
    expect "$2" readlink "$CO/$1"
    expect 'active running success' state "$1"
}

installed web
say 'the units are sound'
for unit in fetch@web.service update@web.service update@web.timer rollback@web.service confirm@web.service; do
    expect '' systemd-analyze verify "syscontainer-$unit"
done
systemd-analyze security --no-pager syscontainer-fetch@web.service | tail -n1

say 'what would happen'
ends 0 syscontainer-pull --check --container=web
expect_like "^web: 127.0.0.1:5000/web:latest has sha256:.*: up to date$" cat "$WORK/printed"
ends 0 syscontainer-pull --check "$REGISTRY/web"
version web 2
ends 5 syscontainer-pull --check --container=web
expect "web: 127.0.0.1:5000/web:latest has $DIGEST: newer" cat "$WORK/printed"
ends 5 syscontainer-pull --check "$REGISTRY/web"
expect_like '"digest": "sha256:' syscontainer-images --json
expect_no "$DIGEST" syscontainer-images --json
is web web.0

say 'fetched while the old version runs'
pid=$(unit_property web MainPID)
check 'fetch@' systemctl start syscontainer-fetch@web.service
is web web.0
expect "$pid" unit_property web MainPID
ends 5 syscontainer-pull --check --container=web
expect "web: 127.0.0.1:5000/web:latest has $DIGEST: staged as web.1" cat "$WORK/printed"
expect_like 'web +active.*web.1 \(staged\)' syscontainer-list

say 'updated'
check 'update@' update web
is web web.1
expect 2 cat $CO/web/rootfs/version
journalctl --sync
expect_like 'updated web to web.1' journal_of web
expect_like 'web runs web.1 and stays with it' journal_of syscontainer-update@web.service
check 'once more' update web
is web web.1
expect_like 'nothing is staged for web, web.1 stays' journal_of syscontainer-update@web.service

say 'a version that dies'
version web 3 'sleep 0.5; exit 7'
refuse 'the unit tells' update web
is web web.1
expect 4 unit_property syscontainer-update@web.service ExecMainStatus
ends 0 syscontainer-pull --check --container=web
expect_like 'skipped, it failed before: .*status 7' cat "$WORK/printed"
expect_like 'the pending image failed before' syscontainer-list --json
check 'it is not tried again' update web
is web web.1

say 'held'
version web 4
ends 0 syscontainer-switch --hold web
expect_like 'web is held' cat "$WORK/said"
check 'update@ has nothing to do' update web
is web web.1
ends 0 syscontainer-pull --check --container=web
expect_like ': held$' cat "$WORK/printed"
expect_like 'web .*held' syscontainer-list
expect_no "$DIGEST" syscontainer-images --json
ends 0 syscontainer-switch --no-hold web
check 'not any more' update web
is web web.2

say 'what the user staged is not lost by an update that comes along'
skopeo copy --quiet "docker://$REGISTRY/web" "docker://$REGISTRY/rebased:2"
syscontainer-pull --quiet "$REGISTRY/rebased:2" >/dev/null
syscontainer-checkout --update --stage --set X=1 --rebase="$REGISTRY/rebased:2" web >/dev/null 2>&1
exports rebased "[\"sh\",\"-c\",\"trap 'exit 0' TERM; sleep 1000 & wait\"]"
echo 5 >"$WORK/rebased/version"
build_image rebased:2 "$WORK/rebased"
check 'update@' update web
is web web.4
expect_like '"image": "127.0.0.1:5000/rebased:2"' cat $CO/web/info
expect_like "$DIGEST" cat $CO/web/info
expect_like '"X": "1"' cat $CO/web/info
say 'and can be taken back'
syscontainer-checkout --update --stage --set X=2 web >/dev/null 2>&1
expect_like 'web.5 \(staged\)' syscontainer-list
syscontainer-checkout --update --stage --set X=1 web >/dev/null 2>&1
expect_no 'staged' syscontainer-list
refuse 'it is gone' test -e $CO/web.5
syscontainer-checkout --update --rebase="$REGISTRY/web" --unset X web >/dev/null 2>&1
systemctl restart web
is web web.5

say 'sources that are away'
snapshot >"$WORK/before"
pid=$(unit_property web MainPID)
systemctl stop registry
ends 1 syscontainer-pull --check --container=web
refuse 'no registry' update web
expect_like 'cannot pull 127.0.0.1:5000/web:latest' journal_of syscontainer-fetch@web.service
systemctl start registry
wait_for 'the registry is back' busybox wget -q -O /dev/null http://127.0.0.1:5000/v2/
skopeo delete "docker://$REGISTRY/web" 2>/dev/null || true
expect "$pid" unit_property web MainPID
unchanged "$WORK/before"
dd if=/dev/urandom of="$WORK/web/large" bs=1M count=150 status=none
version web large
systemctl start --no-block syscontainer-update@web.service
wait_for 'it is pulling' bash -c "journalctl --sync; journalctl --unit=syscontainer-fetch@web.service --no-pager -n3 | grep 'fetching layer'"
systemctl kill --signal=KILL registry
wait_for 'the pull failed' ended syscontainer-fetch@web.service
wait_for 'and the update' ended syscontainer-update@web.service
expect "$pid" unit_property web MainPID
is web web.5
rm "$WORK/web/large"
systemctl start registry
wait_for 'the registry is back' busybox wget -q -O /dev/null http://127.0.0.1:5000/v2/
refuse 'no such container' update nothing
expect_like 'there is no container nothing' journal_of syscontainer-update@nothing.service
cp -r "$WORK/web" "$WORK/local"
"$TESTS/build-image" "$WORK/layout:1" "$WORK/local" >/dev/null
(cd "$WORK" && syscontainer-pull --quiet oci:layout:1 >/dev/null)
syscontainer-checkout --name=local layout:1 >/dev/null 2>&1
echo changed >"$WORK/local/version"
rm -r "$WORK/layout"
"$TESTS/build-image" "$WORK/layout:1" "$WORK/local" >/dev/null
check 'a layout of this host' update local
expect local.1 readlink $CO/local
rm -r "$WORK/layout"
refuse 'which is gone then' update local

say 'all that are enabled, and one of them fails'
installed two
installed three
for name in web two three; do systemctl enable --quiet "syscontainer-update@$name.timer"; done
expect 'enabled enabled' bash -c "systemctl is-enabled syscontainer-update@two.timer syscontainer-update@two.service | paste -sd' '"
for name in two three; do version $name 2; done
version web 5 'exit 1'
check 'the target' systemctl start syscontainers-update.target
is web web.5
is two two.1
is three three.1
expect failed unit_property syscontainer-update@web.service ActiveState
wait_for 'the target can be started again' bash -c '[ "$(systemctl show --property=ActiveState --value syscontainers-update.target)" = inactive ]'
version two 3
check 'and is' systemctl start syscontainers-update.target
is two two.2
say 'the timer'
systemctl start syscontainer-update@two.timer
expect_like 'syscontainer-update@two.timer' systemctl list-timers --no-pager
expect 'daily' bash -c "systemctl cat syscontainer-update@two.timer | sed -n 's/^OnCalendar=//p'"
expect yes unit_property syscontainer-update@two.timer FixedRandomDelay
systemctl disable --quiet --now syscontainer-update@two.timer
expect 'disabled disabled' bash -c "systemctl is-enabled syscontainer-update@two.timer syscontainer-update@two.service | paste -sd' '"

say 'two updates at once, and an update beside a removal'
version two 4
update two &
update two
wait $!
is two two.3
version two 5
systemctl start syscontainer-fetch@two.service
syscontainer-switch --soak=3 two 2>/dev/null &
wait_for 'it is switched' bash -c "[ \$(readlink $CO/two) = two.4 ]"
check 'removed meanwhile' syscontainer-remove --purge two
wait $! || true
refuse 'nothing is left' ls $CO/two
expect '' bash -c "ls -A $CO | grep '\btwo\b' || true"
syscontainer-remove three
version web 6
systemctl start syscontainer-fetch@web.service
syscontainer-remove web &
syscontainer-switch web 2>"$WORK/said" || true
wait $!
expect '' bash -c "ls -A $CO | grep web || true"

say 'one that needs another, both at once'
installed needed
version needing 1
sed -i '2i Requires=needed.service\nAfter=needed.service' "$WORK/needing/exports/service.template"
build_image needing "$WORK/needing"
syscontainer-pull --quiet "$REGISTRY/needing" >/dev/null
syscontainer-checkout "$REGISTRY/needing" >/dev/null 2>&1
systemctl start needing
syscontainer-switch --set-soak=1 needing 2>/dev/null
version needed 2 'sleep 0.5; exit 3'
echo 2 >"$WORK/needing/version"
build_image needing "$WORK/needing"
for name in needed needing; do systemctl enable --quiet "syscontainer-update@$name.timer"; done
systemctl start syscontainers-update.target
is needed needed.0
is needing needing.1
expect_no '"bad": \[.*digest' cat $CO/.needing.state
expect needed.0 sed -n 's/.*"deployment": *"\([^"]*\)".*/\1/p' /run/syscontainers/needed/launch.json
syscontainer-remove needing 2>/dev/null
syscontainer-remove needed 2>/dev/null

say 'what is removed is not updated any more'
systemctl enable --quiet --now syscontainer-update@local.timer
expect_like 'disabled syscontainer-update@local.timer' bash -c 'syscontainer-remove local 2>&1'
expect '' find /etc/systemd/system -name '*@local.*'
wait_for 'nor does the timer run' bash -c "! systemctl is-active --quiet syscontainer-update@local.timer"

say 'the catalog'
journalctl --update-catalog
expect_like 'Subject: System container @SYSCONTAINER_NAME@ was removed' journalctl --dump-catalog e62de78e708f4942a37c30799322a8d6
expect_like 'System container web was removed' journalctl --catalog --no-pager MESSAGE_ID=e62de78e708f4942a37c30799322a8d6
