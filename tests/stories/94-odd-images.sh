#!/bin/bash
# Odd but real: references with a tag and a digest, images for other machines, long names, masked units, layers that are the same,
# archives that are gone, and a rollback that is taken back. With crun and runc where something runs.
. "$(dirname "$0")/lib.sh"

config='{"Cmd":["sleep","1000"],"StopSignal":"SIGKILL"}'

say 'a tag and a digest: the digest decides'
mkdir -p "$WORK/pinned"
echo 1 >"$WORK/pinned/version"
build_image pinned:1 --config="$config" "$WORK/pinned"
first=$DIGEST
echo 2 >"$WORK/pinned/version"
build_image pinned:1 --config="$config" "$WORK/pinned"
expect "$REGISTRY/pinned@$first $first" quietly syscontainer-pull "$REGISTRY/pinned:1@$first"
expect_like '"changed": false' quietly syscontainer-pull --json "$REGISTRY/pinned@$first"
for runtime in crun runc; do
    checkout --name=pinned --runtime=/usr/bin/$runtime "$REGISTRY/pinned:other@$first"
    expect 1 cat $CO/pinned/rootfs/version
    start_and_stop pinned
    quietly syscontainer-pull --container=pinned >/dev/null
    checkout --update pinned
    expect 1 cat $CO/pinned/rootfs/version
    forget pinned
done
expect_like "\"name\": \"$REGISTRY/pinned@$first\"|\"image\": \"$REGISTRY/pinned@$first\"" syscontainer-images --json
expect_like "$first" syscontainer-images "$REGISTRY/pinned:1@$first"
check 'lint takes it' syscontainer-lint "$REGISTRY/pinned:1@$first"
run_fails 2 'the tag is empty' syscontainer-pull "$REGISTRY/pinned:@$first"

say 'images for other machines'
# altered NAME SED-SCRIPT: pushes the image 'pinned' with another configuration.
altered() {
    local dir=$WORK/altered config new size
    rm -rf "$dir"
    skopeo copy --quiet "docker://$REGISTRY/pinned:1" "dir:$dir"
    config=$(tr -d ' \n' <"$dir/manifest.json" | sed 's/.*"config"://; s/}.*//' | grep -o 'sha256:[0-9a-f]*' | cut -d: -f2)
    sed "$2" "$dir/$config" >"$dir/new"
    new=$(sha256sum <"$dir/new") new=${new%% *} size=$(stat --format=%s "$dir/new")
    sed -i "s/$config/$new/; s/\(\"config\":{[^}]*\"size\":\)[0-9]*/\1$size/" "$dir/manifest.json"
    mv "$dir/new" "$dir/$new"
    skopeo copy --quiet "dir:$dir" "docker://$REGISTRY/$1"
}
mine=$(skopeo inspect --config "docker://$REGISTRY/pinned:1" | sed -n 's/.*"architecture": *"\([^"]*\)".*/\1/p')
altered foreign "s/\"architecture\":\"[^\"]*\"/\"architecture\":\"s390x\"/"
altered windows 's/"os":"linux"/"os":"windows"/'
altered silent "s/\"architecture\":\"[^\"]*\",\"os\":\"linux\",//"
snapshot >"$WORK/before"
run_fails 1 "cannot pull $REGISTRY/foreign:latest: it is for the architecture \"s390x\", which is not this machine's, $mine; .*--arch=s390x" \
    syscontainer-pull --quiet "$REGISTRY/foreign"
run_fails 1 'it is for "windows", and containers here run Linux' syscontainer-pull --quiet "$REGISTRY/windows"
run_fails 1 'which is not the chosen one, s390x' syscontainer-pull --quiet --arch=s390x "$REGISTRY/pinned:1"
expect_no 'foreign|windows' syscontainer-images
unchanged "$WORK/before"
check 'one that does not say it is taken' syscontainer-pull --quiet "$REGISTRY/silent"
check 'one that is asked for is taken' syscontainer-pull --quiet --arch=s390x "$REGISTRY/foreign"
checkout --name=foreign --no-enable "$REGISTRY/foreign"
say 'an update to one for another machine'
skopeo copy --quiet "docker://$REGISTRY/pinned:1" "docker://$REGISTRY/moving"
pull_image moving
checkout --name=moving "$REGISTRY/moving"
skopeo copy --quiet "docker://$REGISTRY/foreign" "docker://$REGISTRY/moving"
run_fails 1 "cannot pull $REGISTRY/moving:latest: it is for the architecture \"s390x\"" syscontainer-pull --quiet --container=moving
checkout --update moving
expect moving.0 readlink $CO/moving

say 'names that are too long'
long=$(printf 'n%.0s' {1..65})
exports hostnamed "$(until_stopped)" --template --namespaces=pid,ipc,mount,uts
sed -i '0,/{/s//{"hostname": "$NAME",/' "$WORK/hostnamed/exports/config.json.template"
build_and_pull hostnamed
snapshot >"$WORK/before"
run_fails 1 "cannot install $long: its host name would have 65 bytes, and Linux allows 64; choose a shorter name with --name=NAME" \
    syscontainer-checkout --name="$long" "$REGISTRY/hostnamed"
exports notifies "$(until_stopped)" --unit=Type=notify
build_and_pull notifies
exports plain-name "$(until_stopped)"
build_and_pull plain-name
socket=$(printf 'n%.0s' {1..82})
run_fails 1 "cannot install $socket: its notification socket's path would have 108 bytes" \
    syscontainer-checkout --name="$socket" "$REGISTRY/notifies"
run_fails 2 'it is longer than 200 bytes' syscontainer-checkout --name="$(printf 'n%.0s' {1..201})" "$REGISTRY/notifies"
unchanged "$WORK/before"
checkout --name="${socket%n}" "$REGISTRY/notifies"
forget "${socket%n}"
for runtime in crun runc; do
    checkout --name="${long%n}" --runtime=/usr/bin/$runtime "$REGISTRY/hostnamed"
    start_and_stop "${long%n}"
    forget "${long%n}"
    # Without a host name and a socket, a file's name is the limit.
    longest=$(printf 'n%.0s' {1..200})
    checkout --name="$longest" --runtime=/usr/bin/$runtime "$REGISTRY/plain-name"
    start_and_stop "$longest"
    forget "$longest"
done

say 'a masked unit is left alone'
new_version masked 1
install_image masked
systemctl start masked
systemctl --quiet mask --now masked
new_version masked 2
build_and_pull masked
check 'an update is staged' syscontainer-checkout --update --stage masked
syscontainer-checkout --update --stage masked 2>"$WORK/said" >/dev/null
expect_like "masked is masked, so nothing runs until 'systemctl unmask masked'" cat "$WORK/said"
syscontainer-switch masked 2>"$WORK/said"
expect_like "masked is masked, leaving masked.1 staged until 'systemctl unmask masked'" cat "$WORK/said"
expect masked.0 readlink $CO/masked
expect masked enablement masked
check 'so does the automatic one' systemctl start syscontainer-update@masked.service
expect masked.0 readlink $CO/masked
systemctl --quiet unmask masked
systemctl start masked
set_soak masked 1
check 'unmasked, it is updated' syscontainer-switch masked
expect_current masked.1
say 'at once, too'
systemctl --quiet mask --now masked
new_version masked 3
build_and_pull masked
check 'it is made current' syscontainer-checkout --update masked
expect masked.2 readlink $CO/masked
systemctl --quiet unmask masked
check 'and runs when it may' systemctl start masked
expect enabled enablement masked
forget masked
systemctl --quiet mask masked2.service
run_fails 1 'masked2.service is masked, and may hide another unit of that name' syscontainer-checkout --name=masked2 "$REGISTRY/masked"
systemctl --quiet unmask masked2.service

say 'ten layers that are the same'
mkdir -p "$WORK/layer/srv"
echo x >"$WORK/layer/srv/file"
layers=()
for _ in {1..10}; do layers+=("$WORK/layer"); done
build_image ten --config="$config" "${layers[@]}"
# Besides that of busybox, which is there.
expect_like '"layers-fetched": 1' quietly syscontainer-pull --json "$REGISTRY/ten"
for runtime in crun runc; do
    checkout --name=ten --runtime=/usr/bin/$runtime "$REGISTRY/ten"
    start_and_stop ten
    forget ten
done

say 'an archive that is gone has no update'
"$TESTS/build-image" --config="$config" "$WORK/archived:latest" "$WORK/pinned" >/dev/null
mkdir -m 0755 /root/images
skopeo copy --quiet "oci:$WORK/archived:latest" oci-archive:/root/images/archived.tar
quietly syscontainer-pull oci-archive:/root/images/archived.tar >/dev/null
checkout --name=archived oci-archive:/root/images/archived.tar
rm -r /root/images
syscontainer-pull --container=archived 2>"$WORK/said"
expect_like 'archived came from oci-archive:/root/images/archived.tar, which no longer exists; nothing was pulled' cat "$WORK/said"
check 'the timer has nothing to do' systemctl start syscontainer-update@archived.service

say 'a rollback that is taken back'
new_version back 1
install_image back
systemctl start back
set_soak back 1
new_version back 2
build_and_pull back
quietly syscontainer-checkout --update --stage back >/dev/null
check 'an update' syscontainer-switch back
check 'back' syscontainer-rollback back
expect_current back.0
expect_like 'back by hand' cat $CO/.back.state
check 'and forth' syscontainer-rollback back
expect_current back.1
new_version back 1
build_and_pull back
quietly syscontainer-checkout --update --stage back >/dev/null
expect_no 'back by hand' cat $CO/.back.state
check 'what was first is not called bad' syscontainer-switch back
expect 1 cat $CO/back/rootfs/version

say 'dates'
expect_like '"since": "20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"' syscontainer-list --json
