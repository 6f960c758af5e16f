//! The page of a run, for people who want to look at it instead of a table: what its result is, why
//! rows need attention, its course, and its rows.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use askama::Template;
use tempfile::NamedTempFile;

use crate::domain::{Flag, Outcome, REPORT_COLUMNS, Rate};
use crate::error::{Error, Kind, Result};
use crate::journal::identity::Identity;
use crate::journal::line::{CELLS_BEHIND_A_ROW, RecordedRow};
use crate::journal::run::Run;
use crate::journal::writer::Journal;
use crate::output::Output;
use crate::report::form::ReportForm;
use crate::report::html::chart;
use crate::report::html::frame::{
    Assets, guards_line, unfinished_mark, visible_entries, write_with_rows,
};
use crate::report::html::rows::{
    ColumnKind, MAX_LISTED, PageCell, PageColumn, PageOutcome, PageRow, PageRows, RowListing,
    other_columns, registered_column,
};
use crate::report::html::sync::{SyncKind, SyncOverview};
use crate::report::html::time::{PageTime, duration};
use crate::report::reasons::{Group, GroupIndex};
use crate::report::summary::Summary;
use crate::text::{Shell, counted, grouped, visible, visible_path};

/// The facts of a page that the summary does not hold.
#[derive(Clone, Debug)]
pub struct RunPageContext {
    /// Command to run next, if there is one.
    pub next: Option<String>,
    /// Rate that was asked for.
    pub rate: Rate,
    /// How the table differed from the register, for a `sync`.
    pub sync: Option<SyncOverview>,
}

/// Writes the page of a finished run, with the rows of its report. If the report is a workbook,
/// `rows` has them as CSV.
///
/// # Errors
///
/// Returns [`Kind::MidRun`] if the report can't be read or the page can't be written.
pub fn write_page(
    output: &Output,
    summary: &Summary,
    rows: Option<&NamedTempFile>,
    report: &Path,
    context: &RunPageContext,
) -> Result<()> {
    let opened = match rows {
        Some(rows) => rows.as_file().try_clone(),
        None => File::open(report),
    };
    let file = opened.map_err(|error| {
        let name = visible_path(report);
        Error::new(
            Kind::MidRun,
            format!("{name} can't be read for the page: {error}"),
        )
    })?;
    output.write(|out| {
        let rows = RunRows {
            input: &file,
            table: RunTable::new(summary, RowSource::Report, report),
        };
        write_run_page(out, summary, rows, report, context)
    })
}

/// Writes the page of a run that stopped early, with the rows in its journal. `report` is where its
/// report will be.
///
/// # Errors
///
/// As for [`write_page`].
pub fn write_page_so_far(
    output: &Output,
    summary: &Summary,
    journal: &Journal<File>,
    report: &Path,
    context: &RunPageContext,
) -> Result<()> {
    output.write(|out| {
        let rows = RunRows {
            input: journal.storage(),
            table: RunTable::new(summary, RowSource::Journal, report),
        };
        write_run_page(out, summary, rows, report, context)
    })
}

fn write_run_page(
    out: &mut dyn Write,
    summary: &Summary,
    mut rows: RunRows<'_, impl Read + Seek>,
    report: &Path,
    context: &RunPageContext,
) -> io::Result<()> {
    let name = visible_path(report);
    let (file, mark) = match rows.table.source {
        RowSource::Report => (name, None),
        RowSource::Journal => (format!("{name}.partial"), Some(unfinished_mark(report))),
    };
    let mut listing = RowListing {
        columns: rows.table.columns(),
        outcomes: Outcome::ALL.map(page_outcome).into(),
        causes: summary.failures.iter().map(cause_title).collect(),
        attention_label: "need attention",
        note: rows.table.selection.note(summary, &file),
        file: Some(file),
        static_rows: Vec::new(),
    };
    listing.read_static_rows(&mut rows)?;
    let page = RunPage {
        unfinished_mark: mark,
        ..RunPage::of(summary, listing, context)
    };
    write_with_rows(out, &page, &page.listing, &mut rows)
}

/// The page of a run.
#[derive(Template)]
#[template(path = "report/run.html")]
struct RunPage {
    unfinished_mark: Option<String>,
    assets: Assets,
    listing: RowListing,
    command: String,
    headline: String,
    /// Lines about rows that need attention or have no outcome.
    attention: Option<String>,
    left: Option<String>,
    ending: String,
    /// The words of the next command, which are not broken at the end of a line.
    next: Vec<String>,
    next_note: Option<&'static str>,
    who: String,
    started: PageTime,
    ended: PageTime,
    lasted: String,
    reason: String,
    address: String,
    input: String,
    guards: String,
    share: Vec<SharePart>,
    tiles: Vec<CountTile>,
    sync: Option<SyncOverview>,
    causes: Vec<CauseCard>,
    timeline: Option<String>,
    latencies: Option<String>,
    facts: Vec<(String, String)>,
    starts: Vec<StartCard>,
}

/// A part of the bar that shows the outcomes, in 10,000ths.
struct SharePart {
    outcome: &'static str,
    x: u64,
    width: u64,
}

struct CountTile {
    outcome: &'static str,
    label: String,
    count: u64,
    shown: String,
}

struct CauseCard {
    outcome: &'static str,
    title: String,
    rows: String,
    meaning: &'static str,
    next: &'static str,
    examples: Vec<String>,
}

/// A start of the run: the first, or one that continued it.
struct StartCard {
    label: &'static str,
    at: PageTime,
    facts: Vec<(String, String)>,
}

impl RunPage {
    fn of(summary: &Summary, listing: RowListing, context: &RunPageContext) -> Self {
        let outcomes = &summary.outcomes;
        let left = summary.rows.saturating_sub(outcomes.total());
        let lasted = summary.ended.as_millisecond() - summary.started.as_millisecond();
        let latest = summary.runs.last();
        let reason = latest.and_then(|run| run.who.reason.as_deref());
        Self {
            unfinished_mark: None,
            assets: Assets::new(),
            listing,
            command: summary.command.clone(),
            headline: headline(summary, left),
            attention: match outcomes.attention() {
                0 => None,
                1 => Some("1 row needs attention".to_owned()),
                rows => Some(format!("{} rows need attention", grouped(rows))),
            },
            left: match left {
                0 => None,
                1 => Some("1 row has no outcome yet.".to_owned()),
                rows => Some(format!("{} rows have no outcome yet.", grouped(rows))),
            },
            ending: ending(summary),
            next: words(context.next.as_deref().unwrap_or_default()),
            next_note: context
                .next
                .as_deref()
                .and_then(|next| Shell::OF_THIS_SYSTEM.note_on(next)),
            who: who(&summary.runs),
            started: PageTime::of(summary.started),
            ended: PageTime::of(summary.ended),
            lasted: duration(u64::try_from(lasted).unwrap_or(0)),
            reason: visible(reason.unwrap_or("no reason was given")),
            address: visible(&summary.address),
            input: visible(&summary.input),
            guards: latest.map(guards).unwrap_or_default(),
            share: share(summary),
            tiles: Outcome::ALL.map(|outcome| tile(summary, outcome)).into(),
            sync: context.sync.clone(),
            causes: summary.failures.iter().map(cause_card).collect(),
            timeline: chart::timeline(summary, context.rate),
            latencies: summary.latency.as_ref().and_then(chart::latencies),
            facts: run_facts(summary),
            starts: summary.runs.iter().zip(0..).map(start_card).collect(),
        }
    }
}

fn page_outcome(outcome: Outcome) -> PageOutcome {
    PageOutcome {
        name: outcome.as_str(),
        label: outcome_label(outcome.as_str()),
        attention: outcome.needs_attention(),
    }
}

/// Returns the word for an outcome with spaces.
fn outcome_label(outcome: &str) -> String {
    outcome.replace('_', " ")
}

fn headline(summary: &Summary, left: u64) -> String {
    let is_as_wanted = left == 0 && summary.outcomes.attention() == 0;
    match summary.rows {
        0 => "The table has no rows".to_owned(),
        1 if is_as_wanted => "The row is as it should be".to_owned(),
        rows if is_as_wanted => format!("All {} rows are as they should be", grouped(rows)),
        rows => format!(
            "{} of {} applied",
            grouped(summary.outcomes.count(Outcome::Applied)),
            counted(rows, "row", "rows")
        ),
    }
}

fn ending(summary: &Summary) -> String {
    // The lines above say the rest about a run that finished.
    if let Some(code @ (0 | 1)) = summary.exit_code {
        return format!("Finished with exit code {code}.");
    }
    let ending = match &summary.ending {
        Some(ending) => visible(ending),
        None => "The process was killed.".to_owned(),
    };
    match summary.exit_code {
        Some(code) => format!("{ending} Exit code {code}."),
        None => ending,
    }
}

fn words(command: &str) -> Vec<String> {
    let command = visible(command);
    command.split_inclusive(' ').map(str::to_owned).collect()
}

/// Returns the accounts that started the run or continued it, each once.
fn who(runs: &[Run]) -> String {
    let mut people: Vec<String> = Vec::new();
    for run in runs {
        let person = visible(&format!("{} on {}", run.who.user, run.who.host));
        if !people.contains(&person) {
            people.push(person);
        }
    }
    people.join(", ")
}

fn guards(run: &Run) -> String {
    let confirmation = visible(&run.who.confirmation);
    format!(
        "{}; confirmed: {confirmation}",
        guards_line(&run.who.options)
    )
}

fn share(summary: &Summary) -> Vec<SharePart> {
    let rows = u128::from(summary.rows.max(1));
    let position = |before: u64| u64::try_from(u128::from(before) * 10_000 / rows).unwrap_or(0);
    let mut parts = Vec::new();
    let mut before = 0;
    for outcome in Outcome::ALL {
        let count = summary.outcomes.count(outcome);
        if count > 0 {
            let x = position(before);
            parts.push(SharePart {
                outcome: outcome.as_str(),
                x,
                // One row of very many is still visible.
                width: (position(before + count) - x).max(20),
            });
        }
        before += count;
    }
    parts
}

fn tile(summary: &Summary, outcome: Outcome) -> CountTile {
    let count = summary.outcomes.count(outcome);
    CountTile {
        outcome: outcome.as_str(),
        label: outcome_label(outcome.as_str()),
        count,
        shown: grouped(count),
    }
}

/// Returns the status and the whole message of a cause.
fn cause_title(group: &Group) -> String {
    let reason = match group.reason.as_str() {
        "" => "no message",
        reason => reason,
    };
    match group.http_status {
        Some(status) => visible(&format!("{status} {reason}")),
        None => visible(reason),
    }
}

fn cause_card(group: &Group) -> CauseCard {
    let outcome = outcome_label(group.outcome.as_str());
    CauseCard {
        title: cause_title(group),
        rows: format!("{} {outcome}", counted(group.count, "row", "rows")),
        outcome: group.outcome.as_str(),
        meaning: group.meaning,
        next: group.next,
        examples: group.row_names(),
    }
}

/// Returns the facts about the whole run.
fn run_facts(summary: &Summary) -> Vec<(String, String)> {
    let traffic = &summary.traffic;
    let at_least = if summary.traffic_is_complete {
        ""
    } else {
        "at least "
    };
    let requests = format!(
        "{at_least}{}, including {} and {}",
        grouped(traffic.requests),
        counted(traffic.retries, "retry", "retries"),
        counted(traffic.log_ins, "log-in", "log-ins"),
    );
    let mut facts = vec![
        (
            "BLAKE3 of the table".to_owned(),
            summary.input_blake3.clone(),
        ),
        ("Requests".to_owned(), requests),
        (
            "Throttled by the Org for".to_owned(),
            duration(traffic.throttled_ms),
        ),
    ];
    if let Some(rate) = traffic.rate_per_second {
        let rate = format!("{rate:.1} requests per second");
        facts.push(("Rate at the end".to_owned(), rate));
    }
    for (name, value) in summary.identity.options_in_words() {
        facts.push((name.to_owned(), visible(&value)));
    }
    facts
}

fn start_card((run, index): (&Run, usize)) -> StartCard {
    let who = &run.who;
    let mut access = run.access.words();
    if run.new_key {
        access.push_str(", said to be a new key of the same Org");
    }
    let mut facts = vec![
        (
            "By".to_owned(),
            visible(&format!(
                "{} on {}, process {}",
                who.user, who.host, run.pid
            )),
        ),
        ("Authentication".to_owned(), visible(&access)),
        (
            "Reason".to_owned(),
            visible(who.reason.as_deref().unwrap_or("none given")),
        ),
        ("Confirmed".to_owned(), visible(&who.confirmation)),
        ("Version".to_owned(), visible(&who.version)),
    ];
    facts.extend(visible_entries(&who.options));
    StartCard {
        label: if index == 0 { "Started" } else { "Continued" },
        at: PageTime::of(run.at),
        facts,
    }
}

/// The file that rows are read from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RowSource {
    Report,
    /// Has a number and a checksum behind each row, and other records between them.
    Journal,
}

/// The rows that a page lists.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RowSelection {
    All,
    NotApplied,
    NeedAttention,
}

impl RowSelection {
    /// Returns the largest selection that a page can list.
    fn of(summary: &Summary) -> Self {
        let total = summary.outcomes.total();
        if total <= MAX_LISTED {
            Self::All
        } else if total - summary.outcomes.count(Outcome::Applied) <= MAX_LISTED {
            Self::NotApplied
        } else {
            Self::NeedAttention
        }
    }

    fn includes(self, outcome: Outcome) -> bool {
        match self {
            Self::All => true,
            Self::NotApplied => outcome != Outcome::Applied,
            Self::NeedAttention => outcome.needs_attention(),
        }
    }

    /// Returns what the page says about rows that it does not list.
    fn note(self, summary: &Summary, file: &str) -> Option<String> {
        let limit = grouped(MAX_LISTED);
        let attention = summary.outcomes.attention();
        match self {
            Self::All => None,
            Self::NotApplied => Some(format!(
                "Rows that were applied are not listed here, because a page lists at most {limit} \
                 rows. They are in {file}."
            )),
            Self::NeedAttention => Some(format!(
                "Only {} that need attention are listed here, because a page lists at most {limit} \
                 rows. All rows are in {file}.",
                if attention > MAX_LISTED {
                    format!("the first {limit} of {} rows", grouped(attention))
                } else {
                    "rows".to_owned()
                },
            )),
        }
    }
}

/// The rows of a run, read from its report or its journal.
struct RunRows<'a, R> {
    input: R,
    table: RunTable<'a>,
}

impl<R: Read + Seek> PageRows for RunRows<'_, R> {
    fn for_each(&mut self, each: &mut dyn FnMut(PageRow) -> io::Result<bool>) -> io::Result<()> {
        self.input.rewind()?;
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(self.table.delimiter)
            .has_headers(false)
            .flexible(true)
            .from_reader(&mut self.input);
        let mut bytes = csv::ByteRecord::new();
        while reader.read_byte_record(&mut bytes)? {
            let record = csv::StringRecord::from_byte_record_lossy(bytes.clone());
            if let Some(row) = self.table.page_row(&record)
                && !each(row)?
            {
                break;
            }
        }
        Ok(())
    }
}

/// How the records of a report or a journal become rows of a page.
struct RunTable<'a> {
    source: RowSource,
    delimiter: u8,
    identity: &'a Identity,
    id_column: Option<usize>,
    registered_column: Option<usize>,
    /// Indices of the input's own columns that are shown.
    other_columns: Vec<usize>,
    selection: RowSelection,
    causes: GroupIndex,
}

impl<'a> RunTable<'a> {
    fn new(summary: &'a Summary, source: RowSource, report: &Path) -> Self {
        let identity = &summary.identity;
        let form = match source {
            RowSource::Report => ReportForm::of(&identity.table.format, report),
            RowSource::Journal => ReportForm::default(),
        };
        Self {
            source,
            delimiter: form.delimiter,
            identity,
            id_column: identity.carried_id_column(),
            registered_column: registered_column(identity),
            other_columns: other_columns(identity),
            selection: RowSelection::of(summary),
            causes: GroupIndex::of(&summary.failures),
        }
    }

    fn columns(&self) -> Vec<PageColumn> {
        let mut columns = vec![
            PageColumn::new("Line", ColumnKind::Number),
            PageColumn::new("ID", ColumnKind::Id),
            PageColumn::new("Wanted", ColumnKind::Word),
        ];
        if self.registered_column.is_some() {
            columns.push(PageColumn::new("Registered", ColumnKind::Word));
        }
        if self.is_sync() {
            columns.push(PageColumn::new("Compared", ColumnKind::Word));
        }
        for index in &self.other_columns {
            let name = &self.identity.header[*index].name;
            columns.push(PageColumn::new(name, ColumnKind::Text));
        }
        columns.extend([
            PageColumn::new("Outcome", ColumnKind::Outcome),
            PageColumn::new("Status", ColumnKind::Number),
            PageColumn::new("Tries", ColumnKind::Number),
            PageColumn::new("Finished", ColumnKind::Time),
            PageColumn::new("Detail", ColumnKind::Detail),
        ]);
        columns
    }

    /// Checks whether the rows were compared with the register.
    fn is_sync(&self) -> bool {
        self.registered_column.is_some() && self.identity.command == "sync"
    }

    /// Returns a row of the page; `None` for a record that is no row or is not listed.
    fn page_row(&self, record: &csv::StringRecord) -> Option<PageRow> {
        let behind = match self.source {
            RowSource::Report => 0,
            RowSource::Journal => CELLS_BEHIND_A_ROW,
        };
        let carried = record.len().checked_sub(REPORT_COLUMNS.len() + behind)?;
        let mut own = [""; REPORT_COLUMNS.len()];
        for (offset, cell) in own.iter_mut().enumerate() {
            *cell = record.get(carried + offset)?;
        }
        let row = RecordedRow::from_cells(&own)?;
        if !self.selection.includes(row.outcome) {
            return None;
        }
        let input_cell = |index: usize| match record.get(index) {
            Some(cell) if index < carried => PageCell::of_input(cell),
            _ => PageCell::Empty,
        };
        let mut cells = vec![
            PageCell::number(row.line),
            self.id_column.map_or(PageCell::Empty, input_cell),
            row.wanted.map_or(PageCell::Empty, PageCell::of_flag),
        ];
        if let Some(index) = self.registered_column {
            let registered = record.get(index).unwrap_or_default();
            cells.push(match Flag::from_word(registered) {
                Some(flag) => PageCell::of_flag(flag),
                None => input_cell(index),
            });
            if self.is_sync() {
                let kind = SyncKind::of(&row, registered);
                cells.push(PageCell::Text(kind.word().to_owned()));
            }
        }
        cells.extend(self.other_columns.iter().map(|index| input_cell(*index)));
        cells.extend([
            PageCell::Empty,
            PageCell::number(row.http_status),
            PageCell::Number(row.attempts.into()),
            PageCell::Time(row.finished_at),
            PageCell::Text(visible(row.detail)),
        ]);
        Some(PageRow {
            outcome: row.outcome as usize,
            cause: self.causes.find(&row),
            cells,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::domain::Record;
    use crate::report::html::frame::check_page_place;
    use crate::report::summarize;
    use crate::report::tests::{Desk, append, applied, at};

    #[test]
    fn page_of_a_stopped_run_shows_hostile_rows_as_text() {
        let desk = Desk::new(9);
        let (mut journal, _) = desk.resume();
        let detail = "<script>alert(1)</script>\u{202e}".to_owned();
        journal.append(
            &Record {
                detail,
                outcome: Outcome::Failed,
                ..applied(1)
            },
            b"1,\"<b>\"\"x\"",
            at(1),
        );
        append(&mut journal, [2]);
        let summary = summarize(&mut journal, &AtomicBool::new(false)).unwrap();
        let report = desk.paths().report;
        let output = check_page_place(&desk.path("page.html"), &report, false).unwrap();
        let context = RunPageContext {
            next: Some("mfa-optout apply '<users>.csv'".to_owned()),
            rate: Rate::Unlimited,
            sync: None,
        };
        write_page_so_far(&output, &summary, &journal, &report, &context).unwrap();
        let page = fs::read_to_string(desk.path("page.html")).unwrap();
        for words in [
            "1 of 9 rows applied",
            "7 rows have no outcome yet",
            "ada on desk",
            "users.report.csv.partial",
        ] {
            assert!(page.contains(words), "{words:?} is not in {page}");
        }
        for markup in ["<script>alert", "<b>\"", "<users>", "\u{202e}"] {
            assert!(!page.contains(markup), "{markup:?} is in {page}");
        }
        let (_, data) = page
            .split_once(r#"<script type="application/json" id="data">"#)
            .unwrap();
        let (data, _) = data.split_once("</script>").unwrap();
        let data: serde_json::Value = serde_json::from_str(data).unwrap();
        let names: Vec<&str> = data["columns"]
            .as_array()
            .unwrap()
            .iter()
            .map(|column| column["name"].as_str().unwrap())
            .collect();
        assert_eq!(
            names,
            [
                "Line", "ID", "Wanted", "name", "Outcome", "Status", "Tries", "Finished", "Detail"
            ]
        );
        let rows = &data["rows"];
        assert_eq!(rows[0][5], "<b>\"x");
        assert_eq!(rows[0][10], r"<script>alert(1)</script>\u{202e}");
        assert_eq!((&rows[0][0], &rows[0][1]), (&1.into(), &0.into()));
        assert_eq!(
            (&rows[1][0], &rows[1][1]),
            (&0.into(), &serde_json::Value::Null)
        );
    }
}
