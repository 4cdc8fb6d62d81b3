#!/bin/bash
# Updates of what is installed: files and values of one version do not get into another.
# Rows of tests/atomic.md: m, 1.A3, 1.B9, 2.A11, 4.15, k, l, t.
. "$(dirname "$0")/lib.sh"

# version_with_files N [FILE…]: an image that has these files, the same ones for the host, and defaults of its version.
version_with_files() {
    local version=$1 file
    rm -rf "$WORK/thing"
    shift
    exports thing "$(until_stopped)" --env='"A=$A", "B=$B", "UUID=$UUID"' --template
    mkdir -p "$WORK/thing/srv/files" "$WORK/thing/exports/hostfs/etc/thing"
    for file; do
        echo "$version" >"$WORK/thing/srv/files/$file"
        echo "$version" >"$WORK/thing/exports/hostfs/etc/thing/$file"
    done
    echo "{\"defaultValues\": {\"A\": \"a$version\", \"B\": \"b$version\"}}" >"$WORK/thing/exports/manifest.json"
    build_and_pull thing
}
# variable NAME: as the current deployment of thing has it.
variable() { sed -n "s/.*\"$1=\([^\"]*\)\".*/\1/p" $CO/thing/config.json; }
update_thing() { checkout --update "$@" thing; }

version_with_files 1 common first
checkout --set B=mine "$REGISTRY/thing"
systemctl start thing
uuid=$(variable UUID)
expect a1 variable A

say 'three versions, one after the other'
version_with_files 2 common second
update_thing
expect thing.1 readlink $CO/thing
expect 'common second' names_in $CO/thing/rootfs/srv/files
expect 'common second' names_in /etc/thing
expect 2 cat /etc/thing/common
expect 'a2 mine' echo "$(variable A) $(variable B)"
expect "$uuid" variable UUID
expect 'common first' names_in $CO/thing.0/rootfs/srv/files
check 'the service is not touched' systemctl is-active thing
check 'and runs the new one then' systemctl restart thing
version_with_files 3 common third
echo mine >/etc/thing/second
update_thing --dry-run
expect thing.1 readlink $CO/thing
syscontainer-checkout --update --dry-run thing >"$WORK/preview"
for line in /etc/thing/common: '/etc/thing/second: was changed on this host, is left behind'; do
    expect_like "^# $line" cat "$WORK/preview"
done
# The service runs the second one.
expect_like "^# $CO/thing.0: removed" cat "$WORK/preview"
update_thing
expect 'common third' names_in $CO/thing/rootfs/srv/files
expect 'common second third' names_in /etc/thing
expect_like '/etc/thing/second was changed on this host, leaving it behind' cat "$WORK/said"
rm /etc/thing/second
refuse 'two are kept' test -e $CO/thing.0
systemctl restart thing
expect 'active running success' state thing

say 'what the user changed, update after update'
echo changed >/etc/thing/common
version_with_files 4 common
update_thing
version_with_files 5 common
update_thing
expect changed cat /etc/thing/common
expect_like '"/etc/thing/common"' cat $CO/thing/info
version_with_files 6
update_thing
expect changed cat /etc/thing/common
rm -r /etc/thing

say 'values'
snapshot >"$WORK/before"
update_thing
expect_like 'thing is up to date' cat "$WORK/said"
update_thing --set B=mine
unchanged "$WORK/before"
update_thing --unset B
expect b6 variable B
update_thing --set A=x
expect 'x b6' echo "$(variable A) $(variable B)"
expect "$uuid" variable UUID

say 'another image'
skopeo copy --quiet "docker://$REGISTRY/thing" "docker://$REGISTRY/other:9"
pull_image other:9
update_thing --rebase="$REGISTRY/other:9"
expect_like '"image": "127.0.0.1:5000/other:9"' cat $CO/thing/info
expect x variable A
update_thing
expect_like 'up to date: 127.0.0.1:5000/other:9' cat "$WORK/said"
systemctl restart thing

say 'bad ones change nothing'
snapshot >"$WORK/before"
run_fails 3 'cannot update nothing: there is no container nothing' syscontainer-checkout --update nothing
run_fails 1 'cannot update thing: cannot find image 127.0.0.1:5000/none:latest' \
    syscontainer-checkout --update --rebase="$REGISTRY/none" thing
run_fails 2 'missing NAME' syscontainer-checkout --update
run_fails 2 'require --update' syscontainer-checkout --unset A "$REGISTRY/thing"
run_fails 2 'cannot be combined with --update' syscontainer-checkout --update --name=x thing
run_fails 2 'invalid container name' syscontainer-checkout --update a/b
version_with_files 7 common
sed -i 's/"A": "a7", //' "$WORK/thing/exports/manifest.json"
sed -i 's/\$B/$C/' "$WORK/thing/exports/config.json.template"
build_and_pull thing
run_fails 1 'cannot update thing: cannot render .*no value for C' \
    syscontainer-checkout --update --rebase="$REGISTRY/thing" thing
unchanged "$WORK/before"
expect 'active running success' state thing
systemctl stop thing
expect 'inactive dead success' state thing

say 'nothing but files'
for number in 1 2; do
    exports files '[]'
    rm "$WORK/files/exports/"*
    mkdir -p "$WORK/files/exports/hostfs/etc/files"
    echo $number >"$WORK/files/exports/hostfs/etc/files/$number"
    echo '{"noContainerService": true}' >"$WORK/files/exports/manifest.json"
    build_image files "$WORK/files"
    rm -r "$WORK/files/exports/hostfs"
    pull_image files
    if [ $number = 1 ]; then checkout "$REGISTRY/files"; else checkout --update files; fi
    expect "$number" ls /etc/files
done

say 'a service runs what it was started with, however often it is updated'
exports long "$(shell_args "trap 'exit 0' TERM; while sleep 0.1; do cat /srv/version >/out/version || exit 9; done")" \
    --mount=/run/long:/out:bind
mkdir -p "$WORK/long/srv"
for number in 1 2 3 4; do
    echo $number >"$WORK/long/srv/version"
    build_and_pull long
    if [ $number = 1 ]; then
        checkout "$REGISTRY/long"
        systemctl start long
    else
        checkout --update long
    fi
done
expect 'long.0 long.2 long.3' names_in $CO 'long.*'
# What it writes from now on.
rm -f /run/long/version
expect_soon 1 cat /run/long/version
expect 'active running success' state long
systemctl restart long
wait_for 'the last one runs' grep -qx 4 /run/long/version
checkout --update --set X=1 long
expect 'long.3 long.4' names_in $CO 'long.*'
systemctl stop long

say 'an update that fails while it registers is undone, host files too'
version_with_files 1 common first
checkout --name=undone "$REGISTRY/thing"
version_with_files 2 common second
snapshot >"$WORK/before"
mount --bind /etc/systemd/system.attached /etc/systemd/system.attached
mount -o remount,bind,ro /etc/systemd/system.attached
sed -i 's/Story of/Another story of/' "$WORK/thing/exports/service.template"
build_and_pull thing
run_fails 1 'cannot update undone: .*Read-only' syscontainer-checkout --update undone
umount /etc/systemd/system.attached
unchanged "$WORK/before"
expect 1 cat /etc/thing/common
expect 'common first' names_in /etc/thing
check 'it can be done again' syscontainer-checkout --update undone
expect 'common second' names_in /etc/thing

say 'an update that was killed before it loaded the unit'
sed -i 's/^Description=.*/Description=of another time/' /etc/systemd/system.attached/undone.service
check 'is completed by the same command' syscontainer-checkout --update undone
expect no unit_property undone NeedDaemonReload
expect 'Another story of thing' unit_property undone Description

say 'only mode and owner of a host file are others'
chmod 600 "$WORK/thing/exports/hostfs/etc/thing/common"
build_and_pull thing
checkout --update undone
expect 600 stat --format=%a /etc/thing/common

say 'files only, then a service, then files only'
exports turns "$(until_stopped)"
mkdir -p "$WORK/turns/exports/hostfs/etc/turns"
touch "$WORK/turns/exports/hostfs/etc/turns/x"
turn() {
    echo "{\"noContainerService\": $1}" >"$WORK/turns/exports/manifest.json"
    build_and_pull turns
}
turn true
checkout "$REGISTRY/turns"
turn null
checkout --update turns
expect enabled systemctl is-enabled turns
systemctl start turns
turn true
checkout --update turns
expect not-found unit_property turns LoadState
refuse 'nothing of it runs' test -e /run/syscontainers/turns
expect '' find /etc/systemd/system -name 'turns*'
check 'its file is there' test -e /etc/turns/x

say 'a container has two paths of one file'
exports alias '["true"]'
mkdir -p "$WORK/alias/exports/hostfs/lib/alias"
echo x >"$WORK/alias/exports/hostfs/lib/alias/f"
build_image alias "$WORK/alias"
exports other '["true"]'
mkdir -p "$WORK/other/exports/hostfs/usr/lib/alias"
echo x >"$WORK/other/exports/hostfs/usr/lib/alias/f"
build_image other "$WORK/other"
for name in alias other; do
    pull_image "$name"
    checkout --name=$name "$REGISTRY/$name"
done
syscontainer-remove alias 2>/dev/null
check 'the other one has it still' test -e /usr/lib/alias/f
syscontainer-remove other 2>/dev/null
refuse 'it goes with the last one' test -e /usr/lib/alias

say 'a version that does not start'
for name in good bad; do
    exports start "$(until_stopped)" --unit='StartLimitBurst=3'
    [ $name = good ] || sed -i 's/"sh","-c"/"nothing-of-that-name","-c"/' "$WORK/start/exports/config.json"
    build_and_pull start:$name
done
for name in start1 start2; do
    checkout --name=$name "$REGISTRY/start:good"
    systemctl start $name
    checkout --update --rebase="$REGISTRY/start:bad" $name
    refuse 'it fails, and says so' systemctl restart $name
    # The original took the container away then.
    expect $name.1 readlink $CO/$name
    check 'what was there before is whole' test -e $CO/$name.0/rootfs/bin/busybox
done
for name in start1 start2; do
    check 'it can go back' syscontainer-checkout --update --rebase="$REGISTRY/start:good" $name
    systemctl reset-failed $name
    check 'and starts again' systemctl restart $name
    expect 'active running success' state $name
    systemctl stop $name
done

say 'many at once that share files'
exports crowd '["true"]'
mkdir -p "$WORK/crowd/exports/hostfs/opt/crowd"
for number in $(seq 20); do echo x >"$WORK/crowd/exports/hostfs/opt/crowd/$number"; done
build_and_pull crowd
for round in 1 2 3; do
    pids=()
    for name in a b c d; do
        syscontainer-checkout --name=$name "$REGISTRY/crowd" >/dev/null 2>&1 &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid"; done
    for name in a b c d; do expect 21 bash -c "sed -n '/\"installed-files\"/,/]/p' $CO/$name/info | grep -c /opt/crowd"; done
    pids=()
    for name in a b c; do
        syscontainer-remove $name 2>/dev/null &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid"; done
    expect 20 bash -c 'ls /opt/crowd | wc -l'
    syscontainer-remove d 2>/dev/null
    refuse "round $round: they go with the last one" test -e /opt/crowd
done
