//! The records of the journal that are not about the outcomes of rows: who started a run and why,
//! what happened during it, and how it ended. Plain data that becomes JSON. No I/O.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::domain::{Credentials, RowNumber};
use crate::journal::identity::Identity;

/// The version of the format of the journal, the report and the run's JSON record. Files of another
/// version are refused.
pub const FORMAT: u32 = 2;

/// What is stored of credentials: enough to recognise them, not enough to use them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Access {
    /// An API key.
    ApiKey {
        /// Key of the digest, random in each run, hexadecimal.
        salt: String,
        /// BLAKE3 of the API key, keyed with the salt, hexadecimal.
        digest: String,
    },
    /// A log-in.
    Session {
        /// The Org's number.
        org: u64,
        /// E-mail address of the account that logged in.
        email: String,
    },
}

impl Access {
    /// Returns what is stored of credentials.
    #[must_use]
    pub fn of(credentials: &Credentials<SecretString>) -> Self {
        match credentials {
            Credentials::Key(key) => {
                let salt = random_salt();
                Self::ApiKey {
                    salt: salt.to_string(),
                    digest: digest(&salt, key),
                }
            }
            Credentials::Session { org, email, .. } => Self::Session {
                org: *org,
                email: email.clone(),
            },
        }
    }

    /// Returns in words how these credentials differ from those of now, or `None` if both are of
    /// the same Org.
    ///
    /// With `new_key`, the user has declared that another API key belongs to the same Org. That
    /// does not count for two Orgs with different numbers.
    #[must_use]
    pub fn difference(&self, now: &Credentials<SecretString>, new_key: bool) -> Option<String> {
        let difference = match (self, now) {
            (Self::Session { org, .. }, Credentials::Session { org: other, .. }) => {
                if org == other {
                    return None;
                }
                return Some(format!("the Org: it was {org}, now it is {other}"));
            }
            (Self::ApiKey { salt, digest: kept }, Credentials::Key(key)) => {
                if blake3::Hash::from_hex(salt).is_ok_and(|salt| digest(&salt, key) == *kept) {
                    return None;
                }
                "the API key: it was another one (if both are of the same Org, add --new-key)"
            }
            (Self::ApiKey { .. }, Credentials::Session { .. }) => {
                "the authentication: it was an API key, now it is a log-in (if both are of the \
                 same Org, add --new-key)"
            }
            (Self::Session { .. }, Credentials::Key(_)) => {
                "the authentication: it was a log-in, now it is an API key (if both are of the \
                 same Org, add --new-key)"
            }
        };
        if new_key {
            None
        } else {
            Some(difference.to_owned())
        }
    }

    /// Returns the kind of the credentials in words.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::ApiKey { .. } => "API key".to_owned(),
            Self::Session { org, email } => format!("{email}, Org {org}"),
        }
    }
}

fn digest(salt: &blake3::Hash, key: &SecretString) -> String {
    blake3::keyed_hash(salt.as_bytes(), key.expose_secret().as_bytes()).to_string()
}

/// Returns a new random salt, so that equal keys do not look equal in two journals. `RandomState`
/// gets its keys from the system's generator.
fn random_salt() -> blake3::Hash {
    let state = RandomState::new();
    let words: Vec<u8> = (0..4u8)
        .flat_map(|n| state.hash_one(n).to_ne_bytes())
        .collect();
    blake3::hash(&words)
}

/// The circumstances of a run. They are recorded and never compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// Account that started it.
    pub user: String,
    /// Name of the machine.
    pub host: String,
    /// Version of the tool.
    pub version: String,
    /// Text of `--reason`.
    pub reason: Option<String>,
    /// How the plan was confirmed, such as `typed the number` or `--yes`.
    pub confirmation: String,
    /// Every option that was in effect, by the name of its flag, with its text as it was given.
    /// Never a secret.
    pub options: BTreeMap<String, String>,
}

/// What is known before a run starts.
#[derive(Clone, Debug)]
pub struct Start {
    /// Facts that tell it from other runs.
    pub identity: Identity,
    /// Number of rows of the input.
    pub rows: u64,
    /// What the requests are authenticated with.
    pub credentials: Credentials<SecretString>,
    /// Who starts it and why.
    pub who: Provenance,
    /// Number of the process.
    pub pid: u32,
    /// Time of the start.
    pub at: Timestamp,
}

/// The record with which a process begins or continues a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// [`FORMAT`] of the tool that wrote it.
    pub format: u32,
    /// Time of the start.
    pub at: Timestamp,
    /// Number of the process.
    pub pid: u32,
    /// Number of rows of the input.
    pub rows: u64,
    /// Facts that tell it from other runs.
    pub identity: Identity,
    /// What the requests were authenticated with.
    pub access: Access,
    /// Whether `--new-key` was given.
    pub new_key: bool,
    /// Who started it and why.
    pub who: Provenance,
}

impl Run {
    /// Returns the record of this start.
    #[must_use]
    pub fn of(start: &Start, new_key: bool) -> Self {
        Self {
            format: FORMAT,
            at: start.at,
            pid: start.pid,
            rows: start.rows,
            identity: start.identity.clone(),
            access: Access::of(&start.credentials),
            new_key,
            who: start.who.clone(),
        }
    }

    /// Returns in words how a run that starts now differs from this one; empty if it is the same
    /// run.
    #[must_use]
    pub fn differences(&self, start: &Start, new_key: bool) -> Vec<String> {
        let mut found = self.identity.differences(&start.identity);
        found.extend(self.access.difference(&start.credentials, new_key));
        found
    }
}

/// An event that is not about the outcome of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Note {
    /// The Org asked for a pause.
    Throttled {
        /// Length of the pause in milliseconds.
        for_ms: u64,
    },
    /// The Org stopped answering.
    OutageBegan,
    /// The Org answered again.
    OutageOver {
        /// Length of the outage in milliseconds.
        lasted_ms: u64,
    },
    /// A token was issued.
    LoggedIn,
    /// A row failed before any change was confirmed. The next process sends it last.
    Deferred {
        /// The row.
        row: RowNumber,
    },
    /// Requests were sent, including log-ins and probes.
    Requests {
        /// Second of the wall clock in which they were sent, since the Unix epoch.
        second: i64,
        /// Number of requests.
        count: u64,
    },
}

/// A note with its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    /// Time of the note.
    pub at: Timestamp,
    /// The event.
    #[serde(flatten)]
    pub note: Note,
}

/// The record with which a process ends, unless it is killed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stop {
    /// Time of the end.
    pub at: Timestamp,
    /// What this process has sent.
    pub traffic: Traffic,
    /// How the sending ended, in words.
    pub ending: String,
    /// Exit code of the process.
    pub exit_code: u8,
    /// Rows without an outcome whose change this process may have made: requests for them were in
    /// flight at the end, or an earlier request may have made it.
    pub in_doubt: Vec<RowNumber>,
    /// Whether the run was closed: rows without an outcome were given one without being sent.
    #[serde(default)]
    pub closed: bool,
}

impl Stop {
    /// Returns the stop record of a run that is closed.
    #[must_use]
    pub fn of_closed(at: Timestamp) -> Self {
        Self {
            at,
            traffic: Traffic::default(),
            ending: "Closed: nothing more was sent.".to_owned(),
            exit_code: 0,
            in_doubt: Vec::new(),
            closed: true,
        }
    }
}

/// The record that allows rows to be sent. No other row is sent before a later mark is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Time of the mark.
    pub at: Timestamp,
    /// Last row that may be sent, not counting rows that were deferred when this process began.
    pub row: RowNumber,
    /// Whether rows that were deferred when this process began may be sent as well.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deferred: bool,
}

/// Counts of what was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// Number of requests, including log-ins and probes.
    pub requests: u64,
    /// Number of requests that repeated an earlier one.
    pub retries: u64,
    /// Number of log-ins among the requests.
    pub log_ins: u64,
    /// Time in milliseconds for which the Org held back all requests.
    pub throttled_ms: u64,
    /// Rate at the end in requests a second, if there is one.
    pub rate_per_second: Option<f64>,
}

impl Traffic {
    /// Returns the time for which the Org held back all requests.
    #[must_use]
    pub fn throttled(&self) -> Duration {
        Duration::from_millis(self.throttled_ms)
    }

    /// Returns the sum of both, with the later rate.
    #[must_use]
    pub(crate) fn plus(self, later: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(later.requests),
            retries: self.retries.saturating_add(later.retries),
            log_ins: self.log_ins.saturating_add(later.log_ins),
            throttled_ms: self.throttled_ms.saturating_add(later.throttled_ms),
            rate_per_second: later.rate_per_second.or(self.rate_per_second),
        }
    }
}
