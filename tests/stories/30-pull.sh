#!/bin/bash
# Pulling: from a real registry, a layout and an archive; what already exists is not fetched again.
. "$(dirname "$0")/lib.sh"

# expect_pulled NAME DIGEST [OPTION…] IMAGE: it is pulled, and so named; what that says is in $WORK/said.
expect_pulled() { expect "$1 $2" syscontainer-pull "${@:3}" 2>"$WORK/said"; }
# layers ERE: how many of the last pull.
layers() { grep -c "$1" "$WORK/said" || true; }

say 'a registry'
hello_world
first=$DIGEST
expect_pulled "$REGISTRY/hello-world:latest" "$first" "$REGISTRY/hello-world"
expect 2 layers 'fetching layer'
expect '700 root' stat --format='%a %U' $STORE
expect_pulled "$REGISTRY/hello-world:latest" "$first" "docker://$REGISTRY/hello-world:latest"
expect_like 'latest is unchanged' cat "$WORK/said"
expect_pulled "$REGISTRY/hello-world@$first" "$first" "$REGISTRY/hello-world@$first"
expect 2 layers 'already exists'
check 'the store is sound' ostree --repo=$STORE fsck --quiet

say 'layers are shared'
exports other '["true"]'
build_image other "$WORK/other"
expect_pulled "$REGISTRY/other:latest" "$DIGEST" "$REGISTRY/other"
expect 1 layers 'already exists'
expect 1 layers 'fetching layer'

say 'a new version under the same name'
mkdir -p "$WORK/more/srv"
echo new >"$WORK/more/srv/new"
build_image hello-world "$TESTS/hello-world" "$WORK/more"
expect_pulled "$REGISTRY/hello-world:latest" "$DIGEST" "$REGISTRY/hello-world"
expect 1 layers 'fetching layer'
expect new ostree --repo=$STORE cat ociimage/127.0.0.1_3A5000_2Fhello-world_3Alatest /srv/new
expect_pulled "$REGISTRY/hello-world@$first" "$first" "$REGISTRY/hello-world@$first"

say 'a manifest of docker keeps the digest that the registry knows'
skopeo copy --quiet --format=v2s2 "docker://$REGISTRY/hello-world" "docker://$REGISTRY/schema2"
digest=$(skopeo inspect --format='{{.Digest}}' "docker://$REGISTRY/schema2")
[ "$digest" != "$DIGEST" ] || fail 'it has no manifest of its own'
expect_pulled "$REGISTRY/schema2:latest" "$digest" "$REGISTRY/schema2"
expect_like 'distribution.manifest.v2' \
    ostree --repo=$STORE show --print-metadata-key=docker.manifest ociimage/127.0.0.1_3A5000_2Fschema2_3Alatest

say 'other sources'
"$TESTS/build-image" "$WORK/layout:1.0" "$TESTS/hello-world" >"$WORK/digest"
expect_pulled "oci:$WORK/layout:1.0" "$(cat "$WORK/digest")" "oci:$WORK/layout:1.0"
skopeo copy --quiet "docker://$REGISTRY/other" "docker-archive:$WORK/other.tar:example.com/x/other:2"
expect_like "^docker-archive:$WORK/other.tar sha256:" quietly syscontainer-pull "docker-archive:$WORK/other.tar"
skopeo copy --quiet "docker://$REGISTRY/other" "docker-archive:$WORK/three.tar:example.com/x/other:3"
expect_like "^docker-archive:$WORK/three.tar:example.com/x/other:3 sha256:" \
    quietly syscontainer-pull "docker-archive:$WORK/three.tar:example.com/x/other:3"
expect layout-1-0 quietly syscontainer-checkout "oci:$WORK/layout:1.0"
expect other-2 quietly syscontainer-checkout "docker-archive:$WORK/other.tar"
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
    [ ! -d "$WORK/repo/refs/remotes" ] ||
        must "fsck after kill $kills" ostree --repo="$WORK/repo" fsck --quiet
    must "a pull after kill $kills" syscontainer-pull --quiet --repo="$WORK/repo" "oci:$WORK/many.oci"
    must "fsck at the end, after kill $kills" ostree --repo="$WORK/repo" fsck --quiet
    kills=$((kills + 1))
done
ok "killed $kills times, the store was sound, and the pull went on"
[ "$kills" -gt 10 ] || fail 'these are too few to be true'
wait_for 'no skopeo is left' bash -c '! pgrep skopeo'

say 'what it costs'
for program in "syscontainer-pull --quiet --repo=$WORK/repo2 $REGISTRY/big" \
    "skopeo copy --quiet docker://$REGISTRY/big oci:$WORK/copy"; do
    rm -rf "$WORK/repo2" "$WORK/copy"
    begin=${EPOCHREALTIME/./}
    $program >/dev/null
    say "$((${EPOCHREALTIME/./} - begin)) us: $program"
done
rm -rf "$WORK/repo2"
# The program itself; skopeo is another process, which has its own memory.
syscontainer-pull --quiet --repo="$WORK/repo2" "$REGISTRY/big" >/dev/null &
expect_little_memory $!
