#!/bin/bash
# The verbs of systemctl that work on unit files, on an installed container: on this machine, and with --root= on a tree.
. "$(dirname "$0")/lib.sh"

hello_world
pull_image hello-world
WANTS=etc/systemd/system/multi-user.target.wants/hello-world.service

# expect_enablement STATE: what 'systemctl is-enabled' says; its exit status is not 0 for some.
expect_enablement() { expect "$1" bash -c "systemctl $root is-enabled hello-world || true"; }
# verb NAME…: succeeds, without a word on stderr; 'Created symlink …' is not said.
verb() {
    check "systemctl $*" bash -c "systemctl $root --quiet $* 2>&1 | tee /dev/stderr | { ! grep -q .; }"
}
# On both, since they only make and remove links.
verbs() {
    expect_enablement enabled
    verb disable hello-world
    expect_enablement disabled
    refuse 'no link is left' test -L "$tree/$WANTS"
    verb enable hello-world
    expect_enablement enabled
    check 'it is wanted where its template says' test -L "$tree/$WANTS"
    verb reenable hello-world
    expect_enablement enabled

    mkdir -p "$tree/etc/systemd/system-preset"
    echo 'disable hello-world.service' >"$tree/etc/systemd/system-preset/10-story.preset"
    verb preset hello-world
    expect_enablement disabled
    echo 'enable hello-world.service' >"$tree/etc/systemd/system-preset/10-story.preset"
    verb preset hello-world
    expect_enablement enabled
    echo 'disable *' >"$tree/etc/systemd/system-preset/10-story.preset"
    expect 'hello-world.service enabled disabled' bash -c \
        "systemctl $root --no-legend --plain list-unit-files hello-world.service | tr -s ' ' | sed 's/ $//'"
    rm "$tree/etc/systemd/system-preset/10-story.preset"

    verb mask hello-world
    expect_enablement masked
    run_fails 1 'hello-world.service is masked' systemctl $root --quiet enable hello-world
    verb unmask hello-world
    expect_enablement enabled

    verb add-wants network.target hello-world
    check 'add-wants makes the link' test -L "$tree/etc/systemd/system/network.target.wants/hello-world.service"
    verb disable hello-world
    refuse 'disable takes it away, too' test -L "$tree/etc/systemd/system/network.target.wants/hello-world.service"
    verb enable hello-world
    expect_enablement enabled
}

say 'on this machine'
root='' tree=''
checkout "$REGISTRY/hello-world"
verbs
systemctl --quiet mask hello-world
run_fails 1 'hello-world.service is masked' systemctl start hello-world
systemctl --quiet unmask hello-world
check 'it starts when unmasked' systemctl start hello-world
check 'mask --runtime' systemctl --quiet --runtime mask hello-world
expect 'active running success' state hello-world
check 'unmask --runtime' systemctl --quiet --runtime unmask hello-world
check 'disable --now' systemctl --quiet disable --now hello-world
expect 'inactive dead success' state hello-world
check 'enable --now' systemctl --quiet enable --now hello-world
expect 'active running success' state hello-world

say 'edit and cat'
# edit CONTENT [OPTION…]: as an administrator would, at a terminal.
edit() {
    # A line number may come before the file.
    printf '#!/bin/sh\nshift $(($# - 1))\nprintf "%s" >"$1"\n' "$1" >"$WORK/editor"
    chmod +x "$WORK/editor"
    shift
    check "edit $*" script -qec "SYSTEMD_EDITOR=$WORK/editor systemctl edit $* hello-world" /dev/null
}
edit '[Service]\\nTimeoutStopSec=44s\\nEnvironment=ADDED=1\\n'
expect 44s unit_property hello-world TimeoutStopUSec
systemctl cat --no-pager hello-world >"$WORK/cat"
for line in '# /etc/systemd/system.attached/hello-world.service' \
    '# /run/systemd/generator/hello-world.service.d/00-syscontainer.conf' \
    'SourcePath=/etc/syscontainers/attached/hello-world.json' \
    '# /etc/systemd/system/hello-world.service.d/override.conf'; do
    expect_like "^$line\$" cat "$WORK/cat"
done
check revert systemctl --quiet revert hello-world
expect 10s unit_property hello-world TimeoutStopUSec
# A full copy is one of the stub: the body stays ours, and follows the image.
edit '[Unit]\\nDescription=Mine\\nX-Syscontainer=hello-world\\n[Install]\\nWantedBy=multi-user.target\\n' --full
expect /etc/systemd/system/hello-world.service unit_property hello-world FragmentPath
check 'it starts as before' systemctl restart hello-world
wait_for 'it answers' http 8081
expect_like 'syscontainer-start hello-world' unit_property hello-world ExecStart
# revert removes copies of units in /usr only.
rm /etc/systemd/system/hello-world.service
systemctl daemon-reload
expect /etc/systemd/system.attached/hello-world.service unit_property hello-world FragmentPath
expect 'active running success' state hello-world

say 'on a tree'
unpacked_tree
root=--root=$tree
mkdir -p "$tree/usr/lib/systemd/system"
ln -s usr/lib "$tree/lib"
cp /usr/lib/systemd/system/{multi-user,network}.target "$tree/usr/lib/systemd/system/"
syscontainer-pull --quiet --root="$tree" "$REGISTRY/hello-world" >/dev/null
checkout --root="$tree" "$REGISTRY/hello-world"
verbs
# systemd refuses these two for a tree, whatever the unit.
for verb in edit cat; do
    run_fails 1 "'$verb' cannot be used with --root=" systemctl "$root" $verb hello-world
done
expect '' find "$tree/etc/systemd" -xtype l ! -lname '/etc/systemd/system.attached/*'
