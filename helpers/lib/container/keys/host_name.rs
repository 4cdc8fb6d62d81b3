//! `HostName=`: what a container is called.

use crate::error::{Error, Result};

/// Length of a host name at most, which is the kernel's.
const MAX: usize = 64;

/// [`crate::container::settings::Key::check`] of host names.
pub fn check(text: &str) -> Result<()> {
    let is_label = |label: &str| {
        let is_good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        !label.is_empty() && label.chars().all(is_good) && !label.starts_with('-') && !label.ends_with('-')
    };
    if text.len() > MAX {
        return Err(Error::new(format!("a host name has {MAX} characters at most")));
    }
    if text.split('.').all(is_label) {
        return Ok(());
    }
    Err(Error::new("it is not a host name: letters, digits and hyphens, in parts that are separated by dots"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_have_labels() {
        let long = "a".repeat(65);
        for bad in ["a b", "-a", "a-", "a.", ".a", "a..b", "ä", &long] {
            assert!(check(bad).is_err(), "{bad}");
        }
        for good in ["a", "web-1.example", &long[1..]] {
            assert!(check(good).is_ok(), "{good}");
        }
    }
}
