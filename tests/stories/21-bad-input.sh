#!/bin/bash
# What cannot be installed: one line that says what and what to do, and nothing is changed.
# Rows of tests/atomic.md: 1.07, 1.08, 2.04, 2.05, 2.09, 4.05, 4.21, 4.22, 4.23, 4.33, 4.36, d, h, o.
. "$(dirname "$0")/lib.sh"

base=$REGISTRY/base
exports base "$(until_stopped)"
build_image base "$WORK/base"
syscontainer-pull --quiet "$base" >/dev/null
checkout "$base"
snapshot >"$WORK/before"

# bad STATUS ERE COMMAND…: it fails, and nothing is changed.
bad() {
    run_fails "$@"
    unchanged "$WORK/before"
}

say 'pull'
bad 1 'cannot pull 127.0.0.1:5000/nothing:latest: .*(manifest|name) unknown' syscontainer-pull "$REGISTRY/nothing"
bad 1 'cannot pull 127.0.0.1:5000/base:none: .*manifest unknown' syscontainer-pull "$base:none"
bad 1 'cannot pull 127.0.0.1:1/x:latest: .*connection refused' syscontainer-pull --quiet 127.0.0.1:1/x
bad 1 'cannot pull .*no such (file|host)|cannot pull .*lookup' syscontainer-pull --quiet registry.invalid/x
bad 2 'invalid image reference .*unknown transport "ftp"' syscontainer-pull ftp://x/y
bad 2 'missing IMAGE' syscontainer-pull
bad 2 'unexpected argument "b"' syscontainer-pull a b
bad 1 'cannot pull oci:/nonexistent/x: .*/nonexistent/x' syscontainer-pull oci:/nonexistent/x
bad 1 'cannot pull docker-archive:/nonexistent.tar: cannot read /nonexistent.tar: No such file' syscontainer-pull docker-archive:/nonexistent.tar
bad 1 'cannot create the image store /proc/store' syscontainer-pull --repo=/proc/store "$base"
# shellcheck disable=SC2016 # for the inner shell
bad 1 'cannot run skopeo: .*install' unshare --mount bash -c '
    mount --bind /dev/null /usr/bin/skopeo && exec syscontainer-pull "$1"' - "$base"

say 'the command line of checkout'
bad 2 'missing IMAGE' syscontainer-checkout
bad 2 '"K".*VARIABLE=VALUE' syscontainer-checkout --set K "$base"
bad 2 'the name of the variable is missing' syscontainer-checkout --set =v "$base"
for name in 'a/b' '../x' '.x' 'a b' 'x.0' 'x-' '' 'x.service' "$(printf '%0201d' 0)"; do
    bad 2 'invalid container name' syscontainer-checkout --name="$name" "$base"
done
bad 1 'cannot find image 127.0.0.1:5000/other:latest .*syscontainer-pull' syscontainer-checkout "$REGISTRY/other"
bad 1 'cannot use runtime /nonexistent: .*install' syscontainer-checkout --name=x --runtime=/nonexistent "$base"
bad 1 'cannot use runtime /bin/true: .*neither crun nor runc' syscontainer-checkout --name=x --runtime=/bin/true "$base"
bad 2 'not absolute' syscontainer-checkout --name=x --runtime=crun "$base"
# shellcheck disable=SC2016 # for the inner shell
bad 1 'cannot find an OCI runtime: install crun or runc' unshare --mount bash -c '
    for file in $(type -P crun runc); do mount --bind /dev/null "$(realpath "$file")"; done
    exec syscontainer-checkout --name=x "$1"' - "$base"

say 'names that are taken'
exports other '["true"]'
bad_image other 'cannot install base: it is installed already' --name=base
for directory in /etc/systemd/system /run/systemd/system; do
    printf '[Service]\nExecStart=/bin/true\n' >$directory/taken.service
    snapshot >"$WORK/before"
    bad 1 "cannot install taken: $directory/taken.service .*--name" syscontainer-checkout --name=taken "$base"
    rm $directory/taken.service
done
ln -s /dev/null /etc/systemd/system/taken.service
snapshot >"$WORK/before"
bad 1 'taken.service' syscontainer-checkout --name=taken --replace-unit "$base"
rm /etc/systemd/system/taken.service
hello_world
pull_image hello-world
echo '# theirs' >/etc/tmpfiles.d/taken.conf
snapshot >"$WORK/before"
bad 1 '/etc/tmpfiles.d/taken.conf belongs to something else' syscontainer-checkout --name=taken "$REGISTRY/hello-world"
rm /etc/tmpfiles.d/taken.conf
mkdir /var/lib/containers/atomic/taken
snapshot >"$WORK/before"
bad 1 'atomic/taken is in the way' syscontainer-checkout --name=taken "$base"
rmdir /var/lib/containers/atomic/taken
snapshot >"$WORK/before"

say 'values'
exports missing "$(until_stopped)" --template
sed -i 's/"cwd": "\/"/"cwd": "$A", "hostname": "${B}"/' "$WORK/missing/exports/config.json.template"
sed -i 's/^Description=.*/& $C/' "$WORK/missing/exports/service.template"
bad_image missing 'exports/service.template:2:30: no value for C; exports/config.json.template:3:[0-9]*: no value for A; '\
'.*no value for B; give each missing value with --set VARIABLE=VALUE'
bad 1 'no value for A; [^ ]* no value for B; give' syscontainer-checkout --set C=c "$REGISTRY/missing"
bad 1 'the value of C cannot be used here' \
    syscontainer-checkout --set A=a --set B=b --set C=$'c\nExecStart=/bin/evil' "$REGISTRY/missing"
exports dollar "$(until_stopped)" --template
sed -i 's/^Description=.*/Description=costs 5$/' "$WORK/dollar/exports/service.template"
bad_image dollar "exports/service.template:2:20: invalid placeholder; write '[$][$]' for a dollar sign"
exports raw "$(until_stopped)" --template
sed -i 's/"pid"}/"pid"} $MORE/' "$WORK/raw/exports/config.json.template"
bad_image raw 'invalid JSON in exports/config.json.template, after substitution: .*line [0-9]+ column' --set MORE=nonsense
bad 1 'the value of MORE cannot be used here' syscontainer-checkout --set 'MORE=}], "x": [{' "$REGISTRY/raw"

say 'configurations'
# bad_config NAME SED ERE: the configuration of 'base', edited.
bad_config() {
    exports "$1" "$(until_stopped)"
    sed -i "$2" "$WORK/$1/exports/config.json"
    bad_image "$1" "$3"
}
bad_config writable 's/"readonly": true/"readonly": false/' 'root.readonly must be true'
bad_config noroot 's/"root": .*/"x": 1,/' 'root.readonly must be true'
bad_config elsewhere 's/"path": "rootfs"/"path": "\/"/' 'root.path must be "rootfs"'
bad_config nothing 's/"args": \[.*\], "cwd"/"args": [], "cwd"/' 'process.args is empty'
bad_config types 's/"cwd": "\/"/"cwd": 5/' 'not an OCI runtime configuration'
bad_config broken '1s/{/[/' 'invalid JSON in exports/config.json'

say 'units and manifests'
exports section "$(until_stopped)"
sed -i 's/\[Install\]/[Instal]/' "$WORK/section/exports/service.template"
bad_image section 'exports/service.template: line [0-9]+: unknown section \[Instal\]'
exports nostart "$(until_stopped)"
sed -i '/^ExecStart=/d' "$WORK/nostart/exports/service.template"
bad_image nostart 'ExecStart'
exports manifest "$(until_stopped)"
echo '{"defaultValues": []}' >"$WORK/manifest/exports/manifest.json"
bad_image manifest 'exports/manifest.json'
exports tmpfiles "$(until_stopped)"
echo '? /x' >"$WORK/tmpfiles/exports/tmpfiles.template"
build_and_pull tmpfiles
bad 1 'systemd-tmpfiles' syscontainer-checkout "$REGISTRY/tmpfiles"

say 'targets that cannot be written'
bad 1 'cannot create directory /proc/x' \
    env ATOMIC_OSTREE_CHECKOUT_PATH=/proc/x ATOMIC_OSTREE_REPO=$STORE syscontainer-checkout --name=x "$base"
# shellcheck disable=SC2016 # for the inner shell
bad 1 'Read-only file system' unshare --mount bash -c '
    mount --bind /etc /etc && mount -o remount,bind,ro /etc && exec syscontainer-checkout --name=x "$1"' - "$base"
# shellcheck disable=SC2016 # for the inner shell
bad 1 'Read-only file system' unshare --mount bash -c '
    mount -o remount,bind,ro /var/lib/containers && exec syscontainer-checkout --name=x "$1"' - "$base"
bad 1 'Permission denied' setpriv --reuid=65534 --clear-groups syscontainer-checkout --name=x "$base"

say 'the other programs'
for program in prepare start stop; do
    bad 2 'missing NAME' /usr/libexec/syscontainers/syscontainer-$program
    bad 2 'invalid container name' /usr/libexec/syscontainers/syscontainer-$program ../x
done
bad 1 'cannot prepare nothing: it is not installed here' /usr/libexec/syscontainers/syscontainer-prepare nothing
bad 1 'cannot start nothing: it is not prepared' /usr/libexec/syscontainers/syscontainer-start nothing
check 'there is nothing to stop' /usr/libexec/syscontainers/syscontainer-stop nothing
check 'nor to clean up' /usr/libexec/syscontainers/syscontainer-prepare --cleanup nothing
