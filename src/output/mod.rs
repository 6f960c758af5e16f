//! Creates all files that a run leaves behind: the report, its record, the page, the metrics, the
//! list of problems.
//!
//! An [`Output`] is created before anything is sent. It refuses a place that can't be written to,
//! and remembers which file was there. At the end, the content is written to a private temporary
//! file (mode 0600, a random name, in the same folder), which is synced and renamed. A file that
//! has appeared at the place in the meantime is never replaced.

mod absolute;
pub(crate) mod disk;
mod identity;

use std::fs::{self, File, Metadata, TryLockError};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tempfile::NamedTempFile;

pub(crate) use self::absolute::{absolute, canonical};
pub use self::identity::{FileId, is_same_file};
pub(crate) use self::identity::{
    check_private, guarded, guarded_to_append, guarded_to_replace, is_at, kind_in_words,
};
use crate::error::{Error, Kind, Result};
use crate::text::{Reason, shown_path, visible_path};

/// The number of temporary files that other programs may remove before it is an error.
const MAX_TEMPORARY_ATTEMPTS: usize = 100;

/// The ending of the names of temporary files.
const TEMPORARY_SUFFIX: &str = ".tmp";

/// A file that a run will write.
#[derive(Clone, Debug)]
pub struct Output {
    path: PathBuf,
    previous: Previous,
}

/// What was at the place of an output when it was checked.
#[derive(Clone, Debug)]
enum Previous {
    /// No file.
    Nothing,
    /// A file that may be replaced as long as nobody writes to it.
    Replaceable(Arc<PreviousFile>),
    /// A file that must not be replaced.
    Kept,
}

/// A file that was at the place of an output when it was checked.
#[derive(Debug)]
struct PreviousFile {
    /// The open file, so that no other file can get its identity.
    file: File,
    length: u64,
    /// When it was last written to; `None` on systems that do not say so.
    modified: Option<SystemTime>,
}

impl PreviousFile {
    fn new(file: File) -> io::Result<Self> {
        let found = file.metadata()?;
        Ok(Self {
            file,
            length: found.len(),
            modified: found.modified().ok(),
        })
    }

    /// Checks whether this file is at `path` and has not been written to since it was checked.
    fn is_unchanged_at(&self, path: &Path) -> io::Result<bool> {
        let found = self.file.metadata()?;
        let is_unchanged = found.len() == self.length && found.modified().ok() == self.modified;
        Ok(is_unchanged && is_at(path, &self.file))
    }
}

/// What to do with a file that already exists at the place of an output.
#[derive(Clone, Copy, Debug)]
pub enum Existing<'a> {
    /// Refuse the place with an error.
    Refuse,
    /// Keep the file. The caller decides later what follows.
    Keep,
    /// Replace the file.
    Replace,
    /// Replace the file if it is empty or begins with this text, as an earlier output of the same
    /// kind does. Otherwise refuse the place with an error.
    ReplaceIfBegins(&'a str),
    /// Refuse the place with an error unless the file is empty or begins with this text. Then
    /// replace it.
    RefuseUnlessBegins(&'a str),
}

/// What is at the place of an output now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occupancy {
    /// No file.
    Free,
    /// The file that was there before and may be replaced.
    Replaceable,
    /// A file that must not be replaced, because it must be kept or has appeared in the meantime.
    Occupied,
}

impl Output {
    /// Checks that a file can be written to `path` later.
    ///
    /// # Errors
    /// An error of `kind` that names the path: the folder is missing, something other than a plain
    /// file is there (a link, a pipe, a device, a folder), or a file that must not be replaced,
    /// belongs to another user or is write-protected.
    pub fn check(path: &Path, existing: Existing<'_>, kind: Kind) -> Result<Self> {
        match look(path, existing) {
            Ok(previous) => Ok(Self {
                path: path.to_owned(),
                previous,
            }),
            Err(obstacle) => {
                let message = format!("{} {}", shown_path(path), obstacle.reason);
                let error = Error::new(kind, message);
                Err(match obstacle.help {
                    Some(help) => error.help(help),
                    None => error,
                })
            }
        }
    }

    /// Returns the path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Checks whether there was a file that must be kept.
    #[must_use]
    pub fn was_occupied(&self) -> bool {
        matches!(self.previous, Previous::Kept)
    }

    /// Returns what is at the place now.
    ///
    /// # Errors
    /// Errors of the operating system.
    pub fn occupancy(&self) -> io::Result<Occupancy> {
        match fs::symlink_metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Occupancy::Free),
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        match &self.previous {
            Previous::Replaceable(previous) if previous.is_unchanged_at(&self.path)? => {
                Ok(Occupancy::Replaceable)
            }
            _ => Ok(Occupancy::Occupied),
        }
    }

    /// Creates a private temporary file for the output's content, and removes those that killed
    /// runs have left behind.
    ///
    /// # Errors
    /// Errors of the operating system.
    pub fn create(&self) -> io::Result<NamedTempFile> {
        remove_leftovers(&self.path);
        temporary(&self.path)
    }

    /// Syncs a temporary file and renames it to the output's name. The folder is not synced.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if a file that must not be replaced is there, and errors of
    /// the operating system.
    pub fn put(&self, file: NamedTempFile) -> io::Result<()> {
        disk::sync_file(file.as_file(), &self.path)?;
        match self.occupancy()? {
            Occupancy::Free => disk::rename_new(file, &self.path),
            Occupancy::Replaceable => disk::rename_over(file, &self.path),
            Occupancy::Occupied => Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "a file has appeared there in the meantime",
            )),
        }
    }

    /// Syncs and renames a temporary file like [`put`](Self::put), but replaces any file. The
    /// caller ensures that this is allowed.
    ///
    /// # Errors
    /// Errors of the operating system.
    pub(crate) fn put_over(&self, file: NamedTempFile) -> io::Result<()> {
        disk::sync_file(file.as_file(), &self.path)?;
        disk::rename_over(file, &self.path)
    }

    /// Writes the output atomically: either the whole file is there, or nothing has changed.
    ///
    /// # Errors
    /// [`Kind::MidRun`], with the path.
    pub fn write(&self, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
        self.try_write(content).map_err(|error| {
            let message = format!(
                "{} can't be written: {}",
                visible_path(&self.path),
                Reason(&error)
            );
            Error::new(Kind::MidRun, message)
        })
    }

    fn try_write(&self, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        let file = fill(self.create()?, content)?;
        self.put(file)?;
        disk::sync_folder(folder_of(&self.path))
    }
}

/// Checks that files can be created and removed in the folder of `path`, by creating and removing a
/// temporary file.
///
/// # Errors
/// An error of `kind` that names the path.
pub fn probe_folder(path: &Path, kind: Kind) -> Result<()> {
    let probed = temporary(path).and_then(NamedTempFile::close);
    probed.map_err(|error| {
        let file = visible_path(path);
        let folder = visible_path(folder_of(path));
        let message = format!(
            "{file} can't be written: files in {folder} can't be created or removed: {}",
            Reason(&error)
        );
        Error::new(kind, message)
    })
}

/// Writes content into a temporary file.
pub(crate) fn fill(
    file: NamedTempFile,
    content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<NamedTempFile> {
    let mut buffered = BufWriter::new(file);
    content(&mut buffered)?;
    buffered
        .into_inner()
        .map_err(io::IntoInnerError::into_error)
}

/// The reason why a file can't be written, and what to do about it.
struct Obstacle {
    /// The end of a sentence that begins with the path.
    reason: String,
    help: Option<&'static str>,
}

impl Obstacle {
    fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            help: None,
        }
    }
}

fn look(path: &Path, existing: Existing<'_>) -> std::result::Result<Previous, Obstacle> {
    let folder = fs::metadata(folder_of(path)).map_err(|error| {
        Obstacle::new(format!(
            "can't be written: its folder is not there: {}",
            Reason(&error)
        ))
    })?;
    if !folder.is_dir() {
        let reason = format!(
            "can't be written: {} is not a folder",
            visible_path(folder_of(path))
        );
        return Err(Obstacle::new(reason));
    }
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Previous::Nothing),
        Err(error) => {
            return Err(Obstacle::new(format!(
                "can't be looked at: {}",
                Reason(&error)
            )));
        }
    };
    check_plain(&found)?;
    match existing {
        Existing::Refuse => Err(Obstacle {
            reason: "exists already".to_owned(),
            help: Some("--overwrite replaces it, --report gives the new one another name"),
        }),
        Existing::Keep => Ok(Previous::Kept),
        Existing::Replace => open_to_replace(path).map(Previous::Replaceable),
        Existing::ReplaceIfBegins(beginning) => {
            let previous = open_to_replace(path)?;
            if begins_with(&previous.file, beginning)? {
                return Ok(Previous::Replaceable(previous));
            }
            Err(Obstacle::new(
                "can't be written: another kind of file is there, which would be lost",
            ))
        }
        Existing::RefuseUnlessBegins(beginning) => {
            let previous = open_to_replace(path)?;
            if begins_with(&previous.file, beginning)? {
                return Ok(Previous::Replaceable(previous));
            }
            Err(Obstacle {
                reason: "exists already".to_owned(),
                help: Some("--overwrite replaces it; or give the new file another name"),
            })
        }
    }
}

fn check_plain(found: &Metadata) -> std::result::Result<(), Obstacle> {
    if found.is_file() {
        return Ok(());
    }
    let kind = kind_in_words(found);
    Err(Obstacle::new(format!(
        "is {kind}, so nothing is written there"
    )))
}

/// Opens a file that is to be replaced.
///
/// It is opened for writing although nothing is written to it. This fails if it is immutable or
/// write-protected or, on Windows, held open by another program, such as a spreadsheet.
fn open_to_replace(path: &Path) -> std::result::Result<Arc<PreviousFile>, Obstacle> {
    let owner = fs::symlink_metadata(path).map_err(cant_be_replaced)?;
    identity::check_owner(&owner).map_err(Obstacle::new)?;
    let file = guarded_to_replace().open(path).map_err(cant_be_replaced)?;
    let found = file.metadata().map_err(cant_be_replaced)?;
    check_plain(&found)?;
    identity::check_owner(&found).map_err(Obstacle::new)?;
    let previous = PreviousFile::new(file).map_err(cant_be_replaced)?;
    Ok(Arc::new(previous))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it is the argument of `map_err`"
)]
fn cant_be_replaced(error: io::Error) -> Obstacle {
    Obstacle::new(format!(
        "exists already and can't be replaced: {}",
        Reason(&error)
    ))
}

/// Checks whether a file begins with this text or is empty.
fn begins_with(file: &File, beginning: &str) -> std::result::Result<bool, Obstacle> {
    let mut read = Vec::new();
    file.take(beginning.len() as u64)
        .read_to_end(&mut read)
        .map_err(cant_be_replaced)?;
    Ok(read.is_empty() || read == beginning.as_bytes())
}

/// Returns the folder of a file, which is `.` if the path has none.
#[must_use]
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Creates a file with an unpredictable name in the folder of `place`.
///
/// It has mode 0600 and is removed unless it is renamed. It is locked as long as this process has
/// it, so that no other run takes it for a leftover.
fn temporary(place: &Path) -> io::Result<NamedTempFile> {
    let place = &disk::path_of_any_length(place);
    for _ in 0..MAX_TEMPORARY_ATTEMPTS {
        let made = tempfile::Builder::new()
            .prefix(&temporary_prefix(place))
            .suffix(TEMPORARY_SUFFIX)
            .tempfile_in(folder_of(place))?;
        // On a file system without locks nobody gets one, and then nothing is taken for a leftover.
        let is_taken = matches!(made.as_file().try_lock(), Err(TryLockError::WouldBlock));
        if !is_taken && is_at(made.path(), made.as_file()) {
            return Ok(made);
        }
    }
    Err(io::Error::other(
        "its temporary file is removed again and again by something else",
    ))
}

/// Returns the prefix of the names of the temporary files of one place.
fn temporary_prefix(place: &Path) -> String {
    let name = place.file_name().unwrap_or_default();
    let hash = blake3::hash(name.as_encoded_bytes()).to_hex();
    format!(".mfa-optout-{}-", &hash[..8])
}

/// Removes the temporary files of one place that killed runs have left behind. Files that can't be
/// checked or removed do no harm and are ignored.
pub(crate) fn remove_leftovers(place: &Path) {
    let prefix = temporary_prefix(place);
    let Ok(entries) = fs::read_dir(folder_of(place)) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(&prefix) && name.ends_with(TEMPORARY_SUFFIX) {
            remove_if_abandoned(&entry.path());
        }
    }
}

/// Removes a temporary file of this user that no process has locked.
fn remove_if_abandoned(path: &Path) {
    let is_ours = fs::symlink_metadata(path)
        .is_ok_and(|found| found.is_file() && check_private(&found).is_ok());
    if !is_ours {
        return;
    }
    let Ok(file) = guarded().write(true).open(path) else {
        return;
    };
    if file.try_lock().is_ok() && is_at(path, &file) {
        let _ = disk::remove(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(path: &Path, existing: Existing<'_>) -> Result<Output> {
        Output::check(path, existing, Kind::Usage)
    }

    fn text(output: &Output, text: &str) -> Result<()> {
        output.write(|out| out.write_all(text.as_bytes()))
    }

    #[test]
    fn a_file_of_another_kind_is_refused_and_an_earlier_output_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("earlier"), "# ours, of last night").unwrap();
        fs::write(at("empty"), "").unwrap();
        for name in ["nothing", "earlier", "empty"] {
            let output = checked(&at(name), Existing::ReplaceIfBegins("# ours")).unwrap();
            text(&output, "# ours, new").unwrap();
            assert_eq!(fs::read(at(name)).unwrap(), b"# ours, new");
        }
        fs::write(at("table"), "user_id,mfa_opt_out").unwrap();
        fs::write(at("short"), "# ou").unwrap();
        fs::create_dir(at("folder")).unwrap();
        for (name, why) in [
            ("table", "another kind of file"),
            ("short", "another kind of file"),
            ("folder", "is a folder"),
            ("no/folder", "its folder is not there"),
            ("table/file", "is not a folder"),
        ] {
            let error = checked(&at(name), Existing::ReplaceIfBegins("# ours")).unwrap_err();
            assert!(error.message().contains(why), "{name}: {error}");
        }
        let error = checked(&at("table"), Existing::Refuse).unwrap_err();
        assert!(error.message().ends_with("table exists already"), "{error}");
    }

    #[test]
    fn a_file_that_appears_after_the_check_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("page.html");
        for existing in [
            Existing::Refuse,
            Existing::Replace,
            Existing::ReplaceIfBegins("# ours"),
        ] {
            let _ = fs::remove_file(&path);
            let output = checked(&path, existing).unwrap();
            fs::write(&path, "# ours, but of another run").unwrap();
            let error = text(&output, "new").unwrap_err();
            assert!(error.message().contains("has appeared"), "{error}");
            assert_eq!(fs::read(&path).unwrap(), b"# ours, but of another run");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn a_file_that_replaced_the_checked_one_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("page.html");
        fs::write(&path, "old").unwrap();
        let output = checked(&path, Existing::Replace).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "another").unwrap();
        text(&output, "new").unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), b"another");
    }

    #[test]
    fn a_file_that_was_written_to_after_the_check_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("page.html");
        for content in ["a longer one", "new"] {
            fs::write(&path, "old").unwrap();
            let output = checked(&path, Existing::Replace).unwrap();
            let file = File::options().write(true).open(&path).unwrap();
            (&file).write_all(content.as_bytes()).unwrap();
            // The clock of the file system may be too coarse to tell the two times apart.
            let another = SystemTime::UNIX_EPOCH;
            file.set_modified(another).unwrap();
            text(&output, "mine").unwrap_err();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
    }

    #[test]
    fn a_temporary_file_of_a_killed_run_is_removed_and_one_in_use_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("page.html");
        let left = temporary(&place).unwrap().keep().unwrap().1;
        let of_another = temporary(&folder.path().join("other.html"))
            .unwrap()
            .keep()
            .unwrap()
            .1;
        let written = temporary(&place).unwrap();
        let output = checked(&place, Existing::Refuse).unwrap();
        output
            .write(|out| {
                assert!(!left.exists());
                out.write_all(b"whole")
            })
            .unwrap();
        assert!(written.path().exists() && of_another.exists());
        assert_eq!(fs::read(&place).unwrap(), b"whole");
    }

    #[test]
    fn a_file_whose_path_is_longer_than_260_characters_is_written_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let long = folder.path().join("n".repeat(120)).join("m".repeat(120));
        fs::create_dir_all(&long).unwrap();
        let path = long.join("page.html");
        for content in ["first", "second"] {
            let output = checked(&path, Existing::Replace).unwrap();
            text(&output, content).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        assert_eq!(fs::read_dir(&long).unwrap().count(), 1);
    }

    #[test]
    fn content_is_synced_before_the_rename_and_the_folder_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("page.html");
        for existing in [Existing::Refuse, Existing::Replace] {
            let output = checked(&path, existing).unwrap();
            let (written, calls) = disk::watch::calls_of(|_| false, || text(&output, "new"));
            written.unwrap();
            let expected = [
                "sync page.html",
                "rename page.html",
                "sync the folder of its files",
            ];
            assert_eq!(calls, expected);
        }
    }

    #[cfg(windows)]
    #[test]
    fn a_file_that_another_program_holds_open_is_not_taken_for_replaceable() {
        use std::os::windows::fs::OpenOptionsExt;

        const SHARE_READ: u32 = 1;
        const SHARE_READ_AND_WRITE: u32 = 3;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.report.csv");
        fs::write(&path, "old").unwrap();
        for share in [SHARE_READ, SHARE_READ_AND_WRITE] {
            let held = File::options()
                .read(true)
                .share_mode(share)
                .open(&path)
                .unwrap();
            let error = checked(&path, Existing::Replace).unwrap_err();
            assert!(
                error.message().contains("open in another program"),
                "{error}"
            );
            drop(held);
            checked(&path, Existing::Replace).unwrap();
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_new_file_does_not_inherit_permissions_or_hard_links() {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};

        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("list.csv"), "# ours").unwrap();
        fs::set_permissions(at("list.csv"), fs::Permissions::from_mode(0o666)).unwrap();
        fs::hard_link(at("list.csv"), at("second-name")).unwrap();
        let output = checked(&at("list.csv"), Existing::ReplaceIfBegins("# ours")).unwrap();
        text(&output, "# ours, with names of people").unwrap();
        assert_eq!(fs::read(at("second-name")).unwrap(), b"# ours");
        let written = fs::metadata(at("list.csv")).unwrap();
        assert_eq!((written.mode() & 0o777, written.nlink()), (0o600, 1));
    }

    #[cfg(unix)]
    #[test]
    fn links_pipes_and_devices_are_refused_without_blocking() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("precious"), "# ours").unwrap();
        std::os::unix::fs::symlink(at("precious"), at("link")).unwrap();
        std::os::unix::fs::symlink(at("missing"), at("dangling")).unwrap();
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), fifo, mode, 0).unwrap();
        let device = Path::new("/dev/null").to_owned();
        for (path, why) in [
            (at("link"), "is a symbolic link"),
            (at("dangling"), "is a symbolic link"),
            (at("pipe"), "is not a plain file"),
            (device, "is not a plain file"),
        ] {
            let error = checked(&path, Existing::ReplaceIfBegins("# ours")).unwrap_err();
            assert!(error.message().contains(why), "{error}");
        }
    }
}
