//! What is measured, one function for each question. Each returns lines for the table, and compares
//! its figure with a baseline of the same run if there is one.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

#[cfg(unix)]
use rustix::process::{Pid, Signal, kill_process};

use crate::bed::{Bed, FIRST_USER};
#[cfg(unix)]
use crate::process::measure_with;
use crate::process::{Used, measure, median};
use crate::server::{Server, clock};
use crate::table::Line;

const MIB: f64 = 1024.0 * 1024.0;

/// Runs of the tool and of its baseline in turn, so that other load on the machine affects both.
struct Duel {
    tool: Vec<Used>,
    baseline: Vec<Used>,
}

impl Duel {
    fn fight(
        rounds: usize,
        mut tool: impl FnMut() -> Command,
        mut baseline: impl FnMut() -> Command,
    ) -> Self {
        let mut duel = Self {
            tool: Vec::new(),
            baseline: Vec::new(),
        };
        for _ in 0..rounds {
            duel.tool.push(measure(&mut tool(), 0));
            duel.baseline.push(measure(&mut baseline(), 0));
        }
        duel
    }

    /// The median of the ratios of each round, tool to baseline.
    fn ratio(&self, of: fn(&Used) -> f64) -> f64 {
        median(
            self.tool
                .iter()
                .zip(&self.baseline)
                .map(|(tool, baseline)| of(tool) / of(baseline)),
        )
    }

    fn line(&self, name: String, rows: u64) -> Line {
        let speed = |used: &[Used]| rows as f64 / median(used.iter().map(wall));
        Line::new(name)
            .figures(
                per_second(speed(&self.tool)),
                per_second(speed(&self.baseline)),
            )
            .cpu(self.ratio(cpu))
            .peak(peak(&self.tool))
    }
}

fn wall(used: &Used) -> f64 {
    used.wall.as_secs_f64()
}

fn cpu(used: &Used) -> f64 {
    used.cpu.as_secs_f64()
}

/// The highest of all rounds, in MiB.
fn peak(used: &[Used]) -> f64 {
    used.iter().map(|used| used.peak).max().unwrap_or_default() as f64 / MIB
}

fn per_second(rate: f64) -> String {
    format!("{rate:.0}/s")
}

fn seconds(duration: Duration) -> String {
    format!("{:.3} s", duration.as_secs_f64())
}

/// How fast rows are sent when nothing but the wire limits them.
pub fn sending(bed: &Bed, rows: u64, rounds: usize) -> Vec<Line> {
    let server = Server::start();
    let table = bed.table(rows);
    let at = |concurrency: usize| {
        let width = concurrency.to_string();
        let tool = || bed.apply(&table, &unlimited(&server, &width));
        let duel = Duel::fight(rounds, tool, || {
            bed.baseline(&["send", &server.address, &width], &table)
        });
        let line = duel.line(
            format!("sending {rows} rows, {concurrency} in flight"),
            rows,
        );
        line.ratio(1.0 / duel.ratio(wall))
            .target("speed >= 0.95, CPU <= 1.15")
    };
    vec![at(8), at(64)]
}

fn unlimited<'a>(server: &'a Server, concurrency: &'a str) -> [&'a str; 6] {
    [
        "--address",
        &server.address,
        "--rate",
        "unlimited",
        "--concurrency",
        concurrency,
    ]
}

/// How fast a table is checked.
pub fn checking(bed: &Bed, rows: u64, rounds: usize) -> Vec<Line> {
    let table = bed.table(rows);
    let duel = Duel::fight(
        rounds,
        || bed.dry_run(&table),
        || bed.baseline(&["check"], &table),
    );
    let line = duel.line(format!("checking {rows} rows"), rows);
    vec![
        line.ratio(duel.ratio(wall))
            .target("time <= 3, peak <= 100 MB at 10 million"),
    ]
}

/// How long people without IDs take, whose IDs come from a list in another order. The baseline is
/// the check of a table with IDs.
pub fn ids(bed: &Bed, people: u64, rounds: usize) -> Vec<Line> {
    let table = bed.table(people);
    let without_ids = bed.people(people);
    let line = |format: &str| {
        let list = bed.list(people, format);
        let duel = Duel::fight(
            rounds,
            || bed.dry_run_with(&without_ids, &["--ids", &list]),
            || bed.dry_run(&table),
        );
        let line = duel.line(format!("{people} people, list as {format}"), people);
        line.ratio(duel.ratio(wall))
            .target("time <= 4, peak <= 300 MB at 1 million")
    };
    vec![line("csv"), line("json")]
}

/// How long a table takes that is compared with the register. The baseline is the check of the
/// same table without a register.
pub fn register(bed: &Bed, entries: u64, rounds: usize) -> Vec<Line> {
    let server = Server::start();
    let table = bed.table(entries);
    let other = bed.table_with_one_change(entries);
    let sync = |table: &Path, more: &[&str]| {
        let common = ["--register", "register.csv", "--list", "all", "--address"];
        let address = [server.address.as_str()];
        bed.sync(table, &[&common[..], &address, more].concat())
    };
    measure(&mut sync(&table, &["--full", "--rate", "unlimited"]), 0);
    let target = "time <= 3, peak <= 200 MB at 100,000";
    let line = |name: &str, tool: &mut dyn FnMut() -> Command| {
        let duel = Duel::fight(rounds, tool, || bed.dry_run(&table));
        let line = duel.line(format!("sync of {entries} users, {name}"), entries);
        line.ratio(duel.ratio(wall)).target(target)
    };
    let mut is_changed = false;
    vec![
        line("dry run", &mut || sync(&table, &["--dry-run"])),
        line("nothing to do", &mut || sync(&table, &[])),
        line("one change", &mut || {
            is_changed = !is_changed;
            sync(if is_changed { &other } else { &table }, &[])
        }),
    ]
}

/// Whether the pace that was asked for is reached, and kept to.
pub fn pace(bed: &Bed, seconds: u64) -> Vec<Line> {
    let rates = [50, 500, 5000];
    let mut lines: Vec<Line> = rates.map(|rate| one_pace(bed, rate, seconds)).into();
    #[cfg(unix)]
    lines.extend(rates.map(|rate| stalled_pace(bed, rate, seconds)));
    lines
}

fn one_pace(bed: &Bed, rate: u64, seconds: u64) -> Line {
    let mut server = Server::exact();
    let table = bed.table(rate * seconds);
    let asked = format!("{rate}/s");
    let arguments = [
        "--address",
        &server.address,
        "--rate",
        &asked,
        "--concurrency",
        "64",
    ];
    let used = measure(&mut bed.apply(&table, &arguments), 0);
    let seen = server.seen();
    Line::new(format!(
        "pace of {rate}/s for {seconds} s; most in a second: {}",
        seen.worst_second
    ))
    .figures(format!("{:.2}/s", seen.rate()), asked)
    .ratio(seen.rate() / rate as f64)
    .peak(peak(&[used]))
    .target("rate >= 0.999, most <= rate + 1")
}

/// Whether the pace is kept to when the process was stopped for a while: what it missed must not
/// come in a burst.
#[cfg(unix)]
fn stalled_pace(bed: &Bed, rate: u64, seconds: u64) -> Line {
    let mut server = Server::exact();
    let table = bed.table(rate * seconds);
    let asked = format!("{rate}/s");
    let arguments = [
        "--address",
        &server.address,
        "--rate",
        &asked,
        "--concurrency",
        "64",
    ];
    let stall = |child: &std::process::Child| {
        let third = Duration::from_secs(seconds) / 3;
        for signal in [Signal::STOP, Signal::CONT] {
            std::thread::sleep(third);
            kill_process(Pid::from_child(child), signal).expect("it runs");
        }
    };
    measure_with(&mut bed.apply(&table, &arguments), 0, stall);
    let worst = server.seen().worst_second;
    Line::new(format!(
        "pace of {rate}/s with a stall; most in a second: {worst}"
    ))
    .target("most <= rate + 1")
}

/// How long it takes to go on after all but the last row, and how long the report takes when that
/// one is sent.
pub fn recovery(bed: &Bed, rows: u64) -> Vec<Line> {
    let table = bed.table(rows + 1);
    let mut server = Server::holding(FIRST_USER + rows + 1);
    let stopped_early = 5;
    let sent = measure(
        &mut bed.apply(&table, &unlimited(&server, "64")),
        stopped_early,
    );
    server.seen();
    let checked = measure(&mut bed.dry_run(&table), 0);
    let began = clock();
    let resumed = measure(&mut bed.resume(&table, &unlimited(&server, "64")), 0);
    let until_sent = server.seen().first.saturating_sub(began);
    let line = |name: &str, took: Duration| {
        Line::new(format!("{name} of {rows} rows")).figure(seconds(took))
    };
    vec![
        line("run that is stopped", sent.wall)
            .peak(peak(&[sent]))
            .target("peak < 40 MB at 1 million"),
        line("recovery, checking included,", until_sent).target("< 1.5 s at 1 million"),
        line(
            "recovery, checking left out,",
            until_sent.saturating_sub(checked.wall),
        ),
        line("report", resumed.wall.saturating_sub(until_sent)).peak(peak(&[resumed])),
    ]
}

/// How long a small run takes from its start to its exit.
pub fn start(bed: &Bed, rounds: usize) -> Vec<Line> {
    let server = Server::start();
    let table = bed.table(20);
    let tool = || bed.apply(&table, &unlimited(&server, "8"));
    let duel = Duel::fight(rounds, tool, || {
        bed.baseline(&["send", &server.address, "8"], &table)
    });
    let ms = |used: &[Used]| format!("{:.1} ms", median(used.iter().map(wall)) * 1000.0);
    vec![
        Line::new("run of 20 rows, start to exit".to_owned())
            .figures(ms(&duel.tool), ms(&duel.baseline))
            .ratio(duel.ratio(wall))
            .cpu(duel.ratio(cpu))
            .peak(peak(&duel.tool))
            .target("< 30 ms"),
    ]
}

/// How time and memory grow with the table, for checking and for a whole run. The baseline is the
/// size before.
pub fn growth(bed: &Bed, most: u64) -> Vec<Line> {
    let server = Server::start();
    let sizes: Vec<u64> = [10_000, 100_000, 1_000_000, 10_000_000]
        .into_iter()
        .filter(|size| *size <= most)
        .collect();
    let check = |table: &Path| bed.dry_run(table);
    let run = |table: &Path| bed.apply(table, &unlimited(&server, "64"));
    let mut lines = grow(bed, "checking", &sizes, check);
    lines.extend(grow(bed, "whole run", &sizes, run));
    lines
}

fn grow(bed: &Bed, name: &str, sizes: &[u64], command: impl Fn(&Path) -> Command) -> Vec<Line> {
    let mut before: Option<f64> = None;
    let line = |size: &u64| {
        let used = measure(&mut command(&bed.table(*size)), 0);
        let micros = cpu(&used) * 1e6 / *size as f64;
        let line = Line::new(format!("{name}, {size} rows: CPU for a row"))
            .figure(format!("{micros:.2} us, {} in all", seconds(used.wall)))
            .peak(peak(&[used]));
        match before.replace(micros) {
            Some(before) => line.ratio(micros / before).target("about 1 or less"),
            None => line,
        }
    };
    sizes.iter().map(line).collect()
}
