//! Talks HTTP to the Org. Decides nothing, retries nothing, follows nothing: what an answer means is the policy's.

mod address;
mod answer;
mod body;
mod environment;
mod http;
mod limit;
mod message;
mod redact;
mod session;
mod silence;
mod trust;
mod wait;

use std::future::Future;

pub use address::Address;
pub use environment::trust_store_variables;
pub use http::{Connection, HttpOrg};
pub use session::Credentials;

use crate::domain::{Answer, Flag, LoginAnswer, UserId};

/// The Org as the engine sees it; the one trait of the house, so that the engine can be tried without a network.
pub trait Org {
    /// Sets one membership with one request: no retry, no redirect.
    fn set(&self, user: UserId, flag: Flag) -> impl Future<Output = Answer>;
    /// Logs in with one request; the token is used by every later [`Org::set`].
    fn log_in(&self) -> impl Future<Output = LoginAnswer>;
}
