//! Results of requests.

use std::time::Duration;

use super::Flag;

/// The result of one HTTP request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendResult {
    /// The server responded with a status.
    Reply(Reply),
    /// No usable response arrived.
    TransportError(TransportError),
}

impl SendResult {
    /// Returns the HTTP status, or `None` if there was no response.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Reply(reply) => Some(reply.status),
            Self::TransportError(_) => None,
        }
    }

    /// Returns what the server said, or why there was no response, as one line for a person.
    #[must_use]
    pub fn message(&self) -> &str {
        match self {
            Self::Reply(reply) => &reply.message,
            Self::TransportError(error) => &error.message,
        }
    }
}

/// A response with a status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status code.
    pub status: u16,
    /// What the body of a 2xx response says about the change. [`BodyKind::Plain`] for all other
    /// responses.
    pub body: BodyKind,
    /// The server's own message: one line without control characters, at most 500 characters,
    /// possibly empty.
    pub message: String,
    /// The wait that `Retry-After` asks for, counted from now and never zero. `None` if the header
    /// is missing, can't be read, or names a time that has passed.
    pub retry_after: Option<Duration>,
    /// The time until the server's `RateLimit` fields allow another request, if they say that none
    /// is left.
    pub quota_reset: Option<Duration>,
    /// The target of a redirect, safe to print on a terminal.
    pub location: Option<String>,
}

/// What the first 64 KiB of the body of a 2xx response say about the change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyKind {
    /// The body says nothing about the change.
    #[default]
    Plain,
    /// The body gives the current value of `mfaOptOut`.
    Set(Flag),
    /// The body reports a failure: `success: false`, an `error`, or a failed part of a 207.
    Failure,
    /// The body is a web page, such as a sign-in or maintenance page, so the response is not from
    /// the API.
    WebPage,
}

/// A request that got no usable response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportError {
    /// The kind of failure.
    pub cause: TransportErrorKind,
    /// Whether any byte of the request may have been sent, so that the change may have been made.
    pub sent: bool,
    /// What happened, for a person: one line that names the host and never contains a secret.
    pub message: String,
}

/// The ways in which a request can fail without a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransportErrorKind {
    /// The host name could not be resolved.
    HostNotFound,
    /// Nothing listens at the port.
    Refused,
    /// There is no route to the host, or connecting failed in another way.
    Unreachable,
    /// The connection was not established in time.
    ConnectTimeout,
    /// The certificate or the TLS handshake was not acceptable.
    Tls,
    /// The other side does not speak TLS.
    NotTls,
    /// The proxy refused to forward the request.
    Proxy,
    /// The complete response did not arrive in time.
    Timeout,
    /// The connection was closed before the response was complete.
    Reset,
    /// The response is not HTTP.
    NotUnderstood,
}

/// The result of one login request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginResult {
    /// The Org issued a token, which is used from now on.
    Token {
        /// How long the token is valid, or `None` if the server's `expiresAt` can't be used.
        lifetime: Option<Duration>,
    },
    /// A 2xx response without a usable token. The text says what is wrong with which field.
    Unusable(String),
    /// Any other response, or none.
    Failed(SendResult),
}
