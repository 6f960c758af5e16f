//! Records: the result of a row, as it is put into the journal.

use std::time::Duration;

use super::{Flag, LineNumber, Outcome, RowNumber};

/// The maximum length of a record's detail, in characters.
pub const MAX_DETAIL: usize = 500;

/// The result of one row: everything in the report except the row's own cells and the time of day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The number of the row.
    pub row: RowNumber,
    /// The place of the row in the input, or `None` if the row is not in the input.
    pub line: Option<LineNumber>,
    /// The outcome of the row.
    pub outcome: Outcome,
    /// The flag that the row asked for, or `None` if that can't be told.
    pub wanted: Option<Flag>,
    /// The status of the last response, or `None` if there was none.
    pub http_status: Option<u16>,
    /// The number of requests sent for the row.
    pub attempts: u32,
    /// The time from the first request to the last response, or zero if nothing was sent.
    pub elapsed: Duration,
    /// One line for a person, at most [`MAX_DETAIL`] characters, possibly empty. No code parses it.
    pub detail: String,
}

impl Record {
    /// Returns the record of a row for which nothing is sent.
    #[must_use]
    pub fn unsent(
        row: RowNumber,
        line: Option<LineNumber>,
        outcome: Outcome,
        wanted: Option<Flag>,
        detail: String,
    ) -> Self {
        Self {
            row,
            line,
            outcome,
            wanted,
            http_status: None,
            attempts: 0,
            elapsed: Duration::ZERO,
            detail,
        }
    }
}
