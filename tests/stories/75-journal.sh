#!/bin/bash
# Every change of state is one journal entry, with a MESSAGE_ID, fields, and a place in the log of the container's unit.
. "$(dirname "$0")/lib.sh"

# push_web N [OPTION…]: as new_version makes it.
push_web() {
    new_version web "$@"
    build_image web "$WORK/web"
}
declare -A ids
while read -r id kind; do ids[$kind]=$id; done <<'END'
eb327bbb46e84a99aba26294630867d9 pulled
d499f46ed97a4dc9ad5b95090e635923 installed
14c3efb040db4320a2af05560f2df763 staged
a1a97b339a4346bd8574a1173effdc74 switched
0d643b14320e4d1bb3b0242d6f6d2b22 confirmed
090a3a8f3ef8499d8c36d375beac169f reverted
5963245170684ae3918f07d055ee58f8 rolled-back
07c2fde1f1c147beb7f531675de7558a skipped
9efb373ecc724a2e8d3ab474970858b2 configured
e62de78e708f4942a37c30799322a8d6 removed
97b68ec3d8274340a9b01d6b85049ce6 pruned
6b31a1a9801049aa8e48aa0b0a11ffcc mended
END
# entries KIND N FIELD=VALUE…: there are N of that kind since the mark, and the last one has these fields.
entries() {
    local kind=$1 count=$2 field
    shift 2
    journalctl --sync
    journalctl --no-pager --since="$mark" --output=verbose --all MESSAGE_ID="${ids[$kind]}" >"$WORK/entries"
    expect "$count" bash -c "grep -c ' MESSAGE_ID=' '$WORK/entries' || true"
    [ "$count" != 0 ] || return 0
    journalctl --no-pager --since="$mark" --output=verbose --all --lines=1 MESSAGE_ID="${ids[$kind]}" >"$WORK/entries"
    for field; do expect_like "^ +$field$" cat "$WORK/entries"; done
}
# only KIND…: nothing else of ours since the mark.
only() {
    local kind wanted
    wanted=$(printf '%s\n' "$@" | sort)
    journalctl --sync
    for kind in "${!ids[@]}"; do
        journalctl --quiet --no-pager --since="$mark" --output=cat MESSAGE_ID="${ids[$kind]}" | sed "s/.*/$kind/"
    done | sort >"$WORK/kinds"
    expect "$wanted" cat "$WORK/kinds"
}

say 'pulled'
push_web 1
mark_journal
pull_image web
entries pulled 1 \
    "SYSCONTAINER_IMAGE=$REGISTRY/web:latest" "SYSCONTAINER_DIGEST=$DIGEST" SYSLOG_IDENTIFIER=syscontainer-pull
pull_image web
only pulled

say 'installed'
mark_journal
checkout "$REGISTRY/web"
entries installed 1 \
    SYSCONTAINER_NAME=web "SYSCONTAINER_DIGEST=$DIGEST" SYSCONTAINER_DEPLOYMENT=web.0 OBJECT_SYSTEMD_UNIT=web.service
checkout "$REGISTRY/web"
checkout --dry-run --update --set X=1 web
only installed

say 'how it is updated'
mark_journal
set_soak web 1
entries configured 1 SYSCONTAINER_NAME=web
only configured

say 'an update by its unit'
systemctl start web
push_web 2
mark_journal
systemctl start syscontainer-update@web.service
of_web_1=(SYSCONTAINER_NAME=web "SYSCONTAINER_DIGEST=$DIGEST" SYSCONTAINER_DEPLOYMENT=web.1 SYSCONTAINER_PREVIOUS=web.0)
entries staged 1 "${of_web_1[@]}"
entries switched 1 "${of_web_1[@]}" PRIORITY=5
entries confirmed 1 SYSCONTAINER_DEPLOYMENT=web.1
only pulled staged switched confirmed
say 'each of them once in the log of the unit that did it, and in that of the container'
for unit in syscontainer-update@web.service web; do
    journal_of $unit >"$WORK/log"
    expect 1 grep -c 'switched web to web.1' "$WORK/log"
done

say 'one that fails'
push_web 3 --first='exit 7'
set_soak web 600
mark_journal
refuse 'it is not stayed with' systemctl start syscontainer-update@web.service
entries reverted 1 SYSCONTAINER_NAME=web "SYSCONTAINER_DIGEST=$DIGEST" SYSCONTAINER_DEPLOYMENT=web.1 \
    SYSCONTAINER_PREVIOUS=web.2 PRIORITY=3 \
    'SYSCONTAINER_REASON=(it did not start|the service left the active state): (failed|deactivating) .*'
only pulled staged switched reverted
set_soak web 1
mark_journal
systemctl start syscontainer-update@web.service
entries skipped 1 SYSCONTAINER_NAME=web "SYSCONTAINER_DIGEST=$DIGEST" PRIORITY=4
only skipped

say 'rolled back'
mark_journal
syscontainer-rollback web 2>/dev/null
entries rolled-back 1 SYSCONTAINER_NAME=web SYSCONTAINER_DEPLOYMENT=web.0 SYSCONTAINER_PREVIOUS=web.1
only rolled-back confirmed

say 'at once'
mark_journal
checkout --update --set X=1 web
entries switched 1 SYSCONTAINER_NAME=web SYSCONTAINER_DEPLOYMENT=web.2 SYSCONTAINER_PREVIOUS=web.0
only switched pruned

say 'mended'
rm /etc/systemd/system.attached/web.service
mark_journal
systemctl restart syscontainers-reconcile
entries mended 1 SYSCONTAINER_NAME=web SYSCONTAINER_DEPLOYMENT=web.2 SYSLOG_IDENTIFIER=syscontainer-reconcile
only mended
mark_journal
systemctl restart syscontainers-reconcile
only ''

say 'removed'
mark_journal
syscontainer-remove web 2>/dev/null
entries removed 1 SYSCONTAINER_NAME=web "SYSCONTAINER_IMAGE=$REGISTRY/web:latest" SYSCONTAINER_PREVIOUS=web.2
only removed

say 'pruned'
mark_journal
syscontainer-prune --keep-for=0 >/dev/null 2>&1
journalctl --sync
# Its layers have entries of their own.
journalctl --quiet --no-pager --since="$mark" --output=cat MESSAGE_ID="${ids[pruned]}" \
    SYSCONTAINER_IMAGE="$REGISTRY/web:latest" >"$WORK/log"
expect 1 grep -c . "$WORK/log"

say 'what an image says cannot make entries'
exports odd '["true"]'
sed -i '1a "annotations": {"x": "a\\nMESSAGE_ID=b"},' "$WORK/odd/exports/config.json"
mark_journal
install_image odd
only pulled installed

say 'without a journal'
systemctl stop systemd-journald{,-dev-log,-audit}.socket systemd-journald.service 2>/dev/null || true
check 'it goes on' syscontainer-remove odd
