# What a story says, and what it expects of a command.
# shellcheck shell=bash

# say TEXT…: what comes now.
say() { printf '# %s\n' "$*"; }

# ok TEXT…: this holds.
ok() { printf 'ok - %s\n' "$*"; }

# fail TEXT…: this does not hold; the story ends.
fail() {
    trap - ERR
    printf 'not ok - %s\n' "$*"
    exit 1
}

# skip REASON…: this machine cannot do what the story needs; the story ends.
skip() {
    printf 'skip - %s\n' "$*"
    exit 77
}

# shown FILE: the text, so that it can be seen where it begins and ends.
shown() { sed 's/^/    | /' "$1"; }

# _judge STATUS STDOUT STDERR COMMAND…: all that is expected of commands is expected by this. The command ends with STATUS, and
# what it prints is as STDOUT says, what it says as STDERR does. Each of these is
#
#   =TEXT     this text
#   ~ERE      one line at least matches
#   !ERE      no line matches
#   1~ERE     there is one line, and it matches
#   (empty)   anything
#
# Standard output is kept in $WORK/.out. Standard error is the story's own, unless it is judged: then it is in $WORK/.err.
_judge() {
    local status=$1 stdout=$2 stderr=$3 came=0
    shift 3
    if [ -n "$stderr" ]; then
        "$@" >"$WORK/.out" 2>"$WORK/.err" || came=$?
    else
        "$@" >"$WORK/.out" || came=$?
    fi
    if [ "$came" = "$status" ] && _is_like "$stdout" "$WORK/.out" && _is_like "$stderr" "$WORK/.err"; then return 0; fi
    echo "  expected status $status$(_described "$stdout" stdout)$(_described "$stderr" stderr)"
    echo "  came status $came, on stdout:"
    shown "$WORK/.out"
    if [ -n "$stderr" ]; then
        echo '  on stderr:'
        shown "$WORK/.err"
    fi
    fail "$*"
}

# _is_like WANT FILE
_is_like() {
    case $1 in
        '') ;;
        =*) [ "$(cat "$2")" = "${1#=}" ] ;;
        '~'*) grep -qE -- "${1#?}" "$2" ;;
        !*) ! grep -qE -- "${1#!}" "$2" ;;
        '1~'*) [ "$(wc -l <"$2")" = 1 ] && grep -qE -- "${1#??}" "$2" ;;
        *) fail "_is_like: $1" ;;
    esac
}

# _described WANT NAME
_described() {
    case $1 in
        '') ;;
        =) echo ", nothing on $2" ;;
        =*) printf ', on %s:\n%s' "$2" "$(shown - <<<"${1#=}")" ;;
        '~'*) echo ", on $2 a line like: ${1#?}" ;;
        !*) echo ", on $2 no line like: ${1#!}" ;;
        '1~'*) echo ", on $2 one line, like: ${1#??}" ;;
    esac
}

# expect WANT COMMAND…: the command succeeds, and prints WANT on stdout.
expect() {
    _judge 0 "=$1" '' "${@:2}"
    ok "${*:2}: ${1%%$'\n'*}"
}

# expect_like ERE COMMAND…: the command succeeds, and one line on stdout matches.
expect_like() {
    _judge 0 "~$1" '' "${@:2}"
    ok "${*:2}: $1"
}

# expect_no ERE COMMAND…: the command succeeds, and no line on stdout matches.
expect_no() {
    _judge 0 "!$1" '' "${@:2}"
    ok "${*:2}: no $1"
}

# run_fails STATUS ERE COMMAND…: the command ends with STATUS, prints nothing on stdout, and one line on stderr, which matches.
run_fails() {
    _judge "$1" = "1~$2" "${@:3}"
    ok "${*:3}: $(cat "$WORK/.err")"
}

# run_prints STATUS TEXT COMMAND…: the command ends with STATUS, prints TEXT on stdout, and nothing on stderr.
run_prints() {
    _judge "$1" "=$2" = "${@:3}"
    ok "${*:3}: ${2:-nothing}"
}

# soon WANT COMMAND…: sooner or later the command prints WANT; does not end the story if it never does.
soon() {
    local want=$1 _
    shift
    for _ in $(seq 1200); do
        if "$@" >"$WORK/.tried" 2>"$WORK/.tried-err" && [ "$(cat "$WORK/.tried")" = "$want" ]; then return 0; fi
        sleep 0.05
    done
    return 1
}

# expect_soon WANT COMMAND…: as expect, but sooner or later.
expect_soon() {
    soon "$@" || true
    expect "$@"
}

# must TEXT COMMAND…: the command succeeds; what it prints, and TEXT, are shown only if it does not: for what is done very
# often.
must() {
    local text=$1 status=0
    shift
    "$@" >"$WORK/.checked" 2>&1 || status=$?
    if [ "$status" != 0 ]; then
        shown "$WORK/.checked"
        fail "$text: '$*' ends with $status"
    fi
}

# check TEXT COMMAND…: as must, and TEXT is said.
check() {
    must "$@"
    ok "$1"
}

# refuse TEXT COMMAND…: the command fails.
refuse() {
    local text=$1
    shift
    if "$@" >"$WORK/.checked" 2>&1; then
        shown "$WORK/.checked"
        fail "$text: '$*' succeeds"
    fi
    ok "$text"
}

# ends STATUS COMMAND…: the command ends so; what it prints is in $WORK/printed, and what it says in $WORK/said.
ends() {
    local want=$1 status=0
    shift
    "$@" >"$WORK/printed" 2>"$WORK/said" || status=$?
    [ "$status" = "$want" ] || { shown "$WORK/said"; fail "$*: ends with $status, not $want"; }
    ok "$* ends with $want"
}

# wait_for TEXT COMMAND…: the command succeeds sooner or later.
wait_for() {
    local text=$1 _
    shift
    for _ in $(seq 1200); do
        if "$@" >"$WORK/.tried" 2>&1; then
            ok "$text"
            return 0
        fi
        sleep 0.05
    done
    shown "$WORK/.tried"
    fail "$text: '$*' never succeeds"
}

# quietly COMMAND…: without what it says on stderr.
quietly() { "$@" 2>/dev/null; }

# same_as FILE COMMAND…: whether the command prints what is in FILE; a difference is printed.
same_as() {
    "${@:2}" >"$WORK/.same" || { echo "'${*:2}' ends with $?"; return 1; }
    diff -u "$1" "$WORK/.same"
}

# expect_same FILE COMMAND…: the command prints what is in FILE.
expect_same() { check "${*:2}: as in $1" same_as "$@"; }
