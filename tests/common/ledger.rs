//! An Org that keeps books for tests of interruption: every PUT in the order of its arrival, and a
//! way to wait for them. And what goes with it: processes that are watched and stopped, and an
//! independent reading of the journal.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

#[cfg(unix)]
pub use rustix::process::Signal;

use super::hostile::{Hostile, Reply, Seen};
use super::{KEY, must_show_no_secret};

/// How long anything may take before the test gives up on it.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// How often a waiting test looks whether the process still lives.
const LOOK: Duration = Duration::from_millis(5);

/// A PUT as it arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Put {
    pub user: u64,
    pub flag: bool,
    /// The number at the end of the key, which tells one process from another. When a PUT arrives
    /// says nothing of that: one may lie in a socket until its sender is dead and the next one is
    /// at work.
    pub life: usize,
}

/// A key for each life; to the tool it is the same Org's new one, with `--new-key`.
pub fn key_of(life: usize) -> String {
    format!("{KEY}-{life}")
}

fn life_of(seen: &Seen) -> usize {
    let key = seen
        .header("x-api-key")
        .and_then(|key| key.strip_prefix(KEY));
    key.and_then(|tail| tail.strip_prefix('-')?.parse().ok())
        .unwrap_or(0)
}

/// The Org.
pub struct Ledger {
    org: Hostile,
    books: Arc<Books>,
}

#[derive(Default)]
struct Books {
    puts: Mutex<Vec<Put>>,
    arrived: Condvar,
}

impl Ledger {
    /// Confirms every change, after this time.
    pub fn start(latency: Duration) -> Self {
        Self::scripted(move |_| Reply::new(204).after(latency))
    }

    /// Starts an Org that answers by script. Every PUT is recorded.
    pub fn scripted(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let books = Arc::new(Books::default());
        let kept = Arc::clone(&books);
        let org = Hostile::start(move |seen| {
            if let (Some(user), Some(flag)) = (seen.user(), seen.flag()) {
                kept.lock().push(Put {
                    user,
                    flag,
                    life: life_of(seen),
                });
                kept.arrived.notify_all();
            }
            script(seen)
        });
        Self { org, books }
    }

    pub fn url(&self) -> String {
        self.org.url()
    }

    /// All requests, log-ins included.
    pub fn requests(&self) -> usize {
        self.org.requests().len()
    }

    /// All PUTs so far.
    pub fn puts(&self) -> Vec<Put> {
        self.books.lock().clone()
    }

    /// How many PUTs so far.
    pub fn count(&self) -> usize {
        self.books.lock().len()
    }

    /// Waits until the last words of a client that is gone have been read.
    pub fn must_be_left(&self) {
        self.org.must_be_left();
    }

    /// Waits until `puts` PUTs have arrived. Returns `false` if the process ended first or
    /// `at_most` has passed.
    pub fn wait_for(&self, puts: usize, child: &mut Child, at_most: Duration) -> bool {
        let mut left = at_most;
        let mut books = self.books.lock();
        while books.len() < puts {
            if left.is_zero() || child.try_wait().expect("a child can be asked").is_some() {
                return false;
            }
            let slice = left.min(LOOK);
            left -= slice;
            (books, _) = self
                .books
                .arrived
                .wait_timeout(books, slice)
                .unwrap_or_else(PoisonError::into_inner);
        }
        true
    }

    /// The same for a number that has to be reached.
    #[track_caller]
    pub fn must_see(&self, puts: usize, child: &mut Child) {
        assert!(
            self.wait_for(puts, child, PATIENCE),
            "{} of {puts} PUTs arrived",
            self.count()
        );
    }
}

impl Books {
    fn lock(&self) -> MutexGuard<'_, Vec<Put>> {
        self.puts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts a command whose output is kept for later.
pub fn start(mut command: Command) -> Child {
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary can be started")
}

/// What a process can be stopped with. Windows has no other way than this one without `unsafe`.
#[cfg(windows)]
#[derive(Clone, Copy, Debug)]
pub struct Signal;

#[cfg(windows)]
impl Signal {
    pub const KILL: Self = Self;
}

/// Sends a signal, whether or not the process is still there to take it.
#[cfg(unix)]
pub fn send(child: &mut Child, signal: Signal) {
    use rustix::process::{Pid, kill_process};

    // A process that nobody has waited for keeps its number, so this meets no stranger.
    let _ = kill_process(Pid::from_child(child), signal);
}

/// Kills a process, whether or not it is still there.
#[cfg(windows)]
pub fn send(child: &mut Child, _: Signal) {
    let _ = child.kill();
}

/// Sends a signal and waits for the end.
pub fn stop(mut child: Child, signal: Signal) -> Output {
    send(&mut child, signal);
    end(child)
}

/// Checks whether a process was killed.
#[cfg(unix)]
pub fn was_killed(status: ExitStatus) -> bool {
    std::os::unix::process::ExitStatusExt::signal(&status) == Some(9)
}

/// Checks whether a process was killed, or has ended with the code that a killed process has.
#[cfg(windows)]
pub fn was_killed(status: ExitStatus) -> bool {
    status.code() == Some(1)
}

/// Waits for the end; no secret was shown until then.
pub fn end(child: Child) -> Output {
    let output = child.wait_with_output().expect("a child can be waited for");
    must_show_no_secret(&String::from_utf8_lossy(&output.stdout));
    must_show_no_secret(&String::from_utf8_lossy(&output.stderr));
    output
}

/// The same command after something that only a shell can arrange, such as a limit.
#[cfg(unix)]
pub fn through_shell(arranged: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(format!("{arranged}; exec \"$@\""))
        .arg("sh")
        .arg(command.get_program());
    shell
        .args(command.get_args())
        .env_clear()
        .stdin(Stdio::null());
    shell.envs(
        command
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    shell.current_dir(
        command
            .get_current_dir()
            .expect("commands of tests run in their own folder"),
    );
    shell
}

/// Returns the numbers of the rows that a journal holds, read without the tool's own code.
/// `columns` is the number of columns of the input. A row is a whole line with the cells of the
/// input, eight cells of the report, the row's number and the checksum.
pub fn on_record(partial: &Path, columns: usize) -> BTreeSet<u64> {
    let Ok(bytes) = fs::read(partial) else {
        return BTreeSet::new();
    };
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(bytes.as_slice());
    let rows = reader
        .byte_records()
        .map(|record| record.expect("memory can be read"));
    let rows = rows.filter(|record| record.len() == columns + 10 && record[columns + 9].len() == 8);
    rows.map(|record| {
        String::from_utf8_lossy(&record[columns + 8])
            .parse()
            .expect("a row has its number")
    })
    .collect()
}
