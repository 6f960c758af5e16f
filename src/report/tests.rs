//! The journal and the report from outside: runs that are killed, resumed, finished, refused, on
//! real files.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use jiff::Timestamp;
use tempfile::TempDir;

use super::*;
use crate::domain::{Credentials, Flag, LineEnd, Outcome, Record, TableFormat};
use crate::error::{Error, Kind};
use crate::journal::{
    Begin, CarriedColumn, Identity, InputFile, Journal, Mode, OnRecord, Paths, Provenance, Start,
    Stop, TableReading, Traffic, open,
};
use crate::output::disk::watch;

/// A folder with an input in it, and the run that reads it.
pub(crate) struct Desk {
    folder: TempDir,
    rows: u64,
    key: &'static str,
    address: &'static str,
}

impl Desk {
    pub(crate) fn new(rows: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("users.csv"), "user_id,name\n").unwrap();
        Self {
            folder,
            rows,
            key: "the key",
            address: "https://eu.core.resolver.com",
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn paths(&self) -> Paths {
        Paths::beside(&self.path("users.csv"))
    }

    pub(crate) fn start(&self) -> Start {
        Start {
            identity: Identity {
                address: self.address.to_owned(),
                ..identity()
            },
            rows: self.rows,
            credentials: Credentials::Key(self.key.into()),
            who: Provenance {
                user: "ada".to_owned(),
                host: "desk".to_owned(),
                ..Provenance::default()
            },
            pid: 4711,
            at: at(0),
        }
    }

    pub(crate) fn open(&self, mode: Mode) -> crate::error::Result<(Journal<fs::File>, OnRecord)> {
        open(
            &self.paths(),
            Some(&self.path("users.csv")),
            &self.start(),
            mode,
        )
    }

    pub(crate) fn resume(&self) -> (Journal<fs::File>, OnRecord) {
        self.open(Mode::default()).unwrap()
    }

    pub(crate) fn refusal(&self, mode: Mode) -> Error {
        self.open(mode).map(drop).unwrap_err()
    }

    pub(crate) fn complete(&self, journal: Journal<fs::File>) -> crate::error::Result<Completion> {
        finish(
            journal,
            &self.paths(),
            self.rows,
            &AtomicBool::new(false),
            || Ok(()),
        )
    }

    pub(crate) fn finish(&self, journal: Journal<fs::File>) -> crate::error::Result<Summary> {
        let completion = self.complete(journal)?;
        assert_eq!(completion.warning, None);
        Ok(completion.summary)
    }

    fn report(&self) -> String {
        fs::read_to_string(self.paths().report).unwrap()
    }
}

/// The identity of a run that applies a table of two columns with one flag for all rows.
pub(crate) fn identity() -> Identity {
    Identity {
        command: "apply".to_owned(),
        input: InputFile {
            name: "users.csv".to_owned(),
            bytes: 14,
            blake3: "af13".to_owned(),
        },
        table: TableReading {
            format: TableFormat::Text {
                encoding: "UTF-8".to_owned(),
                byte_order_mark: false,
                gzip: false,
                delimiter: ',',
                line_end: LineEnd::Lf,
                sep_line: false,
            },
            header_line: Some(1),
            id_column: 1,
            flag_column: None,
            until_column: None,
            visible_only: false,
            keep_last_row: false,
        },
        ids: None,
        header: ["user_id", "name"].map(CarriedColumn::of_input).to_vec(),
        set: Some(true),
        skip_invalid: false,
        time_zone: None,
        outcomes: Vec::new(),
        register: None,
        address: "https://eu.core.resolver.com".to_owned(),
    }
}

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

pub(crate) fn applied(row: u64) -> Record {
    Record {
        row,
        line: Some(row + 1),
        outcome: Outcome::Applied,
        wanted: Some(Flag::OptOut),
        http_status: Some(204),
        attempts: 1,
        elapsed: Duration::from_millis(50 + row % 50),
        detail: String::new(),
    }
}

/// The row's own cells, with a line break in every third.
pub(crate) fn cells(row: u64) -> Vec<u8> {
    if row.is_multiple_of(3) {
        format!("{row},\"a\nb \"\"{row}\"\"\"")
    } else {
        format!("{row},Zoë")
    }
    .into_bytes()
}

/// The record of an orderly end, after which no row is in doubt.
fn stop_record() -> Stop {
    Stop {
        at: at(9),
        traffic: Traffic::default(),
        ending: "complete".to_owned(),
        exit_code: 0,
        closed: false,
        in_doubt: Vec::new(),
    }
}

pub(super) fn append(journal: &mut Journal<fs::File>, rows: impl IntoIterator<Item = u64>) {
    for row in rows {
        journal.append(&applied(row), &cells(row), at(row.cast_signed()));
    }
    journal.commit(Duration::ZERO).unwrap();
}

#[test]
fn a_run_that_was_killed_and_continued_has_the_report_of_an_uninterrupted_one() {
    let desk = Desk::new(7);
    let (mut journal, on_record) = desk.resume();
    assert!(on_record.runs.is_empty());
    append(&mut journal, [2, 1, 4]);
    drop(journal);

    let (mut journal, on_record) = desk.resume();
    assert_eq!(on_record.rows.iter().collect::<Vec<_>>(), [1, 2, 4]);
    assert_eq!(on_record.tally.count(Outcome::Applied), 3);
    append(&mut journal, [7, 3, 6, 5]);
    let summary = desk.finish(journal).unwrap();

    let header =
        "user_id,name,line,outcome,wanted,http_status,attempts,elapsed_ms,finished_at,detail\n";
    let rows: Vec<String> = (1..=7_u64)
        .map(|row| {
            let own = String::from_utf8(cells(row)).unwrap();
            let time = at(row.cast_signed());
            format!(
                "{own},{},applied,true,204,1,{},{time:.3},\n",
                row + 1,
                50 + row
            )
        })
        .collect();
    assert_eq!(desk.report(), header.to_owned() + &rows.concat());
    assert_eq!((summary.runs.len(), summary.outcomes.total()), (2, 7));
    assert!(!desk.paths().partial.exists());
}

#[test]
fn row_counts_that_do_not_match_are_an_error_and_keep_the_journal() {
    let desk = Desk::new(3);
    let (mut journal, _) = desk.resume();
    append(&mut journal, [1, 3]);
    let error = desk.finish(journal).unwrap_err();
    assert_eq!(error.kind(), Kind::MidRun);
    assert!(
        error
            .to_string()
            .contains("row counts do not match: 1 of 3 rows have no outcome, the first is row 2"),
        "{error}"
    );
    assert!(desk.paths().partial.exists() && !desk.paths().report.exists());
}

#[test]
fn a_different_run_is_refused_and_its_difference_named() {
    let mut desk = Desk::new(3);
    append(&mut desk.resume().0, [1]);
    (desk.address, desk.key) = ("https://us.core.resolver.com", "another key");
    let error = desk.refusal(Mode::default());
    assert_eq!(error.kind(), Kind::Report);
    let text = error.to_string();
    assert!(
        text.contains("it was https://eu.core.resolver.com, now it is https://us"),
        "{text}"
    );
    assert!(
        text.contains("the API key") && !text.contains("another key"),
        "{text}"
    );
}

#[test]
fn a_second_run_is_refused_and_the_holder_named() {
    let desk = Desk::new(3);
    let (_journal, _) = desk.resume();
    let error = desk.refusal(Mode::default());
    assert_eq!(error.kind(), Kind::Busy);
    assert!(
        error.to_string().contains(
            "by another run; the last one recorded is process 4711 on desk, since \
             2023-11-14T22:13:20Z"
        ),
        "{error}"
    );
}

#[test]
fn a_finished_report_is_replaced_with_overwrite_only() {
    let desk = Desk::new(1);
    fs::write(desk.paths().report, "precious").unwrap();
    let error = desk.refusal(Mode::default());
    assert!(error.to_string().contains("exists already"), "{error}");
    assert!(
        !desk.paths().partial.exists(),
        "an empty journal is not left behind"
    );

    let (mut journal, _) = desk
        .open(Mode {
            overwrite: true,
            ..Mode::default()
        })
        .unwrap();
    append(&mut journal, [1]);
    assert_eq!(desk.report(), "precious");
    desk.finish(journal).unwrap();
    assert!(desk.report().starts_with("user_id,name,line,"));
}

#[test]
fn an_interrupted_merge_keeps_the_journal_and_the_next_one_finishes() {
    let desk = Desk::new(3);
    let (mut journal, _) = desk.resume();
    append(&mut journal, [3, 1, 2]);
    let bytes = fs::read(desk.paths().partial).unwrap();
    let error = finish(journal, &desk.paths(), 3, &AtomicBool::new(true), || Ok(())).unwrap_err();
    assert!(
        error.to_string().contains("interrupted by a signal"),
        "{error}"
    );
    assert_eq!(fs::read(desk.paths().partial).unwrap(), bytes);
    assert!(!desk.paths().report.exists());
    let (journal, _) = desk.resume();
    desk.finish(journal).unwrap();
    assert!(desk.paths().report.exists());
}

#[test]
fn a_run_killed_before_its_journal_was_removed_is_finished_by_the_next_one() {
    let desk = Desk::new(2);
    let (mut journal, _) = desk.resume();
    append(&mut journal, [2, 1]);
    let journal_bytes = fs::read(desk.paths().partial).unwrap();
    desk.finish(journal).unwrap();
    let report = desk.report();

    let mut options = fs::OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    std::io::Write::write_all(
        &mut options
            .write(true)
            .create_new(true)
            .open(desk.paths().partial)
            .unwrap(),
        &journal_bytes,
    )
    .unwrap();
    let (journal, on_record) = desk.resume();
    assert_eq!(on_record.rows.len(), 2);
    desk.finish(journal).unwrap();
    assert_eq!(desk.report(), report);
    assert!(!desk.paths().partial.exists());
}

#[test]
fn a_fresh_run_keeps_the_old_journal_under_another_name() {
    let desk = Desk::new(2);
    let (mut journal, _) = desk.resume();
    append(&mut journal, [1]);
    drop(journal);
    let old = fs::read(desk.paths().partial).unwrap();
    let (_journal, on_record) = desk
        .open(Mode {
            begin: Begin::Fresh,
            ..Mode::default()
        })
        .unwrap();
    assert!(on_record.rows.is_empty());
    assert_eq!(
        fs::read(desk.path("users.report.csv.partial.old-1")).unwrap(),
        old
    );
}

#[test]
fn a_journal_without_outcomes_is_kept_under_another_name_by_another_run() {
    let mut desk = Desk::new(2);
    desk.resume().0.stop(&stop_record()).unwrap();
    let old = fs::read(desk.paths().partial).unwrap();
    desk.resume().0.stop(&stop_record()).unwrap();
    assert!(
        !desk.path("users.report.csv.partial.old-1").exists(),
        "the same run goes on in it"
    );

    fs::write(desk.paths().partial, &old).unwrap();
    desk.address = "https://us.core.resolver.com";
    let (journal, on_record) = desk.resume();
    assert_eq!(
        (on_record.runs.len(), on_record.kept),
        (0, Some(desk.path("users.report.csv.partial.old-1")))
    );
    assert_eq!(
        fs::read(desk.path("users.report.csv.partial.old-1")).unwrap(),
        old
    );
    drop(journal);

    // What was torn off may have been the record of a row.
    fs::write(desk.paths().partial, [old.as_slice(), b"1,Zo"].concat()).unwrap();
    desk.key = "another key";
    assert_eq!(desk.refusal(Mode::default()).kind(), Kind::Report);
}

#[test]
fn a_journal_with_a_torn_record_is_not_renamed_by_another_run() {
    let mut desk = Desk::new(2);
    drop(desk.resume());
    desk.address = "https://us.core.resolver.com";
    let error = desk.refusal(Mode::default());
    assert!(error.to_string().contains("the address"), "{error}");
}

#[test]
fn a_new_key_is_accepted_with_new_key_only_and_replaces_the_old_one() {
    let mut desk = Desk::new(2);
    append(&mut desk.resume().0, [1]);
    desk.key = "rotated";
    drop(
        desk.open(Mode {
            new_key: true,
            ..Mode::default()
        })
        .unwrap(),
    );
    drop(desk.resume());
    desk.key = "the key";
    assert!(
        desk.refusal(Mode::default())
            .to_string()
            .contains("the API key")
    );
}

#[test]
fn provenance_is_on_disk_before_anything_is_sent_and_the_key_is_not() {
    let desk = Desk::new(2);
    let (_journal, _) = desk.resume();
    let text = fs::read_to_string(desk.paths().partial).unwrap();
    assert!(
        text.contains(r#"""user"":""ada"""#) && text.contains(r#"""pid"":4711"#),
        "{text}"
    );
    assert!(!text.contains(desk.key), "{text}");
}

#[test]
fn of_twenty_runs_that_start_at_once_one_gets_the_lock() {
    let desk = Desk::new(2);
    let barrier = std::sync::Barrier::new(20);
    let contend = || {
        barrier.wait();
        let opened = desk.open(Mode::default());
        // Nobody lets go before everybody has tried.
        barrier.wait();
        opened.map(drop).map_err(|error| error.kind())
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..20).map(|_| scope.spawn(contend)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert_eq!(
        results
            .iter()
            .filter(|result| **result == Err(Kind::Busy))
            .count(),
        19
    );
}

#[test]
fn the_summary_counts_the_requests_of_a_killed_run_by_its_rows() {
    let desk = Desk::new(3);
    let (mut journal, _) = desk.resume();
    append(&mut journal, [1]);
    drop(journal);
    let (mut journal, _) = desk.resume();
    append(&mut journal, [2, 3]);
    let traffic = Traffic {
        requests: 5,
        retries: 3,
        ..Traffic::default()
    };
    journal
        .stop(&Stop {
            traffic,
            ..stop_record()
        })
        .unwrap();
    let summary = desk.finish(journal).unwrap();
    assert_eq!((summary.traffic.requests, summary.traffic.retries), (6, 3));
    assert!(!summary.traffic_is_complete);
    assert_eq!(
        (summary.exit_code, summary.latency.as_ref().unwrap().samples),
        (Some(0), 3)
    );
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(desk.paths().json).unwrap()).unwrap();
    assert_eq!(
        (
            json["outcomes"]["applied"].as_u64(),
            json["statuses"]["204"].as_u64()
        ),
        (Some(3), Some(3))
    );
    assert_eq!(json["runs"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        (&json["format"], &json["identity"]["table"]["id_column"]),
        (&2.into(), &1.into())
    );
    assert_eq!(
        json["identity"]["header"],
        serde_json::json!([{"name": "user_id"}, {"name": "name"}])
    );
}

#[test]
fn each_file_is_synced_before_what_depends_on_it() {
    let desk = Desk::new(2);
    let (opened, calls) = watch::calls_of(|_| false, || desk.open(Mode::default()));
    let (mut journal, _) = opened.unwrap();
    // Nothing is sent before this.
    assert_eq!(calls, ["sync journal", "sync the folder of its files"]);
    let run_record = fs::read_to_string(desk.paths().partial).unwrap();
    assert!(run_record.starts_with("mfa-optout run,"), "{run_record}");
    append(&mut journal, [2, 1]);
    let (summary, calls) = watch::calls_of(|_| false, || desk.finish(journal));
    summary.unwrap();
    assert_eq!(
        calls,
        [
            "sync journal",
            "sync users.report.json",
            "rename users.report.json",
            "sync users.report.csv",
            "rename users.report.csv",
            "sync the folder of its files",
            "remove users.report.csv.partial",
            "sync the folder of its files",
        ]
    );
}

#[test]
fn a_run_whose_record_can_not_be_synced_does_not_begin() {
    for broken in ["sync journal", "sync the folder of its files"] {
        let desk = Desk::new(2);
        let (opened, _) =
            watch::calls_of(move |call| call == broken, || desk.open(Mode::default()));
        let error = opened.map(drop).unwrap_err();
        assert!(error.message().starts_with("nothing was sent"), "{error}");
    }
}

/// Finishes a run of two rows on a disk on which these calls fail.
fn finish_on_broken_disk(
    desk: &Desk,
    fails: impl Fn(&str) -> bool + 'static,
) -> crate::error::Result<Completion> {
    let (mut journal, _) = desk.resume();
    append(&mut journal, [2, 1]);
    watch::calls_of(fails, || desk.complete(journal)).0
}

#[test]
fn a_failure_after_the_report_is_in_place_is_a_warning() {
    for (broken, is_journal_left) in [
        ("remove users.report.csv.partial", true),
        ("sync the folder of its files", true),
    ] {
        let desk = Desk::new(2);
        let completion = finish_on_broken_disk(&desk, move |call| call == broken).unwrap();
        let warning = completion.warning.unwrap();
        assert!(
            warning.starts_with("the report is in place, but "),
            "{warning}"
        );
        assert!(warning.contains("users.report.csv.partial"), "{warning}");
        assert!(desk.paths().report.exists());
        assert_eq!(desk.paths().partial.exists(), is_journal_left);
        // The same command takes the report for its own and only removes the journal.
        let report = desk.report();
        desk.finish(desk.resume().0).unwrap();
        assert_eq!(desk.report(), report);
        assert!(!desk.paths().partial.exists());
    }
}

#[test]
fn a_failed_sync_after_the_journal_was_removed_is_a_warning() {
    let desk = Desk::new(2);
    let syncs = std::cell::Cell::new(0);
    let completion = finish_on_broken_disk(&desk, move |call| {
        if call.starts_with("sync the folder") {
            syncs.set(syncs.get() + 1);
        }
        syncs.get() == 2
    });
    assert!(completion.unwrap().warning.unwrap().contains("power cut"));
    assert!(desk.paths().report.exists() && !desk.paths().partial.exists());
}

#[test]
fn a_failure_before_the_report_is_in_place_keeps_the_journal() {
    for broken in [
        "sync users.report.json",
        "rename users.report.json",
        "sync users.report.csv",
        "rename users.report.csv",
    ] {
        let desk = Desk::new(2);
        let error = finish_on_broken_disk(&desk, move |call| call == broken).unwrap_err();
        assert_eq!(error.kind(), Kind::MidRun);
        assert!(desk.paths().partial.exists() && !desk.paths().report.exists());
        desk.finish(desk.resume().0).unwrap();
        assert!(desk.paths().report.exists());
    }
}

#[test]
fn a_record_of_the_same_report_is_replaced_and_any_other_is_kept() {
    let desk = Desk::new(2);
    let json = desk.paths().json;
    finish_on_broken_disk(&desk, |call| call == "rename users.report.csv").unwrap_err();
    let record = fs::read(&json).unwrap();
    for foreign in ["", "[]", "{\"report_blake3\": null}", "not JSON"] {
        fs::write(&json, foreign).unwrap();
        let error = desk.complete(desk.resume().0).unwrap_err().to_string();
        assert!(
            error.contains("users.report.json is already there and belongs to another run"),
            "{error}"
        );
        assert_eq!(fs::read_to_string(&json).unwrap(), foreign);
        assert!(!desk.paths().report.exists());
    }
    fs::write(&json, record).unwrap();
    desk.finish(desk.resume().0).unwrap();
}

#[test]
fn only_an_identical_report_is_taken_for_the_runs_own() {
    let desk = Desk::new(2);
    finish_on_broken_disk(&desk, |call| call.starts_with("remove")).unwrap();
    let whole = fs::read(desk.paths().report).unwrap();
    let mut one_changed = whole.clone();
    *one_changed.last_mut().unwrap() = b' ';
    for foreign in [&whole[..whole.len() - 1], &one_changed[..], &[]] {
        fs::write(desk.paths().report, foreign).unwrap();
        let error = desk.complete(desk.resume().0).unwrap_err().to_string();
        assert!(
            error.contains("is already there and belongs to another run"),
            "{error}"
        );
        assert_eq!(fs::read(desk.paths().report).unwrap(), foreign);
    }
    fs::write(desk.paths().report, &whole).unwrap();
    desk.finish(desk.resume().0).unwrap();
}

#[test]
fn a_journal_that_another_run_has_replaced_is_not_removed() {
    let desk = Desk::new(2);
    let partial = desk.paths().partial;
    let (mut journal, _) = desk.resume();
    append(&mut journal, [1, 2]);
    fs::remove_file(&partial).unwrap();
    fs::write(&partial, "of another run").unwrap();
    let error = desk.complete(journal).unwrap_err().to_string();
    assert!(error.contains("was replaced during the run"), "{error}");
    assert_eq!(fs::read(&partial).unwrap(), b"of another run");
    assert!(!desk.paths().report.exists() && !desk.paths().json.exists());
    let saved = desk.path("users.report.csv.partial.old-1");
    fs::rename(saved, &partial).unwrap();
    desk.finish(desk.resume().0).unwrap();

    let desk = Desk::new(2);
    let partial = desk.paths().partial;
    let (journal, _) = desk.resume();
    fs::remove_file(&partial).unwrap();
    fs::write(&partial, "of another run").unwrap();
    journal.discard_if_empty(&desk.paths()).unwrap();
    assert_eq!(fs::read(&partial).unwrap(), b"of another run");
}
