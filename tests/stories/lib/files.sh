# What is on the disk: lists of files to compare, and what a story must not leave.
# shellcheck shell=bash

# names_in DIRECTORY [GLOB]: what is there, in one line.
names_in() { find "$1/" -mindepth 1 -maxdepth 1 ! -name '.*' -name "${2-*}" -printf '%P\n' | sort | paste -sd' '; }

# snapshot: everything that an installation may change, without the content of the store, and the identity that a directory of
# deployments keeps.
snapshot() {
    find /etc /usr/lib/systemd /run/syscontainers /var/lib/containers -xdev -ignore_readdir_race \
        \( -path '*/.storage/ostree/*' -o -path /run/syscontainers/.locks -o -name .identity \) -prune -o -printf '%y %m %U:%G %p -> %l\n' | sort
}

# host_files FORMAT DIRECTORY…: what is in these, as find(1) prints it; not the story's own files, nor those of the host's and
# the machine's own programs in /var/lib, which they may write at any time.
host_files() {
    local format=$1 name others=()
    shift
    while read -r name; do others+=(-path "/var/lib/$name" -prune -o); done <"$WORK/.others"
    find "$@" -xdev -ignore_readdir_race -path "$WORK" -prune -o "${others[@]}" -printf "$format\n" | sort -u
}

# unchanged FILE: nothing is different from the snapshot in FILE.
unchanged() { must 'something was changed' same_as "$1" snapshot; }

# repository_files REPO: all files of a repository, with their checksums, but for a lock of libostree's.
repository_files() { (cd "$1" && find . -type f ! -name .lock -exec sha256sum {} + | sort -k2); }

# store_is_sound [REPO]
store_is_sound() { check 'the store is sound' ostree --repo="${1-$STORE}" fsck --quiet; }

# private_directory DIRECTORY: has nothing of the host's in it from here on, since programs of the host go on to use it.
private_directory() {
    local of_the_story=$WORK/.private$1
    mkdir -p "$of_the_story"
    chmod --reference="$1" "$of_the_story"
    mount --bind "$of_the_story" "$1"
}

# small_disk SIZE: an empty file system of that size in $WORK/disk, such as 32M; less on a tmpfs, where no loop device can be had.
small_disk() {
    mkdir -p "$WORK/disk"
    rm -f "$WORK/disk.image"
    truncate --size="$1" "$WORK/disk.image"
    mkfs.ext4 -q "$WORK/disk.image"
    mount -o loop "$WORK/disk.image" "$WORK/disk" 2>/dev/null ||
        mount -t tmpfs -o size="$((${1%M} * 4 / 5))m" tmpfs "$WORK/disk"
}

# unpacked_tree: makes $WORK/tree, another root with as little in it as programs need to install into it; sets $tree.
unpacked_tree() {
    tree=$WORK/tree
    mkdir -p "$tree"/{usr/bin,etc}
    printf '#!/bin/sh\n' >"$tree/usr/bin/crun"
}

# ours: every file that these programs may have left, by paths that are theirs; of the store, what is in it.
ours() {
    find /etc/syscontainers /etc/systemd/system.attached /etc/tmpfiles.d /run/syscontainers \
        /var/lib/containers/atomic /var/lib/syscontainers /ostree -mindepth 1 -path /run/syscontainers/.locks -prune -o \
        -path '*/ostree/*' \( -type d -o -name config -o -name '.lock' -o -name .commitpartial \) -o \
        -printf '%y %m %U:%G %p -> %l\n' 2>/dev/null || true
    find /etc/systemd/system -ignore_readdir_race \
        \( -lname '*/system.attached/*' -o -name 'syscontainer-*@?*' \) -printf '%p -> %l\n'
}

# is_said PATH: a message is about it, or about a directory above it.
is_said() {
    local path=$1 name
    while ! grep -qF "$path" "$WORK/.said"; do
        name=${path##*/} path=${path%/*}
        if [ "$path" = /var/lib/containers/atomic ]; then
            grep -qF " $name" "$WORK/.said"
            return
        fi
        [ -n "$path" ] || return 1
    done
}

# leave_nothing: what every story ends with. Nothing of any container was for users of the host; and after a removal of all containers and a prune nothing of theirs is there that was
# not before, but what they said they leave.
leave_nothing() {
    local name left=''
    [ ! -e /run/again ] && [ -e "$WORK/.ours" ] || return 0
    host_users_get_nothing
    syscontainer-list --quiet 2>/dev/null >"$WORK/.names" || true
    while read -r name; do
        syscontainer-remove --force "$name" </dev/null 2>&1 || true
    done <"$WORK/.names" >"$WORK/.said"
    syscontainer-prune --explain --keep-for=0 >>"$WORK/.said" 2>&1 || true
    ours | sort | comm -13 "$WORK/.ours" - >"$WORK/.left"
    while read -r name; do
        is_said "$name" || left="$left$name"$'\n'
    done < <(sed 's/^[a-z] [0-9]* [^ ]* //; s/ ->.*//; s/[[:cntrl:]]/\xef\xbf\xbd/g' "$WORK/.left")
    if [ -n "$left" ]; then
        echo '  left after removals and a prune, without a word:'
        shown - <<<"${left%$'\n'}"
        echo '  said:'
        shown "$WORK/.said"
        echo 'not ok - nothing is left'
        exit 1
    fi
    ok "after removals and a prune nothing is left, but $(wc -l <"$WORK/.left") files that are named"
}
