#!/bin/bash
# What is made of images as everybody gets them is what podman makes of them, property by property, but for the differences in
# tests/podman.md. With crun and runc; nothing is started.
. "$(dirname "$0")/lib.sh"

need_corpus
PREPARE=/usr/libexec/syscontainers/syscontainer-prepare
CASES=$WORK/cases
mkdir -p "$CASES"

# made_by_podman IMAGE OPTION…: the configuration that podman makes of an image of the corpus. Where this host does not let it have its limits
# the container is not made, but its configuration is.
made_by_podman() {
    local name=$1
    shift
    podman_of_corpus create --quiet --replace --name="$name" --network=host --tls-verify=false "$@" "$REGISTRY/corpus/$name" "${ARGUMENTS[@]}" >/dev/null
    podman_of_corpus init "$name" >"$WORK/said" 2>&1 || true
    cat "/var/lib/containers/podman/overlay-containers/$(podman_of_corpus inspect --format='{{.Id}}' "$name")/userdata/config.json"
}

# record IMAGE: its configurations.
record() {
    # shellcheck disable=SC2034 # for the check
    IMAGE=$1 ENGINE=crun CONTAINER=$1
    read_check
    prepare
    # Where nothing is started, podman can do that, too.
    case " ${KEYS[*]} " in *' PidNamespace=host '*) PODMAN+=(--pid=host) ;; esac
    publish_corpus "$IMAGE" 1
    made_by_podman "$IMAGE" "${VARIABLES[@]/#/--env=}" "${PODMAN[@]}" >"$WORK/his.json"
    podman_of_corpus rm --force --volumes "$IMAGE" >/dev/null
    podman_of_corpus rmi --force "$REGISTRY/corpus/$IMAGE" >/dev/null
    pull_image "corpus/$IMAGE"
    local runtime key options=("${VARIABLES[@]/#/--set=}")
    for key in "${KEYS[@]}"; do options+=(-o "$key"); done
    for runtime in crun runc; do
        syscontainer-checkout --runtime=/usr/bin/$runtime --name="$IMAGE" "${options[@]}" "$REGISTRY/corpus/$IMAGE" >"$WORK/said" 2>&1
        must "$IMAGE, $runtime: it is prepared" $PREPARE "$IMAGE"
        cp "$WORK/his.json" "$CASES/$IMAGE-$runtime.podman.json"
        cp "/run/syscontainers/$IMAGE/config.json" "$CASES/$IMAGE-$runtime.ours.json"
        systemctl show --property=TasksMax,DevicePolicy,LimitNOFILE,LimitNOFILESoft,LimitNPROC,LimitNPROCSoft "$IMAGE" >"$CASES/$IMAGE-$runtime.unit"
        $PREPARE --cleanup "$IMAGE"
        syscontainer-remove --purge "$IMAGE" >"$WORK/said" 2>&1
    done
}

images=()
# Those that take long to make do not differ in what is compared here.
# shellcheck disable=SC2035,SC2046 # names of images are words
for image in $(cd "$TESTS/corpus" && grep -Ls '^SLOW=' */check); do images+=("${image%/check}"); done
[ -z "${IMAGES-}" ] || read -ra images <<<"$IMAGES"
for image in "${images[@]}"; do (record "$image"); done

say 'nothing is different but for what the table says'
CONFINEMENT=$CASES /usr/libexec/syscontainers-tests/confinement the_properties_of_each_are_written >"$WORK/said" 2>&1 || { shown "$WORK/said"; fail 'they are not written'; }
for image in "${images[@]}"; do
    for runtime in crun runc; do
        as_the_table_says "$image, $runtime" "$CASES/$image-$runtime.his" "$CASES/$image-$runtime.own" || true
    done
done >"$WORK/different"
[ ! -s "$WORK/different" ] || { shown "$WORK/different"; fail 'there are differences that the table does not have'; }
ok "${#images[@]} images"
expect_rows_used 'config '
podman_of_corpus rmi --all --force >/dev/null
rm -rf /var/lib/containers/podman
