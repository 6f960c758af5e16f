//! The list of exceptions: everybody who is opted out according to the register, or may be.

use jiff::ToSpan;
use jiff::civil::Date;

use super::{Entry, Register};
use crate::domain::UserId;

/// Number of days within which an exception ends soon.
pub const SOON_DAYS: i32 = 7;

/// One user who is opted out or may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception<'a> {
    /// The user.
    pub user: UserId,
    /// What the register says.
    pub entry: &'a Entry,
}

/// Number of exceptions in a register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExceptionCounts {
    /// Users who are opted out or may be.
    pub total: u64,
    /// Those without an end date.
    pub without_end: u64,
    /// Those whose end date is today or within [`SOON_DAYS`].
    pub ending_soon: u64,
}

impl Exception<'_> {
    /// Checks whether the last day of the opt-out is today or within this many days. A day in the
    /// past counts as well: the user is still opted out.
    #[must_use]
    pub fn ends_within(&self, days: i32, today: Date) -> bool {
        let Some(until) = self.entry.until else {
            return false;
        };
        match today.checked_add(days.days()) {
            Ok(last) => until <= last,
            Err(_) => true,
        }
    }
}

impl Register {
    /// Returns those who are opted out or may be and whom `is_wanted` selects. Those whose end date
    /// is nearest come first and those without one last.
    #[must_use]
    pub fn exceptions(&self, is_wanted: impl Fn(&Exception<'_>) -> bool) -> Vec<Exception<'_>> {
        let mut exceptions: Vec<Exception<'_>> =
            self.unsorted_exceptions().filter(is_wanted).collect();
        exceptions.sort_by_key(|exception| {
            let until = exception.entry.until;
            (until.is_none(), until, exception.user)
        });
        exceptions
    }

    fn unsorted_exceptions(&self) -> impl Iterator<Item = Exception<'_>> {
        self.entries
            .iter()
            .filter(|(_, entry)| entry.flag.may_be_opted_out())
            .map(|(user, entry)| Exception { user: *user, entry })
    }

    /// Counts the exceptions.
    #[must_use]
    pub fn count_exceptions(&self, today: Date) -> ExceptionCounts {
        let mut counts = ExceptionCounts::default();
        for exception in self.unsorted_exceptions() {
            counts.total += 1;
            if exception.entry.until.is_none() {
                counts.without_end += 1;
            }
            if exception.ends_within(SOON_DAYS, today) {
                counts.ending_soon += 1;
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::register::comparison::tests::register;

    const TODAY: Date = jiff::civil::date(2026, 11, 28);

    #[test]
    fn exceptions_are_sorted_by_end_date_without_those_opted_in() {
        let in_a_week = TODAY.checked_add(7.days()).unwrap();
        let in_eight_days = TODAY.checked_add(8.days()).unwrap();
        let register = register(&[
            ("true", &[], None),
            ("unknown", &[], Some(in_eight_days)),
            ("false", &[], Some(TODAY)),
            ("true", &[], Some(in_a_week)),
            ("true", &[], TODAY.yesterday().ok()),
        ]);
        let exceptions = register.exceptions(|_| true);
        let ids: Vec<u64> = exceptions.iter().map(|one| one.user.get()).collect();
        assert_eq!(ids, [5, 4, 2, 1]);
        let expected = ExceptionCounts {
            total: 4,
            without_end: 1,
            ending_soon: 2,
        };
        assert_eq!(register.count_exceptions(TODAY), expected);
    }
}
