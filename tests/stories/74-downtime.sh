#!/bin/bash
# How long a service is away during an update, as a ratio to a restart of the same service. Prints, and judges no time.
. "$(dirname "$0")/lib.sh"

CO=/var/lib/containers/atomic ROUNDS=7
version() {
    exports web "[\"sh\",\"-c\",\"trap 'exit 0' TERM; $2; sleep 1000 & wait\"]" '' '' \
        '{"destination": "/data", "type": "bind", "source": "/var/lib/web", "options": ["bind", "rw"]}'
    echo "$1" >"$WORK/web/version"
    build_image web "$WORK/web"
    syscontainer-pull --quiet "$REGISTRY/web" >/dev/null
}
away() { echo $(($(unit_property web ActiveEnterTimestampMonotonic) - $(unit_property web ActiveExitTimestampMonotonic))); }
median() { sort -n | sed -n "$((ROUNDS / 2 + 1))p"; }

version 0 true
syscontainer-checkout "$REGISTRY/web" >/dev/null 2>&1
systemctl start web
for round in $(seq $ROUNDS); do
    systemctl restart web
    away >>"$WORK/restarts"
    version "$round" true
    syscontainer-checkout --update --stage web >/dev/null 2>&1
    syscontainer-switch --soak=0 web 2>/dev/null
    expect "web.$round" readlink $CO/web >/dev/null
    away >>"$WORK/updates"
done
restart=$(median <"$WORK/restarts") update=$(median <"$WORK/updates")
for round in $(seq $ROUNDS); do
    # The clock of the kernel, in hundredths of a second.
    version "bad $round" 'sleep 0.3; read up rest </proc/uptime; echo $up >/data/died; exit 7'
    syscontainer-checkout --update --stage web >/dev/null 2>&1
    syscontainer-switch web 2>/dev/null && fail 'it stays' || expect 4 echo $? >/dev/null
    died=$(tr -d . <"/var/lib/web/died")0000
    echo $(($(unit_property web ActiveEnterTimestampMonotonic) - died)) >>"$WORK/returns"
done
back=$(median <"$WORK/returns")
say "medians of $ROUNDS: restart ${restart} us away, update ${update} us, ratio $((update * 100 / restart))/100; back after a failure in ${back} us"
[ "$restart" -gt 0 ] && [ "$update" -gt 0 ] && [ "$back" -gt 0 ] || fail 'these are no times'
ok 'updates are one stop and one start'
