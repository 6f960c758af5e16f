//! The end of a finished run: its journal, in which rows stand as they finished, becomes the report, in which they stand
//! as in the input. The report is there whole or not at all; until it is, the journal stays untouched.
//!
//! Rows are held back in a window until their turn comes. Where that is enough, the report is written while the journal is
//! read for the first time. Where a whole window of later rows overtook a row, that reading goes on only to find such
//! stragglers and where they are, and a second one fetches each of them at its turn. Memory is the window and a few bytes
//! for each straggler, however long the file is.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::sync::atomic::{AtomicBool, Ordering};

use roaring::RoaringTreemap;
use serde::Deserialize;
use tempfile::NamedTempFile;

use crate::domain::RowNumber;
use crate::error::{Error, Kind, Result};
use crate::output::{Occupancy, Output, disk, fill, guarded, is_at};
use crate::report::draft::Draft;
use crate::report::files::{self, Paths, Places};
use crate::report::identity::CarriedColumn;
use crate::report::journal::Journal;
use crate::report::line::{self, Entry, Reader, Step};
use crate::report::summary::{Fold, Summary};
use crate::report::window::{Fill, Held, LIMITS, Limits, Turn, Window};

/// The journal as it is read here. Once `stop` is set, every further reading fails.
#[derive(Clone, Copy)]
struct Source<'a> {
    file: &'a File,
    /// The file with the journal's name. It is another one where `file` is a copy to which more was added.
    journal: &'a File,
    stop: &'a AtomicBool,
    limits: Limits,
}

/// The size limit in bytes of a record that is compared with this run's.
const MAX_RECORD_BYTES: u64 = 64 << 20;

const INTERRUPTED: &str = "interrupted by a signal";

impl Source<'_> {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

impl Read for Source<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.is_stopped() {
            return Err(io::Error::other(INTERRUPTED));
        }
        self.file.read(bytes)
    }
}

impl Seek for Source<'_> {
    fn seek(&mut self, place: SeekFrom) -> io::Result<u64> {
        self.file.seek(place)
    }
}

/// A report that is in place.
#[derive(Debug)]
pub struct Completion {
    /// The run as a whole.
    pub summary: Summary,
    /// What could not be done after the report was in place, in words.
    pub warning: Option<String>,
}

/// Makes the report and its JSON of a journal that has every one of the input's `rows`, puts them in place and removes
/// the journal. Ends early, with an error, once `stop` is set.
///
/// # Errors
/// Of [`Kind::MidRun`], or of [`Kind::Interrupted`] once `stop` is set. The journal is untouched, and the same command later
/// has nothing to do but this.
pub fn finish(
    mut journal: Journal<File>,
    paths: &Paths,
    rows: u64,
    stop: &AtomicBool,
) -> Result<Completion> {
    journal.sync()?;
    let (file, places) = journal.into_parts();
    let source = Source {
        file: &file,
        journal: &file,
        stop,
        limits: LIMITS,
    };
    finish_from(source, paths, rows, places)
}

/// Makes the report of a copy of the journal, to which the outcomes of all rows that had none were added, and removes the
/// journal itself.
///
/// # Errors
/// As [`finish`].
pub(super) fn finish_copy(
    copy: Journal<File>,
    journal: &File,
    paths: &Paths,
    rows: u64,
) -> Result<Completion> {
    let (file, places) = copy.into_parts();
    let source = Source {
        file: &file,
        journal,
        stop: &AtomicBool::new(false),
        limits: LIMITS,
    };
    finish_from(source, paths, rows, places)
}

fn finish_from(
    source: Source<'_>,
    paths: &Paths,
    rows: u64,
    places: Option<Places>,
) -> Result<Completion> {
    let places = places.ok_or_else(|| broken("the journal was not opened for a report"))?;
    let summary = merge(source, paths, rows, &places)?;
    let warning = remove_journal(source.journal, paths);
    Ok(Completion { summary, warning })
}

fn merge(source: Source<'_>, paths: &Paths, rows: u64, places: &Places) -> Result<Summary> {
    let kept = |error: Error| {
        if source.is_stopped() {
            return interrupted();
        }
        Error::new(
            Kind::MidRun,
            format!("the report could not be finished: {error}"),
        )
        .help(where_the_record_is(source.journal, paths))
    };
    let Survey {
        mut summary,
        stragglers,
        draft,
    } = survey(source, places, rows).map_err(kept)?;
    let draft = draft
        .map_or_else(|| sort(source, places, &summary, stragglers), Ok)
        .map_err(kept)?;
    let (sorted, hash) = draft.finish().map_err(kept)?;
    summary.report_blake3 = Some(hash.to_string());
    check_journal_is_ours(source.journal, paths).map_err(kept)?;
    put_in_place(source, sorted, hash, (places, &summary)).map_err(kept)?;
    Ok(summary)
}

/// Returns advice that names the file with the record of a run whose report could not be finished.
fn where_the_record_is(journal: &File, paths: &Paths) -> String {
    let partial = files::name(&paths.partial);
    match files::ensure_saved(&paths.partial, journal) {
        Ok(Some(saved)) if saved != paths.partial => format!(
            "everything is on record in {}, for another file is {partial} now; give it this name, and the same command \
             sends nothing and only finishes",
            files::name(&saved)
        ),
        Ok(_) => format!(
            "everything is on record in {partial}; the same command again sends nothing and only finishes"
        ),
        Err(error) => error.to_string(),
    }
}

/// What the journal of a run that stopped early tells so far. The journal stays as it is, locked by `journal`.
///
/// # Errors
/// Of [`Kind::MidRun`], if it can't be read again, or of [`Kind::Interrupted`], if `stop` is set.
pub fn summarize(journal: &mut Journal<File>, stop: &AtomicBool) -> Result<Summary> {
    journal.sync()?;
    let mut fold = Fold::default();
    let source = Source {
        file: journal.storage(),
        journal: journal.storage(),
        stop,
        limits: LIMITS,
    };
    let read = each_entry(source, |entry, _| {
        fold.add(&entry);
        Ok(())
    });
    if read.is_err() && source.is_stopped() {
        return Err(interrupted());
    }
    read?;
    fold.finish().ok_or_else(no_run)
}

fn interrupted() -> Error {
    Error::new(Kind::Interrupted, INTERRUPTED)
}

fn broken(message: impl Into<String>) -> Error {
    Error::new(Kind::MidRun, message)
}

fn failed(what: &str) -> impl Fn(io::Error) -> Error {
    move |error| broken(format!("{what}: {error}"))
}

/// A straggler's place in the journal, in bytes.
type Stragglers = HashMap<RowNumber, u64>;

/// What the first reading has found.
struct Survey {
    summary: Summary,
    stragglers: Stragglers,
    /// The whole report, if nothing was overtaken.
    draft: Option<Draft>,
}

/// The first reading: adds everything up, balances the books, finds the stragglers, and writes the report as long as there
/// are none.
fn survey(source: Source<'_>, places: &Places, rows: u64) -> Result<Survey> {
    let (mut fold, mut books) = (
        Fold::default(),
        Books::new(rows, source.limits, Draft::new(&places.report)?),
    );
    each_entry(source, |entry, record| {
        fold.add(&entry);
        match entry {
            Entry::Row(row, _) => books.enter(row, record)?,
            Entry::Run(run) => books.begin(&run.identity.header),
            _ => {}
        }
        Ok(())
    })?;
    let (stragglers, draft) = books.close()?;
    Ok(Survey {
        summary: fold.finish().ok_or_else(no_run)?,
        stragglers,
        draft,
    })
}

/// A record and its place.
#[derive(Clone, Copy)]
struct Found<'a> {
    start: u64,
    frame: &'a [u8],
}

fn each_entry(
    source: Source<'_>,
    mut visit: impl FnMut(Entry<'_>, Found<'_>) -> Result<()>,
) -> Result<()> {
    let mut reader = from_start(source)?;
    while step(&mut reader)? {
        let start = reader.start();
        let (entry, frame) = reader.record();
        visit(entry.ok_or_else(|| damaged(start))?, Found { start, frame })?;
    }
    Ok(())
}

fn from_start(source: Source<'_>) -> Result<Reader<BufReader<Source<'_>>>> {
    let mut input = BufReader::with_capacity(1 << 16, source);
    input
        .rewind()
        .map_err(failed("the journal can't be read"))?;
    Ok(Reader::new(input))
}

/// Whether there is another record.
fn step<R: BufRead>(reader: &mut Reader<R>) -> Result<bool> {
    match reader.step().map_err(failed("the journal can't be read"))? {
        Step::Record => Ok(true),
        Step::End => Ok(false),
        Step::Broken(_) => Err(damaged(reader.start())),
    }
}

fn no_run() -> Error {
    broken("the journal does not say which run it is")
}

fn damaged(at: u64) -> Error {
    broken(format!(
        "the journal has changed under the tool's hands, at byte {at}"
    ))
}

/// Holds the rows on record against the rows of the input: each once.
struct Books {
    rows: u64,
    window: Window,
    missing: RoaringTreemap,
    stragglers: Stragglers,
    draft: Option<Draft>,
}

impl Books {
    fn new(rows: u64, limits: Limits, draft: Draft) -> Self {
        let window = Window::new(limits);
        Self {
            rows,
            window,
            missing: RoaringTreemap::new(),
            stragglers: Stragglers::new(),
            draft: Some(draft),
        }
    }

    fn begin(&mut self, carried: &[CarriedColumn]) {
        if let Some(draft) = &mut self.draft {
            draft.begin(carried);
        }
    }

    fn enter(&mut self, row: RowNumber, record: Found<'_>) -> Result<()> {
        if row > self.rows {
            return Err(unbalanced(&format!(
                "row {row} is on record, but the input has {}",
                self.rows
            )));
        }
        if self.window.has_passed(row) {
            if !self.missing.remove(row) {
                return Err(unbalanced(&format!("row {row} is on record twice")));
            }
            self.stragglers.insert(row, record.start);
            return Ok(());
        }
        let load = if self.draft.is_some() {
            line::report_row(record.frame).to_vec()
        } else {
            Vec::new()
        };
        self.window.push(Held {
            row,
            size: record.frame.len(),
            load,
        });
        self.settle(Fill::UpToLimit)
    }

    fn settle(&mut self, fill: Fill) -> Result<()> {
        while let Some(turn) = self.window.next(fill) {
            match (turn, &mut self.draft) {
                (Turn::Here(held), Some(draft)) => draft.row(&held.load)?,
                (Turn::Here(_), None) => {}
                (Turn::Elsewhere(row), draft) => {
                    self.missing.insert(row);
                    *draft = None;
                }
                (Turn::Twice(row), _) => {
                    return Err(unbalanced(&format!("row {row} is on record twice")));
                }
            }
        }
        Ok(())
    }

    fn close(mut self) -> Result<(Stragglers, Option<Draft>)> {
        self.settle(Fill::Nothing)?;
        let unseen = self.rows + 1 - self.window.turn;
        let lost = self.missing.len() + unseen;
        if lost > 0 {
            let first = self.missing.min().unwrap_or(self.window.turn);
            return Err(unbalanced(&format!(
                "{lost} of {} rows have no outcome, the first is row {first}",
                self.rows
            )));
        }
        Ok((self.stragglers, self.draft))
    }
}

fn unbalanced(why: &str) -> Error {
    broken(format!("the books do not balance: {why}"))
}

/// The second reading.
fn sort(
    source: Source<'_>,
    places: &Places,
    summary: &Summary,
    stragglers: Stragglers,
) -> Result<Draft> {
    let mut draft = Draft::new(&places.report)?;
    draft.begin(&summary.identity.header);
    let mut sorter = Sorter {
        draft,
        window: Window::new(source.limits),
        source,
        stragglers,
    };
    sorter.read_through()?;
    Ok(sorter.draft)
}

struct Sorter<'a> {
    draft: Draft,
    window: Window,
    source: Source<'a>,
    stragglers: Stragglers,
}

impl Sorter<'_> {
    fn read_through(&mut self) -> Result<()> {
        let mut reader = from_start(self.source)?;
        while step(&mut reader)? {
            let (start, size) = (reader.start(), reader.frame().len());
            let Entry::Row(row, _) = reader.record().0.ok_or_else(|| damaged(start))? else {
                continue;
            };
            if self.window.has_passed(row) {
                continue;
            }
            self.window.push(Held {
                row,
                size,
                load: line::report_row(reader.frame()).to_vec(),
            });
            let fetched = self.write_ready(Fill::UpToLimit)?;
            if fetched {
                let next = start + size as u64;
                reader
                    .input()
                    .seek(SeekFrom::Start(next))
                    .map_err(failed("the journal can't be read"))?;
            }
        }
        self.write_ready(Fill::Nothing).map(drop)
    }

    /// Writes every row whose turn it is. Whether the file was read elsewhere for that.
    fn write_ready(&mut self, fill: Fill) -> Result<bool> {
        let mut fetched = false;
        while let Some(turn) = self.window.next(fill) {
            let row = match turn {
                Turn::Here(held) => held.load,
                Turn::Elsewhere(row) => {
                    fetched = true;
                    self.fetch(row)?
                }
                Turn::Twice(row) => {
                    return Err(unbalanced(&format!("row {row} is on record twice")));
                }
            };
            self.draft.row(&row)?;
        }
        Ok(fetched)
    }

    fn fetch(&self, row: RowNumber) -> Result<Vec<u8>> {
        let place = *self
            .stragglers
            .get(&row)
            .ok_or_else(|| unbalanced(&format!("row {row} has no outcome")))?;
        let mut input = BufReader::new(self.source);
        let mut frame = Vec::new();
        input
            .seek(SeekFrom::Start(place))
            .and_then(|_| line::read_frame(&mut input, &mut frame))
            .map_err(failed("the journal can't be read"))?;
        Ok(line::report_row(&frame).to_vec())
    }
}

/// Checks that no other file has taken the journal's place: it would be another run's, and the report's place with it.
fn check_journal_is_ours(journal: &File, paths: &Paths) -> Result<()> {
    let is_replaced =
        files::metadata_of(&paths.partial)?.is_some() && !is_at(&paths.partial, journal);
    if is_replaced {
        let partial = files::name(&paths.partial);
        return Err(broken(format!(
            "{partial} was replaced during the run and may be another run's; nothing that stands there is touched"
        )));
    }
    Ok(())
}

/// Gives the report and its record their names.
///
/// A file that is in the way is left alone and is an error, unless its content proves that an earlier process of this run
/// has put it there and was stopped before it could remove the journal.
fn put_in_place(
    source: Source<'_>,
    sorted: NamedTempFile,
    hash: blake3::Hash,
    (places, summary): (&Places, &Summary),
) -> Result<()> {
    let cant = failed("it can't be put in place");
    let is_own_report = stands_in_the_way(&places.report)?
        && has_content(source, &places.report, &sorted, hash).map_err(&cant)?;
    if stands_in_the_way(&places.report)? && !is_own_report {
        return Err(in_the_way(&places.report));
    }
    let is_own_record =
        stands_in_the_way(&places.json)? && is_record_of(&places.json, hash).map_err(&cant)?;
    if stands_in_the_way(&places.json)? && !is_own_record {
        return Err(in_the_way(&places.json));
    }
    // The record first: once the report is in place, nothing of the run may be missing.
    let record = places
        .json
        .create()
        .and_then(|file| fill(file, |out| summary.write_json(out)));
    let record = record.map_err(failed("its record can't be written"))?;
    let put = if is_own_record {
        places.json.put_over(record)
    } else {
        places.json.put(record)
    };
    put.map_err(failed("its record can't be put in place"))?;
    if is_own_report {
        return Ok(());
    }
    places.report.put(sorted).map_err(cant)
}

fn stands_in_the_way(output: &Output) -> Result<bool> {
    let now = output
        .occupancy()
        .map_err(failed("its place can't be looked at"))?;
    Ok(now == Occupancy::Occupied)
}

fn in_the_way(output: &Output) -> Error {
    let name = files::name(output.path());
    let what = if output.was_occupied() {
        "is there already and is not this run's"
    } else {
        "has appeared in the meantime"
    };
    broken(format!(
        "{name} {what}; it is not replaced unless it is moved away or --overwrite is given"
    ))
}

/// Checks whether the file in an output's place has the same content as `sorted`, which has this hash.
fn has_content(
    source: Source<'_>,
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
    struct Record {
        report_blake3: Option<String>,
    }
    if !fs::symlink_metadata(output.path())?.is_file() {
        return Ok(false);
    }
    let file = guarded().open(output.path())?;
    let record = serde_json::from_reader(BufReader::new(file.take(MAX_RECORD_BYTES)));
    Ok(record.is_ok_and(|record: Record| {
        record.report_blake3.as_deref() == Some(hash.to_hex().as_str())
    }))
}

/// Makes the names of the report and its record last and removes the journal. Returns what could not be done, in words: the
/// report is in place, so none of it makes the run a failure.
fn remove_journal(journal: &File, paths: &Paths) -> Option<String> {
    let partial = files::name(&paths.partial);
    let folder = files::name(paths.folder());
    if let Err(error) = disk::sync_folder(paths.folder()) {
        return Some(format!(
            "the report is in place, but {folder} can't be synced: {error}; {partial} is left, and the same command \
             removes it"
        ));
    }
    // Before the journal, which says that there was a run. A snapshot belongs to whoever has the journal.
    if is_at(&paths.partial, journal)
        && let Err(error) = files::remove_private(&paths.snapshot, "a snapshot")
    {
        return Some(format!("the report is in place, but {error}"));
    }
    match files::remove_journal(&paths.partial, journal) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Some(format!(
                "the report is in place, but the run's journal {partial} had been removed by something else"
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
            "the report is in place, but {folder} can't be synced: {error}; after a power cut {partial} may be there \
             again, and the same command removes it"
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
        fn whatever_the_order_of_finishing_the_report_has_that_of_the_input(
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
            let source = Source { file: &file, journal: &file, stop: &stop, limits: Limits { rows, bytes } };
            let summary = merge(source, &desk.paths(), total, &places.unwrap()).unwrap();
            prop_assert_eq!(summary.outcomes.total(), total);
            let mut report = csv::Reader::from_path(desk.paths().report).unwrap();
            let rows: Vec<u64> = report.records().map(|row| row.unwrap()[0].parse().unwrap()).collect();
            prop_assert_eq!(rows, (1..=total).collect::<Vec<_>>());
        }
    }
}
