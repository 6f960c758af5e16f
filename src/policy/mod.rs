//! Decides when a request is sent and for which row, what an answer means, how long to wait, when
//! to give up on a row, and when to stop the run.
//!
//! [`Policy`] is one synchronous value without I/O, clock or async code. Time is passed in as a
//! [`Duration`] since the run began, and randomness comes from a seeded generator. The engine asks
//! [`Policy::next`] what to do and does it.

mod answers;
mod backoff;
mod budget;
mod episode;
mod health;
mod latency;
mod limit;
mod overload;
mod pacing;
mod rate_controller;
mod rolling_count;
mod rows;
mod session;
mod start;
mod verdict;

use std::collections::VecDeque;
use std::time::Duration;

use self::budget::Budget;
use self::health::Health;
use self::latency::LatencyTracker;
pub use self::latency::MAX_AUTO_CONCURRENCY;
use self::pacing::Pacing;
use self::rows::{Pending, WaitingRows};
use self::session::Session;
use self::start::AtStart;
use crate::domain::{
    Change, Condition, Ending, LoginResult, PaceFound, Rate, Record, RowNumber, SendResult, Signal,
    Stop, Threshold, Wait,
};

/// Time that requests in flight get to finish when the run ends early.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);
/// Time between the last answer for a row and its first attempt in the second pass.
const SECOND_PASS_DELAY: Duration = Duration::from_secs(30);
/// Share of the run that requests waited for others to finish from which the given concurrency
/// limited the rate.
const BOUND_BY_CONCURRENCY: f64 = 0.1;
/// Number of consecutive 403 responses, after a confirmed change, that triggers a credentials
/// check.
const FORBIDDEN_BEFORE_CHECK: usize = 5;
/// Minimum time between two credentials checks.
const MIN_FORBIDDEN_CHECK_INTERVAL: Duration = Duration::from_mins(1);

/// The rules of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// Maximum rate of requests, including retries and log-ins.
    pub rate: Rate,
    /// Maximum number of requests in flight, at least 1. `None` derives it from rate and latency.
    pub concurrency: Option<usize>,
    /// Number of requests in flight that the system has resources for, at least 1. A larger
    /// `concurrency` is lowered to it.
    pub max_in_flight: usize,
    /// Number of attempts for a row in each of the two passes, at least 1.
    pub max_attempts: u32,
    /// The longest pause that the Org may ask for.
    pub max_wait: Duration,
    /// Time that an outage may last before the run stops.
    pub outage_patience: Duration,
    /// Number or share of failures that ends the run.
    pub max_failures: Threshold,
    /// Time after which the run stops.
    pub max_duration: Option<Duration>,
    /// Whether requests need a session, which begins with a log-in.
    pub session: bool,
    /// Whether the interrupted run that this one continues had confirmed a change. Address and
    /// credentials were right then, so that rows that fail now may fail for reasons of their own.
    pub confirmed_before: bool,
    /// Seed of the jitter.
    pub seed: u64,
}

/// Permission to send one request. Only the policy makes it, it cannot be copied, and it is handed
/// back with the answer.
#[derive(Debug)]
pub struct Attempt {
    row: Pending,
    purpose: Purpose,
    sent: Duration,
    generation: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// To apply the change of a row.
    Row,
    /// To find out whether the Org answers and accepts the credentials, by repeating a change that
    /// this run confirmed.
    Probe,
}

impl Attempt {
    /// Returns the change to send.
    #[must_use]
    pub fn change(&self) -> Change {
        self.row.change
    }

    /// Returns when the request was sent, since the run began.
    #[must_use]
    pub fn sent_at(&self) -> Duration {
        self.sent
    }

    /// Returns the number of the request for its row, from 1. It is 0 for a probe, which repeats an
    /// applied row and has no outcome.
    #[must_use]
    pub fn number(&self) -> u32 {
        match self.purpose {
            Purpose::Row => self.row.requests,
            Purpose::Probe => 0,
        }
    }
}

/// Whether a probe is needed although the Org answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Recheck {
    No,
    /// Rows have failed, and no other request is left that could show whether the Org is the cause.
    Wanted,
    /// A probe was refused and is repeated with a new token.
    AfterLogIn,
}

/// The next action of the engine.
#[derive(Debug)]
pub enum Next {
    /// Send the request, and hand the attempt back with its answer.
    Send(Attempt),
    /// Log in, and pass on the result.
    LogIn,
    /// Offer the next row.
    TakeRow,
    /// Record the outcome of a row that was decided by the answer for another row.
    Settle(Record),
    /// Record that a later run sends this row last, because it failed before any change was
    /// confirmed.
    Defer(RowNumber),
    /// Wait until this time or for an answer.
    WaitUntil(Duration, Wait),
    /// Wait for an answer.
    AwaitAnswer,
    /// The run is over.
    End(Ending),
}

/// The policy of one run.
#[derive(Debug)]
pub struct Policy {
    rules: Rules,
    random: fastrand::Rng,
    /// Boxed because it is large, and the policy is moved into a future.
    pacing: Box<Pacing>,
    latency: LatencyTracker,
    /// When the next request began to wait for fewer requests in flight.
    room_awaited_since: Option<Duration>,
    /// Total time that requests waited for others to finish although the rate allowed them.
    waited_for_room: Duration,
    /// When the last request was sent.
    last_sent: Duration,
    health: Health,
    session: Session,
    budget: Budget,
    rows: WaitingRows,
    in_flight: usize,
    /// The rows of the requests in flight, without the row that a probe repeats.
    rows_in_flight: Vec<RowNumber>,
    probe_out: bool,
    /// The row that was offered last, if it has not been sent.
    offered: Option<Change>,
    no_more_rows: bool,
    second_pass: bool,
    /// Records of rows that were decided by the answer for another row.
    settled: VecDeque<Record>,
    /// The last change that this run confirmed, which a probe repeats.
    last_success: Option<Change>,
    recheck: Recheck,
    /// What is known while no change is confirmed.
    start: AtStart,
    forbidden_checked: Option<Duration>,
    /// When the Org began to throttle, without a success since.
    throttled_since: Option<Duration>,
    /// How the run ends, and until when it waits for answers.
    ending: Option<(Ending, Duration)>,
}

impl Policy {
    /// Returns the policy of a run that begins now.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self {
            random: fastrand::Rng::with_seed(rules.seed),
            pacing: Box::new(Pacing::new(rules.rate)),
            latency: LatencyTracker::default(),
            room_awaited_since: None,
            waited_for_room: Duration::ZERO,
            last_sent: Duration::ZERO,
            health: Health::new(rules.max_failures),
            session: Session::new(rules.session),
            budget: Budget::full(),
            rows: WaitingRows::default(),
            in_flight: 0,
            rows_in_flight: Vec::new(),
            probe_out: false,
            offered: None,
            no_more_rows: false,
            second_pass: false,
            settled: VecDeque::new(),
            last_success: None,
            recheck: Recheck::No,
            start: AtStart::default(),
            forbidden_checked: None,
            throttled_since: None,
            ending: None,
            rules,
        }
    }

    /// Returns what to do at this time. The order of the questions is the product's list of
    /// priorities.
    pub fn next(&mut self, now: Duration) -> Next {
        self.check_deadlines(now);
        self.settle()
            .or_else(|| self.defer())
            .or_else(|| self.wind_down(now))
            .or_else(|| self.log_in(now))
            .or_else(|| self.wait_for_room(now))
            .or_else(|| self.probe(now))
            .or_else(|| self.take_turn(now))
            .unwrap_or_else(|| self.nothing_to_send(now))
    }

    /// Takes note of how far the wall clock has advanced since the run began. It differs from the
    /// run's own clock if somebody set it or the machine was suspended.
    pub fn set_wall_clock(&mut self, passed: Duration) {
        self.session.set_wall_clock(passed);
    }

    /// Checks whether requests were sent that may not have left the machine yet.
    #[must_use]
    pub fn has_unflushed(&self) -> bool {
        self.pacing.has_unflushed()
    }

    /// Takes note that every request sent so far has left the machine by now.
    pub fn mark_flushed(&mut self, now: Duration) {
        self.pacing.mark_flushed(now);
    }

    /// Takes the next row of the plan; `None` if there are no more.
    pub fn offer(&mut self, change: Option<Change>) {
        self.no_more_rows |= change.is_none();
        if let Some(change) = change
            && change.in_doubt
        {
            self.rows.put_in_doubt(change.row);
        }
        self.offered = change;
    }

    /// Takes the answer to a request. Returns the record of the row if the answer decides its
    /// outcome.
    pub fn answered(
        &mut self,
        now: Duration,
        attempt: Attempt,
        answer: SendResult,
    ) -> Option<Record> {
        let wanted = Some(attempt.change().flag);
        let verdict = verdict::of(&answer, wanted, self.health.has_succeeded());
        self.remove_from_flight(&attempt, verdict::leaves_doubt(&answer, verdict));
        self.note_answer(now, &attempt, &answer, verdict);
        match attempt.purpose {
            Purpose::Row => {
                let record = self.row_answered(now, attempt, answer, verdict)?;
                self.rows.settled(record.row);
                Some(record)
            }
            Purpose::Probe => {
                self.probe_answered(now, &attempt, &answer, verdict);
                None
            }
        }
    }

    /// Takes note that a request is no longer in flight, and whether it leaves the row in doubt.
    fn remove_from_flight(&mut self, attempt: &Attempt, leaves_doubt: bool) {
        self.in_flight -= 1;
        self.rows.left_doubt |= leaves_doubt;
        if attempt.purpose == Purpose::Row {
            let row = attempt.row.change.row;
            let place = self.rows_in_flight.iter().position(|other| *other == row);
            if let Some(place) = place {
                self.rows_in_flight.swap_remove(place);
            }
            if leaves_doubt {
                self.rows.put_in_doubt(row);
            }
        }
    }

    /// Takes the result of a log-in.
    pub fn logged_in(&mut self, now: Duration, answer: LoginResult) {
        match answer {
            LoginResult::Token { lifetime } => self.session.logged_in(now, lifetime),
            LoginResult::Unusable(message) => self.stop(
                now,
                Stop::LogInRefused {
                    status: None,
                    message,
                },
            ),
            LoginResult::Failed(answer) => self.log_in_failed(now, &answer),
        }
    }

    /// Ends the run on a signal. Nothing more is sent, and requests in flight get up to 10 s.
    pub fn interrupt(&mut self, now: Duration, signal: Signal) {
        self.end(now, Ending::Interrupted(signal));
    }

    /// Ends the run because the rows can't be read any further. Nothing more is sent, and requests
    /// in flight get up to 10 s.
    pub fn input_failed(&mut self, now: Duration, message: String) {
        self.stop(now, Stop::InputFailed { message });
    }

    /// Returns what holds the run back.
    #[must_use]
    pub fn condition(&self, now: Duration) -> Condition {
        let gone = self.health.outage_since(now).or(self
            .session
            .failing_since()
            .filter(|_| self.health.has_succeeded()));
        match (gone, self.pacing.held(now)) {
            (Some(since), _) => Condition::Outage { since },
            (None, Some(until)) => Condition::Throttled { until },
            (None, None) => Condition::Normal,
        }
    }

    /// Checks whether a change may have been made that is not recorded as applied.
    #[must_use]
    pub fn leaves_doubt(&self) -> bool {
        self.rows.left_doubt || self.in_flight > 0
    }

    /// Returns the rows without an outcome whose change may have been made, because a request is in
    /// flight or an earlier one may have made it. A row may appear twice.
    pub fn rows_in_doubt(&self) -> impl Iterator<Item = RowNumber> + '_ {
        self.rows
            .in_doubt()
            .iter()
            .chain(&self.rows_in_flight)
            .copied()
    }

    /// Returns what the run has found out about the rate.
    #[must_use]
    pub fn pace_found(&self) -> PaceFound {
        PaceFound {
            rate: self.pacing.found(),
            limit: self.pacing.limit(),
            bound_by_concurrency: self.bound_by_concurrency(),
        }
    }
}

/// The questions of [`Policy::next`], in their order.
impl Policy {
    fn check_deadlines(&mut self, now: Duration) {
        if self.rules.max_duration.is_some_and(|most| now >= most) {
            self.stop(now, Stop::MaxDurationReached);
        }
        if let Some(since) = self.away_since()
            && now >= since.saturating_add(self.rules.outage_patience)
        {
            self.stop(
                now,
                Stop::Outage {
                    lasted: now.saturating_sub(since),
                },
            );
        }
        if let Some(since) = self.failing_since_start()
            && now >= since.saturating_add(self.rules.outage_patience)
        {
            let stop = self.start.never_succeeded();
            self.stop(now, stop);
        }
    }

    fn settle(&mut self) -> Option<Next> {
        let record = self.settled.pop_front()?;
        self.rows.settled(record.row);
        Some(Next::Settle(record))
    }

    fn defer(&mut self) -> Option<Next> {
        self.start.next_to_defer().map(Next::Defer)
    }

    fn wind_down(&mut self, now: Duration) -> Option<Next> {
        let (ending, until) = self.ending.as_ref()?;
        if self.in_flight == 0 || now >= *until {
            return Some(Next::End(ending.clone()));
        }
        Some(Next::WaitUntil(*until, Wait::Drain))
    }

    fn log_in(&mut self, now: Duration) -> Option<Next> {
        if self.session.is_logging_in() {
            return Some(self.await_answer());
        }
        let due = self.session.log_in_at(now)?;
        if self.session.generation() == 0 && self.offered.is_none() {
            // Without a row to send there is no need to log in.
            return (!self.no_more_rows).then_some(Next::TakeRow);
        }
        let ready = due.max(self.pacing.ready_at(now));
        if ready > now {
            return Some(self.wait_until(ready, Wait::LogIn));
        }
        self.session.logging_in(now);
        self.pacing.sent(now);
        Some(Next::LogIn)
    }

    fn wait_for_room(&mut self, now: Duration) -> Option<Next> {
        if self.in_flight < self.concurrency() {
            return None;
        }
        self.room_awaited_since.get_or_insert(now);
        Some(self.await_answer())
    }

    fn probe(&mut self, now: Duration) -> Option<Next> {
        let due = match self.health.probe_at() {
            Some(at) => at,
            None if self.recheck != Recheck::No || self.forbidden_needs_a_check(now) => now,
            None => return None,
        };
        if self.probe_out {
            return Some(self.await_answer());
        }
        let ready = due.max(self.pacing.ready_at(now));
        if ready > now {
            return Some(self.wait_until(ready, Wait::Probe));
        }
        self.send_probe(now)
    }

    fn take_turn(&mut self, now: Duration) -> Option<Next> {
        let due = self.rows.next_due();
        if !self.health.has_succeeded()
            && let Some(due) = due.filter(|due| *due > now)
        {
            return Some(self.wait_until(due, Wait::Retry));
        }
        if due.is_none_or(|due| due > now) && self.offered.is_none() && self.no_more_rows {
            return None;
        }
        let ready = self.pacing.ready_at(now);
        if ready > now {
            self.pacing.awaits(ready);
            let why = if self.pacing.held(now).is_some() {
                Wait::Throttled
            } else {
                Wait::Pace
            };
            return Some(self.wait_until(ready, why));
        }
        if let Some(row) = self.rows.take_due(now) {
            return Some(self.send(now, row, Purpose::Row));
        }
        Some(match self.offered.take() {
            Some(change) => self.send(now, Pending::new(change), Purpose::Row),
            None => Next::TakeRow,
        })
    }

    fn nothing_to_send(&mut self, now: Duration) -> Next {
        if let Some(due) = self.rows.next_due() {
            return self.wait_until(due, Wait::Retry);
        }
        if self.in_flight > 0 {
            return self.await_answer();
        }
        if !self.health.has_succeeded() && self.no_row_left_at_start(now) {
            return self.next(now);
        }
        self.second_pass = true;
        if self.rows.begin_second_pass(SECOND_PASS_DELAY) {
            return self.next(now);
        }
        if self.rows.has_suspected() && self.last_success.is_some() {
            self.recheck = Recheck::Wanted;
            return self.next(now);
        }
        Next::End(Ending::Complete)
    }
}

/// The answers to the questions.
impl Policy {
    /// Returns when the Org stopped answering, if it had answered before.
    fn away_since(&self) -> Option<Duration> {
        let log_ins_fail = self
            .session
            .failing_since()
            .filter(|_| self.health.has_succeeded());
        self.health
            .away_since()
            .into_iter()
            .chain(log_ins_fail)
            .min()
    }

    /// Returns how many requests may be in flight.
    fn concurrency(&mut self) -> usize {
        if !self.health.has_succeeded() {
            return 1;
        }
        let wanted = match (self.rules.concurrency, self.rules.rate) {
            (Some(given), _) => given,
            (None, Rate::Unlimited) => MAX_AUTO_CONCURRENCY,
            (None, _) => self.latency.concurrency(self.pacing.rate()),
        };
        wanted.min(self.rules.max_in_flight)
    }

    /// Returns the rate that the given concurrency allowed, if requests waited for others during a
    /// good part of the run.
    fn bound_by_concurrency(&self) -> Option<f64> {
        let given = self.rules.concurrency?.min(self.rules.max_in_flight);
        let given = u32::try_from(given).ok()?;
        let latency = self.latency.mean()?.as_secs_f64();
        let is_bound = self.waited_for_room > self.last_sent.mul_f64(BOUND_BY_CONCURRENCY);
        if self.rules.rate == Rate::Unlimited || !is_bound || latency <= 0.0 {
            return None;
        }
        Some(f64::from(given) / latency)
    }

    fn forbidden_needs_a_check(&self, now: Duration) -> bool {
        self.health.has_succeeded()
            && self.rows.forbidden() >= FORBIDDEN_BEFORE_CHECK
            && self
                .forbidden_checked
                .is_none_or(|checked| now >= checked + MIN_FORBIDDEN_CHECK_INTERVAL)
    }

    fn send_probe(&mut self, now: Duration) -> Option<Next> {
        let last_success = self.last_success?;
        self.probe_out = true;
        self.forbidden_checked = Some(now);
        Some(self.send(now, Pending::new(last_success), Purpose::Probe))
    }

    fn send(&mut self, now: Duration, mut row: Pending, purpose: Purpose) -> Next {
        row.sent(now);
        if let Some(since) = self.room_awaited_since.take() {
            let turn = self.pacing.ready_at(now).max(since);
            self.waited_for_room += now.saturating_sub(turn);
        }
        self.last_sent = now;
        self.pacing.sent(now);
        self.in_flight += 1;
        if purpose == Purpose::Row {
            self.rows_in_flight.push(row.change.row);
        }
        Next::Send(Attempt {
            row,
            purpose,
            sent: now,
            generation: self.session.generation(),
        })
    }

    /// Returns a wait that ends at a deadline of the run at the latest.
    fn wait_until(&self, until: Duration, why: Wait) -> Next {
        Next::WaitUntil(
            self.deadline()
                .map_or(until, |deadline| deadline.min(until)),
            why,
        )
    }

    fn await_answer(&self) -> Next {
        self.deadline().map_or(Next::AwaitAnswer, |deadline| {
            Next::WaitUntil(deadline, Wait::SendResult)
        })
    }

    fn deadline(&self) -> Option<Duration> {
        let patience = self
            .away_since()
            .map(|since| since.saturating_add(self.rules.outage_patience));
        let patience_at_start = self
            .failing_since_start()
            .map(|since| since.saturating_add(self.rules.outage_patience));
        self.rules
            .max_duration
            .into_iter()
            .chain(patience)
            .chain(patience_at_start)
            .min()
    }

    fn stop(&mut self, now: Duration, stop: Stop) {
        self.end(now, Ending::Stopped(stop));
    }

    /// Ends the run. The first reason to end is kept.
    fn end(&mut self, now: Duration, ending: Ending) {
        self.ending.get_or_insert((ending, now + SHUTDOWN_GRACE));
    }
}
