//! Carries out what the policy decides. [`run`] asks it what to do next, does that one thing,
//! passes on the result, writes the record to the journal, and only then emits events. It decides
//! nothing and formats nothing.
//!
//! # Why this is fast
//!
//! - Answers that arrive together are collected before the runtime runs again, written to the
//!   journal in one call, and followed by their events. A batch has at most [`BATCH_SIZE`] records.
//! - [`Alarm`] is the only timer of the loop. On Linux it is finer than the timer of the runtime,
//!   so that several requests can be sent within a millisecond at their own times.
//! - Up to [`MAX_STEPS_BEFORE_YIELD`] steps run without yielding to the runtime, so that rows that
//!   are not sent cost nothing but their record.
//! - After requests were started, the loop yields once so that they leave the machine, and the
//!   policy counts their second from then on ([`Policy::mark_flushed`]).

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

/// Number of records that are written in one call at most.
const BATCH_SIZE: usize = 256;
/// Number of steps after which signals and answers are handled.
const MAX_STEPS_BEFORE_YIELD: u32 = 4096;
/// Longest time between two calls of the watcher.
const TICK_INTERVAL: Duration = Duration::from_millis(100);

/// The signals that end a run.
pub type Signals<'a> = dyn Stream<Item = Signal> + Unpin + 'a;
/// Receives the events of a run, and is called without one as time passes.
pub type Watch<'a> = dyn FnMut(Duration, Option<&Event<'_>>) + 'a;

/// Everything that a run needs.
pub struct Run<'a, O, S> {
    /// Decides what to do.
    pub policy: Policy,
    /// Receives the requests.
    pub org: &'a O,
    /// The rows in the order in which they are sent, without those that are already recorded.
    pub changes: &'a mut dyn Iterator<Item = Result<Step>>,
    /// Receives the records.
    pub journal: &'a mut Journal<S>,
    /// Number of rows by outcome that an interrupted run had recorded.
    pub on_record: Tally,
    /// The rows that an interrupted run may have changed without having recorded it.
    pub in_doubt: RoaringTreemap,
    /// Wakes the run at a given time.
    pub alarm: Alarm,
}

/// The result of a run. All records are on disk.
#[derive(Clone, Debug)]
pub struct Sent {
    /// How the run ended.
    pub ending: Ending,
    /// Number of requests, retries and log-ins.
    pub traffic: Traffic,
    /// What was found out about the rate.
    pub pace: PaceFound,
    /// Number of recorded rows by outcome, including those of an interrupted run.
    pub tally: Tally,
    /// Whether a change may have been made that is not recorded as applied.
    pub in_doubt: bool,
    /// The rows without an outcome whose change may have been made, in order.
    pub rows_in_doubt: RoaringTreemap,
    /// Length of the run.
    pub elapsed: Duration,
}

/// Sends until the policy ends the run, or until a second SIGINT or SIGTERM.
///
/// `watch` is called for each event with the time since the run began, and without an event at
/// regular intervals.
///
/// # Errors
/// Returns an error if the journal fails. The run ends at once then, because no further outcome
/// could be recorded. An input that fails is no error here: requests in flight are awaited and
/// recorded as at any other end.
pub async fn run<O: Org, S: Storage>(
    run: Run<'_, O, S>,
    signals: &mut Signals<'_>,
    watch: &mut Watch<'_>,
) -> Result<Sent> {
    let began_at = wall_clock();
    let engine = Engine {
        began: Instant::now(),
        began_at,
        next_tick: Duration::ZERO,
        steps_since_yield: 0,
        held: None,
        in_doubt: run.in_doubt,
        was_signalled: false,
        alarm: run.alarm,
        org: run.org,
        policy: run.policy,
        changes: run.changes,
        recorder: Recorder {
            journal: run.journal,
            time_of_day: began_at,
            cells: BTreeMap::new(),
            pending_events: Vec::new(),
            condition: Condition::Normal,
            held_until: Duration::ZERO,
            waiting: None,
            traffic: Traffic::default(),
            requests: RequestCount::beginning(began_at),
            tally: run.on_record,
            watch,
        },
    };
    engine.run(signals).await
}

struct Engine<'a, O, S> {
    began: Instant,
    began_at: Timestamp,
    next_tick: Duration,
    /// Number of steps since the engine last yielded to the runtime.
    steps_since_yield: u32,
    /// A row that waits until a mark that covers it is on disk.
    held: Option<Step>,
    /// The rows in doubt from an interrupted run that have not been offered to the policy.
    in_doubt: RoaringTreemap,
    /// Whether SIGINT or SIGTERM was received.
    was_signalled: bool,
    alarm: Alarm,
    org: &'a O,
    policy: Policy,
    changes: &'a mut dyn Iterator<Item = Result<Step>>,
    recorder: Recorder<'a, S>,
}

/// The reason why a wait ended.
enum Wakeup {
    Stop(Signal),
    SendResult(Attempt, SendResult),
    LoginResult(LoginResult),
    Time,
}

impl<O: Org, S: Storage> Engine<'_, O, S> {
    async fn run(mut self, signals: &mut Signals<'_>) -> Result<Sent> {
        let org = self.org;
        let mut in_flight = FuturesUnordered::new();
        let mut answers = Vec::new();
        let mut log_in = std::pin::pin!(futures::future::Fuse::terminated());
        let mut now = self.began.elapsed();
        loop {
            let mut awaits_mark = false;
            let until = match self.next(now).await {
                Next::Send(attempt) => {
                    self.recorder.sent(now, &attempt);
                    in_flight.push(send(org, attempt));
                    continue;
                }
                Next::LogIn => {
                    self.recorder.logging_in(now);
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
                    self.recorder.record(now, record)?;
                    now = self.began.elapsed();
                    continue;
                }
                Next::Defer(row) => {
                    self.recorder.defer(row);
                    continue;
                }
                Next::WaitUntil(until, why) => {
                    self.recorder.waiting(now, why, until);
                    Some(until)
                }
                Next::AwaitAnswer => None,
                Next::End(ending) => return self.end(ending),
            };
            self.steps_since_yield = 0;
            self.recorder.note_past_second(now);
            self.recorder.write(now)?;
            self.tick(now);
            self.set_alarm(until);
            let wakeup = tokio::select! {
                biased;
                Some(signal) = signals.next() => Wakeup::Stop(signal),
                answer = &mut log_in => Wakeup::LoginResult(answer),
                Some((attempt, answer)) = in_flight.next() => Wakeup::SendResult(attempt, answer),
                () = self.alarm.ring() => Wakeup::Time,
                () = self.recorder.journal.sync_is_over(), if awaits_mark => Wakeup::Time,
                () = yield_to_runtime(), if self.policy.has_unflushed() => Wakeup::Time,
            };
            // New requests are handed to the connections first; then the runtime sends them.
            collect_ready(&mut in_flight, &mut answers);
            yield_to_runtime().await;
            collect_ready(&mut in_flight, &mut answers);
            now = self.began.elapsed();
            self.policy.mark_flushed(now);
            self.set_wall_clock();
            let given_up = self.second_signal(&wakeup);
            self.handle(now, wakeup)?;
            for (attempt, answer) in answers.drain(..) {
                self.handle(now, Wakeup::SendResult(attempt, answer))?;
            }
            if let Some(signal) = given_up {
                return self.end(Ending::Interrupted(signal));
            }
            self.recorder.commit(now)?;
            now = self.began.elapsed();
        }
    }

    /// Returns what to do, or yields to the runtime after very many steps.
    async fn next(&mut self, now: Duration) -> Next {
        self.steps_since_yield += 1;
        if self.steps_since_yield > MAX_STEPS_BEFORE_YIELD {
            yield_to_runtime().await;
            Next::WaitUntil(now, Wait::Pace)
        } else {
            self.policy.next(now)
        }
    }

    /// Calls the watcher without an event if the interval has passed.
    fn tick(&mut self, now: Duration) {
        if now >= self.next_tick {
            self.next_tick = now + TICK_INTERVAL;
            (self.recorder.watch)(now, None);
        }
    }

    /// Returns the signal that ends the run at once, which is the second SIGINT or SIGTERM. SIGHUP
    /// does not count, because a terminal that is closed often sends it twice.
    fn second_signal(&mut self, wakeup: &Wakeup) -> Option<Signal> {
        match wakeup {
            Wakeup::Stop(signal @ (Signal::Interrupt | Signal::Terminate)) => {
                let is_second = std::mem::replace(&mut self.was_signalled, true);
                Some(*signal).filter(|_| is_second)
            }
            Wakeup::Stop(Signal::HangUp)
            | Wakeup::SendResult(..)
            | Wakeup::LoginResult(_)
            | Wakeup::Time => None,
        }
    }

    fn set_wall_clock(&mut self) {
        self.recorder.time_of_day = wall_clock();
        self.recorder
            .requests
            .set_clock(self.began.elapsed(), self.recorder.time_of_day);
        let passed = self.began_at.duration_until(self.recorder.time_of_day);
        self.policy
            .set_wall_clock(Duration::try_from(passed).unwrap_or_default());
    }

    /// Offers the next row to the policy, or keeps it if it may not be sent yet.
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
                if self.recorder.may_send(now, change.row)? {
                    change.in_doubt = self.in_doubt.remove(change.row);
                    self.recorder.cells.insert(change.row, cells);
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
                self.recorder.cells.insert(record.row, cells);
                self.recorder.record(now, record)?;
            }
            Some(Ok(Step {
                action: Action::Skipped,
                ..
            })) => self.steps_since_yield = MAX_STEPS_BEFORE_YIELD,
        }
        Ok(())
    }

    fn handle(&mut self, now: Duration, wakeup: Wakeup) -> Result<()> {
        match wakeup {
            Wakeup::Stop(signal) => self.policy.interrupt(now, signal),
            Wakeup::SendResult(attempt, answer) => {
                let change = attempt.change();
                let latency = now.saturating_sub(attempt.sent_at());
                self.recorder.emit(
                    now,
                    &Event::Answered {
                        change,
                        answer: &answer,
                        latency,
                    },
                );
                if let Some(record) = self.policy.answered(now, attempt, answer) {
                    self.recorder.record(now, record)?;
                }
            }
            Wakeup::LoginResult(answer) => {
                self.recorder.logged_in(&answer);
                self.policy.logged_in(now, answer);
            }
            Wakeup::Time => {}
        }
        self.recorder.condition(now, self.policy.condition(now));
        Ok(())
    }

    /// Sets the alarm to what comes first: the policy's time, a sync that is due, or the next tick.
    fn set_alarm(&mut self, until: Option<Duration>) {
        let mut deadline = self.next_tick;
        if let Some(until) = until {
            deadline = deadline.min(until);
        }
        if let Some(sync_due) = self.recorder.journal.sync_due() {
            deadline = deadline.min(sync_due);
        }
        self.alarm.set(self.began + deadline);
    }

    fn end(mut self, ending: Ending) -> Result<Sent> {
        let now = self.began.elapsed();
        self.recorder.close(now)?;
        self.recorder.emit(now, &Event::Ended(&ending));
        let pace = self.policy.pace_found();
        self.recorder.traffic.rate_per_second = pace.rate;
        let Recorder {
            mut traffic,
            tally,
            held_until,
            ..
        } = self.recorder;
        // The part of a pause after the end of the run did not hold it back.
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

/// Lets the runtime read from and write to connections. Answers that arrive together are then
/// written together.
async fn yield_to_runtime() {
    tokio::task::yield_now().await;
}

/// Takes all items that are ready, and starts the futures that were not polled yet.
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

/// Difference between two clocks from which one of them was set, in milliseconds.
const CLOCK_TOLERANCE_MS: u64 = 250;

/// The number of requests in the current second of the wall clock.
struct RequestCount {
    /// The wall clock when the run's own clock was at zero, in milliseconds since the Unix epoch.
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

    /// Follows a wall clock that was set, or a run's own clock that stopped while the machine was
    /// suspended. Small differences are ignored, because the two clocks are not read at the same
    /// time.
    fn set_clock(&mut self, now: Duration, wall_clock: Timestamp) {
        let passed = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        let began_ms = wall_clock.as_millisecond().saturating_sub(passed);
        if began_ms.abs_diff(self.began_ms) > CLOCK_TOLERANCE_MS {
            self.began_ms = began_ms;
        }
    }

    /// Advances to the second of `now`. Returns the count of the second before if it is another
    /// one.
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

/// Writes records and notes to the journal, and emits events after them.
struct Recorder<'a, S> {
    journal: &'a mut Journal<S>,
    /// The wall clock before the current batch of answers.
    time_of_day: Timestamp,
    /// The cells of the rows that have no outcome yet.
    cells: BTreeMap<RowNumber, Vec<u8>>,
    /// Records whose events are emitted once they are written, with the cells of their rows.
    pending_events: Vec<(Record, Vec<u8>)>,
    condition: Condition,
    held_until: Duration,
    waiting: Option<(Wait, Duration)>,
    traffic: Traffic,
    requests: RequestCount,
    tally: Tally,
    watch: &'a mut Watch<'a>,
}

impl<S: Storage> Recorder<'_, S> {
    fn emit(&mut self, now: Duration, event: &Event<'_>) {
        (self.watch)(now, Some(event));
    }

    fn sent(&mut self, now: Duration, attempt: &Attempt) {
        self.count_request(now);
        self.traffic.retries += u64::from(attempt.number() != 1);
        self.waiting = None;
        self.emit(
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

    /// Notes the number of requests of a second that is over.
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
        self.pending_events.push((record, cells));
        if self.pending_events.len() >= BATCH_SIZE {
            self.write(now)
        } else {
            Ok(())
        }
    }

    /// Writes the records, and emits their events.
    fn write(&mut self, now: Duration) -> Result<()> {
        self.journal.write(now)?;
        self.emit_records(now);
        Ok(())
    }

    /// Writes the records, emits their events, and begins a sync that is due.
    fn commit(&mut self, now: Duration) -> Result<()> {
        self.journal.commit(now)?;
        self.emit_records(now);
        Ok(())
    }

    /// Writes the records, waits until they are on disk, and emits their events.
    fn close(&mut self, now: Duration) -> Result<()> {
        if let Some(note) = self.requests.take() {
            self.journal.note(note, self.time_of_day);
        }
        self.journal.sync()?;
        self.emit_records(now);
        Ok(())
    }

    fn emit_records(&mut self, now: Duration) {
        for (record, cells) in std::mem::take(&mut self.pending_events) {
            let event = Event::Recorded {
                record: &record,
                cells: &cells,
            };
            self.emit(now, &event);
        }
    }

    fn waiting(&mut self, now: Duration, why: Wait, until: Duration) {
        let is_reported = !matches!(why, Wait::Pace | Wait::SendResult);
        if is_reported && self.waiting != Some((why, until)) {
            self.waiting = Some((why, until));
            self.emit(now, &Event::Waiting { why, until });
        }
    }

    /// Notes that something holds the run back, or no longer does.
    fn condition(&mut self, now: Duration, condition: Condition) {
        let before = std::mem::replace(&mut self.condition, condition);
        if before == condition {
            return;
        }
        let is_outage = matches!(condition, Condition::Outage { .. });
        if let Condition::Outage { since } = before
            && !is_outage
        {
            let lasted = now.saturating_sub(since);
            self.journal.note(
                Note::OutageOver {
                    lasted_ms: millis(lasted),
                },
                self.time_of_day,
            );
            self.emit(now, &Event::OutageOver { lasted });
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
                self.emit(
                    now,
                    &Event::Waiting {
                        why: Wait::Throttled,
                        until,
                    },
                );
            }
            Condition::Outage { .. } if !matches!(before, Condition::Outage { .. }) => {
                self.journal.note(Note::OutageBegan, self.time_of_day);
                self.emit(now, &Event::OutageBegan);
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
