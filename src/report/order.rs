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
use tempfile::NamedTempFile;

use crate::domain::RowNumber;
use crate::error::{Error, Kind, Result};
use crate::report::draft::Draft;
use crate::report::files::{self, Paths};
use crate::report::identity::CarriedColumn;
use crate::report::journal::Journal;
use crate::report::line::{self, Entry, Reader, Step};
use crate::report::summary::{Fold, Summary};
use crate::report::window::{Fill, Held, LIMITS, Limits, Turn, Window};

/// The journal as it is read here. Once `stop` is set, every further reading fails.
#[derive(Clone, Copy)]
struct Source<'a> {
    file: &'a File,
    stop: &'a AtomicBool,
    limits: Limits,
}

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

/// Makes the report and its JSON of a journal that has every one of the input's `rows`, puts them in place and removes
/// the journal. Ends early, with an error, once `stop` is set.
///
/// # Errors
/// Of [`Kind::MidRun`]. The journal is untouched, and the same command later has nothing to do but this.
pub fn finish(
    mut journal: Journal<File>,
    paths: &Paths,
    rows: u64,
    overwrite: bool,
    stop: &AtomicBool,
) -> Result<Summary> {
    journal.sync()?;
    let file = journal.into_storage();
    merge(
        Source {
            file: &file,
            stop,
            limits: LIMITS,
        },
        paths,
        rows,
        overwrite,
    )
}

fn merge(source: Source<'_>, paths: &Paths, rows: u64, overwrite: bool) -> Result<Summary> {
    let kept = |error: Error| {
        let partial = files::name(&paths.partial);
        let why = if source.is_stopped() {
            INTERRUPTED.to_owned()
        } else {
            error.to_string()
        };
        Error::new(Kind::MidRun, format!("the report could not be finished: {why}")).help(format!(
            "everything is on record in {partial}; the same command again sends nothing and only finishes"
        ))
    };
    let Survey {
        mut summary,
        stragglers,
        draft,
    } = survey(source, paths, rows).map_err(kept)?;
    let draft = draft
        .map_or_else(|| sort(source, paths, &summary, stragglers), Ok)
        .map_err(kept)?;
    let (sorted, hash) = draft.finish().map_err(kept)?;
    summary.report_blake3 = Some(hash.to_string());
    // The JSON first: once the report is in place, nothing of the run may be missing.
    summary.write_json(&paths.json).map_err(kept)?;
    put_in_place(sorted, paths, overwrite).map_err(kept)?;
    Ok(summary)
}

/// What the journal of a run that stopped early tells so far. The journal stays as it is, locked by `journal`.
///
/// # Errors
/// Of [`Kind::MidRun`], if it can't be read again, or `stop` is set.
pub fn summarize(journal: &mut Journal<File>, stop: &AtomicBool) -> Result<Summary> {
    journal.sync()?;
    let mut fold = Fold::default();
    each_entry(
        Source {
            file: journal.storage(),
            stop,
            limits: LIMITS,
        },
        |entry, _| {
            fold.add(&entry);
            Ok(())
        },
    )?;
    fold.finish().ok_or_else(no_run)
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
fn survey(source: Source<'_>, paths: &Paths, rows: u64) -> Result<Survey> {
    let (mut fold, mut books) = (
        Fold::default(),
        Books::new(rows, source.limits, Draft::new(paths)?),
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
    paths: &Paths,
    summary: &Summary,
    stragglers: Stragglers,
) -> Result<Draft> {
    let mut draft = Draft::new(paths)?;
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

/// The report gets its name, and the journal loses its own.
///
/// If a report is there already with just these bytes, an earlier process was stopped right here, between the two.
fn put_in_place(mut sorted: NamedTempFile, paths: &Paths, overwrite: bool) -> Result<()> {
    let report = files::name(&paths.report);
    let cant = failed("it can't be put in place");
    let kept = if overwrite {
        sorted
            .persist(&paths.report)
            .map_err(|error| cant(error.error))
            .map(drop)
    } else if files::metadata_of(&paths.report)?.is_none() {
        sorted
            .persist_noclobber(&paths.report)
            .map_err(|error| cant(error.error))
            .map(drop)
    } else if files::same_content(sorted.as_file_mut(), &paths.report).map_err(&cant)? {
        Ok(())
    } else {
        Err(broken(format!("{report} has appeared in the meantime")))
    };
    kept?;
    files::sync_folder(paths.folder()).map_err(&cant)?;
    fs::remove_file(&paths.partial).map_err(failed("the journal can't be removed"))?;
    files::sync_folder(paths.folder()).map_err(&cant)
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
            let (file, stop) = (journal.into_storage(), AtomicBool::new(false));
            let source = Source { file: &file, stop: &stop, limits: Limits { rows, bytes } };
            let summary = merge(source, &desk.paths(), total, false).unwrap();
            prop_assert_eq!(summary.outcomes.total(), total);
            let mut report = csv::Reader::from_path(desk.paths().report).unwrap();
            let rows: Vec<u64> = report.records().map(|row| row.unwrap()[0].parse().unwrap()).collect();
            prop_assert_eq!(rows, (1..=total).collect::<Vec<_>>());
        }
    }
}
