#!/bin/bash
# Nothing is mounted in a container of a plain image but what its configuration says, and nothing of its payload's in the place of
# what is the kernel's; with crun and runc.
. "$(dirname "$0")/lib.sh"

# mounting NAME VOLUMES ARGS: an image with these volumes, as "/a /b", of the files in $WORK/NAME.
mounting() {
    local volumes='' volume
    for volume in $2; do volumes+=", \"$volume\": {}"; done
    mkdir -p "$WORK/$1"
    build_image "$1" --owners --config="{\"Cmd\": $3, \"Volumes\": {${volumes#, }}}" "$WORK/$1"
    pull_image "$1"
}

say 'volumes in the place of what is the kernel'\''s'
mkdir -p "$WORK/kernels"
ln -sfn /dev "$WORK/kernels/x"
ln -sfn /sys "$WORK/kernels/y"
while read -r volume place; do
    mounting kernels "$volume" "$(until_stopped)"
    for runtime in crun runc; do
        run_fails 1 "its volume \"$volume\" would be in $place, which is the kernel's" \
            syscontainer-checkout --runtime=/usr/bin/$runtime "$REGISTRY/kernels"
    done
done <<'END'
/dev /dev
/dev/shm /dev
/sys /sys
/sys/fs /sys
/x /dev
/y/fs/cgroup /sys
END
mkdir -p "$WORK/linked/d"
ln -sfn /d "$WORK/linked/dev"
mounting linked /d "$(until_stopped)"
run_fails 1 'its volume "/d" would be where its link /dev leads, /d, which is the kernel' syscontainer-checkout "$REGISTRY/linked"

say 'cgroups, as many images of systemd declare them'
mounting cgroups '/sys/fs/cgroup /v' "$(until_stopped 'touch /v/begun; touch /sys/fs/cgroup/mine && touch /v/written')"
for runtime in crun runc; do
    checkout --runtime=/usr/bin/$runtime "$REGISTRY/cgroups"
    check "$runtime: it starts" systemctl start cgroups
    wait_for 'it runs' test -e /var/lib/syscontainers/cgroups/v/begun
    expect v names_in /var/lib/syscontainers/cgroups
    expect_like ' /sys/fs/cgroup ro,.* - cgroup' cat "/proc/$(unit_property cgroups MainPID)/mountinfo"
    systemctl stop cgroups
    refuse 'it writes nothing there' test -e /var/lib/syscontainers/cgroups/v/written
    must 'its volume goes' syscontainer-remove --purge cgroups
done
