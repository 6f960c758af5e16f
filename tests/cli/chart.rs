//! The chart of requests over time, held against the requests that the server has seen.

use std::time::Duration;

use crate::common::Cli;
use crate::common::hostile::{Hostile, Reply};
use crate::common::table;
use serde_json::Value;

/// Requests in each bar of the chart.
fn bars(cli: &Cli) -> Vec<u64> {
    let run: Value = serde_json::from_str(&cli.read("users.report.json")).unwrap();
    let series = &run["series"];
    assert_eq!(series["bar_ms"], 1000, "the run is short");
    let bars = series["bars"].as_array().unwrap();
    bars.iter()
        .map(|bar| bar["requests"].as_u64().unwrap())
        .collect()
}

#[test]
fn requests_of_retried_rows_count_in_the_second_in_which_each_was_sent() {
    // Every third row is refused once before it is applied, so that two requests end with it. More
    // of them would have to wait for the second pass.
    let refused = std::sync::Mutex::new(std::collections::BTreeSet::new());
    let org = Hostile::start(move |seen| {
        let user = seen.user().unwrap();
        let is_refused = user % 3 == 0 && refused.lock().unwrap().insert(user);
        let status = if is_refused { 500 } else { 204 };
        Reply::new(status).after(Duration::from_millis(20))
    });
    let cli = Cli::new();
    cli.write("users.csv", table(280));
    cli.apply(&org.url(), &["--rate", "140/s", "--concurrency", "64"])
        .exits(0);
    let bars = bars(&cli);
    assert!(bars.iter().all(|requests| *requests <= 141), "{bars:?}");
    assert_eq!(bars.iter().sum::<u64>(), org.requests().len() as u64);
}

#[test]
fn log_ins_count_as_requests() {
    let org = Hostile::start(|seen| {
        if seen.path == "/user/authenticate" {
            let token = format!("{}1", crate::common::TOKEN);
            let body = format!(r#"{{"token":"{token}","expiresAt":4000000000}}"#);
            Reply::new(200).body("application/json", &body)
        } else {
            Reply::new(204)
        }
    });
    let cli = Cli::new();
    cli.write("users.csv", table(3));
    let url = org.url();
    let run = cli
        .session(&["apply", "users.csv", "--yes", "--address", &url])
        .output()
        .unwrap();
    crate::common::Ran::of(run).exits(0);
    assert_eq!(org.requests().len(), 4);
    assert_eq!(bars(&cli).iter().sum::<u64>(), 4);
}

#[test]
fn a_kill_loses_at_most_the_requests_of_the_last_second() {
    use crate::common::ledger::{Ledger, Signal, start, stop};

    let cli = Cli::new();
    let org = Ledger::start(Duration::ZERO);
    cli.write("users.csv", table(250));
    let url = org.url();
    let words = [
        "apply",
        "users.csv",
        "--yes",
        "--rate",
        "100/s",
        "--address",
        &url,
    ];
    let mut child = start(cli.command(&words));
    org.must_see(220, &mut child);
    stop(child, Signal::KILL);
    org.must_be_left();
    cli.run(&words).exits(0);
    let counted = bars(&cli).iter().sum::<u64>();
    let sent = org.requests() as u64;
    assert!(
        counted <= sent && sent - counted <= 101,
        "{counted} of {sent}"
    );
}
