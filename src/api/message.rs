//! Finds the sentence that a person should read in whatever body came back: JSON, HTML or plain text, in whatever
//! character set. Pure. The result is one harmless line.

use encoding_rs::{Encoding, UTF_8};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use serde_json::Value;

use super::redact::Secrets;
use crate::domain::MAX_DETAIL;
use crate::text::one_line;

/// The server's own words for an answer that isn't a success; empty where it said nothing.
pub(super) fn of_refusal(headers: &HeaderMap, body: &[u8], secrets: &Secrets) -> String {
    one_line(&words(headers, body, secrets), MAX_DETAIL)
}

/// What is odd about a success: a 202, an error in the body, a page of HTML. Empty for nearly all.
pub(super) fn of_success(
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
    secrets: &Secrets,
) -> String {
    if body.is_empty() && status != 202 {
        return String::new();
    }
    let note = match (status, odd_words(headers, body, secrets)) {
        (202, None) => ACCEPTED.to_owned(),
        (202, Some(words)) => format!("{ACCEPTED}: {words}"),
        (_, words) => words.unwrap_or_default(),
    };
    one_line(&note, MAX_DETAIL)
}

/// RFC 9110, 15.3.3.
const ACCEPTED: &str = "accepted, which may not yet be carried out";

fn odd_words(headers: &HeaderMap, body: &[u8], secrets: &Secrets) -> Option<String> {
    let text = secrets.redact(&decoded(headers, body));
    if is_html(&text) {
        return Some(format!("answered with a web page: {}", page_words(&text)));
    }
    let json: Value = serde_json::from_str(&text).ok()?;
    let is_an_error = ["error", "errors"]
        .iter()
        .any(|&key| json.get(key).is_some_and(holds_something));
    is_an_error.then(|| json_words(&json)).flatten()
}

fn holds_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::String(text) => !text.trim().is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
    }
}

fn words(headers: &HeaderMap, body: &[u8], secrets: &Secrets) -> String {
    if let Some(coding) = headers
        .get(CONTENT_ENCODING)
        .filter(|coding| *coding != "identity" && !body.is_empty())
    {
        return format!(
            "(a body compressed by {}, which was not asked for)",
            secrets.redact(&String::from_utf8_lossy(coding.as_bytes()))
        );
    }
    let text = secrets.redact(&decoded(headers, body));
    if let Ok(json) = serde_json::from_str::<Value>(&text) {
        return json_words(&json).unwrap_or_else(|| bare(&json));
    }
    if is_html(&text) {
        page_words(&text)
    } else {
        first_line(&text)
    }
}

/// The body as text: by its byte order mark, else by the character set of its `Content-Type`, else as UTF-8. What
/// doesn't fit is replaced.
fn decoded(headers: &HeaderMap, body: &[u8]) -> String {
    charset(headers)
        .unwrap_or(UTF_8)
        .decode(body)
        .0
        .into_owned()
}

fn charset(headers: &HeaderMap) -> Option<&'static Encoding> {
    let content_type = headers
        .get(CONTENT_TYPE)?
        .to_str()
        .ok()?
        .to_ascii_lowercase();
    let (_, label) = content_type.split_once("charset=")?;
    Encoding::for_label(
        label
            .split(';')
            .next()?
            .trim()
            .trim_matches(['"', '\''])
            .as_bytes(),
    )
}

/// The message among the usual places: `message`, `error`, `errors`, and those of RFC 9457.
fn json_words(json: &Value) -> Option<String> {
    match json {
        Value::String(text) => Some(text.clone()).filter(|text| !text.trim().is_empty()),
        Value::Array(items) => {
            let all: Vec<_> = items.iter().filter_map(json_words).collect();
            (!all.is_empty()).then(|| all.join("; "))
        }
        Value::Object(fields) => [
            "message",
            "detail",
            "error_description",
            "error",
            "errors",
            "title",
        ]
        .into_iter()
        .find_map(|key| fields.get(key).and_then(json_words)),
        _ => None,
    }
}

/// JSON without a message as it is, and nothing for JSON that holds nothing.
fn bare(json: &Value) -> String {
    if holds_something(json) {
        json.to_string()
    } else {
        String::new()
    }
}

fn is_html(text: &str) -> bool {
    let start = text
        .trim_start()
        .get(..14)
        .unwrap_or(text.trim_start())
        .to_ascii_lowercase();
    start.starts_with("<!doctype html") || start.starts_with("<html")
}

/// A page's title; where it has none, its first words.
fn page_words(html: &str) -> String {
    let lower = html.to_ascii_lowercase();
    let title = lower.find("<title").and_then(|tag| {
        let start = tag + lower[tag..].find('>')? + 1;
        let end = start + lower[start..].find("</title")?;
        Some(entities(&html[start..end])).filter(|title| !title.trim().is_empty())
    });
    title.unwrap_or_else(|| entities(&without_tags(html)))
}

fn without_tags(html: &str) -> String {
    let mut text = String::new();
    for piece in html.split('<') {
        text.push_str(piece.split_once('>').map_or("", |(_tag, rest)| rest));
        text.push(' ');
    }
    text
}

/// The few that occur in titles; `&amp;` comes last so that nothing is decoded twice.
fn entities(text: &str) -> String {
    [
        ("&nbsp;", " "),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&amp;", "&"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (entity, character)| {
        text.replace(entity, character)
    })
}

fn first_line(text: &str) -> String {
    text.lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use http::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn of_refusal(headers: &HeaderMap, body: &[u8]) -> String {
        super::of_refusal(headers, body, &Secrets::default())
    }

    fn of_success(status: u16, headers: &HeaderMap, body: &[u8]) -> String {
        super::of_success(status, headers, body, &Secrets::default())
    }

    fn typed(content_type: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))])
    }

    #[test]
    fn message_table() {
        for (body, message) in [
            (r#"{"message": "User not found"}"#, "User not found"),
            (
                r#"{"statusCode": 400, "message": ["a is odd", "b too"], "error": "Bad Request"}"#,
                "a is odd; b too",
            ),
            (r#"{"error": "Forbidden"}"#, "Forbidden"),
            (r#"{"error": {"code": 7, "message": "no"}}"#, "no"),
            (
                r#"{"errors": [{"message": "first"}, {"message": "second"}]}"#,
                "first; second",
            ),
            (r#"{"errors": ["first"]}"#, "first"),
            (
                r#"{"type": "about:blank", "title": "Odd", "detail": "Very odd"}"#,
                "Very odd",
            ),
            (r#"{"title": "Odd"}"#, "Odd"),
            (r#"{"message": "", "error": "Gone"}"#, "Gone"),
            (
                r#"{"message": null, "code": 7}"#,
                r#"{"code":7,"message":null}"#,
            ),
            (r#""just words""#, "just words"),
            ("{}", ""),
            ("[]", ""),
            ("null", ""),
            ("", ""),
            ("  \r\n ", ""),
            ("first line\nsecond line", "first line"),
            ("\n\n  upstream connect error  \n", "upstream connect error"),
            ("{\"message\": \"cut o", "{\"message\": \"cut o"),
            (
                "<!DOCTYPE html>\n<html><head><title>502 Bad\n Gateway</title>",
                "502 Bad Gateway",
            ),
            (
                "<HTML><TITLE lang=en>A &amp;lt; B &quot;x&quot;</TITLE>",
                "A &lt; B \"x\"",
            ),
            (
                "<html><body><h1>Access denied</h1><p>Ask IT.</p>",
                "Access denied Ask IT.",
            ),
            ("<html><title></title><p>Sign in", "Sign in"),
            ("<html><title>never closed", "never closed"),
            ("<html", ""),
            ("<<<>>>", "<<<>>>"),
        ] {
            assert_eq!(
                of_refusal(&HeaderMap::new(), body.as_bytes()),
                message,
                "{body}"
            );
        }
    }

    #[test]
    fn other_character_sets_are_read_and_broken_ones_survive() {
        for (content_type, body, message) in [
            (
                "text/plain; charset=iso-8859-1",
                b"Zo\xeb".as_slice(),
                "Zo\u{eb}",
            ),
            (
                "text/plain; charset=\"windows-1252\"",
                b"\x93no\x94",
                "\u{201c}no\u{201d}",
            ),
            (
                "text/plain; charset=shift_jis",
                b"\x93\xfa\x96\x7b",
                "\u{65e5}\u{672c}",
            ),
            ("text/plain; charset=klingon", b"Zo\xeb", "Zo\u{fffd}"),
            ("text/plain", b"\xff\xfeN\0o\0", "No"),
            (
                "application/json",
                b"\xef\xbb\xbf{\"message\": \"with a mark\"}",
                "with a mark",
            ),
            (
                "application/json",
                b"{\"message\": \"Zo\xeb\"}",
                "Zo\u{fffd}",
            ),
        ] {
            assert_eq!(
                of_refusal(&typed(content_type), body),
                message,
                "{content_type}"
            );
        }
    }

    #[test]
    fn nothing_dangerous_or_long_gets_through() {
        let message = of_refusal(
            &HeaderMap::new(),
            b"{\"message\": \"\\u001b]0;x\\u0007\\u202eevil\\r\\nline\"}",
        );
        assert_eq!(message, "\\u{1b}]0;x\\u{7}\\u{202e}evil line");
        assert_eq!(
            of_refusal(&HeaderMap::new(), "x".repeat(64 << 10).as_bytes())
                .chars()
                .count(),
            MAX_DETAIL
        );
        let deep = "[".repeat(60_000);
        assert_eq!(
            of_refusal(&HeaderMap::new(), deep.as_bytes())
                .chars()
                .count(),
            MAX_DETAIL
        );
    }

    proptest! {
        #[test]
        fn no_body_is_too_odd(
            start in r"(<html|<!doctype html|\{|\[|)",
            pieces in proptest::collection::vec(r#"(<title|</title|<|>|&amp;|"message":|\PC{0,3})"#, 0..12),
            tail: Vec<u8>,
        ) {
            let body = [start.as_bytes(), pieces.concat().as_bytes(), &tail].concat();
            for message in [of_refusal(&HeaderMap::new(), &body), of_success(200, &HeaderMap::new(), &body)] {
                prop_assert!(message.chars().count() <= MAX_DETAIL);
                prop_assert!(!message.contains(char::is_control), "{message:?}");
            }
        }
    }

    #[test]
    fn a_compressed_body_is_named_and_not_shown() {
        let headers = HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static("gzip"))]);
        assert_eq!(
            of_refusal(&headers, b"\x1f\x8b\x08"),
            "(a body compressed by gzip, which was not asked for)"
        );
        assert_eq!(of_refusal(&headers, b""), "");
    }

    #[test]
    fn a_success_is_silent_unless_it_is_odd() {
        for (status, body, message) in [
            (204, "", ""),
            (
                200,
                r#"{"id": 7, "mfaOptOut": true, "message": "saved"}"#,
                "",
            ),
            (200, r#"{"error": null, "errors": []}"#, ""),
            (200, "OK", ""),
            (200, r#"{"error": "not really"}"#, "not really"),
            (
                200,
                "<html><title>Sign in</title>",
                "answered with a web page: Sign in",
            ),
            (202, "", "accepted, which may not yet be carried out"),
            (
                202,
                r#"{"errors": ["queue"]}"#,
                "accepted, which may not yet be carried out: queue",
            ),
        ] {
            assert_eq!(
                of_success(status, &HeaderMap::new(), body.as_bytes()),
                message,
                "{status} {body}"
            );
        }
    }
}
