//! Starts the async runtime of a command. The runtime panics where the system denies it a file
//! descriptor, or a thread that it needs, so both are tried out before; a command then ends with an
//! error.

use std::io;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::broken;
use crate::error::Result;

/// Lifetime of an idle thread for blocking work: as long as any run lasts. While one thread lives,
/// further work waits for it where no other can be started; without one, the runtime panics.
const THREAD_LIFETIME: Duration = Duration::from_hours(24 * 365);

/// Starts the runtime. One thread is enough for the network, and two cost more than they bring.
///
/// # Errors
/// Of [`Kind::Usage`](crate::error::Kind::Usage) if the system denies file descriptors or threads.
pub(super) fn start() -> Result<Runtime> {
    descriptors::check()?;
    Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(THREAD_LIFETIME)
        .build()
        .map_err(|error| broken("start", &error))
}

/// Starts the thread in which the runtime looks up the names of hosts, before anything depends on
/// it. A thread costs memory, so addresses that need no lookup go without.
///
/// # Errors
/// Of [`Kind::Usage`](crate::error::Kind::Usage) if the system denies a thread.
pub(super) fn start_lookups() -> Result<()> {
    check_threads().map_err(|error| broken("start a thread", &error))?;
    tokio::task::spawn_blocking(|| {});
    Ok(())
}

/// Checks that a thread can be started, as one for blocking work must be.
fn check_threads() -> io::Result<()> {
    let thread = thread::Builder::new().spawn(|| {})?;
    // It does nothing that could fail.
    let _ = thread.join();
    Ok(())
}

/// Returns how many of the wanted connections may be open at a time, at least 1. Raises the
/// process's own limit of open files if it is too low and the system allows for more.
pub(super) fn max_connections(wanted: usize) -> usize {
    descriptors::max_connections(wanted)
}

#[cfg(unix)]
mod descriptors {
    use std::io;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    use crate::error::{Error, Kind, Result};

    /// Number of file descriptors for a connection: one more for a second address that is tried at
    /// the same time, or for the practice Org's end.
    const PER_CONNECTION: usize = 2;

    /// Number of file descriptors that a run with one connection has open at a time, at most: six
    /// of the runtime, the input, its copy, the journal twice, the report, a timer, a folder, the
    /// connection, and some to look up its address.
    const NEEDED: usize = 20;

    /// Checks that the process may open as many files as a run needs.
    pub(super) fn check() -> Result<()> {
        open(NEEDED).map(drop).map_err(|error| {
            let message = format!("too few files may be open at a time: {error}");
            Error::new(Kind::Usage, message).help(format!(
                "at least {NEEDED} more are needed; `ulimit -n 256` allows for them"
            ))
        })
    }

    pub(super) fn max_connections(wanted: usize) -> usize {
        let limit = getrlimit(Resource::Nofile);
        let Some(soft) = limit.current else {
            return wanted;
        };
        // The system gives out the lowest number that is free.
        let open = UnixStream::pair().map_or(usize::MAX, |(first, _)| {
            usize::try_from(first.as_raw_fd()).unwrap_or(usize::MAX)
        });
        let reserved = open.saturating_add(NEEDED);
        let needed = reserved.saturating_add(wanted.saturating_mul(PER_CONNECTION));
        let needed = u64::try_from(needed).unwrap_or(u64::MAX);
        let allowed = if soft < needed {
            raise(&limit, needed).unwrap_or(soft)
        } else {
            soft
        };
        let allowed = usize::try_from(allowed).unwrap_or(usize::MAX);
        let connections = allowed.saturating_sub(reserved) / PER_CONNECTION;
        connections.min(wanted).max(1)
    }

    /// Raises the soft limit as far as the hard limit allows, and returns the new one.
    fn raise(limit: &Rlimit, needed: u64) -> Option<u64> {
        let raised = limit.maximum.map_or(needed, |hard| hard.min(needed));
        let new = Rlimit {
            current: Some(raised),
            maximum: limit.maximum,
        };
        setrlimit(Resource::Nofile, new).ok()?;
        Some(raised)
    }

    fn open(count: usize) -> io::Result<Vec<UnixStream>> {
        let (first, second) = UnixStream::pair()?;
        let mut open = vec![first, second];
        while open.len() < count {
            open.push(open[0].try_clone()?);
        }
        Ok(open)
    }
}

#[cfg(not(unix))]
mod descriptors {
    use crate::error::Result;

    /// The system knows no limit that a run could meet.
    pub(super) fn check() -> Result<()> {
        Ok(())
    }

    pub(super) fn max_connections(wanted: usize) -> usize {
        wanted
    }
}
