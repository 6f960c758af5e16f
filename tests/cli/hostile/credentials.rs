//! Keys and log-ins that are refused, revoked or end in mid-run.

use crate::common::hostile::{Hostile, Reply};
use crate::common::{Cli, Ran, TOKEN, outcomes, table};

fn cli(rows: u64) -> Cli {
    let cli = Cli::new();
    cli.write("users.csv", table(rows));
    cli
}

#[test]
fn a_key_that_is_refused_costs_few_requests_and_its_source_is_named() {
    for (status, requests) in [(401, 1), (403, 4)] {
        let cli = cli(50);
        let org = Hostile::start(move |_| Reply::new(status));
        cli.apply(&org.url(), &[])
            .exits(3)
            .says("refused the credentials")
            .says("API key from MFA_OPTOUT_API_KEY");
        assert_eq!(org.requests().len(), requests);
    }
}

#[test]
fn first_users_who_are_forbidden_are_failed_rows_once_a_later_one_succeeds() {
    let org = Hostile::start(|seen| Reply::new(if seen.user() <= Some(3) { 403 } else { 204 }));
    let cli = cli(6);
    cli.apply(&org.url(), &["--rate", "unlimited"]).exits(1);
    let rows = cli.report();
    assert_eq!(
        (outcomes(&rows, "failed"), outcomes(&rows, "applied")),
        (3, 3)
    );
    assert_eq!(org.requests().len(), 6);
}

#[test]
fn one_user_who_is_forbidden_is_one_failed_row() {
    let org = Hostile::start(|seen| Reply::new(if seen.user() == Some(3) { 403 } else { 204 }));
    let cli = cli(6);
    cli.apply(&org.url(), &["--rate", "unlimited", "--concurrency", "1"])
        .exits(1);
    let rows = cli.report();
    assert_eq!(
        (outcomes(&rows, "applied"), rows[2]["outcome"].as_str()),
        (5, "failed")
    );
    assert_eq!(org.requests().len(), 6);
}

#[test]
fn a_key_revoked_in_mid_run_is_told_apart_from_forbidden_users() {
    let org = Hostile::start(|seen| Reply::new(if seen.number > 7 { 403 } else { 204 }));
    let cli = cli(50);
    let ran = cli
        .apply(&org.url(), &["--rate", "unlimited", "--concurrency", "1"])
        .exits(3);
    ran.says("7 rows were applied before")
        .says("mfa-optout apply users.csv");
    assert_eq!(
        org.requests().len(),
        7 + 5 + 1,
        "five in a row, and one that had succeeded"
    );
    let partial = cli.read("users.report.csv.partial");
    assert!(
        partial.contains("applied") && !partial.contains("failed"),
        "{partial}"
    );
}

#[test]
fn a_session_that_is_refused_logs_in_once_more() {
    let org = Hostile::start(|seen| match seen.path.as_str() {
        "/user/authenticate" => {
            Reply::new(200).body("application/json", format!(r#"{{"token": "{TOKEN}1"}}"#))
        }
        _ => Reply::new(401),
    });
    let cli = cli(50);
    let mut command = cli.session(&[
        "apply",
        "users.csv",
        "--yes",
        "--verbose",
        "--address",
        &org.url(),
    ]);
    Ran::of(command.env("RUST_LOG", "trace").output().unwrap()).exits(3);
    let methods: Vec<_> = org.requests().into_iter().map(|seen| seen.method).collect();
    assert_eq!(methods, ["POST", "PUT", "POST", "PUT"]);
}

#[test]
fn nothing_is_sent_without_a_token() {
    for (status, body, code, words) in [
        (401, "", 3, "the login was refused"),
        (404, "", 3, "the login was refused"),
        (200, r#"{"expiresAt": 1}"#, 3, "has no `token`"),
        (500, "", 5, "500"),
    ] {
        let org = Hostile::start(move |_| Reply::new(status).body("application/json", body));
        let cli = cli(5);
        let mut command = cli.session(&["apply", "users.csv", "--yes", "--address", &org.url()]);
        Ran::of(command.output().unwrap()).exits(code).says(words);
        assert!(
            org.requests().iter().all(|seen| seen.method == "POST"),
            "{status}"
        );
    }
}

#[test]
fn a_secret_on_the_command_line_is_refused_and_not_repeated() {
    for option in ["--api-key", "--password"] {
        let ran = cli(1)
            .apply("http://127.0.0.1:1", &[option, crate::common::KEY])
            .exits(2);
        ran.says("command line");
    }
}
