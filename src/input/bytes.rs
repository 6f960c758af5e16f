//! The raw bytes of the input. They are hashed when the input is first read, in blocks. Every later
//! pass compares each block with its hash before it hands out anything of the block.

use std::fs::{File, FileType};
#[cfg(unix)]
use std::io::IsTerminal;
use std::io::{self, BufRead, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Kind, Result};
use crate::text::{Reason, shown_path};

/// Size in bytes of a block that is hashed.
const BLOCK: usize = 1 << 18;

/// The largest size in bytes of an input that comes from a pipe or is inflated, if no other limit
/// is given.
pub(super) const MAX_INPUT: u64 = 1 << 30;

/// The first bytes of a block's BLAKE3 hash: enough to detect a change even if somebody tries to
/// hide it.
type Digest = [u8; 16];

/// The place from which a table is read.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file, or something that behaves like one, such as a named pipe.
    Path(PathBuf),
    /// Standard input, which is copied into an unlinked file that nobody else can open, so that it
    /// can be read twice.
    Stdin,
    /// A copy that an earlier process made of the table.
    Copy(PrivateCopy),
}

/// A copy of the input's raw bytes, which may be a part of a file.
#[derive(Clone, Debug)]
pub struct PrivateCopy {
    /// The name that messages use.
    pub name: String,
    /// The file that holds the copy.
    pub file: Arc<File>,
    /// Offset of the first byte of the copy in the file.
    pub start: u64,
    /// Length of the copy in bytes.
    pub length: u64,
}

impl Source {
    /// Returns what messages call it, without anything that a terminal would obey.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Path(path) => shown_path(path),
            Self::Stdin => "standard input".to_owned(),
            Self::Copy(copy) => copy.name.clone(),
        }
    }
}

/// An opened input. It keeps the open file, so that another file that is put in its place later is
/// not read.
#[derive(Clone, Debug)]
pub(super) struct Bytes {
    pub(super) name: String,
    pub(super) size: u64,
    file: Arc<File>,
    /// Offset of the input's first byte in the file.
    start: u64,
    /// Offset of the byte behind the input; `None` for the end of the file.
    end: Option<u64>,
    /// Whether the file has only the input and nobody else can change it.
    is_private: bool,
}

impl Bytes {
    /// Opens an input. One that comes from a pipe is copied, up to `max_input` bytes.
    pub(super) fn open(source: &Source, max_input: Option<u64>) -> Result<Self> {
        let name = source.name();
        let limit = max_input.unwrap_or(MAX_INPUT);
        let (file, is_private) = match source {
            Source::Path(path) => open_file(path, &name, limit)?,
            Source::Stdin => (spool(io::stdin().lock(), &name, limit)?, true),
            Source::Copy(copy) => return Ok(Self::of_copy(copy.clone())),
        };
        Self::of_file(file, name, is_private)
    }

    /// Returns the bytes of a whole file. `is_private` says that nobody else can change it.
    pub(super) fn of_file(mut file: File, name: String, is_private: bool) -> Result<Self> {
        let size = file
            .seek(SeekFrom::End(0))
            .map_err(|error| unreadable(&name, &error))?;
        Ok(Self {
            name,
            size,
            file: Arc::new(file),
            start: 0,
            end: None,
            is_private,
        })
    }

    pub(super) fn of_copy(copy: PrivateCopy) -> Self {
        Self {
            name: copy.name,
            size: copy.length,
            file: copy.file,
            start: copy.start,
            end: Some(copy.start.saturating_add(copy.length)),
            is_private: false,
        }
    }

    /// Returns the same bytes in a file of their own that nobody else can change.
    pub(super) fn private_copy(&self) -> Result<Self> {
        if self.is_private {
            return Ok(self.clone());
        }
        let mut file: &File = &self.file;
        file.seek(SeekFrom::Start(self.start))
            .map_err(|error| unreadable(&self.name, &error))?;
        let copy = spool(file.take(self.size), &self.name, self.size)?;
        Self::of_file(copy, self.name.clone(), true)
    }

    /// Returns a handle to the file.
    pub(super) fn handle(&self) -> Result<File> {
        self.file
            .try_clone()
            .map_err(|error| unreadable(&self.name, &error))
    }

    /// Returns the bytes as something that a table can be read from.
    pub(super) fn as_source(&self) -> Source {
        Source::Copy(PrivateCopy {
            name: self.name.clone(),
            file: Arc::clone(&self.file),
            start: self.start,
            length: self.size,
        })
    }

    /// Returns a pass that computes the hashes.
    pub(super) fn hashed(&self) -> Blocks {
        self.blocks(HashMode::Compute {
            whole: Box::new(blake3::Hasher::new()),
            digests: Vec::new(),
        })
    }

    /// Returns a pass that fails instead of handing out bytes that differ from those that were
    /// hashed.
    pub(super) fn verified(&self, hashes: &BlockHashes) -> Blocks {
        self.blocks(HashMode::Verify {
            digests: Arc::clone(&hashes.digests),
            next: 0,
        })
    }

    fn blocks(&self, mode: HashMode) -> Blocks {
        Blocks {
            file: Arc::clone(&self.file),
            offset: self.start,
            end: self.end,
            block: Vec::new(),
            used: 0,
            mode,
        }
    }
}

/// Opens a file, or copies what is no plain file. Returns whether it was copied.
fn open_file(path: &Path, name: &str, limit: u64) -> Result<(File, bool)> {
    // Windows denies opening a folder in words that do not say what is wrong.
    if path.is_dir() {
        return Err(
            Error::new(Kind::Input, format!("{name} is a folder, not a file"))
                .help("give the table itself, such as users.csv"),
        );
    }
    let file = File::open(path).map_err(|error| unreadable(name, &error))?;
    let found = file.metadata().map_err(|error| unreadable(name, &error))?;
    if is_endless(found.file_type(), &file) {
        return Err(
            Error::new(Kind::Input, format!("{name} is a device, not a file"))
                .help("give the table itself, such as users.csv"),
        );
    }
    if found.is_file() {
        Ok((file, false))
    } else {
        Ok((spool(file, name, limit)?, true))
    }
}

/// Checks whether a file is a device such as `/dev/zero`, which may have no end. A terminal has
/// one.
#[cfg(unix)]
fn is_endless(kind: FileType, file: &File) -> bool {
    use std::os::unix::fs::FileTypeExt;

    (kind.is_char_device() || kind.is_block_device()) && !file.is_terminal()
}

/// Checks whether a file is a device that may have no end; this system has none.
#[cfg(not(unix))]
fn is_endless(_kind: FileType, _file: &File) -> bool {
    false
}

/// Copies up to `limit` bytes into an unlinked file that nobody else can open.
fn spool(mut from: impl Read, name: &str, limit: u64) -> Result<File> {
    let keep = |error| {
        Error::new(
            Kind::Input,
            format!("can't keep a copy of {name} in the temporary folder: {error}"),
        )
    };
    let mut file = tempfile::tempfile().map_err(keep)?;
    let mut buffer = vec![0; BLOCK];
    let mut left = limit;
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return Ok(file),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(unreadable(name, &error)),
        };
        left = left
            .checked_sub(read as u64)
            .ok_or_else(|| endless(name, limit))?;
        file.write_all(&buffer[..read]).map_err(keep)?;
    }
}

fn endless(name: &str, limit: u64) -> Error {
    let message = format!("{name} does not end after {limit} bytes");
    Error::new(Kind::Input, message)
        .help("if it should be that large, raise the limit with --max-input")
}

pub(super) fn unreadable(name: &str, error: &io::Error) -> Error {
    Error::new(Kind::Input, format!("can't read {name}: {}", Reason(error)))
}

/// The hashes of the input as it was when it was first read.
#[derive(Clone, Debug)]
pub(super) struct BlockHashes {
    /// BLAKE3 of all raw bytes.
    pub(super) fingerprint: blake3::Hash,
    digests: Arc<[Digest]>,
}

/// The error for an input that differs from the one that was hashed.
#[derive(Debug, thiserror::Error)]
#[error("changed while running")]
pub(super) struct Changed;

/// What a pass does with the hashes of blocks.
#[derive(Debug)]
enum HashMode {
    Compute {
        whole: Box<blake3::Hasher>,
        digests: Vec<Digest>,
    },
    Verify {
        digests: Arc<[Digest]>,
        next: usize,
    },
}

/// One pass over the raw bytes, in blocks.
#[derive(Debug)]
pub(super) struct Blocks {
    file: Arc<File>,
    offset: u64,
    end: Option<u64>,
    block: Vec<u8>,
    used: usize,
    mode: HashMode,
}

impl Blocks {
    /// Reads the rest and returns the hashes of all bytes.
    pub(super) fn into_hashes(mut self) -> io::Result<BlockHashes> {
        while !self.fill_buf()?.is_empty() {
            self.used = self.block.len();
        }
        match self.mode {
            HashMode::Compute { whole, digests } => Ok(BlockHashes {
                fingerprint: whole.finalize(),
                digests: digests.into(),
            }),
            HashMode::Verify { .. } => Err(io::Error::other("the hashes were computed before")),
        }
    }

    fn next_block(&mut self) -> io::Result<()> {
        let mut file: &File = &self.file;
        file.seek(SeekFrom::Start(self.offset))?;
        self.block.clear();
        self.used = 0;
        let left = self
            .end
            .map_or(u64::MAX, |end| end.saturating_sub(self.offset));
        file.take(left.min(BLOCK as u64))
            .read_to_end(&mut self.block)?;
        self.offset += self.block.len() as u64;
        self.mode.process(&self.block)
    }
}

impl HashMode {
    fn process(&mut self, block: &[u8]) -> io::Result<()> {
        match self {
            Self::Compute { whole, digests } if !block.is_empty() => {
                whole.update(block);
                digests.push(digest(block));
            }
            Self::Compute { .. } => {}
            Self::Verify { digests, next } => {
                let expected = digests.get(*next).copied();
                if expected != (!block.is_empty()).then(|| digest(block)) {
                    return Err(io::Error::other(Changed));
                }
                *next += usize::from(expected.is_some());
            }
        }
        Ok(())
    }
}

fn digest(block: &[u8]) -> Digest {
    let hash = blake3::hash(block);
    let mut digest = Digest::default();
    digest.copy_from_slice(&hash.as_bytes()[..size_of::<Digest>()]);
    digest
}

impl BufRead for Blocks {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.used == self.block.len() {
            self.next_block()?;
        }
        Ok(&self.block[self.used..])
    }

    fn consume(&mut self, amount: usize) {
        self.used += amount;
    }
}

impl Read for Blocks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(content: &[u8]) -> (Bytes, File) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        let bytes = Bytes::of_file(file.try_clone().unwrap(), "t".to_owned(), false);
        (bytes.unwrap(), file)
    }

    #[test]
    fn the_fingerprint_is_that_of_all_bytes() {
        let content = vec![7; BLOCK * 2 + 5];
        let (bytes, _file) = bytes(&content);
        let mut blocks = bytes.hashed();
        blocks.read_exact(&mut [0; 10]).unwrap();
        assert_eq!(
            blocks.into_hashes().unwrap().fingerprint,
            blake3::hash(&content)
        );
    }

    #[test]
    fn nothing_of_a_changed_block_is_handed_out() {
        let (bytes, mut file) = bytes(&vec![7; BLOCK * 2 + 5]);
        let hashes = bytes.hashed().into_hashes().unwrap();
        file.seek(SeekFrom::Start(BLOCK as u64 + 9)).unwrap();
        file.write_all(b"x").unwrap();
        let mut got = Vec::new();
        let error = bytes.verified(&hashes).read_to_end(&mut got).unwrap_err();
        assert!(error.get_ref().unwrap().is::<Changed>());
        assert_eq!(got.len(), BLOCK);
    }

    #[test]
    fn a_copy_within_a_file_is_read_from_its_first_to_its_last_byte() {
        let content: Vec<u8> = (0..u8::MAX).cycle().take(BLOCK * 2 + 5).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[b"header", content.as_slice(), b"more"].concat())
            .unwrap();
        let copy = Bytes::of_copy(PrivateCopy {
            name: "t".to_owned(),
            file: Arc::new(file),
            start: 6,
            length: content.len() as u64,
        });
        let hashes = copy.hashed().into_hashes().unwrap();
        assert_eq!(hashes.fingerprint, blake3::hash(&content));
        let mut read = Vec::new();
        copy.verified(&hashes).read_to_end(&mut read).unwrap();
        assert!(read == content);
    }

    #[test]
    fn an_input_without_an_end_is_refused_at_the_limit() {
        let error = spool(io::repeat(b'x'), "a pipe", 1 << 20).unwrap_err();
        assert_eq!(error.kind(), Kind::Input);
        assert_eq!(error.message(), "a pipe does not end after 1048576 bytes");
        assert!(error.advice().unwrap().contains("--max-input"), "{error}");
        let whole = io::repeat(b'x').take(1 << 20);
        let copy = spool(whole, "a pipe", 1 << 20).unwrap();
        assert_eq!(copy.metadata().unwrap().len(), 1 << 20);
    }

    #[test]
    fn a_private_copy_has_the_bytes_of_its_part_and_is_not_copied_again() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"header and table and more").unwrap();
        let part = Bytes::of_copy(PrivateCopy {
            name: "t".to_owned(),
            file: Arc::new(file.try_clone().unwrap()),
            start: 7,
            length: 9,
        });
        let copy = part.private_copy().unwrap();
        file.set_len(0).unwrap();
        assert_eq!(copy.size, 9);
        let again = copy.private_copy().unwrap();
        assert!(Arc::ptr_eq(&copy.file, &again.file));
        let mut read = String::new();
        again.hashed().read_to_string(&mut read).unwrap();
        assert_eq!(read, "and table");
    }

    #[test]
    fn growing_and_shrinking_are_changes_too() {
        for (before, after) in [(BLOCK, BLOCK + 1), (BLOCK + 1, BLOCK), (BLOCK, 0), (3, 4)] {
            let (bytes, file) = bytes(&vec![0; before]);
            let hashes = bytes.hashed().into_hashes().unwrap();
            file.set_len(after as u64).unwrap();
            assert!(
                bytes
                    .verified(&hashes)
                    .read_to_end(&mut Vec::new())
                    .is_err(),
                "{before} to {after}"
            );
        }
    }
}
