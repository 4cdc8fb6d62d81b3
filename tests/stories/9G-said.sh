#!/bin/bash
# What an administrator is told in time: what is lost or kept with a failed update, what cannot be run, what is mistyped.
. "$(dirname "$0")/lib.sh"

# said_option NAME.N KEY: the value of an option of a deployment.
said_option() { tr -d '\n ' <"$CO/$1/info" | grep -oE "\"$2\":\[[^]]*\]" || echo none; }
# said_image NAME[:TAG] JSON: an image of $WORK/NAME with this configuration, which is pulled.
said_image() { build_and_pull "$1" --config="$2"; }

mkdir -p "$WORK"/{upd,cmd,ports,shell,next}
stays="{\"Cmd\": $(until_stopped)}"

for runtime in crun runc; do
    say "$runtime: an update that fails keeps what was set since the last start"
    said_image upd "$stays"
    checkout --runtime=/usr/bin/$runtime --set=NEWVAR=old "$REGISTRY/upd"
    set_soak upd 1
    check 'it starts' systemctl start upd
    expect_soon sh cat "/proc/$(unit_property upd MainPID)/comm"
    checkout --update -o HostName=foo -o Label=a=b --set=NEWVAR=new upd
    build_image upd --config='{"Cmd": ["sh", "-c", "exit 3"]}' "$WORK/upd"
    refuse 'the update fails' systemctl start syscontainer-update@upd.service
    expect_current upd.0
    expect_like 'upd.2 failed: .*; upd.0 is current again; upd.1, which was not tried yet, is staged, and the next switch tries it on its own$' \
        journal_of syscontainer-update@upd.service
    expect_like 'upd.1 \(staged\)' syscontainer-list
    expect_like '^NEWVAR=old$' main_process upd environ
    # The image failed with what is set now, so nothing but that is tried.
    ends 5 syscontainer-pull --check --container=upd
    expect_like 'staged as upd.1' cat "$WORK/printed"
    check 'the next update tries what was set' systemctl start syscontainer-update@upd.service
    expect_current upd.1
    expect_like '^NEWVAR=new$' main_process upd environ
    expect '"HostName":["foo"]' said_option upd.1 HostName
    expect foo nsenter --target="$(unit_property upd MainPID)" --uts hostname
    mark_journal
    check 'the one after that does nothing' systemctl start syscontainer-update@upd.service
    expect_current upd.1
    expect_like 'skipping .* which was tried before and failed' said_since upd

    say "$runtime: what is gone with a deployment that fails is named"
    said_image upd "$stays"
    checkout --update --stage -o Exec=false -o 'Environment=PW=hidden' --set=SECOND=x upd
    ends 4 syscontainer-switch upd
    expect_like '; upd.1 is current again; what was set for upd.[0-9] is gone with it: SECOND, Environment=, Exec=$' cat "$WORK/said"
    expect_no 'hidden|staged' cat "$WORK/said"
    systemctl reset-failed
    check 'removed' syscontainer-remove --purge upd
done

say 'commands that cannot be run'
printf '#!/bin/sh\necho plain\n' >"$WORK/cmd/plain"
printf '#!/bin/nosuch\n' >"$WORK/cmd/nosuch"
printf '#!/bin/sh\r\necho hi\r\n' >"$WORK/cmd/crlf"
printf '#!/bin/sh\necho it runs\n' >"$WORK/cmd/good"
chmod 755 "$WORK"/cmd/{nosuch,crlf,good}
mkdir -p "$WORK/cmd/usr/local/bin"
ln -s ../../../good "$WORK/cmd/usr/local/bin/linked"
# said_command NAME JSON ERE: the command of an image cannot be run, which is told by installation and lint; ERE is empty
# for one that can.
said_command() {
    local runtime
    said_image cmd "{\"Entrypoint\": $2, \"WorkingDir\": \"/srv\"}"
    checkout --name="$1" "$REGISTRY/cmd"
    syscontainer-lint "docker://$REGISTRY/cmd" >"$WORK/linted" 2>&1 || true
    if [ -n "$3" ]; then
        expect_like "^syscontainer-checkout: $1 cannot start with 127.0.0.1:5000/cmd:latest: its command $3" cat "$WORK/said"
        expect_like "error: its command $3.* \[command\]$" cat "$WORK/linted"
    else
        expect_no 'cannot start' cat "$WORK/said"
        expect_no '\[command\]' cat "$WORK/linted"
    fi
    # It is as it says.
    for runtime in crun runc; do
        [ "$runtime" = crun ] || checkout --update --runtime=/usr/bin/$runtime "$1"
        mark_journal
        systemctl start "$1" >"$WORK/.checked" 2>&1 || true
        if [ -n "$3" ]; then
            wait_for "$runtime does not run it" has_said "$1" 'Failed with result'
            expect_no 'it runs' said_since "$1"
        else
            wait_for "$runtime runs it" has_said "$1" '^it runs$'
        fi
        systemctl stop "$1"
        systemctl reset-failed "$1" 2>/dev/null || true
    done
    syscontainer-remove --purge "$1" 2>/dev/null
}
said_command nothere '["/no/such"]' '/no/such is not in it'
said_command notexec '["/plain"]' '/plain is not executable'
said_command isdir '["/usr"]' '/usr is a directory'
said_command badinterp '["/nosuch"]' '/nosuch needs /bin/nosuch, which is not in it'
said_command crlf '["/crlf"]' '/crlf has a first line that ends in CR LF, and so no interpreter'
said_command bare '["nowhere"]' 'nowhere is not in any directory of its PATH, "/usr/local/sbin:'
said_command good '["/good"]' ''
said_command linked '["linked"]' ''
said_command relative '["../good"]' ''
# What a volume brings is not the image's.
mkdir -p /srv/said
cp "$WORK/cmd/good" /srv/said/
said_image cmd '{"Entrypoint": ["/no/good"]}'
checkout --name=brought -o Volume=/srv/said:/no "$REGISTRY/cmd"
expect_no 'cannot start' cat "$WORK/said"
mark_journal
systemctl start brought
wait_for 'it runs' has_said brought '^it runs$'
systemctl stop brought
syscontainer-remove --purge brought 2>/dev/null

say 'a check says what an update would'
said_image next "$stays"
checkout "$REGISTRY/next"
build_image next --config="{\"Cmd\": $(until_stopped), \"WorkingDir\": \"/bin/busybox\"}" "$WORK/next"
reason='its WorkingDir "/bin/busybox" is not a directory in it'
expect_like "unusable: .*$reason" quietly syscontainer-pull --check --container=next
expect_like "\"reason\": \".*${reason//\"/..}" quietly syscontainer-pull --check --json --container=next
pull_image next
run_fails 1 "cannot update next: .*$reason" syscontainer-checkout --update next
expect_like "unusable: .*$reason" quietly syscontainer-pull --check --container=next
syscontainer-remove next 2>/dev/null

say 'options that no start could follow'
said_image next "$stays"
said_refused() { run_fails "$1" "$2" syscontainer-checkout --name=refused "${@:3}" "$REGISTRY/next"; }
said_refused 1 'cannot use the network namespace /etc/passwd: it is not a network namespace; make one with ip-netns\(8\), or change Network=' \
    -o Network=ns:/etc/passwd
# A namespace, but of another kind.
touch /run/said-uts
unshare --uts=/run/said-uts true
said_refused 1 'cannot use the network namespace /run/said-uts: it is not a network namespace' -o Network=ns:/run/said-uts
umount /run/said-uts
rm /run/said-uts
ip netns add said
checkout --name=inside -o Network=ns:/run/netns/said "$REGISTRY/next"
check 'a real one is' systemctl start inside
expect_same <(stat -L --format=%i /run/netns/said) stat -L --format=%i "/proc/$(unit_property inside MainPID)/ns/net"
systemctl stop inside
syscontainer-remove --purge inside 2>/dev/null
ip netns delete said
said_refused 1 'cannot use WorkingDir=/bin/busybox: it is not a directory in the image' -o WorkingDir=/bin/busybox
most=$(cat /proc/sys/fs/nr_open)
for limit in -1 "10:$((most + 1))"; do
    said_refused 1 "cannot set Ulimit=nofile=$limit: the kernel gives no process more than $most open files" -o "Ulimit=nofile=$limit"
    # He only finds out when it is too late.
    case $limit in -1) his=-1:-1 ;; *) his=$limit ;; esac
    ends 126 env --default-signal "${PODMAN[@]}" run --rm --network=host --cgroups=disabled --tls-verify=false \
        --ulimit="nofile=$his" "$REGISTRY/next" true
    expect_like 'RLIMIT_NOFILE' cat "$WORK/said"
done
said_refused 1 'cannot mount /var/lib/containers/atomic at /m: it is in a deployment or the image store' -o Volume=/var/lib/containers/atomic:/m
printf 'A=1\nexport D=4\n' >"$WORK/env"
said_refused 1 "cannot read the environment of $WORK/env: line 2: there is white space in the name; write NAME=VALUE" -o EnvironmentFile="$WORK/env"

say 'a comment is what podman takes for one'
printf '#A=1\n  B= 2 \n;C=3\n' >"$WORK/env"
checkout --name=env -o EnvironmentFile="$WORK/env" "$REGISTRY/next"
check 'it starts' systemctl start env
said_abc() { grep -E '^[#;]*[ABC]=' | sort; }
own_abc() { main_process env environ | said_abc; }
expect_soon $';C=3\nB= 2 ' own_abc
his=$(env --default-signal "${PODMAN[@]}" run --rm --network=host --cgroups=disabled --ulimit=host --tls-verify=false \
    --env-file="$WORK/env" "$REGISTRY/next" cat /proc/self/environ 2>/dev/null </dev/null | tr '\0' '\n' | said_abc)
expect $';C=3\nB= 2 ' printf '%s\n' "$his"
systemctl stop env
syscontainer-remove --purge env 2>/dev/null

say 'what is mistyped'
said_refused 2 'there is no key "Foo"; see KEYS in syscontainer-checkout\(8\)$' -o Foo=1
said_refused 2 'invalid StopTimeout=x: .*; see KEYS in syscontainer-checkout\(8\)$' -o StopTimeout=x
run_fails 2 'there is no key "Foo"; see KEYS in syscontainer-checkout\(8\)$' syscontainer-lint -o Foo=1 .
said_refused 2 "see 'syscontainer-checkout --help'$" --foo
checkout --name=typed --set=A=1 -o HostName=x "$REGISTRY/next"
run_fails 1 "cannot unset HostName: it is a key, not a variable; use '-o HostName='" syscontainer-checkout --update --unset HostName typed
run_fails 1 'cannot unset NOSUCH: it is not set; what is set: A' syscontainer-checkout --update --unset NOSUCH typed
checkout --update --unset A -o HostName= typed
expect none said_option typed.1 HostName
syscontainer-remove --purge typed 2>/dev/null

say 'ports that are none'
said_image ports "{\"Cmd\": $(until_stopped), \"ExposedPorts\": {\"\": {}, \"99999/tcp\": {}, \"http\": {}, \"8000-8010/tcp\": {}, \"53/udp\": {}}}"
checkout "$REGISTRY/ports"
expect_like 'may listen on 53/udp, 8000-8010/tcp on all of its addresses' cat "$WORK/said"
expect_like 'exposes "", "99999/tcp", "http", which is not a port; ignoring it' cat "$WORK/said"
expect_like 'warning: "", "99999/tcp", "http" is exposed, but is not a port \[impossible-port\]' syscontainer-lint "docker://$REGISTRY/ports"
syscontainer-remove --purge ports 2>/dev/null

say 'archives without the image'
skopeo copy --quiet "docker://$REGISTRY/next" "docker-archive:$WORK/d.tar:acme/da:7"
skopeo copy --quiet "docker://$REGISTRY/next" "oci-archive:$WORK/o.tar:v1"
for option in --quiet --check; do
    run_fails 1 "there is no image nosuch:1 in $WORK/d.tar, but (docker.io/)?acme/da:7$" syscontainer-pull $option "docker-archive:$WORK/d.tar:nosuch:1"
    run_fails 1 "cannot open oci-archive:$WORK/o.tar:zz: .*\"zz\"$" syscontainer-pull $option "oci-archive:$WORK/o.tar:zz"
    expect_no '/tmp|\.storage' cat "$WORK/.err"
done
expect_like "acme/da:7 " syscontainer-pull --quiet "docker-archive:$WORK/d.tar:acme/da:7"

say 'a shell in a container, as the manual page has it'
said_image shell "$stays"
# Nobody types anything, nor its end.
mkfifo "$WORK/typed"
exec {typed}<>"$WORK/typed"
for runtime in crun runc; do
    for private in no yes; do
        name=web-$runtime-$private
        checkout --name="$name" --runtime=/usr/bin/$runtime "$REGISTRY/shell"
        if [ $private = yes ]; then
            mkdir -p "/etc/systemd/system/$name.service.d"
            printf '[Service]\nPrivateTmp=yes\n' >"/etc/systemd/system/$name.service.d/private.conf"
            systemctl daemon-reload
        fi
        check "$name starts" systemctl start "$name"
        # A unit is active a moment before its payload is executed.
        expect_soon sh cat "/proc/$(unit_property "$name" MainPID)/comm"
        command=$(sed -n "s/^\($runtime .* exec .*\) web sh$/\1/p" /src/units/syscontainers.7)
        command="${command//\\/} $name sh -c 'tty; grep -E \"^(CapEff|CapBnd|Seccomp|NoNewPrivs):\" /proc/self/status; ls /'"
        # Where a login has a directory of its own.
        XDG_RUNTIME_DIR=/run/user/0 script --quiet --return --command "$command" /dev/null <&"$typed" | tr -d '\r' >"$WORK/inside"
        expect_like '^/dev/pts/[0-9]+$' cat "$WORK/inside"
        expect_same <(grep -E '^(CapEff|CapBnd|Seccomp|NoNewPrivs):' "/proc/$(unit_property "$name" MainPID)/status") \
            grep -E '^(CapEff|CapBnd|Seccomp|NoNewPrivs):' "$WORK/inside"
        expect_like 'busybox|bin' cat "$WORK/inside"
        command=$(sed -n 's/^\(nsenter .*\)$/\1/p' /src/units/syscontainers.7)
        command=${command//\\/}
        expect_like ':5000 ' bash -c "${command//web/$name}"
        systemctl stop "$name"
        syscontainer-remove --purge "$name" 2>/dev/null
        rm -rf "/etc/systemd/system/$name.service.d"
    done
done
systemctl daemon-reload
exec {typed}>&-
rm -rf /srv/said
