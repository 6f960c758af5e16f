//! Removes secrets from texts of a server.
//!
//! A server may repeat the key, the password or a token in any form: literally, escaped (JSON, URL,
//! HTML, nested twice), in base64 or in hexadecimal digits.

use std::fmt::{self, Write as _};
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};

/// The text that replaces a secret.
pub(super) const HIDDEN: &str = "(hidden)";

/// The minimum length in bytes of secrets that are also looked for in base64 and hexadecimal
/// digits. Shorter ones would be found everywhere.
const MIN_ENCODED_LEN: usize = 4;

/// The minimum length in characters of the beginning of a secret that is hidden at the end of a
/// text, which may have been cut off in the middle of the secret.
const MIN_CUT_LEN: usize = 8;

/// The maximum nesting of escapes, such as JSON in JSON.
const MAX_NESTING: u8 = 2;

/// The secrets that a run has sent so far. They are not part of the `Debug` text.
#[derive(Default)]
pub(super) struct Secrets {
    patterns: Vec<Pattern>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(hidden)")
    }
}

/// A text to look for.
struct Pattern {
    text: SecretString,
    /// Whether the text is part of a base64 string, so that the digits around it are hidden as
    /// well.
    is_base64: bool,
}

impl Secrets {
    /// Adds a secret in all its forms.
    pub(super) fn add(&mut self, secret: &str) {
        if secret.is_empty() {
            return;
        }
        self.push(secret, false);
        if secret.len() < MIN_ENCODED_LEN {
            return;
        }
        for offset in 0..3 {
            self.push(&base64_core(secret, offset), true);
        }
        let digits = Zeroizing::new(hex("", 2, secret.bytes().map(u32::from)));
        self.push(&digits, false);
    }

    fn push(&mut self, text: &str, is_base64: bool) {
        self.patterns.push(Pattern {
            text: SecretString::from(text),
            is_base64,
        });
    }

    /// Replaces all secrets in a text by [`HIDDEN`].
    pub(super) fn redact(&self, text: &str) -> String {
        let mut found: Vec<Range<usize>> = self
            .patterns
            .iter()
            .flat_map(|pattern| find(text, pattern))
            .collect();
        found.sort_by_key(|range| range.start);
        let mut redacted = String::with_capacity(text.len());
        let mut end = 0;
        for range in found {
            if range.start >= end {
                redacted.push_str(&text[end..range.start]);
                redacted.push_str(HIDDEN);
            }
            end = end.max(range.end);
        }
        redacted.push_str(&text[end..]);
        redacted
    }
}

/// Returns the base64 digits that depend only on the secret if it begins at this offset in a group
/// of three bytes.
fn base64_core(secret: &str, offset: usize) -> Zeroizing<String> {
    let padded = Zeroizing::new([&[0; 3][..offset], secret.as_bytes()].concat());
    let digits = Zeroizing::new(STANDARD_NO_PAD.encode(&*padded));
    let first = (8 * offset).div_ceil(6);
    let last = 8 * padded.len() / 6;
    Zeroizing::new(digits[first..last].to_owned())
}

/// Returns the places of a pattern in a text.
fn find(text: &str, pattern: &Pattern) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut from = 0;
    for (start, _) in text.char_indices() {
        if start < from {
            continue;
        }
        let Some(end) = match_end(text, start, pattern.text.expose_secret()) else {
            continue;
        };
        let range = if pattern.is_base64 {
            with_digits_around(text, start..end)
        } else {
            start..end
        };
        from = range.end;
        found.push(range);
    }
    found
}

/// Extends a match to the base64 digits around it, which contain the rest of the secret's first and
/// last byte.
fn with_digits_around(text: &str, range: Range<usize>) -> Range<usize> {
    let is_digit =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '-' | '_' | '=' | '%');
    let before = text[..range.start].trim_end_matches(is_digit).len();
    let after = text[range.end..].trim_start_matches(is_digit).len();
    before..text.len() - after
}

/// Returns the end of the longest match of `wanted` that begins at `start`.
fn match_end(text: &str, start: usize, wanted: &str) -> Option<usize> {
    let mut ends = vec![start];
    for (matched, c) in wanted.chars().enumerate() {
        if matched >= MIN_CUT_LEN && ends.contains(&text.len()) {
            return Some(text.len());
        }
        ends = after_char(text, &ends, c, MAX_NESTING);
        if ends.is_empty() {
            return None;
        }
    }
    ends.into_iter().max()
}

/// Returns the possible ends of a character, literal or escaped, that begins at any of these
/// places.
fn after_char(text: &str, starts: &[usize], wanted: char, nesting: u8) -> Vec<usize> {
    let mut ends = Vec::new();
    for &start in starts {
        let Some(first) = text[start..].chars().next() else {
            continue;
        };
        if is_alike(first, wanted) {
            ends.push(start + first.len_utf8());
        }
        if nesting == 0 || !matches!(first, '\\' | '%' | '&' | '+') {
            continue;
        }
        // In both cases, because the digits of an escape may be escaped again.
        let upper = escapes(wanted.to_ascii_uppercase());
        for escaped in escapes(wanted).into_iter().chain(upper) {
            let mut places = vec![start];
            for c in escaped.chars() {
                places = after_char(text, &places, c, nesting - 1);
            }
            ends.extend(places);
        }
    }
    ends.sort_unstable();
    ends.dedup();
    ends
}

/// Checks whether two characters are the same apart from their case, or the same digit in the two
/// alphabets of base64.
fn is_alike(found: char, wanted: char) -> bool {
    found.eq_ignore_ascii_case(&wanted) || matches!((found, wanted), ('-', '+') | ('_', '/'))
}

/// Formats each number with a prefix and at least `width` hexadecimal digits.
fn hex(prefix: &str, width: usize, numbers: impl Iterator<Item = u32>) -> String {
    let mut text = String::new();
    for number in numbers {
        let _ = write!(text, "{prefix}{number:0width$x}");
    }
    text
}

/// Returns all escaped forms of a character.
fn escapes(c: char) -> Vec<String> {
    let code = u32::from(c);
    let mut utf8 = [0; 4];
    let bytes = c.encode_utf8(&mut utf8).bytes().map(u32::from);
    let mut utf16 = [0; 2];
    let units = c.encode_utf16(&mut utf16).iter().copied().map(u32::from);
    let mut all = vec![
        hex("%", 2, bytes.clone()),
        hex("\\x", 2, bytes),
        hex("\\u", 4, units),
        format!("\\u{{{code:x}}}"),
        format!("&#{code};"),
        format!("&#0{code};"),
        format!("&#x{code:x};"),
        format!("&#x0{code:x};"),
    ];
    if c.is_ascii_punctuation() {
        all.push(format!("\\{c}"));
    }
    let named = match c {
        '&' => "&amp;",
        '<' => "&lt;",
        '>' => "&gt;",
        '"' => "&quot;",
        '\'' => "&apos;",
        ' ' => "+",
        '\t' => "\\t",
        _ => return all,
    };
    all.push(named.to_owned());
    all
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    use proptest::prelude::*;

    use super::*;

    const PASSWORD: &str = "p\"a<s>s/w&o+r'd%41 \u{e9}\u{1f511}\\x";

    fn secrets(all: &[&str]) -> Secrets {
        let mut secrets = Secrets::default();
        for secret in all {
            secrets.add(secret);
        }
        secrets
    }

    fn url_encoded(text: &str) -> String {
        hex("%", 2, text.bytes().map(u32::from)).to_uppercase()
    }

    fn json(text: &str) -> String {
        serde_json::Value::from(text).to_string()
    }

    fn html(text: &str) -> String {
        let mut html = String::new();
        for c in text.chars() {
            match c {
                '&' => html.push_str("&amp;"),
                '<' => html.push_str("&lt;"),
                '>' => html.push_str("&gt;"),
                '"' => html.push_str("&quot;"),
                '\'' => html.push_str("&#39;"),
                c if c.is_ascii() => html.push(c),
                c => html.push_str(&hex("&#x", 1, std::iter::once(u32::from(c)))),
            }
            if !c.is_ascii() {
                html.push(';');
            }
        }
        html
    }

    fn json_in_ascii(text: &str) -> String {
        hex("\\u", 4, text.encode_utf16().map(u32::from))
    }

    #[test]
    fn a_secret_is_hidden_in_every_encoding() {
        let secrets = secrets(&[PASSWORD]);
        let forms = [
            PASSWORD.to_owned(),
            json(PASSWORD).trim_matches('"').to_owned(),
            json(&json(PASSWORD)).trim_matches('"').to_owned(),
            json_in_ascii(PASSWORD),
            url_encoded(PASSWORD),
            url_encoded(PASSWORD).to_lowercase(),
            url_encoded(&url_encoded(PASSWORD)),
            html(PASSWORD),
            html(&html(PASSWORD)),
            html(&json(PASSWORD)),
            url_encoded(PASSWORD).replace("%20", "+"),
            PASSWORD.escape_default().to_string(),
            hex("", 2, PASSWORD.bytes().map(u32::from)),
            hex("", 2, PASSWORD.bytes().map(u32::from)).to_uppercase(),
            PASSWORD.replace('%', "%25").replace(' ', "%20"),
        ];
        for form in forms {
            let redacted = secrets.redact(&format!("before {form} after"));
            let rest = redacted
                .replace('"', "")
                .replace("&quot;", "")
                .replace('\\', "");
            assert!(
                rest == "before (hidden) after"
                    || rest == "before &amp;quot;(hidden)&amp;quot; after",
                "{form}: {redacted}"
            );
        }
    }

    #[test]
    fn a_secret_is_hidden_in_base64_wherever_it_begins() {
        let secrets = secrets(&["k3y?>~that"]);
        for before in ["", "u", "us", "use", "user:"] {
            for after in ["", "x", "xy", "xyz"] {
                let text = format!("{before}k3y?>~that{after}");
                for encoded in [
                    STANDARD.encode(&text),
                    URL_SAFE.encode(&text),
                    url_encoded(&STANDARD.encode(&text)),
                ] {
                    let redacted = secrets.redact(&format!("Basic {encoded}"));
                    assert_eq!(redacted, "Basic (hidden)", "{text}");
                }
            }
        }
    }

    #[test]
    fn texts_without_a_secret_are_unchanged() {
        let secrets = secrets(&["hunter2", "abcdef-123456"]);
        for text in [
            "",
            "user 7 not found",
            "hunter",
            "Hunter 2",
            "%41%42 \\u0041 &amp; &#65;",
            "the password begins with hunter",
            "\u{1f511} \u{e9}",
        ] {
            assert_eq!(secrets.redact(text), text);
        }
    }

    #[test]
    fn overlapping_secrets_are_hidden_once() {
        let secrets = secrets(&["abcdef", "defghi", "hidden"]);
        assert_eq!(secrets.redact("xabcdefghix abcdef"), "x(hidden)x (hidden)");
    }

    #[test]
    fn the_beginning_of_a_secret_is_hidden_at_the_end_of_a_text() {
        let secrets = secrets(&["k3y-that-is-secret"]);
        assert_eq!(secrets.redact("your key k3y-that"), "your key (hidden)");
        assert_eq!(
            secrets.redact("your key k3y-that too"),
            "your key k3y-that too"
        );
        assert_eq!(secrets.redact("your key k3y-tha"), "your key k3y-tha");
    }

    #[test]
    fn short_secrets_are_hidden_only_if_not_encoded() {
        let secrets = secrets(&["abc", ""]);
        assert_eq!(secrets.redact("abc YWJj 616263"), "(hidden) YWJj 616263");
    }

    proptest! {
        #[test]
        fn arbitrary_texts_are_redacted_completely(secret in r#"[a-z%\\&"+ \u{e9}]{1,8}"#, text in r#"[a-z%\\&;#"+0-9 \u{e9}]{0,64}"#) {
            let redacted = secrets(&[&secret]).redact(&text);
            prop_assert!(redacted.contains(HIDDEN) || redacted == text);
            prop_assert!(HIDDEN.contains(&secret) || !redacted.replace(HIDDEN, "\n").contains(&secret));
        }
    }
}
