//! The signals that end a run in good order, as one stream. What follows from one is the policy's.

use futures::StreamExt;
use futures::stream::{self, BoxStream};

use crate::domain::Signal;
use crate::error::Result;

/// The signals that end a run in good order. A terminal that goes away does not, and neither does too large a file.
#[cfg(unix)]
pub(super) fn listen() -> Result<BoxStream<'static, Signal>> {
    use tokio::signal::unix::{SignalKind, signal};
    let stream = |kind, meaning: Option<Signal>| {
        let signals = signal(kind).map_err(|error| super::broken("listen for signals", &error))?;
        let received = stream::unfold(signals, |mut signals| async move {
            signals.recv().await.map(|()| ((), signals))
        });
        Ok(received
            .filter_map(move |()| std::future::ready(meaning))
            .boxed())
    };
    let interrupt = stream(SignalKind::interrupt(), Some(Signal::Interrupt))?;
    let terminate = stream(SignalKind::terminate(), Some(Signal::Terminate))?;
    let hang_up = stream(SignalKind::hangup(), None)?;
    // Heard so that it does not kill: a limit on the size of files is then an error of the write that met it.
    let too_large = stream(
        SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()),
        None,
    )?;
    Ok(stream::select_all([interrupt, terminate, hang_up, too_large]).boxed())
}

/// Ctrl-C, and the console's close and shut-down events.
#[cfg(windows)]
pub(super) fn listen() -> Result<BoxStream<'static, Signal>> {
    use tokio::signal::windows::{ctrl_c, ctrl_close, ctrl_shutdown};
    let failed = |error| super::broken("listen for Ctrl-C", &error);
    let (c, close, shutdown) = (
        ctrl_c().map_err(failed)?,
        ctrl_close().map_err(failed)?,
        ctrl_shutdown().map_err(failed)?,
    );
    let c = stream::unfold(c, |mut s| async move {
        s.recv().await.map(|()| (Signal::Interrupt, s))
    })
    .boxed();
    let close = stream::unfold(close, |mut s| async move {
        s.recv().await.map(|()| (Signal::Terminate, s))
    })
    .boxed();
    let shutdown = stream::unfold(shutdown, |mut s| async move {
        s.recv().await.map(|()| (Signal::Terminate, s))
    })
    .boxed();
    Ok(stream::select_all([c, close, shutdown]).boxed())
}
