#!/bin/bash
# Credentials, certificates, mirrors and proxies are those of skopeo's own configuration.
. "$(dirname "$0")/lib.sh"

exports thing '["true"]'
build_image thing "$WORK/thing"

say 'a registry with basic authentication and a certificate of its own authority'
cd "$WORK"
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=story 2>/dev/null
openssl req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=localhost 2>/dev/null
openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 \
    -extfile <(echo subjectAltName=DNS:localhost) -out server.crt 2>/dev/null
cat >/etc/private.yml <<END
version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $WORK/private}}
http: {addr: "127.0.0.1:5443", tls: {certificate: $WORK/server.crt, key: $WORK/server.key}}
auth: {htpasswd: {realm: story, path: $TESTS/keys/htpasswd}}
END
systemd-run --quiet --unit=private docker-registry serve /etc/private.yml
wait_for 'it listens' bash -c 'exec 3<>/dev/tcp/127.0.0.1/5443'
private=localhost:5443/thing
run_fails 1 'certificate signed by unknown authority|certificate' syscontainer-pull --quiet $private
run_fails 1 'unauthorized|authentication required' syscontainer-pull --quiet --tls-verify=false $private
mkdir -p /etc/containers/certs.d/localhost:5443
cp ca.crt /etc/containers/certs.d/localhost:5443/
run_fails 1 'unauthorized|authentication required' syscontainer-pull --quiet $private
skopeo login --authfile="$WORK/auth.json" --username=user --password-stdin localhost:5443 <<<'secret word' >/dev/null
REGISTRY_AUTH_FILE=$WORK/auth.json skopeo copy --quiet "docker://$REGISTRY/thing" docker://$private
run_fails 1 'unauthorized|authentication required' syscontainer-pull --quiet $private
run_fails 1 'unauthorized|authentication required' syscontainer-lint $private
check 'lint has the same options' syscontainer-lint --skip=config-not-template --authfile="$WORK/auth.json" $private
expect_like "^$private:latest sha256" syscontainer-pull --quiet --authfile="$WORK/auth.json" $private
rm -r /var/lib/containers/atomic/.storage
expect_like "^$private:latest sha256" env REGISTRY_AUTH_FILE="$WORK/auth.json" syscontainer-pull --quiet $private
run_fails 2 'tls-verify|provided string was not' syscontainer-pull --tls-verify=perhaps $private
run_fails 1 'no such file|cannot pull' syscontainer-pull --quiet --authfile=/nonexistent.json $private

say 'a mirror'
cat >/etc/containers/registries.conf.d/mirror.conf <<END
[[registry]]
location = "mirrored.invalid"
[[registry.mirror]]
location = "$REGISTRY"
insecure = true
END
expect_like '^mirrored.invalid/thing:latest sha256' syscontainer-pull --quiet mirrored.invalid/thing
printf '[[registry]]\nlocation = "blocked.invalid"\nblocked = true\n' >/etc/containers/registries.conf.d/blocked.conf
run_fails 1 'blocked' syscontainer-pull --quiet blocked.invalid/thing

say 'a proxy'
run_fails 1 'proxyconnect.*127.0.0.1:3' env https_proxy=http://127.0.0.1:3 syscontainer-pull --quiet proxied.invalid/thing
