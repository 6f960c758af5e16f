//! Holds a table against the register: what has to be sent for a row, who has left the table, whose
//! opt-out has expired.

use jiff::Timestamp;
use jiff::civil::Date;
use roaring::RoaringTreemap;

use super::Register;
use crate::domain::{Flag, Threshold, UserId};
use crate::error::{Error, Kind, Result};

/// Share of a list's entries that may be missing from its table at once, in percent, if no limit is
/// given.
const DEFAULT_MISSING_PERCENT: u64 = 20;
/// Number of entries that may be missing in any case, if no limit is given and that is no more than
/// half of the list.
const DEFAULT_MISSING_AT_LEAST: u64 = 5;

/// The rules of one comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncRules {
    /// The name of the list that the table is.
    pub list: String,
    /// Whether every row is sent, including those that the register has already.
    pub full: bool,
    /// The day on which the run takes place.
    pub today: Date,
}

/// What is to be done about a row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowAction {
    /// It is sent.
    Send,
    /// Nothing is sent: the register says the same. The entry joins the list.
    Keep,
    /// Nothing is sent: the row's end date has passed, but the user belongs to another list. The
    /// entry leaves this list.
    LeaveList,
}

/// The users in the register who are not in the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Absent {
    /// They have left the table and belong to no other list: they are opted back in.
    pub departures: Vec<UserId>,
    /// They belong to no list and their end date has passed: they are opted back in.
    pub expiries: Vec<UserId>,
    /// They belong to other lists as well or are opted in: their entry leaves this list, and
    /// nothing is sent.
    pub leaving: Vec<UserId>,
    /// Number of users of this list who are opted out or may be.
    pub list_size: u64,
    /// Number of those who have left the table before their end date.
    pub missing: u64,
}

impl Register {
    /// Returns what is to be done about a row that wants `flag` for `user`. `has_lapsed` says that
    /// the row wants an opt-in only because its end date has passed.
    #[must_use]
    pub fn action_for(
        &self,
        user: UserId,
        flag: Flag,
        has_lapsed: bool,
        rules: &SyncRules,
    ) -> RowAction {
        let Some(entry) = self.get(user) else {
            return RowAction::Send;
        };
        let needed_elsewhere =
            entry.flag.may_be_opted_out() && entry.is_on_another_list(&rules.list);
        if has_lapsed && needed_elsewhere {
            RowAction::LeaveList
        } else if entry.flag.known() == Some(flag) && !rules.full {
            RowAction::Keep
        } else {
            RowAction::Send
        }
    }

    /// Returns the users whose entry has to change because they are not `in_table`.
    #[must_use]
    pub fn absent(&self, in_table: &RoaringTreemap, rules: &SyncRules) -> Absent {
        let mut absent = Absent::default();
        for (user, entry) in &self.entries {
            let is_on_list = entry.lists.contains(&rules.list);
            let may_be_opted_out = entry.flag.may_be_opted_out();
            if is_on_list && may_be_opted_out {
                absent.list_size += 1;
            }
            if in_table.contains(user.get()) {
                continue;
            }
            let has_expired = entry.has_expired(rules.today);
            if is_on_list && may_be_opted_out && !has_expired {
                absent.missing += 1;
            }
            let needed_elsewhere = may_be_opted_out && entry.is_on_another_list(&rules.list);
            if is_on_list && (needed_elsewhere || !may_be_opted_out) {
                absent.leaving.push(*user);
            } else if is_on_list {
                absent.departures.push(*user);
            } else if entry.lists.is_empty() && may_be_opted_out && has_expired {
                absent.expiries.push(*user);
            }
        }
        absent
    }

    /// Checks whether the register confirms the user's flag after this time.
    #[must_use]
    pub fn confirms_later(&self, user: UserId, time: Timestamp) -> bool {
        self.get(user).is_some_and(|entry| {
            entry.flag.known().is_some() && entry.confirmed_at.is_some_and(|at| at > time)
        })
    }
}

impl Absent {
    /// Checks that no more people are missing from the table than `limit` allows; `None` stands for
    /// the default.
    ///
    /// # Errors
    /// Of [`Kind::Refused`] if there are more.
    pub fn check_missing(&self, limit: Option<Threshold>) -> Result<()> {
        let allowed = missing_allowance(limit, self.list_size);
        if self.missing <= allowed {
            return Ok(());
        }
        let message = format!(
            "{} of the {} people on this list are missing from the table, and --max-missing allows \
             {allowed}",
            self.missing, self.list_size
        );
        Err(Error::new(Kind::Refused, message).help(
            "check whether the table is complete; if it is, raise --max-missing for this run",
        ))
    }
}

/// Returns how many of `list_size` users may be missing at once.
#[must_use]
pub fn missing_allowance(limit: Option<Threshold>, list_size: u64) -> u64 {
    match limit {
        None => {
            let share = list_size.saturating_mul(DEFAULT_MISSING_PERCENT) / 100;
            share.max(DEFAULT_MISSING_AT_LEAST).min(list_size / 2)
        }
        Some(limit) => limit.allowance(list_size),
    }
}

#[cfg(test)]
pub(in crate::register) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::journal::Access;
    use crate::register::{Entry, Owner, RegisteredFlag};

    const TODAY: Date = jiff::civil::date(2026, 11, 28);

    fn user(id: u64) -> UserId {
        UserId::new(id).unwrap()
    }

    fn rules(list: &str) -> SyncRules {
        SyncRules {
            list: list.to_owned(),
            full: false,
            today: TODAY,
        }
    }

    /// Returns a register with these flags, lists and end dates. User IDs count from 1.
    pub(in crate::register) fn register(entries: &[(&str, &[&str], Option<Date>)]) -> Register {
        let access = Access::Session {
            org: 1,
            email: String::new(),
        };
        let owner = Owner {
            address: "address".to_owned(),
            access,
        };
        let mut register = Register::new(owner);
        for ((flag, lists, until), id) in entries.iter().zip(1..) {
            let entry = Entry {
                flag: RegisteredFlag::from_word(flag).unwrap(),
                since: Timestamp::UNIX_EPOCH,
                confirmed_at: None,
                until: *until,
                reason: "".into(),
                name: String::new(),
                lists: Arc::new(lists.iter().map(|list| (*list).to_owned()).collect()),
                run: "".into(),
            };
            register.set(user(id), Some(entry));
        }
        register
    }

    #[test]
    fn only_rows_that_the_register_does_not_confirm_are_sent() {
        let register = register(&[
            ("true", &["A"], None),
            ("false", &["A"], None),
            ("unknown", &["A"], None),
        ]);
        let mut rules = rules("A");
        let expected = [
            (1, Flag::OptOut, RowAction::Keep),
            (1, Flag::OptIn, RowAction::Send),
            (2, Flag::OptIn, RowAction::Keep),
            (2, Flag::OptOut, RowAction::Send),
            (3, Flag::OptOut, RowAction::Send),
            (3, Flag::OptIn, RowAction::Send),
            (4, Flag::OptOut, RowAction::Send),
        ];
        for (id, flag, action) in expected {
            assert_eq!(register.action_for(user(id), flag, false, &rules), action);
        }
        rules.full = true;
        for (id, flag, _) in expected {
            let action = register.action_for(user(id), flag, false, &rules);
            assert_eq!(action, RowAction::Send);
        }
    }

    #[test]
    fn a_row_that_has_lapsed_does_not_undo_what_another_list_wants() {
        let register = register(&[("true", &["A", "B"], None), ("true", &["A"], None)]);
        let action = |id| register.action_for(user(id), Flag::OptIn, true, &rules("A"));
        assert_eq!(action(1), RowAction::LeaveList);
        assert_eq!(action(2), RowAction::Send);
    }

    #[test]
    fn departures_are_told_from_those_who_stay_for_another_reason() {
        let yesterday = TODAY.yesterday().ok();
        let register = register(&[
            ("true", &["A"], None),
            ("unknown", &["A"], None),
            ("true", &["A", "B"], None),
            ("false", &["A"], None),
            ("true", &["B"], None),
            ("true", &[], None),
            ("true", &[], yesterday),
            ("true", &[], Some(TODAY)),
            ("unknown", &[], yesterday),
            ("true", &["A"], yesterday),
            ("true", &["A"], None),
        ]);
        let in_table = RoaringTreemap::from_iter([11]);
        let absent = register.absent(&in_table, &rules("A"));
        assert_eq!(absent.departures, [1, 2, 10].map(user));
        assert_eq!(absent.leaving, [3, 4].map(user));
        assert_eq!(absent.expiries, [7, 9].map(user));
        assert_eq!((absent.list_size, absent.missing), (5, 3));
    }

    #[test]
    fn a_fifth_of_a_list_may_be_missing_at_least_five_and_never_more_than_half() {
        let cases = [
            (0, 0),
            (1, 0),
            (2, 1),
            (4, 2),
            (9, 4),
            (10, 5),
            (29, 5),
            (30, 6),
            (100, 20),
        ];
        for (size, allowed) in cases {
            assert_eq!(missing_allowance(None, size), allowed, "of {size}");
        }
        assert_eq!(missing_allowance(Some(Threshold::Count(3)), 100), 3);
        assert_eq!(missing_allowance(Some(Threshold::Percent(60.0)), 100), 60);
        let absent = Absent {
            list_size: 100,
            missing: 60,
            ..Absent::default()
        };
        let error = absent.check_missing(None).unwrap_err();
        assert_eq!(error.kind(), Kind::Refused);
        assert!(error.message().contains("60 of the 100"), "{error}");
        absent
            .check_missing(Some(Threshold::Percent(60.0)))
            .unwrap();
        assert!(absent.check_missing(Some(Threshold::Count(59))).is_err());
    }
}
