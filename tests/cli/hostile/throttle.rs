//! An Org that wants to be left alone for a while, or has gone for a while.

use std::time::{Duration, Instant};

use crate::common::hostile::{Hostile, Reply, Then};
use crate::common::{Cli, outcomes, table};

fn cli(rows: u64) -> Cli {
    let cli = Cli::new();
    cli.write("users.csv", table(rows));
    cli
}

#[test]
fn nothing_is_sent_while_the_org_wants_a_pause() {
    let org = Hostile::start(|seen| match seen.number {
        10 => Reply::new(429).header("retry-after", "2"),
        _ => Reply::new(204),
    });
    let cli = cli(40);
    let ran = cli
        .apply(
            &org.url(),
            &[
                "--rate",
                "unlimited",
                "--max-attempts",
                "1",
                "--concurrency",
                "8",
            ],
        )
        .exits(0);
    ran.says("throttled by the Org")
        .says("held back by the Org");
    assert_eq!(outcomes(&cli.report(), "applied"), 40);
    let seen = org.requests();
    assert_eq!(seen.len(), 41);
    // Seven others may have been on their way.
    let early = seen[9 + 8..]
        .iter()
        .filter(|later| later.at < seen[9].at + Duration::from_secs(2))
        .count();
    assert_eq!(early, 0);
}

#[test]
fn a_pause_that_is_too_long_stops_the_run() {
    let org = Hostile::start(|_| Reply::new(503).header("retry-after", "600"));
    cli(5)
        .apply(&org.url(), &[])
        .exits(5)
        .says("10 min, longer than --max-wait 5 min");
    assert_eq!(org.requests().len(), 1);
}

#[test]
fn a_wait_that_can_not_be_read_is_no_wait() {
    for wait in ["0", "-1", "1.5", "1e9", "", "Thu, 01 Jan 1970 00:00:00 GMT"] {
        let org = Hostile::start(move |seen| match seen.number {
            2 => Reply::new(429).header("retry-after", wait),
            _ => Reply::new(204),
        });
        let cli = cli(3);
        cli.apply(&org.url(), &["--rate", "50/s", "--max-attempts", "1"])
            .exits(0);
        assert_eq!(org.requests().len(), 4, "{wait:?}");
    }
}

#[test]
fn a_403_with_a_waiting_time_after_a_success_is_a_pause() {
    let hints: [&[(&str, &str)]; 2] = [
        &[("retry-after", "1")],
        &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1")],
    ];
    for headers in hints {
        let org = Hostile::start(move |seen| match seen.number {
            3 => headers
                .iter()
                .fold(Reply::new(403), |reply, (name, value)| {
                    reply.header(name, value)
                }),
            _ => Reply::new(204),
        });
        let cli = cli(5);
        let options = [
            "--rate",
            "unlimited",
            "--concurrency",
            "1",
            "--max-attempts",
            "1",
        ];
        cli.apply(&org.url(), &options)
            .exits(0)
            .says("held back by the Org");
        let seen = org.requests();
        assert_eq!(seen.len(), 6);
        assert!(
            seen[3].at >= seen[2].at + Duration::from_secs(1),
            "{headers:?}"
        );
    }
}

#[test]
fn a_retry_after_of_zero_at_an_unlimited_rate_does_not_become_a_flood() {
    let org = Hostile::start(|seen| match seen.number {
        1 => Reply::new(204),
        _ => Reply::new(429).header("retry-after", "0"),
    });
    let options = ["--rate", "unlimited", "--max-wait", "3s"];
    cli(50).apply(&org.url(), &options).exits(5);
    let requests = org.requests().len();
    assert!(requests < 100, "{requests} requests in three seconds");
}

#[test]
fn throttling_without_end_ends_the_run() {
    let org = Hostile::start(|_| Reply::new(429));
    cli(5)
        .apply(&org.url(), &["--max-wait", "1s", "--rate", "20/s"])
        .exits(5)
        .says("longer than --max-wait 1 s");
}

#[test]
fn an_outage_costs_few_requests_and_no_row() {
    let gone_at = std::sync::OnceLock::<Instant>::new();
    let org = Hostile::start(move |seen| {
        if seen.number > 50 && gone_at.get_or_init(|| seen.at).elapsed() < Duration::from_secs(4) {
            return Reply::raw("").then(Then::Reset);
        }
        Reply::new(204)
    });
    let cli = cli(200);
    let ran = cli.apply(&org.url(), &["--rate", "200/s"]).exits(0);
    ran.says("the Org stopped responding")
        .says("the Org is back after");
    assert_eq!(outcomes(&cli.report(), "applied"), 200);
    assert!(org.requests().len() < 200 + 40, "{}", org.requests().len());
}

#[test]
fn the_pace_is_found_under_a_limit_that_nobody_tells() {
    const LIMIT: usize = 6;
    const PAUSE: Duration = Duration::from_secs(1);
    let taken = std::sync::Mutex::new(std::collections::VecDeque::<Instant>::new());
    let refused = std::sync::Arc::new(std::sync::Mutex::new(Vec::<(usize, Instant)>::new()));
    let org = Hostile::start({
        let refused = std::sync::Arc::clone(&refused);
        move |seen| {
            let mut taken = taken.lock().unwrap();
            while taken
                .front()
                .is_some_and(|first| seen.at.duration_since(*first) >= PAUSE)
            {
                taken.pop_front();
            }
            if taken.len() < LIMIT {
                taken.push_back(seen.at);
                return Reply::new(204);
            }
            refused.lock().unwrap().push((seen.number, seen.at));
            Reply::new(429).header("retry-after", "1")
        }
    });
    let cli = cli(60);
    let ran = cli
        .apply(&org.url(), &["--rate", "auto", "--concurrency", "2"])
        .exits(0);
    ran.says("rate found: ");
    assert_eq!(outcomes(&cli.report(), "applied"), 60);
    let seen = org.requests();
    let refused = refused.lock().unwrap();
    assert_eq!(seen.len(), 60 + refused.len());
    assert!(!refused.is_empty(), "it rises until it is told to stop");
    for (number, at) in refused.iter() {
        // One other may have been on its way.
        let early = seen
            .iter()
            .filter(|later| later.number > number + 1 && later.at < *at + PAUSE)
            .count();
        assert_eq!(early, 0, "after request {number}");
    }
    let record: serde_json::Value = serde_json::from_str(&cli.read("users.report.json")).unwrap();
    let settled = record["traffic"]["rate_per_second"].as_f64().unwrap();
    assert!(settled > 1.0 && settled < 50.0, "{settled}");
}
