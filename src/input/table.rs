//! An opened table: everything about it is known, and its rows can be read again and again.

use std::io::Read;

use super::bytes::{BlockHashes, Bytes, PrivateCopy, Source};
use super::column_rules::ColumnCheck;
use super::container;
use super::header::{ColumnRequest, Columns, HeaderProblem};
use super::header_row::{HeadRow, LocatedHeader, ROWS_SEARCHED, locate};
use super::options::{Content, HeaderChoice, Options};
use super::quotes::RowShape;
use super::row::{MAX_COLUMNS, Place, Row};
use super::sheet_list::SheetFit;
use super::text::{self, Layout, TextFormat, TextRows};
use super::workbook::{ColumnSpan, CopiedSheet, SheetRows, Workbook};
use crate::domain::{LineNumber, TableFormat};
use crate::error::{Error, Kind, Result};
use crate::text::visible;

/// The largest number of rows above a header whose position is given.
const MAX_ROWS_ABOVE: usize = 10_000;

/// What was detected in the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The name that messages use.
    pub name: String,
    /// BLAKE3 of the raw bytes.
    pub fingerprint: blake3::Hash,
    /// Size in bytes.
    pub bytes: u64,
    /// How the table is written.
    pub format: TableFormat,
    /// The line of the file, or row of the sheet, in which the header is; `None` if there is no
    /// header.
    pub header_line: Option<LineNumber>,
    /// The column of the IDs in words, such as `column 1 "user_id"`.
    pub id_column: String,
    /// The column of the flags in words, if there is one.
    pub flag_column: Option<String>,
    /// The column of the end dates in words, if there is one.
    pub until_column: Option<String>,
    /// Number of hidden rows that are left out.
    pub hidden_left_out: u64,
    /// What a person should know and need not act upon, such as hidden rows.
    pub notes: Vec<String>,
}

/// An opened table.
pub struct Input {
    form: TableFile,
    found: Found,
    columns: Columns,
    header: Vec<String>,
    /// Number of rows up to and including the header.
    rows_before_data: usize,
}

enum TableFile {
    Text {
        bytes: Bytes,
        format: Box<TextFormat>,
        layout: Layout,
        shape: Option<RowShape>,
    },
    Workbook(Box<Workbook>),
}

impl Input {
    /// Reads the whole input once to detect its form, then finds the header and the columns.
    ///
    /// # Errors
    ///
    /// Returns an error of [`Kind::Input`] if the input can't be read, is not a table, or its
    /// columns can't be told.
    pub fn open(source: &Source, options: &Options) -> Result<Self> {
        Self::detect(source, options).map_err(Error::before_sending)
    }

    fn detect(source: &Source, options: &Options) -> Result<Self> {
        if let Some(error) = lock_file(source) {
            return Err(error);
        }
        let request = column_request(options);
        let bytes = Bytes::open(source, options.max_input)?;
        let mut form = match container::container(&bytes)? {
            Some(container) => {
                let assess = |sheet: &CopiedSheet| assess_sheet(sheet, &request, options.header);
                let workbook = Workbook::open(&bytes, container, options, assess)?;
                TableFile::Workbook(Box::new(workbook))
            }
            None => open_text(bytes, options, &request)?,
        };
        let name = source.name();
        let head = form.head(options.header)?;
        check_head(&head, &name)?;
        let located = match locate(&head, options.header, &request) {
            Ok(located) => located,
            Err(problem) => {
                return Err(match foreign(&head[0].cells, &form) {
                    Some(kind) => not_a_table(&name, kind, &options.content),
                    None => refuse(&name, &form, &problem),
                });
            }
        };
        let header = match located.row {
            Some(row) => head[row].cells.clone(),
            None => placeholder_names(&located.columns),
        };
        form.set_table(&head, &located, options.visible_only);
        let mut input = Self::new(form, name, &head, located, header);
        input.check_columns(options)?;
        Ok(input)
    }

    fn new(
        form: TableFile,
        name: String,
        head: &[HeadRow],
        located: LocatedHeader,
        header: Vec<String>,
    ) -> Self {
        let columns = located.columns;
        let header_line = located.row.map(|row| head[row].place.number());
        let mut notes = form.notes();
        notes.extend(header_note(head, located.row, header_line));
        let in_words =
            |column: usize| format!("column {} \"{}\"", column + 1, visible(&header[column]));
        let found = Found {
            fingerprint: form.raw().1.fingerprint,
            bytes: form.raw().0.size,
            format: form.format(),
            header_line,
            id_column: in_words(columns.id),
            flag_column: columns.flag.map(in_words),
            until_column: columns.until.map(in_words),
            hidden_left_out: form.hidden_left_out(),
            notes,
            name,
        };
        Self {
            form,
            found,
            columns,
            header,
            rows_before_data: located.row.map_or(0, |row| row + 1),
        }
    }

    /// Looks in the cells for another column that may hold the IDs or the end dates.
    fn check_columns(&mut self, options: &Options) -> Result<()> {
        let is_directory = matches!(options.content, Content::Directory { .. });
        if !self.has_header() || is_directory {
            return Ok(());
        }
        let mut check = ColumnCheck::new(&self.header, &self.columns, &options.until_column);
        let mut rows = self.rows()?;
        let mut row = Row::default();
        while rows.read(&mut row)? {
            if check.take(&row).is_break() {
                break;
            }
        }
        let ignored = check.finish().map_err(|problem| {
            Error::new(
                Kind::Input,
                format!("{}: {}", self.found.name, problem.message),
            )
            .help(problem.help)
        })?;
        if !ignored.is_empty() && !self.columns.is_report() {
            let names = ignored.join(", ");
            let note = format!(
                "dates that are not read as end dates: {names}; if opt-outs end then, give \
                 --until-column"
            );
            self.found.notes.push(note);
        }
        Ok(())
    }

    /// Returns what was detected.
    #[must_use]
    pub fn found(&self) -> &Found {
        &self.found
    }

    /// Returns the positions of the columns.
    #[must_use]
    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    /// Returns the names of all columns, which are placeholders if the table has no header.
    #[must_use]
    pub fn header(&self) -> &[String] {
        &self.header
    }

    /// Returns a column in words, such as `column 1 "email"`.
    #[must_use]
    pub fn column_in_words(&self, column: usize) -> String {
        let name = self.header.get(column).map_or("", String::as_str);
        format!("column {} \"{}\"", column + 1, visible(name))
    }

    /// Returns whether the text has zero bytes.
    #[must_use]
    pub fn has_nul(&self) -> bool {
        self.form.has_nul()
    }

    /// Returns whether the table has a header.
    #[must_use]
    pub fn has_header(&self) -> bool {
        self.found.header_line.is_some()
    }

    /// Returns the merged area of a sheet to which an empty cell belongs, such as `B2:B4`.
    #[must_use]
    pub fn merged_area(&self, place: Place, cell: usize) -> Option<String> {
        match &self.form {
            TableFile::Text { .. } => None,
            TableFile::Workbook(workbook) => workbook.merged_area(place, cell),
        }
    }

    /// Returns the raw bytes from the start, and their number. Reading fails if they differ from
    /// those that were read when the input was opened.
    #[must_use]
    pub fn raw(&self) -> (Box<dyn Read>, u64) {
        let (bytes, hashes) = self.form.raw();
        (Box::new(bytes.verified(hashes)), bytes.size)
    }

    /// Returns the hashes of the raw bytes.
    pub(super) fn hashes(&self) -> &BlockHashes {
        self.form.raw().1
    }

    /// Reads from a copy of the raw bytes from now on, so that changes of the original have no
    /// effect.
    pub fn read_from(&mut self, copy: PrivateCopy) {
        let copy = Bytes::of_copy(copy);
        match &mut self.form {
            TableFile::Text { bytes, .. } => *bytes = copy,
            TableFile::Workbook(workbook) => workbook.read_from(copy),
        }
    }

    /// Returns the rows from the start, without the header and what stands above it.
    ///
    /// # Errors
    ///
    /// Fails if the input can't be read any more, or was modified.
    pub fn rows(&self) -> Result<Rows> {
        let mut rows = self.form.rows()?;
        let mut row = Row::default();
        for _ in 0..self.rows_before_data {
            rows.read(&mut row)?;
        }
        Ok(rows)
    }
}

fn column_request(options: &Options) -> ColumnRequest {
    ColumnRequest {
        content: options.content.clone(),
        id: options.id_column.clone(),
        flag: options.flag_column.clone(),
        until: options.until_column.clone(),
        flag_is_set: options.set.is_some(),
    }
}

/// Returns the error for the file that Excel keeps beside a workbook while it is open.
fn lock_file(source: &Source) -> Option<Error> {
    let Source::Path(path) = source else {
        return None;
    };
    let workbook = path.file_name()?.to_str()?.strip_prefix("~$")?;
    let message = format!(
        "{} is not a table, but a file that Excel keeps while \"{}\" is open",
        source.name(),
        visible(workbook)
    );
    Some(Error::new(Kind::Input, message).help("give the workbook itself"))
}

fn open_text(bytes: Bytes, options: &Options, request: &ColumnRequest) -> Result<TableFile> {
    let format = text::survey(&bytes, options.encoding, options.max_input)?;
    let head = format.head(&bytes)?;
    let fits = |rows: &[Vec<String>]| {
        let rows: Vec<HeadRow> = (1..)
            .zip(rows)
            .map(|(line, cells)| HeadRow::new(Place::Line(line), cells.clone()))
            .collect();
        if options.header == HeaderChoice::Absent {
            return false;
        }
        match locate(&rows, HeaderChoice::Detect, request) {
            Ok(_) => true,
            Err(problem) => !problem.is_missing,
        }
    };
    let layout = text::sniff(&head, options.delimiter, fits);
    Ok(TableFile::Text {
        bytes,
        format: Box::new(format),
        layout,
        shape: None,
    })
}

/// Tells how well a sheet fits as the table of users.
fn assess_sheet(
    sheet: &CopiedSheet,
    request: &ColumnRequest,
    choice: HeaderChoice,
) -> Result<SheetFit> {
    let mut rows = Rows(Which::Sheet(sheet.rows()));
    let head = read_head(&mut rows, choice)?;
    if head.is_empty() {
        return Ok(SheetFit::Empty);
    }
    let Ok(located) = locate(&head, choice, request) else {
        return Ok(SheetFit::OtherContent);
    };
    let first_column = match located.row.map_or(head[0].place, |row| head[row].place) {
        Place::Sheet { first_column, .. } => first_column as usize,
        Place::Line(_) => 0,
    };
    let id_column = first_column + located.columns.id;
    let mut rows = sheet.rows();
    let mut row = Row::default();
    for _ in 0..located.row.map_or(0, |row| row + 1) {
        rows.read(&mut row)?;
    }
    while rows.read(&mut row)? {
        let Place::Sheet { first_column, .. } = rows.place() else {
            continue;
        };
        let cell = id_column
            .checked_sub(first_column as usize)
            .and_then(|column| row.cells.get(column));
        let cell = String::from_utf8_lossy(cell.unwrap_or_default());
        if request.identifies_user(&cell) {
            return Ok(SheetFit::Candidate);
        }
    }
    Ok(SheetFit::NoIds)
}

/// Reads the rows among which the header is.
fn read_head(rows: &mut Rows, choice: HeaderChoice) -> Result<Vec<HeadRow>> {
    let mut head = Vec::new();
    let mut row = Row::default();
    while rows.read(&mut row)? {
        let place = rows.place(&row);
        let cells = row.cells.iter().map(|cell| String::from_utf8_lossy(cell));
        let cells = cells.map(std::borrow::Cow::into_owned).collect();
        head.push(HeadRow::new(place, cells));
        let is_enough = match choice {
            HeaderChoice::Absent => true,
            HeaderChoice::Detect => head.len() > ROWS_SEARCHED,
            HeaderChoice::At(line) => place.number() >= line || head.len() > MAX_ROWS_ABOVE,
        };
        if is_enough {
            break;
        }
    }
    Ok(head)
}

fn check_head(head: &[HeadRow], name: &str) -> Result<()> {
    let Some(first) = head.first() else {
        let message = format!("{name} has no rows, not even a header");
        return Err(Error::new(Kind::Input, message)
            .help("the header names the columns, such as: user_id,mfa_opt_out"));
    };
    if first.cells.iter().any(|cell| cell.contains('\0')) {
        let message = format!("{name} is a binary file: its first row has a NUL byte");
        return Err(Error::new(Kind::Input, message).help("save it as CSV (UTF-8) or .xlsx"));
    }
    if let Some(wide) = head.iter().find(|row| row.cells.len() > MAX_COLUMNS) {
        let columns = wide.cells.len();
        let message = format!("{name} has {columns} columns; at most {MAX_COLUMNS} are read");
        return Err(Error::new(Kind::Input, message).help("is it the right --delimiter?"));
    }
    Ok(())
}

/// Returns what a file is instead of a table.
fn foreign(first: &[String], form: &TableFile) -> Option<&'static str> {
    match container::foreign(first) {
        None if form.has_nul() => Some("a binary file"),
        foreign => foreign,
    }
}

fn not_a_table(name: &str, kind: &str, content: &Content) -> Error {
    if let Content::Directory { .. } = content {
        let message = format!("{name} is {kind}, not a list of users");
        return Error::new(Kind::Input, message).help(
            "save the list with the button Download of the Org's Swagger page, or give a table \
             with the columns user_id and email",
        );
    }
    Error::new(Kind::Input, format!("{name} is {kind}, not a table")).help(container::SAVE_AS)
}

fn refuse(name: &str, form: &TableFile, problem: &HeaderProblem) -> Error {
    let sheet = match form.sheet_of_several() {
        Some(sheet) => format!(", sheet \"{}\"", visible(sheet)),
        None => String::new(),
    };
    let message = format!("{name}{sheet}: {}", problem.message);
    Error::new(Kind::Input, message).help(problem.help.clone())
}

/// Tells where the header is if that is not the first row.
fn header_note(
    head: &[HeadRow],
    row: Option<usize>,
    header_line: Option<LineNumber>,
) -> Option<String> {
    match (row, header_line) {
        (None, _) => Some("there is no header: the first row is read as a user".to_owned()),
        (Some(above @ 1..), Some(_)) => {
            let rows = if above == 1 {
                "1 row above it is".to_owned()
            } else {
                format!("{above} rows above it are")
            };
            Some(format!(
                "the header is in {}; {rows} skipped",
                head[above].place
            ))
        }
        _ => None,
    }
}

/// Returns names for the columns of a table without a header. They are found again when the report
/// becomes an input.
fn placeholder_names(columns: &Columns) -> Vec<String> {
    let name = |column: usize| match column {
        column if column == columns.id && columns.has_keys => "email".to_owned(),
        column if column == columns.id => "user_id".to_owned(),
        column if Some(column) == columns.flag => "mfa_opt_out".to_owned(),
        column if Some(column) == columns.until => "opt_out_until".to_owned(),
        column => format!("column {}", column + 1),
    };
    (0..columns.width).map(name).collect()
}

impl TableFile {
    /// Returns the first rows. In a sheet without a header, the first is as wide as the whole
    /// sheet.
    fn head(&self, choice: HeaderChoice) -> Result<Vec<HeadRow>> {
        let mut head = read_head(&mut self.rows()?, choice)?;
        if choice == HeaderChoice::Absent
            && let Self::Workbook(workbook) = self
            && let Some(bounds) = workbook.sheet().bounds()
            && let Some(first) = head.first_mut()
            && let Place::Sheet { first_column, .. } = &mut first.place
        {
            let missing = first_column.saturating_sub(bounds.first_column) as usize;
            *first_column = bounds.first_column;
            let empty = std::iter::repeat_n(String::new(), missing);
            first.cells.splice(0..0, empty);
            first.cells.resize(bounds.width, String::new());
        }
        Ok(head)
    }

    /// Limits what is read to the table whose header has been found.
    fn set_table(&mut self, head: &[HeadRow], located: &LocatedHeader, visible_only: bool) {
        match self {
            Self::Text { shape, .. } => *shape = Some(RowShape::new(&located.columns)),
            Self::Workbook(workbook) => {
                let place = head[located.row.unwrap_or(0)].place;
                let Place::Sheet { row, first_column } = place else {
                    return;
                };
                let window = ColumnSpan {
                    first_column,
                    width: located.columns.width,
                };
                let header_row = if located.row.is_some() { row } else { 0 };
                let id_column = u32::try_from(located.columns.id).unwrap_or(u32::MAX);
                let id_column = first_column.saturating_add(id_column);
                workbook.set_table(window, header_row, id_column, visible_only);
            }
        }
    }

    fn rows(&self) -> Result<Rows> {
        Ok(Rows(match self {
            Self::Text {
                bytes,
                format,
                layout,
                shape,
            } => Which::Text(format.rows(bytes, *layout, *shape)?),
            Self::Workbook(workbook) => Which::Sheet(workbook.rows()),
        }))
    }

    fn raw(&self) -> (&Bytes, &BlockHashes) {
        match self {
            Self::Text { bytes, format, .. } => (bytes, &format.hashes),
            Self::Workbook(workbook) => workbook.raw(),
        }
    }

    fn has_nul(&self) -> bool {
        match self {
            Self::Text { format, .. } => format.encoding.nul,
            Self::Workbook(_) => false,
        }
    }

    fn sheet_of_several(&self) -> Option<&str> {
        match self {
            Self::Text { .. } => None,
            Self::Workbook(workbook) => workbook.sheet_of_several(),
        }
    }

    fn hidden_left_out(&self) -> u64 {
        match self {
            Self::Text { .. } => 0,
            Self::Workbook(workbook) => workbook.hidden_left_out(),
        }
    }

    fn format(&self) -> TableFormat {
        match self {
            Self::Text { format, layout, .. } => TableFormat::Text {
                encoding: format.encoding.encoding.name().to_owned(),
                byte_order_mark: format.encoding.bom,
                gzip: format.gzip,
                delimiter: char::from(layout.delimiter),
                line_end: layout.line_end,
                sep_line: layout.skipped > 0,
            },
            Self::Workbook(workbook) => workbook.format(),
        }
    }

    fn notes(&self) -> Vec<String> {
        match self {
            Self::Text { format, .. } if format.encoding.guessed => vec![format!(
                "the text is not Unicode and does not say what it is: {} is a guess; where names \
                 look wrong, give --encoding",
                format.encoding.encoding.name()
            )],
            Self::Text { .. } => Vec::new(),
            Self::Workbook(workbook) => workbook.notes(),
        }
    }
}

/// One pass over the rows.
pub struct Rows(Which);

enum Which {
    Text(TextRows),
    Sheet(SheetRows),
}

impl Rows {
    /// Reads the next row that is not blank into `row`; returns `false` after the last.
    ///
    /// # Errors
    ///
    /// Fails if the input can't be read or was modified, or if a row is not closed or too long.
    pub fn read(&mut self, row: &mut Row) -> Result<bool> {
        match &mut self.0 {
            Which::Text(rows) => rows.read(&mut row.cells),
            Which::Sheet(rows) => rows.read(row),
        }
    }

    /// Returns where the row stands that was read last. Lines are counted when this is called, each
    /// stretch of the text once.
    #[must_use]
    pub fn place(&self, row: &Row) -> Place {
        match &self.0 {
            Which::Text(rows) => Place::Line(rows.line(&row.cells)),
            Which::Sheet(rows) => rows.place(),
        }
    }
}
