//! Human-readable tables.

use unicode_width::UnicodeWidthStr;

use crate::program::text;

/// Formats rows of cells as lines with aligned columns, by their width on a terminal.
pub fn format<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let rows: Vec<[String; COLUMNS]> =
        rows.iter().map(|row| row.each_ref().map(|cell| text::printable(cell))).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].width()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..COLUMNS).map(width).collect();
    let mut out = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.push_str(&" ".repeat(width - cell.width() + 2));
        }
        out.push_str(line.trim_end());
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
        assert_eq!(format(&rows), "a     b\nlong  x\\x1b[1m\n");
        let rows = [["漢字", "a"], ["e\u{301}", "b"]].map(|row| row.map(str::to_owned));
        assert_eq!(format(&rows), "漢字  a\ne\u{301}     b\n");
    }
}
