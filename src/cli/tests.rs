//! The command line as it is typed and as it is explained.

use super::*;
use crate::settings::{Key, Sources};

fn understand(line: &str) -> Result<Cli, clap::Error> {
    Cli::understand(
        std::iter::once("mfa-optout")
            .chain(line.split_whitespace())
            .map(OsString::from),
    )
}

fn complaint(line: &str) -> String {
    understand(line).unwrap_err().render().to_string()
}

#[test]
fn the_shape_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn help_of_every_command() {
    for name in [
        "",
        "apply",
        "retry",
        "undo",
        "close",
        "sandbox",
        "config",
        "completions",
        "man",
    ] {
        let mut long = format!("{name} --help");
        let mut short = format!("{name} -h");
        (long, short) = (complaint(&long), complaint(&short));
        let name = if name.is_empty() { "program" } else { name };
        insta::assert_snapshot!(format!("help_{name}"), long);
        insta::assert_snapshot!(format!("short_help_{name}"), short);
    }
}

#[test]
fn every_setting_that_may_be_a_flag_is_one() {
    let mut command = Cli::command();
    command.build();
    let apply = command.find_subcommand("apply").unwrap();
    let flags: Vec<_> = apply
        .get_arguments()
        .filter_map(|arg| arg.get_long())
        .map(|long| format!("--{long}"))
        .collect();
    let hidden_or_file_only = [Key::RequireReason];
    for setting in crate::settings::TABLE
        .iter()
        .filter(|setting| !hidden_or_file_only.contains(&setting.key))
    {
        assert!(flags.contains(&setting.key.flag()), "{}", setting.name);
    }
}

#[test]
fn the_help_names_the_defaults_that_apply() {
    let help = complaint("apply --help")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    for setting in crate::settings::TABLE
        .iter()
        .filter(|setting| setting.default != Some("false"))
    {
        let Some(default) = setting.default else {
            continue;
        };
        assert!(
            help.contains(&format!("[default: {default}]")),
            "{}",
            setting.name
        );
    }
}

#[test]
fn every_option_arrives_among_the_settings() {
    let line = "config --address a --api-key-file k --email e --password-file p --org 1 --ca-cert c --config f --profile n \
        -n -y --max-opt-outs 5% --reason r --skip-invalid --problems p --id-column 1 --flag-column 2 --no-header \
        --delimiter ; --encoding utf-8 --sheet s --max-input 1GB --timezone UTC --baseline b --rate 1/s --concurrency 2 \
        --timeout 3s --max-attempts 4 --max-wait 5s --outage-patience 6s --max-failures 7 --max-duration 8s --report r \
        --html h --metrics m --overwrite --fresh --new-key --log-format json -v";
    let Command::Config(run) = understand(line).unwrap().command else {
        panic!("another command")
    };
    let given = run.given();
    let sources = Sources {
        given: &given,
        environment: &|_| None,
        file: None,
    };
    let not_on_this_line = [
        Key::ApiKey,
        Key::Password,
        Key::RequireReason,
        Key::Set,
        Key::Sandbox,
        Key::Quiet,
    ];
    for setting in crate::settings::TABLE
        .iter()
        .filter(|setting| !not_on_this_line.contains(&setting.key))
    {
        let origin = sources
            .find(setting.key)
            .map(|found| found.origin.to_string());
        assert_eq!(origin, Some(setting.key.flag()), "{}", setting.name);
    }
}

#[test]
fn a_secret_on_the_command_line_is_refused_and_not_repeated() {
    for line in [
        "apply users.csv --api-key hush",
        "apply users.csv --api-key=hush",
        "apply --api-key hush",
        "apply users.csv --api-key",
        "apply users.csv --apikey hush",
        "retry report.csv --password hush",
        "undo report.csv --password=hush",
    ] {
        let complaint = complaint(line);
        assert!(!complaint.contains("hush"), "{complaint}");
        assert!(
            complaint.contains("-file PATH, or set MFA_OPTOUT_"),
            "{complaint}"
        );
    }
    insta::assert_snapshot!(complaint("apply users.csv --api-key hush"));
}

/// Checks that nothing in a text moves a cursor or sets a clipboard but the colours that clap sets itself.
fn has_only_own_styling(text: &str) -> bool {
    console::strip_ansi_codes(text)
        .chars()
        .all(|c| c == '\n' || !c.is_control())
        && text.split('\u{1b}').skip(1).all(|rest| {
            let end = rest.find('m').unwrap_or(0);
            rest.starts_with('[') && rest[1..end].chars().all(|c| c.is_ascii_digit() || c == ';')
        })
}

#[test]
fn terminal_sequences_in_what_was_typed_are_shown_as_text() {
    let hostile = "\u{1b}]52;c;ZXZpbA==\u{7}\u{1b}[8m\u{9b}2J\u{202e}.csv";
    for words in [
        &["apply", "a.csv", hostile][..],
        &["apply", "a.csv", "--adress", hostile],
        &["apply", "a.csv", &format!("--{hostile}")],
        &["apply", "a.csv", &format!("-{hostile}")],
        &["apply", "a.csv", "--rate", hostile],
        &["apply", "a.csv", "--set", hostile],
        &["apply", "a.csv", &format!("--yes={hostile}")],
        &["retry", "a.csv", "--only", hostile],
        &["sandbox", "--port", hostile],
        &["completions", hostile],
        &[hostile],
        &["help", hostile],
    ] {
        for name in ["mfa-optout", hostile] {
            let all = std::iter::once(&name).chain(words).map(OsString::from);
            let error = Cli::understand(all).unwrap_err();
            let text = error.render().ansi().to_string();
            assert!(has_only_own_styling(&text), "{words:?}: {text:?}");
            assert!(
                !text.contains("[8m") || text.contains("\\u{1b}"),
                "{text:?}"
            );
        }
    }
}

#[test]
fn a_secret_that_was_typed_in_the_wrong_place_is_not_repeated() {
    let secret = "k3y-that-must-never-be-seen-9f27";
    for line in [
        "SECRET",
        "apply users.csv SECRET",
        "apply users.csv --org SECRET",
        "apply users.csv --rate SECRET",
        "apply users.csv --rate=SECRET",
        "apply users.csv --set SECRET",
        "apply users.csv --max-opt-outs SECRET",
        "apply users.csv --timeout SECRET",
        "apply users.csv --timezone SECRET",
        "apply users.csv --delimiter SECRET",
        "apply users.csv --log-format SECRET",
        "apply users.csv --yes=SECRET",
        "apply users.csv --SECRET",
        "apply users.csv -SECRET",
        "retry report.csv --only SECRET",
        "sandbox --port SECRET",
        "completions SECRET",
        "help SECRET",
    ] {
        let complaint = complaint(&line.replace("SECRET", secret));
        assert!(!complaint.contains(secret), "{line}: {complaint}");
        assert!(!complaint.contains("that-must"), "{line}: {complaint}");
    }
    insta::assert_snapshot!(complaint(&format!("apply users.csv --org {secret}")));
}

#[test]
fn mistakes_are_answered_beside_the_option() {
    insta::assert_snapshot!(complaint("apply users.csv --rate 10"));
    insta::assert_snapshot!(complaint("apply users.csv --adress x"));
    insta::assert_snapshot!(complaint("apply users.csv --latency 1s"));
    insta::assert_snapshot!(complaint("retry report.csv --only applied"));
    insta::assert_snapshot!(complaint("sandbox --outage 9s..3s"));
    insta::assert_snapshot!(complaint("aply users.csv"));
}

#[test]
fn what_excludes_each_other_is_refused() {
    for line in [
        "apply users.csv --sandbox --address https://eu.core.resolver.com",
        "apply users.csv --set true --flag-column 2",
        "apply users.csv --quiet --verbose",
        "apply users.csv --error-percent 5",
    ] {
        assert_eq!(understand(line).unwrap_err().exit_code(), 2, "{line}");
    }
}

#[test]
fn retry_takes_both_kinds_unless_told() {
    let only = |line: &str| match understand(line).unwrap().command {
        Command::Retry(retry) => retry.only,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        only("retry r.csv"),
        [Outcome::Failed, Outcome::Unknown, Outcome::NotSent]
    );
    assert_eq!(only("retry r.csv --only unknown"), [Outcome::Unknown]);
    assert_eq!(
        only("retry r.csv --only failed,unknown"),
        [Outcome::Failed, Outcome::Unknown]
    );
}

#[test]
fn completions_and_manual_know_the_commands() {
    for shell in [
        Shell::Bash,
        Shell::Zsh,
        Shell::Fish,
        Shell::PowerShell,
        Shell::Elvish,
    ] {
        let script = String::from_utf8(completions(shell)).unwrap();
        assert!(script.contains("max-opt-outs"), "{shell}");
    }
    let page = String::from_utf8(manual().unwrap()).unwrap();
    assert!(
        page.contains("max\\-opt\\-outs") && page.contains("EXIT CODES"),
        "{page}"
    );
}

/// Only where there is a bash.
#[cfg(target_os = "linux")]
#[test]
fn bash_completes_commands_options_and_their_values() {
    let script = String::from_utf8(completions(Shell::Bash)).unwrap();
    let ask = "COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); \
        _mfa__optout \"$1\" \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD-1]}\"; echo \"${COMPREPLY[@]}\"";
    for (typed, offered) in [
        (&["re"][..], "retry"),
        (&["apply", "--max-o"], "--max-opt-outs"),
        (&["apply", "--log-format", ""], "text json"),
        (&["undo", "--overw"], "--overwrite"),
        (&["close", "--inp"], "--input"),
        (&["sandbox", "--token"], "--token-life"),
        (&["help", "und"], "undo"),
    ] {
        let mut bash = std::process::Command::new("bash");
        bash.args([
            "--norc",
            "-c",
            &format!("{script}\n{ask}"),
            "bash",
            "mfa-optout",
        ])
        .args(typed);
        match bash.output() {
            Ok(output) => assert_eq!(
                String::from_utf8(output.stdout).unwrap().trim(),
                offered,
                "{typed:?}"
            ),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}"),
        }
    }
}

#[test]
fn what_was_typed_about_the_practice_org_can_be_typed_again() {
    let typed = "--members 5000 --latency 1.5s --rate-limit 20/s --error-percent 2.5% --throttle-percent 1 \
        --outage 90s..1h1ms --token-life 250us";
    let practice = |words: &str| match understand(&format!("sandbox {words}")).unwrap().command {
        Command::Sandbox(sandbox) => sandbox.practice,
        _ => panic!("another command"),
    };
    let first = practice(typed);
    let again: Vec<OsString> = ["mfa-optout", "sandbox"]
        .map(OsString::from)
        .into_iter()
        .chain(first.typed())
        .collect();
    let Command::Sandbox(second) = Cli::understand(again).unwrap().command else {
        panic!("another command")
    };
    assert_eq!(first, second.practice);
    assert_eq!(first.typed().len(), 14);
    assert_eq!(practice("").typed(), Vec::<OsString>::new());
}
