//! Numbers of signals by the names that images use.

use nix::libc;
use nix::sys::signal::Signal;

/// Returns the number of a signal with a name as in images: `SIGQUIT`, `QUIT`, `3`, `SIGRTMIN+3`.
pub fn number(text: &str) -> Option<i32> {
    let number = match text.parse() {
        Ok(number) => number,
        Err(_) => {
            let name = text.to_ascii_uppercase();
            let name = name.strip_prefix("SIG").unwrap_or(&name);
            match name.strip_prefix("RTMIN").or_else(|| name.strip_prefix("RTMAX")) {
                Some("") if name == "RTMAX" => libc::SIGRTMAX(),
                Some("") => libc::SIGRTMIN(),
                Some(offset) if name.starts_with("RTMAX") => libc::SIGRTMAX() + offset.parse::<i32>().ok()?,
                Some(offset) => libc::SIGRTMIN() + offset.parse::<i32>().ok()?,
                None => format!("SIG{name}").parse::<Signal>().ok()? as i32,
            }
        }
    };
    (1..=libc::SIGRTMAX()).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_many_names() {
        for (text, expected) in [
            ("SIGQUIT", 3),
            ("term", 15),
            ("9", 9),
            ("SIGRTMIN+3", libc::SIGRTMIN() + 3),
            ("RTMAX-1", libc::SIGRTMAX() - 1),
        ] {
            assert_eq!(number(text), Some(expected), "{text}");
        }
        for text in ["", "0", "99", "SIGNOTHING", "RTMIN+99", "-1"] {
            assert_eq!(number(text), None, "{text}");
        }
    }
}
