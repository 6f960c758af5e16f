//! The report in the making: a header, then rows in the order in which they are handed in, in a file whose name nobody looks
//! for, with the hash of what is in it. A thread of its own writes them to the disk while the next ones are looked for.
//! Which row comes next, and how the file gets its name, is decided elsewhere.

use std::fs::File;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use tempfile::NamedTempFile;

use crate::error::{Error, Kind, Result};
use crate::output::Output;
use crate::report::identity::CarriedColumn;
use crate::report::line;

/// So many bytes are written at once.
const CHUNK: usize = 1 << 16;
/// So many chunks may wait for a slow disk.
const WAITING: usize = 8;
/// After so many bytes the system is asked to begin with the disk, so that the end has little to wait for.
const STRETCH: u64 = 1 << 20;

/// The report in the making. What is dropped unfinished is gone, its file too.
pub(super) struct Draft {
    has_header: bool,
    chunk: Vec<u8>,
    /// To the thread that writes, until the last chunk.
    chunks: Option<SyncSender<Vec<u8>>>,
    writing: Option<JoinHandle<io::Result<Written>>>,
}

/// A file and the hash of what is in it.
struct Written {
    file: NamedTempFile,
    hasher: blake3::Hasher,
}

impl Draft {
    pub(super) fn new(report: &Output) -> Result<Self> {
        report
            .create()
            .and_then(Self::within)
            .map_err(|error| cant_be_written(&error))
    }

    fn within(file: NamedTempFile) -> io::Result<Self> {
        let (chunks, taken) = sync_channel(WAITING);
        let writing = Builder::new()
            .name("report".to_owned())
            .spawn(|| write(file, taken));
        let writing = writing
            .map_err(|error| io::Error::other(format!("no thread can be started: {error}")))?;
        Ok(Self {
            has_header: false,
            chunk: Vec::new(),
            chunks: Some(chunks),
            writing: Some(writing),
        })
    }

    /// Begins with the header, of which there is one however often the run was taken up again.
    pub(super) fn begin(&mut self, carried: &[CarriedColumn]) {
        if !std::mem::replace(&mut self.has_header, true) {
            self.chunk.extend(line::header_line(carried));
        }
    }

    pub(super) fn row(&mut self, cells: &[u8]) -> Result<()> {
        self.chunk.extend_from_slice(cells);
        self.chunk.push(b'\n');
        if self.chunk.len() < CHUNK {
            Ok(())
        } else {
            self.hand_over()
        }
    }

    fn hand_over(&mut self) -> Result<()> {
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK + CHUNK / 8));
        let taken = self
            .chunks
            .as_ref()
            .is_some_and(|chunks| chunks.send(chunk).is_ok());
        if taken {
            Ok(())
        } else {
            self.written().and(Err(cant_be_written(&broke_off())))
        }
    }

    /// Returns the file, which is not synced yet, and the BLAKE3 of its content.
    pub(super) fn finish(mut self) -> Result<(NamedTempFile, blake3::Hash)> {
        self.hand_over()?;
        let Written { file, hasher } = self.written()?;
        Ok((file, hasher.finalize()))
    }

    /// What the thread leaves behind, now that nothing more comes.
    fn written(&mut self) -> Result<Written> {
        self.chunks = None;
        let written = self.writing.take().and_then(|writing| writing.join().ok());
        written
            .unwrap_or_else(|| Err(broke_off()))
            .map_err(|error| cant_be_written(&error))
    }
}

impl Drop for Draft {
    /// The process may end right after this, and a thread that still had the file could not remove it.
    fn drop(&mut self) {
        let _ = self.written();
    }
}

fn write(mut file: NamedTempFile, chunks: Receiver<Vec<u8>>) -> io::Result<Written> {
    let (mut hasher, mut written, mut on_its_way) = (blake3::Hasher::new(), 0, 0);
    for chunk in chunks {
        file.write_all(&chunk)?;
        hasher.update(&chunk);
        written += chunk.len() as u64;
        if written - on_its_way >= STRETCH {
            send_on_its_way(file.as_file(), on_its_way);
            on_its_way = written;
        }
    }
    Ok(Written { file, hasher })
}

/// Asks the system to bring what stands from this byte on to the disk, and waits for nothing: Linux takes
/// `POSIX_FADV_DONTNEED` so, see `posix_fadvise(2)`.
#[cfg(target_os = "linux")]
fn send_on_its_way(file: &File, from: u64) {
    // Advice. What comes of the writing is told by the sync at the end.
    let _ = rustix::fs::fadvise(file, from, None, rustix::fs::Advice::DontNeed);
}

#[cfg(not(target_os = "linux"))]
fn send_on_its_way(_: &File, _: u64) {}

fn broke_off() -> io::Error {
    io::Error::other("the thread that writes it broke off")
}

fn cant_be_written(error: &io::Error) -> Error {
    Error::new(Kind::MidRun, format!("it can't be written: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Existing;

    fn in_folder() -> (tempfile::TempDir, Output) {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("users.report.csv");
        let report = Output::check(&place, Existing::Refuse, Kind::Report).unwrap();
        (folder, report)
    }

    #[test]
    fn it_has_the_header_once_and_every_row_and_their_hash() {
        let (_folder, report) = in_folder();
        let mut draft = Draft::new(&report).unwrap();
        let carried = [CarriedColumn::of_input("user_id")];
        let mut wanted = line::header_line(&carried);
        for row in 0..300_000 {
            draft.begin(&carried);
            let cells = format!("{row},applied");
            wanted.extend_from_slice(cells.as_bytes());
            wanted.push(b'\n');
            draft.row(cells.as_bytes()).unwrap();
        }
        assert!(wanted.len() as u64 > 2 * STRETCH);
        let (file, hash) = draft.finish().unwrap();
        assert!(std::fs::read(file.path()).unwrap() == wanted);
        assert_eq!(hash, blake3::hash(&wanted));
    }

    #[test]
    fn what_is_given_up_leaves_no_file_behind() {
        let (folder, report) = in_folder();
        let mut draft = Draft::new(&report).unwrap();
        for _ in 0..1000 {
            draft.row(&[b'x'; 1000]).unwrap();
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        drop(draft);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_takes_nothing_is_an_error_however_much_is_handed_in() {
        for rows in [1, 100_000] {
            let closed = NamedTempFile::new().unwrap().into_temp_path();
            let closed = NamedTempFile::from_parts(File::open(&closed).unwrap(), closed);
            let mut draft = Draft::within(closed).unwrap();
            let handed_in = (0..rows).try_for_each(|_| draft.row(b"7,applied"));
            let error = handed_in
                .and_then(|()| draft.finish().map(drop))
                .unwrap_err();
            assert!(
                error.to_string().starts_with("it can't be written: "),
                "{error}"
            );
            assert!(!error.to_string().contains("broke off"), "{error}");
        }
    }
}
