#!/bin/bash
# syscontainer-start from a shell: the payload has nothing of the terminal, or of whatever else the shell's files are; all that it
# prints arrives, and nobody is waited for who only keeps a pipe open. With crun and runc.
. "$(dirname "$0")/lib.sh"

HELPERS=/usr/libexec/syscontainers

# foreground_image NAME COMMANDS [MEMBER…]: a plain image with a shell that does these, and further members of its config.
foreground_image() {
    local name=$1 config member
    config="{\"Cmd\": $(shell_args "$2")"
    for member in "${@:3}"; do config+=", $member"; done
    mkdir -p "$WORK/$name"
    build_and_pull "$name" --config="$config}"
}
# installed NAME COMMANDS [MEMBER…]: such an image, as a container that $runtime runs.
installed() {
    foreground_image "$@"
    checkout --runtime=/usr/bin/$runtime "$REGISTRY/$1"
}
# in_foreground NAME: starts it as from a shell; ends as the payload does.
in_foreground() {
    $HELPERS/syscontainer-prepare "$1"
    env -u NOTIFY_SOCKET $HELPERS/syscontainer-start "$1"
}
# beside_typist NAME: the same on a terminal where somebody types; prints all that is written there.
beside_typist() {
    $HELPERS/syscontainer-prepare "$1"
    python3 - $HELPERS/syscontainer-start "$1" <<'END'
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.environ.pop("NOTIFY_SOCKET", None)
    os.execv(sys.argv[1], sys.argv[1:])
os.write(terminal, b"typed\n")
while True:
    try:
        found = os.read(terminal, 65536)
    except OSError:
        break
    if not found:
        break
    sys.stdout.buffer.write(found)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
END
}
# came_of COMMAND…: the status that it ends with; what it prints is in $WORK/came.out and $WORK/came.err.
came_of() {
    local came=0
    "$@" >"$WORK/came.out" 2>"$WORK/came.err" || came=$?
    echo $came
}
# is_full: so is the pipe that is open as 9.
is_full() { python3 -c 'import select, sys; sys.exit(bool(select.select([], [9], [], 0)[1]))'; }
# is_gone NAME: nothing of the start is left.
is_gone() { [ ! -e "/run/syscontainers/$1" ] && [ ! -e "/run/$runtime/$1" ]; }

for runtime in crun runc; do
    say "$runtime: a terminal"
    installed terminal 'for fd in 0 1 2; do [ ! -t $fd ] || echo "$fd is a terminal"; echo "$fd: $(readlink /proc/$$/fd/$fd)"; done
        (: </dev/tty) 2>/dev/null && echo "has a terminal"
        [ "$(readlink /proc/$$/fd/1)" != "$(readlink /proc/$$/fd/2)" ] && echo "two pipes"
        echo "read: $(timeout 1 head -n 1 <&1)"
        printf "\033[31mred\033[0m\a\n"; echo by name >/dev/stdout; echo by another >/dev/stderr; exit 6'
    expect 6 came_of beside_typist terminal
    tr -d '\r' <"$WORK/came.out" >"$WORK/seen"
    expect_like '^0: /dev/null$' cat "$WORK/seen"
    expect_like '^1: pipe:' cat "$WORK/seen"
    expect_like '^2: pipe:' cat "$WORK/seen"
    expect_like '^two pipes$' cat "$WORK/seen"
    expect_no 'is a terminal|has a terminal|read: .*typed' cat "$WORK/seen"
    expect_like $'^\033\\[31mred\033\\[0m\a$' cat "$WORK/seen"
    expect_like '^by name$' cat "$WORK/seen"
    expect_like '^by another$' cat "$WORK/seen"
    check 'nothing is left' is_gone terminal
    forget terminal

    say "$runtime: a user's payload opens its output by name"
    installed user 'echo out >/dev/stdout; echo err >/proc/self/fd/2; id -u' '"User": "1000:77"'
    expect 0 came_of in_foreground user
    expect $'out\n1000' cat "$WORK/came.out"
    expect_like '^err$' cat "$WORK/came.err"
    forget user

    say "$runtime: files of the shell"
    installed files 'ls /proc/$$/fd; readlink /proc/$$/fd/1'
    echo secret >"$WORK/secret"
    expect 0 came_of in_foreground files 7<"$WORK/secret" 8>>"$WORK/secret"
    expect $'0\n1\n2' grep -v pipe "$WORK/came.out"
    expect_like '^pipe:' cat "$WORK/came.out"
    forget files

    say "$runtime: everything arrives"
    installed many 'seq 200000; seq 300000 >&2; head -c 100000 /dev/zero; exit 7'
    expect 7 came_of in_foreground many
    seq 200000 >"$WORK/many.out"
    head -c 100000 /dev/zero >>"$WORK/many.out"
    check 'all of standard output' cmp "$WORK/many.out" "$WORK/came.out"
    check 'all of standard error' cmp <(seq 300000) <(grep -E '^[0-9]+$' "$WORK/came.err")
    forget many

    say "$runtime: nobody reads any more"
    installed pipe 'while echo yes 2>/dev/null; do :; done; exit 9'
    # shellcheck disable=SC2317 # called by came_of
    first_lines() { in_foreground pipe | head -n 2 >"$WORK/first"; return "${PIPESTATUS[0]}"; }
    expect 9 came_of first_lines
    expect $'yes\nyes' cat "$WORK/first"
    forget pipe

    say "$runtime: signals"
    installed signals 'trap "echo got it; exit 5" TERM; echo up; sleep 100000 & wait'
    $HELPERS/syscontainer-prepare signals
    env -u NOTIFY_SOCKET $HELPERS/syscontainer-start signals >"$WORK/signals.out" &
    expect_soon up cat "$WORK/signals.out"
    started=$!
    run_fails 1 'cannot start signals: it is running already, as process' env -u NOTIFY_SOCKET $HELPERS/syscontainer-start signals
    run_fails 1 'cannot prepare signals: it is running already' $HELPERS/syscontainer-prepare signals
    kill -TERM $started
    expect 5 came_of wait $started
    expect $'up\ngot it' cat "$WORK/signals.out"

    say "$runtime: in a scope"
    $HELPERS/syscontainer-prepare signals
    env -u NOTIFY_SOCKET systemd-run --quiet --scope --unit=scoped $HELPERS/syscontainer-start signals >"$WORK/scoped.out" &
    expect_soon up cat "$WORK/scoped.out"
    case $runtime in crun) group=/scoped.scope ;; *) group=/signals ;; esac
    expect_like "^0::.*$group\$" cat "/proc/$(cut -d' ' -f1 /run/syscontainers/signals/payload)/cgroup"
    kill -TERM $!
    expect 5 came_of wait $!
    forget signals

    say "$runtime: the reader does not read"
    installed stuck 'trap "exit 4" TERM; head -c 500000 /dev/zero & wait; exit 1'
    rm -f "$WORK/fifo"
    mkfifo "$WORK/fifo"
    exec 9<>"$WORK/fifo"
    $HELPERS/syscontainer-prepare stuck
    env -u NOTIFY_SOCKET $HELPERS/syscontainer-start stuck >"$WORK/fifo" &
    starter=$!
    wait_for 'the pipe is full' is_full
    # shellcheck disable=SC2034 # of what is waited for
    payload=$(cut -d' ' -f1 /run/syscontainers/stuck/payload)
    kill -TERM $starter
    wait_for 'the payload is gone' eval '[ ! -e "/proc/$payload" ]'
    check 'the rest is still to be copied' kill -0 $starter
    kill -TERM $starter
    expect 4 came_of wait $starter
    check 'nothing is left' is_gone stuck
    exec 9>&-
    forget stuck

    say "$runtime: somebody keeps the pipes open"
    foreground_image keeps 'setsid sleep 100000 & echo $!; exit 3'
    checkout --runtime=/usr/bin/$runtime --option=PidNamespace=host "$REGISTRY/keeps"
    $HELPERS/syscontainer-prepare keeps
    expect 3 came_of env -u NOTIFY_SOCKET timeout 60 $HELPERS/syscontainer-start keeps
    left=$(cat "$WORK/came.out")
    # runc has killed it by now.
    if [ $runtime = crun ]; then
        expect sleep cat "/proc/$left/comm"
        kill -KILL "$left"
    fi
    forget keeps

    say "$runtime: what cannot be started says why"
    installed nothing 'exit 0'
    $HELPERS/syscontainer-prepare nothing
    sed -i 's/"sh"/"no-such-program"/' /run/syscontainers/nothing/config.json
    expect 1 came_of env -u NOTIFY_SOCKET $HELPERS/syscontainer-start nothing
    expect_like 'no-such-program' cat "$WORK/came.err"
    expect_like '^syscontainer-start: cannot start nothing: .*see its own messages' tail -n 1 "$WORK/came.err"
    check 'nothing is left' is_gone nothing
    forget nothing

    say "$runtime: beside its service"
    installed serves 'sleep 100000'
    systemctl start serves
    payload=$(unit_property serves MainPID)
    run_fails 1 'it is running already' env -u NOTIFY_SOCKET $HELPERS/syscontainer-start serves
    run_fails 1 'it is running already' $HELPERS/syscontainer-prepare serves
    expect active systemctl is-active serves
    expect "$payload" unit_property serves MainPID
    forget serves
done
