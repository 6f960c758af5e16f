//! How long a row waits after its n-th failure, and an outage's probe after its n-th. Arithmetic on a count and a
//! fraction; where the fraction comes from, and who waits, is not decided here.

use std::time::Duration;

/// Bound of the first wait.
const BASE: Duration = Duration::from_millis(500);
/// No wait is longer, whatever the count.
pub(super) const CAP: Duration = Duration::from_secs(30);
/// Seconds between the probes of an outage; the last one repeats.
const PROBES: [u64; 6] = [1, 2, 4, 8, 15, 30];

/// Exponential backoff with full jitter: `fraction` (0 to 1) of a bound that doubles with each failure up to [`CAP`].
///
/// The jitter is applied after the cap, so that rows which have waited long don't meet again at the cap.
pub(super) fn delay(failures: u32, fraction: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let bound = (BASE * 2_u32.pow(doublings)).min(CAP);
    bound.mul_f64(fraction.clamp(0.0, 1.0))
}

/// The wait before the next probe after `failed` probes, 20 % shorter or longer as `fraction` (0 to 1) says.
pub(super) fn probe_delay(failed: u32, fraction: f64) -> Duration {
    let step = usize::try_from(failed.saturating_sub(1))
        .map_or(PROBES.len() - 1, |n| n.min(PROBES.len() - 1));
    Duration::from_secs(PROBES[step]).mul_f64(0.8 + 0.4 * fraction.clamp(0.0, 1.0))
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
            prop_assert!(delay(failures, fraction) <= CAP);
            prop_assert!(probe_delay(failures, fraction) <= Duration::from_secs(36));
        }
    }
}
