//! How the table of a run is read, and the list of users that gives its IDs: as the settings say.
//! For the report of an earlier run, its record says it.

use std::path::Path;
use std::sync::Arc;

use super::earlier::{self, RecordedColumns};
use super::is_standard_input;
use crate::config::{CliOverrides, Key, Reading};
use crate::error::{Error, Kind, Result};
use crate::input::{
    ColumnChoice, Content, Directory, DirectoryOptions, HeaderChoice, Options, Source, UntilChoice,
};
use crate::plan::Selection;

/// What was requested about the table of a run.
pub(super) struct TableRequest<'a> {
    pub(super) input: &'a Path,
    pub(super) selection: &'a Selection,
    /// The options that were given on the command line.
    pub(super) given: &'a CliOverrides,
    pub(super) reading: &'a Reading,
}

impl TableRequest<'_> {
    /// Returns where the table is.
    pub(super) fn source(&self) -> Source {
        source_of(self.input)
    }

    /// Returns how the table is read.
    pub(super) fn input_options(&self) -> Options {
        let reading = self.reading;
        let columns = self.columns();
        let is_table = !self.is_report();
        let content = if is_table && reading.ids.is_some() {
            let columns = reading.match_columns.as_ref();
            Content::People {
                key: columns.and_then(|columns| choice(&columns.in_table)),
            }
        } else {
            Content::Users
        };
        // The settings say how tables are written. A report is written by this tool: for it only
        // what was typed counts.
        let holds = |key: Key| is_table || self.given.contains(key);
        Options {
            content,
            delimiter: reading.delimiter.filter(|_| holds(Key::Delimiter)),
            encoding: reading.encoding.filter(|_| holds(Key::Encoding)),
            sheet: reading.sheet.clone().filter(|_| holds(Key::Sheet)),
            id_column: columns.id,
            flag_column: columns.flag,
            until_column: columns.until,
            set: reading.set,
            header: match reading.header_row.filter(|_| holds(Key::HeaderRow)) {
                Some(line) => HeaderChoice::At(line),
                None if reading.header || !holds(Key::NoHeader) => HeaderChoice::Detect,
                None => HeaderChoice::Absent,
            },
            visible_only: reading.visible_only && holds(Key::VisibleOnly),
            max_input: reading.max_input,
        }
    }

    /// Reads the list that gives the user IDs, if there is one. The report of an earlier run has
    /// the IDs already. `host` is the Org's, on which a pasted address of a user must be.
    ///
    /// # Errors
    /// Of [`Kind::Usage`] if an option is about a list and there is none, and if both files come
    /// from standard input. Of [`Kind::Input`] if the list can't be read.
    pub(super) fn directory(&self, host: Option<String>) -> Result<Option<Arc<Directory>>> {
        if self.is_report() {
            return Ok(None);
        }
        let reading = self.reading;
        let Some(file) = &reading.ids else {
            for key in [Key::Match, Key::IdsColumn] {
                if self.given.contains(key) {
                    let message = format!("{} is about the list of users", key.flag());
                    let help = "give the list with --ids FILE";
                    return Err(Error::new(Kind::Usage, message).help(help));
                }
            }
            return Ok(None);
        };
        if is_standard_input(file) && is_standard_input(self.input) {
            let message = "the table and the list of users can't both come from standard input";
            return Err(Error::new(Kind::Usage, message).help("put one of them into a file"));
        }
        let columns = reading.match_columns.as_ref();
        let options = DirectoryOptions {
            key_column: columns.and_then(|columns| choice(&columns.in_list)),
            id_column: reading.ids_column.as_deref().and_then(choice),
            max_input: reading.max_input,
            host,
        };
        let directory = Directory::open(&source_of(file), &options)?;
        Ok(Some(Arc::new(directory)))
    }

    /// Returns the columns that were chosen. For a report of an earlier run, its record names them
    /// unless others were typed.
    fn columns(&self) -> RecordedColumns {
        let reading = self.reading;
        let mut columns = RecordedColumns {
            id: reading.id_column.as_deref().and_then(choice),
            flag: reading.flag_column.as_deref().and_then(choice),
            until: match &reading.until_column {
                Some(column) => column.parse().unwrap_or_default(),
                None => UntilChoice::Detect,
            },
        };
        if !self.is_report() {
            return columns;
        }
        if let Some(recorded) = earlier::columns_of(self.input) {
            if !self.given.contains(Key::IdColumn) {
                columns.id = recorded.id;
            }
            if !self.given.contains(Key::FlagColumn) {
                columns.flag = recorded.flag;
            }
            if !self.given.contains(Key::UntilColumn) {
                columns.until = recorded.until;
            }
        }
        columns
    }

    fn is_report(&self) -> bool {
        *self.selection != Selection::All
    }
}

fn source_of(path: &Path) -> Source {
    if is_standard_input(path) {
        Source::Stdin
    } else {
        Source::Path(path.to_owned())
    }
}

/// Parses a column as it was given: a name, or a number from 1.
pub(super) fn choice(text: &str) -> Option<ColumnChoice> {
    text.parse().ok()
}
