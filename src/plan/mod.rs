//! The table becomes a plan: a first pass checks every row and counts, a second pass hands out one step for each row.
//! Both passes read a row with the same eyes, and neither keeps the rows. Nothing here sends anything.

mod asked;
mod earlier;
mod guard;
mod order;
mod problems;
mod reading;

use std::collections::HashMap;
use std::path::PathBuf;

use jiff::Timestamp;
use jiff::civil::Date;
use roaring::RoaringTreemap;

use self::asked::{Asked, Meeting};
use self::earlier::Earlier;
pub use self::guard::within_allowance;
pub use self::order::{OrderedChanges, SendOrder};
pub use self::problems::{Problem, check_problems_place};
use self::reading::{Ask, Reading, Understood};
use crate::domain::{Change, Flag, LineNumber, Outcome, Record, RowNumber, Threshold};
use crate::error::{Error, Kind, Result};
use crate::input::{Input, Place, PrivateCopy, Row, Rows};
use crate::output::Output;

/// Which rows of the input the run is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Selection {
    /// All of them.
    #[default]
    All,
    /// Those of an earlier report with one of these outcomes.
    Retry(Vec<Outcome>),
    /// Those of an earlier report that were `applied`, with the opposite flag, and the opt-outs that are `unknown`.
    Undo,
}

/// What decides how the rows are read.
#[derive(Clone, Debug)]
pub struct Options {
    /// How the input itself is to be read; also the columns of the baseline.
    pub input: crate::input::Options,
    /// The Org's host: a pasted address of another one is refused. `None` takes any.
    pub host: Option<String>,
    /// Whether rows that can't be understood are left out, rather than refusing all.
    pub skip_invalid: bool,
    /// Which rows.
    pub selection: Selection,
    /// An earlier report that says what is so already.
    pub baseline: Option<PathBuf>,
    /// The day on which the run takes place.
    pub today: Date,
    /// Where all problems are written, as CSV.
    pub problems: Option<Output>,
}

impl Options {
    /// All rows, on this day.
    #[must_use]
    pub fn on(today: Date) -> Self {
        Self {
            input: crate::input::Options::default(),
            host: None,
            skip_invalid: false,
            selection: Selection::All,
            baseline: None,
            today,
            problems: None,
        }
    }
}

/// What the first pass counted. `rows` is the sum of the next five.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows of the plan; blank ones and those that are not selected do not count.
    pub rows: u64,
    /// To be opted out.
    pub opt_out: u64,
    /// To be opted back in.
    pub opt_in: u64,
    /// Asking for what an earlier row asks for.
    pub duplicate: u64,
    /// Not understood.
    pub invalid: u64,
    /// So already, says the baseline.
    pub unchanged: u64,
    /// Among all rows: opt-outs whose end date is past, and that count as opt-ins.
    pub lapsed: u64,
    /// Cells that a spreadsheet would take for a formula, those of the header included.
    pub formula_cells: u64,
}

impl Counts {
    /// How many rows are to be sent.
    #[must_use]
    pub fn to_send(&self) -> u64 {
        self.opt_out + self.opt_in
    }
}

/// A table of which every row has been checked.
pub struct Plan {
    input: Input,
    options: Options,
    earlier: Earlier,
    counts: Counts,
    ids: Ids,
    conflicts: HashMap<u64, [Option<Place>; 2]>,
    latest_unknown_at: Option<Timestamp>,
}

/// What is remembered of the IDs after the first pass.
#[derive(Default)]
struct Ids {
    /// In more than one row, always with the same flag.
    repeated: RoaringTreemap,
    /// In rows that ask for different flags.
    contradicted: RoaringTreemap,
}

impl Plan {
    /// Reads everything and understands it, or says what it does not understand.
    ///
    /// # Errors
    ///
    /// Of [`Kind::Input`], with the first problems and a count of the rest, where a row is not understood and invalid
    /// rows are not to be skipped; where the baseline or the selection does not fit; where the input can't be read.
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
        let earlier = match &options.baseline {
            Some(path) => Earlier::read(path, &options)?,
            None => Earlier::default(),
        };
        let mut plan = Self {
            input,
            options,
            earlier,
            counts: Counts::default(),
            ids: Ids::default(),
            conflicts: HashMap::new(),
            latest_unknown_at: None,
        };
        plan.count()?;
        if !plan.ids.contradicted.is_empty() {
            plan.find_conflicts()?;
            plan.count()?;
        }
        if plan.counts.invalid > 0 {
            plan.report_problems()?;
        }
        Ok(plan)
    }

    /// How the rows are read.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// What the first pass counted.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The input, and what was found out about it.
    #[must_use]
    pub fn input(&self) -> &Input {
        &self.input
    }

    /// Reads the rows from a copy of the input from now on.
    pub fn read_from(&mut self, copy: PrivateCopy) {
        self.input.read_from(copy);
    }

    /// BLAKE3 of the raw bytes of the input.
    #[must_use]
    pub fn fingerprint(&self) -> blake3::Hash {
        self.input.found().fingerprint
    }

    /// The same of the baseline, if there is one.
    #[must_use]
    pub fn baseline_fingerprint(&self) -> Option<blake3::Hash> {
        self.earlier.fingerprint()
    }

    /// The names of the columns that a report carries: those of the input, without an earlier report's results.
    #[must_use]
    pub fn header(&self) -> &[String] {
        &self.input.header()[..self.input.columns().carried]
    }

    /// The latest `finished_at` among the selected rows of which it is not known whether they were changed.
    #[must_use]
    pub fn latest_unknown_at(&self) -> Option<Timestamp> {
        self.latest_unknown_at
    }

    /// Whether the plan opts out no more people than `limit` allows. A share is one of the rows, rounded down.
    ///
    /// # Errors
    ///
    /// Of [`Kind::Refused`] where it does. No option gets around it but another limit.
    pub fn opt_out_guard(&self, limit: Threshold) -> Result<()> {
        within_allowance(self.counts.opt_out, self.counts.rows, limit)
    }

    /// The second pass: one step for each row in order, without those of `on_record`.
    ///
    /// # Errors
    ///
    /// Where the input can't be read any more, or was changed.
    pub fn changes<'a>(&'a self, on_record: &'a RoaringTreemap) -> Result<Changes<'a>> {
        Ok(Changes {
            plan: self,
            on_record,
            rows: self.input.rows()?,
            row: Row::default(),
            reading: self.reading(),
            number: 0,
            first: HashMap::new(),
        })
    }

    fn reading(&self) -> Reading<'_> {
        Reading::new(&self.input, &self.options)
    }

    /// A pass that counts; what earlier passes have learnt of contradictions is taken into account.
    fn count(&mut self) -> Result<()> {
        let mut census = Census::default();
        let known = (!self.ids.contradicted.is_empty()).then_some(&self.ids.contradicted);
        let reading = Reading::new(&self.input, &self.options);
        let mut rows = self.input.rows()?;
        let mut row = Row::default();
        while rows.read(&mut row)? {
            match reading.understand(&row) {
                Understood::NotSelected => continue,
                Understood::Wrong(_) => census.counts.invalid += 1,
                Understood::Ask(ask) => census.take(&ask, known, &self.earlier),
            }
            census.counts.rows += 1;
            census.counts.formula_cells += reading.formula_cells(&row);
            census.latest_unknown_at = census.latest_unknown_at.max(reading.unknown_at(&row));
        }
        let header = self.header().iter();
        let suspect = header.filter(|name| reading::is_formula(name.as_bytes()));
        census.counts.formula_cells += suspect.count() as u64;
        self.counts = census.counts;
        self.ids.repeated = census.repeated;
        self.ids.contradicted |= census.contradicted;
        self.latest_unknown_at = census.latest_unknown_at;
        Ok(())
    }

    /// One more pass, for the first row of either flag of every contradicted ID.
    fn find_conflicts(&mut self) -> Result<()> {
        let reading = Reading::new(&self.input, &self.options);
        let mut rows = self.input.rows()?;
        let mut row = Row::default();
        while rows.read(&mut row)? {
            let Understood::Ask(ask) = reading.understand(&row) else {
                continue;
            };
            if self.ids.contradicted.contains(ask.user.get()) {
                let first = &mut self.conflicts.entry(ask.user.get()).or_default()
                    [usize::from(ask.flag == Flag::OptIn)];
                first.get_or_insert_with(|| rows.place(&row));
            }
        }
        Ok(())
    }

    /// How the other rows of the same user contradict this one, in words that name both places.
    fn contradiction(&self, ask: &Ask) -> Option<String> {
        let [Some(opt_out), Some(opt_in)] = self.conflicts.get(&ask.user.get())? else {
            return None;
        };
        Some(format!(
            "contradiction: {opt_out} opts user {} out, {opt_in} opts the same user back in",
            ask.user
        ))
    }
}

/// Checks that the flags come from one place: for a table, a column or the options; for an earlier report, its column
/// `wanted`.
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

/// What a counting pass gathers.
#[derive(Default)]
struct Census {
    counts: Counts,
    asked: Asked,
    repeated: RoaringTreemap,
    contradicted: RoaringTreemap,
    latest_unknown_at: Option<Timestamp>,
}

impl Census {
    fn take(&mut self, ask: &Ask, contradicted: Option<&RoaringTreemap>, earlier: &Earlier) {
        let user = ask.user.get();
        self.counts.lapsed += u64::from(ask.lapsed.is_some());
        let meeting = self.asked.note(ask.user, ask.flag);
        if contradicted.is_some_and(|contradicted| contradicted.contains(user)) {
            self.counts.invalid += 1;
            return;
        }
        match meeting {
            Meeting::Contradiction => {
                self.contradicted.insert(user);
            }
            Meeting::Again => {
                self.repeated.insert(user);
                self.counts.duplicate += 1;
            }
            Meeting::First if earlier.says(ask) => self.counts.unchanged += 1,
            Meeting::First if ask.flag.is_opt_out() => self.counts.opt_out += 1,
            Meeting::First => self.counts.opt_in += 1,
        }
    }
}

/// What is to be done with a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The cells of the input that the report carries, as CSV with commas, without a line end.
    pub cells: Vec<u8>,
    /// What is to be done.
    pub what: What,
}

/// What is to be done with a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// May be sent.
    Send(Change),
    /// Has its outcome without being sent: duplicate, invalid, unchanged.
    Settled(Record),
    /// Nothing: many rows that are on record or not selected were passed over, and whoever asks may have to look around.
    PassedOver,
}

/// So many rows are passed over at once.
const PASSED_OVER: usize = 4096;

/// The second pass over the rows.
pub struct Changes<'a> {
    plan: &'a Plan,
    on_record: &'a RoaringTreemap,
    rows: Rows,
    row: Row,
    reading: Reading<'a>,
    number: RowNumber,
    /// The first row of every repeated ID that has been met.
    first: HashMap<u64, (RowNumber, Option<LineNumber>)>,
}

impl Iterator for Changes<'_> {
    type Item = Result<Step>;

    fn next(&mut self) -> Option<Self::Item> {
        for _ in 0..PASSED_OVER {
            match self.rows.read(&mut self.row) {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
            if let Some(step) = self.step() {
                return Some(Ok(step));
            }
        }
        Some(Ok(Step {
            cells: Vec::new(),
            what: What::PassedOver,
        }))
    }
}

impl Changes<'_> {
    fn step(&mut self) -> Option<Step> {
        let ask = match self.reading.understand(&self.row) {
            Understood::NotSelected => return None,
            Understood::Wrong(fault) => Err(fault),
            Understood::Ask(ask) => Ok(ask),
        };
        self.number += 1;
        let is_new = !self.on_record.contains(self.number);
        // The first row of a repeated ID has to be remembered even if it is on record.
        if !is_new && !ask.is_ok_and(|ask| self.is_repeated(&ask)) {
            return None;
        }
        let line = self.reading.line(&self.row, || self.rows.place(&self.row));
        let what = match &ask {
            Ok(ask) => self.decide(ask, line),
            Err(fault) => What::Settled(Record::unsent(
                self.number,
                line,
                Outcome::Invalid,
                None,
                self.describe(*fault),
            )),
        };
        if !is_new {
            return None;
        }
        let sent = ask.ok().map(|ask| ask.flag);
        Some(Step {
            cells: self.reading.carried_cells(&self.row, sent),
            what,
        })
    }

    fn is_repeated(&self, ask: &Ask) -> bool {
        self.plan.ids.repeated.contains(ask.user.get())
    }

    fn decide(&mut self, ask: &Ask, line: Option<LineNumber>) -> What {
        let number = self.number;
        let settled = |outcome, wanted, detail| {
            What::Settled(Record::unsent(number, line, outcome, wanted, detail))
        };
        if let Some(words) = self.plan.contradiction(ask) {
            return settled(Outcome::Invalid, None, words);
        }
        if self.is_repeated(ask) {
            let here = (number, line);
            let (first, first_line) = *self.first.entry(ask.user.get()).or_insert(here);
            if first != number {
                let detail = match first_line {
                    Some(line) => format!("same as line {line}"),
                    None => "same as an earlier row".to_owned(),
                };
                return settled(Outcome::Duplicate, Some(ask.flag), detail);
            }
        }
        if self.plan.earlier.says(ask) {
            let detail = "already set according to the baseline".to_owned();
            return settled(Outcome::Unchanged, Some(ask.flag), detail);
        }
        What::Send(Change {
            row: number,
            line,
            user: ask.user,
            flag: ask.flag,
            in_doubt: false,
        })
    }

    fn describe(&self, fault: reading::Fault) -> String {
        let place = self.rows.place(&self.row);
        problems::describe(&self.plan.input, place, &self.row, fault)
    }
}
