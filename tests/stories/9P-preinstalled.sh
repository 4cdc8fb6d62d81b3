#!/bin/bash
# Containers that come with the operating system: made in an unpacked tree, and in /usr of the machine, where they run without a
# store. Updates are made in /var and win; rollbacks, removals and resets lead back.
. "$(dirname "$0")/lib.sh"

RECONCILE=syscontainers-reconcile.service
SYSTEM=/usr/lib/containers/atomic
SWEPT+=("$SYSTEM" /usr/lib/syscontainers/attached)

# version_of_brought NUMBER: the image in that version, which is pulled. It has what copies lose easily.
version_of_brought() {
    new_version brought "$1" --data
    printf 'd /var/lib/brought 0700 - - -\n' >"$WORK/brought/exports/tmpfiles.template"
    build_and_pull brought --owners --times --xattrs
}
odd_files() {
    local files=$WORK/brought/usr/odd
    mkdir -p "$files"
    cp /bin/busybox "$files/capable"
    cp /bin/busybox "$files/setuid"
    cp "$files/setuid" "$files/owned"
    chown 12:34 "$files/owned"
    chmod 4755 "$files/setuid"
    chmod 0640 "$files/owned"
    setcap cap_net_raw=ep "$files/capable"
    ln "$files/owned" "$files/other-name"
    ln -s owned "$files/link"
    mkfifo -m 0620 "$files/fifo"
    mkdir -m 01777 "$files/sticky"
    touch -h -d '2001-02-03 04:05:06' "$files"/*
}
# odd_files_of DEPLOYMENT: what these are.
odd_files_of() {
    (cd "$1/rootfs/usr/odd" && find . -printf '%P %y %m %U:%G %Ts %l\n' | grep -v '^ ' | sort && getcap capable)
}
# of_system DIRECTORY NAME: what there is of a container below its /usr/lib, which is all that is made there.
of_system() {
    find "$1/usr/lib" -path "*/$2.0/*" -prune -o -name "*$2*" -printf '%P\n' | sort | paste -sd' '
}
below_etc() { find "$1/etc" ! -type d -printf '%P\n' | sort | paste -sd' '; }
ALL_OF_BROUGHT='containers/atomic/brought containers/atomic/brought.0 syscontainers/attached/brought.json'
ALL_OF_BROUGHT+=' systemd/system-preset/80-syscontainer-brought.preset systemd/system/brought.service tmpfiles.d/brought.conf'
# registered_link NAME: where its registration has the link to its deployment.
registered_link() { sed -n "s|.*\"directory\": \"\(.*\)\",|\1/$1|p" "/etc/syscontainers/attached/$1.json"; }
# remove_from_system NAME: as who makes the system does, for whom / is a tree.
remove_from_system() {
    mkdir -p "$WORK/system"
    mount --bind / "$WORK/system"
    systemctl stop "$1"
    ends 0 syscontainer-remove --root="$WORK/system" "$1"
    umount "$WORK/system"
    systemctl daemon-reload
}

if [ "$BOOT" = 2 ]; then
    say 'it boots without a store'
    expect_of_system brought-plain
    expect_soon x in_payload brought-plain cat /written
    mv "$CO/.away" "$CO/.storage"
    remove_from_system brought-plain
    expect '' of_system / brought-plain
    exit 0
fi

say 'in a tree'
odd_files
version_of_brought 1
unpacked_tree
mkdir -p "$tree/usr/lib/systemd/system"
ln -s usr/lib "$tree/lib"
cp /usr/lib/systemd/system/multi-user.target "$tree/usr/lib/systemd/system/"
ends 0 syscontainer-checkout --preinstall --root="$tree" --repo="$STORE" "$REGISTRY/brought"
expect brought cat "$WORK/printed"
expect "$ALL_OF_BROUGHT" of_system "$tree" brought
refuse 'nothing is in /var' test -e "$tree/var"
expect 'systemd/system/multi-user.target.wants/brought.service systemd/system/syscontainers.target.wants/brought.service' \
    below_etc "$tree"
expect enabled systemctl --root="$tree" is-enabled brought
expect_like '^brought .* brought.0 \(preinstalled\) .* -$' syscontainer-list --root="$tree"
expect_like '"preinstalled": true' syscontainer-list --root="$tree" --json
expect '' /usr/lib/systemd/system-generators/syscontainer-generator --root="$tree" "$WORK/units"
expect_like "AssertPathExists=$SYSTEM/brought/info" cat "$WORK/units/brought.service.d/00-syscontainer.conf"
say 'it is a copy, which lacks nothing'
checkout --name=reference "$REGISTRY/brought"
odd_files_of "$CO/reference.0" >"$WORK/odd"
expect_like 'capable cap_net_raw=ep' cat "$WORK/odd"
expect_like '^fifo p 620 0:0 981173106' cat "$WORK/odd"
expect_like '^setuid f 4755 0:0 981173106' cat "$WORK/odd"
expect_same "$WORK/odd" odd_files_of "$tree$SYSTEM/brought.0"
expect 2 stat --format=%h "$tree$SYSTEM/brought.0/rootfs/usr/odd/owned"
expect 1 stat --format=%h "$tree$SYSTEM/brought.0/rootfs/version"
expect 700 stat --format=%a "$tree$SYSTEM"
expect 600 stat --format=%a "$tree/usr/lib/syscontainers/attached/brought.json"
syscontainer-remove reference 2>/dev/null
say 'once more, and something else'
ends 0 syscontainer-checkout --preinstall --root="$tree" --repo="$STORE" "$REGISTRY/brought"
run_fails 1 'brought: it is (pre)?installed already' \
    syscontainer-checkout --preinstall --root="$tree" --repo="$STORE" --set A=1 "$REGISTRY/brought"
run_fails 2 'cannot be combined with --preinstall' syscontainer-checkout --preinstall --update brought
new_version filed 1 --host-file
build_and_pull filed
run_fails 1 'cannot preinstall filed: its image brings files for the host' \
    syscontainer-checkout --preinstall --root="$tree" --repo="$STORE" "$REGISTRY/filed"
say 'an update in the tree, and the way back'
version_of_brought 2
syscontainer-pull --quiet --root="$tree" "$REGISTRY/brought" >/dev/null
ends 0 syscontainer-checkout --root="$tree" --update brought
expect brought.1 readlink "$tree$CO/brought"
expect_like ' brought.1 ' syscontainer-list --root="$tree"
ends 0 syscontainer-remove --root="$tree" brought
expect_like 'brought.0, which came with the operating system, is current again$' cat "$WORK/said"
ends 0 syscontainer-remove --root="$tree" brought
expect '' of_system "$tree" brought
run_fails 3 'there is no container brought' syscontainer-remove --root="$tree" brought

for runtime in crun runc; do
    command -v $runtime >/dev/null || continue
    say "on this machine, with $runtime"
    rm -rf /var/lib/brought
    version_of_brought 1
    ends 0 syscontainer-checkout --preinstall --runtime="/usr/bin/$runtime" "$REGISTRY/brought"
    expect "$ALL_OF_BROUGHT" of_system / brought
    say 'without a store'
    mv "$CO/.storage" "$CO/.away"
    systemctl start brought
    expect_of_system brought
    expect_soon 1 cat /var/lib/brought/log
    systemctl restart brought
    expect_soon $'1\n1' cat /var/lib/brought/log
    check 'nothing is wrong' systemctl restart $RECONCILE
    expect_of_system brought
    run_fails 1 "it came with the operating system; 'systemctl mask --now brought'" syscontainer-remove brought
    check 'a prune' syscontainer-prune --keep-for=0
    expect_of_system brought
    mv "$CO/.away" "$CO/.storage"

    say 'an update wins'
    version_of_brought 2
    expect_of_system brought
    ends 0 syscontainer-checkout --update brought
    expect_like "'systemctl restart brought' runs it" cat "$WORK/said"
    expect brought.0 running_deployment brought
    systemctl restart brought
    expect_current brought.1
    expect enabled enablement brought
    expect "$CO/brought" registered_link brought
    expect_soon $'1\n1\n2' cat /var/lib/brought/log
    expect "$ALL_OF_BROUGHT" of_system / brought
    check 'nothing is wrong' systemctl restart $RECONCILE
    expect_current brought.1
    say 'the way back, and forth'
    set_soak brought 1
    ends 0 syscontainer-rollback brought
    expect_of_system brought
    check 'nothing is wrong' systemctl restart $RECONCILE
    check 'a prune' syscontainer-prune --keep-for=0
    expect_of_system brought
    ends 0 syscontainer-rollback brought
    expect_current brought.1
    say 'one that fails is reverted'
    new_version brought 3 --args="$(shell_args 'exit 1')"
    build_and_pull brought --owners --times --xattrs
    ends 0 syscontainer-remove brought
    expect_like "'systemctl start brought' runs it" cat "$WORK/said"
    systemctl start brought
    expect_of_system brought
    ends 0 syscontainer-checkout --update --stage brought
    ends 4 syscontainer-switch --soak=600 brought
    expect_of_system brought
    version_of_brought 2
    say 'by the units of updates'
    set_soak brought 1
    systemctl start syscontainer-update@brought.service
    expect_current brought.1
    say '/etc is emptied: what is in /var stays current'
    systemctl stop brought
    mv /etc/syscontainers/attached "$WORK/attached"
    rm /etc/systemd/system.attached/brought.service
    systemctl daemon-reload
    systemctl restart $RECONCILE
    systemctl start brought
    expect_current brought.1
    rm -rf "$WORK/attached"
    say '/var is emptied'
    systemctl stop brought
    find "$CO" -mindepth 1 -maxdepth 1 ! -name .storage -exec rm -rf {} +
    systemctl restart $RECONCILE
    systemctl start brought
    expect_of_system brought
    say 'both are emptied'
    ends 0 syscontainer-checkout --update brought
    systemctl restart brought
    expect_current brought.1
    systemctl stop brought
    find "$CO" -mindepth 1 -maxdepth 1 ! -name .storage -exec rm -rf {} +
    rm -rf /etc/syscontainers/attached /etc/systemd/system.attached /etc/tmpfiles.d/brought.conf
    systemctl daemon-reload
    systemctl restart $RECONCILE
    systemctl preset brought
    systemctl start brought
    expect_of_system brought
    say 'masked'
    systemctl mask --now brought 2>/dev/null
    run_fails 1 'is masked' systemctl start brought
    systemctl unmask brought 2>/dev/null
    remove_from_system brought
    expect '' of_system / brought
    expect not-found unit_property brought LoadState
done

say 'an image without a configuration, whose files change in a directory of /var'
build_image brought-plain --config='{"Cmd":["sh","-c","trap \"exit 0\" TERM; echo x >/written; sleep 100000 & wait"]}'
pull_image brought-plain
ends 0 syscontainer-checkout --preinstall "$REGISTRY/brought-plain"
systemctl start brought-plain
expect_of_system brought-plain
expect_soon x in_payload brought-plain cat /written
host_users_get_nothing 'with a preinstalled container'
rm -rf /var/lib/brought
mv "$CO/.storage" "$CO/.away"
reboot
