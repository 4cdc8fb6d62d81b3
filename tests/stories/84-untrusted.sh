#!/bin/bash
# What anybody may have written: text is shown as text, large units and images take no longer than they are, and no container
# keeps another one from starting.
. "$(dirname "$0")/lib.sh"

esc=$'\e' csi=$'\u009b' rlo=$'\u202e' hidden=$'\u200b' tag=$'\U000e0041'
# is_text FILE: what a terminal obeys, or hides, is not in it.
is_text() { ! LC_ALL=C.UTF-8 grep -nP '[\x00-\x08\x0b-\x1f\x7f-\x{9f}\x{200b}\x{202e}\x{e0041}]' "$1"; }
# shows COMMAND…: whatever its status is, it prints or says something, and all of that is text.
shows() {
    "$@" >"$WORK/shown" 2>&1 || true
    must "$*: something" test -s "$WORK/shown"
    check "$*: all of it is text" is_text "$WORK/shown"
}

say 'a foreign image writes no line of a dry run, and no sequence for a terminal'
exports nasty "$(until_stopped)" --unit="Environment=\"A=$rlo$hidden\""
{
    printf '# %s[2J%s]0;title\a\n' "$esc" "$esc"
    printf '# /etc/shadow: removed\r# /etc/x: stays as it is\n'
    printf 'd /run/nasty 0700 - - - -\n'
} >"$WORK/nasty/exports/tmpfiles.template"
sed -i "1i # /etc/passwd: stays as it is\n# systemctl enable sshd.service" "$WORK/nasty/exports/service.template"
sed -i "s/^Description=.*/Description=nasty $rlo/" "$WORK/nasty/exports/service.template"
host=$WORK/nasty/exports/hostfs/etc/nasty
mkdir -p "$host"
ln -s "/x: stays as it is"$'\n'"# /etc/forged: removed${esc}[0m" "$host/link"
touch "$host/a: removed $rlo"
printf '# /etc/forged: removed\n%s%s%s%s\n' "$esc" "$csi" "$rlo" "$tag" >"$host/conf"
echo '{"installedFilesTemplate": ["/etc/nasty/conf"]}' >"$WORK/nasty/exports/manifest.json"
build_image nasty --label="title=a $rlo$csi b" --label='lines=a\nLabel     forged=1' "$WORK/nasty"
pull_image nasty
preview_nasty() { syscontainer-checkout --dry-run "$@" "$REGISTRY/nasty"; }
shows preview_nasty
cp "$WORK/shown" "$WORK/preview"
expect_no '^# (/etc/(passwd|shadow|x|forged)|systemctl enable sshd|/x)' cat "$WORK/preview"
expect_like '^    # /etc/shadow: removed\\r# /etc/x: stays as it is$' cat "$WORK/preview"
expect_like '^    # \\x1b\[2J\\x1b\]0;title\\x07$' cat "$WORK/preview"
expect_like '^# /etc/nasty/link: symlink to /x:\\x20stays.*\\n#\\x20/etc/forged:\\x20removed\\x1b\[0m$' cat "$WORK/preview"
expect_like '^# /etc/nasty/a:\\x20removed\\x20\\u202e: mode 0644, owner 0:0$' cat "$WORK/preview"
expect_like '^    \\x1b\\u009b\\u202e\\U000e0041$' cat "$WORK/preview"
# A terminal gets no other text. It puts a CR before each LF.
on_terminal() { script --quiet --return --command "syscontainer-checkout --dry-run $REGISTRY/nasty" /dev/null | tr -d '\r'; }
shows on_terminal
expect_like '^    # /etc/shadow: removed\\r# /etc/x: stays as it is$' on_terminal

say 'nor of lists'
checkout "$REGISTRY/nasty"
systemctl start nasty
for command in 'syscontainer-list' 'syscontainer-list --json' 'syscontainer-images' 'syscontainer-images --json' \
    "syscontainer-images $REGISTRY/nasty" "syscontainer-images --json $REGISTRY/nasty" \
    "syscontainer-lint --skip=no-default $REGISTRY/nasty" "syscontainer-prune --dry-run --explain" \
    '/usr/lib/systemd/system-generators/syscontainer-generator --dry-run nasty' \
    "systemctl show --property=Description nasty"; do
    # shellcheck disable=SC2086 # words
    shows $command
done
expect_like '^Label +lines=a\\nLabel +forged=1$' syscontainer-images "$REGISTRY/nasty"
expect_like 'Description=nasty \\u202e$' systemctl show --property=Description nasty
# The value is the same.
json_label() { syscontainer-images --json "$REGISTRY/nasty" | sed -n '/"labels"/,/}/ s/.*"title": \("[^"]*"\).*/\1/p'; }
expect '"a \u202e\u009b b"' json_label

say 'a unit of thousands of lines'
exports long "$(until_stopped)" --unit="$(printf 'Environment=LINE=%s\n' {1..2000})"
build_and_pull long
checkout "$REGISTRY/long"
systemctl start long
expect 2000 grep -c ^Environment=LINE= /run/systemd/generator/long.service.d/00-syscontainer.conf
expect 'LINE=2000' unit_property long Environment

say 'and registrations by hand: those behind them in the alphabet have a body'
exports zzz "$(until_stopped)"
build_and_pull zzz
checkout "$REGISTRY/zzz"
attached=/etc/syscontainers/attached
lines=$(printf '\\\\nEnvironment=A=1%.0s' {1..2000})
sed "s/\"zzz/\"many/; s/zzz\\./many./; s,\\[Service\\],&$lines," $attached/zzz.json >$attached/many.json
mkfifo $attached/fifo.json
mkdir $attached/directory.json
ln -s /dev/zero $attached/device.json
truncate --size=1T $attached/huge.json
head -c 400000 /dev/zero | tr '\0' '[' >$attached/deep.json
{ echo '{'; seq -f '"%.0f": 0,' 1000000; echo '"version": 1}'; } >$attached/keys.json
rm -r /run/systemd/generator/zzz.service.d
systemctl daemon-reload
for name in fifo directory huge deep keys; do
    expect_like "^$name \\(broken: .*$attached/$name.json" unit_property "$name" Description
done
check 'the last one has its body' test -s /run/systemd/generator/zzz.service.d/00-syscontainer.conf
check 'and starts' systemctl start zzz
expect 2000 grep -c ^Environment=A=1 /run/systemd/generator/many.service.d/00-syscontainer.conf
rm -r $attached/{many,fifo,directory,device,huge,deep,keys}.json
systemctl daemon-reload

say 'what an image brings has limits, which are the same everywhere'
# beyond WHY NAME: nothing takes the image.
beyond() {
    build_and_pull "$2"
    run_fails 1 "$1" syscontainer-checkout "$REGISTRY/$2"
    run_fails 1 "$1" syscontainer-checkout --dry-run "$REGISTRY/$2"
    ends 1 syscontainer-lint "$REGISTRY/$2"
    expect_like "$1" cat "$WORK/printed"
}
exports flat "$(until_stopped)"
mkdir -p "$WORK/flat/exports/hostfs/etc/flat"
touch "$WORK/flat/exports/hostfs/etc/flat/"{1..10000}
beyond 'more than 10000 files' flat
run_fails 1 'more than 10000 files' syscontainer-images "$REGISTRY/flat"
exports deep "$(until_stopped)"
directory=$WORK/deep/exports/hostfs
mkdir "$directory"
for _ in {1..200}; do directory+=/d; done
mkdir -p "$directory"
beyond 'more than 64 directories' deep
run_fails 1 'more than 64 directories' syscontainer-images "$REGISTRY/deep"
exports unit "$(until_stopped)" --unit="$(printf 'Environment=LINE=%s\n' {1..20000})"
beyond 'larger than the limit of 256 KiB' unit
exports template "$(until_stopped)"
head -c 250000 /dev/zero | sed 's/\x0/\$A/g' >"$WORK/template/exports/tmpfiles.template"
truncate --size=250000 "$WORK/template/exports/tmpfiles.template"
build_and_pull template
ends 1 syscontainer-lint "$REGISTRY/template"
expect_like 'tmpfiles.template:1:1: warning: A has no default value' cat "$WORK/printed"
run_fails 1 'no value for A; .*; and 124980 more problems; give each' syscontainer-checkout "$REGISTRY/template"
