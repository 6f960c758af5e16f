//! The identity of files, independent of their names: hard links, different spellings and links in
//! the path of a folder lead to the same [`FileId`].

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::path::Path;

/// The identity of a file: device and inode, or volume and file index on Windows.
///
/// Two equal values mean the same file only while that file exists. After that, the system may give
/// its number to a new file. Keep the file open to prevent that.
#[derive(Debug, PartialEq, Eq)]
pub struct FileId(platform::SystemId);

impl FileId {
    /// Returns the identity of the file or folder that a path leads to. Links are followed.
    ///
    /// # Errors
    /// Errors of the operating system, for example if there is no such file.
    pub fn at(path: &Path) -> io::Result<Self> {
        platform::id_at(path).map(Self)
    }
}

/// Checks whether two paths lead to the same file.
#[must_use]
pub fn is_same_file(one: &Path, other: &Path) -> bool {
    match (FileId::at(one), FileId::at(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

/// Checks whether an open file is the file at this path. A link to it does not count.
#[must_use]
pub(crate) fn is_at(path: &Path, file: &File) -> bool {
    match (platform::id_at_itself(path), platform::id_of(file)) {
        (Ok(at_path), Ok(opened)) => at_path == opened,
        _ => false,
    }
}

/// Returns options for opening a file that others may have put there. Links are not followed,
/// opening a pipe does not wait, and a file that is created is readable only by its owner.
pub(crate) fn guarded() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true);
    platform::never_follow(&mut options);
    options
}

/// Returns options for opening or creating a file to which only this process appends, with
/// [`append`](super::disk::append).
pub(crate) fn guarded_to_append() -> OpenOptions {
    let mut options = guarded();
    platform::allow_appending(&mut options);
    options
}

/// Returns options for opening a file that is to be replaced or removed later. On Windows, opening
/// fails if another program holds the file open in a way that prevents that, and such programs
/// can't open it as long as this process has it.
pub(crate) fn guarded_to_replace() -> OpenOptions {
    let mut options = guarded();
    options.write(true);
    platform::allow_replacing(&mut options);
    options
}

/// Checks that a file belongs to the user of this process.
///
/// # Errors
/// The reason in words.
pub(crate) fn check_owner(found: &Metadata) -> Result<(), String> {
    platform::check_owner(found)
}

/// Checks that no other user can read or write a file, by its owner, its permissions and its number
/// of names.
///
/// # Errors
/// The reason in words.
pub(crate) fn check_private(found: &Metadata) -> Result<(), String> {
    platform::check_owner(found)?;
    platform::check_private(found)
}

/// Returns the kind of a file that is not a plain file, in words.
pub(crate) fn kind_in_words(found: &Metadata) -> &'static str {
    if found.is_symlink() {
        "a symbolic link"
    } else if found.is_dir() {
        "a folder"
    } else {
        "not a plain file"
    }
}

#[cfg(unix)]
mod platform {
    use std::fs::{self, File, Metadata, OpenOptions};
    use std::io;
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
    use std::path::Path;

    use rustix::fs::OFlags;

    #[derive(Debug, PartialEq, Eq)]
    pub(super) struct SystemId {
        device: u64,
        inode: u64,
    }

    pub(super) fn id_of(file: &File) -> io::Result<SystemId> {
        Ok(id(&file.metadata()?))
    }

    /// Reads the metadata without opening the file, because opening a pipe would disturb its
    /// writer.
    pub(super) fn id_at(path: &Path) -> io::Result<SystemId> {
        Ok(id(&fs::metadata(path)?))
    }

    /// Returns the identity of the link if the path is one.
    pub(super) fn id_at_itself(path: &Path) -> io::Result<SystemId> {
        Ok(id(&fs::symlink_metadata(path)?))
    }

    fn id(found: &Metadata) -> SystemId {
        SystemId {
            device: found.dev(),
            inode: found.ino(),
        }
    }

    pub(super) fn never_follow(options: &mut OpenOptions) {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        options.mode(0o600).custom_flags(flags.bits().cast_signed());
    }

    pub(super) fn allow_appending(options: &mut OpenOptions) {
        options.append(true);
    }

    /// Does nothing: replacing and removing are up to the folder here.
    pub(super) fn allow_replacing(_: &mut OpenOptions) {}

    pub(super) fn check_owner(found: &Metadata) -> Result<(), String> {
        if found.uid() == rustix::process::geteuid().as_raw() {
            return Ok(());
        }
        Err(format!("belongs to another user (number {})", found.uid()))
    }

    pub(super) fn check_private(found: &Metadata) -> Result<(), String> {
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
}

#[cfg(windows)]
mod platform {
    use std::fs::{self, File, Metadata, OpenOptions};
    use std::io;
    use std::os::windows::fs::OpenOptionsExt;
    use std::path::Path;

    pub(super) use same_file::Handle as SystemId;

    // Access rights, see <https://learn.microsoft.com/windows/win32/secauthz/access-mask-format>.
    const GENERIC_READ: u32 = 1 << 31;
    const GENERIC_WRITE: u32 = 1 << 30;
    const DELETE: u32 = 1 << 16;

    pub(super) fn id_of(file: &File) -> io::Result<SystemId> {
        SystemId::from_file(file.try_clone()?)
    }

    pub(super) fn id_at(path: &Path) -> io::Result<SystemId> {
        SystemId::from_path(path)
    }

    pub(super) fn id_at_itself(path: &Path) -> io::Result<SystemId> {
        if fs::symlink_metadata(path)?.is_symlink() {
            return Err(io::Error::other("it is a link"));
        }
        id_at(path)
    }

    /// Does nothing: creating links needs a privilege here, and pipes have a name space of their
    /// own. Opening links themselves would also stop the download of files in cloud folders.
    pub(super) fn never_follow(_: &mut OpenOptions) {}

    /// Allows writing anywhere, because a handle that may only append can't shorten its file, as a
    /// torn journal must be (<https://github.com/rust-lang/rust/issues/105437>).
    pub(super) fn allow_appending(options: &mut OpenOptions) {
        options.write(true);
    }

    pub(super) fn allow_replacing(options: &mut OpenOptions) {
        options.access_mode(GENERIC_READ | GENERIC_WRITE | DELETE);
    }

    /// Does nothing: access is determined by the folder, which is in the user's own profile unless
    /// they choose otherwise.
    pub(super) fn check_owner(_: &Metadata) -> Result<(), String> {
        Ok(())
    }

    pub(super) fn check_private(_: &Metadata) -> Result<(), String> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn hard_links_and_other_spellings_are_the_same_file_and_a_copy_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("one"), "text").unwrap();
        fs::hard_link(at("one"), at("second-name")).unwrap();
        fs::write(at("copy"), "text").unwrap();
        fs::create_dir(at("inner")).unwrap();
        assert!(is_same_file(&at("one"), &at("second-name")));
        assert!(is_same_file(&at("one"), &at("inner/../one")));
        assert!(!is_same_file(&at("one"), &at("copy")));
        assert!(!is_same_file(&at("none"), &at("none")));
    }

    #[test]
    fn a_file_that_replaced_an_open_one_is_another_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "first").unwrap();
        let first = File::open(&path).unwrap();
        assert!(is_at(&path, &first));
        fs::rename(&path, folder.path().join("elsewhere")).unwrap();
        assert!(!is_at(&path, &first));
        fs::write(&path, "first").unwrap();
        assert!(!is_at(&path, &first));
    }

    #[test]
    fn a_file_to_append_to_can_be_read_shortened_and_appended_to() {
        use std::io::{Read as _, Seek as _};

        use crate::output::disk;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut file = guarded_to_append().create_new(true).open(&path).unwrap();
        disk::append(&mut file, b"whole, torn").unwrap();
        drop(file);
        let mut file = guarded_to_append().open(&path).unwrap();
        file.set_len(7).unwrap();
        let mut read = String::new();
        file.rewind().unwrap();
        (&file).take(3).read_to_string(&mut read).unwrap();
        disk::append(&mut file, b"next").unwrap();
        assert_eq!(read, "who");
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole, next");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_not_opened_and_is_not_the_file_that_it_leads_to() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "precious").unwrap();
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        std::os::unix::fs::symlink(at("missing"), at("dangling")).unwrap();
        for name in ["link", "dangling"] {
            let opened = guarded().open(at(name));
            assert_eq!(
                opened.unwrap_err().raw_os_error(),
                Some(rustix::io::Errno::LOOP.raw_os_error())
            );
            let created = guarded().append(true).create(true).open(at(name));
            assert!(created.is_err(), "{name}");
        }
        assert!(!at("missing").exists());
        assert!(!is_at(&at("link"), &File::open(at("file")).unwrap()));
    }
}
