# What every story begins with: . "$(dirname "$0")/lib.sh"
# shellcheck shell=bash
#
# A story runs as root in the machine, see tests/machine. It ends at the first thing that is not as expected. Variables:
#
#   BOOT        how often the machine was booted: 1, and 2 after 'reboot' or 'cut_off', which run the story anew
#   REGISTRY    the registry, host:port
#   WORK        a directory for the story's files, kept over a reboot
#
set -Eeuo pipefail

REGISTRY=127.0.0.1:5000
WORK=/var/lib/story
TESTS=/src/tests
mkdir -p "$WORK"
trap 'echo "not ok - ${BASH_SOURCE[0]##*/}:$LINENO: $BASH_COMMAND: exit status $?"' ERR

# ours: every file that these programs may have left, by paths that are theirs; of the store, what is in it.
ours() {
    find /etc/syscontainers /etc/systemd/system.attached /etc/tmpfiles.d /run/syscontainers \
        /var/lib/containers/atomic /ostree -mindepth 1 -path /run/syscontainers/.locks -prune -o \
        -path '*/ostree/*' \( -type d -o -name config -o -name '.lock' -o -name .commitpartial \) -o \
        -printf '%y %m %U:%G %p -> %l\n' 2>/dev/null || true
    find /etc/systemd/system \( -lname '*/system.attached/*' -o -name 'syscontainer-*@?*' \) -printf '%p -> %l\n'
}

# is_said PATH: a message is about it, or about a directory above it.
is_said() {
    local path=$1 name
    while ! grep -qF "$path" "$WORK/.said"; do
        name=${path##*/} path=${path%/*}
        if [ "$path" = /var/lib/containers/atomic ]; then
            grep -qF " $name" "$WORK/.said"
            return
        fi
        [ -n "$path" ] || return 1
    done
}

# leave_nothing: what every story ends with. After a removal of all containers and a prune nothing of theirs is there that was not
# before, but what they said they leave.
leave_nothing() {
    local name left=''
    [ ! -e /run/again ] && [ -e "$WORK/.ours" ] || return 0
    syscontainer-list --quiet 2>/dev/null >"$WORK/.names" || true
    while read -r name; do
        syscontainer-remove --force "$name" </dev/null 2>&1 || true
    done <"$WORK/.names" >"$WORK/.said"
    syscontainer-prune --explain --keep-for=0 >>"$WORK/.said" 2>&1 || true
    ours | sort | comm -13 "$WORK/.ours" - >"$WORK/.left"
    while read -r name; do
        is_said "$name" || left="$left$name"$'\n'
    done < <(sed 's/^[a-z] [0-9]* [^ ]* //; s/ ->.*//; s/[[:cntrl:]]/\xef\xbf\xbd/g' "$WORK/.left")
    if [ -n "$left" ]; then
        echo '  left after removals and a prune, without a word:'
        shown - <<<"${left%$'\n'}"
        echo '  said:'
        shown "$WORK/.said"
        echo 'not ok - nothing is left'
        exit 1
    fi
    ok "after removals and a prune nothing is left, but $(wc -l <"$WORK/.left") files that are named"
}
if [ -z "${STORY-}" ]; then
    # Not for shells that a story starts.
    export STORY=$$
    [ -e "$WORK/.ours" ] || ours | sort >"$WORK/.ours"
    trap '[ $? != 0 ] || leave_nothing' EXIT
fi

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

# check TEXT COMMAND…: the command succeeds; what it prints is shown only if it does not.
check() {
    local text=$1 status=0
    shift
    "$@" >"$WORK/.out" 2>&1 || status=$?
    if [ "$status" != 0 ]; then
        shown "$WORK/.out"
        fail "$text: '$*' ends with $status"
    fi
    ok "$text"
}

# refuse TEXT COMMAND…: the command fails.
refuse() {
    local text=$1
    shift
    if "$@" >"$WORK/.out" 2>&1; then
        shown "$WORK/.out"
        fail "$text: '$*' succeeds"
    fi
    ok "$text"
}

# expect WANT COMMAND…: the command succeeds, and prints WANT on stdout.
expect() {
    local want=$1 status=0
    shift
    "$@" >"$WORK/.out" || status=$?
    if [ "$status" != 0 ] || [ "$(cat "$WORK/.out")" != "$want" ]; then
        echo "  '$*' ends with $status; expected:"
        printf '%s\n' "$want" | shown -
        echo '  came:'
        shown "$WORK/.out"
        fail "$*"
    fi
    ok "$*: ${want%%$'\n'*}"
}

# expect_like ERE COMMAND…: the command succeeds, and one line on stdout matches.
expect_like() {
    local pattern=$1 status=0
    shift
    "$@" >"$WORK/.out" || status=$?
    if [ "$status" != 0 ] || ! grep -qE -- "$pattern" "$WORK/.out"; then
        echo "  '$*' ends with $status; expected a line like: $pattern"
        echo '  came:'
        shown "$WORK/.out"
        fail "$*"
    fi
    ok "$*: $pattern"
}

# expect_no ERE COMMAND…: the command succeeds, and no line on stdout matches.
expect_no() {
    local pattern=$1 status=0
    shift
    "$@" >"$WORK/.out" || status=$?
    if [ "$status" != 0 ] || grep -qE -- "$pattern" "$WORK/.out"; then
        echo "  '$*' ends with $status; expected no line like: $pattern"
        echo '  came:'
        shown "$WORK/.out"
        fail "$*"
    fi
    ok "$*: no $pattern"
}

# run_fails STATUS ERE COMMAND…: the command ends with STATUS, prints nothing on stdout, and one line on stderr, which matches.
run_fails() {
    local want=$1 pattern=$2 status=0
    shift 2
    "$@" >"$WORK/.out" 2>"$WORK/.err" || status=$?
    if [ "$status" != "$want" ] || [ "$(wc -l <"$WORK/.err")" != 1 ] || [ -s "$WORK/.out" ] ||
        ! grep -qE -- "$pattern" "$WORK/.err"; then
        echo "  expected status $want, nothing on stdout, and one line like: $pattern"
        echo "  came status $status, on stdout:"
        shown "$WORK/.out"
        echo '  on stderr:'
        shown "$WORK/.err"
        fail "$*"
    fi
    ok "$*: $(cat "$WORK/.err")"
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
    for _ in $(seq 400); do
        if "$@" >"$WORK/.out" 2>&1; then
            ok "$text"
            return 0
        fi
        sleep 0.05
    done
    shown "$WORK/.out"
    fail "$text: '$*' never succeeds"
}

# http PORT[/PATH]: what a server on this machine answers.
http() {
    local port=${1%%/*}
    # Its own -T crashes in the static build of Debian 12.
    timeout 5 busybox wget -q -O - "http://127.0.0.1:$port${1#"$port"}"
}

# unit_property UNIT PROPERTY: one property's value.
unit_property() { systemctl show --property="$2" --value "$1"; }

# journal_of UNIT: its messages of this boot, without anything else.
journal_of() {
    journalctl --sync
    journalctl --boot --no-pager --output=cat --unit="$1"
}

# build_image NAME[:TAG] [OPTION…] DIRECTORY…: makes an image and pushes it; options as in tests/build-image. Sets DIGEST.
build_image() {
    local name=$1 tag=latest
    shift
    case $name in *:*) tag=${name##*:} name=${name%:*} ;; esac
    local options=()
    while [[ ${1-} == --* ]]; do
        options+=("$1")
        shift
    done
    rm -rf "$WORK/.layout"
    # shellcheck disable=SC2034 # for the story
    DIGEST=$("$TESTS/build-image" "${options[@]}" "$WORK/.layout:$tag" "$@")
    skopeo copy --quiet "oci:$WORK/.layout:$tag" "docker://$REGISTRY/$name:$tag"
    rm -rf "$WORK/.layout"
}

# hello_world [NAME[:TAG]]: the image hello-world. Its variables are PORT and RECEIVER.
hello_world() { build_image "${1:-hello-world}" "$TESTS/hello-world"; }

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

# exports NAME ARGS [LINES [NAMESPACES [MOUNTS]]]: makes $WORK/NAME, the files of an image that runs ARGS, a JSON array, with
# LINES in [Service]; NAMESPACES and MOUNTS are elements of JSON arrays.
exports() {
    local directory=$WORK/$1/exports namespaces='{"type":"pid"},{"type":"ipc"},{"type":"mount"}'
    mkdir -p "$directory"
    cat >"$directory/config.json" <<-END
		{
		    "ociVersion": "1.0.2",
		    "process": {"args": $2, "cwd": "/", "env": ["PATH=/bin:/usr/bin"]},
		    "root": {"path": "rootfs", "readonly": true},
		    "mounts": [
		        {"destination": "/proc", "type": "proc", "source": "proc"},
		        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}${5:+, $5}
		    ],
		    "linux": {"namespaces": [${4:-$namespaces}]}
		}
	END
    cat >"$directory/service.template" <<-END
		[Unit]
		Description=Story of $1
		[Service]
		ExecStartPre=\$EXEC_STARTPRE
		ExecStart=\$EXEC_START
		ExecStop=\$EXEC_STOP
		ExecStopPost=\$EXEC_STOPPOST
		${3-}
		[Install]
		WantedBy=multi-user.target
	END
}

# install_image NAME [OPTION…]: builds the image of $WORK/NAME, pulls it, and checks it out with these options.
install_image() {
    local name=$1
    shift
    build_image "$name" "$WORK/$name"
    syscontainer-pull --quiet "$REGISTRY/$name" >"$WORK/.out"
    syscontainer-checkout "$@" "$REGISTRY/$name" >"$WORK/.out" 2>&1 || { shown "$WORK/.out"; fail "checkout of $name"; }
}

# state UNIT: "ActiveState SubState Result" once it does not change any more, and ExecMainStatus if it failed.
state() {
    local _
    for _ in $(seq 200); do
        case $(unit_property "$1" ActiveState) in activating | deactivating | reloading) sleep 0.05 ;; *) break ;; esac
    done
    local text
    text="$(unit_property "$1" ActiveState) $(unit_property "$1" SubState) $(unit_property "$1" Result)"
    case $text in failed*) text="$text $(unit_property "$1" ExecMainStatus)" ;; esac
    echo "$text"
}

# ended UNIT: it is inactive or has failed.
ended() {
    case $(unit_property "$1" ActiveState) in inactive | failed) ;; *) return 1 ;; esac
}

# processes UNIT: names of all processes in the unit's cgroup and below, once those that start and stop it are gone: a unit is
# active a moment before its payload is executed.
processes() {
    local _ names=''
    for _ in $(seq 200); do
        names=$(processes_now "$1")
        case " $names " in *' crun '* | *' runc'* | *' syscontainer-'*) sleep 0.05 ;; *) break ;; esac
    done
    echo "$names"
}

processes_now() {
    local group pid
    group=$(unit_property "$1" ControlGroup)
    [ -n "$group" ] && [ -d "/sys/fs/cgroup$group" ] || return 0
    find "/sys/fs/cgroup$group" -name cgroup.procs -exec cat {} + | while read -r pid; do
        cat "/proc/$pid/comm" 2>/dev/null || true
    done | sort | paste -sd' '
}

# snapshot: everything that an installation may change, without the content of the store.
snapshot() {
    find /etc /usr/lib/systemd /run/syscontainers /var/lib/containers -xdev \
        \( -path '*/.storage/ostree/*' -o -path /run/syscontainers/.locks \) -prune -o -printf '%y %m %U:%G %p -> %l\n' | sort
}

# unchanged FILE: nothing is different from the snapshot in FILE.
unchanged() {
    snapshot | diff -u "$1" - >"$WORK/.diff" || { shown "$WORK/.diff"; fail 'something was changed'; }
}

# forget NAME…: removes containers, by hand.
forget() {
    local name
    for name; do
        systemctl stop "$name" 2>/dev/null || true
        systemctl --no-reload --quiet disable "$name" 2>/dev/null || true
        rm -rf "/etc/syscontainers/attached/$name.json" "/etc/systemd/system.attached/$name.service" \
            "/etc/tmpfiles.d/$name.conf" "/var/lib/containers/atomic/$name" /var/lib/containers/atomic/{,.}"$name".*
    done
    systemctl daemon-reload
}
