//! What the journal keeps besides rows: who started a run and why, what happened on the way, how it ended. Plain data
//! that becomes JSON. Which run it is stands in `identity`. No files.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::domain::{Credentials, RowNumber};
use crate::report::identity::Identity;

/// The format of the journal, of the report and of the run's record as JSON. Files of another format were written by
/// another version of the tool and are refused.
pub const FORMAT: u32 = 2;

/// What is stored of credentials: enough to recognise them, not enough to use them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Access {
    /// An API key.
    ApiKey {
        /// The key of the digest, random in each run, hexadecimal.
        salt: String,
        /// BLAKE3 of the API key, keyed with the salt, hexadecimal.
        digest: String,
    },
    /// A log-in.
    Session {
        /// The Org's number.
        org: u64,
        /// Who logged in.
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

    /// How it differs from the credential given now, in words; `None` if both mean the same Org.
    ///
    /// With `new_key` the person has said that another API key belongs to the same Org. Nobody can say that of two Orgs
    /// with different numbers.
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
                "the API key: another one was used (`--new-key` says it is the same Org's)"
            }
            (Self::ApiKey { .. }, Credentials::Session { .. }) => {
                "the authentication: it was an API key, now it is a log-in (`--new-key` says same Org)"
            }
            (Self::Session { .. }, Credentials::Key(_)) => {
                "the authentication: it was a log-in, now it is an API key (`--new-key` says same Org)"
            }
        };
        if new_key {
            None
        } else {
            Some(difference.to_owned())
        }
    }

    /// The kind in words.
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

/// Differs from run to run, so that equal keys can't be seen in two journals. `RandomState` gets its keys from the
/// system's generator.
fn random_salt() -> blake3::Hash {
    let state = RandomState::new();
    let words: Vec<u8> = (0..4u8)
        .flat_map(|n| state.hash_one(n).to_ne_bytes())
        .collect();
    blake3::hash(&words)
}

/// The circumstances of a run: for the record, never compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// The account that started it.
    pub user: String,
    /// On which machine.
    pub host: String,
    /// The tool's version.
    pub version: String,
    /// The text of `--reason`.
    pub reason: Option<String>,
    /// How the plan was confirmed, such as `typed the number` or `--yes`.
    pub confirmation: String,
    /// The guards and their values.
    pub guards: BTreeMap<String, String>,
    /// Every other option with its value. Never a secret.
    pub options: BTreeMap<String, String>,
}

/// What is known when a run starts.
#[derive(Clone, Debug)]
pub struct Start {
    /// Which run it is.
    pub identity: Identity,
    /// Rows of the input.
    pub rows: u64,
    /// What the requests are authenticated with.
    pub credentials: Credentials<SecretString>,
    /// Who does it and why.
    pub who: Who,
    /// The process.
    pub pid: u32,
    /// When.
    pub at: Timestamp,
}

/// The record with which every run, and every resumption of it, begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// [`FORMAT`] of the tool that wrote it.
    pub format: u32,
    /// When it began.
    pub at: Timestamp,
    /// The process.
    pub pid: u32,
    /// Rows of the input.
    pub rows: u64,
    /// What must stay the same.
    pub identity: Identity,
    /// What the requests were authenticated with.
    pub access: Access,
    /// Whether `--new-key` said that this is the same Org's new key.
    pub new_key: bool,
    /// Who did it and why.
    pub who: Who,
}

impl Run {
    /// The record of this start.
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

    /// In what this start would be another run; empty if it is the same.
    #[must_use]
    pub fn differences(&self, start: &Start, new_key: bool) -> Vec<String> {
        let mut found = self.identity.differences(&start.identity);
        found.extend(self.access.difference(&start.credentials, new_key));
        found
    }

    /// Whether the baseline has changed since. A run that has nothing left to send need not ask: its baseline may be the
    /// very report that it has put in place.
    #[must_use]
    pub fn baseline_difference(&self, start: &Start) -> Option<String> {
        if self.identity.baseline_differs(&start.identity) {
            Some("the baseline: its content has changed since".to_owned())
        } else {
            None
        }
    }
}

/// Something that happened besides the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Note {
    /// The Org asked for a pause, or nothing could be sent because of one.
    Throttled {
        /// How long from now, in milliseconds.
        for_ms: u64,
    },
    /// The Org stopped answering.
    OutageBegan,
    /// It is back.
    OutageOver {
        /// How long it was away, in milliseconds.
        lasted_ms: u64,
    },
    /// A token was issued.
    LoggedIn,
    /// A row failed before any change was confirmed; a run that continues this one sends it last.
    Deferred {
        /// The row.
        row: RowNumber,
    },
    /// Requests were sent, log-ins and probes included.
    Requests {
        /// The second of the wall clock in which they were sent, since the Unix epoch.
        second: i64,
        /// Their number.
        count: u64,
    },
}

/// A note with its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    /// When it was noted.
    pub at: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub note: Note,
}

/// The record with which a run ends, unless it is killed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stop {
    /// When.
    pub at: Timestamp,
    /// What was sent since the run began or was last taken up.
    pub traffic: Traffic,
    /// How the sending ended, in words.
    pub ending: String,
    /// What the process answers.
    pub exit_code: u8,
    /// The rows without an outcome whose change may have been made by this run: requests for them were in flight at the
    /// end, or an earlier request may have made it.
    pub in_doubt: Vec<RowNumber>,
    /// Whether the run was closed: rows that had no outcome were given one without being sent.
    #[serde(default)]
    pub closed: bool,
}

impl Stop {
    /// Returns the record of a run that is closed.
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

/// The record that allows rows to be sent. Nothing beyond the row is sent before a later mark is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// When it was written.
    pub at: Timestamp,
    /// The last row that may be sent, not counting rows that were deferred when this process began.
    pub row: RowNumber,
    /// Whether rows that were deferred when this process began may be sent as well.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deferred: bool,
}

/// What was sent, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// Requests of every kind, log-ins and probes included.
    pub requests: u64,
    /// Requests that repeated an earlier one.
    pub retries: u64,
    /// Log-ins among the requests.
    pub log_ins: u64,
    /// How long the Org's own wish held everything back, in milliseconds.
    pub throttled_ms: u64,
    /// The pace at the end, in requests a second, where there is one.
    pub rate_per_second: Option<f64>,
}

impl Traffic {
    /// How long the Org's own wish held everything back.
    #[must_use]
    pub fn throttled(&self) -> Duration {
        Duration::from_millis(self.throttled_ms)
    }

    /// Both together; the pace is the later one.
    #[must_use]
    pub(super) fn plus(self, later: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(later.requests),
            retries: self.retries.saturating_add(later.retries),
            log_ins: self.log_ins.saturating_add(later.log_ins),
            throttled_ms: self.throttled_ms.saturating_add(later.throttled_ms),
            rate_per_second: later.rate_per_second.or(self.rate_per_second),
        }
    }
}
