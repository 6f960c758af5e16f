//! Counts events over the last minute in constant memory, in a ring of slots of 50 ms.

/// Length of a slot, in seconds.
const SLOT: f64 = 0.05;
/// Number of slots, for slightly more than a minute.
const SLOTS: usize = 1_280;

/// The number of events in each of the last slots.
#[derive(Debug)]
pub(super) struct RollingCount {
    slots: Box<[u32]>,
    /// Number of the newest slot since the beginning of the run.
    newest: usize,
    /// Time of the first event.
    began: Option<f64>,
}

impl Default for RollingCount {
    fn default() -> Self {
        Self {
            slots: vec![0; SLOTS].into_boxed_slice(),
            newest: 0,
            began: None,
        }
    }
}

impl RollingCount {
    /// Counts an event at this time, in seconds. Times must not decrease.
    pub(super) fn add(&mut self, now: f64) {
        self.began.get_or_insert(now);
        let slot = slot(now);
        let passed = slot.saturating_sub(self.newest).min(SLOTS);
        for back in 0..passed {
            self.slots[(slot - back) % SLOTS] = 0;
        }
        self.newest = self.newest.max(slot);
        self.slots[slot % SLOTS] += 1;
    }

    /// Returns the events a second over the last `span` seconds, at most 60, or since the first
    /// event.
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts and slots are far below 2^52"
    )]
    pub(super) fn per_second(&self, now: f64, span: f64) -> f64 {
        let Some(began) = self.began else {
            return 0.0;
        };
        let first = if now > span { slot(now - span) + 1 } else { 0 };
        let oldest = self.newest.saturating_sub(SLOTS - 1);
        let slots = first.max(oldest)..=self.newest;
        let count: u64 = slots.map(|slot| u64::from(self.slots[slot % SLOTS])).sum();
        let seconds = now - (first as f64 * SLOT).max(began);
        count as f64 / seconds.max(1.0)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "times are positive, and 2^32 slots are seven years"
)]
fn slot(time: f64) -> usize {
    (time / SLOT) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(rate: u32, seconds: u32) -> RollingCount {
        let mut count = RollingCount::default();
        for event in 0..rate * seconds {
            count.add(f64::from(event) / f64::from(rate));
        }
        count
    }

    #[test]
    fn a_steady_rate_is_measured_to_one_percent_over_both_spans() {
        let count = after(100, 200);
        for span in [10.0, 60.0] {
            let measured = count.per_second(200.0, span);
            assert!(
                (99.0..=101.0).contains(&measured),
                "{measured} over {span} s"
            );
        }
    }

    #[test]
    fn time_before_the_first_event_does_not_lower_the_rate() {
        let measured = after(10, 3).per_second(3.0, 60.0);
        assert!((9.9..=10.5).contains(&measured), "{measured}");
        assert_eq!(RollingCount::default().per_second(5.0, 10.0).to_bits(), 0);
    }

    #[test]
    fn a_pause_lowers_the_rate() {
        let measured = after(10, 20).per_second(25.0, 10.0);
        assert!((4.9..=5.1).contains(&measured), "{measured}");
        assert_eq!(after(10, 20).per_second(500.0, 60.0).to_bits(), 0);
    }
}
