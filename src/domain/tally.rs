//! Counts of rows by outcome.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::Outcome;

/// The number of rows with each outcome. Serialised as an object with one field for each outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally([u64; Outcome::ALL.len()]);

impl Tally {
    /// Counts one more row.
    pub fn add(&mut self, outcome: Outcome) {
        self.0[outcome as usize] += 1;
    }

    /// Returns the number of rows with this outcome.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.0[outcome as usize]
    }

    /// Returns the number of all rows.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Returns the number of rows that a person has to look at.
    #[must_use]
    pub fn attention(&self) -> u64 {
        self.count_where(Outcome::needs_attention)
    }

    /// Checks whether a person has to look at any row.
    #[must_use]
    pub fn needs_attention(&self) -> bool {
        self.attention() > 0
    }

    /// Returns the number of rows whose outcome satisfies a predicate.
    #[must_use]
    pub fn count_where(&self, predicate: impl Fn(Outcome) -> bool) -> u64 {
        Outcome::ALL
            .into_iter()
            .filter(|outcome| predicate(*outcome))
            .map(|outcome| self.count(outcome))
            .sum()
    }
}

impl Serialize for Tally {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(Outcome::ALL.len()))?;
        for outcome in Outcome::ALL {
            map.serialize_entry(outcome.as_str(), &self.count(outcome))?;
        }
        map.end()
    }
}
