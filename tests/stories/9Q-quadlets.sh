#!/bin/bash
# Quadlets become services: three that depend on each other, a template, and what is not carried over.
. "$(dirname "$0")/lib.sh"

QUADLETS=/etc/containers/systemd DECLARATIONS=/etc/syscontainers
mkdir -p "$QUADLETS" "$DECLARATIONS" /srv/quadlets
mkdir -p "$WORK/quadlets/data"
echo of-the-image >"$WORK/quadlets/data/first"
build_image quadlets --config='{"Cmd": ["sh"]}' "$WORK/quadlets"

# quadlet NAME: what comes on stdin is that file of podman's.
quadlet() { cat >"$QUADLETS/$1"; }
# from_quadlets NAME…: converts these, as what they say without Network= is not of interest.
from_quadlets() {
    local name files=()
    for name; do files+=("$QUADLETS/$name.container"); done
    syscontainer-from-quadlet --output="$DECLARATIONS" "${files[@]}" 2>"$WORK/said"
}
# ran_in_quadlet NAME: what its payload has written.
ran_in_quadlet() { cat "/srv/quadlets/$1"; }

say 'a container with a volume and a network, one that is started before another, and that other one'
quadlet data.volume <<'EOF'
[Volume]
Label=org.test.key=value
EOF
quadlet keeper.container <<EOF
[Unit]
Description=A container that keeps something

[Container]
Image=$REGISTRY/quadlets:latest
Volume=data.volume:/data
Volume=/srv/quadlets:/out:z
Network=none
Exec=sh -c "trap 'exit 0' TERM; cat /data/first >/out/keeper; ls /sys/class/net >>/out/keeper; sleep 100000 & wait"

[Service]
Restart=always
TimeoutStartSec=900
ExecStartPre=/usr/bin/touch /srv/quadlets/before

[Install]
WantedBy=multi-user.target default.target
EOF
quadlet setup.container <<EOF
[Container]
Image=$REGISTRY/quadlets:latest
Network=host
Volume=/srv/quadlets:/out
Exec=sh -c "echo 'setup complete' >/out/setup; trap 'exit 0' TERM; sleep 100000 & wait"
EOF
quadlet app.container <<EOF
[Unit]
Requires=setup.container
After=setup.container

[Container]
Image=$REGISTRY/quadlets:latest
Network=host
Volume=/srv/quadlets:/out
Environment=GREETING="app running" COST=\$\$5
EnvironmentFile=app.env
WorkingDir=/out
Memory=64m
Exec=sh -c 'echo "\$\$GREETING, \$\$COST, \$\$FROM_FILE, in \$\$(pwd)" >app; trap "exit 0" TERM; sleep 100000 & wait'

[Install]
WantedBy=multi-user.target
EOF
echo FROM_FILE=yes >"$QUADLETS/app.env"
expect '' from_quadlets keeper setup app
expect_like "keeper.container:7: Volume= does not label files" cat "$WORK/said"
expect 'app.conf keeper.conf setup.conf' names_in "$DECLARATIONS" '*.conf'
expect 644 stat --format=%a "$DECLARATIONS/app.conf"
expect_like '^Volume=/data$' cat "$DECLARATIONS/keeper.conf"
expect_like '^Requires=setup.service$' cat "$DECLARATIONS/app.conf"
expect_like "^EnvironmentFile=$QUADLETS/app.env$" cat "$DECLARATIONS/app.conf"
expect_like '^Enable=no$' cat "$DECLARATIONS/setup.conf"

say 'files that are there stay'
echo mine >"$DECLARATIONS/setup.conf"
refuse 'another one is not written over it' from_quadlets setup
expect mine cat "$DECLARATIONS/setup.conf"
rm "$DECLARATIONS/setup.conf"
expect '' from_quadlets setup

say 'what cannot be carried over is refused, with its line'
quadlet member.container <<EOF
[Container]
Image=$REGISTRY/quadlets:latest
Pod=test.pod
Exec=sh -c "sleep inf"
EOF
refuse 'a member of a pod is none here' from_quadlets member
expect_like 'member.container:3: cannot carry over Pod=: there are no pods' cat "$WORK/said"
refuse 'and nothing is written' test -e "$DECLARATIONS/member.conf"

say 'a template'
quadlet count@.container <<EOF
[Container]
Image=$REGISTRY/quadlets:latest
Network=none
Volume=/srv/quadlets:/out
Exec=sh -c "echo %i >/out/count-%i; trap 'exit 0' TERM; sleep 100000 & wait"

[Install]
WantedBy=multi-user.target
DefaultInstance=3
EOF
expect '' from_quadlets count@
expect 'count@.conf' readlink "$DECLARATIONS/count@3.conf"

if ! command -v syscontainer-apply >/dev/null; then
    rm -r "$DECLARATIONS"/*.conf
    exit 0
fi
say 'they are installed, and run'
check 'all are applied' syscontainer-apply
systemctl daemon-reload
for name in keeper app count@3; do
    expect enabled systemctl is-enabled "$name"
    check "$name starts" systemctl start "$name"
done
expect disabled unit_property setup UnitFileState
for name in keeper setup app count@3; do expect 'active running success' state "$name"; done
expect_soon 'of-the-image
lo' ran_in_quadlet keeper
expect_soon 'setup complete' ran_in_quadlet setup
expect_soon 'app running, $5, yes, in /out' ran_in_quadlet app
expect_soon 3 ran_in_quadlet count-3
check 'what is to run before it ran' test -e /srv/quadlets/before
expect 67108864 unit_property app MemoryMax
expect always unit_property keeper Restart
expect no unit_property app Restart
# What is declared would be installed again.
rm "$DECLARATIONS"/*.conf
