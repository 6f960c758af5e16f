//! Nothing is lost, proved on the built binary: runs that are killed, stopped, contended for, and
//! short of disk or memory. The Org's own books are held against the report. Instants are tied to
//! what the Org has seen.

use std::collections::BTreeSet;
use std::fs;
#[cfg(unix)]
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::common::hostile::{Reply, Then};
#[cfg(unix)]
use crate::common::ledger::through_shell;
use crate::common::ledger::{
    Ledger, Signal, end, key_of, on_record, send, start, stop, was_killed,
};
use crate::common::{Cli, Ran, apply_words, outcomes, report, table};

const LATENCY: Duration = Duration::from_millis(5);
const CONCURRENCY: usize = 8;

/// `apply` at full speed.
fn apply<'a>(org: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    apply_words(org, "8", more)
}

fn partial(cli: &Cli) -> BTreeSet<u64> {
    on_record(&cli.path("users.report.csv.partial"), 2)
}

/// The report has every row once, in order and applied, and each user's last PUT is what it says.
#[track_caller]
fn assert_true_to(cli: &Cli, org: &Ledger, rows: u64) {
    let told = report(&cli.path("users.report.csv"));
    assert!(
        told.iter()
            .map(|row| row["line"].clone())
            .eq((1..=rows).map(|row| (row + 1).to_string()))
    );
    assert_eq!(outcomes(&told, "applied") as u64, rows);
    let at_the_org: BTreeSet<_> = org.puts().iter().map(|put| (put.user, put.flag)).collect();
    assert!(
        at_the_org
            .into_iter()
            .eq((1..=rows).map(|user| (user, true)))
    );
    assert!(!cli.path("users.report.csv.partial").exists());
}

/// Where to interrupt: fifty random places among this many PUTs.
fn fifty_places(puts: usize) -> Vec<usize> {
    let mut random = fastrand::Rng::with_seed(6213);
    let mut places: Vec<_> = (0..50).map(|_| random.usize(1..puts)).collect();
    places.sort_unstable();
    places
}

#[test]
fn killed_at_fifty_instants_a_run_loses_nothing_and_repeats_only_what_was_in_flight() {
    let cli = Cli::new();
    let org = Ledger::start(LATENCY);
    cli.write("users.csv", table(3000));
    let url = org.url();
    let life = |number| {
        let mut command = cli.command(&apply(&url, &["--new-key"]));
        command.env("MFA_OPTOUT_API_KEY", key_of(number));
        command
    };
    let mut recorded: Vec<BTreeSet<u64>> = vec![BTreeSet::new()];
    for (place, number) in fifty_places(2900).into_iter().zip(1..) {
        let mut child = start(life(number));
        org.must_see(place, &mut child);
        let ended = stop(child, Signal::KILL);
        assert!(was_killed(ended.status), "{ended:?}");
        recorded.push(partial(&cli));
        assert!(
            recorded[number - 1].is_subset(&recorded[number]),
            "what was on record stays there"
        );
    }
    let last = Ran::of(life(recorded.len()).output().unwrap());
    last.exits(0).says("are recorded and are not sent again");

    assert_true_to(&cli, &org, 3000);
    let puts = org.puts();
    assert!(puts.len() - 3000 <= 50 * CONCURRENCY, "{} PUTs", puts.len());
    let again = puts
        .iter()
        .find(|put| recorded[put.life - 1].contains(&put.user));
    assert_eq!(again, None, "on record, and yet sent again");
}

/// Interrupts a run in good order fifty times.
fn interrupted(signal: Signal, code: i32) {
    let cli = Cli::new();
    let org = Ledger::start(LATENCY);
    cli.write("users.csv", table(3000));
    for place in fifty_places(2900) {
        let mut child = start(cli.command(&apply(&org.url(), &[])));
        org.must_see(place.max(org.count() + 1), &mut child);
        Ran::of(stop(child, signal))
            .exits(code)
            .says("mfa-optout apply users.csv");
        assert_eq!(
            partial(&cli).len(),
            org.count(),
            "all that was sent is on record"
        );
    }
    cli.run(&apply(&org.url(), &[])).exits(0);
    assert_true_to(&cli, &org, 3000);
    assert_eq!(org.count(), 3000, "no row was sent twice");
}

#[cfg(unix)] // signals
#[test]
fn sigterm_ends_a_run_in_good_order() {
    interrupted(Signal::TERM, 143);
}

#[cfg(unix)] // signals
#[test]
fn ctrl_c_ends_a_run_in_good_order() {
    interrupted(Signal::INT, 130);
}

#[test]
fn kills_during_recovery_and_at_the_end_and_a_second_process_break_nothing() {
    let done = crate::common::soak::soak(60, 1);
    assert!(
        done.before_sending > 0 && done.after_sending > 0 && done.overlaps > 0,
        "{done:?}"
    );
}

#[cfg(unix)] // signals
#[test]
fn a_second_ctrl_c_leaves_at_once() {
    let cli = Cli::new();
    let org = Ledger::scripted(|_| Reply::raw("").then(Then::Hang));
    cli.write("users.csv", table(3));
    let mut child = start(cli.command(&apply(&org.url(), &[])));
    org.must_see(1, &mut child);
    // Two that come before the first is looked at count as one, so more may be needed.
    let mut signals = 0;
    while child.try_wait().unwrap().is_none() {
        send(&mut child, Signal::INT);
        signals += 1;
        assert!(signals < 40, "it does not leave");
        org.wait_for(2, &mut child, Duration::from_millis(100));
    }
    let note = "1 row may or may not have been changed; the same command sends it again";
    Ran::of(child.wait_with_output().unwrap())
        .exits(130)
        .says(note);
    assert!(
        signals > 1,
        "the first one lets the request in flight finish"
    );
    assert!(partial(&cli).is_empty());
}

/// Reads the tool's JSON lines until one tells of this; gives the reader back, for the pipe must
/// stay open.
fn wait_until_told(child: &mut Child, what: &str) -> std::io::BufReader<std::process::ChildStderr> {
    let mut lines = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains(what) {
        crate::common::must_show_no_secret(&line);
        line.clear();
        let read = std::io::BufRead::read_line(&mut lines, &mut line).unwrap();
        assert!(read > 0, "ended without telling of {what}");
    }
    lines
}

#[cfg(unix)] // signals
#[test]
fn sigterm_is_heard_in_a_throttle_wait_and_in_a_back_off() {
    let throttled = || Reply::new(429).header("retry-after", "120");
    let failing = || Reply::new(503);
    let waits: [(fn() -> Reply, _); 2] = [(throttled, "\"waiting\""), (failing, "\"waiting\"")];
    for (reply, told) in waits {
        let cli = Cli::new();
        let org = Ledger::scripted(move |_| reply());
        cli.write("users.csv", table(3));
        let mut child = start(cli.command(&apply(&org.url(), &["--log-format", "json"])));
        let lines = wait_until_told(&mut child, told);
        let sent = org.count();
        send(&mut child, Signal::TERM);
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(143));
        assert!(org.count() <= sent + 1);
        drop(lines);
    }
}

#[test]
fn a_closed_time_window_ends_a_run_in_good_order_also_in_a_throttle_wait() {
    let cli = Cli::new();
    let org = Ledger::start(Duration::ZERO);
    cli.write("users.csv", table(40));
    let url = org.url();
    let slowly = [
        "apply",
        "users.csv",
        "--yes",
        "--rate",
        "20/s",
        "--address",
        &url,
    ];
    let limited = [&slowly[..], &["--max-duration", "1s"]].concat();
    cli.run(&limited).exits(5).says("--max-duration");
    assert_eq!(partial(&cli).len(), org.count());
    cli.run(&slowly).exits(0);
    assert_true_to(&cli, &org, 40);
    assert_eq!(org.count(), 40);

    let cli = Cli::new();
    let org = Ledger::scripted(|_| Reply::new(429).header("retry-after", "120"));
    cli.write("users.csv", table(3));
    cli.run(&apply(&org.url(), &["--max-duration", "1s"]))
        .exits(5)
        .says("--max-duration");
    assert_eq!(org.count(), 1);
}

#[test]
fn of_twenty_processes_on_one_report_one_runs() {
    let cli = Cli::new();
    cli.write("users.csv", table(3));
    // The one that gets in can't end before all the others have: its first answer waits for them.
    let (others_over, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let org = Ledger::scripted(move |_| {
        let _ = wait.lock().unwrap().recv();
        Reply::new(204)
    });
    let mut all: Vec<Child> = (0..20)
        .map(|_| start(cli.command(&apply(&org.url(), &[]))))
        .collect();
    let mut ended = 0;
    while ended < 19 {
        ended = all
            .iter_mut()
            .filter_map(|child| child.try_wait().unwrap())
            .count();
        org.wait_for(usize::MAX, &mut all[0], Duration::from_millis(5));
    }
    let late = cli.run(&apply(&org.url(), &[])).exits(4);
    drop(others_over);
    let runs: Vec<(u32, Output)> = all
        .into_iter()
        .map(|child| (child.id(), end(child)))
        .collect();
    let (winners, losers): (Vec<_>, Vec<_>) = runs
        .into_iter()
        .partition(|(_, output)| output.status.success());
    let [(winner, _)] = winners.as_slice() else {
        panic!("{} of them ran", winners.len())
    };
    for (_, output) in losers {
        Ran::of(output)
            .exits(4)
            .says("is being written by another run");
    }
    late.says(&format!("process {winner} "));
    assert_true_to(&cli, &org, 3);
    assert_eq!(org.count(), 3);
}

/// Checks whether the report is being made: it is written under a name of its own before it is put
/// in place. A file with such a name and no content only tries whether files can be created.
fn is_merging(cli: &Cli) -> bool {
    let mut entries = fs::read_dir(cli.folder())
        .unwrap()
        .map(|entry| entry.unwrap());
    entries.any(|entry| {
        let is_temporary = entry
            .file_name()
            .to_string_lossy()
            .starts_with(".mfa-optout-");
        is_temporary && entry.metadata().is_ok_and(|found| found.len() > 0)
    })
}

/// Returns an Org during whose tenth request another program empties the journal.
fn org_while_the_journal_is_emptied(cli: &Cli, latency: Duration) -> Ledger {
    let journal = cli.path("users.report.csv.partial");
    Ledger::scripted(move |seen| {
        if seen.number == 10 {
            fs::File::create(&journal).unwrap();
        }
        Reply::new(204).after(latency)
    })
}

#[cfg(unix)] // signals
#[test]
fn an_interrupted_run_whose_journal_was_emptied_does_not_claim_that_everything_is_recorded() {
    let cli = Cli::new();
    cli.write("users.csv", table(2_000));
    let org = org_while_the_journal_is_emptied(&cli, LATENCY);
    let url = org.url();
    let mut child = start(cli.command(&apply(&url, &[])));
    org.must_see(50, &mut child);
    let ran = Ran::of(stop(child, Signal::TERM))
        .exits(143)
        .says("Interrupted by SIGTERM.")
        .says("another program modified the journal")
        .says("--fresh");
    assert!(!ran.text().contains("is recorded"), "{}", ran.text());
}

#[cfg(unix)] // signals
#[test]
fn a_signal_during_the_merge_ends_the_run_and_the_next_one_only_merges() {
    let cli = Cli::new();
    let org = Ledger::start(Duration::ZERO);
    let rows = 300_000;
    cli.write(
        "users.csv",
        format!("user_id,mfa_opt_out\n{}", "1,true\n".repeat(rows)),
    );
    let url = org.url();
    let mut child = start(cli.command(&apply(&url, &[])));
    while !is_merging(&cli) {
        assert!(
            !cli.path("users.report.csv").exists(),
            "the report came too soon to be interrupted"
        );
        std::thread::yield_now();
    }
    // The process is stopped first, so that the signal comes during the merge and not after it.
    send(&mut child, Signal::STOP);
    assert!(!cli.path("users.report.csv").exists());
    send(&mut child, Signal::TERM);
    Ran::of(stop(child, Signal::CONT))
        .exits(143)
        .says("Interrupted by SIGTERM.")
        .says("everything done so far is recorded")
        .says("only makes the report")
        .says("mfa-optout apply users.csv");
    assert!(
        cli.path("users.report.csv.partial").exists() && !cli.path("users.report.csv").exists()
    );
    assert!(!is_merging(&cli), "nothing is left lying about");

    let sent = org.puts().len();
    cli.run(&apply(&url, &[])).exits(0);
    assert_eq!((sent, org.puts().len()), (1, 1));
    let told = report(&cli.path("users.report.csv"));
    assert_eq!(
        (outcomes(&told, "applied"), outcomes(&told, "duplicate")),
        (1, rows - 1)
    );
}

/// A run of 60 rows that was killed with some of them on record.
fn killed_run() -> (Cli, Ledger) {
    let cli = Cli::new();
    let org = Ledger::start(Duration::from_millis(20));
    cli.write("users.csv", table(60));
    let mut child = start(cli.command(&apply(&org.url(), &[])));
    org.must_see(20, &mut child);
    stop(child, Signal::KILL);
    org.must_be_left();
    assert!(!partial(&cli).is_empty());
    (cli, org)
}

#[test]
fn a_different_run_is_refused_by_what_differs() {
    let (cli, org) = killed_run();
    let url = org.url();
    let sent = org.count();
    let elsewhere = Ledger::start(Duration::ZERO);
    cli.run(&apply(&elsewhere.url(), &[]))
        .exits(2)
        .says(&url)
        .says(&elsewhere.url())
        .says("--fresh");
    cli.run(&apply(&url, &["--skip-invalid"]))
        .exits(2)
        .says("--skip-invalid: it was false, now it is true");
    let other_key = |words: &[&str]| {
        let mut command = cli.command(&apply(&url, words));
        Ran::of(
            command
                .env("MFA_OPTOUT_API_KEY", "another-key-altogether")
                .output()
                .unwrap(),
        )
    };
    other_key(&[])
        .exits(2)
        .says("the API key")
        .says("--new-key");
    cli.write("users.csv", table(60).replace("\n60,true", "\n60,false"));
    cli.run(&apply(&url, &[]))
        .exits(2)
        .says("users.csv has changed since");
    assert_eq!(
        (elsewhere.requests(), org.count()),
        (0, sent),
        "nothing was sent for any of these"
    );

    cli.write("users.csv", table(60));
    other_key(&["--new-key"]).exits(0);
    assert_true_to(&cli, &org, 60);
    let run: serde_json::Value = serde_json::from_str(&cli.read("users.report.json")).unwrap();
    assert_eq!(
        (&run["runs"][0]["new_key"], &run["runs"][1]["new_key"]),
        (&false.into(), &true.into())
    );
}

#[test]
fn starting_over_closes_the_old_run_and_overwrite_keeps_the_old_report_until_the_new_one_is_there()
{
    let (cli, org) = killed_run();
    let old = partial(&cli);
    let sent = org.count();
    let fresh = cli.run(&apply(&org.url(), &["--fresh"])).exits(0);
    let (_, name) = fresh
        .stderr
        .split_once("the interrupted run is closed: ")
        .unwrap();
    let closed = report(&cli.path(name.lines().next().unwrap()));
    assert_eq!(closed.len(), 60);
    assert_eq!(outcomes(&closed, "applied"), old.len());
    assert_eq!(org.count(), sent + 60);
    assert_true_to(&cli, &org, 60);

    let finished = cli.read("users.report.csv");
    cli.run(&apply(&org.url(), &[]))
        .exits(2)
        .says("--overwrite");
    assert_eq!(org.count(), sent + 60);
    let mut child = start(cli.command(&apply(&org.url(), &["--overwrite"])));
    org.must_see(sent + 80, &mut child);
    stop(child, Signal::KILL);
    assert_eq!(cli.read("users.report.csv"), finished);
    cli.run(&apply(&org.url(), &["--overwrite"])).exits(0);
    assert_ne!(cli.read("users.report.csv"), finished);
}

#[test]
fn a_run_that_is_continued_at_a_forbidden_user_goes_on_and_repeats_nothing() {
    let org = Ledger::scripted(|seen| match (seen.user(), seen.number) {
        (_, 5) => Reply::raw("").then(Then::Hang),
        (Some(5), _) => Reply::new(403),
        _ => Reply::new(204),
    });
    let cli = Cli::new();
    cli.write("users.csv", table(9));
    let url = org.url();
    let words = apply_words(&url, "1", &[]);
    let mut child = start(cli.command(&words));
    org.must_see(5, &mut child);
    stop(child, Signal::KILL);
    cli.run(&words).exits(1);
    assert_eq!(
        outcomes(&report(&cli.path("users.report.csv")), "applied"),
        8
    );
    let sent: Vec<u64> = org.puts()[5..].iter().map(|put| put.user).collect();
    assert_eq!(sent, [5, 6, 7, 8, 9]);
}

#[test]
fn a_continued_run_comes_to_the_rows_behind_those_that_always_fail() {
    let org = Ledger::scripted(|seen| match seen.user() {
        Some(1..=4) => Reply::new(500),
        _ => Reply::new(204),
    });
    let cli = Cli::new();
    cli.write("users.csv", table(40));
    let url = org.url();
    let words = [
        "apply",
        "users.csv",
        "--yes",
        "--rate",
        "50/s",
        "--concurrency",
        "1",
        "--max-attempts",
        "1",
        "--address",
        &url,
    ];
    let mut child = start(cli.command(&words));
    org.must_see(20, &mut child);
    stop(child, Signal::KILL);
    let before = org.count();
    cli.run(&words).exits(1);
    let rows = report(&cli.path("users.report.csv"));
    assert_eq!(
        (outcomes(&rows, "applied"), outcomes(&rows, "unknown")),
        (36, 4)
    );
    let sent: Vec<u64> = org.puts()[before..].iter().map(|put| put.user).collect();
    let first_bad = sent.iter().position(|user| *user <= 4);
    assert_eq!(
        first_bad,
        sent.iter()
            .position(|user| *user == 40)
            .map(|last_good| last_good + 1),
        "they come last: {sent:?}"
    );
}

/// Users 1 to 4 may not be changed, then 5 to 8; the others are not asked for before the third run.
#[test]
fn users_whose_403_ended_a_run_are_sent_last_by_the_next_one() {
    let org = Ledger::scripted(|seen| match seen.user() {
        Some(1..=8) => Reply::new(403),
        _ => Reply::new(204),
    });
    let cli = Cli::new();
    cli.write("users.csv", table(12));
    let url = org.url();
    let words = apply_words(&url, "1", &[]);
    cli.run(&words).exits(3);
    cli.run(&words).exits(3);
    cli.run(&words).exits(1);
    let sent: Vec<u64> = org.puts().iter().map(|put| put.user).collect();
    assert_eq!(sent[..8], [1, 2, 3, 4, 5, 6, 7, 8], "the first two runs");
    // User 12 is asked for again after five 403 in a row, and at the end.
    let third_run = [9, 10, 11, 12, 1, 2, 3, 4, 5, 12, 6, 7, 8, 12];
    assert_eq!(sent[8..], third_run);
    let rows = report(&cli.path("users.report.csv"));
    assert_eq!(
        (outcomes(&rows, "applied"), outcomes(&rows, "failed")),
        (4, 8)
    );
}

#[test]
fn a_run_that_ends_with_401_keeps_the_notes_of_rows_that_an_earlier_run_has_set_aside() {
    let is_revoked = Arc::new(AtomicBool::new(false));
    let revoked = Arc::clone(&is_revoked);
    let org = Ledger::scripted(move |seen| match seen.user() {
        _ if revoked.load(Ordering::Relaxed) => Reply::new(401),
        Some(1..=4) => Reply::new(403),
        _ => Reply::new(204),
    });
    let cli = Cli::new();
    cli.write("users.csv", table(8));
    let url = org.url();
    let words = [
        "apply",
        "users.csv",
        "--yes",
        "--concurrency",
        "1",
        "--address",
        &url,
    ];
    cli.run(&words).exits(3);
    is_revoked.store(true, Ordering::Relaxed);
    cli.run(&words).exits(3);
    is_revoked.store(false, Ordering::Relaxed);
    cli.run(&words).exits(1);
    let sent: Vec<u64> = org.puts().iter().map(|put| put.user).collect();
    assert_eq!(sent[..5], [1, 2, 3, 4, 5], "the first two runs");
    assert_eq!(sent[5..10], [5, 6, 7, 8, 1]);
}

#[test]
fn a_first_try_that_got_nowhere_is_not_in_the_way() {
    let cli = Cli::new();
    cli.write("users.csv", table(3));
    let nobody = crate::common::hostile::ClosedPort::new();
    let wrong = format!("http://127.0.0.1:{}", nobody.port());
    cli.run(&apply(&wrong, &["--max-attempts", "1"])).exits(5);
    let org = Ledger::start(Duration::ZERO);
    cli.run(&apply(&org.url(), &[]))
        .exits(0)
        .says("users.report.csv.partial.old-1");
    assert_true_to(&cli, &org, 3);
}

#[cfg(unix)] // file modes, links, pipes
#[test]
fn a_place_that_can_not_hold_a_report_is_found_before_anything_is_sent() {
    let cli = Cli::new();
    let org = Ledger::start(Duration::ZERO);
    let url = org.url();
    cli.write("users.csv", table(3));
    fs::create_dir(cli.path("folder")).unwrap();
    fs::hard_link(cli.path("users.csv"), cli.path("same.csv")).unwrap();
    cli.write("target", "precious");
    let planted = |name: &str| cli.path(&format!("{name}.csv.partial"));
    symlink(cli.path("target"), planted("link")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        planted("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    fs::write(planted("open"), "").unwrap();
    fs::set_permissions(planted("open"), fs::Permissions::from_mode(0o644)).unwrap();
    let places = [
        ("nowhere/report.csv", "nowhere"),
        // Nobody can make a file there, not even the superuser.
        ("/sys/report.csv", "can't be created"),
        ("target/report.csv", "target"),
        ("folder", "folder is a folder"),
        (
            "users.csv",
            "the report can't be users.csv: that is the table",
        ),
        (
            "same.csv",
            "the report can't be same.csv: that is the table",
        ),
        ("link.csv", "is a symbolic link"),
        ("pipe.csv", "is not a plain file"),
        ("open.csv", "mode 0644"),
    ];
    for (place, words) in places {
        cli.run(&apply(&url, &["--report", place]))
            .exits(2)
            .says(words);
    }
    assert_eq!(
        (org.requests(), cli.read("target").as_str()),
        (0, "precious")
    );
    assert_eq!(cli.read("users.csv"), table(3));
}

#[cfg(unix)] // a POSIX shell
#[test]
fn a_disk_that_is_full_in_mid_run_stops_it_and_the_same_command_goes_on() {
    let cli = Cli::new();
    let org = Ledger::start(LATENCY);
    cli.write("users.csv", table(1000));
    let run = cli.command(&apply(&org.url(), &[]));
    // POSIX counts in blocks of 512 bytes.
    Ran::of(through_shell("ulimit -f 40", &run).output().unwrap())
        .exits(5)
        .says("can't be written")
        .says("recorded");
    org.must_be_left();
    let recorded = partial(&cli);
    assert!(
        !recorded.is_empty() && org.count() - recorded.len() <= CONCURRENCY,
        "{}",
        org.count()
    );
    let sent = org.count();
    cli.run(&apply(&org.url(), &[]))
        .exits(0)
        .says("its last record was incomplete and was removed; that row is sent again");
    assert_true_to(&cli, &org, 1000);
    assert!(
        org.puts()[sent..]
            .iter()
            .all(|put| !recorded.contains(&put.user))
    );

    cli.write("more.csv", table(3));
    let more = cli.command(&["apply", "more.csv", "--yes", "--address", &org.url()]);
    let sent = org.count();
    Ran::of(through_shell("ulimit -f 0", &more).output().unwrap())
        .exits(2)
        .says("nothing was sent");
    assert_eq!(
        org.count(),
        sent,
        "a disk that is full from the start is found before the first request"
    );
}

#[test]
fn a_report_that_can_not_be_put_in_place_costs_nothing() {
    let cli = Cli::new();
    cli.write("users.csv", table(20));
    let obstacle = cli.path("users.report.csv");
    let org = Ledger::scripted(move |seen| {
        if seen.number == 20 {
            fs::create_dir(&obstacle).unwrap();
        }
        Reply::new(204)
    });
    cli.run(&apply(&org.url(), &[]))
        .exits(5)
        .says("the same command again sends nothing and only makes the report");
    assert_eq!(partial(&cli).len(), 20);
    fs::remove_dir(cli.path("users.report.csv")).unwrap();
    cli.run(&apply(&org.url(), &[])).exits(0);
    assert_true_to(&cli, &org, 20);
    assert_eq!(org.count(), 20);
}

#[test]
fn a_journal_that_another_program_has_emptied_is_not_said_to_be_complete() {
    let cli = Cli::new();
    cli.write("users.csv", table(20));
    let org = org_while_the_journal_is_emptied(&cli, Duration::ZERO);
    let ran = cli
        .run(&apply(&org.url(), &[]))
        .exits(5)
        .says("another program modified the journal")
        .says("--fresh");
    assert!(!ran.stderr.contains("recorded in"), "{}", ran.stderr);
    cli.run(&apply(&org.url(), &["--fresh"])).exits(0);
    assert_true_to(&cli, &org, 20);
}

#[cfg(unix)] // a POSIX shell, file modes
#[test]
fn files_are_the_owners_own_whatever_the_umask() {
    let cli = Cli::new();
    let org = Ledger::start(Duration::ZERO);
    cli.write("users.csv", table(3));
    let mode = |name: &str| fs::metadata(cli.path(name)).unwrap().permissions().mode() & 0o777;
    let limited = cli.command(&[
        "apply",
        "users.csv",
        "--yes",
        "--max-duration",
        "1ms",
        "--address",
        &org.url(),
    ]);
    Ran::of(through_shell("umask 000", &limited).output().unwrap()).exits(5);
    assert_eq!(mode("users.report.csv.partial"), 0o600);
    let extras = ["--html", "page.html", "--metrics", "run.prom"];
    let run = cli.command(&apply(&org.url(), &extras));
    Ran::of(through_shell("umask 000", &run).output().unwrap()).exits(0);
    for name in ["users.report.csv", "users.report.json", "page.html"] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
}

#[cfg(target_os = "linux")] // /dev/full
#[test]
fn nobody_has_to_be_listening() {
    for closed in ["true", "exec >&-", "exec 2>&-", "exec >&- 2>&-"] {
        let cli = Cli::new();
        let org =
            Ledger::scripted(|seen| Reply::new(if seen.user() == Some(3) { 404 } else { 204 }));
        cli.write("users.csv", table(50));
        let mut child = start(through_shell(
            closed,
            &cli.command(&apply(&org.url(), &["--verbose"])),
        ));
        // Whoever read the pipes goes away.
        drop((child.stdout.take(), child.stderr.take()));
        assert_eq!(child.wait().unwrap().code(), Some(1), "{closed}");
        assert_eq!(
            outcomes(&report(&cli.path("users.report.csv")), "applied"),
            49
        );
    }
    let cli = Cli::new();
    let org = Ledger::start(Duration::ZERO);
    cli.write("users.csv", table(3));
    let mut command = cli.command(&apply(&org.url(), &[]));
    let full = || {
        Stdio::from(
            fs::OpenOptions::new()
                .write(true)
                .open("/dev/full")
                .unwrap(),
        )
    };
    assert_eq!(
        command
            .stdout(full())
            .stderr(full())
            .status()
            .unwrap()
            .code(),
        Some(0)
    );
}

#[cfg(unix)] // a POSIX shell
#[test]
fn a_small_memory_is_enough() {
    let cli = Cli::new();
    let org = Ledger::start(Duration::ZERO);
    cli.write("users.csv", table(5000));
    // Kilobytes of address space.
    let run = through_shell("ulimit -v 131072", &cli.command(&apply(&org.url(), &[])))
        .output()
        .unwrap();
    Ran::of(run).exits(0);
    assert_true_to(&cli, &org, 5000);
}

/// A server on which everything goes wrong once in a while: errors, throttling, connections that
/// break, and twenty users in a row that may not be changed.
fn troubled() -> Ledger {
    let tried = std::sync::Mutex::new(std::collections::HashMap::<u64, u32>::new());
    Ledger::scripted(move |seen| {
        let Some(user) = seen.user() else {
            let token = format!(r#"{{"token":"t{}","expiresAt":9999999999}}"#, seen.number);
            return Reply::new(200).body("application/json", token);
        };
        let mut tried = tried.lock().unwrap();
        let before = tried.entry(user).or_default();
        *before += 1;
        match (user, *before) {
            (200..220, _) => Reply::new(403),
            (_, 1) if user % 40 == 13 => Reply::new(500),
            (_, 1) if user % 60 == 27 => Reply::new(429).header("retry-after", "0"),
            (_, 1) if user % 90 == 44 => Reply::raw("").then(Then::Reset),
            _ => Reply::new(204),
        }
    })
}

#[test]
fn every_request_is_accounted_for() {
    let cli = Cli::new();
    let org = troubled();
    cli.write("users.csv", table(300));
    let mut command: Command = cli.command(&apply(
        &org.url(),
        &["--email", "ada@example.com", "--org", "7"],
    ));
    command
        .env_remove("MFA_OPTOUT_API_KEY")
        .env("MFA_OPTOUT_PASSWORD", crate::common::KEY);
    Ran::of(command.output().unwrap()).exits(1);

    let told = report(&cli.path("users.report.csv"));
    assert_eq!(
        (outcomes(&told, "applied"), outcomes(&told, "failed")),
        (280, 20)
    );
    let run: serde_json::Value = serde_json::from_str(&cli.read("users.report.json")).unwrap();
    let traffic = |name: &str| usize::try_from(run["traffic"][name].as_u64().unwrap()).unwrap();
    let attempts: usize = told
        .iter()
        .map(|row| row["attempts"].parse::<usize>().unwrap())
        .sum();
    let log_ins = org.requests() - org.count();
    // A probe repeats a row that was applied, to see whether the credentials still hold.
    let sent_for = |user: u64| org.puts().iter().filter(|put| put.user == user).count();
    let probes: usize = told
        .iter()
        .map(|row| {
            sent_for(row["user_id"].parse().unwrap()) - row["attempts"].parse::<usize>().unwrap()
        })
        .sum();
    assert_eq!(traffic("requests"), org.requests());
    assert_eq!((traffic("log_ins"), log_ins), (1, 1));
    assert_eq!(org.requests(), attempts + log_ins + probes);
    assert!(
        probes > 0 && attempts > 300,
        "{probes} probes, {attempts} attempts"
    );
}

#[test]
fn a_ragged_row_that_is_skipped_leaves_a_well_formed_report() {
    let cli = Cli::new();
    let org = Ledger::start(Duration::ZERO);
    cli.write(
        "users.csv",
        "user_id,mfa_opt_out,note\n1,true,a\n2\n3,true,a,b,c\n\"x\ny\",true,\"a\nb\"\n5,true,e\n",
    );
    cli.run(&apply(&org.url(), &["--skip-invalid"])).exits(1);
    let rows = report(&cli.path("users.report.csv"));
    let told: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row["line"].as_str(),
                row["outcome"].as_str(),
                row["note"].as_str(),
            )
        })
        .collect();
    let wanted = [
        ("2", "applied", "a"),
        ("3", "invalid", ""),
        ("4", "invalid", "a"),
        ("5", "invalid", "a\nb"),
        ("8", "applied", "e"),
    ];
    assert_eq!(told, wanted);
}

/// Answers 204, but loses the answer to user 5's change and throttles from then on; once the run is
/// taken up again, user 5 is refused.
fn loses_the_answer_of_user_5(is_taken_up: &Arc<AtomicBool>) -> Ledger {
    let is_taken_up = Arc::clone(is_taken_up);
    Ledger::scripted(move |seen| {
        match (is_taken_up.load(Ordering::SeqCst), seen.user(), seen.number) {
            (true, Some(5), _) => Reply::new(422),
            (false, _, 5) => Reply::raw("").then(Then::Reset),
            (false, _, 6..) => Reply::new(429).header("retry-after", "120"),
            _ => Reply::new(204),
        }
    })
}

/// Interrupts a run after a row whose answer was lost, this number of times. The Org refuses the row
/// later.
fn lose_an_answer_and_interrupt(signal: Signal, times: usize) {
    let is_taken_up = Arc::new(AtomicBool::new(false));
    let cli = Cli::new();
    let org = loses_the_answer_of_user_5(&is_taken_up);
    cli.write("users.csv", table(9));
    let url = org.url();
    let words = apply_words(&url, "1", &[]);
    for time in 1..=times {
        let mut child = start(cli.command(&words));
        // The fifth loses its answer; the sixth is told to wait, and so is all that comes
        // later.
        org.must_see(5 + time, &mut child);
        let ended = stop(child, signal);
        assert_ne!(ended.status.code(), Some(0));
        org.must_be_left();
    }
    is_taken_up.store(true, Ordering::SeqCst);
    cli.run(&words).exits(1);
    let rows = report(&cli.path("users.report.csv"));
    let told: Vec<_> = rows
        .iter()
        .filter(|row| row["outcome"] != "applied")
        .map(|row| {
            (
                &row["line"][..],
                &row["outcome"][..],
                &row["http_status"][..],
            )
        })
        .collect();
    assert_eq!(told, [("6", "unknown", "422")], "{signal:?}, {times} times");
    cli.run(&["undo", "users.report.csv", "--dry-run", "--address", &url])
        .exits(0)
        .says("9 to opt back in");
}

#[test]
fn after_kills_a_row_whose_answer_was_lost_is_unknown_when_the_org_refuses_it() {
    lose_an_answer_and_interrupt(Signal::KILL, 1);
    lose_an_answer_and_interrupt(Signal::KILL, 2);
}

#[cfg(unix)] // signals
#[test]
fn after_orderly_ends_a_row_whose_answer_was_lost_is_unknown_when_the_org_refuses_it() {
    lose_an_answer_and_interrupt(Signal::TERM, 1);
    lose_an_answer_and_interrupt(Signal::TERM, 2);
}

#[cfg(unix)] // signals
#[test]
fn after_an_orderly_end_a_row_that_was_not_sent_is_not_in_doubt() {
    let cli = Cli::new();
    let org = Ledger::scripted(|seen| match (seen.user(), seen.number) {
        (_, 4) => Reply::new(429).header("retry-after", "120"),
        (Some(9), _) => Reply::new(422),
        _ => Reply::new(204),
    });
    cli.write("users.csv", table(9));
    let url = org.url();
    let words = apply_words(&url, "1", &[]);
    let mut child = start(cli.command(&words));
    org.must_see(4, &mut child);
    Ran::of(stop(child, Signal::TERM)).exits(143);
    cli.run(&words).exits(1);
    let rows = report(&cli.path("users.report.csv"));
    assert_eq!(
        (outcomes(&rows, "applied"), outcomes(&rows, "failed")),
        (8, 1)
    );
}

#[cfg(unix)] // file modes
#[test]
fn a_journal_of_format_1_is_refused_in_words_and_can_be_set_aside() {
    let cli = Cli::new();
    let org = Ledger::start(Duration::ZERO);
    cli.write("users.csv", table(3));
    let json = r#"{""format"":1,""at"":""2026-11-01T10:00:00Z""}"#;
    let body = format!("mfa-optout run,\"{json}\"");
    let check = crc32fast::hash(body.as_bytes());
    let journal = cli.write("users.report.csv.partial", format!("{body},{check:08x}\n"));
    fs::set_permissions(journal, fs::Permissions::from_mode(0o600)).unwrap();
    cli.run(&apply(&org.url(), &[]))
        .exits(2)
        .says("was written by an earlier version of mfa-optout (format 1)")
        .says("finish it with that version, or start over with --fresh");
    assert_eq!(org.requests(), 0);
    cli.run(&apply(&org.url(), &["--fresh"]))
        .exits(0)
        .says("users.report.csv.partial.old-1");
    assert_true_to(&cli, &org, 3);
}
