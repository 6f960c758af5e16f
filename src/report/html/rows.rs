//! The table of a page: its columns, the rows that are part of the HTML, and all rows as JSON for
//! the page's script.
//!
//! The HTML holds the first rows that need attention, so that a page without script is of use. The
//! script replaces them and shows all rows of the JSON a slice at a time: a browser shows 100,000
//! rows in the time it takes to read them.

use std::fmt;
use std::io::{self, Write};

use jiff::Timestamp;
use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};

use crate::domain::Flag;
use crate::journal::identity::{CarriedColumn, Identity};
use crate::report::html::time::PageTime;
use crate::text::{self, grouped};

/// Largest number of rows that a page lists.
pub(super) const MAX_LISTED: u64 = 100_000;

/// Largest number of rows in the HTML.
const MAX_STATIC: usize = 1_000;

/// Largest number of the input's own columns that a page shows, besides ID and flag.
const MAX_OTHER_COLUMNS: usize = 4;

/// Longest text of a cell of the input, in characters.
const MAX_CELL: usize = 200;

/// A column of a page's table.
#[derive(Serialize)]
pub(super) struct PageColumn {
    pub(super) name: String,
    pub(super) kind: ColumnKind,
}

impl PageColumn {
    pub(super) fn new(name: &str, kind: ColumnKind) -> Self {
        Self {
            name: text::one_line(name, MAX_CELL),
            kind,
        }
    }
}

/// The kind of a column, which decides about its looks and its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ColumnKind {
    Number,
    Id,
    Word,
    Text,
    Outcome,
    Time,
    Detail,
}

impl fmt::Display for ColumnKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Number => "number",
            Self::Id => "id",
            Self::Word => "word",
            Self::Text => "text",
            Self::Outcome => "outcome",
            Self::Time => "time",
            Self::Detail => "detail",
        })
    }
}

/// The outcome or the planned change of a row.
#[derive(Serialize)]
pub(super) struct PageOutcome {
    pub(super) name: &'static str,
    pub(super) label: String,
    pub(super) attention: bool,
}

/// A row of a page's table.
pub(super) struct PageRow {
    /// Index among the outcomes of the page.
    pub(super) outcome: usize,
    /// Index among the causes of the page.
    pub(super) cause: Option<usize>,
    /// One cell for each column; that of the outcome is empty.
    pub(super) cells: Vec<PageCell>,
}

pub(super) enum PageCell {
    Empty,
    Number(u64),
    Text(String),
    Time(Timestamp),
}

impl PageCell {
    /// Returns a cell of the input, on one line and not too long.
    pub(super) fn of_input(cell: &str) -> Self {
        Self::Text(text::one_line(cell, MAX_CELL))
    }

    pub(super) fn of_flag(flag: Flag) -> Self {
        let words = match flag {
            Flag::OptOut => "opt out",
            Flag::OptIn => "opt in",
        };
        Self::Text(words.to_owned())
    }

    /// Returns the cell of a flag that nobody has recorded.
    pub(super) fn not_known() -> Self {
        Self::Text("not known".to_owned())
    }

    pub(super) fn number(number: Option<impl Into<u64>>) -> Self {
        match number {
            Some(number) => Self::Number(number.into()),
            None => Self::Empty,
        }
    }
}

impl fmt::Display for PageCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => Ok(()),
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
            Self::Time(at) => PageTime::of(*at).utc.fmt(f),
        }
    }
}

impl Serialize for PageCell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Empty => serializer.serialize_none(),
            Self::Number(number) => serializer.serialize_u64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Time(at) => serializer.serialize_i64(at.as_second()),
        }
    }
}

impl Serialize for PageRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut sequence = serializer.serialize_seq(Some(2 + self.cells.len()))?;
        sequence.serialize_element(&self.outcome)?;
        sequence.serialize_element(&self.cause)?;
        for cell in &self.cells {
            sequence.serialize_element(cell)?;
        }
        sequence.end()
    }
}

/// The column that carries what the register said before.
const REGISTERED_COLUMN: &str = "registered";

/// Returns the index of the column that says what the register said before, if a report carries it.
pub(super) fn registered_column(identity: &Identity) -> Option<usize> {
    let registered = |column: &CarriedColumn| column.added && column.name == REGISTERED_COLUMN;
    identity.header.iter().position(registered)
}

/// Returns the indices of the input's own columns that a page shows besides ID and flag.
pub(super) fn other_columns(identity: &Identity) -> Vec<usize> {
    let id_column = identity.carried_id_column();
    let flag_column = carried_flag_column(identity);
    let own = [id_column, flag_column, registered_column(identity)];
    let others = (0..identity.header.len()).filter(|index| !own.contains(&Some(*index)));
    others.take(MAX_OTHER_COLUMNS).collect()
}

fn carried_flag_column(identity: &Identity) -> Option<usize> {
    identity.carried_index(identity.table.flag_column?)
}

/// Where the rows of a page come from.
pub(super) trait PageRows {
    /// Calls `each` for every row that may be listed, in order, until it returns `false`.
    fn for_each(&mut self, each: &mut dyn FnMut(PageRow) -> io::Result<bool>) -> io::Result<()>;
}

/// The table of a page.
pub(super) struct RowListing {
    pub(super) columns: Vec<PageColumn>,
    pub(super) outcomes: Vec<PageOutcome>,
    /// Titles of the causes.
    pub(super) causes: Vec<String>,
    /// Name of all rows that need attention, such as "need attention".
    pub(super) attention_label: &'static str,
    /// Name of the file that has all rows, if there is one.
    pub(super) file: Option<String>,
    /// What the page does not list.
    pub(super) note: Option<String>,
    pub(super) static_rows: Vec<PageRow>,
}

impl RowListing {
    /// Reads the rows that are part of the HTML: the first ones that need attention.
    pub(super) fn read_static_rows(&mut self, rows: &mut dyn PageRows) -> io::Result<()> {
        let outcomes = &self.outcomes;
        let found = &mut self.static_rows;
        rows.for_each(&mut |row| {
            if outcomes[row.outcome].attention {
                found.push(row);
            }
            Ok(found.len() < MAX_STATIC)
        })
    }

    /// Returns what a page without script says about its table.
    pub(super) fn static_note(&self) -> String {
        let shown = match self.static_rows.len() {
            0 => format!(
                "Without JavaScript, this page lists only rows that {}: none.",
                self.attention_label
            ),
            _ => format!(
                "Without JavaScript, this page lists only the first {} rows that {}.",
                grouped(MAX_STATIC as u64),
                self.attention_label
            ),
        };
        match &self.file {
            Some(file) => format!("{shown} All rows are in {file}."),
            None => shown,
        }
    }

    fn outcome(&self, row: &PageRow) -> &PageOutcome {
        &self.outcomes[row.outcome]
    }

    pub(super) fn has_attention(&self) -> bool {
        self.outcomes.iter().any(|outcome| outcome.attention)
    }

    /// Returns the cells of a row with their columns.
    pub(super) fn cells<'a>(&'a self, row: &'a PageRow) -> impl Iterator<Item = StaticCell<'a>> {
        self.columns.iter().zip(&row.cells).map(|(column, cell)| {
            let is_outcome = column.kind == ColumnKind::Outcome;
            StaticCell {
                column,
                cell,
                outcome: if is_outcome {
                    Some(self.outcome(row))
                } else {
                    None
                },
                cause: row.cause.filter(|_| column.kind == ColumnKind::Detail),
            }
        })
    }

    /// Writes columns, outcomes and rows as JSON that may stand in a `script` element.
    pub(super) fn write_json(
        &self,
        out: &mut dyn Write,
        rows: &mut dyn PageRows,
    ) -> io::Result<()> {
        write!(
            out,
            "{{\"columns\":{},\"outcomes\":{},\"rows\":[",
            script_json(&self.columns)?,
            script_json(&self.outcomes)?
        )?;
        let mut written = 0;
        rows.for_each(&mut |row| {
            let separator = if written == 0 { "\n" } else { ",\n" };
            write!(out, "{separator}{}", script_json(&row)?)?;
            written += 1;
            Ok(written < MAX_LISTED)
        })?;
        write!(out, "\n]}}")
    }
}

/// A cell of a row in the HTML.
pub(super) struct StaticCell<'a> {
    pub(super) column: &'a PageColumn,
    pub(super) cell: &'a PageCell,
    /// The outcome, in its column.
    pub(super) outcome: Option<&'a PageOutcome>,
    /// The cause, in the column of details.
    pub(super) cause: Option<usize>,
}

/// Serializes a value as JSON without `<`, so that it can't end a `script` element or begin a
/// comment in it.
fn script_json(value: &impl Serialize) -> io::Result<String> {
    let json = serde_json::to_string(value)?;
    Ok(json.replace('<', "\\u003c"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_in_a_script_element_has_no_markup() {
        let row = PageRow {
            outcome: 1,
            cause: None,
            cells: vec![
                PageCell::of_input("</script><!--<script>"),
                PageCell::Number(7),
                PageCell::Empty,
                PageCell::Time(Timestamp::from_second(1_700_000_000).unwrap()),
            ],
        };
        let json = script_json(&row).unwrap();
        assert!(!json.contains('<'), "{json}");
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        let expected =
            serde_json::json!([1, null, "</script><!--<script>", 7, null, 1_700_000_000]);
        assert_eq!(value, expected);
    }
}
