//! The command line as it is typed and as it is explained.

use super::*;
use crate::config::{Form, Scope, TABLE};
use crate::domain::Flag;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::parse_words(
        std::iter::once("mfa-optout")
            .chain(line.split_whitespace())
            .map(OsString::from),
    )
}

fn complaint(line: &str) -> String {
    parse(line).unwrap_err().render().to_string()
}

#[test]
fn the_shape_is_sound() {
    command().debug_assert();
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
fn every_option_is_an_argument_of_exactly_the_commands_that_take_it() {
    let mut program = command();
    program.build();
    for command in program.get_subcommands() {
        let arguments: Vec<_> = command.get_arguments().collect();
        for setting in TABLE {
            let argument = arguments
                .iter()
                .find(|argument| argument.get_long() == Some(setting.name));
            let expected = setting.scope != Scope::File && setting.is_taken_by(command.get_name());
            let name = command.get_name();
            assert_eq!(argument.is_some(), expected, "{} of {name}", setting.name);
            if let Some(argument) = argument {
                assert_eq!(argument.is_hide_set(), setting.scope == Scope::Secret);
            }
        }
    }
    for setting in TABLE {
        assert!(setting.is_taken_by("config"), "{}", setting.name);
        for name in setting.commands {
            assert!(program.find_subcommand(name).is_some(), "{name}");
        }
    }
}

#[test]
fn the_help_names_the_defaults_that_apply() {
    let help = complaint("apply --help")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    for setting in TABLE {
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

/// Options that exclude others.
const NOT_ON_THIS_LINE: [&str; 5] = ["set", "verbose", "sandbox", "header-row", "ids"];

/// Returns every option that may be a flag with a value that is hard to type, as a command line has
/// it.
fn hard_to_type() -> Vec<OsString> {
    let mut words: Vec<OsString> = vec!["mfa-optout".into(), "config".into()];
    for setting in TABLE.iter().filter(|setting| setting.may_be_flag()) {
        let is_excluded = NOT_ON_THIS_LINE.contains(&setting.name);
        if is_excluded || setting.requires.is_some() {
            continue;
        }
        let text = match setting.form {
            Form::Switch => {
                words.push(setting.key.flag().into());
                continue;
            }
            Form::Path(_) => "-all $HOME's \"keys\"\\",
            Form::OneOf(_, allowed) => allowed[0],
            Form::Text("RATE") => "7/s",
            Form::Text("TIME") => "1m 7s",
            Form::Text("LIMIT") => "7%",
            Form::Text("N" | "NUMBER") => "7",
            Form::Text("ZONE") => "UTC",
            Form::Text("SIZE") => "7 GiB",
            Form::Text("CHARACTER") => "|",
            Form::Text("NAME") => "utf-8",
            Form::Text(_) => "--it's `x` $(y) & \u{e9}*",
        };
        words.push(format!("{}={text}", setting.key.flag()).into());
    }
    words
}

#[test]
fn every_option_arrives_among_the_settings() {
    let cli = Cli::parse_words(hard_to_type()).unwrap();
    let given = cli.command.given().unwrap();
    for setting in TABLE {
        let expected = setting.may_be_flag()
            && setting.requires.is_none()
            && !NOT_ON_THIS_LINE.contains(&setting.name);
        assert_eq!(given.contains(setting.key), expected, "{}", setting.name);
    }
}

#[test]
fn carried_options_come_back_from_a_shell_as_they_were_given() {
    let practice = "mfa-optout config --sandbox --members 5000 --latency 1.5s --rate-limit 20/s \
        --error-percent 2.5% --throttle-percent 1 --outage 90s..1h1ms --token-life 250us";
    let practice = practice.split_whitespace().map(OsString::from).collect();
    for words in [hard_to_type(), practice] {
        let first = Cli::parse_words(words).unwrap();
        let given = first.command.given().unwrap();
        let carried = given.carried_words();
        let line: Vec<_> = carried
            .iter()
            .map(|word| shlex::try_quote(word.to_str().unwrap()).unwrap())
            .collect();
        let typed_again = shlex::split(&line.join(" ")).unwrap();
        let again = ["mfa-optout", "config"].map(str::to_owned);
        let again = again.into_iter().chain(typed_again).map(OsString::from);
        let second = Cli::parse_words(again).unwrap();
        assert_eq!(second.command.given().unwrap().carried_words(), carried);
        for setting in TABLE {
            let expected = setting.carried && given.contains(setting.key);
            let arrived = second.command.given().unwrap().contains(setting.key);
            assert_eq!(arrived, expected, "{}", setting.name);
        }
    }
}

#[test]
fn help_lists_every_word_that_set_takes() {
    let help = complaint("apply --help");
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in [&Flag::OPT_OUT_WORDS[..], &Flag::OPT_IN_WORDS[..]] {
        assert!(help.contains(&words.join(", ")), "{help}");
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

/// Checks that nothing in a text moves a cursor or sets a clipboard but the colours that clap sets
/// itself.
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
            let error = Cli::parse_words(all).unwrap_err();
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
        assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
    }
}

#[test]
fn retry_takes_both_kinds_unless_told() {
    let only = |line: &str| match parse(line).unwrap().command {
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
fn completions_know_the_options() {
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
