//! Reports that are workbooks, on the built binary: their form, what is refused because it does not
//! fit, and everything that follows a report or an interrupted run.

use std::fs;
#[cfg(unix)]
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::hostile::{Reply, Seen};
#[cfg(unix)]
use crate::common::ledger::through_shell;
use crate::common::ledger::{Ledger, PATIENCE, Signal, start, stop};
use crate::common::{Cli, Ran, outcomes, report};
use rust_xlsxwriter::{ExcelDateTime, Format, Workbook};

const REPORT: &str = "users.report.xlsx";
const JOURNAL: &str = "users.report.xlsx.partial";

/// Returns a workbook with a sheet of users from 1, all to be opted out.
fn users(rows: u32) -> Vec<u8> {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    for (column, name) in (0..).zip(["user_id", "mfa_opt_out", "name"]) {
        sheet.write(0, column, name).unwrap();
    }
    for row in 1..=rows {
        sheet.write(row, 0, row).unwrap();
        sheet.write(row, 1, true).unwrap();
        sheet.write(row, 2, format!("name {row}")).unwrap();
    }
    book.save_to_buffer().unwrap()
}

fn cli(rows: u32) -> Cli {
    let cli = Cli::new();
    cli.write("users.xlsx", users(rows));
    cli
}

fn run(cli: &Cli, org: &Ledger, words: &[&str]) -> Ran {
    let url = org.url();
    let common = [
        "--yes",
        "--rate",
        "unlimited",
        "--concurrency",
        "8",
        "--address",
        &url,
    ];
    cli.run(&[words, &common].concat())
}

/// Stops a run of `users.xlsx` by this signal after 20 changes.
fn stopped_run(rows: u32, signal: Signal) -> (Cli, Ledger) {
    let cli = cli(rows);
    let org = Ledger::start(Duration::from_millis(20));
    let url = org.url();
    let words = [
        "apply",
        "users.xlsx",
        "--yes",
        "--rate",
        "unlimited",
        "--concurrency",
        "8",
    ];
    let mut child = start(cli.command(&[&words[..], &["--address", &url]].concat()));
    org.must_see(20, &mut child);
    stop(child, signal);
    org.must_be_left();
    assert!(org.count() < rows as usize, "stopped too late");
    (cli, org)
}

fn names_in(cli: &Cli) -> Vec<String> {
    let names = fs::read_dir(cli.folder()).unwrap();
    let mut names: Vec<String> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[cfg(unix)] // file modes
#[test]
fn the_report_of_a_workbook_is_a_private_workbook_with_its_record_and_page() {
    let cli = cli(30);
    let org = Ledger::start(Duration::ZERO);
    run(&cli, &org, &["apply", "users.xlsx", "--html", "users.html"])
        .exits(0)
        .says("users.report.xlsx");
    let rows = report(&cli.path(REPORT));
    assert_eq!((rows.len(), outcomes(&rows, "applied")), (30, 30));
    assert_eq!(rows[6]["line"], "8");
    assert_eq!(rows[6]["user_id"], "7");
    assert_eq!(rows[6]["mfa_opt_out"], "TRUE");
    assert_eq!(rows[6]["name"], "name 7");
    assert_eq!(
        names_in(&cli),
        [
            "users.html",
            "users.report.json",
            "users.report.xlsx",
            "users.xlsx"
        ]
    );
    let mode = fs::metadata(cli.path(REPORT)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let record: serde_json::Value = serde_json::from_str(&cli.read("users.report.json")).unwrap();
    let hash = blake3::hash(&fs::read(cli.path(REPORT)).unwrap()).to_string();
    assert_eq!(record["report_blake3"], hash);
    let page = cli.read("users.html");
    assert!(page.contains("name 30"), "{page}");

    let before = fs::read(cli.path(REPORT)).unwrap();
    run(&cli, &org, &["apply", "users.xlsx"])
        .exits(2)
        .says("users.report.xlsx exists already")
        .says("--overwrite");
    assert!(fs::read(cli.path(REPORT)).unwrap() == before);
    run(&cli, &org, &["apply", "users.xlsx", "--overwrite"]).exits(0);
}

#[test]
fn the_ending_of_the_reports_name_sets_its_form() {
    let org = Ledger::start(Duration::ZERO);
    let cli = cli(2);
    cli.write("list.csv", "user_id;mfa_opt_out;name\r\n1;yes;007\r\n");
    run(
        &cli,
        &org,
        &["apply", "users.xlsx", "--report", "users.csv"],
    )
    .exits(0);
    assert!(
        cli.read("users.csv")
            .starts_with("user_id,mfa_opt_out,name,line,")
    );
    run(
        &cli,
        &org,
        &["apply", "list.csv", "--report", "list.report.XLSX"],
    )
    .exits(0);
    let rows = report(&cli.path("list.report.XLSX"));
    assert_eq!(
        (rows[0]["name"].as_str(), rows[0]["mfa_opt_out"].as_str()),
        ("007", "yes")
    );
    run(&cli, &org, &["apply", "list.csv", "--report", "out.txt"]).exits(0);
    assert!(
        cli.read("out.txt")
            .starts_with("user_id;mfa_opt_out;name;line;")
    );
    let sent = org.count();
    for name in ["out.ods", "out.XLS", "out.xlsm", "out.csv.gz"] {
        run(&cli, &org, &["apply", "list.csv", "--report", name])
            .exits(2)
            .says(&format!("the report can't be {name}"))
            .says(".csv or .xlsx");
    }
    assert_eq!(org.count(), sent);
}

#[test]
fn a_table_that_does_not_fit_into_a_workbook_is_refused_before_anything_is_sent() {
    let cli = Cli::new();
    let org = Ledger::start(Duration::ZERO);
    let long = "x".repeat(32_768);
    cli.write(
        "long.csv",
        format!("user_id,mfa_opt_out,note\n1,yes,ok\n2,yes,{long}\n"),
    );
    let to_workbook = ["apply", "long.csv", "--report", "long.report.xlsx"];
    run(&cli, &org, &to_workbook)
        .exits(2)
        .says("line 3, column note has 32,768 characters, and a cell holds 32,767")
        .says("--report long.report.csv");
    run(&cli, &org, &[&to_workbook[..], &["--dry-run"]].concat()).exits(2);
    let wide: Vec<String> = (0..16_380).map(|number| format!("c{number}")).collect();
    let blank = ",".repeat(wide.len());
    cli.write(
        "wide.csv",
        format!("user_id,mfa_opt_out,{}\n1,yes{blank}\n", wide.join(",")),
    );
    run(
        &cli,
        &org,
        &["apply", "wide.csv", "--report", "wide.report.xlsx"],
    )
    .exits(2)
    .says("it has 16,390 columns, and a sheet has 16,384");
    assert_eq!(org.count(), 0);
    assert_eq!(names_in(&cli), ["long.csv", "wide.csv"]);
    run(
        &cli,
        &org,
        &["apply", "long.csv", "--report", "long.report.csv"],
    )
    .exits(0);
}

#[test]
fn every_cell_of_a_workbook_is_text_in_its_report() {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    let date = Format::new().set_num_format("yyyy-mm-dd");
    let day = ExcelDateTime::from_ymd(2030, 1, 31).unwrap();
    for (column, name) in (0..).zip(["user_id", "opt_out", "day", "code", "formula", "text", ""]) {
        sheet.write(0, column, name).unwrap();
    }
    sheet.write(1, 0, 1701).unwrap();
    sheet.write(1, 1, false).unwrap();
    sheet.write_datetime_with_format(1, 2, &day, &date).unwrap();
    sheet.write(1, 3, "0042").unwrap();
    sheet
        .write(1, 4, rust_xlsxwriter::Formula::new("1+1").set_result("2"))
        .unwrap();
    sheet.write(1, 5, "=1+1 \"x\"\n😀 \u{1} _x0041_").unwrap();
    let cli = Cli::new();
    cli.write("users.xlsx", book.save_to_buffer().unwrap());
    let org = Ledger::start(Duration::ZERO);
    run(&cli, &org, &["apply", "users.xlsx"]).exits(0);
    let rows = report(&cli.path(REPORT));
    let row = &rows[0];
    for (column, text) in [
        ("user_id", "1701"),
        ("opt_out", "FALSE"),
        ("day", "2030-01-31"),
        ("code", "0042"),
        ("formula", "2"),
        ("text", "=1+1 \"x\"\n😀 \u{1} _x0041_"),
    ] {
        assert_eq!(row[column], text);
    }
    run(&cli, &org, &["undo", REPORT]).exits(0);
    let undone = report(&cli.path("users.undo-1.report.xlsx"));
    assert_eq!(undone[0]["text"], row["text"]);
    assert_eq!(undone[0]["opt_out"], "true");
    assert_eq!(undone[0]["line"], "2");
}

#[test]
fn retry_and_undo_read_a_workbook_and_write_one() {
    let cli = cli(6);
    let missing = Arc::new(Mutex::new(vec![2, 5]));
    let left = Arc::clone(&missing);
    let org = Ledger::scripted(move |seen: &Seen| {
        let is_missing = seen
            .user()
            .is_some_and(|user| left.lock().unwrap().contains(&user));
        Reply::new(if is_missing { 404 } else { 204 })
    });
    run(&cli, &org, &["apply", "users.xlsx"]).exits(1);
    *missing.lock().unwrap() = vec![5];
    run(&cli, &org, &["retry", REPORT]).exits(1);
    let users: Vec<u64> = org.puts()[6..].iter().map(|put| put.user).collect();
    assert_eq!(users, [2, 5]);
    let retried = report(&cli.path("users.retry-1.report.xlsx"));
    let lines: Vec<&str> = retried.iter().map(|row| row["line"].as_str()).collect();
    assert_eq!(lines, ["3", "6"]);
    assert_eq!(outcomes(&retried, "applied"), 1);
    // What the settings say about the sheets of tables is not about a report.
    let url = org.url();
    let undo = [
        "undo",
        "users.retry-1.report.xlsx",
        "--yes",
        "--address",
        &url,
    ];
    let mut command = cli.command(&undo);
    command.env("MFA_OPTOUT_SHEET", "Users");
    Ran::of(command.output().unwrap()).exits(0);
    let last = org.puts().pop().unwrap();
    assert_eq!((last.user, last.flag), (2, false));
    assert!(cli.path("users.undo-1.report.xlsx").exists());
    run(&cli, &org, &["retry", "users.xlsx"])
        .exits(2)
        .says("users.xlsx is not the report of an earlier run");
    let other = [
        "retry",
        REPORT,
        "--report",
        "users.report.csv",
        "--overwrite",
    ];
    run(&cli, &org, &other)
        .exits(2)
        .says("that is the record of the earlier run");
}

#[test]
fn a_killed_run_of_a_workbook_continues_and_makes_one_report() {
    let (cli, org) = stopped_run(60, Signal::KILL);
    assert!(cli.path(JOURNAL).exists() && !cli.path(REPORT).exists());
    assert!(cli.read(JOURNAL).starts_with("mfa-optout run,"));
    run(&cli, &org, &["apply", "users.xlsx"])
        .exits(0)
        .says("continuing the run");
    let rows = report(&cli.path(REPORT));
    assert_eq!(outcomes(&rows, "applied"), 60);
    assert_eq!(
        names_in(&cli),
        ["users.report.json", "users.report.xlsx", "users.xlsx"]
    );
}

#[cfg(unix)] // signals
#[test]
fn an_interrupted_run_of_a_workbook_is_closed_or_makes_room_with_fresh() {
    for name in [REPORT, JOURNAL] {
        let (cli, org) = stopped_run(60, Signal::TERM);
        let sent = org.count();
        cli.run(&["close", name])
            .exits(0)
            .says("retry users.report.xlsx");
        let rows = report(&cli.path(REPORT));
        assert_eq!(rows.len(), 60);
        assert!(outcomes(&rows, "not_sent") > 0);
        assert_eq!(org.count(), sent);
        assert_eq!(
            names_in(&cli),
            ["users.report.json", "users.report.xlsx", "users.xlsx"]
        );
        run(&cli, &org, &["retry", REPORT, "--only", "not_sent"]).exits(0);
    }
    let (cli, org) = stopped_run(60, Signal::KILL);
    cli.write("users.xlsx", users(3));
    run(&cli, &org, &["apply", "users.xlsx"])
        .exits(2)
        .says("close users.report.xlsx");
    run(&cli, &org, &["apply", "users.xlsx", "--fresh"]).exits(0);
    assert_eq!(report(&cli.path(REPORT)).len(), 3);
    let closed = names_in(&cli)
        .into_iter()
        .find(|name| name.starts_with("users.report.2") && name.ends_with("Z.xlsx"));
    assert_eq!(report(&cli.path(&closed.unwrap())).len(), 60);
}

#[cfg(unix)] // file modes
#[test]
fn a_workbook_that_an_earlier_process_put_in_place_is_known_as_the_runs_own() {
    let cli = cli(20);
    let place = cli.path("users.report.json");
    // The record can't be replaced: the run ends between its last row and its report.
    let planted = place.clone();
    let org = Ledger::scripted(move |seen: &Seen| {
        if seen.number == 15 {
            fs::write(&planted, "foreign").unwrap();
        }
        Reply::new(204)
    });
    run(&cli, &org, &["apply", "users.xlsx"]).exits(5);
    let journal = fs::read(cli.path(JOURNAL)).unwrap();
    fs::remove_file(&place).unwrap();
    run(&cli, &org, &["apply", "users.xlsx"]).exits(0);
    let first = fs::read(cli.path(REPORT)).unwrap();

    // As if the journal had not been removed before the power cut.
    cli.write(JOURNAL, journal);
    fs::set_permissions(cli.path(JOURNAL), fs::Permissions::from_mode(0o600)).unwrap();
    run(&cli, &org, &["apply", "users.xlsx"]).exits(0);
    assert!(fs::read(cli.path(REPORT)).unwrap() == first);
    assert!(!cli.path(JOURNAL).exists());

    assert_eq!(org.count(), 20);
}

#[cfg(unix)] // limits of a shell
#[test]
fn a_disk_without_room_for_the_workbook_ends_the_run_in_good_order() {
    let cli = cli(300);
    let org = Ledger::start(Duration::ZERO);
    let url = org.url();
    let words = [
        "apply",
        "users.xlsx",
        "--yes",
        "--rate",
        "unlimited",
        "--address",
        &url,
    ];
    let command = cli.command(&words);
    let ran = Ran::of(
        through_shell("trap '' XFSZ; ulimit -f 200", &command)
            .output()
            .unwrap(),
    )
    .exits(5)
    .says("the report could not be finished")
    .says("everything is recorded in users.report.xlsx.partial");
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    cli.run(&words).exits(0);
    assert_eq!(org.count(), 300);
    assert_eq!(outcomes(&report(&cli.path(REPORT)), "applied"), 300);
}

#[test]
fn sync_of_a_workbook_names_its_report_by_time_and_a_leftover_is_folded_into_one() {
    let cli = cli(4);
    let slow = Ledger::scripted(|seen: &Seen| {
        let latency = if seen.number == 3 {
            PATIENCE
        } else {
            Duration::ZERO
        };
        Reply::new(204).after(latency)
    });
    let sync = [
        "sync",
        "users.xlsx",
        "--full",
        "--register",
        "register.csv",
        "--list",
        "x",
    ];
    let url = slow.url();
    let words = [
        &sync[..],
        &["--yes", "--concurrency", "1", "--address", &url],
    ]
    .concat();
    let mut child = start(cli.command(&words));
    slow.must_see(3, &mut child);
    stop(child, Signal::KILL);
    let names = names_in(&cli).into_iter();
    let journals: Vec<String> = names
        .filter(|name| name.ends_with(".report.xlsx.partial"))
        .collect();
    let [journal] = &journals[..] else {
        panic!("{journals:?}");
    };
    assert!(journal.starts_with("users.2"), "{journal}");
    cli.run(&words).exits(0);
    let names = names_in(&cli).into_iter();
    let reports = names.filter(|name| name.ends_with(".report.xlsx"));
    assert_eq!(reports.count(), 2);
    let leftover = report(&cli.path(journal.trim_end_matches(".partial")));
    assert_eq!((leftover.len(), outcomes(&leftover, "applied")), (4, 2));
}

#[test]
fn the_record_of_another_reports_run_is_never_replaced() {
    let cli = cli(2);
    let org = Ledger::start(Duration::ZERO);
    cli.write("users.csv", "user_id,mfa_opt_out\n1,yes\n");
    run(&cli, &org, &["apply", "users.xlsx"]).exits(0);
    let record = cli.read("users.report.json");
    run(&cli, &org, &["apply", "users.csv", "--overwrite"])
        .exits(2)
        .says("is the place of the record of users.report.xlsx")
        .says("--report");
    assert_eq!(cli.read("users.report.json"), record);
    run(&cli, &org, &["apply", "users.csv", "--report", "two.csv"]).exits(0);
}
