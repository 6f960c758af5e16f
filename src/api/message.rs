//! Finds the sentence that a person should read in whatever body came back: JSON, HTML or plain text, in whatever
//! character set. Pure. The result is one harmless line.

use encoding_rs::{Encoding, UTF_8};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use serde_json::Value;

use super::body;
use super::redact::Secrets;
use crate::domain::{BodyKind, MAX_DETAIL};
use crate::text::one_line;

/// The server's own words for an answer that isn't a success; empty where it said nothing.
pub(super) fn of_refusal(headers: &HeaderMap, body: &[u8], secrets: &Secrets) -> String {
    one_line(&words(headers, body, secrets), MAX_DETAIL)
}

/// Returns what the body of a success says about the change, and the words that a person should read of it. Most have
/// none: a 202, an error, a web page or a compressed body do.
pub(super) fn of_success(
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
    secrets: &Secrets,
) -> (BodyKind, String) {
    if let Some(compressed) = compression(headers, body, secrets) {
        return (
            body::kind_by_label(headers),
            one_line(&compressed, MAX_DETAIL),
        );
    }
    if body.is_empty() && status != 202 {
        return (body::kind(status, headers, ""), String::new());
    }
    let text = decoded(headers, body);
    let kind = body::kind(status, headers, &text);
    let text = secrets.redact(&text);
    let words = match kind {
        BodyKind::WebPage => page_words(&text),
        BodyKind::Failure => failure_words(&text),
        BodyKind::Plain | BodyKind::Set(_) => odd_words(&text).unwrap_or_default(),
    };
    let message = match (status, kind, words.is_empty()) {
        (202, BodyKind::Plain | BodyKind::Set(_), true) => ACCEPTED.to_owned(),
        (202, BodyKind::Plain | BodyKind::Set(_), false) => format!("{ACCEPTED}: {words}"),
        _ => words,
    };
    (kind, one_line(&message, MAX_DETAIL))
}

/// RFC 9110, 15.3.3.
const ACCEPTED: &str = "accepted, which may not yet be carried out";

/// Returns the words of a body that says that the change failed; the body itself where it has no message.
fn failure_words(text: &str) -> String {
    match serde_json::from_str::<Value>(text) {
        Ok(json) => json_words(&json).unwrap_or_else(|| bare(&json)),
        Err(_) => first_line(text),
    }
}

/// Returns the words of an `errors` field, which does not contradict the change but should be read.
fn odd_words(text: &str) -> Option<String> {
    let json: Value = serde_json::from_str(text).ok()?;
    if json.get("errors").is_some_and(holds_something) {
        json_words(&json)
    } else {
        None
    }
}

pub(super) fn holds_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::String(text) => !text.trim().is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
    }
}

/// Names the compression of a body that has one, which was not asked for and is not undone.
fn compression(headers: &HeaderMap, body: &[u8], secrets: &Secrets) -> Option<String> {
    let coding = headers
        .get(CONTENT_ENCODING)
        .filter(|coding| *coding != "identity" && !body.is_empty())?;
    let coding = secrets.redact(&String::from_utf8_lossy(coding.as_bytes()));
    Some(format!(
        "(a body compressed by {coding}, which was not asked for)"
    ))
}

fn words(headers: &HeaderMap, body: &[u8], secrets: &Secrets) -> String {
    if let Some(compressed) = compression(headers, body, secrets) {
        return compressed;
    }
    let text = secrets.redact(&decoded(headers, body));
    if let Ok(json) = serde_json::from_str::<Value>(&text) {
        return json_words(&json).unwrap_or_else(|| bare(&json));
    }
    if body::begins_like_html(&text) {
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
    let mut pieces = html.split('<');
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
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
    use crate::domain::Flag;

    fn of_refusal(headers: &HeaderMap, body: &[u8]) -> String {
        super::of_refusal(headers, body, &Secrets::default())
    }

    fn of_success(status: u16, headers: &HeaderMap, body: &[u8]) -> (BodyKind, String) {
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
            for message in [of_refusal(&HeaderMap::new(), &body), of_success(200, &HeaderMap::new(), &body).1] {
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
        for (status, body, kind, message) in [
            (204, "", BodyKind::Plain, ""),
            (
                200,
                r#"{"id": 7, "mfaOptOut": true, "message": "saved"}"#,
                BodyKind::Set(Flag::OptOut),
                "",
            ),
            (200, r#"{"error": null, "errors": []}"#, BodyKind::Plain, ""),
            (200, "OK", BodyKind::Plain, ""),
            (200, r#"{"errors": ["one"]}"#, BodyKind::Plain, "one"),
            (
                200,
                r#"{"error": "not really"}"#,
                BodyKind::Failure,
                "not really",
            ),
            (
                200,
                r#"{"success": false}"#,
                BodyKind::Failure,
                r#"{"success":false}"#,
            ),
            (
                200,
                r#"{"success": false, "error": "cut o"#,
                BodyKind::Failure,
                r#"{"success": false, "error": "cut o"#,
            ),
            (
                207,
                r#"[{"status": 403, "message": "no"}]"#,
                BodyKind::Failure,
                "no",
            ),
            (
                200,
                "<html><title>Sign in</title>",
                BodyKind::WebPage,
                "Sign in",
            ),
            (
                202,
                "",
                BodyKind::Plain,
                "accepted, which may not yet be carried out",
            ),
            (
                202,
                r#"{"errors": ["queue"]}"#,
                BodyKind::Plain,
                "accepted, which may not yet be carried out: queue",
            ),
            (202, r#"{"error": "queue"}"#, BodyKind::Failure, "queue"),
        ] {
            assert_eq!(
                of_success(status, &HeaderMap::new(), body.as_bytes()),
                (kind, message.to_owned()),
                "{status} {body}"
            );
        }
    }

    #[test]
    fn of_a_compressed_success_only_the_label_counts() {
        for (label, kind) in [
            ("text/html", BodyKind::WebPage),
            ("application/json", BodyKind::Plain),
        ] {
            let mut headers = typed(label);
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            let words = "(a body compressed by gzip, which was not asked for)".to_owned();
            assert_eq!(of_success(200, &headers, b"\x1f\x8b\x08"), (kind, words));
        }
    }
}
