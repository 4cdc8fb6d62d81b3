#!/bin/bash
# Paths of the host that an administrator gives plain images lead to what they name, whatever payloads make of the directories on
# the way; and units in mount namespaces of their own run them.
. "$(dirname "$0")/lib.sh"

# Of the host's, and for nobody but root.
mkdir -m 0700 /srv/secret
echo TOKEN=host-only >/srv/secret/env
# acts TEXT: the process.args of a payload that tries to reach the host, with what it got in /data/got, and then runs TEXT.
acts() { shell_args "ls /x >>/data/got 2>&1; cat /x/env /x/etc/shadow >>/data/got 2>&1; touch /x/pwned; env >>/data/got; $1; touch /data/done; sleep 100000"; }
# nothing_got DIRECTORY: what the payload saw of the host, and made there.
nothing_got() {
    expect_no 'host-only' cat "$1/got"
    expect_no 'root:' cat "$1/got"
    expect env names_in /srv/secret
    refuse 'nothing was made' test -e /pwned
}
# is_refused NAME WHY: it is not started again, for a reason that is in its journal.
is_refused() {
    mark_journal
    systemctl start "$1" || true
    wait_for "the next start of $1 is refused" has_said "$1" "$2"
    systemctl stop "$1"
    systemctl reset-failed "$1" 2>/dev/null || true
}
# acted NAME DIRECTORY: its first run did it, and is over.
acted() {
    check "$1 starts" systemctl start "$1"
    wait_for 'it has acted' test -e "$2/done"
    systemctl kill --signal=KILL "$1"
    systemctl stop "$1"
}

say 'a source in another one, in a directory that the host has anyway'
mkdir -p "$WORK/inner"
for where in /media /srv/link; do
    # The same directory by two paths: how it is spelled does not matter.
    case $where in
        /media) outer=/media inner=/media/movies ;;
        *) mkdir -p /srv/app; ln -s /srv/app /srv/link; outer=/srv/app inner=/srv/link/movies ;;
    esac
    for runtime in crun runc; do
        mkdir -p "$inner"
        build_and_pull inner --config="{\"Cmd\":$(acts 'rm -r /data/movies; ln -s /srv/secret /data/movies')}"
        checkout --no-enable --runtime=/usr/bin/$runtime -o "Volume=$outer:/data" -o "Volume=$inner:/x" "$REGISTRY/inner"
        acted inner "$outer"
        is_refused inner "cannot bind $outer/movies, which is in $outer, where a payload can put anything: it is a symlink"
        nothing_got "$outer"
        check 'removed' syscontainer-remove inner
        rm -r "${outer:?}"/{movies,got,done}
    done
done
rm /srv/link

say 'a source in a directory or volume of another container'
mkdir -p "$WORK/host" "$WORK/guest"
build_and_pull host --config="{\"Cmd\":$(acts 'rm -r /data/www; ln -s /srv/secret /data/www'),\"Volumes\":{\"/data\":{}}}"
build_and_pull guest --config="{\"Cmd\":$(acts true),\"Volumes\":{\"/data\":{}}}"
own=/var/lib/syscontainers/guest/data
for shared in /var/lib/syscontainers/host/data /srv/app; do
    options=()
    [ $shared != /srv/app ] || options=(-o Volume=/srv/app:/data)
    checkout --no-enable "${options[@]}" "$REGISTRY/host"
    # The first start makes the volume, and the second one finds what is to be replaced.
    acted host $shared
    rm $shared/www
    mkdir $shared/www
    checkout --no-enable -o "Volume=$shared/www:/x" "$REGISTRY/guest"
    acted guest $own
    rm $own/{got,done} $shared/done
    acted host $shared
    is_refused guest "cannot bind $shared/www, which is in $shared, where a payload can put anything: it is a symlink"
    expect env names_in /srv/secret
    check 'removed' syscontainer-remove --purge guest
    check 'removed' syscontainer-remove --purge host
    rm -rf /srv/app/{www,got,done}
done

say 'a file with an environment'
mkdir -p "$WORK/reads"
build_and_pull reads --config="{\"Cmd\":$(acts 'ln -sfn /srv/secret/env /data/env')}"
echo MODE=good >/srv/app/env
checkout --no-enable -o Volume=/srv/app:/data -o EnvironmentFile=/srv/app/env "$REGISTRY/reads"
acted reads /srv/app
expect_like '^MODE=good$' cat /srv/app/got
is_refused reads 'cannot read the environment of /srv/app/env: a symlink leads to it, and none is followed in /srv/app'
nothing_got /srv/app
check 'removed' syscontainer-remove reads

say 'units in mount namespaces of their own'
mkdir -p "$WORK/sandboxed/etc"
echo image >"$WORK/sandboxed/etc/own"
build_and_pull sandboxed --config="{\"Cmd\":$(until_stopped 'cat /etc/own; echo x >/etc/more; echo it has begun')}"
drop_in=/run/systemd/system/sandboxed.service.d
mkdir -p $drop_in
for runtime in crun runc; do
    checkout --no-enable --runtime=/usr/bin/$runtime "$REGISTRY/sandboxed"
    for setting in PrivateTmp=yes ProtectHome=yes ProtectSystem=full PrivateMounts=yes ProtectKernelTunables=yes ProtectControlGroups=yes \
        BindPaths=/srv ReadOnlyPaths=/etc ReadWritePaths=/srv; do
        # runc makes a cgroup for its payload.
        [ "$runtime $setting" != 'runc ProtectControlGroups=yes' ] || continue
        mark_journal
        printf '[Service]\n%s\n' "$setting" >$drop_in/setting.conf
        systemctl daemon-reload
        check "$setting with $runtime" systemctl start sandboxed
        wait_for 'the payload has its files' has_said sandboxed '^it has begun$'
        expect 'active running success' state sandboxed
        systemctl stop sandboxed
        expect 'inactive dead success' state sandboxed
        refuse 'nothing is left' test -e $CO/.sandboxed.scratch
    done
    check 'removed' syscontainer-remove sandboxed
done
rm -r $drop_in
systemctl daemon-reload

say 'an image without /run'
layer=$WORK/bare
mkdir -p "$layer/bin"
cp "$(command -v busybox)" "$layer/bin/busybox"
ln -s busybox "$layer/bin/sh"
build_image bare --bare --config='{"Cmd":["/bin/sh","-c","echo $$ >/run/app.pid; trap \"exit 0\" TERM; while :; do /bin/busybox sleep 1; done"]}' "$layer"
pull_image bare
checkout --no-enable "$REGISTRY/bare"
check 'it starts' systemctl start bare
sleep 1
expect 'active running success' state bare
systemctl stop bare
