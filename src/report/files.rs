//! Which files belong to a report, and how they are opened, locked and put in place without being led astray by a link, a
//! pipe or another process. Says nothing about what is in them.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, BufReader, Seek};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::{Error, Kind, Result};
use crate::report::recover;
use crate::text;

/// How often a file may be pulled away between opening and locking before it is an error.
const LOCK_ATTEMPTS: usize = 100;

/// The files of one report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// The finished report, `users.report.csv`.
    pub report: PathBuf,
    /// The journal while a run goes on, `users.report.csv.partial`.
    pub partial: PathBuf,
    /// The run itself, `users.report.json`.
    pub json: PathBuf,
}

impl Paths {
    /// The files that go with this report.
    #[must_use]
    pub fn of(report: PathBuf) -> Self {
        let is_csv = report
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
        let json = if is_csv {
            report.with_extension("json")
        } else {
            with_suffix(&report, ".json")
        };
        Self {
            partial: with_suffix(&report, ".partial"),
            json,
            report,
        }
    }

    /// The report beside an input: `users.csv`, `users.csv.gz` and `users.xlsx` all give `users.report.csv`. Standard
    /// input (`-`) gives `stdin.report.csv` in the working folder.
    #[must_use]
    pub fn beside(input: &Path) -> Self {
        let input = if input == Path::new("-") {
            Path::new("stdin")
        } else {
            input
        };
        let is_gz = input
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
        let table = if is_gz {
            input.with_extension("")
        } else {
            input.to_owned()
        };
        Self::of(with_suffix(&table.with_extension(""), ".report.csv"))
    }

    pub(super) fn folder(&self) -> &Path {
        folder_of(&self.report)
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// A path as it is shown.
pub(super) fn name(path: &Path) -> String {
    text::visible(&path.to_string_lossy())
}

fn refused(path: &Path, why: impl std::fmt::Display) -> Error {
    Error::new(Kind::Report, format!("{} {why}", text::shown_path(path)))
}

/// Finds out before anything is sent whether a report can be written here: the folder is there, nothing but a plain file
/// stands in the report's place, and none of the files is the input.
///
/// # Errors
/// Of [`Kind::Report`], naming the path.
pub(super) fn check_places(paths: &Paths, input: Option<&Path>) -> Result<()> {
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
                format_args!("can't be used as the report's folder: {error}"),
            ));
        }
    }
    for path in [&paths.report, &paths.partial, &paths.json] {
        if input.is_some_and(|input| is_same_file(input, path)) {
            return Err(refused(
                path,
                "is the input itself; a report needs a name of its own",
            )
            .help("see --report"));
        }
    }
    for path in [&paths.report, &paths.json] {
        if let Some(found) = metadata_of(path)?
            && !found.is_file()
        {
            return Err(refused(
                path,
                format_args!("is {}, so no report can be written there", kind_of(&found)),
            ));
        }
    }
    Ok(())
}

/// What stands at this path, links not followed; `None` if nothing does.
pub(super) fn metadata_of(path: &Path) -> Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(refused(path, format_args!("can't be looked at: {error}"))),
    }
}

fn kind_of(found: &Metadata) -> &'static str {
    if found.is_symlink() {
        "a symbolic link"
    } else if found.is_dir() {
        "a folder"
    } else {
        "not a plain file"
    }
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    match (fs::metadata(one), fs::metadata(other)) {
        (Ok(a), Ok(b)) if platform::CAN_COMPARE => platform::same(&a, &b),
        (Ok(_), Ok(_)) => {
            matches!((one.canonicalize(), other.canonicalize()), (Ok(a), Ok(b)) if a == b)
        }
        _ => false,
    }
}

/// Opens the journal, or creates it, and takes its lock. The lock belongs to the open file: it goes with the process,
/// however that ends.
///
/// # Errors
/// [`Kind::Busy`] if another run has it; [`Kind::Report`] if it is a link, a pipe, somebody else's, or open to others.
/// Nothing is written to a file that is refused.
pub(super) fn lock(partial: &Path) -> Result<File> {
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

/// Opens the journal that is there, if one is, to be read only. It was not locked by anybody a moment ago. Creates nothing,
/// also when a run that ends takes the file away in this very moment.
///
/// # Errors
/// As [`lock`].
pub(super) fn look(partial: &Path) -> Result<Option<File>> {
    let Some(file) = open(partial)? else {
        return Ok(None);
    };
    if !take_lock(partial, &file)? {
        return Ok(None);
    }
    file.unlock()
        .map_err(|error| refused(partial, format_args!("can't be unlocked: {error}")))?;
    Ok(Some(file))
}

/// Whether the lock is taken and the file still the one at this path: a run that has just finished may have removed it in
/// the moment between opening and locking.
fn take_lock(partial: &Path, file: &File) -> Result<bool> {
    let found = file
        .metadata()
        .map_err(|error| refused(partial, format_args!("can't be looked at: {error}")))?;
    if !found.is_file() {
        return Err(refused(
            partial,
            format_args!("is {}, not a journal", kind_of(&found)),
        ));
    }
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(busy(partial, file)),
        Err(TryLockError::Error(error)) => {
            return Err(refused(partial, format_args!("can't be locked: {error}")));
        }
    }
    if !is_still_at(partial, file) {
        return Ok(false);
    }
    platform::check_owner(&found).map_err(|why| refused(partial, why))?;
    Ok(true)
}

/// `None` if there is something already.
fn create(partial: &Path) -> Result<Option<File>> {
    match guarded().create_new(true).open(partial) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(refused(partial, format_args!("can't be created: {error}"))),
    }
}

/// `None` if there is nothing, or no longer.
fn open(partial: &Path) -> Result<Option<File>> {
    let Some(found) = metadata_of(partial)? else {
        return Ok(None);
    };
    if !found.is_file() {
        return Err(refused(
            partial,
            format_args!("is {}, not a journal", kind_of(&found)),
        ));
    }
    match guarded().open(partial) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(refused(partial, format_args!("can't be opened: {error}"))),
    }
}

pub(super) fn is_still_at(path: &Path, file: &File) -> bool {
    match (fs::symlink_metadata(path), file.metadata()) {
        (Ok(at_path), Ok(opened)) => platform::same(&at_path, &opened),
        _ => false,
    }
}

fn busy(partial: &Path, file: &File) -> Error {
    let holder = recover::last_run(BufReader::new(file)).map_or_else(
        || "another run".to_owned(),
        // Its own record may be yet to come, and the last one then is that of a process which is gone.
        |run| {
            let host = text::visible(&run.who.host);
            format!(
                "another run; the last on record is process {} on {host}, since {:.0}",
                run.pid, run.at
            )
        },
    );
    Error::new(
        Kind::Busy,
        format!("{} is being written by {holder}", name(partial)),
    )
    .help("let it finish, or give this run another report with --report")
}

/// Gives the locked journal another name, and returns that.
pub(super) fn set_aside(partial: &Path) -> Result<PathBuf> {
    let mut number = 1_u32;
    let kept = loop {
        let candidate = with_suffix(partial, &format!(".old-{number}"));
        if metadata_of(&candidate)?.is_none() {
            break candidate;
        }
        number = number.saturating_add(1);
    };
    fs::rename(partial, &kept)
        .map_err(|error| refused(partial, format_args!("can't be renamed: {error}")))?;
    Ok(kept)
}

/// Makes names in a folder last through a power cut.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    platform::sync_folder(folder)
}

/// A new file in this folder under a name that nobody can predict, mode 0600, removed unless it is put in place.
pub(super) fn temporary(place: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new()
        .prefix(&temporary_prefix(place))
        .suffix(TEMPORARY)
        .tempfile_in(folder_of(place))
}

/// How the names of temporary files end.
const TEMPORARY: &str = ".tmp";

/// Tells the temporary files of one place from those of another, which another run may be writing.
fn temporary_prefix(place: &Path) -> String {
    let name = place.file_name().unwrap_or_default();
    format!(
        ".mfa-optout-{}-",
        &blake3::hash(name.as_encoded_bytes()).to_hex()[..8]
    )
}

/// Removes what a run that was killed while it made the report has left of it. Only whoever has the report's lock may do so.
/// What can't be looked at or removed is left: it is in nobody's way.
pub(super) fn remove_stale(paths: &Paths) {
    leftovers(&paths.report).for_each(|left| drop(fs::remove_file(left)));
}

/// The temporary files of one place that are there, made by a run that goes on or by one that was killed.
pub(super) fn leftovers(place: &Path) -> impl Iterator<Item = PathBuf> {
    let prefix = temporary_prefix(place);
    let is_ours = |entry: &fs::DirEntry| {
        entry
            .metadata()
            .is_ok_and(|found| found.is_file() && platform::check_owner(&found).is_ok())
    };
    let entries = fs::read_dir(folder_of(place))
        .into_iter()
        .flatten()
        .flatten();
    let named = entries.filter(move |entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with(&prefix) && name.ends_with(TEMPORARY)
    });
    named.filter(is_ours).map(|entry| entry.path())
}

/// How a file that others may have put there is opened to be locked.
pub(super) fn guarded() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).append(true);
    platform::never_follow(&mut options);
    options
}

/// Whether two files have the same bytes.
pub(super) fn same_content(one: &mut File, other: &Path) -> io::Result<bool> {
    one.rewind()?;
    let (mut one, mut other) = (BufReader::new(one), BufReader::new(File::open(other)?));
    loop {
        let (a, b) = (
            io::BufRead::fill_buf(&mut one)?,
            io::BufRead::fill_buf(&mut other)?,
        );
        let shared = a.len().min(b.len());
        if shared == 0 || a[..shared] != b[..shared] {
            return Ok(a.len() == b.len());
        }
        io::BufRead::consume(&mut one, shared);
        io::BufRead::consume(&mut other, shared);
    }
}

#[cfg(unix)]
mod platform {
    use std::fs::{File, Metadata, OpenOptions};
    use std::io;
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
    use std::path::Path;

    use rustix::fs::OFlags;

    pub(super) const CAN_COMPARE: bool = true;

    /// Not through a link, not to a child process, and without waiting for the other end of a pipe.
    pub(super) fn never_follow(options: &mut OpenOptions) {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        options.mode(0o600).custom_flags(flags.bits().cast_signed());
    }

    pub(super) fn same(one: &Metadata, other: &Metadata) -> bool {
        (one.dev(), one.ino()) == (other.dev(), other.ino())
    }

    pub(super) fn check_owner(found: &Metadata) -> Result<(), String> {
        if found.uid() != rustix::process::geteuid().as_raw() {
            return Err(format!("belongs to another user (number {})", found.uid()));
        }
        if found.mode() & 0o077 != 0 {
            let mode = found.mode() & 0o777;
            return Err(format!(
                "is open to other users (mode {mode:04o}), so it may not be as this tool left it"
            ));
        }
        if found.nlink() != 1 {
            return Err(
                "has a second name (a hard link), so another program may write to it".to_owned(),
            );
        }
        Ok(())
    }

    pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }
}

#[cfg(not(unix))]
mod platform {
    use std::fs::{Metadata, OpenOptions};
    use std::io;
    use std::path::Path;

    pub(super) const CAN_COMPARE: bool = false;

    /// Links need a privilege to be made here, and pipes have a name space of their own.
    pub(super) fn never_follow(_: &mut OpenOptions) {}

    /// A removed file keeps its name here until it is closed, so the open one is the one at the path.
    pub(super) fn same(_: &Metadata, _: &Metadata) -> bool {
        true
    }

    /// Access follows the folder's list, which is the user's own profile unless they choose otherwise.
    pub(super) fn check_owner(_: &Metadata) -> Result<(), String> {
        Ok(())
    }

    /// The file system writes names in order by itself; a folder can't be opened for this.
    pub(super) fn sync_folder(_: &Path) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::Desk;
    use crate::report::{Mode, open};

    #[test]
    fn names_go_with_the_input() {
        for input in ["d/users.csv", "d/users.csv.gz", "d/users.xlsx", "d/users"] {
            let paths = Paths::beside(Path::new(input));
            assert_eq!(paths.report, Path::new("d/users.report.csv"), "{input}");
            assert_eq!(paths.partial, Path::new("d/users.report.csv.partial"));
            assert_eq!(paths.json, Path::new("d/users.report.json"));
        }
        assert_eq!(
            Paths::beside(Path::new("-")).report,
            Path::new("stdin.report.csv")
        );
    }

    #[test]
    fn a_report_that_cannot_be_there_is_refused_before_anything_is_sent() {
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

    #[cfg(unix)]
    #[test]
    fn what_a_killed_run_left_half_written_is_removed_and_nothing_else() {
        let desk = Desk::new(1);
        let paths = desk.paths();
        let plant = |place: &Path| temporary(place).unwrap().keep().unwrap().1;
        let stale = plant(&paths.report);
        let link = desk.path(&format!(
            "{}link{TEMPORARY}",
            temporary_prefix(&paths.report)
        ));
        std::os::unix::fs::symlink(desk.path("users.csv"), &link).unwrap();
        // The JSON's own are removed by whoever writes the next.
        let kept = [
            plant(&paths.json),
            plant(&desk.path("other.report.csv")),
            link,
            desk.path("users.csv"),
        ];
        drop(desk.resume());
        assert!(!stale.exists());
        assert!(kept.iter().all(|path| path.exists()));
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_can_read_what_is_written() {
        use std::os::unix::fs::MetadataExt;

        let desk = Desk::new(0);
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        let (journal, _) = desk.resume();
        assert_eq!(mode(&desk.paths().partial), 0o600);
        desk.finish(journal, false).unwrap();
        assert_eq!(
            (mode(&desk.paths().report), mode(&desk.paths().json)),
            (0o600, 0o600)
        );
    }
}
