#!/bin/bash
# Switches that do not get to their end: killed at any call, stopped, at a shutdown, at a power cut; and a disk that is full.
. "$(dirname "$0")/lib.sh"

# stage_version N [OPTION…]: as new_version makes it.
stage_version() {
    new_version web "$@" --data --host-file
    build_and_pull web
    checkout --update --stage --force web
}
# stage_if_needed N: unless something is staged still.
stage_if_needed() {
    local staged
    staged=$(sed -n 's/.*"staged": "\(.*\)".*/\1/p' $CO/.web.state)
    [ -n "$staged" ] && [ -d "$CO/$staged" ] || stage_version "$1"
}
# switch_watched: in the background, until it watches.
switch_watched() {
    rm -f "$WORK/said"
    syscontainer-switch web 2>"$WORK/said" &
    wait_for 'it watches' grep -q watching "$WORK/said"
}
# whole: web is, and what needs it runs; sets $current.
whole() {
    expect_whole web "during ${call-} ${n-}"
    expect_up needs "during ${call-} ${n-}"
}
recover() {
    syscontainer-switch --recover web >/dev/null 2>"$WORK/said" || [ $? = 4 ] ||
        { shown "$WORK/said"; fail "recover after ${call-} ${n-}"; }
}
# boot_watches: this boot has said that it watches web.
boot_watches() { journal_has syscontainer-confirm@web.service 'watching it for 60 s'; }

if [ "$BOOT" = 1 ]; then
    new_version web 1 --data --host-file
    install_image web
    cat >/etc/systemd/system/needs.service <<-'END'
		[Unit]
		Requires=web.service
		After=web.service
		[Service]
		ExecStart=/bin/sleep 100000
		[Install]
		WantedBy=multi-user.target
	END
    systemctl enable --quiet needs
    systemctl start web needs
    set_soak web 1
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
            stage_if_needed "killed $count"
            before=$(readlink $CO/web) status=0
            strace -qq -o /dev/null -e trace=$call -e inject="$call:signal=SIGKILL:when=$n" \
                syscontainer-switch --soak=0 web >/dev/null 2>&1 || status=$?
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
            stage_if_needed "full $call $n"
            status=0
            strace -qq -o /dev/null -e trace=$call -e inject="$call:error=ENOSPC:when=$n" \
                syscontainer-switch --soak=0 web >/dev/null 2>"$WORK/said" || status=$?
            [ $status = 0 ] || grep -qE 'No space left' "$WORK/said" || { shown "$WORK/said"; fail "$call $n does not say why"; }
            [ $status = 0 ] || failures=$((failures + 1))
            expect_up web "during $call $n"
            recover
            whole
        done
    done
    ok "failed $failures times, and the service went on"
    [ $failures -gt 4 ] || fail 'these are too few to be true'

    say 'the unit is stopped while it watches, or killed'
    set_soak web 60
    # update_watches: the last thing that it said is that.
    update_watches() {
        journalctl --sync
        journalctl --boot --unit=syscontainer-update@web.service --no-pager -n1 | grep 'watching it for 60 s'
    }
    for how in stop kill; do
        stage_version "unit $how"
        before=$(readlink $CO/web)
        systemctl start --no-block syscontainer-update@web.service
        wait_for 'it watches' update_watches
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
    stage_version shell
    before=$(readlink $CO/web)
    switch_watched
    kill -TERM $!
    wait $! || [ $? = 4 ] || fail 'the status is another one'
    expect_like "the switch was interrupted; $before is current again" cat "$WORK/said"
    whole
    say 'killed in a shell, and the next command comes along'
    stage_version shell
    switch_watched
    kill -KILL $!
    wait $! || true
    expect_like 'a switch to .* is in progress' syscontainer-list --json
    check 'which goes back first' syscontainer-checkout --update --set X=1 web
    systemctl restart web
    whole
    say 'systemd executes itself anew while it watches'
    set_soak web 5
    stage_version reexec
    switch_watched
    systemctl daemon-reexec
    check 'it stays' wait $!
    whole

    say 'the power fails while it watches a good version'
    set_soak web 60
    stage_version good
    readlink $CO/web >"$WORK/old"
    switch_watched
    sed -i 's/"soak": 60/"soak": 1/' $CO/.web.state
    cut_off
fi

if [ "$BOOT" = 2 ]; then
    wait_for 'the next boot confirms it' is_settled web
    wait_for 'and that is over' ended syscontainer-confirm@web.service
    whole
    refuse 'it is the new one' [ "$current" = "$(cat "$WORK/old")" ]
    expect_like 'confirmed' journal_of syscontainer-confirm@web.service

    say 'the power fails while it watches one that does not survive a boot'
    readlink $CO/web >"$WORK/old"
    set_soak web 60
    # shellcheck disable=SC2016 # for the container
    stage_version bad --first='if test -e /data/booted; then sleep 0.5; exit 7; fi; touch /data/booted'
    switch_watched
    wait_for 'it runs' test -e /var/lib/web/booted
    cut_off
fi

if [ "$BOOT" = 3 ]; then
    expect_soon "$(cat "$WORK/old")" readlink $CO/web
    wait_for 'and that is over' ended syscontainer-confirm@web.service
    expect failed unit_property syscontainer-confirm@web.service ActiveState
    whole
    expect_like '"reason": "(it did not start|the service left the active state): (failed|deactivating)' cat $CO/.web.state

    say 'the power fails again and again'
    set_soak web 60
    stage_version unlucky
    switch_watched
    cut_off
fi

if [ "$BOOT" = 4 ]; then
    wait_for 'this boot watches it' boot_watches
    refuse 'it is not confirmed yet' [ "$(readlink $CO/web)" = "$(cat "$WORK/old")" ]
    expect_like 'a switch to .* is in progress' syscontainer-list --json
    cut_off
fi

if [ "$BOOT" = 5 ]; then
    expect "$(cat "$WORK/old")" readlink $CO/web
    whole
    expect_like 'was not confirmed in two boots' cat $CO/.web.state
    expect_like 'was not confirmed in two boots' journalctl --boot --no-pager MESSAGE_ID=090a3a8f3ef8499d8c36d375beac169f

    say 'a shutdown while it watches'
    stage_version shutdown
    systemctl start --no-block syscontainer-update@web.service
    wait_for 'it watches' journal_has syscontainer-update@web.service 'watching it for 60 s'
    reboot
fi

wait_for 'the boot after it watches it' boot_watches
refuse 'it is the new one' [ "$(readlink $CO/web)" = "$(cat "$WORK/old")" ]
