# Images: their files, and ways into the registry and the store.
# shellcheck shell=bash

# build_image NAME[:TAG] [OPTION…] DIRECTORY…: makes an image and pushes it; options as in tests/build-image. Sets DIGEST.
build_image() {
    local name=$1 tag=latest
    shift
    case $name in *:*) tag=${name##*:} name=${name%:*} ;; esac
    local options=()
    while [[ ${1-} == --* ]]; do
        options+=("$1")
        shift
    done
    rm -rf "$WORK/.layout"
    # shellcheck disable=SC2034 # for the story
    DIGEST=$("$TESTS/build-image" "${options[@]}" "$WORK/.layout:$tag" "$@")
    skopeo copy --quiet "oci:$WORK/.layout:$tag" "docker://$REGISTRY/$name:$tag"
    rm -rf "$WORK/.layout"
}

# pull_image NAME[:TAG]…: from the registry, without a word.
pull_image() {
    local name
    for name; do syscontainer-pull --quiet "$REGISTRY/$name" >/dev/null; done
}

# build_and_pull NAME[:TAG] [OPTION…]: makes the image of the directory $WORK/NAME, pushes it and pulls it. Sets DIGEST.
build_and_pull() {
    build_image "$@" "$WORK/${1%:*}"
    pull_image "$1"
}

# with_perl NAME: puts Perl, with all that it needs, into the directory $WORK/NAME. It sends without modules, and is in every Debian.
with_perl() {
    local path
    mkdir -p "$WORK/$1"
    for path in /usr/bin/perl $(ldd /usr/bin/perl | grep -o '/[^ ]*'); do
        install -D "$(realpath "$path")" "$WORK/$1$path"
    done
}

# hello_world [NAME[:TAG]]: pushes the image hello-world. Its variables are PORT and RECEIVER.
hello_world() { build_image "${1:-hello-world}" "$TESTS/hello-world"; }

# json_string TEXT: the text as a string of JSON.
json_string() {
    local text=${1//\\/\\\\}
    text=${text//\"/\\\"} text=${text//$'\n'/\\n} text=${text//$'\t'/\\t}
    printf '"%s"' "$text"
}

# shell_args COMMANDS: the process.args of a shell that does them.
shell_args() { printf '["sh","-c",%s]' "$(json_string "$1")"; }

# until_stopped [COMMANDS]: the process.args of a shell that does them, and then sleeps until it gets SIGTERM.
until_stopped() { shell_args "trap 'exit 0' TERM; ${1:+$1; }sleep 100000 & wait"; }

# exports NAME ARGS [OPTION…]: makes the directory $WORK/NAME, which is an image's. ARGS is process.args, such as until_stopped
# prints.
#
#   --unit=LINES           more of [Service]
#   --mount=SOURCE:DESTINATION[:OPTION,…]
#                          a bind mount; its options are bind,rw, unless there are some
#   --mounts=JSON          more elements of "mounts"
#   --namespaces=TYPE,…    other ones than pid,ipc,mount
#   --env=JSON             more elements of process.env
#   --process=JSON         more members of "process"
#   --resources=JSON       linux.resources
#   --template             the configuration is a template
exports() {
    local name=$1 directory=$WORK/$1/exports args=$2 file=config.json namespaces=pid,ipc,mount
    local mounts='' env='' process='' resources='' lines='' value source destination options
    shift 2
    for value; do
        case $value in
            --unit=*) lines=${value#*=} ;;
            --mount=*)
                IFS=: read -r source destination options <<<"${value#*=}"
                options=${options:-bind,rw}
                mounts+=", {\"destination\": \"$destination\", \"type\": \"bind\", \"source\": \"$source\","
                mounts+=" \"options\": [\"${options//,/\", \"}\"]}"
                ;;
            --mounts=*) mounts+=", ${value#*=}" ;;
            --namespaces=*) namespaces=${value#*=} ;;
            --env=*) env=", ${value#*=}" ;;
            --process=*) process=", ${value#*=}" ;;
            --resources=*) resources="\"resources\": ${value#*=}, " ;;
            --template) file=config.json.template ;;
            *) fail "exports: $value" ;;
        esac
    done
    mkdir -p "$directory"
    rm -f "$directory"/config.json{,.template}
    cat >"$directory/$file" <<-END
		{
		    "ociVersion": "1.0.2",
		    "process": {"args": $args, "cwd": "/", "env": ["PATH=/bin:/usr/bin"$env]$process},
		    "root": {"path": "rootfs", "readonly": true},
		    "mounts": [
		        {"destination": "/proc", "type": "proc", "source": "proc"},
		        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}$mounts
		    ],
		    "linux": {$resources"namespaces": [{"type":"${namespaces//,/\"\},\{\"type\":\"}"}]}
		}
	END
    cat >"$directory/service.template" <<-END
		[Unit]
		Description=Story of $name
		[Service]
		ExecStartPre=\$EXEC_STARTPRE
		ExecStart=\$EXEC_START
		ExecStop=\$EXEC_STOP
		ExecStopPost=\$EXEC_STOPPOST
		$lines
		[Install]
		WantedBy=multi-user.target
	END
}

# new_version NAME VERSION [OPTION…]: as exports, of a service that says in /version which version of the image it is. Options
# are those of exports, and:
#
#   --first=COMMANDS   what its payload does before it sleeps
#   --args=ARGS        another payload
#   --data             its /data is the host's /var/lib/NAME; unless it is another payload, it begins with a line in /data/log
#   --host-file        /etc/NAME/version of the host has VERSION
#   --files            that, /etc/NAME/only-VERSION beside it, and /run/NAME-VERSION by tmpfiles
new_version() {
    local name=$1 version=$2 first='' args='' data='' host='' files='' options=() option
    shift 2
    for option; do
        case $option in
            --first=*) first=${option#*=} ;;
            --args=*) args=${option#*=} ;;
            --data) data=yes options+=("--mount=/var/lib/$name:/data") ;;
            --host-file) host=yes ;;
            --files) host=yes files=yes ;;
            *) options+=("$option") ;;
        esac
    done
    [ -z "$data" ] || first="echo $version >>/data/log${first:+; $first}"
    exports "$name" "${args:-$(until_stopped "$first")}" "${options[@]}"
    echo "$version" >"$WORK/$name/version"
    rm -rf "$WORK/$name/exports/hostfs"
    [ -n "$host" ] || return 0
    mkdir -p "$WORK/$name/exports/hostfs/etc/$name"
    echo "$version" >"$WORK/$name/exports/hostfs/etc/$name/version"
    [ -n "$files" ] || return 0
    echo "$version" >"$WORK/$name/exports/hostfs/etc/$name/only-$version"
    printf 'd %s 0700 - - -\n' "/var/lib/$name" "/run/$name-$version" >"$WORK/$name/exports/tmpfiles.template"
}

# use_engine_storage: images of container engines are in /var/lib/storage, on whatever file system that is.
use_engine_storage() {
    mkdir -p /etc/containers
    cat >/etc/containers/storage.conf <<-'END'
		[storage]
		driver = "vfs"
		graphroot = "/var/lib/storage"
		runroot = "/run/storage"
	END
}

# commit_to REPO OPTION…: as containers/image commits.
commit_to() { ostree --repo="$1" commit --orphan --no-xattrs "${@:2}" | tail -n 1; }

# _digests_after SCRIPT: those that sed leaves of the manifest in $WORK/dir.
_digests_after() { tr -d ' \n' <"$WORK/dir/manifest.json" | sed "$1" | grep -o 'sha256:[0-9a-f]*' | cut -d: -f2; }

# write_as_atomic REPO NAME: the image in $WORK/dir, in the layout of 'dir:', as containers/image wrote it: refs of layers, of the
# configuration, and of the image. Sets $layers, $config, $digest, and $image, its commit.
write_as_atomic() {
    local repo=$1 layer sum id
    layers=$(_digests_after 's/.*"layers"://')
    for layer in $layers; do
        mkdir "$WORK/$layer"
        gzip -dc <"$WORK/dir/$layer" >"$WORK/$layer.tar"
        tar -C "$WORK/$layer" -xpf "$WORK/$layer.tar"
        sum=$(sha256sum <"$WORK/$layer.tar")
        id=$(commit_to "$repo" --tree="dir=$WORK/$layer" --add-metadata-string="docker.size=$(stat -c %s "$WORK/dir/$layer")" \
            --add-metadata-string="docker.uncompressed_size=$(stat -c %s "$WORK/$layer.tar")" \
            --add-metadata-string="docker.uncompressed_digest=sha256:${sum%% *}")
        ostree --repo="$repo" refs --create="ociimage/$layer" "$id"
    done
    config=$(_digests_after 's/.*"config"://; s/}.*//')
    mkdir "$WORK/config" "$WORK/manifest"
    cp "$WORK/dir/$config" "$WORK/config/content"
    ostree --repo="$repo" refs --create="ociimage/$config" "$(commit_to "$repo" --tree="dir=$WORK/config")"
    cp "$WORK/dir/manifest.json" "$WORK/manifest/"
    digest=$(sha256sum <"$WORK/dir/manifest.json") digest=${digest%% *}
    image=$(commit_to "$repo" --tree="dir=$WORK/manifest" --add-metadata-string="docker.manifest=$(cat "$WORK/dir/manifest.json")" \
        --add-metadata-string="docker.digest=sha256:$digest" --add-metadata-string=signatures=0)
    ostree --repo="$repo" refs --create="ociimage/$2" "$image"
}

# podman_here ARGUMENT…: podman, with a storage of this story's.
PODMAN=(podman --root="$WORK/podman" --runroot=/run/podman-story --storage-driver=vfs --cgroup-manager=cgroupfs)
podman_here() { "${PODMAN[@]}" "$@"; }
