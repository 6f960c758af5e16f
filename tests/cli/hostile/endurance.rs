//! Long runs against an Org that is bad for a good part of the time: every row has to come to its
//! end, and the Org's own books have to agree with the report.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may fail here"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant, UNIX_EPOCH};

use crate::common::hostile::{Hostile, Reply, Seen, Then};
use crate::common::{Cli, Ran, TOKEN, outcomes, table};

fn cli(rows: u64) -> Cli {
    let cli = Cli::new();
    cli.write("users.csv", table(rows));
    cli
}

/// What the Org knows of a user: how often it was asked, and what it has noted.
type Known = (u64, Option<bool>);

/// What the Org knows of each user.
#[derive(Clone, Default)]
struct Books(Arc<Mutex<BTreeMap<u64, Known>>>);

impl Books {
    /// Counts a request and draws a number below 100 for it. Each user has draws of their own, so
    /// that the run's course is the same however requests overtake each other.
    fn draw(&self, seen: &Seen) -> u64 {
        let user = seen.user().expect("only PUTs come here");
        let mut books = self.0.lock().unwrap();
        let (asked, _) = books.entry(user).or_default();
        *asked += 1;
        fastrand::Rng::with_seed(user << 32 | *asked).u64(0..100)
    }

    fn note(&self, seen: &Seen) {
        self.0
            .lock()
            .unwrap()
            .entry(seen.user().expect("only PUTs come here"))
            .or_default()
            .1 = seen.flag();
    }

    fn noted(&self) -> BTreeMap<u64, Option<bool>> {
        self.0
            .lock()
            .unwrap()
            .iter()
            .map(|(user, (_, flag))| (*user, *flag))
            .collect()
    }
}

#[test]
fn with_two_answers_of_five_bad_every_row_is_applied() {
    let books = Books::default();
    let org = Hostile::start({
        let books = books.clone();
        move |seen| {
            let draw = books.draw(seen);
            // In half of the resets the change is lost, in the other half only its confirmation.
            if matches!(draw, 30..38 | 40..) {
                books.note(seen);
            }
            match draw {
                0..11 => Reply::new(500),
                11..22 => Reply::new(502),
                22..38 => Reply::raw("").then(Then::Reset),
                38 => Reply::new(429).header("retry-after", "0"),
                39 => Reply::new(429),
                _ => Reply::new(204),
            }
        }
    });
    let cli = Cli::new();
    let flag = |user: u64| !user.is_multiple_of(3);
    cli.write(
        "users.csv",
        (1..=100).fold("user_id,mfa_opt_out\n".to_owned(), |mut text, user| {
            let _ = writeln!(text, "{user},{}", flag(user));
            text
        }),
    );
    cli.apply(&org.url(), &["--rate", "unlimited"]).exits(0);
    assert_eq!(outcomes(&cli.report(), "applied"), 100);
    assert_eq!(
        books.noted(),
        (1..=100).map(|user| (user, Some(flag(user)))).collect()
    );
    let requests = org.requests().len();
    assert!((130..300).contains(&requests), "{requests} requests");
}

#[test]
fn every_passing_error_is_asked_again() {
    let books = Books::default();
    let org = Hostile::start({
        let books = books.clone();
        move |seen| match books.draw(seen) {
            draw @ 0..30 => {
                Reply::new([408, 425, 500, 502, 503, 504][usize::try_from(draw / 5).unwrap()])
            }
            _ => Reply::new(204),
        }
    });
    let cli = cli(300);
    cli.apply(&org.url(), &["--rate", "unlimited"]).exits(0);
    assert_eq!(outcomes(&cli.report(), "applied"), 300);
    assert!(
        (360..600).contains(&org.requests().len()),
        "{}",
        org.requests().len()
    );
}

#[test]
fn an_org_that_answers_only_that_it_is_unavailable_is_waited_for() {
    let gone_at = OnceLock::<Instant>::new();
    let org = Hostile::start(move |seen| {
        let gone =
            seen.number > 50 && gone_at.get_or_init(|| seen.at).elapsed() < Duration::from_secs(3);
        Reply::new(if gone { 503 } else { 204 })
    });
    let cli = cli(200);
    let ran = cli.apply(&org.url(), &["--rate", "200/s"]).exits(0);
    ran.says("the Org stopped responding")
        .says("the Org is back after");
    assert_eq!(outcomes(&cli.report(), "applied"), 200);
    assert!(org.requests().len() < 200 + 40, "{}", org.requests().len());
}

#[test]
fn tokens_that_live_for_two_seconds_are_renewed_in_time() {
    const LIFE: Duration = Duration::from_secs(2);
    let issued = Mutex::new(Vec::<Instant>::new());
    let org = Hostile::start(move |seen| {
        let mut issued = issued.lock().unwrap();
        if seen.path == "/user/authenticate" {
            issued.push(seen.at);
            let expiry = (UNIX_EPOCH.elapsed().unwrap() + LIFE).as_secs_f64();
            let token = format!(
                r#"{{"token": "{TOKEN}{}", "expiresAt": {expiry}}}"#,
                issued.len()
            );
            return Reply::new(200).body("application/json", token);
        }
        let number = seen
            .header("authorization")
            .and_then(|value| value.strip_prefix("bearer ")?.strip_prefix(TOKEN));
        let age = number
            .and_then(|number| number.parse::<usize>().ok())
            .map(|number| issued[number - 1].elapsed());
        Reply::new(if age.is_some_and(|age| age < LIFE) {
            204
        } else {
            401
        })
    });
    let cli = cli(1_500);
    let words = [
        "apply",
        "users.csv",
        "--yes",
        "--rate",
        "500/s",
        "--address",
        &org.url(),
    ];
    Ran::of(cli.session(&words).output().unwrap()).exits(0);
    assert_eq!(outcomes(&cli.report(), "applied"), 1_500);
    let seen = org.requests();
    let log_ins: Vec<_> = seen
        .iter()
        .filter(|seen| seen.method == "POST")
        .map(|seen| seen.at)
        .collect();
    assert!(log_ins.len() >= 2, "the run is longer than a token's life");
    assert!(
        log_ins.is_sorted_by(|one, next| *next - *one > LIFE / 2),
        "{log_ins:?}"
    );
    let record: serde_json::Value = serde_json::from_str(&cli.read("users.report.json")).unwrap();
    let traffic = &record["traffic"];
    assert_eq!(
        (&traffic["requests"], &traffic["log_ins"]),
        (&seen.len().into(), &log_ins.len().into())
    );
}

#[test]
fn a_key_that_is_refused_in_mid_run_books_no_row_as_failed() {
    let org = Hostile::start(|seen| Reply::new(if seen.number > 20 { 401 } else { 204 }));
    let cli = cli(200);
    let ran = cli
        .apply(&org.url(), &["--rate", "unlimited", "--concurrency", "4"])
        .exits(3);
    ran.says("20 rows were applied before")
        .says("mfa-optout apply users.csv --yes");
    assert!(org.requests().len() <= 20 + 4, "{}", org.requests().len());
    let partial = cli.read("users.report.csv.partial");
    assert_eq!(partial.matches(",applied,").count(), 20, "{partial}");
    assert!(
        !partial.contains("failed") && !partial.contains("unknown"),
        "{partial}"
    );
}

#[cfg(unix)] // limits of a shell
#[test]
fn few_descriptors_are_enough() {
    let org = Hostile::start(|seen| match seen.number % 3 {
        0 => Reply::new(204)
            .header("connection", "close")
            .then(Then::Close),
        _ => Reply::new(204),
    });
    let cli = cli(3_000);
    let words = [
        "apply",
        "users.csv",
        "--yes",
        "--rate",
        "unlimited",
        "--address",
        &org.url(),
    ];
    let run = crate::common::ledger::through_shell("ulimit -n 64", &cli.command(&words))
        .output()
        .unwrap();
    Ran::of(run).exits(0);
    assert_eq!(outcomes(&cli.report(), "applied"), 3_000);
    assert!(org.connections() >= 1_000, "{}", org.connections());
}
