#!/bin/bash
# What images and payloads make of the disk: many names of one file, and trees that are deep. With crun and runc.
. "$(dirname "$0")/lib.sh"

VOLUMES=/var/lib/syscontainers
# storage_image NAME[:TAG] [MEMBER]: an image of $WORK/NAME that runs until it is stopped.
storage_image() { build_and_pull "$1" --config="{\"Cmd\": $(until_stopped)${2:+, $2}}"; }
# names_of FILE N: N more names of a file, beside it.
names_of() { perl -e 'for my $n (1..$ARGV[1]) { link $ARGV[0], "$ARGV[0].$n" or die "$n: $!" }' "$@"; }
# file_of NAME PATH: a file of what NAME runs.
file_of() { printf '%s/%s/rootfs/%s' "$CO" "$1" "$2"; }
# inodes_below DIRECTORY: how many inodes its regular files have.
inodes_below() { find "$1" -type f -printf '%i\n' | sort -u | wc -l; }
# most_of_disk KEEP: fills it, but for so many bytes.
most_of_disk() { head -c $(($(stat --file-system --format='%a * %S' "$CO") - $1)) /dev/zero >"$CO/../fill"; }

for runtime in crun runc; do
    say "$runtime: names of one large file below /etc"
    mkdir -p "$WORK/names/etc/x" "$WORK/names/etc/cron.d"
    [ -e "$WORK/names/etc/x/file" ] || {
        head -c 5000000 /dev/zero >"$WORK/names/etc/x/file"
        names_of "$WORK/names/etc/x/file" 200
        echo '# job' | tee "$WORK/names/etc/cron.d/"{one,other} >/dev/null
    }
    storage_image names
    checkout --runtime="$(type -P $runtime)" "$REGISTRY/names"
    expect 1 inodes_below "$(file_of names etc/x)"
    expect 201 stat --format=%h "$(file_of names etc/x/file.200)"
    expect '1 1' eval "stat --format=%h '$(file_of names etc/cron.d/one)' '$(file_of names etc/cron.d/other)' | paste -sd' '"
    must 'it starts' systemctl start names
    expect 'active running success' state names
    forget names
done

say 'an update that the disk has no room for'
small_disk 96M
mount --bind "$WORK/disk" /var/lib/containers
install -d -m 0700 "$CO"
mkdir -p "$WORK/grows/etc"
storage_image grows
checkout "$REGISTRY/grows"
must 'it starts' systemctl start grows
head -c 8000000 /dev/urandom >"$WORK/grows/etc/large"
storage_image grows
most_of_disk 9000000
names_in "$CO" >"$WORK/before"
run_fails 1 'cannot update grows: .*cannot copy .*/etc/large: the file system of .* is full: 8 MiB more are needed, and the last [0-9]+ MiB of it stay free; remove something' \
    syscontainer-checkout --update grows
expect_same "$WORK/before" names_in "$CO"
expect '' find "$CO" -name '*.new'
expect 'active running success' state grows
rm "$CO/../fill"
must 'with room, it is made' quietly syscontainer-checkout --update grows
forget grows
umount /var/lib/containers "$WORK/disk"

say 'a volume that the disk has no room for'
mkdir -p "$WORK/filled/data"
head -c 8000000 /dev/urandom | tee "$WORK/filled/data/one" >"$WORK/filled/data/other"
storage_image filled '"Volumes": {"/data": {}}'
checkout "$REGISTRY/filled"
small_disk 64M
mkdir -p $VOLUMES
mount --bind "$WORK/disk" $VOLUMES
chmod 0700 $VOLUMES
head -c $(($(stat --file-system --format='%a * %S' $VOLUMES) - 12000000)) /dev/zero >"$WORK/disk/.fill"
refuse 'it starts' systemctl start filled
check 'why' journal_has filled 'cannot create volume /data: cannot copy .*: the file system of .* is full: the last [0-9]+ MiB of it stay free'
expect '' find $VOLUMES/filled -mindepth 1
rm "$WORK/disk/.fill"
systemctl reset-failed filled
must 'with room, it starts' systemctl start filled
expect '1 1' eval "stat --format=%h $VOLUMES/filled/data/one $VOLUMES/filled/data/other | paste -sd' '"
forget filled
umount $VOLUMES "$WORK/disk"

for runtime in crun runc; do
    say "$runtime: names that another image has used up"
    mkdir -p "$WORK/good/usr/share" "$WORK/many/x"
    echo 'a file that many images have' | tee "$WORK/good/usr/share/shared" >"$WORK/many/x/0"
    [ -e "$WORK/many/x/0.1" ] || names_of "$WORK/many/x/0" 64996
    rm -f "$WORK/good/usr/share/fix"
    storage_image good
    storage_image many
    checkout --runtime="$(type -P $runtime)" "$REGISTRY/good"
    checkout "$REGISTRY/many"
    must 'it starts' systemctl start good
    for version in 2 3; do
        echo "$version" >"$WORK/good/usr/share/fix"
        storage_image good
        must "version $version" quietly syscontainer-checkout --update good
        must "version $version starts" systemctl restart good
        expect 'active running success' state good
        expect 'a file that many images have' cat "$(file_of good usr/share/shared)"
        expect $version cat "$(file_of good usr/share/fix)"
    done
    must 'another container' quietly syscontainer-checkout --name=second "$REGISTRY/good"
    store_is_sound
    forget second
    forget good
    forget many
done

say 'a purge of what is deep, after the store'
mkdir -p "$WORK/deep"
storage_image deep '"Volumes": {"/v": {}}'
checkout "$REGISTRY/deep"
must 'it starts' systemctl start deep
systemctl stop deep
perl -e 'chdir $ARGV[0] or die; for (1..40000) { mkdir "d" or die; chdir "d" or die }' $VOLUMES/deep/v
must 'the image has no container' quietly syscontainer-remove deep
# A purge that was killed.
mv $VOLUMES/deep $VOLUMES/.deep.old
syscontainer-prune --json --keep-for=0 >"$WORK/pruned"
check 'the store comes first' sh -c 'tr -d "\n" <"$1" | grep -E "\"image\".*/deep.*\"leftover\".*\.deep\.old"' sh "$WORK/pruned"
refuse 'nothing is left of it' test -e $VOLUMES/.deep.old
