//! Decides.
use std::time::Duration;

use crate::domain::{Limit, Rate};

/// The rules of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// How fast requests may leave, retries and log-ins included.
    pub rate: Rate,
    /// Requests in flight at most, at least 1.
    pub concurrency: usize,
    /// Attempts of a row in the main pass, and again in the second-chance pass; at least 1.
    pub max_attempts: u32,
    /// The longest pause that the Org may ask for.
    pub max_wait: Duration,
    /// How long an outage may last before the run stops.
    pub outage_patience: Duration,
    /// How many failures end the run.
    pub max_failures: Limit,
    /// How long the run may last.
    pub max_duration: Option<Duration>,
    /// Whether a log-in comes before the first request.
    pub session: bool,
    /// Seed of the jitter.
    pub seed: u64,
}
