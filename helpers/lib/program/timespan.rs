//! Spans of time, as systemd.time(7) writes them: `7d`, `1h 30min`, `infinity`.

use std::time::Duration;

use crate::error::{Error, Result};

/// Units with their names, in seconds, largest first.
const UNITS: [(u64, &[&str]); 5] = [
    (604_800, &["w", "week", "weeks"]),
    (86_400, &["d", "day", "days"]),
    (3600, &["h", "hr", "hour", "hours"]),
    (60, &["m", "min", "minute", "minutes"]),
    (1, &["s", "sec", "second", "seconds", ""]),
];

/// Reads whole numbers with units; a number alone is of seconds.
pub fn parse(text: &str) -> Result<Duration> {
    let text = text.trim();
    if text == "infinity" {
        return Ok(Duration::MAX);
    }
    let usage = || {
        Error::usage(format!(
            "invalid time span {text:?}: use numbers with w, d, h, min or s, as '7d' or '1h 30min', or 'infinity'"
        ))
    };
    let (mut total, mut rest) = (0u64, text);
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
        let after = after.trim_start();
        let (unit, after) =
            after.split_at(after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len()));
        let seconds = UNITS.iter().find(|(_, names)| names.contains(&unit)).map(|(seconds, _)| *seconds);
        let part = number.parse::<u64>().ok().zip(seconds).and_then(|(n, unit)| n.checked_mul(unit));
        total = part.and_then(|part| total.checked_add(part)).ok_or_else(usage)?;
        rest = after.trim_start();
    }
    if text.is_empty() { Err(usage()) } else { Ok(Duration::from_secs(total)) }
}

/// About how long it is, for people: `3 days`.
pub fn about(span: Duration) -> String {
    if span == Duration::MAX {
        return "ever".into();
    }
    let seconds = span.as_secs();
    // Weeks would be too rough, and what is less than two of a unit is told in smaller ones.
    let units = [(86_400, "days"), (3600, "hours"), (60, "minutes")];
    let unit = units.iter().find(|(unit, _)| seconds >= 2 * unit);
    let (unit, name) = unit.unwrap_or(&(1, "seconds"));
    format!("{} {name}", seconds / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        for (text, seconds) in [
            ("0", 0),
            ("7d", 604_800),
            ("1w", 604_800),
            ("1h 30min", 5400),
            ("1h30m", 5400),
            ("2 hours", 7200),
            ("90", 90),
            (" 3s ", 3),
        ] {
            assert_eq!(parse(text).unwrap(), Duration::from_secs(seconds), "{text}");
        }
        assert_eq!(parse("infinity").unwrap(), Duration::MAX);
        for text in [
            "",
            " ",
            "d",
            "x",
            "-1",
            "1.5h",
            "7 x",
            "1h infinity",
            "99999999999999999999",
            "9999999999999999w",
        ] {
            assert!(parse(text).unwrap_err().is_usage(), "{text}");
        }
    }

    #[test]
    fn for_people() {
        for (seconds, text) in [
            (0, "0 seconds"),
            (119, "119 seconds"),
            (120, "2 minutes"),
            (86_400, "24 hours"),
            (604_800, "7 days"),
            (864_000, "10 days"),
        ] {
            assert_eq!(about(Duration::from_secs(seconds)), text);
        }
        assert_eq!(about(Duration::MAX), "ever");
    }
}
