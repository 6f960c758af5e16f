//! Decides when to log in: before the first request, before a token expires, and after a refusal,
//! but not too often. `api` performs the log-in and keeps the token.

use std::time::Duration;

use super::backoff;

/// Share of a token's lifetime after which it is renewed.
const RENEW_AT: f64 = 0.8;
/// Minimum time between a log-in and another one because of a refusal.
const MIN_LOG_IN_INTERVAL: Duration = Duration::from_mins(1);
/// Number of consecutive failed log-ins that ends a run in which nothing has succeeded.
const MAX_LOG_IN_FAILURES: u32 = 3;

/// The session of a run. With an API key there is nothing to do.
#[derive(Debug)]
pub(super) struct Session {
    state: SessionState,
    /// Number of the current token, so that the refusal of an old token does not count against the
    /// new one.
    generation: u32,
    last: Option<Duration>,
    /// Number of consecutive log-ins that failed.
    failures: u32,
    failing_since: Option<Duration>,
    /// Whether the current token was ever accepted.
    accepted: bool,
    /// Whether the current token was requested because of a refusal.
    second_try: bool,
    /// Time on the wall clock since the run began.
    time_of_day: Duration,
}

#[derive(Debug, PartialEq)]
enum SessionState {
    /// An API key needs no log-in.
    Key,
    /// A log-in is due at this time.
    Due(Duration),
    /// A log-in is under way.
    LoggingIn,
    /// There is a token, which is renewed at one of these times.
    Valid(Option<Renewal>),
}

/// When a token is renewed, by the clock that reaches the time first. The run's own clock may stop
/// while the machine is suspended, and the wall clock may be set back.
#[derive(Debug, PartialEq)]
struct Renewal {
    at: Duration,
    by_time_of_day: Duration,
}

/// What to do after a token was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenRefusal {
    /// Send the request again with a new token.
    Replay,
    /// The credentials are not accepted.
    Final,
}

impl Session {
    pub(super) fn new(needed: bool) -> Self {
        Self {
            state: if needed {
                SessionState::Due(Duration::ZERO)
            } else {
                SessionState::Key
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

    /// Takes note of the time on the wall clock since the run began.
    pub(super) fn set_wall_clock(&mut self, passed: Duration) {
        self.time_of_day = passed;
    }

    /// Returns the number of the current token; 0 before the first log-in.
    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    /// Checks whether a log-in is in progress.
    pub(super) fn is_logging_in(&self) -> bool {
        self.state == SessionState::LoggingIn
    }

    /// Returns when to log in before anything else is sent, if a log-in is needed.
    pub(super) fn log_in_at(&self, now: Duration) -> Option<Duration> {
        match self.state {
            SessionState::Due(at) => Some(at),
            SessionState::Valid(Some(Renewal { at, by_time_of_day }))
                if at <= now || by_time_of_day <= self.time_of_day =>
            {
                Some(now)
            }
            _ => None,
        }
    }

    /// Takes note that a log-in begins.
    pub(super) fn logging_in(&mut self, now: Duration) {
        self.state = SessionState::LoggingIn;
        self.last = Some(now);
    }

    /// Takes note of a new token.
    pub(super) fn logged_in(&mut self, now: Duration, lifetime: Option<Duration>) {
        let renewal = |life: Duration| {
            let life = life.mul_f64(RENEW_AT);
            Renewal {
                at: now + life,
                by_time_of_day: self.time_of_day.saturating_add(life),
            }
        };
        self.state = SessionState::Valid(lifetime.map(renewal));
        self.generation += 1;
        self.failures = 0;
        self.failing_since = None;
        self.accepted = false;
    }

    /// Takes note that a request with the token of this generation was accepted.
    pub(super) fn accepted(&mut self, generation: u32) {
        if generation == self.generation {
            self.accepted = true;
            self.second_try = false;
        }
    }

    /// Checks whether a request with the current token was accepted.
    pub(super) fn is_accepted(&self) -> bool {
        self.accepted
    }

    /// Takes note that a request with the token of this generation was refused. Returns what to do.
    pub(super) fn refused(&mut self, now: Duration, generation: u32) -> TokenRefusal {
        match self.state {
            SessionState::Key => TokenRefusal::Final,
            SessionState::Valid(_)
                if generation == self.generation && !self.accepted && self.second_try =>
            {
                TokenRefusal::Final
            }
            SessionState::Valid(_) if generation == self.generation => {
                let earliest = if self.accepted {
                    self.last.map_or(now, |last| last + MIN_LOG_IN_INTERVAL)
                } else {
                    now
                };
                self.second_try = true;
                self.state = SessionState::Due(earliest.max(now));
                TokenRefusal::Replay
            }
            _ => TokenRefusal::Replay,
        }
    }

    /// Takes note of a temporary failure to log in. Returns whether to try again. After a success
    /// it is always tried again, until the outage has lasted too long.
    pub(super) fn log_in_failed(&mut self, now: Duration, proven: bool, fraction: f64) -> bool {
        self.failures += 1;
        self.failing_since.get_or_insert(now);
        let wait = if proven {
            backoff::probe_delay(self.failures, fraction)
        } else {
            backoff::delay(self.failures, fraction)
        };
        self.state = SessionState::Due(now + wait);
        proven || self.failures < MAX_LOG_IN_FAILURES
    }

    /// Repeats the log-in as soon as the Org's pause is over.
    pub(super) fn log_in_later(&mut self, now: Duration) {
        self.state = SessionState::Due(now);
    }

    /// Returns when the current series of failed log-ins began.
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
    fn a_token_that_expired_while_the_machine_was_suspended_is_renewed() {
        let mut session = logged_in(Some(s(900)));
        session.set_wall_clock(s(719));
        assert_eq!(session.log_in_at(s(60)), None);
        session.set_wall_clock(s(3_660));
        assert_eq!(session.log_in_at(s(60)), Some(s(60)));
        session.logging_in(s(60));
        session.logged_in(s(60), Some(s(900)));
        assert_eq!(
            session.log_in_at(s(61)),
            None,
            "the new token's lifetime begins on both clocks"
        );
        session.set_wall_clock(s(0));
        assert_eq!(session.log_in_at(s(779)), None);
        assert_eq!(
            session.log_in_at(s(780)),
            Some(s(780)),
            "a wall clock that was set back is ignored"
        );
    }

    #[test]
    fn a_token_without_an_end_is_kept_until_it_is_refused() {
        let mut session = logged_in(None);
        session.accepted(1);
        assert_eq!(session.log_in_at(s(100_000)), None);
        assert_eq!(session.refused(s(100_000), 1), TokenRefusal::Replay);
        assert_eq!(session.log_in_at(s(100_000)), Some(s(100_000)));
    }

    #[test]
    fn a_token_that_was_never_accepted_is_replaced_once() {
        let mut session = logged_in(None);
        assert_eq!(session.refused(s(1), 1), TokenRefusal::Replay);
        session.logging_in(s(1));
        session.logged_in(s(1), None);
        assert_eq!(
            session.refused(s(1), 1),
            TokenRefusal::Replay,
            "the refusal of the old token does not count against the new one"
        );
        assert_eq!(session.refused(s(2), 2), TokenRefusal::Final);
    }

    #[test]
    fn refused_tokens_are_replaced_at_most_once_a_minute() {
        let mut session = logged_in(None);
        session.accepted(1);
        assert_eq!(session.refused(s(2), 1), TokenRefusal::Replay);
        assert_eq!(session.log_in_at(s(2)), Some(s(60)));
    }

    #[test]
    fn a_run_gives_up_after_three_failed_log_ins_at_the_start() {
        let mut session = Session::new(true);
        let again = (0..3)
            .map(|n| session.log_in_failed(s(n), false, 1.0))
            .collect::<Vec<_>>();
        assert_eq!(again, [true, true, false]);
    }
}
