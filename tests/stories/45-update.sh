#!/bin/bash
# Updates of what is installed: files and values of one version do not get into another.
# Rows of tests/atomic.md: m, 1.A3, 1.B9, 2.A11, 4.15, k, l, t.
. "$(dirname "$0")/lib.sh"

CO=/var/lib/containers/atomic
# version N [FILE…]: an image that has these files, the same ones for the host, and defaults of its version.
version() {
    local version=$1 file
    rm -rf "$WORK/thing"
    shift
    exports thing '["sh","-c","trap \"exit 0\" TERM; sleep 1000 & wait"]'
    sed -i 's|"PATH=/bin:/usr/bin"|"PATH=/bin:/usr/bin", "A=$A", "B=$B", "UUID=$UUID"|' "$WORK/thing/exports/config.json"
    mv "$WORK/thing/exports/config.json" "$WORK/thing/exports/config.json.template"
    mkdir -p "$WORK/thing/srv/files" "$WORK/thing/exports/hostfs/etc/thing"
    for file; do
        echo "$version" >"$WORK/thing/srv/files/$file"
        echo "$version" >"$WORK/thing/exports/hostfs/etc/thing/$file"
    done
    echo "{\"defaultValues\": {\"A\": \"a$version\", \"B\": \"b$version\"}}" >"$WORK/thing/exports/manifest.json"
    build_image thing "$WORK/thing"
    syscontainer-pull --quiet "$REGISTRY/thing" >/dev/null
}
variable() { sed -n "s/.*\"$1=\([^\"]*\)\".*/\1/p" $CO/thing/config.json; }
update() { syscontainer-checkout --update "$@" thing >/dev/null 2>"$WORK/messages" || { shown "$WORK/messages"; return 1; }; }

version 1 common first
syscontainer-checkout --set B=mine "$REGISTRY/thing" >/dev/null 2>&1
systemctl start thing
uuid=$(variable UUID)
expect a1 variable A

say 'three versions, one after the other'
version 2 common second
update
expect thing.1 readlink $CO/thing
expect 'common second' bash -c "ls $CO/thing/rootfs/srv/files | paste -sd' '"
expect 'common second' bash -c "ls /etc/thing | paste -sd' '"
expect 2 cat /etc/thing/common
expect 'a2 mine' echo "$(variable A) $(variable B)"
expect "$uuid" variable UUID
expect 'common first' bash -c "ls $CO/thing.0/rootfs/srv/files | paste -sd' '"
check 'the service is not touched' systemctl is-active thing
check 'and runs the new one then' systemctl restart thing
version 3 common third
echo mine >/etc/thing/second
update --dry-run
expect thing.1 readlink $CO/thing
syscontainer-checkout --update --dry-run thing >"$WORK/preview"
for line in /etc/thing/common: '/etc/thing/second: was changed on this host, is left behind'; do
    expect_like "^# $line" cat "$WORK/preview"
done
# The service runs the second one.
expect_like "^# $CO/thing.0: goes" cat "$WORK/preview"
update
expect 'common third' bash -c "ls $CO/thing/rootfs/srv/files | paste -sd' '"
expect 'common second third' bash -c "ls /etc/thing | paste -sd' '"
expect_like '/etc/thing/second was changed on this host, leaving it behind' cat "$WORK/messages"
rm /etc/thing/second
refuse 'two are kept' test -e $CO/thing.0
systemctl restart thing
expect 'active running success' state thing

say 'what the user changed, update after update'
echo changed >/etc/thing/common
version 4 common
update
version 5 common
update
expect changed cat /etc/thing/common
expect_like '"/etc/thing/common"' cat $CO/thing/info
version 6
update
expect changed cat /etc/thing/common
rm -r /etc/thing

say 'values'
snapshot >"$WORK/before"
update
expect_like 'thing is up to date' cat "$WORK/messages"
update --set B=mine
unchanged "$WORK/before"
update --unset B
expect b6 variable B
update --set A=x
expect 'x b6' echo "$(variable A) $(variable B)"
expect "$uuid" variable UUID

say 'another image'
skopeo copy --quiet "docker://$REGISTRY/thing" "docker://$REGISTRY/other:9"
syscontainer-pull --quiet "$REGISTRY/other:9" >/dev/null
update --rebase="$REGISTRY/other:9"
expect_like '"image": "127.0.0.1:5000/other:9"' cat $CO/thing/info
expect x variable A
update
expect_like 'up to date: 127.0.0.1:5000/other:9' cat "$WORK/messages"
systemctl restart thing

say 'bad ones change nothing'
snapshot >"$WORK/before"
run_fails 1 'cannot update nothing: it is not installed' syscontainer-checkout --update nothing
run_fails 1 'cannot update thing: cannot find image 127.0.0.1:5000/none:latest' syscontainer-checkout --update --rebase="$REGISTRY/none" thing
run_fails 2 'missing NAME' syscontainer-checkout --update
run_fails 2 'are for --update' syscontainer-checkout --unset A "$REGISTRY/thing"
run_fails 2 'first installation' syscontainer-checkout --update --name=x thing
run_fails 2 'invalid container name' syscontainer-checkout --update a/b
version 7 common
sed -i 's/"A": "a7", //' "$WORK/thing/exports/manifest.json"
sed -i 's/\$B/$C/' "$WORK/thing/exports/config.json.template"
build_image thing "$WORK/thing"
syscontainer-pull --quiet "$REGISTRY/thing" >/dev/null
run_fails 1 'cannot update thing: cannot render .*no value for C' syscontainer-checkout --update --rebase="$REGISTRY/thing" thing
unchanged "$WORK/before"
expect 'active running success' state thing
expect 'inactive dead success' bash -c "systemctl stop thing; . /src/tests/stories/lib.sh; state thing"

say 'nothing but files'
for number in 1 2; do
    exports files '[]'
    rm "$WORK/files/exports/"*
    mkdir -p "$WORK/files/exports/hostfs/etc/files"
    echo $number >"$WORK/files/exports/hostfs/etc/files/$number"
    echo '{"noContainerService": true}' >"$WORK/files/exports/manifest.json"
    build_image files "$WORK/files"
    rm -r "$WORK/files/exports/hostfs"
    syscontainer-pull --quiet "$REGISTRY/files" >/dev/null
    [ $number = 1 ] && syscontainer-checkout "$REGISTRY/files" >/dev/null 2>&1 || syscontainer-checkout --update files >/dev/null 2>&1
    expect "$number" ls /etc/files
done

say 'a service runs what it was started with, however often it is updated'
exports long '["sh","-c","trap \"exit 0\" TERM; while sleep 0.1; do cat /srv/version >/out/version || exit 9; done"]' '' '' '{"destination": "/out", "type": "bind", "source": "/run/long", "options": ["bind"]}'
mkdir -p "$WORK/long/srv"
for number in 1 2 3 4; do
    echo $number >"$WORK/long/srv/version"
    build_image long "$WORK/long"
    syscontainer-pull --quiet "$REGISTRY/long" >/dev/null
    if [ $number = 1 ]; then
        syscontainer-checkout "$REGISTRY/long" >/dev/null 2>&1
        systemctl start long
    else
        syscontainer-checkout --update long >/dev/null 2>&1
    fi
done
expect 'long.0 long.2 long.3' bash -c "cd $CO && echo long.*"
sleep 0.5
expect 1 cat /run/long/version
expect 'active running success' state long
systemctl restart long
wait_for 'the last one runs' grep -qx 4 /run/long/version
syscontainer-checkout --update --set X=1 long >/dev/null 2>&1
expect 'long.3 long.4' bash -c "cd $CO && echo long.*"
systemctl stop long

say 'an update that fails while it registers is undone, host files too'
version 1 common first
syscontainer-checkout --name=undone "$REGISTRY/thing" >/dev/null 2>&1
version 2 common second
snapshot >"$WORK/before"
mount --bind /etc/systemd/system.attached /etc/systemd/system.attached
mount -o remount,bind,ro /etc/systemd/system.attached
sed -i 's/Story of/Another story of/' "$WORK/thing/exports/service.template"
build_image thing "$WORK/thing"
syscontainer-pull --quiet "$REGISTRY/thing" >/dev/null
run_fails 1 'cannot update undone: .*Read-only' syscontainer-checkout --update undone
umount /etc/systemd/system.attached
unchanged "$WORK/before"
expect 1 cat /etc/thing/common
expect 'common first' bash -c "ls /etc/thing | paste -sd' '"
check 'it can be done again' syscontainer-checkout --update undone
expect 'common second' bash -c "ls /etc/thing | paste -sd' '"

say 'an update that was killed before it loaded the unit'
check 'is completed by the same command' bash -c 'sed -i "s/^Description=.*/Description=of another time/" /etc/systemd/system.attached/undone.service; syscontainer-checkout --update undone'
expect no unit_property undone NeedDaemonReload
expect 'Another story of thing' unit_property undone Description

say 'only mode and owner of a host file are others'
chmod 600 "$WORK/thing/exports/hostfs/etc/thing/common"
build_image thing "$WORK/thing"
syscontainer-pull --quiet "$REGISTRY/thing" >/dev/null
syscontainer-checkout --update undone >/dev/null 2>&1
expect 600 stat --format=%a /etc/thing/common

say 'files only, then a service, then files only'
exports turns '["sh","-c","trap \"exit 0\" TERM; sleep 1000 & wait"]'
mkdir -p "$WORK/turns/exports/hostfs/etc/turns"
touch "$WORK/turns/exports/hostfs/etc/turns/x"
turn() {
    echo "{\"noContainerService\": $1}" >"$WORK/turns/exports/manifest.json"
    build_image turns "$WORK/turns"
    syscontainer-pull --quiet "$REGISTRY/turns" >/dev/null
}
turn true
syscontainer-checkout "$REGISTRY/turns" >/dev/null 2>&1
turn null
syscontainer-checkout --update turns >/dev/null 2>&1
expect enabled systemctl is-enabled turns
systemctl start turns
turn true
syscontainer-checkout --update turns >/dev/null 2>&1
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
    syscontainer-pull --quiet "$REGISTRY/$name" >/dev/null
    syscontainer-checkout --name=$name "$REGISTRY/$name" >/dev/null 2>&1
done
syscontainer-remove alias 2>/dev/null
check 'the other one has it still' test -e /usr/lib/alias/f
syscontainer-remove other 2>/dev/null
refuse 'it goes with the last one' test -e /usr/lib/alias

say 'a version that does not start'
for name in good bad; do
    exports start '["sh","-c","trap \"exit 0\" TERM; sleep 1000 & wait"]' 'StartLimitBurst=3'
    [ $name = good ] || sed -i 's/"sh","-c"/"nothing-of-that-name","-c"/' "$WORK/start/exports/config.json"
    build_image start:$name "$WORK/start"
    syscontainer-pull --quiet "$REGISTRY/start:$name" >/dev/null
done
for name in start1 start2; do
    syscontainer-checkout --name=$name "$REGISTRY/start:good" >/dev/null 2>&1
    systemctl start $name
    syscontainer-checkout --update --rebase="$REGISTRY/start:bad" $name >/dev/null 2>&1
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
build_image crowd "$WORK/crowd"
syscontainer-pull --quiet "$REGISTRY/crowd" >/dev/null
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
