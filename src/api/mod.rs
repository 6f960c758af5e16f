//! Sends requests to the Org over HTTP.
//!
//! [`HttpOrg`] sends one request per call: no retry, no redirect, no decompression. It reports what
//! came back as a [`SendResult`]; what that means for the run is decided in `policy`.
//!
//! [`http`] is the only file that names the HTTP client. The other files turn its parts into plain
//! data: [`send_result`] reads status and headers, [`body`] and [`message`] the body, [`wait`] the
//! pauses that a server asks for, [`transport_error`] the errors. [`address`], [`session`],
//! [`trust`] and [`environment`] prepare a connection, and [`redact`] keeps secrets out of
//! everything that is passed on.

mod address;
mod body;
mod deadline;
mod environment;
mod http;
#[cfg(any(windows, test))]
mod internet_settings;
mod message;
mod redact;
mod send_result;
mod session;
mod transport_error;
mod trust;
mod wait;

use std::future::Future;

pub use address::Address;
pub use environment::trust_store_variables;
pub use http::{ConnectOptions, HttpOrg};

use crate::domain::{Flag, LoginResult, SendResult, UserId};

/// An Org that changes can be sent to. The engine uses this trait, so that tests need no network.
pub trait Org {
    /// Sets one membership with one request, without retries or redirects.
    fn set(&self, user: UserId, flag: Flag) -> impl Future<Output = SendResult>;
    /// Logs in with one request. Every later [`Org::set`] uses the token.
    fn log_in(&self) -> impl Future<Output = LoginResult>;
}
