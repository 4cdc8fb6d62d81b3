# Containers: installing them, and what there is of them.
# shellcheck shell=bash

# checkout ARGUMENT…: of syscontainer-checkout, which succeeds; what it prints is in $WORK/printed, and what it says in
# $WORK/said.
checkout() {
    syscontainer-checkout "$@" >"$WORK/printed" 2>"$WORK/said" || { shown "$WORK/said"; fail "syscontainer-checkout $*"; }
}

# install_image NAME [OPTION…]: makes the image of $WORK/NAME, pulls it, and checks it out with these options.
install_image() {
    build_and_pull "$1"
    checkout "${@:2}" "$REGISTRY/$1"
}

# install_hello_world NAME PORT: a container of the image hello-world, which is pulled already.
install_hello_world() { checkout --name="$1" --set PORT="$2" "$REGISTRY/hello-world"; }

# bad_image NAME ERE [OPTION…]: makes the image of $WORK/NAME and pulls it; it cannot be installed, one line says why, and
# nothing is changed.
bad_image() {
    build_and_pull "$1"
    snapshot >"$WORK/.snapshot"
    run_fails 1 "$2" syscontainer-checkout "${@:3}" "$REGISTRY/$1"
    unchanged "$WORK/.snapshot"
}

# set_soak NAME SECONDS: so long its updates are watched from now on. Where one is to fail it costs nothing to watch for long,
# since the failure ends it; where one is to be good, it is waited for.
set_soak() { syscontainer-switch --set-soak="$2" "$1" 2>/dev/null; }

# start_and_stop UNIT
start_and_stop() {
    check "$1 starts" systemctl start "$1"
    expect 'active running success' state "$1"
    check "$1 stops" systemctl stop "$1"
    expect 'inactive dead success' state "$1"
}

# answers NAME PORT [RECEIVER]: the container of hello-world that listens on PORT greets RECEIVER.
answers() {
    wait_for "$1 answers" http "$2"
    expect "Hello ${3:-World}" http "$2"
}

# running_deployment NAME: what its payload was started from.
running_deployment() { sed -n 's/.*"deployment": *"\([^"]*\)".*/\1/p' "/run/syscontainers/$1/launch.json"; }

# is_settled NAME: no switch is under way.
is_settled() { ! grep -q '"from"' "$CO/.$1.state"; }

# expect_current NAME.N [state=STATE] [version=VERSION]: that deployment is current and registered, and no switch is under way;
# its unit is in STATE, 'active running success' unless that is given, and runs it, if it is active. With VERSION, what is on the
# host is what new_version --files made.
expect_current() {
    local deployment=$1 name=${1%.*} state='active running success' version='' argument
    shift
    for argument; do
        case $argument in
            state=*) state=${argument#*=} ;;
            version=*) version=${argument#*=} ;;
            *) fail "expect_current: $argument" ;;
        esac
    done
    expect "$deployment" readlink "$CO/$name"
    expect "$state" state "$name"
    case $state in active*) expect "$deployment" running_deployment "$name" ;; esac
    expect_like "\"deployment\": \"$deployment\"" cat "/etc/syscontainers/attached/$name.json"
    check 'no switch is under way' is_settled "$name"
    [ -n "$version" ] || return 0
    expect "only-$version version" names_in "/etc/$name"
    expect "$version" cat "/etc/$name/version"
    expect_like "/run/$name-$version " cat "/etc/tmpfiles.d/$name.conf"
}

# expect_whole NAME [TEXT…]: as expect_current, of whatever is current, which sets $current; nothing of another deployment is in
# what is installed, or left of a switch. NAME is of new_version --host-file. TEXT says when this is, if it is not so.
expect_whole() {
    local name=$1 when=${*:2}
    current=$(readlink "$CO/$name")
    expect_up "$@"
    [ "$(running_deployment "$name")" = "$current" ] ||
        fail "$when: $current is current, $(running_deployment "$name") runs"
    grep -q "\"deployment\": \"$current\"" "/etc/syscontainers/attached/$name.json" || fail "$when: $current is not registered"
    cmp -s "$CO/$current/hostfs/etc/$name/version" "/etc/$name/version" || fail "$when: the host file is of another version"
    is_settled "$name" || fail "$when: the switch is not over"
    [ -z "$(find "$CO" -maxdepth 1 -name ".$name.*.new")" ] || fail "$when: something is left"
    [ "$(enablement "$name")" = enabled ] || fail "$when: it is not enabled"
}

# expect_up UNIT [TEXT…]: it runs.
expect_up() {
    [ "$(state "$1")" = 'active running success' ] || fail "${*:2}: $1 is $(state "$1"): $(cat "$WORK/said")"
}

# expect_of_system NAME: that deployment is current, and nothing in /etc or /var says otherwise; it runs.
expect_of_system() {
    expect "$1.0" running_deployment "$1"
    expect 'active running success' state "$1"
    expect_like "^$1 .* $1.0 \(preinstalled\) .* (-|the pending image failed before: .*)$" syscontainer-list
    refuse 'no link' test -L "$CO/$1"
    refuse 'no registration' test -e "/etc/syscontainers/attached/$1.json"
    refuse 'no stub' test -e "/etc/systemd/system.attached/$1.service"
    expect_like "^(/usr)?/lib/systemd/system/$1.service" unit_property "$1" FragmentPath
    expect enabled enablement "$1"
}

# write_declaration FILE [LINE…]: a declaration with these lines below [Container].
write_declaration() {
    mkdir -p "$(dirname "$1")"
    { echo '[Container]'; printf '%s\n' "${@:2}"; } >"$1"
}

# wanted_installs: what the generator would have started by the next boot.
wanted_installs() { find /run/systemd/generator -path '*.target.wants/syscontainer-install@*' -printf '%f\n'; }

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

# in_payload NAME COMMAND…: runs it in the namespaces of the container's payload.
in_payload() { nsenter --target "$(unit_property "$1" MainPID)" --mount --uts --cgroup --root --wd=/ -- "${@:2}"; }

# put_down NAME: its payload is ended at once, and its unit is as if it had never run.
put_down() {
    systemctl kill --signal=KILL "$1" 2>/dev/null || true
    systemctl stop "$1"
    systemctl reset-failed "$1" 2>/dev/null || true
}
