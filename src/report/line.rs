//! One record of the journal as bytes: how it is written, where it ends, whether it is whole, what it says. Pure but for
//! the reader it is given. Where records are kept, and what a broken one means for the file, is not decided here.
//!
//! Every record is one CSV record (comma, LF) whose last cell is a check: the CRC-32 of this record's other bytes,
//! carried on from the check before it. A record that is missing, moved or altered therefore breaks the chain.
//!
//! The record of a row begins with the row as the report has it: the cells that the report carries, then
//! [`REPORT_COLUMNS`]. Behind that stands the row's number, which orders the report and is not in it.

use std::io::{self, BufRead};
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::domain::{
    Flag, LineNumber, MAX_DETAIL, Outcome, REPORT_COLUMNS, Record, ReportColumn, RowNumber,
};
use crate::report::identity::CarriedColumn;
use crate::report::moment::{LastRead, Stamp};
use crate::report::run::{FORMAT, Mark, Noted, Run, Stop};
use crate::text::{self, push_csv_cell};

/// The first cell of the record that opens a run.
pub(super) const RUN: &str = "mfa-optout run";
/// The first cell of a note within a run.
pub(super) const NOTE: &str = "mfa-optout note";
/// The first cell of the record that allows rows to be sent.
pub(super) const MARK: &str = "mfa-optout mark";
/// The first cell of the record that closes a run.
pub(super) const STOP: &str = "mfa-optout stop";

/// The longest record that is read, in bytes. What runs on for longer is not a record but an opened quote.
pub const MAX_RECORD: usize = 32 << 20;

/// Comma, eight hexadecimal digits, line feed.
const CHECK_LEN: usize = 10;

/// A control record has two cells and its check; a row always has more.
const CONTROL_CELLS: usize = 3;

/// What stands in the record of a row behind the row of the report: its number and the check.
pub(super) const CELLS_BEHIND_A_ROW: usize = 2;

/// Adds a record to `out` and returns its check. `cells` are CSV without the line end.
fn seal(out: &mut Vec<u8>, start: usize, previous: u32) -> u32 {
    let check = check_of(previous, &out[start..]);
    out.extend_from_slice(&ending(check));
    check
}

/// How a record with this check ends.
fn ending(check: u32) -> [u8; CHECK_LEN] {
    let mut ending = *b",........\n";
    ending[1..9].copy_from_slice(check.to_be_bytes().map(hex).as_flattened());
    ending
}

/// A byte as two lower-case digits.
fn hex(byte: u8) -> [u8; 2] {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    [
        DIGITS[usize::from(byte >> 4)],
        DIGITS[usize::from(byte & 15)],
    ]
}

fn check_of(previous: u32, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(previous);
    hasher.update(body);
    hasher.finalize()
}

/// Writes the record of a row: its own cells as they came (already CSV), then ours. Returns the new check.
pub(super) fn write_row(
    out: &mut Vec<u8>,
    previous: u32,
    cells: &[u8],
    row: &Record,
    at: &Stamp,
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
    seal(out, start, previous)
}

fn push_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// The server's words, harmless on a terminal and in a spreadsheet.
fn detail_cell(detail: &str) -> String {
    text::shorten(
        &text::without_formula(&text::one_line(detail, MAX_DETAIL)),
        MAX_DETAIL,
    )
}

/// Writes a control record: a magic word and JSON. Returns the new check.
pub(super) fn write_control(out: &mut Vec<u8>, previous: u32, word: &str, json: &str) -> u32 {
    let start = out.len();
    push_cells(out, &[word, json]);
    seal(out, start, previous)
}

/// Returns the header line of the report: the carried columns, then [`REPORT_COLUMNS`].
pub(super) fn header_line(carried: &[CarriedColumn]) -> Vec<u8> {
    let mut line = Vec::new();
    for column in carried {
        push_csv_cell(&mut line, column.name.as_bytes());
        line.push(b',');
    }
    push_cells(&mut line, &REPORT_COLUMNS);
    line.push(b'\n');
    line
}

fn push_cells(out: &mut Vec<u8>, cells: &[&str]) {
    for (index, cell) in cells.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_csv_cell(out, cell.as_bytes());
    }
}

/// How a stretch of bytes ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// With the line feed that ends a record.
    Whole,
    /// With the end of the file, before any such line feed.
    Open,
    /// Nowhere within [`MAX_RECORD`].
    TooLong,
    /// There is nothing: the file ends here.
    End,
}

/// Reads up to the line feed that ends the record: the first with an even number of quotes before it, for a quoted cell
/// doubles the quotes within it.
pub(super) fn read_frame(input: &mut impl BufRead, frame: &mut Vec<u8>) -> io::Result<Frame> {
    frame.clear();
    let mut quotes = 0;
    loop {
        let seen = frame.len();
        let room = u64::try_from(MAX_RECORD - seen).unwrap_or(u64::MAX);
        io::Read::take(&mut *input, room).read_until(b'\n', frame)?;
        quotes += quotes_in(&frame[seen..]);
        if frame.is_empty() {
            return Ok(Frame::End);
        }
        if frame.len() == MAX_RECORD {
            return Ok(Frame::TooLong);
        }
        if frame.last() != Some(&b'\n') || frame.len() == seen {
            return Ok(Frame::Open);
        }
        if quotes % 2 == 0 {
            return Ok(Frame::Whole);
        }
    }
}

fn quotes_in(bytes: &[u8]) -> usize {
    memchr::memchr_iter(b'"', bytes).count()
}

/// The check that stands at the end of these bytes, if one does.
pub(super) fn written_check(frame: &[u8]) -> Option<u32> {
    let (_, end) = frame.split_at_checked(frame.len().checked_sub(CHECK_LEN)?)?;
    let digits = end.strip_prefix(b",")?.strip_suffix(b"\n")?;
    let lower_hex = digits
        .iter()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    lower_hex.then(|| u32::from_str_radix(str::from_utf8(digits).ok()?, 16).ok())?
}

/// The record's bytes without its check.
pub(super) fn body(frame: &[u8]) -> &[u8] {
    &frame[..frame.len().saturating_sub(CHECK_LEN)]
}

/// Returns the part of a row's record that is the row of the report.
pub(super) fn report_row(frame: &[u8]) -> &[u8] {
    let body = body(frame);
    let end = memchr::memrchr(b',', body).unwrap_or(body.len());
    &body[..end]
}

/// The record's check, where it is the one that has to follow `previous`.
pub(super) fn verify(previous: u32, frame: &[u8]) -> Option<u32> {
    let check = check_of(previous, body(frame));
    frame.ends_with(&ending(check)).then_some(check)
}

/// Returns whether a whole record, the one that has to follow `previous`, begins these bytes and
/// something other than the line feed that ends it comes next. NUL bytes, with which a file system
/// fills up what was torn off, do not count.
pub(super) fn holds_more_than_one_record(previous: u32, bytes: &[u8]) -> bool {
    let mut hasher = crc32fast::Hasher::new_with_initial(previous);
    let mut start = 0;
    for comma in memchr::memchr_iter(b',', bytes) {
        hasher.update(&bytes[start..comma]);
        start = comma;
        let end = ending(hasher.clone().finalize());
        let without_line_feed = &end[..CHECK_LEN - 1];
        if let Some(rest) = bytes[comma..].strip_prefix(without_line_feed) {
            return rest.iter().any(|byte| *byte != 0);
        }
    }
    false
}

/// What a record says.
#[derive(Debug)]
pub(super) enum Entry<'a> {
    /// A run begins, or is taken up again.
    Run(Box<Run>),
    /// Something happened besides the rows.
    Note(Noted),
    /// Rows may be sent.
    Mark(Mark),
    /// A run came to an end in good order.
    Stop(Stop),
    /// A run of another version of the tool, whose journal has another format.
    OtherFormat(u32),
    /// A row has its outcome.
    Row(RowNumber, Finished<'a>),
}

/// The tool's own cells of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished<'a> {
    /// Where the row stands in the input; `None` for a row that is not in it.
    pub line: Option<LineNumber>,
    /// What became of it.
    pub outcome: Outcome,
    /// The flag that was wanted, where it is known.
    pub wanted: Option<Flag>,
    /// Status of the last answer.
    pub http_status: Option<u16>,
    /// Requests sent for it.
    pub attempts: u32,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// When it was recorded.
    pub finished_at: Timestamp,
    /// One line for a person.
    pub detail: &'a str,
}

/// The tool's cells of a row, in the order of [`REPORT_COLUMNS`].
pub type ReportCells<'a> = [&'a str; REPORT_COLUMNS.len()];

impl<'a> Finished<'a> {
    /// Reads the tool's cells of a row; `None` if one of them is not what the tool writes.
    #[must_use]
    pub fn from_cells(cells: &ReportCells<'a>) -> Option<Self> {
        Self::at(cells, &mut LastRead::default())
    }

    /// As [`from_cells`](Self::from_cells), where `last` may know the time stamp already.
    fn at(cells: &ReportCells<'a>, last: &mut LastRead) -> Option<Self> {
        let cell = |column: ReportColumn| cells[column.index()];
        Some(Self {
            line: empty_or(cell(ReportColumn::Line), |cell| cell.parse().ok())?,
            outcome: Outcome::from_word(cell(ReportColumn::Outcome))?,
            wanted: empty_or(cell(ReportColumn::Wanted), Flag::from_word)?,
            http_status: empty_or(cell(ReportColumn::HttpStatus), |cell| cell.parse().ok())?,
            attempts: cell(ReportColumn::Attempts).parse().ok()?,
            elapsed: Duration::from_millis(cell(ReportColumn::ElapsedMs).parse().ok()?),
            finished_at: last.parse(cell(ReportColumn::FinishedAt))?,
            detail: cell(ReportColumn::Detail),
        })
    }
}

/// Reads a cell that may be empty; `None` if it is neither empty nor something that `read` understands.
#[expect(
    clippy::option_option,
    reason = "an empty cell is not the same as one that is not understood"
)]
fn empty_or<T>(cell: &str, read: impl Fn(&str) -> Option<T>) -> Option<Option<T>> {
    if cell.is_empty() {
        Some(None)
    } else {
        read(cell).map(Some)
    }
}

fn row_number(cell: &str) -> Option<RowNumber> {
    cell.parse().ok().filter(|row| *row > 0)
}

/// Takes records apart; keeps its buffers from one to the next.
pub(super) struct Parser {
    csv: csv_core::Reader,
    text: Vec<u8>,
    ends: Vec<usize>,
    last_time: LastRead,
}

impl Parser {
    pub(super) fn new() -> Self {
        let csv = csv_core::ReaderBuilder::new()
            .terminator(csv_core::Terminator::Any(b'\n'))
            .build();
        Self {
            csv,
            text: Vec::new(),
            ends: vec![0; 64],
            last_time: LastRead::default(),
        }
    }

    /// What a whole record says; `None` if it is none that this version of the tool writes.
    pub(super) fn parse<'a>(&'a mut self, frame: &'a [u8]) -> Option<Entry<'a>> {
        if memchr::memchr(b'"', frame).is_none() {
            return plain_row(body(frame), &mut self.last_time);
        }
        let count = self.split(frame)?;
        if count == CONTROL_CELLS {
            self.control()
        } else {
            self.row(count)
        }
    }

    /// Splits a record into cells and says how many there are.
    fn split(&mut self, mut input: &[u8]) -> Option<usize> {
        self.csv.reset();
        self.text.resize(input.len().max(self.text.len()), 0);
        let (mut written, mut count) = (0, 0);
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

    fn row(&mut self, count: usize) -> Option<Entry<'_>> {
        let first = count.checked_sub(REPORT_COLUMNS.len() + CELLS_BEHIND_A_ROW)?;
        let mut cells = [""; REPORT_COLUMNS.len()];
        for (offset, found) in cells.iter_mut().enumerate() {
            *found = cell(&self.text, &self.ends, first + offset)?;
        }
        let number = cell(&self.text, &self.ends, first + REPORT_COLUMNS.len())?;
        let row = Finished::at(&cells, &mut self.last_time)?;
        Some(Entry::Row(row_number(number)?, row))
    }

    fn control(&self) -> Option<Entry<'_>> {
        let json = self.cell(1)?;
        match self.cell(0)? {
            RUN => match from_json::<AnyFormat>(json)?.format {
                FORMAT => from_json(json).map(Box::new).map(Entry::Run),
                other => Some(Entry::OtherFormat(other)),
            },
            NOTE => from_json(json).map(Entry::Note),
            MARK => from_json(json).map(Entry::Mark),
            STOP => from_json(json).map(Entry::Stop),
            _ => None,
        }
    }
}

fn cell<'a>(text: &'a [u8], ends: &[usize], index: usize) -> Option<&'a str> {
    let start = if index == 0 { 0 } else { ends[index - 1] };
    str::from_utf8(&text[start..ends[index]]).ok()
}

/// Reads the record of a row without a quoted cell, as nearly all are: each comma in it ends a cell, and ours are the
/// last.
fn plain_row<'a>(body: &'a [u8], last: &mut LastRead) -> Option<Entry<'a>> {
    const OURS: usize = REPORT_COLUMNS.len() + 1;
    let mut commas = [0; OURS];
    let mut end = body.len();
    for comma in commas.iter_mut().rev() {
        end = memchr::memrchr(b',', &body[..end])?;
        *comma = end;
    }
    let start = commas[0];
    let ours = str::from_utf8(&body[start..]).ok()?;
    let mut cells = [""; REPORT_COLUMNS.len()];
    for (index, cell) in cells.iter_mut().enumerate() {
        *cell = &ours[commas[index] + 1 - start..commas[index + 1] - start];
    }
    let number = row_number(&ours[commas[OURS - 1] + 1 - start..])?;
    Some(Entry::Row(number, Finished::at(&cells, last)?))
}

/// As much of a run record as every version can read.
#[derive(Deserialize)]
struct AnyFormat {
    format: u32,
}

fn from_json<T: DeserializeOwned>(json: &str) -> Option<T> {
    serde_json::from_str(json).ok()
}

/// Where reading a journal has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A whole record whose check is right.
    Record,
    /// The end, right after a record.
    End,
    /// Something else, which begins at [`Reader::start`].
    Broken(Frame),
}

/// Reads a journal from its first record on, and holds each record against the one before.
pub(super) struct Reader<R> {
    input: R,
    check: u32,
    start: u64,
    frame: Vec<u8>,
    parser: Parser,
}

impl<R: BufRead> Reader<R> {
    /// `input` stands at the first record.
    pub(super) fn new(input: R) -> Self {
        Self {
            input,
            check: 0,
            start: 0,
            frame: Vec::new(),
            parser: Parser::new(),
        }
    }

    /// Goes to the next record.
    pub(super) fn step(&mut self) -> io::Result<Step> {
        self.start += self.frame.len() as u64;
        let frame = read_frame(&mut self.input, &mut self.frame)?;
        if frame == Frame::End {
            return Ok(Step::End);
        }
        match verify(self.check, &self.frame).filter(|_| frame == Frame::Whole) {
            Some(check) => {
                self.check = check;
                Ok(Step::Record)
            }
            None => Ok(Step::Broken(frame)),
        }
    }

    /// Where the current record begins, in bytes from the start of the file.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// The check of the last good record.
    pub(super) fn check(&self) -> u32 {
        self.check
    }

    /// The current record's bytes.
    pub(super) fn frame(&self) -> &[u8] {
        &self.frame
    }

    /// What the current record says, and its bytes.
    pub(super) fn record(&mut self) -> (Option<Entry<'_>>, &[u8]) {
        (self.parser.parse(&self.frame), &self.frame)
    }

    /// The input, to bring it back behind the current record after a look elsewhere.
    pub(super) fn input(&mut self) -> &mut R {
        &mut self.input
    }

    /// The input, for a look elsewhere; reading does not go on after that.
    pub(super) fn into_input(self) -> R {
        self.input
    }
}
