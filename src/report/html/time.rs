//! Times and durations as the pages show them.

use jiff::Timestamp;

/// A time on the page, in UTC. The page's script shows it in the reader's zone.
#[derive(Clone, Debug)]
pub(super) struct PageTime {
    /// For programs: ISO 8601.
    pub(super) iso: String,
    /// For people: date and time.
    pub(super) utc: String,
    /// For people: time of day.
    pub(super) clock: String,
}

impl PageTime {
    pub(super) fn of(at: Timestamp) -> Self {
        Self {
            iso: at.strftime("%FT%TZ").to_string(),
            utc: at.strftime("%F %T UTC").to_string(),
            clock: at.strftime("%T UTC").to_string(),
        }
    }
}

/// Formats a length of time, such as `1 h 5 min 3 s`, `4.9 s` or `250 ms`.
pub(super) fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    if ms < 1000 {
        return format!("{ms} ms");
    }
    if seconds < 10 && !ms.is_multiple_of(1000) {
        return format!("{seconds}.{} s", ms % 1000 / 100);
    }
    let parts = [
        (seconds / 3600, "h"),
        (seconds / 60 % 60, "min"),
        (seconds % 60, "s"),
    ];
    let mut words = Vec::new();
    for (number, unit) in parts {
        if number > 0 {
            words.push(format!("{number} {unit}"));
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_durations_and_times_for_people() {
        let durations = [0, 250, 1000, 4_943, 10_999, 60_000, 3_903_400].map(duration);
        assert_eq!(
            durations,
            [
                "0 ms",
                "250 ms",
                "1 s",
                "4.9 s",
                "10 s",
                "1 min",
                "1 h 5 min 3 s"
            ]
        );
        let time = PageTime::of(Timestamp::from_millisecond(1_700_000_000_050).unwrap());
        assert_eq!(time.utc, "2023-11-14 22:13:20 UTC");
        assert_eq!(time.iso, "2023-11-14T22:13:20Z");
        assert_eq!(time.clock, "22:13:20 UTC");
    }
}
