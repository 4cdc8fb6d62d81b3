#!/bin/bash
# What a payload sees is what it sees under podman, but for the differences in tests/podman.md.
. "$(dirname "$0")/lib.sh"

# He cannot have cgroups and raise limits in this machine: with --ulimit=host he takes what he finds, as systemd does then.
podman_run() {
    env --default-signal "${PODMAN[@]}" \
        run --rm --network=host --cgroups=disabled --ulimit=host --tls-verify=false "$@" </dev/null
}

# a_looking_image NAME CONFIG: an image whose payload says what it sees. CONFIG is more of its configuration.
a_looking_image() {
    mkdir -p "$WORK/$1"/{etc,suid,capable,data,srv}
    cp "$TESTS/look/look" "$WORK/$1/"
    cp "$(command -v busybox)" "$WORK/$1/suid/busybox"
    cp "$(command -v busybox)" "$WORK/$1/capable/busybox"
    chmod 4755 "$WORK/$1/suid/busybox"
    setcap cap_net_bind_service=ep "$WORK/$1/capable/busybox"
    cat >"$WORK/$1/etc/passwd" <<-'END'
		root::0:0:root:/root:/bin/sh
		app:x:1000:1000:App:/home/app:/bin/sh
	END
    cat >"$WORK/$1/etc/group" <<-'END'
		root:x:0:
		wheel:x:10:root,app
		app:x:1000:
		extra:x:1005:app
	END
    # As with images made by Nix.
    if [ "$1" = linked ]; then
        mkdir -p "$WORK/$1/nix/store/fake-nss"
        mv "$WORK/$1"/etc/{passwd,group} "$WORK/$1/nix/store/fake-nss/"
        ln -s /nix/store/fake-nss/{passwd,group} "$WORK/$1/etc/"
    fi
    chown 1000:1000 "$WORK/$1/data"
    build_and_pull "$1" --owners --xattrs --config="{\"Cmd\": [\"/look\", \"/data\", \"stay\"], \"Volumes\": {\"/data\": {}}, \"Env\": [\"OWN=1\"]${2:+, $2}}"
}

# limits_under_podman NAME: those that his configuration has. Where this machine does not let him, there is none of processes and files.
limits_under_podman() {
    local config
    podman_here create --quiet --name="$1" --network=host --tls-verify=false "$REGISTRY/$1" >/dev/null
    podman_here init "$1" >/dev/null 2>&1 || true
    config=$WORK/podman/vfs-containers/$(podman_here inspect --format='{{.Id}}' "$1")/userdata/config.json
    sed -n 's/.*"pids":{"limit":\([0-9]*\).*/limit tasks\t\1/p' "$config"
    { grep -o '{"type":"RLIMIT_[^}]*}' "$config" || true; } |
        sed 's/.*"RLIMIT_\(.*\)","hard":\(.*\),"soft":\(.*\)}/limit \1\t\3 \2/; s/NOFILE/open files/; s/NPROC/processes/'
    podman_here rm --force "$1" >/dev/null
}

# limits_here NAME: the same for a unit.
limits_here() {
    printf 'limit tasks\t%s\n' "$(unit_property "$1" TasksMax)"
    printf 'limit processes\t%s %s\n' "$(unit_property "$1" LimitNPROCSoft)" "$(unit_property "$1" LimitNPROC)"
    ! grep -q '^limit open files' "$WORK/limits" ||
        printf 'limit open files\t%s %s\n' "$(unit_property "$1" LimitNOFILESoft)" "$(unit_property "$1" LimitNOFILE)"
}

# without_limits: what was seen, but for limits that are known otherwise, since this machine may have kept them lower.
without_limits() { if grep -q '^limit open files' "$WORK/limits"; then grep -vE '^limit (open files|processes)'; else grep -v '^limit processes'; fi; }

cp /etc/hosts "$WORK/hosts"
# So that it has an address that podman gives a name.
ip address add 192.0.2.98/32 dev lo
while IFS=';' read -r name config; do
    say "$name"
    cp "$WORK/hosts" /etc/hosts
    [ "$name" != numbers ] || echo '# 127.0.0.1 localhost' >/etc/hosts
    a_looking_image "$name" "$config"
    limits_under_podman "$name" >"$WORK/limits"
    must 'podman has limits' grep -q '^limit tasks' "$WORK/limits"
    podman_run "$REGISTRY/$name" /look /data 2>/dev/null | sed "/^looked\$/d" | without_limits >"$WORK/his"
    must 'podman runs it' test -s "$WORK/his"
    cat "$WORK/limits" >>"$WORK/his"
    for runtime in crun runc; do
        checkout --name="$name-$runtime" --runtime=/usr/bin/$runtime "$REGISTRY/$name"
        systemctl start "$name-$runtime"
        wait_for "$runtime: it has looked" journal_has "$name-$runtime" '^looked$'
        journal_of "$name-$runtime" | grep -P '\t' | without_limits >"$WORK/own"
        expect_like $'^setuid program\t0$' cat "$WORK/own"
        case $config in
            '' | *4711*) ;;
            *) expect_like $'^program with capabilities\t0000000000000400$' cat "$WORK/own" ;;
        esac
        limits_here "$name-$runtime" >>"$WORK/own"
        check "$name, $runtime: what it sees is as the table says" as_the_table_says "$name, $runtime" "$WORK/his" "$WORK/own"
        systemctl stop "$name-$runtime"
        forget "$name-$runtime"
    done
done <<'END'
plain;
user;"User": "app"
number;"User": "1000"
group;"User": "app:extra", "WorkingDir": "/data"
nowhere;"User": "4711", "WorkingDir": "/data"
numbers;"User": "4711:4712"
directory;"User": "app", "WorkingDir": "/app/dir"
linked;"User": "app"
END

cp "$WORK/hosts" /etc/hosts

say 'every difference that the table has is one'
expect_rows_used '(?!config )'
podman_here rm --all --force >/dev/null
rm -r "$WORK/podman"
