//! What the page of a `sync` says about the comparison of its table with the register.

use crate::domain::Outcome;
use crate::journal::line::RecordedRow;
use crate::text::{grouped, visible};

/// How a table differed from the register.
#[derive(Clone, Debug)]
pub struct SyncOverview {
    /// Name of the list that the table is.
    pub list: String,
    /// Number of users of each kind.
    pub facts: Vec<SyncFact>,
    /// Whose exception ends soon, in words.
    pub ending_soon: Option<String>,
}

/// A number of users, and the word by which their rows are found.
#[derive(Clone, Debug)]
pub struct SyncFact {
    /// Name of the kind.
    pub name: &'static str,
    /// Number of users.
    pub count: u64,
    /// Word in the column of the comparison; empty if their rows can't be found by it.
    pub word: &'static str,
}

impl SyncFact {
    /// Returns a number of users.
    #[must_use]
    pub fn new(name: &'static str, count: u64, word: &'static str) -> Self {
        Self { name, count, word }
    }

    pub(super) fn shown(&self) -> String {
        grouped(self.count)
    }
}

impl SyncOverview {
    pub(super) fn list(&self) -> String {
        visible(&self.list)
    }

    pub(super) fn ending_soon(&self) -> String {
        visible(
            self.ending_soon
                .as_deref()
                .unwrap_or("no exception ends within a week"),
        )
    }
}

/// How a row compares with the register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncKind {
    /// The user was not registered.
    Arrival,
    /// Another flag was registered.
    Change,
    /// The same flag was registered, and the row was sent because of `--full`.
    Repeat,
    /// The registered flag was unknown.
    Doubt,
    /// The user is registered and not in the table.
    NotInTable,
    /// Nothing was to be sent.
    Same,
    /// The row was not compared.
    None,
}

impl SyncKind {
    /// Returns the kind of a row. `registered` is the flag in the register, empty if there is none.
    pub(super) fn of(row: &RecordedRow<'_>, registered: &str) -> Self {
        match (row.line, row.outcome) {
            (None, _) => Self::NotInTable,
            (_, Outcome::Unchanged) => Self::Same,
            (_, Outcome::Invalid | Outcome::Duplicate) => Self::None,
            _ => match registered {
                "" => Self::Arrival,
                "unknown" => Self::Doubt,
                flag if row.wanted.is_some_and(|wanted| wanted.as_str() == flag) => Self::Repeat,
                _ => Self::Change,
            },
        }
    }

    /// Returns the word in the column of the comparison.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Arrival => "arrival",
            Self::Change => "change",
            Self::Repeat => "sent again",
            Self::Doubt => "in doubt",
            Self::NotInTable => "not in the table",
            Self::Same => "same",
            Self::None => "",
        }
    }
}
