#!/bin/bash
# syscontainer-lint of images: in the store, and in a registry.
# Rows of tests/atomic.md: 7.01, 7.13, 7.18.
. "$(dirname "$0")/lib.sh"

args='["/bin/httpd","-f"]'
# Programs of the host write there.
private_directory /var/tmp
# where_it_works: all files where lint, or what it runs, might leave some. skopeo has a cache of its own.
where_it_works() {
    find /var/lib/containers /var/tmp /tmp -xdev -ignore_readdir_race -name cache -prune -o -printf '%p %y %m\n' | sort
}

# finds STATUS LINES [OPTION…] TARGET: what is printed, and nothing on stderr.
finds() { run_prints "$1" "$2" syscontainer-lint "${@:3}"; }

# image_to_lint NAME: builds $WORK/NAME with what lint asks for besides.
image_to_lint() {
    [ -e "$WORK/$1/exports/manifest.json" ] || echo '{}' >"$WORK/$1/exports/manifest.json"
    sed -i 's,ExecStop=.*,&\nWorkingDirectory=$DESTDIR,' "$WORK/$1/exports/service.template"
    build_image "$1" "$WORK/$1"
}

say 'an image in the store'
hello_world hello
pull_image hello
finds 0 '' "$REGISTRY/hello"
finds 0 '' --strict "$REGISTRY/hello"
finds 0 '[]' --json "$REGISTRY/hello"

say 'one that runs once, of which an installation drops the restarts'
mkdir "$WORK/once"
cp -r "$TESTS/hello-world/." "$WORK/once"
sed -i 's,^\[Service\],&\nType=oneshot\nRestart=always,' "$WORK/once/exports/service.template"
build_image once --label=atomic.run=once "$WORK/once"
pull_image once
finds 0 '' "$REGISTRY/once"

say 'one that is not there yet: nothing is kept of it'
exports writable "$args" --template
sed -i 's/"readonly": true/"readonly": false/' "$WORK/writable/exports/config.json.template"
image_to_lint writable
where_it_works >"$WORK/before"
finding='exports/config.json.template:4:44: error: root.readonly must be true: '\
'the files of a container are shared with the image store [readonly-root]'
finds 1 "$finding" "$REGISTRY/writable"
finds 0 '' --skip=readonly-root "$REGISTRY/writable"
run_fails 1 'cannot pull .*unknown' syscontainer-lint "$REGISTRY/nothing"
run_fails 2 'invalid image reference' syscontainer-lint ftp://x/y
echo '{"default": [{"type": "reject"}]}' >"$WORK/policy.json"
run_fails 1 'reject' syscontainer-lint --policy="$WORK/policy.json" "$REGISTRY/writable"
expect_same "$WORK/before" where_it_works
pull_image writable
finds 1 "$finding" "$REGISTRY/writable"

say 'warnings are errors, if they are to be'
exports shell '["/bin/sh","-c","sleep 1000"]' --template
image_to_lint shell
finding='exports/config.json.template:3:25: warning: process 1 is sh, which ignores its stop signal: '\
'every stop takes all of its time; begin the last command with exec, or set a trap [stop-signal]'
finds 0 "$finding" "$REGISTRY/shell"
finds 1 "$finding" --strict "$REGISTRY/shell"
expect_like '"rule": "stop-signal"' syscontainer-lint --json "$REGISTRY/shell"

say 'images of before, without anything in /exports'
mkdir "$WORK/plain"
build_image plain --config='{"Cmd":["/bin/httpd","-f"],"User":"root","WorkingDir":"/srv"}' "$WORK/plain"
finds 0 '' --strict "$REGISTRY/plain"

say 'nonsense is one line'
# finds_in_image_config NAME CONFIG LINE: of an image that has this configuration.
finds_in_image_config() {
    build_image "$1" --config="$2" "$WORK/plain"
    finds 1 "$REGISTRY/$1:latest: error: $3 [image-config]" "$REGISTRY/$1"
}
finds_in_image_config no-cmd '{"Env":["A=b"]}' \
    'it has neither exports/config.json nor an Entrypoint or Cmd, so there is nothing to run'
finds_in_image_config no-user '{"Cmd":["x"],"User":"nobody"}' 'its user "nobody" is not in its /etc/passwd'
finds_in_image_config no-group '{"Cmd":["x"],"User":"root:nobodies"}' 'its group in "root:nobodies" is not in its /etc/group'
finds_in_image_config whole '{"Cmd":["x"],"Volumes":{"data/..":{}}}' 'its volume "data/.." would be the whole root file system'
build_image wrong --config='{"Cmd":"x"}' "$WORK/plain"
run_fails 1 'cannot pull .*(cannot unmarshal|not that of an OCI image)' syscontainer-lint "$REGISTRY/wrong"

# finds_in_config NAME SED LINE: of a configuration in /exports, changed with sed.
finds_in_config() {
    exports "$1" "$args" --template
    sed -i "$2" "$WORK/$1/exports/config.json.template"
    image_to_lint "$1"
    finds 1 "exports/config.json.template$3" "$REGISTRY/$1"
}
finds_in_config no-args 's/"args": [^]]*\]/"args": []/' ':3:25: error: process.args is empty: there is nothing to run [config-invalid]'
finds_in_config bad-type 's/"cwd": "\/"/"cwd": 7/' \
    ': error: not an OCI runtime configuration: process.cwd: expected path string [config-invalid]'
finds_in_config bad-json 's/"cwd": "\/"/"cwd": /' ':3:53: error: invalid JSON: expected value, after substitution [config-syntax]'
finds_in_config relative-cwd 's/"cwd": "\/"/"cwd": "srv"/' \
    ':3:53: error: the working directory "srv" is relative, and must be absolute [relative-path]'
finds_in_config relative-mount 's/"\/proc"/"proc"/' \
    ':6:25: error: the destination "proc" is relative, and must be absolute [relative-path]'

say 'text of images forges no lines'
exports forged "$args" --template
printf '{"version": "1.0", "a\\nb\\u001b[2J: error": 1}' >"$WORK/forged/exports/manifest.json"
image_to_lint forged
expect_like '^exports/manifest.json:1:[0-9]+: warning: unknown key .* \[manifest-key\]$' syscontainer-lint "$REGISTRY/forged"
[ "$(wc -l <"$WORK/.out")" = 1 ] || fail 'more than one line'
ok 'one line'
