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

#[cfg(unix)]
mod descriptors {
    use std::io;
    use std::os::unix::net::UnixStream;

    use crate::error::{Error, Kind, Result};

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
}
