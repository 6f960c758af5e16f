//! Connections and answers that break: every request is one of the attempts in the report, and what
//! can't be known is said.

use std::sync::Mutex;
use std::time::Duration;

use crate::common::hostile::http2::{self, Frames};
use crate::common::hostile::{Authority, Hostile, Reply, Then};
use crate::common::{Cli, ReportRow, outcomes, table};

fn cli(rows: u64) -> Cli {
    let cli = Cli::new();
    cli.write("users.csv", table(rows));
    cli
}

/// Requests as the run's record counts them.
fn counted(cli: &Cli) -> usize {
    let record: serde_json::Value = serde_json::from_str(&cli.read("users.report.json")).unwrap();
    usize::try_from(record["traffic"]["requests"].as_u64().unwrap()).unwrap()
}

fn attempts(rows: &[ReportRow]) -> usize {
    rows.iter()
        .map(|row| row["attempts"].parse::<usize>().unwrap())
        .sum()
}

/// One run for all of them: the second chance comes after half a minute.
#[test]
fn a_row_that_never_gets_an_answer_is_unknown_and_said_to_be() {
    let org = Hostile::start(|seen| match seen.user() {
        Some(3) => Reply::raw("").then(Then::Reset),
        Some(5) => Reply::raw("\u{1b}[2J\u{202e}garbage\0\r\n\r\n").then(Then::Close),
        Some(7) => Reply::raw("HTTP/1.1 20").then(Then::Close),
        Some(9) => Reply::raw("HTTP/1.1 204 No Content\r\ncontent-le").then(Then::Reset),
        Some(11) => Reply::new(200).body("text/html", "<title>Maintenance</title>"),
        _ => Reply::new(204),
    });
    let cli = cli(12);
    let ran = cli
        .apply(
            &org.url(),
            &[
                "--rate",
                "unlimited",
                "--concurrency",
                "1",
                "--max-attempts",
                "1",
            ],
        )
        .exits(1);
    ran.says("may or may not have been made")
        .says("mfa-optout retry users.report.csv");
    let rows = cli.report();
    assert_eq!(
        (outcomes(&rows, "applied"), outcomes(&rows, "unknown")),
        (7, 5)
    );
    for row in rows.iter().filter(|row| row["outcome"] == "unknown") {
        let status = if row["user_id"] == "11" { "200" } else { "" };
        assert_eq!(
            (row["http_status"].as_str(), row["attempts"].as_str()),
            (status, "2"),
            "{row:?}"
        );
    }
    assert!(rows[10]["detail"].contains("Maintenance"), "{:?}", rows[10]);
    assert!(
        rows[4]["detail"].contains("answer not understood"),
        "{:?}",
        rows[4]
    );
    // One that had been applied is asked for again, to tell whose fault it is.
    assert_eq!(
        (org.requests().len(), attempts(&rows)),
        (counted(&cli), counted(&cli) - 1)
    );
}

#[test]
fn a_connection_that_is_closed_between_requests_costs_no_row_and_no_request_that_is_not_counted() {
    type Script = fn(usize) -> Reply;
    let closings: &[(&str, Script)] = &[
        ("after each, as said", |_| {
            Reply::new(204)
                .header("connection", "close")
                .then(Then::Close)
        }),
        ("after each, without a word", |_| {
            Reply::new(204).then(Then::Close)
        }),
        // Windows throws away an answer that a reset follows.
        #[cfg(unix)]
        ("after each, by a reset", |_| {
            Reply::new(204).then(Then::Reset)
        }),
        ("after fifty", |number| {
            Reply::new(204).then(if number % 50 == 0 {
                Then::Close
            } else {
                Then::KeepAlive
            })
        }),
    ];
    // At the lower pace, connections are idle when they are closed.
    for (rows, rate) in [(200, "unlimited"), (12, "20/s")] {
        for &(closing, script) in closings {
            let on_connection = Mutex::new(std::collections::HashMap::<usize, usize>::new());
            let org = Hostile::start(move |seen| {
                let mut on_connection = on_connection.lock().unwrap();
                let number = on_connection.entry(seen.connection).or_default();
                *number += 1;
                script(*number)
            });
            let cli = cli(rows);
            cli.apply(&org.url(), &["--rate", rate, "--concurrency", "4"])
                .exits(0);
            let report = cli.report();
            assert_eq!(outcomes(&report, "applied") as u64, rows, "{closing}");
            // A request may find its connection closed before a byte of it has left.
            let requests = org.requests().len();
            assert!(
                requests >= report.len() && requests <= attempts(&report),
                "{closing}: {requests}"
            );
            assert!(attempts(&report) <= counted(&cli), "{closing}");
        }
    }
}

#[test]
fn http2_streams_that_are_refused_cut_or_left_cost_attempts_and_no_row() {
    let authority = Authority::new();
    let file = authority.file();
    let counted = std::sync::Arc::new(Mutex::new((0, 0)));
    let org = Hostile::raw_tls(authority.http2_server(&["127.0.0.1"]), {
        let counted = std::sync::Arc::clone(&counted);
        move |_, wire| {
            http2::serve(wire, |body| {
                assert_eq!(body, br#"{"mfaOptOut": true}"#);
                let mut counted = counted.lock().unwrap();
                counted.0 += 1;
                let frames = match counted.0 {
                    10 | 11 | 30 => Frames::Refused,
                    20 | 31 => Frames::Cut,
                    40 | 60 => Frames::GoAway,
                    _ => Frames::NoContent,
                };
                counted.1 += usize::from(frames == Frames::NoContent);
                frames
            })
        }
    });
    let cli = cli(100);
    let options = [
        "--rate",
        "unlimited",
        "--concurrency",
        "4",
        "--ca-cert",
        &file.path().to_string_lossy(),
    ];
    cli.apply(&org.url(), &options).exits(0);
    let rows = cli.report();
    let (requests, answered) = *counted.lock().unwrap();
    assert_eq!((outcomes(&rows, "applied"), answered), (100, 100));
    // Of those that are on their way when a connection is left, some never arrive.
    assert!(
        (107..=attempts(&rows)).contains(&requests),
        "{requests} requests, {} attempts",
        attempts(&rows)
    );
    assert!(org.connections() >= 3, "a new one after each that is left");
}

#[test]
fn what_goes_out_is_the_change_and_nothing_else() {
    let org = Hostile::start(|seen| {
        let json = seen.header("content-type") == Some("application/json");
        let digits = seen
            .path
            .strip_prefix("/user/users/")
            .and_then(|rest| rest.strip_suffix("/membership"));
        let digits =
            digits.is_some_and(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()));
        Reply::new(
            if json && digits && seen.flag().is_some() && seen.method == "PUT" {
                204
            } else {
                400
            },
        )
    });
    let cli = Cli::new();
    let address = org.url();
    let ids = [
        "1732".to_owned(),
        " 1733\u{a0}".to_owned(),
        "9223372036854775807".to_owned(),
        format!("{address}/admin/users/1734"),
    ];
    let rows = ids
        .iter()
        .fold(String::new(), |rows, id| rows + &format!("\"{id}\",true\n"));
    cli.write("users.csv", format!("user_id,mfa_opt_out\n{rows}1735,no\n"));
    cli.apply(&address, &["--rate", "unlimited", "--concurrency", "1"])
        .exits(0);
    let sent: Vec<_> = org
        .requests()
        .iter()
        .map(|seen| (seen.user().unwrap(), seen.flag().unwrap()))
        .collect();
    let expected = [
        (1732, true),
        (1733, true),
        (9_223_372_036_854_775_807, true),
        (1734, true),
        (1735, false),
    ];
    assert_eq!(sent, expected);
}

#[test]
fn a_quota_that_is_used_up_holds_the_run_and_an_unreadable_one_does_nothing() {
    let used_up: [&[(&str, &str)]; 3] = [
        &[("ratelimit", "\"default\";r=0;t=1")],
        &[("ratelimit-remaining", "0"), ("ratelimit-reset", "1")],
        &[
            ("x-ratelimit-limit", "10"),
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", "1"),
        ],
    ];
    for headers in used_up {
        let org = Hostile::start(move |seen| match seen.number {
            2 => headers
                .iter()
                .fold(Reply::new(204), |reply, (name, value)| {
                    reply.header(name, value)
                }),
            _ => Reply::new(204),
        });
        let cli = cli(4);
        cli.apply(&org.url(), &["--rate", "unlimited", "--concurrency", "1"])
            .exits(0);
        let seen = org.requests();
        assert_eq!(seen.len(), 4);
        assert!(
            seen[2].at >= seen[1].at + Duration::from_secs(1),
            "{headers:?}"
        );
    }
    let unreadable: [(&str, &str); 8] = [
        ("ratelimit", "\"default\";r=0;t=-5"),
        ("ratelimit", "((((;r=0"),
        ("ratelimit", ""),
        ("ratelimit-policy", "\u{ff}"),
        ("ratelimit-remaining", "none"),
        ("x-ratelimit-remaining", "0"),
        ("x-ratelimit-reset", "999999999999999999999"),
        ("x-ratelimit-remaining", "-1, 0, 1e9"),
    ];
    let org = Hostile::start(move |seen| {
        let (name, value) = unreadable[seen.number % unreadable.len()];
        Reply::new(204).header(name, value)
    });
    let cli = cli(40);
    let ran = cli.apply(&org.url(), &["--rate", "unlimited"]).exits(0);
    assert!(!ran.text().contains("held back"), "{}", ran.text());
    assert_eq!(
        (outcomes(&cli.report(), "applied"), org.requests().len()),
        (40, 40)
    );
    let record: serde_json::Value = serde_json::from_str(&cli.read("users.report.json")).unwrap();
    assert_eq!(record["traffic"]["throttled_ms"], 0);
}
