#!/bin/bash
# Payloads that open their output by name, /dev/stdout and the like: every line is in the journal of the unit, in order, whatever
# ends the payload or the relay; and payloads that do not have no relay. With crun and runc.
. "$(dirname "$0")/lib.sh"

RELAY=/usr/libexec/syscontainers/syscontainer-relay

# printing_image NAME ARGS [MEMBER…]: a plain image with this command, of the directory $WORK/NAME, and further members of its config.
printing_image() {
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
    while read -r pid; do
        [ "$(readlink "/proc/$pid/exe")" = $RELAY ] || continue
        if [ "$(cat "/proc/$pid/comm")" = output-standby ]; then waits+=("$pid"); else found+=("$pid"); fi
    done < <(find "/sys/fs/cgroup$group" -name cgroup.procs -exec cat {} +)
    echo "${found[*]}" "${waits[*]}"
}
# has_both NAME: a relay, and one in reserve.
has_both() { [[ "$(relays "$1")" =~ ^[0-9]+\ [0-9]+$ ]]; }
# lines_in INVOCATION: what a payload printed in it.
lines_in() {
    journalctl --sync
    journalctl --quiet --output=cat "_SYSTEMD_INVOCATION_ID=$1" _TRANSPORT=stdout
}
# lines_of NAME: in the current, or the last, invocation.
lines_of() { lines_in "$(unit_property "$1" InvocationID)"; }
# not_in NAME INVOCATION: it runs, in another one.
not_in() { unit_has "$1" ActiveState active && ! unit_has "$1" InvocationID "$2"; }
# has_lines NAME COUNT: there are more lines than that.
has_lines() { [ "$(lines_of "$1" | wc -l)" -gt "$2" ]; }
# begins_anew NAME: the first number of this invocation is 1.
begins_anew() { [ "$(lines_of "$1" | head -n 1)" = 1 ]; }
# numbers_are_whole NAME COUNT: every number is there, in order. A line may be in two pieces where the relay was killed within it.
numbers_are_whole() { [ "$(lines_of "$1" | grep -E '^[0-9]+$' | tr -d '\n')" = "$(seq "$2" | tr -d '\n')" ]; }
# all_came NAME COUNT: as above, of all invocations since the journal was marked.
all_came() {
    journalctl --sync
    [ "$(journalctl --quiet --output=cat --since="$mark" --unit="$1" | grep -E '^[0-9]+$' | tr -d '\n')" = "$(seq "$2" | tr -d '\n')" ]
}
# counts_on FILE: as above, of numbers up to any.
counts_on() {
    local found wanted
    found=$(tr -d '\n' <"$1")
    wanted=$(seq "$(wc -l <"$1")" | tr -d '\n')
    [ -n "$found" ] && [ "$found" = "${wanted:0:${#found}}" ]
}
# counted_all NAME: it counts, and no line is missing; the lines are in $WORK/lines.
counted_all() {
    lines_of "$1" >"$WORK/lines"
    counts_on "$WORK/lines"
}
# all_names: a shell command that writes by each name; the last is that of the first process.
all_names='for at in /dev/stdout /dev/stderr /proc/self/fd/1 /proc/self/fd/2 /dev/fd/1 /proc/1/fd/1 /proc/1/fd/2; do echo "by $at" >$at; done'
by_names=$(printf 'by %s\n' /dev/stdout /dev/stderr /proc/self/fd/{1,2} /dev/fd/1 /proc/1/fd/{1,2})

say 'which images have a pipe'
printing_image quiet "$(until_stopped 'echo quiet')"
printing_image named "$(until_stopped "$all_names")"
mkdir -p "$WORK/linked/var/log/web" "$WORK/script/usr/bin" "$WORK/settings/etc"
ln -s /dev/stdout "$WORK/linked/var/log/web/access.log"
printing_image linked "$(until_stopped 'echo linked >/var/log/web/access.log')"
printf '#!/bin/sh\nexec >/proc/1/fd/1\necho script; sleep 100000\n' >"$WORK/script/usr/bin/web"
chmod +x "$WORK/script/usr/bin/web"
printing_image script '["web"]'
printing_image settings '["sleep", "100000"]' '"Volumes": {"/etc/web": {}}'
for image in quiet:journal named:pipe linked:pipe script:pipe settings:pipe; do
    checkout "$REGISTRY/${image%:*}"
    expect "${image#*:}" output_of "${image%:*}"
done
checkout --name=forced --option=Output=pipe "$REGISTRY/quiet"
expect pipe output_of forced
checkout --name=refused --option=Output=journal "$REGISTRY/named"
expect journal output_of refused
run_fails 2 'invalid Output=none: expected auto, journal or pipe' syscontainer-checkout --name=x --option=Output=none "$REGISTRY/quiet"
checkout --update --option=Output=auto refused
expect pipe output_of refused
exports system "$(until_stopped "{ echo by >/dev/stderr; } 2>/dev/null; echo system")"
build_and_pull system
checkout "$REGISTRY/system"
expect journal output_of system
for name in quiet system; do
    systemctl start $name
    expect_soon $name lines_of $name
    expect ' ' relays $name
    expect 0 unit_property $name FileDescriptorStoreMax
done
for name in linked script; do
    systemctl start $name
    expect_soon $name lines_of $name
done
forget quiet system linked script settings forced refused named

# only_once NAME: it is not started again when it fails.
only_once() {
    mkdir -p "/etc/systemd/system/$1.service.d"
    printf '[Service]\nRestart=no\n' >"/etc/systemd/system/$1.service.d/only-once.conf"
    systemctl daemon-reload
}

for runtime in crun runc; do
    say "$runtime: by all names"
    for user in 0 1000:77; do
        printing_image named "$(until_stopped "$all_names")" "\"User\": \"$user\""
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
    printing_image named "$(until_stopped 'echo up >/dev/stderr')"
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
    for how in 'exit 0' 'exit 3'; do
        printing_image short "$(shell_args "seq 3000 >/dev/stderr; $how")"
        checkout --runtime=/usr/bin/$runtime "$REGISTRY/short"
        only_once short
        for _ in 1 2 3 4 5; do
            systemctl start short 2>/dev/null || true
            wait_for "it ends by $how" ended short
            must "3000 lines: $how" numbers_are_whole short 3000
            systemctl reset-failed short 2>/dev/null || true
        done
        ok "all lines are there: $how"
        forget short
    done

    printing_image killed "$(shell_args 'exec >/dev/stderr; n=0; while :; do n=$((n+1)); echo $n; [ $((n%100)) != 0 ] || sleep 0.02; done')"
    checkout --runtime=/usr/bin/$runtime "$REGISTRY/killed"
    for whom in main all; do
        systemctl start killed
        invocation=$(unit_property killed InvocationID)
        wait_for 'it has printed much' has_lines killed 200
        systemctl kill --kill-who=$whom --signal=KILL killed
        # It is restarted.
        wait_for "$whom is killed" not_in killed "$invocation"
        systemctl stop killed
        check 'no line is missing' eval 'lines_in "$invocation" >"$WORK/lines"; counts_on "$WORK/lines"'
        [ "$(wc -l <"$WORK/lines")" -gt 200 ] || fail "there are $(wc -l <"$WORK/lines") lines"
    done
    forget killed

    say "$runtime: the journal is slow, and the payload ends meanwhile"
    printing_image slow "$(shell_args 'sleep 1; seq 2000 >/dev/stderr; exit 4')"
    checkout --runtime=/usr/bin/$runtime "$REGISTRY/slow"
    only_once slow
    mark_journal
    systemctl start slow
    journald=$(unit_property systemd-journald MainPID)
    kill -STOP "$journald"
    sleep 4
    kill -CONT "$journald"
    wait_for 'it ended' ended slow
    # The journal may be behind, and by then there is no invocation any more that it could name.
    wait_for 'all lines are there' all_came slow 2000
    forget slow

    say "$runtime: relays are killed"
    printing_image counts "$(shell_args 'trap "exit 0" TERM; exec >/dev/stderr; n=0; while :; do n=$((n+1)); echo $n; sleep 0.01; done')"
    checkout --runtime=/usr/bin/$runtime "$REGISTRY/counts"
    systemctl start counts
    payload=$(unit_property counts MainPID)
    for which in 1 2 1 1 2; do
        wait_for 'there are two' has_both counts
        kill -KILL "$(relays counts | cut -d' ' -f$which)"
        last=$(lines_of counts | wc -l)
        wait_for "after $which was killed, there are more lines" has_lines counts "$last"
        expect "$payload" unit_property counts MainPID
    done
    check 'none is missing' counted_all counts
    # Even without both, the payload lives, and what it prints is there in the end.
    last=$(lines_of counts | wc -l)
    # shellcheck disable=SC2046 # two words
    kill -KILL $(relays counts)
    sleep 1
    expect "$payload" unit_property counts MainPID
    check 'it stops' systemctl stop counts
    check 'none is missing' counted_all counts
    check 'and there were more' test "$(wc -l <"$WORK/lines")" -gt "$last"
    systemctl start counts
    wait_for 'it starts again' begins_anew counts
    expect 1 unit_property counts NFileDescriptorStore
    forget counts

    say "$runtime: others keep the pipe open"
    printing_image keeps "$(shell_args "trap 'exit 0' TERM; (trap '' TERM; sleep 100000) & echo up >/dev/stderr; wait")"
    checkout --runtime=/usr/bin/$runtime "$REGISTRY/keeps"
    systemctl start keeps
    expect_soon up lines_of keeps
    check 'it stops' systemctl stop keeps
    expect 'inactive dead success' state keeps
    forget keeps

    say "$runtime: any bytes, and many, also if it fails at the end"
    mkdir -p /etc/systemd/system/bytes.service.d
    printf '[Service]\nRestart=no\n' >/etc/systemd/system/bytes.service.d/once.conf
    digits=$(printf '0123456789%.0s' {1..4})
    for status in 0 3; do
        printing_image bytes "$(shell_args "printf 'a\\000b\\n' >/dev/stdout; head -c 200000 /dev/zero | tr '\\000' x >/dev/stdout; echo; yes $digits | head -c 4100000 >/dev/stdout; echo end; exit $status")"
        checkout --runtime=/usr/bin/$runtime "$REGISTRY/bytes"
        systemctl start bytes
        wait_for 'it ends' ended bytes
        lines_of bytes >"$WORK/lines"
        expect end tail -n 1 "$WORK/lines"
        expect 200000 eval 'tr -cd x <"$WORK/lines" | wc -c'
        # A line may be in two pieces.
        expect "$(seq 100000 | sed "s/.*/$digits/" | tr -d '\n' | sha256sum)" eval 'grep -E "^[0-9]+$" "$WORK/lines" | tr -d "\n" | sha256sum'
        forget bytes
    done
    rm -r /etc/systemd/system/bytes.service.d
done

say 'two streams'
printing_image both "$(until_stopped 'echo out >/dev/stdout; echo err >/dev/stderr')"
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

FILES=/usr/libexec/syscontainers-tests/services
[ -d $FILES/httpd ] || skip 'the packages of servers could not be had'
# server NAME PORT CONFIG [DIRECTORY]: what it writes to its logs, which it opens by name, is in the journal.
server() {
    say "$runtime: $1"
    build_image "$1" --owners --config="$3" "$FILES/$1" "${@:4}"
    pull_image "$1"
    checkout --runtime=/usr/bin/$runtime "$REGISTRY/$1"
    expect pipe output_of "$1"
    check 'it starts' systemctl start "$1"
    wait_for 'it answers' http "$2"
    refuse 'there is no such page' http "$2/missing"
    expect_soon 1 eval 'lines_of '"$1"' | grep -c "GET /missing HTTP.* 404"'
    check 'it stops' systemctl stop "$1"
    expect 'inactive dead success' state "$1"
    forget "$1"
}
mkdir -p "$WORK/logs/var/log/nginx" "$WORK/logs/etc/nginx"
ln -s /dev/stdout "$WORK/logs/var/log/nginx/access.log"
ln -s /dev/stderr "$WORK/logs/var/log/nginx/error.log"
printf '%s\n' 'user www-data;' 'pid /run/nginx.pid;' 'error_log /var/log/nginx/error.log;' 'events {}' \
    'http { access_log /var/log/nginx/access.log; server { listen 8080; root /usr/share/nginx/html; } }' >"$WORK/logs/etc/nginx/nginx.conf"
for runtime in crun runc; do
    server nginx 8080 '{"Cmd": ["nginx", "-g", "daemon off;"], "StopSignal": "SIGQUIT", "Volumes": {"/var/lib/nginx": {}}}' "$WORK/logs"
    server httpd 8081 '{"Cmd": ["apache2", "-D", "FOREGROUND", "-f", "/etc/apache2/httpd.conf"], "StopSignal": "SIGWINCH"}'
done
