#!/bin/bash
# syscontainer-prune: what nothing uses goes, and of everything else it says why it stays; beside pulls, on a full disk, killed.
. "$(dirname "$0")/lib.sh"

prune() { syscontainer-prune "$@" >"$WORK/pruned" 2>"$WORK/said"; }
pull_to() { syscontainer-pull --quiet --repo="$1" "$REGISTRY/$2" >/dev/null; }
# ref_file NAME [TAG]: the file of the image's ref.
ref_file() { printf '%s/refs/heads/ociimage/127.0.0.1_3A5000_2F%s_3A%s' $STORE "$1" "${2-latest}"; }
# age NAME DAYS: as if the image had been pulled so long ago.
age() { touch -d "$2 days ago" "$(ref_file "$1")"; }
# said ERE: the last prune printed such a line.
said() { expect_like "^$1\$" cat "$WORK/pruned"; }

# layered_image NAME[:TAG] VERSION: with a layer of its own above one that all share.
mkdir -p "$WORK/shared/srv"
head -c 200000 /dev/urandom >"$WORK/shared/srv/shared"
layered_image() {
    local directory=${1%:*}
    exports "$directory" "$(until_stopped)"
    mkdir -p "$WORK/$directory/srv"
    { head -c 100000 /dev/urandom; echo "$2"; } >"$WORK/$directory/srv/own"
    build_image "$1" "$WORK/shared" "$WORK/$directory"
    pull_image "$1"
}

say 'nothing is there'
expect 'freed 0 B' syscontainer-prune
run_fails 3 'there is no image store' syscontainer-prune x
run_fails 1 "none yet" syscontainer-prune --repo=/nowhere x

say 'images: used, new, old'
for name in used fresh old renewed; do layered_image $name 1; done
checkout "$REGISTRY/used"
for name in used old renewed; do age $name 8; done
pull_image renewed
repository_files $STORE >"$WORK/before"
check 'a dry run' prune --dry-run --explain
said "would remove image $REGISTRY/old:latest: nothing uses it, and it was pulled 8 days ago"
expect 2 grep -c 'would remove' "$WORK/pruned"
bytes=$(syscontainer-prune --dry-run --json | sed -n 's/^  "bytes": //p')
would=$(sed -n 's/^would free //p' "$WORK/pruned")
expect_same "$WORK/before" repository_files $STORE
age fresh 0
check 'a prune' prune --explain
said "removed image $REGISTRY/old:latest: nothing uses it, and it was pulled 8 days ago"
said "kept image $REGISTRY/used:latest: it is used by used.0"
said "kept image $REGISTRY/fresh:latest: nothing uses it, but it was pulled [0-9]* seconds ago, and images are kept for 7 days"
said "kept image $REGISTRY/renewed:latest: nothing uses it, but .*"
said 'kept deployment used.0: it is current'
expect "freed $would" grep freed "$WORK/pruned"
[ "$bytes" -gt 100000 ] && [ "$bytes" -lt 110000 ] || fail "$bytes bytes"
store_is_sound
# What is left is what it names: by lists that are made without it.
ostree --repo=$STORE refs | sort >"$WORK/refs"
sed -n 's/^kept layer sha256:\([0-9a-f]*\): of image .*/ociimage\/\1/p; s/^kept image \([^ ]*\): .*/\1/p' "$WORK/pruned" |
    sed 's/^127/ociimage\/127/; /5000/ { s/ociimage\//=/; s/\//_2F/g; s/:/_3A/g; s/=/ociimage\// }' | sort >"$WORK/named"
say 'every ref is explained'
expect_same "$WORK/refs" cat "$WORK/named"
check 'another image can be pulled' pull_image old
checkout "$REGISTRY/fresh"

say 'images that are named'
run_fails 1 "cannot remove image $REGISTRY/used:latest: it is used by used.0; remove or update that first" \
    syscontainer-prune "$REGISTRY/old" "$REGISTRY/used"
run_fails 3 "cannot remove image $REGISTRY/none:latest: it is not in $STORE" syscontainer-prune "$REGISTRY/old" "$REGISTRY/none"
run_fails 2 'invalid image reference' syscontainer-prune 'a b'
run_fails 2 'invalid time span "x"' syscontainer-prune --keep-for=x
check 'they are there' test -e "$(ref_file old)"
check 'one goes' prune --explain "$REGISTRY/old"
said "removed image $REGISTRY/old:latest: as requested"
said "kept image $REGISTRY/renewed:latest: its removal was not requested"
refuse 'it is gone' test -e "$(ref_file old)"
check 'with --keep-for, more goes' prune --keep-for=0
said "removed image $REGISTRY/renewed:latest: nothing uses it, and it was pulled [0-9]* [a-z]* ago"
check 'the used ones stay' test -e "$(ref_file used)" -a -e "$(ref_file fresh)"
store_is_sound

say 'deployments'
layered_image thing 1
checkout "$REGISTRY/thing"
systemctl start thing
for version in 2 3 4; do
    layered_image thing $version
    checkout --update thing
done
expect 'thing thing.0 thing.2 thing.3' names_in $CO 'thing*'
check 'a prune' prune --explain --keep-for=0
said 'kept deployment thing.0: it is running'
said 'kept deployment thing.2: it is the one to roll back to'
said 'kept deployment thing.3: it is current'
expect 'active running success' state thing
systemctl restart thing
# Something is mounted in it.
mkdir "$CO/thing.0/rootfs/mnt" "$WORK/precious"
touch "$WORK/precious/file"
mount --bind "$WORK/precious" "$CO/thing.0/rootfs/mnt"
check 'a prune' prune --explain
said "kept deployment thing.0: $CO/thing.0/rootfs/mnt is a mount point; unmount that first"
run_fails 1 'thing.0/rootfs/mnt is a mount point; unmount that first' syscontainer-remove thing
check 'it is there, and what is mounted' test -e "$CO/thing.0/rootfs/mnt/file" -a -L $CO/thing
umount "$CO/thing.0/rootfs/mnt"
check 'a prune' prune
said 'removed deployment thing.0: nothing uses it'
expect 'thing thing.2 thing.3' names_in $CO 'thing*'
systemctl start thing

say 'what killed programs left'
mkdir -p $CO/.thing.7.new/rootfs $CO/.thing.1.old $CO/gone.3/rootfs $CO/.gone.4.new $CO/.lost.scratch/upper
mkdir -p $STORE/tmp/syscontainers-12345 $STORE/tmp/syscontainers-6/blobs
echo '{"image": "x:1", "digest": "sha256:0"}' >$CO/gone.3/info
head -c 5000 /dev/zero >$STORE/tmp/syscontainers-6/blobs/x
mkdir "$WORK/elsewhere"
touch "$WORK/elsewhere/file" $CO/odd+file
ln -s "$WORK/elsewhere" $STORE/tmp/syscontainers-7
# libostree writes refs under such names first.
cp "$(ref_file used)" $STORE/refs/heads/ociimage/tmp.AbCd12
mkdir -p $STORE/objects/ab
touch $STORE/objects/ab/tmp.AbCd12
touch -d '2 days ago' $STORE/objects/ab/tmp.AbCd34
# Killed while it writes objects.
mkfifo "$WORK/fifo"
strace -f -qq -o /dev/null -e trace=syncfs -e inject=syncfs:signal=KILL \
    syscontainer-pull --quiet "$REGISTRY/old" >/dev/null 2>&1 || true
check 'objects are left' bash -c "ls -d $STORE/tmp/staging-*-??????"
check 'a dry run' prune --dry-run --explain
would=$(sed -n 's/^would free //p' "$WORK/pruned")
check 'a prune' prune --explain
expect "freed $would" grep freed "$WORK/pruned"
for path in $CO/.thing.7.new $CO/.thing.1.old $CO/.gone.4.new $CO/.lost.scratch \
    $STORE/tmp/syscontainers-{12345,6,7} $STORE/objects/ab/tmp.AbCd34; do
    said "removed leftover $path: .*"
    refuse 'it is gone' test -e "$path" -o -L "$path"
done
said 'removed leftover ociimage/tmp.AbCd12: a program was killed while it wrote a ref'
said 'removed deployment gone.3: its container is not installed'
said "removed leftover $STORE/tmp/staging-.*: a pull was killed or failed while it wrote objects"
said "kept file $CO/odd.file: it belongs to no container"
check 'nothing was followed' test -e "$WORK/elsewhere/file"
expect '' bash -c "ls $STORE/tmp | grep -v '^cache\$' || true"
rm $STORE/objects/ab/tmp.AbCd12 $CO/odd+file
# Every deployment and file is named.
check 'a prune' prune --explain
expect "$(cd $CO && printf '%s\n' *.[0-9])" sed -n 's/^kept deployment \([^:]*\):.*/\1/p' "$WORK/pruned"

say 'whatever a killed pull left'
mkdir -p "$WORK"/many/srv/{a,b}/{x,y}
for directory in "$WORK"/many/srv/*/*; do echo "$directory" >"$directory/file"; done
"$TESTS/build-image" "$WORK/many.oci:latest" "$WORK/shared" "$WORK/many" >/dev/null
ostree init --repo="$WORK/empty" --mode=bare
chmod 0700 "$WORK/empty"
repository_files "$WORK/empty" >"$WORK/before"
places=rename,renameat,renameat2,linkat
kills=0
while true; do
    rm -rf "$WORK/cut"
    cp -a "$WORK/empty" "$WORK/cut"
    status=0
    {
        strace -f -qq -o /dev/null -e trace=$places -e inject="$places:signal=KILL:when=$((kills + 1))" \
            syscontainer-pull --quiet --repo="$WORK/cut" "oci:$WORK/many.oci" >/dev/null 2>&1 || status=$?
    } 2>/dev/null
    [ $status != 0 ] || break
    prune --repo="$WORK/cut" --keep-for=0 || { shown "$WORK/said"; fail "a prune after kill $kills"; }
    must "what is left after kill $kills" same_as "$WORK/before" repository_files "$WORK/cut"
    kills=$((kills + 1))
done
ok "killed $kills times, nothing was left after a prune"
[ $kills -gt 10 ] || fail 'these are too few to be true'

say 'bad input'
cp $CO/used.0/info "$WORK/info"
echo '{' >$CO/used.0/info
age used 9
pull_image old
age old 9
check 'of an info that cannot be read' prune --explain
expect_like 'keeping all images, since deployment used.0 may use any of them' cat "$WORK/said"
said "kept image $REGISTRY/old:latest: deployment used.0 cannot be read and may use it"
run_fails 1 'deployment used.0 cannot be read and may use it' syscontainer-prune "$REGISTRY/old"
cp "$WORK/info" $CO/used.0/info
ln -s "$WORK/elsewhere" $CO/used.1
ln -s "$WORK/elsewhere" $CO/stray.0
ln -s "$WORK/elsewhere" $CO/.stray.1.new
mkdir -p $CO/solid $CO/solid.4/rootfs
ln -s "$WORK" $CO/astray
mkdir -p $CO/astray.0/rootfs
check 'of symlinks and directories in each other'"'"'s place' prune --explain
said "kept file $CO/used.1: it is not a deployment; remove it by hand"
said "kept file $CO/stray.0: it is not a deployment; remove it by hand"
said 'kept file solid: it is in the way: it is not a link to a deployment'
said 'kept deployment solid.4: solid is in the way: it is not a link to a deployment'
said 'kept deployment astray.0: .*astray is not a link to a deployment of astray'
check 'nothing was followed' test -e "$WORK/elsewhere/file"
rm -rf $CO/{used.1,stray.0,.stray.1.new,solid,solid.4,astray,astray.0}
check 'afterwards' prune
said "removed image $REGISTRY/old:latest: nothing uses it, and it was pulled 9 days ago"
ostree init --repo="$WORK/archive" --mode=archive
chmod 0700 "$WORK/archive"
run_fails 1 'the mode of the repository is not bare' syscontainer-prune --repo="$WORK/archive" "$REGISTRY/old"
refuse 'a repository of another mode' prune --repo="$WORK/archive"
expect_like 'the mode of the repository is not bare' cat "$WORK/said"
ostree init --repo="$WORK/theirs" --mode=bare
chmod 0700 "$WORK/theirs"
chown -R 1000 "$WORK/theirs"
refuse 'a repository of another owner' prune --repo="$WORK/theirs"
expect_like "cannot use the image store $WORK/theirs: it belongs to user 1000, and this is user 0; .*'chown -R 0 $WORK/theirs'" cat "$WORK/said"
refuse 'what is no repository' prune --repo="$WORK/elsewhere"
expect_like 'cannot open the image store' cat "$WORK/said"
mv $STORE "$WORK/moved"
mv "$WORK/moved" $CO/.storage/real
ln -s real $STORE
check 'a link to the repository' prune --explain
said "kept image $REGISTRY/used:latest: it is used by used.0"
rm $STORE
mv $CO/.storage/real $STORE

say 'of a ref that is damaged'
ref=$(find $STORE/refs/heads/ociimage -name '*_3Alatest' | head -n1)
cp "$ref" "$WORK/ref"
: >"$ref"
refuse 'it is told' syscontainer-prune
cp "$WORK/ref" "$ref"
check 'nothing it leads to is gone' ostree --repo=$STORE fsck --quiet

say 'a repository that is shared with others'
shared=$WORK/repository
ostree init --repo="$shared" --mode=bare
chmod 0700 "$shared"
SWEPT+=("$shared")
for version in 1 2; do
    echo $version >"$WORK/shared/srv/version"
    ostree commit --repo="$shared" --branch=ostree/0/1/0 "$WORK/shared" >/dev/null
done
ostree commit --repo="$shared" --branch=ociimage/odd_ZZ "$WORK/shared" >/dev/null
rm "$WORK/shared/srv/version"
repository_files "$shared" >"$WORK/before"
for name in used old; do pull_to "$shared" $name; done
check 'a prune' prune --repo="$shared" --keep-for=0 --explain
said 'kept ref ostree/0/1/0: it belongs to another program'
said 'kept ref ociimage/odd_ZZ: its name has an unknown form'
said "removed image $REGISTRY/old:latest: .*"
# A container was made of the other one, by its name.
said "kept image $REGISTRY/used:latest: it is used by used.0"
# Where nothing of it is to be seen, its registration still says so.
ATOMIC_OSTREE_CHECKOUT_PATH=/nowhere prune --repo="$shared" --keep-for=0 --explain
said "kept image $REGISTRY/used:latest: it is used by used.0"
ostree --repo="$shared" refs --delete "$(ostree --repo="$shared" refs | grep '_2Fused_3Alatest$')"
check 'without its name, it goes' prune --repo="$shared" --keep-for=0
say 'what is theirs is as it was, history too'
expect_same "$WORK/before" repository_files "$shared"
store_is_sound "$shared"
# Somebody else is at work in it.
ostree --repo="$shared" config set core.lock-timeout-secs 1
pull_to "$shared" old
ostree --repo="$shared" commit --branch=foreign --tree=tar="$WORK/fifo" >/dev/null &
exec 7>"$WORK/fifo"
wait_for 'a transaction' bash -c "ls -d $shared/tmp/staging-*-??????"
refuse 'a prune cannot remove objects then' prune --repo="$shared" --keep-for=0 --explain
said "removed image $REGISTRY/old:latest: .*"
said "kept leftover $shared/tmp/staging-.*: another program is using it"
expect_like "cannot remove objects from $shared: .*[Ll]ock" cat "$WORK/said"
tar -C "$WORK/shared" -c . >&7
exec 7>&-
wait $!
check 'then it can' prune --repo="$shared"
expect_like 'freed [1-9]' cat "$WORK/pruned"
expect_like version ostree --repo="$shared" ls -R ostree/0/1/0
expect_like shared ostree --repo="$shared" ls -R foreign
store_is_sound "$shared"

say 'waiting'
# hold [OPTION]: has another process take flock's lock of the store, until 'release'; sets $holder.
mkfifo "$WORK/hold"
hold() {
    rm -f "$WORK/held"
    flock "$@" $STORE bash -c "touch '$WORK/held'; read -r <'$WORK/hold'" &
    holder=$!
    wait_for 'somebody else has the lock' test -e "$WORK/held"
}
release() {
    echo >"$WORK/hold"
    wait "$holder"
}
# waits PID FILE LINE: that process says so in FILE, and goes on waiting.
waits() {
    wait_for "it says that it waits" grep -qxF "$3" "$2"
    check 'and does' kill -0 "$1"
}
for_pulls='syscontainer-prune: waiting for pulls and checkouts to finish'
for_prune='syscontainer-pull: waiting for a prune of the store to finish'
hold --shared
rm "$WORK/said"
prune &
pruning=$!
waits $pruning "$WORK/said" "$for_pulls"
release
check 'then it prunes' wait $pruning
expect "$for_pulls" cat "$WORK/said"
hold
syscontainer-pull --quiet "$REGISTRY/used" >/dev/null 2>"$WORK/pulling" &
pulling=$!
waits $pulling "$WORK/pulling" "$for_prune"
release
check 'then it pulls' wait $pulling
expect "$for_prune" cat "$WORK/pulling"
# A prune that waits holds newcomers back, but not forever.
hold --shared
rm "$WORK/said"
prune &
pruning=$!
waits $pruning "$WORK/said" "$for_pulls"
# is_held_back: one that comes when newcomers are let through is not.
is_held_back() {
    syscontainer-pull --quiet "$REGISTRY/used" >/dev/null 2>"$WORK/pulling" || touch "$WORK/failed"
    grep -qxF "$for_prune" "$WORK/pulling"
}
wait_for 'a pull waits for a prune that waits, and goes on' is_held_back
refuse 'none has failed' test -e "$WORK/failed"
check 'the prune still waits' kill -0 $pruning
release
check 'and goes on when it can' wait $pruning
# A lock ends with its process, and with those that have it from there.
hold --close
kill -KILL $holder
wait $holder || true
check 'a prune does not wait for a killed one' timeout 300 syscontainer-prune
release || true

say 'beside pulls'
wanted=15
[ -z "$LONG" ] || wanted=100
rm -f "$WORK/enough"
(
    pulls=0
    until [ -e "$WORK/enough" ]; do
        for name in old renewed; do syscontainer-pull --quiet "$REGISTRY/$name" >/dev/null || exit 1; done
        pulls=$((pulls + 2))
        echo $pulls >"$WORK/pulls"
    done
) 2>"$WORK/pulling" &
pulling=$! prunes=0
echo 0 >"$WORK/pulls"
until [ $prunes -ge $wanted ] && [ "$(cat "$WORK/pulls")" -ge $wanted ]; do
    must 'a prune beside pulls' syscontainer-prune --keep-for=0
    prunes=$((prunes + 1))
    kill -0 $pulling 2>/dev/null || break
done
touch "$WORK/enough"
wait $pulling || { shown "$WORK/pulling"; fail 'a pull beside prunes'; }
ok "$prunes prunes beside $(cat "$WORK/pulls") pulls"
store_is_sound
pull_image old
checkout --name=beside "$REGISTRY/old"
check 'its files are whole' cmp "$WORK/old/srv/own" $CO/beside/rootfs/srv/own
syscontainer-remove beside 2>/dev/null

say 'killed'
step=5
[ -z "$LONG" ] || step=1
kills=0
rm -rf "$WORK/template" "$WORK/killed"
for name in used old; do pull_to "$WORK/template" $name; done
mkdir "$WORK/template/tmp/syscontainers-1"
export ATOMIC_OSTREE_CHECKOUT_PATH=/nowhere
cp -a "$WORK/template" "$WORK/killed"
prune --repo="$WORK/killed" "$REGISTRY/old"
repository_files "$WORK/killed" >"$WORK/after"
for call in unlinkat,unlink,rmdir flock fcntl utimensat openat; do
    n=$((RANDOM % step + 1))
    while true; do
        rm -rf "$WORK/killed"
        cp -a "$WORK/template" "$WORK/killed"
        status=0
        {
            strace -qq -o /dev/null -e trace="$call" -e inject="$call:signal=KILL:when=$n" \
                syscontainer-prune --repo="$WORK/killed" "$REGISTRY/old" >/dev/null 2>"$WORK/said" || status=$?
        } 2>/dev/null
        [ $status != 0 ] || break
        [ $status = 137 ] || { shown "$WORK/said"; fail "$call $n: status $status"; }
        must "fsck after a kill at $call $n" ostree --repo="$WORK/killed" fsck --quiet
        # Whatever it got to: with its name, if it is there, or without.
        prune --repo="$WORK/killed" "$REGISTRY/old" || prune --repo="$WORK/killed" ||
            { shown "$WORK/said"; fail "after a kill at $call $n"; }
        must "after a kill at $call $n" same_as "$WORK/after" repository_files "$WORK/killed"
        kills=$((kills + 1)) n=$((n + step))
        [ "$call" != openat ] || n=$((n + 10 * step))
    done
done
unset ATOMIC_OSTREE_CHECKOUT_PATH
ok "killed $kills times, the same again did the rest"
[ $kills -gt 10 ] || fail 'these are too few to be true'

say 'a full disk'
small_disk 32M
pull_to "$WORK/disk/repo" old
cat /dev/zero >"$WORK/disk/fill" 2>/dev/null || true
refuse 'there is no space' bash -c "head -c 65536 /dev/zero >'$WORK/disk/more'"
rm -f "$WORK/disk/more"
cat /dev/zero >>"$WORK/disk/fill" 2>/dev/null || true
check 'a prune' prune --repo="$WORK/disk/repo" --keep-for=0
expect_like 'freed [1-9][0-9.]+ [KM]iB' cat "$WORK/pruned"
check 'there is space' bash -c "head -c 65536 /dev/zero >'$WORK/disk/more'"
store_is_sound "$WORK/disk/repo"
umount "$WORK/disk"

say 'its unit and timer'
# It also says something of units without their generated bodies.
verify() { systemd-analyze --man=no verify /usr/lib/systemd/system/syscontainer-prune.{service,timer} 2>&1 || true; }
expect_no prune verify
age old 9
pull_image old
age old 9
mkdir -p $CO/left.0/rootfs
check 'it runs' systemctl start syscontainer-prune
for line in 'removed deployment left.0: its container is not installed' "removed image $REGISTRY/old:latest: " \
    'freed [1-9][0-9.]* [KM]iB'; do
    expect_like "^$line" journal_of syscontainer-prune
done
check 'the timer is enabled' systemctl --quiet enable --now syscontainer-prune.timer
expect active unit_property syscontainer-prune.timer ActiveState

say 'another root'
unpacked_tree
mkdir -p "$tree"/usr/lib/{systemd/system,containers/atomic/came.0}
for name in used fresh old; do syscontainer-pull --quiet --root="$tree" "$REGISTRY/$name" >/dev/null; done
checkout --root="$tree" "$REGISTRY/used"
printf '{"image": "%s/fresh:latest", "ostree-commit": ""}' "$REGISTRY" >"$tree/usr/lib/containers/atomic/came.0/info"
mkdir -p "$tree/var/lib/containers/atomic/used.7/rootfs" "$tree/var/lib/containers/atomic/used.8/rootfs"
cp "$tree/var/lib/containers/atomic/used.0/info" "$tree/var/lib/containers/atomic/used.8/"
check 'a prune' prune --root="$tree" --keep-for=0 --explain
said "removed image $REGISTRY/old:latest: .*"
said "kept image $REGISTRY/fresh:latest: it is used by /usr/lib/containers/atomic/came.0"
said 'kept deployment /usr/lib/containers/atomic/came.0: it came with the system'
said 'removed deployment used.7: nothing uses it'
check 'this one is as it was' test -e $CO/used.0
