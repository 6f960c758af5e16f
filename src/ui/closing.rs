//! The closing summary: counts, what went wrong and what that means, what to do next, and the report's path last.

use std::fmt::Write as _;
use std::time::Duration;

use super::ending::ending_text;
use crate::domain::{Ending, Outcome, PaceFound, Rate, Tally};
use crate::report::Group;
use crate::text::counted;
use crate::text::grouped;
use crate::text::one_line;
use crate::text::rough;
use crate::text::visible;

/// A limit below this share of the rate asked for is worth a word.
const LOWER: f64 = 0.95;
/// The rate that is advised, as a share of the limit that was found.
const SOMEWHAT_LOWER: f64 = 0.95;

/// The figures of a run that is over.
#[derive(Clone, Debug)]
pub struct ClosingView<'a> {
    /// How the sending ended.
    pub ending: &'a Ending,
    /// For how many rows without an outcome it is open whether their change was made.
    pub open_rows: u64,
    /// Rows by outcome.
    pub tally: &'a Tally,
    /// Requests sent.
    pub requests: u64,
    /// Of these, those that tried again.
    pub retries: u64,
    /// How long the run took.
    pub elapsed: Duration,
    /// Of this, how long the Org held it back.
    pub throttled: Duration,
    /// The rate that was asked for.
    pub rate: Rate,
    /// Requests in flight at most, if a number was given.
    pub concurrency: Option<usize>,
    /// What was found out about the pace.
    pub pace: PaceFound,
    /// What went wrong, the most frequent first.
    pub groups: &'a [Group],
    /// The next command to run, where there is one.
    pub next: Option<String>,
    /// Where the report is.
    pub report: String,
}

/// The closing summary.
#[must_use]
pub fn closing_text(view: &ClosingView<'_>) -> String {
    let (headline, help) = ending_text(view.ending, view.tally);
    let mut out = format!("{headline}\n");
    if let Some(help) = help {
        let _ = writeln!(out, "  help: {help}");
    }
    out.push_str(&doubt(view));
    out.push('\n');
    out.push_str(&counts(view.tally));
    let _ = writeln!(out, "  {}", effort(view));
    out.push_str(&pace(view));
    for group in view.groups {
        out.push('\n');
        out.push_str(&group_text(group));
    }
    out.push('\n');
    out.push_str(&way_on(view.next.as_deref(), &view.report));
    out
}

/// The result of closing a run.
#[derive(Clone, Debug)]
pub struct ClosedView<'a> {
    /// Rows by outcome.
    pub tally: &'a Tally,
    /// The next command to run, where there is one.
    pub next: Option<String>,
    /// Where the report is.
    pub report: String,
}

/// Returns what is said when a run was closed.
#[must_use]
pub fn closed_text(view: &ClosedView<'_>) -> String {
    format!(
        "{CLOSED}\n\n{}\n{}",
        counts(view.tally),
        way_on(view.next.as_deref(), &view.report)
    )
}

/// The first sentence of what is said when a run was closed.
pub const CLOSED: &str =
    "Closed: the interrupted run has a report now, and nothing more is sent for it.";

/// What has to be known of a run that could not come to its end, where nothing else is wanted.
#[must_use]
pub fn closing_in_brief(view: &ClosingView<'_>) -> String {
    format!(
        "{}\n{}{}",
        ending_text(view.ending, view.tally).0,
        doubt(view),
        way_on(view.next.as_deref(), &view.report)
    )
}

/// Returns one line about a run whose rows need attention: their number, the most frequent reason, and the report.
#[must_use]
pub fn attention_line(view: &ClosingView<'_>) -> String {
    let rows = counted(view.tally.attention(), "row needs", "rows need");
    let reason = match view.groups.first() {
        Some(group) => {
            let status = match group.http_status {
                Some(status) => format!(" {status}"),
                None => String::new(),
            };
            let words = format!("{}{status} {}", group.outcome, group.reason);
            format!(": {}", one_line(&words, 200))
        }
        None => String::new(),
    };
    format!("{rows} attention{reason}; report: {}", view.report)
}

/// What is not on record, so that nobody takes it for not done.
fn doubt(view: &ClosingView<'_>) -> String {
    if view.open_rows == 0 {
        return String::new();
    }
    let (rows, them) = (
        counted(view.open_rows, "row", "rows"),
        if view.open_rows == 1 { "it" } else { "them" },
    );
    format!(
        "  note: it is open whether the change of {rows} was made; the same command sends {them} again\n"
    )
}

fn way_on(next: Option<&str>, report: &str) -> String {
    let next = next
        .map(|next| format!("Next:   {}\n", visible(next)))
        .unwrap_or_default();
    format!("{next}Report: {}\n", visible(report))
}

fn counts(tally: &Tally) -> String {
    let shown: Vec<_> = Outcome::ALL
        .into_iter()
        .map(|outcome| (outcome, tally.count(outcome)))
        .filter(|(outcome, count)| *outcome == Outcome::Applied || *count > 0)
        .collect();
    let width = shown
        .iter()
        .map(|(_, count)| grouped(*count).len())
        .max()
        .unwrap_or(0);
    let lines = shown
        .iter()
        .map(|(outcome, count)| format!("  {outcome:<10}{:>width$}\n", grouped(*count)));
    lines.collect()
}

fn effort(view: &ClosingView<'_>) -> String {
    if view.requests == 0 {
        return "no request was sent".to_owned();
    }
    let mut words = counted(view.requests, "request", "requests");
    if view.retries > 0 {
        let _ = write!(words, ", {} to try again,", grouped(view.retries));
    }
    let _ = write!(words, " in {}", rough(view.elapsed));
    if view.throttled >= Duration::from_secs(1) {
        let _ = write!(
            words,
            ", {} of it held back by the Org",
            rough(view.throttled)
        );
    }
    words
}

/// What was found out about the pace, one finding a line.
fn pace(view: &ClosingView<'_>) -> String {
    let mut lines = String::new();
    if let Some(rate) = view.pace.rate {
        let rate = per_second(rate);
        let words = match view.pace.limit {
            Some(_) => format!("the pace found is {rate}; the Org refuses more"),
            None => format!("the pace reached {rate}; the Org refused nothing"),
        };
        let _ = writeln!(lines, "  {words}");
    }
    if let (Rate::Limited { .. }, Some(asked), Some(limit)) =
        (view.rate, view.rate.per_second(), view.pace.limit)
        && limit < LOWER * asked
    {
        let _ = writeln!(
            lines,
            "  note: the Org takes about {}, less than the rate asked for; use --rate auto or --rate {}",
            per_second(limit),
            lower_rate(limit),
        );
    }
    if let (Some(number), Some(pace)) = (view.concurrency, view.pace.bound_by_concurrency) {
        let _ = writeln!(
            lines,
            "  note: --concurrency {number} limited the pace to {pace:.0}/s"
        );
    }
    lines
}

fn per_second(rate: f64) -> String {
    let digits = usize::from(rate < 100.0);
    format!("{rate:.digits$} requests a second")
}

/// Returns a rate somewhat below this one, as it is typed.
fn lower_rate(limit: f64) -> String {
    let lower = SOMEWHAT_LOWER * limit;
    if lower >= 1.0 {
        format!("{:.0}/s", lower.floor())
    } else {
        format!("{:.0}/m", (60.0 * lower).floor().max(1.0))
    }
}

fn group_text(group: &Group) -> String {
    let status = group
        .http_status
        .map(|status| format!(" {status}"))
        .unwrap_or_default();
    let reason = one_line(&group.reason, 200);
    let reason = if reason.is_empty() {
        reason
    } else {
        format!(": {reason}")
    };
    let count = counted(group.count, "row", "rows");
    let Group {
        outcome,
        meaning,
        next,
        ..
    } = group;
    format!(
        "{count} {outcome}{status}{reason}\n  {}\n  means: {meaning}\n  to do: {next}\n",
        lines(group)
    )
}

fn lines(group: &Group) -> String {
    if group.lines.is_empty() {
        return "rows that are not in the table".to_owned();
    }
    let numbers = group
        .lines
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    let more = group.count.saturating_sub(group.lines.len() as u64);
    let label = if group.count == 1 { "line" } else { "lines" };
    if more > 0 {
        format!("{label} {numbers} and {} more", grouped(more))
    } else {
        format!("{label} {numbers}")
    }
}
