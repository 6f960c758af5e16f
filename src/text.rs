//! Makes text from outside harmless: for one line of a terminal, and for a cell that a CSV reader or a spreadsheet will
//! open; and keeps values back that may be secrets typed in the wrong place. Pure.

use std::path::Path;

use std::borrow::Cow;

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

/// Returns a word as a shell takes it, quoted where needed.
#[must_use]
pub fn shell_word(word: &str) -> String {
    // Only what no command line can have, NUL, can't be quoted.
    shlex::try_quote(word)
        .map(Cow::into_owned)
        .unwrap_or_default()
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

/// Puts a `'` in front of everything that a spreadsheet would take for a formula: at the start, and behind a comma,
/// semicolon, tab or bar, for a report may be opened with one of them as its delimiter.
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
            // Readers skip blanks and quotes at the start of a cell.
            ' ' | '"' => starts_cell,
            _ => false,
        };
        defused.push(c);
    }
    defused
}

/// What is shown instead of a value that may be a secret.
const NOT_SHOWN: &str = "(not shown, it may be a secret)";

/// Shortest value that is taken for a secret.
const MIN_SECRET_LEN: usize = 8;

/// From this length on, a single word is taken for a secret whatever it is made of.
const LONG_WORD_LEN: usize = 32;

/// Endings of the files that the tool reads and writes, and of those that hold keys and certificates.
const FILE_ENDINGS: [&str; 24] = [
    "csv", "tsv", "txt", "tab", "xlsx", "xls", "xlsm", "ods", "gz", "json", "html", "htm", "prom",
    "toml", "pem", "crt", "cer", "der", "key", "conf", "cfg", "log", "ini", "report",
];

/// Checks whether a value may be a key or a password that was typed in the wrong place: one word, neither a path nor a
/// name with a usual ending, that mixes kinds of characters or is very long.
#[must_use]
pub fn may_be_secret(value: &str) -> bool {
    // The tool adds this ending to the name of a report.
    let value = value.strip_suffix(".partial").unwrap_or(value);
    let length = value.chars().count();
    if length < MIN_SECRET_LEN || is_like_path(value) {
        return false;
    }
    if value.contains(char::is_whitespace) {
        return false;
    }
    let has_digit = value.contains(|c: char| c.is_ascii_digit());
    let has_upper = value.contains(char::is_uppercase);
    let has_lower = value.contains(char::is_lowercase);
    let has_symbol =
        value.contains(|c: char| !c.is_alphanumeric() && !matches!(c, '-' | '_' | '.'));
    let kinds = [has_digit, has_upper, has_lower, has_symbol];
    let kinds = kinds.into_iter().filter(|has_kind| *has_kind).count();
    let mixes_letters_and_digits = value.split(['-', '_', '.']).any(|part| {
        part.contains(char::is_alphabetic) && part.contains(|c: char| c.is_ascii_digit())
    });
    kinds >= 3 || length >= LONG_WORD_LEN || (mixes_letters_and_digits && length >= 12)
}

/// Checks whether a value begins like a path, begins with a folder whose name is a word, or ends like a file.
#[must_use]
pub fn is_like_path(value: &str) -> bool {
    let begins_like_path = ["/", "./", "../", "~/", "\\", ".\\", "..\\"]
        .iter()
        .any(|start| value.starts_with(start))
        || value
            .get(1..3)
            .is_some_and(|drive| drive == ":\\" || drive == ":/");
    let ending = value.rsplit_once('.').map(|(_, ending)| ending);
    let ends_like_file =
        ending.is_some_and(|ending| FILE_ENDINGS.contains(&ending.to_ascii_lowercase().as_str()));
    let is_word = |part: &str| !part.is_empty() && !part.contains(|c: char| c.is_ascii_digit());
    let mut folders = value.split(['/', '\\']).peekable();
    let first_is_word = folders.next().is_some_and(is_word) && folders.peek().is_some();
    begins_like_path || ends_like_file || (first_is_word && !value.contains(['+', '=']))
}

/// Returns a value as a message repeats it: harmless, shortened, and not at all if it may be a secret.
#[must_use]
pub fn shown_value(value: &str) -> String {
    if may_be_secret(value) {
        NOT_SHOWN.to_owned()
    } else {
        shorten(&visible(value), 60)
    }
}

/// Returns a path as a message names it: harmless, and not at all if it may be a secret and there is no such file.
#[must_use]
pub fn shown_path(path: &Path) -> String {
    let text = path.to_string_lossy();
    if may_be_secret(&text) && path.symlink_metadata().is_err() {
        NOT_SHOWN.to_owned()
    } else {
        visible(&text)
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
            assert!(without_formula(formula).starts_with('\''), "{formula}");
        }
        for text in ["404 not found", "a, b; c | d", "2-1 = 1", "a;b=1"] {
            assert_eq!(without_formula(text), text);
        }
    }

    #[test]
    fn formulas_behind_any_delimiter_are_defused() {
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

    #[test]
    fn values_that_may_be_secrets_are_not_shown() {
        for secret in [
            "k3y-that-must-never-be-seen-9f27",
            "Tr0ub4dor&3",
            "3f2b8c1d9e7a4506",
            "3f2b8c1d-9e7a-4506-b1c2-d3e4f5a6b7c8",
            "aGVsbG8/d29ybGQ+Zm9v",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
            "correcthorsebatterystaplecorrecthorse",
            "Secret123",
            "Secret123.partial",
        ] {
            assert_eq!(shown_value(secret), NOT_SHOWN, "{secret}");
            assert_eq!(shown_path(Path::new(secret)), NOT_SHOWN, "{secret}");
        }
    }

    #[test]
    fn values_that_are_words_paths_or_numbers_are_shown() {
        for value in [
            "",
            "none",
            "10",
            "600/m",
            "production",
            "users-2026-11-28.csv",
            "Export_2026.report.csv",
            "/run/secrets/3f2b8c1d9e7a4506",
            "./3f2b8c1d9e7a4506",
            "C:\\keys\\Key2026",
            "keys/Production2026",
            "Europe/Atlantis",
            "12345678901234567890",
            "my key file 2026",
            "windows-1252",
            "applied,failed",
        ] {
            assert_eq!(shown_value(value), value);
        }
    }

    #[test]
    fn a_file_that_exists_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("3f2b8c1d9e7a4506");
        std::fs::write(&path, "").unwrap();
        assert!(shown_path(&path).ends_with("3f2b8c1d9e7a4506"));
    }
}
