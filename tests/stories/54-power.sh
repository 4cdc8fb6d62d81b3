#!/bin/bash
# Reboots and power cuts while containers run, and while one is installed.
# runs in: vm
# Rows of tests/atomic.md: 4.10.
. "$(dirname "$0")/lib.sh"

# all_run N: what was there before the cut runs, and N is what a container wrote last.
all_run() {
    for unit in crun runc; do
        expect 'active running success' state $unit
        expect_soon sleep processes $unit
    done
    expect '' bash -c 'systemctl --failed --no-legend --plain'
    store_is_sound
    # What a container wrote into its own directory and synced.
    expect "$1" cat /var/lib/state/written
}
case $BOOT in
    1)
        mkdir -p /var/lib/state
        exports image '["sleep","100000"]'
        build_and_pull image
        for runtime in crun runc; do
            checkout --runtime=/usr/bin/$runtime --name=$runtime "$REGISTRY/image"
            systemctl start $runtime
        done
        hello_world
        echo 1 >/var/lib/state/written
        sync /var/lib/state/written
        cut_off
        ;;
    2)
        all_run 1
        say 'and once more, right after the start'
        systemctl restart crun runc
        echo 2 >/var/lib/state/written
        sync /var/lib/state/written
        cut_off
        ;;
    3)
        all_run 2
        reboot
        ;;
    4)
        all_run 2
        say 'while an image is pulled and installed'
        expect_like 'Stopped.*crun' journalctl --boot=-1 --unit=crun --output=cat
        cp -r "$WORK/image" "$WORK/large"
        mkdir "$WORK/large/srv"
        for n in 1 2 3 4 5 6 7 8; do head -c 2000000 /dev/urandom >"$WORK/large/srv/$n"; done
        build_image large "$WORK/large"
        sync
        (while :; do
            syscontainer-pull --quiet "$REGISTRY/large" && syscontainer-checkout "$REGISTRY/large" && forget large
            ostree --repo=$CO/.storage/ostree refs --delete ociimage/127.0.0.1_3A5000_2Flarge_3Alatest
        done) >/dev/null 2>&1 &
        sleep 1.$((RANDOM % 100))$((RANDOM % 10))
        cut_off
        ;;
    5)
        all_run 2
        say "large is $(readlink $CO/large || echo not there) after the cut"
        refuse 'nothing half is left' bash -c "ls -d $CO/.large.* | grep ."
        if [ -L $CO/large ]; then
            expect 'active running success' state large
        else
            expect not-found unit_property large LoadState
        fi
        expect_like "^$REGISTRY/large:latest sha256" syscontainer-pull --quiet "$REGISTRY/large"
        expect large quietly syscontainer-checkout "$REGISTRY/large"
        systemctl start large
        expect 'active running success' state large
        store_is_sound
        say 'a deployment that is cut off right after it was installed is whole'
        expect whole quietly syscontainer-checkout --name=whole "$REGISTRY/large"
        find $CO/whole.0/rootfs/srv -type f -exec sha256sum {} + >"$WORK/sums"
        sync "$WORK/sums"
        cut_off
        ;;
    *)
        all_run 2
        check 'every file is' sha256sum --quiet --check "$WORK/sums"
        expect 'active running success' state whole
        ;;
esac
