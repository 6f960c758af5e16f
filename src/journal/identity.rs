//! The identity of a run: the facts that must be the same for an interrupted run to be continued.
//! They become words only to name a difference.

use std::fmt::Display;

use serde::{Deserialize, Serialize};

use crate::domain::{LineNumber, Outcome, RowLabels, TableFormat};
use crate::text::visible;

/// The column that carries the IDs of people who were found by `--ids`.
pub const ADDED_ID_COLUMN: &str = "user_id";

/// The facts that must be the same for a run to be continued. Only the input's name may differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Command: `apply`, `retry` or `undo`.
    pub command: String,
    /// The input file.
    pub input: InputFile,
    /// How the input is read.
    pub table: TableReading,
    /// The list that gives the user IDs, if the input has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<UserList>,
    /// Header of the columns that the report carries.
    pub header: Vec<CarriedColumn>,
    /// Flag for all rows, as the value of `mfaOptOut`, if one was given.
    pub set: Option<bool>,
    /// Whether invalid rows are left out.
    pub skip_invalid: bool,
    /// Name of the time zone in which end dates are meant, if there is a column of end dates.
    pub time_zone: Option<String>,
    /// For a retry, the outcomes whose rows are sent again, in the order of [`Outcome::ALL`];
    /// otherwise empty.
    pub outcomes: Vec<Outcome>,
    /// The register that the run brings up to date, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub register: Option<RegisterIdentity>,
    /// The Org's address.
    pub address: String,
}

/// The register of a run, and how it is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterIdentity {
    /// Its absolute path.
    pub path: String,
    /// The list that `sync` brings up to date.
    pub list: Option<String>,
    /// Whether `sync` sends every row.
    pub full: bool,
    /// Whether `sync` leaves people as they are who have left the table.
    pub keep_missing: bool,
}

/// An input file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFile {
    /// Its name as it was given.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// BLAKE3 of its bytes, hexadecimal.
    pub blake3: String,
}

/// A file that gives user IDs for the keys of the input, and how it is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserList {
    /// The file.
    pub file: InputFile,
    /// The column of the keys, counted from 1.
    pub key_column: usize,
    /// The column of the user IDs, counted from 1.
    pub id_column: usize,
    /// The column of the keys as it was chosen with `--match`.
    pub key_choice: Option<String>,
    /// The column of the user IDs as it was chosen with `--ids-column`.
    pub id_choice: Option<String>,
}

/// How a table is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableReading {
    /// How it is written.
    pub format: TableFormat,
    /// The line or row of the sheet in which the header is, if there is one.
    pub header_line: Option<LineNumber>,
    /// The column of the user IDs, counted from 1.
    pub id_column: usize,
    /// The column of the flags, counted from 1, if it is read.
    pub flag_column: Option<usize>,
    /// The column of the end dates, counted from 1, if there is one.
    pub until_column: Option<usize>,
    /// Whether rows that are hidden in a workbook are left out.
    pub visible_only: bool,
    /// Whether the last row is read as a user even if it looks like a row of totals.
    pub keep_last_row: bool,
}

/// A column that the report carries, before the tool's own columns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarriedColumn {
    /// The cell of its header.
    pub name: String,
    /// Whether the tool has added the column.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub added: bool,
}

impl CarriedColumn {
    /// Returns a column that the tool has added.
    #[must_use]
    pub fn added(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            added: true,
        }
    }

    /// Returns a column of the input.
    #[must_use]
    pub fn of_input(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            added: false,
        }
    }
}

impl Identity {
    /// Returns in words how a run that starts now differs from this one; empty if it is the same
    /// run.
    #[must_use]
    pub fn differences(&self, now: &Self) -> Vec<String> {
        let mut found = Differences::default();
        found.compare("the command", &self.command, &now.command);
        if self.input.blake3 == now.input.blake3 {
            self.compare_reading(now, &mut found);
        } else {
            let name = visible(&now.input.name);
            found.add(format!("the input: {name} has changed since"));
        }
        self.compare_ids(now, &mut found);
        found.compare("the address", &self.address, &now.address);
        found.compare_optional("--set", self.set.as_ref(), now.set.as_ref());
        found.compare("--skip-invalid", &self.skip_invalid, &now.skip_invalid);
        let time_zone = self.time_zone.as_ref();
        found.compare_optional("--timezone", time_zone, now.time_zone.as_ref());
        if self.outcomes != now.outcomes {
            let was = outcomes_in_words(&self.outcomes);
            let is = outcomes_in_words(&now.outcomes);
            found.add(format!("--only: it was {was}, now it is {is}"));
        }
        let register = register_path(self.register.as_ref());
        let now_register = register_path(now.register.as_ref());
        found.compare_optional("the register", register, now_register);
        found.words
    }

    fn compare_ids(&self, now: &Self, found: &mut Differences) {
        match (&self.ids, &now.ids) {
            (None, None) => {}
            (Some(_), None) => found.add("--ids: it was given, now it is not".to_owned()),
            (None, Some(_)) => found.add("--ids: it was not given, now it is".to_owned()),
            (Some(was), Some(is)) if was.file.blake3 != is.file.blake3 => {
                let name = visible(&is.file.name);
                found.add(format!("--ids: {name} has changed since"));
            }
            (Some(was), Some(is)) => {
                found.compare(
                    "--match, the column of FILE",
                    &was.key_column,
                    &is.key_column,
                );
                found.compare("--ids-column", &was.id_column, &is.id_column);
            }
        }
    }

    fn compare_reading(&self, now: &Self, found: &mut Differences) {
        let was = &self.table;
        let is = &now.table;
        found.compare("the form of the input", &was.format, &is.format);
        let header_line = was.header_line.as_ref();
        found.compare_optional(
            "the line of the header",
            header_line,
            is.header_line.as_ref(),
        );
        found.compare("--visible-only", &was.visible_only, &is.visible_only);
        found.compare("--keep-last-row", &was.keep_last_row, &is.keep_last_row);
        found.compare("the number of the ID column", &was.id_column, &is.id_column);
        let flag_column = was.flag_column.as_ref();
        found.compare_optional(
            "the number of the flag column",
            flag_column,
            is.flag_column.as_ref(),
        );
        let until_column = was.until_column.as_ref();
        found.compare_optional(
            "the number of the end date column",
            until_column,
            is.until_column.as_ref(),
        );
        if self.header != now.header {
            found.add("the header: the report has other columns".to_owned());
        }
    }

    /// Returns the index of the column of IDs among the columns that the report carries.
    #[must_use]
    pub fn carried_id_column(&self) -> Option<usize> {
        let is_added = |column: &CarriedColumn| column.added && column.name == ADDED_ID_COLUMN;
        match self.header.iter().position(is_added) {
            Some(index) => Some(index),
            None => self.carried_index(self.table.id_column),
        }
    }

    /// Returns the index of a column of the input, given by its number, among the columns that the
    /// report carries.
    #[must_use]
    pub fn carried_index(&self, number: usize) -> Option<usize> {
        let columns = self.header.iter().zip(0..);
        let mut of_input = columns.filter(|(column, _)| !column.added);
        let (_, index) = of_input.nth(number.checked_sub(1)?)?;
        Some(index)
    }

    /// Returns what names the rows of the run for people.
    #[must_use]
    pub fn row_labels(&self) -> RowLabels {
        let names = self.header.iter().map(|column| column.name.as_str());
        RowLabels::new(self.carried_id_column(), names)
    }

    /// Returns the options that change what is sent, with their values in words.
    pub(crate) fn options_in_words(&self) -> Vec<(&'static str, String)> {
        let table = &self.table;
        let id_column = self.column_in_words(table.id_column);
        let mut options = vec![("Form", table.format.to_string())];
        match &self.ids {
            None => options.push(("ID column", id_column)),
            Some(ids) => {
                options.push(("Matched by", id_column));
                options.push(("--ids", visible(&ids.file.name)));
            }
        }
        if let Some(column) = table.flag_column {
            options.push(("Flag column", self.column_in_words(column)));
        }
        if let Some(column) = table.until_column {
            options.push(("End date column", self.column_in_words(column)));
        }
        match table.header_line {
            Some(line) => options.push(("Header", format!("line {line}"))),
            None => options.push(("Header", "none".to_owned())),
        }
        options.push(("--visible-only", table.visible_only.to_string()));
        options.push(("--keep-last-row", table.keep_last_row.to_string()));
        options.push(("--skip-invalid", self.skip_invalid.to_string()));
        if let Some(set) = self.set {
            options.push(("--set", set.to_string()));
        }
        if let Some(register) = &self.register {
            options.push(("--register", visible(&register.path)));
            if let Some(list) = &register.list {
                options.push(("--list", visible(list)));
                options.push(("--full", register.full.to_string()));
                options.push(("--keep-missing", register.keep_missing.to_string()));
            }
        }
        if let Some(zone) = &self.time_zone {
            options.push(("--timezone", zone.clone()));
        }
        if !self.outcomes.is_empty() {
            options.push(("--only", outcomes_in_words(&self.outcomes)));
        }
        options
    }

    fn column_in_words(&self, number: usize) -> String {
        let mut of_input = self.header.iter().filter(|column| !column.added);
        match of_input.nth(number.saturating_sub(1)) {
            Some(column) => format!("column {number} \"{}\"", visible(&column.name)),
            None => format!("column {number}"),
        }
    }
}

fn register_path(register: Option<&RegisterIdentity>) -> Option<&String> {
    register.map(|register| &register.path)
}

fn outcomes_in_words(outcomes: &[Outcome]) -> String {
    if outcomes.is_empty() {
        return "not given".to_owned();
    }
    let words: Vec<&str> = outcomes.iter().map(|outcome| outcome.as_str()).collect();
    words.join(",")
}

/// The differences of two runs, in words.
#[derive(Default)]
struct Differences {
    words: Vec<String>,
}

impl Differences {
    fn add(&mut self, words: String) {
        self.words.push(words);
    }

    fn compare<T: PartialEq + Display>(&mut self, what: &str, was: &T, is: &T) {
        if was != is {
            self.add(format!("{what}: it was {was}, now it is {is}"));
        }
    }

    fn compare_optional<T: PartialEq + Display>(
        &mut self,
        what: &str,
        was: Option<&T>,
        is: Option<&T>,
    ) {
        if was != is {
            let was = value_in_words(was);
            let is = value_in_words(is);
            self.add(format!("{what}: it was {was}, now it is {is}"));
        }
    }
}

fn value_in_words<T: Display>(value: Option<&T>) -> String {
    match value {
        Some(value) => value.to_string(),
        None => "not given".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::LineEnd;
    use crate::report::tests::identity;

    type Change = fn(&mut Identity);

    fn differences(change: impl FnOnce(&mut Identity)) -> Vec<String> {
        let mut now = identity();
        change(&mut now);
        identity().differences(&now)
    }

    #[test]
    fn the_same_run_has_no_differences_whatever_its_input_is_called() {
        assert!(differences(|now| now.input.name = "./users.csv".to_owned()).is_empty());
    }

    #[test]
    fn every_fact_that_differs_is_named_with_both_values() {
        let cases: [(Change, &str); 12] = [
            (
                |now| now.command = "undo".to_owned(),
                "the command: it was apply, now it is undo",
            ),
            (
                |now| now.input.blake3 = "beef".to_owned(),
                "the input: users.csv has changed since",
            ),
            (
                |now| now.table.header_line = None,
                "the line of the header: it was 1, now it is not given",
            ),
            (
                |now| now.table.visible_only = true,
                "--visible-only: it was false, now it is true",
            ),
            (
                |now| now.table.keep_last_row = true,
                "--keep-last-row: it was false, now it is true",
            ),
            (
                |now| now.table.id_column = 2,
                "the number of the ID column: it was 1, now it is 2",
            ),
            (
                |now| now.table.flag_column = Some(2),
                "the number of the flag column: it was not given, now it is 2",
            ),
            (
                |now| now.header[1].added = true,
                "the header: the report has other columns",
            ),
            (
                |now| now.set = None,
                "--set: it was true, now it is not given",
            ),
            (
                |now| now.time_zone = Some("Asia/Tokyo".to_owned()),
                "--timezone: it was not given, now it is Asia/Tokyo",
            ),
            (
                |now| now.outcomes = vec![Outcome::Failed, Outcome::NotSent],
                "--only: it was not given, now it is failed,not_sent",
            ),
            (
                |now| {
                    now.register = Some(RegisterIdentity {
                        path: "/srv/register.csv".to_owned(),
                        list: None,
                        full: false,
                        keep_missing: false,
                    });
                },
                "the register: it was not given, now it is /srv/register.csv",
            ),
        ];
        for (change, words) in cases {
            assert_eq!(differences(change), [words]);
        }
    }

    #[test]
    fn another_way_of_reading_the_table_is_named_in_words() {
        let found = differences(|now| {
            now.table.format = TableFormat::Text {
                encoding: "UTF-16LE".to_owned(),
                byte_order_mark: true,
                gzip: true,
                delimiter: ';',
                line_end: LineEnd::Lf,
                sep_line: true,
            };
        });
        let form = "gzip, UTF-16LE with BOM, semicolons, after a sep= line";
        let words = format!("the form of the input: it was UTF-8, commas, now it is {form}");
        assert_eq!(found, [words]);
    }

    #[test]
    fn an_identity_is_stored_as_facts_and_not_as_words() {
        let json = serde_json::to_value(identity()).unwrap();
        assert_eq!(
            json["table"],
            serde_json::json!({
                "format": {
                    "kind": "text",
                    "encoding": "UTF-8",
                    "byte_order_mark": false,
                    "gzip": false,
                    "delimiter": ",",
                    "line_end": "lf",
                    "sep_line": false,
                },
                "header_line": 1,
                "id_column": 1,
                "flag_column": null,
                "until_column": null,
                "visible_only": false,
                "keep_last_row": false,
            })
        );
        let read: Identity = serde_json::from_value(json).unwrap();
        assert_eq!(read, identity());
    }
}
