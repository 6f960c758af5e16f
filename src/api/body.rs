//! Finds out what the body of a 2xx response says about the change.
//!
//! It may say nothing, give the value that is set now, report a failure, or be a web page instead
//! of an answer of the API. Whether the change counts as confirmed is decided in `policy`.

use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::message;
use crate::domain::{BodyKind, Flag};

/// The status of a response that reports on several parts (RFC 4918, section 11.1).
const MULTI_STATUS: u16 = 207;

/// Tags that an HTML document can begin with: those of the WHATWG MIME Sniffing standard, section
/// 7.1, and `meta`, `form` and `center`.
const HTML_TAGS: [&str; 20] = [
    "!doctype html",
    "html",
    "head",
    "script",
    "iframe",
    "h1",
    "div",
    "font",
    "table",
    "a",
    "style",
    "title",
    "b",
    "body",
    "br",
    "p",
    "meta",
    "form",
    "center",
    "!--",
];

/// Returns what the body of a 2xx response says about the change. `text` is the decoded part of the
/// body that was read.
pub(super) fn kind(status: u16, headers: &HeaderMap, text: &str) -> BodyKind {
    if is_web_page(headers, text) {
        return BodyKind::WebPage;
    }
    if text.is_empty() {
        return BodyKind::Plain;
    }
    if status == MULTI_STATUS && has_failed_parts(text) {
        return BodyKind::Failure;
    }
    top_level(text).kind()
}

/// Returns what the `Content-Type` says about a body that can't be read.
pub(super) fn kind_by_label(headers: &HeaderMap) -> BodyKind {
    if is_labelled_html(headers) {
        BodyKind::WebPage
    } else {
        BodyKind::Plain
    }
}

/// Checks whether a text begins with an HTML tag.
pub(super) fn begins_like_html(text: &str) -> bool {
    begins_with_html_tag(after_preamble(text))
}

/// Checks whether the body is an HTML document, by its first tag or by its `Content-Type`.
///
/// JSON with the wrong `Content-Type` is not one, and neither is an empty body.
fn is_web_page(headers: &HeaderMap, text: &str) -> bool {
    if begins_like_html(text) {
        return true;
    }
    let text = after_preamble(text);
    if !is_labelled_html(headers) || text.starts_with(['{', '[']) {
        return false;
    }
    !text.is_empty() || announces_a_body(headers)
}

/// Returns the text from its first tag on, without leading white space, XML declaration and
/// comments.
fn after_preamble(text: &str) -> &str {
    let mut rest = text.trim_start_matches('\u{feff}').trim_start();
    loop {
        let end = if rest.starts_with("<!--") {
            "-->"
        } else if rest.starts_with("<?xml") {
            "?>"
        } else {
            return rest;
        };
        match rest.split_once(end) {
            Some((_, after)) => rest = after.trim_start(),
            None => return rest,
        }
    }
}

fn begins_with_html_tag(text: &str) -> bool {
    let Some(tag) = text.strip_prefix('<') else {
        return false;
    };
    HTML_TAGS.iter().any(|name| {
        let begins = tag
            .get(..name.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(name));
        let next = tag.get(name.len()..).and_then(|rest| rest.chars().next());
        begins && (*name == "!--" || next.is_none_or(|c| c.is_whitespace() || c == '>'))
    })
}

fn is_labelled_html(headers: &HeaderMap) -> bool {
    let Some(content_type) = text_of(headers, &CONTENT_TYPE) else {
        return false;
    };
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    ["text/html", "application/xhtml+xml"]
        .iter()
        .any(|html| essence.eq_ignore_ascii_case(html))
}

/// Checks whether the headers announce a body, even if nothing of it has arrived.
fn announces_a_body(headers: &HeaderMap) -> bool {
    let Some(length) = text_of(headers, &CONTENT_LENGTH) else {
        return false;
    };
    length.trim().parse().is_ok_and(|length: u64| length > 0)
}

fn text_of<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// What the fields at the top level of a JSON object say about a change.
#[derive(Debug, Default)]
struct TopLevel {
    is_opted_out: bool,
    is_opted_in: bool,
    has_failed: bool,
}

impl TopLevel {
    fn kind(&self) -> BodyKind {
        let contradicts_itself = self.is_opted_out && self.is_opted_in;
        if self.has_failed || contradicts_itself {
            BodyKind::Failure
        } else if self.is_opted_out {
            BodyKind::Set(Flag::OptOut)
        } else if self.is_opted_in {
            BodyKind::Set(Flag::OptIn)
        } else {
            BodyKind::Plain
        }
    }

    fn note_flag(&mut self, value: &Value) {
        let word = match value {
            Value::Bool(flag) => flag.to_string(),
            Value::String(word) => word.trim().to_ascii_lowercase(),
            _ => return,
        };
        self.is_opted_out |= word == "true";
        self.is_opted_in |= word == "false";
    }
}

/// Reads the fields at the top level of a JSON object.
///
/// A body that is cut off is read up to that point. A field counts if its value is complete, and
/// `error` even if it is not.
fn top_level(text: &str) -> TopLevel {
    let mut found = TopLevel::default();
    let mut json = serde_json::Deserializer::from_str(text.trim_start_matches('\u{feff}'));
    // An error in the rest of the text does not matter: the fields before it have been read.
    let _ = serde::Deserializer::deserialize_any(&mut json, &mut found);
    found
}

impl<'de> Visitor<'de> for &mut TopLevel {
    type Value = ();

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while let Some(name) = fields.next_key::<String>()? {
            match name.as_str() {
                "mfaOptOut" => self.note_flag(&fields.next_value()?),
                "success" => self.has_failed |= fields.next_value::<Value>()? == Value::Bool(false),
                "error" => {
                    // Set first, so that it also counts if the value is cut off.
                    let failed_before = std::mem::replace(&mut self.has_failed, true);
                    let error: Value = fields.next_value()?;
                    self.has_failed = failed_before || !message::is_blank(&error);
                }
                _ => {
                    fields.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Checks whether a multi-status body reports that a part failed.
///
/// Such a body is JSON with a failing status, `success: false` or an `error` at any depth, or XML
/// with a status line of 400 to 599.
fn has_failed_parts(text: &str) -> bool {
    match serde_json::from_str::<Value>(text) {
        Ok(json) => is_failed_part(&json),
        Err(_) => text.split("HTTP/").skip(1).any(|rest| {
            let status = rest.split_whitespace().nth(1).unwrap_or_default();
            is_failing_status(status.get(..3).unwrap_or_default())
        }),
    }
}

fn is_failed_part(json: &Value) -> bool {
    match json {
        Value::Array(parts) => parts.iter().any(is_failed_part),
        Value::Object(fields) => fields.iter().any(|(name, value)| match name.as_str() {
            "success" => *value == Value::Bool(false),
            "error" | "errors" => !message::is_blank(value),
            "status" | "statusCode" | "status_code" | "code" => match value {
                Value::Number(status) => is_failing_status(&status.to_string()),
                // `404 Not Found` or `HTTP/1.1 404 Not Found`.
                Value::String(status) => status.split_whitespace().take(2).any(is_failing_status),
                other => is_failed_part(other),
            },
            _ => is_failed_part(value),
        }),
        _ => false,
    }
}

fn is_failing_status(text: &str) -> bool {
    text.parse::<u16>()
        .is_ok_and(|status| (400..600).contains(&status))
}

#[cfg(test)]
mod tests {
    use http::header::HeaderValue;

    use super::*;

    const JSON: &str = "application/json";

    fn kind_of(status: u16, content_type: &str, body: &str) -> BodyKind {
        let headers = HeaderMap::from_iter([
            (CONTENT_TYPE, HeaderValue::from_str(content_type).unwrap()),
            (CONTENT_LENGTH, HeaderValue::from(body.len())),
        ]);
        kind(status, &headers, body)
    }

    #[test]
    fn a_body_with_an_html_tag_first_is_a_web_page_whatever_its_content_type() {
        for body in [
            "<!DOCTYPE html><title>Sign in</title>",
            "<html>",
            "\u{feff}\r\n  <HTML lang=\"en\">",
            "<!-- a proxy's remark -->\n<!-- another --><html>",
            "<?xml version=\"1.0\"?>\n<!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0\">",
            "<title>Sign in</title>",
            "<script>location = '/login'</script>",
            "<meta http-equiv=refresh content=0>",
            "<!-- never closed",
            "<body",
        ] {
            assert_eq!(kind_of(200, JSON, body), BodyKind::WebPage, "{body}");
        }
        for body in [
            "<D:multistatus>",
            "<broken",
            "<bodyguard>",
            "a < b",
            "OK",
            "<",
            "",
        ] {
            assert_eq!(kind_of(200, JSON, body), BodyKind::Plain, "{body}");
        }
    }

    #[test]
    fn a_body_labelled_html_is_a_web_page_unless_it_is_json_or_empty() {
        for content_type in [
            "text/html",
            "Text/HTML; charset=utf-8",
            "application/xhtml+xml",
        ] {
            assert_eq!(kind_of(200, content_type, "Sign in"), BodyKind::WebPage);
            assert_eq!(kind_of(200, content_type, ""), BodyKind::Plain);
            assert_eq!(kind_of(200, content_type, " {\"id\": 7}"), BodyKind::Plain);
            let contradiction = "{\"success\": false}";
            assert_eq!(kind_of(200, content_type, contradiction), BodyKind::Failure);
        }
        let headers = HeaderMap::from_iter([
            (CONTENT_TYPE, HeaderValue::from_static("text/html")),
            (CONTENT_LENGTH, HeaderValue::from_static("100")),
        ]);
        assert_eq!(
            kind(200, &headers, ""),
            BodyKind::WebPage,
            "none of it has arrived"
        );
    }

    #[test]
    fn only_fields_at_the_top_level_count() {
        for (body, expected) in [
            (r#"{"mfaOptOut": true}"#, BodyKind::Set(Flag::OptOut)),
            (r#"{"mfaOptOut": false}"#, BodyKind::Set(Flag::OptIn)),
            (r#"{"mfaOptOut": "False"}"#, BodyKind::Set(Flag::OptIn)),
            (r#"{"mfaOptOut": null}"#, BodyKind::Plain),
            (
                r#"{"mfaOptOut": true, "mfaOptOut": false}"#,
                BodyKind::Failure,
            ),
            (r#"{"user": {"mfaOptOut": false}}"#, BodyKind::Plain),
            (r#"[{"mfaOptOut": false}]"#, BodyKind::Plain),
            (r#"{"success": false}"#, BodyKind::Failure),
            (r#"{"success": true}"#, BodyKind::Plain),
            (r#"{"success": "no"}"#, BodyKind::Plain),
            (
                r#"{"success": false, "mfaOptOut": true}"#,
                BodyKind::Failure,
            ),
            (r#"{"error": null, "id": 7}"#, BodyKind::Plain),
            (r#"{"error": false}"#, BodyKind::Plain),
            (r#"{"error": ""}"#, BodyKind::Plain),
            (r#"{"error": []}"#, BodyKind::Plain),
            (r#"{"error": {}}"#, BodyKind::Plain),
            (r#"{"error": "not really"}"#, BodyKind::Failure),
            (r#"{"error": true}"#, BodyKind::Failure),
            (r#"{"error": {"code": 7}}"#, BodyKind::Failure),
            (r#"{"error": "x", "error": null}"#, BodyKind::Failure),
            (
                r#"{"data": {"error": "x", "success": false}}"#,
                BodyKind::Plain,
            ),
            ("\u{feff} {\"success\": false}", BodyKind::Failure),
            (r#""error""#, BodyKind::Plain),
            ("error: true", BodyKind::Plain),
            ("7", BodyKind::Plain),
            ("", BodyKind::Plain),
        ] {
            assert_eq!(kind_of(200, JSON, body), expected, "{body}");
        }
    }

    #[test]
    fn fields_before_the_end_of_a_cut_body_count() {
        let long = "x".repeat(64 << 10);
        for (body, expected) in [
            (
                format!("{{\"success\": false, \"log\": \"{long}"),
                BodyKind::Failure,
            ),
            (format!("{{\"error\": \"{long}"), BodyKind::Failure),
            (
                format!("{{\"error\": {}", "[".repeat(60_000)),
                BodyKind::Failure,
            ),
            (
                format!("{{\"mfaOptOut\": false, \"log\": [\"{long}"),
                BodyKind::Set(Flag::OptIn),
            ),
            (format!("{{\"log\": \"{long}"), BodyKind::Plain),
            (
                format!("{{\"log\": {}", "[".repeat(60_000)),
                BodyKind::Plain,
            ),
        ] {
            assert_eq!(kind_of(200, JSON, &body), expected, "{}", &body[..30]);
        }
    }

    #[test]
    fn a_207_with_a_failed_part_is_a_failure() {
        for (body, expected) in [
            (r#"[{"id": 7, "status": 204}]"#, BodyKind::Plain),
            (
                r#"[{"id": 7, "status": 204}, {"status": 403}]"#,
                BodyKind::Failure,
            ),
            (r#"{"results": [{"statusCode": 500}]}"#, BodyKind::Failure),
            (
                r#"{"results": [{"status": "HTTP/1.1 404 Not Found"}]}"#,
                BodyKind::Failure,
            ),
            (
                r#"{"results": [{"status": "404 Not Found"}]}"#,
                BodyKind::Failure,
            ),
            (r#"{"results": [{"status": "ok"}]}"#, BodyKind::Plain),
            (r#"{"results": [{"success": false}]}"#, BodyKind::Failure),
            (
                r#"{"results": [{"error": {"message": "no"}}]}"#,
                BodyKind::Failure,
            ),
            (r#"{"status": {"code": 422}}"#, BodyKind::Failure),
            (
                "<?xml version=\"1.0\"?><D:multistatus><D:status>HTTP/1.1 423 Locked</D:status>",
                BodyKind::Failure,
            ),
            (
                "<?xml version=\"1.0\"?><D:multistatus><D:status>HTTP/1.1 200 OK</D:status>",
                BodyKind::Plain,
            ),
            ("", BodyKind::Plain),
        ] {
            assert_eq!(kind_of(207, JSON, body), expected, "{body}");
        }
        let nested = r#"[{"status": 403}]"#;
        assert_eq!(
            kind_of(200, JSON, nested),
            BodyKind::Plain,
            "only a 207 has parts"
        );
    }
}
