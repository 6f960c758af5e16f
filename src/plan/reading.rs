//! What one row asks for, or what is wrong with it: the eyes that both passes have in common. Pure; knows one row at a
//! time.

use jiff::Timestamp;
use jiff::civil::Date;

use super::{Options, Selection};
use crate::domain::{Flag, Outcome, UserId, remark};
use crate::input::cell::{self, Wrong};
use crate::input::{Columns, Input, Note, Row};
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
                .result("outcome")
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

    /// Whether the selection wants the row; the flag decides over a row of an undo whose change is in doubt.
    fn selected(&self, row: &Row) -> Result<bool, Fault> {
        let Some(column) = self.outcome else {
            return Ok(true);
        };
        let outcome = self
            .outcome_of(row)
            .ok_or_else(|| match row.cells.get(column) {
                Some(_) => Fault {
                    column: Some(column),
                    wrong: Wrong::Outcome,
                },
                None => Fault {
                    column: None,
                    wrong: Wrong::TooFewCells,
                },
            })?;
        match &self.options.selection {
            Selection::All => Ok(true),
            Selection::Retry(outcomes) => Ok(outcomes.contains(&outcome)),
            Selection::Undo if outcome == Outcome::Applied => Ok(true),
            Selection::Undo => Ok(self.is_in_doubt(row) && self.flag_then(row)?.is_opt_out()),
        }
    }

    /// Whether an earlier run may have changed the user without being told so.
    fn is_in_doubt(&self, row: &Row) -> bool {
        match self.outcome_of(row) {
            Some(Outcome::Unknown) => true,
            Some(Outcome::Failed) => self.result(row, "detail").is_some_and(remark::is_in_doubt),
            _ => false,
        }
    }

    fn result<'r>(&self, row: &'r Row, name: &str) -> Option<&'r str> {
        std::str::from_utf8(row.cells.get(self.columns.result(name)?)?).ok()
    }

    fn outcome_of(&self, row: &Row) -> Option<Outcome> {
        Outcome::from_word(self.result(row, "outcome")?)
    }

    fn ask(&self, row: &Row) -> Result<Ask, Fault> {
        self.shape(row)?;
        let user = self.user(row)?;
        if self.options.selection == Selection::Undo {
            return Ok(Ask {
                user,
                flag: self.flag_then(row)?.opposite(),
                lapsed: None,
            });
        }
        let written = self.flag(row)?;
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

    /// What has to be said of a row in its report, where the cells alone do not tell the flag that was sent.
    pub(super) fn remark(&self, ask: &Ask) -> Option<String> {
        match ask.lapsed {
            Some(day) => Some(remark::lapsed(day)),
            None => self.columns.flag.is_none().then(|| remark::about(ask.flag)),
        }
    }

    /// What an earlier report says about a row: the flag that was sent for it.
    pub(super) fn reported(&self, row: &Row) -> Result<Option<(UserId, Flag)>, Fault> {
        self.shape(row)?;
        match self.outcome_of(row) {
            Some(Outcome::Applied | Outcome::Unchanged) => {
                Ok(Some((self.user(row)?, self.flag_then(row)?)))
            }
            Some(_) => Ok(None),
            None => Err(Fault {
                column: self.columns.result("outcome"),
                wrong: Wrong::Outcome,
            }),
        }
    }

    fn shape(&self, row: &Row) -> Result<(), Fault> {
        let whole = |wrong| {
            Err(Fault {
                column: None,
                wrong,
            })
        };
        if row.cells.len() > self.columns.width {
            return whole(Wrong::TooManyCells);
        }
        if row.cells.len() < self.columns.width {
            return whole(Wrong::TooFewCells);
        }
        match self
            .nul
            .then(|| row.cells.iter().position(|cell| cell.contains(&0)))
            .flatten()
        {
            Some(column) => Err(Fault {
                column: Some(column),
                wrong: Wrong::Nul,
            }),
            None => Ok(()),
        }
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

    fn flag(&self, row: &Row) -> Result<Flag, Fault> {
        if let Some(column) = self.columns.flag {
            return cell::flag(&row.cells[column]).map_err(Fault::of(column));
        }
        // What an earlier report says of its own rows is surer than what is said about it.
        let said = self
            .outcome
            .and_then(|_| remark::flag_of(self.result(row, "detail")?));
        said.or(self.options.input.set).ok_or(Fault {
            column: None,
            wrong: Wrong::FlagNotTold,
        })
    }

    /// The flag that an earlier run sent: its remark says so where the cells don't.
    fn flag_then(&self, row: &Row) -> Result<Flag, Fault> {
        self.shape(row)?;
        let detail = self.result(row, "detail").unwrap_or_default();
        if self
            .until(row)?
            .is_some_and(|until| detail.ends_with(&remark::lapsed(until)))
        {
            return Ok(Flag::OptIn);
        }
        match self.columns.flag {
            None => remark::flag_of(detail).map_or_else(|| self.flag(row), Ok),
            Some(_) => self.flag(row),
        }
    }

    fn until(&self, row: &Row) -> Result<Option<Date>, Fault> {
        let Some(column) = self.columns.until else {
            return Ok(None);
        };
        cell::until(&row.cells[column]).map_err(Fault::of(column))
    }

    /// When a selected row was given up while a request of it may still have been on its way: one that nobody has
    /// answered, or that somebody in front of the Org has answered in its place.
    pub(super) fn unknown_at(&self, row: &Row) -> Option<Timestamp> {
        self.outcome?;
        let answered = self.outcome_of(row) == Some(Outcome::Failed)
            && self.result(row, "http_status") == Some("500");
        if answered || !self.is_in_doubt(row) {
            return None;
        }
        self.result(row, "finished_at")?.parse().ok()
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
