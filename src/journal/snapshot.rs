//! The snapshot: a private copy of the input beside the journal, from which a run reads its rows. A
//! table that changes during a run therefore changes nothing, and an interrupted run can be closed
//! without its table.
//!
//! The file begins with text lines: the format with its version, then one line for each section
//! with its name, its length in bytes and its BLAKE3 hash, then an empty line. The bytes of the
//! sections follow in the same order:
//!
//! ```text
//! mfa-optout snapshot,1
//! input,12,9f86d08…
//!
//! user_id
//! 1732
//! ```

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Kind, Result};
use crate::journal::files;
use crate::output::{disk, is_at};
use crate::text::visible_path;

/// The section that holds the raw bytes of the input.
pub const INPUT: &str = "input";
/// The section that holds the raw bytes of the list that gives the user IDs.
pub const IDS: &str = "ids";
/// The section that holds the register as it was before the run.
pub const REGISTER: &str = "register";

const MAGIC: &str = "mfa-optout snapshot,1";

/// The size limit of the header in bytes.
const MAX_HEADER: u64 = 4096;

/// The number of bytes that are copied at once.
const CHUNK: usize = 1 << 18;

/// A section that will be written.
pub struct NewSection<'a> {
    /// Its name, without a comma.
    pub name: &'static str,
    /// Its length in bytes.
    pub length: u64,
    /// The hash of its bytes.
    pub hash: blake3::Hash,
    /// Its bytes.
    pub content: &'a mut dyn Read,
}

/// A part of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Its name.
    pub name: String,
    /// Offset of its first byte in the file.
    pub start: u64,
    /// Its length in bytes.
    pub length: u64,
    /// The hash of its bytes.
    pub hash: blake3::Hash,
}

/// A snapshot whose sections match their hashes.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Its name in messages.
    pub name: String,
    /// The open file.
    pub file: Arc<File>,
    sections: Vec<Section>,
}

impl Snapshot {
    /// Returns the section of this name.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// Reads the section of this name. Returns `None` if there is none.
    ///
    /// # Errors
    /// [`Kind::Report`] if it can't be read.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(section) = self.section(name) else {
            return Ok(None);
        };
        let mut file = &*self.file;
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(section.start))
            .and_then(|_| file.take(section.length).read_to_end(&mut bytes))
            .map_err(|error| {
                let message = format!("{} can't be read: {error}", self.name);
                Error::new(Kind::Report, message)
            })?;
        Ok(Some(bytes))
    }

    /// Opens the snapshot at `path` and checks its hashes. Returns `None` if there is none, or if
    /// it is damaged.
    ///
    /// # Errors
    /// [`Kind::Report`] if the file is a link, a pipe, another user's or open to others, or can't
    /// be read.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>> {
        let Some(file) = files::open_private(path, "a snapshot")? else {
            return Ok(None);
        };
        let name = visible_path(path);
        let sections = read_sections(&file)
            .map_err(|error| Error::new(Kind::Report, format!("{name} can't be read: {error}")))?;
        Ok(sections.map(|sections| Self {
            name,
            file: Arc::new(file),
            sections,
        }))
    }

    /// Writes a new snapshot, and returns when it is on the disk. There must be no file at `path`.
    ///
    /// # Errors
    /// [`Kind::Input`] if the content can't be read or does not match its hash, and
    /// [`Kind::Report`] if the file can't be written. No file is left then.
    pub(crate) fn create(path: &Path, sections: &mut [NewSection<'_>]) -> Result<Self> {
        let name = visible_path(path);
        let file = files::create_private(path)
            .map_err(|error| not_written(&name, &error))?
            .ok_or_else(|| {
                Error::new(Kind::Report, format!("{name} has appeared in the meantime"))
            })?;
        let written = write(&file, path, sections);
        if written.is_err() && is_at(path, &file) {
            let _ = disk::remove(path);
        }
        Ok(Self {
            sections: written?,
            name,
            file: Arc::new(file),
        })
    }
}

fn write(mut file: &File, path: &Path, sections: &mut [NewSection<'_>]) -> Result<Vec<Section>> {
    let name = &visible_path(path);
    let mut header = format!("{MAGIC}\n");
    for section in &*sections {
        let NewSection {
            name, length, hash, ..
        } = section;
        // Writing to a string does not fail.
        let _ = writeln!(header, "{name},{length},{hash}");
    }
    header.push('\n');
    file.write_all(header.as_bytes())
        .map_err(|error| not_written(name, &error))?;
    let mut start = header.len() as u64;
    let mut written = Vec::new();
    for section in sections {
        copy(section, file, name)?;
        written.push(Section {
            name: section.name.to_owned(),
            start,
            length: section.length,
            hash: section.hash,
        });
        start += section.length;
    }
    disk::sync_file(file, path).map_err(|error| not_written(name, &error))?;
    Ok(written)
}

fn copy(section: &mut NewSection<'_>, mut file: &File, name: &str) -> Result<()> {
    let mut hasher = blake3::Hasher::new();
    let mut chunk = vec![0; CHUNK];
    let mut copied = 0;
    loop {
        let read = match section.content.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(not_copied(&error.to_string())),
        };
        hasher.update(&chunk[..read]);
        copied += read as u64;
        file.write_all(&chunk[..read])
            .map_err(|error| not_written(name, &error))?;
    }
    if copied == section.length && hasher.finalize() == section.hash {
        Ok(())
    } else {
        Err(not_copied("it has changed since it was checked"))
    }
}

fn not_copied(why: &str) -> Error {
    Error::new(
        Kind::Input,
        format!("nothing was sent: the table can't be copied: {why}"),
    )
    .help("run the same command again")
}

fn not_written(name: &str, error: &dyn std::fmt::Display) -> Error {
    Error::new(
        Kind::Report,
        format!("nothing was sent: {name} can't be written: {error}"),
    )
}

/// Reads the header and checks every section against its hash. Returns `None` if anything differs
/// from what was written.
fn read_sections(file: &File) -> io::Result<Option<Vec<Section>>> {
    let Some(sections) = read_header(file)? else {
        return Ok(None);
    };
    let end = sections
        .last()
        .map_or(0, |section| section.start.saturating_add(section.length));
    if file.metadata()?.len() != end {
        return Ok(None);
    }
    for section in &sections {
        let mut content = file;
        content.seek(SeekFrom::Start(section.start))?;
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(content.take(section.length))?;
        if hasher.finalize() != section.hash {
            return Ok(None);
        }
    }
    Ok(Some(sections))
}

fn read_header(mut file: &File) -> io::Result<Option<Vec<Section>>> {
    file.rewind()?;
    let mut lines = BufReader::new(file.take(MAX_HEADER));
    let mut header_length = 0;
    let mut sections: Vec<Section> = Vec::new();
    let mut is_first = true;
    loop {
        let mut line = Vec::new();
        header_length += lines.read_until(b'\n', &mut line)? as u64;
        let Some(line) = line
            .strip_suffix(b"\n")
            .and_then(|line| str::from_utf8(line).ok())
        else {
            return Ok(None);
        };
        if is_first {
            if line != MAGIC {
                return Ok(None);
            }
            is_first = false;
        } else if line.is_empty() {
            break;
        } else if let Some(section) = parse_section(line) {
            sections.push(section);
        } else {
            return Ok(None);
        }
    }
    let mut start = header_length;
    for section in &mut sections {
        section.start = start;
        start = start.saturating_add(section.length);
    }
    Ok(Some(sections))
}

fn parse_section(line: &str) -> Option<Section> {
    let mut cells = line.split(',');
    let name = cells.next()?.to_owned();
    let length = cells.next()?.parse().ok()?;
    let hash = blake3::Hash::from_hex(cells.next()?).ok()?;
    if cells.next().is_some() {
        return None;
    }
    Some(Section {
        name,
        start: 0,
        length,
        hash,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn create(path: &Path, content: &[u8]) -> Result<Snapshot> {
        let mut reader = content;
        Snapshot::create(
            path,
            &mut [NewSection {
                name: INPUT,
                length: content.len() as u64,
                hash: blake3::hash(content),
                content: &mut reader,
            }],
        )
    }

    #[test]
    fn a_snapshot_reads_back_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        for (number, content) in [&b""[..], b"user_id\n1\n", &vec![7; CHUNK * 2 + 3]]
            .into_iter()
            .enumerate()
        {
            let path = folder.path().join(number.to_string());
            let written = create(&path, content).unwrap();
            let read = Snapshot::open(&path).unwrap().unwrap();
            assert_eq!(read.section(INPUT), written.section(INPUT));
            let section = read.section(INPUT).unwrap();
            let bytes = fs::read(&path).unwrap();
            let start = usize::try_from(section.start).unwrap();
            assert!(&bytes[start..] == content);
            assert_eq!(read.section("ids"), None);
        }
    }

    #[test]
    fn a_snapshot_with_any_byte_changed_or_missing_is_not_taken_for_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("snapshot");
        create(&path, b"user_id\n1\n").unwrap();
        let bytes = fs::read(&path).unwrap();
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            fs::write(&path, &changed).unwrap();
            let opened = Snapshot::open(&path).unwrap();
            let intact = opened.is_some_and(|snapshot| {
                let section = snapshot.section(INPUT);
                section.is_some_and(|section| section.hash == blake3::hash(b"user_id\n1\n"))
            });
            assert!(!intact, "byte {place}");
            fs::write(&path, &bytes[..place]).unwrap();
            assert!(Snapshot::open(&path).unwrap().is_none(), "cut at {place}");
        }
        fs::write(&path, [&bytes[..], b"x"].concat()).unwrap();
        assert!(Snapshot::open(&path).unwrap().is_none());
    }

    #[test]
    fn content_that_does_not_match_its_hash_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("snapshot");
        let mut content = &b"changed"[..];
        let mut section = NewSection {
            name: INPUT,
            length: 7,
            hash: blake3::hash(b"checked"),
            content: &mut content,
        };
        let error = Snapshot::create(&path, std::slice::from_mut(&mut section)).unwrap_err();
        assert_eq!(error.kind(), Kind::Input);
        assert!(
            error
                .to_string()
                .contains("has changed since it was checked")
        );
        assert!(!path.exists());
    }

    #[cfg(unix)]
    #[test]
    fn a_planted_snapshot_is_refused_and_left_as_it_is() {
        use std::os::unix::fs::{PermissionsExt, symlink};

        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        create(&at("target"), b"precious").unwrap();
        symlink(at("target"), at("link")).unwrap();
        create(&at("shared"), b"precious").unwrap();
        fs::set_permissions(at("shared"), fs::Permissions::from_mode(0o644)).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), fifo, mode, 0).unwrap();
        for (name, reason) in [
            ("link", "is a symbolic link"),
            ("pipe", "is not a plain file"),
            ("shared", "mode 0644"),
        ] {
            let error = Snapshot::open(&at(name)).unwrap_err();
            assert_eq!(error.kind(), Kind::Report);
            assert!(error.to_string().contains(reason), "{name}: {error}");
        }
        assert!(Snapshot::open(&at("target")).unwrap().is_some());
    }
}
