//! Progress as JSON lines: one object for each event, always with `at` (UTC) and `event`. Pure
//! text.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::state::ProgressState;
use super::words;
use crate::domain::{Event, Flag, Tally, Wait};
use crate::text::one_line;

/// One line.
#[derive(Serialize)]
struct Line<T> {
    /// Time in RFC 3339, UTC, with milliseconds.
    at: String,
    #[serde(flatten)]
    content: T,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum EventFields<'a> {
    Planned {
        rows: u64,
        on_record: u64,
    },
    Row {
        line: Option<u64>,
        user: &'a str,
        outcome: &'a str,
        wanted: Option<bool>,
        http_status: Option<u16>,
        attempts: u32,
        elapsed_ms: u128,
        detail: String,
    },
    Waiting {
        why: &'a str,
        seconds: f64,
    },
    OutageBegan,
    OutageOver {
        seconds: f64,
    },
    Progress(Figures),
    Ended {
        how: &'a str,
        #[serde(flatten)]
        figures: Figures,
    },
}

#[derive(Serialize)]
struct Figures {
    rows: u64,
    done: u64,
    #[serde(flatten)]
    outcomes: Tally,
    to_retry: u64,
    requests: u64,
    requests_per_second: f64,
    seconds_left: Option<u64>,
}

/// Returns the line for an event, or `None` for an event that is only counted: a request, an
/// answer, a pause of the rate. `user` is the label of the user that the event is about.
pub(super) fn event(
    state: &ProgressState,
    began: Timestamp,
    (now, event): (Duration, &Event<'_>),
    user: &str,
) -> Option<String> {
    let content = match event {
        Event::Planned { rows, on_record } => EventFields::Planned {
            rows: *rows,
            on_record: on_record.total(),
        },
        Event::Recorded { record, .. } => EventFields::Row {
            line: record.line,
            user,
            outcome: record.outcome.as_str(),
            wanted: record.wanted.map(Flag::is_opt_out),
            http_status: record.http_status,
            attempts: record.attempts,
            elapsed_ms: record.elapsed.as_millis(),
            detail: one_line(&record.detail, 500),
        },
        Event::Waiting {
            why: Wait::Pace, ..
        }
        | Event::Sent { .. }
        | Event::Answered { .. } => return None,
        Event::Waiting { why, until } => EventFields::Waiting {
            why: reason(*why),
            seconds: seconds(until.saturating_sub(now)),
        },
        Event::OutageBegan => EventFields::OutageBegan,
        Event::OutageOver { lasted } => EventFields::OutageOver {
            seconds: seconds(*lasted),
        },
        Event::Ended(ending) => EventFields::Ended {
            how: words::ended(ending),
            figures: figures(state, now),
        },
    };
    Some(line(began, now, content))
}

/// Returns the line that is printed at regular intervals.
pub(super) fn progress(state: &ProgressState, began: Timestamp, now: Duration) -> String {
    line(began, now, EventFields::Progress(figures(state, now)))
}

fn line(began: Timestamp, now: Duration, content: EventFields<'_>) -> String {
    let at = began.checked_add(now).unwrap_or(began);
    // JSON can express every number, text and `null`, so this can't fail.
    serde_json::to_string(&Line {
        at: format!("{at:.3}"),
        content,
    })
    .unwrap_or_default()
}

fn figures(state: &ProgressState, now: Duration) -> Figures {
    Figures {
        rows: state.rows,
        done: state.done(),
        outcomes: state.tally,
        to_retry: state.to_retry(),
        requests: state.requests,
        requests_per_second: (state.speed(now) * 10.0).round() / 10.0,
        seconds_left: state.time_left(now).map(|left| left.as_secs()),
    }
}

fn reason(why: Wait) -> &'static str {
    match why {
        Wait::Pace => "pace",
        Wait::Throttled => "throttled",
        Wait::Probe => "probe",
        Wait::Retry => "retry",
        Wait::LogIn => "log_in",
        Wait::SendResult => "answer",
        Wait::Drain => "drain",
    }
}

fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}
