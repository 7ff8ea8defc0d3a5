//! What a benchmark says: one row per setting, as a table for people and as JSON for machines.
//!
//! Both come from the same row, so they cannot disagree. A row is printed and written as soon as it is
//! measured: whoever ends a long run early keeps what is done.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

/// Characters of a column in the table; a name that is longer widens its own.
const COLUMN_MIN: usize = 9;

/// One column: its name in the table's head and in the JSON object.
type Column = &'static str;

/// A report could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ReportError {
    /// The file that `--json` names cannot be written.
    #[error("cannot write {}: {cause}; name a file in a directory that you may write to", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// Standard output is gone.
    #[error("cannot print the table: {0}; use --json FILE to keep the figures")]
    Table(#[from] io::Error),
}

/// A table that grows by a row at a time.
pub(crate) struct Report<W> {
    /// Where the table goes.
    out: W,
    /// Where the JSON goes, if anywhere.
    json: Option<PathBuf>,
    /// The columns, from left to right; every row has a value or a gap for each.
    columns: Vec<Column>,
    /// The rows so far, as JSON objects.
    rows: Vec<Value>,
}

impl<W: Write> Report<W> {
    /// Prints the caption and the head, and writes a file without rows, so that a path that cannot be
    /// written is known before anything is measured.
    ///
    /// # Errors
    /// `Json` and `Table`, as for [`Report::row`].
    pub(crate) fn new(
        mut out: W,
        json: Option<&Path>,
        caption: &str,
        columns: Vec<Column>,
    ) -> Result<Self, ReportError> {
        let head: Vec<String> = columns.iter().map(|name| right(name, name)).collect();
        writeln!(out, "{caption}\n{}", head.join("  "))?;
        out.flush()?;
        let report = Self { out, json: json.map(Path::to_path_buf), columns, rows: Vec::new() };
        report.write_json()?;
        Ok(report)
    }

    /// Adds a row: one value per column, `None` for what was not measured (a dash in the table, absent in the JSON).
    ///
    /// # Errors
    /// `Json`: the file cannot be written. `Table`: standard output cannot.
    pub(crate) fn row(&mut self, values: &[Option<f64>]) -> Result<(), ReportError> {
        assert_eq!(values.len(), self.columns.len(), "a row needs a value or a gap for each column");
        let cells: Vec<String> = self
            .columns
            .iter()
            .zip(values)
            .map(|(name, value)| right(name, &value.map_or("-".into(), people)))
            .collect();
        writeln!(self.out, "{}", cells.join("  "))?;
        self.out.flush()?;
        let measured = self.columns.iter().zip(values).filter_map(|(name, value)| Some((*name, (*value)?)));
        let object: Map<String, Value> = measured.map(|(name, value)| (name.to_owned(), machines(value))).collect();
        self.rows.push(Value::Object(object));
        self.write_json()
    }

    fn write_json(&self) -> Result<(), ReportError> {
        let Some(path) = &self.json else { return Ok(()) };
        let rows = Value::Array(self.rows.clone());
        let text = format!("{}\n", Value::Object(Map::from_iter([("rows".to_owned(), rows)])));
        fs::write(path, text).map_err(|cause| ReportError::Json { path: path.clone(), cause })
    }
}

/// `text` at the right edge of the column called `name`.
fn right(name: &str, text: &str) -> String {
    format!("{text:>width$}", width = name.len().max(COLUMN_MIN))
}

/// A figure as people read it: whole ones with separators, small ones with two places.
fn people(value: f64) -> String {
    if value.fract() == 0.0 || value.abs() >= 100.0 {
        let digits = format!("{value:.0}");
        let head = digits.len() % 3;
        let mut text = String::with_capacity(digits.len() * 4 / 3);
        for (place, digit) in digits.chars().enumerate() {
            if place > 0 && place % 3 == head {
                text.push(',');
            }
            text.push(digit);
        }
        text
    } else {
        format!("{value:.2}")
    }
}

/// A figure as machines read it: whole ones as integers, others to four places.
fn machines(value: f64) -> Value {
    if value.fract() == 0.0 && (0.0..1e15).contains(&value) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and in range by the test")]
        let whole = value as u64;
        return Value::from(whole);
    }
    Value::from((value * 1e4).round() / 1e4)
}

#[cfg(test)]
mod tests {
    use super::{Report, ReportError, people};
    use std::fs;
    use std::path::Path;

    #[test]
    fn a_row_reads_the_same_in_the_table_and_in_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("figures.json");
        let mut table = Vec::new();
        let mut report =
            Report::new(&mut table, Some(&file), "rates a second", vec!["clients", "peer", "ours", "ratio"]).unwrap();
        report.row(&[Some(64.0), Some(365_000.25), Some(1_460_001.0), Some(4.000_04)]).unwrap();
        report.row(&[Some(1.0), Some(12_700.0), None, None]).unwrap();
        let lines = String::from_utf8(table).unwrap();
        let expected = "\
rates a second
  clients       peer       ours      ratio
       64    365,000  1,460,001       4.00
        1     12,700          -          -
";
        assert_eq!(lines, expected);
        let json: serde_json::Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        let expected = serde_json::json!({"rows": [
            {"clients": 64, "peer": 365_000.25, "ours": 1_460_001, "ratio": 4.0},
            {"clients": 1, "peer": 12_700},
        ]});
        assert_eq!(json, expected);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_refused_before_anything_is_measured() {
        let file = Path::new("/nowhere/figures.json");
        let refused = Report::new(Vec::new(), Some(file), "", vec!["clients"]);
        assert!(matches!(refused.err(), Some(ReportError::Json { .. })));
    }

    #[test]
    fn thousands_are_told_apart() {
        let figures = [0.0, 7.0, 0.957, 99.994, 100.4, 999.0, 1_000.0, 12_345.6, 1_234_567.0];
        let texts: Vec<String> = figures.into_iter().map(people).collect();
        assert_eq!(texts, ["0", "7", "0.96", "99.99", "100", "999", "1,000", "12,346", "1,234,567"]);
    }
}
