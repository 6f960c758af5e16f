//! Reads a journal that an earlier process left: which rows are on record, and where the good part ends. Tells a record
//! that was torn by a kill or a power cut from damage. Changes nothing; cutting the torn tail off is the caller's.

use std::io::{self, BufRead, Seek, SeekFrom};

use roaring::RoaringTreemap;

use crate::domain::Tally;
use crate::error::{Error, Kind, Result};
use crate::report::line::{self, Entry, Frame, Reader, Step};
use crate::report::run::Run;

/// What an interrupted run had put on record.
#[derive(Debug, Default)]
pub struct OnRecord {
    /// The rows that have their outcome and are not sent again.
    pub rows: RoaringTreemap,
    /// How many came to which outcome.
    pub tally: Tally,
    /// The run and each time it was taken up again.
    pub runs: Vec<Run>,
    /// Bytes of a torn record that were cut off at the end.
    pub torn: u64,
}

/// What was found, and how to go on writing.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) on_record: OnRecord,
    /// Where the good part ends, in bytes.
    pub(super) end: u64,
    /// The check that the next record carries on from.
    pub(super) check: u32,
}

/// Reads the whole journal. `name` is how the file is called in messages.
///
/// # Errors
/// Of [`Kind::Report`], naming the byte, where anything but the very end is not as the tool has written it.
pub(super) fn recover<R: BufRead + Seek>(input: R, name: &str) -> Result<Recovered> {
    let mut reader = Reader::new(input);
    let mut on_record = OnRecord::default();
    loop {
        match reader.step().map_err(|error| unreadable(name, &error))? {
            Step::Record => take(&mut reader, &mut on_record).map_err(|why| damaged(name, reader.start(), &why))?,
            Step::End => {
                return Ok(Recovered { on_record, end: reader.start(), check: reader.check() });
            }
            Step::Broken(frame) => {
                let (end, check) = (reader.start(), reader.check());
                on_record.torn = torn_tail(reader, frame, name)?;
                return Ok(Recovered { on_record, end, check });
            }
        }
    }
}

/// Adds a good record to what is known; `Err` says in words why it makes no sense.
fn take<R: BufRead>(reader: &mut Reader<R>, found: &mut OnRecord) -> std::result::Result<(), String> {
    match reader.entry() {
        Some(Entry::Run(run)) => found.runs.push(*run),
        Some(Entry::Newer(form)) => {
            return Err(format!("it was written by a newer version of the tool (form {form})"));
        }
        Some(Entry::Note(_) | Entry::Stop(_) | Entry::Row(_)) if found.runs.is_empty() => {
            return Err("it does not begin with the record of a run".to_owned());
        }
        Some(Entry::Note(_) | Entry::Stop(_)) => {}
        Some(Entry::Row(row)) => {
            if !found.rows.insert(row.row) {
                return Err(format!("row {} is on record twice", row.row));
            }
            found.tally.add(row.outcome);
        }
        None => return Err("the record is none of this tool's".to_owned()),
    }
    Ok(())
}

/// How many bytes were torn off in mid-write, or an error if what follows is anything else.
///
/// A torn record is the last thing in the file: no good record comes after it, it has no end, and a file system may have
/// filled up its place with NUL.
fn torn_tail<R: BufRead + Seek>(reader: Reader<R>, frame: Frame, name: &str) -> Result<u64> {
    let start = reader.start();
    let rest = reader.frame().to_vec();
    if start == 0 && !begins_like_a_journal(&rest) {
        return Err(foreign(name, &rest));
    }
    if frame != Frame::Open || line::written_check(&rest).is_some() {
        return Err(damaged(name, start, "the record does not match its check"));
    }
    let mut input = reader.into_input();
    match good_record_after(&mut input, start).map_err(|error| unreadable(name, &error))? {
        Some(later) => {
            Err(damaged(name, start, &format!("the record is broken, and a good one follows at byte {later}")))
        }
        None => Ok(rest.len() as u64),
    }
}

/// The start of a record after `from` that is good by the check that stands before it.
fn good_record_after(input: &mut (impl BufRead + Seek), from: u64) -> io::Result<Option<u64>> {
    let (mut at, mut bytes) = (from, Vec::new());
    input.seek(SeekFrom::Start(at))?;
    loop {
        bytes.clear();
        let read = input.read_until(b'\n', &mut bytes)?;
        if read == 0 {
            return Ok(None);
        }
        at += read as u64;
        if let Some(check) = line::written_check(&bytes) {
            let whole = line::read_frame(input, &mut bytes)? == Frame::Whole;
            if whole && line::verify(check, &bytes).is_some() {
                return Ok(Some(at));
            }
            input.seek(SeekFrom::Start(at))?;
        }
    }
}

/// Whether these first bytes of a file are the beginning of a journal, or as much of it as there is.
fn begins_like_a_journal(bytes: &[u8]) -> bool {
    let magic = format!("{},", line::RUN);
    let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let shared = written.min(magic.len());
    bytes[..shared] == magic.as_bytes()[..shared]
}

fn foreign(name: &str, bytes: &[u8]) -> Error {
    let why = if bytes.starts_with(b"\xef\xbb\xbf") {
        "begins with a byte order mark: an editor or a spreadsheet has saved it again"
    } else if bytes.strip_prefix(line::RUN.as_bytes()).is_some_and(|rest| !rest.starts_with(b",")) {
        "does not separate its cells with commas: a spreadsheet has saved it again"
    } else {
        "is not a journal of this tool"
    };
    Error::new(Kind::Report, format!("{name} {why}")).help(START_OVER)
}

const START_OVER: &str = "nothing was sent; bring back the file as it was, or start over with --fresh, which keeps it under another \
     name (sending a row again is harmless)";

fn damaged(name: &str, at: u64, why: &str) -> Error {
    Error::new(Kind::Report, format!("{name} is damaged at byte {at}: {why}")).help(START_OVER)
}

fn unreadable(name: &str, error: &io::Error) -> Error {
    Error::new(Kind::Report, format!("{name} can't be read: {error}"))
}

/// The last run that a journal tells of, as far as it can be read: for saying who holds it.
pub(super) fn last_run(mut input: impl BufRead) -> Option<Run> {
    let (mut frame, mut parser, mut last) = (Vec::new(), line::Parser::new(), None);
    while line::read_frame(&mut input, &mut frame).ok()? == Frame::Whole {
        if frame.starts_with(line::RUN.as_bytes())
            && let Some(Entry::Run(run)) = parser.parse(&frame)
        {
            last = Some(*run);
        }
    }
    last
}
