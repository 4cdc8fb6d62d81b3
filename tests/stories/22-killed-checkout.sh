#!/bin/bash
# syscontainer-checkout is killed, or a call of it fails, anywhere: the same command again succeeds; a failure leaves nothing.
. "$(dirname "$0")/lib.sh"

exports small '["true"]'
mkdir -p "$WORK/small/etc" "$WORK/small/proc" "$WORK/small/dev"
echo a >"$WORK/small/etc/a"
ln -s a "$WORK/small/etc/b"
echo 'd /run/small 0755 - - -' >"$WORK/small/exports/tmpfiles.template"
build_image small --bare "$WORK/small"
syscontainer-pull --quiet "$REGISTRY/small" >/dev/null
checkout() { syscontainer-checkout "$REGISTRY/small"; }
calls='rename renameat renameat2 symlink symlinkat link linkat mkdir mkdirat write pwrite64 fsync syncfs unlink unlinkat rmdir
    chmod fchmod fchown flock ftruncate clone3 vfork wait4'

checkout >/dev/null 2>&1
snapshot >"$WORK/installed"
forget small
checkout >/dev/null 2>&1
unchanged "$WORK/installed"
forget small
snapshot >"$WORK/none"

step=3
[ -z "$LONG" ] || step=1
seed=$((RANDOM % step + 1))
say "every $step. call of each kind, from the $seed."

# inject WHAT CALL N: checkout with this done to its Nth CALL; sets $status.
inject() {
    status=0
    strace -qq -o /dev/null -e trace="$2" -e inject="$2:$1:when=$3" syscontainer-checkout "$REGISTRY/small" \
        >/dev/null 2>"$WORK/.err" || status=$?
} 2>/dev/null

kills=0
for call in $calls; do
    n=$seed
    while true; do
        inject signal=SIGKILL "$call" "$n"
        [ "$status" != 0 ] || break
        [ "$status" = 137 ] || { shown "$WORK/.err"; fail "$call $n: status $status"; }
        checkout >/dev/null 2>"$WORK/.err" || { shown "$WORK/.err"; fail "after a kill at $call $n"; }
        unchanged "$WORK/installed"
        [ "$(unit_property small LoadState)" = loaded ] || fail "after a kill at $call $n the unit is not loaded"
        forget small
        unchanged "$WORK/none"
        kills=$((kills + 1)) n=$((n + step))
    done
    unchanged "$WORK/installed"
    forget small
done
ok "killed $kills times"
[ "$kills" -gt 10 ] || fail 'these are too few to be true'

for error in ENOSPC EIO; do
    failures=0 successes=0
    for call in $calls; do
        # Unlocking cannot fail like this.
        [ "$call" != flock ] || continue
        n=$seed
        # The first calls are those of the installation; what is beyond them is not there to fail.
        while [ "$n" -le 40 ]; do
            inject error=$error "$call" "$n"
            # Who cannot be told is told nothing; the installation is done by then.
            ! grep -q 'cannot print' "$WORK/.err" || status=0
            case $status in
                0)
                    unchanged "$WORK/installed"
                    forget small
                    successes=$((successes + 1))
                    break
                    ;;
                1)
                    [ "$(wc -l <"$WORK/.err")" = 1 ] || { shown "$WORK/.err"; fail "$error of $call $n: more than one line"; }
                    say "$error of $call $n: $(cat "$WORK/.err")"
                    unchanged "$WORK/none"
                    [ "$(unit_property small LoadState)" = not-found ] || fail "$error of $call $n: the unit is still loaded"
                    failures=$((failures + 1))
                    ;;
                *) shown "$WORK/.err"; fail "$error of $call $n: status $status" ;;
            esac
            n=$((n + step))
        done
    done
    ok "$error: $failures times nothing was left, $successes times it changed nothing"
    [ "$failures" -gt 10 ] || fail 'these are too few to be true'
done
