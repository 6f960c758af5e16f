//! The other side of the wire: a bare HTTP server in a process of its own, which answers 204 to
//! everything and remembers when each request came. It is asked for what it saw over its standard
//! input, one line for one answer.

use std::convert::Infallible;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

use crate::arrival::Noting;

/// A running server.
pub struct Server {
    child: Child,
    asks: ChildStdin,
    says: BufReader<ChildStdout>,
    /// Where it listens, as the `--address` of a run.
    pub address: String,
}

/// What a server saw since it was asked before.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Requests.
    pub requests: usize,
    /// The most requests in any window of a second.
    pub worst_second: usize,
    /// When the first one came.
    pub first: Duration,
    /// And the last; both since 1970.
    pub last: Duration,
}

impl Seen {
    /// Requests a second, from the first to the last.
    pub fn rate(&self) -> f64 {
        self.requests.saturating_sub(1) as f64 / self.last.saturating_sub(self.first).as_secs_f64()
    }
}

impl Server {
    /// Starts one as bare as can be.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one that remembers when requests came at its door, however late it reads them.
    pub fn exact() -> Self {
        Self::start_with(&["--exact"])
    }

    /// Starts one that answers the first request for this user with a wait that no run accepts.
    pub fn holding(user: u64) -> Self {
        Self::start_with(&["--hold", &user.to_string()])
    }

    fn start_with(arguments: &[&str]) -> Self {
        let mut command =
            Command::new(std::env::current_exe().expect("a process knows its own file"));
        command
            .arg("serve")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("the server can be started");
        let asks = child.stdin.take().expect("it is piped");
        let says = child.stdout.take().expect("it is piped");
        let mut server = Self {
            child,
            asks,
            says: BufReader::new(says),
            address: String::new(),
        };
        server.address = format!("http://127.0.0.1:{}", server.line());
        server
    }

    /// What it saw since it was asked before.
    pub fn seen(&mut self) -> Seen {
        writeln!(self.asks, "seen").expect("the server is alive");
        let line = self.line();
        let numbers: Vec<u64> = line
            .split(' ')
            .map(|number| number.parse().expect("a number"))
            .collect();
        let [requests, worst_second, first, last] = numbers[..] else {
            panic!("four numbers, not {line}")
        };
        Seen {
            requests: usize::try_from(requests).expect("it fitted there"),
            worst_second: usize::try_from(worst_second).expect("it fitted there"),
            first: Duration::from_micros(first),
            last: Duration::from_micros(last),
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.says.read_line(&mut line).expect("the server is alive");
        line.trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// The time by which both sides go, since 1970. If it is set while something is measured, the
/// figure is wrong.
pub fn clock() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// The server's own process.
pub fn serve(exact: bool, hold: Option<u64>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    listener
        .set_nonblocking(true)
        .expect("a socket can be asynchronous");
    println!("{}", listener.local_addr().expect("it is bound").port());
    let log = Arc::new(Mutex::new(Vec::new()));
    let answering = Arc::clone(&log);
    std::thread::spawn(move || answer_questions(&answering));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime starts");
    runtime.block_on(accept(listener, &log, exact, hold));
}

/// When requests came, since 1970.
type Log = Mutex<Vec<Duration>>;

async fn accept(listener: TcpListener, log: &Arc<Log>, exact: bool, hold: Option<u64>) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a runtime is there");
    let first_refused = Arc::new(Mutex::new(
        hold.map(|user| format!("/user/users/{user}/membership")),
    ));
    while let Ok((socket, _)) = listener.accept().await {
        let _ = socket.set_nodelay(true);
        let log = Arc::clone(log);
        let first_refused = Arc::clone(&first_refused);
        if exact {
            let connection = Noting::new(socket);
            let last = connection.last();
            tokio::spawn(converse(connection, move || last.at(), log, first_refused));
        } else {
            tokio::spawn(converse(TokioIo::new(socket), clock, log, first_refused));
        }
    }
}

async fn converse<C: Read + Write + Unpin>(
    connection: C,
    came: impl Fn() -> Duration,
    log: Arc<Log>,
    first_refused: Arc<Mutex<Option<String>>>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        log.lock().expect("nobody panics").push(came());
        std::future::ready(Ok::<_, Infallible>(reply(
            request.uri().path(),
            &first_refused,
        )))
    });
    // A connection that breaks is the client's affair, which says so itself.
    drop(
        http1::Builder::new()
            .serve_connection(connection, service)
            .await,
    );
}

fn reply(path: &str, first_refused: &Mutex<Option<String>>) -> Response<String> {
    let mut refused = first_refused.lock().expect("nobody panics");
    let (status, wait) = if refused.as_deref() == Some(path) {
        (429, refused.take())
    } else {
        (204, None)
    };
    let builder = Response::builder().status(status);
    let builder = if wait.is_some() {
        builder.header("retry-after", "86400")
    } else {
        builder
    };
    builder.body(String::new()).expect("these are good headers")
}

fn answer_questions(log: &Log) {
    for _ in std::io::stdin().lines() {
        let mut came = std::mem::take(&mut *log.lock().expect("nobody panics"));
        came.sort_unstable();
        let micros = |at: Option<&Duration>| at.map_or(0, Duration::as_micros);
        println!(
            "{} {} {} {}",
            came.len(),
            worst_second(&came),
            micros(came.first()),
            micros(came.last())
        );
    }
}

/// The most in any window of a second. The window is open at its end: what comes a whole second
/// later is in the next.
fn worst_second(came: &[Duration]) -> usize {
    let mut worst = 0;
    let mut from = 0;
    for (index, at) in came.iter().enumerate() {
        while at.saturating_sub(came[from]) >= Duration::from_secs(1) {
            from += 1;
        }
        worst = worst.max(index + 1 - from);
    }
    worst
}
