//! Tables in text: detects compression, encoding and delimiter, and reads rows with the physical
//! lines on which they begin.

use std::cell::Cell;
use std::io::{self, BufRead, Read};

use csv::ByteRecord;
use encoding_rs::{Encoding, UTF_8};
use encoding_rs_io::DecodeReaderBytesBuilder;
use flate2::bufread::MultiGzDecoder;

use super::bytes::{BlockHashes, Bytes, Changed, MAX_INPUT, unreadable};
use super::encoding::{DetectedEncoding, EncodingProbe};
use super::quotes::{RowShape, stray_quote, swallowed_row};
use super::row::MAX_COLUMNS;
use crate::domain::LineEnd;
use crate::error::{Error, Kind, Result};

/// The longest row that is read, in bytes. A quotation mark left open makes the rest of a file one
/// row.
pub(super) const MAX_ROW: u64 = 8 << 20;

/// The largest number of delimiters in a row that is longer than a piece of the text. Each takes
/// several bytes of memory.
const MAX_DELIMITERS: u64 = 1 << 20;

/// The text that is put behind the input. If a quotation mark is still open, it ends up inside the
/// last cell.
const END: &[u8] = b"\n\x01end of text\x01";
const END_CELL: &[u8] = b"\x01end of text\x01";

/// Returns the largest size to which `size` bytes may inflate: 200 times as much, but at most 1 GiB
/// and at least 1 MiB.
pub(super) fn inflated_limit(size: u64, max_input: Option<u64>) -> u64 {
    max_input.unwrap_or_else(|| size.saturating_mul(200).clamp(1 << 20, MAX_INPUT))
}

pub(super) fn bomb(name: &str, limit: u64) -> Error {
    Error::new(
        Kind::Input,
        format!(
            "{name} inflates to more than {limit} bytes, which is out of all proportion to its size"
        ),
    )
    .help("if that is what it should hold, raise the limit with --max-input")
}

/// The form of a text as it was detected.
#[derive(Clone, Debug)]
pub(super) struct TextFormat {
    pub(super) hashes: BlockHashes,
    pub(super) gzip: bool,
    pub(super) encoding: DetectedEncoding,
}

/// Reads everything once: computes the hashes, inflates within bounds, and detects the encoding.
pub(super) fn survey(
    bytes: &Bytes,
    wanted: Option<&'static Encoding>,
    max_input: Option<u64>,
) -> Result<TextFormat> {
    let mut blocks = bytes.hashed();
    let gzip = blocks
        .fill_buf()
        .map_err(|error| unreadable(&bytes.name, &error))?
        .starts_with(&[0x1f, 0x8b]);
    let mut probe = EncodingProbe::default();
    let outcome = if gzip {
        let limit = inflated_limit(bytes.size, max_input);
        let mut inflated = MultiGzDecoder::new(&mut blocks);
        probe.read_all(&mut inflated, limit)
    } else {
        probe.read_all(&mut blocks, u64::MAX)
    };
    match outcome {
        Ok(true) => {}
        Ok(false) => return Err(bomb(&bytes.name, inflated_limit(bytes.size, max_input))),
        Err(error) => return Err(broken(&bytes.name, &error)),
    }
    let hashes = blocks
        .into_hashes()
        .map_err(|error| unreadable(&bytes.name, &error))?;
    Ok(TextFormat {
        hashes,
        gzip,
        encoding: probe.finish(&bytes.name, wanted)?,
    })
}

fn broken(name: &str, error: &io::Error) -> Error {
    let message = match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            format!("{name} is cut off: the compressed data ends in the middle")
        }
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
            format!("{name} is damaged: {error}")
        }
        _ => return unreadable(name, error),
    };
    Error::new(Kind::Input, message).help("fetch or export the file again")
}

impl TextFormat {
    /// Returns a pass over the text as UTF-8, verified against the hashes.
    fn decoded(&self, bytes: &Bytes) -> io::Result<Box<dyn Read>> {
        let blocks = bytes.verified(&self.hashes);
        let mut text: Box<dyn Read> = if self.gzip {
            Box::new(MultiGzDecoder::new(blocks))
        } else {
            Box::new(blocks)
        };
        if let Some(length) = self.encoding.cut {
            text = Box::new(text.take(length));
        }
        if self.encoding.encoding != UTF_8 {
            let mut decoder = DecodeReaderBytesBuilder::new();
            return Ok(Box::new(
                decoder
                    .encoding(Some(self.encoding.encoding))
                    .bom_override(true)
                    .strip_bom(true)
                    .build(text),
            ));
        }
        if self.encoding.bom {
            text.read_exact(&mut [0; 3])?;
        }
        Ok(text)
    }

    /// The beginning of the text, for a look at it.
    pub(super) fn head(&self, bytes: &Bytes) -> Result<Vec<u8>> {
        let mut head = Vec::new();
        let read = self
            .decoded(bytes)
            .and_then(|text| text.take(1 << 16).read_to_end(&mut head));
        read.map_err(|error| io_trouble(&bytes.name, 1, &error))?;
        Ok(head)
    }

    /// Returns a pass over the text as UTF-8.
    pub(super) fn text(&self, bytes: &Bytes) -> Result<Box<dyn Read>> {
        self.decoded(bytes)
            .map_err(|error| io_trouble(&bytes.name, 1, &error))
    }

    /// Returns the rows from the start. If their shape is known, rows that an open quotation mark
    /// has swallowed are found.
    pub(super) fn rows(
        &self,
        bytes: &Bytes,
        layout: Layout,
        shape: Option<RowShape>,
    ) -> Result<TextRows> {
        let text = self
            .decoded(bytes)
            .and_then(|inner| Text::new(inner, layout));
        let text = text.map_err(|error| io_trouble(&bytes.name, 1, &error))?;
        let reader = csv::ReaderBuilder::new()
            .delimiter(layout.delimiter)
            .has_headers(false)
            .flexible(true)
            .buffer_capacity(1 << 16)
            .from_reader(text);
        Ok(TextRows {
            reader,
            name: bytes.name.clone(),
            delimiter: layout.delimiter,
            skipped: layout.skipped as u64,
            shape,
        })
    }
}

/// The layout of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) delimiter: u8,
    /// Length in bytes of a first line such as `sep=;`, which names the delimiter and is no row.
    pub(super) skipped: usize,
    pub(super) line_end: LineEnd,
}

const DELIMITERS: [u8; 4] = *b",;\t|";

/// Detects the delimiter: the one that a first line `sep=;` names, or else the one by which the
/// first rows have the columns of a table, as `fits` tells, and are equally wide.
pub(super) fn sniff(
    head: &[u8],
    wanted: Option<u8>,
    fits: impl Fn(&[Vec<String>]) -> bool,
) -> Layout {
    let named = sep_line(head);
    let skipped = named.map_or(0, |(_, length)| length);
    let delimiter = wanted
        .or(named.map(|(delimiter, _)| delimiter))
        .unwrap_or_else(|| {
            let score = |delimiter: &u8| score(&head[skipped..], *delimiter, &fits);
            // The last of equals wins, and without any delimiter in probe a table has one column:
            // commas.
            DELIMITERS
                .into_iter()
                .rev()
                .max_by_key(score)
                .unwrap_or(b',')
        });
    Layout {
        delimiter,
        skipped,
        line_end: first_line_end(&head[skipped..]),
    }
}

/// Returns how the first row ends.
fn first_line_end(head: &[u8]) -> LineEnd {
    let mut is_quoted = false;
    for place in memchr::memchr3_iter(b'"', b'\r', b'\n', head) {
        match head[place] {
            b'"' => is_quoted = !is_quoted,
            _ if is_quoted => {}
            b'\r' if head.get(place + 1) == Some(&b'\n') => return LineEnd::CrLf,
            b'\r' => return LineEnd::Cr,
            _ => return LineEnd::Lf,
        }
    }
    LineEnd::Lf
}

fn sep_line(head: &[u8]) -> Option<(u8, usize)> {
    let length = memchr::memchr2(b'\n', b'\r', head).unwrap_or(head.len());
    let line = head[..length]
        .strip_prefix(b"\"")
        .unwrap_or(&head[..length]);
    let [name @ .., b'=', delimiter] = line.get(..5)? else {
        return None;
    };
    let padding = line[5..].iter().all(|b| b"\" ,;\t|".contains(b));
    let end = if head[length..].starts_with(b"\r\n") {
        2
    } else {
        usize::from(length < head.len())
    };
    (name.eq_ignore_ascii_case(b"sep") && padding && separates(*delimiter))
        .then_some((*delimiter, length + end))
}

/// Checks whether a byte may stand between cells: it is no letter, digit or quotation mark.
fn separates(byte: u8) -> bool {
    byte == b'\t' || (byte.is_ascii_punctuation() && byte != b'"')
}

/// The score of a delimiter: whether the first rows have the columns of a table, how many rows have
/// the most frequent width if that is more than one, and that width.
fn score(
    head: &[u8],
    delimiter: u8,
    fits: &impl Fn(&[Vec<String>]) -> bool,
) -> (bool, usize, usize) {
    const ROWS: usize = 21;
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(false)
        .flexible(true)
        .from_reader(head);
    let mut rows: Vec<Vec<String>> = Vec::new();
    for record in reader.byte_records().map_while(std::result::Result::ok) {
        if is_blank(&record) {
            continue;
        }
        let cells = record.iter().map(|cell| String::from_utf8_lossy(cell));
        rows.push(cells.map(std::borrow::Cow::into_owned).collect());
        if rows.len() == ROWS {
            break;
        }
    }
    if rows.is_empty() {
        return (false, usize::MAX, 0);
    }
    let frequency = |width: usize| rows.iter().filter(|row| row.len() == width).count();
    let several = rows.iter().map(Vec::len).filter(|width| *width > 1);
    let best = several.max_by_key(|width| (frequency(*width), *width));
    match best {
        Some(width) => (fits(&rows), frequency(width), width),
        None => (fits(&rows), 0, 1),
    }
}

/// Checks whether a row has nothing but white space.
pub(super) fn is_blank(row: &ByteRecord) -> bool {
    let text = row.as_slice().trim_ascii();
    text.is_empty()
        || (!text[0].is_ascii()
            && std::str::from_utf8(text).is_ok_and(|text| text.trim().is_empty()))
}

/// One pass over the rows of a text.
pub(super) struct TextRows {
    reader: csv::Reader<Text>,
    name: String,
    delimiter: u8,
    skipped: u64,
    shape: Option<RowShape>,
}

impl TextRows {
    /// Reads the next row that is not blank; returns `false` after the last.
    pub(super) fn read(&mut self, row: &mut ByteRecord) -> Result<bool> {
        loop {
            let start = self.offset();
            self.reader.get_mut().row_start = start;
            match self.reader.read_byte_record(row) {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(error) => return Err(self.failed(error)),
            }
            if row.as_slice().ends_with(END_CELL) && self.is_past_the_end() {
                return if row.len() == 1 && row.as_slice() == END_CELL {
                    Ok(false)
                } else {
                    Err(self.unclosed(row))
                };
            }
            if !is_blank(row) {
                return self.check_quotes(row).map(|()| true);
            }
        }
    }

    /// Returns the number of bytes of the decoded text that have been read.
    fn offset(&self) -> u64 {
        self.reader.position().byte() + self.skipped
    }

    fn is_past_the_end(&self) -> bool {
        self.reader
            .get_ref()
            .ended
            .is_some_and(|end| self.offset() > end + 1)
    }

    /// Returns the physical line, from 1, on which the row that was read last begins.
    pub(super) fn line(&self, row: &ByteRecord) -> u64 {
        let terminator = self.offset().saturating_sub(1);
        self.reader
            .get_ref()
            .line_at(terminator)
            .saturating_sub(lines_within(row))
            .max(1)
    }

    /// Checks the quotation marks of a row with cells of several lines: one that was left open
    /// swallows rows up to the next quotation mark.
    fn check_quotes(&self, row: &ByteRecord) -> Result<()> {
        if memchr::memchr2(b'\n', b'\r', row.as_slice()).is_none() {
            return Ok(());
        }
        let text = self.reader.get_ref();
        let raw = text.row_so_far(self.offset());
        if let Some(at) = stray_quote(&raw, self.delimiter) {
            let line = text.row_line() + line_ends(&raw[..at], None);
            let message = format!(
                "{}:{line}: a quotation mark is opened here, and text follows where it is closed",
                self.name
            );
            return Err(Error::new(Kind::Input, message).help(
                "close it in its own row, or write it twice (\"\") where it belongs to the text",
            ));
        }
        let Some(shape) = &self.shape else {
            return Ok(());
        };
        let Some(line_ends) = swallowed_row(row, self.delimiter, shape) else {
            return Ok(());
        };
        let start = self.line(row);
        let message = format!(
            "{}:{start}: a quoted cell of this row holds a whole row of the table, in line {}",
            self.name,
            start + line_ends
        );
        Err(Error::new(Kind::Input, message)
            .help("a quotation mark was left open: delete it, or close it in its own row"))
    }

    fn unclosed(&self, row: &ByteRecord) -> Error {
        let open = row.get(row.len().saturating_sub(1)).unwrap_or_default();
        let line = self
            .reader
            .get_ref()
            .line_at(self.offset())
            .saturating_sub(line_ends(open, None))
            .max(1);
        Error::new(
            Kind::Input,
            format!(
                "{}:{line}: a quotation mark is opened here and never closed",
                self.name
            ),
        )
        .help("close it, or write it twice (\"\") where it belongs to the text")
    }

    fn failed(&self, error: csv::Error) -> Error {
        let line = self.reader.get_ref().row_line();
        match error.into_kind() {
            csv::ErrorKind::Io(error) => io_trouble(&self.name, line, &error),
            other => Error::new(
                Kind::Input,
                format!("{}:{line}: can't be read: {other:?}", self.name),
            ),
        }
    }
}

fn io_trouble(name: &str, line: u64, error: &io::Error) -> Error {
    match error.get_ref() {
        Some(inner) if inner.is::<Changed>() => changed(name),
        Some(inner) if inner.is::<TooLong>() => Error::new(
            Kind::Input,
            format!(
                "{name}:{line}: the row that begins here is longer than {} MiB",
                MAX_ROW >> 20
            ),
        )
        .help("is a quotation mark left open there?"),
        Some(inner) if inner.is::<TooMany>() => Error::new(
            Kind::Input,
            format!(
                "{name}:{line}: the row that begins here has more than {MAX_DELIMITERS} \
                delimiters; at most {MAX_COLUMNS} columns are read"
            ),
        )
        .help("is it the right --delimiter, and the right file?"),
        _ => Error::new(Kind::MidRun, format!("can't read {name}: {error}")),
    }
}

pub(super) fn changed(name: &str) -> Error {
    Error::new(
        Kind::MidRun,
        format!("{name} was changed during the run; nothing of the changed part was used"),
    )
    .help("start over with the correct file")
}

#[derive(Debug, thiserror::Error)]
#[error("a row is too long")]
struct TooLong;

#[derive(Debug, thiserror::Error)]
#[error("a row has too many delimiters")]
struct TooMany;

/// The decoded text with [`END`] behind it. It keeps the last piece, in which lines are counted.
struct Text {
    inner: Box<dyn Read>,
    /// The piece that was handed out last.
    last: Vec<u8>,
    /// Offset of `last` in the text.
    start: u64,
    /// The byte before `last`.
    before: Option<u8>,
    counted: Cell<Counted>,
    /// Offset of the end of the text, once it is reached.
    ended: Option<u64>,
    /// Offset of the current row.
    row_start: u64,
    /// Line of the current row, once it begins before `last`.
    row_line: u64,
    /// The part of the current row that is before `last`.
    row_head: Vec<u8>,
    /// Number of delimiters in `row_head`.
    delimiters: u64,
    delimiter: u8,
}

/// The count of the text's line ends so far.
#[derive(Clone, Copy, Default)]
struct Counted {
    /// Position in the last piece up to which they are counted.
    end: usize,
    /// Number of line ends from the start of the text up to `end`.
    line_ends: u64,
    /// Number of line ends before the last piece.
    line_ends_before: u64,
}

impl Text {
    fn new(inner: Box<dyn Read>, layout: Layout) -> io::Result<Self> {
        let mut text = Self {
            inner,
            last: vec![0; layout.skipped],
            start: 0,
            before: None,
            counted: Cell::default(),
            ended: None,
            row_start: 0,
            row_line: 1,
            row_head: Vec::new(),
            delimiters: 0,
            delimiter: layout.delimiter,
        };
        text.inner.read_exact(&mut text.last)?;
        Ok(text)
    }

    /// Returns the line, from 1, of the byte at `offset`, which is in the last piece or right
    /// behind it. Goes on counting where the last count ended, so that asking for every row costs
    /// no more than one pass over the text.
    fn line_at(&self, offset: u64) -> u64 {
        let end = self.within(offset);
        let mut counted = self.counted.get();
        if counted.end > end {
            counted = Counted { end: 0, ..counted };
            counted.line_ends = counted.line_ends_before;
        }
        let before = match counted.end.checked_sub(1) {
            Some(last) => self.last.get(last).copied(),
            None => self.before,
        };
        counted.line_ends += line_ends(&self.last[counted.end..end], before);
        counted.end = end;
        self.counted.set(counted);
        1 + counted.line_ends
    }

    fn within(&self, offset: u64) -> usize {
        usize::try_from(offset.saturating_sub(self.start))
            .unwrap_or(usize::MAX)
            .min(self.last.len())
    }

    /// Returns the raw bytes of the row up to `end`.
    fn row_so_far(&self, end: u64) -> Vec<u8> {
        let head = if self.row_start < self.start {
            self.row_head.as_slice()
        } else {
            &[]
        };
        [
            head,
            &self.last[self.within(self.row_start)..self.within(end)],
        ]
        .concat()
    }

    fn row_line(&self) -> u64 {
        if self.row_start >= self.start {
            self.line_at(self.row_start)
        } else {
            self.row_line
        }
    }

    /// Discards the last piece.
    fn shift(&mut self) {
        self.row_line = self.row_line();
        if self.row_start >= self.start {
            self.row_head.clear();
            self.delimiters = 0;
        }
        let more = &self.last[self.within(self.row_start)..];
        self.row_head.extend_from_slice(more);
        self.delimiters += memchr::memchr_iter(self.delimiter, more).count() as u64;
        let line_ends = self.line_at(self.start + self.last.len() as u64) - 1;
        self.counted.set(Counted {
            end: 0,
            line_ends,
            line_ends_before: line_ends,
        });
        self.before = self.last.last().copied().or(self.before);
        self.start += self.last.len() as u64;
        self.last.clear();
    }
}

impl Read for Text {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.shift();
        if self.start.saturating_sub(self.row_start) > MAX_ROW {
            return Err(io::Error::other(TooLong));
        }
        if self.delimiters > MAX_DELIMITERS {
            return Err(io::Error::other(TooMany));
        }
        let mut read = 0;
        if self.ended.is_none() {
            read = self.inner.read(buffer)?;
        }
        if read == 0 {
            let end = *self.ended.get_or_insert(self.start);
            let given = usize::try_from(self.start - end)
                .unwrap_or(usize::MAX)
                .min(END.len());
            read = (&END[given..]).read(buffer)?;
        }
        self.last.extend_from_slice(&buffer[..read]);
        Ok(read)
    }
}

/// Returns the number of line ends within the cells of a row.
fn lines_within(row: &ByteRecord) -> u64 {
    if memchr::memchr2(b'\n', b'\r', row.as_slice()).is_none() {
        return 0;
    }
    row.iter().map(|cell| line_ends(cell, None)).sum()
}

/// Returns the number of line ends in a text, as LF, CRLF or CR; `before` is the byte in front of
/// it.
fn line_ends(text: &[u8], before: Option<u8>) -> u64 {
    let split = before == Some(b'\r') && text.first() == Some(&b'\n');
    let feeds = memchr::memchr_iter(b'\n', text).count() - usize::from(split);
    let returns = memchr::memchr_iter(b'\r', text)
        .filter(|at| text.get(at + 1) != Some(&b'\n'))
        .count();
    (feeds + returns) as u64
}
