#!/bin/bash
# What payloads, users and other hosts decide the duration of, and who waits for it.
. "$(dirname "$0")/lib.sh"

with_perl fat
# More names than a stop looks at; version N of the image says so.
fat() {
    # shellcheck disable=SC2016 # for Perl
    json_string 'mkdir "/fat"; chdir "/fat"; open F, ">", "f0"; for $n (1..'"$1"') { $f = "f" . int($n / 60000);
        -e $f or do { open F, ">", $f }; link $f, "n$n" } open F, ">", "/done"; $SIG{TERM} = sub { exit }; sleep 1 while 1'
}
image() {
    echo "$1" >"$WORK/fat/version"
    build_and_pull fat --config="{\"Cmd\": [\"/usr/bin/perl\", \"-e\", $(fat 140000)]}"
}
wait_until_written() { wait_for 'it has written that' test -e "$CO/.fat.scratch/upper/done"; }
# So that whoever waits for the removal is found out.
mkdir -p /run/systemd/system/syscontainers-forgotten.service.d
printf '[Service]\nExecStartPre=/bin/sleep 600\n' >/run/systemd/system/syscontainers-forgotten.service.d/late.conf
systemctl daemon-reload

for runtime in crun runc; do
    say "$runtime: what a payload wrote"
    image 1
    checkout --no-enable --runtime="$(type -P $runtime)" "$REGISTRY/fat"
    must 'it starts' systemctl start fat
    wait_until_written
    image 2
    must 'it is updated' quietly syscontainer-checkout --update --stage fat
    must 'what version 1 wrote is not waited for' quietly syscontainer-switch fat
    expect 2 cat "$CO/fat/rootfs/version"
    expect 'active running success' state fat
    check 'it is still there, under another name' test -e "$CO/.fat.0.scratch/upper/fat/n140000"
    expect 'activating' eval 'systemctl is-active syscontainers-forgotten.service || true'

    say "$runtime: a start after a crash"
    wait_until_written
    systemctl kill --signal=KILL fat
    # As a power failure leaves it.
    systemctl stop syscontainers-forgotten.service || true
    wait_for 'it is down' eval '! systemctl is-active --quiet fat'
    mkdir -p "$CO/.fat.scratch/upper/crashed"
    systemctl reset-failed fat || true
    must 'it starts' systemctl start fat
    check 'what was written is still there' eval "ls -d '$CO'/.fat.[0-9].scratch/upper/crashed"
    expect 'activating' eval 'systemctl is-active syscontainers-forgotten.service || true'
    must 'it stops' systemctl stop fat

    say "$runtime: a prune of what a payload wrote"
    systemctl stop syscontainers-forgotten.service || true
    must 'a prune' eval "syscontainer-prune >'$WORK/pruned'"
    expect_like "removed leftover $CO/.fat.0.scratch: a payload that has ended wrote it" cat "$WORK/pruned"
    expect '' bash -c "ls -d $CO/.fat.*.scratch 2>/dev/null || true"

    say "$runtime: the service removes it, and a purge"
    must 'it starts' systemctl start fat
    wait_until_written
    must 'it stops' systemctl stop fat
    rm /run/systemd/system/syscontainers-forgotten.service.d/late.conf
    systemctl daemon-reload
    systemctl stop syscontainers-forgotten.service || true
    must 'the service ends' systemctl start syscontainers-forgotten.service
    expect '' bash -c "ls -d $CO/.fat.*.scratch 2>/dev/null || true"
    printf '[Service]\nExecStartPre=/bin/sleep 600\n' >/run/systemd/system/syscontainers-forgotten.service.d/late.conf
    systemctl daemon-reload
    must 'it starts' systemctl start fat
    wait_until_written
    must 'it goes' syscontainer-remove --purge fat
    expect '' bash -c "ls -d $CO/.fat.*scratch 2>/dev/null || true"
    systemctl stop syscontainers-forgotten.service || true
done

say 'a prune while somebody is at work'
mkdir -p "$WORK/busy"
build_and_pull busy --config="{\"Cmd\": $(until_stopped)}"
checkout --no-enable "$REGISTRY/busy"
mkdir -p "$CO/.gone.scratch/upper" "$CO/.busy.9.new/rootfs"
# shellcheck disable=SC2016 # for the other shell
flock --no-fork /run/syscontainers/.locks/busy sh -c 'touch "$1/held"; exec sleep 600' sh "$WORK" &
holder=$!
wait_for 'somebody has the lock' test -e "$WORK/held"
must 'a prune does not wait' eval "timeout 60 syscontainer-prune --explain >'$WORK/pruned'"
expect_like '^kept container busy: another program is at work on it' cat "$WORK/pruned"
refuse 'what is left of another one is gone' eval "ls -d '$CO'/.gone.*"
check 'it has removed nothing' test -e "$CO/.busy.9.new"
kill $holder
wait $holder || true
