//! Requests and rows over time in constant memory: a series of bars that become wider as the run
//! grows longer, and the time spans in which something held the run back. No I/O.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::domain::Outcome;
use crate::journal::line::RecordedRow;

/// The maximum number of bars. When more are needed, each two become one.
const MAX_BARS: usize = 120;

/// The maximum number of spans. Later ones lengthen the last one.
const MAX_SPANS: usize = 500;

/// What happened in one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Bar {
    /// Number of requests that were sent.
    pub requests: u64,
    /// Number of rows that were applied.
    pub applied: u64,
    /// Number of rows that failed or are unknown.
    pub not_applied: u64,
}

impl Bar {
    fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            applied: self.applied + other.applied,
            not_applied: self.not_applied + other.not_applied,
        }
    }
}

/// Requests and rows over time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Series {
    /// Start of the first bar.
    pub from: Timestamp,
    /// Length of each bar in milliseconds.
    pub bar_ms: u64,
    /// The bars, in order.
    pub bars: Vec<Bar>,
}

impl Series {
    /// Creates a series that begins with the second that `at` is in. Bars are seconds of the wall
    /// clock, because requests are counted by them.
    pub(crate) fn starting(at: Timestamp) -> Self {
        Self {
            from: Timestamp::from_second(at.as_millisecond().div_euclid(1000)).unwrap_or(at),
            bar_ms: 1000,
            bars: Vec::new(),
        }
    }

    /// Counts a row for which a request was sent. A time before the start, by a clock that was put
    /// back, counts as the start.
    pub(crate) fn add(&mut self, row: &RecordedRow<'_>) {
        if row.attempts == 0 {
            return;
        }
        let applied = u64::from(row.outcome == Outcome::Applied);
        let bar = Bar {
            applied,
            not_applied: 1 - applied,
            ..Bar::default()
        };
        self.add_at(row.finished_at.as_millisecond(), bar);
    }

    /// Counts requests that were sent in this second since the Unix epoch.
    pub(crate) fn add_requests(&mut self, second: i64, requests: u64) {
        let bar = Bar {
            requests,
            ..Bar::default()
        };
        self.add_at(second.saturating_mul(1000), bar);
    }

    fn add_at(&mut self, ms: i64, bar: Bar) {
        let after = ms.saturating_sub(self.from.as_millisecond());
        let after = u64::try_from(after).unwrap_or(0);
        while after / self.bar_ms >= MAX_BARS as u64 {
            self.widen();
        }
        let index = usize::try_from(after / self.bar_ms).unwrap_or(0);
        if self.bars.len() <= index {
            self.bars.resize(index + 1, Bar::default());
        }
        self.bars[index] = self.bars[index].plus(bar);
    }

    fn widen(&mut self) {
        self.bars = self
            .bars
            .chunks(2)
            .map(|two| two.iter().fold(Bar::default(), |sum, bar| sum.plus(*bar)))
            .collect();
        self.bar_ms *= 2;
    }
}

/// A time span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Span {
    /// Its start.
    pub from: Timestamp,
    /// Its length in milliseconds.
    pub lasted_ms: u64,
}

impl Span {
    /// Returns its length.
    #[must_use]
    pub fn lasted(self) -> Duration {
        Duration::from_millis(self.lasted_ms)
    }

    pub(crate) fn until_ms(self) -> i64 {
        self.from
            .as_millisecond()
            .saturating_add(i64::try_from(self.lasted_ms).unwrap_or(i64::MAX))
    }
}

/// Adds a span; one that overlaps the last, or comes after very many, lengthens that.
pub(crate) fn add_span(spans: &mut Vec<Span>, new: Span) {
    let full = spans.len() >= MAX_SPANS;
    match spans.last_mut() {
        Some(last) if full || new.from.as_millisecond() <= last.until_ms() => {
            let until = last.until_ms().max(new.until_ms());
            last.lasted_ms =
                u64::try_from(until.saturating_sub(last.from.as_millisecond())).unwrap_or(0);
        }
        _ => spans.push(new),
    }
}
