//! Writes a file whole or not at all, and clears up what a killed run has left of the same file. Whoever writes one here
//! holds the lock of its temporary file, so that nobody takes that for a leftover; the report itself is guarded by its
//! journal's lock, and made elsewhere.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use crate::error::{Error, Kind, Result};
use crate::report::files::{
    folder_of, guarded, is_still_at, leftovers, name, sync_folder, temporary,
};

/// How often a new temporary file may be taken for a leftover, in the moment before it is locked.
const ATTEMPTS: usize = 100;

/// Writes a file so that there is either the old one or the whole new one, never a part.
///
/// # Errors
/// Of [`Kind::MidRun`], naming the file.
pub fn write_atomically(
    place: &Path,
    content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    remove_abandoned(place);
    let write = || {
        let mut file = io::BufWriter::new(held(place)?);
        content(&mut file)?;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.as_file().sync_all()?;
        file.persist(place).map_err(|error| error.error)?;
        sync_folder(folder_of(place))
    };
    write().map_err(|error| {
        Error::new(
            Kind::MidRun,
            format!("{} can't be written: {error}", name(place)),
        )
    })
}

/// Finds out, before anything is sent, whether a file can be written here later: its folder is there, and nothing stands in
/// its place but a link, which is replaced, or an earlier file of the same kind, which begins with `ours`.
///
/// # Errors
/// Of [`Kind::Usage`], naming the file.
pub(super) fn check_place(place: &Path, ours: &str) -> Result<()> {
    let refused = |why: &str| {
        Err(Error::new(
            Kind::Usage,
            format!("{} can't be written: {why}", name(place)),
        ))
    };
    if !folder_of(place).is_dir() {
        return refused("its folder is not there");
    }
    let found = match fs::symlink_metadata(place) {
        Ok(found) if found.is_symlink() => return Ok(()),
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return refused(&error.to_string()),
    };
    if !found.is_file() {
        return refused("what is there is not a plain file");
    }
    let mut beginning = Vec::new();
    let read =
        File::open(place).and_then(|file| file.take(ours.len() as u64).read_to_end(&mut beginning));
    match read {
        Ok(_) if beginning.is_empty() || beginning == ours.as_bytes() => Ok(()),
        Ok(_) => refused("another kind of file is there, which would be lost"),
        Err(error) => refused(&format!("what is there can't be read: {error}")),
    }
}

/// A temporary file whose lock goes with this process. Where a file system knows no locks, nobody gets one, and nothing
/// is cleared up.
fn held(place: &Path) -> io::Result<NamedTempFile> {
    for _ in 0..ATTEMPTS {
        let made = temporary(place)?;
        let taken_away = matches!(made.as_file().try_lock(), Err(TryLockError::WouldBlock));
        if !taken_away && is_still_at(made.path(), made.as_file()) {
            return Ok(made);
        }
    }
    Err(io::Error::other(
        "its temporary file is removed again and again by something else",
    ))
}

/// Removes the temporary files of this place that no process holds. What can't be looked at or removed is left: it is in
/// nobody's way.
fn remove_abandoned(place: &Path) {
    for left in leftovers(place) {
        let Ok(file) = guarded().open(&left) else {
            continue;
        };
        if file.try_lock().is_ok() && is_still_at(&left, &file) {
            drop(fs::remove_file(&left));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_lost_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let allowed =
            |name: &str| check_place(&at(name), "# ours").map_err(|error| error.to_string());
        fs::write(at("earlier"), "# ours, of last night").unwrap();
        fs::write(at("empty"), "").unwrap();
        for name in ["nothing", "earlier", "empty"] {
            assert_eq!(allowed(name), Ok(()));
        }
        fs::write(at("table"), "user_id,mfa_opt_out").unwrap();
        fs::create_dir(at("folder")).unwrap();
        for (name, why) in [
            ("table", "another kind of file"),
            ("folder", "not a plain file"),
            ("no/folder", "its folder is not there"),
        ] {
            assert!(allowed(name).unwrap_err().contains(why), "{name}");
        }
    }

    #[test]
    fn of_two_temporary_files_the_one_that_is_being_written_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("page.html");
        let left = temporary(&place).unwrap().keep().unwrap().1;
        let of_another = temporary(&folder.path().join("other.html"))
            .unwrap()
            .keep()
            .unwrap()
            .1;
        let written = held(&place).unwrap();
        write_atomically(&place, |out| {
            assert!(!left.exists());
            out.write_all(b"whole")
        })
        .unwrap();
        assert!(written.path().exists() && of_another.exists());
        assert_eq!(fs::read(&place).unwrap(), b"whole");
    }
}
