#!/bin/bash
# syscontainer-rollback: any deployment that is kept, back and forth, with all that belongs to it.
. "$(dirname "$0")/lib.sh"

# pull_mortal N [COMMANDS]: the image of web in another version. Its payload does them, and dies when it finds /data/die.
pull_mortal() {
    local then='while sleep 0.1; do if test -e /data/die; then rm /data/die; exit 8; fi; done'
    new_version web "$1" --data --files \
        --args="$(shell_args "trap 'exit 0' TERM; echo $1 >>/data/log; ${2-true}; $then")"
    echo "{\"defaultValues\": {\"A\": \"$1\"}}" >"$WORK/web/exports/manifest.json"
    build_and_pull web
}
# update_to N: which is good.
update_to() {
    pull_mortal "$1"
    checkout --update --stage web
    ends 0 syscontainer-switch --soak=1 web
}
# update_fails N COMMANDS: which is not: the watch ends when it fails, however long that takes.
update_fails() {
    pull_mortal "$@"
    checkout --update --stage web
    ends 4 syscontainer-switch --soak=600 web
}
# value_of_a: as the current deployment has it.
value_of_a() { sed -n 's/.*"A": "\([^"]*\)".*/\1/p' $CO/web/info; }

pull_mortal 1
checkout "$REGISTRY/web"
systemctl start web
set_soak web 1

say 'nothing to go back to'
snapshot >"$WORK/before"
run_fails 1 'cannot roll back web: there is nothing to roll back to: web.0 is the only deployment' syscontainer-rollback web
run_fails 3 'there is no container nothing' syscontainer-rollback nothing
run_fails 1 'there is nothing to roll back to: web.0 is the only' syscontainer-rollback web 7
run_fails 2 'invalid digit' syscontainer-rollback web x
run_fails 2 'missing NAME' syscontainer-rollback
unchanged "$WORK/before"
expect_current web.0 version=1

say 'back and forth'
update_to 2
expect_current web.1 version=2
ends 0 syscontainer-rollback web
expect_like 'rolled back web to web.0: 127.0.0.1:5000/web:latest' cat "$WORK/said"
expect_current web.0 version=1
expect $'1\n2\n1' cat /var/lib/web/log
journalctl --sync
expect_like 'SYSCONTAINER_PREVIOUS=web.1' journalctl --no-pager --output=verbose -n1 MESSAGE_ID=5963245170684ae3918f07d055ee58f8
say 'updates leave alone what was rolled back'
syscontainer-checkout --update --stage web >/dev/null 2>"$WORK/said"
expect_like 'skipping .*it was rolled back by hand' cat "$WORK/said"
ends 0 syscontainer-rollback web
expect_current web.1 version=2
ends 0 syscontainer-rollback web
expect_current web.0 version=1

say 'what failed is never what was there before'
update_fails 3 'exit 1'
expect_current web.0 version=1
check 'the other one is whole' test -e $CO/web.1/rootfs/bin/busybox
ends 0 syscontainer-rollback web
expect_current web.1 version=2

say 'more are kept if that is wanted'
ends 0 syscontainer-switch --keep=4 web
expect_like 'web is not held, keeps 4 deployments, watches updates for 1 s' cat "$WORK/said"
update_to 4
update_to 5
expect_current web.3 version=5
expect 'web.0 web.1 web.2 web.3' names_in $CO 'web.*'
ends 0 syscontainer-rollback web 0
expect_current web.0 version=1
ends 0 syscontainer-rollback web
expect_current web.3 version=5
run_fails 1 'web.3 is current already' syscontainer-rollback web 3
run_fails 1 'there are web.0, web.1, web.2, and web.3, which is current' syscontainer-rollback web 9
update_to 6
expect 'web.1 web.2 web.3 web.4' names_in $CO 'web.*'

say 'values, and nothing of one version in another'
expect 6 value_of_a
ends 0 syscontainer-rollback web
expect 5 value_of_a
uuid=$(sed -n 's/.*"UUID": "\(.*\)".*/\1/p' $CO/web/info)
ends 0 syscontainer-rollback web 2
expect "$uuid" sed -n 's/.*"UUID": "\(.*\)".*/\1/p' $CO/web/info

say 'one that does not start goes back, too'
update_fails 7 'test -e /data/fine || exit 5'
expect_current web.2 version=4
touch /var/lib/web/fine
checkout --update --stage --force web
ends 0 syscontainer-switch web
expect_current web.5 version=7
ends 0 syscontainer-rollback web
expect_current web.2 version=4
rm /var/lib/web/fine
ends 4 syscontainer-rollback web
expect_like 'cannot roll back web: web.5 failed: .*status 5.*; web.2 is current again' cat "$WORK/said"
expect_current web.2 version=4
check 'it is kept' test -e $CO/web.5

say 'stopped stays stopped'
systemctl stop web
ends 0 syscontainer-rollback web 3
expect_current web.3 version=5 state='inactive dead success'
systemctl start web

say 'by a failure: OnFailure='
mkdir -p /etc/systemd/system/web.service.d
printf '[Unit]\nOnFailure=syscontainer-rollback@%%N.service\n' >/etc/systemd/system/web.service.d/failure.conf
systemctl daemon-reload
update_to 8
current=$(readlink $CO/web)
expect_current "$current" version=8
touch /var/lib/web/die
expect_soon web.3 readlink $CO/web
wait_for 'and that is over' ended syscontainer-rollback@web.service
expect_current web.3 version=5
say 'but not forever'
touch /var/lib/web/die
wait_for 'it failed' ended web
wait_for 'and tells' journal_has syscontainer-rollback@web.service 'failed before, too'
wait_for 'that is over' ended syscontainer-rollback@web.service
expect_like "$current failed before, too|web.. failed before, too" journal_of syscontainer-rollback@web.service
expect web.3 readlink $CO/web
expect failed unit_property web ActiveState
systemctl reset-failed web
systemctl start web
say 'an update that fails goes back once'
update_fails 9 'exit 6'
wait_for 'that is over' ended syscontainer-rollback@web.service
expect_current web.3 version=5

rm -r /etc/systemd/system/web.service.d
systemctl daemon-reload

say 'an unpacked tree'
unpacked_tree
mkdir -p "$tree/usr/lib/systemd/system"
syscontainer-pull --quiet --root="$tree" "$REGISTRY/web" >/dev/null
checkout --root="$tree" "$REGISTRY/web"
pull_mortal 10
syscontainer-pull --quiet --root="$tree" "$REGISTRY/web" >/dev/null
mark_journal
ends 0 syscontainer-checkout --root="$tree" --update --stage web
ends 0 syscontainer-switch --root="$tree" web
expect web.1 readlink "$tree$CO/web"
expect 10 cat "$tree/etc/web/version"
ends 0 syscontainer-rollback --root="$tree" web
expect web.0 readlink "$tree$CO/web"
expect 9 cat "$tree/etc/web/version"
journalctl --sync
expect '' journalctl --quiet --no-pager --output=cat --since="$mark" MESSAGE_ID=5963245170684ae3918f07d055ee58f8
