//! Text that is not JSON: where, and why.

use crate::system::record;

/// Returns the byte where text stops being JSON, the last one that was read.
pub fn error_offset(text: &str, error: &serde_json::Error) -> usize {
    let start: usize = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    // serde_json counts columns in bytes.
    let mut at = (start + error.column().saturating_sub(1)).min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Returns why text is not JSON, without the place.
pub fn reason(error: &serde_json::Error) -> String {
    format!("invalid JSON: {}", record::reason(error))
}
