# The corpus: what checks of its images ask and look at, whatever runs them. $IMAGE is the image's name, $ENGINE what runs it: crun,
# runc or podman; $CONTAINER is its container.
# shellcheck shell=bash disable=SC2153

# need_corpus: there are its images.
need_corpus() { [ -d /corpus ] || skip 'their packages could not be had'; }

# publish_corpus IMAGE VERSION: what the registry has of it from now on.
publish_corpus() { skopeo copy --quiet "oci:/corpus/$1:$2" "docker://$REGISTRY/corpus/$1"; }

# Where podman keeps what it does here.
podman_of_corpus() {
    podman --root=/var/lib/containers/podman --runroot=/run/podman-corpus --storage-driver=overlay --cgroup-manager=cgroupfs \
        --events-backend=none "$@"
}

# talk PORT: sends what it reads to a server on this machine, and prints what comes back until the server ends the connection.
talk() {
    (
        exec 3<>"/dev/tcp/127.0.0.1/$1" || exit
        cat >&3
        timeout 60 cat <&3
    ) 2>/dev/null
}

# page_at PORT[/PATH]: as http does, without a word.
page_at() { quietly http "$@"; }

# _answer_to PORT [HEADER…]: what a web server says to a request for its first page.
_answer_to() {
    { printf 'GET / HTTP/1.0\r\nHost: localhost\r\n' && printf '%s\r\n' "${@:2}" ''; } | talk "$1" | tr -d '\r'
}

# fresh PORT: what a browser asks next time about the page that it has kept.
fresh() {
    _answer_to "$1" | sed -n '1,/^$/ { s/^[Ll]ast-[Mm]odified: /If-Modified-Since: /p; s/^[Ee][Tt]ag: /If-None-Match: /p }'
}

# unchanged_since FILE PORT: the server answers that the page is the one that fresh() saw.
unchanged_since() {
    local headers
    mapfile -t headers <"$1"
    _answer_to "$2" "${headers[@]}" | grep '^HTTP/1\.[01] 304' >/dev/null
}

# client PROGRAM [ARG…]: of the image, on the host's network; it writes nothing.
client() {
    # shellcheck disable=SC2016 # for the inner shell
    unshare --mount sh -ec '
        mount --bind "$0" "$0"
        mount -o remount,bind,ro "$0"
        mount --bind /dev "$0/dev"
        mount -t proc proc "$0/proc"
        exec env --ignore-environment PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 chroot "$0" "$@"' \
        "$(_root_of_image)" "$@"
}
_root_of_image() {
    case $ENGINE in
        podman) podman_of_corpus image mount "$REGISTRY/corpus/$IMAGE" ;;
        *) echo "$CO/$CONTAINER/rootfs" ;;
    esac
}

# Of its first process.
_pid_of_container() {
    case $ENGINE in
        podman) podman_of_corpus inspect --format='{{.State.Pid}}' "$CONTAINER" ;;
        *) unit_property "$CONTAINER" MainPID ;;
    esac
}
# variable_of_it NAME: of its first process.
variable_of_it() { tr '\0' '\n' <"/proc/$(_pid_of_container)/environ" | sed -n "s/^$1=//p"; }

# descendants NAME: processes of that name below its first one.
descendants() { _below "$(_pid_of_container)" "$1"; }
_below() {
    local pid
    for pid in $(cat "/proc/$1/task/$1/children" 2>/dev/null); do
        [ "$(cat "/proc/$pid/comm" 2>/dev/null)" != "$2" ] || echo "$pid"
        _below "$pid" "$2"
    done
}

# volume PATH: where the image's volume is on the host.
volume() {
    local name=${1#/}
    name=${name//\//-}
    case $ENGINE in
        podman) podman_of_corpus volume inspect --format='{{.Mountpoint}}' "$CONTAINER-$name" ;;
        *) echo "/var/lib/syscontainers/$CONTAINER/$name" ;;
    esac
}

# output: what it wrote. Podman keeps that of one container; the story keeps that of those before it in $WORK/logged.
output() {
    case $ENGINE in
        podman)
            cat "$WORK/logged" 2>/dev/null || true
            podman_of_corpus logs "$CONTAINER" 2>&1
            ;;
        *) journal_of "$CONTAINER" ;;
    esac
}

# has_logged ERE: a line of its output.
has_logged() { output | grep -E -- "$1"; }

# read_check: what the check of $IMAGE sets or defines, with what it leaves out.
read_check() {
    # shellcheck disable=SC2034 # for stories
    KEYS=() VARIABLES=() LOGGED=() PODMAN=() ARGUMENTS=()
    prepare() { :; }
    put_data() { :; }
    find_data() { :; }
    # shellcheck source=/dev/null
    . "$TESTS/corpus/$IMAGE/check"
}
