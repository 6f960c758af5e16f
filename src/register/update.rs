//! What a run makes of the entries of the register. Every user that may change is marked as unknown
//! before the first request; at the end each gets the entry that the outcome of the request calls
//! for. A run that was interrupted is brought in later in the same way, so doing it twice changes
//! nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;

use super::{Entry, Register, RegisteredFlag};
use crate::domain::{Flag, UserId};

/// Why a run may change a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestOrigin {
    /// A row of the table asks for it.
    Row,
    /// The user has left the table.
    Departure,
    /// The user's end date has passed.
    Expiry,
}

/// What a run wants for a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The user.
    pub user: UserId,
    /// The flag that is wanted.
    pub flag: Flag,
    /// Why.
    pub origin: RequestOrigin,
    /// The last day of the opt-out.
    pub until: Option<Date>,
    /// The user's name.
    pub name: String,
    /// Why the user is opted out.
    pub reason: String,
}

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestOutcome {
    /// The Org has confirmed the change, at this time.
    Confirmed(Timestamp),
    /// The change may have been made; the last request for it may have been sent at this time.
    InDoubt(Timestamp),
    /// The change was not made.
    NotMade,
    /// The change was not made, because the Org says that there is no such user.
    NoSuchUser,
}

/// The run that makes the requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFacts {
    /// The start time of the run.
    pub run: Arc<str>,
    /// The list that the run brings up to date, if it is one of `sync`.
    pub list: Option<String>,
}

impl RunFacts {
    /// Returns the lists of an entry after the run.
    fn lists_after(&self, former: Option<&Entry>, origin: RequestOrigin) -> Arc<BTreeSet<String>> {
        let mut lists = former
            .map(|entry| Arc::clone(&entry.lists))
            .unwrap_or_default();
        let Some(list) = &self.list else {
            return lists;
        };
        match origin {
            RequestOrigin::Row if !lists.contains(list) => {
                Arc::make_mut(&mut lists).insert(list.clone());
            }
            RequestOrigin::Departure if lists.contains(list) => {
                Arc::make_mut(&mut lists).remove(list);
            }
            RequestOrigin::Row | RequestOrigin::Departure | RequestOrigin::Expiry => {}
        }
        lists
    }

    /// Returns an entry whose flag is not known, as it has to be before a request is sent and where
    /// one is in doubt.
    #[must_use]
    pub fn unknown(&self, former: Option<&Entry>, request: &Request, at: Timestamp) -> Entry {
        // A departure in doubt stays on the list, so that it is a departure again next time.
        let lists = match request.origin {
            RequestOrigin::Row => self.lists_after(former, RequestOrigin::Row),
            RequestOrigin::Departure | RequestOrigin::Expiry => {
                former.map(|entry| entry.lists.clone()).unwrap_or_default()
            }
        };
        Entry {
            flag: RegisteredFlag::Unknown,
            since: at,
            confirmed_at: former.and_then(|entry| entry.confirmed_at),
            lists,
            ..self.described(former, request)
        }
    }

    /// Returns the entry after a request; `None` if there is none.
    #[must_use]
    pub fn settled(
        &self,
        former: Option<&Entry>,
        request: &Request,
        outcome: RequestOutcome,
    ) -> Option<Entry> {
        match outcome {
            RequestOutcome::Confirmed(at) => Some(self.confirmed(former, request, at)),
            RequestOutcome::InDoubt(at) => Some(self.unknown(former, request, at)),
            RequestOutcome::NoSuchUser if request.origin != RequestOrigin::Row => None,
            RequestOutcome::NotMade | RequestOutcome::NoSuchUser => {
                let former = former?;
                let is_as_wanted = former.flag.known() == Some(request.flag);
                if is_as_wanted && request.origin == RequestOrigin::Row && self.list.is_some() {
                    Some(self.kept(former, request))
                } else {
                    Some(former.clone())
                }
            }
        }
    }

    fn confirmed(&self, former: Option<&Entry>, request: &Request, at: Timestamp) -> Entry {
        let flag = RegisteredFlag::Known(request.flag);
        let same_before = former.filter(|entry| entry.flag == flag);
        let mut entry = Entry {
            flag,
            since: same_before.map_or(at, |entry| entry.since),
            confirmed_at: Some(at),
            lists: self.lists_after(former, request.origin),
            ..self.described(former, request)
        };
        if request.flag == Flag::OptIn {
            entry.until = None;
        }
        entry
    }

    /// Returns the entry of a user for whom nothing is sent because the register says what the row
    /// wants.
    #[must_use]
    pub fn kept(&self, former: &Entry, request: &Request) -> Entry {
        let mut entry = Entry {
            lists: self.lists_after(Some(former), RequestOrigin::Row),
            ..self.described(Some(former), request)
        };
        entry.run.clone_from(&former.run);
        if request.flag == Flag::OptIn {
            entry.until = None;
        }
        entry
    }

    /// Returns the former entry, or an empty one, with what the request says about the user.
    fn described(&self, former: Option<&Entry>, request: &Request) -> Entry {
        let mut entry = former.cloned().unwrap_or_else(|| Entry {
            flag: RegisteredFlag::Unknown,
            since: Timestamp::UNIX_EPOCH,
            confirmed_at: None,
            until: None,
            reason: Arc::default(),
            name: String::new(),
            lists: Arc::default(),
            run: Arc::clone(&self.run),
        });
        entry.run.clone_from(&self.run);
        if request.origin == RequestOrigin::Row {
            entry.until = request.until;
            if !request.name.is_empty() {
                entry.name.clone_from(&request.name);
            }
            if !request.reason.is_empty() {
                entry.reason = request.reason.as_str().into();
            }
        }
        entry
    }
}

impl Register {
    /// Brings in what needs no request: users stay as they are, join the list, or leave it.
    pub fn bring_in_unsent<'a>(
        &mut self,
        facts: &RunFacts,
        kept: impl IntoIterator<Item = &'a Request>,
        leaving: impl IntoIterator<Item = UserId>,
    ) {
        for request in kept {
            if let Some(former) = self.get(request.user) {
                let entry = facts.kept(former, request);
                self.set(request.user, Some(entry));
            }
        }
        for user in leaving {
            if let (Some(list), Some(entry)) = (&facts.list, self.entries.get_mut(&user)) {
                Arc::make_mut(&mut entry.lists).remove(list);
            }
        }
    }

    /// Marks every user for whom a request may be sent as unknown.
    pub fn mark<'a>(
        &mut self,
        facts: &RunFacts,
        requests: impl IntoIterator<Item = &'a Request>,
        at: Timestamp,
    ) {
        for request in requests {
            let entry = facts.unknown(self.get(request.user), request, at);
            self.set(request.user, Some(entry));
        }
    }

    /// Gives every user the entry that the outcome of the request calls for. `former` is the
    /// register as it was before the users were marked.
    ///
    /// Credentials that have changed nothing are not known to be the Org's, so the register keeps
    /// the former ones then.
    pub fn settle<'a>(
        &mut self,
        facts: &RunFacts,
        former: &Register,
        outcomes: impl IntoIterator<Item = (&'a Request, RequestOutcome)>,
    ) {
        let mut is_unchanged = true;
        for (request, outcome) in outcomes {
            is_unchanged &= matches!(outcome, RequestOutcome::NotMade);
            let entry = facts.settled(former.get(request.user), request, outcome);
            self.set(request.user, entry);
        }
        if is_unchanged {
            self.owner.access = former.owner.access.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn facts() -> RunFacts {
        RunFacts {
            run: "now".into(),
            list: Some("A".to_owned()),
        }
    }

    fn request(origin: RequestOrigin, flag: Flag) -> Request {
        Request {
            user: UserId::new(1).unwrap(),
            flag,
            origin,
            until: None,
            name: "Ada".to_owned(),
            reason: String::new(),
        }
    }

    fn former(flag: RegisteredFlag, lists: &[&str]) -> Entry {
        Entry {
            flag,
            since: at(10),
            confirmed_at: Some(at(10)),
            until: None,
            reason: "ticket 7".into(),
            name: "Ada Lovelace".to_owned(),
            lists: Arc::new(lists.iter().map(|list| (*list).to_owned()).collect()),
            run: "before".into(),
        }
    }

    const OPTED_OUT: RegisteredFlag = RegisteredFlag::Known(Flag::OptOut);

    #[test]
    fn a_confirmed_row_joins_the_list_and_keeps_what_it_does_not_say() {
        let row = request(RequestOrigin::Row, Flag::OptIn);
        let before = former(OPTED_OUT, &["B"]);
        let outcome = RequestOutcome::Confirmed(at(20));
        let entry = facts().settled(Some(&before), &row, outcome).unwrap();
        let expected = Entry {
            flag: RegisteredFlag::Known(Flag::OptIn),
            since: at(20),
            confirmed_at: Some(at(20)),
            name: "Ada".to_owned(),
            run: "now".into(),
            ..former(OPTED_OUT, &["A", "B"])
        };
        assert_eq!(entry, expected);
    }

    #[test]
    fn a_flag_that_is_confirmed_again_keeps_the_time_at_which_it_was_set() {
        let row = request(RequestOrigin::Row, Flag::OptOut);
        let before = former(OPTED_OUT, &["A"]);
        let outcome = RequestOutcome::Confirmed(at(20));
        let entry = facts().settled(Some(&before), &row, outcome).unwrap();
        assert_eq!((entry.since, entry.confirmed_at), (at(10), Some(at(20))));
    }

    #[test]
    fn what_was_not_changed_gets_its_former_entry_back() {
        for (origin, flag) in [
            (RequestOrigin::Row, Flag::OptIn),
            (RequestOrigin::Departure, Flag::OptIn),
            (RequestOrigin::Expiry, Flag::OptIn),
        ] {
            let request = request(origin, flag);
            let before = former(OPTED_OUT, &["A"]);
            let outcome = RequestOutcome::NotMade;
            let entry = facts().settled(Some(&before), &request, outcome);
            assert_eq!(entry, Some(before));
            assert_eq!(facts().settled(None, &request, outcome), None);
        }
    }

    #[test]
    fn a_departure_leaves_the_list_once_it_is_confirmed_or_the_user_is_gone() {
        let departure = request(RequestOrigin::Departure, Flag::OptIn);
        let before = former(OPTED_OUT, &["A"]);
        let settled = |outcome| facts().settled(Some(&before), &departure, outcome);
        let confirmed = settled(RequestOutcome::Confirmed(at(20))).unwrap();
        assert!(confirmed.lists.is_empty());
        assert_eq!(confirmed.flag, RegisteredFlag::Known(Flag::OptIn));
        assert_eq!(confirmed.name, "Ada Lovelace");
        let in_doubt = settled(RequestOutcome::InDoubt(at(20))).unwrap();
        assert_eq!(in_doubt.flag, RegisteredFlag::Unknown);
        assert!(in_doubt.lists.contains("A"));
        assert_eq!(settled(RequestOutcome::NoSuchUser), None);
    }

    #[test]
    fn a_row_of_a_user_that_the_org_does_not_know_gets_its_former_entry_back() {
        let row = request(RequestOrigin::Row, Flag::OptIn);
        let before = former(OPTED_OUT, &["A"]);
        let outcome = RequestOutcome::NoSuchUser;
        let entry = facts().settled(Some(&before), &row, outcome);
        assert_eq!(entry, Some(before));
    }

    #[test]
    fn a_run_without_a_list_leaves_the_lists_as_they_are() {
        let facts = RunFacts {
            list: None,
            ..facts()
        };
        let row = request(RequestOrigin::Row, Flag::OptIn);
        let before = former(OPTED_OUT, &["B"]);
        let outcome = RequestOutcome::Confirmed(at(20));
        let entry = facts.settled(Some(&before), &row, outcome).unwrap();
        assert_eq!(entry.lists, before.lists);
        let new = facts.settled(None, &row, outcome).unwrap();
        assert!(new.lists.is_empty());
    }
}
