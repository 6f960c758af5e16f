//! Every command that the tool suggests is pasted into a shell and works: at the end of a run, in
//! the advice of an error, in a warning, and in the examples of the help. The shell is `sh`, or
//! `cmd` on Windows; what PowerShell reads in the same way is tested in `text::shell`.

use std::fs;
#[cfg(unix)]
use std::fs::Permissions;
#[cfg(unix)]
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::common::hostile::{Hostile, Reply, Seen};
use crate::common::practice::TestOrg;
use crate::common::{Cli, KEY, Ran, outcomes, report, table};

/// The file with the key, whose name has to be quoted.
const KEY_FILE: &str = "the key.txt";

/// A folder with a table and a key file.
fn desk(rows: u64) -> Cli {
    let cli = Cli::new();
    cli.write("users.csv", table(rows));
    let key = cli.write(KEY_FILE, KEY);
    #[cfg(unix)]
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    drop(key);
    cli
}

/// Runs the binary with the key file and without any variable.
fn run(cli: &Cli, org: &Hostile, words: &[&str]) -> Ran {
    let mut command = cli.command(words);
    command
        .args(["--address", &org.url(), "--api-key-file", KEY_FILE])
        .env_remove("MFA_OPTOUT_API_KEY");
    Ran::of(command.output().unwrap())
}

/// Runs a command as it would be pasted into a shell in the same folder.
fn paste(cli: &Cli, command: &str) -> Ran {
    let mut shell = shell(command);
    shell.current_dir(cli.folder()).stdin(Stdio::null());
    Ran::of(shell.output().unwrap())
}

#[cfg(unix)]
fn shell(command: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]);
    shell
}

/// Here the commands begin with the bare name of the program.
#[cfg(windows)]
fn shell(command: &str) -> Command {
    use std::os::windows::process::CommandExt;

    let binary = std::path::absolute(env!("CARGO_BIN_EXE_mfa-optout")).unwrap();
    let mut folders = vec![binary.parent().unwrap().to_owned()];
    let others = std::env::var_os("PATH").unwrap();
    folders.extend(std::env::split_paths(&others));
    let mut shell = Command::new("cmd");
    shell
        .args(["/D", "/S", "/C"])
        .raw_arg(format!("\"{command}\""))
        .env("PATH", std::env::join_paths(folders).unwrap());
    shell
}

/// Returns what stands between two words, where the second is the end of the line if it is empty.
#[track_caller]
fn between(text: &str, before: &str, after: &str) -> String {
    let (_, rest) = text
        .split_once(before)
        .unwrap_or_else(|| panic!("no {before:?} in {text}"));
    let line = rest.lines().next().unwrap();
    let found = match after {
        "" => line,
        _ => line.split_once(after).unwrap().0,
    };
    found.to_owned()
}

#[track_caller]
fn next_command(ran: &Ran) -> String {
    between(&ran.stdout, "Next:   ", "")
}

/// An Org that refuses every second user once.
fn moody_org() -> Hostile {
    Hostile::start(|seen| {
        let is_first = seen.number < 4;
        match seen.user() {
            Some(user) if user % 2 == 0 && is_first => Reply::new(400 + 18),
            _ => Reply::new(204),
        }
    })
}

#[test]
fn suggested_retry_sends_the_rest() {
    let cli = desk(4);
    let org = moody_org();
    let ran = run(
        &cli,
        &org,
        &["apply", "users.csv", "--yes", "--concurrency", "1"],
    )
    .exits(1);
    paste(&cli, &format!("{} --yes", next_command(&ran))).exits(0);
    let rows = report(&cli.path("users.retry-1.report.csv"));
    assert_eq!(outcomes(&rows, "applied"), rows.len());
}

#[test]
fn suggested_command_after_a_limit_sends_all_the_rest() {
    let cli = desk(9);
    let org = Hostile::start(|_| Reply::new(204));
    for limit in ["--limit=2", "--limit 3"] {
        let mut words = vec!["apply", "users.csv", "--yes", "--overwrite"];
        words.extend(limit.split(' '));
        let ran = run(&cli, &org, &words).exits(5);
        let next = next_command(&ran);
        assert!(!next.contains("--limit"), "{next}");
        paste(&cli, &next).exits(0);
        assert_eq!(outcomes(&cli.report(), "applied"), 9);
    }
}

#[test]
fn suggested_command_after_a_sync_that_stopped_makes_the_org_match() {
    let cli = desk(5);
    let org = Hostile::start(|_| Reply::new(204));
    let words = [
        "sync",
        "users.csv",
        "--yes",
        "--full",
        "--register",
        "register.csv",
    ];
    let ran = run(&cli, &org, &[&words[..], &["--limit", "2"]].concat()).exits(5);
    paste(&cli, &next_command(&ran)).exits(0);
    let sent: Vec<u64> = org.requests().iter().filter_map(Seen::user).collect();
    assert!((1..=5).all(|user| sent.contains(&user)), "{sent:?}");
}

#[test]
fn suggested_retry_of_a_closed_run_has_its_address_and_its_key() {
    let cli = desk(5);
    let org = Hostile::start(|_| Reply::new(204));
    run(&cli, &org, &["apply", "users.csv", "--yes", "--limit", "2"]).exits(5);
    let closed = cli.run(&["close", "users.report.csv"]);
    let next = next_command(&closed.exits(0));
    paste(&cli, &format!("{next} --yes")).exits(0);
    assert_eq!(org.requests().len(), 5);
}

#[test]
fn command_that_closes_an_unfinished_run_works() {
    let org = Hostile::start(|_| Reply::new(204));
    let stopped = || {
        let cli = desk(5);
        run(&cli, &org, &["apply", "users.csv", "--yes", "--limit", "2"]).exits(5);
        cli
    };
    let cli = stopped();
    let refused = run(&cli, &org, &["retry", "users.report.csv", "--yes"]).exits(2);
    paste(&cli, &between(&refused.stderr, "close it: ", "")).exits(0);

    let cli = stopped();
    cli.write("users.csv", table(6));
    let refused = run(&cli, &org, &["apply", "users.csv", "--yes"]).exits(2);
    paste(
        &cli,
        &between(&refused.stderr, "end the old run with `", "`"),
    )
    .exits(0);
    assert_eq!(outcomes(&cli.report(), "not_sent"), 3);
}

#[test]
fn command_that_closes_a_run_without_its_snapshot_works() {
    let cli = desk(5);
    let org = Hostile::start(|_| Reply::new(204));
    run(&cli, &org, &["apply", "users.csv", "--yes", "--limit", "2"]).exits(5);
    for entry in fs::read_dir(cli.folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().ends_with(".partial.input") {
            fs::remove_file(path).unwrap();
        }
    }
    let refused = cli.run(&["close", "users.report.csv"]);
    let command = between(&refused.stderr, "then, run ", " --input FILE");
    paste(&cli, &format!("{command} --input users.csv")).exits(0);
}

#[cfg(windows)] // access control lists
#[test]
fn command_that_restricts_the_key_file_is_shown_and_works() {
    let cli = desk(1);
    let org = Hostile::start(|_| Reply::new(204));
    let ran = run(&cli, &org, &["apply", "users.csv", "--dry-run"]).exits(0);
    let restrict = between(&ran.text(), "is not checked on Windows; `", "`");
    let mut config = cli.command(&["config"]);
    config
        .env_remove("MFA_OPTOUT_API_KEY")
        .env("MFA_OPTOUT_API_KEY_FILE", KEY_FILE);
    Ran::of(config.output().unwrap()).exits(0).says(&restrict);

    let account = Command::new("whoami").output().unwrap().stdout;
    let account = String::from_utf8(account).unwrap();
    paste(&cli, &restrict.replace("ACCOUNT", account.trim())).exits(0);
    run(&cli, &org, &["apply", "users.csv", "--yes"]).exits(0);
}

#[cfg(unix)] // file modes
#[test]
fn command_that_protects_the_key_file_works() {
    let cli = desk(1);
    let org = Hostile::start(|_| Reply::new(204));
    let mode = |mode| Permissions::from_mode(mode);
    fs::set_permissions(cli.path(KEY_FILE), mode(0o644)).unwrap();
    let ran = run(&cli, &org, &["apply", "users.csv", "--dry-run"]).exits(0);
    paste(
        &cli,
        &format!("chmod {}", between(&ran.text(), ": chmod ", "")),
    )
    .exits(0);
    let metadata = fs::metadata(cli.path(KEY_FILE)).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
}

#[test]
fn command_that_lists_the_options_works_in_spite_of_an_unknown_one() {
    let cli = desk(1);
    let mut command = cli.command(&["config"]);
    command.env("MFA_OPTOUT_QWERTY", "1");
    let refused = Ran::of(command.output().unwrap()).exits(2);
    let suggested = between(&refused.stderr, "`mfa-optout ", "`");
    let words: Vec<&str> = suggested.split(' ').collect();
    let mut command = cli.command(&words);
    command.env("MFA_OPTOUT_QWERTY", "1");
    Ran::of(command.output().unwrap()).exits(0).says("--rate");
}

#[test]
fn every_example_of_the_help_works() {
    let org = TestOrg::start(&Cli::new(), &[]);
    let mut tried = 0;
    for command in [
        "apply",
        "sync",
        "exceptions",
        "retry",
        "undo",
        "close",
        "config",
    ] {
        let help = Cli::new().run(&[command, "--help"]).exits(0).stdout;
        let cli = desk_of_examples(command, org.address());
        let examples = help
            .lines()
            .filter_map(|line| line.strip_prefix("    mfa-optout "));
        for example in examples {
            let ran = paste_example(&cli, example, org.address());
            let is_done = matches!(ran.code, Some(0 | 1));
            assert!(is_done, "{example}: {:?}\n{}", ran.code, ran.text());
            tried += 1;
        }
    }
    assert!(tried >= 15, "{tried} examples");
}

/// Runs an example of the help, which asks nobody, with the key in the environment.
fn paste_example(cli: &Cli, example: &str, address: &str) -> Ran {
    let here = example
        .replace("https://eu.core.resolver.com", address)
        .replace("/etc/mfa-optout.toml", "etc.toml");
    let command = example.split(' ').next().unwrap();
    let sends = ["apply", "sync", "retry", "undo"].contains(&command);
    let mut words = shlex::split(&here).unwrap();
    if sends && !example.contains("--yes") && !example.contains("--dry-run") {
        words.push("--yes".to_owned());
    }
    if command == "apply" {
        words.push("--overwrite".to_owned());
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut command = cli.command(&words);
    command.env("MFA_OPTOUT_API_KEY", "sandbox-key");
    if cli.path("mfa-optout.toml").exists() {
        command.env("MFA_OPTOUT_CONFIG", "mfa-optout.toml");
    }
    Ran::of(command.output().unwrap())
}

/// Returns a folder with the files that the examples of a command name.
fn desk_of_examples(command: &str, address: &str) -> Cli {
    let cli = Cli::new();
    cli.write("users.csv", table(3));
    cli.write("exceptions.csv", table(3));
    cli.write("ids.csv", "user_id\n1\n2\n3\n");
    let settings = format!("address = \"{address}\"\nregister = \"register.csv\"\n");
    cli.write("etc.toml", &settings);
    match command {
        "config" => {
            cli.write(
                "mfa-optout.toml",
                settings + "[profile.production]\nrate = \"5/s\"\n",
            );
        }
        "exceptions" => {
            let sync = "sync exceptions.csv --yes --full --config /etc/mfa-optout.toml";
            paste_example(&cli, sync, address).exits(0);
        }
        "retry" | "undo" => {
            let apply = "apply users.csv --yes --address https://eu.core.resolver.com";
            paste_example(&cli, apply, address).exits(0);
        }
        "close" => {
            let apply = "apply users.csv --yes --limit 1 --address https://eu.core.resolver.com";
            paste_example(&cli, apply, address).exits(5);
        }
        _ => {}
    }
    cli
}
