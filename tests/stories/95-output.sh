#!/bin/bash
# Payloads that open their output by name, /dev/stdout and the like: every line is in the journal of the unit, in order, whatever
# ends the payload or the relay; and payloads that do not have no relay. With crun and runc.
. "$(dirname "$0")/lib.sh"

RELAY=/usr/libexec/syscontainers/syscontainer-relay

# plain NAME ARGS [MEMBER…]: a plain image with this command, of the directory $WORK/NAME, and further members of its config.
plain() {
    local name=$1 config="{\"Cmd\": $2" member
    for member in "${@:3}"; do config+=", $member"; done
    mkdir -p "$WORK/$name"
    build_and_pull "$name" --config="$config}"
}
# output_of NAME: what Output=auto, or the administrator, made of it.
output_of() { sed -n 's/.*"output": "\(.*\)".*/\1/p' "/etc/syscontainers/attached/$1.json" | grep . || echo journal; }
# relays NAME: process IDs in the unit, the reader first.
relays() {
    local group pid found=() waits=()
    group=$(unit_property "$1" ControlGroup)
    for pid in $(find "/sys/fs/cgroup$group" -name cgroup.procs -exec cat {} +); do
        [ "$(readlink "/proc/$pid/exe")" = $RELAY ] || continue
        if [ "$(cat "/proc/$pid/comm")" = output-standby ]; then waits+=("$pid"); else found+=("$pid"); fi
    done
    echo "${found[*]}" "${waits[*]}"
}
# has_both NAME: a relay, and one in reserve.
has_both() { [[ "$(relays "$1")" =~ ^[0-9]+\ [0-9]+$ ]]; }
# lines_of NAME: what its payload printed in the current, or the last, invocation.
lines_of() {
    journalctl --sync
    journalctl --quiet --output=cat "_SYSTEMD_INVOCATION_ID=$(unit_property "$1" InvocationID)" _TRANSPORT=stdout
}
numbers_are_whole() { lines_of "$1" | grep -E '^[0-9]+$' | cmp - <(seq "$2"); }
# all_names: a shell command that writes by each name; the last is that of the first process.
all_names='for at in /dev/stdout /dev/stderr /proc/self/fd/1 /proc/self/fd/2 /dev/fd/1 /proc/1/fd/1 /proc/1/fd/2; do echo "by $at" >$at; done'
by_names=$(printf 'by %s\n' /dev/stdout /dev/stderr /proc/self/fd/{1,2} /dev/fd/1 /proc/1/fd/{1,2})

say 'which images have a pipe'
plain quiet "$(until_stopped 'echo quiet')"
plain named "$(until_stopped "$all_names")"
mkdir -p "$WORK/linked/var/log/web" "$WORK/script/usr/bin" "$WORK/settings/etc"
ln -s /dev/stdout "$WORK/linked/var/log/web/access.log"
plain linked "$(until_stopped 'echo linked >/var/log/web/access.log')"
printf '#!/bin/sh\nexec >/proc/1/fd/1\necho script; sleep 100000\n' >"$WORK/script/usr/bin/web"
chmod +x "$WORK/script/usr/bin/web"
plain script '["web"]'
plain settings '["sleep", "100000"]' '"Volumes": {"/etc/web": {}}'
for image in quiet:journal named:pipe linked:pipe script:pipe settings:pipe; do
    checkout "$REGISTRY/${image%:*}"
    expect "${image#*:}" output_of "${image%:*}"
done
checkout --name=forced --option=Output=pipe "$REGISTRY/quiet"
expect pipe output_of forced
checkout --name=refused --option=Output=journal "$REGISTRY/named"
expect journal output_of refused
run_fails 2 'invalid Output=none: it is none of auto, journal and pipe' syscontainer-checkout --name=x --option=Output=none "$REGISTRY/quiet"
checkout --update --option=Output=auto refused
expect pipe output_of refused
exports system "$(until_stopped "echo by >/dev/stderr; echo system")"
build_and_pull system
checkout "$REGISTRY/system"
expect journal output_of system
for name in quiet system; do
    systemctl start $name
    wait_for "$name runs" grep -q sleep <<<"$(processes $name; sleep 0.5)"
    expect ' ' relays $name
    expect 0 unit_property $name FileDescriptorStoreMax
done
for name in linked script; do
    systemctl start $name
    expect_soon $name lines_of $name
done
forget quiet system linked script settings forced refused named

# Ten times: one that prints and exits at once, which is stopped or crashes.
for runtime in crun runc; do
    say "$runtime: by all names"
    for user in 0 1000:77; do
        plain named "$(until_stopped "$all_names")" "\"User\": \"$user\""
        checkout --runtime=/usr/bin/$runtime "$REGISTRY/named"
        systemctl start named
        expect_soon "$by_names" lines_of named
        check 'two relays' has_both named
        expect_like '^pipe$|^/.*stdout$' readlink "/proc/$(unit_property named MainPID)/fd/1"
        expect named journalctl --quiet --unit=named --output-fields=SYSLOG_IDENTIFIER --output=cat --lines=1 _TRANSPORT=stdout
        start_again() { systemctl restart named; }
        check 'it restarts' start_again
        expect_soon "$by_names" lines_of named
        check 'it stops' systemctl stop named
        expect 'inactive dead success' state named
        refuse 'nothing had to be killed' grep -q 'Killing process' <<<"$(journal_of named)"
        forget named
    done

    say "$runtime: what they take"
    plain named "$(until_stopped 'echo up >/dev/stderr')"
    checkout --runtime=/usr/bin/$runtime "$REGISTRY/named"
    systemctl start named
    expect_soon up lines_of named
    wait_for 'there are two' has_both named
    for pid in $(relays named); do
        resident=$(sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$pid/status")
        [ "$resident" -gt 0 ] && [ "$resident" -le 300 ] || fail "$resident KiB"
        ok "process $pid takes $resident KiB"
        read -r _ _ _ _ _ _ _ _ _ _ _ _ _ before system _ <"/proc/$pid/stat"
        sleep 1
        read -r _ _ _ _ _ _ _ _ _ _ _ _ _ user now _ <"/proc/$pid/stat"
        expect "$before $system" echo "$user $now"
    done
    forget named

    say "$runtime: nothing is lost at the end"
    for how in 'exit 0' 'exit 3' 'kill -9 $$'; do
        # The shell is not the first process, so that it can be killed.
        plain short "$(shell_args "sh -c 'seq 3000 >/dev/stderr; $how'; e=\$?; [ \$e -lt 128 ] || kill -\$((e-128)) 1; exit \$e")"
        checkout --runtime=/usr/bin/$runtime "$REGISTRY/short"
        for _ in 1 2 3 4 5; do
            systemctl start short 2>/dev/null || true
            wait_for "it ends by $how" ended short
            must "3000 lines: $how" numbers_are_whole short 3000
            systemctl reset-failed short 2>/dev/null || true
        done
        ok "all lines are there: $how"
        forget short
    done

    say "$runtime: the journal is slow, and the payload ends meanwhile"
    plain slow "$(shell_args 'sleep 1; seq 2000 >/dev/stderr; exit 4')"
    checkout --runtime=/usr/bin/$runtime "$REGISTRY/slow"
    systemctl start slow
    journald=$(unit_property systemd-journald MainPID)
    kill -STOP "$journald"
    sleep 4
    kill -CONT "$journald"
    wait_for 'it ended' ended slow
    check 'all lines are there' numbers_are_whole slow 2000
    forget slow

    say "$runtime: relays are killed"
    plain counts "$(shell_args 'trap "exit 0" TERM; exec >/dev/stderr; n=0; while :; do n=$((n+1)); echo $n; sleep 0.01; done')"
    checkout --runtime=/usr/bin/$runtime "$REGISTRY/counts"
    systemctl start counts
    payload=$(unit_property counts MainPID)
    for which in 1 2 1 1 2; do
        wait_for 'there are two' has_both counts
        kill -KILL "$(relays counts | cut -d' ' -f$which)"
        last=$(lines_of counts | tail -n 1)
        check "after $which was killed, there are more lines" eval 'sleep 1; [ "$(lines_of counts | tail -n 1)" -gt "${last:-0}" ]'
        expect "$payload" unit_property counts MainPID
    done
    check 'none is missing' eval 'lines_of counts | cmp - <(seq "$(lines_of counts | wc -l)")'
    # Even without both, the payload lives, and what it prints is there in the end.
    # shellcheck disable=SC2046 # two words
    kill -KILL $(relays counts)
    sleep 1
    expect "$payload" unit_property counts MainPID
    check 'it stops' systemctl stop counts
    check 'none is missing' eval 'lines_of counts | cmp - <(seq "$(lines_of counts | wc -l)")'
    check 'and there were more' test "$(lines_of counts | wc -l)" -gt 600
    systemctl start counts
    check 'it starts again' eval 'sleep 1; [ "$(lines_of counts | head -n 1)" = 1 ]'
    expect 1 unit_property counts NFileDescriptorStore
    forget counts

    say "$runtime: others keep the pipe open"
    plain keeps "$(shell_args "trap 'exit 0' TERM; (trap '' TERM; sleep 100000) & echo up >/dev/stderr; wait")"
    checkout --runtime=/usr/bin/$runtime "$REGISTRY/keeps"
    systemctl start keeps
    expect_soon up lines_of keeps
    check 'it stops' systemctl stop keeps
    expect 'inactive dead success' state keeps
    forget keeps

    say "$runtime: any bytes, and many"
    plain bytes "$(shell_args 'printf "a\\000b\\n" >/dev/stdout; head -c 200000 /dev/zero | tr "\\000" x >/dev/stdout; echo; head -c 300000000 /dev/zero | tr "\\000" "\\n" >/dev/stdout; echo end')"
    checkout --runtime=/usr/bin/$runtime "$REGISTRY/bytes"
    systemctl start bytes
    expect 200000 eval 'while :; do lines_of bytes | grep -o x | wc -l; break; done'
    wait_for 'it ends' ended bytes
    check 'the end is there' eval 'lines_of bytes | grep -qx end'
    forget bytes
done

say 'two streams'
plain both "$(shell_args 'echo out >/dev/stdout; echo err >/dev/stderr; sleep 100000')"
checkout "$REGISTRY/both"
mkdir -p /etc/systemd/system/both.service.d
printf '[Service]\nStandardError=append:/var/lib/story/both.err\n' >/etc/systemd/system/both.service.d/err.conf
systemctl daemon-reload
systemctl start both
expect_soon out lines_of both
expect_soon err cat "$WORK/both.err"
check 'one pair of relays' has_both both
systemctl stop both
rm -r /etc/systemd/system/both.service.d
systemctl daemon-reload
say 'from a shell, it is the output of the shell'
/usr/libexec/syscontainers/syscontainer-prepare both
timeout 20 env -u NOTIFY_SOCKET /usr/libexec/syscontainers/syscontainer-start both >"$WORK/shell.out" 2>"$WORK/shell.err" &
expect_soon out cat "$WORK/shell.out"
expect_soon err cat "$WORK/shell.err"
refuse 'without a relay' pgrep -x syscontainer-re
wait || true
/usr/libexec/syscontainers/syscontainer-prepare --cleanup both
forget both
