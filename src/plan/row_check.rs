//! Checks single rows: what a row requests, or why it is invalid. All passes over the table check
//! rows in this way.

use std::cmp::Ordering;

use jiff::Timestamp;
use jiff::civil::Date;

use super::{Options, REGISTERED_COLUMN, RegisterUse, Selection, Skip};
use crate::domain::{Flag, LineNumber, Outcome, ReportColumn, UserId};
use crate::error::Result;
use crate::input::cell::{self, CellError};
use crate::input::{CellNote, Columns, Directory, Input, Place, Row, Rows};
use crate::text::{looks_like_formula, needs_quotes, push_csv_cell};

/// A valid row's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RowRequest {
    pub(super) user: UserId,
    pub(super) flag: Flag,
    /// The end date of the opt-out, if the request is an opt-in only because that day has passed.
    pub(super) lapsed: Option<Date>,
    /// The reason why a row of an earlier report is not sent.
    pub(super) skip: Option<Skip>,
}

/// A reason why a row is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// The column of the invalid cell; `None` if it is the row as a whole.
    pub(super) column: Option<usize>,
    /// What is wrong.
    pub(super) error: CellError,
}

impl Fault {
    fn in_column(column: usize, error: CellError) -> Self {
        Self {
            column: Some(column),
            error,
        }
    }
}

/// A value of a row, or a reason why the row is invalid.
type CheckedValue<T> = std::result::Result<T, Fault>;

/// The result of checking a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowCheck {
    /// The row is valid.
    Request(RowRequest),
    /// The row is invalid.
    Invalid(Fault),
    /// The run is about other rows.
    NotSelected,
}

/// Checks rows one after the other, for one pass over a table.
pub(super) struct RowReader<'a> {
    /// Checks single rows.
    pub(super) reading: RowChecker<'a>,
    rows: Rows,
    /// The row that was read last.
    pub(super) row: Row,
    /// The position of that row among the rows of the table, from 1.
    pub(super) position: u64,
    /// The position of the row of totals, if there is one.
    total_row: Option<u64>,
    /// Rows that were read ahead, of which the last one is the next.
    ahead: Vec<Row>,
    /// Rows whose memory is used again.
    spare: Vec<Row>,
}

/// Number of rows whose keys are looked up in the directory together. One lookup after the other
/// waits for memory much longer.
const LOOKUPS: usize = 64;

impl<'a> RowReader<'a> {
    /// Starts a pass. The row at the position `total_row` is refused as a row of totals.
    pub(super) fn new(
        input: &'a Input,
        options: &'a Options,
        total_row: Option<u64>,
    ) -> Result<Self> {
        Ok(Self {
            reading: RowChecker::new(input, options),
            rows: input.rows()?,
            row: Row::default(),
            position: 0,
            total_row,
            ahead: Vec::new(),
            spare: Vec::new(),
        })
    }

    /// Reads the next row; returns `false` after the last.
    fn read(&mut self) -> Result<bool> {
        let options = self.reading.options;
        let Some(directory) = &options.directory else {
            return self.rows.read(&mut self.row);
        };
        if self.ahead.is_empty() {
            self.read_ahead(directory)?;
        }
        let Some(next) = self.ahead.pop() else {
            return Ok(false);
        };
        self.spare.push(std::mem::replace(&mut self.row, next));
        Ok(true)
    }

    /// Reads some rows ahead and looks their keys up.
    fn read_ahead(&mut self, directory: &Directory) -> Result<()> {
        let mut places = [Place::Line(0); LOOKUPS];
        for place in &mut places {
            let mut row = self.spare.pop().unwrap_or_default();
            if !self.rows.read(&mut row)? {
                break;
            }
            *place = self.rows.place(&row);
            self.ahead.push(row);
        }
        let column = self.reading.columns.id;
        let keys = self.ahead.iter().map(|row| row.cells.get(column));
        let keys: Vec<&[u8]> = keys.map(Option::unwrap_or_default).collect();
        let users = directory.find_all(&keys);
        for ((row, place), user) in self.ahead.iter_mut().zip(places).zip(users) {
            row.read_ahead = Some((user, place));
        }
        self.ahead.reverse();
        Ok(())
    }

    /// Reads and checks the next row; `None` after the last.
    pub(super) fn next(&mut self) -> Result<Option<RowCheck>> {
        if !self.read()? {
            return Ok(None);
        }
        self.position += 1;
        if self.total_row == Some(self.position) {
            let column = self.reading.columns.id;
            let fault = Fault::in_column(column, CellError::Total);
            return Ok(Some(RowCheck::Invalid(fault)));
        }
        Ok(Some(self.reading.check(&self.row)))
    }

    /// Returns where the row stands that was read last.
    pub(super) fn place(&self) -> Place {
        match self.row.read_ahead {
            Some((_, place)) => place,
            None => self.rows.place(&self.row),
        }
    }

    /// Returns the line for the row's report.
    pub(super) fn line(&self) -> Option<LineNumber> {
        self.reading.line(&self.row, || self.place())
    }
}

/// Checks single rows.
pub(super) struct RowChecker<'a> {
    columns: &'a Columns,
    options: &'a Options,
    host: Option<&'a str>,
    outcome: Option<usize>,
    /// The column of a report of `sync` that says what the register said before.
    registered: Option<usize>,
    has_nul: bool,
}

impl<'a> RowChecker<'a> {
    pub(super) fn new(input: &'a Input, options: &'a Options) -> Self {
        let columns = input.columns();
        let outcome = match options.selection {
            Selection::All => None,
            Selection::Retry(_) | Selection::Undo => columns.result(ReportColumn::Outcome),
        };
        Self {
            columns,
            options,
            host: options.host.as_deref(),
            outcome,
            registered: registered_column(input, options),
            has_nul: input.has_nul(),
        }
    }

    /// Checks a row.
    pub(super) fn check(&self, row: &Row) -> RowCheck {
        match self.is_selected(row) {
            Err(fault) => RowCheck::Invalid(fault),
            Ok(false) => RowCheck::NotSelected,
            Ok(true) => match self.request(row) {
                Ok(request) => RowCheck::Request(request),
                Err(fault) => RowCheck::Invalid(fault),
            },
        }
    }

    /// Returns whether the run is about the row.
    fn is_selected(&self, row: &Row) -> CheckedValue<bool> {
        if self.outcome.is_none() {
            return Ok(true);
        }
        let outcome = self.earlier_outcome(row)?;
        match &self.options.selection {
            Selection::All => Ok(true),
            Selection::Retry(outcomes) => Ok(outcomes.contains(&outcome)),
            // What is not taken back is listed.
            Selection::Undo if self.registered.is_some() => Ok(outcome.may_have_changed()),
            Selection::Undo => Ok(outcome.is_undone(self.wanted(row))),
        }
    }

    /// Returns the cell of a result column of an earlier report.
    fn result<'r>(&self, row: &'r Row, column: ReportColumn) -> Option<&'r str> {
        std::str::from_utf8(row.cells.get(self.columns.result(column)?)?).ok()
    }

    /// Returns the outcome that an earlier report gives the row.
    fn earlier_outcome(&self, row: &Row) -> CheckedValue<Outcome> {
        self.width(row)?;
        let word = self.result(row, ReportColumn::Outcome);
        word.and_then(Outcome::from_word)
            .ok_or_else(|| self.fault_in(ReportColumn::Outcome, CellError::Outcome))
    }

    /// Returns the flag that an earlier report says was wanted.
    fn wanted(&self, row: &Row) -> Option<Flag> {
        Flag::from_word(self.result(row, ReportColumn::Wanted)?)
    }

    /// Returns the flag that an earlier report says was wanted, or a fault if it does not say.
    fn earlier_flag(&self, row: &Row) -> CheckedValue<Flag> {
        self.wanted(row)
            .ok_or_else(|| self.fault_in(ReportColumn::Wanted, CellError::Wanted))
    }

    fn fault_in(&self, column: ReportColumn, error: CellError) -> Fault {
        Fault {
            column: self.columns.result(column),
            error,
        }
    }

    /// Returns the line for the row's report: the one that an earlier report of the row has, or
    /// that of `place`, which is called only then.
    pub(super) fn line(&self, row: &Row, place: impl FnOnce() -> Place) -> Option<LineNumber> {
        if self.outcome.is_some() {
            self.result(row, ReportColumn::Line)?.parse().ok()
        } else {
            Some(place().number())
        }
    }

    /// Checks that the line of an earlier report is a number or empty.
    fn check_line(&self, row: &Row) -> CheckedValue<()> {
        match self.result(row, ReportColumn::Line) {
            None | Some("") => Ok(()),
            Some(text) if text.parse::<LineNumber>().is_ok_and(|line| line > 0) => Ok(()),
            Some(_) => Err(self.fault_in(ReportColumn::Line, CellError::Line)),
        }
    }

    fn request(&self, row: &Row) -> CheckedValue<RowRequest> {
        let mut request = self.request_of_cells(row)?;
        if self.options.selection != Selection::All && self.is_changed_later(row, request.user) {
            request.skip = Some(Skip::ConfirmedLater);
        }
        Ok(request)
    }

    /// Checks whether the register confirms the user after the row of an earlier report.
    fn is_changed_later(&self, row: &Row, user: UserId) -> bool {
        let RegisterUse::FollowUp(register) = &self.options.register else {
            return false;
        };
        let finished_at = self.result(row, ReportColumn::FinishedAt);
        let finished_at = finished_at.and_then(|cell| cell.parse().ok());
        finished_at.is_some_and(|at| register.confirms_later(user, at))
    }

    /// Returns the flag with which an undo sets a user back to what the register said before the
    /// run, or the reason why it does not.
    fn restored(&self, row: &Row, wanted: Flag) -> CheckedValue<(Flag, Option<Skip>)> {
        let Some(column) = self.registered else {
            return Ok((wanted.opposite(), None));
        };
        let cell = row.cells.get(column).unwrap_or_default();
        let before = std::str::from_utf8(cell).ok().and_then(Flag::from_word);
        let outcome = self.earlier_outcome(row)?;
        Ok(match before {
            Some(before) if before == wanted => (before, Some(Skip::NothingToRestore)),
            Some(before) if outcome.is_confirmed() || !before.is_opt_out() => (before, None),
            None if outcome.is_confirmed() && wanted.is_opt_out() => (Flag::OptIn, None),
            _ => (wanted.opposite(), Some(Skip::NotRestorable)),
        })
    }

    fn request_of_cells(&self, row: &Row) -> CheckedValue<RowRequest> {
        self.shape(row)?;
        let user = self.user(row)?;
        let written = match &self.options.selection {
            Selection::All => self.flag(row)?,
            Selection::Retry(_) => {
                self.check_line(row)?;
                self.earlier_flag(row)?
            }
            Selection::Undo => {
                self.check_line(row)?;
                let (flag, skip) = self.restored(row, self.earlier_flag(row)?)?;
                return Ok(RowRequest {
                    user,
                    flag,
                    lapsed: None,
                    skip,
                });
            }
        };
        // An exemption lasts through its last day.
        let lapsed = self
            .until(row)?
            .filter(|until| written.is_opt_out() && *until < self.options.today);
        let flag = if lapsed.is_some() {
            Flag::OptIn
        } else {
            written
        };
        Ok(RowRequest {
            user,
            flag,
            lapsed,
            skip: None,
        })
    }

    /// Returns the last day of the opt-out that a row requests.
    pub(super) fn until_of_opt_out(&self, row: &Row, request: &RowRequest) -> Option<Date> {
        if !request.flag.is_opt_out() || self.options.selection == Selection::Undo {
            return None;
        }
        self.until(row).ok().flatten()
    }

    fn shape(&self, row: &Row) -> CheckedValue<()> {
        self.width(row)?;
        if !self.has_nul {
            return Ok(());
        }
        match row.cells.iter().position(|cell| cell.contains(&0)) {
            Some(column) => Err(Fault::in_column(column, CellError::Nul)),
            None => Ok(()),
        }
    }

    /// Checks that the row has as many cells as the header.
    fn width(&self, row: &Row) -> CheckedValue<()> {
        let error = match row.cells.len().cmp(&self.columns.width) {
            Ordering::Equal => return Ok(()),
            Ordering::Greater => CellError::TooManyCells,
            Ordering::Less => CellError::TooFewCells,
        };
        Err(Fault {
            column: None,
            error,
        })
    }

    /// Returns the user ID of a row, which stands in it or in the directory.
    pub(super) fn user(&self, row: &Row) -> CheckedValue<UserId> {
        let column = self.columns.id;
        let user = match row.read_ahead {
            Some((user, _)) => user,
            None => cell::user_id_of_row(row, column, self.host),
        };
        user.map_err(|error| Fault::in_column(column, error))
    }

    /// Parses the flag that a row of a table requests.
    fn flag(&self, row: &Row) -> CheckedValue<Flag> {
        let Some(column) = self.columns.flag else {
            // A plan of a table that has neither a column nor a set flag is refused before a row is
            // read.
            return self.options.input.set.ok_or(Fault {
                column: None,
                error: CellError::EmptyFlag,
            });
        };
        let flag = match row.note(column) {
            Some(CellNote::OddBoolean) => Err(CellError::OddBoolean),
            _ => cell::flag(&row.cells[column]),
        };
        flag.map_err(|error| Fault::in_column(column, error))
    }

    fn until(&self, row: &Row) -> CheckedValue<Option<Date>> {
        let Some(column) = self.columns.until else {
            return Ok(None);
        };
        let mut cell = &row.cells[column];
        // A spreadsheet's date may have a time of day behind it.
        if row.note(column) == Some(CellNote::Date) && cell.get(10) == Some(&b'T') {
            cell = &cell[..10];
        }
        cell::until(cell).map_err(|error| Fault::in_column(column, error))
    }

    /// Returns when an earlier run gave up a selected row that may or may not have been changed. A
    /// request for it may still be on its way.
    pub(super) fn unknown_at(&self, row: &Row) -> Option<Timestamp> {
        self.outcome?;
        match self.earlier_outcome(row) {
            Ok(Outcome::Unknown) => self.result(row, ReportColumn::FinishedAt)?.parse().ok(),
            _ => None,
        }
    }

    /// Returns the number of carried cells that a spreadsheet would take for a formula. A plain
    /// negative number is none.
    pub(super) fn formula_cells(&self, row: &Row) -> u64 {
        let suspect = |cell: &&[u8]| {
            // The first byte of each character that begins a formula, full-width ones included.
            matches!(
                cell.first(),
                Some(b'=' | b'+' | b'-' | b'@' | b'\t' | b'\r' | 0 | 0xef)
            ) && is_formula(cell)
        };
        row.cells
            .iter()
            .take(self.columns.carried)
            .filter(suspect)
            .count() as u64
    }

    /// Returns the cells that a report carries, as CSV. In an undo, the flag is replaced by the one
    /// that is sent.
    pub(super) fn carried_cells(
        &self,
        row: &Row,
        user: Option<UserId>,
        sent: Option<Flag>,
    ) -> Vec<u8> {
        let mut out = Vec::with_capacity(row.cells.as_slice().len() + 2 * self.columns.carried);
        let plain = !needs_quotes(row.cells.as_slice());
        let rewritten = sent.filter(|_| self.options.selection == Selection::Undo);
        for column in 0..self.columns.carried {
            if column > 0 {
                out.push(b',');
            }
            let cell = row.cells.get(column).unwrap_or_default();
            match rewritten {
                Some(flag) if Some(column) == self.columns.flag => {
                    push_csv_cell(&mut out, flag.is_opt_out().to_string().as_bytes());
                }
                Some(_) if Some(column) == self.columns.until => {}
                _ if plain => out.extend_from_slice(cell),
                _ => push_csv_cell(&mut out, cell),
            }
        }
        if self.options.directory.is_some() {
            out.push(b',');
            if let Some(user) = user {
                out.extend_from_slice(user.to_string().as_bytes());
            }
        }
        out
    }
}

/// Returns the column of a report of `sync` that says what the register said before.
fn registered_column(input: &Input, options: &Options) -> Option<usize> {
    let column = input.columns().carried.checked_sub(1)?;
    let has_name = input.header()[column] == REGISTERED_COLUMN;
    if options.has_registered_column && has_name {
        Some(column)
    } else {
        None
    }
}

/// Checks whether a spreadsheet would take a cell for a formula; a plain negative number is none.
pub(super) fn is_formula(cell: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(cell) else {
        return false;
    };
    let number = text.strip_prefix(['-', '+']).is_some_and(|rest| {
        rest.chars().all(|c| {
            c.is_ascii_digit() || matches!(c, '.' | ',' | ' ' | '\u{a0}' | '-' | '/' | '(' | ')')
        })
    });
    looks_like_formula(text) && !number
}
