//! The main job, end to end: the built binary, a table, an Org, a report.

mod common;

use common::hostile::{Hostile, Reply};
use common::{Cli, outcomes, report, table};

#[test]
fn a_table_goes_in_and_a_report_that_tells_the_truth_comes_out() {
    let cli = Cli::new();
    let org = Hostile::start(|seen| Reply::new(if seen.user() == Some(3) { 404 } else { 204 }));
    cli.write("users.csv", "Name,User ID,MFA opt-out\nAda,1,yes\n\"Bo, B\",2,no\nCy,3,true\nAda again,1,true\n");

    cli.run(&["apply", "users.csv", "--yes", "--address", &org.url()]).exits(1).says("users.report.csv");

    let rows = report(&cli.path("users.report.csv"));
    let told: Vec<_> = rows.iter().map(|row| (row["Name"].as_str(), row["outcome"].as_str())).collect();
    assert_eq!(told, [("Ada", "applied"), ("Bo, B", "applied"), ("Cy", "failed"), ("Ada again", "duplicate")]);
    let sent: Vec<_> = org.requests().iter().map(|seen| (seen.user(), seen.flag())).collect();
    assert_eq!(sent, [(Some(1), Some(true)), (Some(2), Some(false)), (Some(3), Some(true))]);
}

#[test]
fn a_bad_table_sends_nothing_and_shows_what_is_wrong() {
    let cli = Cli::new();
    let org = Hostile::start(|_| Reply::new(204));
    let table = table(12).replace("\n6,true", "\nada@example.com,true").replace("\n11,true", "\n11,maybe");
    cli.write("users.csv", table);

    let ran = cli.run(&["apply", "users.csv", "--yes", "--address", &org.url()]).exits(2);
    ran.says("users.csv:7: column user_id").says("users.csv:12: column mfa_opt_out");

    assert!(org.requests().is_empty());
    assert!(!cli.path("users.report.csv").exists());
}

#[test]
fn a_wrong_key_costs_one_request() {
    let cli = Cli::new();
    let org = Hostile::start(|_| Reply::new(401));
    cli.write("users.csv", table(100));
    cli.run(&["apply", "users.csv", "--yes", "--address", &org.url()]).exits(3).says("refused the credentials");
    assert_eq!(org.requests().len(), 1);
}

#[test]
fn ten_thousand_rows_come_out_in_order() {
    let cli = Cli::new();
    let org = Hostile::start(|_| Reply::new(204));
    cli.write("users.csv", table(10_000));
    cli.run(&["apply", "users.csv", "--yes", "--rate", "unlimited", "--address", &org.url()]).exits(0);
    let rows = report(&cli.path("users.report.csv"));
    assert_eq!(outcomes(&rows, "applied"), 10_000);
    assert!(rows.iter().zip(1..).all(|(row, number)| row["row"] == number.to_string()));
    assert_eq!(org.requests().len(), 10_000);
}
