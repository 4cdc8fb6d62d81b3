//! Values in unit files and tmpfiles.d(5) that an image wrote, escaped for the place where they stand.
//!
//! A value never adds a line, a setting, a command or a field. `before` is the text in front of it, in which earlier values are
//! escaped already. An error says why a value cannot stand there.

use super::lines;

/// Settings that systemd splits into words, with quotes and C escapes, besides command lines.
const WORD_SETTINGS: [&str; 5] =
    ["Environment", "PassEnvironment", "UnsetEnvironment", "LogExtraFields", "SetCredential"];

/// Escapes a value for a unit file: specifiers and, in command lines, quotes and variables are taken literally.
pub fn unit_value(before: &str, value: &str) -> Result<String, &'static str> {
    if value.chars().any(|c| c.is_control() && c != '\t') {
        return Err("control characters are not allowed in a unit file");
    }
    if lines::is_comment(lines::last_line(before)) {
        return Ok(value.to_owned());
    }
    let line = lines::last_logical_line(before);
    let Some((key, assigned)) = line.split_once('=') else {
        let is_word = value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
        return if is_word {
            Ok(value.to_owned())
        } else {
            Err("it would add a line or a setting to the unit")
        };
    };
    let is_command = key.trim().starts_with("Exec");
    let has_words = is_command || WORD_SETTINGS.contains(&key.trim());
    if !has_words && value.ends_with('\\') {
        return Err("the backslash at its end would continue the line");
    }
    let is_quoted = has_open_quote(assigned);
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '%' => out.push_str("%%"),
            '$' if is_command => out.push_str("$$"),
            '\\' | '"' | '\'' if has_words => out.extend(['\\', c]),
            // Alone between spaces it would begin another command.
            ';' if is_command && !is_quoted => out.push_str("\\x3b"),
            _ => out.push(c),
        }
    }
    Ok(out)
}

/// Returns whether a list of words ends inside quotes.
fn has_open_quote(text: &str) -> bool {
    let (mut quote, mut is_escaped, mut is_word_start) = (None, false, true);
    for c in text.chars() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' | '\'' if quote.is_none() && is_word_start => quote = Some(c),
            _ if quote == Some(c) => quote = None,
            _ => {}
        }
        // Quotes open at the start of a word, and after `KEY=` in assignments.
        is_word_start = c.is_whitespace() || c == '=';
    }
    quote.is_some()
}

/// Fields of a tmpfiles.d(5) line before the last one, which is the rest of the line and taken without quotes.
const TMPFILES_FIELDS: usize = 6;

/// Escapes a value for tmpfiles.d(5): it stays within one field.
pub fn tmpfiles_value(before: &str, value: &str) -> Result<String, &'static str> {
    if value.chars().any(|c| c.is_control() && c != '\t') {
        return Err("control characters are not allowed in tmpfiles");
    }
    let (fields, is_quoted) = tmpfiles_fields(lines::last_line(before));
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '%' => out.push_str("%%"),
            '\\' => out.push_str("\\\\"),
            ' ' if fields == TMPFILES_FIELDS => out.push_str("\\x20"),
            '\t' if fields == TMPFILES_FIELDS => out.push_str("\\t"),
            // Before version 254 systemd knows no escapes of other characters here, but quotes may open anywhere.
            ' ' | '\t' if !is_quoted => out.extend(['"', c, '"']),
            '"' | '\'' if fields < TMPFILES_FIELDS => out.extend(['\\', c]),
            _ => out.push(c),
        }
    }
    Ok(out)
}

/// Returns how many fields of a line are complete, and whether quotes are open at its end.
fn tmpfiles_fields(line: &str) -> (usize, bool) {
    let (mut fields, mut quote, mut is_escaped, mut is_inside) = (0, None, false, false);
    for c in line.chars() {
        match c {
            _ if fields == TMPFILES_FIELDS => break,
            _ if is_escaped => is_escaped = false,
            '\\' => (is_escaped, is_inside) = (true, true),
            '"' | '\'' if quote.is_none() => (quote, is_inside) = (Some(c), true),
            _ if quote == Some(c) => quote = None,
            _ if quote.is_some() => {}
            _ if c.is_whitespace() => {
                fields += usize::from(is_inside);
                is_inside = false;
            }
            _ => is_inside = true,
        }
    }
    (fields, quote.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(before: &str, value: &str) -> Option<String> {
        unit_value(before, value).ok()
    }

    #[test]
    fn units_take_no_lines_settings_or_commands_from_values() {
        let percent = "50%$x\"y'z\\";
        for (before, value, expected) in [
            ("Description=", "one 1", "one 1"),
            ("ExecStart=/bin/echo \"", percent, "50%%$$x\\\"y\\'z\\\\"),
            ("ExecStart=/bin/echo ", "; /bin/evil", "\\x3b /bin/evil"),
            ("ExecStart=/bin/echo \\\n ", "a b", "a b"),
            ("Environment=\"A=", "a b", "a b"),
            ("# see ", "ExecStartPre=/bin/evil", "ExecStartPre=/bin/evil"),
            ("ExecStart=\\\n# why\n  ", "ExecStartPre=/bin/evil", "ExecStartPre=/bin/evil"),
            ("[Service]\n", "", ""),
            ("[X-", "Mine", "Mine"),
        ] {
            assert_eq!(unit(before, value).as_deref(), Some(expected), "{before}");
        }
        for (before, value) in [
            ("Description=", "a\nExecStartPre=/bin/evil"),
            ("", "ExecStartPre=/bin/evil"),
            ("[Service]\n", "ExecStartPre=/bin/evil"),
            ("Description=", "a\\"),
        ] {
            assert_eq!(unit(before, value), None, "{before}");
        }
    }

    #[test]
    fn tmpfiles_values_stay_in_their_field() {
        for (before, value, expected) in [
            ("d /x/", "a b", "a\" \"b"),
            ("d \"/x/", "a b", "a b"),
            ("f '/x y' 0 - - - ", "a b", "a\\x20b"),
            ("# x\nd /", "a\\", "a\\\\"),
            ("d ", "50%", "50%%"),
        ] {
            assert_eq!(tmpfiles_value(before, value).as_deref(), Ok(expected), "{before}");
        }
        assert!(tmpfiles_value("d ", "a\nd /b").is_err());
    }
}
