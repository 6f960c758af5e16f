//! The bed that everything is measured on: a folder on the project's own disk, tables of any size,
//! and the two programs set up alike.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A folder that goes away with it.
pub struct Bed {
    folder: TempDir,
}

impl Bed {
    /// Makes the folder beside what was built: a temporary folder may be in memory, where a sync
    /// costs nothing.
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))
                .expect("a folder can be made"),
        }
    }

    /// A table with this many users, four columns, made once.
    pub fn table(&self, rows: u64) -> PathBuf {
        let path = self.folder.path().join(format!("users-{rows}.csv"));
        if !path.exists() {
            write_table(&path, rows).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
        path
    }

    /// The same table with another flag for one user.
    pub fn table_with_one_change(&self, rows: u64) -> PathBuf {
        let path = self.folder.path().join(format!("changed-{rows}.csv"));
        let text = std::fs::read_to_string(self.table(rows)).expect("the table is there");
        let changed = text.replacen("true", "false", 1);
        std::fs::write(&path, changed).expect("the disk takes it");
        path
    }

    /// A table with the e-mail addresses of this many users instead of their IDs, in any order.
    pub fn people(&self, rows: u64) -> PathBuf {
        let head = "email,mfa_opt_out,name\n";
        self.users(
            &format!("{rows}-people.csv"),
            mixed(rows, 1_000_000_007),
            [head, ""],
            |user| {
                let flag = user % 3 != 0;
                format!("{},{flag},User Number {user}\n", email(user))
            },
        )
    }

    /// A list of the IDs of this many users, in another order.
    pub fn list(&self, rows: u64, format: &str) -> String {
        let name = format!("{rows}-list.{format}");
        let users = mixed(rows, 2_147_483_647);
        let path = if format == "json" {
            self.users(&name, users, ["[{\"total\": null}", "]\n"], |user| {
                let email = email(user);
                format!(
                    ",\n{{\"id\": {user}, \"firstName\": \"User\", \"lastName\": \"Number {user}\", \
                     \"email\": \"{email}\", \"active\": true, \"language\": \"en\", \
                     \"profile\": {{\"department\": \"Department {}\"}}, \"roles\": [\"user\"]}}",
                    user % 97
                )
            })
        } else {
            self.users(&name, users, ["user_id,email,name\n", ""], |user| {
                format!("{user},{},User Number {user}\n", email(user))
            })
        };
        path.to_string_lossy().into_owned()
    }

    /// A file about these users.
    fn users(
        &self,
        name: &str,
        users: impl Iterator<Item = u64>,
        [head, end]: [&str; 2],
        line: impl Fn(u64) -> String,
    ) -> PathBuf {
        let path = self.folder.path().join(name);
        let mut file = BufWriter::new(File::create(&path).expect("a file can be made"));
        file.write_all(head.as_bytes()).expect("the disk takes it");
        for user in users {
            file.write_all(line(user).as_bytes())
                .expect("the disk takes it");
        }
        file.write_all(end.as_bytes()).expect("the disk takes it");
        file.flush().expect("the disk takes it");
        path
    }

    /// The tool, with a clean environment and nothing of an earlier run in its way: to take away a
    /// large file costs time.
    pub fn apply(&self, table: &Path, arguments: &[&str]) -> Command {
        for left in ["report.csv", "report.json", "report.csv.partial"] {
            remove(&table.with_extension(left));
        }
        self.resume(table, arguments)
    }

    /// The same, to be taken up where it stopped.
    pub fn resume(&self, table: &Path, arguments: &[&str]) -> Command {
        self.command("apply", table, arguments)
    }

    /// The tool, which makes the Org match a table.
    pub fn sync(&self, table: &Path, arguments: &[&str]) -> Command {
        for left in ["sync.csv", "sync.json", "sync.csv.partial"] {
            remove(&self.folder.path().join(left));
        }
        let common = ["--report", "sync.csv"];
        self.command("sync", table, &[&common, arguments].concat())
    }

    fn command(&self, name: &str, table: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mfa-optout"));
        command
            .arg(name)
            .arg(table)
            .arg("--yes")
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear();
        command
            .env("HOME", self.folder.path())
            .env("TZ", "UTC")
            .env("MFA_OPTOUT_API_KEY", super::KEY);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// Checks a table and sends nothing.
    pub fn dry_run(&self, table: &Path) -> Command {
        self.dry_run_with(table, &[])
    }

    /// The same with more arguments.
    pub fn dry_run_with(&self, table: &Path, more: &[&str]) -> Command {
        // Nobody listens there, and nobody is asked.
        let common = ["--dry-run", "--address", "http://127.0.0.1:9"];
        self.resume(table, &[&common, more].concat())
    }

    /// This program, as one of its own baselines.
    pub fn baseline(&self, arguments: &[&str], table: &Path) -> Command {
        remove(&table.with_extension(super::baseline::REPORT));
        let mut command =
            Command::new(std::env::current_exe().expect("a process knows its own file"));
        command
            .args(arguments)
            .arg(table)
            .current_dir(self.folder.path())
            .env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }
}

/// Removes a file, if it is there.
fn remove(path: &Path) {
    let _ = std::fs::remove_file(path);
}

fn write_table(path: &Path, rows: u64) -> std::io::Result<()> {
    let mut table = BufWriter::new(File::create(path)?);
    writeln!(table, "user_id,mfa_opt_out,name,department")?;
    for row in 1..=rows {
        let flag = row % 3 != 0;
        writeln!(
            table,
            "{},{flag},User Number {row},Department {}",
            FIRST_USER + row,
            row % 97
        )?;
    }
    table.flush()
}

/// This many users in an order that `order`, a large prime number, mixes.
fn mixed(rows: u64, order: u64) -> impl Iterator<Item = u64> {
    (0..rows).map(move |row| FIRST_USER + row * order % rows)
}

fn email(user: u64) -> String {
    format!("user.number{user}@department{}.example.com", user % 97)
}

/// IDs are above this one.
pub const FIRST_USER: u64 = 1_000_000;
