#!/bin/bash
# syscontainer-checkout --dry-run: all that would be written and done, and nothing of it.
# Rows of tests/atomic.md: 4.35.
. "$(dirname "$0")/lib.sh"

cp -r "$TESTS/hello-world" "$WORK/hello"
mkdir -p "$WORK/hello/exports/hostfs/etc/hello/sub"
echo 'receiver $RECEIVER' >"$WORK/hello/exports/hostfs/etc/hello/conf"
echo x >"$WORK/hello/exports/hostfs/etc/passwd"
sed -i 's,"version","installedFilesTemplate": ["/etc/hello/conf"]\, &,' "$WORK/hello/exports/manifest.json"
build_and_pull hello
# everything: whatever an installation could write to; the rest is this host's own business.
everything() { host_files '%p %y %m %s %T@' /etc /usr /opt /srv /var/lib /var/lib/containers; }
dry() { syscontainer-checkout --dry-run --set RECEIVER='"dry"' "$@" "$REGISTRY/hello"; }

say 'nothing is touched'
everything >"$WORK/before"
dry --name=hello >"$WORK/preview"
# Not even a directory.
expect_same "$WORK/before" everything
refuse 'not even a lock' test -e /run/syscontainers/.locks/hello

say 'and it is what comes'
checkout --set RECEIVER='"dry"' "$REGISTRY/hello"
previewed_config() { sed -n "\\,^# $CO/hello.0/config.json\$,,/^    }/ p" "$WORK/preview" | sed '1d; s/^    //'; }
expect_same $CO/hello.0/config.json previewed_config
# First lines are comments, too.
for file in /etc/systemd/system.attached/hello.service /etc/tmpfiles.d/hello.conf \
    /run/systemd/generator/hello.service.d/00-syscontainer.conf /etc/syscontainers/attached/hello.json; do
    # What there is only once it is installed.
    sed -e '/"storage": {/,/}/ d' -e '/^#/ d' -e '/"stamp"/ d' $file | while IFS= read -r line; do
        grep -qxF -- "${line:+    }${line%,}" <(sed 's/,$//' "$WORK/preview") || fail "$file: no line $line"
    done
    ok "$file"
done
for line in '# /etc/hello: directory, mode 0755, owner 0:0' '# /etc/hello/conf: mode 0644, owner 0:0' '    receiver "dry"' \
    '# /etc/passwd: is on this host already, stays as it is' "# $CO/hello -> hello.0" '# systemctl enable hello.service' \
    '# systemctl daemon-reload' '# systemd-tmpfiles --create hello.conf'; do
    expect_like "^${line//./\\.}\$" cat "$WORK/preview"
done
expect_no 'systemctl enable' dry --name=other --no-enable

say 'problems are problems'
run_fails 1 'cannot find image' syscontainer-checkout --dry-run "$REGISTRY/none"
sed -i 's/"RECEIVER": "World"/"OTHER": "x"/' "$WORK/hello/exports/manifest.json"
build_and_pull hello:2
everything >"$WORK/before"
run_fails 1 'no value for RECEIVER; exports/hostfs/etc/hello/conf:1:10: no value for RECEIVER' \
    syscontainer-checkout --dry-run "$REGISTRY/hello:2"
expect_same "$WORK/before" everything

say 'exactly what it says is done'
# listing NAME: what installations of NAME may change. Directories change with what is in them.
listing() {
    find /etc /opt /srv /usr/local /var/lib/containers "/run/systemd/generator/$1.service.d" -xdev -ignore_readdir_race \
        \( -path '*/.storage' -o -name '*.wants' \) -prune -o \
        \( -type d -printf '%p d %m %U:%G\n' -o -printf '%p %y %m %U:%G %s %T@ %l\n' \) 2>/dev/null | sort || true
}
# within FILE: each path on stdin, or the one in FILE that it is below; directories that are only made for one in FILE are left
# out.
within() {
    awk 'NR == FNR { said[$1]; next }
        { path = $1
          for (above = path; above != ""; sub("/[^/]*$", "", above)) if (above in said) { print above; next }
          if ($2 == "d") for (below in said) if (index(below, path "/") == 1) next
          print path }' "$1" - | sort -u
}
# exactly NAME COMMAND…: what a dry run of the command says is what it then does.
exactly() {
    local name=$1
    shift
    listing "$name" >"$WORK/before"
    "$@" --dry-run >"$WORK/preview" 2>"$WORK/said"
    must 'something was written' same_as "$WORK/before" listing "$name"
    "$@" >/dev/null 2>"$WORK/said" || { shown "$WORK/said"; fail "$*"; }
    listing "$name" >"$WORK/after"
    grep '^# /' "$WORK/preview" |
        grep -vE ': (stays as it is|was changed on this host, .*|is on this host already, .*)$' |
        sed 's/^# //' >"$WORK/promised" || true
    sed -n 's/: removed$//p' "$WORK/promised" | sort >"$WORK/to-go"
    grep -v ': removed$' "$WORK/promised" | sed 's/: .*//; s/ -> .*//' | sort >"$WORK/to-write" || true
    comm -13 "$WORK/before" "$WORK/after" | within "$WORK/to-write" | diff -u "$WORK/to-write" - ||
        fail 'it does not write what it said'
    awk 'NR == FNR { there[$1]; next } !($1 in there)' "$WORK/after" "$WORK/before" | within "$WORK/to-go" |
        diff -u "$WORK/to-go" - || fail 'it does not remove what it said'
    ok "$*: $(wc -l <"$WORK/to-write") are written, $(wc -l <"$WORK/to-go") go"
}
# promised LINE…: the last dry run said so.
promised() {
    local line
    for line; do
        grep -qxF -- "# $line" "$WORK/preview" || { grep '^#' "$WORK/preview"; fail "it did not say: $line"; }
        ok "it said: $line"
    done
}
# dry_version N: the next version of the image, with files of these names for the host, and whatever the caller adds.
dry_version() {
    rm -rf "$WORK/dry"
    exports dry "$(until_stopped)"
    host=$WORK/dry/exports/hostfs/etc/dry
    mkdir -p "$host"
    local file
    for file in same changes mine-stays mode; do echo same >"$host/$file"; done
    for file in changes mine-changes link; do echo "$1" >"$host/$file"; done
    ln -sfn "$1" "$host/link"
}
dry_version 1
mkdir -p "$host"/{empty,full,theirs}
touch "$host"/{full/a,full/b,theirs/a,mine-goes}
echo 'd /run/dry 0755 - - -' >"$WORK/dry/exports/tmpfiles.template"
build_and_pull dry
mkdir -p /etc/dry
echo before >/etc/dry/same
exactly dry syscontainer-checkout "$REGISTRY/dry"
promised '/etc/dry/same: is on this host already, stays as it is' "$CO/dry.0/dry.service"
rm /etc/dry/same
exactly dry syscontainer-checkout "$REGISTRY/dry"
promised 'dry is installed already' \
    'systemctl enable dry.service' 'systemctl daemon-reload' 'systemd-tmpfiles --create dry.conf'
run_fails 1 'installed already.*with other values' syscontainer-checkout --dry-run --set X=1 "$REGISTRY/dry"
systemctl start dry

dry_version 2
chmod 600 "$host/mode"
touch "$host/new"
build_and_pull dry
for file in mine-changes mine-stays mine-goes; do echo mine >/etc/dry/$file; done
touch /etc/dry/theirs/more
exactly dry syscontainer-checkout --update dry
promised '/etc/dry/same: mode 0644, owner 0:0' \
    '/etc/dry/changes: mode 0644, owner 0:0' \
    '/etc/dry/link: symlink to 2' \
    '/etc/dry/new: mode 0644, owner 0:0' \
    '/etc/dry/mode: mode 0600, owner 0:0; stays as it is otherwise' \
    '/etc/dry/mine-changes: was changed on this host, stays as it is' \
    '/etc/dry/mine-stays: was changed on this host, stays as it is' \
    '/etc/dry/mine-goes: was changed on this host, is left behind' \
    '/etc/dry/empty: removed' '/etc/dry/full: removed' '/etc/dry/full/b: removed' '/etc/dry/theirs/a: removed' \
    '/etc/tmpfiles.d/dry.conf: removed' \
    '/etc/systemd/system.attached/dry.service: stays as it is'
expect_no 'theirs: removed|systemctl (stop|enable|disable)|systemd-tmpfiles|/dry.0' cat "$WORK/preview"
expect mine cat /etc/dry/mine-changes
exactly dry syscontainer-checkout --update dry
promised 'dry is up to date'
expect 1 grep -c . "$WORK/preview"

say 'and where the service goes, and an old deployment'
dry_version 3
echo '{"noContainerService": true}' >"$WORK/dry/exports/manifest.json"
build_and_pull dry
exactly dry syscontainer-checkout --update dry
promised "$CO/dry.0: removed" 'systemctl stop dry.service' 'systemctl disable dry.service' \
    '/etc/systemd/system.attached/dry.service: removed' \
    '/run/systemd/generator/dry.service.d/00-syscontainer.conf: removed'
expect not-found unit_property dry LoadState
dry_version 4
build_and_pull dry
exactly dry syscontainer-checkout --update dry
promised "$CO/dry.1: removed" 'systemctl enable dry.service' "$CO/dry -> dry.3"
expect enabled systemctl is-enabled dry

say 'of files that another container has, too'
exactly other syscontainer-checkout --name=other "$REGISTRY/dry"
promised '/etc/dry/changes: stays as it is'
dry_version 5
build_and_pull dry
exactly other syscontainer-checkout --update other
promised "$CO/.host-files.json: what is in files that containers share" '/etc/dry/changes: mode 0644, owner 0:0'
dry_version 6
rm "$host/changes"
build_and_pull dry
exactly dry syscontainer-checkout --update dry
expect_no '/etc/dry/changes' cat "$WORK/preview"
expect 5 cat /etc/dry/changes
