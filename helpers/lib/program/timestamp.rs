//! Points in time, as RFC 3339 writes them: the same for people and programs, wherever this runs.

/// How many days 400 years have, after which the calendar repeats.
const ERA: i64 = 146_097;
/// Seconds of a day.
const DAY: i64 = 86_400;

/// The text of a time in seconds since 1970, which is text, too; `None` if it is not a number, or before 1970.
pub fn of_seconds(seconds: &str) -> Option<String> {
    let seconds: i64 = seconds.parse().ok().filter(|seconds| (0..=i64::MAX / 4).contains(seconds))?;
    let (year, month, day) = date(seconds / DAY);
    let time = seconds % DAY;
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"))
}

/// Year, month and day of a day since 1970.
fn date(days: i64) -> (i64, i64, i64) {
    // Years begin in March here, so that the day that some years have more is their last one.
    let days = days + 719_468;
    let (era, day_of_era) = (days / ERA, days % ERA);
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / (ERA - 1)) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let is_next = month >= 10;
    (era * 400 + year + i64::from(is_next), if is_next { month - 9 } else { month + 3 }, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates() {
        for (seconds, expected) in [
            ("0", "1970-01-01T00:00:00Z"),
            ("951782399", "2000-02-28T23:59:59Z"),
            ("951782400", "2000-02-29T00:00:00Z"),
            ("1700000001", "2023-11-14T22:13:21Z"),
            ("1709164800", "2024-02-29T00:00:00Z"),
            ("4107542400", "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(of_seconds(seconds).as_deref(), Some(expected));
        }
        for none in ["", "-1", "x", "1.5", "99999999999999999999"] {
            assert_eq!(of_seconds(none), None, "{none}");
        }
    }
}
