#!/bin/bash
# Limits of a plain image that only a kernel of its own has: what it writes to its root file system, and what it sees of its
# cgroup; with crun and runc.
# runs in: vm
. "$(dirname "$0")/lib.sh"

say 'a file system with project quotas'
modprobe --all loop quota_v2
truncate --size=512M "$WORK/disk.img"
mkfs.ext4 -q -O quota,project -E quotatype=prjquota "$WORK/disk.img"
mount -o loop,prjquota "$WORK/disk.img" /var/lib/containers
mkdir -m 0700 $CO
# limited_image NAME COMMANDS: an image of a shell that does them.
limited_image() {
    mkdir -p "$WORK/$1/srv"
    echo x >"$WORK/$1/srv/file"
    build_and_pull "$1" --config="{\"Cmd\": $(until_stopped "$2")}"
}
limited_image writer 'mkdir /a; head -c 40000000 /dev/zero >/a/big; stat -c "has %b" /a/big; for n in $(seq 20); do head -c 1000000 /dev/zero >/srv/$n; done; echo written'
limited_image files '(mkdir /tmp/x; cd /tmp/x; seq 9000 | xargs touch) 2>&1 | tail -n 1; ls /tmp/x | wc -l; echo written'
used() { du --summarize --block-size=1 "$CO/.$1.scratch" | cut -f1; }
for runtime in crun runc; do
    checkout --name=limited --runtime=/usr/bin/$runtime -o ScratchSize=16M "$REGISTRY/writer"
    checkout --name=other --runtime=/usr/bin/$runtime -o ScratchSize=32M "$REGISTRY/writer"
    checkout --name=free --runtime=/usr/bin/$runtime "$REGISTRY/writer"
    checkout --name=files --runtime=/usr/bin/$runtime -o ScratchSize=16M "$REGISTRY/files"
    for _ in 1 2; do
        for name in limited other free files; do
            mark_journal
            check "$runtime: $name starts" systemctl start $name
            wait_for 'it has written' has_said $name '^written$'
        done
        for bound in limited:16 other:32; do
            name=${bound%:*} most=$((${bound#*:} << 20))
            expect_like 'No space left on device|[Qq]uota exceeded' journal_of $name
            bytes=$(used $name)
            # The kernel makes maps of a file's blocks beyond a limit.
            [ "$bytes" -le $((most + (64 << 10))) ] && [ "$bytes" -gt $((most * 3 / 4)) ] || fail "$name has written $bytes bytes"
            ok "$name has written $bytes bytes"
        done
        bytes=$(used free)
        [ "$bytes" -gt 40000000 ] || fail "without a limit, it has written $bytes bytes"
        expect_like 'No space left on device|[Qq]uota exceeded' journal_of files
        number=$(journal_of files | grep -E '^[0-9]+$' | tail -n 1)
        [ "$number" -gt 4096 ] && [ "$number" -lt 8200 ] || fail "it has made $number files"
        systemctl stop limited other free files
        expect_soon '' bash -c "ls -d $CO/.*.scratch 2>/dev/null || true"
    done
    for name in limited other free files; do must 'it goes' syscontainer-remove $name; done
done

say 'what is left of earlier runs has a bound'
checkout --name=again -o ScratchSize=16M "$REGISTRY/files"
systemctl mask --runtime --quiet syscontainers-forgotten.service
mkdir -p $CO/.again.{0,1,2}.scratch/upper/x $CO/.other.{0,1}.scratch/upper
left_of_runs() { find $CO -maxdepth 1 -name '.again.*.scratch' | wc -l; }
check 'it starts' systemctl start again
expect 1 left_of_runs
systemctl stop again
systemctl unmask --runtime --quiet syscontainers-forgotten.service
must 'a prune' syscontainer-prune
expect 0 left_of_runs
must 'it goes' syscontainer-remove again

say 'what it sees of its cgroup'
# As programs look for them that want to know their limits: the mount, and the path below it.
look=$(cat <<'END'
while [ ! -e /stop ]; do
    own=$(sed -n 's/^0:://p' /proc/self/cgroup)
    where=$(grep ' - cgroup2 ' /proc/self/mountinfo | head -n 1 | cut -d' ' -f4,5)
    directory=${where#* }${own#/}
    echo "$where $own memory $(cat $directory/memory.max) cpu $(cat $directory/cpu.max) pids $(cat $directory/pids.max)" >/seen.new
    mv /seen.new /seen
    sleep 0.1
done & :
END
)
limited_image looks "$look"
limits_seen() { cat $CO/.looks.scratch/upper/seen; }
for runtime in crun runc; do
    checkout --name=looks --runtime=/usr/bin/$runtime "$REGISTRY/looks"
    mkdir -p /etc/systemd/system/looks.service.d
    printf '[Service]\nMemoryMax=200M\nCPUQuota=50%%\n' >/etc/systemd/system/looks.service.d/limits.conf
    systemctl daemon-reload
    systemctl start looks
    expect_soon '/ /sys/fs/cgroup / memory 209715200 cpu 50000 100000 pids 2048' limits_seen
    systemctl set-property --runtime looks MemoryMax=100M CPUQuota=150% TasksMax=77
    expect_soon '/ /sys/fs/cgroup / memory 104857600 cpu 150000 100000 pids 77' limits_seen
    systemctl stop looks
    rm -r /etc/systemd/system/looks.service.d
    must 'it goes' syscontainer-remove looks
    systemctl revert looks 2>/dev/null || true
done
must 'a prune' syscontainer-prune
