#!/bin/bash
# Pulling: from a real registry, a layout and an archive; what already exists is not fetched again.
. "$(dirname "$0")/lib.sh"

STORE=/var/lib/containers/atomic/.storage/ostree
layers() { grep -c "$1" "$WORK/.err" || true; }
pull() { syscontainer-pull "$@" 2>"$WORK/.err"; }

say 'a registry'
hello_world
first=$DIGEST
expect "$REGISTRY/hello-world:latest $first" pull "$REGISTRY/hello-world"
expect 2 layers 'fetching layer'
expect '700 root' stat --format='%a %U' $STORE
expect "$REGISTRY/hello-world:latest $first" pull "docker://$REGISTRY/hello-world:latest"
expect_like 'latest is unchanged' cat "$WORK/.err"
expect "$REGISTRY/hello-world@$first $first" pull "$REGISTRY/hello-world@$first"
expect 2 layers 'already exists'
check 'the store is sound' ostree --repo=$STORE fsck --quiet

say 'layers are shared'
exports other '["true"]'
build_image other "$WORK/other"
expect "$REGISTRY/other:latest $DIGEST" pull "$REGISTRY/other"
expect 1 layers 'already exists'
expect 1 layers 'fetching layer'

say 'a new version under the same name'
mkdir -p "$WORK/more/srv"
echo new >"$WORK/more/srv/new"
build_image hello-world "$TESTS/hello-world" "$WORK/more"
expect "$REGISTRY/hello-world:latest $DIGEST" pull "$REGISTRY/hello-world"
expect 1 layers 'fetching layer'
expect new ostree --repo=$STORE cat ociimage/127.0.0.1_3A5000_2Fhello-world_3Alatest /srv/new
expect "$REGISTRY/hello-world@$first $first" pull "$REGISTRY/hello-world@$first"

say 'a manifest of docker keeps the digest that the registry knows'
skopeo copy --quiet --format=v2s2 "docker://$REGISTRY/hello-world" "docker://$REGISTRY/schema2"
digest=$(skopeo inspect --format='{{.Digest}}' "docker://$REGISTRY/schema2")
[ "$digest" != "$DIGEST" ] || fail 'it has no manifest of its own'
expect "$REGISTRY/schema2:latest $digest" pull "$REGISTRY/schema2"
expect_like 'distribution.manifest.v2' ostree --repo=$STORE show --print-metadata-key=docker.manifest ociimage/127.0.0.1_3A5000_2Fschema2_3Alatest

say 'other sources'
"$TESTS/build-image" "$WORK/layout:1.0" "$TESTS/hello-world" >"$WORK/digest"
expect "layout:1.0 $(cat "$WORK/digest")" pull "oci:$WORK/layout:1.0"
skopeo copy --quiet "docker://$REGISTRY/other" "docker-archive:$WORK/other.tar:example.com/x/other:2"
expect_like '^example.com/x/other:2 sha256:' pull "docker-archive:$WORK/other.tar"
expect_like '^example.com/x/other:3 sha256:' bash -c "skopeo copy --quiet docker://$REGISTRY/other docker-archive:$WORK/three.tar:example.com/x/other:3 &&
    syscontainer-pull docker-archive:$WORK/three.tar:example.com/x/other:3 2>&1 | tail -n1"
expect layout-1-0 bash -c "syscontainer-checkout oci:$WORK/layout:1.0 2>/dev/null"
expect other-2 bash -c "syscontainer-checkout docker-archive:$WORK/other.tar 2>/dev/null"
expect loaded unit_property other-2 LoadState

say 'killed while pulling'
head -c 30000000 /dev/urandom >"$WORK/more/srv/noise"
build_image big "$WORK/more"
rounds=4
[ -z "$LONG" ] || rounds=40
for round in $(seq $rounds); do
    rm -rf "$WORK/repo"
    delay=0.0$((RANDOM % 90 + 10))
    timeout --signal=KILL $delay syscontainer-pull --quiet --repo="$WORK/repo" "$REGISTRY/big" >/dev/null 2>&1 || true
    expect "$REGISTRY/big:latest $DIGEST" syscontainer-pull --quiet --repo="$WORK/repo" "$REGISTRY/big"
    check "fsck after a kill at $delay s, round $round" ostree --repo="$WORK/repo" fsck --quiet
done

say 'killed at every rename and link'
# These are what puts objects and refs into place.
mkdir -p "$WORK"/many/srv/{a,b,c}/{x,y}
for directory in "$WORK"/many/srv/*/*; do echo "$directory" >"$directory/file"; done
"$TESTS/build-image" "$WORK/many.oci:latest" "$WORK/many" "$WORK/other" >/dev/null
renames=rename,renameat,renameat2,linkat
kills=0
while true; do
    rm -rf "$WORK/repo"
    status=0
    {
        strace -f -qq -o /dev/null -e trace=$renames -e inject="$renames:signal=KILL:when=$((kills + 1))" \
            syscontainer-pull --quiet --repo="$WORK/repo" "oci:$WORK/many.oci" >/dev/null 2>&1 || status=$?
    } 2>/dev/null
    [ "$status" != 0 ] || break
    # Killed before that, it has made no repository.
    [ ! -d "$WORK/repo/refs/remotes" ] || ostree --repo="$WORK/repo" fsck --quiet >"$WORK/.out" 2>&1 || { shown "$WORK/.out"; fail "fsck after kill $kills"; }
    syscontainer-pull --quiet --repo="$WORK/repo" "oci:$WORK/many.oci" >"$WORK/.out" 2>&1 || { shown "$WORK/.out"; fail "a pull after kill $kills"; }
    ostree --repo="$WORK/repo" fsck --quiet >"$WORK/.out" 2>&1 || { shown "$WORK/.out"; fail "fsck at the end, after kill $kills"; }
    kills=$((kills + 1))
done
ok "killed $kills times, the store was sound, and the pull went on"
[ "$kills" -gt 10 ] || fail 'these are too few to be true'
wait_for 'no skopeo is left' bash -c '! pgrep skopeo'

say 'what it costs'
for program in "syscontainer-pull --quiet --repo=$WORK/repo2 $REGISTRY/big" "skopeo copy --quiet docker://$REGISTRY/big oci:$WORK/copy"; do
    rm -rf "$WORK/repo2" "$WORK/copy"
    begin=${EPOCHREALTIME/./}
    $program >/dev/null
    say "$((${EPOCHREALTIME/./} - begin)) us: $program"
done
rm -rf "$WORK/repo2"
# The program itself; skopeo is another process, which has its own memory.
syscontainer-pull --quiet --repo="$WORK/repo2" "$REGISTRY/big" >/dev/null &
pid=$! peak=0
while now=$(sed -n 's/^VmHWM:[^0-9]*\([0-9]*\).*/\1/p' /proc/$pid/status 2>/dev/null) && [ -n "$now" ]; do
    peak=$now
done
wait $pid
say "peak memory of the program: $peak KiB"
[ "$peak" -gt 1000 ] && [ "$peak" -lt 65536 ] || fail "its memory was $peak KiB"
ok 'its memory stays below 64 MiB'
