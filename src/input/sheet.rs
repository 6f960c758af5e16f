//! Workbooks: measured before they are unpacked, then read as a stream of cells into rows of text in a private file,
//! from which every pass is served. What a cell means is not known here.

use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read, Seek};

use calamine::{DataRef, ExcelDateTime, Reader, SheetType, SheetVisible, Xlsx, XlsxError};
use csv::ByteRecord;
use zip::ZipArchive;

use super::bytes::{Blocks, Bytes, Seal, unreadable};
use super::container::{Book, Container, Measured, SAVE_AS, measure};
use super::copy::{Copier, Value, read_note};
use super::open_document::{Broken, Content, Piece};
use super::text::inflated_limit;
use super::{Note, Options, Place, Row};
use crate::domain::{self, TableFormat};
use crate::error::{Error, Kind, Result};
use crate::text::{one_line, shorten, shown_value, visible};

/// Above this a number has lost digits: a spreadsheet keeps 15.
const EXACT: f64 = 1e15;

/// A workbook whose sheet has been copied, row by row, into a private file.
pub(super) struct Workbook {
    rows: Bytes,
    rows_seal: Seal,
    /// The workbook itself, and what it was when it was read.
    raw: Bytes,
    raw_seal: Seal,
    chosen: Chosen,
    first_column: u32,
    measured: Measured,
}

impl Workbook {
    pub(super) fn open(bytes: &Bytes, container: Container, options: &Options) -> Result<Self> {
        let limit = inflated_limit(bytes.size, options.max_input);
        // The seal is that of the copy: what is read here is what is sealed.
        let (mut file, raw_seal) = bytes.private_copy()?;
        let raw = file
            .try_clone()
            .map_err(|error| unreadable(&bytes.name, &error))?;
        let raw = Bytes::of_file(raw, bytes.name.clone())?;
        if container == Container::Compound {
            return Err(compound(file, &bytes.name));
        }
        let measured = measure(&mut file, &bytes.name, limit, options.max_input)?;
        file.rewind()
            .map_err(|error| unreadable(&bytes.name, &error))?;
        let copier = Copier::new(&bytes.name, limit)?;
        let (chosen, (copy, first_column)) = match measured.book {
            Book::Excel => copy_excel(file, options.sheet.as_deref(), copier, &bytes.name)?,
            Book::OpenDocument => {
                copy_open_document(file, options.sheet.as_deref(), copier, &bytes.name)?
            }
        };
        let rows = Bytes::of_file(copy, bytes.name.clone())?;
        let rows_seal = rows
            .take_seal()
            .into_seal()
            .map_err(|error| unreadable(&bytes.name, &error))?;
        Ok(Self {
            rows,
            rows_seal,
            raw,
            raw_seal,
            chosen,
            first_column,
            measured,
        })
    }

    pub(super) fn fingerprint(&self) -> blake3::Hash {
        self.raw_seal.fingerprint
    }

    pub(super) fn raw(&self) -> (&Bytes, &Seal) {
        (&self.raw, &self.raw_seal)
    }

    pub(super) fn read_from(&mut self, copy: Bytes) {
        self.raw = copy;
    }

    pub(super) fn bytes(&self) -> u64 {
        self.raw.size
    }

    pub(super) fn format(&self) -> TableFormat {
        let workbook = match self.measured.book {
            Book::Excel => domain::WorkbookKind::Excel,
            Book::OpenDocument => domain::WorkbookKind::OpenDocument,
        };
        TableFormat::Sheet {
            workbook,
            sheet: self.chosen.name.clone(),
            sheets: self.chosen.of,
        }
    }

    pub(super) fn notes(&self) -> Vec<String> {
        let Measured {
            hidden_rows,
            no_results,
            ..
        } = self.measured;
        let hidden = hidden_rows
            .then_some("the workbook has hidden rows, and they are read like all others");
        let results = no_results.then_some(
            "the workbook has formulas without their results, which are read as empty; open it in a spreadsheet program and save it",
        );
        hidden
            .into_iter()
            .chain(results)
            .map(ToOwned::to_owned)
            .collect()
    }

    pub(super) fn rows(&self) -> SheetRows {
        let reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .buffer_capacity(1 << 16)
            .from_reader(self.rows.sealed(&self.rows_seal));
        SheetRows {
            reader,
            name: self.rows.name.clone(),
            kept: ByteRecord::new(),
            place: Place::Sheet {
                row: 1,
                first_column: self.first_column,
            },
        }
    }
}

/// What a compound file is, which is never a workbook that is read: calamine would reserve as much memory for an old
/// `.xls` as it asks for, and panics on a damaged one.
fn compound(file: File, name: &str) -> Error {
    if is_encrypted(file) {
        return Error::new(Kind::Input, format!("{name} is protected by a password"))
            .help("open it, remove the password (File, Info, Protect Workbook) and save it again");
    }
    Error::new(
        Kind::Input,
        format!("{name} is in the old Excel format (.xls), which is not read"),
    )
    .help(SAVE_AS)
}

/// Whether the directory of a compound file, wherever it stands, names the encrypted workbook.
fn is_encrypted(mut file: File) -> bool {
    let name: Vec<u8> = "EncryptedPackage"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let (mut seen, mut piece) = (Vec::new(), [0; 1 << 14]);
    if file.rewind().is_err() {
        return false;
    }
    while let Ok(read @ 1..) = file.read(&mut piece) {
        seen.drain(..seen.len().saturating_sub(name.len()));
        seen.extend_from_slice(&piece[..read]);
        if memchr::memmem::find(&seen, &name).is_some() {
            return true;
        }
    }
    false
}

fn damaged(name: &str, error: &impl fmt::Display) -> Error {
    Error::new(
        Kind::Input,
        format!(
            "{name} is a damaged workbook: {}",
            one_line(&error.to_string(), 300)
        ),
    )
    .help("open it in a spreadsheet program and save it again")
}

/// The longest name of a sheet or style, in bytes. Excel allows 31 characters; the names of all sheets are held in memory.
pub(super) const MAX_NAME: usize = 1024;

/// The number of sheets that a message lists by name.
const SHEETS_SHOWN: usize = 20;

/// A sheet of cells in a workbook.
pub(super) struct Sheet {
    pub(super) name: String,
    pub(super) shown: bool,
}

/// The sheet that is read, and how many there are.
struct Chosen {
    name: String,
    of: usize,
}

/// The named sheet, or else the first that is shown.
fn choose_sheet(sheets: &[Sheet], wanted: Option<&str>, book: &str) -> Result<Chosen> {
    let found = match wanted {
        Some(wanted) => sheets.iter().find(|sheet| sheet.name == wanted),
        None => sheets.iter().find(|sheet| sheet.shown).or(sheets.first()),
    };
    match (found, wanted) {
        (Some(sheet), _) => Ok(Chosen {
            name: sheet.name.clone(),
            of: sheets.len(),
        }),
        (None, Some(wanted)) => {
            let names: Vec<String> = sheets
                .iter()
                .take(SHEETS_SHOWN)
                .map(|sheet| format!("\"{}\"", shorten(&visible(&sheet.name), 100)))
                .collect();
            let more = match sheets.len().saturating_sub(SHEETS_SHOWN) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            Err(Error::new(
                Kind::Input,
                format!("{book} has no sheet \"{}\"", shown_value(wanted)),
            )
            .help(format!("its sheets are {}{more}", names.join(", "))))
        }
        (None, None) => {
            Err(Error::new(Kind::Input, format!("{book} has no worksheet")).help(SAVE_AS))
        }
    }
}

/// The sheet, and the rows of it with the first column of the table.
type Copied = (Chosen, (File, u32));

fn copy_excel(
    file: File,
    wanted: Option<&str>,
    mut copier: Copier<'_>,
    name: &str,
) -> Result<Copied> {
    let failed = |error: XlsxError| damaged(name, &error);
    let mut book = Xlsx::new(BufReader::new(file)).map_err(failed)?;
    let sheets = book
        .sheets_metadata()
        .iter()
        .filter(|sheet| sheet.typ == SheetType::WorkSheet);
    let mut listed = Vec::new();
    for sheet in sheets {
        if sheet.name.len() > MAX_NAME {
            return Err(damaged(name, &Broken::LongName));
        }
        listed.push(Sheet {
            name: sheet.name.clone(),
            shown: sheet.visible == SheetVisible::Visible,
        });
    }
    let chosen = choose_sheet(&listed, wanted, name)?;
    let mut reader = book.worksheet_cells_reader(&chosen.name).map_err(failed)?;
    while let Some(cell) = reader.next_cell().map_err(failed)? {
        let (row, column) = cell.get_position();
        copier.go_to(row, column)?;
        if let Some(value) = as_text(cell.get_value()) {
            copier.cell(column.into(), value)?;
        }
    }
    Ok((chosen, copier.finish()?))
}

fn copy_open_document(
    file: File,
    wanted: Option<&str>,
    mut copier: Copier<'_>,
    name: &str,
) -> Result<Copied> {
    let failed = |error: Broken| damaged(name, &error);
    let mut archive =
        ZipArchive::new(BufReader::new(file)).map_err(|error| failed(error.into()))?;
    let sheets = Content::open(&mut archive)
        .and_then(Content::sheets)
        .map_err(failed)?;
    let chosen = choose_sheet(&sheets, wanted, name)?;
    let mut content = Content::open(&mut archive).map_err(failed)?;
    content.find(&chosen.name).map_err(failed)?;
    let (mut rows, mut column) = (1, 0_u64);
    while let Some(piece) = content.piece().map_err(failed)? {
        match piece {
            Piece::Row(times) => (rows, column) = (times, 0),
            Piece::Cell { times, value } => {
                let next = column + u64::from(times);
                if let Some(value) = value {
                    (column..next).try_for_each(|column| copier.cell(column, value.clone()))?;
                }
                column = next;
            }
            Piece::RowEnds => copier.end_row(rows)?,
        }
    }
    Ok((chosen, copier.finish()?))
}

/// The text of a cell as it goes into the report, `None` for an empty one.
fn as_text(value: &DataRef<'_>) -> Option<Value> {
    let plain = |text: &str| (text.to_owned(), None);
    Some(match value {
        DataRef::Empty => return None,
        DataRef::Int(number) => (
            number.to_string(),
            (number.unsigned_abs() >= 10_u64.pow(15)).then_some(Note::LongNumber),
        ),
        DataRef::Float(number) => number_text(*number),
        DataRef::String(text) => plain(text),
        DataRef::SharedString(text) => plain(text),
        DataRef::Bool(yes) => plain(if *yes { "TRUE" } else { "FALSE" }),
        DataRef::DateTime(date) => (date_text(date), Some(Note::Date)),
        DataRef::DateTimeIso(text) | DataRef::DurationIso(text) => iso_text(text),
        DataRef::Error(error) => (error.to_string(), None),
    })
}

/// A number cell, marked where its last digits are not those that were typed.
pub(super) fn number_text(number: f64) -> Value {
    (
        number.to_string(),
        (number.abs() >= EXACT).then_some(Note::LongNumber),
    )
}

/// A date in ISO 8601, without its time of day where that is midnight.
pub(super) fn iso_text(date: &str) -> Value {
    let (day, time) = date.split_at_checked(10).unwrap_or((date, ""));
    let midnight = matches!(time.trim_end_matches('Z'), "T00:00:00" | "T00:00:00.000");
    (
        if midnight { day } else { date }.to_owned(),
        Some(Note::Date),
    )
}

/// ISO 8601, without a time of day where there is none.
fn date_text(date: &ExcelDateTime) -> String {
    if !date.is_datetime() || date.as_f64() < 1.0 {
        return format!("{} days", date.as_f64());
    }
    let (year, month, day, hour, minute, second, _) = date.to_ymd_hms_milli();
    let text = format!("{year:04}-{month:02}-{day:02}");
    match (hour, minute, second) {
        (0, 0, 0) => text,
        _ => format!("{text}T{hour:02}:{minute:02}:{second:02}"),
    }
}

/// One pass over the rows of a sheet.
pub(super) struct SheetRows {
    reader: csv::Reader<Blocks>,
    name: String,
    kept: ByteRecord,
    place: Place,
}

impl SheetRows {
    pub(super) fn read(&mut self, row: &mut Row) -> Result<bool> {
        let more = self.reader.read_byte_record(&mut self.kept);
        if !more.map_err(|error| {
            Error::new(
                Kind::MidRun,
                format!("can't read {} again: {error}", self.name),
            )
        })? {
            return Ok(false);
        }
        let mut cells = self.kept.iter();
        let mut text = || {
            cells
                .next()
                .and_then(|cell| std::str::from_utf8(cell).ok())
                .unwrap_or_default()
        };
        if let Place::Sheet { row, .. } = &mut self.place {
            *row = text().parse().unwrap_or(*row);
        }
        row.notes.clear();
        row.notes.extend(text().split(' ').filter_map(read_note));
        row.cells.clear();
        row.cells.extend(cells);
        Ok(true)
    }

    pub(super) fn place(&self) -> Place {
        self.place
    }
}
