//! System calls that change names in a directory or wait for the disk.
//!
//! All such calls go through this module, so that tests can record their order and make any of them
//! fail (see `watch`).

use std::borrow::Cow;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use tempfile::NamedTempFile;

/// Writes all content of a file to the disk. `place` is the name that the file has or will get.
pub(crate) fn sync_file(file: &File, place: &Path) -> io::Result<()> {
    about_to("sync", place)?;
    platform::sync(file)
}

/// Writes the content of a journal to the disk. Does not count as a call in `watch`, because
/// another thread makes it.
pub(crate) fn sync_data(file: &File) -> io::Result<()> {
    platform::sync_data(file)
}

/// Writes the content of a journal to the disk.
pub(crate) fn sync_journal(file: &File) -> io::Result<()> {
    about_to("sync", Path::new("journal"))?;
    sync_data(file)
}

/// Writes bytes to the end of a file that was opened with
/// [`guarded_to_append`](super::guarded_to_append).
pub(crate) fn append(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    platform::append(file, bytes)
}

/// Returns a path that may be given to `tempfile`, however long it is.
pub(crate) fn path_of_any_length(path: &Path) -> Cow<'_, Path> {
    platform::path_of_any_length(path)
}

/// Writes the names in a folder to the disk, so that they survive a power cut.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    about_to("sync the folder of", &folder.join("its files"))?;
    platform::sync_folder(folder)
}

/// Gives a temporary file its name. Fails if a file with this name exists.
pub(crate) fn rename_new(file: NamedTempFile, place: &Path) -> io::Result<()> {
    about_to("rename", place)?;
    let renamed = file.persist_noclobber(path_of_any_length(place));
    platform::sync_name(&renamed.map_err(|error| error.error)?)
}

/// Gives a temporary file its name, replacing a file that has it. Unlike
/// `NamedTempFile::persist`, this also replaces a file that is open on Windows.
pub(crate) fn rename_over(file: NamedTempFile, place: &Path) -> io::Result<()> {
    about_to("rename", place)?;
    let (file, path) = file.keep().map_err(|error| error.error)?;
    let renamed = platform::rename_over(&path, place);
    if renamed.is_err() {
        // If this fails, a later run removes the temporary file.
        let _ = fs::remove_file(&path);
        return renamed;
    }
    platform::sync_name(&file)
}

/// Removes a file.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    about_to("remove", path)?;
    fs::remove_file(path)
}

#[cfg(not(test))]
#[expect(clippy::unnecessary_wraps, reason = "fails in tests")]
fn about_to(_: &str, _: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
use self::watch::about_to;

/// Records the calls that one thread makes.
#[cfg(test)]
pub(crate) mod watch {
    use std::cell::RefCell;
    use std::io;
    use std::path::Path;

    type Fails = Box<dyn Fn(&str) -> bool>;

    thread_local! {
        static WATCH: RefCell<Option<(Vec<String>, Fails)>> = const { RefCell::new(None) };
    }

    pub(super) fn about_to(what: &str, place: &Path) -> io::Result<()> {
        WATCH.with_borrow_mut(|watch| {
            let Some((calls, fails)) = watch else {
                return Ok(());
            };
            let name = place.file_name().unwrap_or_default().to_string_lossy();
            let call = format!("{what} {name}");
            let failed = fails(&call);
            calls.push(call);
            if failed {
                Err(io::Error::other("the disk is broken"))
            } else {
                Ok(())
            }
        })
    }

    /// Runs `work` and returns its result and the calls that it made in this thread. Calls for
    /// which `fails` returns true are not made and fail.
    pub(crate) fn calls_of<T>(
        fails: impl Fn(&str) -> bool + 'static,
        work: impl FnOnce() -> T,
    ) -> (T, Vec<String>) {
        WATCH.set(Some((Vec::new(), Box::new(fails))));
        let done = work();
        let watched = WATCH.take();
        (done, watched.map(|(calls, _)| calls).unwrap_or_default())
    }
}

#[cfg(unix)]
mod platform {
    use std::borrow::Cow;
    use std::fs::{self, File};
    use std::io::{self, Write as _};
    use std::path::Path;

    use rustix::io::Errno;

    pub(super) fn append(file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    pub(super) fn path_of_any_length(path: &Path) -> Cow<'_, Path> {
        path.into()
    }

    pub(super) fn rename_over(from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    /// Does nothing: syncing the folder makes the name durable.
    #[expect(clippy::unnecessary_wraps, reason = "fails on Windows")]
    pub(super) fn sync_name(_: &File) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
        sync(&File::open(folder)?)
    }

    pub(super) fn sync(file: &File) -> io::Result<()> {
        file.sync_all().or_else(|error| sync_plainly(file, error))
    }

    pub(super) fn sync_data(file: &File) -> io::Result<()> {
        file.sync_data().or_else(|error| sync_plainly(file, error))
    }

    /// Calls `fsync` where the standard library's way of syncing is not supported. On macOS, it
    /// asks the disk itself to write (`F_FULLFSYNC`), which network volumes do not do.
    fn sync_plainly(file: &File, error: io::Error) -> io::Result<()> {
        let unsupported = [Errno::NOTSUP, Errno::INVAL, Errno::NOTTY];
        let is_unsupported =
            Errno::from_io_error(&error).is_some_and(|errno| unsupported.contains(&errno));
        if cfg!(target_vendor = "apple") && is_unsupported {
            Ok(rustix::fs::fsync(file)?)
        } else {
            Err(error)
        }
    }
}

#[cfg(windows)]
mod platform {
    use std::borrow::Cow;
    use std::fs::{self, File};
    use std::io::{self, Seek as _, SeekFrom, Write as _};
    use std::path::{self, Path};

    use crate::output::folder_of;

    /// Length in bytes below which the path of a temporary file beside a file with this path is
    /// certainly shorter than 260 characters.
    const SHORT: usize = 200;

    /// Moves to the end before writing, because the file is not opened in append mode (see
    /// `allow_appending`) and may have been read in the meantime. The caller has the file's lock,
    /// so that nobody else writes to it.
    pub(super) fn append(file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.seek(SeekFrom::End(0))?;
        file.write_all(bytes)
    }

    /// Returns a verbatim path (`\\?\...`) if the path is long. `tempfile` gives paths to the
    /// system as they are, and the system limits all but verbatim ones to 260 characters.
    pub(super) fn path_of_any_length(path: &Path) -> Cow<'_, Path> {
        let is_short = path::absolute(path).is_ok_and(|path| path.as_os_str().len() < SHORT);
        if is_short {
            return path.into();
        }
        match (fs::canonicalize(folder_of(path)), path.file_name()) {
            (Ok(folder), Some(name)) => folder.join(name).into(),
            _ => path.into(),
        }
    }

    /// Replaces a file. Some file systems, such as network shares, can't replace a file that is
    /// open, as the one to be replaced is in this process; then moves that file out of the way
    /// first. A kill in between leaves it with the ending `.old`.
    pub(super) fn rename_over(from: &Path, to: &Path) -> io::Result<()> {
        let renamed = fs::rename(from, to);
        let aside = from.with_extension("old");
        let is_denied = renamed
            .as_ref()
            .is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
        if !is_denied || fs::rename(to, &aside).is_err() {
            return renamed;
        }
        if let Err(error) = fs::rename(from, to) {
            fs::rename(&aside, to)?;
            return Err(error);
        }
        // What is left then does no harm.
        let _ = fs::remove_file(&aside);
        Ok(())
    }

    /// Makes the new name of a file durable: flushing the file writes the log of NTFS up to the
    /// last change of its name.
    pub(super) fn sync_name(file: &File) -> io::Result<()> {
        file.sync_all()
    }

    pub(super) fn sync(file: &File) -> io::Result<()> {
        file.sync_all()
    }

    pub(super) fn sync_data(file: &File) -> io::Result<()> {
        file.sync_data()
    }

    /// Does nothing: a folder can't be synced here, and syncing a file makes its name durable, see
    /// [`sync_name`].
    pub(super) fn sync_folder(_: &Path) -> io::Result<()> {
        Ok(())
    }
}
