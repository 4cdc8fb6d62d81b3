# What other users of the host can get at.
# shellcheck shell=bash

# Directories in which nothing is for them. A story that makes another store adds it.
SWEPT=(/var/lib/containers/atomic /var/lib/syscontainers /run/syscontainers /etc/syscontainers/attached)

# as_nobody COMMAND…: as a user without any rights. setpriv itself still has capabilities while it looks for what it executes.
as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups -- sh -c 'exec "$@"' sh "$@"; }

# reached_by_nobody DIRECTORY…: the files in these that such a user can read, write or execute, or that are setuid or setgid
# and can be reached, also where their names have to be guessed; and the mount points in them that he can enter. Sockets for
# notifications are there to be reached.
reached_by_nobody() {
    local directory point searchable
    # A directory with --x only cannot be listed, so root looks for the files.
    searchable=(
        '(' -uid 65534 -perm -u+x -o ! -uid 65534 -gid 65534 -perm -g+x -o ! -uid 65534 ! -gid 65534 -perm -o+x ')'
    )
    for directory; do
        # No directory above it keeps him out.
        as_nobody test -x "$directory/." || continue
        find "$directory" -ignore_readdir_race -type d ! "${searchable[@]}" -prune -o ! -type d ! -type l \
            ! '(' -type s -path '/run/syscontainers/.notify/*' ')' -print0
    done | xargs -0 -r -- setpriv --reuid=65534 --regid=65534 --clear-groups -- sh -c '
        for file; do
            if [ -r "$file" ] || [ -w "$file" ] || [ -x "$file" ] || [ -u "$file" ] || [ -g "$file" ]; then
                printf "%s\n" "$file"
            fi
        done' sh
    while read -r point; do
        for directory; do
            case $point in "$directory"/*) ! as_nobody test -x "$point/." || printf '%s\n' "$point" ;; esac
        done
    done < <(cut -d' ' -f5 /proc/self/mountinfo)
}

# host_users_get_nothing [TEXT…]: not a file of an image, a container or the store.
host_users_get_nothing() {
    local reached
    reached=$(reached_by_nobody "${SWEPT[@]}" 2>&1)
    [ -z "$reached" ] || { shown - <<<"$(head -n 20 <<<"$reached")"; fail "${*:-a user of the host} reaches $(wc -l <<<"$reached") files"; }
    ok "a user of the host reaches nothing${*:+: $*}"
}
