//! The private copy of the input: a table that changes during a run has no effect, and an
//! interrupted run can be continued from the copy.

use std::fs;
use std::io::Write as _;
#[cfg(unix)]
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::common::hostile::{Reply, Then};
use crate::common::ledger::{Ledger, Signal, start, stop};
use crate::common::{Cli, Ran, outcomes, report, table};

const ROWS: u64 = 400;

/// A table that takes more than one reading from the disk, so that most of it is read after the
/// first request.
fn large_table() -> String {
    let filler = "x".repeat(2000);
    (1..=ROWS).fold("user_id,mfa_opt_out,note\n".to_owned(), |text, id| {
        text + &format!("{id},true,{filler}\n")
    })
}

const SNAPSHOT: &str = "users.report.csv.partial.input";

fn words<'a>(input: &'a str, url: &'a str) -> Vec<&'a str> {
    vec![
        "apply",
        input,
        "--yes",
        "--rate",
        "unlimited",
        "--address",
        url,
    ]
}

/// Every row is reported once, as the Org was asked for it.
#[track_caller]
fn assert_all_applied(cli: &Cli, org: &Ledger) {
    let rows = cli.report();
    assert_eq!(rows.len() as u64, ROWS);
    assert_eq!(outcomes(&rows, "applied") as u64, ROWS);
    assert!(rows.iter().all(|row| row["note"].len() == 2000));
    let mut users: Vec<u64> = org.puts().iter().map(|put| put.user).collect();
    users.sort_unstable();
    users.dedup();
    assert_eq!(users, (1..=ROWS).collect::<Vec<_>>());
    assert!(org.puts().iter().all(|put| put.flag));
    assert!(!cli.path(SNAPSHOT).exists());
}

type Change = fn(&Path);

const CHANGES: [(&str, Change); 5] = [
    ("replaced", |table| {
        let other = table.with_extension("other");
        fs::write(&other, "user_id,mfa_opt_out,note\n9001,true,\n").unwrap();
        fs::rename(other, table).unwrap();
    }),
    ("overwritten", |table| {
        let text = fs::read_to_string(table).unwrap();
        fs::write(table, text.replace("true", "no  ")).unwrap();
    }),
    ("truncated", |table| {
        let file = fs::OpenOptions::new().write(true).open(table).unwrap();
        file.set_len(500).unwrap();
    }),
    ("appended to", |table| {
        let mut file = fs::OpenOptions::new().append(true).open(table).unwrap();
        file.write_all(b"9001,true,\n").unwrap();
    }),
    ("deleted", |table| fs::remove_file(table).unwrap()),
];

#[test]
fn a_table_that_is_changed_after_the_first_request_changes_nothing() {
    for (what, change) in CHANGES {
        let cli = Cli::new();
        let path = cli.write("users.csv", large_table());
        let org = Ledger::scripted(move |seen| {
            if seen.number == 1 {
                change(&path);
            }
            Reply::new(204)
        });
        let ran = cli.run(&words("users.csv", &org.url()));
        assert_eq!(ran.code, Some(0), "{what}: {}", ran.text());
        assert_all_applied(&cli, &org);
        assert_eq!(org.count() as u64, ROWS, "{what}");
    }
}

#[test]
fn a_table_that_is_changed_during_a_resumed_run_changes_nothing() {
    for (what, change) in CHANGES {
        let cli = Cli::new();
        let path = cli.write("users.csv", large_table());
        let is_resumed = Arc::new(AtomicBool::new(false));
        let is_changed = AtomicBool::new(false);
        let org = Ledger::scripted({
            let is_resumed = Arc::clone(&is_resumed);
            move |seen| match is_resumed.load(Ordering::SeqCst) {
                false if seen.number > 20 => Reply::raw("").then(Then::Hang),
                false => Reply::new(204),
                true => {
                    if !is_changed.swap(true, Ordering::SeqCst) {
                        change(&path);
                    }
                    Reply::new(204)
                }
            }
        });
        let mut child = start(cli.command(&words("users.csv", &org.url())));
        org.must_see(21, &mut child);
        stop(child, Signal::KILL);
        org.must_be_left();
        is_resumed.store(true, Ordering::SeqCst);
        let ran = cli.run(&words("users.csv", &org.url()));
        assert_eq!(ran.code, Some(0), "{what}: {}", ran.text());
        assert_all_applied(&cli, &org);
    }
}

/// Sends the first rows of `users.csv` and is killed.
fn killed_run() -> (Cli, Ledger) {
    let cli = Cli::new();
    cli.write("users.csv", large_table());
    let org = Ledger::start(Duration::from_millis(2));
    let mut child = start(cli.command(&words("users.csv", &org.url())));
    org.must_see(20, &mut child);
    stop(child, Signal::KILL);
    org.must_be_left();
    (cli, org)
}

#[test]
fn the_snapshot_is_its_owners_only_and_goes_with_the_run() {
    let (cli, org) = killed_run();
    #[cfg(unix)] // file modes
    {
        let found = fs::metadata(cli.path(SNAPSHOT)).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, 0o600);
    }
    let snapshot = cli.read(SNAPSHOT);
    let table = large_table();
    let (head, content) = snapshot.split_once("\n\n").unwrap();
    let hash = blake3::hash(table.as_bytes());
    assert_eq!(
        head,
        format!("mfa-optout snapshot,1\ninput,{},{hash}", table.len())
    );
    assert!(content == table);
    cli.run(&words("users.csv", &org.url())).exits(0);
    assert_all_applied(&cli, &org);
}

#[test]
fn a_run_that_did_nothing_leaves_no_snapshot() {
    let cli = Cli::new();
    cli.write("users.csv", table(3));
    let org = Ledger::scripted(|_| Reply::new(401));
    cli.run(&words("users.csv", &org.url())).exits(3);
    assert!(!cli.path(SNAPSHOT).exists());
    let org = Ledger::start(Duration::ZERO);
    let url = org.url();
    let mut dry_run = words("users.csv", &url);
    dry_run.push("--dry-run");
    dry_run.retain(|word| *word != "--yes");
    cli.run(&dry_run).exits(0);
    assert!(!cli.path(SNAPSHOT).exists());
}

#[test]
fn a_snapshot_that_is_missing_or_damaged_is_made_anew_from_the_same_table() {
    type Damage = fn(&Path);
    let damages: [Damage; 4] = [
        |path| fs::remove_file(path).unwrap(),
        |path| fs::write(path, "").unwrap(),
        |path| fs::write(path, "mfa-optout snapshot,1\ninput,12,").unwrap(),
        |path| {
            let mut bytes = fs::read(path).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(path, bytes).unwrap();
        },
    ];
    for damage in damages {
        let (cli, org) = killed_run();
        damage(&cli.path(SNAPSHOT));
        cli.run(&words("users.csv", &org.url())).exits(0);
        assert_all_applied(&cli, &org);
    }
}

#[test]
fn another_table_is_refused_although_the_snapshot_has_the_old_one() {
    let (cli, org) = killed_run();
    let sent = org.count();
    cli.write("users.csv", large_table().replace("\n400,true", "\n400,no"));
    cli.run(&words("users.csv", &org.url()))
        .exits(2)
        .says("users.csv has changed since");
    assert_eq!(org.count(), sent);
    assert!(cli.path(SNAPSHOT).exists());
}

#[cfg(unix)] // file modes, links, pipes
#[test]
fn a_planted_snapshot_is_refused_before_anything_is_sent() {
    type Plant = fn(&Path, &Path);
    let plants: [(Plant, &str); 5] = [
        (
            |at, target| symlink(target, at).unwrap(),
            "is a symbolic link",
        ),
        (
            |at, _| symlink("nowhere", at).unwrap(),
            "is a symbolic link",
        ),
        (
            |at, target| fs::hard_link(target, at).unwrap(),
            "a hard link",
        ),
        (
            |at, _| {
                fs::write(at, "").unwrap();
                fs::set_permissions(at, fs::Permissions::from_mode(0o644)).unwrap();
            },
            "mode 0644",
        ),
        (
            |at, _| {
                let mode = rustix::fs::Mode::from_raw_mode(0o600);
                let fifo = rustix::fs::FileType::Fifo;
                rustix::fs::mknodat(rustix::fs::CWD, at, fifo, mode, 0).unwrap();
            },
            "is not a plain file",
        ),
    ];
    for (plant, reason) in plants {
        let cli = Cli::new();
        let org = Ledger::start(Duration::ZERO);
        cli.write("users.csv", table(3));
        let target = cli.write("precious", "precious");
        fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).unwrap();
        plant(&cli.path(SNAPSHOT), &target);
        cli.run(&words("users.csv", &org.url()))
            .exits(2)
            .says(reason);
        assert_eq!(org.requests(), 0);
        assert_eq!(cli.read("precious"), "precious");
        assert!(!cli.path("nowhere").exists() && !cli.path("users.report.csv.partial").exists());
    }
}

#[test]
fn a_snapshot_without_a_journal_is_replaced() {
    let (cli, org) = killed_run();
    fs::remove_file(cli.path("users.report.csv.partial")).unwrap();
    cli.write("users.csv", table(3));
    cli.run(&words("users.csv", &org.url())).exits(0);
    assert_eq!(outcomes(&cli.report(), "applied"), 3);
    assert!(!cli.path(SNAPSHOT).exists());
}

#[test]
fn standard_input_is_taken_up_again_when_the_same_bytes_come() {
    let cli = Cli::new();
    let org = Ledger::start(Duration::from_millis(2));
    let url = org.url();
    let fed = |content: String| {
        let mut command = cli.command(&words("-", &url));
        command.stdin(Stdio::piped());
        let mut child = start(command);
        child
            .stdin
            .take()
            .unwrap()
            .write_all(content.as_bytes())
            .unwrap();
        child
    };
    let mut child = fed(large_table());
    org.must_see(20, &mut child);
    stop(child, Signal::KILL);
    org.must_be_left();
    let sent = org.count();
    Ran::of(fed(table(3)).wait_with_output().unwrap())
        .exits(2)
        .says("standard input has changed since");
    assert_eq!(org.count(), sent);
    Ran::of(fed(large_table()).wait_with_output().unwrap()).exits(0);
    let rows = report(&cli.path("stdin.report.csv"));
    assert_eq!(outcomes(&rows, "applied") as u64, ROWS);
    assert!(!cli.path("stdin.report.csv.partial.input").exists());
}

#[test]
fn a_workbook_is_kept_as_it_was() {
    let cli = Cli::new();
    let org = Ledger::start(Duration::from_millis(20));
    let mut book = rust_xlsxwriter::Workbook::new();
    let sheet = book.add_worksheet();
    sheet.write_row(0, 0, ["user_id", "mfa_opt_out"]).unwrap();
    for row in 1..=30_u32 {
        sheet.write_number(row, 0, row).unwrap();
        sheet.write_boolean(row, 1, true).unwrap();
    }
    let bytes = book.save_to_buffer().unwrap();
    let path = cli.write("users.xlsx", &bytes);
    let mut child = start(cli.command(&words("users.xlsx", &org.url())));
    org.must_see(3, &mut child);
    fs::remove_file(&path).unwrap();
    org.must_see(5, &mut child);
    stop(child, Signal::KILL);
    org.must_be_left();
    let snapshot = fs::read(cli.path("users.report.xlsx.partial.input")).unwrap();
    assert!(snapshot.ends_with(&bytes));
    cli.write("users.xlsx", &bytes);
    cli.run(&words("users.xlsx", &org.url())).exits(0);
    let rows = report(&cli.path("users.report.xlsx"));
    assert_eq!(outcomes(&rows, "applied"), 30);
}
