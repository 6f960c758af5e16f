//! Finds quotation marks that were left open: they swallow rows up to the next quotation mark.
//! Everything here is pure.

use csv::ByteRecord;

use super::cell;
use super::header::Columns;

/// What makes a row one of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowShape {
    width: usize,
    id: usize,
    /// Whether the users are identified by e-mail addresses or other keys instead of IDs.
    has_keys: bool,
    flag: Option<usize>,
}

impl RowShape {
    pub(super) fn new(columns: &Columns) -> Self {
        Self {
            width: columns.width,
            id: columns.id,
            has_keys: columns.has_keys,
            flag: columns.flag,
        }
    }

    /// Returns whether a record would be a valid row of the table.
    fn fits(&self, record: &ByteRecord) -> bool {
        if record.len() != self.width {
            return false;
        }
        let is_flag = match self.flag {
            Some(flag) => cell::flag(&record[flag]).is_ok(),
            None => true,
        };
        let user = &record[self.id];
        let is_user = if self.has_keys {
            user.contains(&b'@')
        } else {
            cell::is_user_id(user)
        };
        is_flag && is_user
    }
}

/// Returns the first line within a record's cells that would be a row of the table by itself: the
/// number of line ends before it. The last line of a cell counts together with the cells behind it.
pub(super) fn swallowed_row(record: &ByteRecord, delimiter: u8, shape: &RowShape) -> Option<u64> {
    let mut line_ends = 0;
    for (index, cell) in record.iter().enumerate() {
        let lines = lines(cell);
        for (number, line) in (0..).zip(&lines).skip(1) {
            let is_last = number + 1 == lines.len();
            let behind = record.len() - index - 1;
            let most_cells = 1 + memchr::memchr_iter(delimiter, line).count();
            // Most lines have too few delimiters and need not be parsed.
            if most_cells < shape.width && !(is_last && most_cells + behind >= shape.width) {
                continue;
            }
            let alone = parse(line, delimiter);
            let mut together = alone.clone();
            if is_last {
                together.extend(record.iter().skip(index + 1));
            }
            if shape.fits(&alone) || shape.fits(&together) {
                return Some(line_ends + number as u64);
            }
        }
        line_ends += lines.len() as u64 - 1;
    }
    None
}

/// Splits a text at LF, CRLF and CR.
fn lines(text: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut start = 0;
    for at in memchr::memchr2_iter(b'\n', b'\r', text) {
        let is_second_half = text[at] == b'\n' && at > 0 && text[at - 1] == b'\r';
        if is_second_half {
            start = at + 1;
            continue;
        }
        lines.push(&text[start..at]);
        start = at + 1;
    }
    lines.push(&text[start..]);
    lines
}

fn parse(line: &[u8], delimiter: u8) -> ByteRecord {
    if memchr::memchr(b'"', line).is_none() {
        return line.split(|byte| *byte == delimiter).collect();
    }
    let mut record = ByteRecord::new();
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(false)
        .flexible(true)
        .from_reader(line);
    // A slice is read without errors; an empty line leaves the record empty.
    let _ = reader.read_byte_record(&mut record);
    record
}

/// Returns the position of a quotation mark that opens a cell and is not closed at the cell's end.
pub(super) fn stray_quote(raw: &[u8], delimiter: u8) -> Option<usize> {
    let mut at = 0;
    while at < raw.len() {
        if raw[at] != b'"' {
            let ends = |b: &u8| *b == delimiter || matches!(b, b'\n' | b'\r');
            at += raw[at..].iter().position(ends)? + 1;
            continue;
        }
        let opened = at;
        at += 1;
        loop {
            at += memchr::memchr(b'"', &raw[at..])? + 1;
            match raw.get(at) {
                Some(b'"') => at += 1,
                Some(after) if *after != delimiter && !matches!(after, b'\n' | b'\r') => {
                    return Some(opened);
                }
                _ => break,
            }
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHAPE: RowShape = RowShape {
        width: 3,
        id: 0,
        has_keys: false,
        flag: Some(1),
    };

    fn swallowed(cells: &[&str], shape: RowShape) -> Option<u64> {
        swallowed_row(&ByteRecord::from_iter(cells), b',', &shape)
    }

    #[test]
    fn a_line_that_would_be_a_row_is_found() {
        let cells = ["1701", "yes", "call first\n1702,no,ok\n1703,yes,fine"];
        assert_eq!(swallowed(&cells, SHAPE), Some(1));
        let cells = ["1701", "yes", "a\r\nb\r\n1702,no,ok"];
        assert_eq!(swallowed(&cells, SHAPE), Some(2));
    }

    #[test]
    fn the_last_line_counts_together_with_the_cells_behind_it() {
        let shape = RowShape {
            id: 1,
            flag: Some(2),
            ..SHAPE
        };
        assert_eq!(swallowed(&["Jo\nAl", "1702", "no"], shape), Some(1));
        assert_eq!(swallowed(&["Jo\n\"Al", "1702", "no"], shape), Some(1));
    }

    #[test]
    fn ordinary_lines_are_no_rows() {
        for note in [
            "12 Main St\nSpringfield, 12345\nUSA",
            "1702\n1703",
            "1702,no\n1703,no",
            "1702,maybe,x\nO'Brien,no,x",
            "1702,no,a,b",
            "\n\n",
        ] {
            assert_eq!(swallowed(&["1701", "yes", note], SHAPE), None, "{note:?}");
        }
    }

    #[test]
    fn without_a_flag_column_the_width_and_the_id_decide() {
        let shape = RowShape {
            width: 2,
            id: 0,
            has_keys: false,
            flag: None,
        };
        assert_eq!(swallowed(&["1701", "x\n1702,y"], shape), Some(1));
        assert_eq!(swallowed(&["1701", "x\nJo,y"], shape), None);
    }

    #[test]
    fn a_swallowed_row_of_a_table_of_people_is_found() {
        let shape = RowShape {
            has_keys: true,
            ..SHAPE
        };
        let cells = ["jo@example.com", "yes", "call\nal@example.com,no,ok"];
        assert_eq!(swallowed(&cells, shape), Some(1));
        assert_eq!(
            swallowed(&["jo@example.com", "yes", "a\nb,no,c"], shape),
            None
        );
    }

    #[test]
    fn stray_quotes_are_found_where_they_open() {
        assert_eq!(stray_quote(b"5,\"a\n6,\"b\",c", b','), Some(2));
        assert_eq!(stray_quote(b"5,\"a\n6\",b", b','), None);
        assert_eq!(stray_quote(b"5,\"a \"\"b\"\"\n\",c", b','), None);
    }

    proptest! {
        #[test]
        fn rows_swallowed_by_an_open_quote_are_found(
            notes in prop::collection::vec("[a-z ]{0,8}", 2..8),
            opened in any::<prop::sample::Index>(),
        ) {
            // A quotation mark is left open in one row and closes at the end of the last.
            let opened = opened.index(notes.len() - 1);
            let mut rows = vec!["user_id,opt_out,note".to_owned()];
            for (row, note) in notes.iter().enumerate() {
                let open = if row == opened { "\"" } else { "" };
                let close = if row + 1 == notes.len() { "\"" } else { "" };
                rows.push(format!("{},yes,{open}{note}{close}", 1700 + row));
            }
            let table = rows.join("\n");
            let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(table.as_bytes());
            let found = reader.byte_records().any(|record| {
                swallowed_row(&record.unwrap(), b',', &SHAPE).is_some()
            });
            prop_assert!(found);
        }
    }
}
