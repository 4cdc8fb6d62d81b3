#!/bin/bash
# What images and administrators write that podman understands, and what they are told where something cannot be.
. "$(dirname "$0")/lib.sh"

mkdir -p "$WORK/odd/usr/bin"
cat >"$WORK/odd/look" <<'END'
#!/bin/sh
echo "in $(pwd)"
sed 's/^[^ ]* [^ ]* [^ ]* [^ ]* \([^ ]*\) .*/mount: \1/' /proc/self/mountinfo
echo said
exec sleep 100000
END
chmod 755 "$WORK/odd/look"

# looks NAME: what the payload of an installed container says when it is started is as the image has it.
looks() {
    mark_journal
    systemctl start "$1"
    wait_for "$1 says where it is" has_said "$1" '^said$'
    for ere in '^in /rel/dir$' '^mount: /rel/x$' '^mount: /srv$'; do expect_like "$ere" said_since "$1"; done
    expect_no '^mount: /data' said_since "$1"
    forget "$1"
    rm -rf "/var/lib/syscontainers/$1"
}

build_and_pull odd --config='{"Entrypoint": [""], "Cmd": ["/look"], "WorkingDir": "rel//./dir", "Volumes": {"rel/x": {}, "/data/../srv": {}}}'
for runtime in crun runc; do
    say "$runtime: an empty entrypoint is none, and relative paths are below /"
    checkout --name="$runtime" --runtime=/usr/bin/$runtime "$REGISTRY/odd"
    looks "$runtime"
    checkout --name="$runtime" --runtime=/usr/bin/$runtime -o 'Entrypoint=[""]' -o Exec=/look "$REGISTRY/odd"
    looks "$runtime"
done
