//! One record of the journal as bytes: how it is written, where it ends, whether it is complete,
//! and what it says. Does no I/O but on the reader it is given. Where records are stored, and what
//! a damaged one means for the file, is decided elsewhere.
//!
//! Every record is one CSV record (comma, LF) whose last cell is a checksum: the CRC-32 of the
//! other bytes of this record, continued from the checksum of the previous record. A record that is
//! missing, moved or changed therefore breaks the chain.
//!
//! The record of a row begins with the row of the report: the cells of the input that the report
//! carries, then [`REPORT_COLUMNS`]. The row's number follows. It orders the report and is not part
//! of it.

use std::io::{self, BufRead};
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::domain::{
    Flag, LineNumber, MAX_DETAIL, Outcome, REPORT_COLUMNS, Record, ReportColumn, RowNumber,
};
use crate::journal::identity::CarriedColumn;
use crate::journal::run::{FORMAT, Mark, Noted, Run, Stop};
use crate::journal::timestamp::{FormattedTimestamp, TimestampCache};
use crate::text::{self, push_csv_cell, push_csv_cells};

/// The first cell of the record with which a run begins or is continued.
pub(crate) const RUN: &str = "mfa-optout run";
/// The first cell of a note.
pub(crate) const NOTE: &str = "mfa-optout note";
/// The first cell of a mark, which allows rows to be sent.
pub(crate) const MARK: &str = "mfa-optout mark";
/// The first cell of the record with which a run ends.
pub(crate) const STOP: &str = "mfa-optout stop";

/// The length limit of a record in bytes. Anything longer is an opened quote and no record.
pub const MAX_RECORD: usize = 32 << 20;

/// The length of a comma, the checksum as eight hexadecimal digits, and a line feed.
const CHECKSUM_LEN: usize = 10;

/// The number of cells of a control record, with its checksum. A row always has more.
const CONTROL_CELLS: usize = 3;

/// The number of cells in the record of a row that follow the row of the report: the row's number
/// and the checksum.
pub(crate) const CELLS_BEHIND_A_ROW: usize = 2;

/// Appends the checksum and the line end to the record that begins at `start`. Returns the
/// checksum.
fn append_checksum(out: &mut Vec<u8>, start: usize, previous: u32) -> u32 {
    let checksum = checksum_of(previous, &out[start..]);
    out.extend_from_slice(&record_end(checksum));
    checksum
}

/// Returns the end of a record with this checksum.
fn record_end(checksum: u32) -> [u8; CHECKSUM_LEN] {
    let mut ending = *b",........\n";
    ending[1..9].copy_from_slice(checksum.to_be_bytes().map(hex).as_flattened());
    ending
}

/// Returns a byte as two lower-case hexadecimal digits.
fn hex(byte: u8) -> [u8; 2] {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    [
        DIGITS[usize::from(byte >> 4)],
        DIGITS[usize::from(byte & 15)],
    ]
}

fn checksum_of(previous: u32, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(previous);
    hasher.update(body);
    hasher.finalize()
}

/// Writes the record of a row and returns its checksum. `cells` are the cells of the input as CSV.
pub(crate) fn write_row(
    out: &mut Vec<u8>,
    previous: u32,
    cells: &[u8],
    row: &Record,
    at: &FormattedTimestamp,
) -> u32 {
    let start = out.len();
    out.extend_from_slice(cells);
    out.push(b',');
    if let Some(line) = row.line {
        push_number(out, line);
    }
    out.push(b',');
    out.extend_from_slice(row.outcome.as_str().as_bytes());
    out.push(b',');
    if let Some(wanted) = row.wanted {
        out.extend_from_slice(wanted.as_str().as_bytes());
    }
    out.push(b',');
    if let Some(status) = row.http_status {
        push_number(out, status.into());
    }
    out.push(b',');
    push_number(out, row.attempts.into());
    out.push(b',');
    push_number(
        out,
        u64::try_from(row.elapsed.as_millis()).unwrap_or(u64::MAX),
    );
    out.push(b',');
    out.extend_from_slice(at.as_str().as_bytes());
    out.push(b',');
    if !row.detail.is_empty() {
        push_csv_cell(out, detail_cell(&row.detail).as_bytes());
    }
    out.push(b',');
    push_number(out, row.row);
    append_checksum(out, start, previous)
}

fn push_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Returns the server's words in a form that is harmless on a terminal and in a spreadsheet.
fn detail_cell(detail: &str) -> String {
    text::shorten(
        &text::without_formula(&text::one_line(detail, MAX_DETAIL)),
        MAX_DETAIL,
    )
}

/// Writes a control record, which consists of a word and JSON, and returns its checksum.
pub(crate) fn write_control(out: &mut Vec<u8>, previous: u32, word: &str, json: &str) -> u32 {
    let start = out.len();
    push_csv_cells(out, [word, json]);
    append_checksum(out, start, previous)
}

/// Returns the header of the report as CSV without a line end: the carried columns, then
/// [`REPORT_COLUMNS`].
pub(crate) fn header_line(carried: &[CarriedColumn]) -> Vec<u8> {
    let mut line = Vec::new();
    for column in carried {
        push_csv_cell(&mut line, column.name.as_bytes());
        line.push(b',');
    }
    push_csv_cells(&mut line, REPORT_COLUMNS);
    line
}

/// How the bytes that were read for one record end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// With the line feed that ends a record.
    Complete,
    /// With the end of the file, before such a line feed.
    Unterminated,
    /// Not within [`MAX_RECORD`] bytes.
    TooLong,
    /// There are none, because the file ends here.
    EndOfFile,
}

/// Reads up to the line feed that ends the record: the first one after an even number of quotes,
/// because quotes within a quoted cell are doubled.
pub(crate) fn read_frame(input: &mut impl BufRead, frame: &mut Vec<u8>) -> io::Result<Frame> {
    frame.clear();
    let mut quotes = 0;
    loop {
        let seen = frame.len();
        let room = u64::try_from(MAX_RECORD - seen).unwrap_or(u64::MAX);
        io::Read::take(&mut *input, room).read_until(b'\n', frame)?;
        quotes += quotes_in(&frame[seen..]);
        if frame.is_empty() {
            return Ok(Frame::EndOfFile);
        }
        if frame.len() == MAX_RECORD {
            return Ok(Frame::TooLong);
        }
        if frame.last() != Some(&b'\n') || frame.len() == seen {
            return Ok(Frame::Unterminated);
        }
        if quotes % 2 == 0 {
            return Ok(Frame::Complete);
        }
    }
}

fn quotes_in(bytes: &[u8]) -> usize {
    memchr::memchr_iter(b'"', bytes).count()
}

/// Returns the checksum at the end of these bytes, if there is one.
pub(crate) fn written_checksum(frame: &[u8]) -> Option<u32> {
    let (_, end) = frame.split_at_checked(frame.len().checked_sub(CHECKSUM_LEN)?)?;
    let digits = end.strip_prefix(b",")?.strip_suffix(b"\n")?;
    let is_lower_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if !digits.iter().all(is_lower_hex) {
        return None;
    }
    let digits = str::from_utf8(digits).ok()?;
    u32::from_str_radix(digits, 16).ok()
}

/// Returns the bytes of a record without its checksum.
pub(crate) fn body(frame: &[u8]) -> &[u8] {
    &frame[..frame.len().saturating_sub(CHECKSUM_LEN)]
}

/// Returns the part of a row's record that is the row of the report.
pub(crate) fn report_row(frame: &[u8]) -> &[u8] {
    let body = body(frame);
    let end = memchr::memrchr(b',', body).unwrap_or(body.len());
    &body[..end]
}

/// Returns the checksum of a record if it is the one that must follow `previous`.
pub(crate) fn verify(previous: u32, frame: &[u8]) -> Option<u32> {
    let checksum = checksum_of(previous, body(frame));
    if frame.ends_with(&record_end(checksum)) {
        Some(checksum)
    } else {
        None
    }
}

/// Checks whether these bytes begin with a complete record, the one that must follow `previous`,
/// and something other than its line feed comes next. NUL bytes do not count, because a file system
/// fills up a torn record with them.
pub(crate) fn holds_more_than_one_record(previous: u32, bytes: &[u8]) -> bool {
    let mut hasher = crc32fast::Hasher::new_with_initial(previous);
    let mut start = 0;
    for comma in memchr::memchr_iter(b',', bytes) {
        hasher.update(&bytes[start..comma]);
        start = comma;
        let end = record_end(hasher.clone().finalize());
        let without_line_feed = &end[..CHECKSUM_LEN - 1];
        if let Some(rest) = bytes[comma..].strip_prefix(without_line_feed) {
            return rest.iter().any(|byte| *byte != 0);
        }
    }
    false
}

/// The content of a record.
#[derive(Debug)]
pub(crate) enum JournalEntry<'a> {
    /// The start of a run, or of a process that continues it.
    Run(Box<Run>),
    /// An event that is not about the outcome of a row.
    Note(Noted),
    /// Permission to send rows.
    Mark(Mark),
    /// The orderly end of a run.
    Stop(Stop),
    /// The start of a run in another format, by another version of the tool.
    OtherFormat(u32),
    /// The outcome of a row.
    Row(RowNumber, RecordedRow<'a>),
}

/// The cells of a row that the tool adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordedRow<'a> {
    /// Line of the row in the input; `None` for a row that is not in it.
    pub line: Option<LineNumber>,
    /// Outcome of the row.
    pub outcome: Outcome,
    /// The flag that was wanted, if it is known.
    pub wanted: Option<Flag>,
    /// HTTP status of the last response.
    pub http_status: Option<u16>,
    /// Number of requests that were sent for the row.
    pub attempts: u32,
    /// Time from the first request to the last response.
    pub elapsed: Duration,
    /// Time at which the outcome was recorded.
    pub finished_at: Timestamp,
    /// Explanation of the outcome in one line, for people.
    pub detail: &'a str,
}

/// The texts of the cells that the tool adds to a row, in the order of [`REPORT_COLUMNS`].
pub type ReportCells<'a> = [&'a str; REPORT_COLUMNS.len()];

impl<'a> RecordedRow<'a> {
    /// Parses the cells that the tool adds to a row. Returns `None` if one of them is not valid.
    #[must_use]
    pub fn from_cells(cells: &ReportCells<'a>) -> Option<Self> {
        Self::parse(cells, &mut TimestampCache::default())
    }

    /// Parses these cells with a cache for the timestamp.
    fn parse(cells: &ReportCells<'a>, timestamps: &mut TimestampCache) -> Option<Self> {
        let cell = |column: ReportColumn| cells[column.index()];
        Some(Self {
            line: empty_or(cell(ReportColumn::Line), |cell| cell.parse().ok())?,
            outcome: Outcome::from_word(cell(ReportColumn::Outcome))?,
            wanted: empty_or(cell(ReportColumn::Wanted), Flag::from_word)?,
            http_status: empty_or(cell(ReportColumn::HttpStatus), |cell| cell.parse().ok())?,
            attempts: cell(ReportColumn::Attempts).parse().ok()?,
            elapsed: Duration::from_millis(cell(ReportColumn::ElapsedMs).parse().ok()?),
            finished_at: timestamps.parse(cell(ReportColumn::FinishedAt))?,
            detail: cell(ReportColumn::Detail),
        })
    }
}

/// Parses a cell that may be empty. Returns `None` if it is neither empty nor valid.
#[expect(
    clippy::option_option,
    reason = "an empty cell is not the same as an invalid one"
)]
fn empty_or<T>(cell: &str, parse: impl Fn(&str) -> Option<T>) -> Option<Option<T>> {
    if cell.is_empty() {
        Some(None)
    } else {
        parse(cell).map(Some)
    }
}

fn row_number(cell: &str) -> Option<RowNumber> {
    cell.parse().ok().filter(|row| *row > 0)
}

/// A parser of records that reuses its buffers.
pub(crate) struct Parser {
    csv: csv_core::Reader,
    text: Vec<u8>,
    ends: Vec<usize>,
    timestamps: TimestampCache,
}

impl Parser {
    pub(crate) fn new() -> Self {
        let csv = csv_core::ReaderBuilder::new()
            .terminator(csv_core::Terminator::Any(b'\n'))
            .build();
        Self {
            csv,
            text: Vec::new(),
            ends: vec![0; 64],
            timestamps: TimestampCache::default(),
        }
    }

    /// Parses a complete record. Returns `None` if this version of the tool does not write such a
    /// one.
    pub(crate) fn parse<'a>(&'a mut self, frame: &'a [u8]) -> Option<JournalEntry<'a>> {
        if memchr::memchr(b'"', frame).is_none() {
            return parse_unquoted_row(body(frame), &mut self.timestamps);
        }
        let count = self.split(frame)?;
        if count == CONTROL_CELLS {
            self.control()
        } else {
            self.row(count)
        }
    }

    /// Splits a record into cells and returns their number.
    fn split(&mut self, mut input: &[u8]) -> Option<usize> {
        self.csv.reset();
        self.text.resize(input.len().max(self.text.len()), 0);
        let mut written = 0;
        let mut count = 0;
        loop {
            let (result, read, wrote, ended) =
                self.csv
                    .read_record(input, &mut self.text[written..], &mut self.ends[count..]);
            (input, written, count) = (&input[read..], written + wrote, count + ended);
            match result {
                csv_core::ReadRecordResult::Record => return Some(count),
                csv_core::ReadRecordResult::OutputEndsFull => {
                    self.ends.resize(self.ends.len() * 2, 0);
                }
                _ => return None,
            }
        }
    }

    fn cell(&self, index: usize) -> Option<&str> {
        cell(&self.text, &self.ends, index)
    }

    fn row(&mut self, count: usize) -> Option<JournalEntry<'_>> {
        let first = count.checked_sub(REPORT_COLUMNS.len() + CELLS_BEHIND_A_ROW)?;
        let mut cells = [""; REPORT_COLUMNS.len()];
        for (offset, found) in cells.iter_mut().enumerate() {
            *found = cell(&self.text, &self.ends, first + offset)?;
        }
        let number = cell(&self.text, &self.ends, first + REPORT_COLUMNS.len())?;
        let row = RecordedRow::parse(&cells, &mut self.timestamps)?;
        Some(JournalEntry::Row(row_number(number)?, row))
    }

    fn control(&self) -> Option<JournalEntry<'_>> {
        let json = self.cell(1)?;
        match self.cell(0)? {
            RUN => match from_json::<AnyFormat>(json)?.format {
                FORMAT => from_json(json).map(Box::new).map(JournalEntry::Run),
                other => Some(JournalEntry::OtherFormat(other)),
            },
            NOTE => from_json(json).map(JournalEntry::Note),
            MARK => from_json(json).map(JournalEntry::Mark),
            STOP => from_json(json).map(JournalEntry::Stop),
            _ => None,
        }
    }
}

fn cell<'a>(text: &'a [u8], ends: &[usize], index: usize) -> Option<&'a str> {
    let start = if index == 0 { 0 } else { ends[index - 1] };
    str::from_utf8(&text[start..ends[index]]).ok()
}

/// Parses the record of a row without a quoted cell, as nearly all are. Each comma in it ends a
/// cell, and the tool's cells are the last ones.
fn parse_unquoted_row<'a>(
    body: &'a [u8],
    timestamps: &mut TimestampCache,
) -> Option<JournalEntry<'a>> {
    /// The number of cells that the tool adds: those of the report, and the row's number.
    const ADDED: usize = REPORT_COLUMNS.len() + 1;
    let mut commas = [0; ADDED];
    let mut end = body.len();
    for comma in commas.iter_mut().rev() {
        end = memchr::memrchr(b',', &body[..end])?;
        *comma = end;
    }
    let start = commas[0];
    let added = str::from_utf8(&body[start..]).ok()?;
    let mut cells = [""; REPORT_COLUMNS.len()];
    for (index, cell) in cells.iter_mut().enumerate() {
        *cell = &added[commas[index] + 1 - start..commas[index + 1] - start];
    }
    let number = row_number(&added[commas[ADDED - 1] + 1 - start..])?;
    Some(JournalEntry::Row(
        number,
        RecordedRow::parse(&cells, timestamps)?,
    ))
}

/// The part of a run record that every version of the tool can read.
#[derive(Deserialize)]
struct AnyFormat {
    format: u32,
}

fn from_json<T: DeserializeOwned>(json: &str) -> Option<T> {
    serde_json::from_str(json).ok()
}

/// The result of reading the next record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadStep {
    /// A complete record with the right checksum.
    Record,
    /// The end of the file, right after a record.
    End,
    /// Anything else. It begins at [`JournalReader::start`].
    Broken(Frame),
}

/// A reader of a journal that checks the checksum of each record.
pub(crate) struct JournalReader<R> {
    input: R,
    checksum: u32,
    start: u64,
    frame: Vec<u8>,
    parser: Parser,
}

impl<R: BufRead> JournalReader<R> {
    /// Creates a reader. `input` must be at the first record.
    pub(crate) fn new(input: R) -> Self {
        Self {
            input,
            checksum: 0,
            start: 0,
            frame: Vec::new(),
            parser: Parser::new(),
        }
    }

    /// Reads the next record.
    pub(crate) fn step(&mut self) -> io::Result<ReadStep> {
        self.start += self.frame.len() as u64;
        let frame = read_frame(&mut self.input, &mut self.frame)?;
        if frame == Frame::EndOfFile {
            return Ok(ReadStep::End);
        }
        if frame == Frame::Complete
            && let Some(checksum) = verify(self.checksum, &self.frame)
        {
            self.checksum = checksum;
            return Ok(ReadStep::Record);
        }
        Ok(ReadStep::Broken(frame))
    }

    /// Returns where the current record begins, in bytes from the start of the file.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// Returns the checksum of the last valid record.
    pub(crate) fn checksum(&self) -> u32 {
        self.checksum
    }

    /// Returns the bytes of the current record.
    pub(crate) fn frame(&self) -> &[u8] {
        &self.frame
    }

    /// Returns the content of the current record, `None` if it is not valid, and its bytes.
    pub(crate) fn record(&mut self) -> (Option<JournalEntry<'_>>, &[u8]) {
        (self.parser.parse(&self.frame), &self.frame)
    }

    /// Returns the input. After reading elsewhere in it, the caller must seek back to the end of
    /// the current record.
    pub(crate) fn input(&mut self) -> &mut R {
        &mut self.input
    }

    /// Returns the input and ends reading.
    pub(crate) fn into_input(self) -> R {
        self.input
    }
}
