#!/bin/bash
# How long a service is away during an update, as a ratio to a restart of the same service. Prints, and judges no time.
. "$(dirname "$0")/lib.sh"

ROUNDS=7
# stage_next N [OPTION…]: as new_version makes it.
stage_next() {
    new_version web "$@" --data
    build_and_pull web
    checkout --update --stage web
}
# away: for how long web was not active, the last time.
away() { echo $(($(unit_property web ActiveEnterTimestampMonotonic) - $(unit_property web ActiveExitTimestampMonotonic))); }
median() { sort -n | sed -n "$((ROUNDS / 2 + 1))p"; }

new_version web 0 --data
install_image web
systemctl start web
for round in $(seq $ROUNDS); do
    systemctl restart web
    away >>"$WORK/restarts"
    stage_next "$round"
    syscontainer-switch --soak=0 web 2>/dev/null
    expect "web.$round" readlink $CO/web >/dev/null
    away >>"$WORK/updates"
done
restart=$(median <"$WORK/restarts") update=$(median <"$WORK/updates")
for round in $(seq $ROUNDS); do
    # The clock of the kernel, in hundredths of a second.
    stage_next "bad $round" --first='sleep 0.3; read up rest </proc/uptime; echo $up >/data/died; exit 7'
    ends 4 syscontainer-switch --soak=600 web >/dev/null
    died=$(tr -d . <"/var/lib/web/died")0000
    echo $(($(unit_property web ActiveEnterTimestampMonotonic) - died)) >>"$WORK/returns"
done
back=$(median <"$WORK/returns")
[ "$restart" -gt 0 ] && [ "$update" -gt 0 ] && [ "$back" -gt 0 ] || fail 'these are no times'
say "medians of $ROUNDS: restart $restart us away, update $update us, ratio $((update * 100 / restart))/100;" \
    "back after a failure in $back us"
ok 'updates are one stop and one start'
