//! When the bytes of a connection came: where the kernel says so (Linux), when it took them in, and
//! not when this process was awake to read them. Otherwise a server that sleeps for some
//! milliseconds would lay its own lateness at the client's door.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// When the last bytes came, since 1970.
#[derive(Clone, Default)]
pub struct LastArrival(Arc<AtomicU64>);

impl LastArrival {
    pub fn at(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }

    fn set(&self, at: Duration) {
        self.0.store(
            u64::try_from(at.as_nanos()).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
    }
}

/// A connection that notes when its bytes came.
pub struct Noting {
    socket: TokioIo<TcpStream>,
    last: LastArrival,
}

impl Noting {
    pub fn new(socket: TcpStream) -> Self {
        kernel::ask_for_times(&socket);
        Self {
            socket: TokioIo::new(socket),
            last: LastArrival::default(),
        }
    }

    pub fn last(&self) -> LastArrival {
        self.last.clone()
    }
}

impl Read for Noting {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let socket = self.socket.inner();
        let mut bytes = [0; 4096];
        let room = bytes.len().min(into.remaining());
        loop {
            ready!(socket.poll_read_ready(context))?;
            match socket.try_io(Interest::READABLE, || {
                kernel::receive(socket, &mut bytes[..room])
            }) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok((length, at)) => {
                    self.last.set(at.unwrap_or_else(super::server::clock));
                    into.put_slice(&bytes[..length]);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl Write for Noting {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(target_os = "linux")]
mod kernel {
    use std::io::{self, IoSliceMut};
    use std::os::fd::AsRawFd;
    use std::time::Duration;

    use nix::cmsg_space;
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
    use nix::sys::time::TimeSpec;
    use tokio::net::TcpStream;

    /// `SO_TIMESTAMPNS`, see `socket(7)`.
    pub(super) fn ask_for_times(socket: &TcpStream) {
        // Without it, the time of reading counts.
        let _ = setsockopt(socket, sockopt::ReceiveTimestampns, &true);
    }

    pub(super) fn receive(
        socket: &TcpStream,
        bytes: &mut [u8],
    ) -> io::Result<(usize, Option<Duration>)> {
        let mut control = cmsg_space!(TimeSpec);
        let mut into = [IoSliceMut::new(bytes)];
        let received = recvmsg::<()>(
            socket.as_raw_fd(),
            &mut into,
            Some(&mut control),
            MsgFlags::empty(),
        )?;
        let at = received.cmsgs()?.find_map(|message| match message {
            ControlMessageOwned::ScmTimestampns(at) => Some(Duration::from(at)),
            _ => None,
        });
        Ok((received.bytes, at))
    }
}

#[cfg(not(target_os = "linux"))]
mod kernel {
    use std::io;
    use std::time::Duration;

    use tokio::net::TcpStream;

    pub(super) fn ask_for_times(_: &TcpStream) {}

    pub(super) fn receive(
        socket: &TcpStream,
        bytes: &mut [u8],
    ) -> io::Result<(usize, Option<Duration>)> {
        socket.try_read(bytes).map(|length| (length, None))
    }
}
