//! The signals that end a run in good order, as one stream. What follows from one is the policy's.

#[cfg(windows)]
use std::task::{Context, Poll};
#[cfg(any(windows, test))]
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};

use crate::domain::Signal;
use crate::error::Result;

/// Listens for the signals that end a run in good order.
///
/// SIGHUP counts unless it was ignored when the process started, as `nohup` arranges it. Two
/// further signals are only kept from killing the process: an ignored SIGHUP, and SIGXFSZ, so that
/// a limit on the size of files is an error of the write that met it.
///
/// # Errors
/// Of [`Kind::Usage`](crate::error::Kind::Usage) if the system does not allow it.
#[cfg(unix)]
pub(super) fn listen() -> Result<BoxStream<'static, Signal>> {
    use tokio::signal::unix::SignalKind;
    let too_large = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
    // Found out first: from the moment at which it is listened to, nothing is ignored any more.
    let hang_up = if hang_up::is_ignored() {
        None
    } else {
        Some(Signal::HangUp)
    };
    let received = [
        receive(SignalKind::hangup(), hang_up)?,
        receive(SignalKind::interrupt(), Some(Signal::Interrupt))?,
        receive(SignalKind::terminate(), Some(Signal::Terminate))?,
        receive(too_large, None)?,
    ];
    Ok(stream::select_all(received).boxed())
}

/// Listens for one signal, and passes it on where it has a meaning.
#[cfg(unix)]
fn receive(
    kind: tokio::signal::unix::SignalKind,
    meaning: Option<Signal>,
) -> Result<BoxStream<'static, Signal>> {
    let signals = tokio::signal::unix::signal(kind)
        .map_err(|error| super::broken("listen for signals", &error))?;
    let received = stream::unfold(signals, |mut signals| async move {
        signals.recv().await.map(|()| ((), signals))
    });
    Ok(received
        .filter_map(move |()| std::future::ready(meaning))
        .boxed())
}

#[cfg(unix)]
mod hang_up {
    use std::io::{IsTerminal, stderr, stdin, stdout};

    /// Returns whether SIGHUP is ignored. Linux says so; elsewhere, a process without a terminal
    /// counts as one that was started by `nohup`.
    pub(super) fn is_ignored() -> bool {
        let told = std::fs::read_to_string("/proc/self/status")
            .ok()
            .and_then(|status| is_ignored_by(&status));
        told.unwrap_or_else(|| {
            !stdin().is_terminal() && !stdout().is_terminal() && !stderr().is_terminal()
        })
    }

    /// Reads the mask of ignored signals in the text of `proc_pid_status(5)`.
    fn is_ignored_by(status: &str) -> Option<bool> {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("SigIgn:"))?;
        let mask = u128::from_str_radix(line.trim(), 16).ok()?;
        let bit = rustix::process::Signal::HUP.as_raw() - 1;
        Some(mask >> bit & 1 == 1)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_mask_says_whether_sighup_is_ignored() {
            let status =
                |mask| format!("Name:\tmfa-optout\nSigBlk:\t1\nSigIgn:\t{mask}\nSigCgt:\t1\n");
            let cases = [
                ("0000000000000001", Some(true)),
                ("0000000000001001", Some(true)),
                ("0000000000001000", Some(false)),
                ("0000000000000000", Some(false)),
                ("", None),
            ];
            for (mask, ignored) in cases {
                assert_eq!(is_ignored_by(&status(mask)), ignored, "{mask:?}");
            }
            assert_eq!(is_ignored_by("Name:\tmfa-optout\n"), None);
        }
    }
}

/// Time that requests in flight get before the process is ended from outside. Windows ends it about
/// 5 s after a console is closed, a log-off or a shutdown; the rest is for the journal and the
/// summary. See <https://learn.microsoft.com/windows/console/handlerroutine>.
#[cfg(any(windows, test))]
const GRACE_BEFORE_EXIT: Duration = Duration::from_secs(3);

/// Listens for Ctrl-C, Ctrl-Break, and the events of a console that is closed, a log-off and a
/// shutdown.
///
/// # Errors
/// Of [`Kind::Usage`](crate::error::Kind::Usage) if the system does not allow it.
#[cfg(windows)]
pub(super) fn listen() -> Result<BoxStream<'static, Signal>> {
    use tokio::signal::windows as console;
    let failed = |error| super::broken("listen for Ctrl-C", &error);
    let mut interrupt = console::ctrl_c().map_err(failed)?;
    let mut ctrl_break = console::ctrl_break().map_err(failed)?;
    let mut close = console::ctrl_close().map_err(failed)?;
    let mut log_off = console::ctrl_logoff().map_err(failed)?;
    let mut shutdown = console::ctrl_shutdown().map_err(failed)?;
    let received = [
        receive(Signal::Interrupt, move |cx| interrupt.poll_recv(cx)),
        receive(Signal::Terminate, move |cx| ctrl_break.poll_recv(cx)),
        repeat_before_exit(receive(Signal::Terminate, move |cx| close.poll_recv(cx))),
        repeat_before_exit(receive(Signal::Terminate, move |cx| log_off.poll_recv(cx))),
        repeat_before_exit(receive(Signal::Terminate, move |cx| shutdown.poll_recv(cx))),
    ];
    Ok(stream::select_all(received).boxed())
}

/// Returns a signal each time that `poll` has received an event.
#[cfg(windows)]
fn receive(
    signal: Signal,
    poll: impl FnMut(&mut Context<'_>) -> Poll<Option<()>> + Send + 'static,
) -> BoxStream<'static, Signal> {
    stream::poll_fn(poll).map(move |()| signal).boxed()
}

/// Repeats each signal after [`GRACE_BEFORE_EXIT`]. The second one ends the run at once.
#[cfg(any(windows, test))]
fn repeat_before_exit(signals: BoxStream<'static, Signal>) -> BoxStream<'static, Signal> {
    let repeated = signals.flat_map(|signal| {
        let again = stream::once(async move {
            tokio::time::sleep(GRACE_BEFORE_EXIT).await;
            signal
        });
        stream::iter([signal]).chain(again)
    });
    repeated.boxed()
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_signal_that_announces_an_exit_comes_again_after_three_seconds() {
        let closed = stream::iter([Signal::Terminate]).chain(stream::pending());
        let mut signals = repeat_before_exit(closed.boxed());
        let began = Instant::now();
        assert_eq!(signals.next().await, Some(Signal::Terminate));
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!(signals.next().await, Some(Signal::Terminate));
        assert_eq!(began.elapsed(), Duration::from_secs(3));
    }
}
