//! Acts on an answer: decides the row's outcome or its next attempt, and draws conclusions about
//! the Org, the credentials and the rate. `verdict` classifies the answer first.

use std::time::Duration;

use super::backoff;
use super::rows::{Pending, Suspicion};
use super::session::TokenRefusal;
use super::verdict::{self, Verdict};
use super::{Attempt, Policy, Recheck};
use crate::domain::{Record, SendResult, StatusClass, Stop};

/// Largest share by which a wait exceeds `Retry-After`, so that several runs do not resume at the
/// same time.
const HOLD_JITTER: f64 = 0.1;

impl Policy {
    /// Takes note of what an answer says beyond its own row.
    pub(super) fn note_answer(
        &mut self,
        now: Duration,
        attempt: &Attempt,
        answer: &SendResult,
        verdict: Verdict,
    ) {
        if let SendResult::Reply(reply) = answer
            && let Some(reset) = reply.quota_reset
        {
            self.pacing.hold(now, reset.min(self.rules.max_wait));
        }
        match verdict {
            Verdict::Applied => self.pace_confirmed(now, attempt.sent),
            Verdict::TryAgain if self.health.has_succeeded() => {
                self.pace_failed(now, attempt.sent, answer);
            }
            Verdict::SlowDown(wait) => self.slow_down(now, attempt.sent, wait),
            Verdict::Redirected | Verdict::WebPage | Verdict::Intercepted | Verdict::Unusable => {
                let stop = self.wrong_address(answer, verdict);
                self.stop(now, stop);
            }
            _ => {}
        }
    }

    /// Raises the rate after a confirmed change, or lowers it if answers have become slow.
    fn pace_confirmed(&mut self, now: Duration, sent: Duration) {
        self.pacing.confirmed(now, sent);
        let is_slow = self.latency.answered(now, now.saturating_sub(sent));
        if is_slow {
            self.pacing.slow_down();
        }
    }

    /// Lowers the rate if a failure may be about the number of requests. 4xx responses and web
    /// pages never are.
    fn pace_failed(&mut self, now: Duration, sent: Duration, answer: &SendResult) {
        match answer.status().map(StatusClass::of) {
            Some(class) if !class.is_server_error() => {}
            Some(StatusClass::Unavailable) => self.pacing.failed(now, sent, true),
            Some(_) | None => self.pacing.failed(now, sent, false),
        }
    }

    pub(super) fn row_answered(
        &mut self,
        now: Duration,
        attempt: Attempt,
        answer: SendResult,
        verdict: Verdict,
    ) -> Option<Record> {
        let Attempt {
            mut row,
            sent,
            generation,
            ..
        } = attempt;
        if !self.health.has_succeeded() {
            self.note_at_start(&answer, verdict);
        }
        let leaves_doubt = verdict::leaves_doubt(&answer, verdict);
        row.answered(now, answer, leaves_doubt);
        match verdict {
            Verdict::Applied => Some(self.confirm(now, row, sent, generation)),
            Verdict::Contradicted => Some(self.contradict(now, row)),
            Verdict::RowRefused => Some(self.refuse(now, row)),
            Verdict::TryAgain => {
                self.try_again(now, row);
                None
            }
            Verdict::NotAuthenticated => self.not_authenticated(now, row, generation),
            Verdict::Forbidden if generation < self.session.generation() => {
                self.rows.wait_until(now, row);
                None
            }
            Verdict::Forbidden if self.health.has_succeeded() => {
                self.rows.suspect(now, Suspicion::Forbidden, row);
                None
            }
            Verdict::Forbidden => {
                self.forbidden_at_start(now, row);
                None
            }
            // The run ends after all of these but the first. The row keeps what is known about it.
            Verdict::SlowDown(_)
            | Verdict::Redirected
            | Verdict::WebPage
            | Verdict::Intercepted
            | Verdict::Unusable => {
                self.rows.wait_until(now, row);
                None
            }
        }
    }

    fn confirm(&mut self, now: Duration, row: Pending, sent: Duration, generation: u32) -> Record {
        self.last_success = Some(row.change);
        if row.requests == 1 {
            self.budget.earn();
        }
        let record = self.finish(now, row.applied());
        self.note_success(now, sent, generation);
        record
    }

    /// Records a row as unknown because a 2xx response contradicts its change. If no change has
    /// been confirmed yet, the run stops, because the next row would be answered in the same way.
    fn contradict(&mut self, now: Duration, row: Pending) -> Record {
        if self.health.has_succeeded() {
            self.note_response(now);
        } else {
            let (status, _) = row.last_answer();
            let stop = Stop::Contradicted {
                status: status.unwrap_or_default(),
                message: row.contradiction(),
            };
            self.stop(now, stop);
        }
        self.finish(now, row.contradicted())
    }

    fn refuse(&mut self, now: Duration, row: Pending) -> Record {
        if self.health.has_succeeded() {
            self.note_response(now);
        }
        self.finish(now, row.refused())
    }

    pub(super) fn finish(&mut self, now: Duration, record: Record) -> Record {
        if let Some(stop) =
            self.health
                .note_outcome(record.outcome, record.http_status, &record.detail)
        {
            self.stop(now, stop);
        }
        record
    }

    /// Takes note that a request sent at `sent` succeeded, which resolves every suspicion that is
    /// older than it.
    fn note_success(&mut self, now: Duration, sent: Duration, generation: u32) {
        self.session.accepted(generation);
        self.note_response(now);
        for record in self.rows.resolve(sent).collect::<Vec<_>>() {
            let record = self.finish(now, record);
            self.settled.push_back(record);
        }
    }

    fn note_response(&mut self, now: Duration) {
        self.throttled_since = None;
        if self.health.note_response(now).is_some() {
            self.pacing.restart_low(now);
        }
    }

    fn try_again(&mut self, now: Duration, mut row: Pending) {
        self.health.note_failure(now);
        if self.health.is_away() {
            self.rows.wait_until(now, row);
            return;
        }
        row.spend(self.health.epoch());
        let passes = if self.second_pass { 2 } else { 1 };
        let is_spent = row.spent >= self.rules.max_attempts * passes;
        if is_spent && !self.health.has_succeeded() {
            self.attempts_spent_at_start(now, row);
        } else if is_spent && self.second_pass {
            self.rows.suspect(now, Suspicion::Spent, row);
        } else if is_spent
            || (!self.second_pass && self.health.has_succeeded() && !self.budget.pay())
        {
            self.rows.wait_for_second_pass(row);
        } else {
            let wait = backoff::delay(row.spent_in_pass(), self.random.f64());
            self.rows.wait_until(now + wait, row);
        }
    }

    fn slow_down(&mut self, now: Duration, sent: Duration, wait: Option<Duration>) {
        let since = *self.throttled_since.get_or_insert(now);
        let max_wait = self.rules.max_wait;
        let lasted = now.saturating_sub(since);
        if let Some(asked) = wait.filter(|asked| *asked > max_wait) {
            self.stop(now, Stop::RetryAfterTooLong { asked, max_wait });
        } else if lasted > max_wait {
            self.stop(
                now,
                Stop::RetryAfterTooLong {
                    asked: lasted,
                    max_wait,
                },
            );
        } else {
            let wait = wait.map(|wait| wait + wait.mul_f64(HOLD_JITTER * self.random.f64()));
            self.pacing.refused(now, sent, wait);
        }
    }

    fn not_authenticated(
        &mut self,
        now: Duration,
        mut row: Pending,
        generation: u32,
    ) -> Option<Record> {
        let replayed = row.refused_in.is_some_and(|earlier| earlier < generation);
        if replayed && self.session.is_accepted() {
            return Some(self.refuse(now, row));
        }
        row.refused_in = Some(generation);
        match self.session.refused(now, generation) {
            TokenRefusal::Replay => self.rows.wait_until(now, row),
            TokenRefusal::Final => {
                let (status, message) = row.last_answer();
                self.credentials_refused(now, status, message);
                self.rows.wait_until(now, row);
            }
        }
        None
    }

    pub(super) fn credentials_refused(
        &mut self,
        now: Duration,
        status: Option<u16>,
        message: String,
    ) {
        let status = status.unwrap_or_default();
        self.stop(
            now,
            Stop::CredentialsRefused {
                status,
                message,
                accepted: self.health.applied(),
            },
        );
    }

    pub(super) fn probe_answered(
        &mut self,
        now: Duration,
        attempt: &Attempt,
        answer: &SendResult,
        verdict: Verdict,
    ) {
        self.probe_out = false;
        match verdict {
            Verdict::Applied | Verdict::Contradicted | Verdict::RowRefused => {
                if self.recheck == Recheck::AfterLogIn {
                    self.rows.forgive_forbidden(now);
                }
                self.recheck = Recheck::No;
                self.note_success(now, attempt.sent, attempt.generation);
            }
            Verdict::TryAgain => {
                let fraction = self.random.f64();
                self.health.probe_failed(now, fraction);
                self.rows.refund_attempts(now, self.health.epoch());
            }
            Verdict::NotAuthenticated | Verdict::Forbidden => {
                self.probe_refused(now, attempt.generation, answer);
            }
            Verdict::SlowDown(_)
            | Verdict::Redirected
            | Verdict::WebPage
            | Verdict::Intercepted
            | Verdict::Unusable => {}
        }
    }

    fn probe_refused(&mut self, now: Duration, generation: u32, answer: &SendResult) {
        let refused_twice =
            self.recheck == Recheck::AfterLogIn && generation == self.session.generation();
        if !refused_twice && self.session.refused(now, generation) == TokenRefusal::Replay {
            self.recheck = Recheck::AfterLogIn;
            return;
        }
        let status = answer.status();
        let message = answer.message().to_owned();
        self.credentials_refused(now, status, message);
    }

    pub(super) fn log_in_failed(&mut self, now: Duration, answer: &SendResult) {
        let proven = self.health.has_succeeded();
        match verdict::of(answer, None, proven) {
            Verdict::SlowDown(wait) => {
                self.slow_down(now, now, wait);
                self.session.log_in_later(now);
            }
            Verdict::TryAgain => {
                let fraction = self.random.f64();
                if !self.session.log_in_failed(now, proven, fraction) {
                    self.start.note_failure(answer);
                    let stop = self.start.never_succeeded();
                    self.stop(now, stop);
                }
            }
            verdict @ (Verdict::Redirected
            | Verdict::WebPage
            | Verdict::Intercepted
            | Verdict::Unusable) => {
                let stop = self.wrong_address(answer, verdict);
                self.stop(now, stop);
            }
            Verdict::Applied
            | Verdict::Contradicted
            | Verdict::RowRefused
            | Verdict::NotAuthenticated
            | Verdict::Forbidden => {
                let status = answer.status();
                let message = answer.message().to_owned();
                self.stop(now, Stop::LogInRefused { status, message });
            }
        }
    }

    fn wrong_address(&self, answer: &SendResult, verdict: Verdict) -> Stop {
        match answer {
            SendResult::TransportError(silence) => Stop::Unusable {
                cause: silence.cause,
                message: silence.message.clone(),
            },
            SendResult::Reply(reply) if verdict == Verdict::Redirected => Stop::Redirected {
                status: reply.status,
                to: reply.location.clone().unwrap_or_default(),
                after_success: self.health.has_succeeded(),
            },
            SendResult::Reply(reply) if verdict == Verdict::WebPage => Stop::WebPage {
                status: reply.status,
                title: reply.message.clone(),
            },
            SendResult::Reply(reply) => Stop::Intercepted {
                status: reply.status,
                message: reply.message.clone(),
            },
        }
    }
}
