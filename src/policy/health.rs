//! Decides whether to go on: detects outages, runs in which nothing succeeds, and too many
//! failures. It counts answers and says when to probe or to stop.

use std::collections::VecDeque;
use std::time::Duration;

use super::backoff;
use crate::domain::{Outcome, Stop, Threshold};

/// Number of consecutive failures after which the Org is probed.
const FAILURES_BEFORE_PROBING: u32 = 8;
/// Shortest outage that is reported.
const MIN_OUTAGE: Duration = Duration::from_secs(2);
/// Number of first rows with the same error status after which the run stops.
const MAX_REFUSED_ALIKE: u64 = 10;
/// Number of rows over which a percentage of failures is calculated.
const RECENT_ROWS: usize = 1_000;
/// Number of rows from which a percentage of failures is calculated.
const MIN_RECENT_ROWS: usize = 100;

/// What the answers say about the Org.
#[derive(Debug)]
pub(super) struct Health {
    max_failures: Threshold,
    /// Number of changes that were applied.
    applied: u64,
    /// Number of responses that showed that the Org works. Failures are counted since the last one.
    epoch: u64,
    /// Number of consecutive failures, and the time of the first one.
    trouble: Option<(u32, Duration)>,
    probing: Option<Probing>,
    /// The status of the first rows and their number, while none was applied.
    refused_alike: Option<(u16, u64)>,
    failed_in_a_row: u64,
    /// Whether each of the last rows failed.
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

/// The probes that find out whether the Org still answers.
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
            epoch: 0,
            trouble: None,
            probing: None,
            refused_alike: None,
            failed_in_a_row: 0,
            recent: VecDeque::new(),
            recent_failed: 0,
        }
    }

    /// Checks whether this run has confirmed a change, which shows that address and credentials are
    /// right.
    pub(super) fn has_succeeded(&self) -> bool {
        self.applied > 0
    }

    /// Returns the number of changes that were applied.
    pub(super) fn applied(&self) -> u64 {
        self.applied
    }

    /// Returns the number of the current epoch, in which rows count their attempts.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Takes note that the Org processed a request. Returns when the outage began, if one ends with
    /// it.
    pub(super) fn note_response(&mut self, now: Duration) -> Option<Duration> {
        self.epoch += 1;
        self.trouble = None;
        let over = self.outage_since(now);
        self.probing = None;
        over
    }

    /// Takes note of a failure that is not about its row.
    pub(super) fn note_failure(&mut self, now: Duration) {
        let (count, since) = self
            .trouble
            .map_or((1, now), |(count, since)| (count + 1, since));
        self.trouble = Some((count, since));
        if count >= FAILURES_BEFORE_PROBING && self.has_succeeded() && self.probing.is_none() {
            self.probing = Some(Probing {
                since,
                failed: 0,
                next: now,
            });
        }
    }

    /// Returns when the current series of failures began.
    pub(super) fn failing_since(&self) -> Option<Duration> {
        self.trouble.map(|(_, since)| since)
    }

    /// Takes note of a failed probe, which shows that the rows are not the cause. `fraction` (0 to
    /// 1) is the jitter.
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

    /// Returns when the next probe may be sent, if the Org is probed. Nothing else is sent then.
    pub(super) fn probe_at(&self) -> Option<Duration> {
        self.probing.map(|probing| probing.next)
    }

    /// Checks whether a probe has failed.
    pub(super) fn is_away(&self) -> bool {
        self.probing.is_some_and(|probing| probing.failed > 0)
    }

    /// Returns when the outage began, if it is long enough to be reported.
    pub(super) fn outage_since(&self, now: Duration) -> Option<Duration> {
        let gone = self.probing.filter(|probing| probing.failed > 0)?;
        (now.saturating_sub(gone.since) >= MIN_OUTAGE).then_some(gone.since)
    }

    /// Returns when the outage began, however short it is.
    pub(super) fn away_since(&self) -> Option<Duration> {
        self.probing
            .filter(|probing| probing.failed > 0)
            .map(|probing| probing.since)
    }

    /// Takes note of a row's outcome. Returns the reason to stop if there are too many failures.
    pub(super) fn note_outcome(
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
        if self.recent.len() == RECENT_ROWS && self.recent.pop_front() == Some(true) {
            self.recent_failed -= 1;
        }
        self.recent.push_back(failed);
        self.recent_failed += usize::from(failed);
    }

    fn all_refused(&mut self, status: Option<u16>, message: &str) -> Option<Stop> {
        let status = status.filter(|_| !self.has_succeeded())?;
        let rows = match self.refused_alike {
            Some((same, rows)) if same == status => rows + 1,
            _ => 1,
        };
        self.refused_alike = Some((status, rows));
        (rows >= MAX_REFUSED_ALIKE).then(|| Stop::AllRefused {
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
                if self.recent.len() >= MIN_RECENT_ROWS
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
