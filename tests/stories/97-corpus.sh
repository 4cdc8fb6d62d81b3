#!/bin/bash
# Images as everybody gets them, unchanged: pulled, started, asked by a client, restarted with their data, updated, rolled back,
# stopped and removed; with crun. 'tests/run --long' does it with runc, too, and with podman, whose users they are made for.
#
# What is in tests/corpus decides what is done here; see "The corpus" in CONTRIBUTING.md.
. "$(dirname "$0")/lib.sh"

need_corpus
# publish VERSION: what the registry has from now on.
publish() { publish_corpus "$IMAGE" "$1"; }

# shows_version VERSION [TEXT]: it answers, and is of that version.
shows_version() {
    wait_for "it answers${2:+ $2}" answers
    expect_soon "$1" version
}

# As an administrator does it with syscontainers.
ours_begin() {
    local options=() variable key
    for variable in "${VARIABLES[@]}"; do options+=("--set=$variable"); done
    for key in "${KEYS[@]}"; do options+=(-o "$key"); done
    check 'it is pulled' syscontainer-pull --quiet "$REGISTRY/corpus/$IMAGE"
    check 'it is installed' syscontainer-checkout --runtime="/usr/bin/$ENGINE" --name="$CONTAINER" "${options[@]}" "$REGISTRY/corpus/$IMAGE"
    set_soak "$CONTAINER" 1
    check 'it starts' systemctl start "$CONTAINER"
}
ours_restart() { systemctl restart "$CONTAINER"; }
ours_update() {
    systemctl start "syscontainer-update@$CONTAINER" || {
        journalctl --sync
        journalctl --boot --no-pager --output=cat --unit="syscontainer-fetch@$CONTAINER" --unit="syscontainer-update@$CONTAINER"
        return 1
    }
}
ours_roll_back() { syscontainer-rollback --soak=1 "$CONTAINER"; }
ours_stop() {
    check 'it is stopped' systemctl stop "$CONTAINER"
    expect 'inactive dead success' state "$CONTAINER"
    refuse 'it has not failed' systemctl is-failed "$CONTAINER"
    check 'it ended in time' ended_in_time
}
# It took less than it was given.
ended_in_time() {
    local given took
    given=$(systemd-analyze timespan "$(unit_property "$CONTAINER" TimeoutStopUSec)" | sed -n 's/^ *[^ ]*s: \([0-9]*\)$/\1/p')
    took=$(($(unit_property "$CONTAINER" InactiveEnterTimestampMonotonic) - $(unit_property "$CONTAINER" ActiveExitTimestampMonotonic)))
    echo "$took us of $given us"
    [ "$took" -lt "$given" ]
}
ours_remove() {
    check 'it is removed' syscontainer-remove --purge "$CONTAINER"
    refuse 'there is no such unit' systemctl cat "$CONTAINER"
    check 'nothing of it is left' nothing_of_it
}
nothing_of_it() {
    ! ours | grep -E "/(atomic|attached|system\.attached|system|[a-z-]*\.wants|tmpfiles\.d|syscontainers)/\.?$CONTAINER([./ ]|\$)"
}

# The same, by a user of podman. Volumes outlive a container if they have names. This machine has no limits for podman to set.
podman_begin() {
    local options=() variable path
    for variable in "${VARIABLES[@]}"; do options+=("--env=$variable"); done
    podman_of_corpus pull --quiet --tls-verify=false "$REGISTRY/corpus/$IMAGE" >/dev/null
    for path in $(podman_of_corpus image inspect --format='{{range $path, $x := .Config.Volumes}}{{$path}} {{end}}' "$REGISTRY/corpus/$IMAGE"); do
        variable=${path#/}
        options+=("--volume=$CONTAINER-${variable//\//-}:$path")
    done
    check 'podman runs it' podman_of_corpus run --detach --replace --name="$CONTAINER" --network=host --cgroups=disabled --log-driver=k8s-file \
        "${options[@]}" "${PODMAN[@]}" "$REGISTRY/corpus/$IMAGE" "${ARGUMENTS[@]}"
}
podman_restart() {
    podman_of_corpus stop "$CONTAINER" && output >"$WORK/output" && mv "$WORK/output" "$WORK/logged" &&
        podman_of_corpus rm "$CONTAINER" && podman_begin
}
podman_update() { podman_restart; }
podman_roll_back() { publish 1 && podman_restart; }
podman_stop() {
    check 'podman stops it' podman_of_corpus stop "$CONTAINER"
    expect_no '^137$' podman_of_corpus inspect --format='{{.State.ExitCode}}' "$CONTAINER"
}
podman_remove() { podman_of_corpus rm --volumes "$CONTAINER" >/dev/null; }

# container_of IMAGE ENGINE: its name; what one of another runtime logged is not its own.
container_of() { if [ "$2" = runc ]; then echo "$1-runc"; else echo "$1"; fi; }

# walk IMAGE ENGINE
walk() {
    IMAGE=$1 ENGINE=$2 CONTAINER=$(container_of "$1" "$2")
    local engine=ours line
    [ "$ENGINE" != podman ] || engine=podman
    read_check
    prepare
    publish 1
    ${engine}_begin
    shows_version 1
    check 'it does what it is for' put_data
    check 'it restarts' ${engine}_restart
    shows_version 1 'again'
    check 'what it had is there' find_data
    publish 2
    check 'it is updated' ${engine}_update
    shows_version 2 'after the update'
    check 'what it had is there' find_data
    check 'it is rolled back' ${engine}_roll_back
    shows_version 1 'after the rollback'
    check 'what it had is there' find_data
    ${engine}_stop
    for line in "${LOGGED[@]}"; do check "it logged: $line" has_logged "$line"; done
    ${engine}_remove
}

# walk_apart IMAGE ENGINE: with files of its own, and its output in a file.
walk_apart() {
    WORK=$WORK/$1.$2
    mkdir -p "$WORK"
    local on_error
    on_error=$(trap -p ERR)
    # Where the shell asks for a status, commands that fail would not end what is inside.
    trap - ERR
    set +e
    (
        set -e
        eval "$on_error"
        walk "$@"
    ) >"$WORK/log" 2>&1
    echo $? >"$WORK/status"
    [ "$(cat "$WORK/status")" = 0 ] || {
        echo '  the end of its output:'
        IMAGE=$1 ENGINE=$2 CONTAINER=$(container_of "$1" "$2") output | tail -n 30 | shown -
    } >>"$WORK/log"
}

# expect_no_port_twice: images run side by side.
expect_no_port_twice() {
    local twice
    twice=$(for image in "$@"; do
        # shellcheck source=/dev/null
        (PORTS=() && . "$TESTS/corpus/$image/check" && printf '%s\n' "${PORTS[@]}")
    done | grep . | sort | uniq -d)
    [ -z "$twice" ] || fail "more than one image listens on port $twice"
}

# all_of ENGINE IMAGE…: some at a time, the slow ones first.
AT_ONCE=4
all_of() {
    local engine=$1 image failed=''
    shift
    for image; do
        while [ "$(jobs -rp | wc -l)" -ge $AT_ONCE ]; do wait -n || true; done
        walk_apart "$image" "$engine" &
    done
    wait
    for image; do
        say "$engine: $image"
        cat "$WORK/$image.$engine/log"
        [ "$(cat "$WORK/$image.$engine/status" 2>/dev/null)" = 0 ] || failed+=" $image"
    done
    [ -z "$failed" ] || fail "$engine:$failed"
}

images=()
# shellcheck disable=SC2046 # words
for image in $(cd "$TESTS/corpus" && grep -ls '^SLOW=' */check) $(cd "$TESTS/corpus" && grep -Ls '^SLOW=' */check); do
    images+=("${image%/check}")
done
# Some of them only.
[ -z "${IMAGES-}" ] || read -ra images <<<"$IMAGES"
engines=(crun)
[ -z "${LONG-}" ] || engines=(crun runc podman)
[ -z "${ENGINES-}" ] || read -ra engines <<<"$ENGINES"
expect_no_port_twice "${images[@]}"
for engine in "${engines[@]}"; do all_of "$engine" "${images[@]}"; done
if [ -d /var/lib/containers/podman ]; then
    podman_of_corpus image umount --all >/dev/null
    podman_of_corpus volume prune --force >/dev/null
    podman_of_corpus rmi --all --force >/dev/null
    rm -rf /var/lib/containers/podman
fi
