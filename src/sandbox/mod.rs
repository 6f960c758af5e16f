//! A practice Org on loopback: the two calls of the API, Swagger UI, a page of members, and faults on demand. It keeps
//! its state in memory and shares no code with the client, so that it can prove the client wrong.

mod faults;
mod org;
mod pages;
mod routes;

use std::io;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use axum::serve::ListenerExt;
use futures::channel::oneshot;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use faults::Faults;
pub use org::{Member, Profile};

use faults::{Fate, Gate, Verdict};
use org::Org;

/// How long requests that are being answered get to finish when the sandbox stops.
const GRACE: Duration = Duration::from_secs(1);

/// What the practice Org is like.
#[derive(Clone)]
pub struct Options {
    /// The port on 127.0.0.1; 0 lets the system pick one.
    pub port: u16,
    /// The IDs of the members; those that end in 404 have left the Org.
    pub members: RangeInclusive<u64>,
    /// The key that opens the Org.
    pub api_key: String,
    /// Who can log in.
    pub email: String,
    /// The password of that user.
    pub password: String,
    /// The number of the Org, `selectedOrg` of a log-in.
    pub org: u64,
    /// How long a session's token is good for.
    pub token_life: Duration,
    /// What goes wrong on purpose.
    pub faults: Faults,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            port: 0,
            members: 1..=20_000,
            api_key: "sandbox-key".to_owned(),
            email: "admin@example.com".to_owned(),
            password: "sandbox-password".to_owned(),
            org: 1,
            token_life: Duration::from_mins(15),
            faults: Faults::default(),
        }
    }
}

/// What the practice Org has seen so far. Only the two calls of the API count, never the pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// Requests, whatever they were answered with.
    pub requests: u64,
    /// PUTs among them, also those for users who are not in the Org.
    pub puts: u64,
    /// Log-ins among them, also those that were refused.
    pub log_ins: u64,
    /// Requests answered 401 or 403.
    pub refused: u64,
    /// Requests answered 429.
    pub throttled: u64,
    /// Requests answered 5xx, outage included.
    pub errors: u64,
    /// The most requests that arrived in any one second.
    pub busiest_second: u64,
}

/// A practice Org that is running.
///
/// It runs on the runtime that started it, single-threaded or not, until it is stopped or dropped.
pub struct Sandbox {
    house: House,
    port: u16,
    /// Dropping it stops the server as well.
    stop: oneshot::Sender<()>,
    server: JoinHandle<io::Result<()>>,
}

impl Sandbox {
    /// Starts to serve on 127.0.0.1.
    ///
    /// # Errors
    ///
    /// The port is taken or may not be used.
    pub async fn start(options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await?;
        let port = listener.local_addr()?.port();
        let house = House::new(options);
        // Answers are small: each leaves at once. A connection that refuses the option is only slower.
        let listener = listener.tap_io(|connection| drop(connection.set_nodelay(true)));
        let (stop, stopped) = oneshot::channel::<()>();
        let server =
            axum::serve(listener, routes::router(house.clone())).with_graceful_shutdown(async {
                let _ = stopped.await;
            });
        Ok(Self {
            house,
            port,
            stop,
            server: tokio::spawn(server.into_future()),
        })
    }

    /// The base address, `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("http://{}:{}", Ipv4Addr::LOCALHOST, self.port)
    }

    /// The members that a PUT was sent to, by ID; all others are as they were at the start.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        self.house.state().org.touched().collect()
    }

    /// What it has seen so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.house.state().stats()
    }

    /// Stops: takes no new connection, and gives requests that are being answered a second to finish.
    pub async fn stop(self) {
        drop(self.stop);
        let abort = self.server.abort_handle();
        if tokio::time::timeout(GRACE, self.server).await.is_err() {
            abort.abort();
        }
    }
}

/// What all requests share.
#[derive(Clone)]
struct House {
    clock: Clock,
    state: Arc<Mutex<State>>,
}

struct State {
    org: Org,
    gate: Gate,
    counts: Stats,
}

/// Which of the two calls a request is.
#[derive(Clone, Copy)]
enum Call {
    /// A PUT for this user, where the path holds an ID.
    Put(Option<u64>),
    LogIn,
}

impl House {
    fn new(options: Options) -> Self {
        let gate = Gate::new(options.faults.clone());
        let state = State {
            org: Org::new(options),
            gate,
            counts: Stats::default(),
        };
        Self {
            clock: Clock::start(),
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// A panic elsewhere leaves counts and members as valid as they were.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request that has arrived, keeps it waiting as long as the faults want, and says what it meets.
    async fn admit(&self, call: Call) -> Verdict {
        let Fate { delay, verdict } = {
            let mut state = self.state();
            // Read under the lock: times must not go backwards.
            let now = self.clock.elapsed();
            state.admit(call, now)
        };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        verdict
    }
}

impl State {
    fn admit(&mut self, call: Call, now: Duration) -> Fate {
        self.counts.requests += 1;
        match call {
            Call::Put(id) => {
                self.counts.puts += 1;
                if let Some(id) = id {
                    self.org.note_put(id);
                }
            }
            Call::LogIn => self.counts.log_ins += 1,
        }
        let fate = self.gate.admit(now);
        match fate.verdict {
            Verdict::Served => {}
            Verdict::Throttled => self.counts.throttled += 1,
            Verdict::Failed(_) => self.counts.errors += 1,
        }
        fate
    }

    fn stats(&self) -> Stats {
        Stats {
            busiest_second: self.gate.busiest_second() as u64,
            ..self.counts
        }
    }
}

/// The one place where the sandbox reads a clock: once each at the start, and how much later it is now.
#[derive(Clone, Copy)]
struct Clock {
    started: Instant,
    /// The start as time since the Unix epoch.
    epoch: Duration,
}

impl Clock {
    #[expect(
        clippy::disallowed_methods,
        reason = "a server has no caller to get the time from"
    )]
    fn start() -> Self {
        let epoch = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            started: Instant::now(),
            epoch,
        }
    }

    /// The time since the start.
    fn elapsed(self) -> Duration {
        self.started.elapsed()
    }

    /// A time since the start as time since the Unix epoch.
    fn unix(self, since_start: Duration) -> Duration {
        self.epoch.saturating_add(since_start)
    }
}
