#!/bin/bash
# What users of the host, images and payloads can take up of what others need: the time of a start, the disk, and locks.
. "$(dirname "$0")/lib.sh"

# Perl is in every Debian. It sends without modules; what it needs besides is found by ldd.
sending_image() {
    local path
    mkdir -p "$WORK/$1"
    for path in /usr/bin/perl $(ldd /usr/bin/perl | grep -o '/[^ ]*'); do
        install -D "$(realpath "$path")" "$WORK/$1$path"
    done
}
# crowd SOCKET N: so many processes of another user that send to it as fast as they can; until they are killed with this one.
crowd() {
    # shellcheck disable=SC2016 # for Perl
    exec setpriv --reuid=65534 --regid=65534 --clear-groups perl -e '
        $SIG{TERM} = sub { kill "KILL", @children; exit };
        for (1..$ARGV[1]) {
            my $child = fork;
            if ($child) { push @children, $child; next }
            $SIG{TERM} = "DEFAULT";
            while (1) {
                if (socket(S, 1, 2, 0) && connect(S, pack("Sa*", 1, "$ARGV[0]\0"))) { 1 while send(S, "x", 0) }
                select(undef, undef, undef, 0.3);
            }
        }
        sleep 1 while 1' "$@"
}

sending_image crowded
for runtime in crun runc; do
    say "$runtime: users of the host who send to a socket that they can reach"
    # shellcheck disable=SC2016 # for Perl
    exports crowded "[\"/usr/bin/perl\", \"-e\", $(json_string 'socket(S, 1, 2, 0) or die;
        connect(S, pack("Sa*", 1, "$ENV{NOTIFY_SOCKET}\0")) or die "$!"; sleep 3; send(S, "READY=1", 0); sleep 1 while 1')]" \
        --unit=$'Type=notify\nTimeoutStartSec=20' --mount=/run:/run:rbind,rslave,rw
    build_and_pull crowded
    checkout --no-enable --runtime="$(type -P $runtime)" "$REGISTRY/crowded"
    crowd /run/syscontainers/.notify/crowded 1500 &
    crowd=$!
    must 'the payload is heard' systemctl start crowded
    expect 'active running success' state crowded
    kill $crowd
    wait $crowd || true
    must 'it goes' syscontainer-remove --purge crowded
done
leave_nothing
