//! A practice Org on loopback: the two API calls, Swagger UI, a page of members, and faults on
//! demand.
//!
//! Its state is in memory. It shares no code with the client, so that it can prove the client
//! wrong. [`Sandbox::start`] starts one; [`SandboxOptions`] describes it.

mod faults;
mod org;
mod pages;
mod routes;
mod swagger;

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
pub use org::Member;

use faults::{Admission, Decision, FaultInjector};
use org::PracticeOrg;

/// Time that open requests get to finish when the sandbox stops.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

/// The properties of a practice Org.
#[derive(Clone)]
pub struct SandboxOptions {
    /// Port on 127.0.0.1; 0 lets the system choose one.
    pub port: u16,
    /// IDs of the members; those that end in 404 have left the Org.
    pub members: RangeInclusive<u64>,
    /// API key of the Org.
    pub api_key: String,
    /// E-mail address of the user who can log in.
    pub email: String,
    /// Password of that user.
    pub password: String,
    /// Number of the Org, the `selectedOrg` of a log-in.
    pub org: u64,
    /// Lifetime of a session token.
    pub token_life: Duration,
    /// Faults to inject.
    pub faults: Faults,
}

impl Default for SandboxOptions {
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

/// Counts of the requests so far. Only the two API calls count, never the pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// Number of requests, including those that failed.
    pub requests: u64,
    /// Number of PUTs, including those for users who are not in the Org.
    pub puts: u64,
    /// Number of log-ins, including refused ones.
    pub log_ins: u64,
    /// Number of requests answered with 401 or 403.
    pub refused: u64,
    /// Number of requests answered with 429.
    pub throttled: u64,
    /// Number of requests answered with 5xx, including those during an outage.
    pub errors: u64,
    /// Largest number of requests that arrived in any one second.
    pub busiest_second: u64,
}

/// A running practice Org.
///
/// It runs on the runtime that started it, single-threaded or not, until it is stopped or dropped.
pub struct Sandbox {
    state: SharedState,
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
    /// Returns an error if the port is in use or not permitted.
    pub async fn start(options: SandboxOptions) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await?;
        let port = listener.local_addr()?.port();
        let router = routes::router(&options);
        let state = SharedState::new(options);
        // Responses are small, so each is sent at once. A connection that refuses the option is
        // only slower.
        let listener = listener.tap_io(|connection| drop(connection.set_nodelay(true)));
        let (stop, stopped) = oneshot::channel::<()>();
        let server = axum::serve(listener, router.with_state(state.clone()));
        let server = server.with_graceful_shutdown(async {
            let _ = stopped.await;
        });
        Ok(Self {
            state,
            port,
            stop,
            server: tokio::spawn(server.into_future()),
        })
    }

    /// Returns the base address, `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("http://{}:{}", Ipv4Addr::LOCALHOST, self.port)
    }

    /// Returns the members that received a PUT, by ID. All others are as they were at the start.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        self.state.lock().org.touched().collect()
    }

    /// Returns the counts of the requests so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.state.lock().stats()
    }

    /// Stops: accepts no new connection and gives open requests a second to finish.
    pub async fn stop(self) {
        drop(self.stop);
        let abort = self.server.abort_handle();
        if tokio::time::timeout(SHUTDOWN_GRACE, self.server)
            .await
            .is_err()
        {
            abort.abort();
        }
    }
}

/// The state that all requests share.
#[derive(Clone)]
struct SharedState {
    clock: SandboxClock,
    sandbox: Arc<Mutex<SandboxState>>,
}

struct SandboxState {
    org: PracticeOrg,
    injector: FaultInjector,
    counts: Stats,
}

/// One of the two API calls.
#[derive(Clone, Copy)]
enum ApiCall {
    /// A PUT for this user; `None` if the path holds no valid ID.
    Put(Option<u64>),
    LogIn,
}

impl SharedState {
    fn new(options: SandboxOptions) -> Self {
        let injector = FaultInjector::new(options.faults.clone());
        let sandbox = SandboxState {
            org: PracticeOrg::new(options),
            injector,
            counts: Stats::default(),
        };
        Self {
            clock: SandboxClock::start(),
            sandbox: Arc::new(Mutex::new(sandbox)),
        }
    }

    /// Locks the state. A panic while it was locked leaves counts and members valid.
    fn lock(&self) -> MutexGuard<'_, SandboxState> {
        self.sandbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request, waits for the injected latency, and returns the decision about it.
    async fn admit(&self, call: ApiCall) -> Decision {
        let admission = {
            let mut state = self.lock();
            // Read under the lock, because times must not go backwards.
            let now = self.clock.elapsed();
            state.admit(call, now)
        };
        if !admission.delay.is_zero() {
            tokio::time::sleep(admission.delay).await;
        }
        admission.decision
    }
}

impl SandboxState {
    fn admit(&mut self, call: ApiCall, now: Duration) -> Admission {
        self.counts.requests += 1;
        match call {
            ApiCall::Put(id) => {
                self.counts.puts += 1;
                if let Some(id) = id {
                    self.org.note_put(id);
                }
            }
            ApiCall::LogIn => self.counts.log_ins += 1,
        }
        let admission = self.injector.admit(now);
        match admission.decision {
            Decision::Serve => {}
            Decision::Throttle => self.counts.throttled += 1,
            Decision::Fail(_) => self.counts.errors += 1,
        }
        admission
    }

    fn stats(&self) -> Stats {
        Stats {
            busiest_second: self.injector.busiest_second() as u64,
            ..self.counts
        }
    }
}

/// The clock of the sandbox: wall-clock time of the start, and monotonic time since then.
#[derive(Clone, Copy)]
struct SandboxClock {
    started: Instant,
    /// Time of the start since the Unix epoch.
    epoch: Duration,
}

impl SandboxClock {
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

    /// Returns the time since the start.
    fn elapsed(self) -> Duration {
        self.started.elapsed()
    }

    /// Converts a time since the start to a time since the Unix epoch.
    fn unix(self, since_start: Duration) -> Duration {
        self.epoch.saturating_add(since_start)
    }
}
