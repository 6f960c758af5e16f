//! Which fault the next request gets: outage, rate limit, random throttling, random errors, and how long it is kept
//! waiting. Arithmetic on a seed and on the time since the start; nothing sleeps or answers here.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

/// The length of the windows in which requests are counted.
const SECOND: Duration = Duration::from_secs(1);

/// What a server says when it is not well: the statuses that [`Faults::error_percent`] draws from.
const ERRORS: [u16; 4] = [500, 502, 503, 504];

/// What the practice Org does wrong on purpose. The default is: nothing.
///
/// Faults meet the two calls of the API, never the pages for people.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults {
    /// How long every answer takes at least.
    pub latency: Duration,
    /// Up to this much is added to the latency, evenly spread.
    pub latency_jitter: Duration,
    /// How many requests are served in any one second; those above it get 429 with `Retry-After: 1`.
    pub rate_limit: Option<u32>,
    /// How many of a hundred requests fail with 500, 502, 503 or 504; 0 to 100.
    pub error_percent: f64,
    /// How many of a hundred requests get 429 with `Retry-After: 1` for no reason; 0 to 100.
    pub throttle_percent: f64,
    /// From when until when, since the start, everything gets 503 without `Retry-After`.
    pub outage: Option<Range<Duration>>,
    /// The same seed and the same requests give the same faults.
    pub seed: u64,
}

/// What a request meets before anybody looks at what it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fate {
    /// How long it is kept waiting for its answer.
    pub(super) delay: Duration,
    pub(super) verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Let in.
    Served,
    /// Sent away for a second.
    Throttled,
    /// Answered with this status, and nothing done.
    Failed(u16),
}

/// Stands before the Org and decides what each request meets.
pub(super) struct Gate {
    faults: Faults,
    rng: fastrand::Rng,
    arrived: Window,
    served: Window,
    busiest: usize,
}

impl Gate {
    pub(super) fn new(faults: Faults) -> Self {
        let rng = fastrand::Rng::with_seed(faults.seed);
        Self {
            faults,
            rng,
            arrived: Window::default(),
            served: Window::default(),
            busiest: 0,
        }
    }

    /// The fate of a request that arrives `now`; times never go backwards.
    pub(super) fn admit(&mut self, now: Duration) -> Fate {
        self.arrived.add(now);
        self.busiest = self.busiest.max(self.arrived.count(now));
        // All four are drawn for every request, so that one fault does not shift the dice of the others.
        let jitter = self.faults.latency_jitter.mul_f64(self.rng.f64());
        let throttled = self.rng.f64() * 100.0 < self.faults.throttle_percent;
        let failed = self.rng.f64() * 100.0 < self.faults.error_percent;
        let error = ERRORS[self.rng.usize(..ERRORS.len())];

        let verdict = if self.is_out(now) {
            Verdict::Failed(503)
        } else if throttled || self.is_full(now) {
            Verdict::Throttled
        } else if failed {
            Verdict::Failed(error)
        } else {
            Verdict::Served
        };
        if verdict != Verdict::Throttled {
            self.served.add(now);
        }
        Fate {
            delay: self.faults.latency.saturating_add(jitter),
            verdict,
        }
    }

    /// The most requests that arrived in any one second so far.
    pub(super) fn busiest_second(&self) -> usize {
        self.busiest
    }

    fn is_out(&self, now: Duration) -> bool {
        self.faults
            .outage
            .as_ref()
            .is_some_and(|outage| outage.contains(&now))
    }

    /// Only requests that were not sent away count: `Retry-After: 1` stays true however hard somebody knocks.
    fn is_full(&mut self, now: Duration) -> bool {
        let served = self.served.count(now);
        self.faults
            .rate_limit
            .is_some_and(|limit| served >= limit as usize)
    }
}

/// What happened within the last second.
#[derive(Default)]
struct Window(VecDeque<Duration>);

impl Window {
    fn add(&mut self, now: Duration) {
        self.0.push_back(now);
    }

    /// How many there are in the second that ends `now`; one that is exactly a second old has left it.
    fn count(&mut self, now: Duration) -> usize {
        while self.0.front().is_some_and(|&oldest| oldest + SECOND <= now) {
            self.0.pop_front();
        }
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Failed, Served, Throttled};
    use super::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn verdicts(faults: Faults, times: impl IntoIterator<Item = Duration>) -> Vec<Verdict> {
        let mut gate = Gate::new(faults);
        times
            .into_iter()
            .map(|now| gate.admit(now).verdict)
            .collect()
    }

    fn share(verdicts: &[Verdict], wanted: impl Fn(Verdict) -> bool) -> f64 {
        let hits = verdicts.iter().filter(|&&verdict| wanted(verdict)).count();
        f64::from(u32::try_from(hits).unwrap()) / f64::from(u32::try_from(verdicts.len()).unwrap())
    }

    #[test]
    fn without_faults_everything_is_served_at_once() {
        let mut gate = Gate::new(Faults::default());
        let served = Fate {
            delay: Duration::ZERO,
            verdict: Verdict::Served,
        };
        assert!((0..1_000).all(|n| gate.admit(millis(n)) == served));
    }

    #[test]
    fn a_request_above_the_rate_is_sent_away_and_the_next_second_is_free_again() {
        let faults = Faults {
            rate_limit: Some(2),
            ..Faults::default()
        };
        let times = [0, 10, 20, 999, 1_000, 1_005, 1_010].map(millis);
        assert_eq!(
            verdicts(faults, times),
            [
                Served, Served, Throttled, Throttled, Served, Throttled, Served
            ]
        );
    }

    #[test]
    fn whoever_keeps_knocking_is_let_in_after_the_second_that_was_asked_for() {
        let faults = Faults {
            rate_limit: Some(1),
            ..Faults::default()
        };
        let served = verdicts(faults, (0..=3_000).map(millis));
        assert_eq!(
            served
                .iter()
                .filter(|&&verdict| verdict == Verdict::Served)
                .count(),
            4
        );
        assert_eq!(served[1_000], Verdict::Served);
    }

    #[test]
    fn an_outage_begins_and_ends_on_time() {
        let faults = Faults {
            outage: Some(millis(100)..millis(200)),
            ..Faults::default()
        };
        assert_eq!(
            verdicts(faults, [99, 100, 199, 200].map(millis)),
            [Served, Failed(503), Failed(503), Served]
        );
    }

    #[test]
    fn percentages_come_out_about_right_and_all_errors_occur() {
        let faults = Faults {
            error_percent: 30.0,
            throttle_percent: 10.0,
            seed: 7,
            ..Faults::default()
        };
        let drawn = verdicts(faults, (0..20_000).map(millis));
        let throttled = share(&drawn, |verdict| verdict == Verdict::Throttled);
        let failed = share(&drawn, |verdict| matches!(verdict, Verdict::Failed(_)));
        assert!((0.09..0.11).contains(&throttled), "{throttled}");
        // Nine in ten are left for the errors to strike.
        assert!((0.25..0.29).contains(&failed), "{failed}");
        assert!(
            ERRORS
                .iter()
                .all(|&status| drawn.contains(&Verdict::Failed(status)))
        );
    }

    #[test]
    fn odd_percentages_are_all_or_nothing() {
        for (percent, wanted) in [
            (f64::NAN, 0.0),
            (-5.0, 0.0),
            (0.0, 0.0),
            (100.0, 1.0),
            (1e9, 1.0),
        ] {
            let drawn = verdicts(
                Faults {
                    throttle_percent: percent,
                    ..Faults::default()
                },
                (0..500).map(millis),
            );
            let throttled = share(&drawn, |verdict| verdict == Verdict::Throttled);
            assert!((throttled - wanted).abs() < f64::EPSILON, "{percent}");
        }
    }

    #[test]
    fn the_delay_stays_between_the_latency_and_the_latency_with_all_of_the_jitter() {
        let faults = Faults {
            latency: millis(50),
            latency_jitter: millis(20),
            ..Faults::default()
        };
        let mut gate = Gate::new(faults);
        let delays: Vec<_> = (0..1_000).map(|n| gate.admit(millis(n)).delay).collect();
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
    fn the_longest_latency_does_not_overflow() {
        let faults = Faults {
            latency: Duration::MAX,
            latency_jitter: Duration::MAX,
            ..Faults::default()
        };
        assert_eq!(Gate::new(faults).admit(Duration::ZERO).delay, Duration::MAX);
    }

    #[test]
    fn the_same_seed_gives_the_same_faults() {
        let faults = |seed| Faults {
            error_percent: 50.0,
            latency_jitter: SECOND,
            seed,
            ..Faults::default()
        };
        let times = || (0..100).map(millis);
        assert_eq!(verdicts(faults(1), times()), verdicts(faults(1), times()));
        assert_ne!(verdicts(faults(1), times()), verdicts(faults(2), times()));
    }

    #[test]
    fn the_busiest_second_counts_those_that_were_sent_away_too() {
        let mut gate = Gate::new(Faults {
            rate_limit: Some(1),
            ..Faults::default()
        });
        for time in [0, 600, 900, 1_000, 1_599, 5_000] {
            gate.admit(millis(time));
        }
        assert_eq!(gate.busiest_second(), 4);
    }
}
