//! When the next request may leave: an evenly spaced schedule at the rate, slower after a throttle, low after an
//! outage, closed while the Org asks for a pause. Arithmetic on (state, now). How a rate is found by trying is in
//! `auto`; which request takes the turn is not decided here.

use std::collections::VecDeque;
use std::time::Duration;

use super::auto::Auto;
use crate::domain::Rate;

/// Whether the engine's alarm is late by hundredths of a millisecond, rather than by one or two or, on Windows, sixteen.
const FINE_ALARM: bool = cfg!(target_os = "linux");
/// How late a turn may be taken without moving the schedule. Timers fire late, and a disk makes wait; a schedule that
/// never caught up would fall short by that much at each turn, one that always did would answer a stall with a burst.
const LATENESS: Duration = Duration::from_millis(10);
/// So much of what was missed is made up for at once; the rest at twice the rate. A burst comes again a second later, when
/// the window that it filled opens, and how close together it reaches the Org depends on the way.
const BURST: Duration = if FINE_ALARM {
    Duration::from_millis(2)
} else {
    LATENESS
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
/// The slowest pace that throttling leads to: one request in ten seconds.
const FLOOR: f64 = 0.1;
/// What a throttle without `Retry-After` leaves of the pace, at most once a second: one event, however many of the
/// requests in flight see it.
const CUT: f64 = 0.5;
/// Share of the full rate that comes back with each second without a throttle.
const RISE: f64 = 0.05;
/// Share of the full rate at which a run goes on after an outage; it doubles each second.
const AFTER_OUTAGE: f64 = 0.1;
/// What counts as the rate before an outage where none was asked for.
const UNLIMITED_BEFORE_OUTAGE: f64 = 100.0;
/// A rising pace without a rate to come back to is free again from here on.
const AS_GOOD_AS_UNLIMITED: f64 = 100_000.0;
/// A rising pace is recalculated at most so often, in seconds.
const STEP: f64 = 0.05;

/// The pace of a run.
#[derive(Debug)]
pub(super) struct Pace {
    /// The rate asked for, requests a second; infinite for none.
    full: f64,
    /// The rate now; never above `full`.
    rate: f64,
    /// How the rate comes back to `full`.
    recovery: Recovery,
    /// The rate that was too fast, where there is no full rate to come back to.
    too_fast: f64,
    /// When the rate was last changed.
    changed: Duration,
    /// When the pace was last cut.
    last_cut: Option<Duration>,
    /// The next turn of the schedule.
    next: Duration,
    /// The next turn of a schedule at twice the rate, which may be taken [`BURST`] before its time.
    doubled: Duration,
    /// Nothing leaves before this.
    held_until: Duration,
    /// [`WINDOW`], and what requests may gain on the way.
    window: Duration,
    /// When requests left within the last window, at the latest.
    recent: VecDeque<Duration>,
    /// How many of them have not left yet, as far as is known; they have the time of their turn.
    leaving: usize,
    auto: Option<Auto>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Recovery {
    /// By this many requests a second, each second.
    Adding(f64),
    /// Doubling each second.
    Doubling,
}

impl Pace {
    pub(super) fn new(rate: Rate) -> Self {
        let full = rate.per_second().unwrap_or(f64::INFINITY);
        let auto = matches!(rate, Rate::Auto { .. }).then(|| Auto::new(full));
        Self {
            full,
            rate: auto.as_ref().map_or(full, Auto::rate),
            recovery: Recovery::Doubling,
            too_fast: f64::INFINITY,
            changed: Duration::ZERO,
            last_cut: None,
            next: Duration::ZERO,
            doubled: Duration::ZERO,
            held_until: Duration::ZERO,
            window: WINDOW + TRAVEL.min(LEAST_TRAVEL.max(interval(full).mul_f64(PART))),
            recent: VecDeque::new(),
            leaving: 0,
            auto,
        }
    }

    /// When the next request may leave; not after `now` if it may leave now.
    pub(super) fn ready_at(&self, now: Duration) -> Duration {
        let made_up = self.doubled.saturating_sub(BURST);
        self.next
            .max(made_up)
            .max(self.held_until)
            .max(self.window_opens(now))
    }

    /// Until when the Org's word holds everything back, if it still does.
    pub(super) fn held(&self, now: Duration) -> Option<Duration> {
        (self.held_until > now).then_some(self.held_until)
    }

    /// A request leaves, at once or a little later: see [`departed`](Self::departed).
    pub(super) fn sent(&mut self, now: Duration) {
        if self.full.is_finite() || self.rate.is_finite() {
            self.next = self.next.max(now.saturating_sub(LATENESS)) + interval(self.rate);
            self.doubled = self.doubled.max(now) + interval(self.rate) / 2;
        }
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

    /// An answer that is not a throttle came after `latency`: the rate may rise.
    pub(super) fn answered(&mut self, now: Duration, latency: Duration) {
        if let Some(auto) = &mut self.auto {
            auto.answered(now, latency);
            self.rate = auto.rate();
            return;
        }
        if self.rate < self.full {
            self.rise(now);
        }
    }

    /// The Org says that it is asked too often; `wait` is how long it wants to be left alone, jitter included.
    pub(super) fn throttled(&mut self, now: Duration, wait: Option<Duration>) {
        if let Some(wait) = wait {
            self.hold(now, wait);
        }
        let one_event = self
            .last_cut
            .is_some_and(|cut| now.saturating_sub(cut) < WINDOW);
        if one_event || (wait.is_some() && self.auto.is_none()) {
            return;
        }
        self.last_cut = Some(now);
        let rate = match &mut self.auto {
            Some(auto) => auto.throttled(now),
            None => self.cut(),
        };
        self.set_rate(now, rate);
    }

    fn cut(&mut self) -> f64 {
        self.too_fast = if self.rate.is_finite() {
            self.rate
        } else {
            self.measured()
        };
        self.recovery = Recovery::Adding(RISE * self.full.min(self.too_fast));
        self.too_fast * CUT
    }

    /// Waits without a word about the speed: a quota that is used up.
    pub(super) fn hold(&mut self, now: Duration, wait: Duration) {
        self.held_until = self.held_until.max(now.saturating_add(wait));
    }

    /// The Org is back after an outage: start low.
    pub(super) fn restart_low(&mut self, now: Duration) {
        let low = AFTER_OUTAGE
            * if self.rate.is_finite() {
                self.rate
            } else {
                UNLIMITED_BEFORE_OUTAGE
            };
        self.recovery = Recovery::Doubling;
        if let Some(auto) = &mut self.auto {
            auto.restart(low);
        }
        self.set_rate(now, low);
    }

    /// The rate found by trying, requests a second.
    pub(super) fn settled(&self) -> Option<f64> {
        self.auto.as_ref().map(Auto::rate)
    }

    fn rise(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.changed).as_secs_f64();
        if passed < STEP {
            return;
        }
        let risen = match self.recovery {
            Recovery::Adding(step) => self.rate + step * passed,
            Recovery::Doubling => self.rate * 2_f64.powf(passed.min(1.0)),
        };
        if self.full.is_infinite() && risen > self.too_fast {
            self.recovery = Recovery::Doubling;
        }
        self.rate = if risen < self.full.min(AS_GOOD_AS_UNLIMITED) {
            risen
        } else {
            self.full
        };
        self.changed = now;
    }

    fn set_rate(&mut self, now: Duration, rate: f64) {
        self.rate = rate.max(FLOOR).min(self.full);
        self.changed = now;
        self.next = self.next.max(now + interval(self.rate));
    }

    /// Requests that left within the last second: what the pace really was.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a count of requests in a second is far below 2^52"
    )]
    fn measured(&self) -> f64 {
        self.recent.len() as f64
    }

    /// When the requests of the last second leave room for one more under the full rate.
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

/// The time between two turns, rounded up so that rounding never makes the pace faster.
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

    fn limited(requests: u32, seconds: u64) -> Pace {
        Pace::new(Rate::Limited {
            requests,
            per: Duration::from_secs(seconds),
        })
    }

    #[test]
    fn a_request_that_left_late_counts_from_then_on() {
        let (mut pace, late) = (limited(50, 1), Duration::from_millis(1500));
        // The machine stops between two turns that may be taken at once; both leave when it goes on.
        pace.sent(Duration::ZERO);
        pace.sent(late);
        pace.departed(late);
        let milliseconds = (0..1000).map(|millisecond| late + Duration::from_millis(millisecond));
        let sent = milliseconds.filter(|now| {
            let is_ready = pace.ready_at(*now) <= *now;
            if is_ready {
                pace.sent(*now);
                pace.departed(*now);
            }
            is_ready
        });
        assert_eq!(2 + sent.count(), 51);
    }

    #[test]
    fn where_one_request_fills_the_second_it_is_waited_for() {
        let (mut pace, later) = (limited(1, 60), Duration::from_secs(90));
        pace.sent(Duration::ZERO);
        assert!(pace.awaits_departure());
        assert!(pace.ready_at(later) > later, "it may leave at this moment");
        pace.departed(later);
        assert!(!pace.awaits_departure());
        assert_eq!(pace.ready_at(later), later + WINDOW + TRAVEL);
    }

    #[test]
    fn without_a_limit_nobody_waits_for_a_departure() {
        let mut pace = Pace::new(Rate::Unlimited);
        pace.sent(Duration::ZERO);
        assert!(!pace.awaits_departure());
    }
}
