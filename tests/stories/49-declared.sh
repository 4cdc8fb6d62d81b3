#!/bin/bash
# Declarations: one file installs a service, and what is changed in it is applied.
. "$(dirname "$0")/lib.sh"

DECLARED=/etc/syscontainers
VENDOR=/usr/lib/syscontainers
mkdir -p $VENDOR

# declare_web [LINE…]: the declaration of web, which systemd then knows.
declare_web() {
    write_declaration $DECLARED/web.conf "$@"
    systemctl daemon-reload
}
# apply_declared STATUS [ARGUMENT…]: of syscontainer-apply, which ends so; see ends.
apply_declared() { ends "$1" syscontainer-apply --quiet "${@:2}"; }
# start_install NAME: its unit installs or updates it, and ends.
start_install() { systemctl start "syscontainer-install@$1.service" 2>"$WORK/said"; }

# running_digest NAME: of the image of its current deployment.
running_digest() { syscontainer-list --json --filter="name=$1" | sed -n 's/^ *"digest": "\(.*\)",*$/\1/p'; }

hello_world
hello_world web:2
HELLO=$REGISTRY/hello-world

say 'one file, in /etc'
declare_web "Image=$HELLO" Set=PORT=8101 Set=RECEIVER=File
expect "web (not installed: systemctl start syscontainer-install@web)" unit_property web Description
refuse 'the placeholder does not start' systemctl start web
expect 78 unit_property web ExecMainStatus
systemctl reset-failed web
check 'the units are sound' systemd-analyze verify syscontainer-install@web.service syscontainer-pull@web.service
check 'it is installed' start_install web
answers web 8101 File
expect enabled systemctl is-enabled web
expect_current web.0
expect '' wanted_installs
expect_no 'syscontainer-install' unit_property web After
expect_no 'declar' syscontainer-list

say 'nothing to do'
snapshot >"$WORK/before"
apply_declared 0 --exit-code
expect 'web: is as declared' cat "$WORK/printed"
check 'the unit has nothing to do, either' start_install web
unchanged "$WORK/before"

say 'other values: from the next start on'
declare_web "Image=$HELLO" Set=PORT=8101 Set=RECEIVER=Values
expect_like "its declaration $DECLARED/web.conf has changed; 'syscontainer-apply web' applies it" syscontainer-list
apply_declared 7 --dry-run --exit-code
expect_like '^web: would be changed: has the declared values' cat "$WORK/printed"
expect_current web.0
check 'they are applied' start_install web
answers web 8101 File
check 'restarted' systemctl restart web
answers web 8101 Values
expect_current web.1

say 'or before it, if nobody did'
systemctl stop web
declare_web "Image=$HELLO" Set=PORT=8101 Set=RECEIVER=Start
check 'a start brings them along' systemctl start web
answers web 8101 Start

say 'what is not said is reset'
declare_web "Image=$HELLO" Set=PORT=8101
apply_declared 0 web
expect_like '^web: has the declared values' cat "$WORK/printed"
check 'restarted' systemctl restart web
answers web 8101 World

say 'another image, which is watched'
declare_web "Image=$REGISTRY/web:2" Set=PORT=8101 SoakSec=1
pid=$(unit_property web MainPID)
check 'it is applied' start_install web
answers web 8101
expect_no "^$pid\$" unit_property web MainPID
expect_like "\"image\": \"$REGISTRY/web:2\"" cat $CO/web/info
expect '' wanted_installs

say 'another image that fails'
new_version bad 1 --first='exit 7'
build_image bad "$WORK/bad"
before=$(readlink $CO/web)
declare_web "Image=$REGISTRY/bad" SoakSec=30
apply_declared 4 web
expect_like 'web: failed' cat "$WORK/printed"
expect_like 'is current again' cat "$WORK/said"
answers web 8101
expect "$before" readlink $CO/web
apply_declared 4 web
expect_like 'failed before with these values' cat "$WORK/said"
refuse 'nor does the unit try it again and again' start_install web
expect failed unit_property syscontainer-install@web.service ActiveState
systemctl reset-failed syscontainer-install@web.service

say 'a mistake in the file'
declare_web "Image=$REGISTRY/web:2" Set=PORT=8101 Keep=many
apply_declared 2 web
expect_like "$DECLARED/web.conf:4: " cat "$WORK/said"
expect_like "its declaration is broken: $DECLARED/web.conf:4: " syscontainer-list
answers web 8101
check 'it runs as before' systemctl restart web
answers web 8101
declare_web "Image=$REGISTRY/web:2" Set=PORT=8101 SoakSec=1
apply_declared 0 web

say 'held'
declare_web "Image=$HELLO" Set=PORT=8101 Hold=yes
apply_declared 0 web
expect_like 'updates are held' cat "$WORK/printed"
expect_like "\"image\": \"$REGISTRY/web:2\"" cat $CO/web/info
apply_declared 0 --exit-code web
expect_like 'web .*held' syscontainer-list

say 'its declaration is gone'
systemctl stop web
rm $DECLARED/web.conf
expect_like "its declaration $DECLARED/web.conf is gone; 'syscontainer-remove web' or 'syscontainer-apply --prune' removes it" \
    syscontainer-list
apply_declared 0 --prune --dry-run
expect "web: would be removed, since $DECLARED/web.conf is gone" cat "$WORK/printed"
check 'it stays' systemctl start web
apply_declared 7 --prune --exit-code
expect "web: removed, since $DECLARED/web.conf is gone" cat "$WORK/printed"
refuse 'it is removed' test -e $CO/web
apply_declared 0 --prune --exit-code
expect '' cat "$WORK/printed"

say 'ten, of which three are broken'
for number in 1 2 3 4 5 6 7; do
    write_declaration $DECLARED/ten$number.conf "Image=$HELLO" Set=PORT=820$number Enable=no
done
write_declaration $DECLARED/ten8.conf "Image=$HELLO" Keep=x
write_declaration $DECLARED/ten9.conf Set=A=b
echo '[Container' >$DECLARED/ten10.conf
apply_declared 1 --json
for number in 1 2 3 4 5 6 7; do check "ten$number is there" test -e $CO/ten$number; done
expect 7 grep -c '"action": "installed"' "$WORK/printed"
expect 3 grep -c '"result": "failed"' "$WORK/printed"
apply_declared 1 --json
expect 7 grep -c '"result": "unchanged"' "$WORK/printed"
expect disabled enablement ten1
rm $DECLARED/ten*.conf
write_declaration "$DECLARED/an odd name.conf" "Image=$HELLO"
apply_declared 0 --prune
expect 7 grep -c ': removed' "$WORK/printed"
expect_like "skipping $DECLARED/an odd name.conf" cat "$WORK/said"
rm "$DECLARED/an odd name.conf"

say 'the registry is down, and comes up later'
systemctl stop registry
registry_away() { ! http 5000/v2/; }
wait_for 'the registry is away' registry_away
syscontainer-prune --keep-for=0 >/dev/null 2>&1
mkdir -p /run/systemd/system/syscontainer-install@late.service.d
printf '[Service]\nRestartSec=1s\n' >/run/systemd/system/syscontainer-install@late.service.d/test.conf
write_declaration $DECLARED/late.conf "Image=$HELLO" Set=PORT=8110
systemctl daemon-reload
systemctl start --no-block syscontainer-install@late.service
wait_for 'it is tried again' journal_has syscontainer-pull@late.service 'trying again in'
expect 'late (not installed: systemctl start syscontainer-install@late)' unit_property late Description
systemctl start registry
wait_for 'it is installed then' test -e $CO/late
answers late 8110
expect_soon inactive unit_property syscontainer-install@late.service ActiveState
rm -r /run/systemd/system/syscontainer-install@late.service.d
systemctl stop late
rm $DECLARED/late.conf
apply_declared 0 --prune

say 'from a package: presets decide, and /etc goes before'
mkdir -p /etc/systemd/system-preset
echo 'disable packaged.service' >/etc/systemd/system-preset/00-story.preset
write_declaration $VENDOR/packaged.conf "Image=$HELLO" Set=PORT=8111
systemctl daemon-reload
check 'it is installed' start_install packaged
expect disabled enablement packaged
expect 'inactive dead success' state packaged
check 'it can be enabled' systemctl enable --now packaged
answers packaged 8111
write_declaration $DECLARED/packaged.conf "Image=$HELLO" Set=PORT=8111 Set=RECEIVER=Etc
systemctl daemon-reload
apply_declared 0 packaged
check 'restarted' systemctl restart packaged
answers packaged 8111 Etc
expect enabled systemctl is-enabled packaged
rm $DECLARED/packaged.conf
mkdir -p $DECLARED/packaged.conf.d
write_declaration $DECLARED/packaged.conf.d/10.conf Set=RECEIVER=Drop
apply_declared 0 packaged
check 'restarted' systemctl restart packaged
answers packaged 8111 Drop
rm -r $DECLARED/packaged.conf.d
say 'the package is upgraded, and removed'
write_declaration $VENDOR/packaged.conf "Image=$REGISTRY/web:2" Set=PORT=8111 SoakSec=1
systemctl daemon-reload
check 'upgraded' start_install packaged
expect_like "\"image\": \"$REGISTRY/web:2\"" cat $CO/packaged/info
answers packaged 8111
ln -s /dev/null $DECLARED/packaged.conf
expect_like "its declaration $VENDOR/packaged.conf is gone" syscontainer-list
rm $DECLARED/packaged.conf
expect_no 'is gone' syscontainer-list
rm $VENDOR/packaged.conf
expect_like "its declaration $VENDOR/packaged.conf is gone" syscontainer-list
answers packaged 8111
apply_declared 0 --prune
rm /etc/systemd/system-preset/00-story.preset

say 'two instances of one template'
write_declaration $DECLARED/many@.conf "Image=$HELLO" Set=PORT=%i Set=RECEIVER=%N
for port in 8112 8113; do ln -s many@.conf $DECLARED/many@$port.conf; done
systemctl daemon-reload
for port in 8112 8113; do
    check "$port is installed" start_install many@$port
    answers many@$port $port many@$port
done
rm $DECLARED/many@*.conf
apply_declared 0 --prune

say 'an archive on this host, without a network'
mkdir -p /usr/share/story
skopeo copy --quiet "docker://$HELLO" oci-archive:/usr/share/story/hello.tar
build_image newer --label=version=2 "$TESTS/hello-world"
skopeo copy --quiet "docker://$REGISTRY/newer" oci-archive:/usr/share/story/two.tar
write_declaration $DECLARED/offline.conf Image=oci-archive:/usr/share/story/hello.tar Set=PORT=8114
systemctl daemon-reload
expect_no network-online unit_property syscontainer-pull@offline.service After
systemctl stop registry
check 'it is installed' start_install offline
answers offline 8114
before=$(running_digest offline)
write_declaration $DECLARED/offline.conf Image=oci-archive:/usr/share/story/two.tar Set=PORT=8114 SoakSec=1
systemctl daemon-reload
check 'it is updated' start_install offline
answers offline 8114
expect_current offline.1
refuse 'with another image' test "$before" = "$(running_digest offline)"
say 'a package brings another archive of the same name'
systemctl daemon-reload
expect '' wanted_installs
cp /usr/share/story/hello.tar /usr/share/story/new
mv /usr/share/story/new /usr/share/story/two.tar
systemctl daemon-reload
expect syscontainer-install@offline.service wanted_installs
apply_declared 7 --dry-run --exit-code offline
expect_like 'a newer image would be looked for' cat "$WORK/printed"
check 'it is updated' start_install offline
expect "$before" running_digest offline
answers offline 8114
expect '' wanted_installs
write_declaration $DECLARED/offline.conf Image=oci-archive:/usr/share/story/hello.tar Set=PORT=8114 SoakSec=1
apply_declared 0 offline
expect "$before" running_digest offline
systemctl start registry
wait_for 'the registry is back' http 5000/v2/

say 'what is printed gives it again'
syscontainer-apply --print=offline >"$WORK/again.conf"
shown "$WORK/again.conf"
systemctl stop offline
rm $DECLARED/offline.conf
apply_declared 0 --prune
cp "$WORK/again.conf" $DECLARED/offline.conf
apply_declared 0 --no-pull
expect_like '^offline: installed from oci-archive:/usr/share/story/hello.tar' cat "$WORK/printed"
check 'started' systemctl start offline
answers offline 8114
rm $DECLARED/offline.conf
apply_declared 0 --prune

say 'an archive of a tree'
unpacked_tree
mkdir -p "$tree/usr/share/images"
mv /usr/share/story/hello.tar "$tree/usr/share/images/"
ln -s /usr/share/images "$tree/images"
write_declaration "$tree/etc/syscontainers/inside.conf" Image=oci-archive:/images/hello.tar Set=PORT=8114
apply_declared 0 --root="$tree"
expect_like '^inside: installed from oci-archive:/images/hello.tar' cat "$WORK/printed"
write_declaration "$tree/etc/syscontainers/engine.conf" Image=docker-daemon:hello-world
apply_declared 1 --root="$tree" engine
expect_like 'it would be an image of this host, not of the tree' cat "$WORK/said"
rm -r /usr/share/story "$tree"

say 'a dry run changes nothing'
write_declaration $DECLARED/dry.conf "Image=$HELLO" Set=PORT=8115
snapshot >"$WORK/before"
apply_declared 7 --dry-run --exit-code
expect_like '^dry: would be installed' cat "$WORK/printed"
unchanged "$WORK/before"
rm $DECLARED/dry.conf

say 'files elsewhere'
write_declaration "$WORK/elsewhere/file.conf" "Image=$HELLO" Set=PORT=8116 Enable=no
apply_declared 0 "$WORK/elsewhere"
expect_like '^file: installed' cat "$WORK/printed"
printf '[Service]\nNice=1\n' >>"$WORK/elsewhere/file.conf"
apply_declared 1 "$WORK/elsewhere/file.conf"
expect_like 'count in declarations of the host only; move it to /etc/syscontainers' cat "$WORK/said"
chmod 0777 "$WORK/elsewhere"
apply_declared 1 "$WORK/elsewhere"
expect_like 'other users may change .*/elsewhere .*copy it to a directory that only root may write to' cat "$WORK/said"
rm -r "$WORK/elsewhere"
apply_declared 0 --prune
apply_declared 3 nothing

say 'daily updates, and a mask'
write_declaration $DECLARED/daily.conf "Image=$HELLO" Set=PORT=8118 AutoUpdate=yes
apply_declared 0 --start daily
answers daily 8118
expect enabled enablement syscontainer-update@daily.timer
expect active unit_property syscontainer-update@daily.timer ActiveState
systemctl mask --now daily 2>/dev/null
write_declaration $DECLARED/daily.conf "Image=$REGISTRY/web:2" Set=PORT=8118
systemctl daemon-reload
apply_declared 0 --start daily
expect_like "\"image\": \"$REGISTRY/web:2\"" cat $CO/daily/info
expect disabled enablement syscontainer-update@daily.timer
expect inactive unit_property daily ActiveState
systemctl unmask daily 2>/dev/null
expect enabled enablement daily
check 'it can be started again' systemctl start daily
answers daily 8118
say 'removed, and declared still'
syscontainer-remove daily 2>"$WORK/said"
expect_like "its declaration $DECLARED/daily.conf installs it again" cat "$WORK/said"
expect 'daily (not installed: systemctl start syscontainer-install@daily)' unit_property daily Description
rm $DECLARED/daily.conf
systemctl daemon-reload

say 'a name that a directory has, in which anybody may have put something'
mkdir -p /srv
write_declaration /srv/evil.conf "Image=$HELLO"
write_declaration $DECLARED/srv.conf "Image=$HELLO" Set=PORT=8119
systemctl daemon-reload
check 'it is installed' start_install srv
answers srv 8119
refuse 'nothing else is' test -e $CO/evil
rm /srv/evil.conf

say 'masked before it is installed'
systemctl mask masked 2>/dev/null
write_declaration $DECLARED/masked.conf "Image=$HELLO" Set=PORT=8120
systemctl daemon-reload
check 'it is installed' start_install masked
expect masked.0 readlink $CO/masked
expect masked enablement masked
apply_declared 0 --exit-code masked
systemctl unmask masked 2>/dev/null
expect syscontainer-install@masked.service wanted_installs
check 'what was put off is done' start_install masked
expect enabled systemctl is-enabled masked
answers masked 8120
expect '' wanted_installs
for name in srv masked; do
    systemctl stop $name
    rm $DECLARED/$name.conf
done
apply_declared 0 --prune

say 'a foreign unit of that name stays'
printf '[Service]\nExecStart=/bin/sleep infinity\n' >/etc/systemd/system/foreign.service
write_declaration $DECLARED/foreign.conf "Image=$HELLO"
systemctl daemon-reload 2>/dev/null
expect /etc/systemd/system/foreign.service unit_property foreign FragmentPath
expect '' unit_property foreign DropInPaths
apply_declared 1 foreign
expect_like 'foreign.service is a unit of that name' cat "$WORK/said"
rm /etc/systemd/system/foreign.service $DECLARED/foreign.conf
systemctl daemon-reload

say 'lines for the unit, and several at once'
write_declaration $DECLARED/lines.conf "Image=$HELLO" Set=PORT=8117 '[Service]' Nice=3 '[Install]' WantedBy=story.target
systemctl daemon-reload
pids=()
for attempt in 1 2 3; do
    syscontainer-apply --quiet --start lines >"$WORK/lines.$attempt" 2>&1 &
    pids+=($!)
done
for pid in "${pids[@]}"; do wait "$pid"; done
lines_installed() { cat "$WORK"/lines.* | grep -c '^lines: installed'; }
expect 1 lines_installed
answers lines 8117
expect 3 unit_property lines Nice
check 'it is enabled there, too' test -L /etc/systemd/system/story.target.wants/lines.service
rm $DECLARED/lines.conf
systemctl daemon-reload
systemctl stop lines
apply_declared 0 --prune
rmdir $VENDOR 2>/dev/null || true
