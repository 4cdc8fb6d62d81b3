//! Lines of tmpfiles.d(5), and what they create.

use std::path::PathBuf;

use crate::paths::TreePath;

/// A line: what is done to a path.
pub struct Line<'a> {
    /// The type, with its modifiers.
    kind: &'a str,
    /// The path as it is written.
    path: &'a str,
}

/// Returns the lines of a file that name a path; comments are left out.
pub fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    text.lines().map(str::trim).filter(|line| !line.starts_with('#')).filter_map(|line| {
        let mut fields = line.split_whitespace();
        Some(Line { kind: fields.next()?, path: fields.next()? })
    })
}

impl Line<'_> {
    /// The path that the line creates.
    pub fn created(&self) -> Option<PathBuf> {
        // Lines that only remove or adjust create nothing.
        let creates =
            !self.kind.starts_with(['r', 'R', 'x', 'X', 'z', 'Z', 'm', 'a', 'A', 't', 'T', 'h', 'H', 'e']);
        creates.then(|| PathBuf::from(self.path.replace(['"', '\''], "").replace("%%", "%")))
    }

    /// The directory that the line creates, if its path needs no unescaping.
    pub fn plain_directory(&self) -> Option<TreePath> {
        let is_plain = self.path.starts_with('/')
            && !self.path.contains(['"', '\'', '\\', '%'])
            && !self.path.contains("..");
        (matches!(self.kind, "d" | "D" | "v" | "q" | "Q") && is_plain).then(|| TreePath::new(self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_is_created() {
        for (line, expected) in [
            ("d /a 0755 - - -", Some("/a")),
            (" L+\t\"/b\" - - - - /c", Some("/b")),
            ("# d /a", None),
            ("", None),
            ("d", None),
            ("R /a", None),
            ("d /50%%", Some("/50%")),
        ] {
            let created = lines(line).find_map(|line| line.created());
            assert_eq!(created, expected.map(PathBuf::from), "{line}");
        }
    }

    #[test]
    fn knows_plain_directories() {
        let directory = |line| lines(line).find_map(|line| line.plain_directory());
        assert_eq!(directory("d /var/lib/x/ 0700 - - -"), Some("/var/lib/x".into()));
        for line in
            ["# d /x", "f /var/lib/x", "d", "", "d /var/lib/\"a b\"", "d /var/lib/../etc", "r /var/lib/x"]
        {
            assert_eq!(directory(line), None, "{line}");
        }
    }
}
