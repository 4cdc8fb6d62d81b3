#!/bin/bash
# Updates of what is installed: files and values of one version do not get into another.
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
