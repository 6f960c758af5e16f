//! Reads small files that the tool relies on: config files, keys, certificates, and the record
//! beside an earlier report.
//!
//! A path may lead to anything. Only regular files are read, so that a named pipe or a device can
//! neither block the tool nor fill its memory, and only up to a size that the caller chooses.
//! Symbolic links are followed, because secrets and config files are often mounted as links.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

use crate::text::Reason;

/// The size limit in bytes of config files, certificates and run records.
pub const MAX_BYTES: u64 = 1 << 20;

/// The reason why a small file was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The operating system refused.
    #[error("{}", Reason(.0))]
    Io(#[from] io::Error),
    /// The path leads to a directory, a pipe, a device or a socket.
    #[error("it is not a regular file")]
    NotRegular,
    /// The file is larger than the limit, in bytes.
    #[error("it is larger than {} KiB", .0 >> 10)]
    TooLarge(u64),
    /// The file should be text but is not UTF-8.
    #[error("it is not UTF-8 text")]
    NotText,
}

impl ReadError {
    /// Checks whether there is no such file.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        let Self::Io(error) = self else {
            return false;
        };
        matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
        )
    }

    /// Checks whether the file could not be read, as opposed to having unusable content.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Io(_) | Self::NotRegular)
    }
}

/// Opens a regular file for reading. Never waits for a writer, as opening a named pipe would.
///
/// # Errors
/// [`ReadError::NotRegular`] for anything but a regular file, and errors of the operating system.
pub fn open(path: &Path) -> Result<(File, Metadata), ReadError> {
    // Checked before opening as well, because opening has an effect on some devices.
    if !fs::metadata(path)?.is_file() {
        return Err(ReadError::NotRegular);
    }
    let mut options = OpenOptions::new();
    options.read(true);
    set_nonblocking(&mut options);
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() {
        Ok((file, metadata))
    } else {
        Err(ReadError::NotRegular)
    }
}

/// Reads a whole regular file of at most `limit` bytes.
///
/// # Errors
/// As [`open`], and [`ReadError::TooLarge`].
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    let (file, metadata) = open(path)?;
    if metadata.len() > limit {
        return Err(ReadError::TooLarge(limit));
    }
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(ReadError::TooLarge(limit));
    }
    Ok(bytes)
}

/// Reads a whole regular file of at most `limit` bytes as UTF-8 text.
///
/// # Errors
/// As [`read`], and [`ReadError::NotText`].
pub fn read_text(path: &Path, limit: u64) -> Result<String, ReadError> {
    String::from_utf8(read(path, limit)?).map_err(|_| ReadError::NotText)
}

/// Makes opening return at once if a pipe has taken the file's place since it was checked.
#[cfg(unix)]
fn set_nonblocking(options: &mut OpenOptions) {
    use std::os::unix::fs::OpenOptionsExt;

    use rustix::fs::OFlags;

    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    options.custom_flags(flags.bits().cast_signed());
}

#[cfg(not(unix))]
fn set_nonblocking(_: &mut OpenOptions) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_exactly_the_limit_is_read_and_a_larger_one_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert!(matches!(read(&path, 4), Err(ReadError::TooLarge(4))));
        fs::write(&path, b"\xff").unwrap();
        assert!(matches!(read_text(&path, 5), Err(ReadError::NotText)));
        assert!(
            read(&folder.path().join("none"), 5)
                .unwrap_err()
                .is_not_found()
        );
        assert!(matches!(read(folder.path(), 5), Err(ReadError::NotRegular)));
    }

    #[cfg(unix)]
    #[test]
    fn pipes_and_devices_are_refused_and_links_to_regular_files_are_read() {
        use std::os::unix::fs::symlink;

        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("pipe"),
            rustix::fs::FileType::Fifo,
            mode,
            0,
        )
        .unwrap();
        symlink("/dev/zero", at("zero")).unwrap();
        fs::write(at("file"), "text").unwrap();
        symlink(at("file"), at("link")).unwrap();
        for name in ["pipe", "zero"] {
            assert!(
                matches!(read(&at(name), 5), Err(ReadError::NotRegular)),
                "{name}"
            );
        }
        assert_eq!(read_text(&at("link"), 5).unwrap(), "text");
    }
}
