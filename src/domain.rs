//! The words every room shares: users, changes, answers, outcomes, records, events. Plain data without I/O, clocks or
//! async. What a room alone needs stays in that room.

mod report_column;
mod table_format;

use std::fmt;
use std::time::Duration;

pub use self::report_column::{REPORT_COLUMNS, REPORT_COLUMNS_OF_FORMAT_1, ReportColumn};
pub use self::table_format::{TableFormat, Workbook};

/// The longest detail of a record, in characters.
pub const MAX_DETAIL: usize = 500;

/// The number of a row within the run, counted from 1; blank rows and rows that are not selected are not counted. It
/// orders the report. Where the row stands in the input is its [`LineNumber`].
pub type RowNumber = u64;

/// Where a row stands in the input, counted from 1: the physical line on which its record begins, or the row of the
/// sheet. Rows of an earlier report keep the number that they had there.
pub type LineNumber = u64;

/// A user's ID on Resolver Core: a positive integer below 2^63.
///
/// The path of a request is built from this type and never from text, so whatever stood in a cell, only digits go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(u64);

impl UserId {
    /// The largest ID there can be, 2^63 - 1.
    pub const MAX: u64 = i64::MAX.unsigned_abs();

    /// `None` for zero and for numbers above [`UserId::MAX`].
    #[must_use]
    pub fn new(number: u64) -> Option<Self> {
        (1..=Self::MAX).contains(&number).then_some(Self(number))
    }

    /// The number itself.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is wanted for a user: the value of `mfaOptOut`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flag {
    /// `{"mfaOptOut": true}`: the user signs in without multi-factor authentication. Lowers security.
    OptOut,
    /// `{"mfaOptOut": false}`: the user is asked for the second factor again.
    OptIn,
}

impl Flag {
    /// `true` is [`Flag::OptOut`].
    #[must_use]
    pub fn from_opt_out(opt_out: bool) -> Self {
        if opt_out { Self::OptOut } else { Self::OptIn }
    }

    /// The value of `mfaOptOut` on the wire.
    #[must_use]
    pub fn is_opt_out(self) -> bool {
        self == Self::OptOut
    }

    /// The other one.
    #[must_use]
    pub fn opposite(self) -> Self {
        Self::from_opt_out(!self.is_opt_out())
    }

    /// The word in the report's column `wanted`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OptOut => "true",
            Self::OptIn => "false",
        }
    }

    /// The flag that the report's word stands for.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "true" => Some(Self::OptOut),
            "false" => Some(Self::OptIn),
            _ => None,
        }
    }
}

/// Something that may be sent: one row that asks for one membership to be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The row that asks for it.
    pub row: RowNumber,
    /// Where that row stands in the input; `None` for a row that is not in it.
    pub line: Option<LineNumber>,
    /// Whose membership.
    pub user: UserId,
    /// What is wanted.
    pub flag: Flag,
    /// Whether an interrupted run may have made the change without having recorded it.
    pub in_doubt: bool,
}

/// What came back for a request, or how nothing came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The server answered with a status.
    Reply(Reply),
    /// No answer arrived that could be understood.
    Silence(Silence),
}

/// An answer with a status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status code.
    pub status: u16,
    /// What the body of a 2xx response says about the change; of other responses nothing.
    pub body: BodyKind,
    /// The server's own message: one line, at most 500 characters, nothing in it that moves a cursor. May be empty.
    pub message: String,
    /// How long `Retry-After` asks to wait, counted from now; never zero. `None` where there is no such header, it is
    /// unreadable, or its time has passed.
    pub retry_after: Option<Duration>,
    /// How long until the server's `RateLimit` fields allow another request, where they say that none is left.
    pub quota_reset: Option<Duration>,
    /// Where a redirect points, made harmless for a terminal.
    pub location: Option<String>,
}

/// What the body of a 2xx response says about the change, judged by its first 64 KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyKind {
    /// Nothing about the change.
    #[default]
    Plain,
    /// The value that `mfaOptOut` has now.
    Set(Flag),
    /// That the change failed: `success: false`, an `error`, or a failed part of a 207.
    Failure,
    /// A web page, such as a sign-in or maintenance page: the API has not answered.
    WebPage,
}

/// No usable answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    /// How it failed.
    pub cause: Cause,
    /// Whether any byte of the request may have left: if so, the change may have been made.
    pub sent: bool,
    /// What happened, for a person: one line, names the host, never a secret.
    pub message: String,
}

/// The ways to get no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The host's name could not be found.
    HostNotFound,
    /// Nobody listens at the port.
    Refused,
    /// The network has no way to the host, or the connection failed in another way.
    Unreachable,
    /// The connection was not made in time.
    ConnectTimeout,
    /// The certificate or the handshake was not acceptable.
    Tls,
    /// The other side does not speak TLS at all.
    NotTls,
    /// The proxy would not let the request through.
    Proxy,
    /// The whole answer did not arrive in time.
    Timeout,
    /// The connection was closed before the answer was complete.
    Reset,
    /// What arrived is not HTTP.
    NotUnderstood,
}

/// What came of a log-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginAnswer {
    /// A token was issued and is used from now on.
    Token {
        /// How long it is good for; `None` where the server's `expiresAt` could not be used.
        lifetime: Option<Duration>,
    },
    /// A 2xx answer without a usable token; the text says which field is odd.
    Unusable(String),
    /// Anything else.
    Failed(Answer),
}

/// What became of a row.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The Org confirmed the change.
    Applied,
    /// The Org, or the attempts' end, said no. The change was not made.
    Failed,
    /// The change may or may not have been made.
    Unknown,
    /// The row could not be understood and was skipped.
    Invalid,
    /// An earlier row asks for the same; sent once, there.
    Duplicate,
    /// An earlier report says that it is so already.
    Unchanged,
    /// The run ended before the row was sent, or before anything but a refusal of the credentials came back for it.
    NotSent,
}

impl Outcome {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 7] = [
        Self::Applied,
        Self::Failed,
        Self::Unknown,
        Self::Invalid,
        Self::Duplicate,
        Self::Unchanged,
        Self::NotSent,
    ];

    /// The word in the report.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Invalid => "invalid",
            Self::Duplicate => "duplicate",
            Self::Unchanged => "unchanged",
            Self::NotSent => "not_sent",
        }
    }

    /// The outcome that the report's word stands for.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|outcome| outcome.as_str() == word)
    }

    /// Whether a person has to look at the row.
    #[must_use]
    pub fn needs_attention(self) -> bool {
        match self {
            Self::Failed | Self::Unknown | Self::Invalid | Self::NotSent => true,
            Self::Applied | Self::Duplicate | Self::Unchanged => false,
        }
    }

    /// Whether `retry` sends the row again.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        match self {
            Self::Failed | Self::Unknown | Self::NotSent => true,
            Self::Applied | Self::Invalid | Self::Duplicate | Self::Unchanged => false,
        }
    }

    /// Whether the user is known to have the flag that the row wanted.
    #[must_use]
    pub fn is_confirmed(self) -> bool {
        match self {
            Self::Applied | Self::Unchanged => true,
            Self::Failed | Self::Unknown | Self::Invalid | Self::Duplicate | Self::NotSent => false,
        }
    }

    /// Whether `undo` takes back what the row wanted. What may have been made is taken back only if it was an opt-out:
    /// that lowers security, and the opposite of an opt-in would.
    #[must_use]
    pub fn is_undone(self, wanted: Option<Flag>) -> bool {
        match self {
            Self::Applied => true,
            Self::Unknown => wanted != Some(Flag::OptIn),
            Self::Failed | Self::Invalid | Self::Duplicate | Self::Unchanged | Self::NotSent => {
                false
            }
        }
    }

    /// Whether the row's outcome came from sending it, or trying to, and it was not applied: what is told of while the
    /// run goes on.
    #[must_use]
    pub fn is_failure(self) -> bool {
        match self {
            Self::Failed | Self::Unknown => true,
            Self::Applied | Self::Invalid | Self::Duplicate | Self::Unchanged | Self::NotSent => {
                false
            }
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The result of one row: what the report says of it, besides its own cells and the time of day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Which row.
    pub row: RowNumber,
    /// Where it stands in the input; `None` for a row that is not in it.
    pub line: Option<LineNumber>,
    /// What became of it.
    pub outcome: Outcome,
    /// The flag that was wanted; `None` where the row does not tell.
    pub wanted: Option<Flag>,
    /// Status of the last answer, `None` if none came.
    pub http_status: Option<u16>,
    /// Requests sent for this row.
    pub attempts: u32,
    /// From the first request to the last answer; zero where nothing was sent.
    pub elapsed: Duration,
    /// One line for a person, at most [`MAX_DETAIL`] characters; may be empty. No code reads it.
    pub detail: String,
}

impl Record {
    /// Returns the record of a row for which nothing is sent.
    #[must_use]
    pub fn unsent(
        row: RowNumber,
        line: Option<LineNumber>,
        outcome: Outcome,
        wanted: Option<Flag>,
        detail: String,
    ) -> Self {
        Self {
            row,
            line,
            outcome,
            wanted,
            http_status: None,
            attempts: 0,
            elapsed: Duration::ZERO,
            detail,
        }
    }
}

/// How many rows came to which outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally([u64; Outcome::ALL.len()]);

impl Tally {
    /// Counts one more row.
    pub fn add(&mut self, outcome: Outcome) {
        self.0[outcome as usize] += 1;
    }

    /// Rows with this outcome.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.0[outcome as usize]
    }

    /// Rows in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Rows that a person has to look at.
    #[must_use]
    pub fn attention(&self) -> u64 {
        self.count_where(Outcome::needs_attention)
    }

    /// Whether a person has to look at some rows.
    #[must_use]
    pub fn needs_attention(&self) -> bool {
        self.attention() > 0
    }

    /// Rows with an outcome of which this holds.
    #[must_use]
    pub fn count_where(&self, holds: impl Fn(Outcome) -> bool) -> u64 {
        Outcome::ALL
            .into_iter()
            .filter(|outcome| holds(*outcome))
            .map(|outcome| self.count(outcome))
            .sum()
    }
}

/// How many requests may be sent in which time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// At most `requests` in each `per`, evenly spaced.
    Limited {
        /// Requests, at least one.
        requests: u32,
        /// In how long, more than zero.
        per: Duration,
    },
    /// Found by trying, never above this many a second.
    Auto {
        /// Requests a second, at least one.
        ceiling: u32,
    },
    /// As fast as the answers come.
    Unlimited,
}

impl Rate {
    /// Requests a second that may be reached, `None` for no limit.
    #[must_use]
    pub fn per_second(self) -> Option<f64> {
        match self {
            Self::Limited { requests, per } => Some(f64::from(requests) / per.as_secs_f64()),
            Self::Auto { ceiling } => Some(f64::from(ceiling)),
            Self::Unlimited => None,
        }
    }
}

/// What a run has found out about the pace, in requests a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PaceFound {
    /// The rate that `auto` has found.
    pub rate: Option<f64>,
    /// The limit that the Org has shown by refusing requests.
    pub limit: Option<f64>,
    /// The pace that the given number of requests in flight allowed, if that bounded the run.
    pub bound_by_concurrency: Option<f64>,
}

/// A bound given as a number, or as a share of the rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// So many.
    Count(u64),
    /// So many of a hundred, 0 to 100.
    Percent(f64),
}

/// Which signal ended a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGHUP: the terminal is gone.
    HangUp,
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM, or the console's close event on Windows.
    Terminate,
}

/// How the sending ended. Whether rows failed is the tally's to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Every row has its outcome.
    Complete,
    /// The run stopped early by its own decision.
    Stopped(Stop),
    /// Somebody stopped it.
    Interrupted(Signal),
}

/// Why a run stopped early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// 401 or 403 says that the credentials are not, or no longer, accepted.
    CredentialsRefused {
        /// What the Org answered.
        status: u16,
        /// Its own words.
        message: String,
        /// Rows that had been applied with these credentials in this run.
        accepted: u64,
    },
    /// The log-in was refused, or answered with something unusable.
    LogInRefused {
        /// Status of the answer, `None` for a 2xx without a usable token.
        status: Option<u16>,
        /// Why, in the Org's words or ours.
        message: String,
    },
    /// A redirect, which is never followed.
    Redirected {
        /// The status.
        status: u16,
        /// Where it points.
        to: String,
        /// Whether a row had been applied before.
        after_success: bool,
    },
    /// The way to the Org is wrong and trying again will not mend it: certificate, proxy, host name.
    Unusable {
        /// How it failed.
        cause: Cause,
        /// In words.
        message: String,
    },
    /// Something in between answered for the Org, such as a proxy or a portal.
    Intercepted {
        /// The status.
        status: u16,
        /// What it said.
        message: String,
    },
    /// A web page with a 2xx status came before any change was confirmed.
    WebPage {
        /// The status.
        status: u16,
        /// The page's title or its first words.
        title: String,
    },
    /// Before any change was confirmed, a 2xx response contradicted the change that it answered.
    Contradicted {
        /// The status.
        status: u16,
        /// What contradicts it, in words.
        message: String,
    },
    /// Nothing has ever succeeded, and there is no row left to try, or nobody answers at all.
    NeverAnswered {
        /// Status of the last answer, where one came.
        status: Option<u16>,
        /// What happened last.
        message: String,
    },
    /// The first rows were all refused in the same way and none was applied.
    AllRefused {
        /// With this status.
        status: u16,
        /// In these words.
        message: String,
        /// So many rows.
        rows: u64,
    },
    /// More failures than `--max-failures` allows.
    TooManyFailures {
        /// What was reached, in words, such as `100 rows in a row failed`.
        reached: String,
    },
    /// The Org asks for a longer wait than `--max-wait`, or kept throttling for that long.
    HeldTooLong {
        /// What it asks for, or how long it has lasted.
        asked: Duration,
        /// What is allowed.
        max_wait: Duration,
    },
    /// The Org did not come back within `--outage-patience`.
    Outage {
        /// How long it has lasted.
        lasted: Duration,
    },
    /// The time window of `--max-duration` has closed.
    TimeIsUp,
    /// The rows of the input can't be read any further.
    InputFailed {
        /// The reason, and where.
        message: String,
    },
}

/// What holds the run back, or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Condition {
    /// Requests go out as the pace allows.
    #[default]
    Normal,
    /// The Org asked for a pause or refuses everything; nothing is sent before `until`.
    Throttled {
        /// Since the run began.
        until: Duration,
    },
    /// The Org does not answer; one probe at a time.
    Outage {
        /// When it stopped answering, since the run began.
        since: Duration,
    },
}

/// Why nothing can be sent right now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The next request has its turn at the pace.
    Pace,
    /// The Org asked for a pause or refuses everything.
    Throttled,
    /// The next probe during an outage.
    Probe,
    /// Only rows that wait for their next attempt are left.
    Retry,
    /// The next log-in.
    LogIn,
    /// The answers of requests in flight.
    Answer,
    /// In-flight requests get their time to finish.
    Drain,
}

/// What happened in a run, told to whoever watches. It is told after it is on disk, and nobody can answer it.
#[derive(Debug)]
pub enum Event<'a> {
    /// The run is about to begin.
    Planned {
        /// Rows of the input.
        rows: u64,
        /// What an interrupted run had put on record already.
        on_record: &'a Tally,
    },
    /// A request goes out.
    Sent {
        /// For which change.
        change: Change,
        /// Which request for this row, from 1; 0 for a probe, which repeats a row that was applied.
        attempt: u32,
    },
    /// Its answer, or that none came.
    Answered {
        /// For which change.
        change: Change,
        /// What came back.
        answer: &'a Answer,
        /// From sending to the answer's end.
        latency: Duration,
    },
    /// Nothing can be sent for a while.
    Waiting {
        /// Why.
        why: Wait,
        /// Until when, since the run began.
        until: Duration,
    },
    /// A row has its outcome, and the journal has it.
    Recorded(&'a Record),
    /// The Org stopped answering.
    OutageBegan,
    /// It is back.
    OutageOver {
        /// How long it was away.
        lasted: Duration,
    },
    /// The sending is over.
    Ended(&'a Ending),
}
