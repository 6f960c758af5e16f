//! Finds the rate that a hidden limit allows, and keeps to it. Pure arithmetic on state and time;
//! `pacing` turns the rate into the times at which requests leave.
//!
//! # The law
//!
//! A *refusal* is an answer that asks for fewer requests: 429 and what counts like it. Refusals
//! without a stretch of successes between them form an *episode*. An episode lowers the memory of
//! the limit once, by what was *measured* before it: the changes confirmed in the 10 s or 60 s
//! before its first refusal.
//!
//! ```text
//! no limit known   auto: 2/s, growing by half every 2 s (the slow start);  otherwise: the ceiling
//! limit known      floor (top/floor)^(x/K)        for x < K      x: seconds since the last episode
//!                  top (1 + 0.05 (x/K - 1)^3)     beyond         K: time for 300 requests, 15 s to 60 s
//! after a dip      at most (rate after the dip) 2^x
//!
//! refusal          of a request sent before the last cut: belongs to that cut, ignored
//!                  in the slow start, unless 4 of the last 20 answers are refusals: ignored
//!                  while refusals are below 0.7 % of the answers, saved for at most 10 s: ignored
//!                  opens an episode: rate cut to the measured rate, at least to 97 %, at most to 40 %
//!                  in an episode: rate cut to 80 %
//!                  the eighth in a row: the limit is closed; one probe a second, then every 2, 4 and 8 s
//! end of episode   three successes in a row, and 1 s without a refusal if there were several
//!                  estimate = measured rate; floor = 0.97 estimate
//!                  top = estimate, if the limit was closed for 1 s or the estimate is the last one again;
//!                  otherwise the rate that was refused: the limit lies between the two
//! ```
//!
//! The clock `x` only moves with confirmed changes, so that nothing else can raise the rate.
//!
//! # Why it is like that
//!
//! - AIMD and CUBIC (RFC 9438) cut to 50 or 70 % of the rate that was refused. That shares a link
//!   among many senders; here there is one sender and a fixed limit, and each cut costs what it
//!   takes to climb back. The AWS SDKs' adaptive mode is CUBIC with a cut to 70 %. In simulation
//!   both reach the wanted share in 17 of 120 cases, this law in 115 (`cargo bench --bench pace`).
//! - Like BBR, it measures what gets through instead of inferring it from its own rate. Unlike BBR,
//!   it measures *before* the first refusal: a rate that contains the controller's own dip would
//!   lower the memory with every episode.
//! - The curve is CUBIC's in purpose: fast up to the memory of the limit, slow around it, ever
//!   faster beyond it, so that a raised limit is found. A doubled limit is found in about a minute.
//! - A limit without burst refuses requests that come early by chance. Near it some refusals are
//!   the price of any rate, and a controller that cuts for each of them ends far below. Hence the
//!   tolerated share. It does not apply once the server has sent a waiting time, because then each
//!   refusal stops everything for that time.
//! - A machine or a network that stalls for 30 ms makes such a limit refuse requests far below it.
//!   During the slow start a cut would cost a minute of climbing, while an ignored refusal costs
//!   nothing: the rate grows on, and at a real limit refusals become frequent within a second or
//!   two.
//! - A closed window (fixed, 10 or 60 s) refuses everything until it opens. Its limit is what it
//!   let through as a whole: measured before the first refusal where the rate was steady, before
//!   the last one where it was not.
//! - A limit that stays closed for 10 s or more may also be an exception. If the rate had risen
//!   within the last minute to where it was then steady, and the limit was not closed in that
//!   minute, the rate comes back to what it was. If the limit is a window, it closes again and is
//!   measured then.

use std::time::Duration;

use super::episode::{Episode, Measured, Streak};
use super::limit::{FLOOR_SHARE, Limit};
use super::overload::{Failure, Overload};
use super::rolling_count::RollingCount;

/// Rate at which `auto` starts, in requests per second.
const START: f64 = 2.0;
/// Factor by which the rate grows in a round of the slow start.
const SLOW_START_GROWTH: f64 = 1.5;
/// Length of a round of the slow start, in seconds.
const SLOW_START_ROUND: f64 = 2.0;
/// Lowest rate that refusals lead to, in requests per second.
const MIN_RATE: f64 = 0.3;
/// Rate from which a run without a ceiling is unlimited again, in requests per second.
const AS_GOOD_AS_UNLIMITED: f64 = 100_000.0;
/// Shortest time between two calculations of the rate, in seconds.
const STEP: f64 = 0.05;
/// Longest step of the clock between two confirmed changes, in seconds.
const MAX_CLOCK_STEP: f64 = 2.0;

/// Relative difference below which two estimates are the same.
const SAME_ESTIMATE: f64 = 0.02;

/// Share of refusals that is tolerated.
const TOLERATED: f64 = 0.007;
/// Time for which tolerated refusals can be saved up, in seconds.
const TOLERATED_SPAN: f64 = 10.0;
/// Smallest share of the rate that the first refusal of an episode leaves.
const DEEPEST_CUT: f64 = 0.4;
/// Largest share of the rate that the first refusal of an episode leaves.
const SHALLOWEST_CUT: f64 = 0.97;
/// Share of the rate that a further refusal leaves.
const FURTHER_CUT: f64 = 0.8;
/// Number of refusals in a row that shows that the limit is closed.
const CLOSED_AFTER: u32 = 8;
/// First time between two probes of a closed limit, in seconds.
const PROBE_INTERVAL: f64 = 1.0;
/// Longest time between two probes of a closed limit, in seconds.
const MAX_PROBE_INTERVAL: f64 = 8.0;
/// Number of successes in a row that ends an episode.
const SUCCESSES_TO_END: u32 = 3;
/// Time without a refusal that ends an episode of several, in seconds.
const QUIET: f64 = 1.0;

/// Share of the rate at which a run continues after an outage.
const AFTER_OUTAGE: f64 = 0.1;
/// Rate that is assumed before an outage if there was none, in requests per second.
const UNLIMITED_BEFORE_OUTAGE: f64 = 100.0;
/// Share of the rate that slow answers leave.
const SLOW_ANSWERS: f64 = 0.9;

/// The rate of a run. Times are seconds since the run began, rates are requests per second.
#[derive(Debug)]
pub(super) struct RateController {
    /// The highest rate; infinite if there is none.
    ceiling: f64,
    /// Whether the rate starts low and is found by trying.
    is_auto: bool,
    /// The current rate; never above the ceiling.
    rate: f64,
    /// Rate at which the slow start begins.
    start: f64,
    /// Rate after the last dip, from which the rate doubles every second.
    resumed_from: f64,
    /// Seconds since the last episode, the last outage or the beginning, as far as confirmed
    /// changes moved it.
    clock: f64,
    limit: Option<Limit>,
    episode: Option<Episode>,
    /// Requests that were sent before this time belong to the last cut.
    cut_at: f64,
    /// Number of refusals that may still be ignored.
    tolerance: f64,
    /// Whether the server has ever sent a waiting time.
    has_hints: bool,
    last_confirmed: f64,
    /// When the limit was last found closed in a long episode.
    closed_at: f64,
    /// The failures and refusals since the last success.
    streak: Option<Streak>,
    last_refused: Option<Duration>,
    confirmed: RollingCount,
    overload: Overload<Remembered>,
}

/// The rate and the limit before failures lowered them.
#[derive(Clone, Copy, Debug)]
struct Remembered {
    limit: Option<Limit>,
    rate: f64,
}

impl RateController {
    /// Returns a controller that starts at the ceiling.
    pub(super) fn fixed(ceiling: f64) -> Self {
        Self::new(ceiling, ceiling, false)
    }

    /// Returns a controller that starts low and finds the rate below the ceiling.
    pub(super) fn auto(ceiling: f64) -> Self {
        Self::new(ceiling, START.min(ceiling), true)
    }

    fn new(ceiling: f64, start: f64, is_auto: bool) -> Self {
        Self {
            ceiling,
            is_auto,
            rate: start,
            start,
            resumed_from: f64::INFINITY,
            clock: 0.0,
            limit: None,
            episode: None,
            cut_at: -1.0,
            tolerance: 0.0,
            has_hints: false,
            last_confirmed: 0.0,
            closed_at: f64::NEG_INFINITY,
            streak: None,
            last_refused: None,
            confirmed: RollingCount::default(),
            overload: Overload::default(),
        }
    }

    /// Returns the current rate; infinite if there is none.
    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    /// Returns the limit that was found, if the Org has shown one.
    pub(super) fn limit(&self) -> Option<f64> {
        self.limit.map(|limit| limit.estimate().min(self.ceiling))
    }

    /// Returns when a request was last refused.
    pub(super) fn last_refused(&self) -> Option<Duration> {
        self.last_refused
    }

    /// Returns the time between two probes while the limit is closed.
    pub(super) fn probe_interval(&self) -> Option<Duration> {
        let interval = self.episode.as_ref()?.probe_interval?;
        Some(Duration::from_secs_f64(interval))
    }

    /// Takes note of a confirmed change. Nothing else raises the rate.
    pub(super) fn confirmed(&mut self, now: Duration, sent_at: Duration) {
        let now = now.as_secs_f64();
        self.confirmed.add(now);
        self.overload.note_success(now);
        self.streak = None;
        let most = TOLERATED * TOLERATED_SPAN * self.rate;
        self.tolerance = (self.tolerance + TOLERATED).min(most);
        if self.episode.is_some() {
            self.last_confirmed = now;
            if sent_at.as_secs_f64() >= self.cut_at {
                self.succeeded_in_episode(now);
            }
            return;
        }
        let passed = now - self.last_confirmed;
        if passed >= STEP {
            self.last_confirmed = now;
            self.clock += passed.min(MAX_CLOCK_STEP);
            self.rate = self.rate_after(self.clock);
        }
    }

    /// Takes note of a refusal. `measured` is the rate at which requests were sent if there is no
    /// ceiling.
    pub(super) fn refused(
        &mut self,
        now: Duration,
        sent_at: Duration,
        has_hint: bool,
        measured: f64,
    ) {
        self.has_hints |= has_hint;
        self.last_refused = Some(now);
        self.overload.note_refusal();
        self.refuse(now.as_secs_f64(), sent_at.as_secs_f64(), measured, false);
    }

    /// Takes note of a failure without a waiting time, which may be a refusal: see [`Overload`].
    pub(super) fn failed(
        &mut self,
        now: Duration,
        sent_at: Duration,
        is_unavailable: bool,
        measured: f64,
    ) {
        let at = now.as_secs_f64();
        let sent = sent_at.as_secs_f64();
        let rate = self.rate_at(at, sent).min(measured);
        let streak = *self.streak(at);
        let failure = Failure {
            at,
            is_unavailable,
            failing_for: at - streak.began,
            is_searching: self.is_auto && self.limit.is_none(),
        };
        if !self.overload.note_failure(failure) {
            return;
        }
        let is_alone = streak.refusals == 0 && sent >= self.cut_at;
        if is_alone && let Some(before) = self.overload.dismiss(at, rate) {
            self.restore(at, before);
            return;
        }
        self.last_refused = Some(now);
        self.refuse(at, sent, measured, true);
    }

    /// Continues at a low rate after an outage; it doubles every second.
    pub(super) fn restart_low(&mut self, now: Duration) {
        let before = self
            .episode
            .as_ref()
            .map_or(self.rate, |episode| episode.rate);
        self.end_episode();
        let before = if before.is_finite() {
            before
        } else {
            UNLIMITED_BEFORE_OUTAGE
        };
        if self.limit.is_none() && self.is_auto {
            self.start = before.min(self.ceiling);
        }
        self.cut_at = now.as_secs_f64();
        self.last_confirmed = self.cut_at;
        self.resume_from(AFTER_OUTAGE * before);
    }

    /// Lowers the rate because answers have become slow. A fixed rate stays: somebody asked for it.
    pub(super) fn slow_down(&mut self) {
        if !self.is_auto || self.episode.is_some() {
            return;
        }
        let floor = (SLOW_ANSWERS * self.rate).max(MIN_RATE);
        self.limit = Some(Limit::new(self.rate, floor, self.rate, false));
        self.resume_from(floor);
    }

    fn rate_after(&self, clock: f64) -> f64 {
        let planned = match &self.limit {
            Some(limit) => limit.rate_after(clock),
            None if self.is_auto => self.start * SLOW_START_GROWTH.powf(clock / SLOW_START_ROUND),
            None => self.ceiling,
        };
        let rate = planned.min(self.resumed_from * clock.exp2());
        if rate >= AS_GOOD_AS_UNLIMITED.min(self.ceiling) {
            self.ceiling
        } else {
            rate.max(self.min_rate())
        }
    }

    /// Returns the rate at which a request was sent.
    fn rate_at(&self, now: f64, sent_at: f64) -> f64 {
        if self.episode.is_some() {
            return self.rate;
        }
        let clock = (self.clock - (now - sent_at)).max(0.0);
        self.rate.min(self.rate_after(clock))
    }

    /// Returns the streak that a failure or refusal belongs to.
    fn streak(&mut self, now: f64) -> &mut Streak {
        let confirmed = &self.confirmed;
        self.streak.get_or_insert_with(|| Streak {
            began: now,
            measured: Measured::at(now, confirmed),
            refusals: 0,
        })
    }

    /// Checks whether the rate still grows because no limit has been found.
    fn is_slow_start(&self) -> bool {
        self.is_auto && self.limit.is_none() && self.rate < self.ceiling
    }

    fn min_rate(&self) -> f64 {
        MIN_RATE.min(self.ceiling)
    }

    fn resume_from(&mut self, rate: f64) {
        self.clock = 0.0;
        self.resumed_from = rate.max(self.min_rate());
        self.rate = self.rate_after(0.0);
    }

    fn refuse(&mut self, now: f64, sent_at: f64, measured: f64, is_suspected: bool) {
        let streak = self.streak(now);
        streak.refusals += 1;
        let streak = *streak;
        if self.episode.is_some() {
            self.refused_again(now, sent_at, is_suspected);
            return;
        }
        if sent_at < self.cut_at {
            return;
        }
        if self.is_slow_start() && !self.has_hints && !self.overload.several_failed() {
            return;
        }
        if self.tolerance >= 1.0 && !self.has_hints {
            self.tolerance -= 1.0;
            return;
        }
        let rate = self.rate_at(now, sent_at).min(measured.max(START));
        let cut = streak
            .measured
            .short
            .clamp(DEEPEST_CUT * rate, SHALLOWEST_CUT * rate);
        if is_suspected {
            let before = Remembered {
                limit: self.limit,
                rate: self.rate,
            };
            self.overload.suspect(now, cut, before);
        }
        self.rate = cut.max(self.min_rate());
        self.cut_at = now;
        self.episode = Some(Episode {
            began: streak.began,
            last_refusal: now,
            refusals: 1,
            successes: 0,
            rate,
            at_first: streak.measured,
            at_last: streak.measured,
            probe_interval: None,
            failed_probes: 0,
            is_suspected,
            mostly_failed: false,
        });
    }

    fn refused_again(&mut self, now: f64, sent_at: f64, is_suspected: bool) {
        let min_rate = self.min_rate();
        let streak = *self.streak(now);
        let Some(episode) = &mut self.episode else {
            return;
        };
        episode.last_refusal = now;
        episode.refusals += 1;
        episode.successes = 0;
        episode.at_last = Measured::at(now, &self.confirmed);
        episode.is_suspected &= is_suspected;
        episode.mostly_failed |= self.overload.mostly_failed();
        if let Some(interval) = episode.probe_interval {
            if sent_at >= self.cut_at {
                episode.failed_probes += 1;
            }
            if sent_at >= self.cut_at && episode.failed_probes.is_multiple_of(2) {
                episode.probe_interval = Some((2.0 * interval).min(MAX_PROBE_INTERVAL));
            }
        } else if streak.refusals >= CLOSED_AFTER {
            episode.probe_interval = Some(PROBE_INTERVAL.max(1.0 / self.rate));
            self.cut_at = now;
        } else if sent_at >= self.cut_at {
            let mut lowest = min_rate;
            if episode.is_suspected && !self.overload.mostly_failed() {
                lowest = lowest.max(self.overload.lowest_rate().min(self.rate));
            }
            self.cut_at = now;
            self.rate = (FURTHER_CUT * self.rate).max(lowest);
        }
    }

    fn succeeded_in_episode(&mut self, now: f64) {
        let Some(episode) = &mut self.episode else {
            return;
        };
        episode.successes += 1;
        episode.probe_interval = None;
        let is_quiet = episode.refusals == 1 || now - episode.last_refusal >= QUIET;
        if episode.successes >= SUCCESSES_TO_END && is_quiet {
            self.end_episode();
        }
    }

    fn end_episode(&mut self) {
        let Some(episode) = self.episode.take() else {
            return;
        };
        let was_closed = episode.was_closed();
        let estimate = episode.estimate(self.closed_at);
        if episode.is_long() {
            self.closed_at = episode.last_refusal;
        }
        let last_estimate = self.limit.map_or(0.0, |limit| limit.estimate());
        let is_same = (estimate - last_estimate).abs() < SAME_ESTIMATE * estimate;
        let floor = self.floor(&episode, estimate.min(episode.rate));
        let top = if was_closed || is_same {
            estimate
        } else {
            episode.rate
        };
        self.limit = Some(Limit::new(estimate, floor, top, self.has_hints));
        self.resume_from(self.rate);
    }

    /// Returns the floor below an estimate. Failures that may have other causes lower it only so
    /// far.
    fn floor(&mut self, episode: &Episode, estimate: f64) -> f64 {
        let mut floor = FLOOR_SHARE * estimate;
        if !episode.is_suspected {
            self.overload.confirm();
        } else if episode.mostly_failed {
            self.overload.lower_reference(estimate);
        } else {
            floor = floor.max(self.overload.lowest_rate().min(FLOOR_SHARE * episode.rate));
        }
        floor.max(self.min_rate())
    }

    /// Restores the rate from before failures that have other causes.
    fn restore(&mut self, now: f64, before: Remembered) {
        self.episode = None;
        self.cut_at = now;
        self.limit = before.limit;
        if self.limit.is_none() && self.is_auto {
            self.start = before.rate;
        }
        self.resume_from(before.rate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    /// Confirms changes for some seconds, as many as the rate sends.
    fn confirm(controller: &mut RateController, from: f64, to: f64) {
        let mut now = from;
        while now < to {
            now += 1.0 / controller.rate();
            controller.confirmed(at(now), at(now));
        }
    }

    fn refuse(controller: &mut RateController, now: f64) {
        controller.refused(at(now), at(now), false, f64::INFINITY);
    }

    fn limit(controller: &RateController) -> f64 {
        controller.limit().expect("a limit is known")
    }

    #[test]
    fn auto_starts_at_two_and_grows_by_half_every_two_seconds() {
        let mut controller = RateController::auto(500.0);
        assert!((controller.rate() - 2.0).abs() < 1e-9);
        confirm(&mut controller, 0.0, 10.0);
        let rate = controller.rate();
        assert!((14.0..=16.0).contains(&rate), "{rate}");
        confirm(&mut controller, 10.0, 60.0);
        assert!((controller.rate() - 500.0).abs() < 1e-9, "the ceiling");
    }

    #[test]
    fn an_episode_lowers_the_memory_of_the_limit_once() {
        let mut controller = RateController::fixed(100.0);
        confirm(&mut controller, 0.0, 60.0);
        controller.tolerance = 0.0;
        for refusal in 0..5 {
            refuse(&mut controller, 60.0 + 0.1 * f64::from(refusal));
        }
        assert!(controller.rate() < 50.0, "every refusal cuts");
        confirm(&mut controller, 60.5, 65.0);
        assert!((99.0..=101.0).contains(&limit(&controller)));
        let rate = controller.rate();
        assert!((96.0..=98.0).contains(&rate), "back to the floor: {rate}");
    }

    #[test]
    fn a_closed_limit_is_probed_ever_more_rarely() {
        let mut controller = RateController::fixed(20.0);
        confirm(&mut controller, 0.0, 60.0);
        let intervals: Vec<u64> = (0..16)
            .map(|refusal| {
                refuse(&mut controller, 60.0 + f64::from(refusal));
                let interval = controller.probe_interval();
                interval.map_or(0, |interval| interval.as_secs())
            })
            .collect();
        let expected = [0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 4, 4, 8, 8, 8];
        assert_eq!(intervals, expected);
        controller.confirmed(at(90.0), at(89.0));
        assert_eq!(controller.probe_interval(), None);
    }

    #[test]
    fn a_few_refusals_among_many_answers_are_tolerated_unless_they_cost_time() {
        for (has_hint, is_lowered) in [(false, false), (true, true)] {
            let mut controller = RateController::fixed(100.0);
            confirm(&mut controller, 0.0, 60.0);
            controller.refused(at(60.0), at(60.0), has_hint, f64::INFINITY);
            assert_eq!(controller.rate() < 100.0, is_lowered, "hint: {has_hint}");
        }
    }

    #[test]
    fn a_refusal_of_a_request_from_before_the_cut_is_the_same_event() {
        let mut controller = RateController::fixed(10.0);
        confirm(&mut controller, 0.0, 60.0);
        refuse(&mut controller, 60.0);
        let cut = controller.rate();
        controller.refused(at(60.2), at(59.9), false, f64::INFINITY);
        assert!((controller.rate() - cut).abs() < 1e-9);
        controller.refused(at(60.4), at(60.3), false, f64::INFINITY);
        assert!(controller.rate() < cut);
    }

    #[test]
    fn a_limit_that_was_raised_is_found() {
        let mut controller = RateController::auto(500.0);
        confirm(&mut controller, 0.0, 16.0);
        for refusal in 0..8 {
            refuse(&mut controller, 16.0 + 0.1 * f64::from(refusal));
        }
        let limited = controller.rate();
        confirm(&mut controller, 17.0, 137.0);
        assert!(controller.rate() > 2.0 * limited);
    }

    #[test]
    fn a_single_refusal_in_the_slow_start_is_ignored_and_several_end_it() {
        let mut controller = RateController::auto(500.0);
        confirm(&mut controller, 0.0, 12.0);
        controller.tolerance = 0.0;
        let rate = controller.rate();
        for _ in 0..3 {
            refuse(&mut controller, 12.0);
        }
        assert!((controller.rate() - rate).abs() < 1e-9);
        refuse(&mut controller, 12.0);
        assert!(controller.rate() < rate);
    }

    #[test]
    fn the_rate_comes_back_after_half_a_minute_of_refusals_and_falls_if_the_limit_closes_again() {
        let mut controller = RateController::fixed(50.0);
        confirm(&mut controller, 50.0, 80.0);
        for (closed_at, expected) in [(80.0, 48.0..=50.0), (130.0, 1.0..=40.0)] {
            for second in 0..30 {
                refuse(&mut controller, closed_at + f64::from(second));
            }
            confirm(&mut controller, closed_at + 30.0, closed_at + 50.0);
            let found = limit(&controller);
            assert!(expected.contains(&found), "{found} after {closed_at} s");
        }
    }

    #[test]
    fn slow_answers_lower_only_the_rate_that_was_found_by_trying() {
        let mut controller = RateController::auto(500.0);
        confirm(&mut controller, 0.0, 10.0);
        let rate = controller.rate();
        controller.slow_down();
        assert!((controller.rate() - 0.9 * rate).abs() < 1e-9);
        let mut controller = RateController::fixed(10.0);
        controller.slow_down();
        assert!((controller.rate() - 10.0).abs() < 1e-9);
    }

    #[test]
    fn after_an_outage_the_rate_doubles_from_a_tenth() {
        let mut controller = RateController::fixed(80.0);
        confirm(&mut controller, 0.0, 20.0);
        controller.restart_low(at(30.0));
        assert!((controller.rate() - 8.0).abs() < 1e-9);
        confirm(&mut controller, 30.0, 32.0);
        let rate = controller.rate();
        assert!((28.0..=34.0).contains(&rate), "{rate}");
        confirm(&mut controller, 32.0, 40.0);
        assert!((controller.rate() - 80.0).abs() < 1e-9);
    }
}
