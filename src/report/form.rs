//! The form of a report of text, which is that of the input: delimiter, line ends, byte order mark.
//! If the input is a workbook, or if the report will be one, rows have commas and line feeds. No
//! I/O.

use std::path::Path;

use crate::domain::{LineEnd, TableFormat};
use crate::journal::files::is_workbook;

/// Name of the encoding of every report, and of inputs that need no byte order mark in theirs.
const UTF_8: &str = "UTF-8";

/// The form of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReportForm {
    pub(super) delimiter: u8,
    line_end: LineEnd,
    /// Whether the report begins with a byte order mark: if the input does, and if it is not UTF-8,
    /// because programs for which it was made do not expect UTF-8 without one.
    pub(super) byte_order_mark: bool,
}

impl Default for ReportForm {
    /// Returns the form of the journal.
    fn default() -> Self {
        Self {
            delimiter: b',',
            line_end: LineEnd::Lf,
            byte_order_mark: false,
        }
    }
}

impl ReportForm {
    /// Returns the form in which the rows of the report of an input are written. A workbook is made
    /// of rows in the form of the journal.
    pub(super) fn of(input: &TableFormat, report: &Path) -> Self {
        if is_workbook(report) {
            // The reader of the rows drops a byte order mark, and the first cell may begin with
            // one.
            return Self {
                byte_order_mark: true,
                ..Self::default()
            };
        }
        let TableFormat::Text {
            encoding,
            byte_order_mark,
            delimiter,
            line_end,
            ..
        } = input
        else {
            return Self::default();
        };
        Self {
            delimiter: u8::try_from(*delimiter).unwrap_or(b','),
            line_end: *line_end,
            byte_order_mark: *byte_order_mark || encoding != UTF_8,
        }
    }

    /// Writes a row with its line end. `row` is CSV as the journal has it: with commas, and with
    /// quotes around every cell that contains a comma, a quote or a line break.
    pub(super) fn write_row(self, out: &mut Vec<u8>, row: &[u8]) {
        if self.delimiter == b',' {
            out.extend_from_slice(row);
        } else {
            self.write_cells(out, row);
        }
        out.extend_from_slice(self.line_end.bytes());
    }

    fn write_cells(self, out: &mut Vec<u8>, row: &[u8]) {
        let mut rest = row;
        loop {
            let length = cell_length(rest);
            let cell = &rest[..length];
            let is_quoted = cell.starts_with(b"\"");
            if !is_quoted && memchr::memchr(self.delimiter, cell).is_some() {
                out.push(b'"');
                out.extend_from_slice(cell);
                out.push(b'"');
            } else {
                out.extend_from_slice(cell);
            }
            if length == rest.len() {
                return;
            }
            out.push(self.delimiter);
            rest = &rest[length + 1..];
        }
    }
}

/// Returns the length of the first cell of a row, with its quotes.
fn cell_length(row: &[u8]) -> usize {
    if !row.starts_with(b"\"") {
        return memchr::memchr(b',', row).unwrap_or(row.len());
    }
    let mut is_open = false;
    for place in memchr::memchr2_iter(b'"', b',', row) {
        if row[place] == b'"' {
            is_open = !is_open;
        } else if !is_open {
            return place;
        }
    }
    row.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::text::push_csv_cell;

    fn text(delimiter: char, line_end: LineEnd, encoding: &str) -> TableFormat {
        TableFormat::Text {
            encoding: encoding.to_owned(),
            byte_order_mark: false,
            gzip: false,
            delimiter,
            line_end,
            sep_line: false,
        }
    }

    #[test]
    fn a_report_has_the_delimiter_and_line_ends_of_its_input() {
        let input = text(';', LineEnd::CrLf, UTF_8);
        let form = ReportForm::of(&input, Path::new("users.report.csv"));
        let mut out = Vec::new();
        form.write_row(&mut out, b"1,\"a,b\",c;d,,\"e\"\"f\"");
        assert_eq!(out, b"1;\"a,b\";\"c;d\";;\"e\"\"f\"\r\n");
        let rows_of_workbook = ReportForm::of(&input, Path::new("users.report.xlsx"));
        assert_eq!(
            (rows_of_workbook.delimiter, rows_of_workbook.line_end),
            (b',', LineEnd::Lf)
        );
    }

    #[test]
    fn a_report_has_a_byte_order_mark_if_its_input_is_not_utf_8() {
        for (encoding, byte_order_mark) in [(UTF_8, false), ("windows-1252", true)] {
            let input = text(',', LineEnd::Lf, encoding);
            let form = ReportForm::of(&input, Path::new("users.report.csv"));
            assert_eq!(form.byte_order_mark, byte_order_mark);
        }
    }

    proptest! {
        #[test]
        fn every_cell_reads_back_with_every_delimiter(
            cells in prop::collection::vec("[a;|\t,\"\r\n ]{0,5}", 1..6),
            delimiter in prop::sample::select(vec![',', ';', '\t', '|']),
            line_end in prop::sample::select(vec![LineEnd::Lf, LineEnd::CrLf]),
        ) {
            let mut row = Vec::new();
            for (number, cell) in cells.iter().enumerate() {
                if number > 0 {
                    row.push(b',');
                }
                push_csv_cell(&mut row, cell.as_bytes());
            }
            // The row's own cells follow, so that no row is a blank line.
            row.extend_from_slice(b",end");
            let mut out = Vec::new();
            let input = text(delimiter, line_end, UTF_8);
            ReportForm::of(&input, Path::new("report")).write_row(&mut out, &row);
            let mut reader = csv::ReaderBuilder::new()
                .delimiter(u8::try_from(delimiter).unwrap())
                .has_headers(false)
                .from_reader(out.as_slice());
            let read: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
            prop_assert_eq!(read.len(), 1);
            let read: Vec<&str> = read[0].iter().take(cells.len()).collect();
            prop_assert_eq!(read, cells);
        }
    }
}
