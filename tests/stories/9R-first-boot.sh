#!/bin/bash
# First boots of a host whose image brings services in both ways, as one file that declares a container and as one that is
# preinstalled; later boots, and factory resets of /var and of /etc.
# runs in: vm
. "$(dirname "$0")/lib.sh"

SWEPT+=(/usr/lib/containers/atomic /usr/lib/syscontainers/attached)
INSTALL=syscontainer-install@declared.service PULL=syscontainer-pull@declared.service

# vendor_declares [LINE…]: the declaration that is part of the image.
vendor_declares() {
    write_declaration /usr/lib/syscontainers/declared.conf "Image=$REGISTRY/hello-world" Set=PORT=8101 "$@"
}
# system_state: whether the boot is over, in systemd's words.
system_state() { systemctl is-system-running || true; }
# booted_alone: the boot is over without failures, and needed no registry.
booted_alone() {
    expect lo names_in /sys/class/net
    refuse 'there is no registry' http 5000/v2/
    expect running system_state
}
# images_in_store: what is in it, if there is one.
images_in_store() { [ ! -d "$STORE" ] || ostree --repo="$STORE" refs; }
# starts_of UNIT: how often the manager began to start it in this boot. It forgets that of a unit that is not loaded any more.
starts_of() {
    journalctl --sync
    journalctl --boot --quiet --output=cat --unit="$1" _PID=1 | grep -c '^Starting ' || true
}
# expect_declared NUMBER RECEIVER: the declared container runs, from that deployment, as it should after this boot.
expect_declared() {
    answers declared 8101 "$2"
    expect_current "declared.$1"
    expect enabled systemctl is-enabled declared
    expect_no 'declar.*(changed|gone|broken)' syscontainer-list
}
# expect_brought: so does the preinstalled one.
expect_brought() {
    expect_of_system brought
    answers brought 8102
}
# reset_etc: nothing is in /etc of containers and what is enabled, but for what this machine itself needs. The next boot is a
# first one, which follows presets.
reset_etc() {
    find /etc/systemd/system -type l -path '*.wants/*' ! -name story.service -delete
    rm -rf /etc/syscontainers /etc/systemd/system.attached /etc/tmpfiles.d/declared.conf /etc/machine-id
}
# reset_var: nothing is in /var. Nothing can be expected here before the next boot.
reset_var() {
    systemctl stop declared brought
    journalctl --relinquish-var
    find /var -xdev -mindepth 1 -maxdepth 1 ! -name lost+found -exec rm -rf --one-file-system {} +
}

say "boot $BOOT"
case $BOOT in
    1)
        say 'the registry outlives resets, and is to come up when it is told to'
        systemctl stop registry
        cp -a /var/lib/registry /srv/registry 2>/dev/null || mkdir -p /srv/registry
        sed -i 's,/var/lib/registry,/srv/registry,' /etc/registry.yml
        systemctl start registry
        systemctl --quiet disable registry
        wait_for 'it is there' http 5000/v2/
        hello_world
        pull_image hello-world
        say 'an image of a host'
        mkdir -p /usr/lib/systemd/system-preset
        echo 'enable declared.service' >/usr/lib/systemd/system-preset/70-vendor.preset
        echo 'disable *' >/usr/lib/systemd/system-preset/85-vendor.preset
        vendor_declares
        # What a build works on: no /var is in it.
        mkdir "$WORK/image"
        mount --bind / "$WORK/image"
        ends 0 syscontainer-checkout --preinstall --root="$WORK/image" --repo="$STORE" --name=brought --set PORT=8102 \
            "$REGISTRY/hello-world"
        expect '' ls -A "$WORK/image/var"
        expect enabled systemctl --root="$WORK/image" is-enabled brought
        expect_like '^brought .* brought.0 \(preinstalled\)' syscontainer-list --root="$WORK/image"
        refuse 'nothing more is declared' systemctl --root="$WORK/image" is-enabled declared
        umount "$WORK/image"
        # This is so in each, to wait for less.
        mkdir -p /usr/lib/systemd/system/syscontainer-install@.service.d
        printf '[Service]\nRestartSec=10s\n' >/usr/lib/systemd/system/syscontainer-install@.service.d/story.conf
        rm /etc/machine-id
        systemctl daemon-reload
        reset_var
        reboot
        ;;
    2)
        say 'the first boot, while the registry is down: it is over'
        expect lo names_in /sys/class/net
        refuse 'there is no registry' http 5000/v2/
        expect_like '^(running|degraded)$' system_state
        expect active unit_property multi-user.target ActiveState
        expect_like '^[1-9]' systemctl show --property=FinishTimestampMonotonic --value
        expect "declared (not installed: systemctl start syscontainer-install@declared)" unit_property declared Description
        expect inactive unit_property declared ActiveState
        expect $INSTALL wanted_installs
        check 'it is tried again' journal_has $PULL 'trying again in'
        refuse 'no target waits for it' grep -F "$INSTALL" <(unit_property multi-user.target After)
        expect_like '(^| )network-online.target( |$)' unit_property $PULL After
        say 'what came with the image runs'
        expect '' images_in_store
        expect_brought
        earlier "$(monotonic brought ActiveEnterTimestamp)" "$(monotonic multi-user.target ActiveEnterTimestamp)" \
            'it was there before the boot was over'
        say 'the registry comes up, and nobody does anything'
        systemctl start registry
        wait_for 'it is installed' test -L $CO/declared
        expect_declared 0 World
        expect_soon inactive unit_property $INSTALL ActiveState
        expect_soon running system_state
        expect '' wanted_installs
        expect_brought
        reboot
        ;;
    3)
        say 'a later boot costs nothing'
        booted_alone
        expect '' wanted_installs
        for unit in $INSTALL $PULL; do
            expect 0 starts_of $unit
            expect_no "$unit" unit_property declared After
        done
        expect_no "$INSTALL" unit_property multi-user.target Wants
        journalctl --boot --quiet --output=cat _PID=1 >"$WORK/manager"
        refuse 'nothing was loaded again' grep '^Reloading' "$WORK/manager"
        expect_declared 0 World
        expect_brought
        say 'the image of the host is updated, with another value'
        vendor_declares Set=RECEIVER=Update
        reboot
        ;;
    4)
        say 'what was changed is applied before the first start, without a registry'
        booted_alone
        expect_declared 1 Update
        for unit in $INSTALL declared; do expect 1 starts_of $unit; done
        expect '' wanted_installs
        expect_brought
        say 'factory reset of /var'
        systemctl --quiet enable registry
        reset_var
        reboot
        ;;
    5)
        expect_brought
        wait_for 'it is installed again' test -L $CO/declared
        expect_declared 0 Update
        # What is enabled waits for that, as what needs it does.
        expect 1 starts_of declared
        expect_soon running system_state
        say 'factory reset of /etc'
        reset_etc
        for unit in brought declared; do expect_no enabled enablement $unit; done
        reboot
        ;;
    *)
        say 'what is in /var and in /usr comes back, by presets'
        booted_alone
        expect_brought
        expect_declared 0 Update
        expect_soon '' wanted_installs
        say 'and is there to stay'
        ends 0 syscontainer-apply --exit-code
        expect 'declared: is as declared' cat "$WORK/printed"
        ;;
esac
