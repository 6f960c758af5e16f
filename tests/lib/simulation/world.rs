//! The made-up world: engine and Org played by a plain loop on made-up time, and what happened in
//! it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use mfa_optout::testing::domain::{
    Change, Condition, Ending, Flag, LoginResult, Outcome, PaceFound, Rate, Record, Reply,
    SendResult, Signal, Threshold, TransportError, TransportErrorKind, UserId,
};
use mfa_optout::testing::policy::{Attempt, Next, Policy, Rules};

pub const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub fn rules() -> Rules {
    Rules {
        rate: Rate::Limited {
            requests: 10,
            per: s(1),
        },
        concurrency: Some(8),
        max_attempts: 5,
        max_wait: s(300),
        outage_patience: s(600),
        max_failures: Threshold::Count(100),
        max_duration: None,
        confirmed_before: false,
        max_in_flight: usize::MAX,
        session: false,
        seed: 7,
    }
}

pub fn per_second(requests: u32) -> Rate {
    Rate::Limited {
        requests,
        per: s(1),
    }
}

pub fn status(status: u16) -> SendResult {
    SendResult::Reply(Reply {
        status,
        ..Reply::default()
    })
}

pub fn throttled(wait: Duration) -> SendResult {
    SendResult::Reply(Reply {
        status: 429,
        retry_after: Some(wait),
        ..Reply::default()
    })
}

pub fn reset() -> SendResult {
    SendResult::TransportError(TransportError {
        cause: TransportErrorKind::Reset,
        sent: true,
        message: "connection reset".to_owned(),
    })
}

/// What the server is asked, and how it answers: the answer and how long it takes.
pub trait Server {
    fn put(&mut self, now: Duration, change: Change) -> (SendResult, Duration);
    fn log_in(&mut self, _now: Duration) -> (LoginResult, Duration) {
        (
            LoginResult::Token {
                lifetime: Some(s(900)),
            },
            ms(100),
        )
    }
}

impl<F: FnMut(Duration, Change) -> (SendResult, Duration)> Server for F {
    fn put(&mut self, now: Duration, change: Change) -> (SendResult, Duration) {
        self(now, change)
    }
}

/// What happened in a simulated run.
pub struct Trace {
    pub records: BTreeMap<u64, Record>,
    /// Every request, log-ins included, by the time of its turn.
    pub sent: Vec<Duration>,
    /// And by the time it left.
    pub left: Vec<Duration>,
    pub rows_sent: HashMap<u64, u32>,
    pub probes: u32,
    /// Rows that a later run sends last.
    pub deferred: Vec<u64>,
    pub log_ins: Vec<Duration>,
    pub outages: u32,
    pub ending: Ending,
    pub ended: Duration,
    /// Whether a change may have been made that is not on record as applied.
    pub leaves_doubt: bool,
    /// Rows without an outcome whose change may have been made.
    pub open_rows: u64,
}

impl Trace {
    pub fn outcomes(&self, outcome: Outcome) -> usize {
        self.records
            .values()
            .filter(|record| record.outcome == outcome)
            .count()
    }

    pub fn busiest_second(&self) -> usize {
        self.busiest(s(1))
    }

    /// The most requests within any such span.
    pub fn busiest(&self, span: Duration) -> usize {
        let mut left = self.left.clone();
        left.sort_unstable();
        let mut first = 0;
        let mut most = 0;
        for (last, time) in left.iter().enumerate() {
            while time.saturating_sub(left[first]) >= span {
                first += 1;
            }
            most = most.max(last - first + 1);
        }
        most
    }

    pub fn sent_between(&self, from: Duration, to: Duration) -> usize {
        self.sent
            .iter()
            .filter(|time| (from..to).contains(*time))
            .count()
    }
}

pub enum Arrival {
    SendResult(Attempt, SendResult),
    LoginResult(LoginResult),
}

/// By chance, the machine does something else between turns, or between a turn and the wire.
pub struct Stalls {
    pub random: fastrand::Rng,
    /// After how many turns, on average, it does so for some milliseconds, and now and then for
    /// seconds.
    pub one_in: u32,
}

impl Stalls {
    fn next(&mut self) -> Duration {
        let most = match self.random.u32(..self.one_in * 4) {
            0 => 3_000_000,
            1..=3 => 10_000,
            _ => 100,
        };
        Duration::from_micros(self.random.u64(..most))
    }
}

pub struct Simulation<'a> {
    pub policy: Policy,
    pub server: &'a mut dyn Server,
    pub rows: u64,
    pub now: Duration,
    pub next_row: u64,
    /// The rows in the order in which they are offered, where that is not 1 to `rows`.
    pub send_order: Option<Vec<u64>>,
    pub arrivals: BTreeMap<(Duration, u64), Arrival>,
    pub order: u64,
    /// How late the timer fires.
    pub lateness: Duration,
    /// What comes between.
    pub stalls: Option<Stalls>,
    pub interrupt_at: Option<Duration>,
    pub in_outage: bool,
    pub trace: Trace,
    /// How many of the requests may not have left yet.
    leaving: usize,
}

pub fn simulate(rules: Rules, rows: u64, server: &mut dyn Server) -> Trace {
    Simulation::new(rules, rows, server).run()
}

impl<'a> Simulation<'a> {
    pub fn new(rules: Rules, rows: u64, server: &'a mut dyn Server) -> Self {
        Self {
            policy: Policy::new(rules),
            server,
            rows,
            now: Duration::ZERO,
            next_row: 1,
            send_order: None,
            arrivals: BTreeMap::new(),
            order: 0,
            lateness: Duration::ZERO,
            stalls: None,
            interrupt_at: None,
            in_outage: false,
            trace: Trace {
                records: BTreeMap::new(),
                sent: Vec::new(),
                left: Vec::new(),
                rows_sent: HashMap::new(),
                probes: 0,
                deferred: Vec::new(),
                log_ins: Vec::new(),
                outages: 0,
                ending: Ending::Complete,
                ended: Duration::ZERO,
                leaves_doubt: false,
                open_rows: 0,
            },
            leaving: 0,
        }
    }

    pub fn run(self) -> Trace {
        self.run_to_the_end().0
    }

    /// Runs, and returns what was found out about the pace as well.
    pub fn run_to_the_end(mut self) -> (Trace, PaceFound) {
        let bound = 1_000_000 + self.rows * 1_000;
        for _ in 0..bound {
            match self.policy.next(self.now) {
                Next::Send(attempt) => self.send(attempt),
                Next::LogIn => self.log_in(),
                Next::TakeRow => self.offer(),
                Next::Settle(record) => self.record(record),
                Next::Defer(row) => self.trace.deferred.push(row),
                Next::WaitUntil(until, _) => {
                    assert!(until > self.now, "waits for a time that has passed");
                    if !self.depart() {
                        self.advance(Some(until));
                    }
                }
                Next::AwaitAnswer => {
                    assert!(
                        !self.arrivals.is_empty(),
                        "waits for an answer that nobody owes"
                    );
                    if !self.depart() {
                        self.advance(None);
                    }
                }
                Next::End(ending) => {
                    self.trace.ending = ending;
                    self.trace.ended = self.now;
                    self.trace.leaves_doubt = self.policy.leaves_doubt();
                    let rows: BTreeSet<_> = self.policy.rows_in_doubt().collect();
                    self.trace.open_rows = rows.len() as u64;
                    return (self.trace, self.policy.pace_found());
                }
            }
        }
        panic!("the run does not end");
    }

    pub fn send(&mut self, attempt: Attempt) {
        self.leave();
        match attempt.number() {
            0 => self.trace.probes += 1,
            _ => {
                *self
                    .trace
                    .rows_sent
                    .entry(attempt.change().row)
                    .or_default() += 1;
            }
        }
        let (answer, latency) = self.server.put(self.now, attempt.change());
        self.arrive(latency, Arrival::SendResult(attempt, answer));
    }

    pub fn log_in(&mut self) {
        self.leave();
        self.trace.log_ins.push(self.now);
        let (answer, latency) = self.server.log_in(self.now);
        self.arrive(latency, Arrival::LoginResult(answer));
    }

    fn leave(&mut self) {
        self.trace.sent.push(self.now);
        self.trace.left.push(self.now);
        self.leaving += 1;
    }

    /// What was sent leaves, some time between its turn and now, which may be a good deal later.
    /// Whether anybody waits for that.
    fn depart(&mut self) -> bool {
        let leaving = std::mem::take(&mut self.leaving);
        if !self.policy.has_unflushed() {
            return false;
        }
        self.stall();
        if let Some(stalls) = &mut self.stalls {
            let first = self.trace.left.len() - leaving;
            for left in &mut self.trace.left[first..] {
                *left += self.now.saturating_sub(*left).mul_f64(stalls.random.f64());
            }
        }
        self.policy.mark_flushed(self.now);
        true
    }

    pub fn arrive(&mut self, latency: Duration, arrival: Arrival) {
        self.order += 1;
        self.arrivals
            .insert((self.now + latency, self.order), arrival);
    }

    fn stall(&mut self) {
        self.now += self.stalls.as_mut().map_or(Duration::ZERO, Stalls::next);
    }

    pub fn offer(&mut self) {
        self.stall();
        let number = self.next_row;
        self.next_row += 1;
        let row = match &self.send_order {
            Some(order) => usize::try_from(number - 1)
                .ok()
                .and_then(|index| order.get(index).copied()),
            None if number <= self.rows => Some(number),
            None => None,
        };
        self.policy.offer(row.map(|row| Change {
            row,
            line: Some(row),
            user: UserId::new(row).expect("rows are counted from 1"),
            flag: Flag::OptOut,
            in_doubt: false,
            cause: "",
        }));
    }

    pub fn record(&mut self, record: Record) {
        let row = record.row;
        assert!(
            self.trace.records.insert(row, record).is_none(),
            "row {row} has two records"
        );
    }

    pub fn advance(&mut self, timer: Option<Duration>) {
        let timer = timer.map(|until| until + self.lateness);
        let arrival = self.arrivals.first_key_value().map(|((time, _), _)| *time);
        let next = [timer, arrival, self.interrupt_at]
            .into_iter()
            .flatten()
            .min()
            .expect("something will happen");
        self.now = next.max(self.now);
        if self.interrupt_at.take_if(|at| *at <= next).is_some() {
            self.policy.interrupt(self.now, Signal::Interrupt);
            return;
        }
        if arrival == Some(next) {
            match self
                .arrivals
                .pop_first()
                .expect("the first arrival was just looked at")
                .1
            {
                Arrival::SendResult(attempt, answer) => {
                    if let Some(record) = self.policy.answered(self.now, attempt, answer) {
                        self.record(record);
                    }
                }
                Arrival::LoginResult(answer) => self.policy.logged_in(self.now, answer),
            }
        }
        let out = matches!(self.policy.condition(self.now), Condition::Outage { .. });
        self.trace.outages += u32::from(out && !self.in_outage);
        self.in_outage = out;
    }
}

/// Answers by chance: shares of a hundred that are throttled, in trouble, or reset; the rest is
/// well.
pub struct Chance {
    pub random: fastrand::Rng,
    pub throttled: f64,
    pub trouble: f64,
    pub reset: f64,
    pub latency: Duration,
}

impl Server for Chance {
    fn put(&mut self, _now: Duration, _change: Change) -> (SendResult, Duration) {
        let draw = self.random.f64() * 100.0;
        let latency = self.latency.mul_f64(0.5 + self.random.f64());
        let answer = if draw < self.throttled {
            throttled(ms(200))
        } else if draw < self.throttled + self.trouble {
            status(
                *self
                    .random
                    .choice([408_u16, 425, 500, 502, 503, 504].iter())
                    .expect("the list is not empty"),
            )
        } else if draw < self.throttled + self.trouble + self.reset {
            reset()
        } else {
            status(204)
        };
        (answer, latency)
    }
}
