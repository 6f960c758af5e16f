//! Rows that came before their turn, held back until it comes. Pure: decides by row numbers and sizes alone, so that two
//! readings of one journal decide alike. No files.

use std::collections::BinaryHeap;

use crate::domain::RowNumber;

/// How much is held back.
pub(super) const LIMITS: Limits = Limits {
    rows: 4096,
    bytes: 16 << 20,
};

/// What the window may hold at most, give or take the last row.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) rows: usize,
    pub(super) bytes: usize,
}

/// A row that waits for its turn.
pub(super) struct Held {
    pub(super) row: RowNumber,
    /// Its length in the journal, in bytes.
    pub(super) size: usize,
    /// What is to be written, where that is wanted.
    pub(super) load: Vec<u8>,
}

// A heap gives the greatest first; the row whose turn comes first is the greatest here.
impl Ord for Held {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.row.cmp(&self.row)
    }
}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.row == other.row
    }
}

impl Eq for Held {}

/// How much the window may go on holding.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fill {
    UpToLimit,
    /// The journal is at its end: every row that is here comes out.
    Nothing,
}

/// Whose turn it is.
pub(super) enum Turn {
    /// A row that was held.
    Here(Held),
    /// A row that has been overtaken by the whole window.
    Elsewhere(RowNumber),
    /// A row that has had its turn.
    Twice(RowNumber),
}

/// The rows that are held, and whose turn it is.
pub(super) struct Window {
    limits: Limits,
    /// The row that is to come out next.
    pub(super) turn: RowNumber,
    held: BinaryHeap<Held>,
    bytes: usize,
}

impl Window {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            turn: 1,
            held: BinaryHeap::new(),
            bytes: 0,
        }
    }

    pub(super) fn has_passed(&self, row: RowNumber) -> bool {
        row < self.turn
    }

    pub(super) fn push(&mut self, row: Held) {
        self.bytes += row.size;
        self.held.push(row);
    }

    /// `None` until more rows are here.
    pub(super) fn next(&mut self, fill: Fill) -> Option<Turn> {
        let first = self.held.peek()?.row;
        let over = fill == Fill::Nothing
            || self.held.len() > self.limits.rows
            || self.bytes > self.limits.bytes;
        if first > self.turn {
            self.turn += u64::from(over);
            return over.then(|| Turn::Elsewhere(self.turn - 1));
        }
        let row = self.held.pop()?;
        self.bytes -= row.size;
        if row.row < self.turn {
            return Some(Turn::Twice(row.row));
        }
        self.turn += 1;
        Some(Turn::Here(row))
    }
}
