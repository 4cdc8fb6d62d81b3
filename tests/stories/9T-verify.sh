#!/bin/bash
# What is damaged is found and named, and that, and nothing else, is fetched again: in the store, in deployments, under what runs.
. "$(dirname "$0")/lib.sh"

# verified STATUS [ARGUMENT…]: of syscontainer-verify, which ends so; see ends.
verified() { ends "$1" syscontainer-verify --quiet "${@:2}"; }
# object_of FILE: the object that a file of a deployment is a link to.
object_of() { find "$STORE/objects" -samefile "$1"; }
# damage FILE: changes one byte, and leaves the time as it is.
damage() {
    local time
    time=$(stat --format=%Y "$1")
    printf 'X' | dd of="$1" bs=1 seek=7 conv=notrunc status=none
    touch --date="@$time" "$1"
}
# fetched_layers: how many blobs the registry was asked for since $since.
fetched_layers() {
    journalctl --sync
    journalctl --quiet --output=cat --unit=registry --since="@$since" | grep -c 'GET /v2/.*/blobs/' || true
}

mkdir -p "$WORK/one/usr/share/d" "$WORK/one/etc"
seq 1 1000 >"$WORK/one/usr/share/d/a"
seq 2 1000 >"$WORK/one/usr/share/d/b"
seq 3 1000 >"$WORK/one/usr/share/d/c"
head -c 3000000 /dev/urandom >"$WORK/one/usr/share/large"
echo 'setting' >"$WORK/one/etc/file"
ln -s a "$WORK/one/usr/share/d/link"
mkdir -p "$WORK/two/usr/share/d"
cp -a "$WORK/one/usr/share/d/a" "$WORK/two/usr/share/d/a"
build_and_pull one --config="{\"Cmd\": $(until_stopped)}"
exports two "$(until_stopped)"
cp -a "$WORK/one/usr/share/d/a" "$WORK/two/usr/share/d/a"
build_and_pull two
checkout "$REGISTRY/one"
checkout "$REGISTRY/two"
for name in one two; do must "$name starts" systemctl start $name; done

say 'nothing is damaged'
verified 0
expect '' cat "$WORK/printed"
verified 0 one
verified 0 --store
verified 0 --json
expect '[]' cat "$WORK/printed"
verified 3 none
check 'the service says so, too' systemctl start syscontainer-verify

say 'one byte of a file that two deployments have'
object=$(object_of $CO/one/rootfs/usr/share/d/a)
expect 1 grep -c . <<<"$object"
inode=$(stat --format=%i "$object")
damage "$object"
verified 5
expect_like "^object .*\.file: damaged \(.*its time has not changed, so the disk or the memory may be faulty\)" cat "$WORK/printed"
expect_like "of image .*/one.*/two" cat "$WORK/printed"
expect_like "in one\.0:/usr/share/d/a, two\.0:/usr/share/d/a" cat "$WORK/printed"
expect 1 grep -c . "$WORK/printed"
expect_like "'syscontainer-verify --repair' mends" cat "$WORK/said"
verified 5 --json
expect_like '"used-by": ' cat "$WORK/printed"
verified 5 two
verified 5 --store
refuse 'the service fails' systemctl start syscontainer-verify
systemctl reset-failed syscontainer-verify
check 'in the journal' journal_has syscontainer-verify 'is damaged|: damaged'
pid=$(unit_property two MainPID)
since=$(date +%s.%N)
verified 0 --repair
expect_like ': repaired$' cat "$WORK/printed"
check 'exactly the layers that have it' test "$(fetched_layers)" -le 4
verified 0
refuse 'it is another inode' test "$inode" = "$(stat --format=%i "$object")"
for name in one two; do
    expect "$(stat --format=%i "$object")" stat --format=%i $CO/$name/rootfs/usr/share/d/a
    check "$name has it" cmp "$WORK/one/usr/share/d/a" $CO/$name/rootfs/usr/share/d/a
done
check 'what runs has it at once' cmp "$WORK/one/usr/share/d/a" "/proc/$pid/root/usr/share/d/a"
expect "$pid" unit_property two MainPID
store_is_sound

say 'files that are missing, empty, or written to'
large=$(object_of $CO/one/rootfs/usr/share/large)
: >"$large"
verified 5
expect_like 'it is empty, as after a power failure' cat "$WORK/printed"
verified 0 --repair
check 'a large one' cmp "$WORK/one/usr/share/large" $CO/one/rootfs/usr/share/large
large=$(object_of $CO/one/rootfs/usr/share/large)
echo x >>"$large"
verified 5 one
expect_like 'it was modified since, so somebody may have written to it' cat "$WORK/printed"
rm "$large" $CO/one/rootfs/usr/share/large
verified 5
expect_like 'it is missing' cat "$WORK/printed"
expect_like '^one\.0:/usr/share/large: missing' cat "$WORK/printed"
verified 0 --repair
check 'it is back' cmp "$WORK/one/usr/share/large" $CO/one/rootfs/usr/share/large
verified 0

say 'what is only in the deployment'
rootfs=$CO/one/rootfs
echo other >"$rootfs/etc/file"
rm -r "$rootfs/usr/share/d"
chmod 0700 "$rootfs/usr"
touch "$rootfs/usr/extra"
verified 5 one
for line in 'etc/file: changed' 'usr/share/d: missing' 'usr: changed \(owner 0:0 and mode 0700 in place of 0:0 and 0755' 'usr/extra: not of the image'; do
    expect_like "^one\.0:/$line" cat "$WORK/printed"
done
verified 5 --repair
expect_like '^one\.0:/usr/extra: .*not repaired: .*remove it by hand' cat "$WORK/printed"
rm "$rootfs/usr/extra"
verified 0
expect setting cat "$rootfs/etc/file"
expect 1 stat --format=%h "$rootfs/etc/file"
expect 755 stat --format=%a "$rootfs/usr"
check 'the directory is back' diff -r "$WORK/one/usr/share/d" "$rootfs/usr/share/d"

say 'directories and commits of the store'
for kind in dirtree dirmeta; do
    some=$(find "$STORE/objects" -name "*.$kind" | sort | head -n 3)
    for file in $some; do damage "$file"; done
    verified 5 --store
    expect_like "$kind: damaged" cat "$WORK/printed"
    verified 0 --repair
    verified 0
    store_is_sound
done
find "$STORE/objects" -name '*.dirtree' -delete
verified 5
verified 0 --repair
verified 0
store_is_sound

say 'a layer that is gone from its source'
object=$(object_of $CO/one/rootfs/usr/share/d/b)
damage "$object"
systemctl stop registry
verified 5 --repair
expect_like 'not repaired: cannot mend image' cat "$WORK/printed"
systemctl start registry
wait_for 'the registry is back' http 5000/v2/
verified 0 --repair
verified 0

say 'a pull of an image that is not whole says nothing of unchanged'
rm "$(object_of $CO/one/rootfs/usr/share/d/c)"
quietly syscontainer-pull "$REGISTRY/one" >/dev/null
verified 0 --store
verified 0 --repair

say 'nothing is left of it'
forget one
forget two
expect '' find "$STORE/tmp" -mindepth 1 -maxdepth 1 -name 'syscontainers*'
