//! Calculates waits: of a row after its n-th failure, and between the probes of an outage. Pure
//! arithmetic on a count and a random fraction.

use std::time::Duration;

/// Upper bound of the first wait.
const FIRST_BOUND: Duration = Duration::from_millis(500);
/// Longest wait of a row.
pub(super) const MAX_DELAY: Duration = Duration::from_secs(30);
/// Waits between the probes of an outage, in seconds; the last one repeats.
const PROBE_DELAYS_S: [u64; 6] = [1, 2, 4, 8, 15, 30];

/// Returns the wait after a failure, by exponential backoff with full jitter: `fraction` (0 to 1)
/// of a bound that doubles with each failure up to [`MAX_DELAY`].
///
/// The jitter is applied after the bound was capped, so that rows that have waited long do not meet
/// again.
pub(super) fn delay(failures: u32, fraction: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let bound = (FIRST_BOUND * 2_u32.pow(doublings)).min(MAX_DELAY);
    bound.mul_f64(fraction.clamp(0.0, 1.0))
}

/// Returns the wait after `failed` probes, up to 20 % shorter or longer by `fraction` (0 to 1).
pub(super) fn probe_delay(failed: u32, fraction: f64) -> Duration {
    let step = usize::try_from(failed.saturating_sub(1)).map_or(PROBE_DELAYS_S.len() - 1, |n| {
        n.min(PROBE_DELAYS_S.len() - 1)
    });
    Duration::from_secs(PROBE_DELAYS_S[step]).mul_f64(0.8 + 0.4 * fraction.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bound_doubles_up_to_the_cap() {
        let bounds: Vec<u128> = (1..=9).map(|n| delay(n, 1.0).as_millis()).collect();
        assert_eq!(
            bounds,
            [
                500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000
            ]
        );
    }

    #[test]
    fn probes_grow_apart() {
        let waits: Vec<u64> = (1..=8).map(|n| probe_delay(n, 0.5).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 15, 30, 30, 30]);
    }

    proptest! {
        #[test]
        fn no_delay_is_above_the_cap(failures in any::<u32>(), fraction in any::<f64>()) {
            prop_assert!(delay(failures, fraction) <= MAX_DELAY);
            prop_assert!(probe_delay(failures, fraction) <= Duration::from_secs(36));
        }
    }
}
