//! Thresholds for numbers of rows.

use std::fmt;

/// A maximum number of rows, given as a number or as a share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Threshold {
    /// A number of rows.
    Count(u64),
    /// A percentage of the rows, 0 to 100.
    Percent(f64),
}

impl fmt::Display for Threshold {
    /// Writes the threshold as it is typed: `100` or `5%`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(share) => write!(f, "{share}%"),
        }
    }
}
