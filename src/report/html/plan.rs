//! The page of a plan, which a dry run writes: who would be changed, from what to what, to attach
//! to a ticket.

use std::io;

use askama::Template;

use crate::domain::{Flag, LineNumber};
use crate::error::Result;
use crate::journal::identity::Identity;
use crate::journal::run::Start;
use crate::output::Output;
use crate::report::html::frame::{Assets, guards_line, write_with_rows};
use crate::report::html::rows::{
    ColumnKind, MAX_LISTED, PageCell, PageColumn, PageOutcome, PageRow, PageRows, RowListing,
    other_columns, registered_column,
};
use crate::report::html::time::PageTime;
use crate::text::{counted, grouped, visible};

/// The facts of a plan's page.
#[derive(Clone, Debug)]
pub struct PlanPage<'a> {
    /// The run that was planned, and who planned it.
    pub start: &'a Start,
    /// Number of rows for each action.
    pub counts: Vec<(PlannedAction, u64)>,
    /// Further facts, such as the report's path, with their names.
    pub facts: Vec<(&'static str, String)>,
    /// What is worth knowing.
    pub notes: Vec<String>,
    /// What is worth a second look.
    pub warnings: Vec<String>,
}

/// What a run would do for a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlannedAction {
    /// Send an opt-out.
    OptOut,
    /// Send an opt-in.
    OptIn,
    /// Nothing, because an earlier row asks for the same.
    Duplicate,
    /// Nothing, because the flag is set already.
    Unchanged,
    /// Nothing, because the row is not valid.
    Invalid,
}

impl PlannedAction {
    const ALL: [Self; 5] = [
        Self::OptOut,
        Self::OptIn,
        Self::Duplicate,
        Self::Unchanged,
        Self::Invalid,
    ];

    fn page_outcome(self) -> PageOutcome {
        let (name, label) = match self {
            Self::OptOut => ("opt_out", "opt out"),
            Self::OptIn => ("opt_in", "opt in"),
            Self::Duplicate => ("duplicate", "duplicate"),
            Self::Unchanged => ("unchanged", "unchanged"),
            Self::Invalid => ("invalid", "invalid"),
        };
        PageOutcome {
            name,
            label: label.to_owned(),
            attention: matches!(self, Self::OptOut | Self::OptIn),
        }
    }
}

/// A row of a plan.
#[derive(Clone, Debug)]
pub struct PlannedRow {
    /// The cells of the input that a report would carry, as CSV.
    pub cells: Vec<u8>,
    /// Where the row stands in the input.
    pub line: Option<LineNumber>,
    /// What the run would do.
    pub action: PlannedAction,
    /// The flag that is wanted, if it is known.
    pub to: Option<Flag>,
    /// Remark on the row.
    pub detail: String,
}

/// Writes the page of a plan. `rows` starts to read the rows, which happens twice.
///
/// # Errors
///
/// Returns an error if the rows can't be read or the page can't be written.
pub fn write_plan_page<I>(
    output: &Output,
    plan: &PlanPage<'_>,
    rows: impl Fn() -> Result<I>,
) -> Result<()>
where
    I: Iterator<Item = Result<PlannedRow>>,
{
    output.write(|out| {
        let identity = &plan.start.identity;
        let mut rows = PlanRows {
            start: rows,
            id_column: identity.carried_id_column(),
            registered_column: registered_column(identity),
            other_columns: other_columns(identity),
        };
        let mut listing = RowListing {
            columns: columns(identity, &rows.other_columns),
            outcomes: PlannedAction::ALL.map(PlannedAction::page_outcome).into(),
            causes: Vec::new(),
            attention_label: "will be sent",
            file: None,
            note: omission(plan),
            static_rows: Vec::new(),
        };
        listing.read_static_rows(&mut rows)?;
        let page = PlanTemplate::of(plan, listing);
        write_with_rows(out, &page, &page.listing, &mut rows)
    })
}

/// Returns what the page says about rows that it does not list.
fn omission(plan: &PlanPage<'_>) -> Option<String> {
    let rows: u64 = plan.counts.iter().map(|(_, count)| count).sum();
    if rows <= MAX_LISTED {
        return None;
    }
    let limit = grouped(MAX_LISTED);
    Some(format!(
        "Only the first {limit} of {} rows are listed.",
        grouped(rows)
    ))
}

fn columns(identity: &Identity, other_columns: &[usize]) -> Vec<PageColumn> {
    let mut columns = vec![
        PageColumn::new("Line", ColumnKind::Number),
        PageColumn::new("ID", ColumnKind::Id),
    ];
    for index in other_columns {
        let name = &identity.header[*index].name;
        columns.push(PageColumn::new(name, ColumnKind::Text));
    }
    columns.extend([
        PageColumn::new("From", ColumnKind::Word),
        PageColumn::new("To", ColumnKind::Word),
        PageColumn::new("Action", ColumnKind::Outcome),
        PageColumn::new("Remark", ColumnKind::Detail),
    ]);
    columns
}

/// The rows of a plan, read anew for each pass.
struct PlanRows<F> {
    start: F,
    id_column: Option<usize>,
    registered_column: Option<usize>,
    /// Indices of the input's own columns that are shown.
    other_columns: Vec<usize>,
}

impl<F, I> PageRows for PlanRows<F>
where
    F: Fn() -> Result<I>,
    I: Iterator<Item = Result<PlannedRow>>,
{
    fn for_each(&mut self, each: &mut dyn FnMut(PageRow) -> io::Result<bool>) -> io::Result<()> {
        for row in (self.start)().map_err(io::Error::other)? {
            let row = row.map_err(io::Error::other)?;
            let row = self.page_row(&row)?;
            if !each(row)? {
                break;
            }
        }
        Ok(())
    }
}

impl<F> PlanRows<F> {
    fn page_row(&self, row: &PlannedRow) -> io::Result<PageRow> {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .from_reader(row.cells.as_slice());
        let mut record = csv::ByteRecord::new();
        reader.read_byte_record(&mut record)?;
        let record = csv::StringRecord::from_byte_record_lossy(record);
        let cell = |index: usize| {
            record
                .get(index)
                .map_or(PageCell::Empty, PageCell::of_input)
        };
        let registered = self.registered_column.and_then(|index| record.get(index));
        let from = match registered {
            Some("") => PageCell::Text("not registered".to_owned()),
            Some(word) => match Flag::from_word(word) {
                Some(flag) => PageCell::of_flag(flag),
                None => PageCell::of_input(word),
            },
            None => PageCell::not_known(),
        };
        let mut cells = vec![
            PageCell::number(row.line),
            self.id_column.map_or(PageCell::Empty, cell),
        ];
        cells.extend(self.other_columns.iter().map(|index| cell(*index)));
        cells.extend([
            from,
            row.to.map_or(PageCell::Empty, PageCell::of_flag),
            PageCell::Empty,
            PageCell::Text(visible(&row.detail)),
        ]);
        Ok(PageRow {
            outcome: row.action as usize,
            cause: None,
            cells,
        })
    }
}

/// The template of a plan's page.
#[derive(Template)]
#[template(path = "report/plan.html")]
struct PlanTemplate {
    assets: Assets,
    listing: RowListing,
    command: String,
    headline: String,
    who: String,
    when: PageTime,
    why: String,
    guards: String,
    facts: Vec<(&'static str, String)>,
    tiles: Vec<PlanTile>,
    notes: Vec<String>,
    warnings: Vec<String>,
}

struct PlanTile {
    action: PageOutcome,
    count: u64,
    shown: String,
}

impl PlanTemplate {
    fn of(plan: &PlanPage<'_>, listing: RowListing) -> Self {
        let start = plan.start;
        let who = &start.who;
        let count = |action| {
            let found = plan.counts.iter().find(|(counted, _)| *counted == action);
            found.map_or(0, |(_, count)| *count)
        };
        let mut facts = vec![
            ("Org", visible(&start.identity.address)),
            ("Table", visible(&start.identity.input.name)),
            ("BLAKE3 of the table", start.identity.input.blake3.clone()),
        ];
        facts.extend(
            plan.facts
                .iter()
                .map(|(name, value)| (*name, visible(value))),
        );
        Self {
            assets: Assets::new(),
            listing,
            command: start.identity.command.clone(),
            headline: format!(
                "{} to opt out, {} to opt in",
                counted(count(PlannedAction::OptOut), "user", "users"),
                grouped(count(PlannedAction::OptIn)),
            ),
            who: visible(&format!("{} on {}", who.user, who.host)),
            when: PageTime::of(start.at),
            why: visible(who.reason.as_deref().unwrap_or("no reason was given")),
            guards: guards_line(&who.options),
            facts,
            tiles: PlannedAction::ALL
                .map(|action| PlanTile {
                    action: action.page_outcome(),
                    count: count(action),
                    shown: grouped(count(action)),
                })
                .into(),
            notes: plan.notes.iter().map(|note| visible(note)).collect(),
            warnings: plan.warnings.iter().map(|note| visible(note)).collect(),
        }
    }
}
