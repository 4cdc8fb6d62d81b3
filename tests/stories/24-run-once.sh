#!/bin/bash
# Images that run once, label atomic.run=once: a oneshot with its exit status, its tmpfiles and a root file system to write to.
# Rows of tests/atomic.md: 1.09, 8.02, r.
. "$(dirname "$0")/lib.sh"

CO=/var/lib/containers/atomic
# What it does: needs its tmpfiles, writes everywhere, and ends with a status.
cat >"$WORK/do" <<'END'
[ -d /data ] || exit 100
[ ! -e /left ] || exit 101
echo written >/left && mkdir -p /usr/new && rm /etc/of-the-image && echo x >/bin/new && rm /bin/ls && chmod 700 /srv || exit 102
grep -q ' / / rw' /proc/self/mountinfo || exit 103
cp /left /data/result
[ -z "$FAIL" ] || exit $FAIL
END
exports job '["sh","/do"]' 'Restart=always' '' '{"destination": "/data", "type": "bind", "source": "$RUN_DIRECTORY/$NAME", "options": ["bind", "rw"]}'
job=$WORK/job
mkdir -p "$job/etc"
echo x >"$job/etc/of-the-image"
cp "$WORK/do" "$job/do"
sed 's/"readonly": true/"readonly": false/; s,"PATH=/bin:/usr/bin","PATH=/bin:/usr/bin"\, "FAIL=$FAIL",' \
    "$job/exports/config.json" >"$job/exports/config.json.template"
rm "$job/exports/config.json"
echo '{"defaultValues": {"FAIL": ""}}' >"$job/exports/manifest.json"
echo 'D $RUN_DIRECTORY/$NAME 0700 - -' >"$job/exports/tmpfiles.template"
# Brings no unit.
rm "$job/exports/service.template"
build_image job --label=atomic.run=once "$job"
syscontainer-pull --quiet "$REGISTRY/job" >/dev/null
for runtime in crun runc; do
    syscontainer-checkout --name=$runtime --runtime=/usr/bin/$runtime "$REGISTRY/job" >/dev/null 2>&1
    syscontainer-checkout --name=fail-$runtime --set FAIL=7 --runtime=/usr/bin/$runtime "$REGISTRY/job" >/dev/null 2>&1
done
exports unit '["sh","/do"]' $'Type=simple\nRestart=always\nRemainAfterExit=yes' '' '{"destination": "/data", "type": "bind", "source": "/run/unit", "options": ["bind", "rw"]}'
cp -r "$job/etc" "$job/do" "$WORK/unit/"
sed -i 's/"readonly": true/"readonly": false/' "$WORK/unit/exports/config.json"
build_image unit --label=atomic.run=once "$WORK/unit"
syscontainer-pull --quiet "$REGISTRY/unit" >/dev/null
syscontainer-checkout "$REGISTRY/unit" >/dev/null 2>&1
snapshot >"$WORK/before"
store() { find $CO/.storage/ostree/objects -type f -printf '%i %s %m %u %p\n' | sort; }
store >"$WORK/store"

for runtime in crun runc; do
    say "$runtime"
    expect oneshot unit_property $runtime Type
    expect static bash -c "systemctl is-enabled $runtime || true"
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
store | diff "$WORK/store" - || fail 'files of the store were changed'
ok 'the store is as it was'

say 'killed while it runs'
exports long '["sh","-c","echo x >/left; sleep 1000"]'
sed -i 's/"readonly": true/"readonly": false/' "$WORK/long/exports/config.json"
build_image long --label=atomic.run=once "$WORK/long"
syscontainer-pull --quiet "$REGISTRY/long" >/dev/null
syscontainer-checkout "$REGISTRY/long" >/dev/null 2>&1
snapshot >"$WORK/before"
systemctl --no-block start long
wait_for 'it runs' bash -c "[ \"\$(systemctl show --property=SubState --value long)\" = start ] && test -e $CO/.long.scratch/upper/left"
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
refuse 'leaves no scratch space' test -e $CO/.long.scratch
