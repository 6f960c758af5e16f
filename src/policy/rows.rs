//! The rows that have no outcome yet, and what is known about each: attempts, the last answer, and
//! whether the change may have been made. [`WaitingRows`] keeps them in order; other modules decide
//! when a row is due or given up.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::domain::{Change, MAX_DETAIL, Outcome, Record, RowNumber, SendResult};
use crate::text;

/// A row that has no outcome yet.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) change: Change,
    /// Number of requests sent.
    pub(super) requests: u32,
    /// Number of attempts that count against the maximum, in both passes.
    pub(super) spent: u32,
    /// Number of counted attempts when the second pass began.
    pub(super) spent_before: u32,
    /// The current epoch of the Org's health, and the number of counted attempts in it.
    trouble: (u64, u32),
    first_sent: Option<Duration>,
    last_answer: Duration,
    status: Option<u16>,
    /// Whether an attempt, in this run or before an interruption, may have made the change without
    /// a confirmation. Only a confirmation removes the doubt.
    in_doubt: bool,
    /// The message of the last answer.
    said: String,
    /// The session whose token was refused for this row.
    pub(super) refused_in: Option<u32>,
}

impl Pending {
    pub(super) fn new(change: Change) -> Self {
        Self {
            change,
            requests: 0,
            spent: 0,
            spent_before: 0,
            trouble: (0, 0),
            first_sent: None,
            last_answer: Duration::ZERO,
            status: None,
            in_doubt: change.in_doubt,
            said: String::new(),
            refused_in: None,
        }
    }

    pub(super) fn sent(&mut self, now: Duration) {
        self.requests += 1;
        self.first_sent.get_or_insert(now);
    }

    /// Takes note of an answer, and of whether it leaves the change in doubt.
    pub(super) fn answered(&mut self, now: Duration, answer: SendResult, leaves_doubt: bool) {
        self.last_answer = now;
        self.in_doubt |= leaves_doubt;
        match answer {
            SendResult::Reply(reply) => {
                self.status = Some(reply.status);
                self.said = reply.message;
            }
            SendResult::TransportError(silence) => {
                self.status = None;
                self.said = silence.message;
            }
        }
    }

    /// Counts the last attempt in this epoch, so that it can be refunded.
    pub(super) fn spend(&mut self, epoch: u64) {
        if self.trouble.0 != epoch {
            self.trouble = (epoch, 0);
        }
        self.trouble.1 += 1;
        self.spent += 1;
    }

    /// Refunds the attempts of this epoch, because the Org failed and not the row.
    pub(super) fn refund_attempts(&mut self, epoch: u64) {
        if self.trouble.0 == epoch {
            self.spent -= self.trouble.1;
            self.trouble.1 = 0;
            self.spent_before = self.spent_before.min(self.spent);
        }
    }

    /// Returns the number of counted attempts in the current pass.
    pub(super) fn spent_in_pass(&self) -> u32 {
        self.spent - self.spent_before
    }

    /// Returns the record of a row that the Org confirmed.
    pub(super) fn applied(self) -> Record {
        let detail = match (self.change.cause, self.said.as_str()) {
            (cause, "") => cause.to_owned(),
            ("", said) => said.to_owned(),
            (cause, said) => format!("{cause}; {said}"),
        };
        self.record(Outcome::Applied, &detail)
    }

    /// Returns the record of a row that the Org refused.
    pub(super) fn refused(self) -> Record {
        let remark = if self.in_doubt {
            "; an earlier request may have made the change"
        } else {
            ""
        };
        self.without_success(remark)
    }

    /// Returns the record of a row whose attempts are spent.
    pub(super) fn given_up(self) -> Record {
        let remark = if self.in_doubt {
            "; the change may or may not have been made"
        } else {
            "; given up"
        };
        self.without_success(remark)
    }

    /// Returns the record of a row to which a 2xx response came that contradicts the change.
    pub(super) fn contradicted(self) -> Record {
        let contradiction = self.contradiction();
        let status = self.status.unwrap_or_default();
        let detail =
            format!("the Org answered {status}, but contradicted the change: {contradiction}");
        self.record(Outcome::Unknown, &detail)
    }

    /// Returns what contradicts the change, as text.
    pub(super) fn contradiction(&self) -> String {
        if self.said.is_empty() {
            let set = self.change.flag.opposite().is_opt_out();
            format!("mfaOptOut is {set}")
        } else {
            self.said.clone()
        }
    }

    /// Returns the record of an unconfirmed row, with a remark after the last message.
    fn without_success(self, remark: &str) -> Record {
        let outcome = if self.in_doubt {
            Outcome::Unknown
        } else {
            Outcome::Failed
        };
        // One character is reserved for the mark that keeps a spreadsheet from reading a formula.
        let room = MAX_DETAIL - 1 - remark.chars().count();
        let detail = text::shorten(&self.last_words(), room) + remark;
        self.record(outcome, &detail)
    }

    pub(super) fn is_in_doubt(&self) -> bool {
        self.in_doubt
    }

    /// Returns the status of the last answer and its message, or what happened instead.
    pub(super) fn last_answer(&self) -> (Option<u16>, String) {
        (self.status, self.last_words())
    }

    fn last_words(&self) -> String {
        match (self.said.as_str(), self.status) {
            ("", Some(status)) => format!("the Org answered {status} and gave no reason"),
            ("", None) => "no answer".to_owned(),
            (said, _) => said.to_owned(),
        }
    }

    fn record(self, outcome: Outcome, detail: &str) -> Record {
        Record {
            row: self.change.row,
            line: self.change.line,
            outcome,
            wanted: Some(self.change.flag),
            http_status: self.status,
            attempts: self.requests,
            elapsed: self
                .last_answer
                .saturating_sub(self.first_sent.unwrap_or(self.last_answer)),
            detail: text::shorten(detail, MAX_DETAIL),
        }
    }
}

/// The reason why a row's outcome cannot be decided yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suspicion {
    /// The row has no attempts left, and nothing has succeeded since: the cause may be the row or
    /// an outage.
    Spent,
    /// The row was answered with 403: the cause may be this user or revoked credentials.
    Forbidden,
}

/// The rows that wait, by what they wait for.
#[derive(Debug, Default)]
pub(super) struct WaitingRows {
    /// Rows that wait for their next attempt, by the time it is due.
    due: BTreeMap<(Duration, RowNumber), Pending>,
    /// Rows that wait for the second pass.
    later: VecDeque<Pending>,
    /// Rows that wait for a success, which shows that the Org is not the cause; with the time since
    /// when.
    suspected: Vec<(Duration, Suspicion, Pending)>,
    /// Whether any answer left its change in doubt.
    pub(super) left_doubt: bool,
    /// The rows without an outcome whose change an earlier request may have made.
    in_doubt: BTreeSet<RowNumber>,
}

impl WaitingRows {
    pub(super) fn wait_until(&mut self, due: Duration, row: Pending) {
        self.due.insert((due, row.change.row), row);
    }

    pub(super) fn wait_for_second_pass(&mut self, row: Pending) {
        self.later.push_back(row);
    }

    pub(super) fn suspect(&mut self, now: Duration, suspicion: Suspicion, row: Pending) {
        self.suspected.push((now, suspicion, row));
    }

    /// Returns when the next attempt is due.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.due.first_key_value().map(|((due, _), _)| *due)
    }

    pub(super) fn take_due(&mut self, now: Duration) -> Option<Pending> {
        let entry = self.due.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }

    pub(super) fn has_suspected(&self) -> bool {
        !self.suspected.is_empty()
    }

    pub(super) fn has_set_aside(&self) -> bool {
        !self.later.is_empty()
    }

    /// Takes note that the change of a row may have been made.
    pub(super) fn put_in_doubt(&mut self, row: RowNumber) {
        self.in_doubt.insert(row);
    }

    /// Takes note that a row has an outcome, which says whether it is in doubt.
    pub(super) fn settled(&mut self, row: RowNumber) {
        self.in_doubt.remove(&row);
    }

    /// Returns the rows without an outcome whose change an earlier request may have made.
    pub(super) fn in_doubt(&self) -> &BTreeSet<RowNumber> {
        &self.in_doubt
    }

    pub(super) fn forbidden(&self) -> usize {
        self.suspected
            .iter()
            .filter(|(_, doubt, _)| *doubt == Suspicion::Forbidden)
            .count()
    }

    /// Begins the second pass, in which each row is due `rest` after its last answer. Returns
    /// whether there are any.
    pub(super) fn begin_second_pass(&mut self, rest: Duration) -> bool {
        let any = !self.later.is_empty();
        for mut row in std::mem::take(&mut self.later) {
            row.spent_before = row.spent;
            self.wait_until(row.last_answer + rest, row);
        }
        any
    }

    /// Returns the records of the rows that were suspected before a request was sent that
    /// succeeded.
    pub(super) fn resolve(&mut self, success_sent_at: Duration) -> impl Iterator<Item = Record> {
        let (judged, open) = std::mem::take(&mut self.suspected)
            .into_iter()
            .partition(|(since, ..)| *since <= success_sent_at);
        self.suspected = open;
        let judged: Vec<(Duration, Suspicion, Pending)> = judged;
        judged.into_iter().map(|(_, doubt, row)| match doubt {
            Suspicion::Spent => row.given_up(),
            Suspicion::Forbidden => row.refused(),
        })
    }

    /// Refunds all attempts of this epoch, because the Org does not answer.
    pub(super) fn refund_attempts(&mut self, now: Duration, epoch: u64) {
        self.due
            .values_mut()
            .chain(&mut self.later)
            .for_each(|row| row.refund_attempts(epoch));
        self.requeue(now, Suspicion::Spent, |row| row.refund_attempts(epoch));
    }

    /// Sends the rows with 403 again, because the session's token was the cause.
    pub(super) fn forgive_forbidden(&mut self, now: Duration) {
        self.requeue(now, Suspicion::Forbidden, |_| ());
    }

    fn requeue(&mut self, now: Duration, which: Suspicion, mut change: impl FnMut(&mut Pending)) {
        for (since, doubt, mut row) in std::mem::take(&mut self.suspected) {
            if doubt == which {
                change(&mut row);
                self.wait_until(now, row);
            } else {
                self.suspected.push((since, doubt, row));
            }
        }
    }
}
