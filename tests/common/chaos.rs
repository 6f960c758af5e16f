//! An Org on a bad day and runs that are killed, until every row is done; then all of it is undone.
//! After each report the Org's state is held against it.
//!
//! A fifth of the requests meets a fault: an error before or after the change was made, an answer
//! that is lost, a pause, a web page. Some users can never be changed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::hostile::{Hostile, Reply, Seen, Then};
use super::ledger::{Signal, end, key_of, send, start};
use super::{Cli, report};

/// Users who can never be changed: 404 and 422.
const GONE: [u64; 2] = [11, 23];
/// Processes that one report may take.
const MAX_LIVES: usize = 60;
/// Retries until every row that can be applied is applied.
const MAX_RETRIES: usize = 12;

/// What was done.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// Tables brought to their end and undone.
    pub rounds: usize,
    /// Requests that the Org has seen.
    pub requests: usize,
    /// Faults, by kind.
    pub faults: BTreeMap<String, usize>,
    /// Exit codes; -9 for a process that was killed.
    pub codes: BTreeMap<i32, usize>,
    /// Rows of all reports, by outcome.
    pub outcomes: BTreeMap<String, usize>,
}

impl Done {
    /// Adds what another round has done.
    pub fn add(&mut self, other: Self) {
        self.rounds += other.rounds;
        self.requests += other.requests;
        for (all, more) in [
            (&mut self.faults, other.faults),
            (&mut self.outcomes, other.outcomes),
        ] {
            for (name, count) in more {
                *all.entry(name).or_default() += count;
            }
        }
        for (code, count) in other.codes {
            *self.codes.entry(code).or_default() += count;
        }
    }
}

/// The Org's members, and what it does to requests.
struct Org {
    random: fastrand::Rng,
    /// Of every hundred requests, those that meet a fault.
    fault_percent: u8,
    opted_out: BTreeSet<u64>,
    /// Users whose change was ever made, by the flag.
    changed: BTreeSet<(u64, bool)>,
    /// Confirmed changes since the latest process began, by its number.
    confirmed: BTreeMap<String, usize>,
    faults: BTreeMap<String, usize>,
}

impl Org {
    fn answer(&mut self, seen: &Seen) -> Reply {
        let (Some(user), Some(flag)) = (seen.user(), seen.flag()) else {
            return Reply::new(404);
        };
        if GONE.contains(&user) {
            return Reply::new(if user == GONE[0] { 404 } else { 422 });
        }
        let life = seen.header("x-api-key").unwrap_or_default().to_owned();
        if self.random.u8(0..100) >= self.fault_percent {
            self.change(user, flag);
            *self.confirmed.entry(life).or_default() += 1;
            return Reply::new(204).after(Duration::from_millis(self.random.u64(0..8)));
        }
        let is_early = self.confirmed.get(&life).copied().unwrap_or(0) < 3;
        self.fault((user, flag), is_early)
    }

    fn change(&mut self, user: u64, flag: bool) {
        self.changed.insert((user, flag));
        if flag {
            self.opted_out.insert(user);
        } else {
            self.opted_out.remove(&user);
        }
    }

    fn fault(&mut self, (user, flag): (u64, bool), is_early: bool) -> Reply {
        let page = "<!DOCTYPE html><html><head><title>Sign in</title></head></html>";
        let kinds: &[&str] = if is_early {
            &["503", "500 made", "502", "reset", "reset made", "429"]
        } else {
            &[
                "503",
                "500 made",
                "502",
                "504 made",
                "reset",
                "reset made",
                "cut made",
                "429",
                "429 with a pause",
                "page",
                "page made",
                "contradiction",
            ]
        };
        let kind = kinds[self.random.usize(0..kinds.len())];
        *self.faults.entry(kind.to_owned()).or_default() += 1;
        if kind.ends_with("made") {
            self.change(user, flag);
        }
        match kind {
            "503" => Reply::new(503),
            "500 made" => Reply::new(500),
            "502" => Reply::new(502).body("text/html", page),
            "504 made" => Reply::new(504),
            "reset" | "reset made" => Reply::raw("").then(Then::Reset),
            "cut made" => Reply::raw("HTTP/1.1 20").then(Then::Close),
            "429" => Reply::new(429),
            "429 with a pause" => Reply::new(429).header("retry-after", "1"),
            "page" | "page made" => Reply::new(200).body("text/html", page),
            _ => Reply::new(200).body("application/json", r#"{"success": false}"#),
        }
    }
}

/// Runs one table of `rows` rows until it is complete, and undoes it. Panics with the seed if a
/// report is not true.
pub fn round(rows: u64, seed: u64) -> Done {
    Round::new(rows, seed).finish()
}

struct Round {
    seed: u64,
    rows: u64,
    random: fastrand::Rng,
    cli: Cli,
    state: Arc<Mutex<Org>>,
    server: Hostile,
    lives: usize,
    done: Done,
}

impl Round {
    fn new(rows: u64, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let state = Arc::new(Mutex::new(Org {
            random: random.fork(),
            fault_percent: 20,
            opted_out: BTreeSet::new(),
            changed: BTreeSet::new(),
            confirmed: BTreeMap::new(),
            faults: BTreeMap::new(),
        }));
        let asked = Arc::clone(&state);
        let server = Hostile::start(move |seen| asked.lock().unwrap().answer(seen));
        let cli = Cli::new();
        cli.write("users.csv", super::table(rows));
        Self {
            seed,
            rows,
            random,
            cli,
            state,
            server,
            lives: 0,
            done: Done::default(),
        }
    }

    fn finish(mut self) -> Done {
        let first = self.cli.path("users.report.csv");
        self.complete("apply", "users.csv", &first);
        self.hold_against(&first, true);
        let mut reports = vec![first];
        self.retry_until_clean(&mut reports);
        let applied = self.state.lock().unwrap().opted_out.clone();
        let wanted = (1..=self.rows).filter(|user| !GONE.contains(user));
        let missing: Vec<u64> = wanted.filter(|user| !applied.contains(user)).collect();
        assert!(missing.is_empty(), "seed {}: {missing:?}", self.seed);

        for (number, earlier) in reports.iter().enumerate() {
            let undone = self.cli.path(&format!("undo-{number}.report.csv"));
            let earlier = name_of(earlier);
            self.complete("undo", &earlier, &undone);
            if !undone.exists() {
                continue;
            }
            self.hold_against(&undone, false);
            self.retry_until_clean(&mut vec![undone]);
        }
        let left = self.state.lock().unwrap().opted_out.clone();
        assert!(
            left.is_empty(),
            "seed {}: {left:?} are left opted out",
            self.seed
        );
        self.done.rounds = 1;
        self.done.requests = self.server.requests().len();
        self.done.faults = self.state.lock().unwrap().faults.clone();
        self.done
    }

    /// Retries the last of these reports, and each further one, until nothing is left but users who
    /// are gone.
    fn retry_until_clean(&mut self, reports: &mut Vec<PathBuf>) {
        for number in 0..MAX_RETRIES {
            let last = reports.last().unwrap().clone();
            if to_retry(&last).iter().all(|user| GONE.contains(user)) {
                return;
            }
            let stem = name_of(&reports[0]);
            let stem = stem.trim_end_matches(".report.csv");
            let next = self.cli.path(&format!("{stem}-again-{number}.report.csv"));
            let flag = report(&last)[0]["mfa_opt_out"] == "true";
            self.complete("retry", &name_of(&last), &next);
            self.hold_against(&next, flag);
            reports.push(next);
        }
        panic!("seed {}: {MAX_RETRIES} retries were not enough", self.seed);
    }

    /// Runs a command again and again until its report is there.
    fn complete(&mut self, command: &str, input: &str, to: &Path) {
        if command != "apply" {
            age(&self.cli.path(input));
        }
        let partial = PathBuf::from(format!("{}.partial", to.display()));
        let mut said = String::new();
        for _ in 0..MAX_LIVES {
            let (code, text) = self.live(command, input, &name_of(to));
            *self.done.codes.entry(code).or_default() += 1;
            said = text;
            match code {
                0 | 1 => return self.count(to),
                5 | 129 | 130 | 143 | -9 => {}
                // It was killed between the last two steps, or while it summed up a report that is
                // already in place.
                2 if to.exists() && !partial.exists() => return self.count(to),
                _ => panic!("seed {}: {command} ended with {code}: {said}", self.seed),
            }
        }
        panic!(
            "seed {}: {command} does not come to its end: {said}",
            self.seed
        );
    }

    fn count(&mut self, to: &Path) {
        if to.exists() {
            for row in report(to) {
                *self
                    .done
                    .outcomes
                    .entry(row["outcome"].clone())
                    .or_default() += 1;
            }
        }
    }

    /// One process, most of which are stopped or killed; gives its exit code and what it said.
    fn live(&mut self, command: &str, input: &str, to: &str) -> (i32, String) {
        self.lives += 1;
        let mut child = start(self.command(command, input, to));
        let before = self.server.requests().len();
        let until = before + self.random.usize(1..40);
        let patience = Duration::from_millis(self.random.u64(1..3000));
        let signal = any_signal(self.random.u8(0..10));
        if let Some(signal) = signal {
            let mut waited = Duration::ZERO;
            let look = Duration::from_millis(2);
            while self.server.requests().len() < until
                && waited < patience
                && child.try_wait().expect("a child can be asked").is_none()
            {
                pause(look);
                waited += look;
            }
            send(&mut child, signal);
        }
        let output = end(child);
        self.server.must_be_left();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains("panicked"), "seed {}: {said}", self.seed);
        let is_finished =
            self.cli.path(to).exists() && !self.cli.path(&format!("{to}.partial")).exists();
        let code = match output.status.code() {
            // The code of a killed process on Windows, and of a run in which rows have failed.
            Some(1) if cfg!(windows) && signal.is_some() && !is_finished => -9,
            Some(code) => code,
            // Before it listens, a signal kills it; nothing was sent then.
            None => -9,
        };
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &said;
        (code, text)
    }

    fn command(&self, command: &str, input: &str, to: &str) -> Command {
        let url = self.server.url();
        let words = [
            command,
            input,
            "--yes",
            "--new-key",
            "--rate",
            "unlimited",
            "--concurrency",
            "8",
            "--report",
            to,
            "--address",
            &url,
        ];
        let mut command = self.cli.command(&words);
        command.env("MFA_OPTOUT_API_KEY", key_of(self.lives));
        command
    }

    /// Holds a report against the Org's state.
    fn hold_against(&self, path: &Path, flag: bool) {
        let org = self.state.lock().unwrap();
        for row in report(path) {
            let user: u64 = row["user_id"].parse().unwrap();
            let is_so = org.opted_out.contains(&user) == flag;
            let was_made = org.changed.contains(&(user, flag));
            let is_true = match row["outcome"].as_str() {
                "applied" => is_so && was_made,
                // Nobody can have made it, in this run or an earlier one.
                "failed" => GONE.contains(&user) || !is_so || !was_made,
                _ => true,
            };
            assert!(
                is_true,
                "seed {}: the Org has {:?} for {row:?}",
                self.seed,
                org.opted_out.contains(&user)
            );
        }
    }
}

/// Returns a signal for a number below ten, most often the one that kills.
#[cfg(unix)]
fn any_signal(number: u8) -> Option<Signal> {
    match number {
        0..4 => Some(Signal::KILL),
        4 => Some(Signal::TERM),
        5 => Some(Signal::INT),
        6 => Some(Signal::HUP),
        _ => None,
    }
}

/// Returns as often a signal as on Unix. There is only one here.
#[cfg(windows)]
fn any_signal(number: u8) -> Option<Signal> {
    if number < 7 { Some(Signal::KILL) } else { None }
}

fn pause(time: Duration) {
    let (_kept, never) = std::sync::mpsc::channel::<()>();
    let _ = never.recv_timeout(time);
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

fn to_retry(path: &Path) -> Vec<u64> {
    let mut users = Vec::new();
    for row in report(path) {
        if ["failed", "unknown", "not_sent"].contains(&row["outcome"].as_str()) {
            users.push(row["user_id"].parse().unwrap());
        }
    }
    users
}

/// Makes a report two minutes older: a `retry` or `undo` waits until a minute after the last
/// request for a row in doubt.
fn age(path: &Path) {
    let text = std::fs::read_to_string(path).unwrap();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().unwrap().clone();
    let finished_at = header
        .iter()
        .position(|name| name == "finished_at")
        .unwrap();
    let mut writer = csv::Writer::from_path(path).unwrap();
    writer.write_record(&header).unwrap();
    for row in reader.records() {
        let row = row.unwrap();
        let cells = row.iter().enumerate().map(|(index, cell)| {
            if index == finished_at && !cell.is_empty() {
                let at: jiff::Timestamp = cell.parse().unwrap();
                (at - jiff::SignedDuration::from_mins(2)).to_string()
            } else {
                cell.to_owned()
            }
        });
        writer.write_record(cells).unwrap();
    }
    writer.flush().unwrap();
}
