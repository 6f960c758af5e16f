//! What one row asks for, or what is wrong with it: the eyes that both passes have in common. Pure; knows one row at a
//! time.

use std::cmp::Ordering;

use jiff::Timestamp;
use jiff::civil::Date;

use super::{Options, Selection};
use crate::domain::{Flag, LineNumber, Outcome, ReportColumn, UserId};
use crate::input::cell::{self, Wrong};
use crate::input::{Columns, Input, Note, Place, Row};
use crate::text::{looks_like_formula, needs_quotes, push_csv_cell};

/// What a row asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) user: UserId,
    pub(super) flag: Flag,
    /// The end date of the opt-out, if it is an opt-in only because that is reached.
    pub(super) lapsed: Option<Date>,
}

/// What is wrong with a row, and in which of its cells; `None` where it is the row as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) column: Option<usize>,
    pub(super) wrong: Wrong,
}

impl Fault {
    fn of(column: usize) -> impl Fn(Wrong) -> Self {
        move |wrong| Self {
            column: Some(column),
            wrong,
        }
    }
}

/// What there is to say of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Understood {
    Ask(Ask),
    Wrong(Fault),
    /// The run is about other rows.
    NotSelected,
}

/// How rows are read.
pub(super) struct Reading<'a> {
    columns: &'a Columns,
    options: &'a Options,
    host: Option<&'a str>,
    outcome: Option<usize>,
    nul: bool,
}

impl<'a> Reading<'a> {
    pub(super) fn new(input: &'a Input, options: &'a Options) -> Self {
        let columns = input.columns();
        Self {
            columns,
            options,
            host: options.host.as_deref(),
            outcome: columns
                .result(ReportColumn::Outcome)
                .filter(|_| options.selection != Selection::All),
            nul: input.has_nul(),
        }
    }

    pub(super) fn understand(&self, row: &Row) -> Understood {
        match self.selected(row) {
            Err(fault) => Understood::Wrong(fault),
            Ok(false) => Understood::NotSelected,
            Ok(true) => match self.ask(row) {
                Ok(ask) => Understood::Ask(ask),
                Err(fault) => Understood::Wrong(fault),
            },
        }
    }

    /// Whether the selection wants the row.
    fn selected(&self, row: &Row) -> Result<bool, Fault> {
        if self.outcome.is_none() {
            return Ok(true);
        }
        let outcome = self.earlier_outcome(row)?;
        match &self.options.selection {
            Selection::All => Ok(true),
            Selection::Retry(outcomes) => Ok(outcomes.contains(&outcome)),
            Selection::Undo => Ok(outcome.is_undone(self.wanted(row))),
        }
    }

    fn result<'r>(&self, row: &'r Row, column: ReportColumn) -> Option<&'r str> {
        std::str::from_utf8(row.cells.get(self.columns.result(column)?)?).ok()
    }

    /// Returns the outcome that an earlier report gives the row.
    fn earlier_outcome(&self, row: &Row) -> Result<Outcome, Fault> {
        self.width(row)?;
        let word = self.result(row, ReportColumn::Outcome);
        word.and_then(Outcome::from_word)
            .ok_or_else(|| self.fault_in(ReportColumn::Outcome, Wrong::Outcome))
    }

    /// Returns the flag that an earlier report says was wanted.
    fn wanted(&self, row: &Row) -> Option<Flag> {
        Flag::from_word(self.result(row, ReportColumn::Wanted)?)
    }

    /// Returns the same, or what is wrong if the report does not say.
    fn earlier_flag(&self, row: &Row) -> Result<Flag, Fault> {
        self.wanted(row)
            .ok_or_else(|| self.fault_in(ReportColumn::Wanted, Wrong::Wanted))
    }

    fn fault_in(&self, column: ReportColumn, wrong: Wrong) -> Fault {
        Fault {
            column: self.columns.result(column),
            wrong,
        }
    }

    /// Returns the line for the row's report: the one that an earlier report of the row has, or that of the row itself,
    /// which is asked for only then.
    pub(super) fn line(&self, row: &Row, place: impl FnOnce() -> Place) -> Option<LineNumber> {
        if self.outcome.is_some() {
            self.result(row, ReportColumn::Line)?.parse().ok()
        } else {
            Some(place().number())
        }
    }

    /// Checks that the line of an earlier report is a number or empty.
    fn check_line(&self, row: &Row) -> Result<(), Fault> {
        match self.result(row, ReportColumn::Line) {
            None | Some("") => Ok(()),
            Some(text) if text.parse::<LineNumber>().is_ok_and(|line| line > 0) => Ok(()),
            Some(_) => Err(self.fault_in(ReportColumn::Line, Wrong::Line)),
        }
    }

    fn ask(&self, row: &Row) -> Result<Ask, Fault> {
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
                return Ok(Ask {
                    user,
                    flag: self.earlier_flag(row)?.opposite(),
                    lapsed: None,
                });
            }
        };
        let lapsed = self
            .until(row)?
            .filter(|until| written.is_opt_out() && *until <= self.options.today);
        Ok(Ask {
            user,
            flag: if lapsed.is_some() {
                Flag::OptIn
            } else {
                written
            },
            lapsed,
        })
    }

    /// What an earlier report says about a row: the flag that the user is known to have.
    pub(super) fn reported(&self, row: &Row) -> Result<Option<(UserId, Flag)>, Fault> {
        if self.earlier_outcome(row)?.is_confirmed() {
            Ok(Some((self.user(row)?, self.earlier_flag(row)?)))
        } else {
            Ok(None)
        }
    }

    fn shape(&self, row: &Row) -> Result<(), Fault> {
        self.width(row)?;
        if !self.nul {
            return Ok(());
        }
        match row.cells.iter().position(|cell| cell.contains(&0)) {
            Some(column) => Err(Fault {
                column: Some(column),
                wrong: Wrong::Nul,
            }),
            None => Ok(()),
        }
    }

    /// Checks that the row has as many cells as the header.
    fn width(&self, row: &Row) -> Result<(), Fault> {
        let wrong = match row.cells.len().cmp(&self.columns.width) {
            Ordering::Equal => return Ok(()),
            Ordering::Greater => Wrong::TooManyCells,
            Ordering::Less => Wrong::TooFewCells,
        };
        Err(Fault {
            column: None,
            wrong,
        })
    }

    fn user(&self, row: &Row) -> Result<UserId, Fault> {
        let column = self.columns.id;
        let note = row.notes.iter().find(|(noted, _)| *noted == column);
        let read = match note {
            Some((_, Note::LongNumber)) => Err(Wrong::LongNumber),
            Some((_, Note::Date)) => Err(Wrong::Date),
            None => cell::user_id(&row.cells[column], self.host),
        };
        read.map_err(Fault::of(column))
    }

    /// The flag that a table asks for.
    fn flag(&self, row: &Row) -> Result<Flag, Fault> {
        match (self.columns.flag, self.options.input.set) {
            (Some(column), _) => cell::flag(&row.cells[column]).map_err(Fault::of(column)),
            (None, Some(flag)) => Ok(flag),
            // A plan of a table that has neither is refused before a row is read.
            (None, None) => Err(Fault {
                column: None,
                wrong: Wrong::EmptyFlag,
            }),
        }
    }

    fn until(&self, row: &Row) -> Result<Option<Date>, Fault> {
        let Some(column) = self.columns.until else {
            return Ok(None);
        };
        cell::until(&row.cells[column]).map_err(Fault::of(column))
    }

    /// When an earlier run gave up a selected row of which it is not known whether the change was made: a request for it
    /// may still be on its way.
    pub(super) fn unknown_at(&self, row: &Row) -> Option<Timestamp> {
        self.outcome?;
        match self.earlier_outcome(row) {
            Ok(Outcome::Unknown) => self.result(row, ReportColumn::FinishedAt)?.parse().ok(),
            _ => None,
        }
    }

    /// How many of the carried cells a spreadsheet would take for a formula; a plain negative number is none.
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

    /// The cells that a report carries, as CSV. An undo's flag is rewritten to what is sent, for the report would lie.
    pub(super) fn carried_cells(&self, row: &Row, sent: Option<Flag>) -> Vec<u8> {
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
        out
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
