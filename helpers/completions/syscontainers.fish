# Fish completion of all programs; fish finds it by the name of each. Options are read from the output of --help=table, so that
# they are never out of date.

function __syscontainers_candidates
    switch $argv[1]
        case directory
            __fish_complete_directories (commandline -ct)
        case container
            syscontainer-list --quiet 2>/dev/null
        case image
            syscontainer-images --quiet 2>/dev/null
        case 'words *'
            string split ' ' -- (string replace 'words ' '' -- $argv[1])
    end
end

# Whether the command line has an option.
function __syscontainers_given
    string match -qr -- '^--'$argv[1]'(=.*)?$' (commandline -opc)
end

begin
    set -l program (string replace -r '\.fish$' '' -- (basename (status filename)))
    set -l without
    $program --help=table 2>/dev/null | while read -d \t -l long short value kind operands text
        set -l name (string replace -r '^--' '' -- $long)
        if test $long = -
            complete -c $program -f -n "true $without" -a "(__syscontainers_candidates '$operands')"
            continue
        end
        set -l option -l $name -d "$text"
        test $short = -; or set -a option -s (string replace - '' -- $short)
        if test $value = -
            complete -c $program $option
        else if test "$kind" = file
            complete -c $program -rF $option
        else
            complete -c $program -x $option -a "(__syscontainers_candidates '$kind')"
        end
        if test $operands != -
            complete -c $program -f -n "__syscontainers_given $name" -a "(__syscontainers_candidates '$operands')"
            set -a without "; and not __syscontainers_given $name"
        end
    end
end
