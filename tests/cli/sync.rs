//! `sync`, the register and `exceptions` on the built binary: only differences are sent, people who
//! have left the table are opted back in, broken exports send nothing, and nothing that an
//! interrupted run leaves needs a person.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::common::hostile::{Hostile, Reply, Seen};
use crate::common::{Cli, Ran, ReportRow, report};

/// An Org that remembers its members, a folder with a table, and a register.
struct Desk {
    cli: Cli,
    org: Hostile,
    state: Arc<Mutex<BTreeMap<u64, bool>>>,
    /// Statuses with which the Org refuses users.
    refused: Arc<Mutex<BTreeMap<u64, u16>>>,
}

impl Desk {
    fn new() -> Self {
        let state = Arc::new(Mutex::new(BTreeMap::new()));
        let refused = Arc::new(Mutex::new(BTreeMap::new()));
        let members = Arc::clone(&state);
        let refused_users = Arc::clone(&refused);
        let org = Hostile::start(move |seen: &Seen| {
            let (Some(user), Some(flag)) = (seen.user(), seen.flag()) else {
                return Reply::new(404);
            };
            if let Some(status) = refused_users.lock().unwrap().get(&user) {
                return Reply::new(*status);
            }
            members.lock().unwrap().insert(user, flag);
            Reply::new(204)
        });
        Self {
            cli: Cli::new(),
            org,
            state,
            refused,
        }
    }

    /// Returns a desk whose register knows these users as opted out by the list `exceptions.csv`.
    fn with(users: &[u64]) -> Self {
        let desk = Self::new();
        desk.write("exceptions.csv", users);
        desk.sync("exceptions.csv", &["--full"]).exits(0);
        desk
    }

    fn write(&self, name: &str, users: &[u64]) {
        let rows: Vec<String> = users.iter().map(|id| format!("{id},true\n")).collect();
        let table = format!("user_id,mfa_opt_out\n{}", rows.concat());
        self.cli.write(name, table);
    }

    fn run(&self, words: &[&str], more: &[&str]) -> Ran {
        let url = self.org.url();
        let common = [
            "--yes",
            "--rate",
            "unlimited",
            "--register",
            "register.csv",
            "--address",
            &url,
        ];
        self.cli.run(&[words, &common, more].concat())
    }

    fn sync(&self, table: &str, more: &[&str]) -> Ran {
        self.run(&["sync", table], more)
    }

    fn opted_out(&self) -> BTreeSet<u64> {
        let state = self.state.lock().unwrap();
        let opted_out = state.iter().filter(|(_, flag)| **flag);
        opted_out.map(|(user, _)| *user).collect()
    }

    /// Runs something and returns what was sent: users and flags, in order.
    fn sent_by(&self, run: impl FnOnce() -> Ran) -> Vec<(u64, bool)> {
        let before = self.org.requests().len();
        run();
        let mut sent: Vec<(u64, bool)> = self.org.requests()[before..]
            .iter()
            .map(|seen| (seen.user().unwrap(), seen.flag().unwrap()))
            .collect();
        sent.sort_unstable();
        sent
    }

    fn refuse(&self, users: impl IntoIterator<Item = u64>, status: u16) {
        let mut refused = self.refused.lock().unwrap();
        refused.extend(users.into_iter().map(|user| (user, status)));
    }

    /// The entries of the register, by user.
    fn register(&self) -> BTreeMap<u64, ReportRow> {
        let text = self.cli.read("register.csv");
        let (first, table) = text.split_once('\n').unwrap();
        assert!(first.starts_with("mfa-optout register,"), "{first}");
        let mut reader = csv::Reader::from_reader(table.as_bytes());
        let rows = reader.deserialize().map(Result::unwrap);
        rows.map(|row: ReportRow| (row["user_id"].parse().unwrap(), row))
            .collect()
    }

    /// Returns the reports of `sync`, in the order of their times.
    fn reports(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.cli.folder()).unwrap();
        let mut reports: Vec<PathBuf> = entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                name.starts_with("exceptions.20") && name.ends_with(".report.csv")
            })
            .collect();
        reports.sort_by_key(|path| fs::metadata(path).unwrap().modified().unwrap());
        reports
    }

    fn last_report(&self) -> Vec<ReportRow> {
        report(self.reports().last().expect("there is a report"))
    }
}

fn users(range: std::ops::RangeInclusive<u64>) -> Vec<u64> {
    range.collect()
}

#[test]
fn only_differences_are_sent_and_people_who_have_left_are_opted_back_in() {
    let desk = Desk::with(&[1, 2, 3, 4]);
    assert_eq!(desk.opted_out(), BTreeSet::from([1, 2, 3, 4]));
    assert_eq!(
        desk.sent_by(|| desk.sync("exceptions.csv", &[]).exits(0)),
        []
    );
    assert_eq!(
        desk.reports().len(),
        1,
        "a night without differences makes no report"
    );
    desk.write("exceptions.csv", &[1, 2, 4, 5]);
    let ran = |desk: &Desk| {
        desk.sync("exceptions.csv", &[])
            .exits(0)
            .says("1 arrival, 1 departure, 3 unchanged")
    };
    let sent = desk.sent_by(|| ran(&desk));
    assert_eq!(sent, [(3, false), (5, true)]);
    let rows = desk.last_report();
    let unchanged = "already set according to the register";
    let told: Vec<[&str; 5]> = rows
        .iter()
        .map(|row| {
            ["user_id", "registered", "line", "wanted", "detail"].map(|name| row[name].as_str())
        })
        .collect();
    assert_eq!(
        told,
        [
            ["1", "true", "2", "true", unchanged],
            ["2", "true", "3", "true", unchanged],
            ["4", "true", "4", "true", unchanged],
            ["5", "", "5", "true", ""],
            ["3", "true", "", "false", "left the table"],
        ]
    );
    let outcomes = rows.iter().map(|row| row["outcome"].as_str());
    let applied: Vec<bool> = outcomes.map(|outcome| outcome == "applied").collect();
    assert_eq!(applied, [false, false, false, true, true]);
    let register = desk.register();
    assert_eq!(register[&3]["mfa_opt_out"], "false");
    assert_eq!(register[&3]["lists"], "");
    assert!(register[&5]["lists"].ends_with("exceptions.csv"));
}

#[test]
fn sync_needs_a_register_and_only_full_creates_it() {
    let desk = Desk::new();
    desk.write("exceptions.csv", &[1]);
    let url = desk.org.url();
    desk.cli
        .run(&["sync", "exceptions.csv", "--yes", "--address", &url])
        .exits(2)
        .says("--register");
    desk.sync("exceptions.csv", &[])
        .exits(2)
        .says("run `sync` with --full once");
    assert!(desk.org.requests().is_empty());
    assert!(!desk.cli.path("register.csv.lock").exists());
    desk.sync("exceptions.csv", &["--full"]).exits(0);
    // A register that is lost is not created by the way.
    fs::remove_file(desk.cli.path("register.csv")).unwrap();
    desk.write("users.csv", &[7]);
    desk.run(&["apply", "users.csv"], &[])
        .exits(2)
        .says("is not there");
    desk.sync("exceptions.csv", &[]).exits(2);
    desk.sync("exceptions.csv", &["--full"]).exits(0);
    assert_eq!(desk.register().len(), 1);
}

#[test]
fn broken_exports_send_nothing() {
    let desk = Desk::with(&users(1..=100));
    let before = desk.org.requests().len();
    let refused = |name: &str, content: &str, why: &str| {
        desk.cli.write(name, content);
        desk.sync(name, &["--list", "L"]).exits(2).says(why);
    };
    // Under the name of the list that has the people.
    let list = desk.register()[&1]["lists"].clone();
    let with_list = |name: &str| desk.sync(name, &["--list", &list]).exits(2);
    desk.cli.write("empty.csv", "");
    with_list("empty.csv").says("has no rows");
    desk.cli.write("header.csv", "user_id,mfa_opt_out\n");
    with_list("header.csv").says("--max-missing 100%");
    refused(
        "header.csv",
        "user_id,mfa_opt_out\n",
        "the table has no rows",
    );
    desk.write("gone.csv", &users(61..=100));
    with_list("gone.csv").says("60 of the 100 people on this list are missing");
    desk.write("replaced.csv", &users(201..=300));
    with_list("replaced.csv").says("100 of the 100 people");
    let other = Hostile::start(|_| Reply::new(204));
    desk.sync("exceptions.csv", &["--address", &other.url()])
        .exits(2);
    assert_eq!(desk.org.requests().len(), before);
    assert!(other.requests().is_empty());
    // An emptied list is taken at its word only if that is said.
    desk.sync("header.csv", &["--list", &list, "--max-missing", "100%"])
        .exits(0);
    assert!(desk.opted_out().is_empty());
}

#[test]
fn a_register_of_another_org_is_refused_and_a_new_key_is_said_once() {
    let desk = Desk::with(&[1]);
    let url = desk.org.url();
    let other = Hostile::start(|_| Reply::new(204));
    let run = |address: &str, key: &str, more: &[&str]| {
        let words = [
            "sync",
            "exceptions.csv",
            "--yes",
            "--register",
            "register.csv",
            "--address",
            address,
        ];
        let mut command = desk.cli.command(&[&words, more].concat());
        Ran::of(command.env("MFA_OPTOUT_API_KEY", key).output().unwrap())
    };
    run(&other.url(), crate::common::KEY, &[])
        .exits(2)
        .says("belongs to another Org");
    run(&url, "another-key", &[]).exits(2).says("--new-key");
    desk.write("exceptions.csv", &[1, 2]);
    run(&url, "another-key", &["--new-key"]).exits(0);
    run(&url, "another-key", &[]).exits(0);
    assert!(other.requests().is_empty());
}

#[test]
fn nobody_is_opted_back_in_while_hidden_rows_are_left_out() {
    let desk = Desk::with(&users(1..=10));
    let mut book = rust_xlsxwriter::Workbook::new();
    let sheet = book.add_worksheet();
    sheet.write_row(0, 0, ["user_id", "mfa_opt_out"]).unwrap();
    for row in 1..=9 {
        sheet
            .write_row(row, 0, [row.to_string(), "true".to_owned()])
            .unwrap();
    }
    sheet.set_row_hidden(9).unwrap();
    book.save(desk.cli.path("people.xlsx")).unwrap();
    let list = desk.cli.path("exceptions.csv");
    let list = ["--list", list.to_str().unwrap()];
    let visible_only = || {
        desk.sync("people.xlsx", &[&list[..], &["--visible-only"]].concat())
            .exits(1)
            .says("2 people have left the table and are not opted back in")
    };
    assert_eq!(desk.sent_by(visible_only), []);
    let sent = desk.sent_by(|| desk.sync("people.xlsx", &list).exits(0));
    assert_eq!(sent, [(10, false)]);
}

#[test]
fn a_new_key_that_has_changed_nothing_does_not_become_the_key_of_the_register() {
    let desk = Desk::with(&[1]);
    let new_key = |more: &[&str]| {
        let url = desk.org.url();
        let words = [
            "sync",
            "exceptions.csv",
            "--yes",
            "--new-key",
            "--register",
            "register.csv",
            "--address",
            &url,
        ];
        let mut command = desk.cli.command(&[&words, more].concat());
        Ran::of(
            command
                .env("MFA_OPTOUT_API_KEY", "another-key")
                .output()
                .unwrap(),
        )
    };
    desk.write("exceptions.csv", &[1, 2, 3]);
    desk.sync("exceptions.csv", &["--limit", "1"]).exits(5);
    // It brings the interrupted run into the register, and then is refused for the empty table.
    desk.write("exceptions.csv", &[]);
    new_key(&[]).exits(2).says("has no rows");
    desk.write("exceptions.csv", &[1, 2, 3]);
    desk.refuse(users(1..=3), 401);
    new_key(&[]).exits(3);
    desk.refused.lock().unwrap().clear();
    desk.sync("exceptions.csv", &[]).exits(0);
    assert_eq!(desk.opted_out(), BTreeSet::from([1, 2, 3]));
}

#[test]
fn people_who_left_are_listed_and_left_alone_on_request_or_while_rows_are_invalid() {
    let desk = Desk::with(&users(1..=10));
    desk.write("exceptions.csv", &users(1..=8));
    let kept = |more: &[&str]| desk.sent_by(|| desk.sync("exceptions.csv", more).exits(0));
    assert_eq!(kept(&["--keep-missing"]), []);
    desk.cli.write(
        "exceptions.csv",
        "user_id,mfa_opt_out\n1,true\n2,true\n3,true\n4,true\n5,true\n6,true\n7,true\n8,true\nx,true\n11,true\n",
    );
    let sent = desk.sent_by(|| {
        desk.sync("exceptions.csv", &["--skip-invalid"])
            .exits(1)
            .says("2 people have left the table")
    });
    assert_eq!(sent, [(11, true)]);
    let rows = desk.last_report();
    let last = rows.last().unwrap();
    assert_eq!(last["outcome"], "unchanged");
    assert!(last["detail"].starts_with("left the table"), "{last:?}");
    // They are departures again once the table is right.
    desk.write("exceptions.csv", &[1, 2, 3, 4, 5, 6, 7, 8, 11]);
    assert_eq!(kept(&[]), [(9, false), (10, false)]);
}

#[test]
fn two_lists_on_one_register_do_not_undo_each_other() {
    let desk = Desk::with(&[1, 2, 3]);
    desk.write("second.csv", &[3, 4, 5]);
    let sync = |table: &str| desk.sent_by(|| desk.sync(table, &[]).exits(0));
    assert_eq!(sync("second.csv"), [(4, true), (5, true)]);
    desk.write("exceptions.csv", &[1, 2]);
    assert_eq!(sync("exceptions.csv"), [], "3 is on the second list");
    desk.write("second.csv", &[4, 5]);
    assert_eq!(sync("second.csv"), [(3, false)]);
    // A date that has passed counts for its own list only.
    desk.cli.write(
        "second.csv",
        "user_id,mfa_opt_out,opt_out_until\n1,true,2020-01-01\n4,true,\n5,true,2020-01-01\n",
    );
    desk.sync("second.csv", &["--dry-run", "--verbose"])
        .exits(0)
        .says("line 4: 5: opted out -> opted in (the end date has passed)");
    assert_eq!(sync("second.csv"), [(5, false)]);
    assert_eq!(sync("exceptions.csv"), []);
    assert_eq!(desk.opted_out(), BTreeSet::from([1, 2, 4]));
}

#[test]
fn an_apply_by_day_survives_the_sync_at_night_until_its_date() {
    let desk = Desk::with(&[1]);
    desk.cli.write(
        "today.csv",
        "user_id,name,mfa_opt_out,opt_out_until\n70,Ada,true,2999-12-31\n71,Bob,true,\n",
    );
    desk.run(&["apply", "today.csv"], &["--reason", "lost phone"])
        .exits(0);
    assert_eq!(
        desk.sent_by(|| desk.sync("exceptions.csv", &[]).exits(0)),
        []
    );
    let register = desk.register();
    assert_eq!(register[&70]["reason"], "lost phone");
    assert_eq!(register[&70]["name"], "Ada");
    assert_eq!(register[&70]["lists"], "");
    // The day comes.
    let text = desk.cli.read("register.csv");
    let text = text.replace("2999-12-31", "2020-01-01");
    let path = desk.cli.path("register.csv");
    fs::write(&path, text).unwrap();
    let sent = desk.sent_by(|| desk.sync("exceptions.csv", &[]).exits(0).says("1 expiry"));
    assert_eq!(sent, [(70, false)]);
    let rows = desk.last_report();
    let row = rows.iter().find(|row| row["user_id"] == "70").unwrap();
    assert_eq!(row["detail"], "the end date in the register has passed");
    assert_eq!(desk.opted_out(), BTreeSet::from([1, 71]));
}

#[test]
fn ten_people_who_left_and_were_deleted_are_reported_once_and_hold_nothing_up() {
    let desk = Desk::with(&users(1..=40));
    desk.refuse(1..=10, 404);
    desk.write("exceptions.csv", &users(11..=40));
    let ran = desk.sync("exceptions.csv", &["--max-missing", "10"]);
    ran.exits(1);
    let rows = desk.last_report();
    let failed = rows.iter().filter(|row| row["outcome"] == "failed").count();
    assert_eq!(failed, 10);
    assert_eq!(desk.register().len(), 30);
    desk.write("exceptions.csv", &users(11..=41));
    let sent = desk.sent_by(|| desk.sync("exceptions.csv", &[]).exits(0));
    assert_eq!(sent, [(41, true)]);
}

#[test]
fn rows_that_failed_last_time_are_sent_last() {
    let desk = Desk::new();
    desk.refuse([1, 2], 422);
    desk.write("exceptions.csv", &[1, 2, 3]);
    desk.sync("exceptions.csv", &["--full"]).exits(1);
    assert_eq!(desk.register().len(), 1, "only what was confirmed is known");
    desk.write("exceptions.csv", &[1, 2, 3, 4, 5]);
    let before = desk.org.requests().len();
    desk.sync("exceptions.csv", &["--concurrency", "1"])
        .exits(1);
    let order: Vec<u64> = desk.org.requests()[before..]
        .iter()
        .filter_map(Seen::user)
        .collect();
    assert_eq!(order[..2], [4, 5]);
}

#[test]
fn a_limited_run_is_continued_by_the_next_sync() {
    let desk = Desk::new();
    desk.write("exceptions.csv", &users(1..=5));
    let sent = desk.sent_by(|| {
        desk.sync("exceptions.csv", &["--full", "--limit", "2"])
            .exits(5)
            .says("--limit")
    });
    assert_eq!(sent.len(), 2);
    assert_eq!(desk.register().len(), 2, "the others were not sent");
    // The table may have changed since.
    desk.write("exceptions.csv", &users(2..=6));
    let sent = desk.sent_by(|| {
        desk.sync("exceptions.csv", &[])
            .exits(0)
            .says("was brought into the register and closed")
    });
    let expected = [(1, false), (3, true), (4, true), (5, true), (6, true)];
    assert_eq!(sent, expected);
    assert_eq!(desk.reports().len(), 2);
    let first = report(&desk.reports()[0]);
    let outcomes: Vec<&str> = first.iter().map(|row| row["outcome"].as_str()).collect();
    assert_eq!(
        outcomes,
        ["applied", "applied", "not_sent", "not_sent", "not_sent"]
    );
}

#[test]
fn a_dry_run_changes_neither_the_register_nor_anything_else() {
    let desk = Desk::with(&[1, 2, 3]);
    desk.write("exceptions.csv", &users(2..=6));
    desk.sync("exceptions.csv", &["--limit", "1"]).exits(5);
    let files = || -> BTreeMap<PathBuf, Vec<u8>> {
        let entries = fs::read_dir(desk.cli.folder()).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect()
    };
    let before = files();
    let sent = desk.sent_by(|| desk.sync("exceptions.csv", &["--dry-run"]).exits(0));
    assert_eq!((sent.len(), files() == before), (0, true));
}

#[test]
fn undo_of_a_sync_restores_what_the_register_said() {
    let desk = Desk::with(&[1, 2, 3]);
    // 9 is known as opted in, 4 is not known.
    desk.cli.write("in.csv", "user_id,mfa_opt_out\n9,false\n");
    desk.run(&["apply", "in.csv"], &[]).exits(0);
    desk.write("exceptions.csv", &[1, 2, 4, 9]);
    desk.sync("exceptions.csv", &[]).exits(0);
    let report_path = desk.reports().last().unwrap().clone();
    let name = report_path.file_name().unwrap().to_str().unwrap();
    let sent = desk.sent_by(|| {
        desk.run(&["undo", name], &[])
            .exits(0)
            .says("the next sync of the same list will change it again")
    });
    assert_eq!(sent, [(3, true), (4, false), (9, false)]);
    assert_eq!(desk.opted_out(), BTreeSet::from([1, 2, 3]));
    let register = desk.register();
    let flags: Vec<&str> = register
        .values()
        .map(|row| row["mfa_opt_out"].as_str())
        .collect();
    assert_eq!(flags, ["true", "true", "true", "false", "false"]);
}

#[test]
fn an_undo_without_the_record_of_the_sync_is_refused() {
    let desk = Desk::with(&[1, 2, 3]);
    let path = desk.reports()[0].clone();
    fs::remove_file(path.with_extension("json")).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    let sent = desk.sent_by(|| {
        desk.run(&["undo", name], &[])
            .exits(2)
            .says("the record of the run")
    });
    assert_eq!(sent, []);
}

#[test]
fn retry_and_undo_skip_users_whom_a_later_run_has_changed() {
    let desk = Desk::with(&[1]);
    desk.write("users.csv", &[5, 6, 7]);
    desk.refuse([6], 422);
    desk.run(&["apply", "users.csv"], &[]).exits(1);
    desk.refused.lock().unwrap().clear();
    // By another run, 5 and 6 are opted in.
    desk.cli
        .write("later.csv", "user_id,mfa_opt_out\n5,false\n6,false\n");
    desk.run(&["apply", "later.csv"], &[]).exits(0);
    let retry = |command: &str| {
        desk.sent_by(|| {
            desk.run(&[command, "users.report.csv"], &[])
                .exits(0)
                .says("a later run has changed the user")
        })
    };
    assert_eq!(retry("retry"), []);
    assert_eq!(retry("undo"), [(7, false)]);
    let rows = report(&desk.cli.path("users.undo-1.report.csv"));
    let skipped = rows.iter().find(|row| row["user_id"] == "5").unwrap();
    assert_eq!(skipped["outcome"], "unchanged");
}

#[test]
fn close_brings_an_interrupted_apply_into_its_register() {
    let desk = Desk::with(&[1]);
    desk.write("users.csv", &[5, 6]);
    desk.run(&["apply", "users.csv"], &["--limit", "1"])
        .exits(5);
    desk.cli.run(&["close", "users.report.csv"]).exits(0);
    let flags: Vec<String> = desk
        .register()
        .values()
        .map(|row| format!("{} {}", row["user_id"], row["mfa_opt_out"]))
        .collect();
    assert_eq!(flags, ["1 true", "5 true"]);
    assert_eq!(
        desk.sent_by(|| desk.sync("exceptions.csv", &[]).exits(0)),
        []
    );
}

#[test]
fn an_interrupted_apply_goes_on_and_updates_the_register() {
    let desk = Desk::with(&[1]);
    desk.write("users.csv", &[5, 6, 7]);
    desk.run(&["apply", "users.csv"], &["--limit", "1"])
        .exits(5);
    desk.run(&["apply", "users.csv"], &[]).exits(0);
    assert_eq!(report(&desk.cli.path("users.report.csv")).len(), 3);
    let register = desk.register();
    assert!(register.values().all(|row| row["mfa_opt_out"] == "true"));
    assert_eq!(register.len(), 4);
}

#[test]
fn a_leftover_journal_that_is_damaged_is_kept_aside_and_its_users_are_sent_again() {
    let desk = Desk::with(&[1]);
    desk.write("exceptions.csv", &users(1..=4));
    desk.sync("exceptions.csv", &["--limit", "1"]).exits(5);
    let entries = fs::read_dir(desk.cli.folder()).unwrap();
    let paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    let journal = paths
        .iter()
        .find(|path| path.extension().is_some_and(|end| end == "partial"))
        .unwrap();
    let mut bytes = fs::read(journal).unwrap();
    bytes[40] ^= 1;
    fs::write(journal, bytes).unwrap();
    let ran = desk.sync("exceptions.csv", &[]).exits(0);
    ran.says("its journal is kept as");
    assert_eq!(desk.opted_out(), BTreeSet::from([1, 2, 3, 4]));
}

#[test]
fn a_damaged_register_is_refused_with_line_and_reason() {
    let desk = Desk::with(&[1, 2]);
    let text = desk.cli.read("register.csv");
    fs::write(
        desk.cli.path("register.csv"),
        text.replace("\n2,true", "\n2,maybe"),
    )
    .unwrap();
    let sent = desk.sent_by(|| {
        desk.sync("exceptions.csv", &[])
            .exits(2)
            .says("line 4: column mfa_opt_out can't be \"maybe\"")
    });
    assert_eq!(sent, []);
}

#[test]
fn the_name_of_the_list_is_needed_for_standard_input_and_dated_files() {
    let desk = Desk::with(&[1]);
    desk.write("exceptions-2026-11-28.csv", &[1]);
    desk.write("exceptions 2026-11.csv", &[1]);
    for table in ["-", "exceptions-2026-11-28.csv", "exceptions 2026-11.csv"] {
        desk.sync(table, &[]).exits(2).says("--list");
    }
    desk.write("exceptions 2026-4711.csv", &[1]);
    desk.sync("exceptions 2026-4711.csv", &[]).exits(0);
}

#[test]
fn a_list_that_the_register_does_not_know_is_mentioned_until_it_is_known() {
    let note = "this list is new in the register";
    let desk = Desk::new();
    desk.write("exceptions.csv", &[1, 2]);
    let first = desk.sync("exceptions.csv", &["--full"]).exits(0);
    assert!(!first.text().contains(note));
    desk.write("renamed.csv", &[1]);
    desk.sync("renamed.csv", &["--dry-run"])
        .exits(0)
        .says(note)
        .says("exceptions.csv");
    desk.sync("renamed.csv", &[]).exits(0).says(note);
    let known = desk.sync("renamed.csv", &[]).exits(0);
    assert!(!known.text().contains(note));
}

#[test]
fn exceptions_lists_who_is_opted_out_by_end_date() {
    let desk = Desk::new();
    desk.cli.write(
        "exceptions.csv",
        "user_id,name,mfa_opt_out,opt_out_until,reason\n\
         1,Ada,true,,always\n2,Bob,true,2999-01-01,sick leave\n3,Cy,false,,\n4,Di,true,2998-01-01,\n",
    );
    desk.sync("exceptions.csv", &["--full"]).exits(0);
    let list = |more: &[&str]| {
        let words = ["exceptions", "--register", "register.csv"];
        desk.cli.run(&[&words, more].concat())
    };
    let csv = list(&["--format", "csv"]).exits(0).stdout;
    let ids: Vec<&str> = csv
        .lines()
        .skip(1)
        .filter_map(|line| line.split(',').next())
        .collect();
    assert_eq!(ids, ["4", "2", "1"]);
    let json = list(&["--format", "json"]).exits(0).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[1]["reason"], "sick leave");
    assert_eq!(json[2]["opt_out_until"], serde_json::Value::Null);
    let table = list(&[]).exits(0).stdout;
    assert!(table.contains("3 people"), "{table}");
    list(&["--without-end", "--fail-if-any"])
        .exits(1)
        .says("Ada");
    list(&["--expiring", "14d", "--fail-if-any"])
        .exits(0)
        .says("nobody");
    list(&["--fail-if-any"]).exits(1);
    list(&["--expiring", "soon"]).exits(2);
}

#[test]
fn sync_says_who_expires_within_a_week_and_counts_the_exceptions_in_its_metrics() {
    let desk = Desk::new();
    let today = jiff::tz::TimeZone::UTC
        .to_datetime(jiff::Timestamp::now())
        .date();
    let soon = today.tomorrow().unwrap();
    desk.cli.write(
        "exceptions.csv",
        format!("user_id,name,mfa_opt_out,opt_out_until\n1,Ada,true,{soon}\n2,Bob,true,\n"),
    );
    desk.sync("exceptions.csv", &["--full"]).exits(0);
    desk.sync("exceptions.csv", &["--full", "--metrics", "mfa.prom"])
        .exits(0)
        .says(&format!("1 exception ends within a week: 1 Ada ({soon})"));
    let metrics = desk.cli.read("mfa.prom");
    for (name, number) in [
        ("exceptions{", 2),
        ("exceptions_without_end{", 1),
        ("exceptions_ending_within_a_week{", 1),
    ] {
        let line = metrics
            .lines()
            .find(|line| line.contains(&format!("_{name}")))
            .unwrap_or_else(|| panic!("{name} in {metrics}"));
        assert!(line.ends_with(&format!(" {number}")), "{line}");
    }
}

#[test]
fn a_quiet_run_says_nothing_on_success_and_one_line_if_rows_need_attention() {
    let desk = Desk::with(&[1]);
    desk.write("exceptions.csv", &[1, 2, 3]);
    let ran = desk.sync("exceptions.csv", &["--quiet"]).exits(0);
    assert_eq!(ran.text(), "");
    desk.write("exceptions.csv", &[1, 2, 3, 4, 5]);
    desk.refuse([5], 422);
    let ran = desk.sync("exceptions.csv", &["--quiet"]).exits(1);
    assert_eq!(ran.text().lines().count(), 1, "{}", ran.text());
    ran.says("1 row needs attention: failed 422")
        .says("report: exceptions.20");
}

mod processes {
    use std::time::Duration;

    use super::*;
    use crate::common::ledger::{Ledger, Signal, start, stop};

    fn words<'a>(table: &'a str, register: &'a str, url: &'a str) -> Vec<&'a str> {
        vec![
            "sync",
            table,
            "--yes",
            "--rate",
            "unlimited",
            "--register",
            register,
            "--address",
            url,
        ]
    }

    #[cfg(unix)] // links, signals
    #[test]
    fn of_two_syncs_through_different_paths_one_owns_the_register() {
        use std::os::unix::fs::symlink;

        let cli = Cli::new();
        let org = Ledger::start(Duration::from_millis(400));
        let url = org.url();
        fs::create_dir(cli.path("real")).unwrap();
        symlink(cli.path("real"), cli.path("linked")).unwrap();
        cli.write("exceptions.csv", crate::common::table(30));
        let mut first = words("exceptions.csv", "real/register.csv", &url);
        first.extend(["--full", "--concurrency", "1"]);
        let mut child = start(cli.command(&first));
        org.must_see(2, &mut child);
        let seen = org.count();
        let mut second = words("exceptions.csv", "linked/register.csv", &url);
        second.extend(["--full", "--report", "second.csv"]);
        cli.run(&second).exits(4).says("is being used by");
        let exceptions = ["exceptions", "--register", "linked/register.csv"];
        cli.run(&exceptions).exits(0).says("unknown");
        assert!(org.count() >= seen);
        assert_eq!(stop(child, Signal::TERM).status.code(), Some(143));
    }

    /// Users and flags that the Org has, from what it has seen.
    fn state(org: &Ledger) -> BTreeMap<u64, bool> {
        org.puts().iter().map(|put| (put.user, put.flag)).collect()
    }

    #[test]
    fn ten_nights_with_kills_end_with_org_table_and_register_agreeing() {
        let mut random = fastrand::Rng::with_seed(7);
        let cli = Cli::new();
        let org = Ledger::start(Duration::from_millis(3));
        let url = org.url();
        let mut table: BTreeSet<u64> = BTreeSet::new();
        let write = |table: &BTreeSet<u64>| {
            let rows: Vec<String> = table.iter().map(|id| format!("{id},true\n")).collect();
            let text = format!("user_id,mfa_opt_out\n{}", rows.concat());
            cli.write("exceptions.csv", text);
        };
        for night in 0..10 {
            let known = known(&cli);
            for _ in 0..40 {
                let user = random.u64(1..=150);
                // The opposite of what is in doubt would have to wait for a minute.
                match known.get(&user).map(String::as_str) {
                    None | Some("false") => table.insert(user),
                    Some("true") if random.bool() => table.remove(&user),
                    Some(_) => false,
                };
            }
            write(&table);
            for _ in 0..random.usize(1..4) {
                let mut sync = words("exceptions.csv", "register.csv", &url);
                sync.extend(["--full", "--max-missing", "100%", "--concurrency", "4"]);
                if night > 0 {
                    sync.retain(|word| *word != "--full");
                }
                let before = org.count();
                let mut child = start(cli.command(&sync));
                org.wait_for(
                    before + random.usize(1..40),
                    &mut child,
                    Duration::from_secs(20),
                );
                stop(child, Signal::KILL);
            }
            assert_register_is_true(&cli, &org);
        }
        let mut sync = words("exceptions.csv", "register.csv", &url);
        sync.extend(["--max-missing", "100%", "--full"]);
        cli.run(&sync).exits(0);
        let opted_out: BTreeSet<u64> = state(&org)
            .iter()
            .filter(|(_, flag)| **flag)
            .map(|(user, _)| *user)
            .collect();
        assert_eq!(opted_out, table);
        assert_register_is_true(&cli, &org);
        let before = org.count();
        sync.retain(|word| *word != "--full");
        cli.run(&sync).exits(0);
        assert_eq!(org.count(), before);
        let left = fs::read_dir(cli.folder())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| name.contains(".partial") || name.contains(".tmp"))
            .count();
        assert_eq!(left, 0, "every run is closed");
    }

    /// What the register says, by user.
    fn known(cli: &Cli) -> BTreeMap<u64, String> {
        let text = fs::read_to_string(cli.path("register.csv")).unwrap_or_default();
        let mut known = BTreeMap::new();
        for line in text.lines().skip(2) {
            let mut cells = line.split(',');
            let user = cells.next().unwrap().parse().unwrap();
            known.insert(user, cells.next().unwrap().to_owned());
        }
        known
    }

    /// The register never says `true` or `false` where the Org says otherwise.
    fn assert_register_is_true(cli: &Cli, org: &Ledger) {
        org.must_be_left();
        let state = state(org);
        for (user, word) in known(cli) {
            let in_org = state.get(&user).copied().unwrap_or_default();
            if word != "unknown" {
                assert_eq!(word, in_org.to_string(), "user {user}");
            }
        }
    }

    #[cfg(unix)] // a terminal that the test controls
    #[test]
    fn a_register_that_changes_behind_an_open_question_stops_the_run() {
        let desk = Desk::with(&[1]);
        desk.write("exceptions.csv", &[1, 2]);
        let url = desk.org.url();
        let mut sync = words("exceptions.csv", "register.csv", &url);
        sync.retain(|word| *word != "--yes");
        let mut command = desk.cli.command(&sync);
        command
            .stdin(std::process::Stdio::inherit())
            .env("TERM", "xterm-256color");
        let mut session = rexpect::session::spawn_command(command, Some(60_000)).unwrap();
        session.exp_string("[y/N]").unwrap();
        desk.write("users.csv", &[9]);
        desk.run(&["apply", "users.csv"], &[]).exits(0);
        let before = desk.org.requests().len();
        session.send_line("y").unwrap();
        let said = session.exp_eof().unwrap();
        assert!(
            said.contains("has changed since the plan was made"),
            "{said}"
        );
        assert!(said.contains("run the same command again"), "{said}");
        assert_eq!(desk.org.requests().len(), before);
    }
}

#[test]
fn page_of_a_planned_sync_says_from_what_to_what() {
    let desk = Desk::with(&[1, 2]);
    desk.write("exceptions.csv", &[1, 3]);
    let options = ["--dry-run", "--html", "plan.html", "--max-missing", "100%"];
    let sent = desk.sent_by(|| desk.sync("exceptions.csv", &options).exits(0));
    assert_eq!(sent, []);
    let page = desk.cli.read("plan.html");
    for row in [
        r#"2,"1","opt out","opt out",null,"#,
        r#"3,"3","not registered","opt out",null,"#,
        r#"null,"2","opt out","opt in",null,"#,
    ] {
        assert!(page.contains(row), "{row} is not in {page}");
    }
}

#[test]
fn page_of_a_sync_says_who_arrived_who_left_and_what_was_registered() {
    let desk = Desk::with(&[1, 2]);
    let today = jiff::tz::TimeZone::UTC
        .to_datetime(jiff::Timestamp::now())
        .date();
    let tomorrow = today.tomorrow().unwrap();
    let table = format!(
        "user_id,name,mfa_opt_out,opt_out_until\n1,Ada,true,{tomorrow}\n3,Bo,true,{tomorrow}\n"
    );
    desk.cli.write("exceptions.csv", table);
    let options = ["--html", "page.html", "--max-missing", "100%"];
    desk.sync("exceptions.csv", &options).exits(0);
    let page = desk.cli.read("page.html");
    for words in [
        r##"<dt>Arrivals</dt><dd><a href="#listing" data-search="arrival">1</a></dd>"##,
        r##"<dt>Departures</dt><dd><a href="#listing" data-search="not in the table">1</a></dd>"##,
        "<dt>Changes</dt><dd>0</dd>",
        "2 exceptions end within a week: 1 Ada",
        r#"2,"1","opt out","opt out","same","Ada","#,
        r#"3,"3","opt out","","arrival","Bo","#,
        r#"null,"2","opt in","opt out","not in the table","#,
    ] {
        assert!(page.contains(words), "{words} is not in {page}");
    }
}

#[test]
fn verbose_dry_run_lists_line_user_name_and_both_flags() {
    let desk = Desk::with(&[1, 2]);
    let table = "user_id,name,mfa_opt_out\n1,Ada,false\n3,Bo,true\n";
    desk.cli.write("exceptions.csv", table);
    let options = ["--dry-run", "--verbose", "--max-missing", "100%"];
    let ran = desk.sync("exceptions.csv", &options).exits(0);
    for line in [
        "line 2: 1 Ada: opted out -> opted in\n",
        "line 3: 3 Bo: not registered -> opted out\n",
        "not in the table: 2: opted out -> opted in (left the table)\n",
    ] {
        assert!(ran.stdout.contains(line), "{line} is not in {}", ran.stdout);
    }
    let ran = desk.run(&["apply", "exceptions.csv"], &["--dry-run", "--verbose"]);
    ran.exits(0).says("line 3: 3 Bo: ");
}
