//! Time stamps and their texts, read and written once for all records in a row that have the same: a fast run finishes dozens
//! of rows within each millisecond. Which moment a record tells of is not known here.

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;

/// A time stamp as it is written: in UTC with milliseconds, as RFC 3339 has it.
#[derive(Debug)]
pub(super) struct Stamp {
    millisecond: i64,
    text: String,
}

impl Stamp {
    #[expect(
        clippy::expect_used,
        reason = "a string takes everything, and every time stamp can be printed in UTC"
    )]
    pub(super) fn of(at: Timestamp) -> Self {
        const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(3));
        let mut text = String::new();
        PRINTER
            .print_timestamp(&at, &mut text)
            .expect("every time stamp can be printed in UTC");
        Self {
            millisecond: at.as_millisecond(),
            text,
        }
    }

    /// Makes it that of another moment.
    pub(super) fn set(&mut self, at: Timestamp) {
        if self.millisecond != at.as_millisecond() {
            *self = Self::of(at);
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }
}

/// The text that was read last, and what it said.
#[derive(Debug, Default)]
pub(super) struct LastRead(Option<(String, Timestamp)>);

impl LastRead {
    /// The time stamp of a text, if it is one.
    pub(super) fn parse(&mut self, text: &str) -> Option<Timestamp> {
        match &self.0 {
            Some((last, at)) if last == text => Some(*at),
            _ => {
                let at = text.parse().ok()?;
                self.0 = Some((text.to_owned(), at));
                Some(at)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_moment_has_its_own_text_and_each_text_its_own_moment() {
        let at = |nanoseconds: i128| {
            Timestamp::from_nanosecond(1_700_000_000_000_000_000 + nanoseconds).unwrap()
        };
        let (mut stamp, mut read) = (Stamp::of(Timestamp::UNIX_EPOCH), LastRead::default());
        for (nanoseconds, text) in [
            (0, "2023-11-14T22:13:20.000Z"),
            (999_999, "2023-11-14T22:13:20.000Z"),
            (1_000_000, "2023-11-14T22:13:20.001Z"),
            (1_000_001, "2023-11-14T22:13:20.001Z"),
            (-1, "2023-11-14T22:13:19.999Z"),
            (0, "2023-11-14T22:13:20.000Z"),
        ] {
            stamp.set(at(nanoseconds));
            assert_eq!(stamp.as_str(), text);
            assert_eq!(read.parse(text), Some(text.parse::<Timestamp>().unwrap()));
            assert_eq!(read.parse("yesterday"), None);
        }
    }
}
