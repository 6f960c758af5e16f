//! What the tests of the built binary share: `Cli`, which gives each test its own folder, a clean
//! environment and the binary, and `Report`, which reads what it has written. Whatever the binary
//! writes, into the folder or onto a stream, is searched for secrets. Servers that misbehave are in
//! `hostile`.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of this"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a test may fail here"
)]

pub mod chaos;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod crash;
pub mod hostile;
pub mod ledger;
pub mod practice;
pub mod soak;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod tracer;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A folder of its own, and the binary in a clean environment. When it is dropped, every file in
/// the folder is searched for secrets, but for those into which the test itself wrote one.
pub struct Cli {
    folder: TempDir,
    secret_files: RefCell<Vec<PathBuf>>,
}

impl Cli {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        Self {
            folder,
            secret_files: RefCell::default(),
        }
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file into the folder.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        if holds_a_secret(content.as_ref()) {
            self.secret_files.borrow_mut().push(path.clone());
        }
        fs::write(&path, content).expect("the folder can be written to");
        path
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The binary with these arguments, in the folder, not yet started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mfa-optout"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear();
        command
            .env("HOME", self.folder.path())
            .env("TZ", "UTC")
            .env("MFA_OPTOUT_API_KEY", KEY);
        keep_system_variables(&mut command);
        command.stdin(std::process::Stdio::null());
        command
    }

    /// Runs the binary to its end.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(
            self.command(arguments)
                .output()
                .expect("the binary can be started"),
        )
    }

    /// The same with a log-in instead of a key.
    pub fn session(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(arguments);
        command
            .env_remove("MFA_OPTOUT_API_KEY")
            .env("MFA_OPTOUT_EMAIL", "admin@example.org");
        command
            .env("MFA_OPTOUT_PASSWORD", PASSWORD)
            .env("MFA_OPTOUT_ORG", "42");
        command
    }

    /// Applies the table `users.csv` in the folder to the Org at this address, without asking.
    pub fn apply(&self, address: &str, options: &[&str]) -> Ran {
        self.run(
            &[
                &["apply", "users.csv", "--yes", "--address", address],
                options,
            ]
            .concat(),
        )
    }

    /// The report of the table `users.csv`.
    pub fn report(&self) -> Vec<ReportRow> {
        report(&self.path("users.report.csv"))
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// Gives a command the variables without which Windows loads no library and finds no folder for
/// temporary files.
pub fn keep_system_variables(command: &mut Command) {
    for name in ["SystemRoot", "TEMP", "TMP"] {
        if let Some(value) = std::env::var_os(name).filter(|_| cfg!(windows)) {
            command.env(name, value);
        }
    }
}

impl Drop for Cli {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.search(self.folder.path());
        }
    }
}

impl Cli {
    fn search(&self, folder: &Path) {
        for entry in fs::read_dir(folder).expect("the folder can be read") {
            let path = entry.expect("the folder can be read").path();
            if path.is_dir() {
                self.search(&path);
            } else if path.is_file() && !self.secret_files.borrow().contains(&path) {
                let content = fs::read(&path).expect("what the tool has written can be read");
                assert!(
                    !holds_a_secret(&content),
                    "a secret is in {}",
                    path.display()
                );
            }
        }
    }
}

/// The API key that every test uses; nothing that the binary writes may contain it.
pub const KEY: &str = "k3y-that-must-never-be-seen-9f27";
/// The password of every log-in.
pub const PASSWORD: &str = "p4ss-that-must-never-be-seen-51c8";
/// What every token that a test's Org issues begins with.
pub const TOKEN: &str = "t0ken-that-must-never-be-seen-";

fn holds_a_secret(content: &[u8]) -> bool {
    [KEY, PASSWORD, TOKEN]
        .iter()
        .any(|secret| memchr::memmem::find(content, secret.as_bytes()).is_some())
}

/// For what comes another way than through [`Ran`], such as from a terminal or from a process that
/// was killed.
#[track_caller]
pub fn must_show_no_secret(said: &str) {
    assert!(
        !holds_a_secret(said.as_bytes()),
        "a secret was shown:\n{said}"
    );
}

/// A finished process.
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the tool writes UTF-8");
        let ran = Self {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        };
        must_show_no_secret(&ran.stdout);
        must_show_no_secret(&ran.stderr);
        ran
    }

    /// Asserts the exit code, showing everything when it is another.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// Everything that a person reads.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Asserts that a person reads this, on either stream.
    #[track_caller]
    pub fn says(self, words: &str) -> Self {
        let said = self.stdout.contains(words) || self.stderr.contains(words);
        assert!(
            said,
            "does not say {words:?}\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout, self.stderr
        );
        self
    }
}

/// A row of a report, by column name.
pub type ReportRow = BTreeMap<String, String>;

/// Reads a report; the key must not be in it.
pub fn report(path: &Path) -> Vec<ReportRow> {
    let ending = path.extension().unwrap_or_default();
    if ending.eq_ignore_ascii_case("xlsx") {
        return report_in_workbook(path);
    }
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(!text.contains(KEY), "the key is in the report");
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter_of(&text))
        .from_reader(text.as_bytes());
    reader
        .deserialize()
        .map(|row| row.expect("the report is a table"))
        .collect()
}

/// Reads a report that is a workbook.
fn report_in_workbook(path: &Path) -> Vec<ReportRow> {
    let opened = calamine::open_workbook::<calamine::Xlsx<_>, _>(path);
    let mut book = opened.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let sheet = calamine::Reader::worksheet_range(&mut book, "report").expect("a sheet");
    let mut rows = sheet.rows();
    let header = rows.next().expect("a report has a header");
    let row = |cells: &[calamine::Data]| {
        let texts = cells.iter().map(ToString::to_string);
        let names = header.iter().map(ToString::to_string);
        names.zip(texts).collect()
    };
    rows.map(row).collect()
}

/// Returns the delimiter of a report: what stands between two of its columns.
fn delimiter_of(report: &str) -> u8 {
    let delimiters = *b",;\t|";
    let is_used = |delimiter: &u8| {
        let columns = format!("line{0}outcome{0}wanted", char::from(*delimiter));
        report.contains(&columns)
    };
    delimiters.into_iter().find(is_used).unwrap_or(b',')
}

/// How many rows of a report have this outcome.
pub fn outcomes(rows: &[ReportRow], outcome: &str) -> usize {
    rows.iter().filter(|row| row["outcome"] == outcome).count()
}

/// Returns the words of `apply users.csv` as fast as the Org answers, with this many requests in
/// flight.
pub fn apply_words<'a>(url: &'a str, in_flight: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let words = [
        "apply",
        "users.csv",
        "--yes",
        "--rate",
        "unlimited",
        "--concurrency",
        in_flight,
        "--address",
        url,
    ];
    [&words[..], more].concat()
}

/// A table of user IDs from 1, all to be opted out.
pub fn table(rows: u64) -> String {
    (1..=rows).fold("user_id,mfa_opt_out\n".to_owned(), |text, id| {
        text + &format!("{id},true\n")
    })
}
