//! Whether to log in, and when: before the first request, ahead of a token's end, after a refusal, and not over and
//! over. The log-in itself, and the token, are `api`'s.

use std::time::Duration;

use super::backoff;

/// A token is renewed when this share of its life is over.
const RENEW_AT: f64 = 0.8;
/// After a refusal nobody logs in again sooner than this after the last log-in.
const APART: Duration = Duration::from_mins(1);
/// Log-ins in a row that may fail before anything has succeeded.
const ATTEMPTS: u32 = 3;

/// The session of a run; with an API key there is none to keep.
#[derive(Debug)]
pub(super) struct Session {
    state: State,
    /// Numbers the tokens, so that an old token's refusal is not held against the new one.
    generation: u32,
    last: Option<Duration>,
    /// Log-ins in a row that failed, and since when.
    failures: u32,
    failing_since: Option<Duration>,
    /// Whether the present token was ever accepted.
    accepted: bool,
    /// Whether the present token came after a refusal.
    second_try: bool,
    /// How far the time of day has come since the run began.
    time_of_day: Duration,
}

#[derive(Debug, PartialEq)]
enum State {
    /// An API key needs no log-in.
    Key,
    /// A log-in is due at this time.
    Due(Duration),
    /// A log-in is under way.
    LoggingIn,
    /// A token is there, to be renewed at one of these times.
    Valid(Option<Renewal>),
}

/// When a token is renewed, by two clocks and whichever comes first: that of the run may stand still while the machine
/// is suspended, and the time of day may be put back.
#[derive(Debug, PartialEq)]
struct Renewal {
    at: Duration,
    by_time_of_day: Duration,
}

/// What follows from the refusal of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Send the request again with the new token, once there is one.
    Replay,
    /// The credentials are not accepted.
    Final,
}

impl Session {
    pub(super) fn new(needed: bool) -> Self {
        Self {
            state: if needed {
                State::Due(Duration::ZERO)
            } else {
                State::Key
            },
            generation: 0,
            last: None,
            failures: 0,
            failing_since: None,
            accepted: false,
            second_try: false,
            time_of_day: Duration::ZERO,
        }
    }

    /// The time of day is now so far from where it was when the run began.
    pub(super) fn heed_time_of_day(&mut self, passed: Duration) {
        self.time_of_day = passed;
    }

    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    pub(super) fn is_logging_in(&self) -> bool {
        self.state == State::LoggingIn
    }

    /// When a log-in has to come before anything else; `None` while there is no need.
    pub(super) fn log_in_at(&self, now: Duration) -> Option<Duration> {
        match self.state {
            State::Due(at) => Some(at),
            State::Valid(Some(Renewal { at, by_time_of_day }))
                if at <= now || by_time_of_day <= self.time_of_day =>
            {
                Some(now)
            }
            _ => None,
        }
    }

    pub(super) fn logging_in(&mut self, now: Duration) {
        self.state = State::LoggingIn;
        self.last = Some(now);
    }

    pub(super) fn logged_in(&mut self, now: Duration, lifetime: Option<Duration>) {
        let renewal = |life: Duration| {
            let life = life.mul_f64(RENEW_AT);
            Renewal {
                at: now + life,
                by_time_of_day: self.time_of_day.saturating_add(life),
            }
        };
        self.state = State::Valid(lifetime.map(renewal));
        self.generation += 1;
        self.failures = 0;
        self.failing_since = None;
        self.accepted = false;
    }

    /// A request with the token of this generation was accepted.
    pub(super) fn accepted(&mut self, generation: u32) {
        if generation == self.generation {
            self.accepted = true;
            self.second_try = false;
        }
    }

    /// Whether others use the present token without trouble.
    pub(super) fn is_accepted(&self) -> bool {
        self.accepted
    }

    /// A request with the token of this generation was refused.
    pub(super) fn refused(&mut self, now: Duration, generation: u32) -> Refusal {
        match self.state {
            State::Key => Refusal::Final,
            State::Valid(_)
                if generation == self.generation && !self.accepted && self.second_try =>
            {
                Refusal::Final
            }
            State::Valid(_) if generation == self.generation => {
                let earliest = if self.accepted {
                    self.last.map_or(now, |last| last + APART)
                } else {
                    now
                };
                self.second_try = true;
                self.state = State::Due(earliest.max(now));
                Refusal::Replay
            }
            _ => Refusal::Replay,
        }
    }

    /// A log-in failed in a way that may pass. Gives whether to try again; once the Org was there, patience decides.
    pub(super) fn log_in_failed(&mut self, now: Duration, proven: bool, fraction: f64) -> bool {
        self.failures += 1;
        self.failing_since.get_or_insert(now);
        let wait = if proven {
            backoff::probe_delay(self.failures, fraction)
        } else {
            backoff::delay(self.failures, fraction)
        };
        self.state = State::Due(now + wait);
        proven || self.failures < ATTEMPTS
    }

    /// The Org asked to be left alone; the log-in is tried again when the pause is over.
    pub(super) fn log_in_later(&mut self, now: Duration) {
        self.state = State::Due(now);
    }

    /// Since when log-ins fail, if they do.
    pub(super) fn failing_since(&self) -> Option<Duration> {
        self.failing_since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn logged_in(lifetime: Option<Duration>) -> Session {
        let mut session = Session::new(true);
        assert_eq!(session.log_in_at(s(0)), Some(s(0)));
        session.logging_in(s(0));
        session.logged_in(s(0), lifetime);
        session
    }

    #[test]
    fn a_token_is_renewed_at_four_fifths_of_its_life() {
        let session = logged_in(Some(s(900)));
        assert_eq!(session.log_in_at(s(719)), None);
        assert_eq!(session.log_in_at(s(720)), Some(s(720)));
    }

    #[test]
    fn a_token_that_ended_while_the_machine_slept_is_renewed() {
        let mut session = logged_in(Some(s(900)));
        session.heed_time_of_day(s(719));
        assert_eq!(session.log_in_at(s(60)), None);
        session.heed_time_of_day(s(3_660));
        assert_eq!(session.log_in_at(s(60)), Some(s(60)));
        session.logging_in(s(60));
        session.logged_in(s(60), Some(s(900)));
        assert_eq!(
            session.log_in_at(s(61)),
            None,
            "the new token's time begins anew on both clocks"
        );
        session.heed_time_of_day(s(0));
        assert_eq!(session.log_in_at(s(779)), None);
        assert_eq!(
            session.log_in_at(s(780)),
            Some(s(780)),
            "put back, the time of day has no say"
        );
    }

    #[test]
    fn a_token_without_an_end_is_kept_until_it_is_refused() {
        let mut session = logged_in(None);
        session.accepted(1);
        assert_eq!(session.log_in_at(s(100_000)), None);
        assert_eq!(session.refused(s(100_000), 1), Refusal::Replay);
        assert_eq!(session.log_in_at(s(100_000)), Some(s(100_000)));
    }

    #[test]
    fn a_token_that_was_never_accepted_is_replaced_once() {
        let mut session = logged_in(None);
        assert_eq!(session.refused(s(1), 1), Refusal::Replay);
        session.logging_in(s(1));
        session.logged_in(s(1), None);
        assert_eq!(
            session.refused(s(1), 1),
            Refusal::Replay,
            "the old token's refusal says nothing of the new one"
        );
        assert_eq!(session.refused(s(2), 2), Refusal::Final);
    }

    #[test]
    fn refused_tokens_are_replaced_at_most_once_a_minute() {
        let mut session = logged_in(None);
        session.accepted(1);
        assert_eq!(session.refused(s(2), 1), Refusal::Replay);
        assert_eq!(session.log_in_at(s(2)), Some(s(60)));
    }

    #[test]
    fn log_ins_that_fail_at_the_start_are_given_up_after_three() {
        let mut session = Session::new(true);
        let again = (0..3)
            .map(|n| session.log_in_failed(s(n), false, 1.0))
            .collect::<Vec<_>>();
        assert_eq!(again, [true, true, false]);
    }
}
