#!/bin/bash
# A payload that says more than anybody wants to know keeps nobody from stopping it, and from taking its update back.
. "$(dirname "$0")/lib.sh"

# talks NAME COMMANDS: a payload that connects to the notification socket, and has SOCKET for it; SIGTERM does nothing to it.
talks() {
    local args
    # shellcheck disable=SC2016 # for Perl
    args='$SIG{TERM} = "IGNORE"; socket(SOCKET, 1, 2, 0) or die; connect(SOCKET, pack("Sa*", 1, "/dev/notify\0")) or die; '"$2; sleep 1 while 1"
    build_and_pull "$1" --config="{\"Entrypoint\":[\"/usr/bin/perl\",\"-e\",$(json_string "$args")]}"
}
# floods TEXT: six processes that send it as fast as they can.
floods() {
    # shellcheck disable=SC2016 # for Perl
    printf 'for (1..6) { fork and next; while (1) { send(SOCKET, "%s", 0) or select(undef, undef, undef, 0.01) } }' "$1"
}
# is_in_time COMMAND…: it ends, and does not have to be ended.
is_in_time() { timeout --kill-after=10 200 "$@"; }
# short_timeouts NAME
short_timeouts() {
    mkdir -p "/etc/systemd/system/$1.service.d"
    printf '[Service]\nTimeoutStartSec=%s\nTimeoutStopSec=3\n' "$2" >"/etc/systemd/system/$1.service.d/short.conf"
    systemctl daemon-reload
}

with_perl flood
for runtime in crun runc; do
    for said in 'STATUS=flood\nEXTEND_TIMEOUT_USEC=3600000000' 'WATCHDOG=1'; do
        say "$runtime: a flood of ${said%%=*}"
        # shellcheck disable=SC2016 # for Perl
        talks flood 'send(SOCKET, "STATUS=begun", 0); sleep 2; '"$(floods "$said")"
        checkout --notify=ready --runtime=/usr/bin/$runtime "$REGISTRY/flood"
        short_timeouts flood 120
        systemctl start --no-block flood
        wait_for 'it runs' grep -q . /run/syscontainers/flood/payload
        expect_soon begun unit_property flood StatusText
        sleep 4
        case $said in STATUS=*) expect flood unit_property flood StatusText ;; esac
        check 'it is stopped' is_in_time systemctl stop flood
        expect 'inactive dead success' state flood
        must 'it goes' syscontainer-remove --purge flood
        syscontainer-prune >"$WORK/printed" 2>&1
    done

    say "$runtime: a start that takes longer than it may, whatever its payload asks for"
    talks flood "$(floods 'EXTEND_TIMEOUT_USEC=1')"
    checkout --notify=ready --runtime=/usr/bin/$runtime "$REGISTRY/flood"
    short_timeouts flood 3
    refuse 'it is given up' is_in_time systemctl start flood
    must 'it goes' syscontainer-remove --purge flood

    say "$runtime: an update that floods"
    talks flood 'send(SOCKET, "READY=1", 0)'
    checkout --notify=ready --runtime=/usr/bin/$runtime "$REGISTRY/flood"
    short_timeouts flood 3
    systemctl start flood
    talks flood "$(floods EXTEND_TIMEOUT_USEC=3600000000)"
    checkout --update --stage flood
    ends 4 is_in_time syscontainer-switch flood
    expect_like 'flood.1 failed: it was not ready after [0-9]+ s; flood.0 is current again' cat "$WORK/said"
    expect_current flood.0
    must 'it goes' syscontainer-remove --purge flood
done
leave_nothing
