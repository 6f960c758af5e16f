//! The state of a run in progress: counts, recent speed, and what holds it back. Pure; the time
//! comes with each event, as the time since the run began.

use std::time::Duration;

use crate::domain::{Condition, Event, SendResult, StatusClass, Tally, Wait};

/// Number of seconds over which speed is measured.
const WINDOW: usize = 10;

/// The state of a run in progress.
#[derive(Clone, Debug, Default)]
pub struct ProgressState {
    /// Number of rows in the input.
    pub rows: u64,
    /// How long the Org may fail to respond before the run stops.
    pub outage_patience: Duration,
    /// Rows by outcome, including those that an interrupted run has recorded.
    pub tally: Tally,
    /// Number of requests sent in this run.
    pub requests: u64,
    /// What holds the run back, if anything.
    pub condition: Condition,
    /// Why nothing can be sent right now, and until when. The rate, which holds back every request,
    /// is left out.
    pub waiting: Option<(Wait, Duration)>,
    begun: u64,
    in_flight: u64,
    finished: u64,
    sent: Recent,
    recorded: Recent,
    has_success: bool,
    last_attempt: RowAttempt,
}

/// The latest attempt to send a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowAttempt {
    /// The number of the attempt for its row, from 1; 0 if nothing was sent yet.
    pub number: u32,
    /// How it failed, if it was answered already.
    pub failure: Option<AttemptFailure>,
}

/// How an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptFailure {
    /// The response had this status.
    Status(u16),
    /// There was no response.
    NoResponse,
}

impl ProgressState {
    /// Returns the state at the beginning of a run of `rows` rows.
    #[must_use]
    pub fn of(rows: u64, outage_patience: Duration) -> Self {
        Self {
            rows,
            outage_patience,
            ..Self::default()
        }
    }

    /// Updates the state after an event.
    pub fn update(&mut self, now: Duration, event: &Event<'_>) {
        match event {
            Event::Planned { rows, on_record } => {
                self.rows = *rows;
                self.tally = **on_record;
            }
            Event::Sent { attempt, .. } => {
                self.requests += 1;
                self.in_flight += 1;
                self.begun += u64::from(*attempt == 1);
                self.waiting = None;
                self.last_attempt = RowAttempt {
                    number: *attempt,
                    failure: None,
                };
                if matches!(self.condition, Condition::Throttled { .. }) {
                    self.condition = Condition::Normal;
                }
                self.sent.count(now);
            }
            Event::Answered { answer, .. } => {
                self.in_flight = self.in_flight.saturating_sub(1);
                self.note_result(answer);
            }
            Event::Waiting { why, until } => self.wait(*why, *until),
            Event::Recorded { record, .. } => {
                self.tally.add(record.outcome);
                self.finished += u64::from(record.attempts > 0);
                self.recorded.count(now);
            }
            Event::OutageBegan => self.condition = Condition::Outage { since: now },
            Event::OutageOver { .. } => {
                self.condition = Condition::Normal;
                self.waiting = None;
            }
            Event::Ended(_) => self.waiting = None,
        }
    }

    fn note_result(&mut self, result: &SendResult) {
        let status = result.status();
        if status.map(StatusClass::of) == Some(StatusClass::Success) {
            self.has_success = true;
        }
        self.last_attempt.failure = Some(match status {
            Some(status) => AttemptFailure::Status(status),
            None => AttemptFailure::NoResponse,
        });
    }

    fn wait(&mut self, why: Wait, until: Duration) {
        self.waiting = match why {
            Wait::Pace => None,
            _ => Some((why, until)),
        };
        if why == Wait::Throttled && !matches!(self.condition, Condition::Outage { .. }) {
            self.condition = Condition::Throttled { until };
        }
    }

    /// Returns the number of rows that have their outcome.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.tally.total()
    }

    /// Returns the number of rows that were tried without success and will be tried again.
    #[must_use]
    pub fn to_retry(&self) -> u64 {
        self.begun
            .saturating_sub(self.finished)
            .saturating_sub(self.in_flight)
    }

    /// Returns the number of rows that have not been sent.
    #[must_use]
    pub fn not_sent(&self) -> u64 {
        let begun = self.begun.saturating_sub(self.finished);
        self.rows.saturating_sub(self.done()).saturating_sub(begun)
    }

    /// Returns the latest attempt while no request of this run has succeeded and no row has its
    /// outcome.
    #[must_use]
    pub fn first_attempt(&self) -> Option<RowAttempt> {
        let is_over = self.has_success || self.finished > 0 || self.last_attempt.number == 0;
        if is_over {
            None
        } else {
            Some(self.last_attempt)
        }
    }

    /// Returns the number of rows that a person has to look at.
    #[must_use]
    pub fn need_attention(&self) -> u64 {
        self.tally.attention()
    }

    /// Returns the number of requests a second over the last seconds.
    #[must_use]
    pub fn speed(&self, now: Duration) -> f64 {
        self.sent.per_second(now)
    }

    /// Returns the time that the remaining rows take at the recent speed. `None` while nothing is
    /// recorded or the Org does not respond, and once no rows remain.
    #[must_use]
    pub fn time_left(&self, now: Duration) -> Option<Duration> {
        let speed = self.recorded.per_second(now);
        let rows = self.rows.saturating_sub(self.done());
        let is_out = matches!(self.condition, Condition::Outage { .. });
        if is_out || speed <= 0.0 || rows == 0 {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "it is an estimate")]
        Duration::try_from_secs_f64(rows as f64 / speed).ok()
    }
}

/// Numbers of events in each of the last seconds, including the current one.
#[derive(Clone, Copy, Debug, Default)]
struct Recent {
    counts: [u32; WINDOW],
    second: u64,
}

impl Recent {
    fn count(&mut self, now: Duration) {
        self.advance(now.as_secs());
        let count = &mut self.counts[slot(now.as_secs())];
        *count = count.saturating_add(1);
    }

    /// Empties the slots of seconds without an event.
    fn advance(&mut self, second: u64) {
        let passed = second.saturating_sub(self.second).min(WINDOW as u64);
        for back in 0..passed {
            self.counts[slot(second - back)] = 0;
        }
        self.second = self.second.max(second);
    }

    fn per_second(mut self, now: Duration) -> f64 {
        self.advance(now.as_secs());
        let total: u64 = self.counts.iter().copied().map(u64::from).sum();
        let whole_seconds = Duration::from_secs(now.as_secs().min(WINDOW as u64 - 1));
        let span = whole_seconds + Duration::from_nanos(u64::from(now.subsec_nanos()));
        #[expect(
            clippy::cast_precision_loss,
            reason = "ten seconds' requests are far below 2^53"
        )]
        let total = total as f64;
        total / span.as_secs_f64().max(1.0)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the remainder is below the number of slots"
)]
fn slot(second: u64) -> usize {
    (second % WINDOW as u64) as usize
}
