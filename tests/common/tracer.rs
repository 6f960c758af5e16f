//! Runs a process under ptrace and lets one of its system calls on files fail, or kills it there.
//! Calls are counted over all threads: writes, syncs, renames, links, removals and new files, where
//! they concern a file in the folder that is watched.
//!
//! The process forbids others to look at its descriptors, so this needs the right to do so all the
//! same (`CAP_SYS_PTRACE`), as root has it.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// What happens at a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process is killed before the call is made.
    Kill,
    /// The call fails, and is not made.
    Fails(Errno),
    /// This call and each later one fails.
    FailsFromHere(Errno),
}

/// What came of a process.
#[derive(Debug)]
pub struct Traced {
    /// The exit code; `None` for a process that was killed.
    pub code: Option<i32>,
    /// Calls that were counted.
    pub calls: usize,
    /// The call at which the fault happened, where it did.
    pub hit: Option<String>,
    /// What was said.
    pub said: String,
}

/// Runs a command; `at` counts from 1. Only one process can be traced at a time, and no other child
/// of this process may end meanwhile.
#[expect(clippy::zombie_processes, reason = "the tracer waits for the process")]
pub fn run(command: &Command, folder: &Path, at: usize, fault: Fault) -> Traced {
    let mut child = stopped(command);
    let mut tracer = Tracer {
        main: Pid::from_raw(i32::try_from(child.id()).expect("a process ID fits")),
        folder: folder.canonicalize().expect("the folder is there"),
        at,
        fault,
        calls: 0,
        hit: None,
        inside: HashMap::new(),
    };
    let code = tracer.follow();
    let mut said = String::new();
    if let Some(mut out) = child.stdout.take() {
        let _ = out.read_to_string(&mut said);
    }
    if let Some(mut out) = child.stderr.take() {
        let _ = out.read_to_string(&mut said);
    }
    super::must_show_no_secret(&said);
    Traced {
        code,
        calls: tracer.calls,
        hit: tracer.hit,
        said,
    }
}

/// Starts a command as a process that is stopped before it becomes the binary.
fn stopped(command: &Command) -> Child {
    super::ledger::through_shell("kill -STOP $$", command)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary can be started")
}

struct Tracer {
    main: Pid,
    folder: PathBuf,
    at: usize,
    fault: Fault,
    calls: usize,
    hit: Option<String>,
    /// Threads within a call, with the error that they are to get instead of its result.
    inside: HashMap<Pid, Option<Errno>>,
}

impl Tracer {
    /// Follows the process to its end; gives its exit code.
    fn follow(&mut self) -> Option<i32> {
        waitpid(self.main, Some(WaitPidFlag::WUNTRACED)).expect("the process stops");
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_EXITKILL;
        ptrace::seize(self.main, options).expect("processes may be traced");
        kill(self.main, Signal::SIGCONT).expect("the process is there");
        loop {
            let status = waitpid(Pid::from_raw(-1), Some(WaitPidFlag::__WALL));
            match status.expect("the process is there") {
                WaitStatus::Exited(thread, code) if thread == self.main => return Some(code),
                WaitStatus::Signaled(thread, ..) if thread == self.main => return None,
                WaitStatus::PtraceSyscall(thread) => self.at_call(thread),
                WaitStatus::Stopped(thread, signal) => go_on(thread, Some(signal)),
                WaitStatus::PtraceEvent(thread, ..) => go_on(thread, None),
                _ => {}
            }
        }
    }

    fn at_call(&mut self, thread: Pid) {
        match self.inside.remove(&thread) {
            Some(Some(errno)) => {
                if let Ok(mut registers) = ptrace::getregs(thread) {
                    registers.rax = i64::from(-(errno as i32)).cast_unsigned();
                    let _ = ptrace::setregs(thread, registers);
                }
            }
            Some(None) => {}
            None => {
                let error = self.enter(thread);
                self.inside.insert(thread, error);
            }
        }
        go_on(thread, None);
    }

    /// Looks at a call that is about to be made; gives the error with which it is to fail.
    fn enter(&mut self, thread: Pid) -> Option<Errno> {
        let mut registers = ptrace::getregs(thread).ok()?;
        let call = self.concerning_files(registers.orig_rax, registers.rdi, registers.rdx)?;
        self.calls += 1;
        let error = match self.fault {
            Fault::Kill if self.calls == self.at => {
                self.hit = Some(call);
                let _ = kill(self.main, Signal::SIGKILL);
                return None;
            }
            Fault::Fails(errno) if self.calls == self.at => errno,
            Fault::FailsFromHere(errno) if self.calls >= self.at => errno,
            _ => return None,
        };
        self.hit.get_or_insert(call);
        // A call that there is not, instead of this one.
        registers.orig_rax = u64::MAX;
        ptrace::setregs(thread, registers).ok()?;
        Some(error)
    }

    /// Says what a call does, by its number on x86-64, where it changes files in the folder.
    fn concerning_files(&self, number: u64, first: u64, third: u64) -> Option<String> {
        const O_CREAT: u64 = 0o100;
        let on_descriptor = match number {
            1 => "write",
            18 => "pwrite64",
            20 => "writev",
            74 => "fsync",
            75 => "fdatasync",
            77 => "ftruncate",
            _ => "",
        };
        if !on_descriptor.is_empty() {
            let link = format!("/proc/{}/fd/{first}", self.main);
            let file = std::fs::read_link(link).ok()?;
            return file
                .starts_with(&self.folder)
                .then(|| format!("{on_descriptor} {}", file.display()));
        }
        let on_names = match number {
            82 | 264 | 316 => "rename",
            86 | 265 => "link",
            87 | 263 => "unlink",
            257 if third & O_CREAT != 0 => "create",
            _ => return None,
        };
        Some(on_names.to_owned())
    }
}

fn go_on(thread: Pid, signal: Option<Signal>) {
    // A thread that was killed in the meantime is waited for, as all are.
    let _ = ptrace::syscall(thread, signal);
}
