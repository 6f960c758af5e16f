//! Extracts the server's own message from the body of a response, as one line that is safe to
//! print.
//!
//! The body may be JSON, HTML, plain text or anything else.

use encoding_rs::{Encoding, UTF_8};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use quick_xml::escape::{resolve_predefined_entity, unescape_with};
use serde_json::Value;

use super::body;
use super::redact::Secrets;
use crate::domain::{BodyKind, MAX_DETAIL};
use crate::text::one_line;

/// The status of a request that may not have been carried out yet (RFC 9110, section 15.3.3).
const ACCEPTED_STATUS: u16 = 202;

/// The message of such a response.
const ACCEPTED: &str = "accepted, which may not yet be carried out";

/// Returns the message of a response that is not a success. It is empty if the server gave none.
pub(super) fn of_refusal(headers: &HeaderMap, body: &[u8], secrets: &Secrets) -> String {
    one_line(&words(headers, body, secrets), MAX_DETAIL)
}

/// Returns what the body of a success says about the change, and the message that a person should
/// read.
///
/// The message is empty for most successes. A 202, an error, a web page and a compressed body have
/// one.
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
    if body.is_empty() && status != ACCEPTED_STATUS {
        return (body::kind(status, headers, ""), String::new());
    }
    let text = decoded(headers, body);
    let kind = body::kind(status, headers, &text);
    let text = secrets.redact(&text);
    let message = match kind {
        BodyKind::WebPage => page_words(&text),
        BodyKind::Failure => failure_words(&text),
        BodyKind::Plain | BodyKind::Set(_) => {
            let errors = errors_field(&text).unwrap_or_default();
            match (status, errors.is_empty()) {
                (ACCEPTED_STATUS, true) => ACCEPTED.to_owned(),
                (ACCEPTED_STATUS, false) => format!("{ACCEPTED}: {errors}"),
                _ => errors,
            }
        }
    };
    (kind, one_line(&message, MAX_DETAIL))
}

/// Returns the message of a body that reports a failure, or the body itself if it has no message.
fn failure_words(text: &str) -> String {
    match serde_json::from_str::<Value>(text) {
        Ok(json) => json_or_its_words(&json),
        Err(_) => first_line(text),
    }
}

/// Returns the message of an `errors` field, which does not contradict the change but should be
/// read.
fn errors_field(text: &str) -> Option<String> {
    let json: Value = serde_json::from_str(text).ok()?;
    if is_blank(json.get("errors")?) {
        None
    } else {
        json_words(&json)
    }
}

/// Checks whether a JSON value is null, false or empty.
pub(super) fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::String(text) => text.trim().is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

/// Returns a message if the body is compressed, which was not asked for and is not undone.
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
        return json_or_its_words(&json);
    }
    if body::begins_like_html(&text) {
        page_words(&text)
    } else {
        first_line(&text)
    }
}

/// Decodes the body by its byte order mark, or else by the character set of its `Content-Type`, or
/// else as UTF-8. Invalid bytes are replaced.
fn decoded(headers: &HeaderMap, body: &[u8]) -> String {
    let encoding = charset(headers).unwrap_or(UTF_8);
    let (text, _, _) = encoding.decode(body);
    text.into_owned()
}

fn charset(headers: &HeaderMap) -> Option<&'static Encoding> {
    let content_type = headers
        .get(CONTENT_TYPE)?
        .to_str()
        .ok()?
        .to_ascii_lowercase();
    let (_, rest) = content_type.split_once("charset=")?;
    let label = rest.split(';').next()?.trim().trim_matches(['"', '\'']);
    Encoding::for_label(label.as_bytes())
}

/// The fields that may hold the message, the most telling first; `detail` and `title` are those of
/// RFC 9457.
const MESSAGE_FIELDS: [&str; 6] = [
    "message",
    "detail",
    "error_description",
    "error",
    "errors",
    "title",
];

/// Returns the message of a JSON body, if it has one in a usual place.
fn json_words(json: &Value) -> Option<String> {
    match json {
        Value::String(text) => Some(text.clone()).filter(|text| !text.trim().is_empty()),
        Value::Array(items) => {
            let all: Vec<_> = items.iter().filter_map(json_words).collect();
            if all.is_empty() {
                None
            } else {
                Some(all.join("; "))
            }
        }
        Value::Object(fields) => MESSAGE_FIELDS
            .into_iter()
            .find_map(|field| fields.get(field).and_then(json_words)),
        _ => None,
    }
}

/// Returns the message of a JSON body, or the body itself if it has none. The result is empty for a
/// blank body.
fn json_or_its_words(json: &Value) -> String {
    match json_words(json) {
        Some(words) => words,
        None if is_blank(json) => String::new(),
        None => json.to_string(),
    }
}

/// Returns the title of a page, or its text if it has no title.
fn page_words(html: &str) -> String {
    let title = title(html).unwrap_or_default();
    if title.trim().is_empty() {
        unescaped(&without_tags(html))
    } else {
        unescaped(title)
    }
}

fn title(html: &str) -> Option<&str> {
    // Keeps all bytes but letters, so that positions are the same.
    let lower = html.to_ascii_lowercase();
    let tag = lower.find("<title")?;
    let start = tag + lower[tag..].find('>')? + 1;
    let end = start + lower[start..].find("</title")?;
    Some(&html[start..end])
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

/// Replaces character references. A text with an unknown or incomplete one is returned as it is.
fn unescaped(text: &str) -> String {
    let resolve = |name: &str| match name {
        "nbsp" => Some(" "),
        name => resolve_predefined_entity(name),
    };
    match unescape_with(text, resolve) {
        Ok(text) => text.into_owned(),
        Err(_) => text.to_owned(),
    }
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
    fn the_message_is_found_in_bodies_of_all_kinds() {
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
    fn other_character_sets_are_decoded_and_invalid_bytes_replaced() {
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
    fn control_characters_are_escaped_and_long_messages_cut() {
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
        fn messages_of_arbitrary_bodies_are_short_and_safe(
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
    fn a_compressed_body_is_reported_and_not_shown() {
        let headers = HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static("gzip"))]);
        assert_eq!(
            of_refusal(&headers, b"\x1f\x8b\x08"),
            "(a body compressed by gzip, which was not asked for)"
        );
        assert_eq!(of_refusal(&headers, b""), "");
    }

    #[test]
    fn a_success_has_a_message_only_if_it_is_unusual() {
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
    fn a_compressed_success_is_judged_by_its_content_type() {
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
