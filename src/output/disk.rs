//! The calls that change names in a folder or wait for the disk. All of them go through here, so that a test can record
//! their order and let any of them fail (see `watch`).

use std::fs::{self, File};
use std::io;
use std::path::Path;

use tempfile::NamedTempFile;

/// Returns when all of a file's content is on the disk. `place` is the name that the file has or will get.
pub(crate) fn sync_file(file: &File, place: &Path) -> io::Result<()> {
    about_to("sync", place)?;
    file.sync_all()
}

/// Returns when the content of a journal is on the disk.
pub(crate) fn sync_journal(file: &File) -> io::Result<()> {
    about_to("sync", Path::new("journal"))?;
    file.sync_data()
}

/// Makes the names in a folder last through a power cut.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    about_to("sync the folder of", &folder.join("its files"))?;
    platform::sync_folder(folder)
}

/// Gives a temporary file its name, unless there is a file with this name already.
pub(crate) fn rename_new(file: NamedTempFile, place: &Path) -> io::Result<()> {
    about_to("rename", place)?;
    file.persist_noclobber(place)
        .map(drop)
        .map_err(|error| error.error)
}

/// Gives a temporary file its name and takes that name from the file that has it.
///
/// `fs::rename` replaces a file that is open on Windows as well, which `NamedTempFile::persist` does not.
pub(crate) fn rename_over(file: NamedTempFile, place: &Path) -> io::Result<()> {
    about_to("rename", place)?;
    let (file, path) = file.keep().map_err(|error| error.error)?;
    let renamed = fs::rename(&path, place);
    drop(file);
    if renamed.is_err() {
        // It has a name of its own; a later run removes it if this fails.
        let _ = fs::remove_file(&path);
    }
    renamed
}

/// Removes a file's name.
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

/// Watches the calls that one thread makes.
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

    /// Returns what `work` returns and the calls that it made in this thread. Calls for which `fails` holds are not made
    /// and fail.
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

    /// The file system writes names in order by itself; a folder can't be opened for this.
    pub(super) fn sync_folder(_: &Path) -> io::Result<()> {
        Ok(())
    }
}
