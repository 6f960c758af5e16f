//! Users of the Org.

use std::fmt;

/// A user's ID on Resolver Core: a positive integer below 2^63.
///
/// The path of a request is built from this type and never from text, so only digits can get into
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(u64);

impl UserId {
    /// The largest possible ID, 2^63 - 1.
    pub const MAX: u64 = i64::MAX.unsigned_abs();

    /// Returns the ID with this number, or `None` for zero and for numbers above [`UserId::MAX`].
    #[must_use]
    pub fn new(number: u64) -> Option<Self> {
        if (1..=Self::MAX).contains(&number) {
            Some(Self(number))
        } else {
            None
        }
    }

    /// Returns the number.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_positive_and_below_2_to_the_63() {
        for (number, is_valid) in [
            (0, false),
            (1, true),
            (i64::MAX.unsigned_abs(), true),
            (i64::MAX.unsigned_abs() + 1, false),
        ] {
            assert_eq!(UserId::new(number).is_some(), is_valid, "{number}");
        }
    }
}
