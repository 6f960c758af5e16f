//! The journal and the report from outside: runs that are killed, resumed, finished, refused, on real files.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use tempfile::TempDir;

use super::*;
use crate::domain::{Outcome, Record};
use crate::error::{Error, Kind};

/// A folder with an input in it, and the run that reads it.
struct Desk {
    folder: TempDir,
    rows: u64,
    key: &'static str,
    address: &'static str,
}

impl Desk {
    fn new(rows: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("users.csv"), "user_id,name\n").unwrap();
        Self { folder, rows, key: "the key", address: "https://eu.core.resolver.com" }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn paths(&self) -> Paths {
        Paths::beside(&self.path("users.csv"))
    }

    fn start(&self) -> Start<'_> {
        Start {
            identity: Identity {
                command: "apply".to_owned(),
                input_blake3: "af13".to_owned(),
                address: self.address.to_owned(),
                header: "user_id,name".to_owned(),
                meaning: BTreeMap::from([("set".to_owned(), "true".to_owned())]),
            },
            input_name: "users.csv".to_owned(),
            rows: self.rows,
            credential: Credential::Key(self.key.as_bytes()),
            who: Who { user: "ada".to_owned(), host: "desk".to_owned(), ..Who::default() },
            pid: 4711,
            at: at(0),
        }
    }

    fn open(&self, mode: Mode) -> crate::error::Result<(Journal<fs::File>, OnRecord)> {
        open(&self.paths(), Some(&self.path("users.csv")), &self.start(), mode)
    }

    fn resume(&self) -> (Journal<fs::File>, OnRecord) {
        self.open(Mode::default()).unwrap()
    }

    fn refusal(&self, mode: Mode) -> Error {
        self.open(mode).map(drop).unwrap_err()
    }

    fn report(&self) -> String {
        fs::read_to_string(self.paths().report).unwrap()
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn applied(row: u64) -> Record {
    Record {
        row,
        outcome: Outcome::Applied,
        http_status: Some(204),
        attempts: 1,
        elapsed: Duration::from_millis(50 + row % 50),
        detail: String::new(),
    }
}

/// The row's own cells, with a line break in every third.
fn cells(row: u64) -> Vec<u8> {
    if row.is_multiple_of(3) { format!("{row},\"a\nb \"\"{row}\"\"\"") } else { format!("{row},Zoë") }.into_bytes()
}

fn append(journal: &mut Journal<fs::File>, rows: impl IntoIterator<Item = u64>) {
    for row in rows {
        journal.append(&applied(row), &cells(row), at(row.cast_signed()));
    }
    journal.commit(Duration::ZERO).unwrap();
}

#[test]
fn a_killed_run_ends_as_if_it_had_not_been() {
    let desk = Desk::new(7);
    let (mut journal, on_record) = desk.resume();
    assert!(on_record.runs.is_empty());
    append(&mut journal, [2, 1, 4]);
    drop(journal);

    let (mut journal, on_record) = desk.resume();
    assert_eq!(on_record.rows.iter().collect::<Vec<_>>(), [1, 2, 4]);
    assert_eq!(on_record.tally.count(Outcome::Applied), 3);
    append(&mut journal, [7, 3, 6, 5]);
    let summary = finish(journal, &desk.paths(), 7, false).unwrap();

    let header = "user_id,name,row,outcome,http_status,attempts,elapsed_ms,finished_at,detail\n";
    let rows: Vec<String> = (1..=7_u64)
        .map(|row| {
            let (own, time) = (String::from_utf8(cells(row)).unwrap(), at(row.cast_signed()));
            format!("{own},{row},applied,204,1,{},{time:.3},\n", 50 + row)
        })
        .collect();
    assert_eq!(desk.report(), header.to_owned() + &rows.concat());
    assert_eq!((summary.runs.len(), summary.outcomes.total()), (2, 7));
    assert!(!desk.paths().partial.exists());
}

#[test]
fn books_that_do_not_balance_are_an_error_and_cost_nothing() {
    let desk = Desk::new(3);
    let (mut journal, _) = desk.resume();
    append(&mut journal, [1, 3]);
    let error = finish(journal, &desk.paths(), 3, false).unwrap_err();
    assert_eq!(error.kind(), Kind::MidRun);
    assert!(error.to_string().contains("do not balance: 1 of 3 rows have no outcome, the first is row 2"), "{error}");
    assert!(desk.paths().partial.exists() && !desk.paths().report.exists());
}

#[test]
fn another_run_is_refused_by_name() {
    let mut desk = Desk::new(3);
    drop(desk.resume());
    (desk.address, desk.key) = ("https://us.core.resolver.com", "another key");
    let error = desk.refusal(Mode::default());
    assert_eq!(error.kind(), Kind::Report);
    let text = error.to_string();
    assert!(text.contains("it was https://eu.core.resolver.com, now it is https://us"), "{text}");
    assert!(text.contains("the API key") && !text.contains("another key"), "{text}");
}

#[test]
fn the_second_run_learns_who_has_the_report() {
    let desk = Desk::new(3);
    let (_journal, _) = desk.resume();
    let error = desk.refusal(Mode::default());
    assert_eq!(error.kind(), Kind::Busy);
    assert!(error.to_string().contains("process 4711 on desk, since 2023-11-14T22:13:20Z"), "{error}");
}
