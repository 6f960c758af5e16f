//! Progress in words: a bar that fits its terminal, and a plain line. Pure text.

use std::time::Duration;

use console::{measure_text_width, truncate_str};

use super::state::{Failure, State};
use crate::domain::{Condition, Ending, Outcome, Record, Wait};
use crate::text::{countdown, counted, grouped, one_line, rough};
use crate::ui::screen::Look;

/// Minimum number of columns at which the bar itself is drawn.
const MIN_WIDTH_OF_BAR: usize = 50;

/// Returns one plain line:
/// `1,200 of 3,000 rows, 9.8 requests/s, 1,197 applied, 3 failed, about 3 min left`.
#[must_use]
pub fn line(state: &State, now: Duration) -> String {
    let mut parts = vec![format!(
        "{} of {} rows",
        grouped(state.done()),
        grouped(state.rows)
    )];
    if state.first_attempt().is_none() {
        parts.push(format!("{:.1} requests/s", state.speed(now)));
    }
    parts.extend(counts(state));
    parts.extend(waiting(state, now));
    parts.extend(time_left(state, now));
    parts.join(", ")
}

/// Returns two lines for a terminal of `width` columns, and a third one while the run is held back.
#[must_use]
pub fn bar(state: &State, now: Duration, width: usize, look: Look) -> String {
    let mut parts = vec![format!("{}/{}", grouped(state.done()), grouped(state.rows))];
    if state.first_attempt().is_none() {
        parts.push(format!("{:.1}/s", state.speed(now)));
    }
    parts.extend(time_left(state, now));
    let figures = fit(&parts, width);
    let first = match width.checked_sub(measure_text_width(&figures) + 2) {
        Some(room) if width >= MIN_WIDTH_OF_BAR && room >= 10 => {
            format!("{}  {figures}", drawn_bar(state, room.min(40), look))
        }
        _ => figures,
    };
    let mut lines = format!("{first}\n{}", fit(&colored_counts(state, look), width));
    if let Some(wordings) = status(state, now) {
        lines.push('\n');
        lines.push_str(&look.yellow(&longest_that_fits(&wordings, width)));
    }
    lines
}

/// Returns the result of a row: `line 17: failed (404, 1 attempt): User not found`.
pub(super) fn row(record: &Record) -> String {
    let Record {
        line,
        outcome,
        attempts,
        ..
    } = record;
    let place = match line {
        Some(line) => format!("line {line}"),
        None => "a row that is not in the table".to_owned(),
    };
    let attempts = counted(u64::from(*attempts), "attempt", "attempts");
    let how = match record.http_status {
        Some(status) => format!(" ({status}, {attempts})"),
        None if record.attempts > 0 => format!(" ({attempts})"),
        None => String::new(),
    };
    let detail = one_line(&record.detail, 500);
    if detail.is_empty() {
        format!("{place}: {outcome}{how}")
    } else {
        format!("{place}: {outcome}{how}: {detail}")
    }
}

/// Returns how sending ended, for JSON lines.
pub(super) fn ended(ending: &Ending) -> &'static str {
    match ending {
        Ending::Complete => "complete",
        Ending::Stopped(_) => "stopped early",
        Ending::Interrupted(_) => "interrupted",
    }
}

fn counts(state: &State) -> Vec<String> {
    let mut parts = Vec::new();
    for outcome in Outcome::ALL {
        let count = state.tally.count(outcome);
        if outcome == Outcome::Applied || (outcome.is_failure() && count > 0) {
            parts.push(format!("{} {outcome}", grouped(count)));
        }
    }
    if state.to_retry() > 0 {
        parts.push(format!("{} to retry", grouped(state.to_retry())));
    }
    parts
}

/// Returns the counts with failures in red.
fn colored_counts(state: &State, look: Look) -> Vec<String> {
    let mut parts = counts(state);
    for part in &mut parts {
        if part.ends_with("failed") || part.ends_with("unknown") {
            *part = look.red(part);
        }
    }
    parts
}

fn time_left(state: &State, now: Duration) -> Option<String> {
    state
        .time_left(now)
        .map(|left| format!("about {} left", rough(left)))
}

/// Returns what the run waits for.
pub(super) fn waiting(state: &State, now: Duration) -> Option<String> {
    status(state, now).map(|[long, ..]| long)
}

/// Returns what the run waits for in three wordings, the longest first.
fn status(state: &State, now: Duration) -> Option<[String; 3]> {
    match (state.condition, state.waiting) {
        (Condition::Outage { since }, waiting) => Some(outage(since, waiting, now)),
        (Condition::Throttled { until }, _) if until > now => {
            let left = countdown(until.saturating_sub(now));
            Some([
                format!("throttled by the Org: next request in {left}"),
                format!("throttled: next in {left}"),
                format!("pause: {left}"),
            ])
        }
        (_, Some((Wait::LogIn, until))) if until > now => {
            let left = countdown(until.saturating_sub(now));
            Some([
                format!("waiting to log in again: {left} left"),
                format!("logging in again in {left}"),
                format!("login: {left}"),
            ])
        }
        (_, Some((Wait::Drain, until))) => Some(stopping(state, until.saturating_sub(now))),
        _ => first_answer(state, now).or_else(|| last_rows(state, now)),
    }
}

fn outage(since: Duration, waiting: Option<(Wait, Duration)>, now: Duration) -> [String; 3] {
    let lasted = countdown(now.saturating_sub(since));
    match waiting {
        Some((_, until)) if until > now => {
            let left = countdown(until.saturating_sub(now));
            [
                format!("no response from the Org for {lasted}; next probe in {left}"),
                format!("no response; next probe in {left}"),
                format!("probe in {left}"),
            ]
        }
        _ => [
            format!("no response from the Org for {lasted}; probing"),
            format!("no response for {lasted}; probing"),
            "probing".to_owned(),
        ],
    }
}

fn stopping(state: &State, left: Duration) -> [String; 3] {
    let left = countdown(left);
    let not_sent = counted(state.not_sent(), "row", "rows");
    [
        format!(
            "stopping: {not_sent} not sent yet; up to {left} for the last answers; Ctrl-C again \
             stops at once"
        ),
        format!("stopping: {left}; Ctrl-C stops at once"),
        format!("stopping: {left}"),
    ]
}

/// Returns the status before the first success, such as
/// `waiting for the first answer (attempt 2: 503)`.
fn first_answer(state: &State, now: Duration) -> Option<[String; 3]> {
    let attempt = state.first_attempt()?;
    let number = attempt.number;
    let attempt = match attempt.failure {
        Some(Failure::Status(status)) => format!("attempt {number}: {status}"),
        Some(Failure::NoResponse) => format!("attempt {number}: no response"),
        None => format!("attempt {number}"),
    };
    let next = match state.waiting {
        Some((Wait::Retry, until)) if until > now => {
            format!("; next in {}", countdown(until.saturating_sub(now)))
        }
        _ => String::new(),
    };
    Some([
        format!("waiting for the first answer ({attempt}){next}"),
        format!("first answer: {attempt}"),
        attempt,
    ])
}

fn last_rows(state: &State, now: Duration) -> Option<[String; 3]> {
    match state.waiting {
        Some((Wait::Retry, until)) if until > now => {
            let left = countdown(until.saturating_sub(now));
            Some([
                format!("waiting to retry the last rows: {left} left"),
                format!("retrying the last rows in {left}"),
                format!("retry in {left}"),
            ])
        }
        _ => None,
    }
}

/// Returns the longest wording that fits; if none does, the beginning of the shortest one.
fn longest_that_fits(wordings: &[String; 3], width: usize) -> String {
    for wording in wordings {
        if measure_text_width(wording) <= width {
            return wording.clone();
        }
    }
    let [.., shortest] = wordings;
    truncate_str(shortest, width, "…").into_owned()
}

/// Joins as many parts as fit. If the first one alone does not fit, it is cut.
fn fit(parts: &[String], width: usize) -> String {
    let mut line = String::new();
    for part in parts {
        let longer = if line.is_empty() {
            part.clone()
        } else {
            format!("{line}  {part}")
        };
        if measure_text_width(&longer) > width && !line.is_empty() {
            break;
        }
        line = longer;
    }
    truncate_str(&line, width, "…").into_owned()
}

fn drawn_bar(state: &State, room: usize, look: Look) -> String {
    let share = (state.done().min(state.rows) * room as u64)
        .checked_div(state.rows)
        .unwrap_or(0);
    let full = usize::try_from(share).unwrap_or(room).min(room);
    let done = "━".repeat(full);
    let done = if state.need_attention() > 0 {
        look.yellow(&done)
    } else {
        look.green(&done)
    };
    format!("{done}{}", "─".repeat(room - full))
}
