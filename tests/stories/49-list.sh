#!/bin/bash
# syscontainer-list: what is installed, what systemd says of it, and what is wrong with it. Nothing broken hides what is not.
. "$(dirname "$0")/lib.sh"

expect 'NAME  STATE  DEPLOYMENT  IMAGE  DIGEST  SINCE  PENDING  PROBLEMS' syscontainer-list
expect '[]' syscontainer-list --json
expect '' syscontainer-list --quiet

hello_world
pull_image hello-world
short=${DIGEST#sha256:} short=${short:0:12}
# line NAME ERE: its line is like this.
line() { syscontainer-list >"$WORK/list" && expect_like "^$1 +$2\$" cat "$WORK/list"; }

say 'states'
install_hello_world one 8081
line one "inactive \(dead\) +one.0 +$REGISTRY/hello-world:latest +$short +- +- +-"
systemctl start one
line one "active \(running\) +one.0 .* 20[0-9-]+T[0-9:]+Z +- +-"
systemctl kill --signal=KILL one
systemctl stop one
# Nobody asked for the kill.
systemctl reset-failed one 2>/dev/null || true
install_hello_world two 8082
systemctl --quiet mask two
line two 'masked +two.0 .*'
systemctl --quiet unmask two
mkdir -p "$WORK/files/exports/hostfs/etc/files"
touch "$WORK/files/exports/hostfs/etc/files/x"
echo '{"noContainerService": true}' >"$WORK/files/exports/manifest.json"
build_and_pull files
checkout "$REGISTRY/files"
line files 'no service +files.0 .* -'

say 'pending'
cp -r "$TESTS/hello-world" "$WORK/next"
echo x >"$WORK/next/new"
build_image hello-world "$WORK/next"
pull_image hello-world
next=${DIGEST#sha256:}
line one ".* $short .* ${next:0:12} +-"
checkout --update one
line one ".* one.1 .* ${next:0:12} .* - +-"

say 'problems'
for number in 1 2 3 4 5; do install_hello_world bad$number 809$number; done
rm /etc/syscontainers/attached/bad1.json
line bad1 ".*it is not registered, or masked; 'systemctl restart syscontainers-reconcile.service' repairs that"
echo '{' >/etc/syscontainers/attached/bad2.json
line bad2 '.*bad2.json:2?1?: not a registration.*'
echo '{' >$CO/bad3.0/info
line bad3 ".*cannot read $CO/bad3.0/info: it is not valid JSON.*syscontainer-remove.*"
rm $CO/bad4
line bad4 '.*it has no current deployment.*'
rm -r $CO/bad5.0
line bad5 ".*bad5.0.*cannot read $CO/bad5.0/info.*"
mkdir "$CO/some thing" $CO/foreign
line 'some thing' '.*it is not the name of a container or a deployment'
line foreign '.*foreign is in the way: it is not a symlink to a deployment'
printf 'x' >"$CO/$(printf 'esc\033[31m')"
expect_no $'\033' syscontainer-list
for name in one two files; do line $name '.*-'; done

say 'filters and forms'
expect 'one' syscontainer-list --quiet --filter=image=hello-world --filter=name=on
expect '' syscontainer-list --quiet --filter=name=two --filter=name=one
expect two syscontainer-list --quiet --filter=name=tw
expect 'files' syscontainer-list --quiet --filter='state=no service'
expect 8 bash -c 'syscontainer-list --quiet --filter=problem=i | grep -c .'
syscontainer-list --json --filter=name=one >"$WORK/json"
for text in '"name": "one"' '"state": "inactive \(dead\)"' '"deployment": "one.1"' '"pending": null' '"problems": \[\]'; do
    expect_like "$text" cat "$WORK/json"
done
run_fails 2 'expected KEY=VALUE' syscontainer-list --filter=colour=red
run_fails 2 'unexpected argument' syscontainer-list one

say 'what is mended has no problem'
systemctl restart syscontainers-reconcile.service 2>/dev/null || true
line bad1 '.*-'
for name in bad2 bad3 bad4 bad5; do syscontainer-remove $name >/dev/null 2>&1 || true; done
expect '' bash -c 'syscontainer-list --quiet --filter=name=bad --filter=problem=i'

say 'what is pending is of the image that is staged'
echo y >"$WORK/next/new"
build_image other "$WORK/next"
pull_image other
other=${DIGEST#sha256:}
expect_like '"pending": null' syscontainer-list --json --filter=name=one
check 'it is staged' syscontainer-checkout --update --stage --rebase="$REGISTRY/other" one
expect_like "\"pending\": \"sha256:$other\"" syscontainer-list --json --filter=name=one
expect_like "\"digest\": \"sha256:$next\"" syscontainer-list --json --filter=name=one
