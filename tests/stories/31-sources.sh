#!/bin/bash
# Every source, by name, by tag and by digest; images of several architectures, and of every compression.
# Rows of tests/atomic.md: p.
. "$(dirname "$0")/lib.sh"

say 'one image, everywhere'
use_engine_storage
exports thing '["true"]'
build_image thing:1 "$WORK/thing"
digest=$DIGEST
skopeo copy --quiet "docker://$REGISTRY/thing:1" "docker://$REGISTRY/thing:latest"
for tag in 1 latest; do
    skopeo copy --quiet "docker://$REGISTRY/thing:1" "containers-storage:$REGISTRY/thing:$tag"
    skopeo copy --quiet "docker://$REGISTRY/thing:1" "oci:$WORK/layout:$tag"
done
skopeo copy --quiet "docker://$REGISTRY/thing:1" "oci-archive:$WORK/layout.tar:1"
skopeo copy --quiet "docker://$REGISTRY/thing:1" "docker-archive:$WORK/thing.tar:$REGISTRY/thing:1"
skopeo copy --quiet "docker://$REGISTRY/thing:1" "dir:$WORK/directory"
# It ends with the machine.
systemd-run --quiet --unit=podman-story podman system service --time=0 unix:///run/docker.sock
wait_for 'podman answers as docker does' test -S /run/docker.sock

# ref_of NAME: of the image, in a repository.
ref_of() { printf 'ociimage/%s' "$(sed 's/_/_5F/g; s,/,_2F,g; s/:/_3A/g; s/@/_40/g' <<<"$1")"; }
# pulls NAME SOURCE: it can be pulled, is called NAME, and has what it should.
number=0
pulls() {
    number=$((number + 1))
    expect_like "^$1 sha256:[0-9a-f]{64}$" syscontainer-pull --quiet --repo="$WORK/repo$number" "$2"
    check "$2 has what it should" ostree --repo="$WORK/repo$number" cat "$(ref_of "$1")" /exports/config.json
    rm -rf "$WORK/repo$number"
}
name=$REGISTRY/thing
for prefix in '' docker:// docker-daemon: docker: containers-storage:; do
    # The name is that of the source: docker: is another word for docker-daemon:.
    case $prefix in docker://) called='' ;; docker:) called=docker-daemon: ;; *) called=$prefix ;; esac
    pulls "$called$name:latest" "$prefix$name"
    pulls "$called$name:1" "$prefix$name:1"
done
pulls "$name@$digest" "$name@$digest"
pulls "$name@$digest" "docker://$name@$digest"
stored=$(podman image inspect --format='{{.Digest}}' "$name:1")
pulls "containers-storage:$name@$stored" "containers-storage:$name@$stored"
id=$(podman image inspect --format='{{.Id}}' "$name:1")
for prefix in docker-daemon: docker:; do
    pulls "docker-daemon:sha256:$id" "${prefix}sha256:$id"
    pulls "docker-daemon:$name@$stored" "$prefix$name@$stored"
done
run_fails 1 "cannot ask the engine at .* for image $name@sha256:0*: " \
    syscontainer-pull --quiet "docker:$name@sha256:$(printf '%064d' 0)"
for source in oci:$WORK/layout:latest oci:$WORK/layout:1 oci-archive:$WORK/layout.tar oci-archive:$WORK/layout.tar:1 \
    docker-archive:$WORK/thing.tar "docker-archive:$WORK/thing.tar:$name:1" dir:$WORK/directory; do
    pulls "$source" "$source"
done
pulls "docker-archive:$WORK/thing.tar" "dockertar:$WORK/thing.tar"
pulls "docker-archive:$WORK/thing.tar" "dockertar:/$WORK/thing.tar"
cd "$WORK"
pulls "docker-archive:$WORK/thing.tar" dockertar:thing.tar
cd /

say 'digests are those that the sources have'
expect "$name:1 $digest" syscontainer-pull --quiet "$name:1"
expect "oci:$WORK/layout:1 $digest" syscontainer-pull --quiet "oci:$WORK/layout:1"
expect "dir:$WORK/directory $digest" syscontainer-pull --quiet "dir:$WORK/directory"

say 'several architectures'
# other DIGEST FILE: makes FILE the same image for another machine.
index=$WORK/index
rm -rf "$index"
mkdir -p "$index"
"$TESTS/build-image" "$index/layout:one" "$WORK/thing" >/dev/null
mkdir -p "$WORK/foreign/etc"
echo foreign >"$WORK/foreign/etc/foreign"
sed 's/$(uname -m)/s390x/' "$TESTS/build-image" >"$WORK/build-foreign"
sh "$WORK/build-foreign" "$index/layout:two" "$WORK/thing" "$WORK/foreign" >/dev/null
own=$(uname -m)
case $own in x86_64) own=amd64 ;; aarch64) own=arm64 ;; esac
# platform_instead NAME ARCHITECTURE: a command of sed's.
platform_instead() {
    printf 's/"annotations":{"org.opencontainers.image.ref.name":"%s"}/"platform":{"architecture":"%s","os":"linux"}/;' "$@"
}
sed -i "$(platform_instead one "$own" two s390x)" "$index/layout/index.json"
cp "$index/layout/index.json" "$WORK/list"
list=sha256:$(sha256sum "$WORK/list" | cut -d' ' -f1)
cp "$WORK/list" "$index/layout/blobs/sha256/${list#*:}"
cat >"$index/layout/index.json" <<END
{
    "schemaVersion": 2,
    "manifests": [
        {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": "$list", "size": $(stat --format=%s "$WORK/list")}
    ]
}
END
skopeo copy --quiet --all "oci:$index/layout" "docker://$REGISTRY/many"
expect_like "^$REGISTRY/many:latest " syscontainer-pull --quiet "$REGISTRY/many"
# foreign: whether the image is the other machine's.
foreign() { ostree --repo=$STORE cat "ociimage/127.0.0.1_3A5000_2Fmany_3Alatest" /etc/foreign; }
refuse 'the image is for this machine' foreign
expect_like "^$REGISTRY/many:latest " syscontainer-pull --quiet --arch=s390x "$REGISTRY/many"
expect foreign foreign
expect_like "^$REGISTRY/many@$list " syscontainer-pull --quiet "$REGISTRY/many@$list"
run_fails 1 'no image found.* for architecture .?m68k' syscontainer-pull --quiet --arch=m68k "$REGISTRY/many"

say 'compressions'
for format in zstd gzip; do
    skopeo copy --quiet --dest-compress-format=$format --format=oci "dir:$WORK/directory" "oci:$WORK/$format:1"
    expect_like "tar[+]$format" skopeo inspect --raw "oci:$WORK/$format:1"
    pulls "oci:$WORK/$format:1" "oci:$WORK/$format:1"
done
skopeo copy --quiet --dest-decompress "docker://$REGISTRY/thing:1" "dir:$WORK/plain"
pulls "dir:$WORK/plain" "dir:$WORK/plain"

say 'results'
syscontainer-pull --quiet --json --repo="$WORK/json" "$REGISTRY/thing:1" >"$WORK/result"
for line in '"image": "127.0.0.1:5000/thing:1"' "\"digest\": \"$digest\"" '"changed": true' '"layers-fetched": 2' \
    '"layers-reused": 0' '"bytes": [0-9]+' '"seconds": [0-9.]+'; do
    expect_like "$line" cat "$WORK/result"
done
syscontainer-pull --quiet --json --repo="$WORK/json" "$REGISTRY/thing:1" >"$WORK/result"
expect_like '"changed": false' cat "$WORK/result"
