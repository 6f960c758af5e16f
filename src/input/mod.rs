//! Any table that an administrator has (text in many forms, a workbook) becomes rows of cells in UTF-8, as often as
//! wanted and without holding them. What the rows ask for, and whether it may be sent, is not known here.

mod bytes;
pub mod cell;
mod container;
mod copy;
mod encoding;
mod header;
mod open_document;
mod sheet;
mod text;
mod wrong;

use std::fmt;
use std::io::Read;

use csv::ByteRecord;
use encoding_rs::Encoding;

use self::bytes::{Bytes, Seal};
pub use self::bytes::{PrivateCopy, Source};
use self::encoding::Seen;
use self::header::Wanted;
pub use self::header::{ColumnChoice, Columns, plain};
use self::sheet::{SheetRows, Workbook};
use self::text::{Layout, Nature, TextRows};
use crate::domain::{Flag, LineNumber, TableFormat};
use crate::error::{Error, Kind, Result};
use crate::text::visible;

/// The most columns that a table may have: as many as a worksheet of Excel.
pub const MAX_COLUMNS: usize = 16_384;

/// What the caller knows about the input; all of it is found out where it is not said.
#[derive(Clone, Debug)]
pub struct Options {
    /// The byte between two cells.
    pub delimiter: Option<u8>,
    /// The encoding of a text without a byte order mark.
    pub encoding: Option<&'static Encoding>,
    /// The worksheet, by name; otherwise the first.
    pub sheet: Option<String>,
    /// The column of the user IDs.
    pub id_column: Option<ColumnChoice>,
    /// The column of the flags.
    pub flag_column: Option<ColumnChoice>,
    /// One flag for all rows.
    pub set: Option<Flag>,
    /// Whether the first row holds the names of the columns.
    pub header: bool,
    /// How many bytes a compressed input may inflate to; otherwise 200 times its size, at most 1 GiB.
    pub max_input: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            delimiter: None,
            encoding: None,
            sheet: None,
            id_column: None,
            flag_column: None,
            set: None,
            header: true,
            max_input: None,
        }
    }
}

impl Options {
    fn wanted(&self) -> Wanted {
        Wanted {
            id: self.id_column.clone(),
            flag: self.flag_column.clone(),
            flag_is_set: self.set.is_some(),
        }
    }
}

/// What was found out about the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What messages call the input.
    pub name: String,
    /// BLAKE3 of its raw bytes.
    pub fingerprint: blake3::Hash,
    /// Its size in bytes.
    pub bytes: u64,
    /// How it is written.
    pub format: TableFormat,
    /// The column of the IDs, in words, such as `column 1 "user_id"`.
    pub id_column: String,
    /// The column of the flags, where there is one.
    pub flag_column: Option<String>,
    /// The column of the end dates, where there is one.
    pub until_column: Option<String>,
    /// What a person should know and need not do anything about, such as hidden rows.
    pub notes: Vec<String>,
}

/// Where a row stands in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The physical line on which it begins, from 1.
    Line(u64),
    /// The row of a worksheet, from 1, and the column of its first cell, from 0.
    Sheet {
        /// As the spreadsheet shows it.
        row: u32,
        /// 0 is `A`.
        first_column: u32,
    },
}

impl Place {
    /// Returns its number: that of the line, or of the row of the sheet.
    #[must_use]
    pub fn number(self) -> LineNumber {
        match self {
            Self::Line(line) => line,
            Self::Sheet { row, .. } => row.into(),
        }
    }

    /// The place of one of its cells, from 0: `17`, or `B17`.
    #[must_use]
    pub fn of_cell(self, cell: usize) -> String {
        match self {
            Self::Line(line) => line.to_string(),
            Self::Sheet { row, first_column } => {
                format!("{}{row}", column_letters(first_column as usize + cell))
            }
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Sheet { row, .. } => write!(f, "row {row} of the sheet"),
        }
    }
}

fn column_letters(column: usize) -> String {
    let letter = char::from(b'A' + u8::try_from(column % 26).unwrap_or(0));
    match column / 26 {
        0 => letter.to_string(),
        above => column_letters(above - 1) + &letter.to_string(),
    }
}

/// A row of cells, all of them text. Its buffers are used again for the next one.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// The cells, in UTF-8.
    pub cells: ByteRecord,
    /// Cells whose text is not all that is to be known about them.
    pub notes: Vec<(usize, Note)>,
}

/// What a spreadsheet's cell was before it became text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// A number of 10^15 or more, of which a spreadsheet has kept 15 digits.
    LongNumber,
    /// A date or a time.
    Date,
}

/// An opened input: everything about it is known, its rows can be read again and again.
pub struct Input {
    form: Form,
    found: Found,
    columns: Columns,
    header: Vec<String>,
    has_header: bool,
}

enum Form {
    Text {
        bytes: Bytes,
        nature: Nature,
        layout: Layout,
    },
    Workbook(Workbook),
}

impl Input {
    /// Reads the whole input once to know what it is, then its header.
    ///
    /// # Errors
    ///
    /// Of [`Kind::Input`] where it can't be read, is not a table, or its header does not tell the columns.
    pub fn open(source: &Source, options: &Options) -> Result<Self> {
        Self::look_at(source, options).map_err(Error::before_sending)
    }

    fn look_at(source: &Source, options: &Options) -> Result<Self> {
        let bytes = Bytes::open(source)?;
        let form = match container::container(&bytes)? {
            Some(container) => Form::Workbook(Workbook::open(&bytes, container, options)?),
            None => open_text(bytes, options)?,
        };
        let name = source.name();
        let header = first_row(&form, &name)?;
        if header.len() > MAX_COLUMNS {
            let message = format!(
                "{name} has {} columns; at most {MAX_COLUMNS} are read",
                header.len()
            );
            return Err(Error::new(Kind::Input, message).help("is it the right --delimiter?"));
        }
        Self::new(form, &name, header, options)
    }

    fn new(form: Form, name: &str, first: Vec<String>, options: &Options) -> Result<Self> {
        let found = if options.header {
            header::find(&first, &options.wanted())
        } else {
            header::by_number(first.len(), &options.wanted())
        };
        let columns = match found {
            Ok(columns) => columns,
            Err(problem) => {
                return Err(refuse(
                    name,
                    &first,
                    &form,
                    &with_header_below(problem, &form, options),
                ));
            }
        };
        let header = if options.header {
            first
        } else {
            made_up(&columns)
        };
        let fingerprint = match &form {
            Form::Text { nature, .. } => nature.seal.fingerprint,
            Form::Workbook(workbook) => workbook.fingerprint(),
        };
        let found = Found {
            name: name.to_owned(),
            fingerprint,
            bytes: form.bytes(),
            format: form.format(),
            id_column: in_words(&header, columns.id),
            flag_column: columns.flag.map(|column| in_words(&header, column)),
            until_column: columns.until.map(|column| in_words(&header, column)),
            notes: form.notes(),
        };
        Ok(Self {
            form,
            found,
            columns,
            header,
            has_header: options.header,
        })
    }

    /// What was found out.
    #[must_use]
    pub fn found(&self) -> &Found {
        &self.found
    }

    /// Which column is which.
    #[must_use]
    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    /// The names of all columns; made up where the table has no header.
    #[must_use]
    pub fn header(&self) -> &[String] {
        &self.header
    }

    /// Whether zero bytes were seen in the text.
    #[must_use]
    pub fn has_nul(&self) -> bool {
        self.form.has_nul()
    }

    /// Whether the first row holds the names of the columns.
    #[must_use]
    pub fn has_header(&self) -> bool {
        self.has_header
    }

    /// Returns the raw bytes from the start, and how many there are. Reading fails where they differ from those that were
    /// read when the input was opened.
    #[must_use]
    pub fn raw(&self) -> (Box<dyn Read>, u64) {
        let (bytes, seal) = self.form.raw();
        (Box::new(bytes.sealed(seal)), bytes.size)
    }

    /// Reads from a copy of the raw bytes from now on, so that whatever becomes of the original changes nothing.
    pub fn read_from(&mut self, copy: PrivateCopy) {
        let copy = Bytes::of_copy(copy);
        match &mut self.form {
            Form::Text { bytes, .. } => *bytes = copy,
            Form::Workbook(workbook) => workbook.read_from(copy),
        }
    }

    /// The rows from the start, without the header.
    ///
    /// # Errors
    ///
    /// Where the input can't be read any more, or was changed.
    pub fn rows(&self) -> Result<Rows> {
        let mut rows = self.form.rows()?;
        if self.has_header {
            rows.read(&mut Row::default())?;
        }
        Ok(rows)
    }
}

fn open_text(bytes: Bytes, options: &Options) -> Result<Form> {
    let nature = text::survey(&bytes, options.encoding, options.max_input)?;
    let head = nature.head(&bytes)?;
    let wanted = options.wanted();
    let fits = |names: &[String]| options.header && header::find(names, &wanted).is_ok();
    let layout = text::sniff(&head, options.delimiter, fits);
    Ok(Form::Text {
        bytes,
        nature,
        layout,
    })
}

fn first_row(form: &Form, name: &str) -> Result<Vec<String>> {
    let mut row = Row::default();
    if !form.rows()?.read(&mut row)? {
        return Err(Error::new(
            Kind::Input,
            format!("{name} has no rows, not even a header"),
        )
        .help("the first row names the columns, such as: user_id,mfa_opt_out"));
    }
    if row.cells.as_slice().contains(&0) {
        return Err(Error::new(
            Kind::Input,
            format!("{name} is a binary file: its first row has a NUL byte"),
        )
        .help("save it as CSV (UTF-8) or .xlsx"));
    }
    Ok(row
        .cells
        .iter()
        .map(|cell| String::from_utf8_lossy(cell).into_owned())
        .collect())
}

fn refuse(name: &str, first: &[String], form: &Form, problem: &header::Problem) -> Error {
    match container::foreign(first).or(form.has_nul().then_some("a binary file")) {
        Some(kind) => Error::new(Kind::Input, format!("{name} is {kind}, not a table"))
            .help(container::SAVE_AS),
        None => Error::new(Kind::Input, format!("{name}: {}", problem.message))
            .help(problem.help.clone()),
    }
}

/// A title above the table is common: where one of the next rows would do as a header, that is said.
fn with_header_below(
    mut problem: header::Problem,
    form: &Form,
    options: &Options,
) -> header::Problem {
    const NEXT: usize = 20;
    let wanted = options.wanted();
    let mut row = Row::default();
    let Ok(mut rows) = form.rows() else {
        return problem;
    };
    for _ in 0..NEXT {
        if !options.header || !rows.read(&mut row).unwrap_or(false) {
            break;
        }
        let names: Vec<String> = row
            .cells
            .iter()
            .map(|cell| String::from_utf8_lossy(cell).into_owned())
            .collect();
        if header::find(&names, &wanted).is_ok() {
            problem.help = format!(
                "the header seems to be in {}: delete what stands above it",
                rows.place(&row)
            );
            break;
        }
    }
    problem
}

/// Names that are found again when the report becomes an input.
fn made_up(columns: &Columns) -> Vec<String> {
    let name = |column: usize| match column {
        column if column == columns.id => "user_id".to_owned(),
        column if Some(column) == columns.flag => "mfa_opt_out".to_owned(),
        column => format!("column {}", column + 1),
    };
    (0..columns.width).map(name).collect()
}

fn in_words(header: &[String], column: usize) -> String {
    format!("column {} \"{}\"", column + 1, visible(&header[column]))
}

impl Form {
    fn rows(&self) -> Result<Rows> {
        Ok(Rows(match self {
            Self::Text {
                bytes,
                nature,
                layout,
            } => Which::Text(nature.rows(bytes, *layout)?),
            Self::Workbook(workbook) => Which::Sheet(workbook.rows()),
        }))
    }

    fn raw(&self) -> (&Bytes, &Seal) {
        match self {
            Self::Text { bytes, nature, .. } => (bytes, &nature.seal),
            Self::Workbook(workbook) => workbook.raw(),
        }
    }

    fn has_nul(&self) -> bool {
        matches!(
            self,
            Self::Text {
                nature: Nature {
                    seen: Seen { nul: true, .. },
                    ..
                },
                ..
            }
        )
    }

    fn format(&self) -> TableFormat {
        match self {
            Self::Text { nature, layout, .. } => TableFormat::Text {
                encoding: nature.seen.encoding.name().to_owned(),
                byte_order_mark: nature.seen.bom,
                gzip: nature.gzip,
                delimiter: char::from(layout.delimiter),
                sep_line: layout.skipped > 0,
            },
            Self::Workbook(workbook) => workbook.format(),
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Text { bytes, .. } => bytes.size,
            Self::Workbook(workbook) => workbook.bytes(),
        }
    }

    fn notes(&self) -> Vec<String> {
        match self {
            Self::Text {
                nature:
                    Nature {
                        seen:
                            Seen {
                                guessed: true,
                                encoding,
                                ..
                            },
                        ..
                    },
                ..
            } => vec![format!(
                "the text is not Unicode and does not say what it is: {} is a guess; where names look wrong, give --encoding",
                encoding.name()
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
    /// Puts the next row that is not blank into `row`; `false` after the last.
    ///
    /// # Errors
    ///
    /// Where the input can't be read, was changed, or a row is not closed or too long.
    pub fn read(&mut self, row: &mut Row) -> Result<bool> {
        match &mut self.0 {
            Which::Text(rows) => rows.read(&mut row.cells),
            Which::Sheet(rows) => rows.read(row),
        }
    }

    /// Returns where the row stands that was read last. Lines are counted when this is asked for, each stretch of the
    /// text once.
    #[must_use]
    pub fn place(&self, row: &Row) -> Place {
        match &self.0 {
            Which::Text(rows) => Place::Line(rows.line(&row.cells)),
            Which::Sheet(rows) => rows.place(),
        }
    }
}
