#!/bin/bash
# Images that are not what they should be, from a real registry: tests/store.rs, with what it writes put where the registry
# keeps its files.
. "$(dirname "$0")/lib.sh"

export SYSCONTAINERS_TEST_REGISTRY=$REGISTRY SYSCONTAINERS_TEST_REGISTRY_STORAGE=/var/lib/registry
export SYSCONTAINERS_TEST_PULL=/usr/bin/syscontainer-pull SYSCONTAINERS_TEST_DIRECTORY=$WORK
# What skopeo keeps of pulls is its own.
hello_world
syscontainer-pull --quiet --repo="$WORK/repo" "$REGISTRY/hello-world" >/dev/null
snapshot >"$WORK/before"
/usr/libexec/syscontainers-tests/store --test-threads=2 --nocapture >"$WORK/results" 2>&1 ||
    { shown "$WORK/results"; fail 'a test failed'; }
expect_like '^test result: ok. [1-9][0-9]* passed; 0 failed; 0 ignored' cat "$WORK/results"
refuse 'none was skipped' grep '^skipped' "$WORK/results"
for case in 'parent' 'hard link out' 'through a symlink' 'escape sequences' 'claims 8 EiB' 'digest' 'truncated' 'missing' \
    'encrypted'; do
    expect_like "^$case: syscontainer-pull: cannot pull $REGISTRY/test[0-9]+/image:latest: " cat "$WORK/results"
done
unchanged "$WORK/before"
ok 'nothing was written anywhere else'
