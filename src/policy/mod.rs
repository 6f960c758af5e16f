//! Decides: when a request may leave and for which row, what an answer means, how long to wait, when to give up a row,
//! when to stop the run. One synchronous value without I/O, clock or async: time comes in as a [`Duration`] since the
//! run began, randomness is a seeded generator, and the engine carries out what [`Policy::next`] says.

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
use self::latency::Latency;
pub use self::latency::MAX_AUTO_CONCURRENCY;
use self::pacing::Pacing;
use self::rows::{Pending, Rows};
use self::session::Session;
use self::start::AtStart;
use crate::domain::{
    Change, Condition, Ending, LoginResult, PaceFound, Rate, Record, RowNumber, SendResult, Signal,
    Stop, Threshold, Wait,
};

/// How long requests in flight get to finish when the run ends early.
const GRACE: Duration = Duration::from_secs(10);
/// How long a row rests before its second chance.
const REST: Duration = Duration::from_secs(30);
/// Share of the run during which requests waited for room that makes the given concurrency the bound of the pace.
const BOUND_BY_CONCURRENCY: f64 = 0.1;
/// Number of 403 responses in a row, after a confirmed change, that triggers a check of the credentials.
const FORBIDDEN: usize = 5;
/// Minimum time between two such checks.
const FORBIDDEN_AGAIN: Duration = Duration::from_mins(1);

/// The rules of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// How fast requests may leave, retries and log-ins included.
    pub rate: Rate,
    /// Requests in flight at most, at least 1; `None` to let it follow from rate and latency.
    pub concurrency: Option<usize>,
    /// Requests in flight that the system has room for, at least 1. A larger `concurrency` is lowered to it.
    pub max_in_flight: usize,
    /// Attempts of a row in the main pass, and again in the second-chance pass; at least 1.
    pub max_attempts: u32,
    /// The longest pause that the Org may ask for.
    pub max_wait: Duration,
    /// How long an outage may last before the run stops.
    pub outage_patience: Duration,
    /// How many failures end the run.
    pub max_failures: Threshold,
    /// How long the run may last.
    pub max_duration: Option<Duration>,
    /// Whether a log-in comes before the first request.
    pub session: bool,
    /// Whether the interrupted run that this one continues had confirmed a change: address and credentials were right
    /// then, and rows that fail now may fail for reasons of their own.
    pub confirmed_before: bool,
    /// Seed of the jitter.
    pub seed: u64,
}

/// Leave to send one request. Only the policy makes it, it can't be copied, and it is handed back with the answer: to
/// send, one must have been allowed.
#[derive(Debug)]
pub struct Attempt {
    row: Pending,
    purpose: Purpose,
    sent: Duration,
    generation: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// To get a row done.
    Row,
    /// To find out whether the Org and the credentials are all right, by repeating a change that this run confirmed.
    Probe,
}

impl Attempt {
    /// What to send.
    #[must_use]
    pub fn change(&self) -> Change {
        self.row.change
    }

    /// When it was allowed, since the run began.
    #[must_use]
    pub fn sent_at(&self) -> Duration {
        self.sent
    }

    /// Which request for this row, from 1; 0 for a probe, which repeats a row that was applied and is not booked.
    #[must_use]
    pub fn number(&self) -> u32 {
        match self.purpose {
            Purpose::Row => self.row.requests,
            Purpose::Probe => 0,
        }
    }
}

/// Whether a probe is wanted while the Org itself seems well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Recheck {
    No,
    /// Rows are in doubt and nothing else is left that could tell whose fault it was.
    Wanted,
    /// A probe was refused; it is repeated with a new token.
    AfterLogIn,
}

/// What to do next.
#[derive(Debug)]
pub enum Next {
    /// Send this, and hand it back with its answer.
    Send(Attempt),
    /// Log in, and tell what came of it.
    LogIn,
    /// Offer the next row.
    TakeRow,
    /// A row whose outcome was open has it now.
    Settle(Record),
    /// A row has failed before any change was confirmed: put on record that a later run sends it last.
    Defer(RowNumber),
    /// Nothing to do before this time, unless an answer comes.
    WaitUntil(Duration, Wait),
    /// Nothing to do before an answer comes.
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
    latency: Latency,
    /// Since when the next request waits until fewer are in flight.
    room_awaited_since: Option<Duration>,
    /// How long requests waited for room after their turn had come.
    waited_for_room: Duration,
    /// When the last request was sent.
    last_sent: Duration,
    health: Health,
    session: Session,
    budget: Budget,
    rows: Rows,
    in_flight: usize,
    /// The rows of the requests in flight; a probe's is not among them.
    rows_in_flight: Vec<RowNumber>,
    probe_out: bool,
    /// A row that was offered and has not been sent.
    offered: Option<Change>,
    no_more_rows: bool,
    second_chance: bool,
    /// Rows whose outcome became clear by another row's answer.
    settled: VecDeque<Record>,
    /// The last change that this run confirmed: what a probe repeats.
    proof: Option<Change>,
    recheck: Recheck,
    /// What is known while no change is confirmed.
    start: AtStart,
    forbidden_checked: Option<Duration>,
    /// Since when the Org throttles, with no success in between.
    throttled_since: Option<Duration>,
    /// How the run ends, and when it no longer waits for answers.
    ending: Option<(Ending, Duration)>,
}

impl Policy {
    /// The policy of a run that begins now.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self {
            random: fastrand::Rng::with_seed(rules.seed),
            pacing: Box::new(Pacing::new(rules.rate)),
            latency: Latency::default(),
            room_awaited_since: None,
            waited_for_room: Duration::ZERO,
            last_sent: Duration::ZERO,
            health: Health::new(rules.max_failures),
            session: Session::new(rules.session),
            budget: Budget::full(),
            rows: Rows::default(),
            in_flight: 0,
            rows_in_flight: Vec::new(),
            probe_out: false,
            offered: None,
            no_more_rows: false,
            second_chance: false,
            settled: VecDeque::new(),
            proof: None,
            recheck: Recheck::No,
            start: AtStart::default(),
            forbidden_checked: None,
            throttled_since: None,
            ending: None,
            rules,
        }
    }

    /// What to do at this time. Never blocks; the order of its questions is the product's list of priorities.
    pub fn next(&mut self, now: Duration) -> Next {
        self.heed_deadlines(now);
        self.settle()
            .or_else(|| self.defer())
            .or_else(|| self.wind_down(now))
            .or_else(|| self.log_in(now))
            .or_else(|| self.wait_for_room(now))
            .or_else(|| self.probe(now))
            .or_else(|| self.take_turn(now))
            .unwrap_or_else(|| self.nothing_to_send(now))
    }

    /// The time of day has come so far since the run began: not as far as the run's own clock where it was put back,
    /// further where it was put forward or the machine slept.
    pub fn heed_time_of_day(&mut self, passed: Duration) {
        self.session.heed_time_of_day(passed);
    }

    /// Whether it wants to be told when what it has sent is on its way.
    #[must_use]
    pub fn awaits_departure(&self) -> bool {
        self.pacing.awaits_departure()
    }

    /// Everything that was sent over a connection that stands is on its way by now.
    pub fn departed(&mut self, now: Duration) {
        self.pacing.departed(now);
    }

    /// The next row of the plan, or that there are no more.
    pub fn offer(&mut self, change: Option<Change>) {
        self.no_more_rows |= change.is_none();
        if let Some(change) = change
            && change.in_doubt
        {
            self.rows.put_in_doubt(change.row);
        }
        self.offered = change;
    }

    /// What came back for an attempt. Gives the row's record where that decides its outcome.
    pub fn answered(
        &mut self,
        now: Duration,
        attempt: Attempt,
        answer: SendResult,
    ) -> Option<Record> {
        let wanted = Some(attempt.change().flag);
        let verdict = verdict::of(&answer, wanted, self.health.is_proven());
        self.landed(&attempt, verdict::leaves_doubt(&answer, verdict));
        self.heed_answer(now, &attempt, &answer, verdict);
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
    fn landed(&mut self, attempt: &Attempt, leaves_doubt: bool) {
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

    /// What came of a log-in.
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

    /// Somebody wants the run to end: nothing more is sent, what is in flight gets up to 10 s.
    pub fn interrupt(&mut self, now: Duration, signal: Signal) {
        self.end(now, Ending::Interrupted(signal));
    }

    /// The rows can't be read any further: nothing more is sent, what is in flight gets up to 10 s.
    pub fn input_failed(&mut self, now: Duration, message: String) {
        self.stop(now, Stop::InputFailed { message });
    }

    /// What holds the run back.
    #[must_use]
    pub fn condition(&self, now: Duration) -> Condition {
        let gone = self.health.outage_since(now).or(self
            .session
            .failing_since()
            .filter(|_| self.health.is_proven()));
        match (gone, self.pacing.held(now)) {
            (Some(since), _) => Condition::Outage { since },
            (None, Some(until)) => Condition::Throttled { until },
            (None, None) => Condition::Normal,
        }
    }

    /// Whether a change may have been made that is not on record as applied.
    #[must_use]
    pub fn leaves_doubt(&self) -> bool {
        self.rows.left_doubt || self.in_flight > 0
    }

    /// Returns the rows that have no outcome and whose change may have been made: requests for them are in flight, or an
    /// earlier request may have made it. A row may be named twice.
    pub fn rows_in_doubt(&self) -> impl Iterator<Item = RowNumber> + '_ {
        self.rows
            .in_doubt()
            .iter()
            .chain(&self.rows_in_flight)
            .copied()
    }

    /// Returns what the run has found out about the pace.
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
    fn heed_deadlines(&mut self, now: Duration) {
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
            // Nobody logs in for nothing.
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
        if !self.health.is_proven()
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
        if !self.health.is_proven() && self.no_row_left_at_start(now) {
            return self.next(now);
        }
        self.second_chance = true;
        if self.rows.begin_second_chance(REST) {
            return self.next(now);
        }
        if self.rows.any_doubted() && self.proof.is_some() {
            self.recheck = Recheck::Wanted;
            return self.next(now);
        }
        Next::End(Ending::Complete)
    }
}

/// What the questions need.
impl Policy {
    /// Since when the Org has been away, once it had been there.
    fn away_since(&self) -> Option<Duration> {
        let log_ins_fail = self
            .session
            .failing_since()
            .filter(|_| self.health.is_proven());
        self.health
            .gone_since()
            .into_iter()
            .chain(log_ins_fail)
            .min()
    }

    /// Returns how many requests may be in flight.
    fn concurrency(&mut self) -> usize {
        if !self.health.is_proven() {
            return 1;
        }
        let wanted = match (self.rules.concurrency, self.rules.rate) {
            (Some(given), _) => given,
            (None, Rate::Unlimited) => MAX_AUTO_CONCURRENCY,
            (None, _) => self.latency.concurrency(self.pacing.rate()),
        };
        wanted.min(self.rules.max_in_flight)
    }

    /// Returns the pace that the given concurrency allowed, if requests waited for room during a good part of the run.
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
        self.health.is_proven()
            && self.rows.forbidden() >= FORBIDDEN
            && self
                .forbidden_checked
                .is_none_or(|checked| now >= checked + FORBIDDEN_AGAIN)
    }

    fn send_probe(&mut self, now: Duration) -> Option<Next> {
        let proof = self.proof?;
        self.probe_out = true;
        self.forbidden_checked = Some(now);
        Some(self.send(now, Pending::new(proof), Purpose::Probe))
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

    /// Waits, but not beyond a deadline of the run.
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

    /// The first reason to end is the one that counts.
    fn end(&mut self, now: Duration, ending: Ending) {
        self.ending.get_or_insert((ending, now + GRACE));
    }
}
