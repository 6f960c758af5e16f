//! Problems as a person reads them: the first ones with their place and cell, then how many there are of each kind;
//! all of them as CSV where that is wanted.

use std::collections::BTreeMap;
use std::io::{self, BufWriter};
use std::path::Path;

use tempfile::NamedTempFile;

use super::Plan;
use super::reading::{Fault, Reading, Understood};
use crate::error::{Error, Kind, Result};
use crate::input::cell::Wrong;
use crate::input::{Input, Place, Row};
use crate::output::{Existing, Output};
use crate::text::{shorten, visible, without_formula};

/// How many problems are shown one by one.
const SHOWN: usize = 20;

/// The longest piece of a cell that is shown, in characters.
const CELL: usize = 60;

/// The header of the list of problems, and how such a file begins.
const PROBLEMS_HEADER: &str = "file,place,column,kind,problem,cell\n";

/// Checks, before anything is read, that the list of problems can be written to `place`. An earlier
/// list is replaced, another kind of file is not.
///
/// # Errors
/// Of [`Kind::Usage`], naming the file.
pub fn check_problems_place(place: &Path) -> Result<Output> {
    let existing = Existing::ReplaceIfBegins(PROBLEMS_HEADER);
    Output::check(place, existing, Kind::Usage)
        .map_err(|error| error.help("give another file to --problems"))
}

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
    file: Option<ListFile>,
}

/// The list of problems while it is written.
type ListFile = csv::Writer<BufWriter<NamedTempFile>>;

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
        let output = self.options.problems.as_ref();
        if output.is_none() && self.options.skip_invalid {
            return Ok(());
        }
        let file = output
            .map(|output| output.create().map(new_list))
            .transpose()
            .map_err(|error| cant_write(&error))?;
        let mut listing = Listing {
            shown: Vec::new(),
            kinds: BTreeMap::new(),
            total: 0,
            file,
        };
        self.list_problems(&mut listing)?;
        if let (Some(output), Some(file)) = (output, listing.file.take()) {
            put_in_place(output, file).map_err(|error| cant_write(&error))?;
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
                .map_err(|error| cant_write(&error.into()))?;
        }
        Ok(())
    }
}

fn new_list(file: NamedTempFile) -> ListFile {
    let mut buffered = BufWriter::new(file);
    // Into memory, which does not fail.
    let _ = io::Write::write_all(&mut buffered, PROBLEMS_HEADER.as_bytes());
    csv::Writer::from_writer(buffered)
}

fn put_in_place(output: &Output, list: ListFile) -> io::Result<()> {
    let buffered = list.into_inner().map_err(csv::IntoInnerError::into_error)?;
    let file = buffered
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    output.put(file)
}

fn cant_write(error: &io::Error) -> Error {
    Error::new(
        Kind::Usage,
        format!("can't write the list of problems: {error}"),
    )
    .help("give another file to --problems")
}
