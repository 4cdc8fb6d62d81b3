# The machine and its system manager.
# shellcheck shell=bash

# reboot: shuts the machine down, boots it again, and runs the story anew with the next BOOT.
reboot() {
    say "reboot after boot $BOOT"
    echo reboot >/run/again
    exit 0
}

# cut_off: as reboot, but as if the power failed (what was written is kept, as after a crash of processes only).
cut_off() {
    say "cut off in boot $BOOT"
    echo cut-off >/run/again
    exit 0
}

# http PORT[/PATH]: what a server on this machine answers.
http() {
    local port=${1%%/*}
    # Its own -T crashes in the static build of Debian 12. This ends what hangs.
    timeout 60 busybox wget -q -O - "http://127.0.0.1:$port${1#"$port"}"
}

# unit_property UNIT PROPERTY: one property's value.
unit_property() { systemctl show --property="$2" --value "$1"; }

# unit_has UNIT PROPERTY VALUE
unit_has() { [ "$(unit_property "$1" "$2")" = "$3" ]; }

# monotonic UNIT PROPERTY: a time of this boot, in microseconds.
monotonic() { unit_property "$1" "$2Monotonic"; }

# earlier A B TEXT: a moment is before another.
earlier() { [ "$1" -gt 0 ] && [ "$1" -lt "$2" ] || fail "$3: $1 is not before $2"; ok "$3: $1 us, $2 us"; }

# enablement UNIT…: what is-enabled says of them, in one line; its exit status is not 0 for some.
enablement() { { systemctl is-enabled "$@" || true; } | paste -sd' '; }

# state UNIT: "ActiveState SubState Result" once it does not change any more, and ExecMainStatus if it failed.
state() {
    local _
    for _ in $(seq 1200); do
        case $(unit_property "$1" ActiveState) in activating | deactivating | reloading) sleep 0.05 ;; *) break ;; esac
    done
    local text
    text="$(unit_property "$1" ActiveState) $(unit_property "$1" SubState) $(unit_property "$1" Result)"
    case $text in failed*) text="$text $(unit_property "$1" ExecMainStatus)" ;; esac
    echo "$text"
}

# ended UNIT: it is inactive or has failed, and nothing is to be done to it.
ended() {
    [ -z "$(unit_property "$1" Job)" ] || return 1
    case $(unit_property "$1" ActiveState) in inactive | failed) ;; *) return 1 ;; esac
}

# main_process UNIT FILE: what is in that file of its main process in /proc, with newlines for NULs.
main_process() { tr '\0' '\n' <"/proc/$(unit_property "$1" MainPID)/$2"; }

# processes UNIT: names of all processes in the unit's cgroup and below. A unit is active a moment before its payload is
# executed, and shells take a while to start what they start: what is to be there is for expect_soon.
processes() {
    local group pid
    group=$(unit_property "$1" ControlGroup)
    [ -n "$group" ] && [ -d "/sys/fs/cgroup$group" ] || return 0
    # Cgroups and processes may go while they are looked at.
    { find "/sys/fs/cgroup$group" -ignore_readdir_race -name cgroup.procs -exec cat {} + 2>/dev/null || true; } |
        while read -r pid; do
            cat "/proc/$pid/comm" 2>/dev/null || true
        done | sort | paste -sd' '
}

# expect_little_memory PID: a program that runs in the background ends well, and never had 64 MiB in memory.
expect_little_memory() {
    local now peak=0
    while now=$(sed -n 's/^VmHWM:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$1/status" 2>/dev/null) && [ -n "$now" ]; do
        peak=$now
    done
    wait "$1"
    [ "$peak" -gt 1000 ] && [ "$peak" -lt 65536 ] || fail "its peak memory is $peak KiB"
    ok "its peak memory is $peak KiB"
}

# journal_of UNIT: its messages of this boot, without anything else.
journal_of() {
    journalctl --sync
    journalctl --boot --no-pager --output=cat --unit="$1"
}

# journal_has UNIT ERE: one of its messages of this boot matches.
journal_has() { journal_of "$1" | grep -E -- "$2"; }

# mark_journal: sets $mark for 'journalctl --since="$mark"'. What was sent before is in the journal by then.
mark_journal() {
    journalctl --sync
    mark=@$(date +%s.%6N)
}

# said_since UNIT: its messages since the mark; has_said UNIT ERE: one of them matches.
said_since() {
    journalctl --sync
    journalctl --since="$mark" --no-pager --output=cat --unit="$1"
}
has_said() { said_since "$1" | grep -E -- "$2"; }
