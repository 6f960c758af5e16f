//! Tables of e-mail addresses, whose user IDs `--ids` takes from a list of users.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::time::Duration;

use crate::common::hostile::{Hostile, Reply};
use crate::common::ledger::{Ledger, Signal, start, stop};
use crate::common::practice::TestOrg;
use crate::common::{Cli, KEY, Ran, outcomes, report};

const PEOPLE: &str = "name,E-Mail,mfa_opt_out\nJo,Jo@Example.com,yes\nAl,al@example.com,no\n";

const USERS: &str = r#"{"total": 3, "data": [
    {"id": 1702, "email": "al@example.com"},
    {"id": 1701, "email": "jo@example.com"},
    {"id": 1703, "email": "sam@example.com"}
]}"#;

/// A folder and an Org that confirms every change.
struct Desk {
    cli: Cli,
    org: Hostile,
}

impl Desk {
    fn new() -> Self {
        Self {
            cli: Cli::new(),
            org: Hostile::start(|_| Reply::new(204)),
        }
    }

    /// Returns a desk with a table of two people and a list of three users.
    fn with_people() -> Self {
        let desk = Self::new();
        desk.cli.write("people.csv", PEOPLE);
        desk.cli.write("users.json", USERS);
        desk
    }

    fn run(&self, words: &[&str], more: &[&str]) -> Ran {
        let url = self.org.url();
        let common = ["--yes", "--rate", "unlimited", "--address", &url];
        self.cli.run(&[words, &common, more].concat())
    }

    fn apply(&self, table: &str, list: &str, more: &[&str]) -> Ran {
        self.run(&["apply", table, "--ids", list], more)
    }

    /// Returns users and flags of all requests so far, sorted.
    fn sent(&self) -> Vec<(u64, bool)> {
        let requests = self.org.requests();
        let mut sent: Vec<_> = requests
            .iter()
            .map(|seen| (seen.user().unwrap(), seen.flag().unwrap()))
            .collect();
        sent.sort_unstable();
        sent
    }
}

#[test]
fn people_are_matched_by_email_and_the_report_has_their_ids() {
    let desk = Desk::with_people();
    desk.apply("people.csv", "users.json", &[])
        .exits(0)
        .says("people in column 2 \"E-Mail\"")
        .says("IDs from users.json, which has 3 entries by \"email\": 2 rows matched");
    assert_eq!(desk.sent(), [(1701, true), (1702, false)]);
    let text = desk.cli.read("people.report.csv");
    assert!(
        text.starts_with("name,E-Mail,mfa_opt_out,user_id,line,outcome,"),
        "{text}"
    );
    let rows = report(&desk.cli.path("people.report.csv"));
    assert_eq!(rows[0]["user_id"], "1701");
    assert_eq!(rows[1]["user_id"], "1702");
    let record: serde_json::Value =
        serde_json::from_str(&desk.cli.read("people.report.json")).unwrap();
    let list = &record["identity"]["ids"]["file"];
    assert_eq!(list["name"], "users.json");
    assert_eq!(
        list["blake3"],
        blake3::hash(USERS.as_bytes()).to_string().as_str()
    );
}

#[test]
fn a_dry_run_names_both_columns_and_sends_nothing() {
    let desk = Desk::with_people();
    desk.apply("people.csv", "users.json", &["--dry-run", "--verbose"])
        .exits(0)
        .says("2 rows matched")
        .says("1701");
    assert!(desk.sent().is_empty());
}

#[test]
fn a_list_can_have_every_form_that_a_table_has() {
    let rows = "User ID;Login;E-Mail\n1701;jo; JO@example.com\n1702;al;al@example.com\n";
    let utf16: Vec<u8> = std::iter::once(0xfeff)
        .chain(rows.encode_utf16())
        .flat_map(u16::to_le_bytes)
        .collect();
    let nested = r#"[{"id": 1701, "profile": {"email": "jo@example.com"}},
        {"id": "1702", "profile": {"email": "al@example.com"}}]"#;
    let titled = format!("The users of the Org\n\n{}", rows.replace(';', ","));
    let utf16_json: Vec<u8> = std::iter::once(0xfeff)
        .chain(format!("\n  {USERS}").encode_utf16())
        .flat_map(u16::to_be_bytes)
        .collect();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(USERS.as_bytes()).unwrap();
    let lists: [(&str, Vec<u8>, &[&str]); 7] = [
        ("utf16.json", utf16_json, &[]),
        ("users.json.gz", gzip.finish().unwrap(), &[]),
        ("semicolons.csv", rows.into(), &[]),
        ("utf16.csv", utf16, &[]),
        ("tabs.txt", rows.replace(';', "\t").into(), &[]),
        ("titled.csv", titled.into(), &[]),
        (
            "nested.json",
            nested.into(),
            &["--match", "E-Mail=profile.email"],
        ),
    ];
    for (name, content, options) in lists {
        let desk = Desk::with_people();
        desk.cli.write(name, content);
        desk.apply("people.csv", name, options).exits(0);
        assert_eq!(desk.sent(), [(1701, true), (1702, false)], "{name}");
    }
}

#[test]
fn a_list_comes_from_standard_input_and_not_together_with_the_table() {
    let desk = Desk::with_people();
    let url = desk.org.url();
    let apply = |table: &str| {
        let words = ["apply", table, "--ids", "-", "--yes", "--address", &url];
        let mut command = desk.cli.command(&words);
        command.stdin(fs::File::open(desk.cli.path("users.json")).unwrap());
        Ran::of(command.output().unwrap())
    };
    apply("-")
        .exits(2)
        .says("the table and the list of users can't both come from standard input");
    assert!(desk.sent().is_empty());
    apply("people.csv").exits(0);
    assert_eq!(desk.sent(), [(1701, true), (1702, false)]);
    desk.apply("people.csv", "-", &["--api-key-file", "-"])
        .exits(2)
        .says("can't both come from standard input");
}

#[test]
fn people_without_one_id_stop_everything_and_are_named_with_both_files() {
    let desk = Desk::new();
    desk.cli.write(
        "people.csv",
        "email,mfa_opt_out\njo@example.com,yes\njo.dahl@exmaple.com,yes\n,yes\nbo@example.com,yes\n\
         x@example.com,yes\nal@example.org,yes\nnobody@example.net,yes\n",
    );
    desk.cli.write(
        "users.csv",
        "id;email\n1701;jo@example.com\n1702;jo.dahl@example.com\n5;bo@example.com\n\
         6;BO@example.com\n1.7E3;x@example.com\n9;al@example.com\nodd;odd@example.com\n;\n",
    );
    desk.apply("people.csv", "users.csv", &[])
        .exits(2)
        .says("nothing was sent: 6 rows are invalid")
        .says(
            "people.csv:3: column email: is not in users.csv; \"jo.dahl@example.com\" is similar, \
             but may be somebody else: \"jo.dahl@exmaple.com\"",
        )
        .says("people.csv:4: column email: is empty, so there is nothing to match by")
        .says(
            "people.csv:5: column email: has several user IDs: 5 in users.csv:4, 6 in users.csv:5",
        )
        .says("people.csv:6: column email: the user ID in users.csv:6 is in scientific notation")
        .says("people.csv:7: column email: is not in users.csv; \"al@example.com\" is similar")
        .says("people.csv:8: column email: is not in users.csv: \"nobody@example.net\"");
    assert!(desk.sent().is_empty());
    desk.apply("people.csv", "users.csv", &["--skip-invalid"])
        .exits(1)
        .says("1 row matched");
    assert_eq!(desk.sent(), [(1701, true)]);
    let rows = report(&desk.cli.path("people.report.csv"));
    assert_eq!((rows.len(), outcomes(&rows, "invalid")), (7, 6));
    assert_eq!(rows[1]["user_id"], "");
}

#[test]
fn entries_that_nobody_needs_may_be_odd() {
    let desk = Desk::with_people();
    desk.cli.write(
        "users.json",
        r#"[{"id": null, "email": "x@example.com"}, {"name": "no address"}, 7,
            {"id": 1701, "email": "jo@example.com"}, {"id": 1701, "email": "JO@example.com "},
            {"id": "many", "email": ["a", "b"]}, {"id": 1702, "email": "al@example.com"}]"#,
    );
    desk.apply("people.csv", "users.json", &[]).exits(0);
    assert_eq!(desk.sent(), [(1701, true), (1702, false)]);
}

#[test]
fn letters_of_any_script_are_compared_in_lower_case_and_nothing_else_is_alike() {
    let desk = Desk::new();
    desk.cli.write(
        "people.csv",
        "email,mfa_opt_out\n\u{a0}ÅSE@Example.com ,yes\nΣΑΜ@example.com,yes\n",
    );
    desk.cli.write(
        "users.csv",
        "user_id,email\n5,åse@example.com\n6,σαμ@example.com\n",
    );
    desk.apply("people.csv", "users.csv", &[]).exits(0);
    assert_eq!(desk.sent(), [(5, true), (6, true)]);
    for other in [
        "ase@example.com",
        "a\u{30a}se@example.com",
        "åse@example.com.",
        "åse+x@example.com",
        "å se@example.com",
        "åse@example.co",
    ] {
        desk.cli
            .write("people.csv", format!("email,mfa_opt_out\n{other},yes\n"));
        desk.apply("people.csv", "users.csv", &["--overwrite"])
            .exits(2)
            .says("is not in users.csv");
    }
}

#[test]
fn columns_of_both_files_can_be_named_and_two_that_fit_must_be() {
    let desk = Desk::new();
    desk.cli.write(
        "people.csv",
        "login,email,mail,mfa_opt_out\njo,a@b.c,a@b.c,yes\n",
    );
    desk.cli
        .write("users.csv", "number,account,email\n1701,jo,x@example.com\n");
    desk.apply("people.csv", "users.csv", &["--ids-column", "number"])
        .exits(2)
        .says("two columns could be the e-mail address: column 2 \"email\" and column 3 \"mail\"")
        .says("choose one with --match");
    let columns = ["--match", "login=account", "--ids-column", "number"];
    desk.apply("people.csv", "users.csv", &columns).exits(0);
    assert_eq!(desk.sent(), [(1701, true)]);
    let numbers = ["--match", "1=2", "--ids-column", "1", "--overwrite"];
    desk.apply("people.csv", "users.csv", &numbers).exits(0);
    desk.apply("people.csv", "users.csv", &["--match", "email"])
        .exits(2)
        .says("no column for the user ID")
        .says("--ids-column");
}

#[test]
fn a_table_with_ids_of_its_own_is_refused_and_a_counter_is_ignored() {
    let desk = Desk::with_people();
    desk.cli.write(
        "both.csv",
        "user_id,email,mfa_opt_out\n5,jo@example.com,yes\n",
    );
    desk.apply("both.csv", "users.json", &[])
        .exits(2)
        .says("column 1 \"user_id\" holds user IDs, and --ids gives others");
    assert!(desk.sent().is_empty());
    desk.cli.write(
        "counted.csv",
        "id,email,mfa_opt_out\n1,jo@example.com,yes\n",
    );
    desk.apply("counted.csv", "users.json", &[]).exits(0);
    assert_eq!(desk.sent(), [(1701, true)]);
    // The report has both columns; the IDs are those of the list.
    desk.run(&["undo", "counted.report.csv"], &[]).exits(0);
    assert_eq!(desk.sent(), [(1701, false), (1701, true)]);
}

#[test]
fn two_addresses_of_one_user_with_different_flags_contradict_each_other() {
    let desk = Desk::new();
    desk.cli.write(
        "people.csv",
        "email,mfa_opt_out\njo@a.com,yes\njo@b.com,no\n",
    );
    desk.cli
        .write("users.csv", "user_id,email\n5,jo@a.com\n5,jo@b.com\n");
    desk.apply("people.csv", "users.csv", &[])
        .exits(2)
        .says("contradiction: line 2 opts user 5 out, line 3 opts the same user back in");
    assert!(desk.sent().is_empty());
}

#[test]
fn a_person_in_the_place_of_the_header_is_not_left_out() {
    let desk = Desk::new();
    desk.cli.write("users.csv", "user_id,login\n5,jo\n6,al\n");
    desk.cli.write("people.csv", "jo\nal\n");
    let set = ["--set", "yes", "--match", "1=login"];
    desk.apply("people.csv", "users.csv", &set)
        .exits(2)
        .says("the header has somebody of users.csv in column 1 \"jo\"")
        .says("--no-header");
    assert!(desk.sent().is_empty());
    desk.apply(
        "people.csv",
        "users.csv",
        &[&set[..], &["--no-header"]].concat(),
    )
    .exits(0);
    assert_eq!(desk.sent(), [(5, true), (6, true)]);
}

#[test]
fn an_option_about_the_list_needs_a_list() {
    let desk = Desk::with_people();
    for option in [["--match", "email"], ["--ids-column", "id"]] {
        desk.run(&["apply", "people.csv"], &option)
            .exits(2)
            .says(&format!("{} is about the list of users", option[0]))
            .says("--ids FILE");
    }
    desk.apply("people.csv", "users.json", &["--id-column", "1"])
        .exits(2)
        .says("cannot be used with");
}

#[test]
fn a_table_of_addresses_without_a_list_is_shown_the_way() {
    let desk = Desk::with_people();
    desk.run(&["apply", "people.csv"], &[])
        .exits(2)
        .says("no column for the user ID")
        .says("to find the IDs by column 2 \"E-Mail\"")
        .says("--ids FILE");
    desk.cli
        .write("other.csv", "Work mail,mfa_opt_out\njo@example.com,yes\n");
    desk.run(&["apply", "other.csv"], &[])
        .exits(2)
        .says("--ids FILE --match 1=email");
    desk.cli
        .write("wrong.csv", "user_id,mfa_opt_out\njo@example.com,yes\n");
    desk.run(&["apply", "wrong.csv"], &[])
        .exits(2)
        .says("is an email address")
        .says("--ids FILE");
    desk.cli.write("bare.csv", "jo@example.com,yes\n");
    desk.run(&["apply", "bare.csv"], &[])
        .exits(2)
        .says("--ids FILE");
}

#[test]
fn advice_about_the_list_names_no_option_of_the_table() {
    let desk = Desk::with_people();
    desk.cli.write("bare.csv", "1701,jo@example.com\n");
    let ran = desk.apply("people.csv", "bare.csv", &[]).exits(2);
    let said = ran.says("save the list of users by itself").text();
    assert!(!said.contains("--no-header"), "{said}");
}

#[test]
fn retry_and_undo_need_no_list_and_no_option_for_columns() {
    let desk = Desk {
        cli: Cli::new(),
        org: Hostile::start(|seen| {
            let is_refused = seen.user() == Some(1702) && seen.flag() == Some(false);
            Reply::new(if is_refused { 404 } else { 204 })
        }),
    };
    desk.cli.write(
        "people.csv",
        "name,E-Mail,exempt,ends\nJo,Jo@Example.com,yes,2099-01-31\nAl,al@example.com,no,\n",
    );
    desk.cli.write("users.json", USERS);
    let columns = ["--flag-column", "exempt", "--until-column", "ends"];
    desk.apply("people.csv", "users.json", &columns).exits(1);
    fs::remove_file(desk.cli.path("users.json")).unwrap();
    desk.run(&["retry", "people.report.csv"], &[])
        .exits(1)
        .says("end dates in column 4 \"ends\"")
        .says("IDs in column 5 \"user_id\"");
    desk.run(&["undo", "people.report.csv"], &[]).exits(0);
    let last = desk.org.requests();
    let last = last.last().unwrap();
    assert_eq!((last.user(), last.flag()), (Some(1701), Some(false)));
    let rows = report(&desk.cli.path("people.undo-1.report.csv"));
    assert_eq!(rows[0]["exempt"], "false");
    assert_eq!(rows[0]["ends"], "");
    desk.run(&["retry", "people.report.csv"], &["--ids", "users.json"])
        .exits(2);
}

#[test]
fn an_interrupted_run_refuses_another_list_and_is_closed_without_it() {
    const ROWS: u64 = 60;
    let cli = Cli::new();
    let org = Ledger::start(Duration::from_millis(10));
    let mut people = "email,mfa_opt_out\n".to_owned();
    let mut users = "email,user_id\n".to_owned();
    for user in 1..=ROWS {
        writeln!(people, "u{user}@example.com,true").unwrap();
        writeln!(users, "u{user}@example.com,{}", 7000 + user).unwrap();
    }
    cli.write("people.csv", people);
    cli.write("users.csv", &users);
    let url = org.url();
    let sending = ["--yes", "--rate", "unlimited", "--concurrency", "8"];
    let place = ["--ids", "users.csv", "--address", &url];
    let words = [&["apply", "people.csv"][..], &sending, &place].concat();
    let mut child = start(cli.command(&words));
    org.must_see(20, &mut child);
    stop(child, Signal::KILL);
    org.must_be_left();
    let sent = org.count();
    cli.write("users.csv", users.replace("7001", "7999"));
    cli.run(&words)
        .exits(2)
        .says("--ids: users.csv has changed since");
    cli.run(&[&words[..], &["--match", "email"]].concat())
        .exits(2);
    assert_eq!(org.count(), sent);
    fs::remove_file(cli.path("users.csv")).unwrap();
    fs::remove_file(cli.path("people.csv")).unwrap();
    cli.run(&["close", "people.report.csv"]).exits(0);
    let rows = report(&cli.path("people.report.csv"));
    assert_eq!(rows.len() as u64, ROWS);
    let ids: BTreeSet<u64> = rows
        .iter()
        .map(|row| row["user_id"].parse().unwrap())
        .collect();
    assert_eq!(ids, (7001..=7000 + ROWS).collect());
    assert!(org.puts().iter().all(|put| ids.contains(&put.user)));
}

#[test]
fn an_interrupted_run_goes_on_with_the_same_list() {
    let desk = Desk::with_people();
    desk.apply("people.csv", "users.json", &["--limit", "1"])
        .exits(5);
    desk.apply("people.csv", "users.json", &[]).exits(0);
    assert_eq!(desk.sent(), [(1701, true), (1702, false)]);
    let rows = report(&desk.cli.path("people.report.csv"));
    assert_eq!(rows[0]["user_id"], "1701");
    assert_eq!(rows[1]["user_id"], "1702");
}

#[test]
fn hostile_lists_are_refused_or_harmless_and_never_shown_raw() {
    let desk = Desk::with_people();
    let deep = format!("[{}", r#"{"a":"#.repeat(100_000));
    let long = format!(r#"[{{"id": 1701, "email": "{}"}}]"#, "x".repeat(9 << 20));
    let cases: [(&str, &str); 9] = [
        (&deep, "recursion limit exceeded"),
        (&long, "a value is longer than 8 MiB"),
        ("[]", "the list has no objects"),
        (
            r#"{"message": "Unauthorized"}"#,
            "no member is a list of users",
        ),
        (
            "<!DOCTYPE html><html><body>Sign in</body></html>",
            "is a web page, not a list of users",
        ),
        ("user_id,email\n1701,\"jo@example.com\n", "never closed"),
        (
            "user_id,email\n\"=1701+1\",jo@example.com\n",
            "the user ID in list:2 is not a number",
        ),
        (
            "user_id,email\n1701,jo@example.co\u{1b}[2Jm\n",
            "is not in list",
        ),
        (
            r#"[{"id": 1701, "email": "jo@example.com", "id": 1702}]"#,
            "has a member twice",
        ),
    ];
    for (content, words) in cases {
        desk.cli.write("list", content);
        let ran = desk.apply("people.csv", "list", &[]).exits(2).says(words);
        assert!(!ran.text().contains('\u{1b}'), "{words}");
    }
    #[cfg(unix)] // devices
    desk.apply("people.csv", "/dev/zero", &[])
        .exits(2)
        .says("/dev/zero is a device, not a file");
    desk.apply("people.csv", ".", &[])
        .exits(2)
        .says(". is a folder, not a file");
    assert!(desk.sent().is_empty());
}

#[test]
fn the_list_is_never_written_to_and_no_secret_is_read_as_a_list() {
    let desk = Desk::with_people();
    for option in ["--report", "--html", "--metrics", "--problems"] {
        desk.apply(
            "people.csv",
            "users.json",
            &[option, "users.json", "--overwrite"],
        )
        .exits(2)
        .says("that is the list of users");
    }
    assert_eq!(desk.cli.read("users.json"), USERS);
    desk.cli.write("key.txt", KEY);
    let key = ["--api-key-file", "key.txt"];
    let words = "that is the file with the key or password";
    desk.apply("people.csv", "key.txt", &key)
        .exits(2)
        .says(words);
    desk.run(&["apply", "key.txt", "--set", "yes"], &key)
        .exits(2)
        .says(words);
    assert!(desk.sent().is_empty());
}

/// The settings of a nightly job, beside the list in a folder of their own.
const PROFILE: &str = "[profile.nightly]\nregister = \"register.csv\"\nids = \"users.csv\"\n\
    match = \"mail=login\"\nids_column = \"number\"\n";

#[test]
fn a_nightly_sync_takes_list_and_columns_from_its_profile() {
    let desk = Desk::new();
    fs::create_dir(desk.cli.path("jobs")).unwrap();
    desk.cli.write("jobs/mfa-optout.toml", PROFILE);
    desk.cli.write(
        "jobs/users.csv",
        "number,login\n1701,jo@example.com\n1702,al@example.com\n1703,sam@example.com\n",
    );
    let sync = |more: &[&str]| {
        let profile = ["--config", "jobs/mfa-optout.toml", "--profile", "nightly"];
        desk.run(&[&["sync", "people.csv"], &profile[..]].concat(), more)
    };
    let header = "mail,name,mfa_opt_out\n";
    desk.cli.write(
        "people.csv",
        format!("{header}jo@example.com,Jo,yes\nAL@example.com,Al,yes\n"),
    );
    sync(&["--full"]).exits(0);
    assert_eq!(desk.sent(), [(1701, true), (1702, true)]);
    sync(&[]).exits(0).says("nothing to do");
    // Al has left the table, and Sam is new.
    desk.cli.write(
        "people.csv",
        format!("{header}jo@example.com,Jo,yes\nsam@example.com,Sam,yes\n"),
    );
    sync(&["--report", "third.report.csv"])
        .exits(0)
        .says("1 arrival, 1 departure");
    assert_eq!(
        desk.sent(),
        [(1701, true), (1702, false), (1702, true), (1703, true)]
    );
    let text = desk.cli.read("third.report.csv");
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].starts_with("mail,name,mfa_opt_out,user_id,registered,line,"),
        "{text}"
    );
    assert!(
        lines[3].starts_with(",Al,false,1702,true,,applied,false,"),
        "{text}"
    );
    desk.run(
        &["undo", "third.report.csv"],
        &["--register", "jobs/register.csv"],
    )
    .exits(0);
    let sent = desk.org.requests();
    let undone: BTreeSet<_> = sent[4..]
        .iter()
        .map(|seen| (seen.user().unwrap(), seen.flag().unwrap()))
        .collect();
    assert_eq!(undone, BTreeSet::from([(1702, true), (1703, false)]));
}

#[test]
fn a_sync_whose_list_and_table_have_changed_since_it_was_killed_needs_nobody() {
    const ROWS: u64 = 60;
    let cli = Cli::new();
    let org = Ledger::start(Duration::from_millis(10));
    let mut people = "email,mfa_opt_out\n".to_owned();
    let mut users = "email,user_id\n".to_owned();
    for user in 1..=ROWS {
        writeln!(people, "u{user}@example.com,true").unwrap();
        writeln!(users, "u{user}@example.com,{user}").unwrap();
    }
    cli.write("people.csv", &people);
    cli.write("users.csv", &users);
    let url = org.url();
    let sync = [
        "sync",
        "people.csv",
        "--ids",
        "users.csv",
        "--register",
        "register.csv",
        "--yes",
        "--rate",
        "unlimited",
        "--address",
        &url,
    ];
    let mut child = start(cli.command(&[&sync[..], &["--full"]].concat()));
    org.must_see(20, &mut child);
    stop(child, Signal::KILL);
    org.must_be_left();
    // The next night has another list and one person more.
    writeln!(people, "new@example.com,true").unwrap();
    writeln!(users, "new@example.com,{}", ROWS + 1).unwrap();
    cli.write("people.csv", &people);
    cli.write("users.csv", &users);
    cli.run(&sync).exits(0);
    let register = cli.read("register.csv");
    for user in 1..=ROWS + 1 {
        assert!(register.contains(&format!("\n{user},true,")), "{register}");
    }
}

#[test]
fn the_lists_of_the_practice_org_lead_from_addresses_to_a_first_run() {
    let cli = Cli::new();
    let org = TestOrg::start(&cli, &["--members", "300"]);
    cli.write("members.json", org.file("/members.json"));
    cli.write("members.csv", org.file("/members.csv"));
    let members: serde_json::Value = serde_json::from_str(&cli.read("members.json")).unwrap();
    let members = members.as_array().unwrap();
    assert_eq!(members.len(), 300);
    let chosen: Vec<_> = members.iter().step_by(29).collect();
    let mut people = "email;mfa_opt_out\r\n".to_owned();
    for member in &chosen {
        write!(
            people,
            "{};yes\r\n",
            member["email"].as_str().unwrap().to_uppercase()
        )
        .unwrap();
    }
    cli.write("people.csv", people);
    for list in ["members.json", "members.csv"] {
        let words = ["--yes", "--overwrite", "--rate", "unlimited", "--address"];
        let table = ["apply", "people.csv", "--ids", list];
        let mut command = cli.command(&[&table[..], &words, &[org.address()]].concat());
        command.env("MFA_OPTOUT_API_KEY", "sandbox-key");
        Ran::of(command.output().unwrap())
            .exits(0)
            .says("300 entries")
            .says("11 rows matched");
    }
    let opted_out: BTreeSet<u64> = org.members().into_keys().collect();
    let expected = chosen.iter().map(|member| member["id"].as_u64().unwrap());
    assert_eq!(opted_out, expected.collect());
}
