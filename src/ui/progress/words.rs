//! Progress in words: a bar that fits its terminal, and a plain line. Pure text.

use std::time::Duration;

use console::{measure_text_width, truncate_str};

use super::state::{AttemptFailure, ProgressState};
use crate::domain::{Condition, Ending, Outcome, Record, Wait, row_name};
use crate::text::{countdown, counted, grouped, one_line, rough};
use crate::ui::screen::Look;

/// Maximum width of the bar's lines. A terminal of 40 columns or more does not wrap them, also when
/// it has been made narrower since they were drawn, so that nothing of them is left behind.
pub(super) const MAX_WIDTH: usize = 39;
/// Minimum width of the drawn bar itself.
const MIN_DRAWN: usize = 10;

/// Returns one plain line:
/// `1,200 of 3,000 rows, 9.8 requests/s, 1,197 applied, 3 failed, about 3 min left`.
#[must_use]
pub fn line(state: &ProgressState, now: Duration) -> String {
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

/// Returns the bar for a terminal of `width` columns: how much is done, the counts, the speed, and
/// what holds the run back.
#[must_use]
pub fn bar(state: &ProgressState, now: Duration, width: usize, look: Look) -> String {
    let width = width.min(MAX_WIDTH);
    let done = format!("{}/{}", grouped(state.done()), grouped(state.rows));
    let mut lines = vec![match width.checked_sub(done.len() + 2) {
        Some(room) if room >= MIN_DRAWN => format!("{}  {done}", drawn_bar(state, room, look)),
        _ => done,
    }];
    lines.extend(packed(&colored_counts(state, look), width));
    let mut speed = Vec::new();
    if state.requests > 0 && state.first_attempt().is_none() {
        speed.push(format!("{:.1} requests/s", state.speed(now)));
    }
    speed.extend(time_left(state, now));
    lines.extend(packed(&speed, width));
    if let Some(status) = waiting(state, now) {
        let narrow = Look {
            width: Some(width),
            ..look
        };
        for line in packed(&phrases(&status), width) {
            let wrapped = narrow.wrap(&line, 2);
            lines.extend(wrapped.lines().map(|line| look.yellow(line)));
        }
    }
    // A word that is too long for the terminal is cut off.
    let cut = lines.iter().map(|line| truncate_str(line, width, "…"));
    cut.collect::<Vec<_>>().join("\n")
}

/// Splits a status where a line of it may end: after a semicolon, and before a parenthesis.
fn phrases(status: &str) -> Vec<String> {
    let status = status.replace(" (", "; (");
    status.split("; ").map(str::to_owned).collect()
}

/// Packs parts into lines of at most `width` columns.
fn packed(parts: &[String], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        match lines.last_mut() {
            Some(line) if measure_text_width(line) + 2 + measure_text_width(part) <= width => {
                line.push_str("  ");
                line.push_str(part);
            }
            _ => lines.push(part.clone()),
        }
    }
    lines
}

/// Returns the result of a row: `line 17: 1404 Bjørn Dahl: failed (404, 1 attempt): User not
/// found`.
pub(super) fn row(record: &Record, label: &str) -> String {
    let Record {
        line,
        outcome,
        attempts,
        ..
    } = record;
    let place = row_name(*line, label);
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

fn counts(state: &ProgressState) -> Vec<String> {
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
fn colored_counts(state: &ProgressState, look: Look) -> Vec<String> {
    let mut parts = counts(state);
    for part in &mut parts {
        if part.ends_with("failed") || part.ends_with("unknown") {
            *part = look.red(part);
        }
    }
    parts
}

fn time_left(state: &ProgressState, now: Duration) -> Option<String> {
    state
        .time_left(now)
        .map(|left| format!("about {} left", rough(left)))
}

/// Returns what holds the run back.
pub(super) fn waiting(state: &ProgressState, now: Duration) -> Option<String> {
    match (state.condition, state.waiting) {
        (Condition::Outage { since }, _) => Some(outage(state, since, now)),
        (Condition::Throttled { until }, _) if until > now => {
            let left = countdown(until.saturating_sub(now));
            Some(format!("throttled by the Org; next request in {left}"))
        }
        (_, Some((Wait::LogIn, until))) if until > now => {
            let left = countdown(until.saturating_sub(now));
            Some(format!("waiting to log in again; {left} left"))
        }
        (_, Some((Wait::Drain, until))) => Some(stopping(state, until.saturating_sub(now))),
        _ => first_answer(state, now).or_else(|| last_rows(state, now)),
    }
}

fn outage(state: &ProgressState, since: Duration, now: Duration) -> String {
    let lasted = countdown(now.saturating_sub(since));
    let patience = (since + state.outage_patience).saturating_sub(now);
    let probe = match state.waiting {
        Some((_, until)) if until > now => {
            format!("next probe in {}", countdown(until.saturating_sub(now)))
        }
        _ => "probing".to_owned(),
    };
    format!(
        "no response from the Org for {lasted}; {probe}; stopping in {}",
        countdown(patience)
    )
}

fn stopping(state: &ProgressState, left: Duration) -> String {
    let left = countdown(left);
    let not_sent = counted(state.not_sent(), "row", "rows");
    format!(
        "stopping: {not_sent} not sent yet; up to {left} for the last answers; Ctrl-C again stops \
         at once"
    )
}

/// Returns the status before the first success, such as
/// `waiting for the first answer (attempt 2: 503)`.
fn first_answer(state: &ProgressState, now: Duration) -> Option<String> {
    let attempt = state.first_attempt()?;
    let number = attempt.number;
    let attempt = match attempt.failure {
        Some(AttemptFailure::Status(status)) => format!("attempt {number}: {status}"),
        Some(AttemptFailure::NoResponse) => format!("attempt {number}: no response"),
        None => format!("attempt {number}"),
    };
    let next = match state.waiting {
        Some((Wait::Retry, until)) if until > now => {
            format!("; next in {}", countdown(until.saturating_sub(now)))
        }
        _ => String::new(),
    };
    Some(format!("waiting for the first answer ({attempt}){next}"))
}

fn last_rows(state: &ProgressState, now: Duration) -> Option<String> {
    match state.waiting {
        Some((Wait::Retry, until)) if until > now => {
            let left = countdown(until.saturating_sub(now));
            Some(format!("waiting to retry the last rows; {left} left"))
        }
        _ => None,
    }
}

fn drawn_bar(state: &ProgressState, room: usize, look: Look) -> String {
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
