#!/bin/bash
# Power cuts at any moment of an update, with everything lost that was not flushed: one version or the other is whole and runs.
# runs in: vm
. "$(dirname "$0")/lib.sh"

CUTS=3
[ -z "$LONG" ] || CUTS=12
# cut_at_random: stages the next version, and cuts the power a while after its switch began.
cut_at_random() {
    new_version web "$BOOT" --data --host-file
    build_and_pull web
    checkout --update --stage --force web
    set_soak web 2
    syscontainer-switch web >/dev/null 2>&1 &
    local delay=$((RANDOM % 6)).$((RANDOM % 10))
    say "the power fails $delay s after the switch began"
    sleep $delay
    cut_off
}

if [ "$BOOT" = 1 ]; then
    new_version web 0 --data --host-file
    install_image web
    systemctl start web
    sync
    cut_at_random
fi
say "after the cut: $(readlink $CO/web), $(is_settled web && echo settled || echo not confirmed)"
wait_for 'the update is over' is_settled web
expect_whole web 'after the cut'
check 'the host file is of that version' cmp "$CO/$current/rootfs/version" /etc/web/version
check 'it writes where it wrote before' grep -qx 0 /var/lib/web/log
store_is_sound
expect '' bash -c 'systemctl --failed --no-legend --plain'
[ "$BOOT" -gt "$CUTS" ] || cut_at_random
