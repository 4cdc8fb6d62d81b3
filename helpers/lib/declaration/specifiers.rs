//! Specifiers in values of a declaration: those of systemd.unit(5) that say what the unit is called.

use std::borrow::Cow;

use crate::name::Name;

/// All specifiers, for messages and the manual.
pub const ALL: &str = "%i, %I, %n, %N, %p and %%";

/// Replaces specifiers. The error is a text that is none.
pub fn expand<'a>(value: &'a str, name: &Name) -> Result<Cow<'a, str>, String> {
    if !value.contains('%') {
        return Ok(Cow::Borrowed(value));
    }
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let mut after = rest[at + 1..].chars();
        match after.next() {
            Some('i') => out.push_str(name.instance().unwrap_or_default()),
            Some('I') => out.push_str(&name.instance().unwrap_or_default().replace('-', "/")),
            Some('n') => out.push_str(&name.unit()),
            Some('N') => out.push_str(name.as_str()),
            Some('p') => out.push_str(name.prefix()),
            Some('%') => out.push('%'),
            other => return Err(format!("%{}", other.map(String::from).unwrap_or_default())),
        }
        rest = after.as_str();
    }
    out.push_str(rest);
    Ok(Cow::Owned(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_unit() {
        let expanded = |value: &str, name: &str| expand(value, &name.parse().unwrap()).map(Cow::into_owned);
        let all = "%i|%I|%n|%N|%p|%%|%%i";
        assert_eq!(expanded(all, "web@a-b").unwrap(), "a-b|a/b|web@a-b.service|web@a-b|web|%|%i");
        assert_eq!(expanded(all, "web").unwrap(), "||web.service|web|web|%|%i");
        assert_eq!(expanded("plain", "web").unwrap(), "plain");
        for (value, wrong) in [("a%", "%"), ("50% off", "% "), ("%h/x", "%h"), ("%ä", "%ä")] {
            assert_eq!(expanded(value, "web").unwrap_err(), wrong);
        }
    }
}
