//! What a sheet says about its rows and cells besides their values: hidden rows, merged cells, rows
//! of totals.

use std::fmt;

use roaring::RoaringBitmap;

use super::row::column_letters;

/// The largest number of merged areas that are kept for messages.
pub(super) const MAX_MERGED: usize = 10_000;

/// The largest number of rows that a sheet can have in Excel and in `LibreOffice`.
pub(super) const MAX_ROWS: u32 = 1_048_576;

/// Facts about the rows and cells of a sheet. Rows are counted from 0.
#[derive(Clone, Debug, Default)]
pub(super) struct SheetMarks {
    /// The rows that a spreadsheet program does not show.
    pub(super) hidden_rows: RoaringBitmap,
    /// The areas of merged cells, of which only the first cell holds a value.
    pub(super) merged: Vec<CellRange>,
    /// The rows of totals that the sheet's tables declare.
    pub(super) totals: Vec<CellRange>,
    /// Whether the sheet has formulas without their results.
    pub(super) has_missing_results: bool,
}

impl SheetMarks {
    /// Notes an area of merged cells.
    pub(super) fn add_merged(&mut self, range: CellRange) {
        if self.merged.len() < MAX_MERGED {
            self.merged.push(range);
        }
    }
}

/// A rectangle of cells. Rows and columns are counted from 0 and the last ones are included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CellRange {
    pub(super) first_row: u32,
    pub(super) last_row: u32,
    pub(super) first_column: u32,
    pub(super) last_column: u32,
}

impl CellRange {
    /// Parses a range such as `A1:C5`, or a single cell.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once(':').unwrap_or((text, text));
        let (first_row, first_column) = parse_cell(first)?;
        let (last_row, last_column) = parse_cell(last)?;
        Some(Self {
            first_row,
            last_row,
            first_column,
            last_column,
        })
    }

    /// Returns whether a cell lies within the range.
    pub(super) fn contains(&self, row: u32, column: u32) -> bool {
        (self.first_row..=self.last_row).contains(&row) && self.has_column(column)
    }

    /// Returns whether a column goes through the range.
    pub(super) fn has_column(&self, column: u32) -> bool {
        (self.first_column..=self.last_column).contains(&column)
    }
}

impl fmt::Display for CellRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}{}:{}{}",
            column_letters(self.first_column as usize),
            self.first_row + 1,
            column_letters(self.last_column as usize),
            self.last_row + 1
        )
    }
}

fn parse_cell(text: &str) -> Option<(u32, u32)> {
    let text = text.trim().replace('$', "");
    let digits = text.find(|c: char| c.is_ascii_digit())?;
    let (letters, row) = text.split_at(digits);
    let mut column = 0_u32;
    for letter in letters.bytes() {
        if !letter.is_ascii_alphabetic() {
            return None;
        }
        let value = u32::from(letter.to_ascii_uppercase() - b'A') + 1;
        column = column.checked_mul(26)?.checked_add(value)?;
    }
    let row: u32 = row.parse().ok()?;
    Some((row.checked_sub(1)?, column.checked_sub(1)?))
}

/// Returns rows in words, counted from 1, such as `rows 3, 5 to 7 and 4 more`; at most ten
/// stretches are listed.
pub(super) fn rows_in_words(rows: &RoaringBitmap) -> String {
    const LISTED: usize = 10;
    let mut stretches: Vec<(u32, u32)> = Vec::new();
    let mut listed = 0_u64;
    for row in rows {
        let row = row + 1;
        let continued = stretches.last_mut().filter(|(_, last)| *last + 1 == row);
        if let Some((_, last)) = continued {
            *last = row;
        } else if stretches.len() == LISTED {
            break;
        } else {
            stretches.push((row, row));
        }
        listed += 1;
    }
    let words: Vec<String> = stretches
        .iter()
        .map(|(first, last)| match last - first {
            0 => first.to_string(),
            1 => format!("{first}, {last}"),
            _ => format!("{first} to {last}"),
        })
        .collect();
    let more = match rows.len() - listed {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let noun = if rows.len() == 1 { "row" } else { "rows" };
    format!("{noun} {}{more}", words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_written_as_a_spreadsheet_does() {
        let range = CellRange::parse("B2:AA14").unwrap();
        assert_eq!(range.to_string(), "B2:AA14");
        assert!(range.contains(1, 1) && range.contains(13, 26));
        assert!(!range.contains(0, 1) && !range.contains(1, 27));
        assert_eq!(CellRange::parse("$C$3").unwrap().to_string(), "C3:C3");
        for text in ["", "A", "7", "A0", "1A:B2", "A1:"] {
            assert_eq!(CellRange::parse(text), None, "{text}");
        }
    }

    #[test]
    fn rows_are_listed_in_stretches() {
        let words = |rows: &[u32]| rows_in_words(&RoaringBitmap::from_iter(rows));
        assert_eq!(words(&[2]), "row 3");
        assert_eq!(words(&[2, 4, 5, 6, 9, 10]), "rows 3, 5 to 7, 10, 11");
        let many: Vec<u32> = (0..24).step_by(2).collect();
        assert_eq!(
            words(&many),
            "rows 1, 3, 5, 7, 9, 11, 13, 15, 17, 19 and 2 more"
        );
    }
}
