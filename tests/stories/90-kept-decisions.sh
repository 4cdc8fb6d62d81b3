#!/bin/bash
# What was decided on a container lasts: that /exports are ignored, and which values are secret.
. "$(dirname "$0")/lib.sh"

# said_nothing: the last command did not repeat the secret.
said_nothing() { expect_no hunter2 cat "$WORK/.err"; }
# marked NAME ARGS [OPTION…]: as exports, of an image that marks TOKEN as secret.
marked() {
    exports "$@" --template
    echo '{"secretValues": ["TOKEN"]}' >"$WORK/$1/exports/manifest.json"
}
# leaks NAME PLACE ARGS [OPTION…]: a secret is refused at that place of the configuration, by checkout and by lint.
leaks() {
    marked "$1" "${@:3}"
    build_and_pull "$1"
    run_fails 1 "TOKEN is a secret, and other users of the host could see it in $2; use it in process.env" \
        syscontainer-checkout --set=TOKEN=hunter2 "$REGISTRY/$1"
    said_nothing
    expect_like 'error.*readable-secret' sh -c "syscontainer-lint $REGISTRY/$1 || true"
    refuse 'nothing is left' test -e "$CO/$1"
}

say 'what is ignored stays ignored'
dies='{"Cmd": ["sh", "-c", "sleep 2; exit 3"]}'
stays='{"Cmd": ["sh", "-c", "trap \"exit 0\" TERM; sleep 100000 & wait"]}'
exports kept "$(until_stopped)" --unit="ExecStartPre=+/bin/sh -c 'echo again >>/etc/rooted'"
build_and_pull kept --config="$dies"
checkout "$REGISTRY/kept"
set_soak kept 1
systemctl start kept
expect again cat /etc/rooted
rm /etc/rooted
mkdir -p /etc/systemd/system/kept.service.d
printf '[Unit]\nOnFailure=syscontainer-rollback@%%N.service\n[Service]\nRestart=no\n' >/etc/systemd/system/kept.service.d/failure.conf
checkout --update --plain kept
expect_like '^  "ignores-exports": true' cat $CO/.kept.state
systemctl daemon-reload
systemctl restart kept
wait_for 'its payload fails, and no rollback helps it' systemctl is-failed syscontainer-rollback@kept.service
why="kept.0 uses the /exports of its image, which kept ignores since --plain; "
why+="accept them with 'syscontainer-checkout --update --accept-exports kept'"
expect_like "$why" journal_of syscontainer-rollback@kept.service
run_fails 1 "cannot roll back kept: $why" syscontainer-rollback kept
run_fails 1 "cannot roll back kept: $why" syscontainer-rollback kept 0
expect kept.1 readlink $CO/kept
expect_like '"exports": "ignored"' cat $CO/kept/info
refuse 'nothing of it ran' test -e /etc/rooted
rm -r /etc/systemd/system/kept.service.d
systemctl daemon-reload
systemctl reset-failed syscontainer-rollback@kept.service kept.service

say 'also by updates, whichever fails'
touch "$WORK/kept/another"
build_and_pull kept --config="$stays"
checkout --update kept
expect_like '"exports": "ignored"' cat $CO/kept/info
systemctl start kept
expect_current kept.2
touch "$WORK/kept/one-more"
build_image kept --config="$dies" "$WORK/kept"
set_soak kept 5
refuse 'update@ fails' systemctl start syscontainer-update@kept.service
expect_current kept.2
refuse 'nothing of it ran' test -e /etc/rooted
systemctl reset-failed

say 'until they are accepted'
checkout --update --accept-exports kept
expect_like '"exports": "accepted"' cat $CO/kept/info
expect_no '^  "ignores-exports": true' cat $CO/.kept.state
set_soak kept 1
systemctl restart kept
expect again cat /etc/rooted
check 'then a rollback leads to a plain one' syscontainer-rollback kept
expect_like '"exports": "ignored"' cat $CO/kept/info
check 'and another one back' syscontainer-rollback kept
expect_like '"exports": "accepted"' cat $CO/kept/info
syscontainer-remove kept 2>/dev/null
rm /etc/rooted

say 'an info that was damaged is not that of Atomic'
mkdir -p "$WORK/damaged"
build_and_pull damaged --config="$stays"
checkout "$REGISTRY/damaged"
cp -p $CO/damaged/info "$WORK/info"
for rest in '"syscontainers": null}' '"use-links": true}'; do
    { sed '/"syscontainers": {/,$d' "$WORK/info"; echo "$rest"; } >$CO/damaged.0/info
    run_fails 1 'damaged' syscontainer-checkout --update damaged
done
cp -p "$WORK/info" $CO/damaged.0/info

say 'a secret does not get out of the configuration'
chmod 0700 "$WORK"
leaks arguments 'process.args\[2\]' '["sleep", "100000", "--token=$TOKEN"]'
leaks source 'mounts\[2\].source' '["true"]' --mount='/var/lib/$TOKEN:/x'
leaks limit 'linux.resources.unified.memory.high' '["true"]' --resources='{"unified": {"memory.high": "$TOKEN"}}'
leaks key 'linux.resources.unified' '["true"]' --resources='{"unified": {"$TOKEN": "1"}}'
leaks number 'linux.resources.memory.limit' '["true"]' --resources='{"memory": {"limit": "$TOKEN"}}'
leaks score 'process.oomScoreAdj' '["true"]' --process='"oomScoreAdj": "$TOKEN"'

say 'nor does any value that is wrong'
exports typed '["true"]' --template --process='"oomScoreAdj": "$SCORE"'
build_and_pull typed
run_fails 1 'not an OCI runtime configuration: process.oomScoreAdj: expected i32' \
    syscontainer-checkout --set=SCORE=hunter2 "$REGISTRY/typed"
said_nothing

say 'an update does not make a secret public'
marked sticky "$(until_stopped)" --env='"TOKEN=$TOKEN"'
build_and_pull sticky
checkout --set=TOKEN=hunter2 "$REGISTRY/sticky"
expect_like '"image-secrets":\["TOKEN"\]' tr -d '\n ' <$CO/sticky/info
rm "$WORK/sticky/exports/manifest.json"
touch "$WORK/sticky/second"
build_and_pull sticky
checkout --update sticky
expect_like '"image-secrets":\["TOKEN"\]' tr -d '\n ' <$CO/sticky/info
sed -i 's/^\[Service\]/&\nEnvironment=TOKEN=$TOKEN/' "$WORK/sticky/exports/service.template"
build_image sticky "$WORK/sticky"
refuse 'update@ fails' systemctl start syscontainer-update@sticky.service
expect_like 'TOKEN is a secret' journal_of syscontainer-fetch@sticky.service
expect_no hunter2 journal_of syscontainer-fetch@sticky.service
systemctl reset-failed
checkout --update --unset=TOKEN --set=TOKEN=public sticky
expect_like '^Environment=.*TOKEN=public' systemctl show --property=Environment sticky

say 'a host file that a group can read is no place for one'
marked grouped "$(until_stopped)"
mkdir -p "$WORK/grouped/exports/hostfs/etc/story"
echo 'token=$TOKEN' >"$WORK/grouped/exports/hostfs/etc/story/token"
echo '{"secretValues": ["TOKEN"], "installedFilesTemplate": ["/etc/story/token"]}' >"$WORK/grouped/exports/manifest.json"
chgrp 100 "$WORK/grouped/exports/hostfs/etc/story/token"
chmod 0640 "$WORK/grouped/exports/hostfs/etc/story/token"
build_and_pull grouped --owners
run_fails 1 'TOKEN is a secret, and every user of the host could read it here' \
    syscontainer-checkout --set=TOKEN=hunter2 "$REGISTRY/grouped"
chgrp 0 "$WORK/grouped/exports/hostfs/etc/story/token"
build_and_pull grouped --owners
check "that of root's may" syscontainer-checkout --set=TOKEN=hunter2 "$REGISTRY/grouped"
expect 'token=hunter2' cat /etc/story/token
