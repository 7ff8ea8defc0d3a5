//! Columns that line up.

use std::fmt;

/// A table of text, each column as wide as its widest cell.
pub(crate) struct Table {
    /// The heads come first; every row is as long as they are.
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(heads: &[&str]) -> Self {
        assert!(!heads.is_empty(), "a table has columns");
        Self { rows: vec![heads.iter().map(|&head| head.to_owned()).collect()] }
    }

    pub(crate) fn push(&mut self, row: impl IntoIterator<Item = String>) {
        let row: Vec<String> = row.into_iter().collect();
        assert_eq!(Some(row.len()), self.rows.first().map(Vec::len), "a cell for every head");
        self.rows.push(row);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.first().map_or(0, Vec::len);
        let mut widths = vec![0; columns];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        for row in &self.rows {
            let cells = widths.iter().zip(row).map(|(&width, cell)| format!("{cell:width$}"));
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_with_their_last_letter() {
        let mut table = Table::new(&["node", "role", ""]);
        table.push(["1", "leader", "läuft"].map(str::to_owned));
        table.push(["22222", "-", ""].map(str::to_owned));
        assert_eq!(table.to_string(), "node   role\n1      leader  läuft\n22222  -\n");
    }
}
