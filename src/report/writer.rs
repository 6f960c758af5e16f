//! Writes the report: a header, then rows in the order in which they come, to a temporary file, and
//! hashes the content. A thread of its own writes to the disk while the next rows are looked for.
//! Which row comes next and how the file gets its name is decided elsewhere.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use tempfile::NamedTempFile;

use crate::error::{Error, Kind, Result};
use crate::journal::identity::Identity;
use crate::journal::line;
use crate::output::Output;
use crate::report::form::ReportForm;

/// The number of bytes that are written at once.
const CHUNK: usize = 1 << 16;
/// The number of chunks that may wait for a slow disk.
const MAX_WAITING_CHUNKS: usize = 8;
/// The number of bytes after which the system is asked to write to the disk, so that the sync at
/// the end is short.
const WRITEBACK_INTERVAL: u64 = 1 << 20;

/// A report that is being written. Dropping it removes its file.
pub(crate) struct ReportWriter {
    report: PathBuf,
    form: ReportForm,
    has_header: bool,
    chunk: Vec<u8>,
    /// The way to the thread that writes; `None` after the last chunk.
    chunks: Option<SyncSender<Vec<u8>>>,
    thread: Option<JoinHandle<io::Result<HashedFile>>>,
}

impl ReportWriter {
    /// Creates the temporary file of a report.
    ///
    /// # Errors
    /// [`Kind::MidRun`] if the system denies a file or a thread.
    pub(crate) fn new(report: &Output) -> Result<Self> {
        let file = report.create().map_err(|error| cant_be_written(&error))?;
        Self::start(file, report.path().to_owned()).map_err(|error| cant_be_written(&error))
    }

    fn start(file: NamedTempFile, report: PathBuf) -> io::Result<Self> {
        let (chunks, received) = sync_channel(MAX_WAITING_CHUNKS);
        let thread = Builder::new()
            .name("report".to_owned())
            .spawn(|| write(file, received))
            .map_err(|error| io::Error::other(format!("no thread can be started: {error}")))?;
        Ok(Self {
            report,
            form: ReportForm::default(),
            has_header: false,
            chunk: Vec::new(),
            chunks: Some(chunks),
            thread: Some(thread),
        })
    }

    /// Writes the header in the form of the run's input, unless that has been done.
    pub(crate) fn write_header(&mut self, identity: &Identity) {
        if self.has_header {
            return;
        }
        self.has_header = true;
        self.form = ReportForm::of(&identity.table.format, &self.report);
        if self.form.byte_order_mark {
            self.chunk.extend_from_slice("\u{feff}".as_bytes());
        }
        let header = line::header_line(&identity.header);
        self.form.write_row(&mut self.chunk, &header);
    }

    /// Writes a row, which is given as CSV with commas and without a line end.
    ///
    /// # Errors
    /// [`Kind::MidRun`] if an earlier part of the report could not be written.
    pub(crate) fn write_row(&mut self, cells: &[u8]) -> Result<()> {
        self.form.write_row(&mut self.chunk, cells);
        if self.chunk.len() < CHUNK {
            Ok(())
        } else {
            self.send_chunk()
        }
    }

    fn send_chunk(&mut self) -> Result<()> {
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK + CHUNK / 8));
        let is_sent = self
            .chunks
            .as_ref()
            .is_some_and(|chunks| chunks.send(chunk).is_ok());
        if is_sent {
            return Ok(());
        }
        self.join()?;
        Err(cant_be_written(&panicked()))
    }

    /// Returns the file, which is not synced yet, and the BLAKE3 hash of its content.
    ///
    /// # Errors
    /// [`Kind::MidRun`] if the report could not be written.
    pub(crate) fn finish(mut self) -> Result<(NamedTempFile, blake3::Hash)> {
        self.send_chunk()?;
        Ok(self.join()?.finish())
    }

    /// Ends the thread and returns its result.
    fn join(&mut self) -> Result<HashedFile> {
        self.chunks = None;
        let result = self.thread.take().and_then(|thread| thread.join().ok());
        result
            .unwrap_or_else(|| Err(panicked()))
            .map_err(|error| cant_be_written(&error))
    }
}

impl Drop for ReportWriter {
    /// Ends the thread, which removes the file. The process may end right after this.
    fn drop(&mut self) {
        let _ = self.join();
    }
}

fn write(file: NamedTempFile, chunks: Receiver<Vec<u8>>) -> io::Result<HashedFile> {
    let mut file = HashedFile::new(file);
    for chunk in chunks {
        file.write_all(&chunk)?;
    }
    Ok(file)
}

/// A temporary file whose content is hashed while it is written.
pub(super) struct HashedFile {
    file: NamedTempFile,
    hasher: blake3::Hasher,
    written: u64,
    written_back: u64,
}

impl HashedFile {
    pub(super) fn new(file: NamedTempFile) -> Self {
        Self {
            file,
            hasher: blake3::Hasher::new(),
            written: 0,
            written_back: 0,
        }
    }

    /// Returns the file and the BLAKE3 hash of its content.
    pub(super) fn finish(self) -> (NamedTempFile, blake3::Hash) {
        (self.file, self.hasher.finalize())
    }
}

impl Write for HashedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.file.write(bytes)?;
        self.hasher.update(&bytes[..length]);
        self.written += length as u64;
        if self.written - self.written_back >= WRITEBACK_INTERVAL {
            start_writeback(self.file.as_file(), self.written_back);
            self.written_back = self.written;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Asks the system to write everything from this byte on to the disk, without waiting. Linux does
/// so on `POSIX_FADV_DONTNEED`, see `posix_fadvise(2)`.
#[cfg(target_os = "linux")]
fn start_writeback(file: &File, from: u64) {
    // The sync at the end reports every error of the disk.
    let _ = rustix::fs::fadvise(file, from, None, rustix::fs::Advice::DontNeed);
}

#[cfg(not(target_os = "linux"))]
fn start_writeback(_: &File, _: u64) {}

fn panicked() -> io::Error {
    io::Error::other("the thread that writes it panicked")
}

pub(super) fn cant_be_written(error: &io::Error) -> Error {
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
    fn a_report_has_one_header_and_every_row_and_its_hash() {
        let (_folder, report) = in_folder();
        let mut writer = ReportWriter::new(&report).unwrap();
        let identity = crate::report::tests::identity();
        let mut wanted = line::header_line(&identity.header);
        wanted.push(b'\n');
        for row in 0..300_000 {
            writer.write_header(&identity);
            let cells = format!("{row},applied");
            wanted.extend_from_slice(cells.as_bytes());
            wanted.push(b'\n');
            writer.write_row(cells.as_bytes()).unwrap();
        }
        assert!(wanted.len() as u64 > 2 * WRITEBACK_INTERVAL);
        let (file, hash) = writer.finish().unwrap();
        assert!(std::fs::read(file.path()).unwrap() == wanted);
        assert_eq!(hash, blake3::hash(&wanted));
    }

    #[test]
    fn a_writer_that_is_dropped_removes_its_file() {
        let (folder, report) = in_folder();
        let mut writer = ReportWriter::new(&report).unwrap();
        for _ in 0..1000 {
            writer.write_row(&[b'x'; 1000]).unwrap();
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        drop(writer);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_can_not_be_written_is_an_error_for_few_and_for_many_rows() {
        for rows in [1, 100_000] {
            let closed = NamedTempFile::new().unwrap().into_temp_path();
            let closed = NamedTempFile::from_parts(File::open(&closed).unwrap(), closed);
            let mut writer = ReportWriter::start(closed, PathBuf::new()).unwrap();
            let written = (0..rows).try_for_each(|_| writer.write_row(b"7,applied"));
            let error = written
                .and_then(|()| writer.finish().map(drop))
                .unwrap_err();
            assert!(
                error.to_string().starts_with("it can't be written: "),
                "{error}"
            );
            assert!(!error.to_string().contains("panicked"), "{error}");
        }
    }
}
