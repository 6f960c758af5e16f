//! Events of a run.

use std::time::Duration;

use super::{Change, Ending, Record, SendResult, Tally};

/// What holds the run back, if anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Condition {
    /// Requests are sent as the rate allows.
    #[default]
    Normal,
    /// The Org asked for a pause or refuses everything. Nothing is sent before `until`.
    Throttled {
        /// The end of the pause, as the time since the run began.
        until: Duration,
    },
    /// The Org does not respond. One probe is sent at a time.
    Outage {
        /// The beginning of the outage, as the time since the run began.
        since: Duration,
    },
}

/// The reason why nothing can be sent right now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The rate does not allow another request yet.
    Pace,
    /// The Org asked for a pause or refuses everything.
    Throttled,
    /// The next probe of an outage is not due yet.
    Probe,
    /// All rows that are left wait for their next attempt.
    Retry,
    /// The next login is not due yet.
    LogIn,
    /// The run waits for responses to requests in flight.
    SendResult,
    /// The run is ending and gives requests in flight time to finish.
    Drain,
}

/// Something that happened in a run. Events are emitted after the journal is on disk, and only for
/// observers: nothing that an observer does affects the run.
#[derive(Debug)]
pub enum Event<'a> {
    /// The run is about to begin.
    Planned {
        /// Number of rows in the input.
        rows: u64,
        /// Outcomes that an interrupted run has recorded already.
        on_record: &'a Tally,
    },
    /// A request is being sent.
    Sent {
        /// The change that is requested.
        change: Change,
        /// The number of the request for this row, from 1, or 0 for a probe, which repeats a row
        /// that was applied.
        attempt: u32,
    },
    /// A request was answered or failed.
    Answered {
        /// The change that was requested.
        change: Change,
        /// The result.
        answer: &'a SendResult,
        /// The time from sending to the end of the response.
        latency: Duration,
    },
    /// Nothing can be sent for a while.
    Waiting {
        /// The reason.
        why: Wait,
        /// The end of the wait, as the time since the run began.
        until: Duration,
    },
    /// A row has its outcome, which is in the journal.
    Recorded {
        /// The outcome.
        record: &'a Record,
        /// The cells of the input that the report carries, as CSV.
        cells: &'a [u8],
    },
    /// The Org stopped responding.
    OutageBegan,
    /// The Org responds again.
    OutageOver {
        /// How long the outage lasted.
        lasted: Duration,
    },
    /// Sending is over.
    Ended(&'a Ending),
}
