//! Measures the latency of confirmed changes, and derives the number of requests that may be in
//! flight.
//!
//! To keep a rate, as many requests have to be in flight as are sent within the latency (Little's
//! law); half as many again leave room for slower answers. The best median latency counts, because
//! the latency of a loaded server would raise the load further. The maximum limits the number of
//! rows in doubt after a kill.

use std::time::Duration;

/// Number of requests in flight until the latency is known, and at least.
const MIN_CONCURRENCY: usize = 8;
/// Maximum number of requests in flight, unless one is given.
pub const MAX_AUTO_CONCURRENCY: usize = 64;
/// Factor for answers that take longer than the median.
const LATENCY_MARGIN: f64 = 1.5;
/// Number of answers from which a median is calculated.
const MIN_SAMPLES: usize = 20;
/// Minimum length of a round. The first round ends as soon as there are [`MIN_SAMPLES`] answers.
const MIN_ROUND: Duration = Duration::from_secs(2);
/// Maximum number of latencies in a round; more would not change the median.
const MAX_SAMPLES: usize = 256;
/// Difference between the median and twice the best median from which answers are slow.
const SLOW_MARGIN: Duration = Duration::from_millis(50);
/// Number of consecutive slow rounds after which the rate is not the cause, and the slow median
/// becomes the best.
const MAX_SLOW_ROUNDS: u32 = 10;

/// The latencies of a run.
#[derive(Debug, Default)]
pub(super) struct LatencyTracker {
    round_began: Duration,
    samples: Vec<Duration>,
    best: Option<Duration>,
    /// Whether the last median was above twice the best.
    is_doubled: bool,
    slow_rounds: u32,
    /// The last number of requests that was allowed in flight.
    granted: usize,
    sum: Duration,
    count: u32,
}

impl LatencyTracker {
    /// Takes note of an answer. Returns whether a round of slow answers ends with it.
    pub(super) fn answered(&mut self, now: Duration, latency: Duration) -> bool {
        self.sum = self.sum.saturating_add(latency);
        self.count = self.count.saturating_add(1);
        if self.samples.len() < MAX_SAMPLES {
            self.samples.push(latency);
        }
        let is_long_enough =
            self.best.is_none() || now.saturating_sub(self.round_began) >= MIN_ROUND;
        if self.samples.len() < MIN_SAMPLES || !is_long_enough {
            return false;
        }
        self.round_began = now;
        self.end_round()
    }

    /// Returns how many requests may be in flight at this rate.
    pub(super) fn concurrency(&mut self, rate: f64) -> usize {
        let Some(best) = self.best else {
            return MIN_CONCURRENCY;
        };
        let wanted = LATENCY_MARGIN * rate * best.as_secs_f64();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is positive, and a float above the range becomes the largest number"
        )]
        let wanted = (wanted.ceil() as usize).clamp(MIN_CONCURRENCY, MAX_AUTO_CONCURRENCY);
        if !self.is_doubled || wanted < self.granted {
            self.granted = wanted;
        }
        self.granted.max(MIN_CONCURRENCY)
    }

    /// Returns the mean of all latencies.
    pub(super) fn mean(&self) -> Option<Duration> {
        (self.count > 0).then(|| self.sum / self.count)
    }

    fn end_round(&mut self) -> bool {
        self.samples.sort_unstable();
        let median = self.samples[self.samples.len() / 2];
        self.samples.clear();
        let best = self.best.map_or(median, |best| best.min(median));
        self.is_doubled = median > 2 * best;
        let is_slow = median > 2 * best + SLOW_MARGIN;
        self.slow_rounds = if is_slow { self.slow_rounds + 1 } else { 0 };
        let is_the_new_best = self.slow_rounds >= MAX_SLOW_ROUNDS;
        if is_the_new_best {
            self.slow_rounds = 0;
        }
        self.best = Some(if is_the_new_best { median } else { best });
        is_slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Adds a hundred answers a second with this latency. Returns whether a round of slow answers
    /// ended.
    fn answers(
        latency: &mut LatencyTracker,
        from: Duration,
        seconds: u32,
        takes: Duration,
    ) -> bool {
        let ended = (0..100 * seconds).map(|n| latency.answered(from + n * ms(10), takes));
        ended.fold(false, |any, slow| any | slow)
    }

    #[test]
    fn concurrency_follows_from_rate_and_latency() {
        let mut latency = LatencyTracker::default();
        assert_eq!(latency.concurrency(1_000.0), 8, "nothing is known");
        for n in 0..19 {
            latency.answered(n * ms(10), ms(300));
        }
        assert_eq!(latency.concurrency(1_000.0), 8, "19 answers are not enough");
        latency.answered(ms(190), ms(300));
        assert_eq!(latency.concurrency(60.0), 27);
        assert_eq!(latency.concurrency(1.0), 8);
        assert_eq!(latency.concurrency(10_000.0), 64);
    }

    #[test]
    fn concurrency_does_not_rise_while_answers_take_twice_as_long() {
        let mut latency = LatencyTracker::default();
        assert!(!answers(&mut latency, ms(0), 3, ms(100)));
        assert_eq!(latency.concurrency(100.0), 15);
        answers(&mut latency, ms(3_000), 3, ms(210));
        assert_eq!(latency.concurrency(200.0), 15);
        assert_eq!(latency.concurrency(60.0), 9, "it may fall");
        answers(&mut latency, ms(6_000), 3, ms(150));
        assert_eq!(latency.concurrency(200.0), 30);
    }

    #[test]
    fn slow_answers_are_reported_until_they_are_usual() {
        let mut latency = LatencyTracker::default();
        assert!(!answers(&mut latency, ms(0), 3, ms(20)));
        assert!(
            !answers(&mut latency, ms(3_000), 3, ms(85)),
            "85 ms are not 2 x 20 + 50"
        );
        assert!(answers(&mut latency, ms(6_000), 3, ms(95)));
        assert!(answers(&mut latency, ms(9_000), 30, ms(95)));
        assert!(!answers(&mut latency, ms(39_000), 3, ms(95)));
    }
}
