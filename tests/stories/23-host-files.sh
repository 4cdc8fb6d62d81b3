#!/bin/bash
# Files that images bring for the host: /exports/hostfs, and what becomes of them.
# Rows of tests/atomic.md: 1.02, 1.17, 1.A3, 1.A4, 1.A5, 1.B1, 1.B2, 1.B3, 1.B6, 1.B7, 1.B8, 1.B10, 1.B11, 2.06, 4.F4, 8.05,
#   rows 8.08, d, k, t.
. "$(dirname "$0")/lib.sh"

# facts PATH…: kind, mode, owner and target of each.
facts() { stat --format='%F %a %u:%g %N' "$@"; }
# host: all files of the host that images here bring, and their directories.
host() { { find /etc/tool /etc/two /etc/shared /opt /usr/local -printf '%y %m %U:%G %p %l\n' 2>/dev/null || true; } | sort; }
# reconciled_away NAME: as an uninstallation does: without its symlink a container is not there.
reconciled_away() {
    systemctl stop "$1" 2>/dev/null || true
    rm $CO/"$1"
    touch "$CO/.$1.0.new" # has reconcile look
    /usr/libexec/syscontainers/syscontainer-reconcile 2>"$WORK/said"
    refuse "$1 is gone" test -e "$CO/$1.0"
}

exports tool "$(until_stopped)"
tool=$WORK/tool/exports
mkdir -p "$tool"/hostfs/{etc/tool/{conf.d,empty},opt/tool/bin,usr/local/bin}
echo 'port=$PORT' >"$tool/hostfs/etc/tool/tool.conf"
echo 'literal $PORT' >"$tool/hostfs/etc/tool/conf.d/a"
echo "#!/bin/sh" >"$tool/hostfs/usr/local/bin/toolctl"
chmod 4755 "$tool/hostfs/usr/local/bin/toolctl"
ln -s /etc/tool/tool.conf "$tool/hostfs/opt/tool/link"
ln -s nowhere "$tool/hostfs/opt/tool/dangling"
echo binary >"$tool/hostfs/opt/tool/bin/x"
chmod 640 "$tool/hostfs/etc/tool/tool.conf"
chmod 750 "$tool/hostfs/etc/tool/conf.d"
chown 12:34 "$tool/hostfs/etc/tool/tool.conf" "$tool/hostfs/etc/tool/conf.d" "$tool/hostfs/etc/tool"
cat >"$tool/manifest.json" <<'END'
{
    "version": "1.0",
    "defaultValues": {"PORT": "80", "CONF": "/etc"},
    "installedFilesTemplate": ["/etc/$NAME/nothing", "/etc/two/tool.conf", "/etc/tool/tool.conf"],
    "renameFiles": {"/etc/tool": "$CONF/$NAME", "/usr/local/bin/toolctl": "/usr/local/bin/${NAME}ctl"}
}
END
build_and_pull tool --owners
# These come with the first container, and stay.
mkdir -p /etc/systemd/system.attached /etc/tmpfiles.d
snapshot >"$WORK/before"
host >"$WORK/host-before"

say 'they are copied, renamed and substituted'
checkout --set PORT='8080 "%$x' "$REGISTRY/tool"
expect 'port=8080 "%$x' cat /etc/tool/tool.conf
expect 'literal $PORT' cat /etc/tool/conf.d/a
expect "regular file 640 12:34 '/etc/tool/tool.conf'" facts /etc/tool/tool.conf
expect "directory 750 12:34 '/etc/tool/conf.d'" facts /etc/tool/conf.d
expect "directory 755 12:34 '/etc/tool'" facts /etc/tool
expect "regular file 4755 0:0 '/usr/local/bin/toolctl'" facts /usr/local/bin/toolctl
expect "symbolic link 777 0:0 '/opt/tool/link' -> '/etc/tool/tool.conf'" facts /opt/tool/link
expect "symbolic link 777 0:0 '/opt/tool/dangling' -> 'nowhere'" facts /opt/tool/dangling
check 'an empty directory, too' test -d /etc/tool/empty
expect 1 stat --format=%h /opt/tool/bin/x
sum=$(sha256sum </etc/tool/tool.conf)
expect_like "\"/etc/tool/tool.conf\": \"${sum%% *}\"" cat $CO/tool.0/info
expect_like '"/etc/tool": "/etc/tool"' cat $CO/tool.0/info
expect_like '"/etc/tool/empty": "0"' cat $CO/tool.0/info
expect_no '"/usr/local/bin":' cat $CO/tool.0/info
host >"$WORK/host-installed"
checkout --set PORT='8080 "%$x' "$REGISTRY/tool"
expect_same "$WORK/host-installed" host

say 'a second one has its own, and shares the others'
checkout --name=two "$REGISTRY/tool"
expect 'port=80' cat /etc/two/tool.conf
check 'a file of its own name' test -e /usr/local/bin/twoctl
expect '' cat <(grep -v -e installed -e start "$WORK/said" || true)
expect_like '/opt/tool/bin/x"' cat $CO/two.0/info
reconciled_away tool
refuse 'what is the first ones alone goes' test -e /etc/tool -o -e /usr/local/bin/toolctl
check 'what both have stays' test -e /opt/tool/bin/x -a -L /opt/tool/link
reconciled_away two
say 'with the last one everything goes'
expect_same "$WORK/host-before" host
unchanged "$WORK/before"

say 'what the user has, or changed, stays'
mkdir -p /etc/tool
echo mine >/etc/tool/tool.conf
mkdir -p /opt/tool
ln -s /nowhere/at/all /opt/tool/dangling
checkout "$REGISTRY/tool"
expect mine cat /etc/tool/tool.conf
expect_like 'warning|/etc/tool/tool.conf is on this host already, leaving it as it is' cat "$WORK/said"
expect_like '/opt/tool/dangling is on this host already' cat "$WORK/said"
expect_no '"/etc/tool/tool.conf":' cat $CO/tool.0/info
echo changed >>/etc/tool/conf.d/a
echo mine >/opt/tool/mine
reconciled_away tool
expect_like '/etc/tool/conf.d/a was changed on this host, leaving it behind' cat "$WORK/said"
expect mine cat /etc/tool/tool.conf
expect /nowhere/at/all readlink /opt/tool/dangling
check 'directories with something in them stay' test -e /etc/tool/conf.d/a -a -e /opt/tool/mine
refuse 'but what is as it was is gone' test -e /etc/tool/empty -o -e /opt/tool/bin
rm -r /etc/tool /opt/tool

say 'nothing but files'
exports files "$(until_stopped)"
rm "$WORK/files/exports/service.template" "$WORK/files/exports/config.json"
mkdir -p "$WORK/files/exports/hostfs/etc/shared"
echo 1 >"$WORK/files/exports/hostfs/etc/shared/x"
echo '{"noContainerService": true}' >"$WORK/files/exports/manifest.json"
build_and_pull files
checkout "$REGISTRY/files"
expect 1 cat /etc/shared/x
expect 'hostfs
info' ls $CO/files.0
refuse 'there is no unit' systemctl cat files
expect_no 'systemctl start' cat "$WORK/said"
expect_like '"has-container-service": false' cat $CO/files.0/info
snapshot >"$WORK/installed"
/usr/libexec/syscontainers/syscontainer-reconcile
unchanged "$WORK/installed"
checkout "$REGISTRY/files"
unchanged "$WORK/installed"
rm /etc/syscontainers/attached/files.json /etc/shared/x
/usr/libexec/syscontainers/syscontainer-reconcile 2>/dev/null
expect 1 cat /etc/shared/x
reconciled_away files
refuse 'it is removed' test -e /etc/shared
unchanged "$WORK/before"

say 'bind sources that the image brings'
# The original made /etc/shared mode 0700, since it looked before it copied.
exports brings "$(until_stopped)" \
    --mount=/etc/shared:/a:bind --mount=/etc/shared/file:/b:bind --mount=/var/lib/brings:/c:bind
mkdir -p "$WORK/brings/exports/hostfs/etc/shared"
echo x >"$WORK/brings/exports/hostfs/etc/shared/file"
install_image brings
expect "directory 755 0:0 '/etc/shared'" facts /etc/shared
expect 'd /var/lib/brings :0700 :0 :0 - -' bash -c "grep -v '^#' /etc/tmpfiles.d/brings.conf"
systemctl start brings
expect 'active running success' state brings
reconciled_away brings
rm -r /var/lib/brings

say 'several share a file, and one is updated'
# share CONTENT: the next version of an image.
share() {
    rm -rf "$WORK/sharing"
    exports sharing "$(until_stopped)"
    mkdir -p "$WORK/sharing/exports/hostfs/etc/shared"
    echo "$1" >"$WORK/sharing/exports/hostfs/etc/shared/x"
    build_and_pull sharing
}
# remove_unchanged NAME: none of its files counts as changed.
remove_unchanged() {
    syscontainer-remove "$1" 2>"$WORK/said"
    expect_no changed cat "$WORK/said"
}
RECORD=$CO/.host-files.json
snapshot >"$WORK/before"
share 1
for name in a b c; do checkout --name=$name "$REGISTRY/sharing"; done
refuse 'as long as all agree, nothing is noted' test -e $RECORD
share 2
checkout --update a
expect 2 cat /etc/shared/x
expect_no changed cat "$WORK/said"
expect_like '"/etc/shared/x"' cat $RECORD
share 3
checkout --update b
expect 3 cat /etc/shared/x
expect_no changed cat "$WORK/said"
snapshot >"$WORK/installed"
/usr/libexec/syscontainers/syscontainer-reconcile
unchanged "$WORK/installed"
expect_no 'host-files' syscontainer-list
remove_unchanged b
remove_unchanged a
expect 3 cat /etc/shared/x
remove_unchanged c
refuse 'it goes with the last one' test -e /etc/shared
unchanged "$WORK/before"

say 'and the user changes it'
share 1
for name in a b; do checkout --name=$name "$REGISTRY/sharing"; done
share 2
checkout --update a
echo mine >/etc/shared/x
checkout --name=c "$REGISTRY/sharing"
expect_like '/etc/shared/x was changed on this host, leaving it as it is' cat "$WORK/said"
share 3
checkout --update b
expect_like '/etc/shared/x was changed on this host, leaving it as it is' cat "$WORK/said"
remove_unchanged a
remove_unchanged b
syscontainer-remove c 2>"$WORK/said"
expect_like '/etc/shared/x was changed on this host, leaving it behind' cat "$WORK/said"
expect mine cat /etc/shared/x
rm -r /etc/shared
unchanged "$WORK/before"

say 'an update of one that fails is undone'
share 1
for name in a b; do checkout --name=$name "$REGISTRY/sharing"; done
share 2
checkout --update b
snapshot >"$WORK/installed"
share 3
mount --bind /etc/systemd/system.attached /etc/systemd/system.attached
mount -o remount,bind,ro /etc/systemd/system.attached
sed -i 's/Story of/Another story of/' "$WORK/sharing/exports/service.template"
build_and_pull sharing
run_fails 1 'cannot update a: .*Read-only' syscontainer-checkout --update a
umount /etc/systemd/system.attached
expect 2 cat /etc/shared/x
unchanged "$WORK/installed"
remove_unchanged b
remove_unchanged a
unchanged "$WORK/before"

say 'an update of one that is killed'
for number in 1 2 3; do
    share $number
    skopeo copy --quiet "docker://$REGISTRY/sharing" "docker://$REGISTRY/sharing:$number"
    pull_image "sharing:$number"
done
kills=0 step=3
[ -z "$LONG" ] || step=1
for call in rename unlink fsync; do
    for number in $(seq $((RANDOM % step + 1)) $step 60); do
        for name in a b; do checkout --name=$name "$REGISTRY/sharing:1"; done
        checkout --update --rebase="$REGISTRY/sharing:2" a
        syscontainer-remove a 2>"$WORK/said"
        update=(--update --rebase="$REGISTRY/sharing:3" b)
        status=0
        strace -qq -o /dev/null -e trace=$call -e inject=$call:signal=SIGKILL:when="$number" \
            syscontainer-checkout "${update[@]}" >/dev/null 2>"$WORK/said" || status=$?
        [ $status != 137 ] || checkout "${update[@]}"
        [ "$(cat /etc/shared/x)" = 3 ] || fail "after a kill at $call $number the file is not the new one"
        syscontainer-remove b 2>>"$WORK/said"
        ! grep changed "$WORK/said" || fail "after a kill at $call $number it counts as changed"
        unchanged "$WORK/before"
        [ $status = 137 ] || break
        kills=$((kills + 1))
    done
done
ok "killed $kills times"
[ $kills -ge 3 ] || fail 'these are too few to be true'

# bad_files NAME ERE [OPTION…]: as bad_image, and none of the host's files is changed.
bad_files() {
    host >"$WORK/host-before"
    bad_image "$@"
    expect_same "$WORK/host-before" host
}
# with_files NAME MANIFEST PATH…: the files of an image that brings these for the host.
with_files() {
    local name=$1 path
    exports "$name" "$(until_stopped)"
    echo "$2" >"$WORK/$name/exports/manifest.json"
    shift 2
    for path; do
        mkdir -p "$(dirname "$WORK/$name/exports/hostfs$path")"
        echo '$X' >"$WORK/$name/exports/hostfs$path"
    done
}
say 'what cannot be installed'
with_files unnamed '{"renameFiles":
 {"/etc/a": "/etc/$Y"}, "installedFilesTemplate": ["/etc/b"]}' /etc/a /etc/b
bad_files unnamed 'exports/manifest.json:2:19: no value for Y; exports/hostfs/etc/b:1:1: no value for X'
with_files climbing '{"renameFiles": {"/etc/a": "/etc/../a"}}' /etc/a
bad_files climbing 'renames /etc/a to "/etc/../a", which is not an absolute path'
with_files relative '{"renameFiles": {"/etc/a": "$X"}}' /etc/a
bad_files relative 'renames /etc/a to "b", which is not an absolute path' --set X=b
with_files twice '{"renameFiles": {"/etc/a": "/etc/b"}}' /etc/a /etc/b
bad_files twice 'two files are renamed to /etc/b'
with_files inway '{}' /etc/passwd/x
bad_files inway '/etc/passwd is not a directory|/etc/passwd.*a file of that name exists'
with_files types '{"renameFiles": [1]}' /etc/a
bad_files types 'cannot read exports/manifest.json: invalid type'
with_files binary '{"installedFilesTemplate": ["/etc/b"]}' /etc/b
printf '\377' >"$WORK/binary/exports/hostfs/etc/b"
bad_files binary 'exports/hostfs/etc/b: it is not UTF-8'
with_files waiting '{}' /etc/a
rm "$WORK/waiting/exports/hostfs/etc/a"
mkfifo "$WORK/waiting/exports/hostfs/etc/a"
bad_files waiting '/etc/a is not a file, directory or symlink'
with_files readonly '{}' /etc/new /usr/local/bin/new
build_and_pull readonly
snapshot >"$WORK/before"
# shellcheck disable=SC2016 # for the inner shell
run_fails 1 'cannot create /usr/local/bin/new, which the image installs on the host; nothing was changed: '\
'cannot write /usr/local/bin: .*Read-only' unshare --mount bash -c '
    mount --bind /usr /usr; mount -o remount,bind,ro /usr; exec syscontainer-checkout "$1"' - "$REGISTRY/readonly"
refuse 'nothing was written' test -e /etc/new
unchanged "$WORK/before"

say 'in an unpacked tree'
unpacked_tree
mkdir "$tree/outside" "$WORK/outside"
# Symlinks are the tree's own.
ln -s /outside "$tree/opt"
syscontainer-pull --quiet --root="$tree" "$REGISTRY/tool" >/dev/null
checkout --root="$tree" "$REGISTRY/tool"
expect port=80 cat "$tree/etc/tool/tool.conf"
check 'a symlink does not lead out of it' test -e "$tree/outside/tool/bin/x"
refuse 'nor to the host' test -e /outside
