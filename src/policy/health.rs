//! Whether to go on: nothing has succeeded yet, the Org has gone, or only failures come. Counts what came back and says
//! when to stop or to probe; it sends nothing and knows no rows.

use std::collections::VecDeque;
use std::time::Duration;

use super::backoff;
use crate::domain::{Outcome, Stop, Threshold};

/// So many failures in a row, with no success between them, raise the suspicion that the Org has gone.
const SUSPICIOUS: u32 = 8;
/// An outage is one when it has lasted this long; what is shorter passes without a word.
const OUTAGE: Duration = Duration::from_secs(2);
/// So many first rows refused alike are not the rows' fault.
const ALL_REFUSED: u64 = 10;
/// A percentage of failures counts over the last so many rows,
const RECENT: usize = 1_000;
/// and not before there are so many.
const RECENT_LEAST: usize = 100;

/// What is known of the Org's health.
#[derive(Debug)]
pub(super) struct Health {
    max_failures: Threshold,
    /// Changes that were applied.
    applied: u64,
    /// Numbers the Org's signs of life.
    life: u64,
    /// Failures in a row, and when the first of them came.
    trouble: Option<(u32, Duration)>,
    probing: Option<Probing>,
    /// The status of the first rows, and how many came to it, while none was applied.
    refused_alike: Option<(u16, u64)>,
    failed_in_a_row: u64,
    /// Of the last rows, whether they failed.
    recent: VecDeque<bool>,
    recent_failed: usize,
}

fn in_a_row(failed: u64) -> String {
    if failed == 1 {
        "a row failed".to_owned()
    } else {
        format!("{failed} rows in a row failed")
    }
}

/// Finding out whether the Org is still there.
#[derive(Clone, Copy, Debug)]
struct Probing {
    since: Duration,
    failed: u32,
    next: Duration,
}

impl Health {
    pub(super) fn new(max_failures: Threshold) -> Self {
        Self {
            max_failures,
            applied: 0,
            life: 0,
            trouble: None,
            probing: None,
            refused_alike: None,
            failed_in_a_row: 0,
            recent: VecDeque::new(),
            recent_failed: 0,
        }
    }

    /// Whether this run has confirmed a change: address and credentials are right.
    pub(super) fn is_proven(&self) -> bool {
        self.applied > 0
    }

    pub(super) fn applied(&self) -> u64 {
        self.applied
    }

    /// Numbers the signs of life, for rows that count their attempts since the last.
    pub(super) fn life(&self) -> u64 {
        self.life
    }

    /// The Org answered a request that it understood. Gives since when it had been away, if that was an outage.
    pub(super) fn alive(&mut self, now: Duration) -> Option<Duration> {
        self.life += 1;
        self.trouble = None;
        let over = self.outage_since(now);
        self.probing = None;
        over
    }

    /// A failure that says nothing of its row.
    pub(super) fn in_trouble(&mut self, now: Duration) {
        let (count, since) = self
            .trouble
            .map_or((1, now), |(count, since)| (count + 1, since));
        self.trouble = Some((count, since));
        if count >= SUSPICIOUS && self.is_proven() && self.probing.is_none() {
            self.probing = Some(Probing {
                since,
                failed: 0,
                next: now,
            });
        }
    }

    /// Since when only failures that say nothing of their rows have come.
    pub(super) fn in_trouble_since(&self) -> Option<Duration> {
        self.trouble.map(|(_, since)| since)
    }

    /// A probe failed as well, so it is not the rows.
    pub(super) fn probe_failed(&mut self, now: Duration, fraction: f64) {
        let since = self.trouble.map_or(now, |(_, since)| since);
        let probing = self.probing.get_or_insert(Probing {
            since,
            failed: 0,
            next: now,
        });
        probing.failed += 1;
        probing.next = now + backoff::probe_delay(probing.failed, fraction);
    }

    /// When the next probe may go, while the Org's health is in question; nothing else may.
    pub(super) fn probe_at(&self) -> Option<Duration> {
        self.probing.map(|probing| probing.next)
    }

    /// Whether a probe has shown that failures are not the rows' fault.
    pub(super) fn is_gone(&self) -> bool {
        self.probing.is_some_and(|probing| probing.failed > 0)
    }

    /// Since when the Org has been away, where that is an outage.
    pub(super) fn outage_since(&self, now: Duration) -> Option<Duration> {
        let gone = self.probing.filter(|probing| probing.failed > 0)?;
        (now.saturating_sub(gone.since) >= OUTAGE).then_some(gone.since)
    }

    /// Since when the Org has been away, however short that is.
    pub(super) fn gone_since(&self) -> Option<Duration> {
        self.probing
            .filter(|probing| probing.failed > 0)
            .map(|probing| probing.since)
    }

    /// A row has its outcome. Gives the reason to stop, if this was one failure too many.
    pub(super) fn booked(
        &mut self,
        outcome: Outcome,
        status: Option<u16>,
        message: &str,
    ) -> Option<Stop> {
        let failed = outcome != Outcome::Applied;
        self.remember(failed);
        if !failed {
            self.applied += 1;
            self.failed_in_a_row = 0;
            return None;
        }
        self.failed_in_a_row += 1;
        self.all_refused(status, message)
            .or_else(|| self.too_many())
    }

    fn remember(&mut self, failed: bool) {
        if self.recent.len() == RECENT && self.recent.pop_front() == Some(true) {
            self.recent_failed -= 1;
        }
        self.recent.push_back(failed);
        self.recent_failed += usize::from(failed);
    }

    fn all_refused(&mut self, status: Option<u16>, message: &str) -> Option<Stop> {
        let status = status.filter(|_| !self.is_proven())?;
        let rows = match self.refused_alike {
            Some((same, rows)) if same == status => rows + 1,
            _ => 1,
        };
        self.refused_alike = Some((status, rows));
        (rows >= ALL_REFUSED).then(|| Stop::AllRefused {
            status,
            message: message.to_owned(),
            rows,
        })
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "at most a thousand rows are counted"
    )]
    fn too_many(&self) -> Option<Stop> {
        let reached = match self.max_failures {
            Threshold::Count(most) if self.failed_in_a_row >= most.max(1) => {
                in_a_row(self.failed_in_a_row)
            }
            Threshold::Percent(most)
                if self.recent.len() >= RECENT_LEAST
                    && self.recent_failed as f64 * 100.0 > most * self.recent.len() as f64 =>
            {
                format!(
                    "{} of the last {} rows failed",
                    self.recent_failed,
                    self.recent.len()
                )
            }
            _ => return None,
        };
        Some(Stop::TooManyFailures { reached })
    }
}
