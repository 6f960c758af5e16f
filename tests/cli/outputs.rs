//! Files that a run writes, and files that stand or appear in their places: what is replaced, what
//! is kept, and what is refused before anything is sent. "During the run" is while the Org holds
//! its answer to a certain request.

use std::fs;
#[cfg(unix)]
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
#[cfg(unix)]
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::hostile::{Hostile, Reply};
use crate::common::ledger::{Ledger, PATIENCE, Signal, start, stop};
use crate::common::{Cli, KEY, Ran, outcomes, report, table};

const REPORT: &str = "users.report.csv";
const JOURNAL: &str = "users.report.csv.partial";
const RECORD: &str = "users.report.json";

/// The account "nobody".
const NOBODY: u32 = 65_534;

fn cli(rows: u64) -> Cli {
    let cli = Cli::new();
    cli.write("users.csv", table(rows));
    cli
}

/// Runs `apply` at full speed.
fn apply(cli: &Cli, org: &Ledger, options: &[&str]) -> Ran {
    let fast = ["--rate", "unlimited", "--concurrency", "8"];
    cli.apply(&org.url(), &[&fast[..], options].concat())
}

/// An Org that confirms every change and does something before it answers a certain request.
fn org_that(number: usize, act: impl Fn() + Send + Sync + 'static) -> Ledger {
    Ledger::scripted(move |seen| {
        if seen.number == number {
            act();
        }
        Reply::new(204)
    })
}

#[track_caller]
fn assert_all_applied(cli: &Cli, rows: usize) {
    let rows_told = report(&cli.path(REPORT));
    assert_eq!(rows_told.len(), rows);
    assert_eq!(outcomes(&rows_told, "applied"), rows);
    assert!(!cli.path(JOURNAL).exists());
    assert!(cli.path(RECORD).exists());
}

/// On Unix, a file that is open can be replaced.
#[cfg(windows)]
#[test]
fn a_report_that_a_spreadsheet_holds_open_is_found_before_anything_is_sent() {
    use std::os::windows::fs::OpenOptionsExt;

    const SHARE_READ: u32 = 1;

    let cli = cli(3);
    let org = Ledger::start(Duration::ZERO);
    apply(&cli, &org, &[]).exits(0);
    let held = fs::File::options()
        .read(true)
        .share_mode(SHARE_READ)
        .open(cli.path(REPORT))
        .unwrap();
    apply(&cli, &org, &["--overwrite"])
        .exits(2)
        .says("it is open in another program");
    assert_eq!(org.count(), 3);
    drop(held);
    apply(&cli, &org, &["--overwrite"]).exits(0);
    assert_eq!(org.count(), 6);
}

#[test]
fn a_foreign_report_that_appears_during_the_run_is_kept() {
    let earlier = {
        let cli = cli(300);
        let org = Ledger::start(Duration::ZERO);
        apply(&cli, &org, &[]).exits(0);
        cli.read(REPORT)
    };
    assert!(earlier.len() > 8_192);
    let one_byte_less = earlier[..earlier.len() - 1].to_owned();
    for foreign in ["precious".to_owned(), earlier.clone(), one_byte_less] {
        for options in [&[][..], &["--overwrite"]] {
            let cli = cli(300);
            let place = cli.path(REPORT);
            let planted = foreign.clone();
            let org = org_that(200, move || fs::write(&place, &planted).unwrap());
            apply(&cli, &org, options)
                .exits(5)
                .says("users.report.csv has appeared in the meantime")
                .says("everything is recorded in users.report.csv.partial");
            assert_eq!(cli.read(REPORT), foreign);
            assert!(cli.path(JOURNAL).exists() && !cli.path(RECORD).exists());

            fs::remove_file(cli.path(REPORT)).unwrap();
            apply(&cli, &org, options).exits(0);
            assert_eq!(org.count(), 300);
            assert_all_applied(&cli, 300);
        }
    }
}

#[test]
fn an_overwriting_run_that_could_not_finish_does_not_take_the_old_report_for_its_own() {
    let cli = cli(20);
    cli.write(REPORT, "the old report");
    let record = cli.path(RECORD);
    let org = org_that(20, move || fs::write(&record, "{}").unwrap());
    apply(&cli, &org, &["--overwrite"])
        .exits(5)
        .says("users.report.json has appeared in the meantime");
    assert_eq!(cli.read(REPORT), "the old report");
    assert_eq!(cli.read(RECORD), "{}");
    fs::remove_file(cli.path(RECORD)).unwrap();

    apply(&cli, &org, &[])
        .exits(5)
        .says("users.report.csv is already there and belongs to another run")
        .says("--overwrite");
    assert_eq!(cli.read(REPORT), "the old report");
    assert!(cli.path(JOURNAL).exists() && !cli.path(RECORD).exists());

    apply(&cli, &org, &["--overwrite"]).exits(0);
    assert_eq!(org.count(), 20);
    assert_all_applied(&cli, 20);
}

fn piped(mut command: Command) -> Command {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn a_journal_that_another_run_has_put_in_the_place_of_the_own_one_is_not_touched() {
    let cli = cli(20);
    cli.write("second.csv", table(3));
    let (let_second_go, held) = channel::<()>();
    let held = Mutex::new(held);
    let second_org = Ledger::scripted(move |_| {
        let _ = held.lock().unwrap().recv_timeout(PATIENCE);
        Reply::new(204)
    });
    let second_run = [
        "apply",
        "second.csv",
        "--yes",
        "--report",
        REPORT,
        "--address",
        &second_org.url(),
    ];
    let command = Mutex::new(piped(cli.command(&second_run)));
    let (started, takes_second) = channel();
    let journal = cli.path(JOURNAL);
    let org = org_that(20, move || {
        fs::remove_file(&journal).unwrap();
        let child = command.lock().unwrap().spawn().unwrap();
        started.send(child).unwrap();
        while !journal.exists() {
            std::thread::yield_now();
        }
    });
    apply(&cli, &org, &[])
        .exits(5)
        .says("users.report.csv.partial was replaced during the run")
        .says("everything is recorded in users.report.csv.partial.old-1");
    let second = takes_second.recv().unwrap();
    assert!(!cli.path(REPORT).exists() && !cli.path(RECORD).exists());
    assert!(cli.path(JOURNAL).exists());
    drop(let_second_go);
    let second = second.wait_with_output().unwrap();
    Ran::of(second).exits(0);
    assert_eq!(report(&cli.path(REPORT)).len(), 3);
    assert_eq!(second_org.count(), 3);

    // What the first run had done is not lost.
    fs::rename(
        cli.path("users.report.csv.partial.old-1"),
        cli.path(JOURNAL),
    )
    .unwrap();
    apply(&cli, &org, &["--overwrite"]).exits(0);
    assert_eq!(org.count(), 20);
    assert_all_applied(&cli, 20);
}

#[test]
fn a_run_whose_journal_vanishes_still_finishes_and_warns() {
    let cli = cli(20);
    let journal = cli.path(JOURNAL);
    let org = org_that(20, move || fs::remove_file(&journal).unwrap());
    let ran = apply(&cli, &org, &[]).exits(0);
    ran.says(
        "warning: the report is in place, but the run's journal users.report.csv.partial had been \
         removed",
    );
    assert_all_applied(&cli, 20);
}

#[test]
fn a_run_that_stops_after_its_journal_vanished_saves_it_again() {
    let cli = cli(20);
    let journal = cli.path(JOURNAL);
    let org = Ledger::scripted(move |seen| {
        if seen.number == 10 {
            fs::remove_file(&journal).unwrap();
            return Reply::new(401);
        }
        Reply::new(204)
    });
    let one_by_one = ["--concurrency", "1", "--rate", "unlimited"];
    cli.apply(&org.url(), &one_by_one)
        .exits(3)
        .says("users.report.csv.partial was removed or replaced during the run");
    let sent = org.count();
    cli.apply(&org.url(), &one_by_one).exits(0);
    assert_eq!(org.count(), sent + 11, "nine rows were on record");
    assert_all_applied(&cli, 20);
}

#[test]
fn pages_and_figures_that_appear_during_the_run_are_kept() {
    let cli = cli(20);
    let outputs = [
        ("page.html", "<!doctype html> of another run"),
        ("run.prom", "# HELP mfa_optout_ of another run"),
    ];
    let places: Vec<(PathBuf, &str)> = outputs
        .iter()
        .map(|(name, content)| (cli.path(name), *content))
        .collect();
    let org = org_that(20, move || {
        for (place, content) in &places {
            fs::write(place, content).unwrap();
        }
    });
    let options = ["--html", "page.html", "--metrics", "run.prom"];
    let ran = apply(&cli, &org, &options).exits(0);
    for (name, content) in outputs {
        assert_eq!(cli.read(name), content);
        assert!(ran.text().contains(&format!(
            "{name} can't be written: a file has appeared there in the meantime"
        )));
    }
    assert_all_applied(&cli, 20);

    // Those that are there when a run begins are replaced.
    apply(&cli, &org, &[&options[..], &["--overwrite"]].concat()).exits(0);
    assert!(
        cli.read("page.html")
            .contains("All 20 rows are as they should be")
    );
    assert!(cli.read("run.prom").contains("mfa_optout_last_run_rows"));
}

#[test]
fn a_report_without_csv_in_its_name_does_not_share_its_record_with_one_that_has_it() {
    let cli = cli(3);
    let org = Ledger::start(Duration::ZERO);
    apply(&cli, &org, &["--report", "out.csv"]).exits(0);
    let record = cli.read("out.json");
    apply(&cli, &org, &["--report", "out"]).exits(0);
    assert_eq!(cli.read("out.json"), record);
    assert!(cli.path("out.record.json").exists());

    assert_eq!(org.count(), 6);

    #[cfg(target_os = "linux")] // names that differ in case only
    {
        apply(&cli, &org, &["--report", "out.CSV", "--overwrite"])
            .exits(2)
            .says("out.json is the place of the record of ");
        assert_eq!((cli.read("out.json"), org.count()), (record, 6));
    }
}

/// A table with two rows that are not understood.
const BAD_TABLE: &str = "user_id,mfa_opt_out\n1,true\nJo,true\n0,true\n";

fn run_with_problems(cli: &Cli, org: &Ledger, problems: &str) -> Ran {
    cli.write("users.csv", BAD_TABLE);
    apply(cli, org, &["--problems", problems])
}

#[cfg(unix)] // file modes
#[test]
fn the_list_of_problems_belongs_to_its_owner_only() {
    let cli = Cli::new();
    let org = Ledger::start(Duration::ZERO);
    let header = "file,place,column,kind,problem,cell\n";
    // One that was planted for others to read and write, and that has a second name.
    let planted = cli.write("problems.csv", header);
    fs::set_permissions(&planted, fs::Permissions::from_mode(0o666)).unwrap();
    fs::hard_link(&planted, cli.path("second-name")).unwrap();
    for problems in ["problems.csv", "new.csv"] {
        run_with_problems(&cli, &org, problems).exits(2);
        let found = fs::metadata(cli.path(problems)).unwrap();
        assert_eq!((found.mode() & 0o777, found.nlink()), (0o600, 1));
        assert_eq!(report(&cli.path(problems)).len(), 2);
        assert!(cli.read(problems).starts_with(header));
    }
    assert_eq!(cli.read("second-name"), header);
    assert_eq!(org.count(), 0);
}

#[cfg(unix)] // pipes
#[test]
fn the_list_of_problems_takes_no_other_files_place() {
    let cli = Cli::new();
    let org = Ledger::start(Duration::ZERO);
    cli.write("users.csv", BAD_TABLE);
    fs::hard_link(cli.path("users.csv"), cli.path("linked.csv")).unwrap();
    cli.write("key.txt", KEY);
    cli.write("precious.csv", "name,city\n");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, cli.path("pipe"), fifo, mode, 0).unwrap();
    for (place, words) in [
        (
            "./users.csv",
            "--problems can't be ./users.csv: that is the table",
        ),
        (
            "linked.csv",
            "--problems can't be linked.csv: that is the table",
        ),
        ("key.txt", "that is the file with the key or password"),
        (REPORT, "that is the report"),
        ("USERS.report.json", "that is the run's record"),
        ("page.html", "that is --html"),
        ("precious.csv", "another kind of file is there"),
        ("pipe", "pipe is not a plain file"),
        ("/dev/null", "is not a plain file"),
    ] {
        let url = org.url();
        let mut command = cli.command(&[
            "apply",
            "users.csv",
            "--yes",
            "--address",
            &url,
            "--html",
            "page.html",
            "--api-key-file",
            "key.txt",
            "--problems",
            place,
        ]);
        command.env_remove("MFA_OPTOUT_API_KEY");
        Ran::of(command.output().unwrap()).exits(2).says(words);
    }
    assert_eq!(cli.read("users.csv"), BAD_TABLE);
    assert_eq!(cli.read("key.txt"), KEY);
    assert_eq!(cli.read("precious.csv"), "name,city\n");
    assert_eq!(org.count(), 0);
}

/// The binary as an account that may not do everything, in a folder that it may write to.
#[cfg(unix)]
fn as_nobody(cli: &Cli, arguments: &[&str]) -> Command {
    let binary = cli.path("mfa-optout");
    if !binary.exists() {
        fs::set_permissions(cli.folder(), fs::Permissions::from_mode(0o777)).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_mfa-optout"), &binary).unwrap();
        fs::set_permissions(cli.path("users.csv"), fs::Permissions::from_mode(0o644)).unwrap();
    }
    let mut command = Command::new(&binary);
    command
        .args(arguments)
        .current_dir(cli.folder())
        .env_clear();
    command.env("MFA_OPTOUT_API_KEY", KEY).stdin(Stdio::null());
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

#[cfg(target_os = "linux")] // system calls
#[test]
fn a_report_that_can_not_be_replaced_is_found_before_anything_is_sent() {
    let is_root = rustix::process::geteuid().is_root();
    let mut cases = vec![(
        0o400,
        false,
        "users.report.csv exists already and can't be replaced",
    )];
    if is_root {
        // Another account's file in a folder in which only the owner of a file may replace it.
        cases.push((
            0o644,
            true,
            "users.report.csv belongs to another user (number 0)",
        ));
    }
    for (mode, of_another, words) in cases {
        let cli = cli(3);
        let org = Ledger::start(Duration::ZERO);
        let arguments = [
            "apply",
            "users.csv",
            "--yes",
            "--overwrite",
            "--address",
            &org.url(),
        ];
        let mut command = as_nobody(&cli, &arguments);
        let old = cli.write(REPORT, "old");
        if of_another {
            fs::set_permissions(cli.folder(), fs::Permissions::from_mode(0o1777)).unwrap();
        } else if is_root {
            std::os::unix::fs::chown(&old, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        fs::set_permissions(&old, fs::Permissions::from_mode(mode)).unwrap();
        Ran::of(command.output().unwrap()).exits(2).says(words);
        assert_eq!(cli.read(REPORT), "old");
        assert!(!cli.path(JOURNAL).exists());
        assert_eq!(org.count(), 0);
    }
}

#[test]
fn a_page_is_replaced_with_overwrite_only() {
    let cli = cli(3);
    let org = Ledger::start(Duration::ZERO);
    cli.write("page.html", "");
    let options = ["--html", "page.html"];
    apply(&cli, &org, &options).exits(0);
    let page = cli.read("page.html");
    for file in [REPORT, RECORD] {
        fs::remove_file(cli.path(file)).unwrap();
    }
    apply(&cli, &org, &options)
        .exits(2)
        .says("page.html exists already")
        .says("--overwrite replaces it");
    assert_eq!((cli.read("page.html"), org.count()), (page.clone(), 3));
    apply(&cli, &org, &["--html", "page.html", "--overwrite"]).exits(0);
    assert_ne!(cli.read("page.html"), page);
    cli.write("page.html", "precious");
    apply(&cli, &org, &["--html", "page.html", "--overwrite"])
        .exits(2)
        .says("another kind of file is there");
    assert_eq!(cli.read("page.html"), "precious");
}

#[test]
fn the_page_of_an_interrupted_run_is_replaced_by_the_run_that_continues_it_and_by_no_other() {
    let cli = cli(20);
    let org = Ledger::scripted(|seen| Reply::new(if seen.number == 10 { 401 } else { 204 }));
    let options = ["--html", "page.html", "--concurrency", "1"];
    cli.apply(&org.url(), &options).exits(3);
    let page = cli.read("page.html");
    assert!(page.contains("9 of 20 rows"), "{page}");
    let elsewhere = [&options[..], &["--report", "other.csv"]].concat();
    cli.apply(&org.url(), &elsewhere)
        .exits(2)
        .says("page.html exists already");
    assert_eq!(cli.read("page.html"), page);
    cli.apply(&org.url(), &options).exits(0);
    assert!(
        cli.read("page.html")
            .contains("All 20 rows are as they should be")
    );
}

#[test]
fn a_journal_that_is_removed_during_the_run_is_written_again_at_once() {
    let cli = cli(400);
    let journal = cli.path(JOURNAL);
    let was_there = Arc::new(AtomicBool::new(false));
    let noted = Arc::clone(&was_there);
    let org = Ledger::scripted(move |seen| {
        match seen.number {
            100 => fs::remove_file(&journal).unwrap(),
            390 => noted.store(journal.exists(), Ordering::Relaxed),
            _ => {}
        }
        Reply::new(204)
    });
    apply(&cli, &org, &[])
        .exits(0)
        .says("users.report.csv.partial was removed during the run and was written again");
    assert!(was_there.load(Ordering::Relaxed));
    assert_all_applied(&cli, 400);
}

#[cfg(unix)] // a locked file that others can write to
#[test]
fn a_run_whose_journal_can_not_be_read_again_ends_with_the_code_that_it_has_earned() {
    let cli = cli(20);
    let journal = cli.path(JOURNAL);
    let org = Ledger::scripted(move |seen| {
        if seen.number == 10 {
            let file = fs::File::options().write(true).open(&journal).unwrap();
            file.write_at(b"X", 3).unwrap();
            return Reply::new(401);
        }
        Reply::new(204)
    });
    let options = ["--concurrency", "1", "--metrics", "run.prom"];
    cli.apply(&org.url(), &options)
        .exits(3)
        .says("warning: the run can't be summed up: ")
        .says("the Org no longer accepts the credentials");
    let metrics = cli.read("run.prom");
    let exit_code = metrics
        .lines()
        .find(|line| line.starts_with("mfa_optout_last_run_exit_code"));
    assert!(
        exit_code.is_some_and(|line| line.ends_with(" 3")),
        "{metrics}"
    );
    assert!(cli.path(JOURNAL).exists());
}

#[cfg(target_os = "linux")] // file attributes
#[test]
fn an_immutable_file_is_found_before_anything_is_sent() {
    use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

    let cli = cli(3);
    let org = Ledger::start(Duration::ZERO);
    apply(&cli, &org, &["--html", "page.html"]).exits(0);
    let page = cli.read("page.html");
    let file = fs::File::open(cli.path("page.html")).unwrap();
    let flags = ioctl_getflags(&file).unwrap_or(IFlags::empty());
    let is_immutable = ioctl_setflags(&file, flags | IFlags::IMMUTABLE).is_ok();
    let ran = apply(&cli, &org, &["--overwrite", "--html", "page.html"]);
    if is_immutable {
        ioctl_setflags(&file, flags).unwrap();
        ran.exits(2)
            .says("page.html exists already and can't be replaced: Operation not permitted");
        assert_eq!((cli.read("page.html"), org.count()), (page, 3));
    } else {
        // Only root can make a file immutable, and not on every file system.
        ran.exits(0);
    }
}

#[cfg(unix)] // file modes, owners
#[test]
fn a_folder_in_which_no_report_can_be_put_in_place_is_found_before_a_run_goes_on() {
    let cli = cli(20);
    let org = Ledger::scripted(|seen| Reply::new(if seen.number == 10 { 401 } else { 204 }));
    let url = org.url();
    let arguments = [
        "apply",
        "users.csv",
        "--yes",
        "--rate",
        "unlimited",
        "--address",
        &url,
    ];
    Ran::of(as_nobody(&cli, &arguments).output().unwrap()).exits(3);
    assert!(cli.path(JOURNAL).exists());
    let sent = org.count();
    fs::set_permissions(cli.folder(), fs::Permissions::from_mode(0o555)).unwrap();
    Ran::of(as_nobody(&cli, &arguments).output().unwrap())
        .exits(2)
        .says("files in . can't be created or removed");
    for option in ["--html", "--metrics"] {
        let other_folder = [
            &arguments[..],
            &["--report", "/tmp/none/r.csv", option, "file"],
        ];
        Ran::of(as_nobody(&cli, &other_folder.concat()).output().unwrap())
            .exits(2)
            .says("file can't be written: files in . can't be created or removed");
    }
    assert_eq!(org.count(), sent);
    fs::set_permissions(cli.folder(), fs::Permissions::from_mode(0o777)).unwrap();
    Ran::of(as_nobody(&cli, &arguments).output().unwrap()).exits(0);
}

#[cfg(target_os = "linux")] // system calls
#[test]
fn a_key_file_of_another_account_is_warned_of() {
    let cli = cli(1);
    let org = Ledger::start(Duration::ZERO);
    let key = cli.write("key.txt", KEY);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        std::os::unix::fs::chown(&key, Some(NOBODY), None).unwrap();
    }
    let url = org.url();
    let arguments = [
        "apply",
        "users.csv",
        "--yes",
        "--api-key-file",
        "key.txt",
        "--address",
        &url,
    ];
    let mut command = cli.command(&arguments);
    command.env_remove("MFA_OPTOUT_API_KEY");
    let ran = Ran::of(command.output().unwrap()).exits(0);
    let warned = ran
        .text()
        .contains("key.txt belongs to another user (number 65534)");
    assert_eq!(warned, is_root, "{}", ran.text());
}

#[test]
fn a_run_that_is_killed_while_it_overwrites_keeps_the_old_report() {
    let cli = cli(60);
    cli.write(REPORT, "old");
    let org = Ledger::start(Duration::from_millis(20));
    let url = org.url();
    let arguments = [
        "apply",
        "users.csv",
        "--yes",
        "--overwrite",
        "--address",
        &url,
    ];
    let mut child = start(cli.command(&arguments));
    org.must_see(5, &mut child);
    stop(child, Signal::KILL);
    assert_eq!(cli.read(REPORT), "old");
    cli.apply(&url, &["--rate", "unlimited"])
        .exits(2)
        .says("users.report.csv exists already");
    apply(&cli, &org, &["--overwrite"]).exits(0);
    assert_all_applied(&cli, 60);
}

#[test]
fn manual_describes_every_field_of_the_record() {
    let cli = Cli::new();
    let org = Hostile::start(|seen| Reply::new(if seen.user() == Some(2) { 404 } else { 204 }));
    cli.write("users.csv", table(3));
    cli.apply(&org.url(), &[]).exits(1);
    let record: serde_json::Value = serde_json::from_str(&cli.read("users.report.json")).unwrap();
    let manual = cli.run(&["man"]).exits(0).stdout;
    let (_, described) = manual.split_once("THE RECORD").unwrap();
    let top = record.as_object().unwrap();
    let traffic = record["traffic"].as_object().unwrap();
    let failure = record["failures"][0].as_object().unwrap();
    for name in top.keys().chain(traffic.keys()).chain(failure.keys()) {
        assert!(described.contains(name.as_str()), "{name} is not described");
    }
}
