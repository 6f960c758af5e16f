//! The journal: one file to which every outcome is appended before any event about it is emitted.
//! Appending and syncing are done here. `line` defines what a record looks like, and `open` decides
//! which file is used and whether an interrupted run is continued.
//!
//! What is on disk when:
//!
//! - Records are buffered in memory and written together by [`write`](Journal::write). Events about
//!   them may be emitted only after that. From then on the bytes belong to the system, so a kill of
//!   the process loses nothing.
//! - `fdatasync` follows after [`SYNC_RECORDS`] records or [`SYNC_AFTER`], in a thread of its own:
//!   a disk takes from one to a hundred milliseconds for it, and sending must not wait for that.
//!   The next sync begins when the last one is over. A power cut therefore loses the records of
//!   about a second, and their rows are sent again. That is harmless, because setting a flag twice
//!   has the same effect as setting it once. At the end, [`sync`](Journal::sync) waits for the
//!   disk.
//! - The run's own record is synced together with the first mark, and so is the name of a new file,
//!   before the first request.
//! - A mark names the last row that may be sent. It is on disk before the first row beyond the
//!   previous mark is sent. The next one is written when half of the last one is used, and is
//!   synced in the same thread as records are. Sending waits for the disk only if that takes longer
//!   than half a mark. See `mark`.
//! - The stop record is written at an orderly end and lists the rows in doubt. Without it, all rows
//!   that the last mark allowed and that have no outcome are in doubt.
//! - A journal that somebody removes is written again under its name before the next sync begins.
//!   One that somebody replaces is saved under another name at the end, see `files`.
//! - The first failed write or sync is final: after a failed `fsync` the system may have dropped
//!   the bytes in question, and a later success would say nothing about them.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use futures::channel::oneshot;
use jiff::Timestamp;
use roaring::RoaringTreemap;
use serde::Serialize;

use crate::domain::{Record, RowNumber};
use crate::error::{Error, Kind, Result};
use crate::journal::files::{self, Paths, Places};
use crate::journal::line;
use crate::journal::mark::{AllowedRows, Marks};
use crate::journal::results::{self, RowResults};
use crate::journal::run::{Mark, Note, Noted, Run, Stop};
use crate::journal::timestamp::FormattedTimestamp;
use crate::output::{disk, is_at};
use crate::text::visible_path;

/// The number of records after which a sync is due.
///
/// It bounds what one sync has to write to about 8 MB. Only runs of tens of thousands of rows a
/// second reach it. A smaller number would make them sync many times a second and gain nothing,
/// because a power cut may lose the records of a second anyway.
pub const SYNC_RECORDS: u64 = 65_536;

/// The age of the oldest unsynced record at which a sync is due.
pub const SYNC_AFTER: Duration = Duration::from_secs(1);

/// The destination of the journal's bytes: a file, or a failing substitute in tests.
pub trait Storage: Write {
    /// Writes bytes to the end.
    ///
    /// # Errors
    /// Any error of the system. A part of the bytes may have been written then.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    /// Returns when everything that was written is on the disk.
    ///
    /// # Errors
    /// Any error of the system. What was written since the last success may be lost then.
    fn sync_data(&mut self) -> io::Result<()>;

    /// Writes the whole content to a new file at `path`, and continues with that file, if somebody
    /// has removed the one that was there. Returns whether that was so.
    ///
    /// # Errors
    /// Any error of the system. The content has no name then.
    fn restore_if_removed(&mut self, _path: &Path) -> io::Result<bool> {
        Ok(false)
    }

    /// Returns a sync like [`sync_data`](Self::sync_data) that another thread can perform, or
    /// `None` if that is impossible.
    fn sync_elsewhere(&self) -> Option<PendingSync> {
        None
    }
}

/// A sync that has not started yet.
pub type PendingSync = Box<dyn FnOnce() -> io::Result<()> + Send>;

impl Storage for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        disk::append(self, bytes)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        disk::sync_journal(self)
    }

    fn restore_if_removed(&mut self, path: &Path) -> io::Result<bool> {
        files::restore_if_removed(path, self)
    }

    fn sync_elsewhere(&self) -> Option<PendingSync> {
        let file = self.try_clone().ok()?;
        Some(Box::new(move || disk::sync_data(&file)))
    }
}

/// A sync in a thread of its own.
///
/// The thread has a handle of the file, and with it the lock. Dropping this value waits for the
/// thread, so that the lock is released.
#[derive(Debug)]
struct BackgroundSync {
    /// The thread, until somebody has waited for it.
    thread: Option<JoinHandle<io::Result<()>>>,
    /// The receiver of the message that the sync is over.
    over: oneshot::Receiver<()>,
    /// The last mark that was written before the sync began.
    mark: AllowedRows,
}

impl BackgroundSync {
    /// Starts a sync. Returns `None` if the system denies a thread.
    fn start(sync: PendingSync, mark: AllowedRows) -> Option<Self> {
        let (done, over) = oneshot::channel();
        let thread = Builder::new().name("sync".to_owned()).spawn(move || {
            let result = sync();
            // The receiver is gone if the journal has been dropped.
            let _ = done.send(());
            result
        });
        Some(Self {
            thread: Some(thread.ok()?),
            over,
            mark,
        })
    }

    fn is_over(&mut self) -> bool {
        !matches!(self.over.try_recv(), Ok(None))
    }

    /// Waits for the end of the sync and returns its result.
    fn wait(&mut self) -> io::Result<()> {
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        match thread.join() {
            Ok(result) => result,
            Err(_) => Err(io::Error::other("the thread that syncs the file panicked")),
        }
    }
}

impl Drop for BackgroundSync {
    fn drop(&mut self) {
        // Nothing is appended to a journal that is dropped, so the result no longer matters.
        let _ = self.wait();
    }
}

/// The journal of a run, open for appending.
#[derive(Debug)]
pub struct Journal<S> {
    storage: S,
    /// The path of the file.
    path: PathBuf,
    /// Records that are not written yet.
    buffer: Vec<u8>,
    /// Checksum of the last record.
    checksum: u32,
    /// Timestamp of the last row's record.
    timestamp: FormattedTimestamp,
    /// Number of rows in the buffer.
    buffered_rows: u64,
    /// Number of rows that are written.
    recorded: u64,
    /// Whether a row was deferred, by this process or an earlier one. The next run has to know.
    has_deferred: bool,
    /// Number of rows that are written but not synced.
    unsynced: u64,
    /// Time at which the oldest unsynced row was written.
    unsynced_since: Option<Duration>,
    /// The sync of earlier rows, if one is in progress.
    background_sync: Option<BackgroundSync>,
    marks: Marks,
    /// Whether somebody has removed the file, so that it was written again.
    was_removed: bool,
    /// The first error. Nothing is attempted after it.
    failure: Option<String>,
    /// The places of the report and its record; `None` if no report will be made.
    places: Option<Places>,
}

impl Journal<File> {
    /// Continues a file that holds `recorded` records and whose last record has this
    /// checksum.
    pub(crate) fn resume(file: File, path: PathBuf, checksum: u32, recorded: u64) -> Self {
        Self {
            recorded,
            ..Self::new(file, path, checksum)
        }
    }

    /// Sets the rows that earlier processes have deferred.
    pub(crate) fn with_deferred(mut self, rows: RoaringTreemap) -> Self {
        self.has_deferred |= !rows.is_empty();
        self.marks = Marks::with_deferred(rows);
        self
    }

    /// Sets the places of the report and its record.
    pub(crate) fn with_places(mut self, places: Places) -> Self {
        self.places = Some(places);
        self
    }

    /// Makes sure that the journal still has its name.
    ///
    /// Returns a warning if somebody has removed or replaced it. It was saved again then, under
    /// another name if another file has taken its place.
    ///
    /// # Errors
    /// [`Kind::MidRun`] if it can't be saved.
    pub fn ensure_saved(&self) -> Result<Option<String>> {
        let Some(place) = files::ensure_saved(&self.path, &self.storage)? else {
            return Ok(self.removal());
        };
        Ok(Some(format!(
            "{} was removed or replaced during the run; the run's journal was saved as {}",
            visible_path(&self.path),
            visible_path(&place)
        )))
    }

    /// Returns a warning if somebody has removed the journal during the run. It was written again
    /// then.
    #[must_use]
    pub fn removal(&self) -> Option<String> {
        if !self.was_removed {
            return None;
        }
        let name = visible_path(&self.path);
        Some(format!(
            "{name} was removed during the run and was written again"
        ))
    }

    /// Returns the outcomes of the recorded rows.
    ///
    /// # Errors
    /// [`Kind::MidRun`] if the journal can't be read.
    pub fn results(&self) -> Result<RowResults> {
        results::read(&self.storage).map_err(|error| {
            let name = visible_path(&self.path);
            Error::new(Kind::MidRun, format!("{name} can't be read: {error}"))
        })
    }

    /// Puts the record of a run on disk, together with the first mark and the file's name in its
    /// `folder`. `first` is the first row that will be sent, if there is one.
    ///
    /// # Errors
    /// The same as [`write`](Self::write).
    pub(crate) fn begin(
        &mut self,
        run: &Run,
        first: Option<RowNumber>,
        folder: &Path,
    ) -> Result<()> {
        self.append_control(line::RUN, run);
        if let Some(row) = first {
            self.append_mark_if_due(row, Duration::ZERO, run.at);
        }
        self.sync()?;
        disk::sync_folder(folder).map_err(|error| self.fail(&error))
    }

    /// Removes the journal if no row has an outcome and none was deferred.
    ///
    /// There is nothing to continue then, and the next attempt may use another address or key. A
    /// file that has taken the journal's place is not touched.
    ///
    /// # Errors
    /// [`Kind::MidRun`] if the file can't be removed.
    pub fn discard_if_empty(self, paths: &Paths) -> Result<()> {
        if self.recorded > 0 || self.has_deferred || !is_at(&self.path, &self.storage) {
            return Ok(());
        }
        files::remove_private(&paths.snapshot, "a snapshot")?;
        let name = visible_path(&self.path);
        files::remove_journal(&self.path, &self.storage)
            .map_err(|error| Error::new(Kind::MidRun, format!("can't remove {name}: {error}")))
    }
}

impl<S: Storage> Journal<S> {
    /// Creates a journal that appends to `storage`, whose last record has this checksum (0 if there
    /// is none).
    #[must_use]
    pub fn new(storage: S, path: PathBuf, checksum: u32) -> Self {
        Self {
            storage,
            path,
            buffer: Vec::new(),
            checksum,
            timestamp: FormattedTimestamp::new(Timestamp::UNIX_EPOCH),
            buffered_rows: 0,
            recorded: 0,
            has_deferred: false,
            unsynced: 0,
            unsynced_since: None,
            background_sync: None,
            marks: Marks::default(),
            was_removed: false,
            failure: None,
            places: None,
        }
    }

    /// Buffers the record of a row. `cells` are the cells of the input as CSV without a line end,
    /// as many as the header has.
    pub fn append(&mut self, record: &Record, cells: &[u8], finished_at: Timestamp) {
        self.timestamp.set(finished_at);
        self.checksum = line::write_row(
            &mut self.buffer,
            self.checksum,
            cells,
            record,
            &self.timestamp,
        );
        self.buffered_rows += 1;
    }

    /// Buffers a note.
    pub fn note(&mut self, note: Note, at: Timestamp) {
        self.has_deferred |= matches!(note, Note::Deferred { .. });
        self.append_control(line::NOTE, &Noted { at, note });
    }

    /// Writes the buffered records. A kill of the process loses none of them after that, and events
    /// about them may be emitted.
    ///
    /// `now` is the time since the run began.
    ///
    /// # Errors
    /// [`Kind::MidRun`] if the disk is full or broken, or if an earlier write or sync has failed.
    /// It says how many rows are recorded. Every later call fails too.
    pub fn write(&mut self, now: Duration) -> Result<()> {
        if let Some(sync) = &mut self.background_sync
            && sync.is_over()
        {
            self.end_sync()?;
        }
        self.write_buffer()?;
        if self.unsynced > 0 {
            self.unsynced_since.get_or_insert(now);
        }
        if self.marks.has_unsynced() && self.background_sync.is_none() {
            self.begin_sync()?;
        }
        Ok(())
    }

    /// Checks whether a row may be sent, that is, whether a mark that covers it is on disk. Writes
    /// the next mark if it is due.
    ///
    /// If the row may not be sent, [`sync_is_over`](Self::sync_is_over) tells when to ask again.
    /// Rows must be asked for in the order in which they are sent for the first time. `at` is the
    /// wall clock.
    ///
    /// # Errors
    /// The same as [`write`](Self::write).
    pub fn may_send(&mut self, row: RowNumber, now: Duration, at: Timestamp) -> Result<bool> {
        let is_new_mark = self.append_mark_if_due(row, now, at);
        if is_new_mark || !self.marks.cover(row) {
            self.write(now)?;
        }
        let may_send = self.marks.cover(row);
        if may_send {
            self.marks.count(now);
        }
        Ok(may_send)
    }

    /// Returns when the sync in progress is over, or at once if there is none.
    pub async fn sync_is_over(&mut self) {
        if let Some(sync) = &mut self.background_sync {
            // An error means that the thread panicked, so the sync is over as well.
            let _ = (&mut sync.over).await;
        }
    }

    /// Buffers the next mark if it is due, and returns whether it was.
    fn append_mark_if_due(&mut self, row: RowNumber, now: Duration, at: Timestamp) -> bool {
        match self.marks.next(row, now) {
            Some(AllowedRows { row, deferred }) => {
                self.append_control(line::MARK, &Mark { at, row, deferred });
                true
            }
            None => false,
        }
    }

    /// Writes the buffered records, and starts to sync them if a sync is due and none is in
    /// progress.
    ///
    /// # Errors
    /// The same as [`write`](Self::write).
    pub fn commit(&mut self, now: Duration) -> Result<()> {
        self.write(now)?;
        let is_due = self.unsynced >= SYNC_RECORDS || self.sync_due().is_some_and(|due| now >= due);
        if is_due && self.background_sync.is_none() {
            self.begin_sync()
        } else {
            Ok(())
        }
    }

    /// Returns the time at which a sync is due at the latest, since the run began. Returns `None`
    /// if everything is synced or a sync is in progress.
    #[must_use]
    pub fn sync_due(&self) -> Option<Duration> {
        if self.background_sync.is_some() {
            return None;
        }
        Some(self.unsynced_since? + SYNC_AFTER)
    }

    /// Writes the buffered records, and returns when everything is on the disk.
    ///
    /// # Errors
    /// The same as [`write`](Self::write).
    pub fn sync(&mut self) -> Result<()> {
        self.write_buffer()?;
        self.end_sync()?;
        if let Err(error) = self.storage.sync_data() {
            return Err(self.fail(&error));
        }
        self.unsynced = 0;
        self.unsynced_since = None;
        self.marks.synced(self.marks.written());
        Ok(())
    }

    fn begin_sync(&mut self) -> Result<()> {
        self.restore_if_removed()?;
        let Some(pending) = self.storage.sync_elsewhere() else {
            return self.sync();
        };
        self.background_sync = BackgroundSync::start(pending, self.marks.written());
        if self.background_sync.is_none() {
            return self.sync();
        }
        self.unsynced = 0;
        self.unsynced_since = None;
        Ok(())
    }

    fn restore_if_removed(&mut self) -> Result<()> {
        match self.storage.restore_if_removed(&self.path) {
            Ok(was_removed) => {
                self.was_removed |= was_removed;
                Ok(())
            }
            Err(error) => {
                // The records are in a file without a name, which is gone when the process ends.
                self.recorded = 0;
                Err(self.fail(&io::Error::other(format!(
                    "it was removed during the run and can't be written again: {error}"
                ))))
            }
        }
    }

    /// Waits for the sync in progress, if there is one.
    fn end_sync(&mut self) -> Result<()> {
        let Some(mut sync) = self.background_sync.take() else {
            return Ok(());
        };
        if let Err(error) = sync.wait() {
            return Err(self.fail(&error));
        }
        self.marks.synced(sync.mark);
        Ok(())
    }

    /// Puts the stop record on disk.
    ///
    /// # Errors
    /// The same as [`write`](Self::write).
    pub fn stop(&mut self, stop: &Stop) -> Result<()> {
        self.append_control(line::STOP, stop);
        self.sync()
    }

    /// Returns the number of rows that are recorded.
    #[must_use]
    pub fn recorded(&self) -> u64 {
        self.recorded
    }

    /// Returns the storage, to be read again.
    pub(crate) fn storage(&self) -> &S {
        &self.storage
    }

    /// Returns the storage and the places of the report and its record.
    pub(crate) fn into_parts(self) -> (S, Option<Places>) {
        (self.storage, self.places)
    }

    fn append_control(&mut self, word: &str, content: &impl Serialize) {
        match serde_json::to_string(content) {
            Ok(json) => {
                self.checksum = line::write_control(&mut self.buffer, self.checksum, word, &json);
            }
            Err(error) => self.failure = Some(error.to_string()),
        }
    }

    fn write_buffer(&mut self) -> Result<()> {
        if self.failure.is_some() {
            return Err(self.failed());
        }
        if self.buffer.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.storage.append(&self.buffer) {
            return Err(self.fail(&error));
        }
        self.buffer.clear();
        self.unsynced += self.buffered_rows;
        self.recorded += self.buffered_rows;
        self.buffered_rows = 0;
        Ok(())
    }

    /// Remembers the first error, and returns it in words.
    fn fail(&mut self, error: &io::Error) -> Error {
        self.failure.get_or_insert_with(|| error.to_string());
        self.failed()
    }

    fn failed(&self) -> Error {
        let name = visible_path(&self.path);
        let why = self.failure.as_deref().unwrap_or("an earlier failure");
        let rows = match self.recorded {
            1 => "1 row is".to_owned(),
            number => format!("{number} rows are"),
        };
        let message = format!("{name} can't be written: {why}; {rows} recorded");
        Error::new(Kind::MidRun, message).help(
            "fix the problem and run the same command again: it continues where this one stopped",
        )
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::journal::open::Mode;
    use crate::report::tests::{Desk, applied, at, cells};

    /// A disk that fails at its call number `last`, after half of the bytes were written.
    struct Disk {
        bytes: Vec<u8>,
        calls: u32,
        last: u32,
    }

    impl Disk {
        fn call(&mut self) -> io::Result<()> {
            self.calls += 1;
            if self.calls == self.last {
                Err(io::Error::from(io::ErrorKind::StorageFull))
            } else {
                Ok(())
            }
        }
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = self.call();
            let kept = if taken.is_ok() {
                bytes.len()
            } else {
                bytes.len() / 2
            };
            self.bytes.extend_from_slice(&bytes[..kept]);
            taken.map(|()| bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Storage for Disk {
        fn sync_data(&mut self) -> io::Result<()> {
            self.call()
        }
    }

    fn journal(last: u32) -> Journal<Disk> {
        Journal::new(
            Disk {
                bytes: Vec::new(),
                calls: 0,
                last,
            },
            PathBuf::from("users.report.csv.partial"),
            0,
        )
    }

    #[test]
    fn a_failed_write_or_sync_is_final_and_keeps_every_committed_row() {
        for last in 1..=40 {
            let mut journal = journal(last);
            let mut told = 0;
            let failure = (1..=200).find_map(|row| {
                journal.append(&applied(row), b"x", at(0));
                let second = Duration::from_millis(100 * row);
                journal.commit(second).map(|()| told = row).err()
            });
            let text = failure.unwrap().to_string();
            assert!(text.contains(&format!("{}", journal.recorded())), "{text}");
            assert!(journal.recorded() >= told, "{last}");
            let calls = journal.storage().calls;
            assert_eq!(journal.sync().unwrap_err().kind(), Kind::MidRun);
            assert_eq!(
                journal.storage().calls,
                calls,
                "a broken disk is not asked again"
            );
            let lines = journal.storage().bytes.split(|byte| *byte == b'\n').count() - 1;
            assert!(lines as u64 >= told, "{last}: {lines} lines, {told} told");
        }
    }

    #[test]
    fn a_sync_is_made_after_65536_records_or_a_second() {
        let mut journal = journal(u32::MAX);
        for row in 1..=SYNC_RECORDS {
            assert_eq!(journal.storage().calls, 0);
            journal.append(&applied(row), b"x", at(0));
        }
        journal.commit(Duration::ZERO).unwrap();
        assert_eq!((journal.storage().calls, journal.sync_due()), (2, None));

        journal.append(&applied(SYNC_RECORDS + 1), b"x", at(0));
        journal.commit(Duration::from_secs(5)).unwrap();
        assert_eq!(
            (journal.storage().calls, journal.sync_due()),
            (3, Some(Duration::from_secs(6)))
        );
        journal.commit(Duration::from_secs(6)).unwrap();
        assert_eq!(journal.storage().calls, 4);
    }

    /// A disk whose background sync ends when the test sends its result.
    struct Slow(Arc<Mutex<Receiver<io::Result<()>>>>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Storage for Slow {
        fn sync_data(&mut self) -> io::Result<()> {
            Ok(())
        }

        fn sync_elsewhere(&self) -> Option<PendingSync> {
            let end = Arc::clone(&self.0);
            Some(Box::new(move || {
                end.lock()
                    .unwrap()
                    .recv_timeout(Duration::from_mins(1))
                    .unwrap()
            }))
        }
    }

    #[test]
    fn commit_does_not_wait_for_a_sync_and_a_failed_sync_is_final() {
        let (ends, end) = channel();
        let slow = Slow(Arc::new(Mutex::new(end)));
        let mut journal = Journal::new(slow, PathBuf::from("users.report.csv.partial"), 0);
        let commit = |journal: &mut Journal<Slow>, row: u64| {
            journal.append(&applied(row), b"x", at(0));
            journal
                .commit(Duration::from_millis(600 * row))
                .map(|()| (journal.recorded(), journal.background_sync.is_some()))
        };
        for row in 1..=6 {
            assert_eq!(commit(&mut journal, row).unwrap(), (row, row >= 3));
        }
        ends.send(Err(io::Error::from(io::ErrorKind::StorageFull)))
            .unwrap();
        while !journal.background_sync.as_mut().unwrap().is_over() {
            std::thread::yield_now();
        }
        // The error is returned although nothing is due.
        let failed = commit(&mut journal, 7).unwrap_err().to_string();
        assert!(
            failed.contains("users.report.csv.partial can't be written: "),
            "{failed}"
        );
        assert!(failed.contains("6 rows are recorded"), "{failed}");
        assert_eq!(commit(&mut journal, 8).unwrap_err().to_string(), failed);
        assert_eq!(journal.recorded(), 6);
    }

    #[test]
    fn sync_waits_for_the_background_sync_and_returns_its_error() {
        let (ends, end) = channel();
        let slow = Slow(Arc::new(Mutex::new(end)));
        let mut journal = Journal::new(slow, PathBuf::from("users.report.csv.partial"), 0);
        journal.append(&applied(1), b"x", at(0));
        journal.commit(Duration::ZERO).unwrap();
        journal.commit(Duration::from_secs(1)).unwrap();
        ends.send(Err(io::Error::other("the disk is gone")))
            .unwrap();
        assert!(
            journal
                .sync()
                .unwrap_err()
                .to_string()
                .contains("the disk is gone")
        );
    }

    #[test]
    fn dropping_a_journal_waits_for_the_background_sync() {
        let (ends, end) = channel();
        let slow = Slow(Arc::new(Mutex::new(end)));
        let mut journal = Journal::new(slow, PathBuf::from("users.report.csv.partial"), 0);
        journal.append(&applied(1), b"x", at(0));
        journal.commit(Duration::ZERO).unwrap();
        journal.commit(Duration::from_secs(1)).unwrap();
        let handle = Arc::clone(&journal.storage().0);
        let dropping = std::thread::spawn(move || drop(journal));
        ends.send(Ok(())).unwrap();
        dropping.join().unwrap();
        assert_eq!(
            Arc::strong_count(&handle),
            1,
            "nobody has the file any more"
        );
    }

    #[test]
    fn a_journal_that_is_removed_is_written_again_before_the_next_sync() {
        let desk = Desk::new(9);
        let (mut journal, _) = desk.resume();
        let commit = |journal: &mut Journal<File>, row: u64| {
            journal.append(&applied(row), &cells(row), at(0));
            journal.commit(Duration::from_secs(row))
        };
        commit(&mut journal, 1).unwrap();
        std::fs::remove_file(desk.paths().partial).unwrap();
        assert_eq!(journal.removal(), None);
        commit(&mut journal, 2).unwrap();
        commit(&mut journal, 3).unwrap();
        assert!(journal.removal().is_some());
        assert_eq!(desk.refusal(Mode::default()).kind(), Kind::Busy);
        drop(journal);
        let (_journal, on_record) = desk.resume();
        assert_eq!(on_record.rows.iter().collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn a_journal_that_is_removed_with_its_folder_ends_the_run() {
        let desk = Desk::new(9);
        let (mut journal, _) = desk.resume();
        journal.append(&applied(1), &cells(1), at(0));
        journal.commit(Duration::ZERO).unwrap();
        std::fs::remove_dir_all(desk.paths().folder()).unwrap();
        let error = journal.commit(Duration::from_secs(1)).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("it was removed during the run"), "{text}");
        assert!(text.contains("0 rows are recorded"), "{text}");
    }

    fn wait_for_sync<S: Storage>(journal: &mut Journal<S>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(journal.sync_is_over());
    }

    /// Asks for a row as the engine does.
    fn may_send<S: Storage>(journal: &mut Journal<S>, row: u64) -> bool {
        journal
            .may_send(row, Duration::from_secs(1), at(0))
            .unwrap()
    }

    #[test]
    fn a_row_may_be_sent_once_its_mark_is_on_disk() {
        let (ends, end) = channel();
        let slow = Slow(Arc::new(Mutex::new(end)));
        let mut journal = Journal::new(slow, PathBuf::from("users.report.csv.partial"), 0);
        assert!(
            !may_send(&mut journal, 1),
            "the first mark is not on disk yet"
        );
        assert!(!may_send(&mut journal, 1));
        ends.send(Ok(())).unwrap();
        wait_for_sync(&mut journal);
        // The second mark is under way from row 33 on.
        for row in 1..=64 {
            assert!(may_send(&mut journal, row), "{row}");
        }
        assert!(!may_send(&mut journal, 65));
        ends.send(Ok(())).unwrap();
        wait_for_sync(&mut journal);
        assert!(may_send(&mut journal, 65));
        // The sync of the third mark ends before the journal does.
        ends.send(Ok(())).unwrap();
    }

    #[test]
    fn a_mark_that_is_written_during_a_sync_counts_after_the_next_sync() {
        let (ends, end) = channel();
        let slow = Slow(Arc::new(Mutex::new(end)));
        let mut journal = Journal::new(slow, PathBuf::from("users.report.csv.partial"), 0);
        journal.append(&applied(1), b"x", at(0));
        journal.commit(Duration::ZERO).unwrap();
        journal.commit(Duration::from_secs(1)).unwrap();
        assert!(journal.background_sync.is_some());
        assert!(!may_send(&mut journal, 2));
        for _ in 0..2 {
            assert!(!may_send(&mut journal, 2));
            ends.send(Ok(())).unwrap();
            wait_for_sync(&mut journal);
        }
        assert!(may_send(&mut journal, 2));
    }

    #[test]
    fn a_mark_that_can_not_be_synced_is_an_error() {
        let (ends, end) = channel();
        let slow = Slow(Arc::new(Mutex::new(end)));
        let mut journal = Journal::new(slow, PathBuf::from("users.report.csv.partial"), 0);
        assert!(!may_send(&mut journal, 1));
        ends.send(Err(io::Error::from(io::ErrorKind::StorageFull)))
            .unwrap();
        wait_for_sync(&mut journal);
        let failed = journal.may_send(1, Duration::ZERO, at(0)).unwrap_err();
        assert!(failed.to_string().contains("can't be written"), "{failed}");
    }
}
