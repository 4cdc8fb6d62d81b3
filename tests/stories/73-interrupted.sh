#!/bin/bash
# Switches that do not get to their end: killed at any call, stopped, at a shutdown, at a power cut; and a disk that is full.
. "$(dirname "$0")/lib.sh"

CO=/var/lib/containers/atomic
# version N [BEHAVIOUR]
version() {
    exports web "[\"sh\",\"-c\",\"trap 'exit 0' TERM; ${2-true}; sleep 1000 & wait\"]" '' '' \
        '{"destination": "/data", "type": "bind", "source": "/var/lib/web", "options": ["bind", "rw"]}'
    mkdir -p "$WORK/web/exports/hostfs/etc/web"
    echo "$1" >"$WORK/web/exports/hostfs/etc/web/version"
    build_image web "$WORK/web"
    syscontainer-pull --quiet "$REGISTRY/web" >/dev/null
}
stage() {
    version "$@"
    syscontainer-checkout --update --stage --force web >/dev/null 2>"$WORK/said" || { shown "$WORK/said"; fail 'staging'; }
}
runs() { sed -n 's/.*"deployment": *"\([^"]*\)".*/\1/p' /run/syscontainers/web/launch.json; }
is_up() { [ "$(state "$1")" = 'active running success' ] || fail "$1 is $(state "$1"), during ${call-} ${n-}: $(cat "$WORK/said")"; }
# whole: one deployment is current, registered, and runs, with its host file; sets $current.
whole() {
    current=$(readlink $CO/web)
    is_up web
    [ "$(runs)" = "$current" ] || fail "$current is current, $(runs) runs"
    grep -q "\"deployment\": \"$current\"" /etc/syscontainers/attached/web.json || fail "$current is not registered"
    cmp -s "$CO/$current/hostfs/etc/web/version" /etc/web/version || fail 'the host file is of another version'
    ! grep -q '"from"' $CO/.web.state || fail 'the switch is not over'
    [ -z "$(find $CO -maxdepth 1 -name '.web.*.new')" ] || fail 'something is left'
    [ "$(systemctl is-enabled web)" = enabled ] || fail 'it is not enabled'
    is_up needs
}
recover() { syscontainer-switch --recover web >/dev/null 2>"$WORK/said" || [ $? = 4 ] || { shown "$WORK/said"; fail recover; }; }

if [ "$BOOT" = 1 ]; then
    version 1
    syscontainer-checkout "$REGISTRY/web" >/dev/null 2>&1
    printf '%s\n' '[Unit]' 'Requires=web.service' 'After=web.service' '[Service]' 'ExecStart=/bin/sleep 1000' \
        '[Install]' WantedBy=multi-user.target >/etc/systemd/system/needs.service
    systemctl enable --quiet needs
    systemctl start web needs
    syscontainer-switch --set-soak=1 web 2>/dev/null
    whole

    say 'killed at any call'
    step=5
    [ -z "$LONG" ] || step=1
    seed=${SEED:-$((RANDOM % step + 1))}
    say "every $step. call of each kind, from the $seed."
    count=0 kills=0 old=0
    for call in renameat,rename unlink,unlinkat symlink,symlinkat fsync flock wait4 openat mkdir,mkdirat poll; do
        # The first calls of a program are the loader's, and watching is the same call again and again.
        n=$seed limit=60
        [ $call != poll ] || limit=25
        while [ "$n" -le $limit ]; do
            count=$((count + 1))
            [ "$(sed -n 's/.*"staged": "\(.*\)".*/\1/p' $CO/.web.state | xargs -I{} ls -d $CO/{} 2>/dev/null)" ] || stage "killed $count"
            before=$(readlink $CO/web) status=0
            strace -qq -o /dev/null -e trace=$call -e inject="$call:signal=SIGKILL:when=$n" syscontainer-switch --soak=0 web >/dev/null 2>&1 || status=$?
            [ $status != 0 ] || break
            [ $status = 137 ] || fail "$call $n: status $status"
            recover
            whole
            [ "$current" != "$before" ] || old=$((old + 1))
            kills=$((kills + 1)) n=$((n + step))
        done
        whole
    done
    ok "killed $kills times, $old times it is as before"
    [ $kills -gt 20 ] && [ $old -gt 10 ] || fail 'these are too few to be true'

    say 'a disk that is full'
    failures=0
    for call in fsync rename,renameat symlink,symlinkat mkdir,mkdirat; do
        for n in 1 2 3 4; do
            [ "$(sed -n 's/.*"staged": "\(.*\)".*/\1/p' $CO/.web.state | xargs -I{} ls -d $CO/{} 2>/dev/null)" ] || stage "full $call $n"
            status=0
            strace -qq -o /dev/null -e trace=$call -e inject="$call:error=ENOSPC:when=$n" syscontainer-switch --soak=0 web >/dev/null 2>"$WORK/said" || status=$?
            [ $status = 0 ] || grep -qE 'No space left' "$WORK/said" || { shown "$WORK/said"; fail "$call $n does not say why"; }
            [ $status = 0 ] || failures=$((failures + 1))
            is_up web
            recover
            whole
        done
    done
    ok "failed $failures times, and the service went on"
    [ $failures -gt 4 ] || fail 'these are too few to be true'

    say 'the unit is stopped while it watches, or killed'
    syscontainer-switch --set-soak=60 web 2>/dev/null
    for how in stop kill; do
        stage "unit $how"
        before=$(readlink $CO/web)
        systemctl start --no-block syscontainer-update@web.service
        wait_for 'it watches' bash -c "journalctl --sync; journalctl --unit=syscontainer-update@web.service --no-pager -n1 | grep 'watching it for 60 s'"
        refuse 'it is switched' [ "$(readlink $CO/web)" = "$before" ]
        case $how in
            stop) systemctl stop syscontainer-update@web.service ;;
            kill)
                systemctl kill --kill-whom=main --signal=KILL syscontainer-update@web.service
                wait_for 'it ended' ended syscontainer-update@web.service
                ;;
        esac
        expect "$before" readlink $CO/web
        whole
        refuse 'that is not the fault of the image' grep -q interrupted $CO/.web.state
    done
    say 'in a shell'
    stage shell
    before=$(readlink $CO/web)
    syscontainer-switch web 2>"$WORK/said" &
    wait_for 'it watches' grep -q watching "$WORK/said"
    kill -TERM $!
    wait $! || [ $? = 4 ] || fail 'the status is another one'
    expect_like "the update was interrupted; $before is current again" cat "$WORK/said"
    whole
    say 'killed in a shell, and the next command comes along'
    stage shell
    syscontainer-switch web 2>"$WORK/said" &
    wait_for 'it watches' grep -q watching "$WORK/said"
    kill -KILL $!
    wait $! || true
    expect_like 'a switch to .* is under way' syscontainer-list --json
    check 'which goes back first' syscontainer-checkout --update --set X=1 web
    systemctl restart web
    whole
    say 'systemd executes itself anew while it watches'
    syscontainer-switch --set-soak=3 web 2>/dev/null
    stage reexec
    syscontainer-switch web 2>"$WORK/said" &
    wait_for 'it watches' grep -q watching "$WORK/said"
    systemctl daemon-reexec
    check 'it stays' wait $!
    whole

    say 'the power fails while it watches a good version'
    syscontainer-switch --set-soak=60 web 2>/dev/null
    stage good
    readlink $CO/web >"$WORK/old"
    syscontainer-switch web 2>"$WORK/said" &
    wait_for 'it watches' grep -q watching "$WORK/said"
    sed -i 's/"soak": 60/"soak": 1/' $CO/.web.state
    cut_off
fi

if [ "$BOOT" = 2 ]; then
    wait_for 'the next boot confirms it' bash -c "! grep -q '\"from\"' $CO/.web.state"
    wait_for 'and that is over' ended syscontainer-confirm@web.service
    whole
    refuse 'it is the new one' [ "$current" = "$(cat "$WORK/old")" ]
    expect_like 'stays with it' journal_of syscontainer-confirm@web.service

    say 'the power fails while it watches one that does not survive a boot'
    readlink $CO/web >"$WORK/old"
    syscontainer-switch --set-soak=60 web 2>/dev/null
    # shellcheck disable=SC2016 # for the container
    stage bad 'if test -e /data/booted; then sleep 0.5; exit 7; fi; touch /data/booted'
    syscontainer-switch web 2>"$WORK/said" &
    wait_for 'it watches' grep -q watching "$WORK/said"
    sed -i 's/"soak": 60/"soak": 1/' $CO/.web.state
    cut_off
fi

if [ "$BOOT" = 3 ]; then
    wait_for 'this boot goes back' bash -c "[ \$(readlink $CO/web) = $(cat "$WORK/old") ]"
    wait_for 'and that is over' ended syscontainer-confirm@web.service
    expect failed unit_property syscontainer-confirm@web.service ActiveState
    whole
    expect_like '"reason": "it did not' cat $CO/.web.state

    say 'the power fails again and again'
    syscontainer-switch --set-soak=60 web 2>/dev/null
    stage unlucky
    syscontainer-switch web 2>"$WORK/said" &
    wait_for 'it watches' grep -q watching "$WORK/said"
    cut_off
fi

if [ "$BOOT" = 4 ]; then
    wait_for 'this boot watches it' bash -c "journalctl --sync; journalctl --boot --unit=syscontainer-confirm@web.service | grep 'watching it for 60 s'"
    refuse 'it is not confirmed yet' [ "$(readlink $CO/web)" = "$(cat "$WORK/old")" ]
    expect_like 'a switch to .* is under way' syscontainer-list --json
    cut_off
fi

if [ "$BOOT" = 5 ]; then
    expect "$(cat "$WORK/old")" readlink $CO/web
    whole
    expect_like 'was not confirmed in two boots' cat $CO/.web.state
    expect_like 'was not confirmed in two boots' journalctl --boot --no-pager MESSAGE_ID=090a3a8f3ef8499d8c36d375beac169f

    say 'a shutdown while it watches'
    stage shutdown
    systemctl start --no-block syscontainer-update@web.service
    wait_for 'it watches' bash -c "journalctl --sync; journalctl --boot --unit=syscontainer-update@web.service | grep 'watching it for 60 s'"
    reboot
fi

wait_for 'the boot after it watches it' bash -c "journalctl --sync; journalctl --boot --unit=syscontainer-confirm@web.service | grep 'watching it for 60 s'"
refuse 'it is the new one' [ "$(readlink $CO/web)" = "$(cat "$WORK/old")" ]
