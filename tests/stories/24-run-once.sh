#!/bin/bash
# Images that run once, label atomic.run=once: a oneshot with its exit status, its tmpfiles and a root file system to write to.
# Rows of tests/atomic.md: 1.09, 8.02, r.
. "$(dirname "$0")/lib.sh"

# What it does: needs its tmpfiles, writes everywhere, and ends with a status.
cat >"$WORK/do" <<'END'
[ -d /data ] || exit 100
[ ! -e /left ] || exit 101
echo written >/left && mkdir -p /usr/new && rm /etc/of-the-image && echo x >/bin/new && rm /bin/ls && chmod 700 /srv || exit 102
grep -q ' / / rw' /proc/self/mountinfo || exit 103
cp /left /data/result
[ -z "$FAIL" ] || exit $FAIL
END
exports job '["sh","/do"]' --unit='Restart=always' --mount='$RUN_DIRECTORY/$NAME:/data' --env='"FAIL=$FAIL"' --template
job=$WORK/job
mkdir -p "$job/etc"
echo x >"$job/etc/of-the-image"
cp "$WORK/do" "$job/do"
sed -i 's/"readonly": true/"readonly": false/' "$job/exports/config.json.template"
echo '{"defaultValues": {"FAIL": ""}}' >"$job/exports/manifest.json"
echo 'D $RUN_DIRECTORY/$NAME 0700 - -' >"$job/exports/tmpfiles.template"
# Brings no unit.
rm "$job/exports/service.template"
build_and_pull job --label=atomic.run=once
for runtime in crun runc; do
    checkout --name=$runtime --runtime=/usr/bin/$runtime "$REGISTRY/job"
    checkout --name=fail-$runtime --set FAIL=7 --runtime=/usr/bin/$runtime "$REGISTRY/job"
done
exports unit '["sh","/do"]' --unit=$'Type=simple\nRestart=always\nRemainAfterExit=yes' --mount=/run/unit:/data
cp -r "$job/etc" "$job/do" "$WORK/unit/"
sed -i 's/"readonly": true/"readonly": false/' "$WORK/unit/exports/config.json"
build_and_pull unit --label=atomic.run=once
checkout "$REGISTRY/unit"
snapshot >"$WORK/before"
store() { find $CO/.storage/ostree/objects -type f -printf '%i %s %m %u %p\n' | sort; }
store >"$WORK/store"

for runtime in crun runc; do
    say "$runtime"
    expect oneshot unit_property $runtime Type
    expect static enablement $runtime
    for _ in 1 2; do
        check 'it runs, and is done' systemctl start $runtime
        expect 'inactive dead success' state $runtime
    done
    refuse 'its status is that of the unit' systemctl start fail-$runtime
    expect 'failed failed exit-code 7' state fail-$runtime
    # 'D' directories are emptied at the end.
    refuse 'its tmpfiles are removed' test -e "/run/$runtime/result"
    systemctl reset-failed fail-$runtime
    refuse 'nothing is mounted any more' grep syscontainers/$runtime /proc/self/mountinfo
done

say 'a unit of its own'
for key in Type=oneshot Restart=no RemainAfterExit=no; do
    expect "${key#*=}" unit_property unit "${key%%=*}"
done
check 'it runs' systemctl start unit
expect 'inactive dead success' state unit
expect written cat /run/unit/result
expect '' find /var/lib/containers -name left

say 'nothing is left'
# What it needs on the host was made when it was installed.
unchanged "$WORK/before"
expect_same "$WORK/store" store

say 'killed while it runs'
exports long "$(shell_args 'echo x >/left; sleep 1000')"
sed -i 's/"readonly": true/"readonly": false/' "$WORK/long/exports/config.json"
build_and_pull long --label=atomic.run=once
checkout "$REGISTRY/long"
snapshot >"$WORK/before"
systemctl --no-block start long
wait_for 'it runs' test -e $CO/.long.scratch/upper/left
# A oneshot: nothing ends that by itself.
expect start unit_property long SubState
check 'it is stopped' systemctl stop long
refuse 'with what it wrote' test -e $CO/.long.scratch
systemctl --no-block start long
wait_for 'it runs again' test -e $CO/.long.scratch/upper/left
# Its main process: what cleans up is in the same cgroup by then.
systemctl kill --kill-whom=main --signal=KILL long
wait_for 'it is gone' ended long
refuse 'with what it wrote' test -e $CO/.long.scratch
systemctl reset-failed long
unchanged "$WORK/before"

say 'a removed one'
mkdir -p $CO/.long.scratch/upper
rm $CO/long
touch $CO/.long.0.new
/usr/libexec/syscontainers/syscontainer-reconcile 2>/dev/null
# No boot waits for it: a payload decided how much there is.
syscontainer-prune >/dev/null
refuse 'leaves no scratch space' test -e $CO/.long.scratch
