//! `Ulimit=` and `ShmSize=`: limits of a payload.

use crate::error::{Error, Result};

/// The names of limits that podman-run(1) knows, and that runtimes do.
const LIMITS: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// A limit of the resources of a process, setrlimit(2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ulimit {
    /// Its name as in runtime configurations: `RLIMIT_NOFILE`.
    pub kind: String,
    /// What holds unless the process changes it.
    pub soft: u64,
    /// Up to what it may.
    pub hard: u64,
}

/// Parses `NAME=SOFT[:HARD]`.
pub fn ulimit(text: &str) -> Result<Ulimit> {
    let expected = || Error::new("expected NAME=SOFT[:HARD], as in nofile=1024:4096");
    let (name, values) = text.split_once('=').ok_or_else(expected)?;
    if !LIMITS.contains(&name) {
        return Err(Error::new(format!("unknown limit {name:?}: expected one of {}", LIMITS.join(", "))));
    }
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let number = |text: &str| match text {
        "-1" | "unlimited" => Ok(u64::MAX),
        _ if text.starts_with('+') => Err(expected()),
        _ => text.parse::<u64>().map_err(|_| expected()),
    };
    let (soft, hard) = (number(soft)?, number(hard)?);
    if soft > hard {
        return Err(Error::new("its soft limit is above its hard one"));
    }
    Ok(Ulimit { kind: format!("RLIMIT_{}", name.to_ascii_uppercase()), soft, hard })
}

/// [`crate::container::settings::Key::check`] of limits.
pub fn check_ulimit(text: &str) -> Result<()> {
    ulimit(text).map(|_| ())
}

/// Parses a size, a number of bytes with or without one of the units b, k, m, g and t, which are powers of 1024.
pub fn size(text: &str) -> Result<u64> {
    let expected =
        || Error::new("expected a size such as 64m: a number, and one of the units b, k, m, g and t");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" => 10,
        "m" | "mb" => 20,
        "g" | "gb" => 30,
        "t" | "tb" => 40,
        _ => return Err(expected()),
    };
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.parse::<u64>().ok().filter(|number| is_number && *number > 0);
    let size = number.and_then(|number| number.checked_mul(1 << shift));
    size.filter(|size| i64::try_from(*size).is_ok()).ok_or_else(expected)
}

/// [`crate::container::settings::Key::check`] of sizes.
pub fn check_size(text: &str) -> Result<()> {
    size(text).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_pairs() {
        let limit = |kind: &str, soft, hard| Ulimit { kind: kind.into(), soft, hard };
        assert_eq!(ulimit("nofile=10").unwrap(), limit("RLIMIT_NOFILE", 10, 10));
        assert_eq!(ulimit("nproc=10:20").unwrap(), limit("RLIMIT_NPROC", 10, 20));
        assert_eq!(ulimit("core=-1").unwrap(), limit("RLIMIT_CORE", u64::MAX, u64::MAX));
        for (bad, reason) in [
            ("nofile", "expected NAME=SOFT[:HARD], as in nofile=1024:4096"),
            ("nofile=x", "expected NAME=SOFT[:HARD], as in nofile=1024:4096"),
            ("nofile=+1", "expected NAME=SOFT[:HARD], as in nofile=1024:4096"),
            ("nofile=1:", "expected NAME=SOFT[:HARD], as in nofile=1024:4096"),
            ("nofile=20:10", "its soft limit is above its hard one"),
            ("nofile=-1:10", "its soft limit is above its hard one"),
        ] {
            assert_eq!(ulimit(bad).unwrap_err().to_string(), reason, "{bad}");
        }
        assert!(
            ulimit("files=1")
                .unwrap_err()
                .to_string()
                .starts_with("unknown limit \"files\": expected one of as, core, ")
        );
    }

    #[test]
    fn sizes_have_units() {
        for (text, expected) in
            [("1", 1), ("3b", 3), ("64k", 65536), ("2M", 2 << 20), ("1gb", 1 << 30), ("3T", 3 << 40)]
        {
            assert_eq!(size(text).unwrap(), expected, "{text}");
        }
        for bad in ["", "m", "0", "-1", "+1", "1.5m", "1p", "1 m", "99999999999g", "9223372036854775808"] {
            assert!(size(bad).unwrap_err().to_string().starts_with("expected a size"), "{bad}");
        }
    }
}
