//! What the user says about an input. Everything that is not said is detected.

use std::convert::Infallible;
use std::str::FromStr;

use encoding_rs::Encoding;

use crate::domain::{Flag, LineNumber};

/// How an input is to be read.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What the table holds.
    pub content: Content,
    /// The byte between two cells.
    pub delimiter: Option<u8>,
    /// The encoding of a text without a byte order mark.
    pub encoding: Option<&'static Encoding>,
    /// The name of the worksheet.
    pub sheet: Option<String>,
    /// The column of the user IDs.
    pub id_column: Option<ColumnChoice>,
    /// The column of the flags.
    pub flag_column: Option<ColumnChoice>,
    /// The column of the end dates.
    pub until_column: UntilChoice,
    /// The flag for all rows.
    pub set: Option<Flag>,
    /// The position of the header.
    pub header: HeaderChoice,
    /// Whether rows that are hidden in a workbook are left out.
    pub visible_only: bool,
    /// Largest size in bytes to which a compressed input may inflate; otherwise 200 times its size,
    /// at most 1 GiB.
    pub max_input: Option<u64>,
}

/// What a table holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Content {
    /// User IDs and flags.
    #[default]
    Users,
    /// Keys of people, whose IDs are in a directory, and flags.
    People {
        /// The column of the keys.
        key: Option<ColumnChoice>,
    },
    /// Keys of people and their user IDs.
    Directory {
        /// The column of the keys.
        key: Option<ColumnChoice>,
    },
}

/// A column that the user has chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnChoice {
    /// The column with this header, compared without regard to case, white space, `_` and `-`.
    Name(String),
    /// The column with this number, counted from 1.
    Number(usize),
}

impl FromStr for ColumnChoice {
    type Err = Infallible;

    /// Parses digits as a number and everything else as a name.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.trim().parse() {
            Ok(number) if !text.contains('+') => Self::Number(number),
            _ => Self::Name(text.to_owned()),
        })
    }
}

/// The user's choice of the column of end dates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum UntilChoice {
    /// The column is found by its header.
    #[default]
    Detect,
    /// No column holds end dates.
    Nothing,
    /// This column holds end dates.
    Column(ColumnChoice),
}

impl FromStr for UntilChoice {
    type Err = Infallible;

    /// Parses `none` as [`UntilChoice::Nothing`] and everything else as a column.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim().eq_ignore_ascii_case("none") {
            return Ok(Self::Nothing);
        }
        text.parse().map(Self::Column)
    }
}

/// The user's choice of the row that holds the header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeaderChoice {
    /// The header is looked for in the first rows.
    #[default]
    Detect,
    /// The table has no header.
    Absent,
    /// The header is in this line of the file, or row of the sheet.
    At(LineNumber),
}
