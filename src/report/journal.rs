//! The journal: one file to which every outcome is appended before anybody is told of it. Appending and syncing live here;
//! what a record looks like is `line`'s, which file it is and whether an interrupted run is taken up is `open`'s.
//!
//! What is on disk when:
//!
//! - Records are gathered in memory and leave in one [`write`](Journal::write); only then may they be told of. From there a
//!   kill of the process loses nothing, for the bytes are the system's.
//! - `fdatasync` follows after [`SYNC_RECORDS`] records or [`SYNC_AFTER`], in a thread of its own: a disk takes a
//!   millisecond for it, or a hundred, and nobody's turn to send may wait for that. The next one is begun when it is over.
//!   A power cut therefore forgets a second's work and what came during two syncs, which is sent again, harmlessly, as
//!   setting a flag twice is setting it once. At the end, [`sync`](Journal::sync) waits for the disk.
//! - The run's own record is synced with the first mark, and so is the name of a new file, before the first request.
//! - A mark names the last row that may be sent. It is on disk before the first row beyond the mark before it is sent. The
//!   next one is written when half of the last one is used, and synced in the same thread as records are, so that sending
//!   waits for the disk only where that takes longer than half a mark. See `mark`.
//! - The stop record, with which an orderly end is written, lists the rows in doubt. Without one, all rows up to the last
//!   mark that have no outcome are in doubt.
//! - A journal that somebody removes is written again under its name before the next sync is begun. One that somebody
//!   replaces is saved under another name at the end, see `files`.
//! - The first failed write or sync is final: after a failed `fsync` the system may have dropped the very bytes, and a
//!   later success would say nothing about them.

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
use crate::output::{disk, is_at};
use crate::report::files::{self, Paths, Places};
use crate::report::line;
use crate::report::mark::{Marks, Reach};
use crate::report::moment::Stamp;
use crate::report::run::{Mark, Note, Noted, Run, Stop};

/// A sync is due after so many records: a bound for what one sync has to write, some 8 MB of usual rows, reached only by
/// runs of tens of thousands of rows a second. With fewer, such runs would sync many times a second and gain nothing, for a
/// second's work is what a power cut may cost anyway.
pub const SYNC_RECORDS: u64 = 65_536;

/// A sync is due when the oldest record that is not synced is this old.
pub const SYNC_AFTER: Duration = Duration::from_secs(1);

/// Where the journal's bytes go: a file, or in tests something that fails.
pub trait Storage: Write {
    /// Returns when all that was written is on the disk.
    ///
    /// # Errors
    /// Whatever the system says; what was written since the last success may be lost.
    fn sync_data(&mut self) -> io::Result<()>;

    /// Writes all content again in a file at `path`, and goes on with that file, if somebody has removed the one that was
    /// there. Returns whether that was so.
    ///
    /// # Errors
    /// Whatever the system says; the content has no name then.
    fn restore_if_removed(&mut self, _path: &Path) -> io::Result<bool> {
        Ok(false)
    }

    /// The same as [`sync_data`](Self::sync_data) for another thread to do, where that is possible.
    fn sync_elsewhere(&self) -> Option<PendingSync> {
        None
    }
}

/// A sync that is yet to be made.
pub type PendingSync = Box<dyn FnOnce() -> io::Result<()> + Send>;

impl Storage for File {
    fn sync_data(&mut self) -> io::Result<()> {
        disk::sync_journal(self)
    }

    fn restore_if_removed(&mut self, path: &Path) -> io::Result<bool> {
        files::restore_if_removed(path, self)
    }

    fn sync_elsewhere(&self) -> Option<PendingSync> {
        let file = self.try_clone().ok()?;
        Some(Box::new(move || file.sync_data()))
    }
}

/// A sync that is under way in a thread of its own. It is over once this is dropped: the thread has a handle of the file, and
/// with it the lock.
#[derive(Debug)]
struct Syncing {
    thread: Option<JoinHandle<io::Result<()>>>,
    /// Is told when the sync is over.
    over: oneshot::Receiver<()>,
    /// The last mark that was written before it began.
    mark: Reach,
}

impl Syncing {
    fn begin(sync: PendingSync, mark: Reach) -> Option<Self> {
        let (done, over) = oneshot::channel();
        let thread = Builder::new().name("sync".to_owned()).spawn(move || {
            let result = sync();
            // Nobody waits any more if the journal is gone.
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

    /// Waits for the end and returns what came of the sync.
    fn wait(&mut self) -> io::Result<()> {
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("a sync broke off")))
    }
}

impl Drop for Syncing {
    fn drop(&mut self) {
        // A journal that is dropped with a sync under way is not gone on with, so nobody asks how it ended.
        let _ = self.wait();
    }
}

/// The sink of outcomes.
#[derive(Debug)]
pub struct Journal<S> {
    storage: S,
    /// The file, for messages.
    path: PathBuf,
    /// Records that are not written yet.
    buffer: Vec<u8>,
    /// The last record's check,
    check: u32,
    /// and its time.
    stamp: Stamp,
    /// Rows in the buffer.
    gathered: u64,
    /// Rows that are written.
    recorded: u64,
    /// Whether a row was deferred, which the next run has to know.
    has_deferred: bool,
    /// Rows that are written but not synced.
    unsynced: u64,
    /// When the oldest of those was written.
    unsynced_since: Option<Duration>,
    /// The sync of earlier ones, where one is under way.
    syncing: Option<Syncing>,
    marks: Marks,
    /// Whether somebody has removed the file, and it was written again.
    was_removed: bool,
    /// What went wrong first; nothing is tried after that.
    failure: Option<String>,
    /// Where the report will go; `None` if it is not known that there will be one.
    places: Option<Places>,
}

impl Journal<File> {
    /// Goes on with a file in which so many rows are on record, the last record having this check.
    pub(super) fn taken_up(file: File, path: PathBuf, check: u32, recorded: u64) -> Self {
        Self {
            recorded,
            ..Self::new(file, path, check)
        }
    }

    /// Sets the rows that earlier processes have deferred.
    pub(super) fn with_deferred(mut self, rows: RoaringTreemap) -> Self {
        self.has_deferred |= !rows.is_empty();
        self.marks = Marks::with_deferred(rows);
        self
    }

    /// Sets where the report will go.
    pub(super) fn with_places(mut self, places: Places) -> Self {
        self.places = Some(places);
        self
    }

    /// Makes sure that the journal still has its name, and returns words for the person if it had lost it: then it was
    /// saved again, under another name if another file has taken its place.
    ///
    /// # Errors
    /// [`Kind::MidRun`] if it can't be saved.
    pub fn ensure_saved(&self) -> Result<Option<String>> {
        let Some(place) = files::ensure_saved(&self.path, &self.storage)? else {
            return Ok(self.removal());
        };
        Ok(Some(format!(
            "{} was removed or replaced during the run; the run's journal was saved as {}",
            files::name(&self.path),
            files::name(&place)
        )))
    }

    /// Returns words for the person if somebody has removed the journal during the run, and it was written again.
    #[must_use]
    pub fn removal(&self) -> Option<String> {
        if !self.was_removed {
            return None;
        }
        let name = files::name(&self.path);
        Some(format!(
            "{name} was removed during the run and was written again"
        ))
    }

    /// Puts the record of a run on disk with a first mark, and the file's name in its `folder`. `next` is the first row
    /// that is to be sent, if there is one.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub(super) fn begin(
        &mut self,
        run: &Run,
        next: Option<RowNumber>,
        folder: &Path,
    ) -> Result<()> {
        self.push_control(line::RUN, run);
        if let Some(row) = next {
            self.mark_ahead(row, Duration::ZERO, run.at);
        }
        self.sync()?;
        disk::sync_folder(folder).map_err(|error| self.fail(&error))
    }

    /// Removes the journal of a run in which no row came to an outcome and none was deferred: there is nothing to go on
    /// from, and the next try may well use another address or key. A file that has taken the journal's place is not
    /// touched.
    ///
    /// # Errors
    /// [`Kind::MidRun`] if the file can't be removed.
    pub fn discard_if_empty(self, paths: &Paths) -> Result<()> {
        if self.recorded > 0 || self.has_deferred || !is_at(&self.path, &self.storage) {
            return Ok(());
        }
        files::remove_private(&paths.snapshot, "a snapshot")?;
        let name = files::name(&self.path);
        files::remove_journal(&self.path, &self.storage)
            .map_err(|error| Error::new(Kind::MidRun, format!("can't remove {name}: {error}")))
    }
}

impl<S: Storage> Journal<S> {
    /// Appends to `storage`, whose last record has this check (0 for an empty one).
    #[must_use]
    pub fn new(storage: S, path: PathBuf, check: u32) -> Self {
        Self {
            storage,
            path,
            buffer: Vec::new(),
            check,
            stamp: Stamp::of(Timestamp::UNIX_EPOCH),
            gathered: 0,
            recorded: 0,
            has_deferred: false,
            unsynced: 0,
            unsynced_since: None,
            syncing: None,
            marks: Marks::default(),
            was_removed: false,
            failure: None,
            places: None,
        }
    }

    /// Gathers a row's record. `cells` are the row's own cells as CSV without a line end, as many as the header has.
    pub fn append(&mut self, record: &Record, cells: &[u8], finished_at: Timestamp) {
        self.stamp.set(finished_at);
        self.check = line::write_row(&mut self.buffer, self.check, cells, record, &self.stamp);
        self.gathered += 1;
    }

    /// Gathers a note.
    pub fn note(&mut self, note: Note, at: Timestamp) {
        self.has_deferred |= matches!(note, Note::Deferred { .. });
        self.push_control(line::NOTE, &Noted { at, note });
    }

    /// Writes what was gathered, at once. Only after this may it be told of.
    ///
    /// `now` counts from any fixed moment, such as the start of the run.
    ///
    /// # Errors
    /// [`Kind::MidRun`] if that fails, or a sync that was begun before has failed; for good: after the first failure every
    /// later call fails too.
    pub fn write(&mut self, now: Duration) -> Result<()> {
        if self.syncing.as_mut().is_some_and(Syncing::is_over) {
            self.end_sync()?;
        }
        self.hand_over()?;
        if self.unsynced > 0 {
            self.unsynced_since.get_or_insert(now);
        }
        if self.marks.has_unsynced() && self.syncing.is_none() {
            self.begin_sync()?;
        }
        Ok(())
    }

    /// Returns whether a row may be sent, that is, whether a mark that covers it is on disk; `at` is the time of day. If it
    /// may not, [`sync_is_over`](Self::sync_is_over) tells when to ask again. Writes the next mark when that is due.
    ///
    /// Rows are asked for in the order in which they are sent for the first time.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn may_send(&mut self, row: RowNumber, now: Duration, at: Timestamp) -> Result<bool> {
        if self.mark_ahead(row, now, at) || !self.marks.cover(row) {
            self.write(now)?;
        }
        let may_send = self.marks.cover(row);
        if may_send {
            self.marks.count(now);
        }
        Ok(may_send)
    }

    /// Returns when the sync that is under way is over, or at once if none is.
    pub async fn sync_is_over(&mut self) {
        if let Some(syncing) = &mut self.syncing {
            // Also a thread that broke off is over.
            let _ = (&mut syncing.over).await;
        }
    }

    /// Gathers the next mark if one is due; returns whether it was.
    fn mark_ahead(&mut self, row: RowNumber, now: Duration, at: Timestamp) -> bool {
        match self.marks.next(row, now) {
            Some(Reach { row, deferred }) => {
                self.push_control(line::MARK, &Mark { at, row, deferred });
                true
            }
            None => false,
        }
    }

    /// Writes what was gathered, and begins to sync it if that is due and no sync is under way.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn commit(&mut self, now: Duration) -> Result<()> {
        self.write(now)?;
        let is_due = self.unsynced >= SYNC_RECORDS || self.sync_due().is_some_and(|due| now >= due);
        if is_due && self.syncing.is_none() {
            self.begin_sync()
        } else {
            Ok(())
        }
    }

    /// When a sync is due at the latest, on the clock of [`commit`](Self::commit); `None` if everything is synced, or one is
    /// under way.
    #[must_use]
    pub fn sync_due(&self) -> Option<Duration> {
        self.unsynced_since
            .filter(|_| self.syncing.is_none())
            .map(|since| since + SYNC_AFTER)
    }

    /// Writes what was gathered, and returns when all of it is on the disk.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn sync(&mut self) -> Result<()> {
        self.hand_over()?;
        self.end_sync()?;
        self.storage
            .sync_data()
            .map_err(|error| self.fail(&error))?;
        self.unsynced = 0;
        self.unsynced_since = None;
        self.marks.synced(self.marks.written());
        Ok(())
    }

    fn begin_sync(&mut self) -> Result<()> {
        self.restore_if_removed()?;
        let mark = self.marks.written();
        let begun = self
            .storage
            .sync_elsewhere()
            .and_then(|sync| Syncing::begin(sync, mark));
        if begun.is_none() {
            return self.sync();
        }
        self.syncing = begun;
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
                // They are in a file without a name, which goes with the process.
                self.recorded = 0;
                Err(self.fail(&io::Error::other(format!(
                    "it was removed during the run and can't be written again: {error}"
                ))))
            }
        }
    }

    /// Waits for the sync that is under way, if one is.
    fn end_sync(&mut self) -> Result<()> {
        let Some(mut syncing) = self.syncing.take() else {
            return Ok(());
        };
        syncing.wait().map_err(|error| self.fail(&error))?;
        self.marks.synced(syncing.mark);
        Ok(())
    }

    /// Puts the end of the run on disk.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn stop(&mut self, stop: &Stop) -> Result<()> {
        self.push_control(line::STOP, stop);
        self.sync()
    }

    /// Rows that are on record.
    #[must_use]
    pub fn recorded(&self) -> u64 {
        self.recorded
    }

    /// The file, to read it again.
    pub(super) fn storage(&self) -> &S {
        &self.storage
    }

    /// The file or whatever was written to, and where the report will go.
    pub(super) fn into_parts(self) -> (S, Option<Places>) {
        (self.storage, self.places)
    }

    fn push_control(&mut self, word: &str, content: &impl Serialize) {
        match serde_json::to_string(content) {
            Ok(json) => self.check = line::write_control(&mut self.buffer, self.check, word, &json),
            Err(error) => self.failure = Some(error.to_string()),
        }
    }

    fn hand_over(&mut self) -> Result<()> {
        if self.failure.is_some() {
            return Err(self.failed());
        }
        if !self.buffer.is_empty() {
            self.storage
                .write_all(&self.buffer)
                .map_err(|error| self.fail(&error))?;
            self.buffer.clear();
            self.unsynced += self.gathered;
            self.recorded += std::mem::take(&mut self.gathered);
        }
        Ok(())
    }

    fn fail(&mut self, error: &io::Error) -> Error {
        self.failure.get_or_insert_with(|| error.to_string());
        self.failed()
    }

    fn failed(&self) -> Error {
        let why = self.failure.as_deref().unwrap_or("an earlier failure");
        let rows = if self.recorded == 1 {
            "1 row is".to_owned()
        } else {
            format!("{} rows are", self.recorded)
        };
        Error::new(
            Kind::MidRun,
            format!(
                "{} can't be written: {why}; {rows} on record",
                files::name(&self.path)
            ),
        )
        .help("mend that, then run the same command again: it goes on where this one stopped")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::report::open::Mode;
    use crate::report::tests::{Desk, applied, at, cells};

    /// A disk that breaks at its `last`th call, after taking half of what it was given.
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
    fn whenever_the_disk_breaks_it_is_said_once_and_for_all_and_what_was_told_of_is_there() {
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
    fn a_sync_comes_after_very_many_records_or_a_second() {
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

    /// A disk that takes its time to sync, until it is told how that ends. Only what runs in another thread asks it.
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
    fn nobody_waits_for_a_sync_and_a_failed_one_is_final() {
        let (ends, end) = channel();
        let slow = Slow(Arc::new(Mutex::new(end)));
        let mut journal = Journal::new(slow, PathBuf::from("users.report.csv.partial"), 0);
        let commit = |journal: &mut Journal<Slow>, row: u64| {
            journal.append(&applied(row), b"x", at(0));
            journal
                .commit(Duration::from_millis(600 * row))
                .map(|()| (journal.recorded(), journal.syncing.is_some()))
        };
        for row in 1..=6 {
            assert_eq!(commit(&mut journal, row).unwrap(), (row, row >= 3));
        }
        ends.send(Err(io::Error::from(io::ErrorKind::StorageFull)))
            .unwrap();
        while !journal.syncing.as_mut().unwrap().is_over() {
            std::thread::yield_now();
        }
        // Although nothing else is due.
        let failed = commit(&mut journal, 7).unwrap_err().to_string();
        assert!(
            failed.contains("users.report.csv.partial can't be written: "),
            "{failed}"
        );
        assert!(failed.contains("6 rows are on record"), "{failed}");
        assert_eq!(commit(&mut journal, 8).unwrap_err().to_string(), failed);
        assert_eq!(journal.recorded(), 6);
    }

    #[test]
    fn the_end_waits_for_a_sync_that_is_under_way() {
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
    fn a_journal_that_is_dropped_waits_for_the_sync_that_is_under_way() {
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
        assert!(text.contains("0 rows are on record"), "{text}");
    }

    fn wait_for_sync<S: Storage>(journal: &mut Journal<S>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(journal.sync_is_over());
    }

    /// Asks for a row as the engine does, and gives the answer.
    fn may_send<S: Storage>(journal: &mut Journal<S>, row: u64) -> bool {
        journal
            .may_send(row, Duration::from_secs(1), at(0))
            .unwrap()
    }

    #[test]
    fn a_row_may_be_sent_only_when_its_mark_is_on_disk() {
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
    fn a_mark_that_is_written_during_a_sync_waits_for_the_next_one() {
        let (ends, end) = channel();
        let slow = Slow(Arc::new(Mutex::new(end)));
        let mut journal = Journal::new(slow, PathBuf::from("users.report.csv.partial"), 0);
        journal.append(&applied(1), b"x", at(0));
        journal.commit(Duration::ZERO).unwrap();
        journal.commit(Duration::from_secs(1)).unwrap();
        assert!(journal.syncing.is_some());
        assert!(!may_send(&mut journal, 2));
        for _ in 0..2 {
            assert!(!may_send(&mut journal, 2));
            ends.send(Ok(())).unwrap();
            wait_for_sync(&mut journal);
        }
        assert!(may_send(&mut journal, 2));
    }

    #[test]
    fn a_mark_that_can_not_be_synced_ends_the_run() {
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
