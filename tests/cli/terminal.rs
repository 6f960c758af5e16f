//! A person at a terminal, which is a pseudo-terminal here: what is asked, which answers count, and
//! that nothing is sent without one.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::common::hostile::{Hostile, Reply};
use crate::common::practice::TestOrg;
use crate::common::{Cli, KEY, Ran, must_show_no_secret, outcomes, report, table};
use console::measure_text_width;
#[cfg(unix)]
use rexpect::process::WaitStatus;
#[cfg(unix)]
use rexpect::session::{PtySession, spawn_command};
#[cfg(unix)]
use rustix::termios::{Winsize, tcsetwinsize};

/// How long anything may take on a busy machine, in milliseconds.
const PATIENCE: u64 = 60_000;

/// Starts the binary at a terminal with a table of `rows` opt-outs.
#[cfg(unix)]
fn apply(cli: &Cli, org: &Hostile, rows: u64) -> PtySession {
    cli.write("users.csv", table(rows));
    start(cli.command(&[
        "apply",
        "users.csv",
        "--rate",
        "unlimited",
        "--address",
        &org.url(),
    ]))
}

#[cfg(unix)]
fn start(mut command: Command) -> PtySession {
    command
        .stdin(Stdio::inherit())
        .env("TERM", "xterm-256color");
    spawn_command(command, Some(PATIENCE)).expect("the binary can be started at a terminal")
}

/// Everything that is still said, and the exit code.
#[cfg(unix)]
fn end(mut session: PtySession) -> (String, i32) {
    let said = session.exp_eof().expect("it ends");
    must_show_no_secret(&said);
    match session.process().wait().expect("its end can be known") {
        WaitStatus::Exited(_, code) => (said, code),
        other => panic!("{other:?}: {said}"),
    }
}

/// Types the answers, each after the question or the hint, and returns what is said after them and
/// the exit code.
#[cfg(unix)]
fn answer(mut session: PtySession, answers: &[&str]) -> (String, i32) {
    for (number, answer) in answers.iter().enumerate() {
        if number > 0 {
            must_show_no_secret(&session.exp_string("lease").unwrap());
        }
        session.send_line(answer).unwrap();
    }
    end(session)
}

fn has_color(said: &str) -> bool {
    let colors = ["\u{1b}[31m", "\u{1b}[32m", "\u{1b}[33m", "\u{1b}[36m"];
    colors.iter().any(|color| said.contains(color))
}

#[cfg(unix)]
fn resize(session: &PtySession, columns: u16) {
    let terminal = session.process().get_file_handle().unwrap();
    tcsetwinsize(
        terminal,
        Winsize {
            ws_row: 24,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        },
    )
    .unwrap();
}

#[cfg(unix)] // a terminal that the test controls
#[test]
fn a_few_people_need_a_yes() {
    let cases: [(&[&str], i32, usize); 7] = [
        (&["y"], 0, 3),
        (&["Yes"], 0, 3),
        (&["n"], 2, 0),
        (&[""], 2, 0),
        (&["3", "y"], 0, 3),
        (&["3", "n"], 2, 0),
        (&["3", "yep"], 2, 0),
    ];
    for (answers, exit, sent) in cases {
        let cli = Cli::new();
        let org = Hostile::start(|_| Reply::new(204));
        let mut session = apply(&cli, &org, 3);
        must_show_no_secret(&session.exp_string("[y/N]").unwrap());
        assert!(
            org.requests().is_empty(),
            "something was sent before the answer"
        );
        let (said, code) = answer(session, answers);
        assert_eq!(
            (code, org.requests().len()),
            (exit, sent),
            "{answers:?}: {said}"
        );
        assert_eq!(cli.path("users.report.csv").exists(), sent > 0);
    }
}

#[cfg(unix)] // a terminal that the test controls
#[test]
fn many_people_need_their_number() {
    let cases: [(&[&str], i32, usize); 5] = [
        (&["51"], 0, 51),
        (&["y", "51"], 0, 51),
        (&["no"], 2, 0),
        (&["50", "yes"], 2, 0),
        (&["", ""], 2, 0),
    ];
    for (answers, exit, sent) in cases {
        let cli = Cli::new();
        let org = Hostile::start(|_| Reply::new(204));
        let mut session = apply(&cli, &org, 51);
        must_show_no_secret(&session.exp_string("Type 51").unwrap());
        let (said, code) = answer(session, answers);
        assert_eq!(
            (code, org.requests().len()),
            (exit, sent),
            "{answers:?}: {said}"
        );
    }
}

#[cfg(unix)] // a terminal that the test controls
#[test]
fn the_end_of_input_is_a_no() {
    for (rows, question) in [(3, "[y/N]"), (51, "Type 51")] {
        let cli = Cli::new();
        let org = Hostile::start(|_| Reply::new(204));
        let mut session = apply(&cli, &org, rows);
        must_show_no_secret(&session.exp_string(question).unwrap());
        session.send_control('d').unwrap();
        let (said, code) = end(session);
        assert!(said.contains("nothing was sent"), "{said}");
        assert_eq!((code, org.requests().len()), (2, 0));
    }
}

#[cfg(unix)] // a terminal that the test controls
#[test]
fn a_file_of_settings_in_the_working_folder_is_named_in_the_plan() {
    let cli = Cli::new();
    let org = Hostile::start(|_| Reply::new(204));
    cli.write("users.csv", table(2));
    cli.write("mfa-optout.toml", format!("address = \"{}\"\n", org.url()));
    let mut session = start(cli.command(&["apply", "users.csv"]));
    must_show_no_secret(
        &session
            .exp_string("found in the working directory")
            .unwrap(),
    );
    must_show_no_secret(&session.exp_string("[y/N]").unwrap());
    session.send_line("y").unwrap();
    assert_eq!(end(session).1, 0);
    assert_eq!(
        outcomes(&report(&cli.path("users.report.csv")), "applied"),
        2
    );
}

#[cfg(unix)] // a terminal that the test controls
#[test]
fn the_bar_is_gone_when_the_summary_comes() {
    let cli = Cli::new();
    let org = Hostile::start(|_| Reply::new(204));
    cli.write("users.csv", table(3));
    let session = start(cli.command(&["apply", "users.csv", "--yes", "--address", &org.url()]));
    let (said, code) = end(session);
    assert_eq!(code, 0);
    let (_, summary) = said
        .rsplit_once("\u{1b}[J")
        .expect("a bar is drawn over and taken away");
    let summary = console::strip_ansi_codes(summary);
    assert!(summary.trim_start().starts_with("Done: "), "{summary:?}");
}

#[cfg(unix)] // a terminal that the test controls
#[test]
fn without_colours_or_on_a_plain_terminal_it_stays_readable() {
    let cli = Cli::new();
    let org = Hostile::start(|_| Reply::new(204));
    cli.write("users.csv", table(3));
    let arguments = [
        "apply",
        "users.csv",
        "--yes",
        "--overwrite",
        "--address",
        &org.url(),
    ];
    let mut command = cli.command(&arguments);
    command.env("NO_COLOR", "1");
    let (said, _) = end(start(command));
    assert!(!has_color(&said), "there is colour: {said:?}");

    let mut command = cli.command(&arguments);
    command.stdin(Stdio::inherit()).env("TERM", "dumb");
    let (said, code) = end(spawn_command(command, Some(PATIENCE)).unwrap());
    assert!(code == 0 && !said.contains('\u{1b}'), "{said:?}");
}

#[cfg(unix)] // a terminal that the test controls
#[test]
fn problems_stand_out_at_a_terminal_and_what_is_invisible_is_shown() {
    let cli = Cli::new();
    let org = Hostile::start(|_| Reply::new(204));
    cli.write(
        "users.csv",
        "user_id,mfa_opt_out\n17\u{200b}32,true\n\u{1b}[31m,true\n",
    );
    let arguments = ["apply", "users.csv", "--yes", "--address", &org.url()];
    let (said, code) = end(start(cli.command(&arguments)));
    assert_eq!((code, org.requests().len()), (2, 0));
    assert!(
        said.contains("\u{1b}[36musers.csv:2\u{1b}[0m: column user_id: "),
        "{said:?}"
    );
    assert!(
        said.contains("\u{1b}[33m\"17\\u{200b}32\"\u{1b}[0m"),
        "{said:?}"
    );
    assert!(said.contains("\"\\u{1b}[31m\""), "{said:?}");

    for (variable, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let mut command = cli.command(&arguments);
        command
            .stdin(Stdio::inherit())
            .env("TERM", "xterm")
            .env(variable, value);
        let (said, _) = end(spawn_command(command, Some(PATIENCE)).unwrap());
        assert!(
            said.contains("users.csv:2: column user_id: ") && !said.contains('\u{1b}'),
            "{said:?}"
        );
    }
}

#[cfg(unix)] // a terminal that the test controls
#[test]
fn plan_is_shown_before_a_question_also_with_quiet_or_redirected_output() {
    for (options, to_a_file) in [
        (vec!["--quiet"], false),
        (vec!["--quiet"], true),
        (vec![], true),
    ] {
        let cli = Cli::new();
        let org = Hostile::start(|_| Reply::new(204));
        cli.write("users.csv", table(3));
        let mut command = cli.command(
            &[
                &["apply", "users.csv", "--address", &org.url()],
                &options[..],
            ]
            .concat(),
        );
        if to_a_file {
            command.stdout(File::create(cli.path("said.txt")).unwrap());
        }
        let mut session = start(command);
        let plan = session.exp_string("[y/N]").unwrap();
        let plan = console::strip_ansi_codes(&plan);
        assert!(
            plan.contains("3 to opt out of MFA") && plan.contains(&org.url()),
            "{options:?}: {plan}"
        );
        session.send_line("y").unwrap();
        let (said, code) = end(session);
        assert_eq!((code, org.requests().len()), (0, 3), "{options:?}: {said}");
        if to_a_file {
            assert_eq!(cli.read("said.txt").contains("Done: "), options.is_empty());
        }
    }
}

#[cfg(unix)] // a terminal that the test controls
#[test]
fn a_finished_report_is_found_before_anybody_is_asked() {
    let cli = Cli::new();
    let org = Hostile::start(|_| Reply::new(204));
    cli.write("users.csv", table(3));
    cli.apply(&org.url(), &[]).exits(0);
    let report = cli.read("users.report.csv");
    let (said, code) = end(start(cli.command(&[
        "apply",
        "users.csv",
        "--address",
        &org.url(),
    ])));
    assert_eq!((code, org.requests().len()), (2, 3), "{said}");
    assert!(
        said.contains("users.report.csv") && said.contains("--overwrite"),
        "{said}"
    );
    assert!(!said.contains("[y/N]"), "{said}");
    assert_eq!(cli.read("users.report.csv"), report);
}

#[cfg(unix)] // a terminal that the test controls
#[test]
fn a_resumed_plan_asks_about_what_is_still_to_come() {
    let repaired = Arc::new(AtomicBool::new(false));
    let org = {
        let repaired = Arc::clone(&repaired);
        Hostile::start(move |seen| {
            let known =
                repaired.load(Ordering::SeqCst) || seen.user().is_some_and(|user| user <= 40);
            Reply::new(if known { 204 } else { 404 })
        })
    };
    let cli = Cli::new();
    cli.write("users.csv", table(100));
    let url = org.url();
    let guards = [
        "--max-failures",
        "5",
        "--rate",
        "unlimited",
        "--concurrency",
        "1",
    ];
    cli.apply(&url, &guards).exits(5);
    assert_eq!(org.requests().len(), 45);

    repaired.store(true, Ordering::SeqCst);
    let mut session =
        start(cli.command(&[&["apply", "users.csv", "--address", &url], &guards[..]].concat()));
    let plan = session.exp_string("Type 55 to continue").unwrap();
    let plan = console::strip_ansi_codes(&plan);
    for words in [
        "100\r\n",
        "55 to opt out of MFA",
        "45 recorded by the interrupted run, not sent again",
    ] {
        assert!(plan.contains(words), "no {words:?} in {plan}");
    }
    session.send_line("55").unwrap();
    let (said, code) = end(session);
    assert!(
        code == 1 && said.contains("45 of 100 rows are recorded"),
        "{code}: {said}"
    );
    assert_eq!(org.requests().len(), 100);
}

#[cfg(unix)] // a terminal that the test controls
#[test]
fn bar_never_wraps_on_a_terminal_of_forty_columns_or_more() {
    let org = Hostile::start(|seen| match seen.user() {
        Some(1) => Reply::new(204),
        _ => Reply::new(429).header("Retry-After", "60"),
    });
    let cli = Cli::new();
    cli.write("users.csv", table(3));
    let mut command = cli.command(&["apply", "users.csv", "--address", &org.url()]);
    command.env("NO_COLOR", "1");
    let mut session = start(command);
    must_show_no_secret(&session.exp_string("[y/N]").unwrap());
    resize(&session, 200);
    session.send_line("y").unwrap();
    session.exp_string("throttled by the Org").unwrap();
    session.send_control('c').unwrap();
    let (said, code) = end(session);
    assert_eq!(code, 130, "{said:?}");
    let (bars, summary) = said.rsplit_once("\u{1b}[J").expect("a bar is taken away");
    assert!(
        summary.contains("Interrupted") && !summary.contains("\u{1b}[2"),
        "{summary:?}"
    );
    for line in bars.lines() {
        // The session hands every byte out as a character of its own.
        let bytes: Vec<u8> = line
            .chars()
            .filter_map(|byte| u8::try_from(byte).ok())
            .collect();
        let line = String::from_utf8_lossy(&bytes);
        assert!(measure_text_width(&line) < 40, "{line:?}");
    }
}

/// A terminal of `tmux`, which ends when dropped.
struct Tmux {
    socket: PathBuf,
}

impl Tmux {
    /// Starts a command in a window of 100 columns. Returns `None` if there is no `tmux`.
    fn start(cli: &Cli, arguments: &[&str]) -> Option<Self> {
        let tmux = Self {
            socket: cli.path("tmux.socket"),
        };
        let binary = env!("CARGO_BIN_EXE_mfa-optout");
        let size = ["-x", "100", "-y", "30"];
        let command = cli.command(&[]);
        let mut server = tmux.command(&["-f", "/dev/null", "set-option", "-g", "remain-on-exit"]);
        server.args(["on", ";", "new-session", "-d"]);
        server.args(size).arg(binary).args(arguments);
        server.current_dir(cli.folder());
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                server.env(name, value);
            }
        }
        match server.output() {
            Ok(output) => assert!(output.status.success(), "{output:?}"),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // Written past the capture of the test harness.
                let note = b"LEFT OUT: tmux is not installed, no terminal was resized\n";
                std::io::stderr().write_all(note).unwrap();
                return None;
            }
            Err(error) => panic!("tmux does not start: {error}"),
        }
        Some(tmux)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(&self.socket).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Returns everything that the terminal shows or has shown, once that has these words.
    fn screen_with(&self, words: &str) -> String {
        let began = Instant::now();
        loop {
            let screen = self.run(&["capture-pane", "-p", "-S", "-"]);
            if screen.contains(words) {
                return screen;
            }
            let patience = Duration::from_millis(PATIENCE);
            assert!(began.elapsed() < patience, "no {words:?} in {screen}");
        }
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        self.run(&["kill-server"]);
    }
}

#[cfg(unix)] // tmux
#[test]
fn thirty_quick_resizes_leave_nothing_of_the_bar_behind() {
    let org = Hostile::start(|seen| match seen.user() {
        Some(1) => Reply::new(204),
        _ => Reply::new(429).header("Retry-After", "60"),
    });
    let cli = Cli::new();
    cli.write("users.csv", table(3));
    let url = org.url();
    let arguments = ["apply", "users.csv", "--yes", "--address", &url];
    let Some(tmux) = Tmux::start(&cli, &arguments) else {
        return;
    };
    tmux.screen_with("throttled by the Org");
    for number in 0..30 {
        let columns = (40 + number * 37 % 120).to_string();
        tmux.run(&["resize-window", "-x", &columns]);
    }
    let screen = tmux.screen_with("throttled by the Org");
    assert_eq!(screen.matches("1/3").count(), 1, "{screen}");
    tmux.run(&["send-keys", "C-c"]);
    let screen = tmux.screen_with("Report: ");
    must_show_no_secret(&screen);
    for leftover in ["1/3", "throttled by", "\u{2501}", "\u{2500}", "^C"] {
        assert!(!screen.contains(leftover), "{leftover}: {screen}");
    }
}

#[cfg(unix)] // a terminal that the test controls
#[test]
fn missing_key_is_asked_for_without_echo() {
    let cli = Cli::new();
    let org = Hostile::start(|_| Reply::new(204));
    cli.write("users.csv", table(2));
    let mut command = cli.command(&["apply", "users.csv", "--yes", "--address", &org.url()]);
    command.env_remove("MFA_OPTOUT_API_KEY");
    let mut session = start(command);
    must_show_no_secret(&session.exp_string("API key (not shown): ").unwrap());
    session.send_line(KEY).unwrap();
    let (said, code) = end(session);
    assert_eq!((code, org.requests().len()), (0, 2), "{said}");
    assert!(said.contains("API key from the terminal"), "{said}");

    let mut command = cli.command(&["apply", "users.csv", "--yes", "--address", &org.url()]);
    command.env_remove("MFA_OPTOUT_API_KEY");
    let mut session = start(command);
    session.exp_string("API key (not shown): ").unwrap();
    session.send_line("").unwrap();
    let (said, code) = end(session);
    assert_eq!((code, org.requests().len()), (2, 2), "{said}");
    assert!(said.contains("no credentials given"), "{said}");
}

/// `apply` to an Org that knows nobody, with this value of `--color`.
fn colored(cli: &Cli, org: &Hostile, color: &str) -> Command {
    cli.write("users.csv", table(3));
    cli.command(&[
        "apply",
        "users.csv",
        "--yes",
        "--color",
        color,
        "--address",
        &org.url(),
    ])
}

#[cfg(unix)] // a terminal that the test controls
#[test]
fn with_color_never_a_terminal_gets_no_color() {
    let cli = Cli::new();
    let org = Hostile::start(|_| Reply::new(404));
    let (said, code) = end(start(colored(&cli, &org, "never")));
    assert!(code != 0 && !has_color(&said), "there is colour: {said:?}");
}

#[test]
fn with_color_always_a_pipe_gets_color() {
    let cli = Cli::new();
    let org = Hostile::start(|_| Reply::new(404));
    let ran = Ran::of(colored(&cli, &org, "always").output().unwrap());
    assert!(
        ran.stdout.contains("\u{1b}[1m3\u{1b}[0m to opt out"),
        "{}",
        ran.stdout
    );
}

/// `apply` in a session without a password.
fn without_password(cli: &Cli, address: &str) -> Command {
    cli.write("users.csv", table(2));
    let mut command = cli.session(&["apply", "users.csv", "--yes", "--address", address]);
    command
        .env_remove("MFA_OPTOUT_PASSWORD")
        .env("MFA_OPTOUT_EMAIL", "admin@example.com")
        .env("MFA_OPTOUT_ORG", "1");
    command
}

#[cfg(unix)] // a terminal that the test controls
#[test]
fn missing_password_is_asked_for_without_echo() {
    let cli = Cli::new();
    let org = TestOrg::start(&cli, &[]);
    let mut session = start(without_password(&cli, org.address()));
    session.exp_string("Password (not shown): ").unwrap();
    session.send_line("sandbox-password").unwrap();
    let (said, code) = end(session);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("password from the terminal"), "{said}");
    assert!(
        !said.contains("sandbox-password\r\n"),
        "it is echoed: {said}"
    );
}

#[test]
fn missing_password_without_a_terminal_is_an_error_that_names_the_option() {
    let cli = Cli::new();
    let org = Hostile::start(|_| Reply::new(204));
    let output = without_password(&cli, &org.url()).output().unwrap();
    Ran::of(output)
        .exits(2)
        .says("no password given")
        .says("--password-file");
}
