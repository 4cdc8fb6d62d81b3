# shellcheck shell=bash
# Bash completion of all programs; bash-completion finds it by the name of each. Options are read from the output of
# --help=table, so that they are never out of date.

# _syscontainers_candidates KIND BEGIN [--root=DIR]: the values of that kind that begin with BEGIN, one per line.
_syscontainers_candidates() {
    local kind=$1 begin=$2 word
    shift 2
    case $kind in
        file) compgen -f -- "$begin" ;;
        directory) compgen -d -- "$begin" ;;
        container) syscontainer-list --quiet "$@" 2>/dev/null ;;
        image) syscontainer-images --quiet "$@" 2>/dev/null ;;
        words\ *) tr ' ' '\n' <<<"${kind#words }" ;;
    # Not with 'compgen -W', which expands its argument.
    esac | while IFS= read -r word; do
        if [[ $word == "$begin"* ]]; then printf '%s\n' "$word"; fi
    done
}

_syscontainers() {
    # The current word as it was typed; COMP_WORDS has it in pieces.
    local line=${COMP_LINE:0:COMP_POINT} current='' previous
    local -a words options=() where=()
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] || { current=${words[-1]} && unset 'words[-1]'; }
    previous=${words[-1]-}

    local word long short value kind operands rest operand='' chosen='' target='' head=''
    for word in "${words[@]}"; do
        [[ $word != --root=* ]] || where=("$word")
    done
    while IFS=$'\t' read -r long short value kind operands rest; do
        if [[ $long == - ]]; then
            operand=${chosen:-$operands}
            continue
        fi
        [[ $value == - ]] || value='='
        options+=("$long${value#-}")
        if [[ $kind != - && $current == "$long="* ]]; then
            target=$kind head=$long=
        elif [[ $kind != - && ($previous == "$long" || $previous == "$short") ]]; then
            target=$kind
        fi
        if [[ $operands != - && " ${words[*]} " == *" $long"[\ =]* ]]; then chosen=$operands; fi
    done < <("$1" --help=table 2>/dev/null)

    if [[ -z $target ]]; then
        target=$operand
        if [[ $operand == nothing || $current == -* ]]; then target="words ${options[*]}"; fi
    fi
    mapfile -t COMPREPLY < <(_syscontainers_candidates "$target" "${current#"$head"}" "${where[@]}")
    case $target in
        file | directory) compopt -o filenames ;;
        *) [[ ${COMPREPLY[0]-} != *[=:/] ]] || compopt -o nospace ;;
    esac
    # Bash replaces only what follows the last word break.
    COMPREPLY=("${COMPREPLY[@]/#/"$head"}")
    COMPREPLY=("${COMPREPLY[@]#"${current%"${current##*["$COMP_WORDBREAKS"]}"}"}")
} && complete -F _syscontainers "${BASH_SOURCE[0]##*/}"
