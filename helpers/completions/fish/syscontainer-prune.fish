# Fish completion of syscontainer-prune(8). Options come from --help, so that they are never out of date.

for line in (syscontainer-prune --help 2>/dev/null | string match -r -- '^ +(?:-., )?--.*')
    set -l found (string match -r -- '--([a-z-]+)(=?)\S*(?: [A-Z=]+)? +(.*)' $line)
    and complete -c syscontainer-prune -l $found[2] -d $found[4]
end
