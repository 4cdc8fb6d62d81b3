//! Modification times of files. libostree's objects have none, and all of its files are of 1970; web servers, Python and
//! make believe that. So a time is an attribute of the object: two files are one inode only if they have the same time,
//! and every checkout can give that to the inode, however often.
//!
//! It is read from the archive here, and [`crate::store::attributes`] makes it an attribute, which the checksum covers;
//! [`crate::store::checkout`] gives it to the inodes of a new deployment, before that has its name. Layers without times,
//! from Atomic, lack a key in their commit, and a pull fetches them.
//!
//! The beginning of 1970 has no attribute, so such an object is the same as in any other repository.

use rustix::fs::{Stat, Timespec, Timestamps};

/// Name of the attribute: only who has CAP_SYS_ADMIN on the host sees it, and symlinks may have it.
pub const ATTRIBUTE: &str = "trusted.syscontainers.mtime";
/// Seconds from which on times are absurd, those of the year 2262: in nanoseconds, they would have more than 63 bits.
const END: u64 = i64::MAX as u64 / 1_000_000_000;

/// When a file was last modified: from 1970 on, to 2262.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ModificationTime {
    seconds: u64,
    nanoseconds: u32,
}

impl ModificationTime {
    /// A time in whole seconds, as headers of archives have it. One that is absurd is the beginning of 1970, as
    /// container engines have it.
    pub fn of_seconds(seconds: u64) -> ModificationTime {
        ModificationTime { seconds, nanoseconds: 0 }.bounded()
    }

    /// A time in a PAX record, `[-]SECONDS[.FRACTION]`; `None` for anything else.
    pub fn of_record(value: &[u8]) -> Option<ModificationTime> {
        let text = std::str::from_utf8(value).ok()?;
        let (is_negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (seconds, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let are_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if seconds.is_empty() || !are_digits(seconds) || !are_digits(fraction) {
            return None;
        }
        if is_negative {
            return Some(ModificationTime::default());
        }
        // Too many digits for a number are too many for a time.
        let seconds = seconds.parse().unwrap_or(u64::MAX);
        let nanoseconds = fraction.bytes().chain([b'0'; 9]).take(9);
        let nanoseconds = nanoseconds.fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
        Some(ModificationTime { seconds, nanoseconds }.bounded())
    }

    fn bounded(self) -> ModificationTime {
        if self.seconds < END { self } else { ModificationTime::default() }
    }

    /// The attribute's value; `None` if there is none.
    pub fn to_attribute(self) -> Option<String> {
        let ModificationTime { seconds, nanoseconds } = self;
        match nanoseconds {
            0 if seconds == 0 => None,
            0 => Some(seconds.to_string()),
            _ => Some(format!("{seconds}.{nanoseconds:09}").trim_end_matches('0').to_owned()),
        }
    }

    /// Whether a file was modified then.
    pub fn is_of(self, stat: &Stat) -> bool {
        let time = self.timestamps().last_modification;
        (time.tv_sec, time.tv_nsec) == (stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(-1))
    }

    /// The same time as system calls take it, for the last access as well.
    pub fn timestamps(self) -> Timestamps {
        let time =
            Timespec { tv_sec: i64::try_from(self.seconds).unwrap_or(0), tv_nsec: self.nanoseconds.into() };
        Timestamps { last_access: time, last_modification: time }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_times_from_1970_to_2262() {
        for (record, attribute) in [
            ("1700000000", Some("1700000000")),
            ("1700000000.5", Some("1700000000.5")),
            ("1700000000.000000001", Some("1700000000.000000001")),
            ("1700000000.123456789987654321", Some("1700000000.123456789")),
            ("1700000000.0000000009", Some("1700000000")),
            ("0.25", Some("0.25")),
            ("00012.", Some("12")),
            ("9223372035.999999999", Some("9223372035.999999999")),
            ("0", None),
            ("-1", None),
            ("-0.5", None),
            ("9223372036", None),
            ("18446744073709551615", None),
            ("999999999999999999999999999999", None),
        ] {
            let time = ModificationTime::of_record(record.as_bytes()).unwrap();
            assert_eq!(time.to_attribute().as_deref(), attribute, "{record}");
            // What is written is read as the same time.
            if let Some(attribute) = attribute {
                assert_eq!(ModificationTime::of_record(attribute.as_bytes()).unwrap(), time);
            }
        }
        for record in ["", "-", ".5", "1e9", "nan", "+1", "1.2.3", "1.-5", " 1", "\u{0661}"] {
            assert_eq!(ModificationTime::of_record(record.as_bytes()), None, "{record}");
        }
        assert_eq!(ModificationTime::of_record(b"\xff"), None);
    }

    #[test]
    fn headers_have_seconds() {
        assert_eq!(ModificationTime::of_seconds(7).to_attribute().as_deref(), Some("7"));
        assert_eq!(ModificationTime::of_seconds(u64::MAX), ModificationTime::default());
        let timestamps = ModificationTime::of_record(b"3.000000004").unwrap().timestamps();
        let time = timestamps.last_modification;
        assert_eq!((time.tv_sec, time.tv_nsec), (3, 4));
    }
}
