//! The rules that apply until a change of this run is confirmed. The address, the credentials and
//! the rows may all be wrong then. Requests are sent one at a time, and no change of another run is
//! repeated to find something out.
//!
//! - While nobody answers at the address, one row is tried and the run stops when its attempts are
//!   spent: a wrong address must not wait out the patience. An answer with any status shows that a
//!   server is there. Where the interrupted run had confirmed a change, a request that was sent
//!   shows it too, because the address was right then.
//! - With a server there, a row that keeps failing is set aside and the next one is tried. The run
//!   stops when ten rows were set aside, when no other row is left, or when it has failed for as
//!   long as an outage may last. Where the interrupted run had confirmed a change, address and
//!   credentials were right then: the number of rows is not limited, and once only rows that were
//!   set aside are left, they are tried once more after the usual rest and then given up.
//! - A row that is answered with 403 is set aside as well. Four in a row, or no other row left, are
//!   taken for a refusal of the credentials; with a session, after one more log-in.
//! - Rows that were set aside are deferred: a later run sends them last, so that every run tries
//!   rows that the ones before it have not tried.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::Policy;
use super::rows::{Pending, Suspicion};
use super::session::TokenRefusal;
use super::verdict::Verdict;
use crate::domain::{RowNumber, SendResult, Stop, TransportErrorKind};

/// Number of 403 responses in a row, before any change is confirmed, that count as a refusal of the
/// credentials.
const MAX_FORBIDDEN: u32 = 4;

/// Number of rows that are set aside, before any change is confirmed, after which the run stops.
/// Each of them has spent its attempts, so that this takes about 40 seconds.
const MAX_SET_ASIDE: u32 = 10;

/// HTTP status 403.
const FORBIDDEN: u16 = 403;

/// What is known about a run that has not confirmed a change yet.
#[derive(Debug, Default)]
pub(super) struct AtStart {
    /// Whether a server answers at this address, so that rows can fail for reasons of their own.
    is_answered: bool,
    /// Number of consecutive 403 responses.
    forbidden_in_a_row: u32,
    /// Message of the last 403 response.
    forbidden_message: String,
    /// Number of rows that have spent their attempts.
    set_aside: u32,
    /// The last failure that may be temporary.
    last_failure: Option<FailedStart>,
    /// Rows that a later run sends last.
    deferred: BTreeSet<RowNumber>,
    /// Deferred rows that are not recorded yet.
    to_defer: VecDeque<RowNumber>,
}

/// A failed attempt.
#[derive(Clone, Debug)]
struct FailedStart {
    cause: Option<TransportErrorKind>,
    status: Option<u16>,
    message: String,
}

impl AtStart {
    /// Returns the next row to record as deferred.
    pub(super) fn next_to_defer(&mut self) -> Option<RowNumber> {
        self.to_defer.pop_front()
    }

    fn defer(&mut self, row: RowNumber) {
        if self.deferred.insert(row) {
            self.to_defer.push_back(row);
        }
    }

    /// Remembers the last failure, for [`never_succeeded`](Self::never_succeeded).
    pub(super) fn note_failure(&mut self, answer: &SendResult) {
        let cause = match answer {
            SendResult::Reply(_) => None,
            SendResult::TransportError(silence) => Some(silence.cause),
        };
        self.last_failure = Some(FailedStart {
            cause,
            status: answer.status(),
            message: answer.message().to_owned(),
        });
    }

    /// Returns the reason to stop a run in which nothing has succeeded. A name that is never found
    /// is a wrong address.
    pub(super) fn never_succeeded(&self) -> Stop {
        match self.last_failure.clone() {
            Some(FailedStart {
                cause: Some(cause @ TransportErrorKind::HostNotFound),
                message,
                ..
            }) => Stop::Unusable { cause, message },
            Some(FailedStart {
                status, message, ..
            }) => Stop::NeverAnswered { status, message },
            None => Stop::NeverAnswered {
                status: None,
                message: String::new(),
            },
        }
    }
}

impl Policy {
    /// Returns when the series of failures began, if no change has been confirmed yet.
    pub(super) fn failing_since_start(&self) -> Option<Duration> {
        self.health
            .failing_since()
            .filter(|_| !self.health.has_succeeded())
    }

    /// Takes note of an answer for a row.
    pub(super) fn note_at_start(&mut self, answer: &SendResult, verdict: Verdict) {
        self.start.is_answered |= match answer {
            SendResult::Reply(_) => true,
            SendResult::TransportError(silence) => silence.sent && self.rules.confirmed_before,
        };
        if !matches!(verdict, Verdict::Forbidden | Verdict::SlowDown(_)) {
            self.start.forbidden_in_a_row = 0;
        }
        if verdict == Verdict::TryAgain {
            self.start.note_failure(answer);
        }
    }

    /// Sets a row aside whose attempts are spent. Stops the run if nobody answers.
    pub(super) fn attempts_spent_at_start(&mut self, now: Duration, row: Pending) {
        let number = row.change.row;
        if self.start.is_answered && self.second_pass {
            let record = self.finish(now, row.given_up());
            self.settled.push_back(record);
            return;
        }
        if self.start.is_answered || row.is_in_doubt() {
            self.start.defer(number);
        }
        self.rows.wait_for_second_pass(row);
        self.start.set_aside += 1;
        let has_tried_enough =
            self.start.set_aside >= MAX_SET_ASIDE && !self.rules.confirmed_before;
        if !self.start.is_answered || has_tried_enough {
            let stop = self.start.never_succeeded();
            self.stop(now, stop);
        }
    }

    /// Sets a row aside that was answered with 403.
    pub(super) fn forbidden_at_start(&mut self, now: Duration, row: Pending) {
        let (_, message) = row.last_answer();
        self.start.forbidden_message = message;
        self.start.defer(row.change.row);
        self.rows.suspect(now, Suspicion::Forbidden, row);
        self.start.forbidden_in_a_row += 1;
        if self.start.forbidden_in_a_row >= MAX_FORBIDDEN {
            self.doubt_credentials_at_start(now);
        }
    }

    /// Decides what follows when every row has been tried and no change is confirmed. Returns
    /// whether that is the end of the run, or there are rows to be sent again.
    pub(super) fn no_row_left_at_start(&mut self, now: Duration) -> bool {
        if self.rows.forbidden() > 0 {
            self.doubt_credentials_at_start(now);
            return true;
        }
        if self.rows.has_set_aside() && !self.rules.confirmed_before {
            let stop = self.start.never_succeeded();
            self.stop(now, stop);
            return true;
        }
        false
    }

    /// Sends the forbidden rows again with a new token, or stops the run if there is none to be
    /// had.
    fn doubt_credentials_at_start(&mut self, now: Duration) {
        self.start.forbidden_in_a_row = 0;
        match self.session.refused(now, self.session.generation()) {
            TokenRefusal::Replay => self.rows.forgive_forbidden(now),
            TokenRefusal::Final => {
                let message = self.start.forbidden_message.clone();
                self.credentials_refused(now, Some(FORBIDDEN), message);
            }
        }
    }
}
