//! The files that belong to a report, and how they are opened, locked and replaced safely in the
//! presence of links, pipes and other processes. Knows nothing about their content.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, TryLockError};
use std::io::{self, BufReader, Seek};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::error::{Error, Kind, Result};
use crate::journal::recovery;
use crate::output::{
    Existing, Output, check_private, disk, folder_of, guarded, guarded_to_append, is_at,
    is_same_file, kind_in_words,
};
use crate::text::{self, Reason, visible_path};

/// The number of times that the journal may be replaced between opening and locking before it is an
/// error.
const LOCK_ATTEMPTS: usize = 100;

/// The ending of a report that is a workbook.
const WORKBOOK: &str = "xlsx";

/// The endings of workbooks whose report is a workbook too.
const WORKBOOK_INPUTS: [&str; 3] = [WORKBOOK, "xlsm", "ods"];

/// The files of one report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// The finished report, `users.report.csv` or `users.report.xlsx`.
    pub report: PathBuf,
    /// The journal of an unfinished run, `users.report.csv.partial`. It is always CSV, also if
    /// the report is a workbook.
    pub partial: PathBuf,
    /// The snapshot of the input of an unfinished run, `users.report.csv.partial.input`.
    pub snapshot: PathBuf,
    /// The record of the run, `users.report.json`.
    pub json: PathBuf,
}

impl Paths {
    /// Returns the files that belong to this report.
    #[must_use]
    pub fn of(report: PathBuf) -> Self {
        // `out` and `out.csv` may be two reports, so their records need different names.
        let json = if has_extension(&report, &["csv", WORKBOOK]) {
            report.with_extension("json")
        } else {
            with_suffix(&report, ".record.json")
        };
        Self {
            partial: with_suffix(&report, ".partial"),
            snapshot: with_suffix(&report, ".partial.input"),
            json,
            report,
        }
    }

    /// Returns the files of the run that has this journal.
    #[must_use]
    pub fn of_journal(journal: &Path) -> Self {
        Self::of(journal.with_extension(""))
    }

    /// Returns the files of the report of a `sync` that starts at this time: `users.csv` gives
    /// `users.20261128T030000Z.report.csv`. No such report is there yet.
    #[must_use]
    pub fn of_sync(input: &Path, starts: Timestamp) -> Self {
        let beside = Self::beside(input);
        let stem = beside.report.with_extension("").with_extension("");
        let ending = report_ending(&beside.report);
        Self::free_at(starts, |mark| {
            with_suffix(&stem, &format!(".{mark}.report.{ending}"))
        })
    }

    /// Returns the files of the report beside an input: `users.csv` and `users.csv.gz` give
    /// `users.report.csv`, `users.xlsx` and `users.ods` give `users.report.xlsx`. Standard input
    /// (`-`) gives `stdin.report.csv` in the working folder.
    #[must_use]
    pub fn beside(input: &Path) -> Self {
        let input = if input == Path::new("-") {
            Path::new("stdin")
        } else {
            input
        };
        let table = if has_extension(input, &["gz"]) {
            input.with_extension("")
        } else {
            input.to_owned()
        };
        let suffix = format!(".report.{}", report_ending(&table));
        Self::of(with_suffix(&table.with_extension(""), &suffix))
    }

    /// Returns the files of the report into which the run of this report is closed when another run
    /// takes its place: `users.report.20261128T030000Z.csv` for a run that began at this time.
    /// Chooses names that are free.
    #[must_use]
    pub fn of_closed(&self, began: Timestamp) -> Self {
        Self::free_at(began, |mark| with_mark(&self.report, mark))
    }

    /// Returns the files of the first report with this time in its name that is not there yet.
    fn free_at(time: Timestamp, report_with: impl Fn(&str) -> PathBuf) -> Self {
        let time = time.strftime("%Y%m%dT%H%M%SZ").to_string();
        let mut number = 1_u32;
        loop {
            let mark = match number {
                1 => time.clone(),
                number => format!("{time}-{number}"),
            };
            let paths = Self::of(report_with(&mark));
            let is_free = [&paths.report, &paths.json, &paths.partial]
                .iter()
                .all(|path| fs::symlink_metadata(path).is_err());
            if is_free || number == u32::MAX {
                return paths;
            }
            number += 1;
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        folder_of(&self.report)
    }
}

/// Checks whether a report is a workbook, which the ending of its name says.
#[must_use]
pub fn is_workbook(report: &Path) -> bool {
    has_extension(report, &[WORKBOOK])
}

/// Returns the ending of the report of a table, which is a workbook if the table is one.
#[must_use]
pub fn report_ending(table: &Path) -> &'static str {
    if has_extension(table, &WORKBOOK_INPUTS) {
        WORKBOOK
    } else {
        "csv"
    }
}

/// Checks whether the name of a file has one of these endings, without regard to case.
fn has_extension(path: &Path, endings: &[&str]) -> bool {
    let Some(extension) = path.extension() else {
        return false;
    };
    endings
        .iter()
        .any(|ending| extension.eq_ignore_ascii_case(ending))
}

/// Puts a mark before the extension of a file's name.
fn with_mark(path: &Path, mark: &str) -> PathBuf {
    let Some(extension) = path.extension() else {
        return with_suffix(path, &format!(".{mark}"));
    };
    let mut name = OsString::from(path.with_extension(""));
    name.push(format!(".{mark}."));
    name.push(extension);
    PathBuf::from(name)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

fn refused(path: &Path, why: impl std::fmt::Display) -> Error {
    Error::new(Kind::Report, format!("{} {why}", text::shown_path(path)))
}

/// Checks, before anything is sent, that a report can be written here: the folder is there, none of
/// the files is the input, and none belongs to another report.
///
/// # Errors
/// [`Kind::Report`], naming the path.
pub(crate) fn check_places(paths: &Paths, input: Option<&Path>) -> Result<()> {
    let folder = paths.folder();
    match fs::metadata(folder) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => {
            return Err(refused(
                folder,
                "is not a folder, so no report can be written there",
            ));
        }
        Err(error) => {
            return Err(refused(
                folder,
                format_args!("can't be used as the report's folder: {}", Reason(&error)),
            ));
        }
    }
    for path in [&paths.report, &paths.partial, &paths.snapshot, &paths.json] {
        if input.is_some_and(|input| is_same_file(input, path)) {
            return Err(refused(
                path,
                "is the input itself; a report needs a name of its own",
            )
            .help("see --report"));
        }
    }
    check_record_is_not_shared(paths, input)
}

/// Checks that no other report in the folder, finished or not, has its record where this one would
/// have it, as `out.csv` and `out.xlsx` would.
fn check_record_is_not_shared(paths: &Paths, input: Option<&Path>) -> Result<()> {
    let Ok(entries) = fs::read_dir(paths.folder()) else {
        // Files can be written to a folder that can't be listed. Records that appear later are
        // never replaced.
        return Ok(());
    };
    for entry in entries.flatten() {
        let found = entry.path();
        let report = match found.extension() {
            Some(extension) if extension == "partial" => found.with_extension(""),
            _ => found,
        };
        let shares = report.file_name() != paths.report.file_name()
            && Paths::of(report.clone()).json.file_name() == paths.json.file_name();
        let is_input = input.is_some_and(|input| is_same_file(input, &report));
        if shares && !is_input && !is_same_file(&report, &paths.report) {
            let other = visible_path(Path::new(report.file_name().unwrap_or_default()));
            let why = format!("is the place of the record of {other}");
            return Err(
                refused(&paths.json, why).help("give this report another name with --report")
            );
        }
    }
    if let Some(found) = metadata_of(&paths.snapshot)? {
        must_be_private(&paths.snapshot, &found, "a snapshot")?;
    }
    Ok(())
}

/// The places of a report and of its record, with the files that were there before anything was
/// sent.
#[derive(Clone, Debug)]
pub struct Places {
    pub(crate) report: Output,
    pub(crate) json: Output,
}

impl Places {
    pub(crate) fn check(paths: &Paths, existing: Existing<'_>) -> Result<Self> {
        Ok(Self {
            report: Output::check(&paths.report, existing, Kind::Report)?,
            json: Output::check(&paths.json, existing, Kind::Report)?,
        })
    }
}

/// Opens a file that an earlier process left beside the journal, for reading. Returns `None` if
/// there is none. `what` says in messages what the file should be.
///
/// # Errors
/// [`Kind::Report`] if it is a link, a pipe, another user's, or open to others.
pub(crate) fn open_private(path: &Path, what: &str) -> Result<Option<File>> {
    let Some(found) = metadata_of(path)? else {
        return Ok(None);
    };
    must_be_private(path, &found, what)?;
    let file = match guarded().open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(refused(
                path,
                format_args!("can't be opened: {}", Reason(&error)),
            ));
        }
    };
    let opened = file
        .metadata()
        .map_err(|error| refused(path, format_args!("can't be looked at: {}", Reason(&error))))?;
    must_be_private(path, &opened, what)?;
    Ok(Some(file))
}

/// Creates a file that only its owner can read. Returns `None` if there is a file at `path`
/// already.
pub(crate) fn create_private(path: &Path) -> io::Result<Option<File>> {
    match guarded_to_append().create_new(true).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes a file that an earlier process left beside the journal, if there is one.
///
/// # Errors
/// The same as [`open_private`], and if it can't be removed.
pub(crate) fn remove_private(path: &Path, what: &str) -> Result<()> {
    let Some(found) = metadata_of(path)? else {
        return Ok(());
    };
    must_be_private(path, &found, what)?;
    match disk::remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(refused(
            path,
            format_args!("can't be removed: {}", Reason(&error)),
        )),
        _ => Ok(()),
    }
}

fn must_be_private(path: &Path, found: &Metadata, what: &str) -> Result<()> {
    if !found.is_file() {
        return Err(refused(
            path,
            format_args!("is {}, not {what}", kind_in_words(found)),
        ));
    }
    check_private(found).map_err(|why| refused(path, why))
}

/// Returns the metadata of the file at this path without following links, or `None` if there is
/// none.
pub(crate) fn metadata_of(path: &Path) -> Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(refused(
            path,
            format_args!("can't be looked at: {}", Reason(&error)),
        )),
    }
}

/// Opens or creates the journal, and locks it. The system releases the lock when the process ends,
/// even if it is killed.
///
/// # Errors
/// [`Kind::Busy`] if another run has the lock. [`Kind::Report`] if the file is a link, a pipe,
/// another user's, or open to others. Nothing is written to a file that is refused.
pub(crate) fn lock(partial: &Path) -> Result<File> {
    for _ in 0..LOCK_ATTEMPTS {
        let opened = match create(partial)? {
            Some(created) => Some(created),
            None => open(partial)?,
        };
        if let Some(file) = opened
            && take_lock(partial, &file)?
        {
            return Ok(file);
        }
    }
    Err(refused(
        partial,
        "is replaced again and again by something else",
    ))
}

/// Opens and locks the journal if there is one. Creates nothing.
///
/// # Errors
/// The same as [`lock`].
pub(crate) fn lock_existing(partial: &Path) -> Result<Option<File>> {
    let Some(file) = open(partial)? else {
        return Ok(None);
    };
    Ok(take_lock(partial, &file)?.then_some(file))
}

/// Opens the journal for reading if there is one that nobody has locked. Creates nothing, not even
/// if a run that ends removes the file at the same time.
///
/// # Errors
/// The same as [`lock`].
pub(crate) fn look(partial: &Path) -> Result<Option<File>> {
    let Some(file) = open(partial)? else {
        return Ok(None);
    };
    if !take_lock(partial, &file)? {
        return Ok(None);
    }
    // Closing the file releases the lock everywhere; unlocking it fails under Wine.
    drop(file);
    open(partial)
}

/// Locks the file, and returns whether it is still the one at this path. A run that has just
/// finished may have removed it between opening and locking.
fn take_lock(partial: &Path, file: &File) -> Result<bool> {
    let found = file.metadata().map_err(|error| {
        refused(
            partial,
            format_args!("can't be looked at: {}", Reason(&error)),
        )
    })?;
    if !found.is_file() {
        return Err(refused(
            partial,
            format_args!("is {}, not a journal", kind_in_words(&found)),
        ));
    }
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(busy(partial, file)),
        Err(TryLockError::Error(error)) => {
            return Err(refused(
                partial,
                format_args!("can't be locked: {}", Reason(&error)),
            ));
        }
    }
    if !is_at(partial, file) {
        return Ok(false);
    }
    check_private(&found).map_err(|why| refused(partial, why))?;
    Ok(true)
}

/// Creates the journal. Returns `None` if there is a file already.
fn create(partial: &Path) -> Result<Option<File>> {
    create_private(partial).map_err(|error| {
        refused(
            partial,
            format_args!("can't be created: {}", Reason(&error)),
        )
    })
}

/// Opens the journal. Returns `None` if there is none.
fn open(partial: &Path) -> Result<Option<File>> {
    let Some(found) = metadata_of(partial)? else {
        return Ok(None);
    };
    if !found.is_file() {
        return Err(refused(
            partial,
            format_args!("is {}, not a journal", kind_in_words(&found)),
        ));
    }
    match guarded_to_append().open(partial) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(refused(
            partial,
            format_args!("can't be opened: {}", Reason(&error)),
        )),
    }
}

fn busy(partial: &Path, file: &File) -> Error {
    let holder = recovery::last_run(BufReader::new(file)).map_or_else(
        || "another run".to_owned(),
        // The holder may not have written its record yet. The last one is then that of an earlier
        // process.
        |run| {
            let host = text::visible(&run.who.host);
            format!(
                "another run; the last one recorded is process {} on {host}, since {:.0}",
                run.pid, run.at
            )
        },
    );
    Error::new(
        Kind::Busy,
        format!("{} is being written by {holder}", visible_path(partial)),
    )
    .help("let it finish, or give this run another report with --report")
}

/// Renames the locked journal, and returns its new path.
pub(crate) fn set_aside(partial: &Path, journal: &File) -> Result<PathBuf> {
    let kept = free_name_beside(partial)?;
    if !is_at(partial, journal) {
        return Err(refused(partial, "was replaced by something else"));
    }
    fs::rename(partial, &kept).map_err(|error| {
        refused(
            partial,
            format_args!("can't be renamed: {}", Reason(&error)),
        )
    })?;
    Ok(kept)
}

/// Returns the first free name of `users.report.csv.partial.old-1`,
/// `users.report.csv.partial.old-2` and so on.
fn free_name_beside(partial: &Path) -> Result<PathBuf> {
    let mut number = 1_u32;
    loop {
        let candidate = with_suffix(partial, &format!(".old-{number}"));
        if metadata_of(&candidate)?.is_none() {
            return Ok(candidate);
        }
        number = number.saturating_add(1);
    }
}

/// Removes the journal if it is still the file at its path.
///
/// # Errors
/// Any error of the system, and an error if another file is at that path.
pub(crate) fn remove_journal(partial: &Path, journal: &File) -> io::Result<()> {
    if is_at(partial, journal) {
        return disk::remove(partial);
    }
    fs::symlink_metadata(partial)?;
    Err(io::Error::other("another file has taken its place"))
}

/// Makes sure that the content of a journal has a name. If somebody has removed or replaced the
/// journal during the run, saves the content in a new file and returns its path. A file that has
/// taken the journal's place is not touched.
///
/// # Errors
/// [`Kind::MidRun`] if the content can't be saved.
pub(crate) fn ensure_saved(partial: &Path, journal: &File) -> Result<Option<PathBuf>> {
    if is_at(partial, journal) {
        return Ok(None);
    }
    let place = match metadata_of(partial)? {
        None => partial.to_owned(),
        Some(_) => free_name_beside(partial)?,
    };
    let saved = save_copy(journal, &place);
    saved.map_err(|error| {
        let message = format!(
            "{} was removed or replaced during the run and can't be saved again: {error}; what was \
             done is not on record",
            visible_path(partial)
        );
        Error::new(Kind::MidRun, message)
    })?;
    Ok(Some(place))
}

/// Writes the journal again under its name if somebody has removed it, and replaces `journal` by
/// the new file, which is locked like the old one. Returns whether that was so.
///
/// # Errors
/// Any error of the system.
pub(crate) fn restore_if_removed(partial: &Path, journal: &mut File) -> io::Result<bool> {
    match fs::symlink_metadata(partial) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        _ => return Ok(false),
    }
    *journal = save_copy(journal, partial)?;
    Ok(true)
}

/// Copies the journal to a new file, which is locked and on the disk, and returns that file.
fn save_copy(mut journal: &File, place: &Path) -> io::Result<File> {
    let mut copy =
        create_private(place)?.ok_or_else(|| io::Error::from(io::ErrorKind::AlreadyExists))?;
    copy.try_lock()?;
    journal.rewind()?;
    io::copy(&mut journal, &mut copy)?;
    disk::sync_file(&copy, place)?;
    disk::sync_folder(folder_of(place))?;
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Mode, open};
    use crate::report::tests::Desk;

    #[test]
    fn the_record_of_a_report_without_csv_in_its_name_has_a_name_of_its_own() {
        assert_eq!(Paths::of("d/out.csv".into()).json, Path::new("d/out.json"));
        assert_eq!(
            Paths::of("d/out".into()).json,
            Path::new("d/out.record.json")
        );
    }

    #[test]
    fn the_names_of_the_files_follow_from_the_input() {
        for input in ["d/users.csv", "d/users.csv.gz", "d/users.txt", "d/users"] {
            let paths = Paths::beside(Path::new(input));
            assert_eq!(paths.report, Path::new("d/users.report.csv"), "{input}");
            assert_eq!(paths.partial, Path::new("d/users.report.csv.partial"));
            assert_eq!(
                paths.snapshot,
                Path::new("d/users.report.csv.partial.input")
            );
            assert_eq!(paths.json, Path::new("d/users.report.json"));
        }
        for input in ["d/users.xlsx", "d/users.XLSM", "d/users.ods"] {
            let paths = Paths::beside(Path::new(input));
            assert_eq!(paths.report, Path::new("d/users.report.xlsx"), "{input}");
            assert_eq!(paths.partial, Path::new("d/users.report.xlsx.partial"));
            assert_eq!(paths.json, Path::new("d/users.report.json"));
            assert!(is_workbook(&paths.report));
        }
        assert_eq!(
            Paths::beside(Path::new("-")).report,
            Path::new("stdin.report.csv")
        );
    }

    #[test]
    fn report_of_sync_has_its_time_and_the_ending_of_other_reports() {
        let starts: Timestamp = "2026-11-28T03:00:00Z".parse().unwrap();
        for (input, report) in [
            ("d/list.csv", "d/list.20261128T030000Z.report.csv"),
            ("d/list.xlsx", "d/list.20261128T030000Z.report.xlsx"),
        ] {
            assert_eq!(
                Paths::of_sync(Path::new(input), starts).report,
                Path::new(report)
            );
        }
    }

    #[test]
    fn the_report_of_a_closed_run_has_its_time_in_its_name_and_takes_no_other_place() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let began: Timestamp = "2026-11-28T03:00:00.5Z".parse().unwrap();
        let closed = |name: &str| Paths::of(at(name)).of_closed(began).report;
        assert_eq!(
            closed("users.report.csv"),
            at("users.report.20261128T030000Z.csv")
        );
        assert_eq!(
            closed("users.report.xlsx"),
            at("users.report.20261128T030000Z.xlsx")
        );
        assert_eq!(closed("report"), at("report.20261128T030000Z"));
        fs::write(at("users.report.20261128T030000Z.json"), "").unwrap();
        fs::write(at("users.report.20261128T030000Z-2.csv"), "").unwrap();
        assert_eq!(
            closed("users.report.csv"),
            at("users.report.20261128T030000Z-3.csv")
        );
    }

    #[test]
    fn a_report_in_an_impossible_place_is_refused() {
        let desk = Desk::new(1);
        let input = desk.path("users.csv");
        fs::create_dir(desk.path("folder.csv")).unwrap();
        fs::hard_link(&input, desk.path("linked.csv")).unwrap();
        let cases = [
            ("missing/r.csv", "can't be used as the report's folder"),
            ("users.csv/r.csv", "is not a folder"),
            ("folder.csv", "is a folder"),
            ("users.csv", "is the input itself"),
            ("linked.csv", "is the input itself"),
        ];
        for (report, reason) in cases {
            let opened = open(
                &Paths::of(desk.path(report)),
                Some(&input),
                &desk.start(),
                Mode::default(),
            );
            let error = opened.map(drop).unwrap_err();
            assert_eq!(error.kind(), Kind::Report);
            assert!(error.to_string().contains(reason), "{report}: {error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_planted_journal_is_refused_and_not_written_to() {
        use std::os::unix::fs::{PermissionsExt, symlink};

        type Plant = fn(&Path, &Path) -> io::Result<()>;
        let plants: [(Plant, &str); 5] = [
            (|at, target| symlink(target, at), "is a symbolic link"),
            (
                |at, target| symlink(target.with_extension("nowhere"), at),
                "is a symbolic link",
            ),
            (|at, target| fs::hard_link(target, at), "hard link"),
            (
                |at, _| {
                    fs::write(at, "")
                        .and_then(|()| fs::set_permissions(at, fs::Permissions::from_mode(0o644)))
                },
                "0644",
            ),
            (
                |at, _| {
                    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
                    let fifo = rustix::fs::FileType::Fifo;
                    rustix::fs::mknodat(rustix::fs::CWD, at, fifo, mode, 0).map_err(io::Error::from)
                },
                "is not a plain file",
            ),
        ];
        for (plant, reason) in plants {
            let desk = Desk::new(1);
            let target = desk.path("target");
            fs::write(&target, "").unwrap();
            fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).unwrap();
            plant(&desk.paths().partial, &target).unwrap();
            let error = desk.refusal(Mode::default());
            assert!(
                error.kind() == Kind::Report && error.to_string().contains(reason),
                "{reason}: {error}"
            );
            assert_eq!(fs::read(&target).unwrap(), b"");
            assert!(!target.with_extension("nowhere").exists());
        }
    }

    #[test]
    fn a_report_whose_record_would_be_that_of_another_report_is_refused() {
        let pairs = [
            ("out", "out.record.csv"),
            ("out.csv", "out.CSV"),
            ("out.record.csv", "out"),
            ("out.csv", "out.CSV.partial"),
            ("out.csv", "out.xlsx"),
            ("out.xlsx", "out.csv.partial"),
        ];
        for (report, other) in pairs {
            // Elsewhere, names that differ in case only are mostly those of one file.
            if other.contains("CSV") && cfg!(not(target_os = "linux")) {
                continue;
            }
            let desk = Desk::new(1);
            fs::write(desk.path(other), "").unwrap();
            let opened = open(
                &Paths::of(desk.path(report)),
                None,
                &desk.start(),
                Mode {
                    overwrite: true,
                    ..Mode::default()
                },
            );
            let error = opened.map(drop).unwrap_err().to_string();
            let other = other.trim_end_matches(".partial");
            assert!(
                error.contains("is the place of the record of") && error.contains(other),
                "{error}"
            );
            assert!(!Paths::of(desk.path(report)).partial.exists());
        }
        let desk = Desk::new(1);
        fs::write(desk.path("out.csv"), "").unwrap();
        open(
            &Paths::of(desk.path("out")),
            None,
            &desk.start(),
            Mode::default(),
        )
        .unwrap();
    }

    #[test]
    fn a_journal_that_was_renamed_before_it_was_locked_is_not_used() {
        let desk = Desk::new(1);
        let partial = desk.paths().partial;
        let first = create(&partial).unwrap().unwrap();
        let renamed = desk.path("renamed");
        fs::rename(&partial, &renamed).unwrap();
        assert!(!take_lock(&partial, &first).unwrap());

        let second = create(&partial).unwrap().unwrap();
        drop(first);
        let first = File::options()
            .read(true)
            .append(true)
            .open(&renamed)
            .unwrap();
        assert!(!take_lock(&partial, &first).unwrap());
        assert!(take_lock(&partial, &second).unwrap());
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_can_read_what_is_written() {
        use std::os::unix::fs::MetadataExt;

        let desk = Desk::new(0);
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        let (journal, _) = desk.resume();
        assert_eq!(mode(&desk.paths().partial), 0o600);
        desk.finish(journal).unwrap();
        assert_eq!(
            (mode(&desk.paths().report), mode(&desk.paths().json)),
            (0o600, 0o600)
        );
    }
}
