#!/bin/bash
# A payload that fails with much in its pipe, or is killed: every line is one entry of the journal, in order, and none is lost;
# and nothing of ours has to be killed. With crun and runc.
. "$(dirname "$0")/lib.sh"

# crashing NAME COMMANDS [OPTION…]: a container of a plain image whose output is a pipe, and which is not started again.
crashing() {
    mkdir -p "$WORK/$1" "/etc/systemd/system/$1.service.d"
    build_and_pull "$1" --config="{\"Cmd\": $(shell_args "$2")}"
    printf '[Service]\nRestart=no\n' >"/etc/systemd/system/$1.service.d/once.conf"
    checkout --runtime=/usr/bin/$runtime --option=Output=pipe "${@:3}" "$REGISTRY/$1"
}
# entries_of NAME: what it printed in the last invocation, one line for each entry.
entries_of() {
    journalctl --sync
    journalctl --quiet --output=cat "_SYSTEMD_INVOCATION_ID=$(unit_property "$1" InvocationID)" _TRANSPORT=stdout
}
# has_printed NAME: something of it is there. A journal that is flooded is not to be asked to catch up.
has_printed() {
    [ -n "$(journalctl --quiet --output=cat --lines=1 "_SYSTEMD_INVOCATION_ID=$(unit_property "$1" InvocationID)" _TRANSPORT=stdout)" ]
}
# is_whole FROM FILE: it has lines that count on from FROM.
is_whole() { [ -s "$2" ] && diff <(seq -f 'line %.0f' "$1" $(($1 + $(wc -l <"$2") - 1))) "$2" | head -n 20; }
# is_unhurt NAME: since the journal was marked, systemd had to kill nothing in it.
is_unhurt() { ! said_since "$1" | grep 'Killing process'; }
# fresh_journal: journald begins files that what comes next does not fill. An entry with which a file is full it may write again
# to the next one.
fresh_journal() { journalctl --rotate; }
# again NAME: it is started, and has ended.
again() {
    fresh_journal
    mark_journal
    systemctl reset-failed "$1" 2>/dev/null || true
    systemctl start "$1" 2>/dev/null || true
    wait_for "$1 has ended" ended "$1"
}
relays_of() { grep -lxE 'syscontainer-re|output-standby' /proc/[0-9]*/comm 2>/dev/null | cut -d/ -f3; }

for runtime in crun runc; do
    for how in 'i=0; while [ $i -lt 23000 ]; do i=$((i+1)); echo "line $i"; done' 'seq 23000 | sed "s,^,line ,"'; do
        say "$runtime: it fails at the end: $how"
        crashing crash "$how; exit 3"
        for _ in 1 2 3 4; do
            again crash
            expect 'failed failed exit-code 3' state crash
            entries_of crash >"$WORK/entries"
            check 'all lines are whole' is_whole 1 "$WORK/entries"
            expect 23000 eval 'wc -l <"$WORK/entries"'
            check 'nothing had to be killed' is_unhurt crash
        done
        forget crash
    done

    say "$runtime: it fails where systemd kills the relays at once"
    crashing crash 'seq 23000 | sed "s,^,line ,"; exit 3'
    printf '[Service]\nKillMode=mixed\n' >/etc/systemd/system/crash.service.d/kill.conf
    systemctl daemon-reload
    for _ in 1 2 3 4; do
        again crash
        entries_of crash >"$WORK/entries"
        check 'all lines are whole' is_whole 1 "$WORK/entries"
        expect 23000 eval 'wc -l <"$WORK/entries"'
    done
    rm /etc/systemd/system/crash.service.d/kill.conf
    forget crash

    say "$runtime: a line that waits for its end"
    crashing part 'printf "line "; sleep 2; echo 1; printf "line 2"; exit 4'
    again part
    entries_of part >"$WORK/entries"
    check 'it is whole' is_whole 1 "$WORK/entries"
    expect 2 eval 'wc -l <"$WORK/entries"'
    check 'nothing had to be killed' is_unhurt part
    forget part

    say "$runtime: before it is ready"
    crashing notes 'i=0; while [ $i -lt 23000 ]; do i=$((i+1)); echo "line $i"; done; exit 3' --notify=ready
    again notes
    entries_of notes >"$WORK/entries"
    check 'all lines are whole' is_whole 1 "$WORK/entries"
    expect 23000 eval 'wc -l <"$WORK/entries"'
    forget notes

    say "$runtime: killed"
    crashing endless 'trap "exit 0" TERM; i=0; while :; do i=$((i+1)); echo "line $i"; done'
    for whom in main all main all; do
        fresh_journal
        systemctl reset-failed endless 2>/dev/null || true
        systemctl start endless
        wait_for 'it prints' has_printed endless
        sleep 0.$((RANDOM % 9))
        systemctl kill --kill-who=$whom --signal=KILL endless
        wait_for "it has ended: $whom" ended endless
        expect 'failed failed signal 9' state endless
        entries_of endless >"$WORK/entries"
        check "all lines are whole: $whom" is_whole 1 "$WORK/entries"
    done

    say "$runtime: the relay is killed, and the next one goes on with a line"
    fresh_journal
    systemctl reset-failed endless
    systemctl start endless
    for _ in 1 2 3; do
        sleep 0.3
        wait_for 'there are two' eval '[ "$(relays_of | wc -l)" = 2 ]'
        kill -KILL "$(grep -lx syscontainer-re /proc/[0-9]*/comm | cut -d/ -f3)"
    done
    sleep 0.3
    systemctl stop endless
    entries_of endless >"$WORK/entries"
    check 'all lines are whole' is_whole 1 "$WORK/entries"
    forget endless
done
rm -r /etc/systemd/system/{crash,part,notes,endless}.service.d
systemctl daemon-reload
