#!/bin/bash
# What a plain image says about itself: shown, used where there is a use for it, and named where it has no effect.
. "$(dirname "$0")/lib.sh"

mkdir -p "$WORK"/{web,bare}
# web TAG [MEMBERS]: an image with everything that one can say, and these members more in its configuration.
web() {
    build_and_pull "web:$1" --label=org.opencontainers.image.title='Web 100% $HOME \\' --label=org.opencontainers.image.description='Serves it.' \
        --config="{\"Entrypoint\": [\"sh\", \"-c\"], \"Cmd\": [$(json_string "trap 'exit 0' TERM; env; sleep 100000 & wait")],
            \"Env\": [\"NAME=own\", \"PIDFILE=/run/web.pid\", \"A=b\"], \"User\": \"7:8\", \"WorkingDir\": \"/srv\",
            \"Volumes\": {\"/data\": {}}, \"ExposedPorts\": {\"80/tcp\": {}, \"53/udp\": {}}, \"StopSignal\": \"SIGTERM\",
            \"Healthcheck\": {\"Test\": [\"CMD\", \"true\"]}${2-}}"
}
web 1

say 'an image is shown with its configuration'
syscontainer-images "$REGISTRY/web:1" >"$WORK/shown"
while read -r line; do
    check "shown: $line" grep -qxF -- "$line" <(sed 's/  */ /' "$WORK/shown")
done <<'END'
Title Web 100% $HOME \
Description Serves it.
Entrypoint ["sh","-c"]
Env NAME=own
Env A=b
User 7:8
WorkingDir /srv
Volume /data
Port 53/udp
Port 80/tcp
StopSignal SIGTERM
Healthcheck {"Test":["CMD","true"]}
END
syscontainer-images --json "$REGISTRY/web:1" >"$WORK/json"
for key in title description entrypoint cmd env user working-dir volumes ports stop-signal healthcheck; do
    check "$key is in the JSON" grep -q "^    \"$key\": " "$WORK/json"
done

say 'an installation tells what is open, and what has no effect'
syscontainer-checkout --set NAME=mine --set DESTDIR=/x "$REGISTRY/web:1" 2>"$WORK/said" >/dev/null
check 'the ports are named' grep -F 'web-1 shares the network of this host, and may listen on 53/udp, 80/tcp on all of its addresses' "$WORK/said"
check 'the health check is named' grep -F 'the HEALTHCHECK of 127.0.0.1:5000/web:1 is not run; web-1 counts as healthy as long as it runs' "$WORK/said"
refuse 'nothing that was set is ignored' grep -E 'ignoring|has no effect' "$WORK/said"
expect 'Web 100% $HOME' unit_property web-1 Description
check 'it starts' systemctl start web-1
expect_like '^NAME=mine$' main_process web-1 environ
expect_like '^DESTDIR=/x$' main_process web-1 environ
expect_like '^PIDFILE=/run/web.pid$' main_process web-1 environ
expect /var/lib/containers/atomic/web-1 unit_property web-1 WorkingDirectory
check 'it stops' systemctl stop web-1
check 'removed' syscontainer-remove --purge web-1

say 'an image that says nothing has the name of its container, and nothing is said'
build_and_pull bare --config="{\"Cmd\": $(until_stopped)}"
syscontainer-checkout "$REGISTRY/bare" 2>"$WORK/said" >/dev/null
refuse 'no port and no health check is named' grep -E 'network|HEALTHCHECK' "$WORK/said"
expect bare unit_property bare Description
expect_no '^(Title|Description|Entrypoint|User|Port|Healthcheck)' syscontainer-images "$REGISTRY/bare"
check 'removed' syscontainer-remove bare

say 'lint names the same'
expect_like '\[exposed-port\]$' syscontainer-lint "docker://$REGISTRY/web:1"
expect_like '\[healthcheck\]$' syscontainer-lint "docker://$REGISTRY/web:1"
