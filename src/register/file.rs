//! The register as a file, and the lock that one run at a time holds on it.
//!
//! The register is only ever replaced as a whole. Beside it stands `FILE.lock`, which is never
//! deleted: the run that holds its lock may replace the register. The lock file names the journal
//! of the last run that used the register. A journal that is still there when the next run takes
//! the lock was left by a run that was interrupted.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Register;
use crate::error::{Error, Kind, Result};
use crate::output::{
    Existing, Output, canonical, check_private, folder_of, guarded, is_at, kind_in_words,
    remove_leftovers,
};
use crate::text::{self, Reason};

/// Number of times that the lock file may be replaced between opening and locking before that is an
/// error.
const LOCK_ATTEMPTS: usize = 100;
/// The size limit in bytes of the lock file.
const MAX_LOCK_BYTES: u64 = 64 << 20;

/// Where a register is, whether or not it is there yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterFile {
    path: PathBuf,
}

/// A register as it was read.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What they say.
    pub register: Register,
}

/// The content of the lock file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LockState {
    /// The journal of the last run that used the register.
    pub journal: Option<PathBuf>,
    /// Whether the register was ever written, so that one that is missing was lost.
    pub was_written: bool,
    /// IDs of the users whose request failed last time, who are sent last next time.
    pub failed: Vec<u64>,
    /// For users in doubt, whether the request that may have been made opts them out, by their IDs.
    /// It may be sent again at once; its opposite may not.
    pub doubts: BTreeMap<u64, bool>,
}

/// The lock on a register. It ends with this value, or with the process.
#[derive(Debug)]
pub struct RegisterLock {
    file: File,
    path: PathBuf,
    state: LockState,
}

impl RegisterFile {
    /// Returns the file that a path leads to. Links and other spellings of one file give the same
    /// value.
    ///
    /// # Errors
    /// Of [`Kind::Usage`] if its folder is not there.
    pub fn at(path: &Path) -> Result<Self> {
        if let Ok(path) = canonical(path) {
            return Ok(Self { path });
        }
        let folder = canonical(folder_of(path)).map_err(|error| {
            let message = format!("the folder of the register {} {error}", shown(path));
            Error::new(Kind::Usage, message)
        })?;
        let Some(name) = path.file_name() else {
            let message = format!("the register {} has no file name", shown(path));
            return Err(Error::new(Kind::Usage, message));
        };
        Ok(Self {
            path: folder.join(name),
        })
    }

    /// Returns the absolute path of the register.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path of the lock file.
    #[must_use]
    pub fn lock_path(&self) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(".lock");
        PathBuf::from(name)
    }

    /// Reads the register; `None` if there is none.
    ///
    /// # Errors
    /// Of [`Kind::Report`] if it can't be read, is open to other users, or is damaged; the line and
    /// the reason are named.
    pub fn read(&self) -> Result<Option<Stored>> {
        let Some(bytes) = read_private(&self.path)? else {
            return Ok(None);
        };
        match Register::parse(&bytes) {
            Ok(register) => Ok(Some(Stored { bytes, register })),
            Err(damage) => {
                let message = format!("the register {} is damaged, {damage}", shown(&self.path));
                Err(Error::new(Kind::Report, message).help(
                    "restore the file from a backup; without one, remove it and run `sync` with \
                     --full",
                ))
            }
        }
    }

    /// Returns the hash of the file; `None` if there is none.
    ///
    /// # Errors
    /// As [`read`](Self::read), but for damage.
    pub fn hash(&self) -> Result<Option<blake3::Hash>> {
        let bytes = read_private(&self.path)?;
        Ok(bytes.map(|bytes| blake3::hash(&bytes)))
    }

    /// Replaces the register by these bytes, which are a [register as
    /// CSV](Register::to_csv). The caller holds the lock.
    ///
    /// # Errors
    /// Of [`Kind::MidRun`] if it can't be written; the old one is left then.
    pub fn write(&self, csv: &[u8]) -> Result<()> {
        remove_leftovers(&self.path);
        let output = Output::check(&self.path, Existing::Replace, Kind::MidRun)?;
        output.write(|out| out.write_all(csv))
    }

    /// Takes the lock, creating the lock file if there is none.
    ///
    /// # Errors
    /// [`Kind::Busy`] if another run holds the lock; [`Kind::Report`] if the lock file can't be
    /// used.
    pub fn lock(&self) -> Result<RegisterLock> {
        let path = self.lock_path();
        for _ in 0..LOCK_ATTEMPTS {
            let file = guarded()
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .map_err(|error| {
                    refused(&path, format_args!("can't be opened: {}", Reason(&error)))
                })?;
            if let Some(lock) = self.locked(path.clone(), file)? {
                return Ok(lock);
            }
        }
        Err(refused(&path, "is replaced again and again"))
    }

    /// Takes the lock if there is a lock file. Creates nothing.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub fn lock_existing(&self) -> Result<Option<RegisterLock>> {
        let path = self.lock_path();
        match guarded().write(true).open(&path) {
            Ok(file) => self.locked(path, file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(refused(
                &path,
                format_args!("can't be opened: {}", Reason(&error)),
            )),
        }
    }

    /// Takes the lock of an opened lock file; `None` if the file was replaced in the meantime.
    fn locked(&self, path: PathBuf, file: File) -> Result<Option<RegisterLock>> {
        check_file(&path, &file)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(self.busy(&file)),
            Err(TryLockError::Error(error)) => {
                return Err(refused(
                    &path,
                    format_args!("can't be locked: {}", Reason(&error)),
                ));
            }
        }
        if !is_at(&path, &file) {
            return Ok(None);
        }
        let state = read_state(&file);
        Ok(Some(RegisterLock { file, path, state }))
    }

    fn busy(&self, lock: &File) -> Error {
        let run = match read_state(lock).journal {
            Some(journal) => format!("the run that writes {}", shown(&journal)),
            None => "another run".to_owned(),
        };
        let message = format!("the register {} is being used by {run}", shown(&self.path));
        Error::new(Kind::Busy, message).help(
            "wait until that run has finished, then run this \
            command again",
        )
    }
}

impl RegisterLock {
    /// Returns what the lock file says.
    #[must_use]
    pub fn state(&self) -> &LockState {
        &self.state
    }

    /// Replaces what the lock file says and returns when that is on the disk. After a crash in
    /// between, the file may say nothing; so a journal is named here before it is created.
    ///
    /// # Errors
    /// Of [`Kind::Report`] if it can't be written.
    pub fn set_state(&mut self, state: LockState) -> Result<()> {
        if state == self.state {
            return Ok(());
        }
        self.write_state(&state).map_err(|error| {
            refused(
                &self.path,
                format_args!("can't be written: {}", Reason(&error)),
            )
        })?;
        self.state = state;
        Ok(())
    }

    fn write_state(&self, state: &LockState) -> io::Result<()> {
        let json = serde_json::to_vec(state).map_err(io::Error::from)?;
        let mut file = &self.file;
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(&json)?;
        file.sync_all()
    }
}

/// Reads what a lock file says. One that a crash has left empty or torn says nothing.
fn read_state(mut file: &File) -> LockState {
    let mut json = Vec::new();
    let read = file
        .rewind()
        .and_then(|()| file.take(MAX_LOCK_BYTES).read_to_end(&mut json));
    match read {
        Ok(_) => serde_json::from_slice(&json).unwrap_or_default(),
        Err(_) => LockState::default(),
    }
}

/// Reads a file that nobody else can write to; `None` if there is none.
fn read_private(path: &Path) -> Result<Option<Vec<u8>>> {
    let mut file = match guarded().open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(refused(
                path,
                format_args!("can't be opened: {}", Reason(&error)),
            ));
        }
    };
    check_file(path, &file)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)
        .map_err(|error| refused(path, format_args!("can't be read: {}", Reason(&error))))?;
    Ok(Some(bytes))
}

fn check_file(path: &Path, file: &File) -> Result<()> {
    let found = file
        .metadata()
        .map_err(|error| refused(path, format_args!("can't be looked at: {}", Reason(&error))))?;
    if !found.is_file() {
        return Err(refused(path, format_args!("is {}", kind_in_words(&found))));
    }
    check_private(&found).map_err(|why| refused(path, why))
}

fn refused(path: &Path, why: impl std::fmt::Display) -> Error {
    Error::new(Kind::Report, format!("{} {why}", shown(path)))
}

fn shown(path: &Path) -> String {
    text::visible(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::journal::Access;
    use crate::register::Owner;

    fn register() -> Register {
        let access = Access::Session {
            org: 1,
            email: String::new(),
        };
        Register::new(Owner {
            address: "https://example.org/".to_owned(),
            access,
        })
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = RegisterFile::at(&folder.path().join("register.csv")).unwrap();
        assert!(file.read().unwrap().is_none());
        file.write(&register().to_csv()).unwrap();
        file.write(&register().to_csv()).unwrap();
        let stored = file.read().unwrap().unwrap();
        assert_eq!(stored.register, register());
        assert_eq!(stored.bytes, register().to_csv());
    }

    #[test]
    fn a_damaged_register_is_refused_with_line_and_reason() {
        let folder = tempfile::tempdir().unwrap();
        let file = RegisterFile::at(&folder.path().join("register.csv")).unwrap();
        file.write(&register().to_csv()).unwrap();
        let text = fs::read_to_string(file.path()).unwrap();
        fs::write(file.path(), text.replace("user_id", "id")).unwrap();
        let error = file.read().unwrap_err();
        assert_eq!(error.kind(), Kind::Report);
        assert!(
            error
                .message()
                .contains("register.csv is damaged, line 2: "),
            "{error}"
        );
    }

    #[test]
    fn only_one_run_holds_the_lock_and_the_other_is_told_which() {
        let folder = tempfile::tempdir().unwrap();
        let file = RegisterFile::at(&folder.path().join("register.csv")).unwrap();
        assert!(file.lock_existing().unwrap().is_none());
        assert!(!file.lock_path().exists());
        let mut lock = file.lock().unwrap();
        let state = LockState {
            journal: Some(PathBuf::from("/srv/users.report.csv.partial")),
            was_written: true,
            failed: vec![7, 9],
            doubts: [(7, true)].into(),
        };
        lock.set_state(state.clone()).unwrap();
        for error in [file.lock().unwrap_err(), file.lock_existing().unwrap_err()] {
            assert_eq!(error.kind(), Kind::Busy);
            assert!(
                error.message().contains("users.report.csv.partial"),
                "{error}"
            );
        }
        drop(lock);
        assert_eq!(file.lock().unwrap().state(), &state);
        fs::write(file.lock_path(), "{\"journal\":\"/sr").unwrap();
        assert_eq!(file.lock().unwrap().state(), &LockState::default());
    }

    #[cfg(unix)]
    #[test]
    fn two_paths_of_one_register_have_one_lock_and_a_second_name_is_refused() {
        use std::os::unix::fs::symlink;

        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("real")).unwrap();
        symlink(at("real"), at("linked")).unwrap();
        let file = RegisterFile::at(&at("real/register.csv")).unwrap();
        assert_eq!(RegisterFile::at(&at("linked/register.csv")).unwrap(), file);
        file.write(&register().to_csv()).unwrap();
        symlink(file.path(), at("link.csv")).unwrap();
        assert_eq!(RegisterFile::at(&at("link.csv")).unwrap(), file);
        fs::hard_link(file.path(), at("second.csv")).unwrap();
        let error = file.read().unwrap_err();
        assert!(error.message().contains("second name"), "{error}");
    }
}
