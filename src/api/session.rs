//! Authenticates requests: the header with the API key, the body of a login, and the token in its
//! response.
//!
//! When to log in is decided in `policy`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::error::{Error, Kind, Result};

/// The name of the header with the API key.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Returns the header with an API key.
///
/// # Errors
///
/// [`Kind::Usage`] if the text can't be a key. The message does not contain it.
pub(super) fn key_header(key: &SecretString) -> Result<(HeaderName, HeaderValue)> {
    match sensitive("", key.expose_secret()) {
        Ok(value) => Ok((API_KEY, value)),
        Err(reason) => Err(Error::new(
            Kind::Usage,
            format!("this is not a possible API key: it {reason}"),
        )
        .help("make sure that the variable or the file holds the key and nothing else")),
    }
}

/// Returns a header value of a prefix and a secret, marked so that it is never printed.
///
/// # Errors
///
/// The reason why the secret can't be sent, as the end of a sentence.
fn sensitive(prefix: &str, text: &str) -> std::result::Result<HeaderValue, &'static str> {
    if text.is_empty() {
        return Err("is empty");
    }
    if text.contains(['\n', '\r']) {
        return Err("has a line break in it");
    }
    if !text.is_ascii() {
        return Err("has a character in it that is not ASCII");
    }
    if text.contains(|c: char| c.is_ascii_control() || c == ' ') {
        return Err("has a space or a control character in it");
    }
    let mut value = HeaderValue::from_str(&format!("{prefix}{text}"))
        .map_err(|_| "can't be sent in a header")?;
    value.set_sensitive(true);
    Ok(value)
}

/// Returns the body of a login request, which contains the password.
pub(super) fn log_in_body(email: &str, password: &SecretString, org: u64) -> Vec<u8> {
    let body = json!({
        "email": email,
        "password": password.expose_secret(),
        "selectedOrg": org,
        "client": "core-client",
    });
    body.to_string().into_bytes()
}

/// A token that was issued for a login. It is not `Debug`, so that it can't be printed.
pub(super) struct Token {
    /// The header with the token.
    pub(super) header: (HeaderName, HeaderValue),
    /// The token.
    pub(super) text: Zeroizing<String>,
    /// How long the token is valid, or `None` if the response does not say so in a usable way.
    pub(super) lifetime: Option<Duration>,
}

/// Reads the token from the body of the response to a login. `now` is the time of the server's
/// clock, if known.
///
/// # Errors
///
/// What is wrong with which field, without its value.
pub(super) fn read_token(body: &[u8], now: SystemTime) -> std::result::Result<Token, String> {
    let answer: Value = serde_json::from_slice(body)
        .map_err(|_| "the answer to the log-in is not JSON".to_owned())?;
    let token = match answer.get("token") {
        None | Some(Value::Null) => {
            return Err("the answer to the log-in has no `token`".to_owned());
        }
        Some(Value::String(token)) => token,
        Some(_) => return Err("the `token` in the answer to the log-in is not a text".to_owned()),
    };
    let value = sensitive("bearer ", token)
        .map_err(|reason| format!("the `token` in the answer to the log-in {reason}"))?;
    let expiry = answer.get("expiresAt").and_then(unix_time);
    Ok(Token {
        header: (AUTHORIZATION, value),
        text: Zeroizing::new(token.clone()),
        lifetime: expiry.and_then(|expiry| lifetime(expiry, now)),
    })
}

/// The largest number that is taken for seconds since 1970, which is after the year 5000. Larger
/// ones are milliseconds.
const MAX_SECONDS: f64 = 1e11;

/// Returns seconds since 1970, given seconds or milliseconds as a number or a text, or an RFC 3339
/// timestamp.
fn unix_time(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => {
            let text = text.trim();
            let Ok(number) = text.parse() else {
                let time: jiff::Timestamp = text.parse().ok()?;
                return Some(time.as_duration().as_secs_f64());
            };
            number
        }
        _ => return None,
    };
    if number.abs() > MAX_SECONDS {
        Some(number / 1000.0)
    } else {
        Some(number)
    }
}

/// Returns the time until a token expires, or `None` if it has expired.
///
/// A token that was issued just now and has expired already means that one of the clocks is wrong.
/// The token may well be valid.
fn lifetime(expiry: f64, now: SystemTime) -> Option<Duration> {
    let now = now.duration_since(UNIX_EPOCH).ok()?.as_secs_f64();
    let lifetime = Duration::try_from_secs_f64(expiry - now).ok()?;
    if lifetime.is_zero() {
        None
    } else {
        Some(lifetime)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_760_000_000;

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(NOW)
    }

    #[test]
    fn the_key_header_is_marked_as_sensitive() {
        let (name, value) = key_header(&"k-1.2_3~".into()).unwrap();
        assert_eq!(
            (name.as_str(), value.as_bytes()),
            ("x-api-key", b"k-1.2_3~".as_slice())
        );
        assert!(value.is_sensitive());
    }

    #[test]
    fn an_impossible_key_is_refused_without_showing_it() {
        for (text, why) in [
            ("", "is empty"),
            ("hunter2\n", "line break"),
            ("hunter2\r\nx-evil: 1", "line break"),
            ("hunter2\0", "control character"),
            ("hunter2 hunter2", "a space"),
            ("hunter2\u{e9}", "not ASCII"),
            ("\u{feff}hunter2", "not ASCII"),
        ] {
            let error = key_header(&text.into()).expect_err(text);
            assert_eq!(error.kind(), Kind::Usage);
            assert!(error.to_string().contains(why), "{text:?}: {error}");
            assert!(!format!("{error}{error:?}").contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn the_login_body_has_the_four_fields() {
        let body = log_in_body("zo\u{eb}@b.example", &SecretString::from("p\"w"), 42);
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            body,
            json!({"email": "zo\u{eb}@b.example", "password": "p\"w", "selectedOrg": 42, "client": "core-client"})
        );
    }

    #[test]
    fn a_token_is_read_with_any_expiry() {
        let quarter = Some(Duration::from_mins(15));
        let cases = [
            (json!(NOW + 900), quarter),
            (json!((NOW + 900) * 1000), quarter),
            (json!((NOW + 900).to_string()), quarter),
            (json!(format!(" {} ", (NOW + 900) * 1000)), quarter),
            (json!("2025-10-09T09:08:20Z"), quarter),
            (json!(NOW - 900), None),
            (json!(NOW), None),
            (json!(-1), None),
            (json!(0), None),
            (json!(1e308), None),
            (json!("NaN"), None),
            (json!("soon"), None),
            (json!(null), None),
            (json!({}), None),
        ];
        for (expiry, lifetime) in cases {
            let body = json!({"token": "t.o-k", "expiresAt": expiry}).to_string();
            let Ok(token) = read_token(body.as_bytes(), now()) else {
                panic!("{expiry}")
            };
            assert_eq!(token.lifetime, lifetime, "{expiry}");
            assert_eq!(token.header.1.as_bytes(), b"bearer t.o-k");
            assert!(token.header.1.is_sensitive());
        }
        let Ok(token) = read_token(br#"{"token": "t"}"#, now()) else {
            panic!("no expiry")
        };
        assert_eq!(token.lifetime, None);
    }

    #[test]
    fn an_unusable_token_is_refused_without_showing_it() {
        for (body, why) in [
            ("", "not JSON"),
            ("<html>", "not JSON"),
            ("[]", "has no `token`"),
            ("{}", "has no `token`"),
            (r#"{"token": null}"#, "has no `token`"),
            (r#"{"token": 7}"#, "not a text"),
            (r#"{"token": ""}"#, "is empty"),
            (r#"{"token": "hunter2\r\n"}"#, "line break"),
            (r#"{"token": "hunter2\u00e9"}"#, "not ASCII"),
        ] {
            let Err(reason) = read_token(body.as_bytes(), now()) else {
                panic!("{body}")
            };
            assert!(
                reason.contains(why) && !reason.contains("hunter2"),
                "{body}: {reason}"
            );
        }
    }
}
