//! The outcome of every row that a journal holds, for the register.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Seek};

use jiff::Timestamp;

use crate::domain::{Outcome, RowNumber};
use crate::journal::line::{JournalEntry, JournalReader, ReadStep};

/// The outcome of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowResult {
    /// Its outcome.
    pub outcome: Outcome,
    /// Status of the last response, if one came.
    pub http_status: Option<u16>,
    /// When the outcome was recorded.
    pub finished_at: Timestamp,
}

/// The outcomes of the recorded rows, by row number.
pub type RowResults = HashMap<RowNumber, RowResult>;

/// Reads the outcomes in the good part of a journal.
pub(crate) fn read(journal: &File) -> io::Result<RowResults> {
    let mut input = BufReader::with_capacity(1 << 16, journal);
    input.rewind()?;
    let mut results = RowResults::new();
    let mut reader = JournalReader::new(input);
    while reader.step()? == ReadStep::Record {
        if let (Some(JournalEntry::Row(row, finished)), _) = reader.record() {
            let result = RowResult {
                outcome: finished.outcome,
                http_status: finished.http_status,
                finished_at: finished.finished_at,
            };
            results.insert(row, result);
        }
    }
    Ok(results)
}
