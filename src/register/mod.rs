//! The register: what this tool last confirmed for each user of an Org.
//!
//! It is the memory with which [`sync`](comparison) sends differences only and opts people back in
//! who have left a table. It is not the Org's state, for changes that were made by hand are not in
//! it. A [`Register`] is a plain value that is parsed from a CSV file and formatted as one.
//! [`comparison`] holds a table against it, and [`update`] says what the outcome of a request makes
//! of an entry; both are pure. [`RegisterFile`] reads and replaces the file under a lock.

pub mod comparison;
mod entry;
mod exceptions;
mod file;
mod format;
pub mod update;

use std::collections::BTreeMap;

use secrecy::SecretString;

pub use self::entry::{Entry, RegisteredFlag};
pub use self::exceptions::{Exception, SOON_DAYS};
pub use self::file::{LockState, RegisterFile, RegisterLock};
pub use self::format::kept_text;
use crate::domain::{Credentials, UserId};
use crate::journal::Access;

/// The Org that a register belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The Org's address.
    pub address: String,
    /// The credentials with which the Org was last used.
    pub access: Access,
}

impl Owner {
    /// Returns in words how the Org that is used now differs from this one; `None` if both are the
    /// same.
    ///
    /// With `new_key`, another API key counts as a new one of the same Org, and so does a change
    /// between key and session.
    #[must_use]
    pub fn difference(
        &self,
        address: &str,
        credentials: &Credentials<SecretString>,
        new_key: bool,
    ) -> Option<String> {
        if self.address != address {
            return Some(format!(
                "the address: it was {}, now it is {address}",
                self.address
            ));
        }
        self.access.difference(credentials, new_key)
    }
}

/// What is known about the users of one Org.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Register {
    /// The Org.
    pub owner: Owner,
    /// One entry for each user whom this tool has changed or may have changed.
    pub entries: BTreeMap<UserId, Entry>,
}

impl Register {
    /// Returns a register without entries.
    #[must_use]
    pub fn new(owner: Owner) -> Self {
        Self {
            owner,
            entries: BTreeMap::new(),
        }
    }

    /// Returns the entry of a user.
    #[must_use]
    pub fn get(&self, user: UserId) -> Option<&Entry> {
        self.entries.get(&user)
    }

    /// Sets the entry of a user, or removes it.
    pub fn set(&mut self, user: UserId, entry: Option<Entry>) {
        match entry {
            Some(entry) => self.entries.insert(user, entry),
            None => self.entries.remove(&user),
        };
    }
}
