#!/bin/bash
# Updates by units: fetch@, update@, its timer and the target of all; hold, --check, and sources that are away.
. "$(dirname "$0")/lib.sh"

# push_version NAME N [OPTION…]: as new_version makes it; nothing is pulled.
push_version() {
    new_version "$@"
    build_image "$1" "$WORK/$1"
}
# start_first NAME: its first version, of which updates are watched for a second.
start_first() {
    push_version "$1" 1
    pull_image "$1"
    checkout "$REGISTRY/$1"
    systemctl start "$1"
    set_soak "$1" 1
}
run_update() { systemctl start "syscontainer-update@$1.service" 2>"$WORK/said"; }

start_first web
say 'the units are sound'
for unit in fetch@web.service update@web.service update@web.timer rollback@web.service confirm@web.service; do
    expect '' systemd-analyze verify "syscontainer-$unit"
done
systemd-analyze security --no-pager syscontainer-fetch@web.service | tail -n1

say 'what would happen'
ends 0 syscontainer-pull --check --container=web
expect_like "^web: 127.0.0.1:5000/web:latest has sha256:.*: up to date$" cat "$WORK/printed"
ends 0 syscontainer-pull --check "$REGISTRY/web"
push_version web 2
ends 5 syscontainer-pull --check --container=web
expect "web: 127.0.0.1:5000/web:latest has $DIGEST: newer" cat "$WORK/printed"
ends 5 syscontainer-pull --check "$REGISTRY/web"
expect_like '"digest": "sha256:' syscontainer-images --json
expect_no "$DIGEST" syscontainer-images --json
expect_current web.0

say 'fetched while the old version runs'
pid=$(unit_property web MainPID)
check 'fetch@' systemctl start syscontainer-fetch@web.service
expect_current web.0
expect "$pid" unit_property web MainPID
ends 5 syscontainer-pull --check --container=web
expect "web: 127.0.0.1:5000/web:latest has $DIGEST: staged as web.1" cat "$WORK/printed"
expect_like 'web +active.*web.1 \(staged\)' syscontainer-list

say 'updated'
check 'update@' run_update web
expect_current web.1
expect 2 cat $CO/web/rootfs/version
journalctl --sync
expect_like 'switched web to web.1' journal_of web
expect_like 'confirmed web.1, which is running' journal_of syscontainer-update@web.service
check 'once more' run_update web
expect_current web.1
expect_like 'nothing is staged for web, web.1 stays' journal_of syscontainer-update@web.service

say 'a version that dies'
push_version web 3 --first='sleep 0.5; exit 7'
set_soak web 600
pull_image web
check 'stage it with a value' syscontainer-checkout --update --stage --set A=2 web
ends 4 syscontainer-switch web
ends 5 syscontainer-pull --check --container=web
expect "web: 127.0.0.1:5000/web:latest has $DIGEST: newer" cat "$WORK/printed"
expect_no 'failed before' syscontainer-list --json
refuse 'the unit tells' run_update web
expect_current web.1
expect 4 unit_property syscontainer-update@web.service ExecMainStatus
ends 0 syscontainer-pull --check --container=web
expect_like 'skipped, it failed before: .*status 7' cat "$WORK/printed"
expect_like 'the pending image failed before' syscontainer-list --json
check 'it is not tried again' run_update web
expect_current web.1
set_soak web 1

say 'held'
push_version web 4
ends 0 syscontainer-switch --hold web
expect_like 'web is held' cat "$WORK/said"
check 'update@ has nothing to do' run_update web
expect_current web.1
ends 0 syscontainer-pull --check --container=web
expect_like ': held$' cat "$WORK/printed"
expect_like 'web .*held' syscontainer-list
expect_no "$DIGEST" syscontainer-images --json
ends 0 syscontainer-switch --no-hold web
check 'not any more' run_update web
expect_current web.2

say 'what the user staged is not lost by an update that comes along'
skopeo copy --quiet "docker://$REGISTRY/web" "docker://$REGISTRY/rebased:2"
pull_image rebased:2
checkout --update --stage --set X=1 --rebase="$REGISTRY/rebased:2" web
new_version rebased 5
build_image rebased:2 "$WORK/rebased"
check 'update@' run_update web
expect_current web.4
expect_like '"image": "127.0.0.1:5000/rebased:2"' cat $CO/web/info
expect_like "$DIGEST" cat $CO/web/info
expect_like '"X": "1"' cat $CO/web/info
say 'and can be taken back'
checkout --update --stage --set X=2 web
expect_like 'web.5 \(staged\)' syscontainer-list
checkout --update --stage --set X=1 web
expect_no 'staged' syscontainer-list
refuse 'it is gone' test -e $CO/web.5
checkout --update --rebase="$REGISTRY/web" --unset X web
systemctl restart web
expect_current web.5

say 'sources that are away'
snapshot >"$WORK/before"
pid=$(unit_property web MainPID)
systemctl stop registry
ends 1 syscontainer-pull --check --container=web
refuse 'no registry' run_update web
expect_like 'cannot pull 127.0.0.1:5000/web:latest' journal_of syscontainer-fetch@web.service
systemctl start registry
wait_for 'the registry is back' http 5000/v2/
skopeo delete "docker://$REGISTRY/web" 2>/dev/null || true
expect "$pid" unit_property web MainPID
unchanged "$WORK/before"
dd if=/dev/urandom of="$WORK/web/large" bs=1M count=150 status=none
push_version web large
systemctl start --no-block syscontainer-update@web.service
is_pulling() {
    journalctl --sync
    journalctl --unit=syscontainer-fetch@web.service --no-pager -n3 | grep 'fetching layer'
}
wait_for 'it is pulling' is_pulling
systemctl kill --signal=KILL registry
wait_for 'the pull failed' ended syscontainer-fetch@web.service
wait_for 'and the update' ended syscontainer-update@web.service
expect "$pid" unit_property web MainPID
expect_current web.5
rm "$WORK/web/large"
systemctl start registry
wait_for 'the registry is back' http 5000/v2/
refuse 'no such container' run_update nothing
expect_like 'there is no container nothing' journal_of syscontainer-update@nothing.service
cp -r "$WORK/web" "$WORK/local"
"$TESTS/build-image" "$WORK/layout:1" "$WORK/local" >/dev/null
(cd "$WORK" && syscontainer-pull --quiet oci:layout:1 >/dev/null)
checkout --name=local "oci:$WORK/layout:1"
echo changed >"$WORK/local/version"
rm -r "$WORK/layout"
"$TESTS/build-image" "$WORK/layout:1" "$WORK/local" >/dev/null
check 'a layout of this host' run_update local
expect local.1 readlink $CO/local
rm -r "$WORK/layout"
check 'which is gone then: that is no failure' run_update local
expect_like 'which no longer exists; nothing was pulled' journal_of syscontainer-fetch@local.service
expect local.1 readlink $CO/local

say 'all that are enabled, and one of them fails'
start_first two
start_first three
for name in web two three; do systemctl enable --quiet "syscontainer-update@$name.timer"; done
expect 'enabled enabled' enablement syscontainer-update@two.timer syscontainer-update@two.service
for name in two three; do push_version $name 2; done
push_version web 5 --first='exit 1'
set_soak web 600
check 'the target' systemctl start syscontainers-update.target
expect_current web.5
expect_current two.1
expect_current three.1
expect 'failed failed exit-code 4' state syscontainer-update@web.service
set_soak web 1
wait_for 'the target can be started again' unit_has syscontainers-update.target ActiveState inactive
push_version two 3
check 'and is' systemctl start syscontainers-update.target
expect_current two.2
say 'the timer'
systemctl start syscontainer-update@two.timer
expect_like 'syscontainer-update@two.timer' systemctl list-timers --no-pager
expect_like '^OnCalendar=daily$' systemctl cat syscontainer-update@two.timer
expect yes unit_property syscontainer-update@two.timer FixedRandomDelay
systemctl disable --quiet --now syscontainer-update@two.timer
expect 'disabled disabled' enablement syscontainer-update@two.timer syscontainer-update@two.service

say 'two updates at once, and an update beside a removal'
push_version two 4
run_update two &
run_update two
wait $!
expect_current two.3
push_version two 5
systemctl start syscontainer-fetch@two.service
syscontainer-switch --soak=60 two 2>/dev/null &
expect_soon two.4 readlink $CO/two
check 'removed meanwhile' syscontainer-remove --purge two
wait $! || true
refuse 'nothing is left' ls $CO/two
expect '' find $CO -maxdepth 1 -regextype egrep -regex '.*/(.*[^a-z0-9])?two([^a-z0-9].*)?'
syscontainer-remove three
push_version web 6
systemctl start syscontainer-fetch@web.service
syscontainer-remove web &
syscontainer-switch web 2>"$WORK/said" || true
wait $!
expect '' find $CO -maxdepth 1 -name '*web*'

say 'one that needs another, both at once'
start_first needed
new_version needing 1
sed -i '2i Requires=needed.service\nAfter=needed.service' "$WORK/needing/exports/service.template"
install_image needing
systemctl start needing
set_soak needing 1
set_soak needed 600
push_version needed 2 --first='sleep 0.5; exit 3'
echo 2 >"$WORK/needing/version"
build_image needing "$WORK/needing"
for name in needed needing; do systemctl enable --quiet "syscontainer-update@$name.timer"; done
systemctl start syscontainers-update.target
expect_current needed.0
expect_current needing.1
expect_no '"bad": \[.*digest' cat $CO/.needing.state
expect needed.0 running_deployment needed
syscontainer-remove needing 2>/dev/null
syscontainer-remove needed 2>/dev/null

say 'what is removed is not updated any more'
systemctl enable --quiet --now syscontainer-update@local.timer
ends 0 syscontainer-remove local
expect_like 'disabled syscontainer-update@local.timer' cat "$WORK/said"
expect '' find /etc/systemd/system -name '*@local.*'
wait_for 'nor does the timer run' unit_has syscontainer-update@local.timer ActiveState inactive

say 'the catalog'
journalctl --update-catalog
expect_like 'Subject: System container @SYSCONTAINER_NAME@ was removed' \
    journalctl --dump-catalog e62de78e708f4942a37c30799322a8d6
expect_like 'System container web was removed' \
    journalctl --catalog --no-pager MESSAGE_ID=e62de78e708f4942a37c30799322a8d6
