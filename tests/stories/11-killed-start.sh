#!/bin/bash
# syscontainer-start is killed anywhere: the unit runs its payload, or has failed, and never only looks as if it ran.
. "$(dirname "$0")/lib.sh"

rounds=15
[ -z "$LONG" ] || rounds=100
exports polite "$(until_stopped)"
build_and_pull polite

# Stops itself at the Nth call that talks to someone; -f would kill the runtime too.
for runtime in crun runc; do
    syscontainer-checkout --name="$runtime" --runtime="$(command -v $runtime)" "$REGISTRY/polite" 2>/dev/null
    mkdir -p "/etc/systemd/system/$runtime.service.d"
    running=0 failed=0
    for round in $(seq "$rounds"); do
        cat >"/etc/systemd/system/$runtime.service.d/10-kill.conf" <<-END
			[Service]
			ExecStart=
			ExecStart=/usr/bin/strace -qq -D -o /dev/null -e trace=clone3,vfork,write,rename,sendmsg,wait4,close,flock \\
			    -e inject=clone3,vfork,write,rename,sendmsg,wait4,close,flock:signal=SIGKILL:when=$((round * 3)) \\
			    /usr/libexec/syscontainers/syscontainer-start $runtime
		END
        systemctl daemon-reload
        systemctl start "$runtime" >/dev/null 2>&1 || true
        case $(state "$runtime") in
            'active running success')
                soon 'sh sleep' processes "$runtime" || fail "round $round: active, with $(processes "$runtime")"
                running=$((running + 1))
                ;;
            failed*) failed=$((failed + 1)) ;;
            *) fail "round $round: $(state "$runtime")" ;;
        esac
        systemctl stop "$runtime"
        [ -z "$(processes "$runtime")" ] || fail "round $round: left $(processes "$runtime")"
        [ ! -e "/run/$runtime/$runtime" ] || fail "round $round: left the runtime's state"
        systemctl reset-failed "$runtime" 2>/dev/null || true
    done
    ok "$runtime: killed $rounds times, then $running times running, $failed times failed"
    [ "$failed" -gt 0 ] || fail 'no kill did anything'
    rm -r "/etc/systemd/system/$runtime.service.d"
    systemctl daemon-reload
    check 'it starts as if nothing had been' systemctl start "$runtime"
    expect 'active running success' state "$runtime"
done
