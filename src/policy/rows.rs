//! The rows that are out or waiting, and what is known of each: attempts spent, what came back, whether the change may
//! have been made. Keeps them in order; when one is due, refused or given up is decided elsewhere.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::domain::{Change, MAX_DETAIL, Outcome, Record, RowNumber, SendResult};
use crate::text;

/// A row that has no outcome yet.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) change: Change,
    /// Requests sent.
    pub(super) requests: u32,
    /// Attempts that counted, in both passes.
    pub(super) spent: u32,
    /// Attempts that had counted when the second-chance pass began.
    pub(super) spent_before: u32,
    /// Attempts that counted since the last sign of life, and which one that was.
    trouble: (u64, u32),
    first_sent: Option<Duration>,
    last_answer: Duration,
    status: Option<u16>,
    /// Whether an attempt, in this run or before an interruption, may have made the change without confirming it. What
    /// comes later never removes it, except for a confirmation.
    in_doubt: bool,
    /// What came back last, in words.
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

    /// Takes note of what came back, and whether it leaves open if the change was made.
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

    /// The last attempt counts. `life` numbers the signs of life of the Org, so that it can be given back.
    pub(super) fn spend(&mut self, life: u64) {
        if self.trouble.0 != life {
            self.trouble = (life, 0);
        }
        self.trouble.1 += 1;
        self.spent += 1;
    }

    /// Takes back the attempts since the last sign of life: it was the Org's fault, not the row's.
    pub(super) fn give_back(&mut self, life: u64) {
        if self.trouble.0 == life {
            self.spent -= self.trouble.1;
            self.trouble.1 = 0;
            self.spent_before = self.spent_before.min(self.spent);
        }
    }

    /// Attempts that counted in the pass that the row is in.
    pub(super) fn spent_in_pass(&self) -> u32 {
        self.spent - self.spent_before
    }

    /// The record of a row that the Org confirmed.
    pub(super) fn applied(self) -> Record {
        let detail = self.said.clone();
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

    /// Returns what a response said that contradicts the change, in words.
    pub(super) fn contradiction(&self) -> String {
        if self.said.is_empty() {
            let set = self.change.flag.opposite().is_opt_out();
            format!("mfaOptOut is {set}")
        } else {
            self.said.clone()
        }
    }

    /// Returns the record of a row that nobody confirmed, with a remark behind the last words.
    fn without_success(self, remark: &str) -> Record {
        let outcome = if self.in_doubt {
            Outcome::Unknown
        } else {
            Outcome::Failed
        };
        // One character is left free for the mark that keeps a spreadsheet from reading a formula.
        let room = MAX_DETAIL - 1 - remark.chars().count();
        let detail = text::shorten(&self.last_words(), room) + remark;
        self.record(outcome, &detail)
    }

    pub(super) fn is_in_doubt(&self) -> bool {
        self.in_doubt
    }

    /// Returns the status of the last answer, and what was said in it or instead of it.
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

/// Why a row's outcome can't be told yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// Its attempts are spent, and nothing has succeeded since: is it the row, or has the Org gone?
    Spent,
    /// 403: is it this user, or have the credentials been revoked?
    Forbidden,
}

/// The rows that wait.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// For their next attempt, by the time it is due.
    due: BTreeMap<(Duration, RowNumber), Pending>,
    /// For the second-chance pass.
    later: VecDeque<Pending>,
    /// For a sign that tells whose fault it was; with the time since when.
    doubted: Vec<(Duration, Doubt, Pending)>,
    /// Whether some answer left open if its change was made.
    pub(super) left_doubt: bool,
    /// The rows without an outcome whose change an earlier request may have made.
    in_doubt: BTreeSet<RowNumber>,
}

impl Rows {
    pub(super) fn wait_until(&mut self, due: Duration, row: Pending) {
        self.due.insert((due, row.change.row), row);
    }

    pub(super) fn wait_for_second_chance(&mut self, row: Pending) {
        self.later.push_back(row);
    }

    pub(super) fn doubt(&mut self, now: Duration, doubt: Doubt, row: Pending) {
        self.doubted.push((now, doubt, row));
    }

    /// When the next attempt is due.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.due.first_key_value().map(|((due, _), _)| *due)
    }

    pub(super) fn take_due(&mut self, now: Duration) -> Option<Pending> {
        let entry = self.due.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }

    pub(super) fn any_doubted(&self) -> bool {
        !self.doubted.is_empty()
    }

    pub(super) fn any_set_aside(&self) -> bool {
        !self.later.is_empty()
    }

    /// Takes note that the change of a row may have been made.
    pub(super) fn put_in_doubt(&mut self, row: RowNumber) {
        self.in_doubt.insert(row);
    }

    /// Takes note that a row has its outcome, which says whether it is still in doubt.
    pub(super) fn settled(&mut self, row: RowNumber) {
        self.in_doubt.remove(&row);
    }

    /// Returns the rows without an outcome whose change an earlier request may have made.
    pub(super) fn in_doubt(&self) -> &BTreeSet<RowNumber> {
        &self.in_doubt
    }

    pub(super) fn forbidden(&self) -> usize {
        self.doubted
            .iter()
            .filter(|(_, doubt, _)| *doubt == Doubt::Forbidden)
            .count()
    }

    /// Begins the second-chance pass: each of its rows is due `rest` after its last answer.
    pub(super) fn begin_second_chance(&mut self, rest: Duration) -> bool {
        let any = !self.later.is_empty();
        for mut row in std::mem::take(&mut self.later) {
            row.spent_before = row.spent;
            self.wait_until(row.last_answer + rest, row);
        }
        any
    }

    /// The rows whose doubt is older than a request that was answered well.
    pub(super) fn judge(&mut self, proof_sent: Duration) -> impl Iterator<Item = Record> {
        let (judged, open) = std::mem::take(&mut self.doubted)
            .into_iter()
            .partition(|(since, ..)| *since <= proof_sent);
        self.doubted = open;
        let judged: Vec<(Duration, Doubt, Pending)> = judged;
        judged.into_iter().map(|(_, doubt, row)| match doubt {
            Doubt::Spent => row.given_up(),
            Doubt::Forbidden => row.refused(),
        })
    }

    /// The Org has gone: attempts since its last sign of life are given back, and nobody is given up for them.
    pub(super) fn give_back(&mut self, now: Duration, life: u64) {
        self.due
            .values_mut()
            .chain(&mut self.later)
            .for_each(|row| row.give_back(life));
        self.requeue(now, Doubt::Spent, |row| row.give_back(life));
    }

    /// It was the session's token, not the users: the rows go out again.
    pub(super) fn forgive_forbidden(&mut self, now: Duration) {
        self.requeue(now, Doubt::Forbidden, |_| ());
    }

    fn requeue(&mut self, now: Duration, which: Doubt, mut change: impl FnMut(&mut Pending)) {
        for (since, doubt, mut row) in std::mem::take(&mut self.doubted) {
            if doubt == which {
                change(&mut row);
                self.wait_until(now, row);
            } else {
                self.doubted.push((since, doubt, row));
            }
        }
    }
}
