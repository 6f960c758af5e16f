//! A row of cells and where it stands in its file. These types have no knowledge of how a file is
//! read.

use std::fmt;

use csv::ByteRecord;

use super::cell_error::CellError;
use crate::domain::{LineNumber, UserId};

/// The largest number of columns that a table may have, which is the number of columns of a sheet
/// in Excel.
pub const MAX_COLUMNS: usize = 16_384;

/// The position of a row in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The physical line on which the row begins, from 1.
    Line(u64),
    /// A row of a worksheet.
    Sheet {
        /// Number of the row, from 1, as the spreadsheet program shows it.
        row: u32,
        /// The column of the row's first cell, where 0 is `A`.
        first_column: u32,
    },
}

impl Place {
    /// Returns the number of the line, or of the row of the sheet.
    #[must_use]
    pub fn number(self) -> LineNumber {
        match self {
            Self::Line(line) => line,
            Self::Sheet { row, .. } => row.into(),
        }
    }

    /// Returns the place of one of the row's cells, counted from 0: `17`, or `B17` in a sheet.
    #[must_use]
    pub fn of_cell(self, cell: usize) -> String {
        match self {
            Self::Line(line) => line.to_string(),
            Self::Sheet { row, first_column } => {
                format!("{}{row}", column_letters(first_column as usize + cell))
            }
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Sheet { row, .. } => write!(f, "row {row} of the sheet"),
        }
    }
}

/// Returns the name of a column of a sheet, where 0 is `A` and 26 is `AA`.
pub(super) fn column_letters(column: usize) -> String {
    let letter = char::from(b'A' + u8::try_from(column % 26).unwrap_or(0));
    match column / 26 {
        0 => letter.to_string(),
        above => column_letters(above - 1) + &letter.to_string(),
    }
}

/// The cells of a row as text. Its buffers are reused for the next row.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// The cells, in UTF-8.
    pub cells: ByteRecord,
    /// Facts about cells that their text does not show, by the cell's index.
    pub notes: Vec<(usize, CellNote)>,
    /// The first filled cell of a sheet's row that stands outside of the table, by its column in
    /// the sheet.
    pub stray_column: Option<u32>,
    /// What a directory says about the row's key and where the row stands, if it was read ahead.
    pub read_ahead: Option<(Result<UserId, CellError>, Place)>,
}

impl Row {
    /// Returns the fact that is noted about a cell.
    #[must_use]
    pub fn note(&self, cell: usize) -> Option<CellNote> {
        let found = self.notes.iter().find(|(noted, _)| *noted == cell)?;
        Some(found.1)
    }
}

/// A fact about a cell of a spreadsheet that its text does not show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellNote {
    /// The cell is a number of 10^15 or more, of which a spreadsheet keeps only 15 digits.
    LongNumber,
    /// The cell is a date or a time.
    Date,
    /// The cell is computed from other rows by a function such as SUM or COUNT.
    Aggregate,
    /// The cell is declared to be a truth value, but is neither true nor false.
    OddBoolean,
}

impl CellNote {
    /// Returns the letter that stands for the note in the private copy of a sheet.
    pub(super) fn letter(self) -> char {
        match self {
            Self::LongNumber => 'n',
            Self::Date => 'd',
            Self::Aggregate => 'a',
            Self::OddBoolean => 'b',
        }
    }

    /// Returns the note that a letter stands for.
    pub(super) fn from_letter(letter: &str) -> Option<Self> {
        [
            Self::LongNumber,
            Self::Date,
            Self::Aggregate,
            Self::OddBoolean,
        ]
        .into_iter()
        .find(|note| letter == note.letter().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_named_as_in_a_spreadsheet() {
        let names = [0, 25, 26, 701, 702, MAX_COLUMNS - 1].map(column_letters);
        assert_eq!(names, ["A", "Z", "AA", "ZZ", "AAA", "XFD"]);
    }

    #[test]
    fn every_note_is_read_back_from_its_letter() {
        for note in [
            CellNote::LongNumber,
            CellNote::Date,
            CellNote::Aggregate,
            CellNote::OddBoolean,
        ] {
            assert_eq!(
                CellNote::from_letter(&note.letter().to_string()),
                Some(note)
            );
        }
    }
}
