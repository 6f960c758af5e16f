//! Limits retries to a small share of the traffic. A retry costs a token, and a success at the
//! first attempt returns a part of one.

/// Number of tokens at the beginning and at most.
const CAPACITY: f64 = 100.0;
/// Number of tokens that a retry costs.
const RETRY_COST: f64 = 1.0;
/// Number of tokens that a success at the first attempt returns.
const SUCCESS_REFUND: f64 = 0.2;

/// The retry budget of a run.
#[derive(Debug)]
pub(super) struct Budget(f64);

impl Budget {
    /// Returns a full budget.
    pub(super) fn full() -> Self {
        Self(CAPACITY)
    }

    /// Pays for a retry. Returns whether there were enough tokens.
    pub(super) fn pay(&mut self) -> bool {
        let enough = self.0 >= RETRY_COST;
        if enough {
            self.0 -= RETRY_COST;
        }
        enough
    }

    /// Returns the tokens for a success at the first attempt.
    pub(super) fn earn(&mut self) {
        self.0 = (self.0 + SUCCESS_REFUND).min(CAPACITY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_retries_and_then_one_for_five_successes() {
        let mut budget = Budget::full();
        assert_eq!((0..200).filter(|_| budget.pay()).count(), 100);
        (0..5).for_each(|_| budget.earn());
        assert!(budget.pay());
        assert!(!budget.pay());
    }

    #[test]
    fn it_never_holds_more_than_at_the_start() {
        let mut budget = Budget::full();
        (0..1_000).for_each(|_| budget.earn());
        assert_eq!((0..200).filter(|_| budget.pay()).count(), 100);
    }
}
