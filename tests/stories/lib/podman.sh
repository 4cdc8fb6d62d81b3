# What podman makes of images and payloads see, compared with ours: tests/podman.md says what differs.
# shellcheck shell=bash

# as_the_table_says WHERE HIS OWN: every property of two files is as the table says; what it said is added to a file.
as_the_table_says() {
    awk -F '\t' -v where="$1" -v used="$WORK/used" '
        function trim(text) { gsub(/^ +| +$/, "", text); return text }
        # The row of a property: one with these values, or one that says that they are the same.
        function row(name, his, own,   i, same) {
            same = his == own
            for (i = 1; i <= rows; i++) {
                if (name !~ pattern[i]) continue
                if (same ? left[i] == "same" : left[i] != "same" && is(left[i], his) && is(right[i], own)) return i
            }
            return 0
        }
        function is(said, value) { return said == "*" || said == value }
        FILENAME ~ /podman\.md$/ {
            if ($0 !~ /^\| / || $0 ~ /^\| Property /) next
            split($0, cells, "|")
            name = trim(cells[2]); gsub(/[.]/, "[.]", name); gsub(/[*]/, ".*", name)
            pattern[++rows] = "^" name "$"; left[rows] = trim(cells[3]); right[rows] = trim(cells[4]); text[rows] = $0
            next
        }
        { name = $1; sub(/^[^\t]*\t/, ""); value = trim($0); names[name] = 1 }
        FILENAME ~ /his$/ { his[name] = value }
        FILENAME ~ /own$/ { own[name] = value }
        END {
            for (name in names) {
                a = name in his ? his[name] : "none"; b = name in own ? own[name] : "none"
                found = row(name, a, b)
                if (!found) { printf "%s: %s: podman %s, here %s\n", where, name, a, b; bad = 1 }
                else if (left[found] != "same") print text[found] >>used
            }
            exit bad
        }' "$TESTS/podman.md" "$2" "$3"
}

# expect_rows_used REGEXP: every row of the table with a difference, whose property begins like that, was that of one.
expect_rows_used() {
    grep '^| ' "$TESTS/podman.md" | grep -P "^\\| $1" | grep -vE '^\| Property |\| same \| same \|' | while read -r line; do
        must "this holds no more: $line" grep -qxF -- "$line" "$WORK/used"
    done
    ok 'every row with a difference holds'
}
