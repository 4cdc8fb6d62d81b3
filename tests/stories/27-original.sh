#!/bin/bash
# What Project Atomic's 'atomic install --system' left on a host: its repository, deployments and units go on to work, and are
# taken over by the first update.
# Rows of tests/atomic.md: 2.A11, 4.33, 4.E, u.
. "$(dirname "$0")/lib.sh"

RECONCILE=/usr/libexec/syscontainers/syscontainer-reconcile

say 'what it left'
cp -r "$TESTS/hello-world" "$WORK/hello"
hello=$WORK/hello/exports
# Old images are of before OCI 1.0, which runc takes without a word.
sed -i 's/"ociVersion": "1.0.0"/"ociVersion": "0.6.0-dev"/; s/"PORT=$PORT",/&\n            "UUID=$UUID",/' \
    "$hello/config.json.template"
mkdir -p "$hello/hostfs/etc/hello" "$hello/hostfs/usr/local/bin"
echo "port \$PORT" >"$hello/hostfs/etc/hello/conf"
echo 'the image' >"$hello/hostfs/etc/hello/changed"
echo '#!/bin/sh' >"$hello/hostfs/usr/local/bin/hello"
ln -s /etc/hello/conf "$hello/hostfs/etc/hello/link"
sed -i 's,"version","installedFilesTemplate": ["/etc/hello/conf"]\, &,' "$hello/manifest.json"
"$TESTS/build-image" "$WORK/layout:latest" "$WORK/hello" >/dev/null
skopeo copy --quiet --format=v2s2 "oci:$WORK/layout:latest" "dir:$WORK/dir"

mkdir -p $STORE
ostree --repo=$STORE init --mode=bare
write_as_atomic $STORE 127.0.0.1_3A5000_2Fhello_3Alatest

# install_original NAME PORT [MEMBERS]: the deployment, by its layout; its config.json has the path of the deployment, its unit
# runs runc. MEMBERS are more ones of its info.
install_original() {
    local name=$1 to=$CO/$1.0 layer
    mkdir "$to"
    for layer in $layers; do ostree --repo=$STORE checkout --union "ociimage/$layer" "$to/rootfs"; done
    mkdir -p "$to/rootfs/srv"
    cat >"$WORK/values" <<-END
		s,[$]{\?NAME}\?,$name,g
		s,[$]{\?PORT}\?,$2,g
		s,[$]{\?RECEIVER}\?,original,g
		s,[$]UUID,11111111-2222-4333-8444-555555555555,
		s,[$]RUN_DIRECTORY,/run,
		s,[$]HOST_[UG]ID,0,g
		s,[$]DESTDIR,$to,g
		s,[$]EXEC_STARTPRE,,
		s,[$]EXEC_STOPPOST,,
		s,[$]EXEC_START,/usr/bin/runc run '$name',
		s,[$]EXEC_STOP,/usr/bin/runc kill '$name',
	END
    sed -f "$WORK/values" "$hello/config.json.template" >"$to/config.json"
    sed -f "$WORK/values" "$hello/service.template" >"$to/$name.service"
    sed -f "$WORK/values" "$hello/tmpfiles.template" >"$to/tmpfiles-$name.conf"
    cp "$to/$name.service" /etc/systemd/system/
    cp "$to/tmpfiles-$name.conf" "/etc/tmpfiles.d/$name.conf"
    cat >"$to/info" <<-END
		{
		    "image": "127.0.0.1:5000/hello",
		    "revision": "$digest",
		    "ostree-commit": "$image",
		    "created": 1500000000,
		    "values": {
		        "PORT": "$2",
		        "RECEIVER": "original",
		        "RUN_DIRECTORY": "/run",
		        "CONF_DIRECTORY": "/etc",
		        "STATE_DIRECTORY": "/var/lib",
		        "PIDFILE": "/run/container-$name.pid",
		        "RUNTIME": "/usr/bin/runc",
		        "ATOMIC": "/usr/bin/atomic",
		        "UUID": "11111111-2222-4333-8444-555555555555",
		        "DESTDIR": "$to",
		        "NAME": "$name",
		        "HOST_UID": 0,
		        "HOST_GID": 0
		    },
		    "has-container-service": true,${3-}
		    "rpm-installed": null,
		    "system-package": "no",
		    "remote": null,
		    "runtime": "/usr/bin/runc"
		}
	END
    ln -s "$to" "$CO/$name"
    systemctl daemon-reload
    systemd-tmpfiles --create "/etc/tmpfiles.d/$name.conf"
    systemctl --quiet enable "$name"
}
mkdir -p /etc/hello /etc/tmpfiles.d
echo 'port 8081' >/etc/hello/conf
echo 'changed since' >/etc/hello/changed
cp "$hello/hostfs/usr/local/bin/hello" /usr/local/bin/
ln -s /etc/hello/conf /etc/hello/link
sum() { sha256sum <"$1" | cut -d' ' -f1; }
installed_files=$(cat <<END

    "installed-files": ["/etc/hello/conf", "/etc/hello/changed", "/etc/hello/link", "/usr/local/bin/hello"],
    "installed-files-checksum": {
        "/etc/hello/conf": "$(sum /etc/hello/conf)",
        "/etc/hello/changed": "$(sum "$hello/hostfs/etc/hello/changed")",
        "/etc/hello/link": "$(sum /etc/hello/conf)",
        "/usr/local/bin/hello": "$(sum /usr/local/bin/hello)"
    },
END
)
install_original old 8081 "$installed_files"
# An info of before there were these keys.
install_original older 8082

say 'a prune leaves all of it'
repository_files $STORE >"$WORK/before"
touch -d '1 year ago' $STORE/refs/heads/ociimage/*
syscontainer-prune --explain >"$WORK/pruned"
expect_like "^kept image $REGISTRY/hello:latest: it is used by old.0, older.0\$" cat "$WORK/pruned"
for blob in $layers "$config"; do
    expect_like "^kept layer sha256:$blob: of image $REGISTRY/hello:latest\$" cat "$WORK/pruned"
done
for name in old older; do expect_like "^kept deployment $name.0: it is current\$" cat "$WORK/pruned"; done
check 'and nothing else is named' bash -c "! grep -v ^kept '$WORK/pruned' | grep -v '^freed 0 B\$'"
expect_same "$WORK/before" repository_files $STORE

say 'it goes on as it is'
snapshot >"$WORK/before"
$RECONCILE
unchanged "$WORK/before"
for name in old older; do check "$name starts" systemctl start $name; done
answers old 8081 original
answers older 8082 original
run_fails 1 'cannot update old: .*it was pulled by another program; pull it again' syscontainer-checkout --update --dry-run old
for name in old older; do
    run_fails 1 "cannot install $name: it is installed already, from 127.0.0.1:5000/hello" \
        syscontainer-checkout --name=$name "$REGISTRY/hello"
done
find /etc/systemd/system -newer "$WORK/before" -name '*hello*' | { ! grep .; }

say 'taken over by the first update, without a registry'
systemctl stop registry
echo 'Description=mine' >>/etc/systemd/system/old.service
snapshot >"$WORK/before"
run_fails 1 'cannot take over old: /etc/systemd/system/old.service was changed since it was installed' \
    syscontainer-checkout --update old
cp $CO/old.0/old.service /etc/systemd/system/
unchanged "$WORK/before"
sed -i 's/ExecStart=/&-/' $CO/old.0/old.service.new 2>/dev/null || true
expect old syscontainer-checkout --update old 2>"$WORK/said"
expect_like "switched old to old.[0-9]+: 127.0.0.1:5000/hello:latest \(sha256:$digest\); 'systemctl restart old' runs it" cat "$WORK/said"
expect_like '/etc/hello/changed was changed on this host, leaving it as it is' cat "$WORK/said"
expect old.1 readlink $CO/old
refuse 'its unit is gone' test -e /etc/systemd/system/old.service
expect /etc/systemd/system.attached/old.service unit_property old FragmentPath
expect enabled systemctl is-enabled old
expect '' find /etc/systemd -xtype l ! -lname /dev/null
check 'its tmpfiles are ours now' grep -q 'do not edit' /etc/tmpfiles.d/old.conf
expect 11111111-2222-4333-8444-555555555555 sed -n 's/.*"UUID=\(.*\)".*/\1/p' $CO/old.1/config.json
expect_like '"user-values": \{$' cat $CO/old.1/info
# user_values DEPLOYMENT: of its info, in one line.
user_values() { sed -n '/user-values/,/}/p' "$CO/$1/info" | sed '1d;$d' | tr -d ',\n' | sed 's/^ *//; s/  */ /g'; }
expect '"RECEIVER": "original"' user_values old.1
expect_like '"/etc/hello/link"' cat $CO/old.1/info
check 'the running one is not touched' http 8081
check 'it runs' systemctl restart old
answers old 8081 original
expect_like syscontainer-start unit_property old ExecStart
check 'what it was is kept' test -e $CO/old.0/rootfs/usr/bin/hello-world

say 'once more'
expect old syscontainer-checkout --update old 2>"$WORK/said"
expect_like "old is up to date" cat "$WORK/said"
expect old syscontainer-checkout --update --set PORT=8091 old 2>"$WORK/said"
expect old.2 readlink $CO/old
expect 'old.1 old.2' names_in $CO 'old.*'
expect 'port 8091' cat /etc/hello/conf
systemctl restart old
answers old 8091 original

say 'the other one, disabled, and with its unit changed'
systemctl --quiet disable older
echo '# mine' >>/etc/systemd/system/older.service
update=(syscontainer-checkout --update --replace-unit --set PORT=8092 --unset RECEIVER older)
snapshot >"$WORK/before"
"${update[@]}" --dry-run >"$WORK/preview" 2>"$WORK/said"
unchanged "$WORK/before"
for line in '# /etc/systemd/system/older.service: removed' '# systemctl disable older.service' \
    '# /etc/systemd/system.attached/older.service'; do
    expect_like "^${line//./\\.}\$" cat "$WORK/preview"
done
expect_no 'systemctl enable|tmpfiles.d/older.conf: removed|older.0: removed' cat "$WORK/preview"
expect older "${update[@]}" 2>"$WORK/said"
expect disabled enablement older
systemctl restart older
answers older 8092 World

say 'one whose files are gone'
install_original bare 8084
rm -r $CO/bare.0/rootfs
checkout --update bare
expect '"PORT": "8084" "RECEIVER": "original"' user_values bare.1
systemctl restart bare
answers bare 8084 original

say 'what it pulled has no times, and is pulled again'
systemctl start registry
skopeo copy --quiet --format=v2s2 "oci:$WORK/layout:latest" "docker://$REGISTRY/other"
syscontainer-pull --json "$REGISTRY/other" >"$WORK/pulled" 2>/dev/null
expect_like '"layers-reused": 0' cat "$WORK/pulled"
expect_like '"layers-fetched": 0' quietly syscontainer-pull --json "$REGISTRY/other"
skopeo copy --quiet --format=v2s2 "oci:$WORK/layout:latest" "docker://$REGISTRY/hello"
expect_like '"changed": true' quietly syscontainer-pull --json "$REGISTRY/hello"
expect_like '"changed": false' quietly syscontainer-pull --json "$REGISTRY/hello"
store_is_sound

say 'killed between its parts'
# The link is switched, and nothing else is done.
name=third
install_original $name 8083
systemctl start $name
cp -al $CO/old.2 $CO/$name.1
for file in config.json info old.service tmpfiles-old.conf; do
    sed "s/\bold\b/$name/g; s/$name\.2/$name.1/; s/8091/8083/g" $CO/old.2/$file >$CO/$name.1/${file/old/$name}.new
    mv $CO/$name.1/${file/old/$name}.new $CO/$name.1/${file/old/$name}
done
rm $CO/$name.1/*old*
ln -sfn $name.1 $CO/$name
$RECONCILE 2>"$WORK/said"
expect_like 'recreated the unit of third from its current deployment' cat "$WORK/said"
expect /etc/systemd/system.attached/third.service unit_property third FragmentPath
expect enabled systemctl is-enabled third
systemctl restart third
answers third 8083 original
