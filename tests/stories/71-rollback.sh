#!/bin/bash
# syscontainer-rollback: any deployment that is kept, back and forth, with all that belongs to it.
. "$(dirname "$0")/lib.sh"

CO=/var/lib/containers/atomic
# version N [BEHAVIOUR]
version() {
    exports web "[\"sh\",\"-c\",\"trap 'exit 0' TERM; echo $1 >>/data/log; ${2-true}; while sleep 0.1; do if test -e /data/die; then rm /data/die; exit 8; fi; done\"]" \
        '' '' '{"destination": "/data", "type": "bind", "source": "/var/lib/web", "options": ["bind", "rw"]}'
    mkdir -p "$WORK/web/exports/hostfs/etc/web"
    rm -f "$WORK/web/exports/hostfs/etc/web"/only-*
    echo "$1" >"$WORK/web/exports/hostfs/etc/web/version"
    echo "$1" >"$WORK/web/exports/hostfs/etc/web/only-$1"
    echo "d /var/lib/web 0700 - - -"$'\n'"d /run/web-$1 0755 - - -" >"$WORK/web/exports/tmpfiles.template"
    echo "{\"defaultValues\": {\"A\": \"$1\"}}" >"$WORK/web/exports/manifest.json"
    build_image web "$WORK/web"
    syscontainer-pull --quiet "$REGISTRY/web" >/dev/null
}
update() {
    version "$@"
    syscontainer-checkout --update --stage web >/dev/null 2>&1
    syscontainer-switch --soak=1 web >"$WORK/said" 2>&1
}
# is DEPLOYMENT VERSION [STATE]
is() {
    expect "$1" readlink $CO/web
    expect "${3-active running success}" state web
    expect "only-$2 version" bash -c "ls /etc/web | paste -sd' '"
    expect "$2" cat /etc/web/version
    expect_like "/run/web-$2 " cat /etc/tmpfiles.d/web.conf
    expect_like "\"deployment\": \"$1\"" cat /etc/syscontainers/attached/web.json
}

version 1
syscontainer-checkout "$REGISTRY/web" >/dev/null 2>&1
systemctl start web
syscontainer-switch --set-soak=1 web 2>/dev/null

say 'nothing to go back to'
snapshot >"$WORK/before"
run_fails 1 'cannot roll back web: there is nothing to go back to: web.0 is the only deployment' syscontainer-rollback web
run_fails 3 'there is no container nothing' syscontainer-rollback nothing
run_fails 1 'there is nothing to go back to: web.0 is the only' syscontainer-rollback web 7
run_fails 2 'invalid digit' syscontainer-rollback web x
run_fails 2 'missing NAME' syscontainer-rollback
unchanged "$WORK/before"
is web.0 1

say 'back and forth'
update 2
is web.1 2
ends 0 syscontainer-rollback web
expect_like 'rolled back web to web.0: 127.0.0.1:5000/web:latest' cat "$WORK/said"
is web.0 1
expect $'1\n2\n1' cat /var/lib/web/log
journalctl --sync
expect_like 'SYSCONTAINER_PREVIOUS=web.1' journalctl --no-pager --output=verbose -n1 MESSAGE_ID=5963245170684ae3918f07d055ee58f8
say 'updates leave alone what was rolled back'
syscontainer-checkout --update --stage web >/dev/null 2>"$WORK/said"
expect_like 'skipping .*it was rolled back by hand' cat "$WORK/said"
ends 0 syscontainer-rollback web
is web.1 2
ends 0 syscontainer-rollback web
is web.0 1

say 'what failed is never what was there before'
update 3 'exit 1' || true
is web.0 1
check 'the other one is whole' test -e $CO/web.1/rootfs/bin/busybox
ends 0 syscontainer-rollback web
is web.1 2

say 'more are kept if that is wanted'
ends 0 syscontainer-switch --keep=4 web
expect_like 'web is not held, keeps 4 deployments, watches updates for 1 s' cat "$WORK/said"
update 4
update 5
is web.3 5
expect 'web.0 web.1 web.2 web.3' bash -c "cd $CO && echo web.*"
ends 0 syscontainer-rollback web 0
is web.0 1
ends 0 syscontainer-rollback web
is web.3 5
run_fails 1 'web.3 is current already' syscontainer-rollback web 3
run_fails 1 'there are web.0, web.1, web.2, and web.3, which is current' syscontainer-rollback web 9
update 6
expect 'web.1 web.2 web.3 web.4' bash -c "cd $CO && echo web.*"

say 'values, and nothing of one version in another'
expect '["6"]' bash -c "sed -n 's/.*\"A\": \(\"[^\"]*\"\).*/[\1]/p' $CO/web/info"
ends 0 syscontainer-rollback web
expect '["5"]' bash -c "sed -n 's/.*\"A\": \(\"[^\"]*\"\).*/[\1]/p' $CO/web/info"
uuid=$(sed -n 's/.*"UUID": "\(.*\)".*/\1/p' $CO/web/info)
ends 0 syscontainer-rollback web 2
expect "$uuid" sed -n 's/.*"UUID": "\(.*\)".*/\1/p' $CO/web/info

say 'one that does not start goes back, too'
update 7 'test -e /data/fine || exit 5' || true
is web.2 4
touch /var/lib/web/fine
syscontainer-checkout --update --stage --force web >/dev/null 2>&1
ends 0 syscontainer-switch web
is web.5 7
ends 0 syscontainer-rollback web
is web.2 4
rm /var/lib/web/fine
ends 4 syscontainer-rollback web
expect_like 'cannot roll back web: web.5 failed: .*status 5.*; web.2 is current again' cat "$WORK/said"
is web.2 4
check 'it is kept' test -e $CO/web.5

say 'stopped stays stopped'
systemctl stop web
ends 0 syscontainer-rollback web 3
is web.3 5 'inactive dead success'
systemctl start web

say 'by a failure: OnFailure='
mkdir -p /etc/systemd/system/web.service.d
printf '[Unit]\nOnFailure=syscontainer-rollback@%%N.service\n' >/etc/systemd/system/web.service.d/failure.conf
systemctl daemon-reload
update 8 'sleep 3; test -e /data/fine || exit 6'
current=$(readlink $CO/web)
expect 'active running success' state web
wait_for 'it goes back by itself' bash -c "[ \"\$(readlink $CO/web)\" = web.3 ]"
wait_for 'and that is over' ended syscontainer-rollback@web.service
is web.3 5
say 'but not for ever'
touch /var/lib/web/die
wait_for 'it failed' ended web
wait_for 'and tells' bash -c 'journalctl --sync; journalctl --unit=syscontainer-rollback@web.service | grep "failed before, too"'
wait_for 'that is over' ended syscontainer-rollback@web.service
expect_like "$current failed before, too|web.. failed before, too" journal_of syscontainer-rollback@web.service
expect web.3 readlink $CO/web
expect failed unit_property web ActiveState
systemctl reset-failed web
systemctl start web
say 'an update that fails goes back once'
update 9 'exit 6' || true
wait_for 'that is over' ended syscontainer-rollback@web.service
sleep 1
is web.3 5

rm -r /etc/systemd/system/web.service.d
systemctl daemon-reload

say 'an unpacked tree'
mkdir -p "$WORK/tree/usr/bin" "$WORK/tree/usr/lib/systemd/system"
cp /usr/bin/crun "$WORK/tree/usr/bin/"
syscontainer-pull --quiet --root="$WORK/tree" "$REGISTRY/web" >/dev/null
syscontainer-checkout --root="$WORK/tree" "$REGISTRY/web" >/dev/null 2>&1
version 10
syscontainer-pull --quiet --root="$WORK/tree" "$REGISTRY/web" >/dev/null
ends 0 syscontainer-checkout --root="$WORK/tree" --update --stage web
ends 0 syscontainer-switch --root="$WORK/tree" web
expect 'web.1 10' bash -c "echo \$(readlink $WORK/tree$CO/web) \$(cat $WORK/tree/etc/web/version)"
ends 0 syscontainer-rollback --root="$WORK/tree" web
expect 'web.0 9' bash -c "echo \$(readlink $WORK/tree$CO/web) \$(cat $WORK/tree/etc/web/version)"
refuse 'the journal of this host has nothing of it' bash -c "journalctl --sync; journalctl --no-pager --output=cat --since=-5s MESSAGE_ID=5963245170684ae3918f07d055ee58f8 | grep 'web to web.0: 127.0.0.1:5000/web:latest'"
