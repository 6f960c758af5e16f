//! Keeps retries a small share of the traffic: each one is paid for, and first-try successes earn. Who waits when the
//! budget is empty is not decided here.

/// What the budget holds at most, and at the start.
const FULL: f64 = 100.0;
/// What a retry costs.
const RETRY: f64 = 1.0;
/// What a success at the first try gives back.
const SUCCESS: f64 = 0.2;

/// The retry budget of a run.
#[derive(Debug)]
pub(super) struct Budget(f64);

impl Budget {
    pub(super) fn full() -> Self {
        Self(FULL)
    }

    /// Pays for a retry, if there is enough.
    pub(super) fn pay(&mut self) -> bool {
        let enough = self.0 >= RETRY;
        if enough {
            self.0 -= RETRY;
        }
        enough
    }

    pub(super) fn earn(&mut self) {
        self.0 = (self.0 + SUCCESS).min(FULL);
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
