//! Ends an interrupted run without sending anything: the recorded rows and the outcomes of all
//! others become a report.
//!
//! The journal stays as it is until the report is in place. The other outcomes are appended to a
//! copy of it, from which the report is made like at the end of any run. If the process is killed,
//! the run can still be continued or closed.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek};
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::Record;
use crate::error::{Error, Kind, Result};
use crate::journal::files::{self, Paths, Places};
use crate::journal::open::free_places;
use crate::journal::recovery::{OnRecord, Recovered, recover};
use crate::journal::results::{self, RowResults};
use crate::journal::run::{Run, Stop};
use crate::journal::snapshot::Snapshot;
use crate::journal::writer::Journal;
use crate::output::Existing;
use crate::report::merge::{self, Completion};
use crate::text::visible_path;

/// The number of rows that are buffered before they are written.
const BATCH_SIZE: u64 = 256;

/// An interrupted run whose journal is locked.
pub struct Interrupted {
    paths: Paths,
    file: File,
    recovered: Recovered,
    run: Run,
}

/// A row without an outcome, and the outcome that it gets when the run is closed.
#[derive(Debug)]
pub struct ClosedRow {
    /// Its outcome.
    pub record: Record,
    /// The cells of the input that the report carries, as CSV without a line end.
    pub cells: Vec<u8>,
    /// Time of the outcome.
    pub at: Timestamp,
}

impl Interrupted {
    /// Locks and reads the journal of a report. Returns `None` if there is no journal, or if the
    /// run had not begun.
    ///
    /// # Errors
    /// [`Kind::Busy`] if the run is active. [`Kind::Report`] if the journal is damaged or another
    /// user's.
    pub fn find(paths: &Paths) -> Result<Option<Self>> {
        let Some(file) = files::lock_existing(&paths.partial)? else {
            return Ok(None);
        };
        let recovered = recover(
            BufReader::with_capacity(1 << 16, &file),
            &visible_path(&paths.partial),
        )?;
        let Some(run) = recovered.on_record.runs.last().cloned() else {
            return Ok(None);
        };
        Ok(Some(Self {
            paths: paths.clone(),
            file,
            recovered,
            run,
        }))
    }

    /// Returns what the run has recorded.
    #[must_use]
    pub fn on_record(&self) -> &OnRecord {
        &self.recovered.on_record
    }

    /// Checks whether any row has an outcome or may have been changed.
    #[must_use]
    pub fn may_have_changed_anything(&self) -> bool {
        let on_record = self.on_record();
        !on_record.rows.is_empty() || !on_record.in_doubt.is_empty()
    }

    /// Returns the files of the run.
    #[must_use]
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// Returns the record of the last process of the run.
    #[must_use]
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// Returns when the run began.
    #[must_use]
    pub fn began(&self) -> Timestamp {
        let first = self.recovered.on_record.runs.first();
        first.map_or(self.run.at, |run| run.at)
    }

    /// Returns the outcomes of the recorded rows.
    ///
    /// # Errors
    /// Of [`Kind::Report`] if the journal can't be read.
    pub fn results(&self) -> Result<RowResults> {
        results::read(&self.file).map_err(|error| {
            let name = visible_path(&self.paths.partial);
            Error::new(Kind::Report, format!("{name} can't be read: {error}"))
        })
    }

    /// Removes what a process has left that was interrupted before it could send anything: a
    /// journal without the record of a run, and its snapshot. What can't be removed is in nobody's
    /// way.
    pub fn remove_false_start(paths: &Paths) {
        let Ok(Some(file)) = files::lock_existing(&paths.partial) else {
            return;
        };
        let name = visible_path(&paths.partial);
        let Ok(recovered) = recover(BufReader::new(&file), &name) else {
            return;
        };
        if recovered.on_record.runs.is_empty() {
            let _ = files::remove_private(&paths.snapshot, "a snapshot");
            let _ = files::remove_journal(&paths.partial, &file);
        }
    }

    /// Renames a journal that cannot be continued, and returns its new name.
    ///
    /// # Errors
    /// As [`find`](Self::find), and if it can't be renamed.
    pub fn set_aside(paths: &Paths) -> Result<PathBuf> {
        let Some(file) = files::lock_existing(&paths.partial)? else {
            let name = visible_path(&paths.partial);
            return Err(Error::new(Kind::Report, format!("{name} is not there")));
        };
        files::set_aside(&paths.partial, &file)
    }

    /// Checks whether every row has an outcome, so that only the report is to be made.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.on_record().rows.len() == self.run.rows
    }

    /// Checks whether the report of this run can be put in the place that `report` names.
    #[must_use]
    pub fn can_be_closed_into(&self, report: &Paths) -> bool {
        let is_free = [&report.report, &report.json]
            .iter()
            .all(|path| fs::symlink_metadata(path).is_err());
        // A report that is there may be this run's own, put in place before the run was
        // interrupted.
        is_free || self.is_complete()
    }

    /// Opens the snapshot of the run's input. Returns `None` if there is none, or if it is damaged.
    ///
    /// # Errors
    /// [`Kind::Report`] if it is a link, a pipe, another user's or open to others, or can't be
    /// read.
    pub fn snapshot(&self) -> Result<Option<Snapshot>> {
        Snapshot::open(&self.paths.snapshot)
    }

    /// Makes the report in the place that `report` names, and removes the journal and the snapshot.
    /// `rows` are all rows that are not recorded.
    ///
    /// # Errors
    /// Any error of `rows`. [`Kind::Report`] if the report exists and `overwrite` is not set, and
    /// [`Kind::MidRun`] if the report can't be made. The journal is untouched then.
    pub fn close(
        &self,
        report: &Paths,
        rows: impl Iterator<Item = Result<ClosedRow>>,
        stop: &Stop,
        overwrite: bool,
    ) -> Result<Completion> {
        let places = if self.is_complete() && !overwrite {
            // The report may have been put in place before the run was interrupted; its content
            // will tell.
            Places::check(report, Existing::Keep)?
        } else {
            free_places(report, overwrite)?
        };
        let copy = places.report.create().map_err(|error| not_made(&error))?;
        copy_of(&self.file, self.recovered.end, copy.as_file())
            .map_err(|error| not_made(&error))?;
        let appended = copy
            .as_file()
            .try_clone()
            .map_err(|error| not_made(&error))?;
        let mut journal = Journal::resume(
            appended,
            copy.path().to_owned(),
            self.recovered.checksum,
            self.recovered.on_record.rows.len(),
        )
        .with_places(places);
        let mut buffered = 0;
        for row in rows {
            let ClosedRow { record, cells, at } = row?;
            journal.append(&record, &cells, at);
            buffered += 1;
            if buffered % BATCH_SIZE == 0 {
                journal.write(Duration::ZERO)?;
            }
        }
        journal.stop(stop)?;
        let paths = Paths {
            report: report.report.clone(),
            json: report.json.clone(),
            ..self.paths.clone()
        };
        merge::finish_copy(journal, &self.file, &paths, self.run.rows)
    }
}

/// Copies the valid part of a journal, which has this length.
fn copy_of(mut journal: &File, end: u64, mut copy: &File) -> io::Result<()> {
    journal.rewind()?;
    let copied = io::copy(&mut journal.take(end), &mut copy)?;
    if copied == end {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

fn not_made(error: &io::Error) -> Error {
    Error::new(Kind::MidRun, format!("the report can't be made: {error}"))
        .help("the journal is as it was; run the same command again")
}
