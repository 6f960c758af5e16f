//! One entry of the register: what is known about one user.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;

use crate::domain::Flag;

/// What the register says about a user's flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisteredFlag {
    /// The Org has confirmed this flag, and nothing was sent for the user since.
    Known(Flag),
    /// A request was sent or may have been sent, and its outcome is not known.
    Unknown,
}

impl RegisteredFlag {
    /// Returns the flag if it is known.
    #[must_use]
    pub fn known(self) -> Option<Flag> {
        match self {
            Self::Known(flag) => Some(flag),
            Self::Unknown => None,
        }
    }

    /// Checks whether the user is opted out or may be.
    #[must_use]
    pub fn may_be_opted_out(self) -> bool {
        self != Self::Known(Flag::OptIn)
    }

    /// Returns the word in the register.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Known(flag) => flag.as_str(),
            Self::Unknown => "unknown",
        }
    }

    /// Returns what a word of the register stands for.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "unknown" => Some(Self::Unknown),
            _ => Flag::from_word(word).map(Self::Known),
        }
    }
}

impl fmt::Display for RegisteredFlag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What is known about one user. Most entries of a register have the same reason, lists and run,
/// which they share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The user's flag.
    pub flag: RegisteredFlag,
    /// When the flag became what it is here. For an unknown flag, the last time at which a request
    /// may have been sent.
    pub since: Timestamp,
    /// When the Org last confirmed a change for this user.
    pub confirmed_at: Option<Timestamp>,
    /// The last day of the opt-out.
    pub until: Option<Date>,
    /// Why the user is opted out.
    pub reason: Arc<str>,
    /// The user's name.
    pub name: String,
    /// The lists of exceptions that the user belongs to.
    pub lists: Arc<BTreeSet<String>>,
    /// The start time of the run that changed the entry last.
    pub run: Arc<str>,
}

impl Entry {
    /// Checks whether the opt-out has ended before this day.
    #[must_use]
    pub fn has_expired(&self, today: Date) -> bool {
        self.until.is_some_and(|until| until < today)
    }

    /// Checks whether a row of a list would change nothing but the flag in the entry. An empty name
    /// or reason changes nothing.
    #[must_use]
    pub fn is_up_to_date(&self, list: &str, until: Option<Date>, name: &str, reason: &str) -> bool {
        self.until == until
            && (name.is_empty() || name == self.name)
            && (reason.is_empty() || reason == &*self.reason)
            && self.lists.contains(list)
    }

    /// Checks whether the user belongs to another list than this one.
    #[must_use]
    pub fn is_on_another_list(&self, list: &str) -> bool {
        self.lists.iter().any(|other| other != list)
    }
}
