//! How runs end.

use std::time::Duration;

use super::TransportErrorKind;

/// A signal that ends a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGHUP: the terminal was closed.
    HangUp,
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGTERM. On Windows: Ctrl-Break, or an event of the console such as its close.
    Terminate,
}

/// How sending ended. Whether rows failed is not part of it; see [`Tally`](super::Tally).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Every row has its outcome.
    Complete,
    /// The run stopped early by its own decision.
    Stopped(Stop),
    /// A signal ended the run.
    Interrupted(Signal),
}

/// The reason why a run stopped early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The Org responded with 401 or 403: it does not, or no longer, accept the credentials.
    CredentialsRefused {
        /// The status of the response.
        status: u16,
        /// The message of the response.
        message: String,
        /// Number of rows that this run had applied with these credentials.
        accepted: u64,
    },
    /// The login was refused, or its response is unusable.
    LogInRefused {
        /// The status of the response, or `None` for a 2xx response without a usable token.
        status: Option<u16>,
        /// The message of the response, or what is wrong with it.
        message: String,
    },
    /// The response was a redirect, which is never followed.
    Redirected {
        /// The status of the response.
        status: u16,
        /// The target of the redirect.
        to: String,
        /// Whether a row had been applied before.
        after_success: bool,
    },
    /// The Org can't be reached, and trying again will not help: certificate, proxy, host name.
    Unusable {
        /// The kind of failure.
        cause: TransportErrorKind,
        /// What happened, in one line.
        message: String,
    },
    /// Something other than the Org responded, such as a proxy or a portal.
    Intercepted {
        /// The status of the response.
        status: u16,
        /// The message of the response.
        message: String,
    },
    /// The response was a web page with a 2xx status before any change was confirmed.
    WebPage {
        /// The status of the response.
        status: u16,
        /// The title of the page, or its first words.
        title: String,
    },
    /// A 2xx response contradicted the change before any change was confirmed.
    Contradicted {
        /// The status of the response.
        status: u16,
        /// What contradicts the change, in one line.
        message: String,
    },
    /// No change was ever confirmed, and no row is left to try or nothing answers at all.
    NeverAnswered {
        /// The status of the last response, or `None` if there was none.
        status: Option<u16>,
        /// What happened last, in one line.
        message: String,
    },
    /// The first rows were all refused in the same way, and none was applied.
    AllRefused {
        /// The status of the responses.
        status: u16,
        /// The message of the responses.
        message: String,
        /// Number of rows that were refused.
        rows: u64,
    },
    /// More rows failed than `--max-failures` allows.
    TooManyFailures {
        /// What was reached, in words, such as `100 rows in a row failed`.
        reached: String,
    },
    /// The Org asks for a longer wait than `--max-wait`, or has throttled the run for longer.
    RetryAfterTooLong {
        /// How long the Org asks to wait, or how long it has throttled the run.
        asked: Duration,
        /// The value of `--max-wait`.
        max_wait: Duration,
    },
    /// The Org did not come back within `--outage-patience`.
    Outage {
        /// How long the outage has lasted.
        lasted: Duration,
    },
    /// The number of changes of `--limit` was reached.
    LimitReached {
        /// Number of changes.
        changes: u64,
    },
    /// The time of `--max-duration` is over.
    MaxDurationReached,
    /// The rows of the input can't be read any further.
    InputFailed {
        /// The reason, with the place.
        message: String,
    },
}
