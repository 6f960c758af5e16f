//! A server on loopback that misbehaves by script, for tests of what no well-behaved server does:
//! replies cut anywhere, resets, garbage, endless or dripping bodies, TLS that can't be accepted.
//! Nothing in it knows the client's code.
//!
//! [`Hostile::start`] takes a closure that is asked, request by request, for a [`Reply`];
//! [`Hostile::raw`] hands over the bare connection. The server takes a port that the system picks
//! and ends with its value. It records every request. When it is dropped it fails the test if
//! something went wrong inside: a panic in a script, a request that is not proper HTTP/1.1, or an
//! error on the wire that is not the client going away.
//!
//! ```ignore
//! let org = Hostile::start(|seen| match seen.number {
//!     1 => Reply::new(204),
//!     2 => Reply::new(500).body("text/plain", "no").then(Then::Reset),
//!     _ => Reply::raw("HTTP/1.1 20").then(Then::Close),
//! });
//! // ... run the client against org.url() ...
//! assert_eq!(org.requests()[0].header("x-api-key"), Some("key"));
//! ```
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "each test binary uses its own part of this"
)]
#![allow(
    clippy::expect_used,
    reason = "what goes wrong in a test server fails the test"
)]
#![expect(clippy::disallowed_methods, reason = "a test may ask what time it is")]

pub mod http2;
mod ports;
mod reply;
mod seen;
mod tls;
mod wire;

use std::collections::HashMap;
use std::io::{self, ErrorKind, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

pub use ports::ClosedPort;
#[cfg(target_os = "linux")]
pub use ports::SilentPort;
pub use reply::{Reply, Then};
pub use seen::Seen;
pub use tls::Authority;
pub use wire::Wire;

/// The running server.
pub struct Hostile {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    stopped: Condvar,
    left: Condvar,
    /// The clients of connections up to this number are dead; see [`wire::Socket`].
    dead: Arc<AtomicUsize>,
}

#[derive(Default)]
struct State {
    stopping: bool,
    /// Of the connections that stand, so that they can be ended from outside.
    sockets: HashMap<usize, TcpStream>,
    connections: usize,
    seen: Vec<Seen>,
    in_flight: usize,
    peak: usize,
    wrong: Vec<String>,
}

type Handler = dyn Fn(usize, Wire, &Shared) -> io::Result<()> + Send + Sync;

impl Hostile {
    /// Serves plain HTTP; the script is asked for every request.
    pub fn start(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::launch(
            None,
            Arc::new(move |number, wire, shared| serve(number, wire, shared, &script)),
        )
    }

    /// The same behind TLS.
    pub fn start_tls(
        tls: ServerConfig,
        script: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::launch(
            Some(tls),
            Arc::new(move |number, wire, shared| serve(number, wire, shared, &script)),
        )
    }

    /// Hands every connection (counted from 1) to the script as it is, before a byte of it is read.
    pub fn raw(script: impl Fn(usize, Wire) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self::launch(
            None,
            Arc::new(move |number, wire, _shared| script(number, wire)),
        )
    }

    /// The same behind TLS.
    pub fn raw_tls(
        tls: ServerConfig,
        script: impl Fn(usize, Wire) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::launch(
            Some(tls),
            Arc::new(move |number, wire, _shared| script(number, wire)),
        )
    }

    fn launch(tls: Option<ServerConfig>, handler: Arc<Handler>) -> Self {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let shared = Arc::new(Shared::default());
        let accepting = {
            let shared = Arc::clone(&shared);
            let tls = tls.map(Arc::new);
            thread::spawn(move || accept(&listener, tls.as_ref(), &handler, &shared))
        };
        Self {
            address,
            scheme,
            shared,
            accepting: Some(accepting),
        }
    }

    /// The base address to give to the client.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Seen> {
        self.shared.lock().seen.clone()
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.lock().connections
    }

    /// Waits until nobody is connected any more: what a dead client had sent may lie in a socket
    /// for a while.
    pub fn must_be_left(&self) {
        self.shared.dead.store(self.connections(), Ordering::SeqCst);
        let waited = self.shared.left.wait_timeout_while(
            self.shared.lock(),
            Duration::from_mins(1),
            |state| !state.sockets.is_empty(),
        );
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(state.sockets.is_empty(), "somebody is still connected");
    }

    /// The most requests that were read and not yet replied to at any one time.
    pub fn peak(&self) -> usize {
        self.shared.lock().peak
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.shared.stop();
        // Wakes the accepting thread, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
        let accepted = self.accepting.take().map(JoinHandle::join);
        if thread::panicking() {
            return;
        }
        assert!(
            matches!(accepted, Some(Ok(()))),
            "the hostile server's own thread panicked"
        );
        let wrong = std::mem::take(&mut self.shared.lock().wrong);
        assert!(wrong.is_empty(), "inside the hostile server: {wrong:#?}");
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self) {
        let mut state = self.lock();
        state.stopping = true;
        self.dead.store(usize::MAX, Ordering::SeqCst);
        for socket in state.sockets.values() {
            let _ = socket.shutdown(Shutdown::Both);
        }
        self.stopped.notify_all();
    }

    /// Waits, but not beyond the end of the server; says whether it goes on.
    fn pause(&self, duration: Duration) -> bool {
        let (state, _) = self
            .stopped
            .wait_timeout_while(self.lock(), duration, |state| !state.stopping)
            .unwrap_or_else(PoisonError::into_inner);
        !state.stopping
    }

    /// Takes a connection on, unless it is over.
    fn register(&self, socket: &TcpStream) -> Option<usize> {
        let mut state = self.lock();
        if state.stopping {
            return None;
        }
        state.connections += 1;
        let number = state.connections;
        state
            .sockets
            .insert(number, socket.try_clone().expect("a socket can be cloned"));
        Some(number)
    }

    fn record(&self, mut seen: Seen) -> Seen {
        let mut state = self.lock();
        seen.number = state.seen.len() + 1;
        state.seen.push(seen.clone());
        state.in_flight += 1;
        state.peak = state.peak.max(state.in_flight);
        seen
    }

    fn complain(&self, what: String) {
        self.lock().wrong.push(what);
    }
}

fn accept(
    listener: &TcpListener,
    tls: Option<&Arc<ServerConfig>>,
    handler: &Arc<Handler>,
    shared: &Arc<Shared>,
) {
    let mut threads = Vec::new();
    for socket in listener.incoming() {
        let socket = socket.expect("loopback accepts");
        let Some(number) = shared.register(&socket) else {
            break;
        };
        let socket = wire::Socket::new(socket, number, Arc::clone(&shared.dead))
            .expect("a socket can be set up");
        let wire = match tls {
            None => Wire::Plain(socket),
            Some(tls) => {
                let session = ServerConnection::new(Arc::clone(tls))
                    .expect("the test's TLS configuration is sound");
                Wire::Tls(Box::new(StreamOwned::new(session, socket)))
            }
        };
        let handler = Arc::clone(handler);
        let shared = Arc::clone(shared);
        threads.push(thread::spawn(move || {
            let result = handler(number, wire, &shared);
            // The last handle on the socket: the connection ends here, by a reset where that was
            // asked for.
            shared.lock().sockets.remove(&number);
            shared.left.notify_all();
            if let Err(error) = result
                && !is_client_gone(&error)
            {
                shared.complain(format!("connection {number}: {error}"));
            }
        }));
    }
    for thread in threads {
        if thread.join().is_err() {
            shared.complain("a script panicked; its message is above".to_owned());
        }
    }
}

/// A client may close at any time, and refuses a TLS handshake by an alert, which comes as
/// `InvalidData`.
fn is_client_gone(error: &io::Error) -> bool {
    let is_alert = matches!(
        error.get_ref().and_then(|inner| inner.downcast_ref()),
        Some(rustls::Error::AlertReceived(_) | rustls::Error::InvalidMessage(_))
    );
    is_alert
        || matches!(
            error.kind(),
            ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::BrokenPipe
                | ErrorKind::UnexpectedEof
        )
}

fn serve(
    connection: usize,
    mut wire: Wire,
    shared: &Shared,
    script: &dyn Fn(&Seen) -> Reply,
) -> io::Result<()> {
    let mut unread = Vec::new();
    while let Some(seen) = seen::read_request(&mut wire, connection, &mut unread)? {
        let seen = shared.record(seen);
        let reply = script(&seen);
        let goes_on = shared.pause(reply.delay);
        let written = if goes_on {
            wire.write_all(&reply.bytes).and_then(|()| wire.flush())
        } else {
            Ok(())
        };
        shared.lock().in_flight -= 1;
        written?;
        match reply.then {
            Then::KeepAlive => {}
            Then::Close => return Ok(()),
            Then::Reset => return wire.reset(),
            Then::Hang => return wire.wait_for_end(),
            Then::Repeat(bytes, pause) => return repeat(&mut wire, shared, &bytes, pause),
        }
    }
    Ok(())
}

fn repeat(wire: &mut Wire, shared: &Shared, bytes: &[u8], pause: Duration) -> io::Result<()> {
    while shared.pause(pause) {
        wire.write_all(bytes)?;
        wire.flush()?;
    }
    Ok(())
}
