//! Any bytes as the journal of an interrupted run: looked at, taken up, finished. It may be
//! refused, but nothing may panic, and what is taken up must hold what was on record. From the top
//! folder:
//!
//! ```text
//! mkdir -p tests/fuzz/corpus/journal
//! TMPDIR=/dev/shm cargo +nightly fuzz run --fuzz-dir tests/fuzz -s none journal \
//!     tests/fuzz/corpus/journal tests/fuzz/seeds/journal -- -rss_limit_mb=400 -timeout=10 -max_total_time=300
//! ```
//!
//! After a first byte of 1, a journal is written as the tool does and then damaged: four bytes say
//! where it is cut and which bit is flipped, the others are the cells of its rows. All else is a
//! journal as it is.

#![no_main]

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use mfa_optout::testing::domain::{Credentials, Flag, LineEnd, Outcome, Record, TableFormat};
use mfa_optout::testing::journal::{
    self, CarriedColumn, Identity, InputFile, Mode, Paths, Provenance, Start, TableReading,
};
use mfa_optout::testing::report;

const ROWS: u64 = 8;

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("the temporary folder can be written to");
    let paths = Paths::of(folder.path().join("users.report.csv"));
    match bytes {
        [1, a, b, c, d, cells @ ..] => {
            let ends = write(&paths, cells);
            damage(&paths.partial, &ends, u16::from_be_bytes([*a, *b]).into(), u16::from_be_bytes([*c, *d]).into());
        }
        _ => {
            fs::write(&paths.partial, bytes).expect("the temporary folder can be written to");
            take_up(&paths);
        }
    }
});

fn start() -> Start {
    Start {
        identity: Identity {
            command: "apply".to_owned(),
            input: InputFile { name: "users.csv".to_owned(), bytes: 14, blake3: "af13".to_owned() },
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
        },
        rows: ROWS,
        credentials: Credentials::Session {
            email: "admin@example.org".to_owned(),
            password: String::new().into(),
            org: 42,
        },
        who: Provenance::default(),
        pid: 4711,
        at: Timestamp::UNIX_EPOCH,
    }
}

/// Writes a journal of rows with these cells, and says where its first record and each row ends.
fn write(paths: &Paths, cells: &[u8]) -> Vec<u64> {
    let (mut journal, _) = journal::open(paths, None, &start(), Mode::default()).expect("a new journal can be opened");
    let length = || fs::metadata(&paths.partial).expect("the journal is there").len();
    let mut ends = vec![length()];
    for (row, cells) in (1..=ROWS).zip(cells.split(|byte| *byte == 0)) {
        append(&mut journal, row, cells);
        ends.push(length());
    }
    ends
}

fn append(journal: &mut journal::Journal<fs::File>, row: u64, text: &[u8]) {
    let record = Record {
        row,
        line: Some(row + 1),
        outcome: Outcome::Applied,
        wanted: Some(Flag::OptOut),
        http_status: Some(204),
        attempts: 1,
        elapsed: Duration::from_millis(row),
        detail: String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).take(40).collect(),
    };
    let mut out = csv::WriterBuilder::new().terminator(csv::Terminator::Any(b'\n')).from_writer(Vec::new());
    let cells = [row.to_string(), String::from_utf8_lossy(text).into_owned()];
    out.write_record(cells).expect("memory takes everything");
    let mut cells = out.into_inner().expect("memory takes everything");
    cells.pop();
    journal.append(&record, &cells, Timestamp::UNIX_EPOCH);
    journal.commit(Duration::ZERO).expect("the journal can be written to");
}

/// Cut anywhere, it has every row that was written whole. With a bit flipped it has these, fewer at
/// its end, or is refused.
fn damage(journal: &Path, ends: &[u64], cut: usize, flip: usize) {
    let mut bytes = fs::read(journal).expect("the journal can be read");
    let cut = bytes.len() - cut % bytes.len();
    bytes.truncate(cut);
    let whole = ends.partition_point(|end| *end <= cut as u64).saturating_sub(1) as u64;
    fs::write(journal, &bytes).expect("the journal can be written");
    let paths = Paths::of(journal.with_extension(""));
    let flipped = flip % (8 * bytes.len());
    if flip > 0 {
        bytes[flipped / 8] ^= 1 << (flipped % 8);
        fs::write(journal, &bytes).expect("the journal can be written");
        let left = journal::look(&paths, None, &start(), Mode::default()).map_or(0, |found| found.rows.len());
        assert!(left <= whole, "{left} rows of {whole}");
    } else {
        let found = journal::look(&paths, None, &start(), Mode::default()).expect("a torn end is no damage");
        assert_eq!(found.rows.len(), whole);
    }
    take_up(&paths);
}

/// Takes the run up, records what is missing, and makes the report.
fn take_up(paths: &Paths) {
    let before = journal::look(paths, None, &start(), Mode::default());
    let opened = journal::open(paths, None, &start(), Mode::default());
    assert_eq!(before.is_ok(), opened.is_ok(), "{:?}", before.err());
    let (Ok(before), Ok((mut journal, found))) = (before, opened) else { return };
    assert_eq!(before.rows, found.rows);
    let missing: Vec<u64> = (1..=ROWS).filter(|row| !found.rows.contains(*row)).collect();
    missing.into_iter().for_each(|row| append(&mut journal, row, b"late"));
    drop(journal);
    let (journal, found) =
        journal::open(paths, None, &start(), Mode::default()).expect("what was taken up can be again");
    let foreign = found.rows.len() - ROWS;
    let finished = report::finish(journal, paths, ROWS, &AtomicBool::new(false));
    if foreign == 0 && before.rows.is_empty() {
        assert_eq!(finished.expect("all rows are on record").outcomes.total(), ROWS);
    }
}
