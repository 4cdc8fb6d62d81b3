# Fish completion of syscontainer-switch(8). Options come from --help, so that they are never out of date.

for line in (syscontainer-switch --help 2>/dev/null | string match -r -- '^ +(?:-., )?--.*')
    set -l found (string match -r -- '--([a-z-]+)(=?)\S*(?: [A-Z=]+)? +(.*)' $line)
    and complete -c syscontainer-switch -l $found[2] -d $found[4]
end
complete -c syscontainer-switch -f -a '(syscontainer-list --quiet 2>/dev/null)'
