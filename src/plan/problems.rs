//! Describes the problems of a table: the first ones with their place and cell, then the number of
//! each kind, and all of them as CSV on demand.

use std::collections::BTreeMap;
use std::io::{self, BufWriter};
use std::path::Path;

use tempfile::NamedTempFile;

use super::Plan;
use super::row_check::{Fault, RowCheck};
use crate::error::{Error, Kind, Result};
use crate::input::cell::CellError;
use crate::input::{Directory, Input, Place, Row};
use crate::output::{Existing, Output};
use crate::text::{counted, shorten, visible, without_formula};

/// Number of problems that are shown one by one.
const SHOWN: usize = 20;

/// Number of characters of a cell that are shown.
const CELL: usize = 60;

/// The header of the list of problems, by which such a file is recognised.
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

/// The files that messages about rows are about.
pub(super) struct ProblemFiles<'a> {
    pub(super) input: &'a Input,
    pub(super) directory: Option<&'a Directory>,
    /// Whether messages mention similar keys of the directory.
    pub(super) suggests: bool,
}

/// A problem in the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line, or the cell of a sheet.
    pub place: String,
    /// The name of the column; empty if it is the row as a whole.
    pub column: String,
    /// The kind by which problems are counted.
    pub kind: &'static str,
    /// What is wrong and what to do about it.
    pub message: String,
    /// The cell, made visible; empty if it is the row as a whole.
    pub cell: String,
}

impl Problem {
    fn new(sources: &ProblemFiles<'_>, place: Place, row: &Row, fault: Fault) -> Self {
        let input = sources.input;
        let Some(column) = fault.column else {
            return Self::of_row(input, place, row, fault.error);
        };
        let cell = row.cells.get(column).unwrap_or_default();
        let name = input.header().get(column).map_or("", String::as_str);
        let is_empty = matches!(fault.error, CellError::EmptyId | CellError::EmptyFlag);
        let merged = input.merged_area(place, column).filter(|_| is_empty);
        let message = match merged {
            Some(area) => format!(
                "the cell is part of the merged cells {area}, of which only the first holds a \
                 value; unmerge them and fill in every row"
            ),
            None => match sources
                .directory
                .filter(|_| fault.error.is_about_directory())
            {
                Some(directory) => directory.explain(cell, sources.suggests),
                None => fault.error.message().to_owned(),
            },
        };
        Self {
            place: place.of_cell(column),
            column: visible(name),
            kind: fault.error.kind(),
            message,
            cell: shown(cell),
        }
    }

    /// Returns a problem of a row as a whole.
    fn of_row(input: &Input, place: Place, row: &Row, error: CellError) -> Self {
        let width = input.columns().width;
        let mut problem = Self {
            place: place.of_cell(0),
            column: String::new(),
            kind: error.kind(),
            message: format!(
                "{}: {} instead of {width}",
                error.message(),
                row.cells.len()
            ),
            cell: String::new(),
        };
        if let Some(column) = row.stray_column
            && let Place::Sheet { row: number, .. } = place
        {
            let cell = |column: u32| {
                let first_column = column;
                let row = number;
                Place::Sheet { row, first_column }.of_cell(0)
            };
            let last = place.of_cell(width.saturating_sub(1));
            problem.place = cell(column);
            problem.message = format!(
                "the cell \"{}\" is outside the table, which spans {} to {last} in this row; \
                 delete it, or give its column a header",
                shown(row.cells.get(width).unwrap_or_default()),
                place.of_cell(0)
            );
        }
        problem
    }

    /// `LINE: column NAME: what is error: "the cell"`.
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

fn shown(cell: &[u8]) -> String {
    shorten(&visible(&String::from_utf8_lossy(cell)), CELL)
}

/// Returns a problem in one line, with its place in the file but without the file's name.
pub(super) fn describe(
    sources: &ProblemFiles<'_>,
    place: Place,
    row: &Row,
    fault: Fault,
) -> String {
    let problem = Problem::new(sources, place, row, fault);
    let unit = if matches!(place, Place::Line(_)) {
        "line "
    } else {
        "cell "
    };
    format!("{unit}{}", problem.words())
}

/// Collects problems: shows the first, counts all, and writes all if there is a file for them.
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
                .map(|(kind, count)| format!("{kind} ({count})"))
                .collect();
            let total = counted(self.total, "problem", "problems");
            lines.push(format!("{total}: {}", kinds.join(", ")));
        }
        lines.extend(notes.iter().map(|note| format!("note: {note}")));
        lines.join("\n")
    }
}

impl Plan {
    /// Reads the rows once more and describes the problems. Returns them as an error unless invalid
    /// rows are skipped.
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
        let message = format!("nothing was sent: {rows} invalid\n{text}");
        Err(Error::new(Kind::Input, message)
            .help("correct the input, or leave these rows out with --skip-invalid"))
    }

    fn list_problems(&self, listing: &mut Listing) -> Result<()> {
        let name = &self.input.found().name;
        let mut rows = self.row_reader()?;
        while let Some(check) = rows.next()? {
            let sources = self.sources(listing.shown.len() < SHOWN);
            let problem = match check {
                RowCheck::NotSelected => continue,
                RowCheck::Invalid(fault) => Problem::new(&sources, rows.place(), &rows.row, fault),
                RowCheck::Request(request) => {
                    let Some(words) = self.contradiction(&request) else {
                        continue;
                    };
                    let fault = Fault {
                        column: Some(self.input.columns().id),
                        error: CellError::Contradiction,
                    };
                    Problem {
                        message: words,
                        ..Problem::new(&sources, rows.place(), &rows.row, fault)
                    }
                }
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
