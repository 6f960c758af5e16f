//! Timestamps and their texts. Formatting and parsing is done once for all consecutive records with
//! the same timestamp, because a fast run finishes dozens of rows within a millisecond.

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;

/// A timestamp as it is written: RFC 3339, in UTC, with milliseconds.
#[derive(Debug)]
pub(crate) struct FormattedTimestamp {
    millisecond: i64,
    text: String,
}

impl FormattedTimestamp {
    /// Formats a timestamp.
    #[expect(
        clippy::expect_used,
        reason = "writing to a string does not fail, and every timestamp can be printed in UTC"
    )]
    pub(crate) fn new(at: Timestamp) -> Self {
        const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(3));
        let mut text = String::new();
        PRINTER
            .print_timestamp(&at, &mut text)
            .expect("every timestamp can be printed in UTC");
        Self {
            millisecond: at.as_millisecond(),
            text,
        }
    }

    /// Changes to another timestamp. Formats it only if its millisecond differs.
    pub(crate) fn set(&mut self, at: Timestamp) {
        if self.millisecond != at.as_millisecond() {
            *self = Self::new(at);
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

/// The last timestamp that was parsed, with its text.
#[derive(Debug, Default)]
pub(crate) struct TimestampCache(Option<(String, Timestamp)>);

impl TimestampCache {
    /// Parses a timestamp. Returns `None` if the text is not one.
    pub(crate) fn parse(&mut self, text: &str) -> Option<Timestamp> {
        if let Some((last, at)) = &self.0
            && last == text
        {
            return Some(*at);
        }
        let at = text.parse().ok()?;
        self.0 = Some((text.to_owned(), at));
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_of_one_millisecond_have_the_same_text_and_others_do_not() {
        let at = |nanoseconds: i128| {
            Timestamp::from_nanosecond(1_700_000_000_000_000_000 + nanoseconds).unwrap()
        };
        let mut formatted = FormattedTimestamp::new(Timestamp::UNIX_EPOCH);
        let mut cache = TimestampCache::default();
        for (nanoseconds, text) in [
            (0, "2023-11-14T22:13:20.000Z"),
            (999_999, "2023-11-14T22:13:20.000Z"),
            (1_000_000, "2023-11-14T22:13:20.001Z"),
            (1_000_001, "2023-11-14T22:13:20.001Z"),
            (-1, "2023-11-14T22:13:19.999Z"),
            (0, "2023-11-14T22:13:20.000Z"),
        ] {
            formatted.set(at(nanoseconds));
            assert_eq!(formatted.as_str(), text);
            assert_eq!(cache.parse(text), Some(text.parse::<Timestamp>().unwrap()));
            assert_eq!(cache.parse("yesterday"), None);
        }
    }
}
