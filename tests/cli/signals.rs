//! Signals and the limits of a process, tried out on the built binary: a terminal that goes away,
//! a second Ctrl-C, and few file descriptors.

use std::fs;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
#[cfg(target_os = "linux")]
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use crate::common::hostile::{Reply, Then};
#[cfg(unix)]
use crate::common::ledger::through_shell;
use crate::common::ledger::{Ledger, Signal, end, on_record, send, start, stop};
use crate::common::{Cli, Ran, must_show_no_secret, outcomes, table};
#[cfg(target_os = "linux")]
use nix::fcntl::OFlag;
#[cfg(target_os = "linux")]
use nix::pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt};

fn apply(org: &Ledger) -> Vec<String> {
    let url = org.url();
    let words = [
        "apply",
        "users.csv",
        "--yes",
        "--rate",
        "unlimited",
        "--address",
        &url,
    ];
    words.map(str::to_owned).to_vec()
}

fn command(cli: &Cli, org: &Ledger, more: &[&str]) -> Command {
    let words = apply(org);
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    words.extend(more);
    cli.command(&words)
}

/// Starts an Org that confirms the first change at once and each further one when the test sends a
/// message.
fn holding_org() -> (Ledger, Sender<()>) {
    let (release, held) = channel();
    let held = Mutex::new(held);
    let org = Ledger::scripted(move |seen| {
        if seen.number > 1 {
            // Once the test has let go, nothing is held any more.
            let _ = held.lock().unwrap().recv();
        }
        Reply::new(204)
    });
    (org, release)
}

/// Waits until the run says that it only waits for requests in flight.
fn wait_for_drain(child: &mut Child) -> BufReader<std::process::ChildStderr> {
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !(line.contains("\"waiting\"") && line.contains("rain")) {
        must_show_no_secret(&line);
        line.clear();
        let read = lines.read_line(&mut line).unwrap();
        assert!(read > 0, "ended without waiting for the requests in flight");
    }
    lines
}

#[cfg(target_os = "linux")] // elsewhere, SIGHUP is ignored without a terminal
#[test]
fn a_hang_up_ends_a_run_in_good_order_and_the_same_command_goes_on() {
    let cli = Cli::new();
    let org = Ledger::start(Duration::from_millis(5));
    cli.write("users.csv", table(400));
    let mut child = start(command(&cli, &org, &[]));
    org.must_see(60, &mut child);
    Ran::of(stop(child, Signal::HUP))
        .exits(129)
        .says("Interrupted by SIGHUP.")
        .says("everything done so far is recorded")
        .says("mfa-optout apply users.csv");
    assert!(cli.path("users.report.csv.partial").exists());
    Ran::of(command(&cli, &org, &[]).output().unwrap()).exits(0);
    assert_eq!(outcomes(&cli.report(), "applied"), 400);
    assert_eq!(org.count(), 400, "no row was sent twice");
}

#[cfg(target_os = "linux")] // elsewhere, SIGHUP is ignored without a terminal
#[test]
fn repeated_hang_ups_leave_requests_in_flight_their_time() {
    let cli = Cli::new();
    let (org, release) = holding_org();
    cli.write("users.csv", table(2));
    let mut child = start(command(&cli, &org, &["--log-format", "json"]));
    org.must_see(2, &mut child);
    send(&mut child, Signal::HUP);
    let mut lines = wait_for_drain(&mut child);
    for _ in 0..5 {
        send(&mut child, Signal::HUP);
        org.wait_for(usize::MAX, &mut child, Duration::from_millis(50));
        assert!(child.try_wait().unwrap().is_none(), "it left at once");
    }
    drop(release);
    let mut said = String::new();
    lines.read_to_string(&mut said).unwrap();
    must_show_no_secret(&said);
    // The last row was still answered and recorded, so there is nothing left to interrupt.
    assert_eq!(child.wait().unwrap().code(), Some(0), "{said}");
    assert_eq!(outcomes(&cli.report(), "applied"), 2);
}

#[cfg(target_os = "linux")] // elsewhere, SIGHUP is ignored without a terminal
#[test]
fn after_a_hang_up_one_ctrl_c_waits_for_requests_in_flight_and_the_second_leaves_at_once() {
    let cli = Cli::new();
    let (org, release) = holding_org();
    cli.write("users.csv", table(3));
    let mut child = start(command(&cli, &org, &["--log-format", "json"]));
    org.must_see(2, &mut child);
    send(&mut child, Signal::HUP);
    let lines = wait_for_drain(&mut child);
    send(&mut child, Signal::INT);
    org.wait_for(usize::MAX, &mut child, Duration::from_millis(200));
    assert!(child.try_wait().unwrap().is_none(), "it left at once");
    let mut signals = 0;
    while child.try_wait().unwrap().is_none() {
        send(&mut child, Signal::INT);
        signals += 1;
        assert!(signals < 40, "it does not leave");
        org.wait_for(usize::MAX, &mut child, Duration::from_millis(100));
    }
    assert_eq!(child.wait().unwrap().code(), Some(130));
    drop((lines, release));
}

#[cfg(unix)] // signals, a POSIX shell
#[test]
fn a_run_under_nohup_goes_on_after_a_hang_up() {
    let cli = Cli::new();
    let org = Ledger::start(Duration::from_millis(5));
    cli.write("users.csv", table(400));
    let mut child = start(through_shell("trap '' HUP", &command(&cli, &org, &[])));
    org.must_see(60, &mut child);
    send(&mut child, Signal::HUP);
    Ran::of(end(child)).exits(0);
    assert_eq!(outcomes(&cli.report(), "applied"), 400);
}

/// A terminal, and the end of it that a process is given. No other process gets hold of the first,
/// so that dropping it closes the terminal.
#[cfg(target_os = "linux")]
fn terminal() -> (PtyMaster, fs::File) {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let terminal = posix_openpt(flags).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let other_end = fs::File::options()
        .read(true)
        .write(true)
        .custom_flags(OFlag::O_NOCTTY.bits())
        .open(ptsname_r(&terminal).unwrap())
        .unwrap();
    (terminal, other_end)
}

#[cfg(target_os = "linux")] // signals, a terminal that the test closes
#[test]
fn a_terminal_that_is_closed_ends_a_run_in_good_order() {
    let cli = Cli::new();
    let org = Ledger::start(Duration::from_millis(5));
    cli.write("users.csv", table(400));
    let (terminal, other_end) = terminal();
    let run = command(&cli, &org, &[]);
    let end = || Stdio::from(other_end.try_clone().unwrap());
    let mut child = Command::new("setsid");
    child
        .arg("--ctty")
        .arg(run.get_program())
        .args(run.get_args())
        .current_dir(cli.folder())
        .env_clear();
    for (name, value) in run.get_envs() {
        child.env(name, value.unwrap_or_default());
    }
    child
        .env("PATH", "/usr/bin:/bin")
        .env("TERM", "xterm-256color");
    child.stdin(end()).stdout(end()).stderr(end());
    let mut child = child.spawn().unwrap();
    org.must_see(60, &mut child);
    drop(terminal);
    drop(other_end);
    assert_eq!(child.wait().unwrap().code(), Some(129));
    let recorded = on_record(&cli.path("users.report.csv.partial"), 2);
    assert_eq!(
        recorded.len(),
        org.count(),
        "all that was sent is on record"
    );
    Ran::of(command(&cli, &org, &[]).output().unwrap()).exits(0);
    assert_eq!(outcomes(&cli.report(), "applied"), 400);
    assert_eq!(org.count(), 400, "no row was sent twice");
}

/// A run whose sending is over as soon as it is interrupted, and whose journal takes a while to be
/// added up: one row was refused, very many are duplicates, and the last one is not answered.
#[cfg(unix)]
fn interrupted_run(cli: &Cli, org: &Ledger) -> Child {
    let rows = format!(
        "user_id,mfa_opt_out\n1,true\n2,true\n{}3,true\n",
        "1,true\n".repeat(300_000)
    );
    cli.write("users.csv", rows);
    let mut child = start(command(cli, org, &[]));
    org.must_see(3, &mut child);
    let mut signals = 0;
    while !ends_with_stop(&cli.path("users.report.csv.partial")) {
        // Two that come before the first is looked at count as one, so more may be needed.
        send(&mut child, Signal::INT);
        signals += 1;
        assert!(signals < 4000, "it does not end");
        org.wait_for(usize::MAX, &mut child, Duration::from_millis(2));
    }
    child
}

fn ends_with_stop(journal: &Path) -> bool {
    let mut end = Vec::new();
    let mut file = fs::File::open(journal).unwrap();
    let length = file.metadata().unwrap().len();
    file.seek(SeekFrom::Start(length.saturating_sub(4096)))
        .unwrap();
    file.read_to_end(&mut end).unwrap();
    memchr::memmem::find(&end, b"mfa-optout stop").is_some()
}

#[cfg(unix)] // signals
#[test]
fn ctrl_c_in_the_closing_says_that_the_run_was_interrupted_and_how_it_goes_on() {
    let org = Ledger::scripted(|seen| match seen.user() {
        Some(2) => Reply::new(404),
        Some(3) => Reply::raw("").then(Then::Hang),
        _ => Reply::new(204),
    });
    let cli = Cli::new();
    let mut child = interrupted_run(&cli, &org);
    // The process is stopped first, so that the second signal comes while it sums up.
    send(&mut child, Signal::STOP);
    send(&mut child, Signal::INT);
    let ran = Ran::of(stop(child, Signal::CONT))
        .exits(130)
        .says("Interrupted.")
        .says("everything done so far is recorded")
        .says("mfa-optout apply users.csv")
        .says("users.report.csv.partial");
    let text = ran.text();
    assert!(!text.contains("can't be read"), "{text}");
    assert!(
        !text.contains("means:"),
        "it was not in the closing: {text}"
    );
}

#[cfg(unix)] // limits of a shell
#[test]
fn requests_in_flight_are_bounded_by_the_number_of_files_that_may_be_open() {
    for (limit, is_bounded) in [("ulimit -n 64", true), ("ulimit -Sn 64", false)] {
        let cli = Cli::new();
        let org = Ledger::start(Duration::from_millis(5));
        cli.write("users.csv", table(3_000));
        let mut run = through_shell(limit, &command(&cli, &org, &["--concurrency", "200"]));
        let ran = Ran::of(run.output().unwrap()).exits(0);
        let text = ran.text();
        let says_so = text.contains("requests in flight at a time, because the system lets");
        assert_eq!(says_so, is_bounded, "{limit}: {text}");
        assert_eq!(org.count(), 3_000, "no request had to be repeated");
        assert_eq!(cli.report().len(), 3_000);
    }
}

#[cfg(target_os = "linux")] // limits of a shell, codes of the system's loader
#[test]
fn with_any_number_of_file_descriptors_a_run_is_made_or_refused_and_never_panics() {
    let org = Ledger::start(Duration::ZERO);
    let mut made = 0;
    let mut refused = 0;
    for limit in 3..=40 {
        let cli = Cli::new();
        cli.write("users.csv", table(2));
        let before = org.count();
        let mut run = through_shell(&format!("ulimit -n {limit}"), &command(&cli, &org, &[]));
        let ran = Ran::of(run.output().unwrap());
        let text = ran.text();
        assert!(!text.contains("panicked"), "{limit}: {text}");
        match ran.code {
            Some(0) => {
                assert_eq!(org.count(), before + 2);
                made += 1;
            }
            Some(2) => {
                assert_eq!(org.count(), before, "{limit}: {text}");
                assert!(
                    text.contains("too few files may be open"),
                    "{limit}: {text}"
                );
                assert!(!cli.path("users.report.csv.partial").exists());
                refused += 1;
            }
            // The system's own loader could not open a library.
            Some(127) => assert_eq!(org.count(), before, "{limit}: {text}"),
            other => panic!("{limit}: {other:?}: {text}"),
        }
    }
    assert!(made > 0 && refused > 0, "{made} made, {refused} refused");
}
