#!/bin/bash
# Values of variables arrive as they are, byte for byte, wherever a template has them; or they are refused by name. None becomes a
# setting, a key, a line or a command.
# Rows of tests/atomic.md: 2.07, f.
. "$(dirname "$0")/lib.sh"

# One image for each place, so that one that refuses a value does not keep it from the others.
exports json "$(shell_args 'cat /proc/1/environ >/out/json')" \
    --unit='Type=oneshot' --mount=/run/out:/out --env='"V=$V"' --template
mkdir -p /run/out "$WORK"/{environment,argument,quoted,tmpfiles,content,host}/exports
# unit NAME LINES: its template has these in [Service].
unit() {
    cat >"$WORK/$1/exports/service.template" <<-END
		[Service]
		Type=oneshot
		StandardOutput=truncate:/run/out/$1
		$2
	END
}
unit environment $'Environment="V=$V"\nExecStart=/usr/bin/env --null'
unit argument 'ExecStart=/usr/bin/printf %%s $V'
unit quoted 'ExecStart=/usr/bin/printf %%s "x$V"'
unit tmpfiles 'ExecStart=/bin/true'
echo 'd /run/out/dir/$V 0755' >"$WORK/tmpfiles/exports/tmpfiles.template"
unit content 'ExecStart=/bin/true'
echo 'f /run/out/text 0644 - - - x$V' >"$WORK/content/exports/tmpfiles.template"
unit host 'ExecStart=/bin/true'
mkdir -p "$WORK/host/exports/hostfs/etc/story"
printf '%s' 'v=$V;' >"$WORK/host/exports/hostfs/etc/story/file"
echo '{"installedFilesTemplate": ["/etc/story/file"]}' >"$WORK/host/exports/manifest.json"
places='json environment argument quoted tmpfiles content host'
for place in $places; do
    build_and_pull "$place"
done

values=('plain' 'a b' 'a"b' "a'b" '"' "'" '50%' '%n' '%%n' '$HOME' '$$' '${X}' 'back\slash' '\n' '\\' 'trail\' ';' '#x' ' lead'
    'trail ' 'ü€𝄞' '","X=1' '"], "evil": ["' '@x' '-x' '+x' '!x' ':x' '|' '~' '*' '[Service]' 'X=1' $'tab\there' $'new\nline'
    $'a\nExecStartPre=/bin/touch /run/evil' $'cr\rx' $'esc\e[31m' $'del\177')

# found PLACE: what arrived.
found() {
    case $1 in
        json | environment) grep --null-data --text '^V=' "/run/out/$1" | sed --null-data 's/^V=//' | tr -d '\0' ;;
        quoted) sed '1s/^x//' /run/out/quoted ;;
        content) sed '1s/^x//' /run/out/text ;;
        argument) cat /run/out/argument ;;
        tmpfiles) (cd /run/out/dir && find . -mindepth 1 -printf '%P\n') ;;
        host) sed '1s/^v=//; $s/;$//' /etc/story/file ;;
    esac
}

arrived=0 refused=0
for value in "${values[@]}"; do
    for place in $places; do
        rm -rf /run/out/* /etc/story
        rm -f "/etc/syscontainers/attached/$place.json"
        if syscontainer-checkout --set V="$value" "$REGISTRY/$place" >/dev/null 2>"$WORK/said"; then
            check=$(systemd-analyze --generators=yes verify $place.service 2>&1 || true)
            [ -z "$check" ] || fail "$place $(printf %q "$value"): $check"
            systemctl start $place || fail "$place with $(printf %q "$value") does not start"
            want=$value
            # Unquoted in a command line, words are words, as the image's author wrote it.
            [ $place != argument ] || want=$(printf %s "$value" | tr -d ' \t')
            [ "$(found $place)" = "$want" ] ||
                fail "$place: $(printf %q "$value") arrives as $(found $place | od -c | head -n 3)"
            arrived=$((arrived + 1))
        else
            grep -qE 'the value of V cannot be used here' "$WORK/said" ||
                { shown "$WORK/said"; fail "$place: $(printf %q "$value")"; }
            say "$place refuses $(printf %q "$value"): $(sed 's/.*cannot be used here: //; s/; give.*//' "$WORK/said")"
            # What JSON and text can hold, they must.
            case $place in json | host) fail 'that is no reason' ;; esac
            case $value in *[[:cntrl:]]*) ;; *) [ $place:"$value" = environment:'trail\' ] || fail 'that is no reason' ;; esac
            refused=$((refused + 1))
        fi
        [ ! -e /run/evil ] || fail "$place: a command of $(printf %q "$value") was run"
        # Ours are two at most.
        [ "$(systemctl cat $place 2>/dev/null | grep -c '^ExecStartPre=' || true)" -le 2 ] || fail 'a line came in'
        forget $place
    done
done
ok "$arrived arrived, $refused were refused"
[ "$arrived" -gt 150 ] || fail 'these are too few'

say 'what is no text'
run_fails 2 "invalid unicode|not valid UTF-8|invalid value.*V" syscontainer-checkout --set V=$'a\377b' "$REGISTRY/json"
run_fails 2 'VARIABLE=VALUE' syscontainer-checkout --set V "$REGISTRY/json"
