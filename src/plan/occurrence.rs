//! Remembers which users have been requested with which flag, and tells whether a row is new,
//! repeats another or contradicts it. Everything here is pure. The memory is laid out for IDs that
//! lie close together, as an Org counts them.

use std::collections::BTreeMap;

use crate::domain::{Flag, UserId};

/// How a row relates to the rows before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occurrence {
    /// No row before it has the same user.
    First,
    /// A row before it has the same user and flag.
    Again,
    /// A row before it has the same user and the other flag.
    Contradiction,
}

/// The requested users, in pages of 32,768 IDs with two bits for each, one for either flag.
#[derive(Default)]
pub(super) struct OccurrenceMap {
    /// The index in `pages` plus 1 for each of the lower pages; 0 for a page without users.
    near: Vec<u32>,
    /// The index in `pages` plus 1 for each of the other pages.
    far: BTreeMap<u64, u32>,
    pages: Vec<Page>,
}

/// IDs below 2^35 have their page looked up in a list, which then takes 4 MiB at most.
const NEAR: u64 = 1 << 20;

/// Number of entries above which a page is kept as bits; that takes at most eight bytes for each
/// ID.
const FEW: usize = 1024;

enum Page {
    /// The entries in ascending order.
    Few(Vec<u16>),
    /// One bit for each possible entry.
    Many(Box<[u64; 1024]>),
}

impl OccurrenceMap {
    /// Notes a row and returns how it relates to the rows before it.
    pub(super) fn note(&mut self, user: UserId, flag: Flag) -> Occurrence {
        let key = user.get() << 1 | u64::from(flag.is_opt_out());
        let place = self.place(key >> 16);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the page is named by the other bits"
        )]
        self.pages[place].note(key as u16)
    }

    fn place(&mut self, page: u64) -> usize {
        let entry = match usize::try_from(page) {
            Ok(near) if page < NEAR => {
                if near >= self.near.len() {
                    self.near.resize(near + 1, 0);
                }
                &mut self.near[near]
            }
            _ => self.far.entry(page).or_default(),
        };
        if *entry == 0 {
            self.pages.push(Page::Few(Vec::new()));
            *entry = u32::try_from(self.pages.len()).unwrap_or(u32::MAX);
        }
        *entry as usize - 1
    }
}

impl Page {
    fn note(&mut self, key: u16) -> Occurrence {
        match self {
            Self::Few(keys) if keys.len() < FEW => note_few(keys, key),
            Self::Few(keys) => {
                let mut bits = Box::new([0; 1024]);
                for key in keys {
                    bits[usize::from(*key >> 6)] |= 1 << (*key & 0b11_1111);
                }
                *self = Self::Many(bits);
                self.note(key)
            }
            Self::Many(bits) => note_many(&mut bits[usize::from(key >> 6)], key),
        }
    }
}

fn note_few(keys: &mut Vec<u16>, key: u16) -> Occurrence {
    let opposite = keys.binary_search(&(key ^ 1)).is_ok();
    let occurrence = match keys.binary_search(&key) {
        Ok(_) => Occurrence::Again,
        Err(place) => {
            keys.insert(place, key);
            Occurrence::First
        }
    };
    if opposite {
        Occurrence::Contradiction
    } else {
        occurrence
    }
}

fn note_many(word: &mut u64, key: u16) -> Occurrence {
    let before = *word >> (key & 0b11_1110) & 0b11;
    *word |= 1 << (key & 0b11_1111);
    match (before, before >> (key & 1) & 1) {
        (0, _) => Occurrence::First,
        (0b01 | 0b10, 1) => Occurrence::Again,
        _ => Occurrence::Contradiction,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Returns the same by plain sets.
    fn expected(seen: &mut BTreeSet<(u64, bool)>, user: u64, opt_out: bool) -> Occurrence {
        let first = seen.insert((user, opt_out));
        match (seen.contains(&(user, !opt_out)), first) {
            (true, _) => Occurrence::Contradiction,
            (false, true) => Occurrence::First,
            (false, false) => Occurrence::Again,
        }
    }

    proptest! {
        #[test]
        fn occurrences_are_those_of_plain_sets(
            asks in prop::collection::vec((prop_oneof![1..20_u64, 1..40_000_u64, 1..=UserId::MAX], any::<bool>()), 0..3000),
        ) {
            let mut asked = OccurrenceMap::default();
            let mut seen = BTreeSet::new();
            for (user, opt_out) in asks {
                let got = asked.note(UserId::new(user).unwrap(), Flag::from_opt_out(opt_out));
                prop_assert_eq!(got, expected(&mut seen, user, opt_out), "user {}", user);
            }
        }
    }

    #[test]
    fn a_page_that_fills_up_keeps_every_user() {
        let mut asked = OccurrenceMap::default();
        let mut seen = BTreeSet::new();
        for round in 0..3_u64 {
            for user in (1..5000).rev() {
                let opt_out = round == 2 || user % 2 == 0;
                let got = asked.note(UserId::new(user).unwrap(), Flag::from_opt_out(opt_out));
                assert_eq!(
                    got,
                    expected(&mut seen, user, opt_out),
                    "user {user} in round {round}"
                );
            }
        }
    }
}
