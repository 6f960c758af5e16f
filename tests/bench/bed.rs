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
        let mut command = Command::new(env!("CARGO_BIN_EXE_mfa-optout"));
        command
            .arg("apply")
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
        // Nobody listens there, and nobody is asked.
        self.resume(table, &["--dry-run", "--address", "http://127.0.0.1:9"])
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

/// IDs are above this one.
pub const FIRST_USER: u64 = 1_000_000;
