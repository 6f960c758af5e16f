//! A time stamp and its text, read or written once for all records in a row that have the same: a fast run finishes dozens of
//! rows within each millisecond. Which moment a record tells of is not known here.

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;

/// The moment that was last read or written.
#[derive(Debug)]
pub(super) struct Moment {
    at: Timestamp,
    /// RFC 3339 in UTC, with milliseconds where it was written here.
    text: String,
}

impl Default for Moment {
    fn default() -> Self {
        Self::of(Timestamp::UNIX_EPOCH)
    }
}

impl Moment {
    #[expect(clippy::expect_used, reason = "a string takes everything, and every time stamp can be printed in UTC")]
    fn of(at: Timestamp) -> Self {
        const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(3));
        let mut text = String::new();
        PRINTER.print_timestamp(&at, &mut text).expect("every time stamp can be printed in UTC");
        Self { at, text }
    }

    /// The text of a time stamp, in UTC with milliseconds, as RFC 3339 has it.
    pub(super) fn written(&mut self, at: Timestamp) -> &str {
        if self.at != at {
            *self = Self::of(at);
        }
        &self.text
    }

    /// The time stamp of a text, if it is one.
    pub(super) fn read(&mut self, text: &str) -> Option<Timestamp> {
        if self.text != text {
            *self = Self { at: text.parse().ok()?, text: text.to_owned() };
        }
        Some(self.at)
    }
}
