//! Who has been asked for already, and with which flag. Pure; made for IDs that lie close together, as an Org counts
//! them, and to find in one look whether a row is new, repeats another, or contradicts it.

use std::collections::BTreeMap;

use crate::domain::{Flag, UserId};

/// What an ID and its flag are to those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meeting {
    /// Nobody has asked for this user.
    First,
    /// Somebody has asked for the same.
    Again,
    /// Somebody has asked for the opposite.
    Contradiction,
}

/// The users asked for, in pages of 32,768 IDs with two bits for each, one for either flag.
#[derive(Default)]
pub(super) struct Asked {
    /// For each of the lower pages its place in `pages` and one more; 0 where nobody is on it.
    near: Vec<u32>,
    /// The same for all others.
    far: BTreeMap<u64, u32>,
    pages: Vec<Page>,
}

/// IDs below 2^35 have their page looked up in a list, which then takes 4 MiB at most.
const NEAR: u64 = 1 << 20;

/// Above so many a page is kept as bits; at worst that is eight bytes for each ID.
const FEW: usize = 1024;

enum Page {
    /// In order.
    Few(Vec<u16>),
    Many(Box<[u64; 1024]>),
}

impl Asked {
    /// Notes that somebody asks for this.
    pub(super) fn note(&mut self, user: UserId, flag: Flag) -> Meeting {
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
    fn note(&mut self, key: u16) -> Meeting {
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

fn note_few(keys: &mut Vec<u16>, key: u16) -> Meeting {
    let opposite = keys.binary_search(&(key ^ 1)).is_ok();
    let meeting = match keys.binary_search(&key) {
        Ok(_) => Meeting::Again,
        Err(place) => {
            keys.insert(place, key);
            Meeting::First
        }
    };
    if opposite {
        Meeting::Contradiction
    } else {
        meeting
    }
}

fn note_many(word: &mut u64, key: u16) -> Meeting {
    let before = *word >> (key & 0b11_1110) & 0b11;
    *word |= 1 << (key & 0b11_1111);
    match (before, before >> (key & 1) & 1) {
        (0, _) => Meeting::First,
        (0b01 | 0b10, 1) => Meeting::Again,
        _ => Meeting::Contradiction,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// The same by plain sets.
    fn expected(seen: &mut BTreeSet<(u64, bool)>, user: u64, opt_out: bool) -> Meeting {
        let first = seen.insert((user, opt_out));
        match (seen.contains(&(user, !opt_out)), first) {
            (true, _) => Meeting::Contradiction,
            (false, true) => Meeting::First,
            (false, false) => Meeting::Again,
        }
    }

    proptest! {
        #[test]
        fn it_says_what_plain_sets_say(
            asks in prop::collection::vec((prop_oneof![1..20_u64, 1..40_000_u64, 1..=UserId::MAX], any::<bool>()), 0..3000),
        ) {
            let (mut asked, mut seen) = (Asked::default(), BTreeSet::new());
            for (user, opt_out) in asks {
                let got = asked.note(UserId::new(user).unwrap(), Flag::from_opt_out(opt_out));
                prop_assert_eq!(got, expected(&mut seen, user, opt_out), "user {}", user);
            }
        }
    }

    #[test]
    fn a_page_that_fills_up_forgets_nobody() {
        let (mut asked, mut seen) = (Asked::default(), BTreeSet::new());
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
