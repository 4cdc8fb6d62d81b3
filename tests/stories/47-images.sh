#!/bin/bash
# syscontainer-images: what is in the store, what it takes there, and what one image can be told.
# Rows of tests/atomic.md: q, 2.B1, 2.B2.
. "$(dirname "$0")/lib.sh"

run_fails 1 'there is none yet; pull an image' syscontainer-images

# value KEY IMAGE: of the array that --json prints, by a reader that knows JSON.
value() { syscontainer-images --json | jq_like "$2" "$1"; }
# There is no jq here; one object's keys are on lines of their own.
jq_like() { sed -n "/\"image\": \"${1//\//\\/}\"/,/^  }/p" | sed -n "s/^ *\"$2\": \(.*[^,]\),\{0,1\}\$/\1/p"; }

say 'sizes'
head -c 1000000 /dev/urandom >"$WORK/shared"
for name in one two; do
    exports $name '["true"]'
    mkdir -p "$WORK/$name-base" "$WORK/$name/srv"
    cp "$WORK/shared" "$WORK/$name-base/"
    head -c 300000 /dev/urandom >"$WORK/$name/srv/own"
done
mkdir -p "$WORK/one/usr"
cat >"$WORK/one/exports/config.json.template" <<'END'
{
    "ociVersion": "1.0.2",
    "process": {
        "args": ["true"],
        "cwd": "/",
        "env": ["A=$A", "B=${B}", "C=$$NO", "U=$UUID", "S=$STATE_DIRECTORY"]
    },
    "root": {"path": "rootfs", "readonly": true}
}
END
rm "$WORK/one/exports/config.json"
mkdir -p "$WORK/one/exports/hostfs/etc"
echo '$HOST_VARIABLE' >"$WORK/one/exports/hostfs/etc/templated"
cat >"$WORK/one/exports/manifest.json" <<'END'
{
    "defaultValues": {"A": "a b"},
    "installedFilesTemplate": ["/etc/templated"],
    "renameFiles": {"/etc/x": "/etc/$RENAMED"}
}
END
build_image one --bare --label=com.example.text='of one' "$WORK/one-base" "$WORK/one"
one=$DIGEST
build_image two --bare "$WORK/two-base" "$WORK/two"
pull_image one
alone=$(value size "$REGISTRY/one:latest")
expect "$alone" value unique-size "$REGISTRY/one:latest"
[ "$alone" -gt 1300000 ] && [ "$alone" -lt 1400000 ] || fail "$alone bytes"
pull_image two
unique=$(value unique-size "$REGISTRY/one:latest")
[ "$unique" -gt 300000 ] && [ "$unique" -lt 400000 ] || fail "$unique bytes"
ok "of $alone bytes, $unique are its own"
# The same under another name has nothing of its own but what says so.
skopeo copy --quiet "docker://$REGISTRY/two" "docker://$REGISTRY/two:again"
pull_image two:again
unique=$(value unique-size "$REGISTRY/two:again")
[ "$unique" -lt 4000 ] || fail "$unique bytes"
ok "a second name takes $unique bytes"

say 'the table'
checkout --name=user --set B=b --set HOST_VARIABLE=x --set RENAMED=x "$REGISTRY/one"
syscontainer-images >"$WORK/table"
expect_like '^NAME +TAG +DIGEST +CREATED +SIZE +UNIQUE +SIGNER +USED BY$' cat "$WORK/table"
short=${one#sha256:}
expect_like "^$REGISTRY/one +latest +${short:0:12} +(-|[0-9-]+) +1\.[0-9] MiB +[0-9.]+ KiB +- +user.0\$" cat "$WORK/table"
expect_like "^$REGISTRY/two +again +.* - +-\$" cat "$WORK/table"
expect 4 bash -c "wc -l <'$WORK/table'"
expect "$(printf '%s\n' "$REGISTRY/one:latest" "$REGISTRY/two:again" "$REGISTRY/two:latest")" syscontainer-images --quiet
expect_like '"user.0"' syscontainer-images --json

say 'one image'
syscontainer-images "$REGISTRY/one" >"$WORK/details"
for line in "Digest      $one" 'Label       com.example.text=of one' 'Variable    A=a b' 'Variable    UUID=\(built in\)' \
    'Variable    STATE_DIRECTORY=/var/lib' 'Variable    B, which has no default: .*--set B=VALUE' \
    'Variable    HOST_VARIABLE, which' 'Variable    RENAMED, which' \
    'Layer       sha256:[0-9a-f]{64} .*tar\+gzip' 'Used by     user.0'; do
    expect_like "^$line" cat "$WORK/details"
done
expect_no 'NO|\$' cat "$WORK/details"
expect 2 grep -c '^Layer' "$WORK/details"
syscontainer-images --json "$REGISTRY/one" >"$WORK/details"
for line in '"com.example.text": "of one"' '"A": "a b"' \
    '"media-type": "application/vnd.oci.image.layer.v1.tar\+gzip"'; do
    expect_like "$line" cat "$WORK/details"
done
missing() { tr -d '\n" ' <"$WORK/details" | sed 's/.*missing:\[\([^]]*\)\].*/\1/' | tr ',' ' '; }
expect 'B HOST_VARIABLE RENAMED' missing

say 'a file that a layer removed is none'
mkdir -p "$WORK/over/exports"
touch "$WORK/over/exports/.wh.config.json.template"
build_image three --bare --config='{"Cmd": ["true"]}' "$WORK/one-base" "$WORK/one" "$WORK/over"
pull_image three
expect_no 'Variable  B' syscontainer-images "$REGISTRY/three"

say 'signers'
cp /etc/containers/policy.json "$WORK/policy"
mkdir -p "$WORK/gnupg"
chmod 700 "$WORK/gnupg"
export GNUPGHOME=$WORK/gnupg
gpg --quiet --batch --passphrase '' --quick-generate-key story@example.com default default never 2>/dev/null
gpg --armor --export story@example.com >"$WORK/key.gpg"
mkdir -p /etc/containers/registries.d
cat >/etc/containers/registries.d/story.yaml <<END
docker:
  $REGISTRY:
    sigstore: file:///var/lib/story/signatures
    sigstore-staging: file:///var/lib/story/signatures
END
skopeo copy --quiet --sign-by=story@example.com "docker://$REGISTRY/two" "docker://$REGISTRY/signed"
cat >/etc/containers/policy.json <<END
{
    "default": [{"type": "insecureAcceptAnything"}],
    "transports": {
        "docker": {"$REGISTRY/signed": [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "$WORK/key.gpg"}]}
    }
}
END
pull_image signed
expect_like "^$REGISTRY/signed .* signedBy $WORK/key.gpg +-\$" syscontainer-images
cp "$WORK/policy" /etc/containers/policy.json

say 'after objects that no ref leads to are gone'
ostree --repo=$STORE prune --refs-only --depth=0 >/dev/null
expect_like '^Label +com.example.text=of one' syscontainer-images "$REGISTRY/one"
check 'and it can be installed' \
    syscontainer-checkout --no-enable --name=pruned --set B=b --set HOST_VARIABLE=x --set RENAMED=x "$REGISTRY/one"

say 'what is no image'
layer=$(ostree --repo=$STORE refs --list ociimage | grep -Ex -m 1 'ociimage/[0-9a-f]{64}')
ostree --repo=$STORE refs --create=ociimage/broken_3Alatest "$(ostree --repo=$STORE rev-parse "$layer")"
syscontainer-images >"$WORK/table" 2>"$WORK/said"
expect_like 'cannot show broken:latest: it was pulled by another program' cat "$WORK/said"
expect 1 bash -c "wc -l <'$WORK/said'"
expect_like "^$REGISTRY/one" cat "$WORK/table"
run_fails 1 'cannot find image nothing:latest' syscontainer-images nothing
run_fails 2 'unexpected argument' syscontainer-images a b
run_fails 2 '--quiet cannot be combined with --json or IMAGE' syscontainer-images --quiet "$REGISTRY/one"
