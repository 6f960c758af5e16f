//! When the next request may leave: evenly spaced turns at the rate that `rate_controller` allows, none while the Org asks for
//! a pause, and never more than the rate and one in any second. Arithmetic on (state, now); which request takes the turn is
//! not decided here.
//!
//! There are two ways to space turns:
//! - A fixed rate that the Org accepts is kept to 99.9 %: turns follow a schedule, and what a stall has cost is made up for at
//!   twice the rate.
//! - Under `auto`, below the fixed rate, and for a minute after a refusal, a turn counts from the last request that was sent:
//!   a limit without burst refuses the one request that comes early. Timers fire late, so that turns that only count from
//!   each other fall behind; the mean lateness is taken off.

use std::collections::VecDeque;
use std::time::Duration;

use super::rate_controller::RateController;
use crate::domain::Rate;

/// Whether the engine's alarm is late by hundredths of a millisecond, rather than by one or two or, on Windows, sixteen.
const FINE_ALARM: bool = cfg!(target_os = "linux");
/// By how much the schedule may be behind, at least: timers fire late, and a disk makes wait.
const LEAST_CATCH_UP: Duration = Duration::from_millis(10);
/// By how much the schedule may be behind, at most. What a longer stall has cost is lost.
const MOST_CATCH_UP: Duration = Duration::from_secs(3);
/// Number of requests by which the schedule may be behind. A second holds one request more than the rate, so that half a
/// minute makes up for these; with more of them, requests would leave at twice the rate and then wait for their second to
/// pass, for minutes.
const CATCH_UP_REQUESTS: f64 = 30.0;
/// How much of what was missed is made up for at once; the rest at twice the rate. A burst comes again a second later, when
/// the window that it filled opens, and how close together it reaches the Org depends on the way.
const BURST: Duration = if FINE_ALARM {
    Duration::from_millis(2)
} else {
    LEAST_CATCH_UP
};
/// The span in which requests are counted against the rate.
const WINDOW: Duration = Duration::from_secs(1);
/// Requests reach the Org a little sooner or later than they are sent: the Org's own count of a second must not see
/// more than it should for that. Never more than a good part of the time between two turns: with all of it, a turn that was
/// late once could not be made up for.
const TRAVEL: Duration = Duration::from_millis(2);
/// Which part that is.
const PART: f64 = if FINE_ALARM { 0.75 } else { 0.5 };
/// What is left for travel even where turns follow one another more quickly. With a fine alarm it costs 0.04 % of the pace, and
/// no more than 0.1 % may be missing in all: above some 1,500 requests a second, what a stall has cost can't be made up for, as
/// the seconds after it are full.
const LEAST_TRAVEL: Duration = Duration::from_micros(if FINE_ALARM { 600 } else { 400 });
/// How long after a refusal nothing is made up for.
const NO_CATCHING_UP: Duration = Duration::from_mins(1);
/// The pace of a run that has just begun is measured over at least this time.
const SHORTEST_MEASURED: Duration = Duration::from_millis(100);
/// Weight of a new turn in the mean lateness.
const LATENESS_GAIN: f64 = 0.002;
/// Later than this, a turn was not late because of the timer.
const LATEST: Duration = Duration::from_millis(100);
/// The mean lateness takes at most this share off the time between two turns.
const MOST_TAKEN_OFF: f64 = 0.5;

/// The pace of a run.
#[derive(Debug)]
pub(super) struct Pacing {
    controller: RateController,
    /// The rate asked for or the highest that may be found, requests a second; infinite for none.
    full: f64,
    is_auto: bool,
    /// By how much the schedule may be behind.
    catch_up: Duration,
    /// The next turn of the schedule.
    next: Duration,
    /// The next turn of a schedule at twice the rate, which may be taken [`BURST`] before its time.
    doubled: Duration,
    /// When the last request was sent.
    last_sent: Option<Duration>,
    /// The turn for which the engine waits.
    awaited: Option<Duration>,
    /// By how many seconds turns are late that were waited for.
    mean_lateness: f64,
    /// Nothing leaves before this.
    held_until: Duration,
    /// [`WINDOW`], and what requests may gain on the way.
    window: Duration,
    /// When requests left within the last window, at the latest.
    recent: VecDeque<Duration>,
    /// How many of them have not left yet, as far as is known; they have the time of their turn.
    leaving: usize,
}

impl Pacing {
    pub(super) fn new(rate: Rate) -> Self {
        let full = rate.per_second().unwrap_or(f64::INFINITY);
        let is_auto = matches!(rate, Rate::Auto { .. });
        Self {
            controller: if is_auto {
                RateController::auto(full)
            } else {
                RateController::fixed(full)
            },
            full,
            is_auto,
            catch_up: Duration::from_secs_f64(CATCH_UP_REQUESTS / full)
                .clamp(LEAST_CATCH_UP, MOST_CATCH_UP),
            next: Duration::ZERO,
            doubled: Duration::ZERO,
            last_sent: None,
            awaited: None,
            mean_lateness: 0.0,
            held_until: Duration::ZERO,
            window: WINDOW + TRAVEL.min(LEAST_TRAVEL.max(interval(full).mul_f64(PART))),
            recent: VecDeque::new(),
            leaving: 0,
        }
    }

    /// Returns the time at which the next request may leave; not after `now` if it may leave now.
    pub(super) fn ready_at(&self, now: Duration) -> Duration {
        let turn = if self.catches_up(now) {
            self.next.max(self.doubled.saturating_sub(BURST))
        } else {
            self.turn_after_last()
        };
        turn.max(self.held_until).max(self.window_opens(now))
    }

    /// The engine waits for this turn.
    pub(super) fn awaits(&mut self, turn: Duration) {
        self.awaited = Some(turn);
    }

    /// Returns until when the Org holds everything back, if it does: it asked for a pause, or its limit is closed.
    pub(super) fn held(&self, now: Duration) -> Option<Duration> {
        let until = match self.controller.probe_interval() {
            Some(_) => self.turn_after_last().max(self.held_until),
            None => self.held_until,
        };
        (until > now).then_some(until)
    }

    /// A request leaves, at once or a little later: see [`departed`](Self::departed).
    pub(super) fn sent(&mut self, now: Duration) {
        self.note_lateness(now);
        let rate = self.controller.rate();
        if self.catches_up(now) {
            self.next = self.next.max(now.saturating_sub(self.catch_up)) + interval(rate);
            self.doubled = self.doubled.max(now) + interval(rate) / 2;
        } else {
            self.next = now + interval(rate);
            self.doubled = now + interval(rate) / 2;
        }
        self.last_sent = Some(now);
        let is_over = |left: &Duration| now.saturating_sub(*left) >= self.window;
        while self.recent.len() > self.leaving && self.recent.front().is_some_and(is_over) {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        self.leaving += usize::from(self.full.is_finite());
    }

    /// Whether it matters when the requests that were sent have left.
    pub(super) fn awaits_departure(&self) -> bool {
        self.leaving > 0
    }

    /// Every request that was sent has left by now, over a connection that stands. Between its turn and the wire the machine
    /// may do something else; its second counts from the latest moment at which it can have left.
    pub(super) fn departed(&mut self, now: Duration) {
        let leaving = std::mem::take(&mut self.leaving);
        self.recent
            .iter_mut()
            .rev()
            .take(leaving)
            .for_each(|left| *left = now);
    }

    /// A change was confirmed: the rate may rise.
    pub(super) fn confirmed(&mut self, now: Duration, sent_at: Duration) {
        self.controller.confirmed(now, sent_at);
    }

    /// The Org says that it is asked too often; `wait` is how long it wants to be left alone, jitter included.
    pub(super) fn refused(&mut self, now: Duration, sent_at: Duration, wait: Option<Duration>) {
        if let Some(wait) = wait {
            self.hold(now, wait);
        }
        let measured = self.measured(now);
        self.controller
            .refused(now, sent_at, wait.is_some(), measured);
    }

    /// A request failed in a way that may mean that the Org is asked too often; `is_unavailable` for a 503.
    pub(super) fn failed(&mut self, now: Duration, sent_at: Duration, is_unavailable: bool) {
        let measured = self.measured(now);
        self.controller
            .failed(now, sent_at, is_unavailable, measured);
    }

    /// Waits without a word about the speed: a quota that is used up.
    pub(super) fn hold(&mut self, now: Duration, wait: Duration) {
        self.held_until = self.held_until.max(now.saturating_add(wait));
        self.next = self.next.max(self.held_until);
        self.doubled = self.doubled.max(self.held_until);
    }

    /// The Org is back after an outage: start low.
    pub(super) fn restart_low(&mut self, now: Duration) {
        self.controller.restart_low(now);
    }

    /// Answers have become slow: do not ask for more of them.
    pub(super) fn slow_down(&mut self) {
        self.controller.slow_down();
    }

    /// Returns the rate now, requests a second; infinite for none.
    pub(super) fn rate(&self) -> f64 {
        self.controller.rate()
    }

    /// Returns the limit that the Org has shown, requests a second.
    pub(super) fn limit(&self) -> Option<f64> {
        self.controller.limit()
    }

    /// Returns the rate that was found by trying, requests a second.
    pub(super) fn found(&self) -> Option<f64> {
        self.is_auto
            .then(|| self.limit().unwrap_or_else(|| self.rate()))
    }

    /// Checks whether turns follow the schedule, which makes up for stalls.
    fn catches_up(&self, now: Duration) -> bool {
        let is_full = self.controller.rate() >= self.full;
        let last_refused = self.controller.last_refused();
        let is_calm = last_refused.is_none_or(|at| now >= at + NO_CATCHING_UP);
        !self.is_auto && is_full && is_calm
    }

    /// Returns the turn that counts from the last request.
    fn turn_after_last(&self) -> Duration {
        let Some(last) = self.last_sent else {
            return Duration::ZERO;
        };
        let interval = match self.controller.probe_interval() {
            Some(interval) => interval,
            None => interval(self.controller.rate()),
        };
        let taken_off = self
            .mean_lateness
            .min(MOST_TAKEN_OFF * interval.as_secs_f64());
        last + interval.saturating_sub(Duration::from_secs_f64(taken_off))
    }

    fn note_lateness(&mut self, now: Duration) {
        let Some(turn) = self.awaited.take() else {
            return;
        };
        let late = now.saturating_sub(turn);
        if now >= turn && late < LATEST {
            self.mean_lateness += LATENESS_GAIN * (late.as_secs_f64() - self.mean_lateness);
        }
    }

    /// Returns what the pace really was in the last second, where there is no rate.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a count of requests in a second is far below 2^52"
    )]
    fn measured(&self, now: Duration) -> f64 {
        let Some(first) = self.recent.front() else {
            return f64::INFINITY;
        };
        if self.controller.rate().is_finite() {
            return f64::INFINITY;
        }
        let span = now.saturating_sub(*first).clamp(SHORTEST_MEASURED, WINDOW);
        self.recent.len() as f64 / span.as_secs_f64()
    }

    /// Returns when the requests of the last second leave room for one more under the full rate.
    ///
    /// The schedule alone allows a turn that was late and one on time to fall into the same second; this is what makes
    /// "never above the rate by more than one in any second" a law.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be finite and positive"
    )]
    fn window_opens(&self, now: Duration) -> Duration {
        if !self.full.is_finite() {
            return Duration::ZERO;
        }
        let most = self.full.floor().min(1e9) as usize + 1;
        match self.recent.len().checked_sub(most) {
            // The request that has to be a second ago has not even left.
            Some(index) if index + self.leaving >= self.recent.len() => now + self.window,
            Some(index) => self.recent[index] + self.window,
            None => Duration::ZERO,
        }
    }
}

/// Returns the time between two turns, rounded up so that rounding never makes the pace faster.
fn interval(rate: f64) -> Duration {
    if rate.is_finite() {
        Duration::from_secs_f64(1.0 / rate) + Duration::from_nanos(1)
    } else {
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(requests: u32, seconds: u64) -> Pacing {
        Pacing::new(Rate::Limited {
            requests,
            per: Duration::from_secs(seconds),
        })
    }

    #[test]
    fn a_request_that_left_late_counts_from_then_on() {
        let mut pacing = limited(50, 1);
        let late = Duration::from_millis(1500);
        // The machine stops between two turns that may be taken at once; both leave when it goes on.
        pacing.sent(Duration::ZERO);
        pacing.sent(late);
        pacing.departed(late);
        let milliseconds = (0..1000).map(|millisecond| late + Duration::from_millis(millisecond));
        let sent = milliseconds.filter(|now| {
            let is_ready = pacing.ready_at(*now) <= *now;
            if is_ready {
                pacing.sent(*now);
                pacing.departed(*now);
            }
            is_ready
        });
        assert_eq!(2 + sent.count(), 51);
    }

    #[test]
    fn where_one_request_fills_the_second_it_is_waited_for() {
        let mut pacing = limited(1, 60);
        let later = Duration::from_secs(90);
        pacing.sent(Duration::ZERO);
        assert!(pacing.awaits_departure());
        assert!(
            pacing.ready_at(later) > later,
            "it may leave at this moment"
        );
        pacing.departed(later);
        assert!(!pacing.awaits_departure());
        assert_eq!(pacing.ready_at(later), later + WINDOW + TRAVEL);
    }

    #[test]
    fn without_a_limit_nobody_waits_for_a_departure() {
        let mut pacing = Pacing::new(Rate::Unlimited);
        pacing.sent(Duration::ZERO);
        assert!(!pacing.awaits_departure());
    }

    /// Sends what is due and has it confirmed at once, each millisecond; returns when.
    fn send_all(pacing: &mut Pacing, from: u64, to: u64) -> Vec<u64> {
        let mut sent = Vec::new();
        for millisecond in from..to {
            let now = Duration::from_millis(millisecond);
            while pacing.ready_at(now) <= now {
                pacing.sent(now);
                pacing.departed(now);
                pacing.confirmed(now, now);
                sent.push(millisecond);
            }
        }
        sent
    }

    #[test]
    fn a_stop_of_three_seconds_is_made_up_for_without_a_burst() {
        let mut pacing = limited(10, 1);
        let mut sent = send_all(&mut pacing, 0, 10_000);
        sent.extend(send_all(&mut pacing, 13_000, 60_000));
        let count = u32::try_from(sent.len()).unwrap();
        assert!(f64::from(count) >= 0.999 * 600.0, "{count} in a minute");
        let busiest = sent
            .iter()
            .map(|first| {
                sent.iter()
                    .filter(|at| (*first..first + 1_000).contains(*at))
                    .count()
            })
            .max();
        assert_eq!(busiest, Some(11));
        let closest = sent.windows(2).map(|pair| pair[1] - pair[0]).min();
        assert!(closest >= Some(47), "twice the rate: {closest:?} ms apart");
    }

    #[test]
    fn nothing_is_made_up_for_within_a_minute_of_a_refusal() {
        for (is_refused, count) in [(false, 61..=66), (true, 45..=59)] {
            let mut pacing = limited(10, 1);
            let mut sent = send_all(&mut pacing, 0, 1_000);
            if is_refused {
                let now = Duration::from_secs(1);
                pacing.refused(now, now, None);
            }
            sent.extend(send_all(&mut pacing, 4_000, 9_000));
            assert!(
                count.contains(&sent.len()),
                "{}, refused: {is_refused}",
                sent.len()
            );
        }
    }

    #[test]
    fn what_a_used_up_quota_has_cost_is_not_made_up_for() {
        let mut pacing = limited(10, 1);
        let mut sent = send_all(&mut pacing, 0, 1_000);
        pacing.hold(Duration::from_secs(1), Duration::from_secs(3));
        sent.extend(send_all(&mut pacing, 1_000, 9_000));
        assert!((59..=61).contains(&sent.len()), "{}", sent.len());
    }
}
