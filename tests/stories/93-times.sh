#!/bin/bash
# Modification times: as in the image's layers, part of what makes two files one inode, and what programs make of them; files
# that programs refuse to read through several names. With crun and runc.
. "$(dirname "$0")/lib.sh"

FILES=/usr/libexec/syscontainers-tests/services

# times DIRECTORY: every file of a tree with its type and time, in nanoseconds; not what only a container needs.
times() { (cd "$1" && find . -mindepth 1 -regextype posix-extended ! -regex '\./(dev|proc|run|sys|tmp|var/tmp)(/.*)?' -printf '%P %y %T@\n' | sort); }
# links FILE…: how many names each has.
links() { stat --format=%h "$@" | paste -sd' '; }
inode_of() { stat --format=%i "$1"; }
# rootfs NAME PATH: a file of what NAME runs.
rootfs() { printf '%s/%s/rootfs/%s' "$CO" "$1" "$2"; }

say 'files, directories and links have the times of their layers'
image=$WORK/timed
mkdir -p "$image"/{etc/cron.d,srv/sub/deep,usr/lib,var/spool/cron/crontabs,var/log,var/mail}
echo one >"$image/srv/one"
echo one >"$image/srv/same"
echo one >"$image/srv/other"
echo one >"$image/srv/epoch"
echo fraction >"$image/srv/fraction"
head -c 3000000 /dev/urandom >"$image/srv/large"
ln -s one "$image/srv/link"
ln "$image/srv/one" "$image/srv/hard"
for file in etc/passwd etc/cron.d/job var/spool/cron/crontabs/root var/log/log var/mail/root; do echo "$file" >"$image/$file"; done
chown 1000:1001 "$image/etc/cron.d/job"
chmod 0640 "$image/etc/cron.d/job"
ln -s passwd "$image/etc/link"
touch -d @1000000000 "$image/srv/one" "$image/srv/same"
touch -d @1000000001 "$image/srv/other"
touch -d @0 "$image/srv/epoch"
touch -d @1234567890.123456789 "$image/srv/fraction"
touch -d @1111111111 "$image/srv/large"
touch -h -d @1222222222 "$image/srv/link"
find "$image/etc" "$image/var" -exec touch -h -d @1333333333 {} +
touch -d @1444444444 "$image/srv/sub/deep"
touch -d @1444444445 "$image/srv/sub"
touch -d @1444444446 "$image/srv" "$image/usr/lib" "$image/usr"
config='{"Cmd":["sleep","1000"],"StopSignal":"SIGKILL"}'
build_image timed --times --owners --config="$config" "$image"
pull_image timed
store_is_sound
checkout "$REGISTRY/timed"
times "$image" >"$WORK/times"
(cd "$image" && find . -mindepth 1 -printf '%P\n') >"$WORK/names"
of_image() { times "$CO/timed/rootfs" | grep -E "^($(paste -sd'|' "$WORK/names")) "; }
expect_same "$WORK/times" of_image
say 'as podman has them'
use_engine_storage
podman pull --quiet --tls-verify=false "$REGISTRY/timed" >/dev/null
mounted=$(podman image mount "$REGISTRY/timed")
times "$mounted" >"$WORK/podman"
of_podman() { times "$CO/timed/rootfs"; }
expect_same "$WORK/podman" of_podman
podman image umount "$REGISTRY/timed" >/dev/null

say 'one inode for equal files with equal times'
expect "$(inode_of "$(rootfs timed srv/one)")" inode_of "$(rootfs timed srv/same)"
refuse 'of another time' test "$(inode_of "$(rootfs timed srv/one)")" = "$(inode_of "$(rootfs timed srv/other)")"
refuse 'of no time' test "$(inode_of "$(rootfs timed srv/one)")" = "$(inode_of "$(rootfs timed srv/epoch)")"
checkout --name=again "$REGISTRY/timed"
for file in one other epoch fraction large; do
    expect "$(inode_of "$(rootfs timed srv/$file)")" inode_of "$(rootfs again srv/$file)"
done
expect_same "$WORK/times" of_image
say 'another version, of which only a time is different'
large=$(inode_of "$(rootfs timed srv/large)")
touch -d @1500000000 "$image/srv/one" "$image/srv/hard" "$image/srv/sub"
echo more >"$image/srv/more"
touch -d @1000000000 "$image/srv/more"
build_image timed --times --owners --config="$config" "$image"
pull_image timed
checkout --update timed
times "$image" >"$WORK/times"
echo srv/more >>"$WORK/names"
expect_same "$WORK/times" of_image
expect 1000000000 stat --format=%Y "$(rootfs again srv/one)"
expect 1444444445 stat --format=%Y "$(rootfs again srv/sub)"
expect "$(inode_of "$(rootfs again srv/other)")" inode_of "$(rootfs timed srv/other)"
# One of more than a megabyte is not written again.
expect "$large" inode_of "$(rootfs timed srv/large)"
expect "$large" inode_of "$(rootfs again srv/large)"
store_is_sound

say 'a checkout that is killed gives nothing the time of something else'
killed_at() {
    strace -qq -o /dev/null -e trace="$1" -e inject="$1:signal=SIGKILL:when=$2" \
        syscontainer-checkout --name=killed "$REGISTRY/timed" >/dev/null
} 2>/dev/null
for call in utimensat fsetxattr renameat link linkat; do
    for n in 1 5 9; do
        killed_at "$call" "$n" || :
        [ "$(stat --format=%Y "$(rootfs timed srv/one)" "$(rootfs again srv/one)" "$(rootfs timed srv/epoch)" | paste -sd' ')" = \
            '1500000000 1000000000 0' ] || fail "$call $n"
        must "after $call $n" quietly syscontainer-checkout --name=killed "$REGISTRY/timed"
        must "after $call $n" test "$(times "$CO/timed/rootfs")" = "$(times "$CO/killed/rootfs")"
        forget killed
    done
done
ok 'whatever it was about to do'
store_is_sound

say 'what is read only if it has one name is a copy'
own=(etc/passwd etc/cron.d/job var/spool/cron/crontabs/root var/log/log var/mail/root)
for file in "${own[@]}"; do
    expect 1 links "$(rootfs timed "$file")"
    expect "$(stat --format='%u:%g %a %Y %s' "$image/$file")" stat --format='%u:%g %a %Y %s' "$(rootfs timed "$file")"
done
expect "$(cat "$image/etc/cron.d/job")" cat "$(rootfs timed etc/cron.d/job)"
refuse 'elsewhere, files are those of the store' test "$(links "$(rootfs timed srv/other)")" = 1
refuse 'nothing is left beside them' test -e "$CO/timed/rootfs.copy"
exports system "$(until_stopped)"
mkdir -p "$WORK/system/etc"
echo x >"$WORK/system/etc/conf"
touch -d @1600000000 "$WORK/system/etc/conf"
build_and_pull system --times
checkout "$REGISTRY/system"
expect '1 1600000000' stat --format='%h %Y' "$(rootfs system etc/conf)"

say 'times that are none'
# archive NAME MTIME: an image with one file, whose PAX record says this.
archive() {
    local layout=$WORK/layout-$1 new manifest config
    mkdir -p "$WORK/odd-$1/srv"
    echo "$1" >"$WORK/odd-$1/srv/file"
    rm -rf "$layout"
    mkdir -p "$layout/blobs/sha256"
    tar -C "$WORK/odd-$1" --format=posix --pax-option="delete=atime,delete=ctime,mtime:=$2" --owner=0 --group=0 --numeric-owner \
        -cf "$WORK/odd.tar" srv/file
    new=$(sha256sum <"$WORK/odd.tar") new=${new%% *}
    cp "$WORK/odd.tar" "$layout/blobs/sha256/$new"
    printf '{"architecture":"amd64","os":"linux","config":{"Cmd":["x"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' "$new" >"$WORK/odd.config"
    config=$(sha256sum <"$WORK/odd.config") config=${config%% *}
    cp "$WORK/odd.config" "$layout/blobs/sha256/$config"
    printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:%s","size":%s},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:%s","size":%s}]}' \
        "$config" "$(stat -c %s "$WORK/odd.config")" "$new" "$(stat -c %s "$WORK/odd.tar")" >"$WORK/odd.manifest"
    manifest=$(sha256sum <"$WORK/odd.manifest") manifest=${manifest%% *}
    cp "$WORK/odd.manifest" "$layout/blobs/sha256/$manifest"
    printf '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
    printf '{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%s","size":%s,"annotations":{"org.opencontainers.image.ref.name":"latest"}}]}' \
        "$manifest" "$(stat -c %s "$WORK/odd.manifest")" >"$layout/index.json"
}
for odd in 'negative -1000 0.0' 'absurd 99999999999999999999 0.0' 'future 9223372035.5 9223372035.5' 'fine 0.000000001 0.000000001' \
    'later 17179869184 0.0'; do
    read -r name mtime expected <<<"$odd"
    archive "$name" "$mtime"
    expect_like "^oci:$WORK/layout-$name" syscontainer-pull --quiet "oci:$WORK/layout-$name"
    checkout --name="odd-$name" "oci:$WORK/layout-$name"
    touch -d "@$expected" "$WORK/odd-time"
    expect "$(stat --format=%y "$WORK/odd-time")" stat --format=%y "$(rootfs "odd-$name" srv/file)"
    forget "odd-$name"
done
archive malformed 12x
run_fails 1 'PAX record: "12x" is not a time' syscontainer-pull --quiet "oci:$WORK/layout-malformed"
store_is_sound

say 'a web server notices that a page has changed'
# page VERSION: of the same size in each, a second apart.
page() {
    mkdir -p "$WORK/web/www"
    echo "page of version $1" >"$WORK/web/www/page.html"
    touch -d "@170000000$1" "$WORK/web/www/page.html"
    build_image web --times --config='{"Cmd":["httpd","-f","-p","8090","-h","/www"],"StopSignal":"SIGKILL"}' "$WORK/web"
    pull_image web
}
# asked PORT HEADER: the head and body of a page, for a client that has one already.
asked() {
    exec 3<>"/dev/tcp/127.0.0.1/$1"
    printf 'GET /page.html HTTP/1.0\r\n%s\r\n\r\n' "$2" >&3
    timeout 10 cat <&3 | tr -d '\r'
    exec 3>&-
}
header() { sed -n "s/^$1: //Ip" "$WORK/first"; }
for runtime in crun runc; do
    page 1
    checkout --name=web --runtime=/usr/bin/$runtime "$REGISTRY/web"
    check "it starts with $runtime" systemctl start web
    wait_for 'it answers' http 8090/page.html
    asked 8090 'X-None: x' >"$WORK/first"
    expect 'Tue, 14 Nov 2023 22:13:21 GMT' header Last-Modified
    etag=$(header ETag)
    expect_like '304 Not Modified' asked 8090 "If-None-Match: $etag"
    page 2
    checkout --update web
    systemctl restart web
    wait_for 'it answers' http 8090/page.html
    expect_like 'page of version 2' asked 8090 "If-None-Match: $etag"
    systemctl stop web
    forget web
done

say 'cron reads its jobs'
[ -d $FILES/cron ] || skip 'its package could not be had'
cp -a $FILES/cron "$WORK/cron"
mkdir -p "$WORK/cron/etc/cron.d"
printf '@reboot root echo "job of the package, $(id -u)" >/run/ran\n' >"$WORK/cron/etc/cron.d/job"
printf '@reboot echo "job of a user" >/run/ran-too\n' >"$WORK/cron/var/spool/cron/crontabs/root"
chmod 0600 "$WORK/cron/var/spool/cron/crontabs/root"
build_image cron --times --owners --config='{"Cmd":["/usr/sbin/cron","-f"],"StopSignal":"SIGKILL","Env":["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]}' "$WORK/cron"
pull_image cron
for runtime in crun runc; do
    checkout --name=cron --runtime=/usr/bin/$runtime "$REGISTRY/cron"
    check "it starts with $runtime" systemctl start cron
    inside=/proc/$(unit_property cron MainPID)/root
    expect_soon 'job of the package, 0' cat "$inside/run/ran"
    expect_soon 'job of a user' cat "$inside/run/ran-too"
    systemctl stop cron
    forget cron
done
