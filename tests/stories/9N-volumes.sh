#!/bin/bash
# Volumes that take long to begin. With crun and runc.
. "$(dirname "$0")/lib.sh"

PREPARE=/usr/libexec/syscontainers/syscontainer-prepare

say 'a volume whose copy takes longer than a start may'
mkdir -p "$WORK/slow/data"
echo 'of the image' >"$WORK/slow/data/file"
build_and_pull slow --config="{\"Cmd\": $(until_stopped 'cat /data/file; echo begun'), \"Volumes\": {\"/data\": {}}}"
for runtime in crun runc; do
    checkout --name=slow --runtime=/usr/bin/$runtime "$REGISTRY/slow"
    mkdir -p /run/systemd/system/slow.service.d
    # As on a disk that is busy: what was copied takes four seconds to be there.
    cat >/run/systemd/system/slow.service.d/10-story.conf <<-END
		[Service]
		TimeoutStartSec=2s
		ExecStartPre=
		ExecStartPre=+strace -f -qq -o /dev/null -e trace=syncfs -e inject=syncfs:delay_enter=4000000 $PREPARE slow
	END
    systemctl daemon-reload
    mark_journal
    check "$runtime: it starts" systemctl start slow
    wait_for 'it has what the image had' has_said slow '^begun$'
    expect_like '^of the image$' said_since slow
    expect_no 'timed out' said_since slow
    systemctl stop slow
    rm -r /run/systemd/system/slow.service.d
    systemctl daemon-reload
    forget slow
done
