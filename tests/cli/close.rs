//! Runs that are ended without sending the rest: `close`, and `--fresh`, which closes the old run
//! first.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::common::hostile::{Reply, Then};
#[cfg(unix)]
use crate::common::ledger::through_shell;
use crate::common::ledger::{Ledger, Signal, start, stop};
use crate::common::{Cli, Ran, ReportRow, apply_words, outcomes, report, table};

const ROWS: u64 = 60;

fn apply<'a>(url: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    apply_words(url, "8", more)
}

/// Stops a run of `users.csv` by this signal after 20 changes.
fn stopped_run(content: &str, signal: Signal, more: &[&str]) -> (Cli, Ledger) {
    let cli = Cli::new();
    let org = Ledger::start(Duration::from_millis(20));
    cli.write("users.csv", content);
    let mut child = start(cli.command(&apply(&org.url(), more)));
    org.must_see(20, &mut child);
    stop(child, signal);
    org.must_be_left();
    assert!((org.count() as u64) < ROWS, "stopped too late");
    (cli, org)
}

/// `close` without credentials.
fn close(cli: &Cli, words: &[&str]) -> Ran {
    let mut command = cli.command(&[&["close"], words].concat());
    command.env_remove("MFA_OPTOUT_API_KEY");
    Ran::of(command.output().unwrap())
}

fn users(rows: &[ReportRow], outcome: &str) -> BTreeSet<u64> {
    let chosen = rows.iter().filter(|row| row["outcome"] == outcome);
    chosen.map(|row| row["user_id"].parse().unwrap()).collect()
}

fn seen(org: &Ledger) -> BTreeSet<u64> {
    org.puts().iter().map(|put| put.user).collect()
}

fn left_over(cli: &Cli) -> Vec<String> {
    let names = fs::read_dir(cli.folder()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| name.contains(".partial") || name.starts_with(".mfa-optout"))
        .collect()
}

#[cfg(unix)] // signals
#[test]
fn a_run_ended_by_sigterm_is_closed_with_the_rest_not_sent() {
    let (cli, org) = stopped_run(&table(ROWS), Signal::TERM, &[]);
    let sent = org.count();
    close(&cli, &["users.report.csv"])
        .exits(0)
        .says("not_sent")
        .says("Next:")
        .says("retry users.report.csv");
    assert_eq!(org.count(), sent);
    assert_eq!(left_over(&cli), Vec::<String>::new());

    let rows = cli.report();
    let lines = rows.iter().map(|row| row["line"].parse::<u64>().unwrap());
    assert!(lines.eq(2..=ROWS + 1));
    assert_eq!(users(&rows, "applied"), seen(&org));
    assert_eq!(outcomes(&rows, "unknown"), 0);
    for row in rows.iter().filter(|row| row["outcome"] == "not_sent") {
        assert_eq!(
            (row["attempts"].as_str(), row["wanted"].as_str()),
            ("0", "true")
        );
        assert!(row["detail"].contains("closed"), "{}", row["detail"]);
    }
    let run: serde_json::Value = serde_json::from_str(&cli.read("users.report.json")).unwrap();
    assert_eq!(run["closed"], true);
    assert_eq!(run["rows"], ROWS);
    assert!(run["ending"].as_str().unwrap().starts_with("Closed"));

    cli.run(&[
        "retry",
        "users.report.csv",
        "--yes",
        "--rate",
        "unlimited",
        "--address",
        &org.url(),
    ])
    .exits(0);
    assert_eq!(org.count() as u64, ROWS);
    assert_eq!(seen(&org), (1..=ROWS).collect());
}

#[test]
fn a_killed_run_is_closed_with_every_row_in_doubt_unknown() {
    let (cli, org) = stopped_run(&table(ROWS), Signal::KILL, &[]);
    close(&cli, &["users.report.csv.partial"]).exits(0);
    let rows = cli.report();
    assert_eq!(rows.len() as u64, ROWS);
    let told: BTreeSet<u64> = users(&rows, "applied")
        .union(&users(&rows, "unknown"))
        .copied()
        .collect();
    assert!(
        seen(&org).is_subset(&told),
        "a row that was sent is called not sent"
    );
    assert!(users(&rows, "applied").is_subset(&seen(&org)));
    for row in rows.iter().filter(|row| row["outcome"] == "unknown") {
        assert_ne!(row["attempts"], "0");
    }
    assert_eq!(left_over(&cli), Vec::<String>::new());
}

#[test]
fn undo_takes_back_what_a_closed_run_did_and_may_have_done() {
    let (cli, org) = stopped_run(&table(ROWS), Signal::KILL, &[]);
    close(&cli, &["users.report.csv"]).exits(0);
    let opted_out = seen(&org);
    // The requests of the killed run are a minute old, for all that the report says.
    let text = cli.read("users.report.csv");
    let today = jiff::Timestamp::now().to_string()[..10].to_owned();
    cli.write("users.report.csv", text.replace(&today, "2020-01-01"));
    cli.run(&[
        "undo",
        "users.report.csv",
        "--yes",
        "--rate",
        "unlimited",
        "--address",
        &org.url(),
    ])
    .exits(0);
    let opted_in: BTreeSet<u64> = org
        .puts()
        .iter()
        .filter(|put| !put.flag)
        .map(|put| put.user)
        .collect();
    assert!(opted_out.is_subset(&opted_in));
}

#[test]
fn a_run_that_goes_on_is_left_alone() {
    let cli = Cli::new();
    cli.write("users.csv", table(3));
    let org = Ledger::scripted(|_| Reply::raw("").then(Then::Hang));
    let mut child = start(cli.command(&apply(&org.url(), &[])));
    org.must_see(1, &mut child);
    let journal = fs::read(cli.path("users.report.csv.partial")).unwrap();
    close(&cli, &["users.report.csv"]).exits(4);
    assert_eq!(
        fs::read(cli.path("users.report.csv.partial")).unwrap(),
        journal
    );
    assert!(cli.path("users.report.csv.partial.input").exists());
    stop(child, Signal::KILL);
}

#[test]
fn where_there_is_nothing_to_close_that_is_said() {
    let cli = Cli::new();
    let org = Ledger::start(Duration::ZERO);
    close(&cli, &["users.report.csv"])
        .exits(2)
        .says("nothing to close");
    assert!(!cli.path("users.report.csv.partial").exists());
    cli.write("users.csv", table(3));
    cli.run(&apply(&org.url(), &[])).exits(0);
    let finished = cli.read("users.report.csv");
    close(&cli, &["users.report.csv"])
        .exits(2)
        .says("nothing to close");
    assert_eq!(cli.read("users.report.csv"), finished);
}

#[test]
fn a_run_that_has_lost_its_snapshot_is_closed_with_its_table_only() {
    let (cli, _org) = stopped_run(&table(ROWS), Signal::KILL, &[]);
    fs::remove_file(cli.path("users.report.csv.partial.input")).unwrap();
    let journal = fs::read(cli.path("users.report.csv.partial")).unwrap();
    close(&cli, &["users.report.csv"])
        .exits(2)
        .says("users.csv")
        .says("--input");
    cli.write("other.csv", table(ROWS).replace("\n60,true", "\n60,no"));
    close(&cli, &["users.report.csv", "--input", "other.csv"])
        .exits(2)
        .says("other.csv");
    assert_eq!(
        fs::read(cli.path("users.report.csv.partial")).unwrap(),
        journal
    );
    fs::rename(cli.path("users.csv"), cli.path("kept.csv")).unwrap();
    close(&cli, &["users.report.csv", "--input", "kept.csv"]).exits(0);
    assert_eq!(cli.report().len() as u64, ROWS);
}

#[test]
fn the_table_may_be_gone_when_a_run_is_closed() {
    let (cli, _org) = stopped_run(&table(ROWS), Signal::KILL, &[]);
    fs::remove_file(cli.path("users.csv")).unwrap();
    close(&cli, &["users.report.csv"]).exits(0);
    assert_eq!(cli.report().len() as u64, ROWS);
}

#[test]
fn a_run_with_every_row_on_record_is_closed_without_its_table() {
    let cli = Cli::new();
    cli.write("users.csv", table(20));
    let obstacle = cli.path("users.report.csv");
    let org = Ledger::scripted(move |seen| {
        if seen.number == 20 {
            fs::create_dir(&obstacle).unwrap();
        }
        Reply::new(204)
    });
    cli.run(&apply(&org.url(), &[])).exits(5);
    fs::remove_dir(cli.path("users.report.csv")).unwrap();
    fs::remove_file(cli.path("users.report.csv.partial.input")).unwrap();
    fs::remove_file(cli.path("users.csv")).unwrap();
    close(&cli, &["users.report.csv"]).exits(0);
    assert_eq!(outcomes(&cli.report(), "applied"), 20);
}

#[cfg(unix)] // signals
#[test]
fn a_table_is_read_by_close_as_it_was_by_the_run() {
    let odd = (1..=ROWS).fold("title;;\n".to_owned(), |text, id| {
        text + &format!("Zo\u{eb};{id};\"a\nb\"\n")
    });
    let (latin, _, _) = encoding_rs::WINDOWS_1252.encode(&odd);
    let cli = Cli::new();
    let org = Ledger::start(Duration::from_millis(20));
    cli.write("users.csv", latin);
    let more = [
        "--no-header",
        "--id-column",
        "2",
        "--set",
        "false",
        "--skip-invalid",
        "--encoding",
        "windows-1252",
    ];
    let mut child = start(cli.command(&apply(&org.url(), &more)));
    org.must_see(20, &mut child);
    stop(child, Signal::TERM);
    close(&cli, &["users.report.csv"]).exits(0);
    let rows = cli.report();
    assert_eq!(rows.len() as u64, ROWS + 1);
    assert_eq!(rows[0]["outcome"], "invalid");
    let rest: Vec<&ReportRow> = rows
        .iter()
        .filter(|row| row["outcome"] == "not_sent")
        .collect();
    assert!(!rest.is_empty());
    for row in rest {
        assert_eq!(row["wanted"], "false");
        assert_eq!(row["column 1"], "Zo\u{eb}");
        assert_eq!(row["column 3"], "a\nb");
    }
}

#[cfg(unix)] // signals
#[test]
fn a_retry_and_an_undo_are_closed_as_well() {
    let (cli, org) = stopped_run(&table(ROWS), Signal::TERM, &[]);
    close(&cli, &["users.report.csv"]).exits(0);
    let done = users(&cli.report(), "applied");
    for (command, rows, wanted) in [
        (
            "retry",
            (1..=ROWS).filter(|user| !done.contains(user)).collect(),
            "true",
        ),
        ("undo", done.clone(), "false"),
    ] {
        let rows: BTreeSet<u64> = rows;
        let before = org.count();
        let words = [
            command,
            "users.report.csv",
            "--yes",
            "--rate",
            "unlimited",
            "--concurrency",
            "1",
            "--address",
            &org.url(),
        ];
        let mut child = start(cli.command(&words));
        org.must_see(before + 3, &mut child);
        stop(child, Signal::TERM);
        let name = format!("users.{command}-1.report.csv");
        close(&cli, &[&name]).exits(0);
        let told = report(&cli.path(&name));
        let told_users: BTreeSet<u64> = told
            .iter()
            .map(|row| row["user_id"].parse().unwrap())
            .collect();
        assert_eq!(told_users, rows, "{command}");
        assert!(outcomes(&told, "applied") >= 3 && outcomes(&told, "not_sent") > 0);
        assert!(told.iter().all(|row| row["wanted"] == wanted), "{command}");
    }
}

#[cfg(unix)] // a POSIX shell, signals
#[test]
fn a_journal_is_no_report_and_the_command_that_makes_it_one_is_given() {
    let (cli, org) = stopped_run(&table(ROWS), Signal::TERM, &[]);
    for command in ["retry", "undo"] {
        for name in ["users.report.csv.partial", "users.report.csv"] {
            cli.run(&[command, name, "--yes", "--address", &org.url()])
                .exits(2)
                .says("close users.report.csv");
        }
    }
    let refused = cli.run(&["undo", "users.report.csv.partial", "--yes"]);
    let line = refused
        .stderr
        .lines()
        .find(|line| line.contains("close users.report.csv"))
        .unwrap();
    let words = shlex::split(line.rsplit_once(": ").unwrap().1).unwrap();
    let mut pasted = Command::new(&words[0]);
    pasted
        .args(&words[1..])
        .current_dir(cli.folder())
        .env_clear();
    Ran::of(pasted.output().unwrap()).exits(0);
    assert_eq!(cli.report().len() as u64, ROWS);
}

#[test]
fn a_finished_report_is_replaced_by_close_only_with_overwrite() {
    let cli = Cli::new();
    let org = Ledger::start(Duration::from_millis(20));
    cli.write("users.csv", table(ROWS));
    cli.write("users.report.csv", "finished\n");
    let mut child = start(cli.command(&apply(&org.url(), &["--overwrite"])));
    org.must_see(20, &mut child);
    stop(child, Signal::KILL);
    close(&cli, &["users.report.csv"])
        .exits(2)
        .says("--overwrite");
    assert_eq!(cli.read("users.report.csv"), "finished\n");
    assert!(cli.path("users.report.csv.partial").exists());
    close(&cli, &["users.report.csv", "--overwrite"]).exits(0);
    assert_eq!(cli.report().len() as u64, ROWS);
}

#[cfg(unix)] // a POSIX shell, signals
#[test]
fn a_disk_that_is_full_leaves_the_run_as_it_was() {
    let (cli, org) = stopped_run(&table(ROWS), Signal::TERM, &[]);
    let journal = fs::read(cli.path("users.report.csv.partial")).unwrap();
    let command = cli.command(&["close", "users.report.csv"]);
    // POSIX counts in blocks of 512 bytes.
    Ran::of(
        through_shell("trap '' XFSZ; ulimit -f 1", &command)
            .output()
            .unwrap(),
    )
    .exits(5);
    assert_eq!(
        fs::read(cli.path("users.report.csv.partial")).unwrap(),
        journal
    );
    assert!(!cli.path("users.report.csv").exists());
    cli.run(&apply(&org.url(), &[])).exits(0);
    assert_eq!(outcomes(&cli.report(), "applied") as u64, ROWS);
}

#[test]
fn another_table_is_refused_with_three_ways_on() {
    let (cli, org) = stopped_run(&table(ROWS), Signal::KILL, &[]);
    let sent = org.count();
    cli.write("users.csv", table(3));
    cli.run(&apply(&org.url(), &[]))
        .exits(2)
        .says("users.csv has changed since")
        .says("mfa-optout close users.report.csv")
        .says("--fresh")
        .says("with the same files");
    assert_eq!(org.count(), sent);
}

/// The reports into which runs were closed.
fn closed_reports(cli: &Cli) -> Vec<String> {
    let names = fs::read_dir(cli.folder()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut closed: Vec<String> = names
        .filter(|name| {
            name.strip_prefix("users.report.")
                .and_then(|rest| rest.strip_suffix(".csv"))
                .is_some_and(|time| time.starts_with("20"))
        })
        .collect();
    closed.sort();
    closed
}

#[test]
fn starting_over_closes_the_old_run_into_a_report_of_its_own() {
    let (cli, org) = stopped_run(&table(ROWS), Signal::KILL, &[]);
    let before = seen(&org);
    cli.write("users.csv", "user_id,mfa_opt_out\n101,true\n102,true\n");
    let announced = cli
        .run(&apply(&org.url(), &["--fresh", "--dry-run"]))
        .exits(0)
        .says(&format!("of its {ROWS} rows have an outcome, and "));
    assert!(cli.path("users.report.csv.partial").exists());
    cli.run(&apply(&org.url(), &["--fresh"])).exits(0);
    assert_eq!(outcomes(&cli.report(), "applied"), 2);
    let closed = closed_reports(&cli);
    assert_eq!(closed.len(), 1);
    announced.says(&format!("into {}: ", closed[0]));
    let rows = report(&cli.path(&closed[0]));
    assert_eq!(rows.len() as u64, ROWS);
    let told: BTreeSet<u64> = users(&rows, "applied")
        .union(&users(&rows, "unknown"))
        .copied()
        .collect();
    assert!(before.is_subset(&told));
    let record = closed[0].replace(".csv", ".json");
    let run: serde_json::Value = serde_json::from_str(&cli.read(&record)).unwrap();
    assert_eq!(run["closed"], true);
    assert_eq!(left_over(&cli), Vec::<String>::new());
}

#[test]
fn a_plan_that_starts_over_says_that_a_journal_without_outcomes_is_kept() {
    let cli = Cli::new();
    cli.write("users.csv", table(3));
    let nobody = crate::common::hostile::ClosedPort::new();
    let wrong = format!("http://127.0.0.1:{}", nobody.port());
    cli.run(&apply(&wrong, &["--max-attempts", "1"])).exits(5);
    cli.run(&apply(&wrong, &["--fresh", "--dry-run"]))
        .exits(0)
        .says("--fresh renames users.report.csv.partial, in which no row has an outcome");
    cli.write("users.report.csv.partial", "not a journal");
    cli.run(&apply(&wrong, &["--fresh", "--dry-run"]))
        .exits(0)
        .says("--fresh renames users.report.csv.partial: ");
}

#[test]
fn a_run_is_never_closed_into_a_report_that_exists() {
    let (cli, org) = stopped_run(&table(ROWS), Signal::KILL, &[]);
    cli.run(&apply(
        &org.url(),
        &["--fresh", "--max-duration", "1ms", "--overwrite"],
    ))
    .exits(5);
    let first = closed_reports(&cli);
    assert_eq!(first.len(), 1);
    let content = cli.read(&first[0]);
    // The name says when the run began, and the next run begins in another second or takes another
    // name.
    let mut child = start(cli.command(&apply(&org.url(), &["--fresh", "--overwrite"])));
    let sent = org.count();
    org.must_see(sent + 10, &mut child);
    stop(child, Signal::KILL);
    cli.run(&apply(&org.url(), &["--fresh", "--overwrite"]))
        .exits(0);
    assert!(closed_reports(&cli).len() >= 2);
    assert_eq!(cli.read(&first[0]), content);
}

#[test]
fn a_run_without_snapshot_is_not_given_up_by_starting_over() {
    let (cli, org) = stopped_run(&table(ROWS), Signal::KILL, &[]);
    let sent = org.count();
    fs::remove_file(cli.path("users.report.csv.partial.input")).unwrap();
    let kept = cli.path("kept.csv");
    fs::rename(cli.path("users.csv"), &kept).unwrap();
    cli.write("users.csv", table(3));
    cli.run(&apply(&org.url(), &["--fresh"]))
        .exits(2)
        .says("close users.report.csv --input");
    assert_eq!(org.count(), sent);
    // With the table that the old run had, it can be closed.
    fs::rename(kept, cli.path("users.csv")).unwrap();
    cli.run(&apply(&org.url(), &["--fresh"])).exits(0);
    assert_eq!(closed_reports(&cli).len(), 1);
}
