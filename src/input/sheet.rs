//! Workbooks: measured before they are unpacked, then read as a stream of cells into rows of text in a private file,
//! from which every pass is served. What a cell means is not known here.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, Write};

use calamine::{DataRef, ExcelDateTime, Reader, SheetType, SheetVisible, Xlsx, XlsxError};
use csv::ByteRecord;
use zip::ZipArchive;

use super::bytes::{Blocks, Bytes, Seal, unreadable};
use super::text::{bomb, inflated_limit};
use super::{MAX_COLUMNS, Note, Options, Place, Row, column_letters};
use crate::error::{Error, Kind, Result};
use crate::text::visible;

/// What to do with a file in a form that is not read.
pub(super) const SAVE_AS: &str = "save it as .xlsx or as CSV (UTF-8) and use that";

/// Above this a number has lost digits: a spreadsheet keeps 15.
const EXACT: f64 = 1e15;

/// What kind of container the bytes are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Container {
    Zip,
    /// Microsoft's compound file: an old `.xls`, or an encrypted workbook.
    Compound,
}

/// The container, `None` for a text.
pub(super) fn container(bytes: &Bytes) -> Result<Option<Container>> {
    let mut blocks = bytes.take_seal();
    let head = blocks.fill_buf().map_err(|error| unreadable(&bytes.name, &error))?;
    Ok(if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        Some(Container::Zip)
    } else if head.starts_with(&[0xd0, 0xcf, 0x11, 0xe0]) {
        Some(Container::Compound)
    } else {
        None
    })
}

/// What a text is that has no table in it, told by how it begins.
pub(super) fn foreign(first: &[String]) -> Option<&'static str> {
    let start = first.first()?.trim_start().to_ascii_lowercase();
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| start.starts_with(prefix));
    match () {
        () if begins(&["%pdf-"]) => Some("a PDF"),
        () if begins(&["<!doctype html", "<html"]) => Some("a web page"),
        () if begins(&["<?xml"]) => Some("an XML file"),
        () if begins(&["{\\rtf"]) => Some("a rich text document"),
        () if begins(&["{", "["]) => Some("a JSON file"),
        () => None,
    }
}

/// A workbook whose sheet has been copied, row by row, into a private file.
pub(super) struct Workbook {
    rows: Bytes,
    rows_seal: Seal,
    fingerprint: blake3::Hash,
    sheet: String,
    sheets: usize,
    first_column: u32,
    hidden_rows: bool,
}

impl Workbook {
    pub(super) fn open(bytes: &Bytes, container: Container, options: &Options) -> Result<Self> {
        let fingerprint = bytes.take_seal().into_seal().map_err(|error| unreadable(&bytes.name, &error))?.fingerprint;
        let limit = inflated_limit(bytes.size, options.max_input);
        let mut file = bytes.private_copy()?;
        let hidden_rows = match container {
            Container::Zip => measure(&mut file, &bytes.name, limit)?,
            Container::Compound => false,
        };
        file.rewind().map_err(|error| unreadable(&bytes.name, &error))?;
        let mut book = Xlsx::new(BufReader::new(file)).map_err(|error| cant_open(&bytes.name, container, &error))?;
        let (sheet, sheets) = choose_sheet(&book, options.sheet.as_deref(), &bytes.name)?;
        let (copy, first_column) = Copier::new(&bytes.name, &sheet, limit)?.copy(&mut book)?;
        let rows = Bytes::of_file(copy, bytes.name.clone())?;
        let rows_seal = rows.take_seal().into_seal().map_err(|error| unreadable(&bytes.name, &error))?;
        Ok(Self { rows, rows_seal, fingerprint, sheet, sheets, first_column, hidden_rows })
    }

    pub(super) fn fingerprint(&self) -> blake3::Hash {
        self.fingerprint
    }

    pub(super) fn describe(&self) -> String {
        let others = if self.sheets > 1 { format!(" (one of {})", self.sheets) } else { String::new() };
        format!("Excel workbook, sheet \"{}\"{others}", visible(&self.sheet))
    }

    pub(super) fn notes(&self) -> Vec<String> {
        let hidden = "the workbook has hidden rows, and they are read like all others";
        if self.hidden_rows { vec![hidden.to_owned()] } else { Vec::new() }
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
            place: Place::Sheet { row: 1, first_column: self.first_column },
        }
    }
}

/// Unpacks every entry into nothing, counting: what an entry declares may be untrue. Gives whether rows are hidden.
fn measure(file: &mut File, name: &str, limit: u64) -> Result<bool> {
    let damaged = |error: String| {
        Error::new(Kind::Input, format!("{name} is a damaged workbook: {}", visible(&error))).help("save it again")
    };
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|error| damaged(error.to_string()))?;
    if let Some(kind) = not_a_workbook(&mut archive) {
        return Err(Error::new(Kind::Input, format!("{name} is {kind}")).help(SAVE_AS));
    }
    let mut left = limit;
    let mut hidden = false;
    for entry in 0..archive.len() {
        let mut entry = archive.by_index(entry).map_err(|error| damaged(error.to_string()))?;
        if entry.size() > left {
            return Err(bomb(name, limit));
        }
        let mut look = Look { rows: entry.name().is_ok_and(|name| name.contains("worksheets/")), ..Look::default() };
        let taken =
            io::copy(&mut (&mut entry).take(left + 1), &mut look).map_err(|error| damaged(error.to_string()))?;
        left = left.checked_sub(taken).ok_or_else(|| bomb(name, limit))?;
        hidden |= look.hidden;
    }
    Ok(hidden)
}

/// Looks for `<row … hidden="1"` in what is unpacked.
#[derive(Default)]
struct Look {
    rows: bool,
    hidden: bool,
    /// The tag that is being read, as far as it matters.
    tag: Vec<u8>,
}

impl Write for Look {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        const LONGEST: usize = 1024;
        if self.rows && !self.hidden {
            for part in piece.split_inclusive(|b| *b == b'<') {
                let room = LONGEST.saturating_sub(self.tag.len());
                self.tag.extend_from_slice(&part[..part.len().min(room)]);
                if part.ends_with(b"<") {
                    self.hidden |= is_hidden_row(&self.tag);
                    self.tag.clear();
                }
            }
        }
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn is_hidden_row(tag: &[u8]) -> bool {
    let tag = &tag[..memchr::memchr(b'>', tag).unwrap_or(tag.len())];
    let says = |text: &[u8]| memchr::memmem::find(tag, text).is_some();
    tag.starts_with(b"row ") && (says(b" hidden=\"1\"") || says(b" hidden=\"true\""))
}

fn not_a_workbook(archive: &mut ZipArchive<BufReader<&mut File>>) -> Option<&'static str> {
    let has = |name: &str| archive.file_names().flatten().any(|entry| entry == name);
    if has("xl/workbook.xml") {
        return None;
    }
    if has("xl/workbook.bin") {
        return Some("a binary Excel workbook (.xlsb), which is not read");
    }
    if has("word/document.xml") {
        return Some("a Word document, not a table");
    }
    let mut kind = String::new();
    if let Ok(entry) = archive.by_name("mimetype") {
        // What can't be read is no kind that is known.
        let _ = entry.take(100).read_to_string(&mut kind);
    }
    match kind.trim() {
        "application/vnd.oasis.opendocument.spreadsheet" => {
            Some("an OpenDocument spreadsheet (.ods), which is not read")
        }
        _ if archive.file_names().flatten().any(|entry| entry.starts_with("xl/")) => None,
        _ => Some("a zip archive, not a table"),
    }
}

fn cant_open(name: &str, container: Container, error: &XlsxError) -> Error {
    match (error, container) {
        (XlsxError::Password, _) => Error::new(Kind::Input, format!("{name} is protected by a password"))
            .help("open it, remove the password (File, Info, Protect Workbook) and save it again"),
        (_, Container::Compound) => {
            Error::new(Kind::Input, format!("{name} is in the old Excel format (.xls), which is not read"))
                .help(SAVE_AS)
        }
        _ => damaged(name, error),
    }
}

fn damaged(name: &str, error: &XlsxError) -> Error {
    Error::new(Kind::Input, format!("{name} is a damaged workbook: {}", visible(&error.to_string())))
        .help("open it in a spreadsheet program and save it again")
}

/// The named sheet, or else the first that is shown; and how many there are.
fn choose_sheet<R: Read + Seek>(book: &Xlsx<R>, wanted: Option<&str>, name: &str) -> Result<(String, usize)> {
    let sheets: Vec<_> = book.sheets_metadata().iter().filter(|sheet| sheet.typ == SheetType::WorkSheet).collect();
    let found = match wanted {
        Some(wanted) => sheets.iter().find(|sheet| sheet.name == wanted),
        None => sheets.iter().find(|sheet| sheet.visible == SheetVisible::Visible).or(sheets.first()),
    };
    match (found, wanted) {
        (Some(sheet), _) => Ok((sheet.name.clone(), sheets.len())),
        (None, Some(wanted)) => {
            let names: Vec<String> = sheets.iter().map(|sheet| format!("\"{}\"", visible(&sheet.name))).collect();
            Err(Error::new(Kind::Input, format!("{name} has no sheet \"{}\"", visible(wanted)))
                .help(format!("its sheets are {}", names.join(", "))))
        }
        (None, None) => Err(Error::new(Kind::Input, format!("{name} has no worksheet")).help(SAVE_AS)),
    }
}

/// Copies the cells of a sheet, row by row, as a CSV: the row's number, its notes, its cells.
struct Copier<'a> {
    name: &'a str,
    sheet: &'a str,
    limit: u64,
    written: u64,
    out: csv::Writer<BufWriter<File>>,
    /// The first column of the table and how many it has, as its first row has them.
    window: Option<(u32, u32)>,
}

/// The cells of one row by their column.
type Cells = BTreeMap<u32, (String, Option<Note>)>;

impl<'a> Copier<'a> {
    fn new(name: &'a str, sheet: &'a str, limit: u64) -> Result<Self> {
        let file = tempfile::tempfile().map_err(|error| {
            Error::new(Kind::Input, format!("can't unpack {name} into the temporary folder: {error}"))
        })?;
        let out = csv::WriterBuilder::new().flexible(true).from_writer(BufWriter::new(file));
        Ok(Self { name, sheet, limit: limit.max(1 << 20), written: 0, out, window: None })
    }

    fn copy<R: Read + Seek>(mut self, book: &mut Xlsx<R>) -> Result<(File, u32)> {
        let failed = |error: XlsxError| damaged(self.name, &error);
        let mut reader = book.worksheet_cells_reader(self.sheet).map_err(failed)?;
        let mut cells = Cells::new();
        let mut current = 0;
        while let Some(cell) = reader.next_cell().map_err(failed)? {
            let (row, column) = cell.get_position();
            if row != current {
                self.put(current, &cells)?;
                cells.clear();
                if row < current {
                    return Err(self.disorder(row, column));
                }
                current = row;
            }
            let Some(text) = as_text(cell.get_value()) else { continue };
            if column as usize >= MAX_COLUMNS || cells.insert(column, text).is_some() {
                return Err(self.disorder(row, column));
            }
        }
        self.put(current, &cells)?;
        let file = self.out.into_inner().map_err(csv::IntoInnerError::into_error).and_then(|out| Ok(out.into_inner()?));
        let file = file.map_err(|error| unreadable(self.name, &error))?;
        Ok((file, self.window.map_or(0, |(first, _)| first)))
    }

    fn disorder(&self, row: u32, column: u32) -> Error {
        let cell = format!("{}{}", column_letters(column as usize), u64::from(row) + 1);
        Error::new(Kind::Input, format!("{}:{cell}: the cells of the workbook are not in order", self.name))
            .help("open it in a spreadsheet program and save it again")
    }

    fn put(&mut self, row: u32, cells: &Cells) -> Result<()> {
        let filled = || cells.iter().filter(|(_, (text, _))| !text.trim().is_empty()).map(|(column, _)| *column);
        let (Some(first), Some(last)) = (filled().next(), filled().next_back()) else { return Ok(()) };
        let (first, width) = *self.window.get_or_insert((first, last - first + 1));
        let inside = first..first + width;
        let mut record = ByteRecord::new();
        record.push_field((u64::from(row) + 1).to_string().as_bytes());
        record.push_field(notes(cells, first).as_bytes());
        for column in inside.clone() {
            record.push_field(cells.get(&column).map_or("", |(text, _)| text).as_bytes());
        }
        // A cell outside of the table makes its row too long, and is reported as that.
        for column in filled().filter(|column| !inside.contains(column)) {
            record.push_field(cells[&column].0.as_bytes());
        }
        self.written += record.as_slice().len() as u64 + record.len() as u64;
        if self.written > self.limit {
            return Err(bomb(self.name, self.limit));
        }
        self.out.write_byte_record(&record).map_err(|error| {
            Error::new(Kind::Input, format!("can't unpack {} into the temporary folder: {error}", self.name))
        })
    }
}

/// `2d` for a date in the third cell, `0n` for a long number in the first.
fn notes(cells: &Cells, first: u32) -> String {
    let mark = |(column, (_, note)): (&u32, &(String, Option<Note>))| {
        let letter = match (*note)? {
            Note::Date => 'd',
            Note::LongNumber => 'n',
        };
        Some(format!("{}{letter}", column.checked_sub(first)?))
    };
    cells.iter().filter_map(mark).collect::<Vec<_>>().join(" ")
}

fn read_note(mark: &str) -> Option<(usize, Note)> {
    let (column, letter) = mark.split_at_checked(mark.len().checked_sub(1)?)?;
    let note = if letter == "d" { Note::Date } else { Note::LongNumber };
    Some((column.parse().ok()?, note))
}

/// The text of a cell as it goes into the report, `None` for an empty one.
fn as_text(value: &DataRef<'_>) -> Option<(String, Option<Note>)> {
    let plain = |text: &str| (text.to_owned(), None);
    Some(match value {
        DataRef::Empty => return None,
        DataRef::Int(number) => {
            (number.to_string(), (number.unsigned_abs() >= 10_u64.pow(15)).then_some(Note::LongNumber))
        }
        DataRef::Float(number) => (number.to_string(), (number.abs() >= EXACT).then_some(Note::LongNumber)),
        DataRef::String(text) => plain(text),
        DataRef::SharedString(text) => plain(text),
        DataRef::Bool(yes) => plain(if *yes { "TRUE" } else { "FALSE" }),
        DataRef::DateTime(date) => (date_text(date), Some(Note::Date)),
        DataRef::DateTimeIso(text) | DataRef::DurationIso(text) => (text.clone(), Some(Note::Date)),
        DataRef::Error(error) => (error.to_string(), None),
    })
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
        if !more.map_err(|error| Error::new(Kind::MidRun, format!("can't read {} again: {error}", self.name)))? {
            return Ok(false);
        }
        let mut cells = self.kept.iter();
        let mut text = || cells.next().and_then(|cell| std::str::from_utf8(cell).ok()).unwrap_or_default();
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
