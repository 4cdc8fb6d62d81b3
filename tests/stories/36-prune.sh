#!/bin/bash
# syscontainer-prune: what nothing uses goes, and of everything else it says why it stays; beside pulls, on a full disk, killed.
. "$(dirname "$0")/lib.sh"

CO=/var/lib/containers/atomic
REPO=$CO/.storage/ostree
prune() { syscontainer-prune "$@" >"$WORK/pruned" 2>"$WORK/messages"; }
pull() { syscontainer-pull --quiet "$@" >/dev/null; }
ref() { printf '%s/refs/heads/ociimage/127.0.0.1_3A5000_2F%s_3A%s' "${3-$REPO}" "$1" "${2-latest}"; }
# age NAME[:TAG] DAYS: as if the image had been pulled so long ago.
age() { case $1 in *:*) touch -d "$2 days ago" "$(ref "${1%:*}" "${1#*:}")" ;; *) touch -d "$2 days ago" "$(ref "$1")" ;; esac; }
said() { expect_like "^$1\$" cat "$WORK/pruned"; }
sound() { check 'the store is sound' ostree --repo="${1-$REPO}" fsck --quiet; }
# files REPO: of a repository, but for a lock of libostree's, with their content.
files() { (cd "$1" && find . -type f ! -name .lock -exec sha256sum {} + | sort -k2); }
same() { diff -u "$1" "$2" >"$WORK/.diff" || { shown "$WORK/.diff"; fail "$3"; }; ok "$3"; }
sleeping='["sh","-c","trap \"exit 0\" TERM; sleep 1000 & wait"]'

# image NAME[:TAG] VERSION: with a layer of its own above one that all share.
mkdir -p "$WORK/shared/srv"
head -c 200000 /dev/urandom >"$WORK/shared/srv/shared"
image() {
    local directory=${1%:*}
    exports "$directory" "$sleeping"
    mkdir -p "$WORK/$directory/srv"
    { head -c 100000 /dev/urandom; echo "$2"; } >"$WORK/$directory/srv/own"
    build_image "$1" "$WORK/shared" "$WORK/$directory"
    pull "$REGISTRY/$1"
}
checkout() { syscontainer-checkout "$@" >/dev/null 2>"$WORK/messages" || { shown "$WORK/messages"; fail "checkout $*"; }; }

say 'nothing is there'
expect 'freed 0 B' syscontainer-prune
run_fails 3 'there is no image store' syscontainer-prune x
run_fails 1 "none yet" syscontainer-prune --repo=/nowhere x

say 'images: used, new, old'
for name in used fresh old renewed; do image $name 1; done
checkout "$REGISTRY/used"
for name in used old renewed; do age $name 8; done
pull "$REGISTRY/renewed"
files $REPO >"$WORK/before"
check 'a dry run' prune --dry-run --explain
said "would remove image $REGISTRY/old:latest: nothing uses it, and it was pulled 8 days ago"
expect 2 grep -c 'would remove' "$WORK/pruned"
bytes=$(syscontainer-prune --dry-run --json | sed -n 's/^  "bytes": //p')
would=$(sed -n 's/^would free //p' "$WORK/pruned")
files $REPO >"$WORK/after"
same "$WORK/before" "$WORK/after" 'nothing was removed'
check 'a prune' prune --explain
said "removed image $REGISTRY/old:latest: nothing uses it, and it was pulled 8 days ago"
said "kept image $REGISTRY/used:latest: it is used by used.0"
said "kept image $REGISTRY/fresh:latest: nothing uses it, but it was pulled [0-9]* seconds ago, and images are kept for 7 days"
said "kept image $REGISTRY/renewed:latest: nothing uses it, but .*"
said 'kept deployment used.0: it is current'
expect "freed $would" grep freed "$WORK/pruned"
[ "$bytes" -gt 100000 ] && [ "$bytes" -lt 110000 ] || fail "$bytes bytes"
sound
# What is left is what it names: by lists that are made without it.
ostree --repo=$REPO refs | sort >"$WORK/refs"
sed -n 's/^kept layer sha256:\([0-9a-f]*\): of image .*/ociimage\/\1/p; s/^kept image \([^ ]*\): .*/\1/p' "$WORK/pruned" |
    sed 's/^127/ociimage\/127/; /5000/ { s/ociimage\//=/; s/\//_2F/g; s/:/_3A/g; s/=/ociimage\// }' | sort >"$WORK/named"
same "$WORK/refs" "$WORK/named" 'every ref is explained'
check 'another image can be pulled' pull "$REGISTRY/old"
checkout "$REGISTRY/fresh"

say 'images that are named'
run_fails 1 "cannot remove image $REGISTRY/used:latest: it is used by used.0; remove or update that first" syscontainer-prune "$REGISTRY/old" "$REGISTRY/used"
run_fails 3 "cannot remove image $REGISTRY/none:latest: it is not in $REPO" syscontainer-prune "$REGISTRY/old" "$REGISTRY/none"
run_fails 2 'invalid image reference' syscontainer-prune 'a b'
run_fails 2 'invalid time span "x"' syscontainer-prune --keep-for=x
check 'they are there' test -e "$(ref old)"
check 'one goes' prune --explain "$REGISTRY/old"
said "removed image $REGISTRY/old:latest: as requested"
said "kept image $REGISTRY/renewed:latest: its removal was not requested"
refuse 'it is gone' test -e "$(ref old)"
check 'with --keep-for, more goes' prune --keep-for=0
said "removed image $REGISTRY/renewed:latest: nothing uses it, and it was pulled [0-9]* [a-z]* ago"
check 'the used ones stay' test -e "$(ref used)" -a -e "$(ref fresh)"
sound

say 'deployments'
image thing 1
checkout "$REGISTRY/thing"
systemctl start thing
for version in 2 3 4; do
    image thing $version
    checkout --update thing
done
expect 'thing thing.0 thing.2 thing.3' bash -c "cd $CO && echo thing*"
check 'a prune' prune --explain --keep-for=0
said 'kept deployment thing.0: it runs'
said 'kept deployment thing.2: it is the one to go back to'
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
expect 'thing thing.2 thing.3' bash -c "cd $CO && echo thing*"
systemctl start thing

say 'what killed programs left'
mkdir -p $CO/.thing.7.new/rootfs $CO/.thing.1.old $CO/gone.3/rootfs $CO/.gone.4.new $CO/.lost.scratch/upper $REPO/tmp/syscontainers-12345 $REPO/tmp/syscontainers-6/blobs
echo '{"image": "x:1", "digest": "sha256:0"}' >$CO/gone.3/info
head -c 5000 /dev/zero >$REPO/tmp/syscontainers-6/blobs/x
touch $CO/.syscontainers-probe-1 $REPO/tmp/.syscontainers-probe-2
touch -d '2 days ago' $CO/.syscontainers-probe-{3,4} $REPO/tmp/.syscontainers-probe-4
mkdir "$WORK/elsewhere"
touch "$WORK/elsewhere/file" $CO/odd+file
ln -s "$WORK/elsewhere" $REPO/tmp/syscontainers-7
# libostree writes refs under such names first.
cp "$(ref used)" $REPO/refs/heads/ociimage/tmp.AbCd12
mkdir -p $REPO/objects/ab
touch $REPO/objects/ab/tmp.AbCd12
touch -d '2 days ago' $REPO/objects/ab/tmp.AbCd34
# Killed while it writes objects.
mkfifo "$WORK/fifo"
strace -f -qq -o /dev/null -e trace=syncfs -e inject=syncfs:signal=KILL syscontainer-pull --quiet "$REGISTRY/old" >/dev/null 2>&1 || true
check 'objects are left' bash -c "ls -d $REPO/tmp/staging-*-??????"
check 'a dry run' prune --dry-run --explain
would=$(sed -n 's/^would free //p' "$WORK/pruned")
check 'a prune' prune --explain
expect "freed $would" grep freed "$WORK/pruned"
for path in $CO/.thing.7.new $CO/.thing.1.old $CO/.gone.4.new $CO/.lost.scratch $CO/.syscontainers-probe-3 $REPO/tmp/syscontainers-{12345,6,7} $REPO/tmp/.syscontainers-probe-4 $REPO/objects/ab/tmp.AbCd34; do
    said "removed leftover $path: .*"
    refuse 'it is gone' test -e "$path" -o -L "$path"
done
said 'removed leftover ociimage/tmp.AbCd12: a program was killed while it wrote a ref'
said 'removed deployment gone.3: its container is not installed'
said "removed leftover $REPO/tmp/staging-.*: a pull was killed or failed while it wrote objects"
said "kept file $CO/odd.file: it belongs to no container"
said "kept file $CO/.syscontainers-probe-1: it belongs to no container"
check 'nothing was followed' test -e "$WORK/elsewhere/file"
expect '' bash -c "ls $REPO/tmp | grep -v -e '^cache\$' -e probe-2 || true"
rm $REPO/objects/ab/tmp.AbCd12 $CO/odd+file $CO/.syscontainers-probe-1 $REPO/tmp/.syscontainers-probe-2
# Every deployment and file is named.
check 'a prune' prune --explain
expect "$(cd $CO && printf '%s\n' *.[0-9])" sed -n 's/^kept deployment \([^:]*\):.*/\1/p' "$WORK/pruned"

say 'whatever a killed pull left'
mkdir -p "$WORK"/many/srv/{a,b}/{x,y}
for directory in "$WORK"/many/srv/*/*; do echo "$directory" >"$directory/file"; done
"$TESTS/build-image" "$WORK/many.oci:latest" "$WORK/shared" "$WORK/many" >/dev/null
ostree init --repo="$WORK/empty" --mode=bare
files "$WORK/empty" >"$WORK/before"
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
    prune --repo="$WORK/cut" --keep-for=0 || { shown "$WORK/messages"; fail "a prune after kill $kills"; }
    files "$WORK/cut" | diff -u "$WORK/before" - >"$WORK/.diff" || { shown "$WORK/.diff"; fail "what is left after kill $kills"; }
    kills=$((kills + 1))
done
ok "killed $kills times, nothing was left after a prune"
[ $kills -gt 10 ] || fail 'these are too few to be true'

say 'bad input'
cp $CO/used.0/info "$WORK/info"
echo '{' >$CO/used.0/info
age used 9
pull "$REGISTRY/old"
age old 9
check 'of an info that cannot be read' prune --explain
expect_like 'keeping all images, since deployment used.0 may use any of them' cat "$WORK/messages"
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
said 'kept deployment astray.0: .*astray does not name a deployment of astray'
check 'nothing was followed' test -e "$WORK/elsewhere/file"
rm -rf $CO/{used.1,stray.0,.stray.1.new,solid,solid.4,astray,astray.0}
check 'afterwards' prune
said "removed image $REGISTRY/old:latest: nothing uses it, and it was pulled 9 days ago"
ostree init --repo="$WORK/archive" --mode=archive
run_fails 1 'the mode of the repository is not bare' syscontainer-prune --repo="$WORK/archive" "$REGISTRY/old"
refuse 'a repository of another mode' prune --repo="$WORK/archive"
expect_like 'the mode of the repository is not bare' cat "$WORK/messages"
ostree init --repo="$WORK/theirs" --mode=bare
chown -R 1000 "$WORK/theirs"
refuse 'a repository of another owner' prune --repo="$WORK/theirs"
expect_like "cannot prune the image store $WORK/theirs: it belongs to user 1000, and this is user 0" cat "$WORK/messages"
refuse 'what is no repository' prune --repo="$WORK/elsewhere"
expect_like 'cannot open the image store' cat "$WORK/messages"
mv $REPO "$WORK/moved"
mv "$WORK/moved" $CO/.storage/real
ln -s real $REPO
check 'a link to the repository' prune --explain
said "kept image $REGISTRY/used:latest: it is used by used.0"
rm $REPO
mv $CO/.storage/real $REPO

say 'of a ref that is damaged'
ref=$(find /var/lib/containers/atomic/.storage/ostree/refs/heads/ociimage -name '*_3Alatest' | head -n1)
cp "$ref" "$WORK/ref"
: >"$ref"
refuse 'it is told' syscontainer-prune
cp "$WORK/ref" "$ref"
check 'nothing it leads to is gone' ostree --repo=/var/lib/containers/atomic/.storage/ostree fsck --quiet

say 'a repository that is shared with others'
shared=$WORK/repository
ostree init --repo="$shared" --mode=bare
for version in 1 2; do
    echo $version >"$WORK/shared/srv/version"
    ostree commit --repo="$shared" --branch=ostree/0/1/0 "$WORK/shared" >/dev/null
done
ostree commit --repo="$shared" --branch=ociimage/odd_ZZ "$WORK/shared" >/dev/null
rm "$WORK/shared/srv/version"
files "$shared" >"$WORK/before"
for name in used old; do pull --repo="$shared" "$REGISTRY/$name"; done
check 'a prune' prune --repo="$shared" --keep-for=0 --explain
said 'kept ref ostree/0/1/0: it belongs to another program'
said 'kept ref ociimage/odd_ZZ: its name has an unknown form'
said "removed image $REGISTRY/old:latest: .*"
# A container was made of the other one, by its name.
said "kept image $REGISTRY/used:latest: it is used by used.0"
ATOMIC_OSTREE_CHECKOUT_PATH=/nowhere prune --repo="$shared" --keep-for=0
said "removed image $REGISTRY/used:latest: .*"
files "$shared" >"$WORK/after"
same "$WORK/before" "$WORK/after" 'what is theirs is as it was, history too'
sound "$shared"
# Somebody else is at work in it.
ostree --repo="$shared" config set core.lock-timeout-secs 1
pull --repo="$shared" "$REGISTRY/old"
ostree --repo="$shared" commit --branch=foreign --tree=tar="$WORK/fifo" >/dev/null &
exec 7>"$WORK/fifo"
wait_for 'a transaction' bash -c "ls -d $shared/tmp/staging-*-??????"
refuse 'a prune cannot remove objects then' prune --repo="$shared" --keep-for=0 --explain
said "removed image $REGISTRY/old:latest: .*"
said "kept leftover $shared/tmp/staging-.*: another program is at work in it"
expect_like "cannot remove objects from $shared: .*[Ll]ock" cat "$WORK/messages"
tar -C "$WORK/shared" -c . >&7
exec 7>&-
wait $!
check 'then it can' prune --repo="$shared"
expect_like 'freed [1-9]' cat "$WORK/pruned"
expect_like version ostree --repo="$shared" ls -R ostree/0/1/0
expect_like shared ostree --repo="$shared" ls -R foreign
sound "$shared"

say 'waiting'
flock --shared $REPO sleep 3 &
begin=$SECONDS
check 'a prune waits' prune
[ $((SECONDS - begin)) -ge 2 ] || fail 'it did not'
expect 'syscontainer-prune: waiting for pulls and checkouts to finish' cat "$WORK/messages"
flock $REPO sleep 3 &
sleep 0.5
check 'a pull waits' bash -c "syscontainer-pull --quiet $REGISTRY/used 2>'$WORK/messages'"
expect 'syscontainer-pull: waiting for a prune of the store to finish' cat "$WORK/messages"
# A prune that waits holds newcomers back, but not for ever.
flock --shared $REPO sleep 14 &
held=$!
sleep 0.5
prune &
pruning=$!
sleep 0.5
begin=$SECONDS
check 'a pull waits for a prune that waits' pull "$REGISTRY/used"
took=$((SECONDS - begin))
[ $took -ge 5 ] && [ $took -le 12 ] || fail "it took $took s"
check 'that goes on when it can' wait $pruning
wait $held
# A lock ends with its process.
flock --close $REPO sleep 30 &
sleep 0.5
kill -KILL $!
check 'a prune does not wait for a killed one' timeout 5 syscontainer-prune

say 'beside pulls'
end=$((SECONDS + 10))
[ -z "$LONG" ] || end=$((SECONDS + 60))
(
    while [ $SECONDS -lt $end ]; do
        for name in old renewed; do syscontainer-pull --quiet "$REGISTRY/$name" >/dev/null || exit 1; done
    done
) 2>"$WORK/pull.messages" &
pulling=$!
prunes=0
while [ $SECONDS -lt $end ]; do
    syscontainer-prune --keep-for=0 >/dev/null 2>"$WORK/messages" || { shown "$WORK/messages"; fail 'a prune beside pulls'; }
    prunes=$((prunes + 1))
done
wait $pulling || { shown "$WORK/pull.messages"; fail 'a pull beside prunes'; }
ok "$prunes prunes beside pulls"
[ $prunes -gt 5 ] || fail 'these are too few'
sound
pull "$REGISTRY/old"
checkout --name=beside "$REGISTRY/old"
check 'its files are whole' cmp "$WORK/old/srv/own" $CO/beside/rootfs/srv/own
syscontainer-remove beside 2>/dev/null

say 'killed'
step=5
[ -z "$LONG" ] || step=1
kills=0
rm -rf "$WORK/template" "$WORK/killed"
for name in used old; do pull --repo="$WORK/template" "$REGISTRY/$name"; done
mkdir "$WORK/template/tmp/syscontainers-1"
export ATOMIC_OSTREE_CHECKOUT_PATH=/nowhere
cp -a "$WORK/template" "$WORK/killed"
prune --repo="$WORK/killed" "$REGISTRY/old"
files "$WORK/killed" >"$WORK/after"
for call in unlinkat,unlink,rmdir flock fcntl utimensat openat; do
    n=$((RANDOM % step + 1))
    while true; do
        rm -rf "$WORK/killed"
        cp -a "$WORK/template" "$WORK/killed"
        status=0
        {
            strace -qq -o /dev/null -e trace="$call" -e inject="$call:signal=KILL:when=$n" \
                syscontainer-prune --repo="$WORK/killed" "$REGISTRY/old" >/dev/null 2>"$WORK/messages" || status=$?
        } 2>/dev/null
        [ $status != 0 ] || break
        [ $status = 137 ] || { shown "$WORK/messages"; fail "$call $n: status $status"; }
        ostree --repo="$WORK/killed" fsck --quiet >"$WORK/.out" 2>&1 || { shown "$WORK/.out"; fail "fsck after a kill at $call $n"; }
        # Whatever it got to: with its name, if it is there, or without.
        prune --repo="$WORK/killed" "$REGISTRY/old" || prune --repo="$WORK/killed" || { shown "$WORK/messages"; fail "after a kill at $call $n"; }
        files "$WORK/killed" | diff -u "$WORK/after" - >"$WORK/.diff" || { shown "$WORK/.diff"; fail "after a kill at $call $n"; }
        kills=$((kills + 1)) n=$((n + step))
        [ "$call" != openat ] || n=$((n + 10 * step))
    done
done
unset ATOMIC_OSTREE_CHECKOUT_PATH
ok "killed $kills times, the same again did the rest"
[ $kills -gt 10 ] || fail 'these are too few to be true'

say 'a full disk'
mkdir "$WORK/disk"
truncate --size=32M "$WORK/disk.image"
mkfs.ext4 -q "$WORK/disk.image"
mount -o loop "$WORK/disk.image" "$WORK/disk" 2>/dev/null || mount -t tmpfs -o size=24m tmpfs "$WORK/disk"
pull --repo="$WORK/disk/repo" "$REGISTRY/old"
cat /dev/zero >"$WORK/disk/fill" 2>/dev/null || true
refuse 'there is no space' bash -c "head -c 65536 /dev/zero >'$WORK/disk/more'"
rm -f "$WORK/disk/more"
cat /dev/zero >>"$WORK/disk/fill" 2>/dev/null || true
check 'a prune' prune --repo="$WORK/disk/repo" --keep-for=0
expect_like 'freed [1-9][0-9.]+ [KM]iB' cat "$WORK/pruned"
check 'there is space' bash -c "head -c 65536 /dev/zero >'$WORK/disk/more'"
sound "$WORK/disk/repo"
umount "$WORK/disk"

say 'its unit and timer'
# It also says something of units without their generated bodies.
expect '' bash -c "systemd-analyze --man=no verify /usr/lib/systemd/system/syscontainer-prune.{service,timer} 2>&1 | grep prune || true"
age old 9
pull "$REGISTRY/old"
age old 9
mkdir -p $CO/left.0/rootfs
check 'it runs' systemctl start syscontainer-prune
for line in 'removed deployment left.0: its container is not installed' "removed image $REGISTRY/old:latest: " 'freed [1-9][0-9.]* [KM]iB'; do
    expect_like "^$line" journal_of syscontainer-prune
done
check 'the timer is enabled' systemctl --quiet enable --now syscontainer-prune.timer
expect active unit_property syscontainer-prune.timer ActiveState

say 'another root'
tree=$WORK/tree
mkdir -p "$tree"/{usr/bin,etc,usr/lib/systemd/system,usr/lib/containers/atomic/came.0}
printf '#!/bin/sh\n' >"$tree/usr/bin/crun"
pull --root="$tree" "$REGISTRY/used"
pull --root="$tree" "$REGISTRY/fresh"
pull --root="$tree" "$REGISTRY/old"
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
