//! Ports at which nobody answers.

use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Socket, Type};

/// A port that refuses connections, and that nobody else can take while the value lives.
pub struct ClosedPort(Socket);

impl ClosedPort {
    pub fn new() -> Self {
        Self(bound())
    }

    pub fn port(&self) -> u16 {
        port_of(&self.0)
    }
}

/// A port that takes no more connections and doesn't refuse them either: on Linux, a full queue
/// lets a connection attempt hang.
#[cfg(target_os = "linux")]
pub struct SilentPort {
    socket: Socket,
    _filling: Vec<Socket>,
}

#[cfg(target_os = "linux")]
impl SilentPort {
    pub fn new() -> Self {
        let socket = bound();
        socket.listen(0).expect("a bound socket listens");
        let address = socket.local_addr().expect("a bound socket has an address");
        let filling = (0..4)
            .map(|_| {
                let socket =
                    Socket::new(Domain::IPV4, Type::STREAM, None).expect("there is a socket");
                socket
                    .set_nonblocking(true)
                    .expect("a socket can be non-blocking");
                // "In progress" is what is wanted here.
                let _ = socket.connect(&address);
                socket
            })
            .collect();
        Self {
            socket,
            _filling: filling,
        }
    }

    pub fn port(&self) -> u16 {
        port_of(&self.socket)
    }
}

fn bound() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("there is a socket");
    socket
        .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
        .expect("loopback has a free port");
    socket
}

fn port_of(socket: &Socket) -> u16 {
    socket
        .local_addr()
        .ok()
        .and_then(|address| address.as_socket())
        .expect("a bound socket has an address")
        .port()
}
