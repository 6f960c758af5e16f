//! Makes the report of a finished run: its journal, which has the rows in the order in which they
//! finished, becomes the report, which has them in input order. The report is put in place as a
//! whole or not at all, and the journal stays untouched until then.
//!
//! Rows that finished early wait in a window. If that is enough, the report is written while the
//! journal is read for the first time. If a row comes only after the window is full of later rows,
//! the first pass goes on only to find such late rows and their places, and a second pass fetches
//! each of them when it is its turn. Memory is bounded by the window and a few bytes for each late
//! row, however long the file is.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::sync::atomic::{AtomicBool, Ordering};

use roaring::RoaringTreemap;
use serde::Deserialize;
use tempfile::NamedTempFile;

use crate::domain::RowNumber;
use crate::error::{Error, Kind, Result};
use crate::journal::files::{self, Paths, Places, is_workbook};
use crate::journal::identity::Identity;
use crate::journal::line::{self, JournalEntry, JournalReader, ReadStep};
use crate::journal::writer::Journal;
use crate::output::{Occupancy, Output, disk, fill, guarded, is_at};
use crate::report::summary::{Summary, SummaryBuilder};
use crate::report::window::{Keep, LIMITS, Limits, NextRow, ReorderWindow, WaitingRow};
use crate::report::workbook;
use crate::report::writer::{ReportWriter, cant_be_written};
use crate::text::visible_path;

/// The journal as the source of a report. Every read fails once `stop` is set.
#[derive(Clone, Copy)]
struct JournalSource<'a> {
    file: &'a File,
    /// The file with the journal's name. It differs from `file` if that is a copy with more
    /// records.
    journal: &'a File,
    stop: &'a AtomicBool,
    limits: Limits,
}

/// The size limit in bytes of a run record that is compared with this run's.
const MAX_RECORD_BYTES: u64 = 64 << 20;

const INTERRUPTED: &str = "interrupted by a signal";

impl JournalSource<'_> {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

impl Read for JournalSource<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.is_stopped() {
            return Err(io::Error::other(INTERRUPTED));
        }
        self.file.read(bytes)
    }
}

impl Seek for JournalSource<'_> {
    fn seek(&mut self, place: SeekFrom) -> io::Result<u64> {
        self.file.seek(place)
    }
}

/// The result of making a report that is in place.
#[derive(Debug)]
pub struct Completion {
    /// The run as a whole.
    pub summary: Summary,
    /// The rows of a report that is a workbook, as CSV.
    pub rows: Option<NamedTempFile>,
    /// What could not be done after the report was in place, in words.
    pub warning: Option<String>,
}

/// Makes the report and its JSON record from a journal in which all `rows` rows of the input are on
/// record, puts them in place, does what has to be done `before_removal` of the journal, and
/// removes the journal. Fails soon after `stop` is set.
///
/// # Errors
/// [`Kind::Interrupted`] if `stop` is set, otherwise [`Kind::MidRun`], and those of
/// `before_removal`. The journal is untouched then, and the same command only has to make the
/// report.
pub fn finish(
    mut journal: Journal<File>,
    paths: &Paths,
    rows: u64,
    stop: &AtomicBool,
    before_removal: impl FnOnce() -> Result<()>,
) -> Result<Completion> {
    journal.sync()?;
    let (file, places) = journal.into_parts();
    let source = JournalSource {
        file: &file,
        journal: &file,
        stop,
        limits: LIMITS,
    };
    finish_from(source, paths, rows, places, before_removal)
}

/// Makes the report from a copy of the journal to which the outcomes of all other rows were added,
/// and removes the journal itself.
///
/// # Errors
/// The same as [`finish`].
pub(crate) fn finish_copy(
    copy: Journal<File>,
    journal: &File,
    paths: &Paths,
    rows: u64,
) -> Result<Completion> {
    let (file, places) = copy.into_parts();
    let source = JournalSource {
        file: &file,
        journal,
        stop: &AtomicBool::new(false),
        limits: LIMITS,
    };
    finish_from(source, paths, rows, places, || Ok(()))
}

fn finish_from(
    source: JournalSource<'_>,
    paths: &Paths,
    rows: u64,
    places: Option<Places>,
    before_removal: impl FnOnce() -> Result<()>,
) -> Result<Completion> {
    let places = places.ok_or_else(|| failed("the journal was not opened for a report"))?;
    let made = match make_report(source, paths, rows, &places) {
        Ok(made) => made,
        Err(_) if source.is_stopped() => return Err(interrupted()),
        Err(error) => {
            let message = format!("the report could not be finished: {}", error.message());
            let help = match error.advice() {
                Some(advice) => advice.to_owned(),
                None => where_the_record_is(source.journal, paths),
            };
            return Err(failed(message).help(help));
        }
    };
    before_removal()?;
    let warning = remove_journal(source.journal, paths);
    Ok(Completion {
        summary: made.summary,
        rows: made.rows,
        warning,
    })
}

/// A report that is in place.
struct MadeReport {
    summary: Summary,
    /// The rows of a workbook, as CSV.
    rows: Option<NamedTempFile>,
}

fn make_report(
    source: JournalSource<'_>,
    paths: &Paths,
    rows: u64,
    places: &Places,
) -> Result<MadeReport> {
    let FirstPass {
        mut summary,
        late_rows,
        report,
    } = first_pass(source, places, rows)?;
    let report = match report {
        Some(report) => report,
        None => second_pass(source, places, &summary, late_rows)?,
    };
    let (mut sorted, mut hash) = report.finish()?;
    let mut rows = None;
    if is_workbook(&paths.report) {
        let (workbook, hash_of_workbook) = make_workbook(source, &sorted, places, &summary)
            .map_err(|error| cant_be_written(&error))?;
        rows = Some(std::mem::replace(&mut sorted, workbook));
        hash = hash_of_workbook;
    }
    summary.report_blake3 = Some(hash.to_string());
    check_journal_is_ours(source.journal, paths)?;
    put_in_place(source, sorted, hash, places, &summary)?;
    Ok(MadeReport { summary, rows })
}

/// Makes a workbook of the rows of a report. It is the same, byte for byte, each time it is made of
/// the same journal.
fn make_workbook(
    source: JournalSource<'_>,
    rows: &NamedTempFile,
    places: &Places,
    summary: &Summary,
) -> io::Result<(NamedTempFile, blake3::Hash)> {
    let file = places.report.create()?;
    workbook::write(rows.as_file(), summary.started, file, || {
        if source.is_stopped() {
            Err(io::Error::other(INTERRUPTED))
        } else {
            Ok(())
        }
    })
}

/// Returns advice that names the file with the record of a run whose report could not be finished.
fn where_the_record_is(journal: &File, paths: &Paths) -> String {
    let partial = visible_path(&paths.partial);
    match files::ensure_saved(&paths.partial, journal) {
        Ok(Some(saved)) if saved != paths.partial => format!(
            "everything is recorded in {}, because {partial} is another file now; rename it to \
             {partial}, and the same command sends nothing and only makes the report",
            visible_path(&saved)
        ),
        Ok(_) => format!(
            "everything is recorded in {partial}; running the same command again sends nothing and \
             only makes the report"
        ),
        Err(error) => error.to_string(),
    }
}

/// Sums up the journal of a run that stopped early. The journal stays as it is, locked by
/// `journal`.
///
/// # Errors
/// [`Kind::Interrupted`] if `stop` is set, and [`Kind::MidRun`] if the journal can't be read again.
pub fn summarize(journal: &mut Journal<File>, stop: &AtomicBool) -> Result<Summary> {
    journal.sync()?;
    let mut builder = SummaryBuilder::default();
    let source = JournalSource {
        file: journal.storage(),
        journal: journal.storage(),
        stop,
        limits: LIMITS,
    };
    let read = for_each_record(source, |entry, record| {
        builder.add(&entry, record.frame);
        Ok(())
    });
    if read.is_err() && source.is_stopped() {
        return Err(interrupted());
    }
    read?;
    builder.finish().ok_or_else(no_run)
}

fn interrupted() -> Error {
    Error::new(Kind::Interrupted, INTERRUPTED)
}

fn failed(message: impl Into<String>) -> Error {
    Error::new(Kind::MidRun, message)
}

fn cant_be_read(error: &io::Error) -> Error {
    failed(format!("the journal can't be read: {error}"))
}

fn cant_be_put_in_place(error: &io::Error) -> Error {
    failed(format!("it can't be put in place: {error}"))
}

/// The places of the late rows in the journal, in bytes.
type LateRows = HashMap<RowNumber, u64>;

/// The result of the first pass.
struct FirstPass {
    summary: Summary,
    late_rows: LateRows,
    /// The whole report, if there are no late rows.
    report: Option<ReportWriter>,
}

/// Reads the journal for the first time: adds up the summary, counts the rows, finds the late ones,
/// and writes the report as long as there are none.
fn first_pass(source: JournalSource<'_>, places: &Places, rows: u64) -> Result<FirstPass> {
    let mut builder = SummaryBuilder::default();
    let mut collector = RowCollector::new(rows, source.limits, ReportWriter::new(&places.report)?);
    for_each_record(source, |entry, record| {
        builder.add(&entry, record.frame);
        match entry {
            JournalEntry::Row(row, _) => collector.add(row, record)?,
            JournalEntry::Run(run) => collector.write_header(&run.identity),
            JournalEntry::Note(_)
            | JournalEntry::Mark(_)
            | JournalEntry::Stop(_)
            | JournalEntry::OtherFormat(_) => {}
        }
        Ok(())
    })?;
    let (late_rows, report) = collector.finish()?;
    Ok(FirstPass {
        summary: builder.finish().ok_or_else(no_run)?,
        late_rows,
        report,
    })
}

/// The bytes of a record and their place in the journal.
#[derive(Clone, Copy)]
struct LocatedRecord<'a> {
    start: u64,
    frame: &'a [u8],
}

fn for_each_record(
    source: JournalSource<'_>,
    mut visit: impl FnMut(JournalEntry<'_>, LocatedRecord<'_>) -> Result<()>,
) -> Result<()> {
    let mut reader = reader_from_start(source)?;
    while has_next_record(&mut reader)? {
        let start = reader.start();
        let (entry, frame) = reader.record();
        let entry = entry.ok_or_else(|| modified(start))?;
        visit(entry, LocatedRecord { start, frame })?;
    }
    Ok(())
}

fn reader_from_start(
    source: JournalSource<'_>,
) -> Result<JournalReader<BufReader<JournalSource<'_>>>> {
    let mut input = BufReader::with_capacity(1 << 16, source);
    input.rewind().map_err(|error| cant_be_read(&error))?;
    Ok(JournalReader::new(input))
}

/// Reads the next record, and returns whether there is one.
fn has_next_record<R: BufRead>(reader: &mut JournalReader<R>) -> Result<bool> {
    match reader.step().map_err(|error| cant_be_read(&error))? {
        ReadStep::Record => Ok(true),
        ReadStep::End => Ok(false),
        ReadStep::Broken(_) => Err(modified(reader.start())),
    }
}

fn no_run() -> Error {
    failed("the journal does not say which run it belongs to")
}

fn modified(at: u64) -> Error {
    failed(format!(
        "another program modified the journal during the run, at byte {at}"
    ))
    .help(
        "every row may have been changed, and the journal does not say which ones any more; \
         the same command with --fresh sends all rows again, which is harmless within minutes",
    )
}

/// Collects the rows of the first pass, and checks that each row of the input comes exactly once.
struct RowCollector {
    rows: u64,
    window: ReorderWindow,
    missing: RoaringTreemap,
    late_rows: LateRows,
    /// The report, as long as there are no late rows.
    report: Option<ReportWriter>,
}

impl RowCollector {
    fn new(rows: u64, limits: Limits, report: ReportWriter) -> Self {
        Self {
            rows,
            window: ReorderWindow::new(limits),
            missing: RoaringTreemap::new(),
            late_rows: LateRows::new(),
            report: Some(report),
        }
    }

    fn write_header(&mut self, identity: &Identity) {
        if let Some(report) = &mut self.report {
            report.write_header(identity);
        }
    }

    fn add(&mut self, row: RowNumber, record: LocatedRecord<'_>) -> Result<()> {
        if row > self.rows {
            let rows = self.rows;
            return Err(wrong_rows(&format!(
                "row {row} is on record, but the input has {rows}"
            )));
        }
        if self.window.has_passed(row) {
            if !self.missing.remove(row) {
                return Err(recorded_twice(row));
            }
            self.late_rows.insert(row, record.start);
            return Ok(());
        }
        let content = if self.report.is_some() {
            line::report_row(record.frame).to_vec()
        } else {
            Vec::new()
        };
        self.window.push(WaitingRow {
            row,
            size: record.frame.len(),
            content,
        });
        self.write_ready_rows(Keep::UpToLimits)
    }

    fn write_ready_rows(&mut self, keep: Keep) -> Result<()> {
        while let Some(next) = self.window.next(keep) {
            match next {
                NextRow::Ready(row) => {
                    if let Some(report) = &mut self.report {
                        report.write_row(&row.content)?;
                    }
                }
                NextRow::Missing(row) => {
                    self.missing.insert(row);
                    self.report = None;
                }
                NextRow::Duplicate(row) => return Err(recorded_twice(row)),
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(LateRows, Option<ReportWriter>)> {
        self.write_ready_rows(Keep::Nothing)?;
        let unseen = self.rows + 1 - self.window.next_row;
        let lost = self.missing.len() + unseen;
        if lost > 0 {
            let first = self.missing.min().unwrap_or(self.window.next_row);
            let rows = self.rows;
            return Err(wrong_rows(&format!(
                "{lost} of {rows} rows have no outcome, the first is row {first}"
            )));
        }
        Ok((self.late_rows, self.report))
    }
}

fn wrong_rows(why: &str) -> Error {
    failed(format!("row counts do not match: {why}"))
}

fn recorded_twice(row: RowNumber) -> Error {
    wrong_rows(&format!("row {row} is on record twice"))
}

/// Reads the journal for the second time, and writes the report with the late rows in their places.
fn second_pass(
    source: JournalSource<'_>,
    places: &Places,
    summary: &Summary,
    late_rows: LateRows,
) -> Result<ReportWriter> {
    let mut report = ReportWriter::new(&places.report)?;
    report.write_header(&summary.identity);
    let mut pass = SecondPass {
        report,
        window: ReorderWindow::new(source.limits),
        source,
        late_rows,
    };
    pass.run()?;
    Ok(pass.report)
}

struct SecondPass<'a> {
    report: ReportWriter,
    window: ReorderWindow,
    source: JournalSource<'a>,
    late_rows: LateRows,
}

impl SecondPass<'_> {
    fn run(&mut self) -> Result<()> {
        let mut reader = reader_from_start(self.source)?;
        while has_next_record(&mut reader)? {
            let start = reader.start();
            let size = reader.frame().len();
            let (entry, frame) = reader.record();
            let JournalEntry::Row(row, _) = entry.ok_or_else(|| modified(start))? else {
                continue;
            };
            if self.window.has_passed(row) {
                continue;
            }
            self.window.push(WaitingRow {
                row,
                size,
                content: line::report_row(frame).to_vec(),
            });
            let has_read_elsewhere = self.write_ready_rows(Keep::UpToLimits)?;
            if has_read_elsewhere {
                let next = SeekFrom::Start(start + size as u64);
                reader
                    .input()
                    .seek(next)
                    .map_err(|error| cant_be_read(&error))?;
            }
        }
        self.write_ready_rows(Keep::Nothing)?;
        Ok(())
    }

    /// Writes every row whose turn it is. Returns whether the file was read elsewhere for that.
    fn write_ready_rows(&mut self, keep: Keep) -> Result<bool> {
        let mut has_read_elsewhere = false;
        while let Some(next) = self.window.next(keep) {
            let content = match next {
                NextRow::Ready(row) => row.content,
                NextRow::Missing(row) => {
                    has_read_elsewhere = true;
                    self.fetch(row)?
                }
                NextRow::Duplicate(row) => return Err(recorded_twice(row)),
            };
            self.report.write_row(&content)?;
        }
        Ok(has_read_elsewhere)
    }

    /// Reads a late row.
    fn fetch(&self, row: RowNumber) -> Result<Vec<u8>> {
        let Some(place) = self.late_rows.get(&row) else {
            return Err(wrong_rows(&format!("row {row} has no outcome")));
        };
        let mut input = BufReader::new(self.source);
        let mut frame = Vec::new();
        input
            .seek(SeekFrom::Start(*place))
            .map_err(|error| cant_be_read(&error))?;
        line::read_frame(&mut input, &mut frame).map_err(|error| cant_be_read(&error))?;
        Ok(line::report_row(&frame).to_vec())
    }
}

/// Checks that no other file has taken the journal's place. It would be another run's, which then
/// owns the report's place too.
fn check_journal_is_ours(journal: &File, paths: &Paths) -> Result<()> {
    let is_replaced =
        files::metadata_of(&paths.partial)?.is_some() && !is_at(&paths.partial, journal);
    if is_replaced {
        let partial = visible_path(&paths.partial);
        return Err(failed(format!(
            "{partial} was replaced during the run and may be another run's; that file is left as \
             it is"
        )));
    }
    Ok(())
}

/// Gives the report and its record their names.
///
/// A file that is in the way is left alone and is an error, unless its content proves that an
/// earlier process of this run has put it there and was stopped before it could remove the journal.
fn put_in_place(
    source: JournalSource<'_>,
    sorted: NamedTempFile,
    hash: blake3::Hash,
    places: &Places,
    summary: &Summary,
) -> Result<()> {
    let is_own_report = is_occupied(&places.report)?
        && has_content(source, &places.report, &sorted, hash)
            .map_err(|error| cant_be_put_in_place(&error))?;
    if is_occupied(&places.report)? && !is_own_report {
        return Err(in_the_way(&places.report));
    }
    let is_own_record = is_occupied(&places.json)?
        && is_record_of(&places.json, hash).map_err(|error| cant_be_put_in_place(&error))?;
    if is_occupied(&places.json)? && !is_own_record {
        return Err(in_the_way(&places.json));
    }
    // The record first: once the report is in place, nothing of the run may be missing.
    put_record_in_place(places, summary, is_own_record)?;
    if is_own_report {
        return Ok(());
    }
    places
        .report
        .put(sorted)
        .map_err(|error| cant_be_put_in_place(&error))
}

fn put_record_in_place(places: &Places, summary: &Summary, is_own_record: bool) -> Result<()> {
    let record = places
        .json
        .create()
        .and_then(|file| fill(file, |out| summary.write_json(out)))
        .map_err(|error| failed(format!("its record can't be written: {error}")))?;
    let put = if is_own_record {
        places.json.put_over(record)
    } else {
        places.json.put(record)
    };
    put.map_err(|error| failed(format!("its record can't be put in place: {error}")))
}

fn is_occupied(output: &Output) -> Result<bool> {
    match output.occupancy() {
        Ok(occupancy) => Ok(occupancy == Occupancy::Occupied),
        Err(error) => Err(failed(format!("its place can't be looked at: {error}"))),
    }
}

fn in_the_way(output: &Output) -> Error {
    let name = visible_path(output.path());
    let what = if output.was_occupied() {
        "is already there and belongs to another run"
    } else {
        "has appeared in the meantime"
    };
    failed(format!(
        "{name} {what}; move it away, or give --overwrite to replace it"
    ))
}

/// Checks whether the file in an output's place has the same content as `sorted`, which has this
/// hash.
fn has_content(
    source: JournalSource<'_>,
    output: &Output,
    sorted: &NamedTempFile,
    hash: blake3::Hash,
) -> io::Result<bool> {
    let found = fs::symlink_metadata(output.path())?;
    if !found.is_file() || found.len() != sorted.as_file().metadata()?.len() {
        return Ok(false);
    }
    let mut file = guarded().open(output.path())?;
    let mut hasher = blake3::Hasher::new();
    let mut chunk = vec![0; 1 << 16];
    loop {
        if source.is_stopped() {
            return Err(io::Error::other(INTERRUPTED));
        }
        let read = file.read(&mut chunk)?;
        if read == 0 {
            return Ok(hasher.finalize() == hash);
        }
        hasher.update(&chunk[..read]);
    }
}

/// Checks whether the file in an output's place is the record of the report with this hash.
fn is_record_of(output: &Output, hash: blake3::Hash) -> io::Result<bool> {
    #[derive(Deserialize)]
    struct RecordHead {
        report_blake3: Option<String>,
    }
    if !fs::symlink_metadata(output.path())?.is_file() {
        return Ok(false);
    }
    let file = guarded().open(output.path())?;
    let record = serde_json::from_reader(BufReader::new(file.take(MAX_RECORD_BYTES)));
    Ok(record.is_ok_and(|record: RecordHead| {
        record.report_blake3.as_deref() == Some(hash.to_hex().as_str())
    }))
}

/// Makes the names of the report and its record durable, and removes the journal. Returns a warning
/// if that fails. The run has not failed then, because the report is in place.
fn remove_journal(journal: &File, paths: &Paths) -> Option<String> {
    let partial = visible_path(&paths.partial);
    let folder = visible_path(paths.folder());
    if let Err(error) = disk::sync_folder(paths.folder()) {
        return Some(format!(
            "the report is in place, but {folder} can't be synced: {error}; {partial} is left, and \
             the same command removes it"
        ));
    }
    // Before the journal, without which nothing would say that there was a run. The snapshot
    // belongs to the owner of the journal.
    if is_at(&paths.partial, journal)
        && let Err(error) = files::remove_private(&paths.snapshot, "a snapshot")
    {
        return Some(format!("the report is in place, but {error}"));
    }
    match files::remove_journal(&paths.partial, journal) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Some(format!(
                "the report is in place, but the run's journal {partial} had been removed by \
                 something else"
            ));
        }
        Err(error) => {
            return Some(format!(
                "the report is in place, but the run's journal {partial} can't be removed: {error}"
            ));
        }
    }
    if let Err(error) = disk::sync_folder(paths.folder()) {
        return Some(format!(
            "the report is in place, but {folder} can't be synced: {error}; after a power cut \
             {partial} may be there again, and the same command removes it"
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::report::tests::{Desk, applied, at, cells};

    fn any_order() -> impl Strategy<Value = Vec<u64>> {
        (0..60_u64).prop_flat_map(|rows| Just((1..=rows).collect::<Vec<_>>()).prop_shuffle())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_report_is_in_input_order_whatever_the_order_of_finishing(
            finished in any_order(), rows in 0..8_usize, bytes in 0..2000_usize,
        ) {
            let total = finished.len() as u64;
            let desk = Desk::new(total);
            let (mut journal, _) = desk.resume();
            for row in &finished {
                journal.append(&applied(*row), &cells(*row), at(0));
                journal.commit(Duration::ZERO).unwrap();
            }
            let (file, places) = journal.into_parts();
            let stop = AtomicBool::new(false);
            let source = JournalSource { file: &file, journal: &file, stop: &stop, limits: Limits { rows, bytes } };
            let made = make_report(source, &desk.paths(), total, &places.unwrap()).unwrap();
            prop_assert_eq!(made.summary.outcomes.total(), total);
            let mut report = csv::Reader::from_path(desk.paths().report).unwrap();
            let rows: Vec<u64> = report.records().map(|row| row.unwrap()[0].parse().unwrap()).collect();
            prop_assert_eq!(rows, (1..=total).collect::<Vec<_>>());
        }
    }
}
