//! The run's state as people read it: a bar that fits its terminal, and a plain line. Pure text.

use std::time::Duration;

use console::{Style, measure_text_width, truncate_str};

use super::state::State;
use crate::domain::{Condition, Ending, Outcome, Record, Wait};
use crate::text::{countdown, grouped, one_line, rough};

/// Narrower than this, the bar itself is left out.
const ROOM_FOR_A_BAR: usize = 50;

/// One plain line: `1,200 of 3,000 rows, 9.8 requests/s, 1,197 applied, 3 failed, about 3 min left`.
#[must_use]
pub fn line(state: &State, now: Duration) -> String {
    let rows = format!("{} of {} rows", grouped(state.done()), grouped(state.rows));
    let mut parts = vec![rows, format!("{:.1} requests/s", state.speed(now))];
    parts.extend(counts(state));
    parts.extend(waiting(state, now));
    parts.extend(left(state, now));
    parts.join(", ")
}

/// Two lines for a terminal that is `width` columns wide; neither is wider than that.
#[must_use]
pub fn bar(state: &State, now: Duration, width: usize, colour: bool) -> String {
    let paint = Paint(colour);
    let figures = format!("{}/{}", grouped(state.done()), grouped(state.rows));
    let mut parts = vec![figures, format!("{:.1}/s", state.speed(now))];
    parts.extend(left(state, now));
    let figures = fit(&parts, width);
    let first = match width.checked_sub(measure_text_width(&figures) + 2) {
        Some(room) if width >= ROOM_FOR_A_BAR && room >= 10 => {
            format!("{}  {figures}", drawn(state, room.min(40), paint))
        }
        _ => figures,
    };
    let second = match waits(state, now) {
        Some(wordings) => beside_counts(state, &wordings, width, paint),
        None => fit(&counts(state), width),
    };
    format!("{first}\n{second}")
}

/// The counts and what the run waits for, in as many words as fit; where nothing fits beside the counts, only that.
fn beside_counts(state: &State, wordings: &[String; 3], width: usize, paint: Paint) -> String {
    let counts = counts(state).join("  ");
    for words in wordings {
        if measure_text_width(&counts) + 2 + measure_text_width(words) <= width {
            return format!("{counts}  {}", paint.yellow(words));
        }
    }
    paint.yellow(&widest(wordings, width))
}

/// What a row came to: `line 17: failed (404, 1 attempt): User not found`.
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
    let mut how = Vec::new();
    how.extend(record.http_status.map(|status| status.to_string()));
    if *attempts > 0 {
        how.push(format!(
            "{attempts} attempt{}",
            if *attempts == 1 { "" } else { "s" }
        ));
    }
    let how = if how.is_empty() {
        String::new()
    } else {
        format!(" ({})", how.join(", "))
    };
    let detail = one_line(&record.detail, 500);
    let detail = if detail.is_empty() {
        detail
    } else {
        format!(": {detail}")
    };
    format!("{place}: {outcome}{how}{detail}")
}

/// One word or two for how the sending ended; the closing summary has the rest.
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
        parts.push(format!(
            "{} waiting for another try",
            grouped(state.to_retry())
        ));
    }
    parts
}

fn left(state: &State, now: Duration) -> Option<String> {
    state
        .time_left(now)
        .map(|left| format!("about {} left", rough(left)))
}

/// What the run waits for, with what is left of it.
pub(super) fn waiting(state: &State, now: Duration) -> Option<String> {
    waits(state, now).map(|[whole, ..]| whole)
}

/// The same in whole, in few, and in the fewest words. `{}` stands for the time.
fn waits(state: &State, now: Duration) -> Option<[String; 3]> {
    let (time, wordings) = match (state.condition, state.waiting) {
        (Condition::Outage { .. }, Some((_, until))) if until > now => (
            until.saturating_sub(now),
            [
                "the Org stopped answering; next probe in {}",
                "no answers; next probe in {}",
                "probe in {}",
            ],
        ),
        (Condition::Outage { since }, _) => (
            now.saturating_sub(since),
            [
                "the Org stopped answering {} ago; asking again",
                "no answers for {}; asking again",
                "asking again",
            ],
        ),
        (Condition::Throttled { until }, _) if until > now => (
            until.saturating_sub(now),
            [
                "throttled by the Org: next request in {}",
                "throttled: next in {}",
                "pause: {}",
            ],
        ),
        (_, Some((Wait::Retry, until))) if until > now => (
            until.saturating_sub(now),
            [
                "waiting to try the last rows again: {} left",
                "the last rows again in {}",
                "again in {}",
            ],
        ),
        (_, Some((Wait::LogIn, until))) if until > now => (
            until.saturating_sub(now),
            [
                "waiting to log in again: {} left",
                "logging in again in {}",
                "log-in: {}",
            ],
        ),
        (_, Some((Wait::Drain, until))) => (
            until.saturating_sub(now),
            [
                "stopping: requests in flight have {} to finish",
                "stopping: {} for the last answers",
                "stopping: {}",
            ],
        ),
        _ => return None,
    };
    Some(wordings.map(|words| words.replace("{}", &countdown(time))))
}

/// The wording that says most of those that fit; of the shortest, as much as fits.
fn widest(wordings: &[String; 3], width: usize) -> String {
    let [.., shortest] = wordings;
    let fitting = wordings
        .iter()
        .find(|words| measure_text_width(words) <= width);
    fitting
        .cloned()
        .unwrap_or_else(|| truncate_str(shortest, width, "…").into_owned())
}

/// As many of the parts as fit, from the first on; of the first, as much as fits.
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

fn drawn(state: &State, room: usize, paint: Paint) -> String {
    let share = (state.done().min(state.rows) * room as u64)
        .checked_div(state.rows)
        .unwrap_or(0);
    let full = usize::try_from(share).unwrap_or(room).min(room);
    let done = "━".repeat(full);
    let done = if state.troubled() > 0 {
        paint.yellow(&done)
    } else {
        paint.green(&done)
    };
    format!("{done}{}", "─".repeat(room - full))
}

/// Colour, or none.
#[derive(Clone, Copy)]
struct Paint(bool);

impl Paint {
    fn green(self, text: &str) -> String {
        Style::new()
            .green()
            .force_styling(self.0)
            .apply_to(text)
            .to_string()
    }

    fn yellow(self, text: &str) -> String {
        Style::new()
            .yellow()
            .force_styling(self.0)
            .apply_to(text)
            .to_string()
    }
}
