//! Texts that would do something if anybody let them: move a cursor, set a clipboard, reorder a
//! line, run in a spreadsheet or on a page. Whether one stands in an answer, a cell or a file's
//! name, a person reads it as text.

use std::collections::BTreeSet;
use std::ffi::OsStr;

use serde_json::Value;

use crate::common::hostile::{Hostile, Reply, Seen};
use crate::common::{Cli, Ran, ReportRow, outcomes, report};

const CONTROLS: &[&str] = &[
    "\u{7}bell",
    "\u{8}\u{8}\u{8}back",
    "\u{b}vertical",
    "\u{c}form",
    "\u{e}shift",
    "\u{1a}end",
    "\u{7f}delete",
    "\0nul",
    "nul\0inside",
    "\u{1b}c",
    "\u{1b}",
    "\rover",
    "one\rtwo",
    "one\ntwo",
    "one\r\nset-cookie: two",
    "\u{2028}line",
    "\u{2029}paragraph",
];
const SEQUENCES: &[&str] = &[
    "\u{1b}[2J",
    "\u{1b}[31;5mred",
    "\u{1b}[8mhidden",
    "\u{1b}[H",
    "\u{1b}[6n",
    "\u{1b}[?1049h",
    "\u{1b}[3J",
    "\u{1b}[21t",
    "\u{1b}[10;20r",
    "\u{1b}[5i",
    "\u{1b}]0;title\u{7}",
    "\u{1b}]2;title\u{1b}\\",
    "\u{1b}]8;;http://evil.example\u{1b}\\click\u{1b}]8;;\u{1b}\\",
    "\u{1b}]52;c;ZXZpbA==\u{7}",
    "\u{1b}]4;1;rgb:00/00/00\u{1b}\\",
    "\u{1b}]1337;File=:AAAA\u{7}",
    "\u{1b}P+q544e\u{1b}\\",
    "\u{1b}P$qm\u{1b}\\",
    "\u{1b}_apc\u{1b}\\",
    "\u{1b}^private\u{1b}\\",
    "\u{1b}Xstring\u{1b}\\",
    "\u{9b}2J",
    "\u{9d}52;c;eA==\u{9c}",
    "\u{90}q\u{9c}",
    "\u{85}next",
    "\u{8d}up",
];
const INVISIBLE: &[&str] = &[
    "\u{202a}e",
    "\u{202b}e",
    "\u{202c}e",
    "\u{202d}e",
    "\u{202e}gpj.exe",
    "\u{2066}e",
    "\u{2067}e",
    "\u{2068}e",
    "\u{2069}e",
    "\u{200b}zero",
    "ze\u{200d}ro",
    "\u{200f}mark",
    "\u{feff}mark",
    "\u{2060}joined",
    "soft\u{ad}hyphen",
    "\u{61c}mark",
    "\u{e0041}tag",
];
const FORMULAS: &[&str] = &[
    "=1+1",
    "+1+1",
    "-1+1",
    "@SUM(1)",
    "\t=1+1",
    "＝1+1",
    "＋1",
    "－1",
    "＠SUM(1)",
    "=cmd|' /C calc'!A0",
    "=HYPERLINK(\"http://evil.example\")",
];
const MARKUP: &[&str] = &[
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"><svg onload=alert(1)>",
    "</style><script>x()",
    "</title><base href=//evil.example>",
    "<!--",
    "&lt;script&gt;",
    "javascript:alert(1)",
    "<iframe srcdoc=x>",
    "{{7*7}}",
    "]]><b>",
    "'\"/>`",
];
const PATTERNS: &[&str] = &[
    "%n%s%s%s",
    "{}",
    "{0}",
    "$(id)",
    "`id`",
    "${HOME}",
    "%00%0d%0a",
    "\\x1b[2J",
    "'; DROP TABLE users",
];

/// Of every kind some, as bytes.
fn payloads() -> Vec<Vec<u8>> {
    let texts = [CONTROLS, SEQUENCES, INVISIBLE, FORMULAS, MARKUP, PATTERNS].concat();
    let mut all: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    all.extend([
        b"\xff\xfe\xfd".to_vec(),
        b"\xc0\xaf".to_vec(),
        b"\xed\xa0\x80".to_vec(),
        b"\x9b2J".to_vec(),
    ]);
    all.extend([vec![b'x'; 5_000], vec![b'x'; 100_000]]);
    all
}

/// Those that can stand in a table.
fn cells() -> Vec<String> {
    payloads()
        .into_iter()
        .filter_map(|bytes| String::from_utf8(bytes).ok())
        .filter(|text| !text.contains('\0'))
        .collect()
}

/// Nothing in it moves a cursor, hides or reorders.
fn is_harmless(text: &str) -> bool {
    !text.contains(|c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{ad}' | '\u{61c}' | '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
            || matches!(c, '\u{2060}'..='\u{206f}' | '\u{e0000}'..='\u{e007f}')
    })
}

#[track_caller]
fn must_be_harmless(text: &str) {
    let harmful = text.split('\n').find(|line| !is_harmless(line));
    assert_eq!(harmful, None);
}

/// Every text in a JSON value is harmless, names of fields included.
fn must_hold_harmless_texts(value: &Value) {
    match value {
        Value::String(text) => must_be_harmless(text),
        Value::Array(items) => items.iter().for_each(must_hold_harmless_texts),
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            must_be_harmless(name);
            must_hold_harmless_texts(value);
        }),
        _ => {}
    }
}

/// The forms in which a body brings a text.
const FORMS: usize = 3;

/// Applies the first user's change and refuses all others, each with a text of its own.
fn refusing() -> Hostile {
    let payloads = payloads();
    Hostile::start(move |seen: &Seen| {
        let number = usize::try_from(seen.user().unwrap() - 1).unwrap();
        let payload = &payloads[(number / FORMS) % payloads.len()];
        match number % FORMS {
            _ if number == 0 => Reply::new(204),
            0 => {
                let message =
                    serde_json::json!({"message": String::from_utf8_lossy(payload)}).to_string();
                Reply::new(422).body("application/json", message)
            }
            1 => Reply::new(409).body("text/plain; charset=utf-7", payload),
            _ => Reply::new(404).body(
                "text/html; charset=\"\u{ff}",
                [b"<html><title>", &payload[..], b"</title>"].concat(),
            ),
        }
    })
}

/// A table with a text in each row, that of the answer to it; those that can't stand in a table are
/// left out.
fn table_of_payloads() -> String {
    let mut table = csv::Writer::from_writer(Vec::new());
    table
        .write_record(["user_id", "mfa_opt_out", "name"])
        .unwrap();
    for (number, payload) in payloads()
        .iter()
        .flat_map(|payload| [payload; FORMS])
        .enumerate()
    {
        let name = std::str::from_utf8(payload)
            .ok()
            .filter(|text| !text.contains('\0'))
            .unwrap_or("Jo");
        table
            .write_record([&(number + 1).to_string(), "true", name])
            .unwrap();
    }
    String::from_utf8(table.into_inner().unwrap()).unwrap()
}

const OPTIONS: [&str; 9] = [
    "--rate",
    "unlimited",
    "--max-failures",
    "100000",
    "--verbose",
    "--html",
    "page.html",
    "--metrics",
    "run.prom",
];

fn names_of_tags(page: &str) -> BTreeSet<&str> {
    let starts = page.split('<').skip(1);
    starts
        .map(|rest| rest.split([' ', '>', '\n', '=']).next().unwrap_or_default())
        .collect()
}

fn must_be_sound(rows: &[ReportRow], table: &str) {
    let names: Vec<String> = csv::Reader::from_reader(table.as_bytes())
        .records()
        .map(|row| row.unwrap()[2].to_owned())
        .collect();
    assert_eq!(rows.len(), names.len());
    for (row, name) in rows.iter().zip(names) {
        assert_eq!(
            row["name"], name,
            "the table's own cells are carried unchanged"
        );
        let detail = &row["detail"];
        must_be_harmless(detail);
        assert!(
            !detail.starts_with(['=', '+', '-', '@', '\t', '\r', '＝', '＋', '－', '＠']),
            "{detail}"
        );
        assert!(detail.chars().count() <= 501, "{detail}");
    }
}

#[test]
fn what_the_org_says_is_only_text_in_a_pipe_in_the_report_and_on_the_page() {
    let cli = Cli::new();
    let org = refusing();
    let table = table_of_payloads();
    cli.write("users.csv", &table);
    let ran = cli.apply(&org.url(), &OPTIONS).exits(1);
    must_be_harmless(&ran.text());
    let rows = cli.report();
    must_be_sound(&rows, &table);
    assert_eq!(outcomes(&rows, "failed"), rows.len() - 1);
    assert_eq!(org.requests().len(), rows.len());
    must_hold_harmless_texts(&serde_json::from_str(&cli.read("users.report.json")).unwrap());
    must_be_harmless(&cli.read("run.prom"));

    let page = cli.read("page.html");
    must_be_harmless(&page);
    let harmless = Cli::new();
    harmless.write(
        "users.csv",
        "user_id,mfa_opt_out,name\n2,true,Jo\n3,true,Jo\n1,true,Jo\n",
    );
    harmless.apply(&refusing().url(), &OPTIONS);
    let expected = harmless.read("page.html");
    let foreign: Vec<_> = names_of_tags(&page)
        .difference(&names_of_tags(&expected))
        .copied()
        .collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    // The rows are also data of the page's script, in which no tag begins.
    let scripts = |page: &str| page.matches("<script").count();
    assert_eq!(scripts(&page), scripts(&expected), "only the page's own");
}

#[test]
fn json_lines_are_json_and_only_text() {
    let cli = Cli::new();
    let org = refusing();
    cli.write("users.csv", table_of_payloads());
    let ran = cli
        .apply(
            &org.url(),
            &[&OPTIONS[..], &["--log-format", "json"]].concat(),
        )
        .exits(1);
    let text = ran.text();
    must_be_harmless(&text);
    assert!(text.lines().count() > 200, "a line for each row");
    for line in text.lines() {
        must_hold_harmless_texts(
            &serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")),
        );
    }
}

#[cfg(unix)] // a terminal that the test controls
#[test]
fn a_terminal_gets_no_sequence_but_the_tools_own() {
    let cli = Cli::new();
    let org = refusing();
    cli.write("users.csv", table_of_payloads());
    let url = org.url();
    let mut command = cli.command(
        &[
            &["apply", "users.csv", "--yes", "--address", &url],
            &OPTIONS[..],
        ]
        .concat(),
    );
    command
        .stdin(std::process::Stdio::inherit())
        .env("TERM", "xterm-256color");
    let mut session = rexpect::session::spawn_command(command, Some(60_000)).unwrap();
    // Every byte comes as a character.
    let bytes = session
        .exp_eof()
        .unwrap()
        .chars()
        .map(|byte| u8::try_from(byte).unwrap())
        .collect();
    let said = String::from_utf8(bytes).unwrap();
    crate::common::must_show_no_secret(&said);
    assert!(said.contains("\u{1b}[J"), "there is a bar");
    // Of the bar: the cursor goes up to its first line, and everything below is wiped.
    let wipes = [
        "\u{1b}[J",
        "\u{1b}[2F",
        "\u{1b}[3F",
        "\u{1b}[4F",
        "\u{1b}[5F",
        "\r",
    ];
    // Of the text: bold, dim, red and their end.
    let colours = [
        "\u{1b}[1m",
        "\u{1b}[2m",
        "\u{1b}[31m",
        "\u{1b}[32m",
        "\u{1b}[33m",
        "\u{1b}[0m",
    ];
    let own = [&wipes[..], &colours].concat();
    must_be_harmless(&own.iter().fold(said, |text, own| text.replace(own, "")));
}

#[test]
fn reason_phrase_headers_and_the_target_of_a_redirect_are_only_text() {
    for payload in payloads() {
        let bytes = payload.clone();
        let org = Hostile::start(move |_| {
            let parts: [&[u8]; 7] = [
                b"HTTP/1.1 302 ",
                &bytes,
                b"\r\nlocation: ",
                &bytes,
                b"\r\nretry-after: ",
                &bytes,
                b"\r\ncontent-length: 0\r\n\r\n",
            ];
            Reply::raw(parts.concat())
        });
        let cli = Cli::new();
        cli.write("users.csv", "user_id,mfa_opt_out\n1,true\n");
        let ran = cli.apply(&org.url(), &["--max-attempts", "1", "--verbose"]);
        must_be_harmless(&ran.text());
        // What can't be in a header is no HTTP.
        let words = if ran.code == Some(2) {
            "redirects are not followed"
        } else {
            "answer not understood"
        };
        assert!(matches!(ran.code, Some(2 | 5)), "{}", ran.text());
        ran.says(words);
        assert_eq!(org.requests().len(), 1);
    }
}

#[test]
fn cells_that_are_no_ids_are_shown_as_text() {
    let cli = Cli::new();
    let cells: Vec<String> = cells()
        .into_iter()
        .filter(|cell| cell.len() < 100_000)
        .collect();
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record(["user_id", "mfa_opt_out"]).unwrap();
    for cell in &cells {
        table.write_record([cell, cell]).unwrap();
    }
    cli.write("users.csv", table.into_inner().unwrap());
    let ran = cli
        .apply("http://127.0.0.1:1", &["--problems", "problems.csv"])
        .exits(2);
    must_be_harmless(&ran.text());
    let problems = report(&cli.path("problems.csv"));
    assert_eq!(problems.len(), cells.len());
    for cell in problems.iter().flat_map(ReportRow::values) {
        must_be_harmless(cell);
        assert!(
            !cell.starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠']),
            "{cell}"
        );
    }
    for payload in payloads()
        .into_iter()
        .filter(|payload| payload.len() < 100_000)
    {
        cli.write(
            "users.csv",
            [b"user_id,mfa_opt_out\n", &payload[..], b",true\n"].concat(),
        );
        must_be_harmless(&cli.apply("http://127.0.0.1:1", &[]).exits(2).text());
        cli.write(
            "users.csv",
            [b"user_id,mfa_opt_out,", &payload[..], b"\nJo,true,\n"].concat(),
        );
        must_be_harmless(&cli.apply("http://127.0.0.1:1", &[]).exits(2).text());
    }
}

#[cfg(unix)] // names that are not UTF-8
#[test]
fn names_of_files_are_shown_as_text() {
    use std::os::unix::ffi::OsStrExt;

    let org = Hostile::start(|seen| Reply::new(if seen.user() == Some(2) { 418 } else { 204 }));
    let can_be_a_name =
        |name: &Vec<u8>| name.len() < 200 && !name.contains(&0) && !name.contains(&b'/');
    let names: Vec<_> = payloads().into_iter().filter(can_be_a_name).collect();
    assert!(names.len() >= 60, "{}", names.len());
    for name in names {
        let cli = Cli::new();
        let name = OsStr::from_bytes(&name);
        std::fs::write(
            cli.folder().join(name),
            "user_id,mfa_opt_out\n1,true\n2,true\n",
        )
        .unwrap();
        let mut command = cli.command(&[
            "apply",
            "--yes",
            "--html",
            "page.html",
            "--address",
            &org.url(),
        ]);
        let ran = Ran::of(command.arg("--").arg(name).output().unwrap())
            .exits(1)
            .says("mfa-optout retry");
        must_be_harmless(&ran.text());
        must_be_harmless(&cli.read("page.html"));
        let missing = Ran::of(
            cli.command(&["apply", "--yes", "--ca-cert"])
                .arg(name)
                .arg("none")
                .output()
                .unwrap(),
        );
        must_be_harmless(&missing.exits(2).text());
    }
}

#[cfg(unix)] // arguments that are not UTF-8
#[test]
fn names_of_files_that_are_taken_for_arguments_are_shown_as_text() {
    use std::os::unix::ffi::OsStrExt;

    let cli = Cli::new();
    let can_be_an_argument = |name: &Vec<u8>| name.len() < 200 && !name.contains(&0);
    for name in payloads().into_iter().filter(can_be_an_argument) {
        let name = OsStr::from_bytes(&name);
        // As a shell hands on `apply *.csv`, and in the place of a command, an option and its
        // value.
        for words in [&["apply", "a.csv"][..], &[], &["apply", "a.csv", "--rate"]] {
            let mut command = cli.command(words);
            must_be_harmless(&Ran::of(command.arg(name).output().unwrap()).text());
        }
    }
}

#[test]
fn cells_and_headers_that_look_like_formulas_are_counted() {
    let cli = Cli::new();
    let org = Hostile::start(|_| Reply::new(204));
    cli.write(
        "users.csv",
        "user_id,mfa_opt_out,=cmd|' /C calc'!A0,@note\n1,true,=1+1,fine\n",
    );
    cli.apply(&org.url(), &[])
        .exits(0)
        .says("3 cells look like formulas to a spreadsheet");
}
