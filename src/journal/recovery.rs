//! Reads a journal that an earlier process left: which rows are recorded, which are in doubt, and
//! where the valid part ends. Tells a record that was torn by a kill or a power cut from damage.
//! Changes nothing; the caller cuts off the torn end.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Seek, SeekFrom};
use std::path::PathBuf;

use jiff::Timestamp;
use roaring::RoaringTreemap;

use crate::domain::{RowNumber, Tally};
use crate::error::{Error, Kind, Result};
use crate::journal::line::{self, Frame, JournalEntry, JournalReader, ReadStep};
use crate::journal::run::{FORMAT, Mark, Note, Noted, Run, Stop};

/// What an interrupted run has recorded.
#[derive(Debug, Default)]
pub struct OnRecord {
    /// The rows that have an outcome and are not sent again.
    pub rows: RoaringTreemap,
    /// The rows that were deferred, by the number of the run in `runs` that was the last to do so,
    /// counted from 1. Some of them may have an outcome.
    pub deferred: BTreeMap<usize, RoaringTreemap>,
    /// The number of rows by outcome.
    pub tally: Tally,
    /// The records of the process that began the run and of each one that continued it.
    pub runs: Vec<Run>,
    /// The length in bytes of a torn record at the end, which is cut off.
    pub torn: u64,
    /// The new path of an earlier journal that was renamed to make room for this one.
    pub kept: Option<PathBuf>,
    /// The rows without an outcome whose change may have been made.
    pub in_doubt: RoaringTreemap,
    /// The latest time at which a request for a row in doubt may have been sent, as far as it is on
    /// record; `None` if no row is in doubt.
    pub doubt_at: Option<Timestamp>,
}

impl OnRecord {
    /// Returns the rows that were deferred and have no outcome.
    pub(crate) fn all_deferred(&self) -> RoaringTreemap {
        let mut rows = RoaringTreemap::new();
        for group in self.deferred.values() {
            rows |= group;
        }
        rows - &self.rows
    }

    /// Takes note that the last run has deferred a row.
    fn defer(&mut self, row: RowNumber) {
        for rows in self.deferred.values_mut() {
            rows.remove(row);
        }
        let last_run = self.runs.len();
        self.deferred.entry(last_run).or_default().insert(row);
    }
}

/// The content of a journal, and where to continue writing.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    pub(crate) on_record: OnRecord,
    /// Length of the valid part in bytes.
    pub(crate) end: u64,
    /// Checksum of the last record.
    pub(crate) checksum: u32,
}

/// What a process may have sent that has not ended in good order yet.
#[derive(Default)]
struct OpenProcess {
    /// The rows that were deferred when it began.
    deferred: RoaringTreemap,
    /// The last of the other rows that its marks allow.
    mark: RowNumber,
    /// Whether its marks allow deferred rows.
    may_send_deferred: bool,
    /// Timestamp of its latest record.
    latest: Option<Timestamp>,
}

/// The rows that may have been changed without having an outcome, found record by record.
#[derive(Default)]
struct DoubtTracker {
    rows: RoaringTreemap,
    /// The latest time at which one of them may have been sent.
    latest: Option<Timestamp>,
    process: OpenProcess,
}

impl DoubtTracker {
    /// Takes note of a record's timestamp.
    fn add_timestamp(&mut self, at: Timestamp) {
        self.process.latest = self.process.latest.max(Some(at));
    }

    fn add_mark(&mut self, mark: Mark) {
        self.add_timestamp(mark.at);
        self.process.mark = self.process.mark.max(mark.row);
        self.process.may_send_deferred |= mark.deferred;
    }

    /// Takes note of an orderly end: of what this process has sent, exactly the listed rows are in
    /// doubt.
    fn add_stop(&mut self, stop: &Stop) {
        self.process = OpenProcess::default();
        self.rows.extend(stop.in_doubt.iter().copied());
        if !stop.in_doubt.is_empty() {
            self.latest = self.latest.max(Some(stop.at));
        }
    }

    /// Takes note that the process has ended without a stop record: every row that it was allowed
    /// to send is in doubt unless it has an outcome. Does nothing after a stop record.
    fn end_process(&mut self, on_record: &RoaringTreemap, rows: u64) {
        let process = std::mem::take(&mut self.process);
        let mut sent = RoaringTreemap::new();
        sent.insert_range(1..=process.mark.min(rows));
        if process.may_send_deferred {
            sent |= process.deferred;
        } else {
            sent -= process.deferred;
        }
        sent -= on_record;
        if !sent.is_empty() {
            self.rows |= sent;
            self.latest = self.latest.max(process.latest);
        }
    }
}

/// Reads a whole journal. `name` is the file's name in messages.
///
/// # Errors
/// [`Kind::Report`], naming the byte, if anything but the very end differs from what the tool has
/// written.
pub(crate) fn recover<R: BufRead + Seek>(input: R, name: &str) -> Result<Recovered> {
    let mut reader = JournalReader::new(input);
    let mut on_record = OnRecord::default();
    let mut doubt = DoubtTracker::default();
    loop {
        match reader.step().map_err(|error| unreadable(name, &error))? {
            ReadStep::Record => match add_record(&mut reader, &mut on_record, &mut doubt) {
                Ok(()) => {}
                Err(Unusable::OtherFormat(format)) => {
                    return Err(of_another_version(name, format));
                }
                Err(Unusable::Damaged(why)) => return Err(damaged(name, reader.start(), &why)),
            },
            ReadStep::End => {
                set_doubt(&mut on_record, doubt);
                return Ok(Recovered {
                    on_record,
                    end: reader.start(),
                    checksum: reader.checksum(),
                });
            }
            ReadStep::Broken(frame) => {
                let end = reader.start();
                let checksum = reader.checksum();
                on_record.torn = torn_length(reader, frame, name)?;
                set_doubt(&mut on_record, doubt);
                return Ok(Recovered {
                    on_record,
                    end,
                    checksum,
                });
            }
        }
    }
}

/// Sets the rows that are in doubt at the end of the journal.
fn set_doubt(on_record: &mut OnRecord, mut doubt: DoubtTracker) {
    let rows = on_record.runs.last().map_or(0, |run| run.rows);
    doubt.end_process(&on_record.rows, rows);
    on_record.in_doubt = doubt.rows - &on_record.rows;
    if !on_record.in_doubt.is_empty() {
        on_record.doubt_at = doubt.latest;
    }
}

/// The reason why a journal can't be continued.
enum Unusable {
    /// Another version of the tool wrote it, in this format.
    OtherFormat(u32),
    /// A record is not valid, for this reason.
    Damaged(String),
}

/// Adds a record with the right checksum to what is known.
fn add_record<R: BufRead>(
    reader: &mut JournalReader<R>,
    found: &mut OnRecord,
    doubt: &mut DoubtTracker,
) -> std::result::Result<(), Unusable> {
    let damaged = |why: &str| Err(Unusable::Damaged(why.to_owned()));
    match reader.record().0 {
        Some(JournalEntry::Run(run)) => {
            doubt.end_process(&found.rows, run.rows);
            doubt.process.deferred = found.all_deferred();
            doubt.add_timestamp(run.at);
            found.runs.push(*run);
        }
        Some(JournalEntry::OtherFormat(format)) => return Err(Unusable::OtherFormat(format)),
        Some(
            JournalEntry::Note(_)
            | JournalEntry::Mark(_)
            | JournalEntry::Stop(_)
            | JournalEntry::Row(..),
        ) if found.runs.is_empty() => {
            return damaged("it does not begin with the record of a run");
        }
        Some(JournalEntry::Note(Noted { at, note })) => {
            doubt.add_timestamp(at);
            if let Note::Deferred { row } = note {
                found.defer(row);
            }
        }
        Some(JournalEntry::Mark(mark)) => doubt.add_mark(mark),
        Some(JournalEntry::Stop(stop)) => doubt.add_stop(&stop),
        Some(JournalEntry::Row(number, row)) => {
            if !found.rows.insert(number) {
                return damaged(&format!("row {number} is on record twice"));
            }
            found.tally.add(row.outcome);
            doubt.add_timestamp(row.finished_at);
        }
        None => return damaged("this tool does not write such a record"),
    }
    Ok(())
}

/// Returns the length in bytes of a torn record at the end of the journal.
///
/// A torn record is the last thing in the file: no valid record follows it, it has no line end, and
/// a file system may have filled up its place with NUL bytes.
///
/// # Errors
/// [`Kind::Report`] if the end of the file is anything else.
fn torn_length<R: BufRead + Seek>(
    reader: JournalReader<R>,
    frame: Frame,
    name: &str,
) -> Result<u64> {
    let start = reader.start();
    let rest = reader.frame().to_vec();
    if start == 0 && !begins_like_a_journal(&rest) {
        return Err(foreign(name, &rest));
    }
    if has_converted_line_ends(reader.checksum(), &rest) {
        return Err(damaged(name, start, CONVERTED_LINE_ENDS));
    }
    if frame != Frame::Unterminated || line::written_checksum(&rest).is_some() {
        let why = "the record does not match its checksum";
        return Err(damaged(name, start, why));
    }
    let mut input = reader.into_input();
    let later = find_valid_record(&mut input, start).map_err(|error| unreadable(name, &error))?;
    match later {
        Some(later) => {
            let why = format!("the record is broken, and a valid one follows at byte {later}");
            Err(damaged(name, start, &why))
        }
        None => Ok(rest.len() as u64),
    }
}

const CONVERTED_LINE_ENDS: &str = "its line ends are not those that were written: an editor, a \
     spreadsheet or a file transfer has converted them";

/// Checks whether the broken bytes are records whose line ends were converted. The tool never
/// writes a carriage return outside of quotes, and nothing but a line feed after a checksum.
fn has_converted_line_ends(previous: u32, bytes: &[u8]) -> bool {
    has_unquoted_carriage_return(bytes) || line::holds_more_than_one_record(previous, bytes)
}

fn has_unquoted_carriage_return(bytes: &[u8]) -> bool {
    let mut is_quoted = false;
    for place in memchr::memchr2_iter(b'"', b'\r', bytes) {
        if bytes[place] == b'"' {
            is_quoted = !is_quoted;
        } else if !is_quoted {
            return true;
        }
    }
    false
}

/// Returns the start of the first record after `from` that is valid given the checksum before it.
fn find_valid_record(input: &mut (impl BufRead + Seek), from: u64) -> io::Result<Option<u64>> {
    let mut at = from;
    let mut bytes = Vec::new();
    input.seek(SeekFrom::Start(at))?;
    loop {
        bytes.clear();
        let read = input.read_until(b'\n', &mut bytes)?;
        if read == 0 {
            return Ok(None);
        }
        at += read as u64;
        if let Some(checksum) = line::written_checksum(&bytes) {
            let frame = line::read_frame(input, &mut bytes)?;
            if frame == Frame::Complete && line::verify(checksum, &bytes).is_some() {
                return Ok(Some(at));
            }
            input.seek(SeekFrom::Start(at))?;
        }
    }
}

/// Checks whether these first bytes of a file are the beginning of a journal, as far as they go.
fn begins_like_a_journal(bytes: &[u8]) -> bool {
    let magic = format!("{},", line::RUN);
    let last = bytes.iter().rposition(|byte| *byte != 0);
    let written = last.map_or(0, |last| last + 1);
    let shared = written.min(magic.len());
    bytes[..shared] == magic.as_bytes()[..shared]
}

fn foreign(name: &str, bytes: &[u8]) -> Error {
    let after_magic = bytes.strip_prefix(line::RUN.as_bytes());
    let why = if bytes.starts_with(b"\xef\xbb\xbf") {
        "begins with a byte order mark: an editor or a spreadsheet has saved it again"
    } else if after_magic.is_some_and(|rest| !rest.starts_with(b",")) {
        "does not separate its cells with commas: a spreadsheet has saved it again"
    } else {
        "is not a journal of this tool"
    };
    Error::new(Kind::Report, format!("{name} {why}")).help(START_OVER)
}

const START_OVER: &str = "nothing was sent; restore the file as it was, or start over with \
    --fresh, which renames it (sending a row again is harmless)";

/// Returns an error for a journal whose format is not [`FORMAT`].
fn of_another_version(name: &str, format: u32) -> Error {
    let age = if format < FORMAT {
        "an earlier"
    } else {
        "a newer"
    };
    Error::new(
        Kind::Report,
        format!("{name} was written by {age} version of mfa-optout (format {format})"),
    )
    .help(
        "nothing was sent; finish it with that version, or start over with --fresh, which renames \
         it (sending a row again is harmless)",
    )
}

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

/// Returns the last run in a journal, as far as it can be read, so that a message can name the
/// process that holds it.
pub(crate) fn last_run(mut input: impl BufRead) -> Option<Run> {
    let mut frame = Vec::new();
    let mut parser = line::Parser::new();
    let mut last = None;
    while line::read_frame(&mut input, &mut frame).ok()? == Frame::Complete {
        if frame.starts_with(line::RUN.as_bytes())
            && let Some(JournalEntry::Run(run)) = parser.parse(&frame)
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
    use crate::journal::run::Traffic;
    use crate::report::tests::{Desk, applied, at, cells};

    /// Returns a journal's bytes and where each record ends: the run, the first mark if there are
    /// rows, and the rows.
    fn journal(rows: u64) -> (Vec<u8>, Vec<usize>) {
        let desk = Desk::new(rows);
        let (mut journal, _) = desk.resume();
        let begun = fs::read(desk.paths().partial).unwrap();
        let line_feeds = begun.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let mut ends = vec![0];
        ends.extend(line_feeds.map(|(place, _)| place + 1));
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

    /// Asserts what is recorded when the valid part ends at `ends[records]`.
    fn assert_holds(bytes: &[u8], ends: &[usize], records: usize) {
        let found = recovered(bytes).unwrap();
        let rows = records.saturating_sub(2) as u64;
        assert_eq!(found.on_record.rows.len(), rows);
        assert_eq!(found.on_record.rows.max(), (rows > 0).then_some(rows));
        assert_eq!(found.end, ends[records] as u64);
        assert_eq!(found.on_record.torn, (bytes.len() - ends[records]) as u64);
    }

    #[test]
    fn a_journal_cut_at_any_byte_loses_the_torn_record_and_no_other() {
        let (bytes, ends) = journal(12);
        for cut in 0..bytes.len() {
            let records = ends.partition_point(|end| *end <= cut) - 1;
            assert_holds(&bytes[..cut], &ends, records);
        }
    }

    #[test]
    fn nul_bytes_at_the_end_are_a_torn_end() {
        let (bytes, ends) = journal(8);
        for cut in 0..bytes.len() {
            let mut padded = bytes[..cut].to_vec();
            padded.resize(cut + 300, 0);
            assert_holds(&padded, &ends, ends.partition_point(|end| *end <= cut) - 1);
        }
    }

    #[test]
    fn a_bit_flipped_before_the_last_record_is_refused_at_the_byte_where_its_record_begins() {
        let (bytes, ends) = journal(12);
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
    fn a_quote_that_opens_in_the_middle_is_damage_where_it_opens() {
        let (bytes, ends) = journal(12);
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
    fn a_bit_flipped_in_the_last_record_is_damage_or_a_torn_record() {
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
    fn records_that_are_moved_repeated_or_missing_are_refused() {
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
            (&crlf, "damaged at byte 0: its line ends"),
            (b"user_id,name\n1,a\n", "is not a journal"),
        ];
        for (bytes, reason) in cases {
            assert!(
                recovered(bytes).unwrap_err().to_string().contains(reason),
                "{reason}"
            );
        }
    }

    /// Line ends that programs write instead of LF.
    const CONVERSIONS: [&str; 5] = ["\r", "\r\n", "", " ", "\u{2028}"];

    #[test]
    fn a_journal_whose_line_ends_were_converted_is_refused_and_not_taken_for_a_torn_record() {
        for rows in [0, 1, 20] {
            let text = String::from_utf8(journal(rows).0).unwrap();
            for line_end in CONVERSIONS {
                let converted = text.replace('\n', line_end);
                let only_the_last_line_feed_is_gone = rows == 0 && line_end.is_empty();
                match recovered(converted.as_bytes()) {
                    Err(error) => {
                        let text = error.to_string();
                        assert!(text.contains("its line ends are not those"), "{text}");
                    }
                    Ok(found) => {
                        assert!(only_the_last_line_feed_is_gone, "{line_end:?}, {rows} rows");
                        assert_eq!(found.on_record.rows.len(), 0);
                    }
                }
            }
        }
    }

    #[test]
    fn a_journal_of_which_the_last_records_were_converted_is_refused() {
        let (bytes, ends) = journal(5);
        for start in &ends[1..ends.len() - 1] {
            let end = String::from_utf8(bytes[*start..].to_vec()).unwrap();
            for line_end in ["\r", "\r\n"] {
                let converted = end.replace('\n', line_end);
                let mixed = [&bytes[..*start], converted.as_bytes()].concat();
                let text = recovered(&mixed).unwrap_err().to_string();
                let reason = format!("damaged at byte {start}: its line ends");
                assert!(text.contains(&reason), "{line_end:?}: {text}");
            }
        }
    }

    #[test]
    fn a_torn_record_with_a_carriage_return_in_a_quoted_cell_is_still_a_torn_record() {
        let desk = Desk::new(2);
        let (mut journal, _) = desk.resume();
        let before = length(&desk);
        journal.append(&applied(1), b"1,\"first\r\nsecond\r\"", at(0));
        journal.commit(Duration::ZERO).unwrap();
        let bytes = fs::read(desk.paths().partial).unwrap();
        for cut in before..bytes.len() {
            let found = recovered(&bytes[..cut]).unwrap();
            assert_eq!((found.end, found.on_record.rows.len()), (before as u64, 0));
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
    fn a_journal_of_another_format_is_refused_in_words() {
        for (format, age) in [(1, "an earlier"), (3, "a newer")] {
            let mut bytes = Vec::new();
            let json = format!(r#"{{"format":{format},"anything":"else"}}"#);
            line::write_control(&mut bytes, 0, line::RUN, &json);
            let text = recovered(&bytes).unwrap_err().to_string();
            let wanted = format!("was written by {age} version of mfa-optout (format {format})");
            assert!(text.contains(&wanted), "{text}");
            assert!(
                text.contains("finish it with that version, or start over"),
                "{text}"
            );
        }
    }

    #[test]
    fn deferred_rows_that_a_killed_run_did_not_come_to_are_not_in_doubt() {
        let desk = Desk::new(10);
        let (mut journal, _) = desk.resume();
        for row in [1, 2, 3] {
            journal.note(Note::Deferred { row }, at(1));
        }
        journal.stop(&stop_with(&[])).unwrap();
        drop(journal);

        let (mut journal, _) = desk.resume();
        for row in [4, 5] {
            assert!(journal.may_send(row, Duration::ZERO, at(2)).unwrap());
        }
        drop(journal);
        let (mut journal, on_record) = desk.resume();
        assert_eq!(in_doubt(&on_record), [4, 5, 6, 7, 8, 9, 10]);

        for row in 4..=10 {
            journal.append(&applied(row), &cells(row), at(3));
        }
        assert!(!journal.may_send(1, Duration::ZERO, at(3)).unwrap());
        journal.sync().unwrap();
        drop(journal);
        let (_journal, on_record) = desk.resume();
        assert_eq!(in_doubt(&on_record), [1, 2, 3]);
    }

    #[test]
    fn rows_in_doubt_stay_in_doubt_although_they_are_deferred() {
        let desk = Desk::new(3);
        let (mut journal, _) = desk.resume();
        journal.note(Note::Deferred { row: 2 }, at(1));
        journal.stop(&stop_with(&[2])).unwrap();
        drop(journal);
        drop(desk.resume());
        let (_journal, on_record) = desk.resume();
        assert_eq!(in_doubt(&on_record), [1, 2, 3]);
    }

    fn stop_with(in_doubt: &[u64]) -> Stop {
        Stop {
            at: at(500),
            traffic: Traffic::default(),
            ending: "interrupted".to_owned(),
            exit_code: 143,
            in_doubt: in_doubt.to_vec(),
            closed: false,
        }
    }

    fn in_doubt(on_record: &OnRecord) -> Vec<u64> {
        on_record.in_doubt.iter().collect()
    }

    #[test]
    fn after_a_kill_the_rows_up_to_the_mark_that_have_no_outcome_are_in_doubt() {
        let desk = Desk::new(100);
        let (mut journal, on_record) = desk.resume();
        assert_eq!((in_doubt(&on_record), on_record.doubt_at), (vec![], None));
        for row in [1, 2, 4] {
            journal.append(&applied(row), &cells(row), at(row.cast_signed()));
        }
        journal.commit(Duration::ZERO).unwrap();
        drop(journal);
        let (_journal, on_record) = desk.resume();
        let wanted: Vec<u64> = [3].into_iter().chain(5..=64).collect();
        assert_eq!(
            (in_doubt(&on_record), on_record.doubt_at),
            (wanted, Some(at(4)))
        );
    }

    #[test]
    fn a_mark_beyond_the_last_row_leaves_no_row_in_doubt_that_does_not_exist() {
        let desk = Desk::new(5);
        drop(desk.resume());
        let (_journal, on_record) = desk.resume();
        assert_eq!(in_doubt(&on_record), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn after_an_orderly_end_exactly_the_rows_that_it_lists_are_in_doubt() {
        let desk = Desk::new(100);
        let (mut journal, _) = desk.resume();
        journal.append(&applied(1), &cells(1), at(1));
        journal.stop(&stop_with(&[2, 7])).unwrap();
        drop(journal);
        let (mut journal, on_record) = desk.resume();
        assert_eq!(in_doubt(&on_record), [2, 7]);
        assert_eq!(on_record.doubt_at, Some(at(500)));

        // An orderly end that lists none of them leaves them in doubt: they were not sent again.
        journal.stop(&stop_with(&[])).unwrap();
        drop(journal);
        let (mut journal, on_record) = desk.resume();
        assert_eq!(in_doubt(&on_record), [2, 7]);

        // An outcome ends the doubt.
        journal.append(&applied(7), &cells(7), at(7));
        journal.stop(&stop_with(&[])).unwrap();
        drop(journal);
        assert_eq!(in_doubt(&desk.resume().1), [2]);
    }

    #[test]
    fn a_row_in_doubt_stays_in_doubt_over_two_kills() {
        let desk = Desk::new(300);
        let (mut journal, _) = desk.resume();
        for row in 1..=40 {
            assert!(journal.may_send(row, Duration::ZERO, at(1)).unwrap());
            if row != 10 {
                journal.append(&applied(row), &cells(row), at(1));
            }
        }
        // The lock goes with the last handle, and a sync that is under way has one.
        journal.sync().unwrap();
        drop(journal);
        let wanted: Vec<u64> = [10].into_iter().chain(41..=96).collect();
        // The second process sends nothing: its own mark does not reach as far.
        for _ in 0..2 {
            let (_journal, on_record) = desk.resume();
            assert_eq!(in_doubt(&on_record), wanted);
        }
    }

    #[test]
    fn nothing_is_in_doubt_after_a_run_that_had_only_its_report_to_make() {
        let desk = Desk::new(2);
        let (mut journal, _) = desk.resume();
        for row in 1..=2 {
            journal.append(&applied(row), &cells(row), at(0));
        }
        journal.commit(Duration::ZERO).unwrap();
        drop(journal);
        drop(desk.resume());
        let (_journal, on_record) = desk.resume();
        assert_eq!((in_doubt(&on_record), on_record.doubt_at), (vec![], None));
    }
}
