//! The form of a report, which is that of the input: delimiter, line ends, byte order mark. The
//! report of a workbook has commas and line feeds. No I/O.

use crate::domain::{LineEnd, TableFormat};

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
    /// Returns the form of the report of an input.
    pub(super) fn of(input: &TableFormat) -> Self {
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
        let form = ReportForm::of(&text(';', LineEnd::CrLf, UTF_8));
        let mut out = Vec::new();
        form.write_row(&mut out, b"1,\"a,b\",c;d,,\"e\"\"f\"");
        assert_eq!(out, b"1;\"a,b\";\"c;d\";;\"e\"\"f\"\r\n");
    }

    #[test]
    fn a_report_has_a_byte_order_mark_if_its_input_is_not_utf_8() {
        for (encoding, byte_order_mark) in [(UTF_8, false), ("windows-1252", true)] {
            let form = ReportForm::of(&text(',', LineEnd::Lf, encoding));
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
            ReportForm::of(&text(delimiter, line_end, UTF_8)).write_row(&mut out, &row);
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
