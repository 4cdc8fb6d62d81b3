//! Time spans in the format of systemd.time(7): `7d`, `1h 30min`, `infinity`.

use std::time::Duration;

use crate::error::{Error, Result};

/// Units in microseconds, with their names.
const UNITS: [(f64, &[&str]); 7] = [
    (604_800e6, &["w", "week", "weeks"]),
    (86_400e6, &["d", "day", "days"]),
    (3600e6, &["h", "hr", "hour", "hours"]),
    (60e6, &["m", "min", "minute", "minutes"]),
    (1e6, &["s", "sec", "second", "seconds", ""]),
    (1e3, &["ms", "msec"]),
    (1.0, &["us", "usec", "µs"]),
];

/// Parses a time span as written by people or `systemctl show`; a number without a unit means seconds.
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
    let is_digit = |c: char| c.is_ascii_digit() || c == '.';
    let (mut total, mut rest) = (Duration::ZERO, text);
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c| !is_digit(c)).unwrap_or(rest.len()));
        let after = after.trim_start();
        let (unit, after) = after.split_at(after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len()));
        let unit = UNITS.iter().find(|(_, names)| names.contains(&unit)).map(|(unit, _)| *unit);
        let begins_with_digit = number.starts_with(|c: char| c.is_ascii_digit());
        let number = if begins_with_digit { number.parse::<f64>().ok() } else { None };
        let part =
            number.zip(unit).and_then(|(number, unit)| Duration::try_from_secs_f64(number * unit / 1e6).ok());
        total = part.and_then(|part| total.checked_add(part)).ok_or_else(usage)?;
        rest = after.trim_start();
    }
    if text.is_empty() { Err(usage()) } else { Ok(total) }
}

/// Like [`parse`], of what has an end.
pub fn parse_finite(text: &str) -> Result<Duration> {
    match parse(text)? {
        Duration::MAX => Err(Error::usage("it must not be 'infinity'")),
        span => Ok(span),
    }
}

/// Formats a time span roughly: `3 days`.
pub fn about(span: Duration) -> String {
    if span == Duration::MAX {
        return "an unlimited time".into();
    }
    let seconds = span.as_secs();
    // Weeks would be too rough. Less than two of a unit are shown in a smaller one.
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
        for (text, milliseconds) in [
            ("1min 30s", 90_000),
            ("100ms", 100),
            ("1h 2min 3s 4ms", 3_723_004),
            ("1.5h", 5_400_000),
            ("500us", 0),
        ] {
            assert_eq!(parse(text).unwrap().as_millis(), milliseconds, "{text}");
        }
        assert_eq!(parse("infinity").unwrap(), Duration::MAX);
        assert_eq!(parse_finite("2min").unwrap(), Duration::from_secs(120));
        assert!(parse_finite("infinity").unwrap_err().is_usage() && parse_finite("x").is_err());
        for text in [
            "",
            " ",
            "d",
            "x",
            "-1",
            ".5h",
            "1.2.3s",
            "7 x",
            "1h infinity",
            "99999999999999999999999999",
            "99999999999999999999w",
        ] {
            assert!(parse(text).unwrap_err().is_usage(), "{text}");
        }
    }

    #[test]
    fn rough_time_spans() {
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
        assert_eq!(about(Duration::MAX), "an unlimited time");
    }
}
