//! The README, taken at its word: its commands are run in its order, and every option that it names
//! exists.

use std::collections::BTreeSet;

use crate::common::practice::TestOrg;
use crate::common::{Cli, Ran, outcomes, report};

const README: &str = include_str!("../../README.md");
const ADDRESS: &str = "https://eu.core.resolver.com";

/// The commands of the tool that a reader types, in their order.
fn typed() -> Vec<Vec<&'static str>> {
    let lines = README
        .lines()
        .map(str::trim)
        .filter_map(|line| line.strip_prefix("$ mfa-optout "));
    lines
        .map(|line| line.split_whitespace().collect())
        .collect()
}

/// The one command that is typed with this beginning, without it.
fn the_one(beginning: &str) -> &'static str {
    let mut lines = README
        .lines()
        .filter_map(|line| line.trim().strip_prefix("$ ")?.strip_prefix(beginning));
    let only = lines.next().expect("it is there");
    assert_eq!(lines.next(), None);
    only
}

/// The table of step 3.
fn example_table() -> String {
    let (_, rest) = README
        .split_once("```csv\n")
        .expect("the README shows a table");
    let (table, _) = rest.split_once("```").expect("it ends");
    table
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_first_command_runs_on_the_sample_and_ends_as_it_is_said() {
    let cli = Cli::new();
    std::fs::create_dir(cli.path("samples")).expect("the folder can be written to");
    cli.write("samples/users.csv", include_str!("../../samples/users.csv"));
    let words: Vec<&str> = the_one("cargo run --release -- ")
        .split_whitespace()
        .collect();
    cli.run(&words).exits(1);
    let rows = report(&cli.path("samples/users.report.csv"));
    assert_eq!(
        (
            rows.len(),
            outcomes(&rows, "applied"),
            outcomes(&rows, "failed")
        ),
        (25, 24, 1)
    );
}

#[cfg(unix)] // a POSIX shell, file modes
#[test]
fn the_file_for_the_key_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;

    let cli = Cli::new();
    cli.write("typed", "the key");
    let (make, edit) = the_one("install ")
        .split_once(" && ")
        .expect("an editor is opened on it");
    let mut shell = std::process::Command::new("sh");
    // An editor that is told what to write.
    shell
        .args(["-c", &format!("install {make} && {edit}")])
        .env("EDITOR", "cp typed")
        .current_dir(cli.folder());
    assert!(shell.status().expect("there is a shell").success());
    assert_eq!(cli.read("key.txt"), "the key");
    let mode = std::fs::metadata(cli.path("key.txt"))
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn the_first_real_run_works_as_it_is_written() {
    let cli = Cli::new();
    let org = TestOrg::start(&cli, &[]);
    cli.write("users.csv", example_table());
    cli.write("key.txt", "sandbox-key\n");
    let run = |words: &[&str], more: &[&str]| {
        let words: Vec<&str> = words
            .iter()
            .map(|word| {
                if *word == ADDRESS {
                    org.address()
                } else {
                    word
                }
            })
            .collect();
        let mut command = cli.command(&words);
        command.args(more).env_remove("MFA_OPTOUT_API_KEY");
        Ran::of(command.output().expect("the binary can be started"))
    };

    let commands = typed();
    let verbs: Vec<&str> = commands.iter().map(|words| words[0]).collect();
    assert_eq!(verbs, ["apply", "retry", "undo"]);

    run(&commands[0], &[]).exits(0).says("This is a dry run");
    assert_eq!(org.counted("requests"), 0);

    let for_real: Vec<&str> = commands[0]
        .iter()
        .copied()
        .filter(|word| *word != "--dry-run")
        .collect();
    run(&for_real, &["--yes", "--html", "report.html"]).exits(0);
    assert_eq!(
        outcomes(&report(&cli.path("users.report.csv")), "applied"),
        2
    );
    assert!(cli.read("report.html").contains("</html>"));
    assert!(org.members()[&1701]);

    run(&commands[1], &["--yes"]).exits(0);
    run(&commands[2], &["--yes"]).exits(0);
    assert_eq!((org.members()[&1701], org.members()[&1702]), (false, true));
}

#[test]
fn every_command_and_option_it_names_exists() {
    let cli = Cli::new();
    let is_option_character = |c: char| c.is_ascii_lowercase() || c == '-';
    let options: BTreeSet<&str> = README
        .split('`')
        .flat_map(str::split_whitespace)
        .filter(|word| {
            word.strip_prefix("--")
                .is_some_and(|name| name.starts_with(|c: char| c.is_ascii_lowercase()))
        })
        .filter_map(|word| word.split(|c: char| !is_option_character(c)).next())
        // Of cargo, of the benchmarks and of `config`.
        .filter(|word| {
            ![
                "--release",
                "--locked",
                "--path",
                "--quick",
                "--only",
                "--check",
            ]
            .contains(word)
        })
        .collect();
    assert!(options.len() > 15, "{options:?}");
    let help: String = ["apply", "sync", "exceptions"]
        .map(|command| cli.run(&[command, "--help"]).exits(0).stdout)
        .concat();
    for option in options {
        assert!(help.contains(option), "the README names {option}");
    }
    for command in [
        "config",
        "sandbox",
        "apply",
        "sync",
        "exceptions",
        "retry",
        "undo",
        "man",
    ] {
        cli.run(&[command, "--help"]).exits(0);
    }
    cli.run(&["config"]).exits(0).says("rate");
}

#[test]
fn the_pictures_and_samples_it_shows_are_there() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let links = README
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(link, _)| link);
    let links: Vec<&str> = links
        .filter(|link| !link.starts_with("http") && !link.starts_with('#'))
        .collect();
    assert!(links.len() >= 5, "{links:?}");
    for link in links {
        assert!(root.join(link).exists(), "{link}");
    }
}
