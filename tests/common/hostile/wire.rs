//! One connection, encrypted or not.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustls::{ServerConnection, StreamOwned};
use socket2::SockRef;

/// How long a read takes on Windows before it looks whether anything more can come.
const LOOK: Duration = Duration::from_millis(200);

/// A socket whose reads come to an end when its client is dead.
///
/// A system closes the connections of a process that is killed, but Wine may keep one open.
pub struct Socket {
    stream: TcpStream,
    /// The number of the connection, from 1.
    number: usize,
    /// The clients of connections up to this number are dead.
    dead: Arc<AtomicUsize>,
}

impl Socket {
    pub fn new(stream: TcpStream, number: usize, dead: Arc<AtomicUsize>) -> io::Result<Self> {
        if cfg!(windows) {
            stream.set_read_timeout(Some(LOOK))?;
        }
        Ok(Self {
            stream,
            number,
            dead,
        })
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.stream.read(buffer) {
                Err(error) if error.kind() == ErrorKind::TimedOut => {
                    if self.number <= self.dead.load(Ordering::SeqCst) {
                        return Ok(0);
                    }
                }
                read => return read,
            }
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// One connection, encrypted or not.
pub enum Wire {
    Plain(Socket),
    Tls(Box<StreamOwned<ServerConnection, Socket>>),
}

impl Wire {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => &socket.stream,
            Self::Tls(stream) => &stream.sock.stream,
        }
    }

    /// Ends the connection with a reset instead of an orderly close.
    pub fn reset(self) -> io::Result<()> {
        SockRef::from(self.socket()).set_linger(Some(Duration::ZERO))
    }

    /// Reads until the client goes away.
    pub fn wait_for_end(&mut self) -> io::Result<()> {
        io::copy(self, &mut io::sink()).map(drop)
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
