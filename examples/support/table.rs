//! A table for an 80-column terminal.

use std::fmt;

/// Rows of text under a heading. The first column is aligned to the left, the others to the right, unless
/// [`left`](Table::left) is used.
///
/// ```text
/// read       took
/// ───────────────
/// first   1.84 ms
/// second   310 ns
/// ```
#[derive(Clone, Debug)]
pub struct Table<const COLUMNS: usize> {
    rows: Vec<[String; COLUMNS]>,
    left: [bool; COLUMNS],
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    /// A table with this heading.
    pub fn new(heading: [&str; COLUMNS]) -> Self {
        Table {
            rows: vec![heading.map(str::to_owned)],
            left: std::array::from_fn(|column| column == 0),
        }
    }

    /// Aligns this column, counted from 0, to the left.
    pub fn left(mut self, column: usize) -> Self {
        self.left[column] = true;
        self
    }

    /// Adds a row.
    pub fn row<T: ToString>(&mut self, cells: [T; COLUMNS]) {
        self.rows.push(cells.map(|cell| cell.to_string()));
    }
}

impl<const COLUMNS: usize> fmt::Display for Table<COLUMNS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const GAP: usize = 3;
        // Counts characters, not bytes: µ and × are one column each.
        let widths: [usize; COLUMNS] = std::array::from_fn(|column| {
            let widths = self.rows.iter().map(|row| row[column].chars().count());
            widths.max().unwrap_or(0)
        });
        for (index, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
                let gap = if column == 0 { 0 } else { GAP };
                line += &" ".repeat(gap);
                line += &if self.left[column] {
                    format!("{cell:<width$}")
                } else {
                    format!("{cell:>width$}")
                };
            }
            writeln!(f, "  {}", line.trim_end())?;
            if index == 0 {
                let width = widths.iter().sum::<usize>() + GAP * (COLUMNS - 1);
                writeln!(f, "  {}", "─".repeat(width))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["read", "what", "took"]).left(1);
        table.row(["first", "miss", "1.84 ms"]);
        table.row(["second", "a hit", "5.1 µs"]);
        let expected = "  read     what       took
  ────────────────────────
  first    miss    1.84 ms
  second   a hit    5.1 µs
";
        assert_eq!(table.to_string(), expected);
    }
}
