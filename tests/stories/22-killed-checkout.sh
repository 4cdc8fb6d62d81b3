#!/bin/bash
# syscontainer-checkout is killed, or a call of it fails, anywhere: the same command again succeeds; a failure leaves nothing.
# Rows of tests/atomic.md: 4.F1, 4.F2, 4.F3, 4.F4, 4.F5.
. "$(dirname "$0")/lib.sh"

exports small '["true"]'
mkdir -p "$WORK/small/bin" "$WORK/small/etc" "$WORK/small/proc" "$WORK/small/dev"
cp "$(command -v busybox)" "$WORK/small/bin/true"
echo a >"$WORK/small/etc/a"
ln -s a "$WORK/small/etc/b"
echo 'd /run/small 0755 - - -' >"$WORK/small/exports/tmpfiles.template"
mkdir -p "$WORK/small/exports/hostfs/etc/small/sub"
echo a >"$WORK/small/exports/hostfs/etc/small/sub/a"
ln -s a "$WORK/small/exports/hostfs/etc/small/b"
build_and_pull small --bare
calls='rename renameat renameat2 symlink symlinkat link linkat mkdir mkdirat write pwrite64 fsync syncfs unlink unlinkat rmdir
    chmod fchmod fchown chown lchown copy_file_range utimensat fsetxattr flock ftruncate clone3 vfork wait4'
install=(syscontainer-checkout "$REGISTRY/small")
update=(syscontainer-checkout --update --set A=1 small)
remove_all() {
    forget small
    rm -rf /etc/small
}

quietly "${install[@]}" >/dev/null
snapshot >"$WORK/installed"
remove_all
quietly "${install[@]}" >/dev/null
unchanged "$WORK/installed"
remove_all
snapshot >"$WORK/none"

step=3
[ -z "$LONG" ] || step=1
seed=$((RANDOM % step + 1))
say "every $step. call of each kind, from the $seed."

# inject WHAT CALL N COMMAND…: the command with this done to its Nth CALL; sets $status.
inject() {
    local what=$1 call=$2 n=$3
    shift 3
    status=0
    strace -qq -o /dev/null -e trace="$call" -e inject="$call:$what:when=$n" "$@" >/dev/null 2>"$WORK/.err" || status=$?
} 2>/dev/null

# sweep_kills COMMAND…: from where 'before' leads to; the same command again leads to where 'after' says it is.
sweep_kills() {
    local kills=0 call n
    for call in $calls; do
        n=$seed
        while true; do
            before
            inject signal=SIGKILL "$call" "$n" "$@"
            [ "$status" != 0 ] || break
            [ "$status" = 137 ] || { shown "$WORK/.err"; fail "$call $n: status $status"; }
            "$@" >/dev/null 2>"$WORK/.err" || { shown "$WORK/.err"; fail "after a kill at $call $n"; }
            after
            [ "$(unit_property small LoadState)" = loaded ] || fail "after a kill at $call $n the unit is not loaded"
            kills=$((kills + 1)) n=$((n + step))
        done
        after
    done
    ok "killed $kills times"
    [ "$kills" -gt 10 ] || fail 'these are too few to be true'
}

# sweep_errors ERROR COMMAND…: leads to where 'after' says it is, or back to where 'as_before' does.
sweep_errors() {
    local error=$1 failures=0 successes=0 call n
    shift
    for call in $calls; do
        # Unlocking cannot fail like this.
        [ "$call" != flock ] || continue
        n=$seed
        # The first calls are those of the installation; what is beyond them is not there to fail.
        while [ "$n" -le 40 ]; do
            before
            inject "error=$error" "$call" "$n" "$@"
            # Who cannot be told is told nothing; the installation is done by then.
            ! grep -q 'cannot print' "$WORK/.err" || status=0
            case $status in
                0)
                    after
                    successes=$((successes + 1))
                    break
                    ;;
                1)
                    [ "$(grep -vc 'uses A' "$WORK/.err")" = 1 ] ||
                        { shown "$WORK/.err"; fail "$error of $call $n: more than one line"; }
                    say "$error of $call $n: $(cat "$WORK/.err")"
                    as_before
                    failures=$((failures + 1))
                    ;;
                *) shown "$WORK/.err"; fail "$error of $call $n: status $status" ;;
            esac
            n=$((n + step))
        done
    done
    ok "$error: $failures times nothing was left, $successes times it changed nothing"
    [ "$failures" -gt 10 ] || fail 'these are too few to be true'
}

say 'an installation'
before() {
    remove_all
    unchanged "$WORK/none"
}
after() { unchanged "$WORK/installed"; }
as_before() {
    unchanged "$WORK/none"
    [ "$(unit_property small LoadState)" = not-found ] || fail 'the unit is still loaded'
}
sweep_kills "${install[@]}"
for error in ENOSPC EIO; do sweep_errors $error "${install[@]}"; done

say 'an update'
# Numbers of deployments are never used twice.
snapshot_as() { snapshot | sed 's/small\.[0-9]*/small.N/g' | sort; }
before() {
    remove_all
    quietly "${install[@]}" >/dev/null
}
before
snapshot_as >"$WORK/old"
quietly "${update[@]}" >/dev/null
snapshot_as >"$WORK/new"
after() { must 'it is not as after an update' same_as "$WORK/new" snapshot_as; }
as_before() { must 'it is not as before' same_as "$WORK/old" snapshot_as; }
sweep_kills "${update[@]}"
sweep_errors ENOSPC "${update[@]}"
