#!/bin/bash
# Power cuts at any moment of an update, with everything lost that was not flushed: one version or the other is whole and runs.
# runs in: vm
. "$(dirname "$0")/lib.sh"

CO=/var/lib/containers/atomic CUTS=3
[ -z "$LONG" ] || CUTS=12
version() {
    exports web "[\"sh\",\"-c\",\"trap 'exit 0' TERM; echo $1 >>/data/log; sleep 100000 & wait\"]" '' '' \
        '{"destination": "/data", "type": "bind", "source": "/var/lib/web", "options": ["bind", "rw"]}'
    mkdir -p "$WORK/web/exports/hostfs/etc/web"
    echo "$1" >"$WORK/web/exports/hostfs/etc/web/version"
    echo "$1" >"$WORK/web/version"
    build_image web "$WORK/web"
    syscontainer-pull --quiet "$REGISTRY/web" >/dev/null
}
# whole: one version is current, registered, in its unit, on the host, and runs; sets $current.
whole() {
    current=$(readlink $CO/web)
    expect 'active running success' state web
    expect "$current" sed -n 's/.*"deployment": *"\([^"]*\)".*/\1/p' /run/syscontainers/web/launch.json
    expect_like "\"deployment\": \"$current\"" cat /etc/syscontainers/attached/web.json
    check 'the host file is of that version' cmp "$CO/$current/rootfs/version" /etc/web/version
    check 'it writes where it wrote before' grep -qx 0 /var/lib/web/log
    check 'the store is sound' ostree --repo=$CO/.storage/ostree fsck --quiet
}
# cut_at_random: stages the next version, and cuts the power a while after its switch began.
cut_at_random() {
    version "$BOOT"
    syscontainer-checkout --update --stage --force web >/dev/null 2>&1
    syscontainer-switch --set-soak=2 web 2>/dev/null
    syscontainer-switch web >/dev/null 2>&1 &
    local delay=$((RANDOM % 6)).$((RANDOM % 10))
    say "the power fails $delay s after the switch began"
    sleep $delay
    cut_off
}

if [ "$BOOT" = 1 ]; then
    version 0
    syscontainer-checkout "$REGISTRY/web" >/dev/null 2>&1
    systemctl start web
    sync
    cut_at_random
fi
unsettled() { ! grep -q '"from"' $CO/.web.state; }
say "after the cut: $(readlink $CO/web), $(unsettled && echo settled || echo not confirmed)"
for _ in $(seq 100); do ! unsettled || break; sleep 0.5; done
check 'the update is over' unsettled
whole
expect '' bash -c 'systemctl --failed --no-legend --plain'
[ "$BOOT" -gt "$CUTS" ] || cut_at_random
