#!/bin/bash
# What an image says takes no more memory, time or lines of the journal than it may; what is decided counts, whatever failed before;
# and what the manual claims of labels, secrets and checks holds.
. "$(dirname "$0")/lib.sh"

SLEEPS='{"Cmd":["sh","-c","trap \"exit 0\" TERM; sleep 100000 & wait"]}'
DIES='{"Cmd":["sh","-c","exit 3"]}'

# repeat COUNT TEXT: prints the text so many times.
repeat() {
    local _
    for _ in $(seq "$1"); do printf '%s' "$2"; done
}
# push_layers NAME COUNT LAYER: pushes an image that has one layer so many times.
push_layers() {
    local layout=$WORK/layout size layer diff_id config manifest blobs=$WORK/layout/blobs/sha256
    rm -rf "$layout"
    mkdir -p "$blobs"
    # put FILE: makes a blob of it.
    put() {
        digest=$(sha256sum <"$1")
        digest=sha256:${digest%% *} size=$(stat -c %s "$1")
        mv "$1" "$blobs/${digest#*:}"
    }
    # how_often COUNT TEXT: the text so many times, with commas.
    how_often() { repeat "$1" "$2," | sed 's/,$//'; }
    diff_id=$(sha256sum <"$3")
    gzip -n <"$3" >"$WORK/blob"
    put "$WORK/blob"
    layer=$(how_often "$2" "{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar+gzip\",\"digest\":\"$digest\",\"size\":$size}")
    printf '{"architecture":"amd64","os":"linux","config":{"Cmd":["/f"]},"rootfs":{"type":"layers","diff_ids":[%s]}}' \
        "$(how_often "$2" "\"sha256:${diff_id%% *}\"")" >"$WORK/blob"
    put "$WORK/blob"
    config="{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\"digest\":\"$digest\",\"size\":$size}"
    manifest=application/vnd.oci.image.manifest.v1+json
    printf '{"schemaVersion":2,"mediaType":"%s","config":%s,"layers":[%s]}' "$manifest" "$config" "$layer" >"$WORK/blob"
    put "$WORK/blob"
    echo '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
    printf '{"schemaVersion":2,"manifests":[{"mediaType":"%s","digest":"%s","size":%s,"annotations":{"org.opencontainers.image.ref.name":"latest"}}]}' \
        "$manifest" "$digest" "$size" >"$layout/index.json"
    skopeo copy --quiet "oci:$layout:latest" "docker://$REGISTRY/$1"
}
# peak COMMAND…: runs it, and sets PEAK to the memory that it had at most, in MiB; its exit status is in STATUS.
peak() {
    local kib=0 now
    "$@" >"$WORK/out" 2>"$WORK/err" &
    while now=$(quietly sed -n 's/^VmHWM:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$!/status") && [ -n "$now" ]; do
        kib=$now
        sleep 0.05
    done
    STATUS=0
    wait $! || STATUS=$?
    PEAK=$((kib / 1024))
}
# with_user NAME TEXT: an image that names this user.
with_user() {
    mkdir -p "$WORK/$1/etc"
    cp "$WORK/users/etc/"* "$WORK/$1/etc/"
    build_and_pull "$1" --config="{\"Cmd\":[\"sh\",\"-c\",\"id -u; sleep 100000\"],\"User\":\"$2\",\"Volumes\":{\"/data\":{}}}"
}

# gives STATUS COMMAND…: runs it, with that exit status; what it prints is in $WORK/out and $WORK/err.
gives() {
    local status=0
    "${@:2}" >"$WORK/out" 2>"$WORK/err" || status=$?
    [ $status = "$1" ] || { shown "$WORK/err"; fail "${*:2}: exit status $status, not $1"; }
    ok "${*:2}: exit status $status"
}

say 'directories without members are in memory once, whatever the manifest names how often'
mkdir -p "$WORK/deep"
chain=$(printf 'a/%.0s' $(seq 510))
for number in $(seq 10 71); do
    mkdir -p "$WORK/deep/$number/$chain"
    touch "$WORK/deep/$number/${chain}f"
done
(cd "$WORK/deep" && find . -type f -printf '%P\n' | tar -cf "$WORK/deep.tar" --no-recursion -T -)
rm -rf "$WORK/deep"
push_layers deep1 1 "$WORK/deep.tar"
peak syscontainer-pull --quiet "$REGISTRY/deep1"
expect 0 echo $STATUS
once=$PEAK
push_layers deep60 60 "$WORK/deep.tar"
peak syscontainer-pull --quiet "$REGISTRY/deep60"
expect_like 'the paths of directories that have no entries of their own are more than 64 MiB in all layers' cat "$WORK/err"
expect 1 echo $STATUS
check "60 times the layer take $PEAK MiB, and it takes $once MiB once" test "$PEAK" -lt $((once + 200))

say 'users'
mkdir -p "$WORK/users/etc"
printf '%s\n' root:x:0:0::/: max:x:4294967295:4294967295::/: app:x:1000:1000::/: >"$WORK/users/etc/passwd"
{ echo max:x:4294967295:; repeat 40000 $'g:x:9:app\n'; } >"$WORK/users/etc/group"
with_user zeros "$(head -c 100000 /dev/zero | tr '\0' 0)1"
run_fails 1 'its user is 100001 bytes long, over the limit of 256' syscontainer-checkout --no-enable "$REGISTRY/zeros"
with_user highest max
run_fails 1 'its user "max" is not in its /etc/passwd' syscontainer-checkout --no-enable "$REGISTRY/highest"
repeat 65537 $'g:x:9:app\n' >"$WORK/users/etc/group"
with_user groups app
run_fails 1 '"app" is in more than 65536 groups of its /etc/group' syscontainer-checkout --no-enable "$REGISTRY/groups"
echo 'g:x:9:app' >"$WORK/users/etc/group"
with_user member app
for runtime in crun runc; do
    [ -n "$(command -v $runtime)" ] || { skip "there is no $runtime"; continue; }
    checkout --no-enable --name="member-$runtime" --runtime="$(command -v $runtime)" "$REGISTRY/member"
    systemctl start "member-$runtime"
    expect_like '^Groups:.*\b9\b' cat "/proc/$(systemctl show -P MainPID "member-$runtime")/status"
    systemctl stop "member-$runtime"
    syscontainer-remove --purge "member-$runtime"
done

say 'templates of host files have one limit'
mkdir -p "$WORK/many/exports/hostfs/srv/t"
names=''
exports many "$(until_stopped)"
# A long name that becomes nothing.
{ printf '$'; head -c 1023 /dev/zero | tr '\0' E; } >"$WORK/.name"
repeat 1024 "$(cat "$WORK/.name")" >"$WORK/many/exports/hostfs/srv/t/f1"
for number in $(seq 17); do
    [ "$number" = 1 ] || ln "$WORK/many/exports/hostfs/srv/t/f1" "$WORK/many/exports/hostfs/srv/t/f$number"
    names+="${names:+, }\"/srv/t/f$number\""
done
printf '{"defaultValues": {"%s": ""}, "installedFilesTemplate": [%s]}' "$(cut -c2- "$WORK/.name")" "$names" >"$WORK/many/exports/manifest.json"
build_and_pull many
run_fails 1 'in all of installedFilesTemplate: it is larger than the limit of 16384 KiB' syscontainer-checkout --no-enable "$REGISTRY/many"
repeat 5000 $'${\n' >"$WORK/many/exports/hostfs/srv/t/f1"
printf '{"installedFilesTemplate": ["/srv/t/f1"]}' >"$WORK/many/exports/manifest.json"
rm "$WORK/many/exports/hostfs/srv/t/f"{2..17}
build_and_pull many
run_fails 1 'and 4980 more problems' syscontainer-checkout --no-enable "$REGISTRY/many"
gives 1 syscontainer-lint "$REGISTRY/many"
expect_like '4000 more problems with variables in exports/hostfs are not listed' cat "$WORK/err"
expect 1000 grep -c 'invalid placeholder' "$WORK/out"

say 'an image writes no entry of the journal'
forged="<2>systemd[1]: FORGED: everything is fine "
mkdir -p "$WORK/forge"
exports forge "$(until_stopped)"
repeat 3000 "$forged" >"$WORK/.long"
# Where a message repeats what an image says.
printf '[Service]\nExecStart=$EXEC_START\n%s\n' "$(cat "$WORK/.long")" >"$WORK/forge/exports/service.template"
build_and_pull forge
systemd-run --quiet --wait --unit=forge-test syscontainer-checkout --no-enable "$REGISTRY/forge" || true
systemd-run --quiet --wait --unit=forge-lint syscontainer-lint "$REGISTRY/forge" || true
systemd-run --quiet --wait --unit=forge-name syscontainer-checkout --no-enable "0:$(head -c 100000 "$WORK/.long")" || true
for unit in forge-test forge-lint forge-name; do
    expect_soon '' eval "journalctl --sync; journalctl --quiet --unit=$unit --output=cat | grep '^systemd\[1\]: FORGED' || true"
    expect '' eval "journalctl --quiet --unit=$unit _TRANSPORT=stdout --priority=2 --output=cat"
    check "$unit said something" eval "journalctl --quiet --unit=$unit _TRANSPORT=stdout --output=cat | grep . >/dev/null"
done

say 'no password is repeated'
for text in 'docker://user:s3"cret@127.0.0.1:5000/app' 'docker://user:s3?cret@127.0.0.1:5000/app' 'user:s3"cr?et@127.0.0.1:5000/app'; do
    for command in 'syscontainer-pull' 'syscontainer-pull --check' 'syscontainer-checkout' 'syscontainer-checkout --name='; do
        # shellcheck disable=SC2086 # words
        if [ "${command%=}" = "$command" ]; then set -- $command "$text"; else set -- ${command% *} "${command##* }$text" x; fi
        "$@" >"$WORK/out" 2>"$WORK/err" && fail "$*"
        expect_no 's3' cat "$WORK/out" "$WORK/err"
    done
done

say '--plain of what failed before'
exports plain "$(until_stopped)"
build_and_pull plain --config="$SLEEPS"
checkout --no-enable "$REGISTRY/plain"
systemctl start plain
set_soak plain 1
echo 1 >"$WORK/plain/version"
sed -i 's/^ExecStart=.*/ExecStart=\/bin\/false/' "$WORK/plain/exports/service.template"
build_image plain --config="$SLEEPS" "$WORK/plain"
check 'an update is staged' systemctl start syscontainer-fetch@plain
gives 4 syscontainer-switch plain
expect_like 'plain.1 failed: .*; plain.0 is current again' cat "$WORK/err"
gives 0 syscontainer-checkout --update --stage plain
expect_like 'was tried before and failed' cat "$WORK/err"
gives 0 syscontainer-checkout --update --stage --plain plain
expect_like 'staged plain\.' cat "$WORK/err"
expect_like '"ignores-exports": true' cat $CO/.plain.state
echo 2 >"$WORK/plain/version"
sed -i 's/^ExecStart=.*/ExecStartPre=+\/bin\/touch \/etc\/rooted\nExecStart=$EXEC_START/' "$WORK/plain/exports/service.template"
build_image plain --config="$SLEEPS" "$WORK/plain"
check 'the next update' systemctl start syscontainer-fetch@plain
systemctl start plain
gives 0 syscontainer-switch plain
refuse 'nothing of it ran' test -e /etc/rooted
expect_like '"exports": "ignored"' cat $CO/plain/info

say '--plain that fails as well is remembered'
echo 3 >"$WORK/plain/version"
build_image plain --config="$DIES" "$WORK/plain"
check 'another update' systemctl start syscontainer-fetch@plain
gives 4 syscontainer-switch plain
gives 0 syscontainer-checkout --update --stage plain
expect_like 'was tried before and failed' cat "$WORK/err"
expect_like '"ignores-exports": true' cat $CO/.plain.state
systemctl stop plain

say 'a container that runs once does not stop doing so'
mkdir -p "$WORK/once"
build_and_pull once --label=atomic.run=once --config='{"Cmd":["true"]}'
checkout --no-enable "$REGISTRY/once"
build_image once --label=atomic.run=other --config='{"Cmd":["true"]}' "$WORK/once"
gives 6 syscontainer-pull --quiet --check --container=once
expect_like 'unaccepted, it has no atomic.run=once' cat "$WORK/out"
refuse 'fetch stages nothing' quietly systemctl start syscontainer-fetch@once
refuse 'there is one deployment' test -e $CO/once.1
pull_image once
run_fails 6 'has no atomic.run=once, unlike the image that once was installed from: it would run differently; accept it with' \
    syscontainer-checkout --update once
gives 0 syscontainer-checkout --update --accept-exports once
expect once.1 readlink $CO/once
systemctl reset-failed syscontainer-fetch@once

say 'a file of another user is no place for a secret'
exports owned "$(until_stopped)"
mkdir -p "$WORK/owned/exports/hostfs/etc/story"
echo 'token=$TOKEN' >"$WORK/owned/exports/hostfs/etc/story/token"
echo '{"secretValues": ["TOKEN"], "installedFilesTemplate": ["/etc/story/token"]}' >"$WORK/owned/exports/manifest.json"
chmod 0600 "$WORK/owned/exports/hostfs/etc/story/token"
chown 65534 "$WORK/owned/exports/hostfs/etc/story/token"
build_and_pull owned --owners
run_fails 1 'TOKEN is a secret, .* in a host file of mode 0600 that belongs to root' \
    syscontainer-checkout --no-enable --set=TOKEN=hunter2 "$REGISTRY/owned"
refuse 'nothing is there' test -e /etc/story/token
chown 0 "$WORK/owned/exports/hostfs/etc/story/token"
build_and_pull owned --owners
checkout --no-enable --set=TOKEN=hunter2 "$REGISTRY/owned"
expect 'token=hunter2' cat /etc/story/token

say 'a check fails where an update would'
for kind in link directory; do
    mkdir -p "$WORK/odd-$kind"
    build_and_pull "odd-$kind" --config="$SLEEPS"
    checkout --no-enable "$REGISTRY/odd-$kind"
    mkdir -p "$WORK/odd-$kind/exports"
    if [ $kind = link ]; then
        ln -s ../x "$WORK/odd-$kind/exports/service.template"
        touch "$WORK/odd-$kind/x"
    else
        mkdir "$WORK/odd-$kind/exports/config.json"
    fi
    build_image "odd-$kind" --config="$SLEEPS" "$WORK/odd-$kind"
    run_fails 1 "cannot find out what an update of odd-$kind to sha256:[0-9a-f]* would do: " \
        syscontainer-pull --quiet --check --container="odd-$kind"
    refuse 'nor is there an update' quietly systemctl start "syscontainer-fetch@odd-$kind"
    systemctl reset-failed "syscontainer-fetch@odd-$kind"
done
