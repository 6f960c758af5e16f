//! Decides when the next request may be sent. Requests are evenly spaced at the rate that
//! `rate_controller` allows. None is sent while the Org asks for a pause, and never more than the
//! rate plus one in any second.
//!
//! There are two ways to space requests:
//! - A fixed rate that the Org accepts is kept to 99.9 %. Requests follow a schedule, and time lost
//!   to a stall is made up for at twice the rate.
//! - Under `auto`, below the fixed rate, and for a minute after a refusal, the interval counts from
//!   the last request that was sent, because a limit without burst refuses a request that comes
//!   early. Timers fire late, so that these intervals would be too long on average; the mean
//!   lateness is subtracted.

use std::collections::VecDeque;
use std::time::Duration;

use super::rate_controller::RateController;
use crate::domain::Rate;

/// Whether the engine's alarm fires within hundredths of a millisecond, rather than one or two or,
/// on Windows, sixteen.
const FINE_ALARM: bool = cfg!(target_os = "linux");
/// Smallest delay that the schedule makes up for; timers fire late, and disks block.
const MIN_CATCH_UP: Duration = Duration::from_millis(10);
/// Largest delay that the schedule makes up for.
const MAX_CATCH_UP: Duration = Duration::from_secs(3);
/// Number of requests that the schedule makes up for. A second has room for one request more than
/// the rate, so that these take half a minute. With more of them, requests would be sent at twice
/// the rate and then wait for the second to pass, for minutes.
const CATCH_UP_REQUESTS: f64 = 30.0;
/// Delay that is made up for at once; the rest is made up for at twice the rate. A burst repeats a
/// second later, when the window that it filled opens again.
const BURST: Duration = if FINE_ALARM {
    Duration::from_millis(2)
} else {
    MIN_CATCH_UP
};
/// Time over which requests are counted against the rate.
const WINDOW: Duration = Duration::from_secs(1);
/// Margin for requests that reach the Org slightly sooner or later than others, so that the Org
/// does not count more of them in a second than the rate allows.
const JITTER_MARGIN: Duration = Duration::from_millis(2);
/// Largest margin as a share of the interval. With the whole interval, a late request could never
/// be made up for.
const JITTER_MARGIN_FRACTION: f64 = if FINE_ALARM { 0.75 } else { 0.5 };
/// Smallest margin, also at high rates. With a fine alarm it costs 0.04 % of the rate, of which at
/// most 0.1 % may be missing. Above some 1,500 requests a second, a stall can't be made up for,
/// because the seconds after it are full.
const MIN_JITTER_MARGIN: Duration = Duration::from_micros(if FINE_ALARM { 600 } else { 400 });
/// Time after a refusal in which no delay is made up for.
const NO_CATCHING_UP: Duration = Duration::from_mins(1);
/// Shortest time over which the rate is measured.
const MIN_MEASURED_SPAN: Duration = Duration::from_millis(100);
/// Weight of a new value in the mean lateness.
const LATENESS_GAIN: f64 = 0.002;
/// Largest lateness that is attributed to the timer.
const MAX_TIMER_LATENESS: Duration = Duration::from_millis(100);
/// Largest share of an interval that the mean lateness takes off.
const MAX_CORRECTION: f64 = 0.5;

/// The times at which the requests of a run are sent.
#[derive(Debug)]
pub(super) struct Pacing {
    controller: RateController,
    /// The highest rate, in requests per second; infinite if there is none.
    full: f64,
    is_auto: bool,
    /// Delay that the schedule makes up for.
    catch_up: Duration,
    /// Next time of the schedule.
    next: Duration,
    /// Next time of a schedule at twice the rate, which may be used [`BURST`] early.
    doubled: Duration,
    /// When the last request was sent.
    last_sent: Option<Duration>,
    /// The time that the engine waits for.
    awaited: Option<Duration>,
    /// Mean lateness of requests that were waited for, in seconds.
    mean_lateness: f64,
    /// No request is sent before this time.
    held_until: Duration,
    /// [`WINDOW`] plus the margin for jitter.
    window: Duration,
    /// When the requests of the last window left the machine, at the latest.
    recent: VecDeque<Duration>,
    /// Number of requests that may not have left yet.
    unflushed: usize,
}

impl Pacing {
    /// Returns the pacing of a run that begins now.
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
                .clamp(MIN_CATCH_UP, MAX_CATCH_UP),
            next: Duration::ZERO,
            doubled: Duration::ZERO,
            last_sent: None,
            awaited: None,
            mean_lateness: 0.0,
            held_until: Duration::ZERO,
            window: WINDOW
                + JITTER_MARGIN
                    .min(MIN_JITTER_MARGIN.max(interval(full).mul_f64(JITTER_MARGIN_FRACTION))),
            recent: VecDeque::new(),
            unflushed: 0,
        }
    }

    /// Returns the time at which the next request may be sent; at most `now` if it may be sent now.
    pub(super) fn ready_at(&self, now: Duration) -> Duration {
        let turn = if self.catches_up(now) {
            self.next.max(self.doubled.saturating_sub(BURST))
        } else {
            self.turn_after_last()
        };
        turn.max(self.held_until).max(self.window_opens(now))
    }

    /// Takes note that the engine waits for this time.
    pub(super) fn awaits(&mut self, turn: Duration) {
        self.awaited = Some(turn);
    }

    /// Returns until when the Org holds back all requests, because it asked for a pause or its
    /// limit is closed.
    pub(super) fn held(&self, now: Duration) -> Option<Duration> {
        let until = match self.controller.probe_interval() {
            Some(_) => self.turn_after_last().max(self.held_until),
            None => self.held_until,
        };
        (until > now).then_some(until)
    }

    /// Takes note that a request is sent; it may leave the machine later: see
    /// [`mark_flushed`](Self::mark_flushed).
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
        while self.recent.len() > self.unflushed && self.recent.front().is_some_and(is_over) {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        self.unflushed += usize::from(self.full.is_finite());
    }

    /// Checks whether requests were sent that may not have left the machine yet.
    pub(super) fn has_unflushed(&self) -> bool {
        self.unflushed > 0
    }

    /// Takes note that every request sent so far has left the machine by now. Its second counts
    /// from the latest moment at which it can have left.
    pub(super) fn mark_flushed(&mut self, now: Duration) {
        let unflushed = std::mem::take(&mut self.unflushed);
        self.recent
            .iter_mut()
            .rev()
            .take(unflushed)
            .for_each(|left| *left = now);
    }

    /// Takes note of a confirmed change, which may raise the rate.
    pub(super) fn confirmed(&mut self, now: Duration, sent_at: Duration) {
        self.controller.confirmed(now, sent_at);
    }

    /// Takes note of a refusal. `wait` is the pause that the Org asks for, including jitter.
    pub(super) fn refused(&mut self, now: Duration, sent_at: Duration, wait: Option<Duration>) {
        if let Some(wait) = wait {
            self.hold(now, wait);
        }
        let measured = self.measured(now);
        self.controller
            .refused(now, sent_at, wait.is_some(), measured);
    }

    /// Takes note of a failure that may be about the number of requests; `is_unavailable` for a
    /// 503.
    pub(super) fn failed(&mut self, now: Duration, sent_at: Duration, is_unavailable: bool) {
        let measured = self.measured(now);
        self.controller
            .failed(now, sent_at, is_unavailable, measured);
    }

    /// Sends nothing for this time and keeps the rate, because a quota is used up.
    pub(super) fn hold(&mut self, now: Duration, wait: Duration) {
        self.held_until = self.held_until.max(now.saturating_add(wait));
        self.next = self.next.max(self.held_until);
        self.doubled = self.doubled.max(self.held_until);
    }

    /// Continues at a low rate after an outage.
    pub(super) fn restart_low(&mut self, now: Duration) {
        self.controller.restart_low(now);
    }

    /// Lowers the rate because answers have become slow.
    pub(super) fn slow_down(&mut self) {
        self.controller.slow_down();
    }

    /// Returns the current rate in requests per second; infinite if there is none.
    pub(super) fn rate(&self) -> f64 {
        self.controller.rate()
    }

    /// Returns the limit that the Org has shown, in requests per second.
    pub(super) fn limit(&self) -> Option<f64> {
        self.controller.limit()
    }

    /// Returns the rate that `auto` found, in requests per second.
    pub(super) fn found(&self) -> Option<f64> {
        self.is_auto
            .then(|| self.limit().unwrap_or_else(|| self.rate()))
    }

    /// Checks whether requests follow the schedule, which makes up for stalls.
    fn catches_up(&self, now: Duration) -> bool {
        let is_full = self.controller.rate() >= self.full;
        let last_refused = self.controller.last_refused();
        let is_calm = last_refused.is_none_or(|at| now >= at + NO_CATCHING_UP);
        !self.is_auto && is_full && is_calm
    }

    /// Returns the time of the next request, counted from the last one.
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
            .min(MAX_CORRECTION * interval.as_secs_f64());
        last + interval.saturating_sub(Duration::from_secs_f64(taken_off))
    }

    fn note_lateness(&mut self, now: Duration) {
        let Some(turn) = self.awaited.take() else {
            return;
        };
        let late = now.saturating_sub(turn);
        if now >= turn && late < MAX_TIMER_LATENESS {
            self.mean_lateness += LATENESS_GAIN * (late.as_secs_f64() - self.mean_lateness);
        }
    }

    /// Returns the number of requests sent in the last second, if the rate is unlimited.
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
        let span = now.saturating_sub(*first).clamp(MIN_MEASURED_SPAN, WINDOW);
        self.recent.len() as f64 / span.as_secs_f64()
    }

    /// Returns when the last second has room for another request under the highest rate.
    ///
    /// With the schedule alone, a late request and one on time could fall into the same second.
    /// This guarantees that no second has more requests than the rate plus one.
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
            // The request that has to be a second old may not even have left.
            Some(index) if index + self.unflushed >= self.recent.len() => now + self.window,
            Some(index) => self.recent[index] + self.window,
            None => Duration::ZERO,
        }
    }
}

/// Returns the time between two requests, rounded up so that rounding never raises the rate.
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
    fn a_request_that_left_late_counts_from_when_it_left() {
        let mut pacing = limited(50, 1);
        let late = Duration::from_millis(1500);
        // The machine stops between two requests that may be sent at once; both leave when it
        // continues.
        pacing.sent(Duration::ZERO);
        pacing.sent(late);
        pacing.mark_flushed(late);
        let milliseconds = (0..1000).map(|millisecond| late + Duration::from_millis(millisecond));
        let sent = milliseconds.filter(|now| {
            let is_ready = pacing.ready_at(*now) <= *now;
            if is_ready {
                pacing.sent(*now);
                pacing.mark_flushed(*now);
            }
            is_ready
        });
        assert_eq!(2 + sent.count(), 51);
    }

    #[test]
    fn the_next_request_waits_for_one_that_has_not_left() {
        let mut pacing = limited(1, 60);
        let later = Duration::from_secs(90);
        pacing.sent(Duration::ZERO);
        assert!(pacing.has_unflushed());
        assert!(
            pacing.ready_at(later) > later,
            "the request may leave only now"
        );
        pacing.mark_flushed(later);
        assert!(!pacing.has_unflushed());
        assert_eq!(pacing.ready_at(later), later + WINDOW + JITTER_MARGIN);
    }

    #[test]
    fn an_unlimited_rate_does_not_wait_for_requests_to_leave() {
        let mut pacing = Pacing::new(Rate::Unlimited);
        pacing.sent(Duration::ZERO);
        assert!(!pacing.has_unflushed());
    }

    /// Sends and confirms each request as soon as it is due, in steps of a millisecond. Returns the
    /// times.
    fn send_all(pacing: &mut Pacing, from: u64, to: u64) -> Vec<u64> {
        let mut sent = Vec::new();
        for millisecond in from..to {
            let now = Duration::from_millis(millisecond);
            while pacing.ready_at(now) <= now {
                pacing.sent(now);
                pacing.mark_flushed(now);
                pacing.confirmed(now, now);
                sent.push(millisecond);
            }
        }
        sent
    }

    #[test]
    fn a_stall_of_three_seconds_is_made_up_for_without_a_burst() {
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
        let at_twice_the_rate = 49 - u64::try_from(BURST.as_millis()).unwrap();
        assert!(closest >= Some(at_twice_the_rate), "{closest:?} ms apart");
    }

    #[test]
    fn no_stall_is_made_up_for_within_a_minute_of_a_refusal() {
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
    fn a_pause_for_a_used_up_quota_is_not_made_up_for() {
        let mut pacing = limited(10, 1);
        let mut sent = send_all(&mut pacing, 0, 1_000);
        pacing.hold(Duration::from_secs(1), Duration::from_secs(3));
        sent.extend(send_all(&mut pacing, 1_000, 9_000));
        assert!((59..=61).contains(&sent.len()), "{}", sent.len());
    }
}
