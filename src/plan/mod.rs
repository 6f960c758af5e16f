//! Makes a plan of a table. A first pass checks and counts all rows, a second pass hands out one
//! [`Step`] for each row. Both check a row in the same way, and neither keeps the rows. Nothing
//! here sends anything.

mod guard;
mod occurrence;
mod order;
mod problems;
mod registered;
mod row_check;
mod totals;

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use roaring::RoaringTreemap;

pub use self::guard::within_allowance;
use self::occurrence::{Occurrence, OccurrenceMap};
pub use self::order::SendOrder;
use self::problems::ProblemFiles;
pub use self::problems::check_problems_place;
use self::registered::{Comparison, Skip};
pub use self::registered::{REGISTERED_COLUMN, RegisterRequests, RegisterUse, SyncCounts, SyncUse};
use self::row_check::{RowCheck, RowReader, RowRequest};
use self::totals::{CheckedRow, TotalCheck};
use crate::domain::{Change, Flag, LineNumber, Outcome, Record, RowNumber, Threshold};
use crate::error::{Error, Kind, Result};
use crate::input::cell::CellError;
use crate::input::{Directory, Input, Place, PrivateCopy};
use crate::output::Output;

/// The rows of the input that the run is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Selection {
    /// All rows.
    #[default]
    All,
    /// Those of an earlier report with one of these outcomes.
    Retry(Vec<Outcome>),
    /// Those of an earlier report that were `applied`, with the opposite flag, and the opt-outs
    /// that are `unknown`.
    Undo,
}

/// How the rows are checked.
#[derive(Clone, Debug)]
pub struct Options {
    /// How the input itself is read.
    pub input: crate::input::Options,
    /// The Org's host, on which a pasted address must be; `None` accepts any.
    pub host: Option<String>,
    /// Whether invalid rows are left out instead of refusing the table.
    pub skip_invalid: bool,
    /// Whether the last row is read as a user even if it looks like a row of totals.
    pub keep_last_row: bool,
    /// The rows that the run is about.
    pub selection: Selection,
    /// The directory that gives the user IDs for the keys of the table.
    pub directory: Option<Arc<Directory>>,
    /// How the run uses the register.
    pub register: RegisterUse,
    /// Whether the input is a report of `sync`, whose last carried column says what the register
    /// said before.
    pub has_registered_column: bool,
    /// The day on which the run takes place.
    pub today: Date,
    /// The file to which all problems are written, as CSV.
    pub problems: Option<Output>,
}

impl Options {
    /// Returns options for all rows on this day.
    #[must_use]
    pub fn on(today: Date) -> Self {
        Self {
            input: crate::input::Options::default(),
            host: None,
            skip_invalid: false,
            keep_last_row: false,
            selection: Selection::All,
            directory: None,
            register: RegisterUse::None,
            has_registered_column: false,
            today,
            problems: None,
        }
    }
}

/// The counts of the first pass. `rows` is the sum of the next five.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Number of rows of the plan, without blank rows and rows that are not selected.
    pub rows: u64,
    /// Number of rows to be opted out.
    pub opt_out: u64,
    /// Number of rows to be opted back in.
    pub opt_in: u64,
    /// Number of rows that repeat the request of an earlier row.
    pub duplicate: u64,
    /// Number of invalid rows.
    pub invalid: u64,
    /// Number of rows that are valid and need not be sent.
    pub unchanged: u64,
    /// Number of opt-outs among all rows whose end date has passed, so that they count as opt-ins.
    pub lapsed: u64,
    /// Number of cells that a spreadsheet would take for a formula, including those of the header.
    pub formula_cells: u64,
}

impl Counts {
    /// Returns the number of rows to be sent.
    #[must_use]
    pub fn to_send(self) -> u64 {
        self.opt_out + self.opt_in
    }
}

/// A table of which every row has been checked.
pub struct Plan {
    input: Input,
    options: Options,
    comparison: Comparison,
    counts: Counts,
    ids: Ids,
    /// Number of rows whose user ID is known.
    known_users: u64,
    conflicts: HashMap<u64, [Option<Place>; 2]>,
    latest_unknown_at: Option<Timestamp>,
    /// The position of the row of totals among the rows of the table, from 1, if there is one.
    total_row: Option<u64>,
}

/// What is remembered of the IDs after the first pass.
#[derive(Default)]
struct Ids {
    /// The IDs of several rows with the same flag.
    repeated: RoaringTreemap,
    /// The IDs of several rows with different flags.
    contradicted: RoaringTreemap,
}

impl Plan {
    /// Checks all rows of a table.
    ///
    /// # Errors
    ///
    /// Returns an error of [`Kind::Input`] if a row is invalid and invalid rows are not skipped,
    /// with the first problems and a count of the rest; if the selection does not
    /// fit; if the input can't be read.
    pub fn check(input: Input, options: Options) -> Result<Self> {
        Self::read_all(input, options).map_err(Error::before_sending)
    }

    fn read_all(input: Input, options: Options) -> Result<Self> {
        if options.selection != Selection::All && !input.columns().is_report() {
            let message = format!(
                "{} is not the report of an earlier run: it does not end in a report's columns",
                input.found().name
            );
            return Err(Error::new(Kind::Input, message).help("for a table of users use apply"));
        }
        check_source_of_flags(&input, &options)?;
        if let Some(directory) = &options.directory {
            check_header_is_nobody(&input, directory)?;
        }
        let mut plan = Self {
            input,
            comparison: Comparison::new(options.register.clone()),
            options,
            counts: Counts::default(),
            ids: Ids::default(),
            known_users: 0,
            conflicts: HashMap::new(),
            latest_unknown_at: None,
            total_row: None,
        };
        plan.count()?;
        if plan.total_row.is_some() {
            plan.ids.contradicted.clear();
            plan.count()?;
        }
        if !plan.ids.contradicted.is_empty() {
            plan.find_conflicts()?;
            plan.count()?;
        }
        if plan.counts.invalid > 0 {
            plan.report_problems()?;
        }
        Ok(plan)
    }

    /// Returns how the rows are checked.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Returns the counts of the first pass.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Returns the input.
    #[must_use]
    pub fn input(&self) -> &Input {
        &self.input
    }

    /// Reads the rows from a copy of the input from now on.
    pub fn read_from(&mut self, copy: PrivateCopy) {
        self.input.read_from(copy);
    }

    /// Returns BLAKE3 of the raw bytes of the input.
    #[must_use]
    pub fn fingerprint(&self) -> blake3::Hash {
        self.input.found().fingerprint
    }

    /// Returns the names of the columns that a report carries: those of the input without an
    /// earlier report's results.
    #[must_use]
    pub fn header(&self) -> &[String] {
        &self.input.header()[..self.input.columns().carried]
    }

    /// Returns the directory that gives the user IDs, if the table has none. A report carries them
    /// in a column of its own then, behind the columns of the table.
    #[must_use]
    pub fn directory(&self) -> Option<&Directory> {
        self.options.directory.as_deref()
    }

    /// Returns the number of rows of the table whose user ID is known.
    #[must_use]
    pub fn known_users(&self) -> u64 {
        self.known_users
    }

    /// Returns the latest `finished_at` among the selected rows that may or may not have been
    /// changed.
    #[must_use]
    pub fn latest_unknown_at(&self) -> Option<Timestamp> {
        self.latest_unknown_at
    }

    /// Checks that the plan opts out no more people than `limit` allows. A share is one of the
    /// rows, rounded down.
    ///
    /// # Errors
    ///
    /// Returns an error of [`Kind::Refused`] if it does. Only another limit gets around it.
    pub fn opt_out_guard(&self, limit: Threshold) -> Result<()> {
        within_allowance(self.counts.opt_out, self.counts.rows, limit)
    }

    /// Returns the second pass: one step for each row in order, without the rows `on_record`.
    ///
    /// # Errors
    ///
    /// Fails if the input can't be read any more, or was modified.
    pub fn changes<'a>(&'a self, on_record: &'a RoaringTreemap) -> Result<Changes<'a>> {
        Ok(Changes {
            plan: self,
            on_record,
            rows: self.row_reader()?,
            number: 0,
            appended: None,
            first: HashMap::new(),
        })
    }

    /// Returns the files that messages about rows are about.
    fn sources(&self, suggests: bool) -> ProblemFiles<'_> {
        ProblemFiles {
            input: &self.input,
            directory: self.options.directory.as_deref(),
            suggests,
        }
    }

    fn row_reader(&self) -> Result<RowReader<'_>> {
        RowReader::new(&self.input, &self.options, self.total_row)
    }

    /// Makes a pass that counts. Contradictions and the row of totals that earlier passes have
    /// found are taken into account.
    fn count(&mut self) -> Result<()> {
        let mut census = Census::default();
        let known = Some(&self.ids.contradicted).filter(|ids| !ids.is_empty());
        let id_column = self.input.columns().id;
        let is_flag_set = self.input.columns().flag.is_none();
        let looks_for_total = self.options.selection == Selection::All
            && !self.options.keep_last_row
            && self.options.directory.is_none()
            && self.total_row.is_none();
        let mut rows = self.row_reader()?;
        while let Some(check) = rows.next()? {
            let user = match check {
                RowCheck::NotSelected => continue,
                RowCheck::Invalid(_) if looks_for_total => rows.reading.user(&rows.row).ok(),
                RowCheck::Invalid(_) => None,
                RowCheck::Request(request) => Some(request.user),
            };
            if looks_for_total && let Some(user) = user {
                let row = CheckedRow {
                    position: rows.position,
                    row: &rows.row,
                    id_column,
                };
                let distinct = census.distinct;
                census.total.take(user, &row, distinct, is_flag_set);
            }
            match check {
                RowCheck::Request(request) => {
                    census.known_users += 1;
                    census.take(&request, known, &self.comparison);
                }
                RowCheck::Invalid(_) | RowCheck::NotSelected => {
                    census.known_users += u64::from(rows.reading.user(&rows.row).is_ok());
                    census.counts.invalid += 1;
                }
            }
            census.counts.rows += 1;
            census.counts.formula_cells += rows.reading.formula_cells(&rows.row);
            let unknown_at = rows.reading.unknown_at(&rows.row);
            census.latest_unknown_at = census.latest_unknown_at.max(unknown_at);
        }
        let header = self.header().iter();
        let suspect = header.filter(|name| row_check::is_formula(name.as_bytes()));
        census.counts.formula_cells += suspect.count() as u64;
        self.comparison.counts = census.sync_counts;
        let rows_left_out = self.input.found().hidden_left_out > 0;
        self.comparison
            .find_absent(&census.in_table, rows_left_out, &mut census.counts);
        self.counts = census.counts;
        self.known_users = census.known_users;
        self.ids.repeated = census.repeated;
        self.ids.contradicted |= census.contradicted;
        self.latest_unknown_at = census.latest_unknown_at;
        self.total_row = self.total_row.or(census.total.total_row());
        Ok(())
    }

    /// Makes a pass that finds the first row of either flag of every contradicted ID.
    fn find_conflicts(&mut self) -> Result<()> {
        let mut conflicts: HashMap<u64, [Option<Place>; 2]> = HashMap::new();
        let mut rows = self.row_reader()?;
        while let Some(check) = rows.next()? {
            let RowCheck::Request(request) = check else {
                continue;
            };
            if self.ids.contradicted.contains(request.user.get()) {
                let places = conflicts.entry(request.user.get()).or_default();
                let first = &mut places[usize::from(request.flag == Flag::OptIn)];
                first.get_or_insert_with(|| rows.place());
            }
        }
        self.conflicts = conflicts;
        Ok(())
    }

    /// Returns how other rows of the same user contradict this one, in words that name both places.
    fn contradiction(&self, request: &RowRequest) -> Option<String> {
        let [Some(opt_out), Some(opt_in)] = self.conflicts.get(&request.user.get())? else {
            return None;
        };
        Some(format!(
            "contradiction: {opt_out} opts user {} out, {opt_in} opts the same user back in",
            request.user
        ))
    }
}

/// Checks that the header is not a person of the directory, who would be left out.
fn check_header_is_nobody(input: &Input, directory: &Directory) -> Result<()> {
    let column = input.columns().id;
    let cell = input.header()[column].as_bytes();
    if !input.has_header() || directory.find(cell) == Err(CellError::Unmatched) {
        return Ok(());
    }
    let message = format!(
        "{}: the header has somebody of {} in {}",
        input.found().name,
        directory.name(),
        input.column_in_words(column)
    );
    Err(Error::new(Kind::Input, message)
        .help("if the table has no header, give --no-header; otherwise name the column"))
}

/// Checks that the flags come from one place: a column of the table or the options; in an earlier
/// report the column `wanted`.
fn check_source_of_flags(input: &Input, options: &Options) -> Result<()> {
    let name = &input.found().name;
    let set = options.input.set;
    match options.selection {
        Selection::All if input.columns().flag.is_none() && set.is_none() => {
            let message = format!("{name} is a report without a column of flags");
            Err(Error::new(Kind::Input, message).help("give one flag for all rows with --set"))
        }
        Selection::Retry(_) | Selection::Undo if set.is_some() => {
            let message = format!("{name} says for each row which flag was wanted");
            Err(Error::new(Kind::Input, message).help("leave out --set"))
        }
        _ => Ok(()),
    }
}

/// The counts of a pass.
#[derive(Default)]
struct Census {
    counts: Counts,
    sync_counts: SyncCounts,
    /// The users of all rows, if they are compared with the register.
    in_table: RoaringTreemap,
    seen: OccurrenceMap,
    repeated: RoaringTreemap,
    contradicted: RoaringTreemap,
    latest_unknown_at: Option<Timestamp>,
    /// Number of rows whose user ID is known.
    known_users: u64,
    /// Number of different users.
    distinct: u64,
    total: TotalCheck,
}

impl Census {
    fn take(
        &mut self,
        request: &RowRequest,
        contradicted: Option<&RoaringTreemap>,
        comparison: &Comparison,
    ) {
        let user = request.user.get();
        self.counts.lapsed += u64::from(request.lapsed.is_some());
        if matches!(comparison.usage, RegisterUse::Sync(_)) {
            self.in_table.insert(user);
        }
        let occurrence = self.seen.note(request.user, request.flag);
        self.distinct += u64::from(occurrence == Occurrence::First);
        if contradicted.is_some_and(|contradicted| contradicted.contains(user)) {
            self.counts.invalid += 1;
            return;
        }
        match occurrence {
            Occurrence::Contradiction => {
                self.contradicted.insert(user);
            }
            Occurrence::Again => {
                self.repeated.insert(user);
                self.counts.duplicate += 1;
            }
            Occurrence::First => {
                if let Some(skip) = comparison.skip(request) {
                    Comparison::count_skipped(skip, &mut self.sync_counts);
                    self.counts.unchanged += 1;
                    return;
                }
                comparison.count_sent(request, &mut self.sync_counts);
                if request.flag.is_opt_out() {
                    self.counts.opt_out += 1;
                } else {
                    self.counts.opt_in += 1;
                }
            }
        }
    }
}

/// A row of the second pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The cells of the input that the report carries, as CSV with commas, without a line end.
    pub cells: Vec<u8>,
    /// What is done with the row.
    pub action: Action,
}

/// What is done with a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The change may be sent.
    Send(Change),
    /// The row has its outcome without being sent: duplicate, invalid, unchanged.
    Settled(Record),
    /// Many rows that are recorded or not selected were skipped, so that the caller can do other
    /// work in between.
    Skipped,
}

/// Number of rows that are skipped at once.
const MAX_SKIPPED: usize = 4096;

/// The second pass over the rows.
pub struct Changes<'a> {
    plan: &'a Plan,
    on_record: &'a RoaringTreemap,
    rows: RowReader<'a>,
    number: RowNumber,
    /// Index of the next row behind those of the table; `None` while there are rows of the table.
    appended: Option<usize>,
    /// The first row of every repeated ID so far.
    first: HashMap<u64, (RowNumber, Option<LineNumber>)>,
}

impl Iterator for Changes<'_> {
    type Item = Result<Step>;

    fn next(&mut self) -> Option<Self::Item> {
        for _ in 0..MAX_SKIPPED {
            if self.appended.is_some() {
                return self.appended_step().map(Ok);
            }
            let check = match self.rows.next() {
                Ok(Some(check)) => check,
                Ok(None) => {
                    self.appended = Some(0);
                    continue;
                }
                Err(error) => return Some(Err(error)),
            };
            if let Some(step) = self.step(check) {
                return Some(Ok(step));
            }
        }
        Some(Ok(Step {
            cells: Vec::new(),
            action: Action::Skipped,
        }))
    }
}

impl Changes<'_> {
    /// Returns the step of the next row that comes after the table's rows and is not recorded.
    fn appended_step(&mut self) -> Option<Step> {
        loop {
            let index = self.appended?;
            self.appended = Some(index + 1);
            self.number += 1;
            let step = self.plan.appended_step(index, self.number)?;
            if !self.on_record.contains(self.number) {
                return Some(step);
            }
        }
    }

    fn step(&mut self, check: RowCheck) -> Option<Step> {
        if check == RowCheck::NotSelected {
            return None;
        }
        self.number += 1;
        let is_new = !self.on_record.contains(self.number);
        // The first row of a repeated ID has to be remembered even if it is recorded.
        let is_repeated = match &check {
            RowCheck::Request(request) => self.is_repeated(request),
            RowCheck::Invalid(_) | RowCheck::NotSelected => false,
        };
        if !is_new && !is_repeated {
            return None;
        }
        let line = self.rows.line();
        let (action, request) = match check {
            RowCheck::NotSelected => return None,
            RowCheck::Request(request) => (self.decide(&request, line), Some(request)),
            RowCheck::Invalid(fault) => {
                let words = self.describe(fault);
                let record = Record::unsent(self.number, line, Outcome::Invalid, None, words);
                (Action::Settled(record), None)
            }
        };
        if !is_new {
            return None;
        }
        let sent = request.map(|request| request.flag);
        let user = request.map(|request| request.user);
        let mut cells = self.rows.reading.carried_cells(&self.rows.row, user, sent);
        if let Some(registered) = self.plan.comparison.registered(user) {
            cells.push(b',');
            cells.extend_from_slice(registered.as_bytes());
        }
        Some(Step { cells, action })
    }

    fn is_repeated(&self, request: &RowRequest) -> bool {
        self.plan.ids.repeated.contains(request.user.get())
    }

    fn decide(&mut self, request: &RowRequest, line: Option<LineNumber>) -> Action {
        let number = self.number;
        let settled = |outcome, wanted, detail| {
            Action::Settled(Record::unsent(number, line, outcome, wanted, detail))
        };
        if let Some(words) = self.plan.contradiction(request) {
            return settled(Outcome::Invalid, None, words);
        }
        if self.is_repeated(request) {
            let here = (number, line);
            let (first, first_line) = *self.first.entry(request.user.get()).or_insert(here);
            if first != number {
                let detail = match first_line {
                    Some(line) => format!("same as line {line}"),
                    None => "same as an earlier row".to_owned(),
                };
                return settled(Outcome::Duplicate, Some(request.flag), detail);
            }
        }
        if let Some(skip) = self.plan.comparison.skip(request) {
            let detail = skip.detail().to_owned();
            return settled(Outcome::Unchanged, Some(request.flag), detail);
        }
        Action::Send(Change {
            row: number,
            line,
            user: request.user,
            flag: request.flag,
            in_doubt: false,
            cause: match request.lapsed {
                Some(_) => "the end date has passed",
                None => "",
            },
        })
    }

    fn describe(&self, fault: row_check::Fault) -> String {
        problems::describe(
            &self.plan.sources(false),
            self.rows.place(),
            &self.rows.row,
            fault,
        )
    }
}
