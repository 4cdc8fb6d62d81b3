#!/bin/bash
# syscontainer-checkout --dry-run: all that would be written and done, and nothing of it.
# Rows of tests/atomic.md: 4.35.
. "$(dirname "$0")/lib.sh"

CO=/var/lib/containers/atomic
cp -r "$TESTS/hello-world" "$WORK/hello"
mkdir -p "$WORK/hello/exports/hostfs/etc/hello/sub"
echo 'receiver $RECEIVER' >"$WORK/hello/exports/hostfs/etc/hello/conf"
echo x >"$WORK/hello/exports/hostfs/etc/passwd"
sed -i 's,"version",'"\"installedFilesTemplate\": [\"/etc/hello/conf\"]\, &"',' "$WORK/hello/exports/manifest.json"
build_image hello "$WORK/hello"
syscontainer-pull --quiet "$REGISTRY/hello" >/dev/null
# Whatever an installation could write to; the rest is this host's own business.
everything() { find /etc /usr /opt /srv /var/lib /var/lib/containers -xdev -path "$WORK" -prune -o -printf '%p %y %m %s %T@\n' | sort; }
dry() { syscontainer-checkout --dry-run --set RECEIVER='"dry"' "$@" "$REGISTRY/hello"; }

say 'nothing is touched'
everything >"$WORK/before"
dry --name=hello >"$WORK/preview"
everything | diff "$WORK/before" - || fail 'something was written'
ok 'not even a directory'
refuse 'not even a lock' test -e /run/syscontainers/.locks/hello

say 'and it is what comes'
syscontainer-checkout --set RECEIVER='"dry"' "$REGISTRY/hello" >/dev/null 2>&1
sed -n "\\,^# $CO/hello.0/config.json\$,,/^}/ p" "$WORK/preview" | sed 1d | diff -u - $CO/hello.0/config.json || fail 'config.json is another'
ok config.json
# First lines are comments, too.
for file in /etc/systemd/system.attached/hello.service /etc/tmpfiles.d/hello.conf /run/systemd/generator/hello.service.d/00-syscontainer.conf /etc/syscontainers/attached/hello.json; do
    grep -v -e '^#' -e '"stamp"' $file | while IFS= read -r line; do
        grep -qxF -- "${line%,}" <(sed 's/,$//' "$WORK/preview") || fail "$file: no line $line"
    done
    ok "$file"
done
for line in '# /etc/hello: directory, mode 0755, owner 0:0' '# /etc/hello/conf: mode 0644, owner 0:0' 'receiver "dry"' \
    '# /etc/passwd: is on this host already, stays as it is' "# $CO/hello -> hello.0" '# systemctl enable hello.service' \
    '# systemctl daemon-reload' '# systemd-tmpfiles --create hello.conf'; do
    expect_like "^${line//./\\.}\$" cat "$WORK/preview"
done
expect_no 'systemctl enable' dry --name=other --no-enable

say 'problems are problems'
run_fails 1 'cannot find image' syscontainer-checkout --dry-run "$REGISTRY/none"
sed -i 's/"RECEIVER": "World"/"OTHER": "x"/' "$WORK/hello/exports/manifest.json"
build_image hello:2 "$WORK/hello"
syscontainer-pull --quiet "$REGISTRY/hello:2" >/dev/null
everything >"$WORK/before"
run_fails 1 'no value for RECEIVER; exports/hostfs/etc/hello/conf:1:10: no value for RECEIVER' syscontainer-checkout --dry-run "$REGISTRY/hello:2"
everything | diff "$WORK/before" - || fail 'something was written'
