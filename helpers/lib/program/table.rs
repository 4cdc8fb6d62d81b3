//! Tables for people.

use crate::program::log;

/// Rows of cells as lines, with cells of one column below each other.
pub fn format<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..COLUMNS).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{:<width$}", log::printable(cell)));
        out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let rows = [["a", "b"], ["long", "x\u{1b}[1m"]].map(|row| row.map(str::to_owned));
        assert_eq!(format(&rows), "a     b\nlong  x\u{fffd}[1m\n");
    }
}
