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

impl Threshold {
    /// Returns how many of `total` rows the threshold allows. A share is rounded down.
    #[must_use]
    pub fn allowance(self, total: u64) -> u64 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => {
                // Counts in whole millionths of a percent, because 0.29 has no exact binary
                // fraction: 0.29 % of 10,000 rows must be 29, not 28.
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "clamped to 0..=10^8 before"
                )]
                let millionths = (percent.clamp(0.0, 100.0) * 1e6).round() as u128;
                u64::try_from(u128::from(total) * millionths / 100_000_000).unwrap_or(total)
            }
        }
    }
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
