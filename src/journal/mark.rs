//! Decides how far ahead rows may be sent. A mark in the journal names the last row that may be
//! sent, and rows up to it may be sent once the mark is on disk. Rows that an earlier process
//! deferred are sent after all others, and a mark of their own allows them. After a kill or a power
//! cut, the rows that the last mark allowed and that have no outcome are in doubt. No I/O.

use std::time::Duration;

use roaring::RoaringTreemap;

use crate::domain::RowNumber;

/// The minimum number of rows that a mark is set ahead.
pub const MIN_ROWS_AHEAD: u64 = 64;

/// The rows that a mark allows to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AllowedRows {
    /// The last row, not counting deferred rows.
    pub(crate) row: RowNumber,
    /// Whether deferred rows may be sent.
    pub(crate) deferred: bool,
}

/// The marks of a journal: which rows may be sent, and when the next mark is due.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// The rows that earlier processes deferred.
    deferred: RoaringTreemap,
    /// The last mark, whether or not it is on disk.
    written: AllowedRows,
    /// The last mark that is on disk.
    synced: AllowedRows,
    /// How far ahead the last mark was set.
    ahead: u64,
    sent: SentPerSecond,
}

impl Marks {
    /// Returns the marks of a process that continues a run in which these rows were deferred.
    pub(crate) fn with_deferred(deferred: RoaringTreemap) -> Self {
        Self {
            deferred,
            ..Self::default()
        }
    }

    /// Checks whether a mark that covers this row is on disk.
    pub(crate) fn cover(&self, row: RowNumber) -> bool {
        if self.deferred.contains(row) {
            self.synced.deferred
        } else {
            row <= self.synced.row
        }
    }

    /// Counts a row that is sent at this time.
    pub(crate) fn count(&mut self, now: Duration) {
        self.sent.count(now);
    }

    /// Returns the next mark if sending `row` uses more than half of the last one, or if `row` is
    /// the first deferred row.
    pub(crate) fn next(&mut self, row: RowNumber, now: Duration) -> Option<AllowedRows> {
        if self.deferred.contains(row) {
            if self.written.deferred {
                return None;
            }
            self.written.deferred = true;
        } else {
            if row + self.ahead / 2 <= self.written.row {
                return None;
            }
            self.ahead = self.sent.in_the_last_second(now).max(MIN_ROWS_AHEAD);
            self.written.row = row - 1 + self.ahead;
        }
        Some(self.written)
    }

    /// Checks whether the last mark is not on disk yet.
    pub(crate) fn has_unsynced(&self) -> bool {
        self.written != self.synced
    }

    /// Returns the last mark.
    pub(crate) fn written(&self) -> AllowedRows {
        self.written
    }

    /// Takes note that a mark, and with it all earlier ones, is on disk.
    pub(crate) fn synced(&mut self, mark: AllowedRows) {
        self.synced = mark;
    }
}

/// A counter of the rows that are sent in each second.
#[derive(Debug, Default)]
struct SentPerSecond {
    second: u64,
    in_second: u64,
    in_second_before: u64,
}

impl SentPerSecond {
    fn count(&mut self, now: Duration) {
        self.go_to(now);
        self.in_second += 1;
    }

    /// Returns the larger of the counts of the current and of the last whole second.
    fn in_the_last_second(&mut self, now: Duration) -> u64 {
        self.go_to(now);
        self.in_second.max(self.in_second_before)
    }

    fn go_to(&mut self, now: Duration) {
        let second = now.as_secs();
        if second == self.second {
            return;
        }
        self.in_second_before = if second == self.second + 1 {
            self.in_second
        } else {
            0
        };
        self.in_second = 0;
        self.second = second;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_mark_is_set_64_rows_ahead_and_renewed_when_half_of_it_is_used() {
        let mut marks = Marks::default();
        let mut set = Vec::new();
        for row in 1..=200 {
            if let Some(mark) = marks.next(row, Duration::ZERO) {
                set.push((row, mark.row));
            }
        }
        assert_eq!(
            set,
            [
                (1, 64),
                (33, 96),
                (65, 128),
                (97, 160),
                (129, 192),
                (161, 224),
                (193, 256)
            ]
        );
    }

    #[test]
    fn a_fast_run_sets_its_marks_a_second_ahead() {
        let mut marks = Marks::default();
        for row in 1..=30_000 {
            let now = Duration::from_micros(100 * row);
            if let Some(AllowedRows { row: mark, .. }) = marks.next(row, now) {
                assert!(mark <= row + 10_000, "{mark} at row {row}");
                assert!(
                    now < Duration::from_secs(2) || mark >= row + 9_999,
                    "{mark} at row {row}"
                );
            }
            marks.count(now);
        }
    }

    #[test]
    fn a_run_that_has_become_slow_does_not_set_its_marks_far_ahead() {
        let mut marks = Marks::default();
        for row in 1..=1_000 {
            marks.next(row, Duration::ZERO);
            marks.count(Duration::ZERO);
        }
        let written = marks.written().row;
        let mark = marks.next(written + 1, Duration::from_mins(1)).unwrap();
        assert_eq!(mark.row, written + MIN_ROWS_AHEAD);
    }

    #[test]
    fn deferred_rows_are_covered_by_one_mark_of_their_own() {
        let mut marks = Marks::with_deferred([2, 90].into_iter().collect());
        let first = marks.next(1, Duration::ZERO).unwrap();
        assert_eq!((first.row, first.deferred), (64, false));
        marks.synced(first);
        assert!(marks.cover(3) && !marks.cover(2) && !marks.cover(90));

        let second = marks.next(2, Duration::ZERO).unwrap();
        assert_eq!((second.row, second.deferred), (64, true));
        assert!(!marks.cover(2), "it is not on disk yet");
        marks.synced(second);
        assert_eq!(marks.next(90, Duration::ZERO), None);
        assert!(marks.cover(2) && marks.cover(90) && !marks.cover(65));
    }

    proptest! {
        #[test]
        fn every_row_is_marked_before_it_is_sent_and_never_too_far_ahead(
            steps in prop::collection::vec((1..50_u64, 0..50_u64), 1..500),
        ) {
            let mut marks = Marks::default();
            let mut row = 0;
            let mut now = Duration::ZERO;
            let mut sent: Vec<Duration> = Vec::new();
            for (rows, millis) in steps {
                row += rows;
                now += Duration::from_millis(millis);
                if let Some(mark) = marks.next(row, now) {
                    let lately = sent.iter().filter(|at| **at + Duration::from_secs(2) > now).count() as u64;
                    prop_assert!(mark.row < row + lately.max(MIN_ROWS_AHEAD));
                    marks.synced(mark);
                }
                prop_assert!(marks.cover(row));
                marks.count(now);
                sent.push(now);
            }
        }
    }
}
