//! Lines of unit files, systemd.syntax(7): which ones are comments, which ones continue on the next line, and what names there
//! are in them.

/// Maximum length in bytes of the names of sections and settings: far above those of systemd, and little enough to be kept
/// with every line.
pub const NAME_MAX: usize = 128;

/// Returns whether a setting or a section can have this name.
pub fn is_name(text: &str) -> bool {
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    (1..=NAME_MAX).contains(&text.len()) && text.chars().all(is_good)
}

/// Returns whether a line is a comment. Comments may be between continued lines.
pub fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with(['#', ';'])
}

/// Returns whether the next line continues this one: it ends in a backslash that no other one escapes. A value may end like
/// that as well, if a blank was behind it, and cannot be written as it is then.
pub fn is_continued(line: &str) -> bool {
    line.bytes().rev().take_while(|b| *b == b'\\').count() % 2 == 1
}

/// Returns lines with their continuations, joined by a space, and the number of the line that each begins at. Comments
/// and blank lines are left out.
pub fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if is_comment(line) || (open.is_none() && line.trim().is_empty()) {
            continue;
        }
        let (number, mut joined) = open.take().unwrap_or((index + 1, String::new()));
        if is_continued(line) {
            joined.push_str(&line[..line.len() - 1]);
            joined.push(' ');
            open = Some((number, joined));
        } else {
            joined.push_str(line);
            lines.push((number, joined.trim_end().to_owned()));
        }
    }
    lines.extend(open.map(|(number, joined)| (number, joined.trim_end().to_owned())));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_and_short() {
        for good in ["A", "X-Y_z0", &"a".repeat(NAME_MAX)] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "a b", "a.b", "\u{e4}", &"a".repeat(NAME_MAX + 1)] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn joins_what_is_continued() {
        let text = "# c\n\nA=1 \\\n# between\n  2\\\n3\nB=\\\\\nC=4\\";
        let expected = [(3, "A=1  2 3"), (7, "B=\\\\"), (8, "C=4")];
        assert_eq!(logical_lines(text), expected.map(|(line, text)| (line, text.to_owned())));
    }
}
