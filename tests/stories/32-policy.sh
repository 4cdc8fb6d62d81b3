#!/bin/bash
# Signature policies are enforced whatever the source, with every skopeo.
. "$(dirname "$0")/lib.sh"

POLICY=/etc/containers/policy.json
pull() { syscontainer-pull --quiet "$@"; }
# policy JSON: of all registries; everything else is accepted.
policy() { printf '{"default": [{"type": "insecureAcceptAnything"}], "transports": {"docker": {"%s": [%s]}}}' "$REGISTRY" "$1" >$POLICY; }

exports thing '["true"]'
build_image thing "$WORK/thing"
image=$REGISTRY/thing
skopeo copy --quiet "docker://$image" "oci:$WORK/layout:1"

say 'reject'
policy '{"type": "reject"}'
run_fails 1 'rejected by policy.*transports.docker\["127.0.0.1:5000"\]: reject in /etc/containers/policy.json' syscontainer-pull --quiet "$image"
refuse 'nothing of it is in the store' ostree --repo=/var/lib/containers/atomic/.storage/ostree rev-parse ociimage/127.0.0.1_3A5000_2Fthing_3Alatest
expect_like '^layout:1 ' pull "oci:$WORK/layout:1"
printf '{"default": [{"type": "reject"}]}' >"$WORK/policy.json"
run_fails 1 "rejected by policy.*default: reject in $WORK/policy.json" syscontainer-pull --quiet --policy="$WORK/policy.json" "oci:$WORK/layout:1"
printf '{"default": [{"type": "insecureAcceptAnything"}]}' >"$WORK/policy.json"
expect_like "^$image:latest " pull --policy="$WORK/policy.json" "$image"
say 'a policy that nobody can read lets nothing through'
echo '{' >$POLICY
run_fails 1 "cannot pull .*policy" syscontainer-pull --quiet "$image"
mv $POLICY "$WORK/away"
run_fails 1 "cannot pull .*policy" syscontainer-pull --quiet "$image"

say 'signedBy'
export GNUPGHOME=$WORK/gnupg
mkdir -m 700 "$GNUPGHOME"
for who in right wrong; do
    gpg --batch --quiet --passphrase '' --quick-generate-key "$who@example.com" rsa2048 sign never 2>"$WORK/.err"
    gpg --batch --quiet --armor --export "$who@example.com" >"$WORK/$who.gpg"
done
mkdir -p /etc/containers/registries.d /var/lib/signatures
printf 'docker:\n  %s:\n    lookaside: file:///var/lib/signatures\n    lookaside-staging: file:///var/lib/signatures\n    sigstore: file:///var/lib/signatures\n    sigstore-staging: file:///var/lib/signatures\n' \
    "$REGISTRY" >/etc/containers/registries.d/story.yaml
policy "{\"type\": \"signedBy\", \"keyType\": \"GPGKeys\", \"keyPath\": \"$WORK/right.gpg\"}"
run_fails 1 'transports.docker\["127.0.0.1:5000"\]: signedBy in' syscontainer-pull --quiet "$image"
skopeo --insecure-policy copy --quiet --sign-by=wrong@example.com "oci:$WORK/layout:1" "docker://$image"
run_fails 1 'signedBy in /etc' syscontainer-pull --quiet "$image"
skopeo --insecure-policy copy --quiet --sign-by=right@example.com "oci:$WORK/layout:1" "docker://$image"
expect_like "^$image:latest " pull "$image"
gpgconf --kill all
say 'what a policy let through is not copied once more'
# requests COMMAND…: what the command asks the registry for, one line each.
mkdir -p /etc/systemd/system/registry.service.d
sed 's/accesslog: {disabled: true}/level: info/' /etc/registry.yml >/etc/registry-log.yml
printf '[Service]\nExecStart=\nExecStart=/usr/bin/docker-registry serve /etc/registry-log.yml\n' >/etc/systemd/system/registry.service.d/log.conf
systemctl daemon-reload
systemctl restart registry
requests() {
    local since
    since=$(date +%s.%N)
    "$@" >"$WORK/.requests" 2>&1
    journalctl --sync
    journalctl --unit=registry --since="@$since" --output=cat --no-pager | grep -oE '(GET|HEAD) /v2/[^ "]+' || true
}
expect 'GET /v2/thing/manifests/latest' requests pull "$image"
expect_like '"changed": false' pull --json "$image"
mv "$WORK/right.gpg" "$WORK/key"
cp "$WORK/wrong.gpg" "$WORK/right.gpg"
run_fails 1 'signedBy in /etc' syscontainer-pull --quiet "$image"
mv "$WORK/key" "$WORK/right.gpg"
expect_like '"changed": false' pull --json "$image"
printf '{"default": [{"type": "insecureAcceptAnything"}]}' >$POLICY
expect 'GET /v2/thing/manifests/latest' requests pull "$image"

say 'sigstore'
printf 'docker:\n  %s:\n    use-sigstore-attachments: true\n' "$REGISTRY" >/etc/containers/registries.d/story.yaml
for who in right wrong; do
    openssl ecparam -name prime256v1 -genkey -noout -out "$WORK/$who.key" 2>/dev/null
    openssl ec -in "$WORK/$who.key" -pubout -out "$WORK/$who.pub" 2>/dev/null
done
build_image attached "$WORK/thing"
image=$REGISTRY/attached

# attach KEY: signs $DIGEST as cosign does. Debian's skopeo verifies such signatures, but makes none.
attach() {
    local layout=$WORK/signature blobs=$WORK/signature/blobs/sha256 payload config manifest
    rm -rf "$layout"
    mkdir -p "$blobs"
    # add FILE: moves it to the blobs; prints its name there.
    add() { local sum; sum=$(sha256sum "$1" | cut -d' ' -f1); mv "$1" "$blobs/$sum"; echo "$sum"; }
    printf '{"critical":{"identity":{"docker-reference":"%s"},"image":{"docker-manifest-digest":"%s"},"type":"cosign container image signature"},"optional":{}}' \
        "$image" "$DIGEST" >"$layout/new"
    payload=$(add "$layout/new")
    printf '{"architecture":"","os":"","config":{},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' "$payload" >"$layout/new"
    config=$(add "$layout/new")
    printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:%s","size":%s},"layers":[{"mediaType":"application/vnd.dev.cosign.simplesigning.v1+json","digest":"sha256:%s","size":%s,"annotations":{"dev.cosignproject.cosign/signature":"%s"}}]}' \
        "$config" "$(stat --format=%s "$blobs/$config")" "$payload" "$(stat --format=%s "$blobs/$payload")" \
        "$(openssl dgst -sha256 -sign "$1" "$blobs/$payload" | base64 --wrap=0)" >"$layout/new"
    manifest=$(add "$layout/new")
    printf '{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%s","size":%s}]}' \
        "$manifest" "$(stat --format=%s "$blobs/$manifest")" >"$layout/index.json"
    echo '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
    skopeo --insecure-policy copy --quiet --preserve-digests "oci:$layout" "docker://$image:${DIGEST/:/-}.sig"
}
policy "{\"type\": \"sigstoreSigned\", \"keyPath\": \"$WORK/right.pub\", \"signedIdentity\": {\"type\": \"matchRepository\"}}"
run_fails 1 'sigstoreSigned in' syscontainer-pull --quiet "$image"
attach "$WORK/wrong.key"
run_fails 1 'sigstoreSigned in' syscontainer-pull --quiet "$image"
attach "$WORK/right.key"
pull "$image" >"$WORK/.sigstore" 2>&1 || true
if grep 'sigstore disabled' "$WORK/.sigstore"; then
    say "this skopeo is built without sigstore, and so refuses what is signed with it"
else
    expect_like "^$image:latest " pull "$image"
fi
expect '' bash -c 'find /var/lib/containers/atomic/.storage/ostree/tmp -name "syscontainers-*"'
mv "$WORK/away" $POLICY
