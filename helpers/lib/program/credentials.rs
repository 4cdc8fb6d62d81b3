//! Credentials in texts: those in URLs and image references, and queries of URLs, which may be signed.
//!
//! Messages reach terminals, the journal and bug reports. Whatever a text is made of, nothing in it that may be a
//! password is shown.

/// Shown in place of what is hidden.
const HIDDEN: &str = "***";

/// What a digest begins with.
const ALGORITHMS: [&str; 3] = ["sha256:", "sha384:", "sha512:"];

/// What a quote may follow that begins a quoted text, where the text before is not a blank.
const OPENERS: [char; 5] = ['=', '(', '[', '{', ','];

/// The text with credentials hidden. Words are what is between blanks; what is between quotes is one word.
pub fn concealed(text: &str) -> String {
    let (mut result, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '"' => end_of_quoted(rest),
            _ if first.is_whitespace() => first.len_utf8(),
            _ => end_of_word(rest),
        };
        let (word, after) = rest.split_at(end);
        result.push_str(&conceal_word(word));
        rest = after;
    }
    result
}

/// Where the quoted text ends that a text begins with. A quote behind a backslash belongs to it.
fn end_of_quoted(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Where the word ends that a text begins with: at a blank, or at a quote that begins a text of its own. Other quotes
/// may be part of a password.
fn end_of_word(text: &str) -> usize {
    let (mut is_begun, mut is_url, mut last) = (false, false, ' ');
    for (at, c) in text.char_indices() {
        if c.is_whitespace() || c == '"' && !is_url && (!is_begun || OPENERS.contains(&last)) {
            return at;
        }
        is_begun = is_begun || c.is_alphanumeric();
        is_url = is_url || c == '/' && last == '/';
        last = c;
    }
    text.len()
}

fn conceal_word(word: &str) -> String {
    let is_url = word.contains("//");
    let begin = word.find("//").map_or_else(|| word.len() - word.trim_start_matches('"').len(), |at| at + 2);
    let (head, tail) = word.split_at(begin);
    // Without a URL, `x@y` is the name of a unit or a mail address, and a path may contain anything.
    let has_credentials = |at: usize| is_url || (tail[..at].contains(':') && !tail.starts_with('/'));
    let tail = match at_sign(tail).filter(|at| has_credentials(*at)) {
        Some(at) => format!("{HIDDEN}{}", &tail[at..]),
        None => tail.to_owned(),
    };
    match tail.split_once('?') {
        Some((path, query)) if is_url && !query.trim_matches(['"', ':', ',']).is_empty() => {
            let closing = if query.ends_with('"') { "\"" } else { "" };
            format!("{head}{path}?{HIDDEN}{closing}")
        }
        _ => format!("{head}{tail}"),
    }
}

/// An image reference that is not valid, with everything hidden that may be a user name, a password or a token.
pub fn concealed_reference(text: &str) -> String {
    // Queries come last, since a password may contain a question mark.
    let text = match at_sign(text) {
        Some(at) => {
            let begin = text[..at].find("//").map_or(0, |begin| begin + 2);
            format!("{}{HIDDEN}{}", &text[..begin], &text[at..])
        }
        None => text.to_owned(),
    };
    match text.split_once('?') {
        Some((name, _)) => format!("{name}?{HIDDEN}"),
        None => text,
    }
}

/// Whether a name begins with a user name or a password, as in `USER:PASSWORD@HOST`.
pub fn are_in(name: &str) -> bool {
    at_sign(name).is_some()
}

/// The last `@` that is not before a digest. Passwords may contain the others.
fn at_sign(text: &str) -> Option<usize> {
    // Only the last one can be before a digest.
    let is_digest = |after: &str| {
        ALGORITHMS.iter().any(|algorithm| after.starts_with(algorithm)) && !after.contains(['/', '@'])
    };
    text.rmatch_indices('@').map(|(at, _)| at).find(|at| !is_digest(&text[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_hidden_wherever_they_are() {
        for (text, shown) in [
            ("cannot open docker://user:pw@host/x: no", "cannot open docker://***@host/x: no"),
            ("\"docker://user:p w@host/x\": no", "\"docker://***@host/x\": no"),
            ("pull user:p@ss/w@rd@host:5000/x", "pull ***@host:5000/x"),
            ("\"user:pw@host/x\"", "\"***@host/x\""),
            ("docker://token@host/x", "docker://***@host/x"),
            ("user:pw@localhost:5000", "***@localhost:5000"),
            (
                "Get \"https://a:b@s3.example/blob?X-Amz-Signature=abc&x=1\": dial",
                "Get \"https://***@s3.example/blob?***\": dial",
            ),
            ("at https://host/token?service=x, again", "at https://host/token?*** again"),
            ("http://user:pw@proxy:3128: refused", "http://***@proxy:3128: refused"),
            (r#"argument "docker://user:s3\"cr et@host/app": no"#, r#"argument "docker://***@host/app": no"#),
            (r#"at docker://user:s3"cret@host/app: no"#, "at docker://***@host/app: no"),
            (r#"at user:s3"cret@host/app: no"#, "at ***@host/app: no"),
            (r#"at user:s3\"cret@host/app: no"#, "at ***@host/app: no"),
            (
                r#"--source="u:p w@host/app", {"x":"u:p w@host"}"#,
                r#"--source="***@host/app", {"x":"***@host"}"#,
            ),
            ("docker://user:s3?cret@host/app?x", "docker://***@host/app?***"),
            ("u:p@sha256:12@sha256:34", "***@sha256:12@sha256:34"),
        ] {
            assert_eq!(concealed(text), shown);
        }
    }

    #[test]
    fn every_byte_is_looked_at_a_few_times_whatever_it_is() {
        for piece in ["@sha256:", "@", "\"", "\\\"", "//", "x:@sha256:1 ", "?"] {
            let (text, begin) = (piece.repeat(300_000), std::time::Instant::now());
            concealed(&text);
            concealed_reference(&text);
            assert!(begin.elapsed().as_secs() < 10, "{piece} takes {:?}", begin.elapsed());
        }
    }

    #[test]
    fn everything_else_is_shown() {
        let digest = format!("r.io/x:1@sha256:{}", "ab".repeat(32));
        for text in [
            "syscontainer-fetch@web.service: failed",
            "cannot read /srv/a:b@c: no such file",
            "docker://r.io:5000/x@sha256:12ab: unknown",
            &digest,
            "docker://r.io/x:1: what? no",
            "write to me@example.com: now",
            "\"unbalanced  \t quotes \u{e4}",
            "",
        ] {
            assert_eq!(concealed(text), text);
        }
    }

    #[test]
    fn references_show_only_where_they_lead() {
        for (text, shown) in [
            ("docker://user:pw@host/x", "docker://***@host/x"),
            ("user:p w@host/x?y", "***@host/x?***"),
            ("https://host/x?token=a@b", "https://***@b"),
            ("https://host/x?token=a", "https://host/x?***"),
            ("docker://user:s3?cret@host/app", "docker://***@host/app"),
            ("user:s3\"c?ret@host/app?x", "***@host/app?***"),
            ("ftp://u:p@sha256:zz@host/x@sha256:12ab", "ftp://***@host/x@sha256:12ab"),
            ("r/x@sha256:12", "r/x@sha256:12"),
        ] {
            assert_eq!(concealed_reference(text), shown);
        }
    }
}
