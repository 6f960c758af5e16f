//! Brings rows into input order with bounded memory: rows that came early wait in a window until it
//! is their turn. Decides by row numbers and sizes alone, so that two passes over one journal
//! decide alike. No I/O.

use std::collections::BinaryHeap;

use crate::domain::RowNumber;

/// The limits of the window while a report is made.
pub(crate) const LIMITS: Limits = Limits {
    rows: 4096,
    bytes: 16 << 20,
};

/// The maximum content of a window, give or take one row.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
}

/// A row in the window.
pub(crate) struct WaitingRow {
    pub(crate) row: RowNumber,
    /// Length of its record in the journal, in bytes.
    pub(crate) size: usize,
    /// The row of the report, if it is needed.
    pub(crate) content: Vec<u8>,
}

// A heap returns the greatest element first, and the row with the lowest number has to come first.
impl Ord for WaitingRow {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.row.cmp(&self.row)
    }
}

impl PartialOrd for WaitingRow {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for WaitingRow {
    fn eq(&self, other: &Self) -> bool {
        self.row == other.row
    }
}

impl Eq for WaitingRow {}

/// What may stay in the window.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// As much as the limits allow.
    UpToLimits,
    /// Nothing, because the journal is at its end.
    Nothing,
}

/// The next row of the report.
pub(crate) enum NextRow {
    /// A row from the window.
    Ready(WaitingRow),
    /// A row that has not come although the window is full. It comes later in the journal.
    Missing(RowNumber),
    /// A row that has already been returned.
    Duplicate(RowNumber),
}

/// The window.
pub(crate) struct ReorderWindow {
    limits: Limits,
    /// The row that is returned next.
    pub(crate) next_row: RowNumber,
    waiting: BinaryHeap<WaitingRow>,
    bytes: usize,
}

impl ReorderWindow {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            next_row: 1,
            waiting: BinaryHeap::new(),
            bytes: 0,
        }
    }

    /// Checks whether it is too late for a row to go through the window.
    pub(crate) fn has_passed(&self, row: RowNumber) -> bool {
        row < self.next_row
    }

    pub(crate) fn push(&mut self, row: WaitingRow) {
        self.bytes += row.size;
        self.waiting.push(row);
    }

    /// Returns the next row, or `None` if more rows have to be pushed first.
    pub(crate) fn next(&mut self, keep: Keep) -> Option<NextRow> {
        let first = self.waiting.peek()?.row;
        if first > self.next_row {
            let is_full = self.waiting.len() > self.limits.rows || self.bytes > self.limits.bytes;
            if keep == Keep::UpToLimits && !is_full {
                return None;
            }
            self.next_row += 1;
            return Some(NextRow::Missing(self.next_row - 1));
        }
        let row = self.waiting.pop()?;
        self.bytes -= row.size;
        if row.row < self.next_row {
            return Some(NextRow::Duplicate(row.row));
        }
        self.next_row += 1;
        Some(NextRow::Ready(row))
    }
}
