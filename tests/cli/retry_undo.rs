//! What comes after a report: `retry` runs again what did not succeed, `undo` sends the opposite of
//! what did. Both are runs like any other, with plan, guards, confirmation, journal and a report of
//! their own.

use std::fs;
use std::io::{BufRead, BufReader};
#[cfg(unix)]
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::common::hostile::{Hostile, Reply};
use crate::common::ledger::{Ledger, Put, Signal, on_record, send, start, stop};
use crate::common::{Cli, Ran, outcomes, report, table};

const LONG_AGO: &str = "2024-02-29T12:00:00.000Z";

/// The report of an earlier run: (user, flag, outcome) of each row. Its table stood below three
/// other lines.
fn earlier(rows: &[(u64, &str, &str)], finished_at: &str) -> String {
    let head =
        "user_id,mfa_opt_out,note,line,outcome,wanted,http_status,attempts,elapsed_ms,finished_at,detail\n"
            .to_owned();
    rows.iter()
        .zip(5..)
        .fold(head, |text, ((user, flag, outcome), line)| {
            let wanted = match *flag {
                "yes" => "true",
                "no" => "false",
                _ => "",
            };
            text + &format!(
                "{user},{flag},\"note, {user}\",{line},{outcome},{wanted},,1,5,{finished_at},\n"
            )
        })
}

const MIXED: [(u64, &str, &str); 8] = [
    (1, "yes", "applied"),
    (2, "no", "applied"),
    (3, "yes", "failed"),
    (4, "no", "failed"),
    (5, "yes", "unknown"),
    (6, "no", "unknown"),
    (7, "maybe", "invalid"),
    (1, "yes", "duplicate"),
];

fn put(user: u64, flag: bool) -> Put {
    Put {
        user,
        flag,
        life: 0,
    }
}

/// Runs a command on the mixed report and gives what the Org saw.
#[track_caller]
fn on_mixed(words: &[&str]) -> (Cli, Vec<Put>) {
    let cli = Cli::new();
    let org = Ledger::start(Duration::ZERO);
    cli.write("users.report.csv", earlier(&MIXED, LONG_AGO));
    let url = org.url();
    let one_by_one = [
        "--yes",
        "--rate",
        "unlimited",
        "--concurrency",
        "1",
        "--address",
        &url,
    ];
    cli.run(&[words, &one_by_one].concat()).exits(0);
    (cli, org.puts())
}

#[test]
fn retry_sends_failed_and_unknown_rows_and_keeps_their_lines_in_a_report_of_its_own() {
    let (cli, puts) = on_mixed(&["retry", "users.report.csv"]);
    assert_eq!(
        puts,
        [put(3, true), put(4, false), put(5, true), put(6, false)]
    );
    assert_eq!(cli.read("users.report.csv"), earlier(&MIXED, LONG_AGO));
    let text = cli.read("users.retry-1.report.csv");
    assert!(
        text.starts_with("user_id,mfa_opt_out,note,line,outcome,wanted,http_status,"),
        "{text}"
    );
    let rows = report(&cli.path("users.retry-1.report.csv"));
    let told: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row["line"].as_str(),
                row["note"].as_str(),
                row["outcome"].as_str(),
            )
        })
        .collect();
    let wanted = [
        ("7", "note, 3", "applied"),
        ("8", "note, 4", "applied"),
        ("9", "note, 5", "applied"),
        ("10", "note, 6", "applied"),
    ];
    assert_eq!(told, wanted);
}

#[test]
fn retry_can_be_kept_to_one_outcome() {
    assert_eq!(
        on_mixed(&["retry", "users.report.csv", "--only", "failed"]).1,
        [put(3, true), put(4, false)]
    );
    assert_eq!(
        on_mixed(&["retry", "users.report.csv", "--only", "unknown"]).1,
        [put(5, true), put(6, false)]
    );
}

#[test]
fn undo_sends_the_opposite_of_what_was_applied_and_takes_back_opt_outs_that_may_have_been() {
    let (cli, puts) = on_mixed(&["undo", "users.report.csv"]);
    assert_eq!(puts, [put(1, false), put(2, true), put(5, false)]);
    let rows = report(&cli.path("users.undo-1.report.csv"));
    let told: Vec<_> = rows
        .iter()
        .map(|row| (row["user_id"].as_str(), row["mfa_opt_out"].as_str()))
        .collect();
    assert_eq!(
        told,
        [("1", "false"), ("2", "true"), ("5", "false")],
        "the cells say what was sent"
    );
}

/// An Org that does not know user 2 until it `works`.
fn without_user_2_until(works: &Arc<AtomicBool>) -> Ledger {
    let works = Arc::clone(works);
    Ledger::scripted(move |seen| {
        let refused = seen.user() == Some(2) && !works.load(Ordering::SeqCst);
        // Not one of the refusals that would be the same again, after which no retry is suggested.
        Reply::new(if refused { 418 } else { 204 })
    })
}

#[test]
fn an_undo_can_be_undone_and_a_retry_retried() {
    let works = Arc::new(AtomicBool::new(false));
    let org = without_user_2_until(&works);
    let cli = Cli::new();
    cli.write("users.csv", "user_id,mfa_opt_out\n1,true\n2,true\n");
    let url = org.url();
    let run = |words: &[&str]| {
        cli.run(&[words, &["--yes", "--rate", "unlimited", "--address", &url]].concat())
    };
    run(&["apply", "users.csv"]).exits(1);
    run(&["retry", "users.report.csv"])
        .exits(1)
        .says("mfa-optout retry users.retry-1.report.csv");
    works.store(true, Ordering::SeqCst);
    run(&["retry", "users.retry-1.report.csv"])
        .exits(0)
        .says("users.retry-2.report.csv");
    run(&["undo", "users.report.csv"])
        .exits(0)
        .says("users.undo-1.report.csv");
    run(&["undo", "users.undo-1.report.csv"])
        .exits(0)
        .says("users.undo-2.report.csv");
    let wanted = [
        put(1, true),
        put(2, true),
        put(2, true),
        put(2, true),
        put(1, false),
        put(1, true),
    ];
    assert_eq!(org.puts(), wanted);
}

#[test]
fn both_show_a_plan_and_go_through_confirmation_and_guards() {
    let cli = Cli::new();
    let org = Ledger::start(Duration::ZERO);
    cli.write("users.report.csv", earlier(&MIXED, LONG_AGO));
    let url = org.url();
    for command in ["retry", "undo"] {
        let words = [command, "users.report.csv", "--address", &url];
        cli.run(&words)
            .exits(2)
            .says("there is no terminal for the confirmation");
        cli.run(&[&words[..], &["--dry-run"]].concat())
            .exits(0)
            .says(&format!("users.{command}-1.report.csv"));
        cli.run(&[&words[..], &["--yes", "--max-opt-outs", "0"]].concat())
            .exits(2)
            .says("--max-opt-outs");
    }
    cli.run(&["undo", "users.report.csv", "--address", &url, "-n"])
        .says("is not known");
    cli.write("users.csv", "user_id,mfa_opt_out\n1,true\n");
    cli.run(&["retry", "users.csv", "--address", &url, "--yes"])
        .exits(2)
        .says("is not the report of an earlier run");
    for command in ["retry", "undo"] {
        let half = cli
            .run(&[
                command,
                "users.report.csv.partial",
                "--address",
                &url,
                "--yes",
            ])
            .exits(2);
        half.says("is the journal of an unfinished run")
            .says("to continue that run, run its command again");
    }
    assert_eq!(org.requests(), 0);
    assert!(!cli.path("users.retry-1.report.csv.partial").exists());
}

#[test]
fn a_report_made_with_one_flag_for_all_is_retried_and_undone_with_it() {
    let cli = Cli::new();
    let org = Ledger::scripted(|seen| Reply::new(if seen.number == 3 { 404 } else { 204 }));
    cli.write("users.csv", "user_id\n1\n2\n3\n");
    let url = org.url();
    let run = |words: &[&str]| {
        cli.run(
            &[
                words,
                &[
                    "--yes",
                    "--concurrency",
                    "1",
                    "--rate",
                    "unlimited",
                    "--address",
                    &url,
                ],
            ]
            .concat(),
        )
    };
    run(&["apply", "users.csv", "--set", "true"]).exits(1);
    run(&["retry", "users.report.csv"]).exits(0);
    run(&["undo", "users.report.csv"]).exits(0);
    // What a retry and an undo sent is known of their reports as well, and an undo sent the
    // opposite.
    run(&["undo", "users.retry-1.report.csv"]).exits(0);
    run(&["undo", "users.undo-1.report.csv"]).exits(0);
    let wanted = [
        &[put(1, true), put(2, true), put(3, true), put(3, true)][..],
        &[put(1, false), put(2, false)],
        &[put(3, false)],
        &[put(1, true), put(2, true)],
    ];
    assert_eq!(org.puts(), wanted.concat());
}

#[test]
fn an_interrupted_retry_goes_on_in_its_own_report() {
    let cli = Cli::new();
    let org = Ledger::start(Duration::from_millis(10));
    let rows: Vec<_> = (1..=60).map(|user| (user, "yes", "failed")).collect();
    cli.write("users.report.csv", earlier(&rows, LONG_AGO));
    let url = org.url();
    let words = [
        "retry",
        "users.report.csv",
        "--yes",
        "--rate",
        "unlimited",
        "--address",
        &url,
    ];
    let mut child = start(cli.command(&words));
    org.must_see(30, &mut child);
    stop(child, Signal::KILL);
    org.must_be_left();
    let recorded = on_record(&cli.path("users.retry-1.report.csv.partial"), 3);
    let sent = org.count();
    assert!(!recorded.is_empty());
    cli.run(&words)
        .exits(0)
        .says("are recorded and are not sent again");
    assert_eq!(
        outcomes(&report(&cli.path("users.retry-1.report.csv")), "applied"),
        60
    );
    assert!(
        org.puts()[sent..]
            .iter()
            .all(|put| !recorded.contains(&put.user))
    );
}

#[cfg(unix)] // signals
#[test]
#[expect(clippy::disallowed_methods, reason = "the earlier run has just ended")]
fn a_request_that_may_still_be_on_its_way_is_not_overtaken_and_the_wait_can_be_interrupted() {
    let now = format!("{:.3}", jiff::Timestamp::now());
    for (command, signal, code) in [("retry", Signal::TERM, 143), ("undo", Signal::INT, 130)] {
        let cli = Cli::new();
        let org = Ledger::start(Duration::ZERO);
        cli.write("users.report.csv", earlier(&MIXED, &now));
        let mut child = start(cli.command(&[
            command,
            "users.report.csv",
            "--yes",
            "--address",
            &org.url(),
        ]));
        let mut said = BufReader::new(child.stderr.take().unwrap())
            .lines()
            .map(Result::unwrap);
        let waits = said.find(|line| line.contains("for late requests of the earlier run"));
        assert!(waits.is_some(), "it says that it waits");
        send(&mut child, signal);
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert_eq!(org.requests(), 0);
        assert!(
            !cli.path(&format!("users.{command}-1.report.csv.partial"))
                .exists()
        );
    }
}

#[test]
fn an_interrupted_run_whose_zone_or_header_has_changed_is_refused() {
    let cli = Cli::new();
    let org = Ledger::start(Duration::from_millis(10));
    let table = (1..=60).fold(
        "user_id,mfa_opt_out,opt_out_until\n".to_owned(),
        |text, user| text + &format!("{user},true,2999-12-31\n"),
    );
    cli.write("users.csv", table);
    let url = org.url();
    let words = ["apply", "users.csv", "--yes", "--address", &url];
    let run = |zone: &str, more: &[&str]| {
        let mut command = cli.command(&[&words, more].concat());
        command.env("TZ", zone);
        command
    };
    let mut child = start(run("UTC", &["--rate", "unlimited"]));
    org.must_see(30, &mut child);
    stop(child, Signal::KILL);
    org.must_be_left();
    let sent = org.count();
    let refused = |zone: &str, more: &[&str], why: &str| {
        crate::common::Ran::of(run(zone, more).output().unwrap())
            .exits(2)
            .says(why);
    };
    refused(
        "Asia/Tokyo",
        &[],
        "--timezone: it was UTC, now it is Asia/Tokyo",
    );
    refused(
        "UTC",
        &[
            "--no-header",
            "--skip-invalid",
            "--id-column",
            "1",
            "--flag-column",
            "2",
        ],
        "the line of the header: it was",
    );
    assert_eq!(org.count(), sent);
}

#[test]
fn a_report_of_another_org_is_refused() {
    let cli = Cli::new();
    cli.write("users.csv", crate::common::table(2));
    let first = crate::common::hostile::Hostile::start(|_| crate::common::hostile::Reply::new(204));
    cli.run(&["apply", "users.csv", "--yes", "--address", &first.url()])
        .exits(0);
    let other = crate::common::hostile::Hostile::start(|_| crate::common::hostile::Reply::new(204));
    let undo = [
        "undo",
        "users.report.csv",
        "--yes",
        "--address",
        &other.url(),
    ];
    cli.run(&undo)
        .exits(2)
        .says("is the report of a run against")
        .says(&first.url());
    assert!(other.requests().is_empty());
}

/// Returns a function that runs a command against this Org, row by row in the table's order.
fn teller<'a>(cli: &'a Cli, org: &'a Ledger) -> impl Fn(&[&str], i32) -> crate::common::Ran + 'a {
    move |words, code| {
        let url = org.url();
        let one_by_one = [
            "--yes",
            "--rate",
            "unlimited",
            "--concurrency",
            "1",
            "--address",
            &url,
        ];
        cli.run(&[words, &one_by_one].concat()).exits(code)
    }
}

#[test]
fn undo_knows_what_was_sent_for_an_opt_out_that_had_ended_on_any_day_and_in_any_zone() {
    let cli = Cli::new();
    let org = Ledger::start(Duration::ZERO);
    let run = teller(&cli, &org);
    // Row 1 was sent on the last day of its opt-out and recorded after midnight, row 2 on the day
    // after.
    let head = " \
        user_id,mfa_opt_out,opt_out_until,line,outcome,wanted,http_status,attempts,elapsed_ms,finished_at,detail\n";
    let report = format!(
        "{head}1,true,2024-02-29,2,applied,true,204,1,5,2024-02-29T00:00:01.000Z,\n\
         2,true,2024-02-29,3,applied,false,204,1,5,2024-02-28T23:59:59.000Z,\n"
    );
    cli.write("users.report.csv", report);
    run(
        &[
            "undo",
            "users.report.csv",
            "--timezone",
            "Pacific/Kiritimati",
        ],
        0,
    );
    assert_eq!(org.puts(), [put(1, false), put(2, true)]);
}

#[test]
fn a_report_alone_tells_what_its_run_had_set() {
    let cli = Cli::new();
    let org = Ledger::scripted(|seen| Reply::new(if seen.number == 3 { 404 } else { 204 }));
    let run = teller(&cli, &org);
    cli.write(
        "users.csv",
        "user_id,opt_out_until\n1,\n2,2020-02-29\n3,2020-02-29\n4,\n",
    );
    run(&["apply", "users.csv", "--set", "true"], 1);
    for json in [
        "users.report.json",
        "users.undo-1.report.json",
        "users.retry-1.report.json",
    ] {
        let report = json.replace(".json", ".csv");
        if !cli.path(&report).exists() {
            let command = if json.contains("undo") {
                "undo"
            } else {
                "retry"
            };
            run(&[command, "users.report.csv"], 0);
        }
        std::fs::remove_file(cli.path(json)).unwrap();
    }
    run(&["undo", "users.undo-1.report.csv"], 0);
    run(&["undo", "users.retry-1.report.csv"], 0);
    let wanted = [
        &[put(1, true), put(2, false), put(3, false), put(4, true)][..],
        &[put(1, false), put(2, true), put(4, false)],
        &[put(3, false)],
        &[put(1, true), put(2, false), put(4, true)],
        &[put(3, true)],
    ];
    assert_eq!(org.puts(), wanted.concat());
    let told: Vec<_> = report(&cli.path("users.report.csv"))
        .into_iter()
        .map(|row| (row["line"].clone(), row["wanted"].clone()))
        .collect();
    let wanted = [("2", "true"), ("3", "false"), ("4", "false"), ("5", "true")];
    assert_eq!(
        told,
        wanted.map(|(line, wanted)| (line.to_owned(), wanted.to_owned()))
    );
    let of_retry = report(&cli.path("users.retry-1.report.csv"));
    assert_eq!(
        (&of_retry[0]["line"][..], &of_retry[0]["wanted"][..]),
        ("4", "false")
    );

    run(&["apply", "users.report.csv", "--report", "again.csv"], 2).says("--set");
    run(&["retry", "users.report.csv", "--set", "true"], 2).says("leave out --set");
}

#[test]
fn a_row_whose_wanted_flag_is_missing_is_refused() {
    let cli = Cli::new();
    let org = Ledger::start(Duration::ZERO);
    let run = teller(&cli, &org);
    cli.write("users.csv", "user_id\n1\n2\n");
    run(&["apply", "users.csv", "--set", "true"], 0);
    let told: serde_json::Value = serde_json::from_str(&cli.read("users.report.json")).unwrap();
    assert_eq!(
        told["report_blake3"],
        blake3::hash(cli.read("users.report.csv").as_bytes()).to_string()
    );
    let blanked = cli
        .read("users.report.csv")
        .replace(",applied,true,", ",applied,,");
    cli.write("users.report.csv", blanked);
    run(&["undo", "users.report.csv"], 2).says("does not say which flag was wanted");
    assert_eq!(org.count(), 2);
}

#[test]
fn a_report_of_format_1_is_refused_in_words() {
    let cli = Cli::new();
    let org = Ledger::start(Duration::ZERO);
    let run = teller(&cli, &org);
    cli.write(
        "users.report.csv",
        "user_id,mfa_opt_out,row,outcome,http_status,attempts,elapsed_ms,finished_at,detail\n\
         1,true,1,failed,404,1,5,2024-02-29T12:00:00.000Z,\n",
    );
    cli.write("users.csv", "user_id,mfa_opt_out\n1,true\n");
    for words in [
        &["retry", "users.report.csv"][..],
        &["undo", "users.report.csv"],
        &["apply", "users.report.csv", "--report", "x.csv"],
    ] {
        run(words, 2).says("written by an earlier version of mfa-optout (format 1)");
    }
    assert_eq!(org.requests(), 0);
}

#[test]
fn not_sent_rows_are_retried_and_not_undone() {
    let rows = [
        (1, "yes", "applied"),
        (2, "yes", "not_sent"),
        (3, "no", "not_sent"),
    ];
    let cli = Cli::new();
    let org = Ledger::start(Duration::ZERO);
    let run = teller(&cli, &org);
    cli.write("users.report.csv", earlier(&rows, LONG_AGO));
    run(&["retry", "users.report.csv", "--only", "not_sent"], 0);
    run(&["undo", "users.report.csv"], 0);
    assert_eq!(org.puts(), [put(2, true), put(3, false), put(1, false)]);
}

#[test]
fn an_opt_out_that_may_have_been_made_is_taken_back_after_any_answer() {
    let org = Ledger::scripted(|seen| match (seen.user(), seen.flag(), seen.number) {
        (_, Some(false), _) | (Some(1), ..) => Reply::new(204),
        (Some(2), ..) => Reply::new(500),
        (Some(3), _, 2) => Reply::raw("").then(crate::common::hostile::Then::Reset),
        _ => Reply::new(404),
    });
    let cli = Cli::new();
    let run = teller(&cli, &org);
    cli.write(
        "users.csv",
        "user_id,mfa_opt_out\n1,true\n3,true\n4,true\n2,true\n",
    );
    run(&["apply", "users.csv", "--max-attempts", "1"], 1).says("may or may not have been made");
    let rows = report(&cli.path("users.report.csv"));
    let told: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row["outcome"].as_str(),
                row["http_status"].as_str(),
                row["detail"].contains("may "),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("applied", "204", false),
            ("unknown", "404", true),
            ("failed", "404", false),
            ("unknown", "500", true)
        ]
    );
    let sent = org.count();
    let plan = cli
        .run(&[
            "undo",
            "users.report.csv",
            "--dry-run",
            "--address",
            &org.url(),
        ])
        .exits(0);
    plan.says("3 to opt back in");
    assert_eq!(org.count(), sent);
}

/// The command that is suggested at the end.
#[track_caller]
fn next_command(ran: &Ran) -> &str {
    ran.stdout
        .lines()
        .find_map(|line| line.strip_prefix("Next:   "))
        .unwrap()
}

/// Runs a command as it would be pasted, in a shell that does not look where the tool was built.
#[cfg(unix)]
fn in_a_shell(cli: &Cli, command: &str) -> Ran {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("{command} --yes")])
        .current_dir(cli.folder());
    Ran::of(shell.stdin(Stdio::null()).output().unwrap())
}

#[test]
fn the_suggested_command_repeats_the_options_of_the_practice_org() {
    let cli = Cli::new();
    cli.write(
        "users.csv",
        "user_id,mfa_opt_out\n1,true\n99,true\n1000,true\n",
    );
    let practice = [
        "--sandbox",
        "--members",
        "98",
        "--latency",
        "2ms",
        "--rate-limit",
        "50/s",
        "--outage",
        "1h..2h",
    ];
    let ran = cli
        .run(
            &[
                &["apply", "users.csv", "--yes", "--limit", "1"],
                &practice[..],
            ]
            .concat(),
        )
        .exits(5);
    let next = next_command(&ran);
    let words = "--sandbox --members 98 --latency 2ms --rate-limit 50/s --outage 1h..2h";
    assert!(next.contains(words), "{next}");
}

#[test]
fn a_report_that_an_interrupted_run_will_replace_is_neither_retried_nor_undone() {
    let cli = Cli::new();
    cli.write("users.csv", "user_id,mfa_opt_out\n1,true\n");
    cli.run(&["apply", "users.csv", "--sandbox", "--yes"])
        .exits(0);
    cli.write(
        "users.report.csv.partial",
        "the journal of a run with --overwrite",
    );
    for command in ["retry", "undo"] {
        cli.run(&[command, "users.report.csv", "--sandbox", "--yes"])
            .exits(2)
            .says("was interrupted")
            .says("mfa-optout close users.report.csv");
    }
}

#[test]
fn a_retry_knows_columns_with_names_of_their_own() {
    let cli = Cli::new();
    cli.write("users.csv", "Staff no;Leaves;Number\n1;yes;1\n99;no;99\n");
    cli.write("bare.csv", "1,yes\n99,no\n");
    let sandbox = ["--sandbox", "--members", "98", "--yes"];
    for (table, columns, line) in [
        (
            "users",
            &["--id-column", "Staff no", "--flag-column", "2"][..],
            3,
        ),
        (
            "bare",
            &["--no-header", "--id-column", "1", "--flag-column", "2"],
            2,
        ),
    ] {
        let name = format!("{table}.csv");
        cli.run(&[&["apply", &name], columns, &sandbox[..]].concat())
            .exits(1);
        let earlier = format!("{table}.report.csv");
        cli.run(&[&["retry", &earlier], &sandbox[..]].concat())
            .exits(1)
            .says(&format!("line {line}: 99\n"))
            .says("404");
        let rows = report(&cli.path(&format!("{table}.retry-1.report.csv")));
        assert_eq!((rows.len(), outcomes(&rows, "failed")), (1, 1), "{table}");
    }
}

#[test]
fn the_column_of_the_ids_is_taken_from_the_record_of_the_report_unless_it_is_given() {
    let cli = Cli::new();
    cli.write("users.csv", "Manager no,Staff no\n7,1\n8,99\n");
    let practice = ["--sandbox", "--members", "98", "--yes"];
    let columns = ["--id-column", "Staff no", "--set", "true"];
    cli.run(&[&["apply", "users.csv"], &columns[..], &practice].concat())
        .exits(1);
    let failed = |name: &str| {
        let rows = report(&cli.path(name));
        rows.iter()
            .map(|row| row["detail"].clone())
            .collect::<Vec<_>>()
    };
    cli.run(&[&["retry", "users.report.csv"], &practice[..]].concat())
        .exits(1)
        .says("IDs in column 2 \"Staff no\"");
    assert_eq!(failed("users.retry-1.report.csv").len(), 1);
    cli.run(&[&["undo", "users.report.csv"], &practice[..]].concat())
        .exits(0)
        .says("IDs in column 2 \"Staff no\"");
    cli.run(
        &[
            &["retry", "users.report.csv", "--dry-run"][..],
            &["--id-column", "Manager no"],
            &practice[..],
        ]
        .concat(),
    )
    .exits(0)
    .says("IDs in column 1 \"Manager no\"");

    let renamed = cli.read("users.report.csv").replace("Staff no", "Number");
    cli.write("users.report.csv", renamed);
    cli.run(&[&["retry", "users.report.csv"], &practice[..]].concat())
        .exits(2)
        .says("Staff no");
}

#[test]
fn a_report_has_the_form_of_its_table_and_is_read_back_by_retry_undo_and_close() {
    let cli = Cli::new();
    let note = "\"a;b, \"\"c\"\"\r\nd\"";
    let table = format!("\u{feff}user_id;mfa_opt_out;note\r\n1;yes;{note}\r\n99;yes;{note}\r\n");
    cli.write("users.csv", &table);
    let practice = ["--sandbox", "--members", "98", "--yes"];
    cli.run(&[&["apply", "users.csv"], &practice[..]].concat())
        .exits(1);
    cli.run(&[&["retry", "users.report.csv"], &practice[..]].concat())
        .exits(1);
    cli.run(
        &[
            &["undo", "users.report.csv", "--html", "undo.html"],
            &practice[..],
        ]
        .concat(),
    )
    .exits(0);
    for (name, users) in [
        ("users.report.csv", &["1", "99"][..]),
        ("users.retry-1.report.csv", &["99"]),
        ("users.undo-1.report.csv", &["1"]),
    ] {
        let text = cli.read(name);
        let header = "\u{feff}user_id;mfa_opt_out;note;line;outcome;wanted;";
        assert!(text.starts_with(header), "{text}");
        let line_feeds = text.matches('\n').count();
        assert_eq!(text.matches("\r\n").count(), line_feeds, "{text:?}");
        let rows = report(&cli.path(name));
        let told: Vec<&str> = rows.iter().map(|row| row["user_id"].as_str()).collect();
        assert_eq!(told, users);
        for row in &rows {
            assert_eq!(row["note"], "a;b, \"c\"\r\nd");
        }
    }

    let org = Ledger::scripted(|seen| Reply::new(if seen.number == 2 { 401 } else { 204 }));
    cli.write("other.csv", &table);
    let words = ["apply", "other.csv", "--yes", "--concurrency", "1"];
    cli.run(&[&words[..], &["--address", &org.url()]].concat())
        .exits(3);
    cli.run(&["close", "other.report.csv"]).exits(0);
    let text = cli.read("other.report.csv");
    assert!(text.contains(";not_sent;true;"), "{text}");
    assert_eq!(text.matches("\r\n").count(), text.matches('\n').count());
}

#[test]
fn settings_that_say_how_tables_are_written_do_not_hold_for_reports() {
    let cli = Cli::new();
    let how = "delimiter = ';'\nencoding = 'utf-16le'\nno_header = true\nid_column = \
        1\nflag_column = 2\n";
    cli.write("s.toml", how);
    let table: Vec<u8> = "1;yes\n99;no\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    cli.write("users.csv", table);
    let practice = [
        "--config",
        "s.toml",
        "--sandbox",
        "--members",
        "98",
        "--yes",
    ];
    cli.run(&[&["apply", "users.csv"], &practice[..]].concat())
        .exits(1);
    cli.run(&[&["retry", "users.report.csv"], &practice[..]].concat())
        .exits(1)
        .says("line 2: 99\n")
        .says("404");
    cli.run(&[&["undo", "users.report.csv"], &practice[..]].concat())
        .exits(0);
    assert_eq!(report(&cli.path("users.undo-1.report.csv")).len(), 1);
}

#[cfg(unix)] // a POSIX shell, file modes
#[test]
fn the_command_that_is_suggested_works_in_a_shell() {
    let works = Arc::new(AtomicBool::new(false));
    let org = without_user_2_until(&works);
    let settings = format!(
        "[profile.practice]\naddress = \"{}\"\nrate = \"unlimited\"\n",
        org.url()
    );
    for (table, reason) in [
        ("all users.csv", "--reason=-x"),
        ("-users.csv", "--reason=it's $HOME"),
    ] {
        let cli = Cli::new();
        cli.write(table, "user_id,mfa_opt_out\n1,true\n2,true\n");
        cli.write("my settings.toml", &settings);
        let key = cli.write("my key.txt", crate::common::KEY);
        std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o600)).unwrap();
        let settings = [
            "--config",
            "my settings.toml",
            "--profile",
            "practice",
            "--api-key-file",
            "my key.txt",
        ];
        works.store(false, Ordering::SeqCst);
        let arguments = [&["apply", reason, "--yes"], &settings[..], &["--", table]].concat();
        let ran = Ran::of(
            cli.command(&arguments)
                .env_remove("MFA_OPTOUT_API_KEY")
                .output()
                .unwrap(),
        )
        .exits(1);
        let next = next_command(&ran);

        works.store(true, Ordering::SeqCst);
        in_a_shell(&cli, next).exits(0);
        let report = table.replace(".csv", ".retry-1.report");
        assert_eq!(
            outcomes(
                &crate::common::report(&cli.path(&format!("{report}.csv"))),
                "applied"
            ),
            1
        );
        let typed = reason.trim_start_matches("--reason=");
        assert!(
            cli.read(&format!("{report}.json"))
                .contains(&format!("\"{typed}\"")),
            "the reason is repeated"
        );
    }
}

#[test]
fn follow_up_with_nothing_to_do_says_so_in_one_line_and_makes_no_file() {
    let cli = Cli::new();
    let org = Hostile::start(|_| Reply::new(204));
    cli.write("users.csv", table(2));
    cli.write("empty.csv", "user_id,mfa_opt_out\n");
    let url = org.url();
    cli.apply(&url, &[]).exits(0);
    let files = || fs::read_dir(cli.folder()).unwrap().count();
    let before = files();
    let commands = [
        (
            ["apply", "empty.csv"],
            "nothing to do: empty.csv has no rows; ",
        ),
        (
            ["retry", "users.report.csv"],
            "nothing to retry: no row of users.report.csv is failed or unknown or not_sent; ",
        ),
    ];
    for (words, line) in commands {
        let options = ["--yes", "--html", "page.html", "--address", &url];
        let ran = cli.run(&[&words[..], &options].concat()).exits(0);
        assert_eq!(ran.stdout, "");
        assert_eq!(ran.stderr, format!("{line}no report is made\n"));
        assert_eq!(files(), before);
    }
    assert_eq!(org.requests().len(), 2);
}
