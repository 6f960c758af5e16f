//! What somebody has put in the way: links under the names that the tool will write to, and
//! settings, options and variables that should talk it out of its guard. And what an auditor finds
//! when the run was shot.

use std::fs;
#[cfg(unix)]
use std::os::unix::fs::symlink;

use crate::common::hostile::{Hostile, Reply};
use crate::common::{Cli, KEY, Ran, table};

#[cfg(unix)] // links
#[test]
fn a_planted_link_is_not_written_through() {
    let org = Hostile::start(|seen| Reply::new(if seen.user() == Some(2) { 404 } else { 204 }));
    let options = [
        "--html",
        "page.html",
        "--metrics",
        "run.prom",
        "--problems",
        "problems.csv",
        "--skip-invalid",
    ];
    for name in [
        "users.report.csv",
        "users.report.csv.partial",
        "users.report.json",
        "problems.csv",
        "page.html",
        "run.prom",
    ] {
        for target in ["precious", "missing"] {
            for more in [&[][..], &["--overwrite"], &["--fresh"]] {
                let cli = Cli::new();
                let before = org.requests().len();
                cli.write("users.csv", table(3) + "Jo,true\n");
                cli.write("precious", "precious");
                symlink(target, cli.path(name)).unwrap();
                let ran = cli.apply(&org.url(), &[&options[..], more].concat());
                let sent = org.requests().len() - before;
                let case = format!("{name} to {target} {more:?}: {}", ran.text());
                assert_eq!((ran.code, sent), (Some(2), 0), "{case}");
                assert!(
                    ran.text().contains(&format!("{name} is a symbolic link")),
                    "{case}"
                );
                assert_eq!(cli.read("precious"), "precious", "{case}");
                assert!(!cli.path("missing").exists(), "{case}");
            }
        }
    }
}

/// Nine to be opted out, one of them twice, one to be opted in, and one row that is wrong.
const TABLE: &str = "user_id,mfa_opt_out\n1,true\n2,true\n3,true\n4,true\n5,true\n6,true\n7,true\n8,true\n9,true\n9,true\n\
                     10,false\nJo,true\n";

/// Ways to give the limit that don't contradict what is given in a weaker place.
fn given(cli: &Cli, place: usize, limit: &str, command: &mut std::process::Command) {
    match place {
        0 => {
            cli.write(
                "s.toml",
                "max_opt_outs = '100%'\n[profile.p]\nmax_opt_outs = 1000\n",
            );
            command
                .args(["--max-opt-outs", limit])
                .env("MFA_OPTOUT_MAX_OPT_OUTS", "1000");
        }
        1 => {
            cli.write(
                "s.toml",
                "max_opt_outs = '100%'\n[profile.p]\nmax_opt_outs = 1000\n",
            );
            command.env("MFA_OPTOUT_MAX_OPT_OUTS", limit);
        }
        2 => {
            cli.write(
                "s.toml",
                format!("max_opt_outs = 1000\n[profile.p]\nmax_opt_outs = '{limit}'\n"),
            );
        }
        _ => {
            cli.write(
                "s.toml",
                format!("max_opt_outs = '{limit}'\n[profile.p]\nrate = '50/s'\n"),
            );
        }
    }
    command.args(["--config", "s.toml", "--profile", "p"]);
}

#[test]
fn nothing_talks_the_tool_out_of_its_guard() {
    let org = Hostile::start(|_| Reply::new(204));
    let ways: [&[&str]; 6] = [
        &["--yes"],
        &["--yes", "--fresh", "--overwrite"],
        &["--yes", "--quiet"],
        &["--yes", "--log-format", "json", "--verbose"],
        &["--yes", "--reason", "urgent", "--problems", "problems.csv"],
        &["--dry-run"],
    ];
    // With the wrong row left out, there are 11 left of 12: shares are of all rows, and rounded
    // down.
    for limit in ["8", "0", "74.9%"] {
        for place in 0..4 {
            for way in ways {
                let cli = Cli::new();
                cli.write("users.csv", TABLE);
                let url = org.url();
                let mut command = cli.command(
                    &[
                        &["apply", "users.csv", "--skip-invalid", "--address", &url],
                        way,
                    ]
                    .concat(),
                );
                given(&cli, place, limit, &mut command);
                let ran = Ran::of(command.output().unwrap()).exits(2);
                ran.says("the plan opts out 9 people")
                    .says("--max-opt-outs allows");
            }
        }
    }
    assert_eq!(org.connections(), 0);
    for limit in ["9", "75%"] {
        let cli = Cli::new();
        cli.write("users.csv", TABLE);
        cli.apply(
            &org.url(),
            &[
                "--skip-invalid",
                "--rate",
                "unlimited",
                "--max-opt-outs",
                limit,
            ],
        )
        .exits(1);
    }
    assert_eq!(org.requests().len(), 20);
}

#[test]
fn consent_can_not_be_left_lying_around() {
    let cli = Cli::new();
    let org = Hostile::start(|_| Reply::new(204));
    cli.write("users.csv", table(1));
    for name in [
        "MFA_OPTOUT_YES",
        "MFA_OPTOUT_DRY_RUN",
        "MFA_OPTOUT_SKIP_INVALID",
    ] {
        let mut command = cli.command(&["apply", "users.csv", "--address", &org.url()]);
        Ran::of(command.env(name, "true").output().unwrap())
            .exits(2)
            .says("can only be given on the command line");
    }
    for line in [
        "yes = true",
        "skip_invalid = true",
        "overwrite = true",
        "sandbox = true",
    ] {
        cli.write("s.toml", line);
        cli.run(&[
            "apply",
            "users.csv",
            "--config",
            "s.toml",
            "--address",
            &org.url(),
        ])
        .exits(2)
        .says("s.toml:1");
    }
    assert_eq!(org.connections(), 0);
}

#[test]
fn who_and_why_are_on_record_before_anything_is_sent() {
    use crate::common::ledger::{Ledger, Signal, start, stop};

    let cli = Cli::new();
    let input = table(50);
    cli.write("users.csv", &input);
    let org = Ledger::start(std::time::Duration::from_millis(500));
    let options = [
        "--reason",
        "moving to SSO, ticket 42",
        "--max-opt-outs",
        "60",
        "--address",
        &org.url(),
    ];
    let mut child = start(cli.command(&[&["apply", "users.csv", "--yes"], &options[..]].concat()));
    org.must_see(1, &mut child);
    let process = child.id();
    stop(child, Signal::KILL);

    let partial = fs::read(cli.path("users.report.csv.partial")).unwrap();
    let record = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(&partial[..]);
    let run = record.into_records().next().unwrap().unwrap();
    assert_eq!(&run[0], "mfa-optout run");
    let run: serde_json::Value = serde_json::from_str(&run[1]).unwrap();
    let text = run.to_string();
    let facts = [
        "moving to SSO, ticket 42".to_owned(),
        blake3::hash(input.as_bytes()).to_string(),
        org.url(),
        env!("CARGO_PKG_VERSION").to_owned(),
        whoami::username().unwrap(),
        whoami::hostname().unwrap(),
        process.to_string(),
        "api_key".to_owned(),
        "--yes".to_owned(),
        "\"--max-opt-outs\":\"60\"".to_owned(),
    ];
    for fact in facts {
        assert!(text.contains(&fact), "{fact} is not in {text}");
    }
    assert!(!text.contains(KEY));
}
