//! What happened when, in constant memory: a series of bars that widen as the run grows longer, and the spans in which
//! something held it back. Pure.

use jiff::Timestamp;
use serde::Serialize;

use crate::domain::Outcome;
use crate::report::line::Finished;

/// So many bars at most; when more are needed, each two become one.
const MAX_BARS: usize = 120;

/// So many spans at most; what comes after lengthens the last one.
const MAX_SPANS: usize = 500;

/// What happened in one stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Bar {
    /// Requests of the rows that finished in it.
    pub requests: u64,
    /// Rows that were applied.
    pub applied: u64,
    /// Rows that failed or are unknown.
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

/// Rows over time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Series {
    /// When the first bar begins.
    pub from: Timestamp,
    /// How long each lasts, in milliseconds.
    pub bar_ms: u64,
    /// One after the other.
    pub bars: Vec<Bar>,
}

impl Series {
    pub(super) fn starting(from: Timestamp) -> Self {
        Self {
            from,
            bar_ms: 1000,
            bars: Vec::new(),
        }
    }

    /// Counts a row for which something was sent. What a clock that went back calls earlier than the start counts as the
    /// start.
    pub(super) fn add(&mut self, row: &Finished<'_>) {
        if row.attempts == 0 {
            return;
        }
        let after = row
            .finished_at
            .as_millisecond()
            .saturating_sub(self.from.as_millisecond());
        let after = u64::try_from(after).unwrap_or(0);
        while after / self.bar_ms >= MAX_BARS as u64 {
            self.widen();
        }
        let index = usize::try_from(after / self.bar_ms).unwrap_or(0);
        if self.bars.len() <= index {
            self.bars.resize(index + 1, Bar::default());
        }
        let applied = u64::from(row.outcome == Outcome::Applied);
        self.bars[index] = self.bars[index].plus(Bar {
            requests: u64::from(row.attempts),
            applied,
            not_applied: 1 - applied,
        });
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

/// A stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Span {
    /// When it began.
    pub from: Timestamp,
    /// How long it lasted, in milliseconds.
    pub lasted_ms: u64,
}

impl Span {
    pub(super) fn until_ms(self) -> i64 {
        self.from
            .as_millisecond()
            .saturating_add(i64::try_from(self.lasted_ms).unwrap_or(i64::MAX))
    }
}

/// Adds a span; one that overlaps the last, or comes after very many, lengthens that.
pub(super) fn add_span(spans: &mut Vec<Span>, new: Span) {
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
