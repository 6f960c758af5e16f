//! Reads a journal that an earlier process left: which rows are on record, and where the good part ends. Tells a record
//! that was torn by a kill or a power cut from damage. Changes nothing; cutting the torn tail off is the caller's.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Seek, SeekFrom};
use std::path::PathBuf;

use roaring::RoaringTreemap;

use crate::domain::{RowNumber, Tally};
use crate::error::{Error, Kind, Result};
use crate::report::line::{self, Entry, Frame, Reader, Step};
use crate::report::run::{Note, Noted, Run};

/// What an interrupted run had put on record.
#[derive(Debug, Default)]
pub struct OnRecord {
    /// The rows that have their outcome and are not sent again.
    pub rows: RoaringTreemap,
    /// Rows that were deferred, by the number of the run in `runs` that did so last, counted from 1. Some of them may be
    /// on record.
    pub deferred: BTreeMap<usize, RoaringTreemap>,
    /// How many came to which outcome.
    pub tally: Tally,
    /// The run and each time it was taken up again.
    pub runs: Vec<Run>,
    /// Bytes of a torn record that were cut off at the end.
    pub torn: u64,
    /// Where an earlier journal was put that had to make room for this one.
    pub kept: Option<PathBuf>,
}

impl OnRecord {
    /// Notes that the last run has deferred a row.
    fn defer(&mut self, row: RowNumber) {
        for rows in self.deferred.values_mut() {
            rows.remove(row);
        }
        self.deferred
            .entry(self.runs.len())
            .or_default()
            .insert(row);
    }
}

/// What was found, and how to go on writing.
#[derive(Debug, Default)]
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
            Step::Record => take(&mut reader, &mut on_record)
                .map_err(|why| damaged(name, reader.start(), &why))?,
            Step::End => {
                return Ok(Recovered {
                    on_record,
                    end: reader.start(),
                    check: reader.check(),
                });
            }
            Step::Broken(frame) => {
                let (end, check) = (reader.start(), reader.check());
                on_record.torn = torn_tail(reader, frame, name)?;
                return Ok(Recovered {
                    on_record,
                    end,
                    check,
                });
            }
        }
    }
}

/// Adds a good record to what is known; `Err` says in words why it makes no sense.
fn take<R: BufRead>(
    reader: &mut Reader<R>,
    found: &mut OnRecord,
) -> std::result::Result<(), String> {
    match reader.record().0 {
        Some(Entry::Run(run)) => found.runs.push(*run),
        Some(Entry::Newer(form)) => {
            return Err(format!(
                "it was written by a newer version of the tool (form {form})"
            ));
        }
        Some(Entry::Note(_) | Entry::Stop(_) | Entry::Row(..)) if found.runs.is_empty() => {
            return Err("it does not begin with the record of a run".to_owned());
        }
        Some(Entry::Note(Noted {
            note: Note::Deferred { row },
            ..
        })) => found.defer(row),
        Some(Entry::Note(_) | Entry::Stop(_)) => {}
        Some(Entry::Row(number, row)) => {
            if !found.rows.insert(number) {
                return Err(format!("row {number} is on record twice"));
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
        Some(later) => Err(damaged(
            name,
            start,
            &format!("the record is broken, and a good one follows at byte {later}"),
        )),
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
    let written = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    let shared = written.min(magic.len());
    bytes[..shared] == magic.as_bytes()[..shared]
}

fn foreign(name: &str, bytes: &[u8]) -> Error {
    let why = if bytes.starts_with(b"\xef\xbb\xbf") {
        "begins with a byte order mark: an editor or a spreadsheet has saved it again"
    } else if bytes
        .strip_prefix(line::RUN.as_bytes())
        .is_some_and(|rest| !rest.starts_with(b","))
    {
        "does not separate its cells with commas: a spreadsheet has saved it again"
    } else {
        "is not a journal of this tool"
    };
    Error::new(Kind::Report, format!("{name} {why}")).help(START_OVER)
}

const START_OVER: &str = "nothing was sent; bring back the file as it was, or start over with --fresh, which keeps it under another \
     name (sending a row again is harmless)";

fn damaged(name: &str, at: u64, why: &str) -> Error {
    Error::new(
        Kind::Report,
        format!("{name} is damaged at byte {at}: {why}"),
    )
    .help(START_OVER)
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Cursor;
    use std::time::Duration;

    use super::*;
    use crate::report::tests::{Desk, applied, at, cells};

    /// A journal's bytes, and where each record ends.
    fn journal(rows: u64) -> (Vec<u8>, Vec<usize>) {
        let desk = Desk::new(rows);
        let (mut journal, _) = desk.resume();
        let mut ends = vec![0, length(&desk)];
        for row in 1..=rows {
            journal.append(&applied(row), &cells(row), at(row.cast_signed()));
            journal.commit(Duration::ZERO).unwrap();
            ends.push(length(&desk));
        }
        (fs::read(desk.paths().partial).unwrap(), ends)
    }

    fn length(desk: &Desk) -> usize {
        usize::try_from(fs::metadata(desk.paths().partial).unwrap().len()).unwrap()
    }

    fn recovered(bytes: &[u8]) -> Result<Recovered> {
        recover(Cursor::new(bytes), "users.report.csv.partial")
    }

    /// What is on record when the good part ends at `ends[records]`.
    fn assert_holds(bytes: &[u8], ends: &[usize], records: usize) {
        let found = recovered(bytes).unwrap();
        let rows = records.saturating_sub(1) as u64;
        assert_eq!(found.on_record.rows.len(), rows);
        assert_eq!(found.on_record.rows.max(), (rows > 0).then_some(rows));
        assert_eq!(found.end, ends[records] as u64);
        assert_eq!(found.on_record.torn, (bytes.len() - ends[records]) as u64);
    }

    #[test]
    fn a_journal_cut_at_any_byte_loses_the_torn_record_and_no_other() {
        let (bytes, ends) = journal(500);
        for cut in 0..bytes.len() {
            let records = ends.partition_point(|end| *end <= cut) - 1;
            assert_holds(&bytes[..cut], &ends, records);
        }
    }

    #[test]
    fn nul_bytes_at_the_end_are_a_torn_end() {
        let (bytes, ends) = journal(20);
        for cut in (0..bytes.len()).step_by(7) {
            let mut padded = bytes[..cut].to_vec();
            padded.resize(cut + 4096, 0);
            assert_holds(&padded, &ends, ends.partition_point(|end| *end <= cut) - 1);
        }
    }

    #[test]
    fn a_bit_flipped_before_the_last_record_is_refused_at_the_byte_where_its_record_begins() {
        let (bytes, ends) = journal(60);
        let last = ends[ends.len() - 2];
        for place in 0..last {
            let mut flipped = bytes.clone();
            flipped[place] ^= 1 << (place % 8);
            let text = recovered(&flipped).unwrap_err().to_string();
            let start = ends[ends.partition_point(|end| *end <= place) - 1];
            let named = text.contains(&format!("damaged at byte {start}:"));
            assert!(
                named || start == 0,
                "bit {} of byte {place}: {text}",
                place % 8
            );
        }
    }

    #[test]
    fn a_quote_that_opens_in_the_middle_swallows_nothing() {
        let (bytes, ends) = journal(60);
        for start in &ends[1..ends.len() - 1] {
            let mut opened = bytes.clone();
            opened[*start] = b'"';
            let text = recovered(&opened).unwrap_err().to_string();
            assert!(
                text.contains(&format!("damaged at byte {start}:")),
                "{text}"
            );
        }
    }

    #[test]
    fn a_bit_flipped_in_the_last_record_never_passes() {
        let (bytes, ends) = journal(20);
        for place in ends[ends.len() - 2]..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[place] ^= 1 << bit;
                if let Ok(found) = recovered(&flipped) {
                    assert_eq!(found.on_record.rows.len(), 19, "bit {bit} of byte {place}");
                }
            }
        }
    }

    #[test]
    fn records_that_are_moved_doubled_or_left_out_are_refused() {
        let (bytes, ends) = journal(5);
        let record = |index: usize| &bytes[ends[index]..ends[index + 1]];
        let orders: [&[usize]; 3] = [&[0, 1, 3, 2, 4], &[0, 1, 1, 2, 3], &[0, 1, 3, 4]];
        for order in orders {
            let mixed = order
                .iter()
                .flat_map(|index| record(*index))
                .copied()
                .collect::<Vec<_>>();
            assert!(
                recovered(&mixed)
                    .unwrap_err()
                    .to_string()
                    .contains("damaged at byte"),
                "{order:?}"
            );
        }
    }

    #[test]
    fn a_file_that_is_something_else_is_refused_with_the_reason() {
        let (bytes, _) = journal(2);
        let with_mark = [b"\xef\xbb\xbf", bytes.as_slice()].concat();
        let semicolons = String::from_utf8(bytes.clone())
            .unwrap()
            .replace(',', ";")
            .into_bytes();
        let crlf = String::from_utf8(bytes)
            .unwrap()
            .replace('\n', "\r\n")
            .into_bytes();
        let cases: [(&[u8], &str); 4] = [
            (&with_mark, "byte order mark"),
            (&semicolons, "does not separate its cells with commas"),
            (&crlf, "damaged at byte 0"),
            (b"user_id,name\n1,a\n", "is not a journal"),
        ];
        for (bytes, reason) in cases {
            assert!(
                recovered(bytes).unwrap_err().to_string().contains(reason),
                "{reason}"
            );
        }
    }

    #[test]
    fn deferred_rows_are_known_by_the_run_that_deferred_them_last() {
        let desk = Desk::new(9);
        for rows in [&[1, 2][..], &[], &[2, 3]] {
            let (mut journal, _) = desk.resume();
            for row in rows {
                journal.note(Note::Deferred { row: *row }, at(1));
            }
            journal.sync().unwrap();
        }
        let (_, on_record) = desk.resume();
        let deferred: Vec<(usize, Vec<u64>)> = on_record
            .deferred
            .into_iter()
            .map(|(run, rows)| (run, rows.into_iter().collect()))
            .collect();
        assert_eq!(deferred, [(1, vec![1]), (3, vec![2, 3])]);
    }

    #[test]
    fn a_journal_of_a_newer_form_is_left_alone() {
        let mut bytes = Vec::new();
        line::write_control(
            &mut bytes,
            0,
            line::RUN,
            r#"{"format":2,"anything":"else"}"#,
        );
        assert!(
            recovered(&bytes)
                .unwrap_err()
                .to_string()
                .contains("newer version of the tool (form 2)")
        );
    }
}
