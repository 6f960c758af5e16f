//! Text for people: makes text from outside safe to show, keeps back what may be a secret, and
//! formats numbers.

mod command_line;
mod number;
mod secret;
mod shell;
mod system;

use std::path::Path;

pub use self::command_line::{command_line, path_word};
pub use self::number::{countdown, counted, grouped, rough};
pub use self::secret::{is_like_path, may_be_secret, shown_path, shown_value};
pub use self::shell::Shell;
pub use self::system::Reason;

/// Escapes everything in a text that could move a cursor or hide or reorder what is read (CWE-150).
///
/// Control characters (C0, DEL, C1), bidirectional controls, zero-width and other invisible
/// characters become `\u{..}`, line breaks and tabs `\n`, `\r` and `\t`, NUL `\0`.
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

/// Returns a path as it is shown.
#[must_use]
pub fn visible_path(path: &Path) -> String {
    visible(&path.to_string_lossy())
}

fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Returns a message as it is stored in a report: escaped, with white space folded, and cut to
/// `max` characters.
#[must_use]
pub fn one_line(text: &str, max: usize) -> String {
    let folded = text.split_whitespace().collect::<Vec<_>>().join(" ");
    shorten(&visible(&folded), max)
}

/// Cuts a text to at most `max` characters, of which the last is `…` if anything was cut off.
#[must_use]
pub fn shorten(text: &str, max: usize) -> String {
    if text.chars().nth(max).is_none() {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(max.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// Checks whether a spreadsheet would take a cell with this text for a formula (OWASP ASVS 1.2.10),
/// full-width forms included.
#[must_use]
pub fn looks_like_formula(cell: &str) -> bool {
    cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\0', '＝', '＋', '－', '＠'])
}

/// Puts a `'` before everything that a spreadsheet would take for a formula.
///
/// Formulas are looked for at the start and after each comma, semicolon, tab or bar, because a
/// spreadsheet may take any of them for the delimiter of the report.
#[must_use]
pub fn without_formula(text: &str) -> String {
    let mut defused = String::with_capacity(text.len() + 1);
    if looks_like_formula(text) {
        defused.push('\'');
    }
    let mut starts_cell = false;
    for (at, c) in text.char_indices() {
        if starts_cell && looks_like_formula(&text[at..]) {
            defused.push('\'');
        }
        starts_cell = match c {
            ',' | ';' | '\t' | '|' => true,
            // Spreadsheets skip spaces and quotes at the start of a cell.
            ' ' | '"' => starts_cell,
            _ => false,
        };
        defused.push(c);
    }
    defused
}

/// Appends a cell to a line of CSV (RFC 4180), quoted if necessary.
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

/// Appends cells to a line of CSV, with commas between them.
pub fn push_csv_cells<'a>(out: &mut Vec<u8>, cells: impl IntoIterator<Item = &'a str>) {
    for (index, cell) in cells.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_csv_cell(out, cell.as_bytes());
    }
}

/// Checks whether a cell, or any of several cells that are checked together, has to be quoted.
#[must_use]
pub fn needs_quotes(cells: &[u8]) -> bool {
    memchr::memchr3(b',', b'"', b'\n', cells).is_some() || memchr::memchr(b'\r', cells).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_and_invisible_characters_are_escaped() {
        assert_eq!(
            visible("a\x1b[2Jb\u{202e}c\u{9b}d\u{200b}"),
            "a\\u{1b}[2Jb\\u{202e}c\\u{9b}d\\u{200b}"
        );
        assert_eq!(visible("tab\there\0"), "tab\\there\\0");
        assert_eq!(visible("Zoë 日本"), "Zoë 日本");
    }

    #[test]
    fn one_line_folds_white_space_and_cuts() {
        assert_eq!(one_line("  a\r\n  b  ", 500), "a b");
        assert_eq!(one_line("abcdef", 4), "abc…");
        assert_eq!(one_line("abcd", 4), "abcd");
    }

    #[test]
    fn formulas_get_an_apostrophe_and_words_do_not() {
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", "＝1"] {
            assert!(without_formula(formula).starts_with('\''), "{formula}");
        }
        for text in ["404 not found", "a, b; c | d", "2-1 = 1", "a;b=1"] {
            assert_eq!(without_formula(text), text);
        }
    }

    #[test]
    fn formulas_after_any_delimiter_get_an_apostrophe() {
        for (text, defused) in [
            ("no;=1+1", "no;'=1+1"),
            ("no\t=1+1", "no\t'=1+1"),
            ("no|=1+1", "no|'=1+1"),
            ("no,=1+1", "no,'=1+1"),
            ("no; @SUM(1)", "no; '@SUM(1)"),
            ("no;\"=1+1\"", "no;\"'=1+1\""),
            ("no;;+1", "no;;'+1"),
            ("no;\u{ff1d}1", "no;'\u{ff1d}1"),
            ("=1;=2", "'=1;'=2"),
        ] {
            assert_eq!(without_formula(text), defused, "{text}");
        }
    }
}
