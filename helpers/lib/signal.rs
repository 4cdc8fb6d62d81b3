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
            match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
                (Some(offset), _) => realtime(libc::SIGRTMIN(), offset)?,
                (None, Some(offset)) => realtime(libc::SIGRTMAX(), offset)?,
                (None, None) => format!("SIG{name}").parse::<Signal>().ok()? as i32,
            }
        }
    };
    (1..=libc::SIGRTMAX()).contains(&number).then_some(number)
}

/// The real-time signal that is so far from another one, if there is one.
fn realtime(from: i32, offset: &str) -> Option<i32> {
    let offset = if offset.is_empty() { 0 } else { offset.parse().ok()? };
    // Others that a sum may lead to have names of their own, or none.
    from.checked_add(offset).filter(|number| (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(number))
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
            ("RTMAX", libc::SIGRTMAX()),
            ("sigrtmin", libc::SIGRTMIN()),
        ] {
            assert_eq!(number(text), Some(expected), "{text}");
        }
        for text in [
            "",
            "0",
            "99",
            "SIGNOTHING",
            "RTMIN+99",
            "-1",
            "SIGRTMIN+2147483647",
            "SIGRTMIN-2147483648",
            "RTMAX+2147483647",
            "RTMAX+1",
            "RTMIN-19",
            "RTMAX-63",
            "RTMIN+",
        ] {
            assert_eq!(number(text), None, "{text}");
        }
    }
}
