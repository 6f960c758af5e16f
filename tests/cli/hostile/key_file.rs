//! The file with the key: what is taken from it, what is refused, and that its content is never
//! shown.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::common::hostile::{Hostile, Reply};
use crate::common::{Cli, KEY, Ran, table};

fn apply(cli: &Cli, org: &Hostile, file: &str) -> Command {
    cli.write("users.csv", table(1));
    let words = [
        "apply",
        "users.csv",
        "--yes",
        "--overwrite",
        "--api-key-file",
        file,
        "--address",
        &org.url(),
    ];
    let mut command = cli.command(&words);
    command.env_remove("MFA_OPTOUT_API_KEY");
    command
}

fn org() -> Hostile {
    Hostile::start(|seen| {
        Reply::new(if seen.header("x-api-key") == Some(KEY) {
            204
        } else {
            401
        })
    })
}

/// Only the owner reads it, where there is such a thing.
fn write_key(cli: &Cli, content: impl AsRef<[u8]>) {
    let path = cli.write("key", content);
    #[cfg(unix)]
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    #[cfg(not(unix))]
    let _ = path;
}

#[test]
fn the_key_is_the_one_line_of_its_file() {
    let cli = Cli::new();
    let org = org();
    for content in [
        KEY.to_owned(),
        format!("{KEY}\n"),
        format!("{KEY}\r\n"),
        format!("\u{feff}{KEY}\r\n"),
    ] {
        write_key(&cli, content);
        let ran = Ran::of(apply(&cli, &org, "key").output().unwrap())
            .exits(0)
            .says("API key from key");
        assert!(!ran.text().contains("warning"), "{}", ran.text());
    }
    assert_eq!(org.requests().len(), 4);
}

#[test]
fn what_can_not_be_a_key_is_refused_before_anything_is_sent() {
    let cli = Cli::new();
    let org = org();
    let two_lines = format!("{KEY}\n{KEY}\n");
    let header = format!("{KEY}\r\nx-evil: 1");
    for (content, words) in [
        (Vec::new(), "key is empty"),
        (b"\n".to_vec(), "key is empty"),
        (b"\r\n".to_vec(), "key is empty"),
        ("\u{feff}\n".into(), "key is empty"),
        (KEY.repeat(40_000).into(), "key is longer than 4 KiB"),
        (two_lines.into(), "key has more than one line"),
        (header.into(), "key has more than one line"),
        (format!("{KEY}\n\n").into(), "key has more than one line"),
        (format!("{KEY}\u{7}").into(), "this can't be an API key"),
        (format!("{KEY}\0").into(), "this can't be an API key"),
        (format!("{KEY}\u{1b}[2J").into(), "this can't be an API key"),
        (format!(" {KEY}").into(), "this can't be an API key"),
        (format!("{KEY}ü").into(), "this can't be an API key"),
        ([KEY.as_bytes(), b"\xff"].concat(), "key is not UTF-8"),
    ] {
        write_key(&cli, content);
        Ran::of(apply(&cli, &org, "key").output().unwrap())
            .exits(2)
            .says(words);
    }
    for (file, words) in [
        ("none", "can't read the secret from none"),
        (".", "not a regular file"),
    ] {
        Ran::of(apply(&cli, &org, file).output().unwrap())
            .exits(2)
            .says(words);
    }
    assert_eq!(org.connections(), 0);
}

#[test]
fn a_variable_with_an_impossible_key_is_refused_without_it() {
    let cli = Cli::new();
    let org = org();
    cli.write("users.csv", table(1));
    for (key, words) in [
        (format!("{KEY}\nx: y"), "more than one line"),
        (format!("{KEY}\u{85}"), "this can't be an API key"),
    ] {
        let mut command = cli.command(&["apply", "users.csv", "--yes", "--address", &org.url()]);
        Ran::of(command.env("MFA_OPTOUT_API_KEY", key).output().unwrap())
            .exits(2)
            .says(words);
    }
    assert_eq!(org.connections(), 0);
}

#[cfg(unix)] // file modes
#[test]
fn a_key_that_others_can_read_is_warned_of_and_used() {
    use std::os::unix::fs::PermissionsExt;

    let cli = Cli::new();
    let org = org();
    let path = cli.write("key", KEY);
    for mode in [0o644, 0o640, 0o604] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let ran = Ran::of(apply(&cli, &org, "key").output().unwrap()).exits(0);
        ran.says(&format!("key can be read by other users (mode 0{mode:o}"))
            .says("chmod 600 key");
    }
}

#[test]
fn a_key_comes_from_standard_input_as_well() {
    let cli = Cli::new();
    let org = org();
    let run = |content: &str| {
        let mut command = apply(&cli, &org, "-");
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // It may leave before it has read all of this.
        let _ = child.stdin.take().unwrap().write_all(content.as_bytes());
        Ran::of(child.wait_with_output().unwrap())
    };
    run(&format!("{KEY}\n"))
        .exits(0)
        .says("API key from standard input");
    run("").exits(2).says("standard input is empty");
    run(&KEY.repeat(40_000))
        .exits(2)
        .says("standard input is longer than 4 KiB");
    assert_eq!(org.requests().len(), 1);
}
