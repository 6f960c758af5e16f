//! A small run that is killed, or meets a full or a broken disk, at each of its calls on files in
//! turn, and is then started again. What the Org has seen is held against the report.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::Duration;

use nix::errno::Errno;

use super::ledger::{Ledger, on_record};
use super::tracer::{Fault, run};
use super::{Cli, Ran, apply_words, outcomes, table};

const ROWS: u64 = 40;

/// How often what happened.
#[derive(Debug, Default)]
pub struct Crashed {
    /// Faults by kind.
    pub faults: BTreeMap<String, usize>,
    /// Faults by the call that was hit.
    pub calls: BTreeMap<String, usize>,
    /// Exit codes of the runs that met a fault; -1 for a run that was killed.
    pub codes: BTreeMap<i32, usize>,
    /// What went wrong, with all that is needed to do it again.
    pub wrong: Vec<String>,
}

/// Tries every fault at every call, each in a run of its own.
pub fn crash_everywhere() -> Crashed {
    let mut done = Crashed::default();
    let faults = [
        Fault::Kill,
        Fault::Fails(Errno::ENOSPC),
        Fault::Fails(Errno::EIO),
        Fault::FailsFromHere(Errno::ENOSPC),
        Fault::FailsFromHere(Errno::EIO),
    ];
    for fault in faults {
        let mut at = 1;
        while crash(at, fault, &mut done) {
            at += 1;
        }
    }
    done
}

fn command(cli: &Cli, org: &Ledger) -> Command {
    let url = org.url();
    let words = apply_words(&url, "8", &[]);
    cli.command(&words)
}

impl Crashed {
    /// Counts a fault that happened at this system call, and the exit code of the run that it hit.
    fn count(&mut self, call: &str, fault: Fault, code: Option<i32>) {
        let name = call.split(' ').next().unwrap_or_default();
        *self.faults.entry(format!("{fault:?}")).or_default() += 1;
        *self.calls.entry(name.to_owned()).or_default() += 1;
        *self.codes.entry(code.unwrap_or(-1)).or_default() += 1;
    }
}

/// Runs the tool with a fault, then the runs that follow it. Returns whether the fault happened.
fn crash(at: usize, fault: Fault, done: &mut Crashed) -> bool {
    let cli = Cli::new();
    let org = Ledger::start(Duration::from_millis(2));
    cli.write("users.csv", table(ROWS));
    let traced = run(&command(&cli, &org), cli.folder(), at, fault);
    let Some(call) = &traced.hit else {
        return false;
    };
    org.must_be_left();
    done.count(call, fault, traced.code);
    let mut complain = |why: String| {
        let said = &traced.said;
        done.wrong
            .push(format!("{fault:?} at call {at} ({call}): {why}\n{said}"));
    };
    if traced.said.contains("panicked") {
        complain("it panicked".to_owned());
    }
    let sent = org.count();
    match traced.code {
        None if fault == Fault::Kill => {}
        Some(0 | 5) => {}
        Some(2) if sent == 0 => {}
        other => complain(format!("it ended with {other:?} after {sent} requests")),
    }
    let recorded = on_record(&cli.path("users.report.csv.partial"), 2);
    let is_finished =
        cli.path("users.report.csv").exists() && !cli.path("users.report.csv.partial").exists();
    // A journal that can't be removed is left with a warning; the same command removes it.
    let is_told = traced.said.contains("the report is in place, but");
    if traced.code == Some(0) && !is_finished && !is_told {
        complain("it ended with 0, and the report is not finished".to_owned());
    }
    if !is_finished {
        let resumed = Ran::of(command(&cli, &org).output().expect("the binary can be run"));
        if resumed.code != Some(0) {
            complain(format!(
                "resumed, it ended with {:?}: {}",
                resumed.code,
                resumed.text()
            ));
        }
    }
    let puts = org.puts();
    let again = puts[sent..].iter().find(|put| recorded.contains(&put.user));
    if let Some(put) = again {
        complain(format!("{put:?} was sent again although on record"));
    }
    check_report(&cli, &org, &mut complain);
    true
}

fn check_report(cli: &Cli, org: &Ledger, complain: &mut dyn FnMut(String)) {
    if !cli.path("users.report.csv").exists() {
        return complain("there is no report".to_owned());
    }
    let rows = cli.report();
    if rows.len() as u64 != ROWS || outcomes(&rows, "applied") as u64 != ROWS {
        complain(format!("the report has {} rows", rows.len()));
    }
    for (row, user) in rows.iter().zip(1..) {
        if row["user_id"] != format!("{user}") {
            complain(format!("{user} is not in its place"));
        }
        let last = org.puts().iter().rfind(|put| put.user == user).copied();
        if !last.is_some_and(|put| put.flag) {
            complain(format!("{user} is applied, and the Org has seen {last:?}"));
        }
    }
    let mut names: Vec<String> = fs::read_dir(cli.folder())
        .expect("the folder can be read")
        .map(|entry| {
            let entry = entry.expect("the folder can be read");
            entry.file_name().to_string_lossy().into_owned()
        })
        .collect();
    names.sort_unstable();
    if names != ["users.csv", "users.report.csv", "users.report.json"] {
        complain(format!("left in the folder: {names:?}"));
    }
}

/// Users that the register knows before the run that meets a fault.
const KNOWN: u64 = 20;
/// Those of them who have left the table by then.
const LEFT: u64 = 8;

/// As [`crash_everywhere`], for a `sync` of 40 rows with arrivals and departures.
pub fn crash_sync_everywhere() -> Crashed {
    let mut done = Crashed::default();
    let faults = [
        Fault::Kill,
        Fault::Fails(Errno::ENOSPC),
        Fault::FailsFromHere(Errno::EIO),
    ];
    for fault in faults {
        let mut at = 1;
        while crash_sync(at, fault, &mut done) {
            at += 1;
        }
    }
    done
}

fn sync(cli: &Cli, org: &Ledger, more: &[&str]) -> Command {
    let url = org.url();
    let words = [
        "sync",
        "exceptions.csv",
        "--yes",
        "--rate",
        "unlimited",
        "--concurrency",
        "8",
        "--max-missing",
        "50%",
        "--register",
        "register.csv",
        "--address",
        &url,
    ];
    cli.command(&[&words, more].concat())
}

fn crash_sync(at: usize, fault: Fault, done: &mut Crashed) -> bool {
    let cli = Cli::new();
    let org = Ledger::start(Duration::from_millis(1));
    let table = |users: std::ops::RangeInclusive<u64>| {
        let rows: Vec<String> = users.map(|id| format!("{id},true\n")).collect();
        format!("user_id,mfa_opt_out\n{}", rows.concat())
    };
    cli.write("exceptions.csv", table(1..=KNOWN));
    let first = sync(&cli, &org, &["--full"]).output();
    Ran::of(first.expect("the binary can be run")).exits(0);
    cli.write("exceptions.csv", table(LEFT + 1..=LEFT + ROWS));
    let traced = run(&sync(&cli, &org, &[]), cli.folder(), at, fault);
    let Some(call) = &traced.hit else {
        return false;
    };
    org.must_be_left();
    done.count(call, fault, traced.code);
    let mut complain = |why: String| {
        let said = &traced.said;
        done.wrong
            .push(format!("{fault:?} at call {at} ({call}): {why}\n{said}"));
    };
    if traced.said.contains("panicked") {
        complain("it panicked".to_owned());
    }
    check_register(&cli, &org, false, &mut complain);
    let again = sync(&cli, &org, &[]).output();
    let again = Ran::of(again.expect("the binary can be run"));
    if again.code != Some(0) {
        complain(format!(
            "the next one ended with {:?}: {}",
            again.code,
            again.text()
        ));
    }
    check_register(&cli, &org, true, &mut complain);
    let state: BTreeMap<u64, bool> = org.puts().iter().map(|put| (put.user, put.flag)).collect();
    for (user, flag) in state {
        if flag != (LEFT + 1..=LEFT + ROWS).contains(&user) {
            complain(format!("user {user} is {flag} in the Org"));
        }
    }
    let left = fs::read_dir(cli.folder()).expect("the folder can be read");
    for entry in left {
        let name = entry.expect("the folder can be read").file_name();
        let name = name.to_string_lossy();
        if name.contains(".partial") || name.contains(".tmp") {
            complain(format!("left in the folder: {name}"));
        }
    }
    true
}

/// Checks that the register says nothing that is not so in the Org; at the end, also that it knows
/// everything.
fn check_register(cli: &Cli, org: &Ledger, is_end: bool, complain: &mut dyn FnMut(String)) {
    let state: BTreeMap<u64, bool> = org.puts().iter().map(|put| (put.user, put.flag)).collect();
    let text = cli.read("register.csv");
    for line in text.lines().skip(2) {
        let cells: Vec<&str> = line.split(',').collect();
        let user: u64 = cells[0].parse().expect("an ID");
        let in_org = state.get(&user).copied().unwrap_or_default();
        let is_wrong = match cells[1] {
            "unknown" => is_end,
            word => word != in_org.to_string(),
        };
        if is_wrong {
            complain(format!("the register says {line:?}, the Org {in_org}"));
        }
    }
    if is_end && text.lines().count() as u64 != 2 + LEFT + ROWS {
        complain(format!("the register has {} lines", text.lines().count()));
    }
}
