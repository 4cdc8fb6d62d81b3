#!/bin/bash
# Pulls in a world where networks fail, disks are full and programs are many.
. "$(dirname "$0")/lib.sh"

# expect_image NAME [OPTION…] IMAGE: it is pulled, as NAME; what that says is in $WORK/said.
expect_image() { expect_like "^$1:latest " syscontainer-pull "${@:2}" 2>"$WORK/said"; }
mkdir -p "$WORK/big/srv" "$WORK/first/srv" "$WORK/zeros/srv"
echo first >"$WORK/first/srv/first"
head -c 20000000 /dev/urandom >"$WORK/big/srv/noise"
truncate --size=1G "$WORK/zeros/srv/zeros"
exports small '["true"]'
build_image small "$WORK/small"
build_image big "$WORK/big"
build_image zeros "$WORK/first" "$WORK/zeros"
rm "$WORK/zeros/srv/zeros"

say 'the registry is away for a moment'
systemctl stop registry
syscontainer-pull "$REGISTRY/small" >"$WORK/printed" 2>"$WORK/said" &
wait_for 'it says so' grep -E 'connection refused.*; trying again in 1 s' "$WORK/said"
systemctl start registry
check 'the pull goes on' wait $!
expect_like "^$REGISTRY/small:latest " cat "$WORK/printed"

say 'a registry that asks to come back later'
cat >"$WORK/busy" <<'END'
#!/bin/bash
# One connection: the first three requests get 429, everything else goes to the registry. TLS is not spoken here.
IFS= read -r line || exit 0
case $line in GET*|HEAD*) ;; *) exit 0 ;; esac
if [ "$(wc -l <"$1/answers")" -lt 3 ]; then
    echo 429 >>"$1/answers"
    while IFS= read -r header && [ "${header%$'\r'}" ]; do :; done
    printf 'HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n'
    exit 0
fi
echo passed >>"$1/answers"
{ printf '%s\n' "$line"; cat; } | busybox nc 127.0.0.1 5000
END
chmod +x "$WORK/busy"
: >"$WORK/answers"
printf '[Socket]\nListenStream=127.0.0.1:5429\nAccept=yes\n' >/etc/systemd/system/busy.socket
cat >/etc/systemd/system/busy@.service <<END
[Service]
ExecStart=-$WORK/busy $WORK
StandardInput=socket
StandardError=journal
END
cat >/etc/containers/registries.conf.d/busy.conf <<'END'
[[registry]]
location = "127.0.0.1:5429"
insecure = true
END
systemctl daemon-reload
systemctl start busy.socket
expect_image 127.0.0.1:5429/small 127.0.0.1:5429/small
expect 3 grep -c 429 "$WORK/answers"
check 'and then it was let through' grep passed "$WORK/answers"

say 'a pull that was cut goes on'
expect_image "$REGISTRY/big" --repo="$WORK/cut" "$REGISTRY/big"
ostree --repo="$WORK/cut" refs --delete "ociimage/127.0.0.1_3A5000_2Fbig_3Alatest"
expect_like '"layers-reused": 2' quietly syscontainer-pull --json --repo="$WORK/cut" "$REGISTRY/big"

say 'many at once'
pids=()
for round in 1 2 3; do
    syscontainer-pull --quiet --repo="$WORK/many" "$REGISTRY/big" >"$WORK/many.$round" 2>&1 &
    pids+=($!)
    syscontainer-pull --quiet --repo="$WORK/many" "$REGISTRY/small" >/dev/null 2>&1 &
    pids+=($!)
done
for pid in "${pids[@]}"; do wait "$pid" || { cat "$WORK"/many.*; fail 'a pull beside others failed'; }; done
store_is_sound "$WORK/many"
expect_image "$REGISTRY/big" --quiet --repo="$WORK/many" "$REGISTRY/big"

say 'a disk that is too small'
small_disk 96M
fill() { head -c "$1" /dev/zero >"$WORK/disk/fill"; }
free() { echo $(($(stat --file-system --format='%a * %S' "$WORK/disk"))); }
fill $(($(free) - 10000000))
run_fails 1 'cannot pull .*its layers are [0-9]+ MiB, and [0-9]+ MiB are free in .*; nothing was fetched' \
    syscontainer-pull --quiet --repo="$WORK/disk/repo" "$REGISTRY/big"
rm "$WORK/disk/fill"
fill $(($(free) - 45000000))
expect_image "$REGISTRY/big" --quiet --repo="$WORK/disk/repo" "$REGISTRY/big"
expect_like 'the layers are [0-9]+ MiB packed, and [0-9]+ MiB are free in .*: this may not be enough' cat "$WORK/said"
rm "$WORK/disk/fill"
repository_files "$WORK/disk/repo" >"$WORK/before"
fill $(($(free) - 20000000))
run_fails 1 'cannot pull .*is full: the last [0-9]+ MiB of it stay free' syscontainer-pull --quiet --repo="$WORK/disk/repo" "$REGISTRY/zeros"
store_is_sound "$WORK/disk/repo"
expect_no zeros ostree --repo="$WORK/disk/repo" refs
say 'what it leaves, a prune collects'
repository_files "$WORK/disk/repo" >"$WORK/after"
refuse 'something is left' cmp -s "$WORK/before" "$WORK/after"
check 'a prune' syscontainer-prune --repo="$WORK/disk/repo"
expect_same "$WORK/before" repository_files "$WORK/disk/repo"
expect_image "$REGISTRY/small" --repo="$WORK/disk/repo" "$REGISTRY/small"
umount "$WORK/disk"

say 'memory'
for image in zeros big; do
    syscontainer-pull --quiet --repo="$WORK/memory" "$REGISTRY/$image" >/dev/null &
    expect_little_memory $!
done

say 'no secret is on a command line'
# strace sees what programs are run with.
printf '{"auths": {"%s": {"auth": "%s"}}}' "$REGISTRY" "$(printf 'user:secret word' | base64)" >"$WORK/auth.json"
strace -f -qq -e trace=execve -s 1000 -o "$WORK/trace" \
    syscontainer-pull --quiet --authfile="$WORK/auth.json" "$REGISTRY/small" >/dev/null
check 'skopeo was run' grep 'execve.*"experimental-image-proxy"' "$WORK/trace"
refuse 'without what is in the file' \
    grep -F -e 'secret' -e "$(printf 'user:secret word' | base64)" <(grep -o 'execve([^]]*]' "$WORK/trace")

say 'under systemd'
cat >/etc/systemd/system/pull.service <<END
[Service]
Type=oneshot
RemainAfterExit=yes
NotifyAccess=main
TimeoutStartSec=infinity
ExecStart=/usr/bin/syscontainer-pull --repo=$WORK/unit $REGISTRY/big
END
systemctl daemon-reload
check 'a unit can pull' systemctl start pull
expect_like 'fetching layer' journal_of pull
expect_like 'fetching layer [0-9a-f]*: .* of ' unit_property pull StatusText

say 'on a terminal'
expect_like 'B/' \
    env TERM=xterm script --quiet --return --command "syscontainer-pull --repo=$WORK/terminal $REGISTRY/big" /dev/null
