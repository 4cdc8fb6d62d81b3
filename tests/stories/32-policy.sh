#!/bin/bash
# Signature policies are enforced whatever the source, with every skopeo.
. "$(dirname "$0")/lib.sh"

POLICY=/etc/containers/policy.json
# policy JSON: of all registries; everything else is accepted.
policy() {
    cat >$POLICY <<-END
		{
		    "default": [{"type": "insecureAcceptAnything"}],
		    "transports": {"docker": {"$REGISTRY": [$1]}}
		}
	END
}

exports thing '["true"]'
build_image thing "$WORK/thing"
image=$REGISTRY/thing
skopeo copy --quiet "docker://$image" "oci:$WORK/layout:1"

say 'reject'
policy '{"type": "reject"}'
run_fails 1 'rejected by policy.*transports.docker\["127.0.0.1:5000"\]: reject in /etc/containers/policy.json' \
    syscontainer-pull --quiet "$image"
refuse 'nothing of it is in the store' ostree --repo=$STORE rev-parse ociimage/127.0.0.1_3A5000_2Fthing_3Alatest
expect_like "^oci:$WORK/layout:1 " syscontainer-pull --quiet "oci:$WORK/layout:1"
printf '{"default": [{"type": "reject"}]}' >"$WORK/policy.json"
run_fails 1 "rejected by policy.*default: reject in $WORK/policy.json" \
    syscontainer-pull --quiet --policy="$WORK/policy.json" "oci:$WORK/layout:1"
printf '{"default": [{"type": "insecureAcceptAnything"}]}' >"$WORK/policy.json"
expect_like "^$image:latest " syscontainer-pull --quiet --policy="$WORK/policy.json" "$image"
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
cat >/etc/containers/registries.d/story.yaml <<END
docker:
  $REGISTRY:
    lookaside: file:///var/lib/signatures
    lookaside-staging: file:///var/lib/signatures
    sigstore: file:///var/lib/signatures
    sigstore-staging: file:///var/lib/signatures
END
policy "{\"type\": \"signedBy\", \"keyType\": \"GPGKeys\", \"keyPath\": \"$WORK/right.gpg\"}"
run_fails 1 'transports.docker\["127.0.0.1:5000"\]: signedBy in' syscontainer-pull --quiet "$image"
skopeo --insecure-policy copy --quiet --sign-by=wrong@example.com "oci:$WORK/layout:1" "docker://$image"
run_fails 1 'signedBy in /etc' syscontainer-pull --quiet "$image"
skopeo --insecure-policy copy --quiet --sign-by=right@example.com "oci:$WORK/layout:1" "docker://$image"
expect_like "^$image:latest " syscontainer-pull --quiet "$image"
gpgconf --kill all
say 'what a policy let through is not copied once more'
mkdir -p /etc/systemd/system/registry.service.d
sed 's/accesslog: {disabled: true}/level: info/' /etc/registry.yml >/etc/registry-log.yml
cat >/etc/systemd/system/registry.service.d/log.conf <<'END'
[Service]
ExecStart=
ExecStart=/usr/bin/docker-registry serve /etc/registry-log.yml
END
systemctl daemon-reload
systemctl restart registry
# requests COMMAND…: what the command asks the registry for, one line each. The registry writes its log when it has answered, so
# a request of ours, after which nothing of what came before it is to come, stands for the beginning and for the end.
marks=0
requests() {
    local begin=$((marks + 1)) end=$((marks + 2))
    marks=$end
    mark_requests $begin
    "$@" >"$WORK/.requests" 2>&1
    mark_requests $end
    all_requests | sed "0,/story-$begin\$/d; /story-$end\$/,\$d"
}
all_requests() { journal_of registry | grep -oE '(GET|HEAD) /v2/[^ "]+' || true; }
is_marked() { all_requests | grep "story-$1\$"; }
mark_requests() {
    http "5000/v2/?story-$1" >/dev/null
    until is_marked "$1" >/dev/null; do sleep 0.05; done
}
expect 'GET /v2/thing/manifests/latest' requests syscontainer-pull --quiet "$image"
expect_like '"changed": false' syscontainer-pull --quiet --json "$image"
mv "$WORK/right.gpg" "$WORK/key"
cp "$WORK/wrong.gpg" "$WORK/right.gpg"
run_fails 1 'signedBy in /etc' syscontainer-pull --quiet "$image"
mv "$WORK/key" "$WORK/right.gpg"
expect_like '"changed": false' syscontainer-pull --quiet --json "$image"
printf '{"default": [{"type": "insecureAcceptAnything"}]}' >$POLICY
expect 'GET /v2/thing/manifests/latest' requests syscontainer-pull --quiet "$image"

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
    local layout=$WORK/signature blobs=$WORK/signature/blobs/sha256 payload config manifest signature
    rm -rf "$layout"
    mkdir -p "$blobs"
    # add FILE: moves it to the blobs; prints its name there.
    add() { local sum; sum=$(sha256sum "$1" | cut -d' ' -f1); mv "$1" "$blobs/$sum"; echo "$sum"; }
    # descriptor TYPE BLOB: the members of a descriptor.
    descriptor() { printf '"mediaType": "%s", "digest": "sha256:%s", "size": %s' "$1" "$2" "$(stat --format=%s "$blobs/$2")"; }
    cat >"$layout/new" <<-END
		{
		    "critical": {
		        "identity": {"docker-reference": "$image"},
		        "image": {"docker-manifest-digest": "$DIGEST"},
		        "type": "cosign container image signature"
		    },
		    "optional": {}
		}
	END
    payload=$(add "$layout/new")
    cat >"$layout/new" <<-END
		{"architecture": "", "os": "", "config": {}, "rootfs": {"type": "layers", "diff_ids": ["sha256:$payload"]}}
	END
    config=$(add "$layout/new")
    signature=$(openssl dgst -sha256 -sign "$1" "$blobs/$payload" | base64 --wrap=0)
    cat >"$layout/new" <<-END
		{
		    "schemaVersion": 2,
		    "mediaType": "application/vnd.oci.image.manifest.v1+json",
		    "config": {$(descriptor application/vnd.oci.image.config.v1+json "$config")},
		    "layers": [
		        {
		            $(descriptor application/vnd.dev.cosign.simplesigning.v1+json "$payload"),
		            "annotations": {"dev.cosignproject.cosign/signature": "$signature"}
		        }
		    ]
		}
	END
    manifest=$(add "$layout/new")
    cat >"$layout/index.json" <<-END
		{
		    "schemaVersion": 2,
		    "manifests": [{$(descriptor application/vnd.oci.image.manifest.v1+json "$manifest")}]
		}
	END
    echo '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
    skopeo --insecure-policy copy --quiet --preserve-digests "oci:$layout" "docker://$image:${DIGEST/:/-}.sig"
}
policy "{\"type\": \"sigstoreSigned\", \"keyPath\": \"$WORK/right.pub\", \"signedIdentity\": {\"type\": \"matchRepository\"}}"
run_fails 1 'sigstoreSigned in' syscontainer-pull --quiet "$image"
attach "$WORK/wrong.key"
run_fails 1 'sigstoreSigned in' syscontainer-pull --quiet "$image"
attach "$WORK/right.key"
syscontainer-pull --quiet "$image" >"$WORK/.sigstore" 2>&1 || true
if grep 'sigstore disabled' "$WORK/.sigstore"; then
    say "this skopeo is built without sigstore, and so refuses what is signed with it"
else
    expect_like "^$image:latest " syscontainer-pull --quiet "$image"
fi
expect '' find $STORE/tmp -name 'syscontainers-*'
mv "$WORK/away" $POLICY
