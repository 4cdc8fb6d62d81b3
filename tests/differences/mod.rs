//! How tests show what is not as expected.

use similar::TextDiff;

/// A unified diff of one file that is expected, or not (`None`), and one that is there, or not; empty if both
/// are the same.
pub fn unified_diff(name: &str, expected: Option<&str>, actual: Option<&str>) -> String {
    let note = match (expected, actual) {
        (Some(_), None) => format!("{name} is missing:\n"),
        (None, Some(_)) => format!("{name} is not expected:\n"),
        (expected, actual) if expected == actual => return String::new(),
        _ => String::new(),
    };
    let diff = TextDiff::from_lines(expected.unwrap_or_default(), actual.unwrap_or_default());
    let names = (format!("{name} (expected)"), format!("{name} (actual)"));
    format!("{note}{}", diff.unified_diff().context_radius(3).header(&names.0, &names.1))
}
