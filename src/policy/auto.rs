//! Finds the pace that the Org takes when nobody has said one: slow start, small steps while answers stay quick, back
//! off when throttled or when latency grows, settle just under the limit. Arithmetic on (state, now); turns are `pace`'s.

use std::time::Duration;

/// Requests a second at the start.
const START: f64 = 2.0;
/// Latencies are judged, and a slow start's steps taken, once in so long.
const ROUND: Duration = Duration::from_secs(2);
/// Growth with each round of the slow start.
const SLOW_START: f64 = 1.5;
/// What a throttle leaves of the pace.
const CUT: f64 = 0.7;
/// What a round of slow answers leaves of it.
const SLOW_ANSWERS: f64 = 0.9;
/// Steps of the search above the plateau, as a share of the rate, each second.
const SEARCH: f64 = 0.02;
/// Steps back up to a plateau that was reached before, as a share of it, each second: this is known ground.
const RETURN: f64 = 0.1;
/// The plateau lies at this share of the rate that drew the last throttle,
const PLATEAU: f64 = 0.95;
/// and nothing above it is tried for so long.
const PATIENCE: Duration = Duration::from_mins(1);
/// Latencies of a round that are kept; more say nothing more about their median.
const SAMPLES: usize = 256;

/// The search for a pace.
#[derive(Debug)]
pub(super) struct Auto {
    ceiling: f64,
    rate: f64,
    slow_start: bool,
    /// The rate that drew the last throttle, and when.
    too_fast: Option<(f64, Duration)>,
    /// When the rate was last changed.
    changed: Duration,
    round_began: Duration,
    latencies: Vec<Duration>,
    best_median: Option<Duration>,
    /// Whether the last round's answers were as quick as the best.
    quick: bool,
}

impl Auto {
    pub(super) fn new(ceiling: f64) -> Self {
        Self {
            ceiling,
            rate: START.min(ceiling),
            slow_start: true,
            too_fast: None,
            changed: Duration::ZERO,
            round_began: Duration::ZERO,
            latencies: Vec::new(),
            best_median: None,
            quick: true,
        }
    }

    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    pub(super) fn answered(&mut self, now: Duration, latency: Duration) {
        if self.latencies.len() < SAMPLES {
            self.latencies.push(latency);
        }
        if now.saturating_sub(self.round_began) >= ROUND {
            self.end_round(now);
        }
        if !self.slow_start && self.quick {
            self.rise(now);
        }
    }

    /// The rate that a throttle leaves.
    pub(super) fn throttled(&mut self, now: Duration) -> f64 {
        self.slow_start = false;
        self.too_fast = Some((self.rate, now));
        self.change(now, self.rate * CUT);
        self.rate
    }

    /// Starts again from a lower rate; what is known of the limit stays known.
    pub(super) fn restart(&mut self, rate: f64) {
        self.rate = rate.min(self.ceiling);
        self.slow_start = true;
    }

    fn end_round(&mut self, now: Duration) {
        self.round_began = now;
        self.latencies.sort_unstable();
        let median = self.latencies[self.latencies.len() / 2];
        self.latencies.clear();
        let best = self.best_median.map_or(median, |best| best.min(median));
        self.best_median = Some(best);
        self.quick = median <= best * 2 + Duration::from_millis(50);
        if !self.quick {
            self.slow_start = false;
            self.change(now, self.rate * SLOW_ANSWERS);
        } else if self.slow_start {
            let next = self.rate * SLOW_START;
            self.slow_start = next < self.plateau(now);
            self.change(now, next.min(self.plateau(now)));
        }
    }

    fn rise(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.changed).as_secs_f64();
        if passed < 0.1 {
            return;
        }
        let plateau = self.plateau(now);
        let known = self.too_fast.map_or(0.0, |(rate, _)| rate * PLATEAU);
        let share = if self.rate < known { RETURN } else { SEARCH };
        self.change(
            now,
            (self.rate * (1.0 + share * passed.min(1.0))).min(plateau.max(self.rate)),
        );
    }

    /// As fast as is reasonable to try now.
    fn plateau(&self, now: Duration) -> f64 {
        match self.too_fast {
            Some((rate, at)) if now.saturating_sub(at) < PATIENCE => rate * PLATEAU,
            _ => self.ceiling,
        }
    }

    fn change(&mut self, now: Duration, rate: f64) {
        self.rate = rate.clamp(0.1, self.ceiling);
        self.changed = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An Org that takes `limit` requests a second, watched for `seconds`; gives the rate at the end of each second.
    fn search(limit: f64, latency: impl Fn(f64) -> Duration, seconds: u64) -> Vec<f64> {
        let mut auto = Auto::new(1_000.0);
        let mut rates = Vec::new();
        for tick in 1..=seconds * 100 {
            let now = Duration::from_millis(tick * 10);
            if auto.rate() > limit && tick % 100 == 0 {
                auto.throttled(now);
            } else {
                auto.answered(now, latency(auto.rate()));
            }
            if tick % 100 == 0 {
                rates.push(auto.rate());
            }
        }
        rates
    }

    #[test]
    fn it_starts_low_and_settles_just_under_the_limit() {
        let rates = search(200.0, |_| Duration::from_millis(20), 300);
        assert!(rates[0] <= 3.0, "starts at {}", rates[0]);
        let settled = &rates[100..];
        let mean = settled.iter().sum::<f64>() / 200.0;
        assert!((180.0..=200.0).contains(&mean), "settles at {mean}");
    }

    #[test]
    fn growing_latency_holds_it_back_without_any_throttle() {
        let slow_above_100 = |rate: f64| Duration::from_millis(if rate > 100.0 { 500 } else { 20 });
        let rates = search(f64::INFINITY, slow_above_100, 300);
        let highest = rates[60..].iter().copied().fold(0.0, f64::max);
        assert!((60.0..=130.0).contains(&highest), "reaches {highest}");
    }

    #[test]
    fn it_never_leaves_its_ceiling() {
        assert!(
            search(f64::INFINITY, |_| Duration::from_millis(1), 120)
                .iter()
                .all(|rate| *rate <= 1_000.0)
        );
    }
}
