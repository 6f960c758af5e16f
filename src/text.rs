//! Makes text from outside harmless: for one line of a terminal, and for a cell that a CSV reader or a spreadsheet will
//! open. Pure. What a text means is not decided here.

/// The text on one line, with nothing in it that could move a cursor, reorder or hide what is read: control characters
/// (C0, DEL, C1), bidirectional controls, zero-width and other invisible characters are written as `\u{..}`, line
/// breaks and tabs as `\n`, `\r`, `\t`, NUL as `\0` (CWE-150).
#[must_use]
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0' => out.push_str("\\0"),
            c if is_unsafe(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A message as it is kept in a report: visible, its white space folded, cut to `max` characters with `…` at the end.
#[must_use]
pub fn one_line(text: &str, max: usize) -> String {
    let folded = text.split_whitespace().collect::<Vec<_>>().join(" ");
    shorten(&visible(&folded), max)
}

/// At most `max` characters, the last one `…` where something was cut off.
#[must_use]
pub fn shorten(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        None => text.to_owned(),
        Some(_) => text
            .chars()
            .take(max.saturating_sub(1))
            .chain(['…'])
            .collect(),
    }
}

/// Whether a spreadsheet would take a cell with this text for a formula (OWASP ASVS 1.2.10), full-width forms included.
#[must_use]
pub fn looks_like_formula(cell: &str) -> bool {
    cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\0', '＝', '＋', '－', '＠'])
}

/// The text with a `'` in front where a spreadsheet would take it for a formula.
#[must_use]
pub fn without_formula(text: String) -> String {
    if looks_like_formula(&text) {
        format!("'{text}")
    } else {
        text
    }
}

/// Adds a cell as CSV writes it (RFC 4180): quoted where it must be, and where a reader could take it for something else.
pub fn push_csv_cell(out: &mut Vec<u8>, cell: &[u8]) {
    if !needs_quotes(cell) {
        out.extend_from_slice(cell);
        return;
    }
    out.push(b'"');
    for byte in cell {
        if *byte == b'"' {
            out.push(b'"');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

/// Whether a cell, or one of several that are looked at together, has to be quoted.
#[must_use]
pub fn needs_quotes(cells: &[u8]) -> bool {
    memchr::memchr3(b',', b'"', b'\n', cells).is_some() || memchr::memchr(b'\r', cells).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_moves_a_cursor_is_left() {
        assert_eq!(
            visible("a\x1b[2Jb\u{202e}c\u{9b}d\u{200b}"),
            "a\\u{1b}[2Jb\\u{202e}c\\u{9b}d\\u{200b}"
        );
        assert_eq!(visible("tab\there\0"), "tab\\there\\0");
        assert_eq!(visible("Zoë 日本"), "Zoë 日本");
    }

    #[test]
    fn one_line_is_one_line_and_short() {
        assert_eq!(one_line("  a\r\n  b  ", 500), "a b");
        assert_eq!(one_line("abcdef", 4), "abc…");
        assert_eq!(one_line("abcd", 4), "abcd");
    }

    #[test]
    fn formulas_are_quoted_and_words_are_not() {
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", "＝1"] {
            assert!(
                without_formula(formula.to_owned()).starts_with('\''),
                "{formula}"
            );
        }
        assert_eq!(without_formula("404 not found".to_owned()), "404 not found");
    }
}
