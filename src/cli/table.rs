//! Tables: columns padded with two spaces between them, nothing after the last.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::text::escape;

/// Lays out rows; each line ends with a line feed. What cells hold is escaped, so that a row is a
/// line and a cell stays in its column.
pub(super) fn table<R: AsRef<[String]>>(rows: &[R]) -> String {
    let rows: Vec<Vec<Cow<'_, str>>> = rows
        .iter()
        .map(|row| row.as_ref().iter().map(|cell| escape(cell)).collect())
        .collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            write!(line, "{cell:width$}  ").expect("writing to a string does not fail");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_without_trailing_blanks() {
        let rows = [["Node", "Address", "DC"], ["a-long-name", "10.0.0.1", ""]];
        let rows = rows.map(|row| row.map(str::to_owned));
        assert_eq!(
            table(&rows),
            "Node         Address   DC\na-long-name  10.0.0.1\n"
        );
    }

    #[test]
    fn a_cell_can_neither_end_its_line_nor_move_its_neighbours() {
        let rows = [["Node", "DC"], ["a\u{1b}[2J\nb", "dc1"]];
        let rows = rows.map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows), "Node           DC\na\\u{1b}[2J\\nb  dc1\n");
    }
}
