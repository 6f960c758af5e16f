//! What is known of a run while it goes on: counts, recent speed, and what holds it back. Pure; the time comes in with
//! each event, as the time since the run began.

use std::time::Duration;

use crate::domain::{Condition, Event, Tally, Wait};

/// Over how many seconds speed is measured.
const WINDOW: usize = 10;

/// What is known of a run while it goes on.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Rows of the input.
    pub rows: u64,
    /// Rows by outcome, those that were on record before the run included.
    pub tally: Tally,
    /// Requests sent for rows in this run.
    pub requests: u64,
    /// What holds the run back.
    pub condition: Condition,
    /// Why nothing can be sent right now and until when; never the pace, which holds back every request.
    pub waiting: Option<(Wait, Duration)>,
    begun: u64,
    in_flight: u64,
    finished: u64,
    sent: Recent,
    recorded: Recent,
}

impl State {
    /// Nothing has happened yet to an input of `rows` rows.
    #[must_use]
    pub fn of(rows: u64) -> Self {
        Self {
            rows,
            ..Self::default()
        }
    }

    /// Takes in what happened.
    pub fn on(&mut self, now: Duration, event: &Event<'_>) {
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
                if matches!(self.condition, Condition::Throttled { .. }) {
                    self.condition = Condition::Normal;
                }
                self.sent.count(now);
            }
            Event::Answered { .. } => self.in_flight = self.in_flight.saturating_sub(1),
            Event::Waiting { why, until } => self.wait(*why, *until),
            Event::Recorded(record) => {
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

    fn wait(&mut self, why: Wait, until: Duration) {
        self.waiting = (why != Wait::Pace).then_some((why, until));
        if why == Wait::Throttled && !matches!(self.condition, Condition::Outage { .. }) {
            self.condition = Condition::Throttled { until };
        }
    }

    /// Rows that have their outcome.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.tally.total()
    }

    /// Rows that were tried without success and will be tried again.
    #[must_use]
    pub fn to_retry(&self) -> u64 {
        self.begun
            .saturating_sub(self.finished)
            .saturating_sub(self.in_flight)
    }

    /// Rows that a person will have to look at.
    #[must_use]
    pub fn troubled(&self) -> u64 {
        self.tally.attention()
    }

    /// Requests a second over the last seconds.
    #[must_use]
    pub fn speed(&self, now: Duration) -> f64 {
        self.sent.per_second(now)
    }

    /// How long it will take at the recent speed; `None` while there is none or the Org does not answer.
    #[must_use]
    pub fn time_left(&self, now: Duration) -> Option<Duration> {
        let speed = self.recorded.per_second(now);
        let rows = self.rows.saturating_sub(self.done());
        let is_out = matches!(self.condition, Condition::Outage { .. });
        if is_out || speed <= 0.0 {
            return None;
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "an estimate is not spoilt by it"
        )]
        Duration::try_from_secs_f64(rows as f64 / speed).ok()
    }
}

/// How many there were in each of the last seconds, the current one included.
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

    /// Empties the slots of the seconds that have gone by without a count.
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
