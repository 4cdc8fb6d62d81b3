#!/bin/bash
# A plain image stays plain: /exports and labels that an update brings have to be accepted. A container is updated from where it
# came from: no archive, engine or other architecture takes the place of an image of a registry.
. "$(dirname "$0")/lib.sh"

SLEEPS='{"Cmd":["sh","-c","trap \"exit 0\" TERM; sleep 100000 & wait"]}'
UNACCEPTED=f1ae83f7c31d4aceb1a0fe501037831d
# plain NAME[:TAG] VERSION [OPTION…]: pushes an image that says in /version which one it is, and has what is in $WORK/NAME besides.
plain() {
    local name=${1%:*}
    mkdir -p "$WORK/$name"
    echo "$2" >"$WORK/$name/version"
    build_image "$1" --config="$SLEEPS" "${@:3}" "$WORK/$name"
}
# brings NAME PATH TEXT: that file is in the image NAME from the next version on.
brings() {
    mkdir -p "$(dirname "$WORK/$1/exports/$2")"
    printf '%s\n' "$3" >"$WORK/$1/exports/$2"
}
# brings_root NAME: everything that made a container root on the host.
brings_root() {
    brings "$1" service.template "[Service]
ExecStartPre=+/bin/sh -c 'id >/etc/rooted'
ExecStart=\$EXEC_START
ExecStop=\$EXEC_STOP
[Install]
WantedBy=multi-user.target"
    brings "$1" tmpfiles.template 'd /etc/made-by-an-image - - - -'
    brings "$1" hostfs/etc/cron.d/update '* * * * * root id >/etc/rooted'
}
is_rooted() { ls /etc/rooted /etc/made-by-an-image /etc/cron.d/update; }
update_by_units() { systemctl start "syscontainer-update@$1.service" 2>"$WORK/said"; }

say 'an image with /exports is root, which is said once'
plain plain 1
pull_image plain
checkout "$REGISTRY/plain"
expect_no 'can do anything' cat "$WORK/said"
plain told 1
brings_root told
plain told 1
pull_image told
ends 0 syscontainer-checkout --dry-run "$REGISTRY/told"
expect_like 'told is installed with exports/service.template, exports/tmpfiles.template, exports/hostfs, and so can do anything' \
    cat "$WORK/said"
checkout "$REGISTRY/told"
expect 1 grep -c 'can do anything on this host' "$WORK/said"
plain told 2
pull_image told
checkout --update told
expect_no 'can do anything|exports' cat "$WORK/said"
syscontainer-remove told 2>/dev/null
refuse 'it is gone' is_rooted
checkout "$REGISTRY/told"
expect 1 grep -c 'can do anything on this host' "$WORK/said"
syscontainer-remove told 2>/dev/null
rm -rf /etc/made-by-an-image

say 'no update gives a plain container /exports'
systemctl start plain
set_soak plain 1
pid=$(unit_property plain MainPID)
stored() { syscontainer-images --json "$REGISTRY/plain" | sed -n 's/^  "digest": "\(.*\)",$/\1/p'; }
before=$(stored)
brings_root plain
plain plain 2
snapshot >"$WORK/before"
ends 6 syscontainer-pull --check --container=plain
expect_like "^plain: $REGISTRY/plain:latest has $DIGEST: unaccepted, it has exports/service.template, "\
'exports/tmpfiles.template, exports/hostfs, see --accept-exports$' cat "$WORK/printed"
repository_files $STORE >"$WORK/files"
ends 6 syscontainer-pull --check --json --container=plain
expect_same "$WORK/files" repository_files $STORE
for line in '"update": "unaccepted"' '"exports/service.template"' "\"digest\": \"$DIGEST\""; do
    expect_like "$line" cat "$WORK/printed"
done
expect "$before" stored
mark_journal
refuse 'update@ fails' update_by_units plain
expect 6 unit_property syscontainer-fetch@plain.service ExecMainStatus
journalctl --sync
reason="has exports/service.template, exports/tmpfiles.template, exports/hostfs, which plain was installed without"
remedy="'syscontainer-checkout --update --stage --accept-exports plain'"
expect_like "$reason.*$remedy" journalctl --since="$mark" --output=cat --unit=syscontainer-fetch@plain.service
expect_like "nothing was changed: .*$reason.*$remedy" \
    journalctl --since="$mark" --output=cat MESSAGE_ID=$UNACCEPTED SYSCONTAINER_NAME=plain
run_fails 6 "cannot update plain: .*$reason.*'syscontainer-checkout --update --accept-exports plain'" \
    syscontainer-checkout --update plain
run_fails 6 "$reason.*$remedy" syscontainer-checkout --update --stage plain
run_fails 6 "$reason.*$remedy" syscontainer-checkout --update --stage --force plain
run_fails 6 "$reason" syscontainer-checkout --update --dry-run plain
run_fails 6 "$reason" syscontainer-checkout --update --rebase="$REGISTRY/plain" --set A=B plain
ends 0 syscontainer-switch plain
unchanged "$WORK/before"
expect_current plain.0
expect "$pid" unit_property plain MainPID
refuse 'nothing of it is on the host' is_rooted
expect_like 'the pending image has exports/service.template, .*see --accept-exports' \
    syscontainer-list --json --filter=name=plain
ends 6 syscontainer-pull --check --container=plain
run_fails 2 'cannot be combined' syscontainer-checkout --update --plain --accept-exports plain
run_fails 2 'requires --update' syscontainer-checkout --accept-exports "$REGISTRY/plain"

say 'each of them counts, and only them'
# refuses PATH TEXT: an image with nothing else.
refuses() {
    rm -rf "$WORK/plain/exports"
    brings plain "$1" "$2"
    plain plain 3
    pull_image plain
    run_fails 6 "has exports/${1%%/*}, which" syscontainer-checkout --update plain
}
refuses config.json "$(exports any '["true"]' && cat "$WORK/any/exports/config.json")"
refuses config.json.template '{}'
refuses manifest.json '{"noContainerService": true}'
refuses tmpfiles.template ''
refuses hostfs/etc/any ''
rm -rf "$WORK/plain/exports"
plain plain 4 --label=atomic.run=once
ends 6 syscontainer-pull --check --container=plain
pull_image plain
run_fails 6 'has atomic.run=once, which plain was installed without' syscontainer-checkout --update plain
mkdir -p "$WORK/plain/exports/other" "$WORK/plain/elsewhere/hostfs/etc/cron.d"
plain plain 5
check 'an empty one is nothing' update_by_units plain
expect_current plain.1
rmdir "$WORK/plain/exports/other" "$WORK/plain/exports"
ln -s elsewhere "$WORK/plain/exports"
echo x >"$WORK/plain/elsewhere/hostfs/etc/cron.d/update"
echo '[Service]' >"$WORK/plain/elsewhere/service.template"
plain plain 6
check 'nor is a link' update_by_units plain
expect_current plain.2
expect 6 cat $CO/plain/rootfs/version
expect_like '"exports": "none"' cat $CO/plain/info
refuse 'nothing of it is on the host' is_rooted
rm -r "$WORK/plain/exports" "$WORK/plain/elsewhere"

say 'accepted by hand, and from then on'
brings_root plain
plain plain 7
pull_image plain
checkout --update --stage --accept-exports plain
expect_like 'accepted exports/service.template, .*exports/hostfs for plain' cat "$WORK/said"
refuse 'not yet' is_rooted
plain plain 8
check 'update@ goes on from there' update_by_units plain
expect 8 cat $CO/plain/rootfs/version
expect_like '"exports": "accepted"' cat $CO/plain/info
check 'now it has what was accepted' is_rooted
expect_like 'uid=0' cat /etc/rooted
say 'a rollback leads to a plain one, and so does an image without'
check 'rolled back' syscontainer-rollback plain
expect_like '"exports": "none"' cat $CO/plain/info
plain plain 9
refuse 'update@ does not take it for accepted' update_by_units plain
check 'there again' syscontainer-rollback plain
rm -r "$WORK/plain/exports"
plain plain 10
check 'update@' update_by_units plain
expect 10 cat $CO/plain/rootfs/version
refuse 'its files are gone from the host' ls /etc/cron.d/update
brings_root plain
plain plain 11
refuse 'not again' update_by_units plain
syscontainer-remove plain 2>/dev/null
rm -rf /etc/rooted /etc/made-by-an-image

say 'what is ignored stays ignored'
checkout --plain --name=ignoring "$REGISTRY/plain"
expect_no 'can do anything' cat "$WORK/said"
expect_like '"exports": "ignored"' cat $CO/ignoring/info
expect_no 'rooted' cat /etc/syscontainers/attached/ignoring.json
systemctl start ignoring
set_soak ignoring 1
plain plain 12 --label=atomic.run=once
ends 5 syscontainer-pull --check --container=ignoring
check 'update@' update_by_units ignoring
expect_current ignoring.1
refuse 'nothing of it is on the host' is_rooted
systemctl stop ignoring
checkout --update --accept-exports ignoring
check 'until it is accepted' ls /etc/cron.d/update
checkout --update --plain ignoring
refuse 'and ignored again' ls /etc/cron.d/update
syscontainer-remove ignoring 2>/dev/null

say 'an info that is damaged, or of a newer version'
rm -r "$WORK/plain/exports"
plain plain 1
pull_image plain
checkout "$REGISTRY/plain"
brings_root plain
plain plain 2
pull_image plain
cp -p $CO/plain.0/info "$WORK/info"
for change in 's/"exports": "none"/"exports": true/' 's/"version": 1/"version": 2/' '1s/{/[/'; do
    sed "$change" "$WORK/info" >$CO/plain.0/info
    run_fails 1 "cannot update plain: .*cannot read $CO/plain.0/info: " syscontainer-checkout --update plain
    refuse 'the unit neither' systemctl start syscontainer-fetch@plain.service
done
sed 's/"version": 1/"version": 2/' "$WORK/info" >$CO/plain.0/info
cp -p /etc/syscontainers/attached/plain.json "$WORK/registration"
rm /etc/syscontainers/attached/plain.json
/usr/libexec/syscontainers/syscontainer-reconcile 2>"$WORK/said" || true
expect_like 'it was made by a newer version of syscontainers \(format 2; this version knows 1\)' cat "$WORK/said"
refuse 'no registration with less confinement is made' test -e /etc/syscontainers/attached/plain.json
cp -p "$WORK/registration" /etc/syscontainers/attached/plain.json
cp -p "$WORK/info" $CO/plain.0/info
syscontainer-remove plain 2>/dev/null

say 'an archive does not take the place of an image of a registry'
plain app:2 good
pull_image app:2
checkout --name=app "$REGISTRY/app:2"
good=$DIGEST
plain evil 666
skopeo copy --quiet "docker://$REGISTRY/evil" "docker-archive:$WORK/d2.tar:$REGISTRY/app:2"
expect_like "^docker-archive:$WORK/d2.tar sha256:" syscontainer-pull --quiet "docker-archive:$WORK/d2.tar"
expect "$REGISTRY/app:2 $good" syscontainer-pull --quiet "$REGISTRY/app:2"
checkout --update app
expect_like 'app is up to date' cat "$WORK/said"
cp -p /etc/containers/policy.json "$WORK/policy.json" 2>/dev/null || true
registry_policy() {
    cat >/etc/containers/policy.json <<-END
		{
		    "default": [{"type": "insecureAcceptAnything"}],
		    "transports": {"docker": {"$REGISTRY": [{"type": "$1"}]}}
		}
	END
}
registry_policy reject
refuse 'what the policy rejects is not to be had from elsewhere' update_by_units app
expect_like 'rejected by policy' journal_of syscontainer-fetch@app.service
expect app.0 readlink $CO/app
expect good cat $CO/app/rootfs/version
registry_policy insecureAcceptAnything
plain app:2 better
check 'it comes from the registry' update_by_units app
expect better cat $CO/app/rootfs/version
expect_like '"source": "docker://127.0.0.1:5000/app:2"' cat $CO/app/info
expect_like '"policy-scope": "transports.docker\[\\"127.0.0.1:5000\\"\]"' cat $CO/app/info
expect_like "^Source +docker-archive:$WORK/d2.tar for " syscontainer-images "docker-archive:$WORK/d2.tar"
expect_like "^Called +$REGISTRY/app:2$" syscontainer-images "docker-archive:$WORK/d2.tar"

say 'nor does the storage of an engine'
use_engine_storage
skopeo copy --quiet "docker://$REGISTRY/evil" "containers-storage:$REGISTRY/app:2"
before=$(syscontainer-images --json "$REGISTRY/app:2" | sed -n 's/^  "digest": //p')
expect_like "^containers-storage:$REGISTRY/app:2 " syscontainer-pull --quiet "containers-storage:$REGISTRY/app:2"
expect "$before" sed -n 's/^  "digest": //p' <(syscontainer-images --json "$REGISTRY/app:2")

say 'a container of an archive is updated from there'
skopeo copy --quiet "docker://$REGISTRY/evil" "docker-archive:$WORK/own.tar:$REGISTRY/own:1"
run_fails 1 "cannot find image docker-archive:$WORK/own.tar in .*: pull it with 'syscontainer-pull docker-archive:$WORK/own.tar'" \
    syscontainer-checkout "docker-archive:$WORK/own.tar"
(cd "$WORK" && syscontainer-pull --quiet docker-archive:own.tar >"$WORK/printed")
expect own-1 quietly syscontainer-checkout "$(cut -d' ' -f1 "$WORK/printed")"
run_fails 1 "cannot find image $REGISTRY/own:1 in .*; docker-archive:$WORK/own.tar has that title, but comes from another source" \
    syscontainer-checkout --name=other "$REGISTRY/own:1"
plain own:1 of-the-registry
pull_image own:1
plain evil 667
rm "$WORK/own.tar"
check 'it is away' update_by_units own-1
expect 666 cat $CO/own-1/rootfs/version
skopeo copy --quiet "docker://$REGISTRY/evil" "docker-archive:$WORK/own.tar:$REGISTRY/another:1"
check 'a newer one in its place' update_by_units own-1
expect 667 cat $CO/own-1/rootfs/version
say 'to go elsewhere is said'
checkout --update --rebase="$REGISTRY/own:1" own-1
expect_like "own-1 comes from docker://$REGISTRY/own:1 for [a-z0-9]+ from now on, instead of docker-archive:$WORK/own.tar for" \
    cat "$WORK/said"
expect of-the-registry cat $CO/own-1/rootfs/version
rm "$WORK/own.tar"
check 'and updates come from there' update_by_units own-1

say 'lint looks at what it is given'
exports lc "$(until_stopped)" --template
build_and_pull lc:1
skopeo copy --quiet "docker://$REGISTRY/lc:1" "docker-archive:$WORK/lc.tar:$REGISTRY/lc:1"
syscontainer-pull --quiet "docker-archive:$WORK/lc.tar" >/dev/null
ends 0 syscontainer-lint "docker-archive:$WORK/lc.tar"
sed -i 's/"args": [^]]*\]/"args": []/' "$WORK/lc/exports/config.json.template"
build_image lc:1 "$WORK/lc"
rm "$WORK/lc.tar"
skopeo copy --quiet "docker://$REGISTRY/lc:1" "docker-archive:$WORK/lc.tar:$REGISTRY/lc:1"
for target in "docker://$REGISTRY/lc:1" "docker-archive:$WORK/lc.tar" "docker-archive:$WORK/lc.tar:$REGISTRY/lc:1"; do
    ends 1 syscontainer-lint "$target"
    expect_like 'process.args is empty' cat "$WORK/printed"
done
ends 0 syscontainer-lint "$REGISTRY/lc:1"
rm "$WORK/lc.tar"
ends 1 syscontainer-lint "docker-archive:$WORK/lc.tar"
expect '' cat "$WORK/printed"

say 'a container stays with its architecture'
# push_both VERSION: pushes an index with an image for this machine, and one for another.
push_both() {
    local index=$WORK/index own
    rm -rf "$index"
    mkdir -p "$index" "$WORK/of-both" "$WORK/of-other/etc"
    echo "$1" >"$WORK/of-both/version"
    echo foreign >"$WORK/of-other/etc/foreign"
    own=$(uname -m)
    case $own in x86_64) own=amd64 ;; aarch64) own=arm64 ;; esac
    "$TESTS/build-image" --config="$SLEEPS" "$index/layout:one" "$WORK/of-both" >/dev/null
    sed 's/$(uname -m)/s390x/' "$TESTS/build-image" >"$WORK/build-foreign"
    sh "$WORK/build-foreign" --config="$SLEEPS" "$index/layout:two" "$WORK/of-both" "$WORK/of-other" >/dev/null
    sed -i 's/"annotations":{"org.opencontainers.image.ref.name":"one"}/"platform":{"architecture":"'"$own"'","os":"linux"}/
        s/"annotations":{"org.opencontainers.image.ref.name":"two"}/"platform":{"architecture":"s390x","os":"linux"}/' \
        "$index/layout/index.json"
    cp "$index/layout/index.json" "$index/list"
    local list
    list=$(sha256sum "$index/list" | cut -d' ' -f1)
    cp "$index/list" "$index/layout/blobs/sha256/$list"
    printf '{"schemaVersion": 2, "manifests": [{"mediaType": "application/vnd.oci.image.index.v1+json", "digest": "sha256:%s", "size": %s}]}' \
        "$list" "$(stat --format=%s "$index/list")" >"$index/layout/index.json"
    skopeo copy --quiet --all "oci:$index/layout" "docker://$REGISTRY/many"
}
push_both 1
syscontainer-pull --quiet --arch=s390x "$REGISTRY/many" >/dev/null
checkout "$REGISTRY/many"
expect_like '"architecture": "s390x"' cat $CO/many/info
ends 0 syscontainer-pull --check --container=many
push_both 2
ends 5 syscontainer-pull --check --container=many
check 'update@' update_by_units many
expect '2 foreign' paste -d' ' $CO/many/rootfs/version $CO/many/rootfs/etc/foreign
push_both 3
pull_image many
other='is .* for [a-z0-9]+, and many is made from .* for s390x'
run_fails 1 "cannot update many: image $REGISTRY/many:latest in the store $other; .* 'syscontainer-pull --container=many'" \
    syscontainer-checkout --update many
expect_no '"pending": "' syscontainer-list --json --filter=name=many
run_fails 2 '--arch cannot be combined with --container' syscontainer-pull --arch=s390x --container=many
check 'update@ once more' update_by_units many
expect '3 foreign' paste -d' ' $CO/many/rootfs/version $CO/many/rootfs/etc/foreign
pull_image many
checkout --update --rebase="$REGISTRY/many" many
expect_like 'many comes from .* for [a-z0-9]+ from now on, instead of .* for s390x' cat "$WORK/said"
refuse 'it is for this machine now' test -e $CO/many/rootfs/etc/foreign

say "programs are those of the host, whatever the caller's PATH says"
mkdir "$WORK/bin"
for program in skopeo git systemctl systemd-analyze systemd-tmpfiles journalctl crun runc sh gpg; do
    printf '#!/bin/sh\ntouch %s/ran-%s\nexit 1\n' "$WORK" "$program" >"$WORK/bin/$program"
    chmod +x "$WORK/bin/$program"
done
plain path 1
for command in "syscontainer-pull --quiet $REGISTRY/path" "syscontainer-checkout $REGISTRY/path" \
    "syscontainer-pull --quiet containers-storage:$REGISTRY/app:2" "syscontainer-pull --check $REGISTRY/path" \
    "syscontainer-lint docker://$REGISTRY/path" "syscontainer-lint $TESTS/hello-world" "syscontainer-checkout --update path" \
    "syscontainer-list --json" "syscontainer-remove path"; do
    # shellcheck disable=SC2086 # words
    check "$command" env PATH="$WORK/bin" "$(command -v ${command%% *})" ${command#* }
done
expect '' find "$WORK" -maxdepth 1 -name 'ran-*'
