//! Tells in what container a file is: by its first bytes and, for a zip archive, by its entries.
//! Before anything else reads an archive, each entry is unpacked once and discarded, because the
//! sizes that an archive declares may be untrue. Facts about the sheets of an Excel workbook that
//! need no understanding of its cells are gathered on the way.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};

use zip::ZipArchive;

use super::bytes::{Bytes, unreadable};
use super::sheet_marks::{CellRange, MAX_ROWS, SheetMarks};
use super::text::{MAX_ROW, bomb};
use crate::error::{Error, Kind, Result};
use crate::text::visible;

/// What to do with a file in a form that is not read.
pub(super) const SAVE_AS: &str = "save it as .xlsx or as CSV (UTF-8) and use that";

/// The most memory for a workbook's table of texts, which is held while its cells are read; what
/// each text takes of it beyond its bytes; and what each text takes that the table only says it
/// has, for calamine believes it.
const HELD: u64 = 112 << 20;
const EACH: u64 = 32;
const PLACE: u64 = 24;

/// The most bytes of the other parts that are held: the list of sheets, and how numbers are shown.
const PART: u64 = 16 << 20;

/// The size limit in bytes of an archive's directory, all of which is held in memory. A workbook of
/// a thousand parts has a directory of about 0.1 MiB.
const MAX_DIRECTORY: u64 = 4 << 20;

/// What kind of container the bytes are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Container {
    Zip,
    /// Microsoft's compound file: an old `.xls`, or an encrypted workbook.
    Compound,
}

/// A workbook that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Book {
    Excel,
    OpenDocument,
}

/// The container, `None` for a text.
pub(super) fn container(bytes: &Bytes) -> Result<Option<Container>> {
    let mut blocks = bytes.hashed();
    let head = blocks
        .fill_buf()
        .map_err(|error| unreadable(&bytes.name, &error))?;
    Ok(
        if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
            Some(Container::Zip)
        } else if head.starts_with(&[0xd0, 0xcf, 0x11, 0xe0]) {
            Some(Container::Compound)
        } else {
            None
        },
    )
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

/// What was found while everything was unpacked.
pub(super) struct ContainerSize {
    pub(super) book: Book,
    /// Facts about the sheets, by the path of their entry; see [`entry_path`].
    pub(super) sheets: BTreeMap<String, SheetMarks>,
}

/// Returns the path of an entry as paths are compared. Some programs write backslashes, which Excel
/// accepts.
pub(super) fn entry_path(name: &str) -> String {
    name.replace('\\', "/").to_ascii_lowercase()
}

/// Unpacks every entry, counts its bytes and discards them. `max_input` takes the place of all
/// limits.
pub(super) fn measure(
    file: &mut File,
    name: &str,
    limit: u64,
    max_input: Option<u64>,
) -> Result<ContainerSize> {
    let damaged = |error: String| {
        Error::new(
            Kind::Input,
            format!("{name} is a damaged workbook: {}", visible(&error)),
        )
        .help("save it again")
    };
    let left = Cell::new(MAX_DIRECTORY);
    let metered = Metered {
        inner: BufReader::new(file),
        left: &left,
    };
    let mut archive = ZipArchive::new(metered).map_err(|error| {
        if left.get() == 0 {
            too_many_parts(name)
        } else {
            damaged(error.to_string())
        }
    })?;
    left.set(u64::MAX);
    let book = kind_of(&mut archive).map_err(|kind| {
        let help = if kind == PROTECTED {
            "open it, remove the password and save it again"
        } else {
            SAVE_AS
        };
        Error::new(Kind::Input, format!("{name} is {kind}")).help(help)
    })?;
    let mut bytes_left = limit;
    let mut sheets = BTreeMap::new();
    for entry in 0..archive.len() {
        let mut entry = archive
            .by_index(entry)
            .map_err(|error| damaged(error.to_string()))?;
        if entry.size() > bytes_left {
            return Err(bomb(name, limit));
        }
        let path = entry_path(&entry.name().unwrap_or_default());
        let is_texts = path.ends_with("sharedstrings.xml");
        let is_sheet = path.contains("worksheets/") || path == "content.xml";
        let mut look = PartScan {
            said: is_texts.then_some(0),
            ..PartScan::default()
        };
        let taken = io::copy(
            &mut (&mut entry).take(bytes_left.saturating_add(1)),
            &mut look,
        )
        .map_err(|error| damaged(error.to_string()))?;
        bytes_left = bytes_left
            .checked_sub(taken)
            .ok_or_else(|| bomb(name, limit))?;
        if look.longest > MAX_ROW {
            return Err(too_long(name));
        }
        if is_texts && look.held() > max_input.unwrap_or(HELD) {
            return Err(too_many_texts(name));
        }
        let is_held = ["workbook.xml", "styles.xml", ".rels"]
            .iter()
            .any(|end| path.ends_with(end))
            || path.contains("tables/");
        if is_held && taken > PART {
            return Err(bomb(name, PART));
        }
        if is_sheet {
            sheets.insert(path, look.marks);
        }
    }
    if book == Book::OpenDocument && is_by_libreoffice(&mut archive) {
        // It writes a formula whose result is an empty text like one without a result.
        for marks in sheets.values_mut() {
            marks.has_missing_results = false;
        }
    }
    Ok(ContainerSize { book, sheets })
}

/// Checks whether a spreadsheet was written by a program that computes all formulas before it saves
/// them.
fn is_by_libreoffice(archive: &mut ZipArchive<impl Read + Seek>) -> bool {
    let meta = start_of(archive, "meta.xml");
    ["LibreOffice/", "OpenOffice/"]
        .iter()
        .any(|name| meta.contains(name))
}

fn too_many_parts(name: &str) -> Error {
    let message = format!(
        "{name} is a zip archive whose list of parts takes more than {} MiB",
        MAX_DIRECTORY >> 20
    );
    Error::new(Kind::Input, message).help("save it as CSV (UTF-8) and use that")
}

/// A reader that fails once it has been read beyond a number of bytes.
struct Metered<'a, R> {
    inner: R,
    /// The number of bytes that may still be read.
    left: &'a Cell<u64>,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let left = self.left.get();
        if left == 0 {
            return Err(io::Error::other("the limit is reached"));
        }
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let read = self.inner.read(&mut bytes[..room])?;
        self.left.set(left - read as u64);
        Ok(read)
    }
}

impl<R: Seek> Seek for Metered<'_, R> {
    fn seek(&mut self, place: SeekFrom) -> io::Result<u64> {
        self.inner.seek(place)
    }
}

fn too_long(name: &str) -> Error {
    Error::new(
        Kind::Input,
        format!(
            "{name} has a cell with more than {} MiB of text",
            MAX_ROW >> 20
        ),
    )
    .help("no table of users has such cells: is this the right file?")
}

fn too_many_texts(name: &str) -> Error {
    Error::new(
        Kind::Input,
        format!(
            "the different texts of {name} take more than {} MiB of memory",
            HELD >> 20
        ),
    )
    .help("save it as CSV (UTF-8) and use that, or raise the limit with --max-input")
}

const PROTECTED: &str = "protected by a password";

/// The kind of workbook, or else what it is instead, in words.
fn kind_of(archive: &mut ZipArchive<impl Read + Seek>) -> std::result::Result<Book, &'static str> {
    let has = |name: &str| {
        archive
            .file_names()
            .flatten()
            .any(|entry| entry_path(&entry) == name)
    };
    if has("xl/workbook.xml") {
        return Ok(Book::Excel);
    }
    if has("xl/workbook.bin") {
        return Err("a binary Excel workbook (.xlsb), which is not read");
    }
    if has("word/document.xml") {
        return Err("a Word document, not a table");
    }
    match start_of(archive, "mimetype").trim() {
        "application/vnd.oasis.opendocument.spreadsheet"
            if start_of(archive, MANIFEST).contains("encryption-data") =>
        {
            Err(PROTECTED)
        }
        "application/vnd.oasis.opendocument.spreadsheet" => Ok(Book::OpenDocument),
        _ if archive
            .file_names()
            .flatten()
            .any(|entry| entry_path(&entry).starts_with("xl/")) =>
        {
            Ok(Book::Excel)
        }
        _ => Err("a zip archive, not a table"),
    }
}

const MANIFEST: &str = "META-INF/manifest.xml";

/// The beginning of an entry; what can't be read is empty, and is no kind that is known.
fn start_of(archive: &mut ZipArchive<impl Read + Seek>, name: &str) -> String {
    let mut start = Vec::new();
    if let Ok(entry) = archive.by_name(name) {
        let _ = entry.take(1 << 16).read_to_end(&mut start);
    }
    String::from_utf8_lossy(&start).into_owned()
}

/// How much of a tag is looked at.
const LONGEST_TAG: usize = 1024;

/// Looks at XML while it is unpacked, and at anything else as if it were XML: for hidden rows,
/// merged cells, formulas without a result, and for how much text is in one cell, which a reader
/// will hold in memory. That is why it is not an XML reader, which would hold the text before its
/// length is known.
#[derive(Default)]
struct PartScan {
    marks: SheetMarks,
    /// Number of the row that began last, from 1.
    row: u32,
    /// Whether a formula has been met for which no value has come yet.
    formula: bool,
    /// Whether the result of the current cell's formula is a text, which may be empty.
    has_text_result: bool,
    /// The most text in one cell, or in one piece between two tags.
    longest: u64,
    /// Text since the last tag of a cell or a row.
    text: u64,
    /// Text in all, and how many texts of a workbook's table of texts.
    all_text: u64,
    texts: u64,
    /// How many texts that table says it has; `None` in all that is no such table.
    said: Option<u64>,
    /// Bytes since the last `<`.
    run: u64,
    /// The tag that is being read, as far as it matters.
    tag: Vec<u8>,
}

impl PartScan {
    fn take(&mut self, part: &[u8]) {
        let (part, ends) = part
            .strip_suffix(b"<")
            .map_or((part, false), |part| (part, true));
        let room = LONGEST_TAG.saturating_sub(self.tag.len());
        self.tag.extend_from_slice(&part[..part.len().min(room)]);
        self.run += part.len() as u64;
        if begins_cell(&self.tag) {
            self.text = 0;
        }
        self.longest = self
            .longest
            .max(self.run)
            .max(self.text + text_in(&self.tag, self.run));
        if ends {
            self.look_at_row();
            self.look_for_results();
            self.look_for_a_count();
            self.text += text_in(&self.tag, self.run);
            self.all_text += text_in(&self.tag, self.run);
            self.texts += u64::from(local_name(&self.tag) == b"si");
            self.run = 0;
            self.tag.clear();
        }
    }

    /// How much memory a table of texts takes.
    fn held(&self) -> u64 {
        let places = self.texts.max(self.said.unwrap_or(0)).saturating_mul(PLACE);
        places
            .saturating_add(self.texts * EACH)
            .saturating_add(self.all_text)
    }

    /// Looks for the declared number of texts, which stands before the first text. It searches the
    /// raw bytes, because the reader of the workbook may see a tag where this scanner sees none.
    fn look_for_a_count(&mut self) {
        if let Some(said) = &mut self.said
            && self.texts == 0
        {
            let whole = self.run <= LONGEST_TAG as u64;
            *said = (*said).max(if whole { count_in(&self.tag) } else { u64::MAX });
        }
    }

    fn look_at_row(&mut self) {
        match local_name(&self.tag) {
            b"row" => {
                let number = attribute(&self.tag, "r").and_then(|number| number.parse().ok());
                self.row = number.unwrap_or(self.row.saturating_add(1));
                let is_hidden = matches!(attribute(&self.tag, "hidden"), Some("1" | "true"));
                if is_hidden && (1..=MAX_ROWS).contains(&self.row) {
                    self.marks.hidden_rows.insert(self.row - 1);
                }
            }
            b"mergeCell" => {
                if let Some(range) = attribute(&self.tag, "ref").and_then(CellRange::parse) {
                    self.marks.add_merged(range);
                }
            }
            _ => {}
        }
    }

    fn look_for_results(&mut self) {
        let says = |text: &[u8]| memchr::memmem::find(&self.tag, text).is_some();
        match local_name(&self.tag) {
            b"c" => self.has_text_result = attribute(&self.tag, "t") == Some("str"),
            b"f" => self.formula = true,
            b"v" => {
                let is_empty = text_in(&self.tag, self.run) == 0;
                self.formula &= is_empty && !self.has_text_result;
            }
            b"table-cell" if says(b":formula=") && !says(b":value-type=") => {
                self.marks.has_missing_results = true;
            }
            _ if self.formula && is_end_of(&self.tag, b"c") => {
                self.marks.has_missing_results = true;
                self.formula = false;
            }
            _ => {}
        }
    }
}

impl Write for PartScan {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        piece
            .split_inclusive(|b| *b == b'<')
            .for_each(|part| self.take(part));
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How much of a run is text: what stands behind the tag.
fn text_in(tag: &[u8], run: u64) -> u64 {
    memchr::memchr(b'>', tag).map_or(0, |end| run - end as u64 - 1)
}

/// The largest `uniqueCount` in a tag.
fn count_in(tag: &[u8]) -> u64 {
    const NAME: &[u8] = b"uniqueCount";
    let counts = memchr::memmem::find_iter(tag, NAME).map(|at| {
        let value = tag[at + NAME.len()..]
            .iter()
            .skip_while(|b| b.is_ascii_whitespace() || b"=\"'".contains(b));
        let digits = value.take_while(|b| b.is_ascii_digit());
        digits.fold(0_u64, |count, digit| {
            count
                .saturating_mul(10)
                .saturating_add((digit - b'0').into())
        })
    });
    counts.max().unwrap_or(0)
}

/// The name of a tag without its namespace.
fn local_name(tag: &[u8]) -> &[u8] {
    let end = tag
        .iter()
        .position(|b| b.is_ascii_whitespace() || matches!(b, b'>' | b'/'))
        .unwrap_or(tag.len());
    let name = &tag[..end];
    &name[memchr::memchr(b':', name).map_or(0, |colon| colon + 1)..]
}

fn is_end_of(tag: &[u8], name: &[u8]) -> bool {
    tag.strip_prefix(b"/")
        .is_some_and(|tag| local_name(tag) == name)
}

/// Returns the value of an attribute without a namespace, as it stands in the tag.
fn attribute<'a>(tag: &'a [u8], name: &str) -> Option<&'a str> {
    let tag = &tag[..memchr::memchr(b'>', tag).unwrap_or(tag.len())];
    for at in memchr::memmem::find_iter(tag, name.as_bytes()) {
        let is_start = at > 0 && tag[at - 1].is_ascii_whitespace();
        let rest = tag[at + name.len()..].trim_ascii_start();
        let Some(rest) = rest.strip_prefix(b"=").filter(|_| is_start) else {
            continue;
        };
        let (quote, value) = rest.trim_ascii_start().split_first()?;
        let end = memchr::memchr(*quote, value)?;
        return std::str::from_utf8(&value[..end]).ok();
    }
    None
}

fn begins_cell(tag: &[u8]) -> bool {
    matches!(
        local_name(tag),
        b"c" | b"row" | b"si" | b"table-cell" | b"covered-table-cell" | b"table-row"
    )
}
