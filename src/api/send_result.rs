//! Turns the status, the headers and the first part of the body of a response into a [`Reply`].

use std::time::SystemTime;

use http::header::LOCATION;
use http::{HeaderMap, StatusCode};

use super::redact::Secrets;
use super::{message, wait};
use crate::domain::{BodyKind, Reply};
use crate::text::one_line;

/// The maximum length of a redirect's target in a message, in characters.
const MAX_LOCATION: usize = 300;

/// Returns what is known of a response. `body` is what was read of the body. `here` returns the
/// time of this machine's clock.
pub(super) fn reply(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    secrets: &Secrets,
    here: fn() -> SystemTime,
) -> Reply {
    let (body, message) = if status.is_success() {
        message::of_success(status.as_u16(), headers, body, secrets)
    } else {
        (BodyKind::Plain, message::of_refusal(headers, body, secrets))
    };
    let location = if status.is_redirection() {
        Some(location(headers, secrets))
    } else {
        None
    };
    let mut reply = Reply {
        status: status.as_u16(),
        body,
        message,
        retry_after: None,
        quota_reset: None,
        location,
    };
    // Nearly all responses have no such header, and then the clock need not be read.
    if wait::may_ask(headers) {
        let now = wait::server_time(headers, here());
        reply.retry_after = wait::retry_after(headers, now);
        reply.quota_reset = wait::quota_reset(headers, now);
    }
    reply
}

/// Returns the target of a redirect, safe to print and without secrets. It is empty if the response
/// does not name one.
fn location(headers: &HeaderMap, secrets: &Secrets) -> String {
    let Some(target) = headers.get(LOCATION) else {
        return String::new();
    };
    let target = secrets.redact(&String::from_utf8_lossy(target.as_bytes()));
    one_line(&target, MAX_LOCATION)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use http::header::{HeaderValue, RETRY_AFTER};

    use super::*;

    fn answer(status: u16, headers: &HeaderMap, body: &[u8]) -> Reply {
        let status = StatusCode::from_u16(status).unwrap();
        reply(status, headers, body, &Secrets::default(), || UNIX_EPOCH)
    }

    #[test]
    fn only_a_redirect_has_a_location() {
        for (status, target, location) in [
            (
                302,
                Some("https://elsewhere.example/?a=b"),
                Some("https://elsewhere.example/?a=b"),
            ),
            (308, Some("file:///etc/passwd"), Some("file:///etc/passwd")),
            (
                301,
                Some("http://e.example/\u{202e}\u{9b}2J"),
                Some("http://e.example/\\u{202e}\\u{9b}2J"),
            ),
            (307, None, Some("")),
            (303, Some(""), Some("")),
            (201, Some("/user/users/7"), None),
            (404, Some("/elsewhere"), None),
        ] {
            let value = target.map(|target| {
                (
                    LOCATION,
                    HeaderValue::from_bytes(target.as_bytes()).unwrap(),
                )
            });
            let reply = answer(status, &HeaderMap::from_iter(value), b"");
            assert_eq!(reply.location.as_deref(), location, "{status} {target:?}");
        }
    }

    #[test]
    fn message_and_wait_are_in_the_reply() {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static("2"))]);
        let expected = Reply {
            status: 429,
            message: "slow down".into(),
            retry_after: Some(Duration::from_secs(2)),
            ..Reply::default()
        };
        assert_eq!(
            answer(429, &headers, b"{\"message\": \"slow down\"}"),
            expected
        );
        assert_eq!(
            answer(204, &HeaderMap::new(), b""),
            Reply {
                status: 204,
                ..Reply::default()
            }
        );
    }

    #[test]
    fn secrets_are_hidden_in_message_and_location_before_both_are_cut() {
        let mut secrets = Secrets::default();
        secrets.add("k3y\"/secret");
        let page = format!("https://login.example/{}", "x".repeat(270));
        let target = format!("{page}?k=k3y%22%2Fsecret");
        let headers = HeaderMap::from_iter([(LOCATION, HeaderValue::from_str(&target).unwrap())]);
        let body = format!("{{\"message\": \"{} k3y\\\"\\/secret\"}}", "y".repeat(494));
        let status = StatusCode::FOUND;
        let reply = reply(status, &headers, body.as_bytes(), &secrets, || UNIX_EPOCH);
        assert_eq!(reply.location, Some(format!("{page}?k=(hid…")));
        assert_eq!(reply.message, format!("{} (hid…", "y".repeat(494)));
    }
}
