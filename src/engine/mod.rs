//! Carries the policy out: asks it what to do next, does that one thing, tells it what happened, has the record written,
//! and only then tells whoever watches. Decides nothing and formats nothing; the only room besides `commands` with a clock.

mod alarm;

use std::collections::BTreeMap;
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{FutureExt, Stream, StreamExt};
use jiff::Timestamp;
use roaring::RoaringTreemap;
use tokio::time::Instant;

pub use self::alarm::Alarm;
use crate::api::Org;
use crate::domain::{
    Condition, Ending, Event, LoginResult, PaceFound, Record, RowNumber, SendResult, Signal, Tally,
    Wait,
};
use crate::error::Result;
use crate::journal::{Journal, Note, Storage, Traffic};
use crate::plan::{Action, Step};
use crate::policy::{Attempt, Next, Policy};

/// Records are written at the latest when so many have gathered.
const GATHER: usize = 256;
/// So much is done without looking around; then signals and answers get their turn.
const TURNS: u32 = 4096;
/// Whoever watches is told at least so often that time passes.
const TICK: Duration = Duration::from_millis(100);

/// Action a run works with.
pub struct Run<'a, O, C, S> {
    /// Decides.
    pub policy: Policy,
    /// Receives the requests.
    pub org: &'a O,
    /// The rows, in input order, without those that are on record already.
    pub changes: C,
    /// Takes the records.
    pub journal: &'a mut Journal<S>,
    /// Action an interrupted run had put on record.
    pub on_record: Tally,
    /// The rows that an interrupted run may have changed without having recorded it.
    pub in_doubt: RoaringTreemap,
    /// Wakes it.
    pub alarm: Alarm,
}

/// Action is known when the sending is over. Everything that was recorded is on the disk.
#[derive(Clone, Debug)]
pub struct Sent {
    /// How it ended.
    pub ending: Ending,
    /// Action was sent.
    pub traffic: Traffic,
    /// Action was found out about the pace.
    pub pace: PaceFound,
    /// Rows on record by outcome, those of an interrupted run included.
    pub tally: Tally,
    /// Whether a change may have been made that is not on record as applied.
    pub in_doubt: bool,
    /// The rows without an outcome whose change may have been made, in order.
    pub rows_in_doubt: RoaringTreemap,
    /// How long it took.
    pub elapsed: Duration,
}

/// Sends until the policy says that the run is over, or until a second SIGINT or SIGTERM comes.
///
/// `watch` is told of each event with the time since the run began, and without one that time has passed.
///
/// # Errors
/// When the journal fails. The run ends at once then: no outcome of a request in flight could be recorded any more. Action is
/// on record stays. An input that fails is no error here: requests in flight are awaited and recorded as at any other end.
pub async fn run<O: Org, C: Iterator<Item = Result<Step>>, S: Storage>(
    run: Run<'_, O, C, S>,
    stop: impl Stream<Item = Signal> + Unpin,
    watch: impl FnMut(Duration, Option<&Event<'_>>),
) -> Result<Sent> {
    let began_at = wall_clock();
    let engine = Engine {
        began: Instant::now(),
        began_at,
        next_tick: Duration::ZERO,
        turns: 0,
        held: None,
        in_doubt: run.in_doubt,
        told_to_stop: false,
        alarm: run.alarm,
        org: run.org,
        policy: run.policy,
        changes: run.changes,
        books: Books {
            journal: run.journal,
            time_of_day: began_at,
            cells: BTreeMap::new(),
            untold: Vec::new(),
            condition: Condition::Normal,
            held_until: Duration::ZERO,
            waiting: None,
            traffic: Traffic::default(),
            requests: RequestCount::beginning(began_at),
            tally: run.on_record,
            watch,
        },
    };
    engine.run(stop).await
}

struct Engine<'a, O, C, S, W> {
    began: Instant,
    began_at: Timestamp,
    next_tick: Duration,
    /// Action was done since the engine last looked around.
    turns: u32,
    /// A row that may not be sent before a mark that covers it is on disk.
    held: Option<Step>,
    /// The rows in doubt since an interruption that have not been offered to the policy.
    in_doubt: RoaringTreemap,
    /// Whether SIGINT or SIGTERM has come.
    told_to_stop: bool,
    alarm: Alarm,
    org: &'a O,
    policy: Policy,
    changes: C,
    books: Books<'a, S, W>,
}

/// Action the engine has waited for.
enum Arrival {
    Stop(Signal),
    SendResult(Attempt, SendResult),
    LoginResult(LoginResult),
    Time,
}

impl<O: Org, C: Iterator<Item = Result<Step>>, S: Storage, W: FnMut(Duration, Option<&Event<'_>>)>
    Engine<'_, O, C, S, W>
{
    async fn run(mut self, mut stop: impl Stream<Item = Signal> + Unpin) -> Result<Sent> {
        let org = self.org;
        let (mut in_flight, mut answers) = (FuturesUnordered::new(), Vec::new());
        let mut log_in = std::pin::pin!(futures::future::Fuse::terminated());
        let mut now = self.began.elapsed();
        loop {
            let mut awaits_mark = false;
            let until = match self.next(now).await {
                Next::Send(attempt) => {
                    self.books.sent(now, &attempt);
                    in_flight.push(send(org, attempt));
                    continue;
                }
                Next::LogIn => {
                    self.books.logging_in(now);
                    log_in.set(org.log_in().fuse());
                    continue;
                }
                Next::TakeRow => {
                    self.take_row(now)?;
                    now = self.began.elapsed();
                    if self.held.is_none() {
                        continue;
                    }
                    awaits_mark = true;
                    None
                }
                Next::Settle(record) => {
                    self.books.record(now, record)?;
                    now = self.began.elapsed();
                    continue;
                }
                Next::Defer(row) => {
                    self.books.defer(row);
                    continue;
                }
                Next::WaitUntil(until, why) => {
                    self.books.waiting(now, why, until);
                    Some(until)
                }
                Next::AwaitAnswer => None,
                Next::End(ending) => return self.end(ending),
            };
            self.turns = 0;
            self.books.note_past_second(now);
            self.books.write(now)?;
            self.tick(now);
            self.set_alarm(until);
            let arrival = tokio::select! {
                biased;
                Some(signal) = stop.next() => Arrival::Stop(signal),
                answer = &mut log_in => Arrival::LoginResult(answer),
                Some((attempt, answer)) = in_flight.next() => Arrival::SendResult(attempt, answer),
                () = self.alarm.ring() => Arrival::Time,
                () = self.books.journal.sync_is_over(), if awaits_mark => Arrival::Time,
                () = give_way(), if self.policy.awaits_departure() => Arrival::Time,
            };
            // First all that was sent is handed over; then the runtime has its turn, and lets it out.
            collect_ready(&mut in_flight, &mut answers);
            give_way().await;
            collect_ready(&mut in_flight, &mut answers);
            now = self.began.elapsed();
            self.policy.departed(now);
            self.heed_time_of_day();
            let given_up = self.second_signal(&arrival);
            self.arrived(now, arrival)?;
            for (attempt, answer) in answers.drain(..) {
                self.arrived(now, Arrival::SendResult(attempt, answer))?;
            }
            if let Some(signal) = given_up {
                return self.end(Ending::Interrupted(signal));
            }
            self.books.commit(now)?;
            now = self.began.elapsed();
        }
    }

    /// Asks the policy what to do, or has the runtime take its turn after very many steps without one.
    async fn next(&mut self, now: Duration) -> Next {
        self.turns += 1;
        if self.turns > TURNS {
            look_around(now).await
        } else {
            self.policy.next(now)
        }
    }

    /// Tells whoever watches that time has passed, if it is time to.
    fn tick(&mut self, now: Duration) {
        if now >= self.next_tick {
            self.next_tick = now + TICK;
            (self.books.watch)(now, None);
        }
    }

    /// Returns the signal that ends the run at once: the second SIGINT or SIGTERM. A terminal that goes away often says so
    /// twice, and is in no hurry.
    fn second_signal(&mut self, arrival: &Arrival) -> Option<Signal> {
        match arrival {
            Arrival::Stop(signal @ (Signal::Interrupt | Signal::Terminate)) => {
                let is_second = std::mem::replace(&mut self.told_to_stop, true);
                Some(*signal).filter(|_| is_second)
            }
            Arrival::Stop(Signal::HangUp)
            | Arrival::SendResult(..)
            | Arrival::LoginResult(_)
            | Arrival::Time => None,
        }
    }

    fn heed_time_of_day(&mut self) {
        self.books.time_of_day = wall_clock();
        self.books
            .requests
            .set_clock(self.began.elapsed(), self.books.time_of_day);
        let passed = self.began_at.duration_until(self.books.time_of_day);
        self.policy
            .heed_time_of_day(Duration::try_from(passed).unwrap_or_default());
    }

    /// Offers the next row to the policy, or holds it if it may not be sent yet.
    fn take_row(&mut self, now: Duration) -> Result<()> {
        let step = match self.held.take() {
            Some(held) => Some(Ok(held)),
            None => self.changes.next(),
        };
        match step {
            None => self.policy.offer(None),
            Some(Err(error)) => self.policy.input_failed(now, error.message().to_owned()),
            Some(Ok(Step {
                cells,
                action: Action::Send(mut change),
            })) => {
                if self.books.may_send(now, change.row)? {
                    change.in_doubt = self.in_doubt.remove(change.row);
                    self.books.cells.insert(change.row, cells);
                    self.policy.offer(Some(change));
                } else {
                    let action = Action::Send(change);
                    self.held = Some(Step { cells, action });
                }
            }
            Some(Ok(Step {
                cells,
                action: Action::Settled(record),
            })) => {
                self.books.cells.insert(record.row, cells);
                self.books.record(now, record)?;
            }
            Some(Ok(Step {
                action: Action::Skipped,
                ..
            })) => self.turns = TURNS,
        }
        Ok(())
    }

    fn arrived(&mut self, now: Duration, arrival: Arrival) -> Result<()> {
        match arrival {
            Arrival::Stop(signal) => self.policy.interrupt(now, signal),
            Arrival::SendResult(attempt, answer) => {
                let (change, latency) = (attempt.change(), now.saturating_sub(attempt.sent_at()));
                self.books.tell(
                    now,
                    &Event::Answered {
                        change,
                        answer: &answer,
                        latency,
                    },
                );
                if let Some(record) = self.policy.answered(now, attempt, answer) {
                    self.books.record(now, record)?;
                }
            }
            Arrival::LoginResult(answer) => {
                self.books.logged_in(&answer);
                self.policy.logged_in(now, answer);
            }
            Arrival::Time => {}
        }
        self.books.condition(now, self.policy.condition(now));
        Ok(())
    }

    /// Wakes for the policy, for a sync that is due, and for the next tick.
    fn set_alarm(&mut self, until: Option<Duration>) {
        let wake_ups = [until, self.books.journal.sync_due()].into_iter().flatten();
        let deadline = wake_ups.fold(self.next_tick, Duration::min);
        self.alarm.set(self.began + deadline);
    }

    fn end(mut self, ending: Ending) -> Result<Sent> {
        let now = self.began.elapsed();
        self.books.close(now)?;
        self.books.tell(now, &Event::Ended(&ending));
        let pace = self.policy.pace_found();
        self.books.traffic.rate_per_second = pace.rate;
        let Books {
            mut traffic,
            tally,
            held_until,
            ..
        } = self.books;
        // A pause that the run did not live to see did not hold it back.
        traffic.throttled_ms = traffic
            .throttled_ms
            .saturating_sub(millis(held_until.saturating_sub(now)));
        let mut rows_in_doubt = self.in_doubt;
        rows_in_doubt.extend(self.policy.rows_in_doubt());
        Ok(Sent {
            ending,
            traffic,
            pace,
            tally,
            in_doubt: self.policy.leaves_doubt() || !rows_in_doubt.is_empty(),
            rows_in_doubt,
            elapsed: now,
        })
    }
}

async fn look_around(now: Duration) -> Next {
    give_way().await;
    Next::WaitUntil(now, Wait::Pace)
}

/// Lets the runtime take in what has come from outside, and let out what waits to go there. Answers that came together are
/// then written together.
async fn give_way() {
    tokio::task::yield_now().await;
}

/// Takes what is there, and begins with what was not begun yet.
fn collect_ready<T>(stream: &mut (impl Stream<Item = T> + Unpin), into: &mut Vec<T>) {
    while let Some(Some(item)) = stream.next().now_or_never() {
        into.push(item);
    }
}

async fn send<O: Org>(org: &O, attempt: Attempt) -> (Attempt, SendResult) {
    let change = attempt.change();
    let answer = org.set(change.user, change.flag).await;
    (attempt, answer)
}

/// Difference between two clocks that is taken for a clock that was set.
const CLOCK_TOLERANCE_MS: u64 = 250;

/// Counts requests by the second of the wall clock in which they are sent.
struct RequestCount {
    /// The wall clock when the run's own clock was at zero, in milliseconds since the Unix epoch, by
    /// the last comparison of the two.
    began_ms: i64,
    second: i64,
    count: u64,
}

impl RequestCount {
    fn beginning(at: Timestamp) -> Self {
        Self {
            began_ms: at.as_millisecond(),
            second: 0,
            count: 0,
        }
    }

    /// Takes over a wall clock that was set, or a run's own clock that stood still while the machine slept. Two clocks are
    /// never read at quite the same time, so a small difference is none.
    fn set_clock(&mut self, now: Duration, wall_clock: Timestamp) {
        let passed = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        let began_ms = wall_clock.as_millisecond().saturating_sub(passed);
        if began_ms.abs_diff(self.began_ms) > CLOCK_TOLERANCE_MS {
            self.began_ms = began_ms;
        }
    }

    /// Goes to the second that `now` is in, and returns what was counted in another one before.
    fn go_to(&mut self, now: Duration) -> Option<Note> {
        let passed = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        let second = self.began_ms.saturating_add(passed).div_euclid(1000);
        if second == self.second {
            return None;
        }
        let counted = self.take();
        self.second = second;
        counted
    }

    fn take(&mut self) -> Option<Note> {
        match std::mem::take(&mut self.count) {
            0 => None,
            count => Some(Note::Requests {
                second: self.second,
                count,
            }),
        }
    }
}

/// Action is written, and then told.
struct Books<'a, S, W> {
    journal: &'a mut Journal<S>,
    /// When it last was looked at: before each batch of answers.
    time_of_day: Timestamp,
    /// The cells of the rows that have no outcome yet.
    cells: BTreeMap<RowNumber, Vec<u8>>,
    /// Records that nobody may be told of before they are written.
    untold: Vec<Record>,
    condition: Condition,
    held_until: Duration,
    waiting: Option<(Wait, Duration)>,
    traffic: Traffic,
    requests: RequestCount,
    tally: Tally,
    watch: W,
}

impl<S: Storage, W: FnMut(Duration, Option<&Event<'_>>)> Books<'_, S, W> {
    fn tell(&mut self, now: Duration, event: &Event<'_>) {
        (self.watch)(now, Some(event));
    }

    fn sent(&mut self, now: Duration, attempt: &Attempt) {
        self.count_request(now);
        self.traffic.retries += u64::from(attempt.number() != 1);
        self.waiting = None;
        self.tell(
            now,
            &Event::Sent {
                change: attempt.change(),
                attempt: attempt.number(),
            },
        );
    }

    fn may_send(&mut self, now: Duration, row: RowNumber) -> Result<bool> {
        self.journal.may_send(row, now, self.time_of_day)
    }

    fn logging_in(&mut self, now: Duration) {
        self.count_request(now);
        self.traffic.log_ins += 1;
    }

    fn count_request(&mut self, now: Duration) {
        self.traffic.requests += 1;
        self.note_past_second(now);
        self.requests.count += 1;
    }

    /// Notes what was sent in a second that is over.
    fn note_past_second(&mut self, now: Duration) {
        if let Some(note) = self.requests.go_to(now) {
            self.journal.note(note, self.time_of_day);
        }
    }

    fn logged_in(&mut self, answer: &LoginResult) {
        if matches!(answer, LoginResult::Token { .. }) {
            self.journal.note(Note::LoggedIn, self.time_of_day);
        }
    }

    fn defer(&mut self, row: RowNumber) {
        self.journal.note(Note::Deferred { row }, self.time_of_day);
    }

    fn record(&mut self, now: Duration, record: Record) -> Result<()> {
        let cells = self.cells.remove(&record.row).unwrap_or_default();
        self.journal.append(&record, &cells, self.time_of_day);
        self.tally.add(record.outcome);
        self.untold.push(record);
        if self.untold.len() >= GATHER {
            self.write(now)
        } else {
            Ok(())
        }
    }

    /// Writes what was recorded, and tells of it.
    fn write(&mut self, now: Duration) -> Result<()> {
        self.journal.write(now)?;
        self.tell_of_records(now);
        Ok(())
    }

    /// The same, and begins a sync that is due.
    fn commit(&mut self, now: Duration) -> Result<()> {
        self.journal.commit(now)?;
        self.tell_of_records(now);
        Ok(())
    }

    /// The same, and returns when all of it is on the disk.
    fn close(&mut self, now: Duration) -> Result<()> {
        if let Some(note) = self.requests.take() {
            self.journal.note(note, self.time_of_day);
        }
        self.journal.sync()?;
        self.tell_of_records(now);
        Ok(())
    }

    fn tell_of_records(&mut self, now: Duration) {
        for record in std::mem::take(&mut self.untold) {
            self.tell(now, &Event::Recorded(&record));
        }
    }

    fn waiting(&mut self, now: Duration, why: Wait, until: Duration) {
        let worth_telling = !matches!(why, Wait::Pace | Wait::SendResult);
        if worth_telling && self.waiting != Some((why, until)) {
            self.waiting = Some((why, until));
            self.tell(now, &Event::Waiting { why, until });
        }
    }

    /// Notes what began to hold the run back, or no longer does.
    fn condition(&mut self, now: Duration, condition: Condition) {
        let before = std::mem::replace(&mut self.condition, condition);
        if before == condition {
            return;
        }
        if let (Condition::Outage { since }, false) =
            (before, matches!(condition, Condition::Outage { .. }))
        {
            let lasted = now.saturating_sub(since);
            self.journal.note(
                Note::OutageOver {
                    lasted_ms: millis(lasted),
                },
                self.time_of_day,
            );
            self.tell(now, &Event::OutageOver { lasted });
        }
        match condition {
            Condition::Throttled { until } => {
                self.traffic.throttled_ms += millis(until.saturating_sub(self.held_until.max(now)));
                self.held_until = until;
                self.journal.note(
                    Note::Throttled {
                        for_ms: millis(until.saturating_sub(now)),
                    },
                    self.time_of_day,
                );
                self.tell(
                    now,
                    &Event::Waiting {
                        why: Wait::Throttled,
                        until,
                    },
                );
            }
            Condition::Outage { .. } if !matches!(before, Condition::Outage { .. }) => {
                self.journal.note(Note::OutageBegan, self.time_of_day);
                self.tell(now, &Event::OutageBegan);
            }
            Condition::Outage { .. } | Condition::Normal => {}
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the time of day at which a record is written, for the report"
)]
fn wall_clock() -> Timestamp {
    Timestamp::now()
}
