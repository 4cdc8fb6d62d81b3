#!/bin/bash
# With a kernel that has AppArmor, the payload of a plain image runs under its profile, with crun and with runc. And this kernel
# tells who notifies, as that of the machine does.
# runs in: vm
. "$(dirname "$0")/lib.sh"

[ "$(cat /sys/module/apparmor/parameters/enabled 2>/dev/null)" = Y ] || skip 'this kernel has no AppArmor'
PROFILE=/etc/apparmor.d/syscontainers-default
LOADED=/sys/kernel/security/apparmor/profiles
# profile UNIT: the one that its main process is under.
profile() { main_process "$1" attr/current; }
look='cat /proc/self/attr/current; echo 1 >/proc/self/oom_score_adj && echo "its own"; echo looked'
mkdir -p "$WORK/plain"
build_and_pull plain --config="{\"Cmd\": $(until_stopped "$look")}"
exports own "$(until_stopped)"
install_image own

say 'our profile'
refuse 'nobody has loaded it' grep -q syscontainers-default $LOADED
for runtime in crun runc; do
    checkout --name=$runtime --runtime=/usr/bin/$runtime "$REGISTRY/plain"
    check "$runtime: it starts" systemctl start $runtime
    wait_for 'it has looked' journal_has $runtime '^looked$'
    expect 'syscontainers-default (enforce)' profile $runtime
    expect_like '^syscontainers-default \(enforce\)$' journal_of $runtime
    expect_like '^its own$' journal_of $runtime
    expect_no 'AppArmor has no profile' journal_of $runtime
    check 'it is stopped as any' systemctl stop $runtime
    expect 'inactive dead success' state $runtime
done
check 'it was loaded' grep -q '^syscontainers-default (enforce)$' $LOADED
systemctl start own
expect unconfined profile own
systemctl stop own

say 'another one'
apparmor_parser --remove $PROFILE
mv $PROFILE "$WORK/profile"
systemctl start crun
expect unconfined profile crun
expect_like 'AppArmor has no profile for containers, starting crun without one' journal_of crun
sed 's/syscontainers-default/containers-default-9.9/' "$WORK/profile" >"$WORK/of-podman"
apparmor_parser --add "$WORK/of-podman"
systemctl restart crun
expect 'containers-default-9.9 (enforce)' profile crun
# What an update of the package brings is used from the next start on.
mv "$WORK/profile" $PROFILE
systemctl restart crun
expect 'syscontainers-default (enforce)' profile crun
forget crun runc own

say 'who notifies'
exports tells "$(until_stopped 'sleep 0.5; /usr/bin/systemd-notify --ready --status=up')" --unit='Type=notify' \
    --mount=/usr:/usr:bind,ro --mount=/usr/lib:/lib:bind,ro --mount=/usr/lib64:/lib64:bind,ro
build_and_pull tells
for runtime in crun runc; do
    checkout --name=tells --runtime=/usr/bin/$runtime "$REGISTRY/tells"
    check "$runtime: it is believed" systemctl start tells
    expect up unit_property tells StatusText
    expect_no 'ignoring a notification' journal_of tells
    forget tells
done
