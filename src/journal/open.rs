//! Decides which journal a run uses: a new one, that of an interrupted run, or none, because it is
//! that of another run, damaged or busy, or because a finished report is in the way. Ends with the
//! record of this run on disk.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use roaring::RoaringTreemap;

use crate::domain::RowNumber;
use crate::error::{Error, Kind, Result};
use crate::journal::files::{self, Paths, Places};
use crate::journal::recovery::{OnRecord, Recovered, recover};
use crate::journal::run::{Run, Start};
use crate::journal::snapshot::{self, NewSection, Snapshot};
use crate::journal::writer::Journal;
use crate::output::{self, Existing, is_at};
use crate::text::{self, Shell, visible, visible_path};

/// What to do about an interrupted run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Begin {
    /// Continue it if there is one.
    #[default]
    Resume,
    /// Start over (`--fresh`). A run that can be closed has been closed before; any other journal
    /// is kept under another name.
    Fresh,
}

/// What the user has allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mode {
    /// What to do about an interrupted run.
    pub begin: Begin,
    /// Whether another API key is a new key of the same Org (`--new-key`).
    pub new_key: bool,
    /// Whether a finished report may be replaced (`--overwrite`).
    pub overwrite: bool,
}

/// A locked journal that this run may use. Nothing of this run is in it yet.
pub struct Prepared<'a> {
    paths: &'a Paths,
    places: Places,
    file: File,
    recovered: Recovered,
}

/// Opens and locks the journal of a report, and reads what an interrupted run has done.
///
/// The journal of a different run in which no row has an outcome, such as one with a mistyped
/// address, is kept under another name.
///
/// `input` is the path of the input, if it has one. No file of the report may be the input itself.
///
/// # Errors
/// [`Kind::Busy`] if another run uses the report. [`Kind::Report`] if the place can't be used, the
/// journal is damaged or belongs to a different run, or a finished report is in the way.
pub fn prepare<'a>(
    paths: &'a Paths,
    input: Option<&Path>,
    start: &Start,
    mode: Mode,
) -> Result<Prepared<'a>> {
    files::check_places(paths, input)?;
    output::probe_folder(&paths.report, Kind::Report)?;
    let name = visible_path(&paths.partial);
    let mut file = files::lock(&paths.partial)?;
    let mut kept = None;
    if mode.begin == Begin::Fresh && !is_empty(&file) {
        free_places(paths, mode.overwrite)?;
        (file, kept) = make_room(paths, &file)?;
    }
    let mut recovered = recover(BufReader::with_capacity(1 << 16, &file), &name)?;
    if is_false_start(&recovered.on_record, start, mode) {
        (file, kept) = make_room(paths, &file)?;
        recovered = Recovered::default();
    }
    recovered.on_record.kept = kept;
    let checked = check(paths, &recovered, start, mode);
    if checked.is_err() {
        give_up(paths, &file);
    }
    let places = checked?;
    cut_off_torn(&file, &recovered, &name)?;
    Ok(Prepared {
        paths,
        places,
        file,
        recovered,
    })
}

impl Prepared<'_> {
    /// Returns the snapshot of the input from which the run reads its rows: that of an earlier
    /// process if it is complete and holds the same files, otherwise a new one with these sections.
    /// The register in a snapshot is older than that of `sections`, and stays.
    ///
    /// # Errors
    /// [`Kind::Report`] if the snapshot is a link, a pipe, another user's or open to others, or
    /// can't be written. [`Kind::Input`] if the input can't be read or has changed since it was
    /// checked.
    pub fn snapshot(&self, sections: &mut [NewSection<'_>]) -> Result<Snapshot> {
        let path = &self.paths.snapshot;
        if let Some(found) = Snapshot::open(path)? {
            let mut files = sections.iter().filter(|new| new.name != snapshot::REGISTER);
            let has = |new: &NewSection<'_>| {
                let section = found.section(new.name);
                section.is_some_and(|section| section.hash == new.hash)
            };
            if files.all(has) {
                return Ok(found);
            }
        }
        files::remove_private(path, "a snapshot")?;
        Snapshot::create(path, sections)
    }

    /// Puts the record of this run on disk. Nothing may be sent before.
    ///
    /// # Errors
    /// [`Kind::Report`] if the journal can't be written.
    pub fn begin(self, start: &Start, mode: Mode) -> Result<(Journal<File>, OnRecord)> {
        let paths = self.paths;
        output::remove_leftovers(&paths.report);
        let Recovered {
            on_record,
            checksum,
            ..
        } = self.recovered;
        let deferred = on_record.all_deferred();
        let first = first_to_send(&on_record.rows, &deferred, start.rows);
        let recorded = on_record.rows.len();
        let mut journal = Journal::resume(self.file, paths.partial.clone(), checksum, recorded)
            .with_places(self.places)
            .with_deferred(deferred);
        journal
            .begin(&Run::of(start, mode.new_key), first, paths.folder())
            .map_err(|error| Error::new(Kind::Report, format!("nothing was sent: {error}")))?;
        Ok((journal, on_record))
    }

    /// Removes the journal and its snapshot if nothing is in the journal.
    pub fn give_up(&self) {
        give_up(self.paths, &self.file);
    }
}

/// Removes a journal that is empty, and its snapshot.
fn give_up(paths: &Paths, journal: &File) {
    if is_empty(journal) && is_at(&paths.partial, journal) {
        let _ = files::remove_private(&paths.snapshot, "a snapshot");
        let _ = files::remove_journal(&paths.partial, journal);
    }
}

/// Opens the journal of a run without a snapshot, see [`prepare`] and [`Prepared::begin`].
///
/// # Errors
/// The same as both.
pub fn open(
    paths: &Paths,
    input: Option<&Path>,
    start: &Start,
    mode: Mode,
) -> Result<(Journal<File>, OnRecord)> {
    prepare(paths, input, start, mode)?.begin(start, mode)
}

/// Returns what [`prepare`] would find, without changing anything. The plan shows it before anybody
/// confirms it.
///
/// # Errors
/// The same as [`prepare`].
pub fn look(paths: &Paths, input: Option<&Path>, start: &Start, mode: Mode) -> Result<OnRecord> {
    files::check_places(paths, input)?;
    let nothing = || free_places(paths, mode.overwrite).map(|_| OnRecord::default());
    let Some(file) = files::look(&paths.partial)? else {
        return nothing();
    };
    if mode.begin == Begin::Fresh {
        return nothing();
    }
    let recovered = recover(
        BufReader::with_capacity(1 << 16, &file),
        &visible_path(&paths.partial),
    )?;
    if is_false_start(&recovered.on_record, start, mode) {
        return nothing();
    }
    check(paths, &recovered, start, mode).map(|_| recovered.on_record)
}

fn is_empty(file: &File) -> bool {
    file.metadata().is_ok_and(|found| found.len() == 0)
}

/// Renames the journal that is there, and opens a new one. Returns it and the new name of the old
/// one.
fn make_room(paths: &Paths, journal: &File) -> Result<(File, Option<PathBuf>)> {
    let kept = files::set_aside(&paths.partial, journal)?;
    Ok((files::lock(&paths.partial)?, Some(kept)))
}

/// Returns the first of `rows` rows that will be sent: the first one that is neither recorded nor
/// deferred, or else the first deferred row.
fn first_to_send(
    on_record: &RoaringTreemap,
    deferred: &RoaringTreemap,
    rows: u64,
) -> Option<RowNumber> {
    let mut next = 1;
    for row in on_record | deferred {
        if row != next {
            break;
        }
        next += 1;
    }
    if next <= rows {
        Some(next)
    } else {
        deferred.min()
    }
}

/// Checks whether the journal is that of a different run that has changed nothing. A torn record
/// might have been that of a row, and a row in doubt may have been changed.
fn is_false_start(before: &OnRecord, start: &Start, mode: Mode) -> bool {
    before.rows.is_empty()
        && before.in_doubt.is_empty()
        && before.torn == 0
        && before
            .runs
            .last()
            .is_some_and(|last| !last.differences(start, mode.new_key).is_empty())
}

/// Checks that the journal is that of this run and that its report can be put in place. Returns the
/// places of the report and its record.
fn check(paths: &Paths, recovered: &Recovered, start: &Start, mode: Mode) -> Result<Places> {
    let before = &recovered.on_record;
    let only_to_finish = !before.runs.is_empty() && before.rows.len() == start.rows;
    if let Some(last) = before.runs.last() {
        refuse_another_run(paths, &last.differences(start, mode.new_key))?;
    }
    if only_to_finish && !mode.overwrite {
        // The report and the record that are there may be this run's own. Their content decides
        // that later.
        Places::check(paths, Existing::Keep)
    } else {
        free_places(paths, mode.overwrite)
    }
}

/// Returns the places of the report and its record.
///
/// # Errors
/// [`Kind::Report`] if a file is in the way that must not be replaced.
pub(crate) fn free_places(paths: &Paths, overwrite: bool) -> Result<Places> {
    let existing = if overwrite {
        Existing::Replace
    } else {
        Existing::Refuse
    };
    Places::check(paths, existing)
}

fn cut_off_torn(file: &File, recovered: &Recovered, name: &str) -> Result<()> {
    if recovered.on_record.torn == 0 {
        return Ok(());
    }
    file.set_len(recovered.end).map_err(|error| {
        Error::new(
            Kind::Report,
            format!("the torn end of {name} can't be cut off: {error}"),
        )
    })
}

fn refuse_another_run(paths: &Paths, differences: &[String]) -> Result<()> {
    if differences.is_empty() {
        return Ok(());
    }
    let message = format!(
        "{} belongs to a different run; the differences of this one are\n    {}",
        visible_path(&paths.partial),
        differences.join("\n    ")
    );
    let close = text::command_line(["close".into(), text::path_word(&paths.report)]);
    let note = Shell::OF_THIS_SYSTEM.note_after(&close);
    Err(Error::new(Kind::Report, message).help(format!(
        "nothing was sent; there are three ways on: end the old run with `{}`{note}; start over \
         with --fresh, which closes it with a report of its own; or run it as it was, with the \
         same files",
        visible(&close)
    )))
}
