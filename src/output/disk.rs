//! System calls that change names in a directory or wait for the disk.
//!
//! All such calls go through this module, so that tests can record their order and make any of them
//! fail (see `watch`).

use std::fs::{self, File};
use std::io;
use std::path::Path;

use tempfile::NamedTempFile;

/// Writes all content of a file to the disk. `place` is the name that the file has or will get.
pub(crate) fn sync_file(file: &File, place: &Path) -> io::Result<()> {
    about_to("sync", place)?;
    file.sync_all()
}

/// Writes the content of a journal to the disk.
pub(crate) fn sync_journal(file: &File) -> io::Result<()> {
    about_to("sync", Path::new("journal"))?;
    file.sync_data()
}

/// Writes the names in a folder to the disk, so that they survive a power cut.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    about_to("sync the folder of", &folder.join("its files"))?;
    platform::sync_folder(folder)
}

/// Gives a temporary file its name. Fails if a file with this name exists.
pub(crate) fn rename_new(file: NamedTempFile, place: &Path) -> io::Result<()> {
    about_to("rename", place)?;
    file.persist_noclobber(place)
        .map(drop)
        .map_err(|error| error.error)
}

/// Gives a temporary file its name, replacing a file that has it.
///
/// On Windows, `fs::rename` also replaces a file that is open, which `NamedTempFile::persist` does
/// not.
pub(crate) fn rename_over(file: NamedTempFile, place: &Path) -> io::Result<()> {
    about_to("rename", place)?;
    let (file, path) = file.keep().map_err(|error| error.error)?;
    let renamed = fs::rename(&path, place);
    drop(file);
    if renamed.is_err() {
        // If this fails, a later run removes the temporary file.
        let _ = fs::remove_file(&path);
    }
    renamed
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
    use std::fs::File;
    use std::io;
    use std::path::Path;

    pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }
}

#[cfg(not(unix))]
mod platform {
    use std::io;
    use std::path::Path;

    /// Does nothing: a folder can't be opened here, and the file system writes names in order by
    /// itself.
    pub(super) fn sync_folder(_: &Path) -> io::Result<()> {
        Ok(())
    }
}
