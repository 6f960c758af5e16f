//! Problems as a person reads them: the first ones with their place and cell, then how many there are of each kind;
//! all of them as CSV where that is wanted.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;

use super::Plan;
use super::reading::{Fault, Reading, Understood};
use crate::error::{Error, Kind, Result};
use crate::input::cell::Wrong;
use crate::input::{Input, Place, Row};
use crate::text::{shorten, visible, without_formula};

/// How many problems are shown one by one.
const SHOWN: usize = 20;

/// The longest piece of a cell that is shown, in characters.
const CELL: usize = 60;

/// One thing that is wrong in the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line, or the cell of a sheet.
    pub place: String,
    /// The name of the column, empty where it is the row as a whole.
    pub column: String,
    /// For counting.
    pub kind: &'static str,
    /// What is wrong and what to do.
    pub message: String,
    /// The cell, made visible; empty where it is the row as a whole.
    pub cell: String,
}

impl Problem {
    fn new(input: &Input, place: Place, row: &Row, fault: Fault) -> Self {
        let column = fault.column.unwrap_or(0);
        let cell = fault
            .column
            .and_then(|column| row.cells.get(column))
            .unwrap_or_default();
        let name = fault
            .column
            .and_then(|column| input.header().get(column))
            .map_or("", |name| name);
        let width = input.columns().width;
        let message = match fault.wrong {
            Wrong::TooFewCells | Wrong::TooManyCells => {
                format!(
                    "{}: {} instead of {width}",
                    fault.wrong.message(),
                    row.cells.len()
                )
            }
            wrong => wrong.message().to_owned(),
        };
        Self {
            place: place.of_cell(column),
            column: visible(name),
            kind: fault.wrong.kind(),
            message,
            cell: shorten(&visible(&String::from_utf8_lossy(cell)), CELL),
        }
    }

    /// `LINE: column NAME: what is wrong: "the cell"`.
    fn words(&self) -> String {
        let column = if self.column.is_empty() {
            String::new()
        } else {
            format!("column {}: ", self.column)
        };
        let cell = if self.column.is_empty() {
            String::new()
        } else {
            format!(": \"{}\"", self.cell)
        };
        format!("{}: {column}{}{cell}", self.place, self.message)
    }
}

/// A problem in one line, with its place in the file but without the file's name.
pub(super) fn describe(input: &Input, place: Place, row: &Row, fault: Fault) -> String {
    let problem = Problem::new(input, place, row, fault);
    let unit = if matches!(place, Place::Line(_)) {
        "line "
    } else {
        "cell "
    };
    format!("{unit}{}", problem.words())
}

/// Shows the first, counts all, writes all where there is a file for it.
struct Listing {
    shown: Vec<String>,
    kinds: BTreeMap<&'static str, u64>,
    total: u64,
    file: Option<csv::Writer<BufWriter<File>>>,
}

impl Listing {
    fn take(&mut self, name: &str, problem: &Problem) -> csv::Result<()> {
        if self.shown.len() < SHOWN {
            self.shown.push(format!("{name}:{}", problem.words()));
        }
        *self.kinds.entry(problem.kind).or_default() += 1;
        self.total += 1;
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let cells = [
            name,
            &problem.place,
            &problem.column,
            problem.kind,
            &problem.message,
            &problem.cell,
        ];
        file.write_record(cells.map(without_formula))
    }

    fn into_text(self, notes: &[String]) -> String {
        let mut lines = self.shown;
        let more = self.total.saturating_sub(SHOWN as u64);
        if more > 0 {
            lines.push(format!("and {more} more"));
        }
        if self.total > 1 {
            let kinds: Vec<String> = self
                .kinds
                .iter()
                .map(|(kind, count)| format!("{count} {kind}"))
                .collect();
            lines.push(format!("in all {}: {}", self.total, kinds.join(", ")));
        }
        lines.extend(notes.iter().map(|note| format!("note: {note}")));
        lines.join("\n")
    }
}

impl Plan {
    /// Reads the rows once more, for the words.
    pub(super) fn report_problems(&self) -> Result<()> {
        let file = self.problems_file()?;
        if file.is_none() && self.options.skip_invalid {
            return Ok(());
        }
        let mut listing = Listing {
            shown: Vec::new(),
            kinds: BTreeMap::new(),
            total: 0,
            file,
        };
        self.list_problems(&mut listing)?;
        if let Some(file) = &mut listing.file {
            file.flush()
                .map_err(|error| cant_write(&csv::Error::from(error)))?;
        }
        if self.options.skip_invalid {
            return Ok(());
        }
        let rows = if listing.total == 1 {
            "1 row is"
        } else {
            &format!("{} rows are", listing.total)
        };
        let text = listing.into_text(&self.input.found().notes);
        let message = format!("nothing was sent, for {rows} not understood:\n{text}");
        Err(Error::new(Kind::Input, message)
            .help("correct the input, or leave these rows out with --skip-invalid"))
    }

    fn problems_file(&self) -> Result<Option<csv::Writer<BufWriter<File>>>> {
        let Some(path) = &self.options.problems else {
            return Ok(None);
        };
        if path.is_symlink() {
            let message = format!(
                "{} is a symbolic link, so no list is written there",
                visible(&path.to_string_lossy())
            );
            return Err(Error::new(Kind::Usage, message).help("give another file to --problems"));
        }
        let mut options = File::options();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        owners_own(&mut options);
        let file = options
            .open(path)
            .map_err(|error| cant_write(&csv::Error::from(error)))?;
        let mut writer = csv::Writer::from_writer(BufWriter::new(file));
        writer
            .write_record(["file", "place", "column", "kind", "problem", "cell"])
            .map_err(|error| cant_write(&error))?;
        Ok(Some(writer))
    }

    fn list_problems(&self, listing: &mut Listing) -> Result<()> {
        let reading = Reading::new(&self.input, &self.options);
        let name = &self.input.found().name;
        let mut rows = self.input.rows()?;
        let mut row = Row::default();
        while rows.read(&mut row)? {
            let problem = match reading.understand(&row) {
                Understood::Wrong(fault) => {
                    Problem::new(&self.input, rows.place(&row), &row, fault)
                }
                Understood::Ask(ask) => match self.contradiction(&ask) {
                    Some(words) => {
                        let fault = Fault {
                            column: Some(self.input.columns().id),
                            wrong: Wrong::Contradiction,
                        };
                        Problem {
                            message: words,
                            ..Problem::new(&self.input, rows.place(&row), &row, fault)
                        }
                    }
                    None => continue,
                },
                Understood::NotSelected => continue,
            };
            listing
                .take(name, &problem)
                .map_err(|error| cant_write(&error))?;
        }
        Ok(())
    }
}

/// Not through a link that was planted in the meantime, and for nobody else to read.
#[cfg(unix)]
fn owners_own(options: &mut std::fs::OpenOptions) {
    use std::os::unix::fs::OpenOptionsExt;

    options
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
}

fn cant_write(error: &csv::Error) -> Error {
    Error::new(
        Kind::Usage,
        format!("can't write the list of problems: {error}"),
    )
    .help("give another file to --problems")
}
