//! The closing summary: counts, the reasons of failures and what they mean, the next command, and
//! the report's path.

use std::fmt::Write as _;
use std::time::Duration;

use super::ending::ending_text;
use super::screen::Look;
use crate::domain::{Ending, Outcome, PaceFound, Rate, Tally};
use crate::report::Group;
use crate::text::Shell;
use crate::text::counted;
use crate::text::grouped;
use crate::text::one_line;
use crate::text::rough;
use crate::text::visible;

/// Share of the requested rate below which the limit of the Org is mentioned.
const MENTIONED_BELOW: f64 = 0.95;
/// Suggested rate as a share of the limit that was found.
const SUGGESTED_SHARE: f64 = 0.95;

/// The figures of a run that has ended.
#[derive(Clone, Debug)]
pub struct ClosingView<'a> {
    /// How sending ended.
    pub ending: &'a Ending,
    /// Number of rows without an outcome that may have been changed.
    pub rows_in_doubt: u64,
    /// Number of rows that have not been sent yet.
    pub not_sent_yet: u64,
    /// Whether the journal could be read again, so that it is known to hold every outcome.
    pub is_recorded: bool,
    /// Rows by outcome.
    pub tally: &'a Tally,
    /// Number of requests sent.
    pub requests: u64,
    /// Number of requests that repeated an earlier one.
    pub retries: u64,
    /// Time that the run took.
    pub elapsed: Duration,
    /// Time for which the Org held back all requests.
    pub throttled: Duration,
    /// Lengths of the outages of the Org; zero for one that lasted until the run ended.
    pub outages: Vec<Duration>,
    /// The requested rate.
    pub rate: Rate,
    /// Maximum number of requests in flight, if one was given.
    pub concurrency: Option<usize>,
    /// What was found out about the rate.
    pub pace: PaceFound,
    /// Rows that need attention by reason, the largest group first.
    pub groups: &'a [Group],
    /// The next command to run, if there is one.
    pub next: Option<String>,
    /// Path of the report.
    pub report: String,
}

/// Returns the closing summary.
#[must_use]
pub fn closing_text(view: &ClosingView<'_>, look: Look) -> String {
    let (headline, help) = ending_text(view.ending, view.tally);
    let mut lines = vec![look.wrap(&headline, 2)];
    if let Some(help) = help {
        lines.push(look.wrap(&format!("  help: {help}"), 8));
    }
    for note in notes(view) {
        lines.push(look.wrap(&format!("  note: {note}"), 8));
    }
    let mut out = format!("{}\n\n{}", lines.join("\n"), counts(view.tally, look));
    let mut lines = vec![effort(view)];
    lines.extend(outages(view));
    lines.extend(rate_found(view));
    for line in lines {
        let _ = writeln!(out, "{}", look.wrap(&format!("  {line}"), 4));
    }
    for group in view.groups {
        out.push('\n');
        out.push_str(&group_text(group, look));
    }
    out.push('\n');
    out.push_str(&next_and_report(view.next.as_deref(), &view.report));
    out
}

/// The result of closing a run.
#[derive(Clone, Debug)]
pub struct ClosedView<'a> {
    /// Number of rows by outcome.
    pub tally: &'a Tally,
    /// The next command to run, if there is one.
    pub next: Option<String>,
    /// Path of the report.
    pub report: String,
}

/// Returns the text about a run that was closed.
#[must_use]
pub fn closed_text(view: &ClosedView<'_>, look: Look) -> String {
    format!(
        "{CLOSED}\n\n{}\n{}",
        counts(view.tally, look),
        next_and_report(view.next.as_deref(), &view.report)
    )
}

/// The first sentence about a run that was closed.
pub const CLOSED: &str =
    "Closed: the interrupted run now has a report, and nothing more is sent for it.";

/// Returns the short summary of a run that ended early, for `--quiet`.
#[must_use]
pub fn closing_in_brief(view: &ClosingView<'_>) -> String {
    let (headline, _) = ending_text(view.ending, view.tally);
    let mut out = format!("{headline}\n");
    for note in notes(view) {
        let _ = writeln!(out, "  note: {note}");
    }
    out.push_str(&next_and_report(view.next.as_deref(), &view.report));
    out
}

/// Returns one line about a run whose rows need attention: their number, the most frequent reason,
/// and the report.
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

/// Returns notes about the record of an interrupted run, and about rows without an outcome: rows in
/// doubt, and rows that were not sent.
fn notes(view: &ClosingView<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    if view.is_recorded && matches!(view.ending, Ending::Interrupted(_)) {
        notes.push("everything done so far is recorded".to_owned());
    }
    if view.rows_in_doubt > 0 {
        let rows = counted(view.rows_in_doubt, "row", "rows");
        let them = if view.rows_in_doubt == 1 {
            "it"
        } else {
            "them"
        };
        notes.push(format!(
            "{rows} may or may not have been changed; the same command sends {them} again"
        ));
    }
    if view.not_sent_yet > 0 {
        let rows = counted(view.not_sent_yet, "row has", "rows have");
        notes.push(format!("{rows} not been sent yet"));
    }
    notes
}

/// Returns the next command and the path of the report. Neither wraps, so that both can be copied.
fn next_and_report(next: Option<&str>, report: &str) -> String {
    let report = format!("Report: {}\n", visible(report));
    let Some(next) = next else {
        return report;
    };
    let note = match Shell::OF_THIS_SYSTEM.note_on(next) {
        Some(note) => format!("        ({note})\n"),
        None => String::new(),
    };
    format!("Next:   {}\n{note}{report}", visible(next))
}

fn counts(tally: &Tally, look: Look) -> String {
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
    let mut lines = String::new();
    for (outcome, count) in shown {
        let line = format!("  {outcome:<10}{:>width$}", grouped(count));
        let line = if outcome.is_failure() {
            look.red(&line)
        } else {
            line
        };
        lines.push_str(&line);
        lines.push('\n');
    }
    lines
}

fn effort(view: &ClosingView<'_>) -> String {
    if view.requests == 0 {
        return "no request was sent".to_owned();
    }
    let mut words = counted(view.requests, "request", "requests");
    if view.retries > 0 {
        let retries = counted(view.retries, "retry", "retries");
        let _ = write!(words, ", including {retries},");
    }
    let _ = write!(words, " in {}", rough(view.elapsed));
    if view.throttled >= Duration::from_secs(1) {
        let _ = write!(
            words,
            ", held back by the Org for {}",
            rough(view.throttled)
        );
    }
    words
}

/// Returns how long the Org did not respond; `None` if there was no outage.
fn outages(view: &ClosingView<'_>) -> Option<String> {
    let total: Duration = view.outages.iter().sum();
    let times = match view.outages.len() {
        0 => return None,
        1 => String::new(),
        number => format!(", in {number} outages"),
    };
    if view.outages.last().is_some_and(Duration::is_zero) {
        return Some("the Org did not respond when the run ended".to_owned());
    }
    Some(format!(
        "the Org did not respond for {}{times}",
        rough(total)
    ))
}

/// Returns what was found out about the rate, one finding a line.
fn rate_found(view: &ClosingView<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(rate) = view.pace.rate {
        let rate = per_second(rate);
        lines.push(match view.pace.limit {
            Some(_) => format!("rate found: {rate}; the Org refuses more"),
            None => format!("rate reached: {rate}; the Org refused nothing"),
        });
    }
    if let (Rate::Limited { .. }, Some(asked), Some(limit)) =
        (view.rate, view.rate.per_second(), view.pace.limit)
        && limit < MENTIONED_BELOW * asked
    {
        lines.push(format!(
            "note: the Org seems to accept about {}, less than the requested rate; use --rate auto \
             or --rate {}",
            per_second(limit),
            lower_rate(limit),
        ));
    }
    if let (Some(number), Some(pace)) = (view.concurrency, view.pace.bound_by_concurrency) {
        lines.push(format!(
            "note: --concurrency {number} limited the rate to {pace:.0}/s"
        ));
    }
    lines
}

fn per_second(rate: f64) -> String {
    let digits = usize::from(rate < 100.0);
    format!("{rate:.digits$} requests a second")
}

/// Returns a rate slightly below a limit, as an option's value.
fn lower_rate(limit: f64) -> String {
    let lower = SUGGESTED_SHARE * limit;
    if lower >= 1.0 {
        format!("{:.0}/s", lower.floor())
    } else {
        format!("{:.0}/m", (60.0 * lower).floor().max(1.0))
    }
}

fn group_text(group: &Group, look: Look) -> String {
    let mut title = format!("{} {}", counted(group.count, "row", "rows"), group.outcome);
    if let Some(status) = group.http_status {
        let _ = write!(title, " {status}");
    }
    let title = look.bold(&look.red(&title));
    let reason = one_line(&group.reason, 200);
    let first = if reason.is_empty() {
        title
    } else {
        format!("{title}: {reason}")
    };
    let mut lines = vec![look.wrap(&first, 2)];
    for row in group.row_names() {
        lines.push(look.dim(&look.wrap(&format!("    {row}"), 6)));
    }
    lines.push(look.wrap(&format!("  means: {}", group.meaning), 9));
    lines.push(look.wrap(&format!("  to do: {}", group.next), 9));
    format!("{}\n", lines.join("\n"))
}
