#!/bin/bash
# Every change of state is one journal entry, with a MESSAGE_ID, fields, and a place in the log of the container's unit.
. "$(dirname "$0")/lib.sh"

version() {
    exports web "[\"sh\",\"-c\",\"trap 'exit 0' TERM; $2; sleep 1000 & wait\"]"
    echo "$1" >"$WORK/web/version"
    build_image web "$WORK/web"
}
# since: a mark that entries are counted from.
since() { mark=@$(date +%s.%6N); }
# entries KIND N FIELD=VALUE…: there are N of that kind since the mark, and the last one has these fields.
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
version 1 true
since
syscontainer-pull --quiet "$REGISTRY/web" >/dev/null
entries pulled 1 "SYSCONTAINER_IMAGE=$REGISTRY/web:latest" "SYSCONTAINER_DIGEST=$DIGEST" SYSLOG_IDENTIFIER=syscontainer-pull
syscontainer-pull --quiet "$REGISTRY/web" >/dev/null
only pulled

say 'installed'
since
syscontainer-checkout "$REGISTRY/web" >/dev/null 2>&1
entries installed 1 SYSCONTAINER_NAME=web "SYSCONTAINER_DIGEST=$DIGEST" SYSCONTAINER_DEPLOYMENT=web.0 OBJECT_SYSTEMD_UNIT=web.service
syscontainer-checkout "$REGISTRY/web" >/dev/null 2>&1
syscontainer-checkout --dry-run --update --set X=1 web >/dev/null 2>&1
only installed

say 'how it is updated'
since
syscontainer-switch --set-soak=1 web 2>/dev/null
entries configured 1 SYSCONTAINER_NAME=web
only configured

say 'an update by its unit'
systemctl start web
version 2 true
since
systemctl start syscontainer-update@web.service
entries staged 1 SYSCONTAINER_NAME=web "SYSCONTAINER_DIGEST=$DIGEST" SYSCONTAINER_DEPLOYMENT=web.1 SYSCONTAINER_PREVIOUS=web.0
entries switched 1 SYSCONTAINER_NAME=web "SYSCONTAINER_DIGEST=$DIGEST" SYSCONTAINER_DEPLOYMENT=web.1 SYSCONTAINER_PREVIOUS=web.0 PRIORITY=5
entries confirmed 1 SYSCONTAINER_DEPLOYMENT=web.1
only pulled staged switched confirmed
say 'each of them once in the log of the unit that did it, and in that of the container'
expect 1 bash -c "journalctl --no-pager --output=cat --unit=syscontainer-update@web.service | grep -c 'updated web to web.1'"
expect 1 bash -c "journalctl --no-pager --output=cat --unit=web | grep -c 'updated web to web.1'"

say 'one that fails'
version 3 'exit 7'
since
! systemctl start syscontainer-update@web.service 2>/dev/null || fail 'it is good'
entries reverted 1 SYSCONTAINER_NAME=web "SYSCONTAINER_DIGEST=$DIGEST" SYSCONTAINER_DEPLOYMENT=web.1 SYSCONTAINER_PREVIOUS=web.2 PRIORITY=3 'SYSCONTAINER_REASON=it did not .*'
only pulled staged switched reverted
since
systemctl start syscontainer-update@web.service
entries skipped 1 SYSCONTAINER_NAME=web "SYSCONTAINER_DIGEST=$DIGEST" PRIORITY=4
only skipped

say 'rolled back'
since
syscontainer-rollback web 2>/dev/null
entries rolled-back 1 SYSCONTAINER_NAME=web SYSCONTAINER_DEPLOYMENT=web.0 SYSCONTAINER_PREVIOUS=web.1
only rolled-back confirmed

say 'at once'
since
syscontainer-checkout --update --set X=1 web >/dev/null 2>&1
entries switched 1 SYSCONTAINER_NAME=web SYSCONTAINER_DEPLOYMENT=web.2 SYSCONTAINER_PREVIOUS=web.0
only switched pruned

say 'mended'
rm /etc/systemd/system.attached/web.service
since
systemctl restart syscontainers-reconcile
entries mended 1 SYSCONTAINER_NAME=web SYSCONTAINER_DEPLOYMENT=web.2 SYSLOG_IDENTIFIER=syscontainer-reconcile
only mended
since
systemctl restart syscontainers-reconcile
only ''

say 'removed'
since
syscontainer-remove web 2>/dev/null
entries removed 1 SYSCONTAINER_NAME=web "SYSCONTAINER_IMAGE=$REGISTRY/web:latest" SYSCONTAINER_PREVIOUS=web.2
only removed

say 'pruned'
since
syscontainer-prune --keep-for=0 >/dev/null 2>&1
journalctl --sync
# Its layers have entries of their own.
expect 1 bash -c "journalctl --quiet --no-pager --since='$mark' --output=cat MESSAGE_ID=${ids[pruned]} SYSCONTAINER_IMAGE=$REGISTRY/web:latest | wc -l"

say 'what an image says cannot make entries'
exports odd '["true"]'
sed -i '1a "annotations": {"x": "a\\nMESSAGE_ID=b"},' "$WORK/odd/exports/config.json"
since
install_image odd
only pulled installed

say 'without a journal'
systemctl stop systemd-journald.socket systemd-journald-dev-log.socket systemd-journald-audit.socket systemd-journald.service 2>/dev/null || true
check 'it goes on' syscontainer-remove odd
