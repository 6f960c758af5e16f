//! The policy against limiters that it knows nothing of, in virtual time: what the table of
//! `--rate auto` promises.
//!
//! Requests and answers take their time on the way, timers are late, and every request is one
//! change of an endless table.

#![allow(dead_code, reason = "the tests and the bench each use a part of it")]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::fmt;
use std::time::Duration;

use mfa_optout::testing::domain::{
    Change, Flag, PaceFound, Rate, Reply, SendResult, Threshold, UserId,
};
use mfa_optout::testing::policy::{Attempt, Next, Policy, Rules};

/// How a server limits requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A token bucket that takes this many requests at once besides the one that it always takes.
    Bucket(u32),
    /// As many requests at once as are served in 0.2 s; each is served in that time.
    Concurrency,
    /// So many requests in any span of this many seconds.
    Sliding(u32),
    /// So many requests in each window of this many seconds.
    Fixed(u32),
}

/// Every kind of the table.
pub const KINDS: [Kind; 8] = [
    Kind::Bucket(0),
    Kind::Bucket(5),
    Kind::Bucket(50),
    Kind::Concurrency,
    Kind::Sliding(10),
    Kind::Fixed(1),
    Kind::Fixed(10),
    Kind::Fixed(60),
];
/// The limits of the table, requests a second.
pub const LIMITS: [u32; 5] = [2, 20, 60, 150, 400];
/// The round trips of the table, in milliseconds.
pub const ROUND_TRIPS: [u32; 3] = [0, 50, 300];

/// How the server refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 429 without a word about when to come back.
    TooMany,
    /// 429 and `Retry-After: 1`.
    TooManyWithHint,
    /// 503 without a word about when to come back.
    Unavailable,
    /// 403 and `Retry-After: 1`.
    ForbiddenWithHint,
}

/// What goes wrong besides the limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Disturbance {
    None,
    /// The server refuses everything for half a minute from this second on.
    Gap {
        from: f64,
    },
    /// The server refuses this share of the requests by chance.
    Faults {
        share: f64,
    },
    /// Until this second, this share of the requests arrives up to 60 ms late.
    Stalls {
        share: f64,
        until: f64,
    },
}

/// Length of a gap, in seconds.
const GAP: f64 = 30.0;

/// A cell of the table.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    pub kind: Kind,
    /// Requests a second.
    pub limit: u32,
    /// Milliseconds.
    pub round_trip: u32,
    pub refusal: Refusal,
}

/// What a cell has to reach.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Accepted requests, as a share of the limit, at least.
    pub share: f64,
    /// Refused requests, as a share of all, at most.
    pub refused: f64,
    /// The second from which requests are counted.
    pub from: usize,
}

/// Requests in each second of a run, as the server counts them.
#[derive(Clone, Debug)]
pub struct Counts {
    pub accepted: Vec<u32>,
    pub refused: Vec<u32>,
}

/// Length of a run of the table, in seconds.
pub const SECONDS: usize = 300;

impl Kind {
    /// Returns how many requests a second the server serves in the long run.
    pub fn capacity(self, limit: u32) -> f64 {
        match self {
            Self::Concurrency => f64::from(slots(limit)) / SERVICE,
            _ => f64::from(limit),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bucket(burst) => write!(f, "burst {burst}"),
            Self::Concurrency => f.write_str("concurrency"),
            Self::Sliding(seconds) => write!(f, "sliding {seconds} s"),
            Self::Fixed(seconds) => write!(f, "fixed {seconds} s"),
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            limit,
            round_trip,
            refusal,
        } = self;
        write!(f, "{kind}, {limit}/s, {round_trip} ms, {refusal:?}")
    }
}

/// Seconds in which a server with a limit of concurrency serves a request.
const SERVICE: f64 = 0.2;

fn slots(limit: u32) -> u32 {
    (limit / 5).max(1)
}

/// Best share of the limit with less than 1 % refused, for an even sender that knows the limit; by
/// limit and round trip.
type Frontier = [[f64; 3]; 5];
const BURST_0: Frontier = [
    [0.997, 0.966, 0.858],
    [0.971, 0.786, 0.388],
    [0.929, 0.552, 0.173],
    [0.850, 0.334, 0.078],
    [0.690, 0.158, 0.032],
];
const BURST_5: Frontier = [
    [1.0, 1.0, 1.0],
    [1.0, 1.0, 1.0],
    [1.0, 1.0, 0.998],
    [0.999, 0.997, 0.932],
    [0.976, 0.956, 0.800],
];
const CONCURRENCY: Frontier = [
    [0.988, 0.929, 0.714],
    [0.977, 0.928, 0.721],
    [0.967, 0.924, 0.783],
    [0.960, 0.925, 0.847],
    [0.941, 0.923, 0.890],
];

impl Cell {
    /// Returns what the cell has to reach.
    pub fn wanted(&self) -> Wanted {
        let has_hint = matches!(
            self.refusal,
            Refusal::TooManyWithHint | Refusal::ForbiddenWithHint
        );
        let is_far = self.round_trip >= 300;
        let of_frontier = if has_hint { 0.85 } else { 0.95 };
        let (share, refused, from) = match self.kind {
            Kind::Bucket(0) => (of_frontier * self.frontier(&BURST_0), 0.012, 120),
            Kind::Concurrency => (of_frontier * self.frontier(&CONCURRENCY), 0.012, 120),
            Kind::Bucket(5) if is_far && self.limit >= 150 => {
                (0.95 * self.frontier(&BURST_5), 0.01, 30)
            }
            Kind::Bucket(5) => (0.90, 0.01, 30),
            Kind::Fixed(1) if is_far || has_hint => (0.80, 0.01, 30),
            Kind::Bucket(_) | Kind::Sliding(_) | Kind::Fixed(1) => (0.95, 0.01, 30),
            Kind::Fixed(60) if self.limit == 2 => (0.85, 0.05, 120),
            Kind::Fixed(60) => (0.85, 0.02, 120),
            Kind::Fixed(_) => (0.90, 0.02, 30),
        };
        Wanted {
            share,
            refused,
            from,
        }
    }

    fn frontier(&self, table: &Frontier) -> f64 {
        let limit = LIMITS.iter().position(|limit| *limit == self.limit);
        let round_trip = ROUND_TRIPS.iter().position(|time| *time == self.round_trip);
        match (limit, round_trip) {
            (Some(limit), Some(round_trip)) => table[limit][round_trip],
            _ => panic!("{self} is not in the table"),
        }
    }

    /// Runs `--rate auto:500` against this limiter; a seed gives the same run each time.
    pub fn run(self, seed: u64) -> Counts {
        Run::new(self, Rate::Auto { ceiling: 500 }, seed).run()
    }

    /// Runs at this rate against this limiter.
    pub fn run_fixed(self, rate: Rate, seed: u64) -> Counts {
        Run::new(self, rate, seed).run()
    }

    /// Runs at this rate against this limiter, and returns what was found out about the pace.
    pub fn found(self, rate: Rate, seed: u64) -> PaceFound {
        let mut run = Run::new(self, rate, seed);
        run.play();
        run.policy.pace_found()
    }

    /// Runs at this rate against this limiter while something else goes wrong.
    pub fn run_with(self, rate: Rate, disturbance: Disturbance, seed: u64) -> Counts {
        let mut run = Run::new(self, rate, seed);
        run.disturbance = disturbance;
        run.run()
    }
}

impl Counts {
    /// Returns the share of the capacity that was accepted, and the share of all requests that was
    /// refused.
    pub fn shares(&self, cell: Cell) -> (f64, f64) {
        let from = cell.wanted().from;
        let sum = |counts: &[u32]| {
            counts[from..SECONDS]
                .iter()
                .map(|n| f64::from(*n))
                .sum::<f64>()
        };
        let accepted: f64 = sum(&self.accepted);
        let refused: f64 = sum(&self.refused);
        #[expect(clippy::cast_precision_loss, reason = "a few hundred seconds")]
        let seconds = (SECONDS - from) as f64;
        let capacity = cell.kind.capacity(cell.limit);
        (
            accepted / seconds / capacity,
            refused / (accepted + refused).max(1.0),
        )
    }

    /// Returns the mean number of accepted requests a second between two seconds.
    pub fn mean(&self, from: usize, to: usize) -> f64 {
        let sum: f64 = self.accepted[from..to].iter().map(|n| f64::from(*n)).sum();
        #[expect(clippy::cast_precision_loss, reason = "a few hundred seconds")]
        let seconds = (to - from) as f64;
        sum / seconds
    }
}

/// The state of a limiter.
struct Limiter {
    kind: Kind,
    limit: f64,
    slots: usize,
    tokens: f64,
    last: f64,
    /// When slots become free, or requests leave the window.
    times: VecDeque<f64>,
    window: f64,
    count: f64,
    /// Where the first window begins.
    phase: f64,
}

impl Limiter {
    fn new(cell: Cell, random: &mut fastrand::Rng) -> Self {
        let Cell { kind, limit, .. } = cell;
        let phase = match kind {
            Kind::Fixed(seconds) => random.f64() * f64::from(seconds),
            _ => 0.0,
        };
        let tokens = match kind {
            Kind::Bucket(burst) => f64::from(burst) + 1.0,
            _ => 0.0,
        };
        Self {
            kind,
            limit: f64::from(limit),
            slots: slots(limit) as usize,
            tokens,
            last: 0.0,
            times: VecDeque::new(),
            window: -1.0,
            count: 0.0,
            phase,
        }
    }

    fn accepts(&mut self, now: f64) -> bool {
        match self.kind {
            Kind::Bucket(burst) => self.takes_token(now, f64::from(burst) + 1.0),
            Kind::Concurrency => {
                self.forget(now);
                let has_room = self.times.len() < self.slots;
                self.remember(has_room, now + SERVICE)
            }
            Kind::Sliding(seconds) => {
                self.forget(now);
                let most = self.limit * f64::from(seconds);
                #[expect(clippy::cast_precision_loss, reason = "some thousands")]
                let has_room = (self.times.len() as f64) < most;
                self.remember(has_room, now + f64::from(seconds))
            }
            Kind::Fixed(seconds) => {
                let window = ((now + self.phase) / f64::from(seconds)).floor();
                if window > self.window {
                    self.window = window;
                    self.count = 0.0;
                }
                let has_room = self.count < self.limit * f64::from(seconds);
                self.count += f64::from(u8::from(has_room));
                has_room
            }
        }
    }

    fn takes_token(&mut self, now: f64, most: f64) -> bool {
        self.tokens = (self.tokens + (now - self.last) * self.limit).min(most);
        self.last = now;
        let is_there = self.tokens >= 1.0 - 1e-9;
        self.tokens -= f64::from(u8::from(is_there));
        is_there
    }

    fn forget(&mut self, now: f64) {
        while self.times.front().is_some_and(|time| *time <= now) {
            self.times.pop_front();
        }
    }

    fn remember(&mut self, has_room: bool, until: f64) -> bool {
        if has_room {
            self.times.push_back(until);
        }
        has_room
    }
}

/// What is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Arrival {
    AtServer,
    SendResult { is_accepted: bool },
}

struct Run {
    cell: Cell,
    random: fastrand::Rng,
    limiter: Limiter,
    policy: Policy,
    now: Duration,
    arrivals: BinaryHeap<Reverse<(Duration, u64, Arrival)>>,
    attempts: HashMap<u64, Attempt>,
    sent: u64,
    offered: u64,
    disturbance: Disturbance,
    counts: Counts,
}

impl Run {
    fn new(cell: Cell, rate: Rate, seed: u64) -> Self {
        let most = if rate == Rate::Unlimited { 8 } else { 100_000 };
        let mut random = fastrand::Rng::with_seed(seed);
        let rules = Rules {
            rate,
            concurrency: Some(most),
            max_attempts: 100,
            max_wait: Duration::from_mins(10),
            outage_patience: Duration::from_mins(10),
            max_failures: Threshold::Percent(100.0),
            max_duration: Some(Duration::from_secs(SECONDS as u64)),
            confirmed_before: false,
            max_in_flight: usize::MAX,
            session: false,
            seed,
        };
        let none = vec![0; SECONDS + 60];
        Self {
            cell,
            limiter: Limiter::new(cell, &mut random),
            random,
            policy: Policy::new(rules),
            now: Duration::ZERO,
            arrivals: BinaryHeap::new(),
            attempts: HashMap::new(),
            sent: 0,
            offered: 0,
            disturbance: Disturbance::None,
            counts: Counts {
                accepted: none.clone(),
                refused: none,
            },
        }
    }

    fn run(mut self) -> Counts {
        self.play();
        self.counts
    }

    fn play(&mut self) {
        let mut awaited = None;
        let mut lateness = self.lateness();
        loop {
            self.policy.mark_flushed(self.now);
            let until = match self.policy.next(self.now) {
                Next::Send(attempt) => {
                    self.send(attempt);
                    continue;
                }
                Next::TakeRow => {
                    self.offer();
                    continue;
                }
                Next::Settle(_) | Next::Defer(_) => continue,
                Next::WaitUntil(until, _) => Some(until),
                Next::AwaitAnswer => None,
                Next::End(_) => return,
                Next::LogIn => panic!("there is no session"),
            };
            if until.is_some() && until != awaited {
                awaited = until;
                lateness = self.lateness();
            }
            self.advance(until.map(|until| until + lateness));
        }
    }

    /// Returns how late the next turn is: up to 2 ms, and once in a hundred up to 20 ms.
    fn lateness(&mut self) -> Duration {
        let most = if self.random.u32(..100) == 0 {
            0.02
        } else {
            0.002
        };
        Duration::from_secs_f64(most * self.random.f64())
    }

    fn one_way(&mut self) -> Duration {
        let mean = f64::from(self.cell.round_trip) / 2_000.0;
        Duration::from_secs_f64(mean * (0.7 + 0.6 * self.random.f64()))
    }

    fn offer(&mut self) {
        self.offered += 1;
        let row = self.offered;
        let user = UserId::new(row).expect("rows are counted from 1");
        self.policy.offer(Some(Change {
            row,
            line: Some(row + 1),
            user,
            flag: Flag::OptOut,
            in_doubt: false,
            cause: "",
        }));
    }

    fn send(&mut self, attempt: Attempt) {
        self.sent += 1;
        self.attempts.insert(self.sent, attempt);
        let mut at = self.now + self.one_way();
        if let Disturbance::Stalls { share, until } = self.disturbance
            && self.now.as_secs_f64() < until
            && self.random.f64() < share
        {
            at += Duration::from_secs_f64(0.01 + 0.05 * self.random.f64());
        }
        self.arrivals
            .push(Reverse((at, self.sent, Arrival::AtServer)));
    }

    fn advance(&mut self, timer: Option<Duration>) {
        let arrival = self.arrivals.peek().map(|Reverse((at, ..))| *at);
        let next = timer.into_iter().chain(arrival).min();
        self.now = next.expect("something will happen").max(self.now);
        if arrival != next {
            return;
        }
        let Some(Reverse((_, number, arrival))) = self.arrivals.pop() else {
            return;
        };
        match arrival {
            Arrival::AtServer => self.serve(number),
            Arrival::SendResult { is_accepted } => self.answer(number, is_accepted),
        }
    }

    fn serve(&mut self, number: u64) {
        let now = self.now.as_secs_f64();
        let is_disturbed = match self.disturbance {
            Disturbance::Gap { from } => (from..from + GAP).contains(&now),
            Disturbance::Faults { share } => self.random.f64() < share,
            Disturbance::Stalls { .. } | Disturbance::None => false,
        };
        let is_accepted = !is_disturbed && self.limiter.accepts(now);
        let counts = if is_accepted {
            &mut self.counts.accepted
        } else {
            &mut self.counts.refused
        };
        counts[usize::try_from(self.now.as_secs()).expect("a few hundred seconds")] += 1;
        let mut at = self.now + self.one_way();
        if self.cell.kind == Kind::Concurrency && is_accepted {
            at += Duration::from_secs_f64(SERVICE);
        }
        self.arrivals
            .push(Reverse((at, number, Arrival::SendResult { is_accepted })));
    }

    fn answer(&mut self, number: u64, is_accepted: bool) {
        let attempt = self.attempts.remove(&number).expect("it was sent");
        let second = Some(Duration::from_secs(1));
        let (status, retry_after) = match (is_accepted, self.cell.refusal) {
            (true, _) => (204, None),
            (false, Refusal::TooMany) => (429, None),
            (false, Refusal::TooManyWithHint) => (429, second),
            (false, Refusal::Unavailable) => (503, None),
            (false, Refusal::ForbiddenWithHint) => (403, second),
        };
        let reply = Reply {
            status,
            retry_after,
            ..Reply::default()
        };
        let record = self
            .policy
            .answered(self.now, attempt, SendResult::Reply(reply));
        drop(record);
    }
}
