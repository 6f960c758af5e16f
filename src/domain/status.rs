//! The one classification of HTTP statuses.

/// The meaning of an HTTP status for a change.
///
/// This is the only place that tells statuses apart by number. What follows for the run is decided
/// in `policy`, and what a person should do about it is said in `report` and `ui`; both match on
/// the class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusClass {
    /// Any 2xx.
    Success,
    /// 304, which is no answer to a change.
    NotModified,
    /// Any other 3xx.
    Redirect,
    /// 400, 415 and 422: the server does not accept the request as it is.
    InvalidRequest,
    /// 401: the credentials are not accepted.
    Unauthorized,
    /// 403: the credentials are not accepted, or may not change this user.
    Forbidden,
    /// 404 and 410: the user does not exist, or the address is wrong.
    NotFound,
    /// 407: a proxy asks for credentials.
    ProxyAuthRequired,
    /// 408 and 425: the server asks for the same request again.
    RepeatRequest,
    /// 409: something else changed the user at the same time.
    Conflict,
    /// 429: too many requests.
    TooManyRequests,
    /// 500, 502, 504 and 512 to 599: the server, or one in front of it, failed and may have made
    /// the change before.
    ///
    /// A server that fails with 500 may do so after the change. A gateway that answers 502, 504 or
    /// one of the unregistered codes above 511 does not know what the Org went on to do.
    ServerFailed,
    /// 503: the server did not start to process the request.
    Unavailable,
    /// 501 and 505: the server does not support the method or the protocol version.
    NotSupported,
    /// 511: a captive portal asks the user to sign in to the network.
    NetworkAuthRequired,
    /// 506 to 510: server errors that are raised before the request is processed.
    OtherServerError,
    /// Any other status: 1xx, the remaining 4xx, and 600 or more.
    Other,
}

impl StatusClass {
    /// Returns the class of a status.
    #[must_use]
    pub fn of(status: u16) -> Self {
        match status {
            200..=299 => Self::Success,
            304 => Self::NotModified,
            300..=399 => Self::Redirect,
            400 | 415 | 422 => Self::InvalidRequest,
            401 => Self::Unauthorized,
            403 => Self::Forbidden,
            404 | 410 => Self::NotFound,
            407 => Self::ProxyAuthRequired,
            408 | 425 => Self::RepeatRequest,
            409 => Self::Conflict,
            429 => Self::TooManyRequests,
            501 | 505 => Self::NotSupported,
            503 => Self::Unavailable,
            506..=510 => Self::OtherServerError,
            511 => Self::NetworkAuthRequired,
            500..=599 => Self::ServerFailed,
            _ => Self::Other,
        }
    }

    /// Checks whether the status is one of 500 to 599.
    #[must_use]
    pub fn is_server_error(self) -> bool {
        match self {
            Self::ServerFailed
            | Self::Unavailable
            | Self::NotSupported
            | Self::NetworkAuthRequired
            | Self::OtherServerError => true,
            Self::Success
            | Self::NotModified
            | Self::Redirect
            | Self::InvalidRequest
            | Self::Unauthorized
            | Self::Forbidden
            | Self::NotFound
            | Self::ProxyAuthRequired
            | Self::RepeatRequest
            | Self::Conflict
            | Self::TooManyRequests
            | Self::Other => false,
        }
    }

    /// Checks whether the Org would refuse the same request again.
    #[must_use]
    pub fn is_permanent_refusal(self) -> bool {
        match self {
            Self::InvalidRequest | Self::Forbidden | Self::NotFound | Self::Conflict => true,
            Self::Success
            | Self::NotModified
            | Self::Redirect
            | Self::Unauthorized
            | Self::ProxyAuthRequired
            | Self::RepeatRequest
            | Self::TooManyRequests
            | Self::ServerFailed
            | Self::Unavailable
            | Self::NotSupported
            | Self::NetworkAuthRequired
            | Self::OtherServerError
            | Self::Other => false,
        }
    }

    /// Checks whether a response with this status may have been sent after the change was made.
    #[must_use]
    pub fn may_follow_a_change(self) -> bool {
        match self {
            Self::Success | Self::ServerFailed => true,
            Self::NotModified
            | Self::Redirect
            | Self::InvalidRequest
            | Self::Unauthorized
            | Self::Forbidden
            | Self::NotFound
            | Self::ProxyAuthRequired
            | Self::RepeatRequest
            | Self::Conflict
            | Self::TooManyRequests
            | Self::Unavailable
            | Self::NotSupported
            | Self::NetworkAuthRequired
            | Self::OtherServerError
            | Self::Other => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn every_status_has_its_class() {
        let mut table = String::new();
        let mut first = 100;
        for status in 100..=999 {
            let class = StatusClass::of(status);
            if status == 999 || StatusClass::of(status + 1) != class {
                let _ = writeln!(table, "{first}-{status} {class:?}");
                first = status + 1;
            }
        }
        insta::assert_snapshot!(table);
    }
}
