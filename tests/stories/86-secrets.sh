#!/bin/bash
# Secret values are in no process list, in no file that other users of the host can read, and not in the unit.
. "$(dirname "$0")/lib.sh"

# kept_from_others NAME: nobody can read the secret: not in a file, not in the unit, not in a process list.
kept_from_others() {
    local found
    found=$(as_nobody grep -rlsF hunter2 /etc /run/s* /var/lib /opt /tmp "/var/log" 2>/dev/null) || true
    [ -z "$found" ] || fail "nobody can read the secret in $found"
    found=$(as_nobody sh -c 'cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null' | tr '\0' '\n' | grep 'hunter[2]') || true
    [ -z "$found" ] || fail "nobody sees the secret in the list of processes: $found"
    found=$({ as_nobody systemctl show "$1"; as_nobody systemctl cat "$1"; } | grep -F hunter2) || true
    [ -z "$found" ] || fail "nobody can ask systemd for the secret: $found"
    ok "nobody can read the secret of $1"
}
# environment_of NAME: of its payload, one variable a line. For a moment, the main process is still one of the unit's own programs or
# the runtime, which have what systemd gives them.
environment_of() {
    local environment _
    for _ in $(seq 100); do
        environment=$(tr '\0' '\n' <"/proc/$(unit_property "$1" MainPID)/environ")
        [[ $environment == *SYSTEMD_EXEC_PID=* ]] || break
        sleep 0.1
    done
    printf '%s\n' "$environment"
}

say 'a plain image gets its password from a file'
# What the story keeps is no one else's to read.
chmod 0700 "$WORK"
mkdir -p "$WORK/plain" "$WORK/values"
build_and_pull plain --config='{"Entrypoint": ["sh", "-c", "sleep 100000 & wait"]}'
printf 'hunter2 "$x" \\n %%n\n' >"$WORK/values/password"
check 'from a file' syscontainer-checkout --set-file=PASSWORD="$WORK/values/password" --secret=PASSWORD "$REGISTRY/plain"
systemctl start plain
expect_like '^PASSWORD=hunter2 "\$x" \\n %n$' environment_of plain
kept_from_others plain
expect_like '"user-secrets":\["PASSWORD"\]' tr -d '\n ' <"$CO/plain/info"
expect_like 'is up to date|already' sh -c "syscontainer-checkout --update plain 2>&1"

say 'from standard input, in an update, and from a pipe'
echo hunter2-new | check 'from standard input' syscontainer-checkout --update --set-file=PASSWORD=- plain
systemctl restart plain
expect_like '^PASSWORD=hunter2-new$' environment_of plain
check 'from a pipe' syscontainer-checkout --update --set-file=PASSWORD=<(echo hunter2-pipe) plain
systemctl restart plain
expect_like '^PASSWORD=hunter2-pipe$' environment_of plain
kept_from_others plain

say 'a dry run does not print it'
echo hunter2-dry >"$WORK/values/password"
expect_no hunter2 syscontainer-checkout --dry-run --update --set-file=PASSWORD="$WORK/values/password" plain
expect_like 'PASSWORD=\*{8}' syscontainer-checkout --dry-run --update --set-file=PASSWORD="$WORK/values/password" plain
expect_no hunter2 sh -c 'syscontainer-list --json; syscontainer-images --json; journalctl -b --no-pager -t syscontainer-checkout'

say 'no value that cannot be read changes anything'
run_fails 1 'cannot read the value of PASSWORD from /nowhere: No such file' syscontainer-checkout --update --set-file=PASSWORD=/nowhere plain
run_fails 1 'cannot read the value of PASSWORD from /dev/zero: it is larger than 1 MiB' \
    syscontainer-checkout --update --set-file=PASSWORD=/dev/zero plain
run_fails 1 'cannot read the value of PASSWORD from /bin/true: it is not UTF-8' \
    syscontainer-checkout --update --set-file=PASSWORD=/bin/true plain
ends 2 syscontainer-checkout --update --set=A=1 --set-file=A=/etc/hostname plain
ends 2 syscontainer-checkout --update --set-file=A=- --set-file=B=- plain
expect_like '^PASSWORD=hunter2-pipe$' environment_of plain

run_fails 1 'PIDFILE cannot be secret' syscontainer-checkout --update --secret=PIDFILE plain

say 'a secret does not get where others could read it'
secret() { # secret NAME: an image whose configuration has the variable TOKEN
    exports "$1" "$(until_stopped)" --env='"TOKEN=$TOKEN"' --template
    echo '{"secretValues": ["TOKEN"]}' >"$WORK/$1/exports/manifest.json"
}
secret config
build_and_pull config
check 'in the configuration it may be' syscontainer-checkout --set-file=TOKEN=<(echo hunter2) "$REGISTRY/config"
systemctl start config
expect_like '^TOKEN=hunter2$' environment_of config
kept_from_others config

secret unit
sed -i 's/^\[Service\]/&\nEnvironment=TOKEN=$TOKEN/' "$WORK/unit/exports/service.template"
secret tmpfiles
echo 'd /run/$TOKEN 0700' >"$WORK/tmpfiles/exports/tmpfiles.template"
secret readable
mkdir -p "$WORK/readable/exports/hostfs/etc/story"
echo 'token=$TOKEN' >"$WORK/readable/exports/hostfs/etc/story/token"
echo '{"secretValues": ["TOKEN"], "installedFilesTemplate": ["/etc/story/token"]}' >"$WORK/readable/exports/manifest.json"
secret renamed
mkdir -p "$WORK/renamed/exports/hostfs/etc/story"
touch "$WORK/renamed/exports/hostfs/etc/story/a"
echo '{"secretValues": ["TOKEN"], "renameFiles": {"/etc/story/a": "/etc/story/$TOKEN"}}' >"$WORK/renamed/exports/manifest.json"
for place in unit tmpfiles readable renamed; do
    build_and_pull "$place"
    run_fails 1 'TOKEN is a secret, and every user of the host could read it here' \
        syscontainer-checkout --set=TOKEN=hunter2 "$REGISTRY/$place"
    expect_like 'error.*readable-secret' sh -c "syscontainer-lint $REGISTRY/$place || true"
    refuse 'nothing is left' test -e "$CO/$place"
done
chmod 0600 "$WORK/readable/exports/hostfs/etc/story/token"
build_and_pull readable
check 'in a file of mode 0600 it may be' syscontainer-checkout --set=TOKEN=hunter2 "$REGISTRY/readable"
expect 'token=hunter2' cat /etc/story/token
kept_from_others readable

say 'a value that looks secret, and is not said to be, is warned of'
exports open "$(until_stopped)"
sed -i 's/^\[Service\]/&\nEnvironment=PW=$PW/' "$WORK/open/exports/service.template"
build_and_pull open
expect_like 'every user of this host can read the value of PW' sh -c "syscontainer-checkout --set=PW=hunter3 $REGISTRY/open 2>&1"
run_fails 1 'PW is a secret' syscontainer-checkout --update --secret=PW open
