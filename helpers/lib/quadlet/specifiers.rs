//! Specifiers and variables in values. podman writes values into a command line of a unit, where systemd replaces both.

/// Specifiers that declarations have, too.
const COMMON: &str = "iInNp%";
/// Those that stand for the same on every host, in services of the system.
const FIXED: [(char, &str); 12] = [
    ('t', "/run"),
    ('S', "/var/lib"),
    ('C', "/var/cache"),
    ('L', "/var/log"),
    ('E', "/etc"),
    ('T', "/tmp"),
    ('V', "/var/tmp"),
    ('h', "/root"),
    ('u', "root"),
    ('U', "0"),
    ('g', "root"),
    ('G', "0"),
];

/// A word of podman's command line, as a value of a declaration has to be written for the same.
pub fn translate(word: &str) -> Result<String, String> {
    unescape_variables(&expand_fixed(word)?)
}

fn expand_fixed(word: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = word.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match rest.next() {
            Some(c) if COMMON.contains(c) => out.extend(['%', c]),
            Some(c) => match FIXED.iter().find(|(fixed, _)| *fixed == c) {
                Some((_, text)) => out.push_str(text),
                // systemd takes what is no specifier as it is.
                None if !c.is_ascii_alphabetic() => out.extend(['%', '%', c]),
                None => return Err(format!("declarations have no specifier %{c}; write what it stands for")),
            },
            None => out.push_str("%%"),
        }
    }
    Ok(out)
}

/// systemd replaces `${NAME}` anywhere and `$NAME` where it is a word, by variables of the unit, not of the payload.
fn unescape_variables(word: &str) -> Result<String, String> {
    let is_replaced = word.starts_with('$') && !word.starts_with("$$");
    if is_replaced || word.replace("$$", "").contains("${") {
        return Err(
            "with podman, systemd replaces the variable in it; write its value, or $$ for a dollar sign"
                .into(),
        );
    }
    Ok(word.replace("$$", "$"))
}

/// A value with an example of what its specifiers stand for, for a look at it.
pub fn example(value: &str, service: &str) -> String {
    let (prefix, instance) = service.split_once('@').unwrap_or((service, ""));
    let instance = if service.ends_with('@') { "instance" } else { instance };
    let whole = if service.ends_with('@') { format!("{service}instance") } else { service.to_owned() };
    let mut out = String::new();
    let mut rest = value.chars();
    while let Some(c) = rest.next() {
        match if c == '%' { rest.next() } else { None } {
            None => out.push(c),
            Some('i') => out.push_str(instance),
            Some('I') => out.push_str(&instance.replace('-', "/")),
            Some('n') => out.push_str(&format!("{whole}.service")),
            Some('N') => out.push_str(&whole),
            Some('p') => out.push_str(prefix),
            Some(other) => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_declarations_have_stays() {
        for (word, expected) in [
            ("%i-%I %n %N %p 5%%", "%i-%I %n %N %p 5%%"),
            ("%t/%N:%h", "/run/%N:/root"),
            ("100%", "100%%"),
            ("50% x", "50%% x"),
            ("date $$HOME $HOME", "date $HOME $HOME"),
            ("A=$B", "A=$B"),
            ("$${x}", "${x}"),
        ] {
            assert_eq!(translate(word).as_deref(), Ok(expected), "{word}");
        }
        for word in ["%m", "%H", "x%j", "$HOME", "a${B}c", "$$${B}", "$"] {
            assert!(translate(word).is_err(), "{word}");
        }
    }

    #[test]
    fn examples_have_what_specifiers_stand_for() {
        assert_eq!(example("%p %N %n %i %%", "web"), "web web web.service  %");
        assert_eq!(example("%p %N %n %i", "web@"), "web web@instance web@instance.service instance");
        assert_eq!(example("%p %i", "web@a"), "web a");
    }
}
