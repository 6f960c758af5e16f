//! Faults that the practice Org injects: an outage, a rate limit, random throttling, random errors,
//! and latency.
//!
//! [`FaultInjector`] only computes, from a seed and the time since the start. It does not sleep or
//! answer.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

/// Length of the interval in which requests are counted.
const SECOND: Duration = Duration::from_secs(1);

/// Statuses that [`Faults::error_percent`] draws from.
const ERRORS: [u16; 4] = [500, 502, 503, 504];

/// The faults that the practice Org injects on purpose. The default is none.
///
/// Faults affect the two API calls, never the pages.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults {
    /// Minimum time that every response takes.
    pub latency: Duration,
    /// Upper bound of the random time added to the latency.
    pub latency_jitter: Duration,
    /// Number of requests served in any one second; further ones get 429 with `Retry-After: 1`.
    pub rate_limit: Option<u32>,
    /// Percentage of requests that fail with 500, 502, 503 or 504, from 0 to 100.
    pub error_percent: f64,
    /// Percentage of requests that get 429 with `Retry-After: 1` at random, from 0 to 100.
    pub throttle_percent: f64,
    /// Period since the start in which every request gets 503 without `Retry-After`.
    pub outage: Option<Range<Duration>>,
    /// Seed of the random generator. The same seed and the same requests give the same faults.
    pub seed: u64,
}

/// The fault that a request gets, decided before its content is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Admission {
    /// Time to wait before the response.
    pub(super) delay: Duration,
    pub(super) decision: Decision,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Serve,
    /// Answer 429.
    Throttle,
    /// Answer with this status and do nothing.
    Fail(u16),
}

/// Decides which fault each request gets.
pub(super) struct FaultInjector {
    faults: Faults,
    rng: fastrand::Rng,
    arrived: LastSecond,
    served: LastSecond,
    busiest: usize,
}

impl FaultInjector {
    pub(super) fn new(faults: Faults) -> Self {
        let rng = fastrand::Rng::with_seed(faults.seed);
        Self {
            faults,
            rng,
            arrived: LastSecond::default(),
            served: LastSecond::default(),
            busiest: 0,
        }
    }

    /// Decides about a request that arrives at the time `now`, which must not go backwards.
    pub(super) fn admit(&mut self, now: Duration) -> Admission {
        self.arrived.add(now);
        self.busiest = self.busiest.max(self.arrived.count(now));
        // All four are drawn for every request, so that one fault does not change the random
        // numbers of the others.
        let jitter = self.faults.latency_jitter.mul_f64(self.rng.f64());
        let throttled = self.rng.f64() * 100.0 < self.faults.throttle_percent;
        let failed = self.rng.f64() * 100.0 < self.faults.error_percent;
        let error = ERRORS[self.rng.usize(..ERRORS.len())];

        let decision = if self.is_out(now) {
            Decision::Fail(503)
        } else if throttled || self.is_full(now) {
            Decision::Throttle
        } else if failed {
            Decision::Fail(error)
        } else {
            Decision::Serve
        };
        if decision != Decision::Throttle {
            self.served.add(now);
        }
        Admission {
            delay: self.faults.latency.saturating_add(jitter),
            decision,
        }
    }

    /// Returns the largest number of requests that arrived in any one second so far.
    pub(super) fn busiest_second(&self) -> usize {
        self.busiest
    }

    fn is_out(&self, now: Duration) -> bool {
        match &self.faults.outage {
            Some(outage) => outage.contains(&now),
            None => false,
        }
    }

    /// Checks whether the rate limit is reached.
    ///
    /// Throttled requests do not count, so that `Retry-After: 1` stays true for a client that keeps
    /// asking.
    fn is_full(&mut self, now: Duration) -> bool {
        let served = self.served.count(now);
        match self.faults.rate_limit {
            Some(limit) => served >= limit as usize,
            None => false,
        }
    }
}

/// The times of the requests within the last second.
#[derive(Default)]
struct LastSecond(VecDeque<Duration>);

impl LastSecond {
    fn add(&mut self, now: Duration) {
        self.0.push_back(now);
    }

    /// Returns the number of requests in the second that ends at `now`. One that is exactly a
    /// second old does not count.
    fn count(&mut self, now: Duration) -> usize {
        while self.0.front().is_some_and(|&oldest| oldest + SECOND <= now) {
            self.0.pop_front();
        }
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::Decision::{Fail, Serve, Throttle};
    use super::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn decisions(faults: Faults, times: impl IntoIterator<Item = Duration>) -> Vec<Decision> {
        let mut injector = FaultInjector::new(faults);
        times
            .into_iter()
            .map(|now| injector.admit(now).decision)
            .collect()
    }

    fn share(decisions: &[Decision], wanted: impl Fn(Decision) -> bool) -> f64 {
        let hits = decisions
            .iter()
            .filter(|&&decision| wanted(decision))
            .count();
        f64::from(u32::try_from(hits).unwrap()) / f64::from(u32::try_from(decisions.len()).unwrap())
    }

    #[test]
    fn serves_everything_at_once_without_faults() {
        let mut injector = FaultInjector::new(Faults::default());
        let served = Admission {
            delay: Duration::ZERO,
            decision: Decision::Serve,
        };
        assert!((0..1_000).all(|n| injector.admit(millis(n)) == served));
    }

    #[test]
    fn throttles_above_the_rate_limit_until_the_next_second() {
        let faults = Faults {
            rate_limit: Some(2),
            ..Faults::default()
        };
        let times = [0, 10, 20, 999, 1_000, 1_005, 1_010].map(millis);
        assert_eq!(
            decisions(faults, times),
            [Serve, Serve, Throttle, Throttle, Serve, Throttle, Serve]
        );
    }

    #[test]
    fn serves_a_client_that_keeps_asking_once_a_second() {
        let faults = Faults {
            rate_limit: Some(1),
            ..Faults::default()
        };
        let served = decisions(faults, (0..=3_000).map(millis));
        assert_eq!(
            served
                .iter()
                .filter(|&&decision| decision == Decision::Serve)
                .count(),
            4
        );
        assert_eq!(served[1_000], Decision::Serve);
    }

    #[test]
    fn outage_begins_and_ends_on_time() {
        let faults = Faults {
            outage: Some(millis(100)..millis(200)),
            ..Faults::default()
        };
        assert_eq!(
            decisions(faults, [99, 100, 199, 200].map(millis)),
            [Serve, Fail(503), Fail(503), Serve]
        );
    }

    #[test]
    fn percentages_are_about_right_and_every_error_occurs() {
        let faults = Faults {
            error_percent: 30.0,
            throttle_percent: 10.0,
            seed: 7,
            ..Faults::default()
        };
        let drawn = decisions(faults, (0..20_000).map(millis));
        let throttled = share(&drawn, |decision| decision == Decision::Throttle);
        let failed = share(&drawn, |decision| matches!(decision, Decision::Fail(_)));
        assert!((0.09..0.11).contains(&throttled), "{throttled}");
        // Errors can only hit the nine in ten that are not throttled.
        assert!((0.25..0.29).contains(&failed), "{failed}");
        assert!(
            ERRORS
                .iter()
                .all(|&status| drawn.contains(&Decision::Fail(status)))
        );
    }

    #[test]
    fn percentages_out_of_range_mean_none_or_all() {
        for (percent, wanted) in [
            (f64::NAN, 0.0),
            (-5.0, 0.0),
            (0.0, 0.0),
            (100.0, 1.0),
            (1e9, 1.0),
        ] {
            let drawn = decisions(
                Faults {
                    throttle_percent: percent,
                    ..Faults::default()
                },
                (0..500).map(millis),
            );
            let throttled = share(&drawn, |decision| decision == Decision::Throttle);
            assert!((throttled - wanted).abs() < f64::EPSILON, "{percent}");
        }
    }

    #[test]
    fn delay_is_between_latency_and_latency_plus_jitter() {
        let faults = Faults {
            latency: millis(50),
            latency_jitter: millis(20),
            ..Faults::default()
        };
        let mut injector = FaultInjector::new(faults);
        let delays: Vec<_> = (0..1_000)
            .map(|n| injector.admit(millis(n)).delay)
            .collect();
        assert!(
            delays
                .iter()
                .all(|delay| (millis(50)..millis(70)).contains(delay))
        );
        assert!(
            delays.iter().any(|&delay| delay < millis(55))
                && delays.iter().any(|&delay| delay > millis(65))
        );
    }

    #[test]
    fn longest_latency_does_not_overflow() {
        let faults = Faults {
            latency: Duration::MAX,
            latency_jitter: Duration::MAX,
            ..Faults::default()
        };
        assert_eq!(
            FaultInjector::new(faults).admit(Duration::ZERO).delay,
            Duration::MAX
        );
    }

    #[test]
    fn same_seed_gives_same_faults() {
        let faults = |seed| Faults {
            error_percent: 50.0,
            latency_jitter: SECOND,
            seed,
            ..Faults::default()
        };
        let times = || (0..100).map(millis);
        assert_eq!(decisions(faults(1), times()), decisions(faults(1), times()));
        assert_ne!(decisions(faults(1), times()), decisions(faults(2), times()));
    }

    #[test]
    fn busiest_second_includes_throttled_requests() {
        let mut injector = FaultInjector::new(Faults {
            rate_limit: Some(1),
            ..Faults::default()
        });
        for time in [0, 600, 900, 1_000, 1_599, 5_000] {
            injector.admit(millis(time));
        }
        assert_eq!(injector.busiest_second(), 4);
    }
}
