#!/bin/bash
# What images and administrators write that podman understands, and what they are told where something cannot be.
. "$(dirname "$0")/lib.sh"

mkdir -p "$WORK/odd/usr/bin"
printf '#!/bin/sh\necho "in $(pwd), volumes: $(sed -n "s,^[^ ]* [^ ]* [^ ]* [^ ]* \\(/data\\|/rel[^ ]*\\|/srv\\) .*,\\1,p" /proc/self/mountinfo | sort | tr "\\n" " ")"\nexec sleep 100000\n' >"$WORK/odd/look"
chmod 755 "$WORK/odd/look"

# looks NAME ERE: what the payload of an installed container says when it is started.
looks() {
    mark_journal
    systemctl start "$1"
    wait_for "$1 says where it is" said_like "$1" "$2"
    forget "$1"
    rm -rf "/var/lib/syscontainers/$1"
}
said_like() {
    journalctl --sync
    journalctl --since="$mark" --no-pager --output=cat --unit="$1" | grep -E -- "$2"
}

build_and_pull odd --config='{"Entrypoint": [""], "Cmd": ["/look"], "WorkingDir": "rel//./dir", "Volumes": {"rel/x": {}, "/data/../srv": {}}}'
for runtime in crun runc; do
    say "$runtime: an empty entrypoint is none, and relative paths are below /"
    checkout --name="$runtime" --runtime=/usr/bin/$runtime "$REGISTRY/odd"
    looks "$runtime" '^in /rel/dir, volumes: /rel/x /srv $'
    checkout --name="$runtime" --runtime=/usr/bin/$runtime -o 'Entrypoint=[""]' -o Exec=/look "$REGISTRY/odd"
    looks "$runtime" '^in /rel/dir, volumes: /rel/x /srv $'
done
