#!/bin/bash
# Everything that the generator's golden cases write is what systemd takes without a word.
. "$(dirname "$0")/lib.sh"

# What a case without a runtime runs.
mkdir -p /var/lib/containers/atomic/good/rootfs/usr/bin
cp /bin/true /var/lib/containers/atomic/good/rootfs/usr/bin/x
# systemd 252 looks for what is in a root directory outside of it.
cp /bin/true /usr/bin/good
count=0
for body in "$TESTS"/generator/*/expected/*.service.d/00-syscontainer.conf; do
    case $body in */19-another-generator-was-first/*) continue ;; esac # not ours
    unit=$(basename "$(dirname "$body")" .d)
    mkdir -p "$WORK/units"
    cp "$body" "$WORK/units/$unit"
    systemd-analyze --man=no verify "$WORK/units/$unit" >"$WORK/.out" 2>&1 || { shown "$WORK/.out"; fail "$body"; }
    [ ! -s "$WORK/.out" ] || { shown "$WORK/.out"; fail "$body"; }
    rm -r "$WORK/units"
    count=$((count + 1))
done
[ "$count" -gt 25 ] || fail "$count are too few"
ok "$count bodies"

say 'broken ones say so'
mkdir -p /etc/syscontainers/attached /etc/systemd/system.attached
printf '{"version": 1,\n "name": oops}\n' >/etc/syscontainers/attached/broken.json
hello_world hello-world
pull_image hello-world
checkout "$REGISTRY/hello-world"
expect 'broken (broken: /etc/syscontainers/attached/broken.json:2: not a registration: expected value)' \
    unit_property broken Description
refuse 'it does not start' systemctl start broken
expect 'failed failed exit-code 78' state broken
expect_like 'cannot start broken: /etc/syscontainers/attached/broken.json:2:' journal_of broken
check 'the good one beside it does' systemctl start hello-world
expect 'active running success' state hello-world
