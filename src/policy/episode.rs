//! Refusals that follow one another, and the limit that they show. The law is explained in
//! `rate_controller`.

use super::rolling_count::RollingCount;

/// Span of the short measurement, in seconds.
const SHORT_SPAN: f64 = 10.0;
/// Span of the long measurement, in seconds.
const LONG_SPAN: f64 = 60.0;
/// Length from which an episode is measured over the long span, in seconds.
const LONG_EPISODE: f64 = 9.5;
/// Length from which an episode means that the limit was closed, in seconds.
const CLOSED_EPISODE: f64 = 1.0;
/// Share of the refused rate from which the measured rate was steady.
const STEADY: f64 = 0.85;

/// Confirmed changes per second over the short and the long span.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    pub(super) short: f64,
    pub(super) long: f64,
}

/// Failures and refusals without a success between them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Streak {
    pub(super) began: f64,
    /// What was measured when it began.
    pub(super) measured: Measured,
    pub(super) refusals: u32,
}

/// Refusals without a stretch of successes between them.
#[derive(Debug)]
pub(super) struct Episode {
    pub(super) began: f64,
    pub(super) last_refusal: f64,
    pub(super) refusals: u32,
    /// Number of successes since the last refusal.
    pub(super) successes: u32,
    /// The rate that was refused.
    pub(super) rate: f64,
    pub(super) at_first: Measured,
    pub(super) at_last: Measured,
    /// Seconds between two probes, while the limit is closed.
    pub(super) probe_interval: Option<f64>,
    pub(super) failed_probes: u32,
    /// Whether all refusals are failures that may have other causes.
    pub(super) is_suspected: bool,
    /// Whether most of the last answers were failures at some time.
    pub(super) mostly_failed: bool,
}

impl Measured {
    /// Returns the confirmed changes per second at this time.
    pub(super) fn at(now: f64, confirmed: &RollingCount) -> Self {
        Self {
            short: confirmed.per_second(now, SHORT_SPAN),
            long: confirmed.per_second(now, LONG_SPAN),
        }
    }
}

impl Episode {
    /// Checks whether the limit was closed, so that nothing was let through for a while.
    pub(super) fn was_closed(&self) -> bool {
        self.lasted() >= CLOSED_EPISODE
    }

    /// Checks whether the limit was closed for at least the length of the short span.
    pub(super) fn is_long(&self) -> bool {
        self.lasted() >= LONG_EPISODE
    }

    /// Returns the limit that the episode shows. `closed_at` is when the limit was last found
    /// closed for long.
    pub(super) fn estimate(&self, closed_at: f64) -> f64 {
        let was_closed_before = self.began - closed_at <= LONG_SPAN;
        let steady = STEADY * self.rate;
        let rose_before = self.at_first.long < steady && self.at_first.short >= steady;
        let mut first = self.at_first.short;
        let mut last = self.at_last.short;
        if self.is_long() && (was_closed_before || !rose_before) {
            first = self.at_first.long;
            last = self.at_last.long;
        }
        if self.was_closed() && first < steady {
            // A window lets through at most twice its limit in any span of its length.
            last.max(first / 2.0)
        } else {
            first
        }
    }

    fn lasted(&self) -> f64 {
        self.last_refusal - self.began
    }
}
