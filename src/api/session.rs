//! How a request proves who sends it: the key's header, or the log-in's body and the token that its answer holds. Pure;
//! when to log in is the policy's, sending is `http.rs`'s.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::error::{Error, Kind, Result};

/// The header that carries an API key.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// What the Org is shown. Its `Debug` text has no secret in it.
#[derive(Clone)]
pub enum Credentials {
    /// An API key; it belongs to one Org and doesn't expire.
    Key(SecretString),
    /// A person's log-in, exchanged for a token that lives for a quarter of an hour.
    Session {
        /// Who logs in.
        email: String,
        /// With which password.
        password: SecretString,
        /// To which Org, by number.
        org: u64,
    },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key(_) => "Key(hidden)",
            Self::Session { .. } => "Session(hidden)",
        })
    }
}

/// The header with which every request begins: the key's. A session has none before it has logged in.
///
/// # Errors
///
/// [`Kind::Usage`] where no key can look like this; the key itself is not in the message.
pub(super) fn first_header(credentials: &Credentials) -> Result<Option<(HeaderName, HeaderValue)>> {
    let Credentials::Key(key) = credentials else {
        return Ok(None);
    };
    match sensitive("", key.expose_secret()) {
        Ok(value) => Ok(Some((API_KEY, value))),
        Err(odd) => Err(Error::new(Kind::Usage, format!("this is not a possible API key: it {odd}"))
            .help("check where the key comes from: the variable, or the file, must hold the key and nothing else")),
    }
}

/// A scheme and the secret as a header value that is left out of every debug print, or what is odd about the secret.
fn sensitive(scheme: &str, text: &str) -> std::result::Result<HeaderValue, &'static str> {
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
        return Err("has a blank or a control character in it");
    }
    let mut value = HeaderValue::from_str(&format!("{scheme}{text}"))
        .map_err(|_| "can't be sent in a header")?;
    value.set_sensitive(true);
    Ok(value)
}

/// The body of a log-in. It holds the password: it is made for one request and not kept.
pub(super) fn log_in_body(email: &str, password: &SecretString, org: u64) -> Vec<u8> {
    json!({ "email": email, "password": password.expose_secret(), "selectedOrg": org, "client": "core-client" })
        .to_string()
        .into_bytes()
}

/// A token, ready to be sent. Not `Debug`.
pub(super) struct Issued {
    /// The header that carries it.
    pub(super) header: (HeaderName, HeaderValue),
    /// The token alone.
    pub(super) token: Zeroizing<String>,
    /// How long it is good for, `None` where the answer doesn't say it in a way that can be used.
    pub(super) lifetime: Option<Duration>,
}

/// Reads the answer to a log-in; `now` is the time by the server's clock where it tells it.
///
/// # Errors
///
/// Says which field is odd, without its value.
pub(super) fn read_token(body: &[u8], now: SystemTime) -> std::result::Result<Issued, String> {
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
        .map_err(|odd| format!("the `token` in the answer to the log-in {odd}"))?;
    let lifetime = answer
        .get("expiresAt")
        .and_then(unix_time)
        .and_then(|expiry| lifetime(expiry, now));
    Ok(Issued {
        header: (AUTHORIZATION, value),
        token: Zeroizing::new(token.clone()),
        lifetime,
    })
}

/// Above this, a number of seconds would lie beyond the year 5000: it is milliseconds.
const LARGEST_SECONDS: f64 = 1e11;

/// Seconds since 1970, from seconds, milliseconds, either of them as a text, or an RFC 3339 time stamp.
fn unix_time(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => match text.trim().parse() {
            Ok(number) => number,
            Err(_) => text
                .trim()
                .parse::<jiff::Timestamp>()
                .ok()?
                .as_duration()
                .as_secs_f64(),
        },
        _ => return None,
    };
    Some(if number.abs() > LARGEST_SECONDS {
        number / 1000.0
    } else {
        number
    })
}

/// `None` for an expiry that has passed: a token that was issued just now and an expiry in the past means that one of
/// the clocks is wrong, and the token may well be good.
fn lifetime(expiry: f64, now: SystemTime) -> Option<Duration> {
    let now = now.duration_since(UNIX_EPOCH).ok()?.as_secs_f64();
    Duration::try_from_secs_f64(expiry - now)
        .ok()
        .filter(|lifetime| !lifetime.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_760_000_000;

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(NOW)
    }

    fn key(text: &str) -> Credentials {
        Credentials::Key(SecretString::from(text))
    }

    #[test]
    fn a_key_becomes_a_sensitive_header() {
        let (name, value) = first_header(&key("k-1.2_3~")).unwrap().unwrap();
        assert_eq!(
            (name.as_str(), value.as_bytes()),
            ("x-api-key", b"k-1.2_3~".as_slice())
        );
        assert!(value.is_sensitive());
    }

    #[test]
    fn an_impossible_key_is_refused_and_not_shown() {
        for (text, why) in [
            ("", "is empty"),
            ("hunter2\n", "line break"),
            ("hunter2\r\nx-evil: 1", "line break"),
            ("hunter2\0", "control character"),
            ("hunter2 hunter2", "a blank"),
            ("hunter2\u{e9}", "not ASCII"),
            ("\u{feff}hunter2", "not ASCII"),
        ] {
            let error = first_header(&key(text)).expect_err(text);
            assert_eq!(error.kind(), Kind::Usage);
            assert!(error.to_string().contains(why), "{text:?}: {error}");
            assert!(!format!("{error}{error:?}").contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let session = Credentials::Session {
            email: "a@b.example".into(),
            password: SecretString::from("hunter2"),
            org: 7,
        };
        assert_eq!(
            format!("{:?} {session:?}", key("hunter2")),
            "Key(hidden) Session(hidden)"
        );
    }

    #[test]
    fn the_log_in_body_has_the_four_fields() {
        let body = log_in_body("zo\u{eb}@b.example", &SecretString::from("p\"w"), 42);
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            body,
            json!({"email": "zo\u{eb}@b.example", "password": "p\"w", "selectedOrg": 42, "client": "core-client"})
        );
    }

    #[test]
    fn a_token_is_read_whatever_its_expiry_looks_like() {
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
            let Ok(issued) = read_token(body.as_bytes(), now()) else {
                panic!("{expiry}")
            };
            assert_eq!(issued.lifetime, lifetime, "{expiry}");
            assert_eq!(issued.header.1.as_bytes(), b"bearer t.o-k");
            assert!(issued.header.1.is_sensitive());
        }
        let Ok(issued) = read_token(br#"{"token": "t"}"#, now()) else {
            panic!("no expiry")
        };
        assert_eq!(issued.lifetime, None);
    }

    #[test]
    fn an_unusable_token_is_named_and_not_shown() {
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
            let Err(odd) = read_token(body.as_bytes(), now()) else {
                panic!("{body}")
            };
            assert!(
                odd.contains(why) && !odd.contains("hunter2"),
                "{body}: {odd}"
            );
        }
    }
}
