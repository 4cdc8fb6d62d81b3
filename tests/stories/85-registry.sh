#!/bin/bash
# A registry that goes quiet, drips, or sends more than it says: pulls end, by hand and in units, nothing waits for them longer than
# that, and nothing is left of them. The registry is that of tests/registry.rs. And no message has credentials.
. "$(dirname "$0")/lib.sh"

hostile=127.0.0.1:5085
printf '[[registry]]\nlocation = "%s"\ninsecure = true\n' $hostile >/etc/containers/registries.conf.d/hostile.conf
systemd-run --quiet --unit=hostile --setenv=SYSCONTAINERS_TEST_SERVE=$hostile \
    /usr/libexec/syscontainers-tests/registry --exact serve_the_story --nocapture
# Before, it has no images.
wait_for 'it serves' http 5085/v2/app/manifests/latest
behave() { expect ok http "5085/behave/$1/$2"; }
# skopeos: how many are running.
skopeos() { cat /proc/[0-9]*/comm 2>/dev/null | grep -cx skopeo || true; }
# fetches LINE…: settings of the unit that fetches.
fetches() {
    mkdir -p /etc/systemd/system/syscontainer-fetch@.service.d
    printf '%s\n' '[Service]' "$@" >/etc/systemd/system/syscontainer-fetch@.service.d/story.conf
    systemctl daemon-reload
}

say 'an honest one'
check 'an image is pulled' syscontainer-pull --quiet $hostile/app
checkout --no-enable $hostile/app
ends 0 syscontainer-pull --check --container=app
expect ok http 5085/as/app/other

say 'it goes quiet in the middle of a layer'
behave app quiet
run_fails 1 'nothing arrived for 2 seconds, giving up; for a slow source, use a longer --idle-timeout=' \
    syscontainer-pull --quiet --idle-timeout=2s $hostile/app
expect 0 skopeos
syscontainer-pull --idle-timeout=5s $hostile/app >/dev/null 2>"$WORK/quiet" &
wait_for 'it waits for a layer' grep 'fetching layer' "$WORK/quiet"
check 'a prune beside it waits no longer than that' syscontainer-prune
refuse 'the pull failed' wait $!
expect_like 'nothing arrived for 5 seconds' cat "$WORK/quiet"
store_is_sound

say 'it does not even answer'
behave app quiet-manifest
syscontainer-pull --quiet --idle-timeout=5s $hostile/app >/dev/null 2>"$WORK/quiet" &
wait_for 'it is asked' bash -c 'cat /proc/[0-9]*/comm | grep -x skopeo'
check 'no lock is held meanwhile: a prune' syscontainer-prune
expect 1 skopeos
refuse 'the pull failed' wait $!
expect_like 'only 0 bytes arrived in 10 seconds' cat "$WORK/quiet"
run_fails 1 'only 0 bytes arrived in 2 seconds' syscontainer-pull --quiet --idle-timeout=1s --check $hostile/app
expect 0 skopeos

say 'it drips: a unit gives up'
behave app drip
fetches ExecStart= 'ExecStart=/usr/bin/syscontainer-pull --idle-timeout=1s --container=%i'
refuse 'the fetch fails' systemctl start syscontainer-fetch@app
expect_like 'only [0-9]+ bytes arrived in 2 seconds, giving up' journal_of syscontainer-fetch@app
expect 0 skopeos
say 'and drops do not extend its timeout'
fetches ExecStart= 'ExecStart=/usr/bin/syscontainer-pull --idle-timeout=1h --container=%i' TimeoutStartSec=4s
refuse 'the fetch fails' systemctl start syscontainer-fetch@app
expect_like '^failed failed timeout' state syscontainer-fetch@app
expect_soon 0 skopeos
rm -r /etc/systemd/system/syscontainer-fetch@.service.d
systemctl daemon-reload

say 'it mends its ways'
behave app honest
check 'the unit as it is' systemctl start syscontainer-fetch@app
ends 5 syscontainer-pull --check --container=app
expect_like 'staged as app\.1' cat "$WORK/printed"

say 'it sends more than it says'
behave other endless
small_disk 64M
blocks_left() { stat --file-system --format=%a "$WORK/disk"; }
check 'an honest image' syscontainer-pull --quiet --repo="$WORK/disk/first" $hostile/app
before=$(blocks_left)
run_fails 1 'there are more bytes than the [0-9]+ that the manifest declares' \
    syscontainer-pull --quiet --repo="$WORK/disk/other" $hostile/other
# Besides an empty store, nothing more was written than the manifest says.
[ "$(blocks_left)" -gt $((before - 2000)) ] || fail "$before blocks were free, and $(blocks_left) are now"
ok 'the disk is not filled'
expect 0 skopeos
umount "$WORK/disk"

say 'credentials'
cat >/etc/systemd/system/secret.service <<END
[Unit]
Description=Pull with credentials
[Service]
Type=oneshot
ExecStart=/usr/bin/syscontainer-pull docker://user:s3cret@$hostile/app
END
systemctl daemon-reload
refuse 'a unit that has some in its reference fails' systemctl start secret
expect_like 'invalid image reference "docker://\*\*\*@127.0.0.1:5085/app": it contains a user name or a password' \
    journal_of secret
expect_no s3cret journal_of secret
behave app redirect
run_fails 1 '127.0.0.1:3' syscontainer-pull --quiet --repo="$WORK/secret" $hostile/app
expect_no s3cret cat "$WORK/.err"
systemctl stop hostile
