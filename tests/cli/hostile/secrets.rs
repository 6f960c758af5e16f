//! The key, the password and the token are nowhere but in the requests: not in what the tool writes
//! and says, nor in what the system tells of its process. Every run of every test is searched; here
//! the search itself is tried.

use crate::common::hostile::{Hostile, Reply, Seen};
use crate::common::{Cli, KEY, PASSWORD, Ran, TOKEN, must_show_no_secret, table};

/// Accepts every log-in, and repeats every secret of the request.
fn echo(seen: &Seen) -> Reply {
    if seen.path == "/user/authenticate" {
        return Reply::new(200).body(
            "application/json",
            format!(r#"{{"token": "{TOKEN}1", "expiresAt": 9999999999}}"#),
        );
    }
    let password = if seen.header("authorization").is_some() {
        PASSWORD
    } else {
        ""
    };
    let headers =
        serde_json::json!({"message": format!("{:?} {password}", seen.headers)}).to_string();
    match seen.user() {
        Some(1..=3) => Reply::new(204),
        _ => Reply::new(422).body("application/json", headers),
    }
}

#[test]
fn a_run_that_is_watched_closely_shows_no_secret() {
    for format in ["text", "json"] {
        for session in [false, true] {
            let cli = Cli::new();
            let org = Hostile::start(echo);
            cli.write("users.csv", table(4));
            let url = org.url();
            let options = [
                "--verbose",
                "--html",
                "page.html",
                "--metrics",
                "run.prom",
                "--log-format",
                format,
            ];
            let words = [
                &["apply", "users.csv", "--yes", "--address", &url],
                &options[..],
            ]
            .concat();
            let mut command = if session {
                cli.session(&words)
            } else {
                cli.command(&words)
            };
            command
                .env("RUST_LOG", "trace")
                .env("RUST_BACKTRACE", "full");
            let ran = Ran::of(command.output().unwrap()).exits(1);
            assert!(
                session || ran.text().contains("x-api-key"),
                "what the Org sent back is shown: {}",
                ran.text()
            );
            for file in [
                "users.report.csv",
                "users.report.json",
                "page.html",
                "run.prom",
            ] {
                must_show_no_secret(&cli.read(file));
            }
            let expected = if session {
                ("authorization", format!("bearer {TOKEN}1"))
            } else {
                ("x-api-key", KEY.into())
            };
            let seen = org.requests();
            let changes = seen.iter().filter(|seen| seen.method == "PUT");
            assert!(changes.clone().count() == 4 && seen.len() == 4 + usize::from(session));
            assert!(
                changes
                    .clone()
                    .all(|seen| seen.header(expected.0) == Some(&expected.1))
            );
        }
    }
}

/// What was typed or set in the wrong place is searched for in every output, as in every run of
/// every test.
#[test]
fn a_key_where_a_path_a_number_or_a_name_belongs_is_not_repeated() {
    let cli = Cli::new();
    cli.write("users.csv", table(1));
    let in_file = format!("rate = \"{KEY}\"\n");
    cli.write("rate.toml", in_file);
    let address = ["--address", "http://127.0.0.1:1"];
    for words in [
        &["apply", KEY][..],
        &["apply", "users.csv", KEY],
        &["apply", "users.csv", "--yes", "--address", KEY],
        &["apply", "users.csv", "--yes", "--profile", KEY],
        &["apply", "users.csv", "--yes", "--config", KEY],
        &["apply", "users.csv", "--yes", "--config", "rate.toml"],
        &["config", "--ca-cert", KEY, "--api-key-file", KEY],
        &["retry", KEY],
        &["undo", KEY],
        &[KEY],
    ] {
        cli.run(words);
    }
    for option in [
        "--api-key-file",
        "--password-file",
        "--email",
        "--org",
        "--ca-cert",
        "--rate",
        "--concurrency",
        "--timeout",
        "--max-attempts",
        "--max-duration",
        "--max-opt-outs",
        "--id-column",
        "--flag-column",
        "--sheet",
        "--delimiter",
        "--encoding",
        "--max-input",
        "--timezone",
        "--set",
        "--log-format",
    ] {
        for format in ["text", "json"] {
            let words = ["apply", "users.csv", "--yes", "--log-format", format];
            let mut command = cli.command(&[&words[..], &address, &[option, KEY]].concat());
            command.env_remove("MFA_OPTOUT_API_KEY");
            if option == "--password-file" {
                command.args(["--email", "admin@example.org", "--org", "1"]);
            }
            Ran::of(command.output().unwrap()).exits(2);
        }
        let name = option
            .trim_start_matches("--")
            .replace('-', "_")
            .to_uppercase();
        let mut command = cli.command(&["apply", "users.csv", "--yes"]);
        command.args(address);
        command.env(format!("MFA_OPTOUT_{name}"), KEY);
        command.env_remove("MFA_OPTOUT_API_KEY");
        Ran::of(command.output().unwrap()).exits(2);
    }
}

#[test]
fn the_search_finds_what_it_looks_for() {
    for secret in [KEY, PASSWORD, TOKEN] {
        let found = std::panic::catch_unwind(|| must_show_no_secret(&format!("a{secret}b")));
        assert!(found.is_err(), "{secret}");
        let cli = Cli::new();
        std::fs::create_dir(cli.path("folder")).unwrap();
        std::fs::write(cli.path("folder/left"), secret).unwrap();
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(cli)));
        assert!(found.is_err(), "{secret}");
    }
}

#[cfg(target_os = "linux")] // `/proc`
#[test]
fn the_system_tells_no_secret_of_a_run_and_keeps_no_core() {
    use crate::common::ledger::{Ledger, start, stop};

    let cli = Cli::new();
    cli.write("users.csv", table(50));
    let org = Ledger::start(std::time::Duration::from_millis(100));
    let mut child = start(cli.command(&["apply", "users.csv", "--yes", "--address", &org.url()]));
    org.must_see(2, &mut child);
    let told =
        |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", child.id())).unwrap();
    let line = told("cmdline");
    let limits = told("limits");
    stop(child, rustix::process::Signal::TERM);
    must_show_no_secret(&line);
    assert!(line.contains("users.csv"), "{line:?}");
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(
        core.split_whitespace().rev().take(3).collect::<Vec<_>>(),
        ["bytes", "0", "0"],
        "{core}"
    );
}
