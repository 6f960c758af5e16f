//! Rates of requests.

use std::fmt;
use std::time::Duration;

/// The rate at which requests may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// At most `requests` in each period `per`, evenly spaced.
    Limited {
        /// The number of requests, at least one.
        requests: u32,
        /// The period, more than zero.
        per: Duration,
    },
    /// The highest rate that the Org accepts, found by trying.
    Auto {
        /// The highest rate that is tried, in requests per second, at least one.
        ceiling: u32,
    },
    /// As fast as responses arrive.
    Unlimited,
}

impl Rate {
    /// Returns the highest possible rate in requests per second, or `None` if it is not limited.
    #[must_use]
    pub fn per_second(self) -> Option<f64> {
        match self {
            Self::Limited { requests, per } => Some(f64::from(requests) / per.as_secs_f64()),
            Self::Auto { ceiling } => Some(f64::from(ceiling)),
            Self::Unlimited => None,
        }
    }
}

impl fmt::Display for Rate {
    /// Writes the rate as it is typed: `10/s`, `auto:50`, `unlimited`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limited { requests, per } => match per.as_secs() {
                1 => write!(f, "{requests}/s"),
                60 => write!(f, "{requests}/m"),
                3600 => write!(f, "{requests}/h"),
                _ => write!(f, "{requests} in {per:?}"),
            },
            Self::Auto { ceiling } => write!(f, "auto:{ceiling}"),
            Self::Unlimited => f.write_str("unlimited"),
        }
    }
}

/// What a run has found out about possible rates, in requests per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PaceFound {
    /// The rate that [`Rate::Auto`] has found.
    pub rate: Option<f64>,
    /// The limit that the Org has shown by refusing requests.
    pub limit: Option<f64>,
    /// The rate that the given concurrency allowed, if the concurrency limited the run.
    pub bound_by_concurrency: Option<f64>,
}
