//! Keeps values back that may be secrets typed in the wrong place.

use std::path::Path;

use super::{shorten, visible};

/// The text that is shown instead of a value that may be a secret.
const NOT_SHOWN: &str = "(not shown, it may be a secret)";

/// The minimum length of a value that may be a secret, in characters.
const MIN_SECRET_LEN: usize = 8;

/// The length in characters from which on every single word may be a secret.
const LONG_WORD_LEN: usize = 32;

/// Endings of the names of files that the tool reads and writes, and of files with keys and
/// certificates.
const FILE_ENDINGS: [&str; 24] = [
    "csv", "tsv", "txt", "tab", "xlsx", "xls", "xlsm", "ods", "gz", "json", "html", "htm", "prom",
    "toml", "pem", "crt", "cer", "der", "key", "conf", "cfg", "log", "ini", "report",
];

/// Checks whether a value may be a key or a password that was typed in the wrong place.
///
/// Such a value is a single word that mixes kinds of characters or is very long, and is neither a
/// path nor a file name with a usual ending.
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
    let kinds: u8 = [has_digit, has_upper, has_lower, has_symbol]
        .map(u8::from)
        .iter()
        .sum();
    let mixes_letters_and_digits = value.split(['-', '_', '.']).any(|part| {
        part.contains(char::is_alphabetic) && part.contains(|c: char| c.is_ascii_digit())
    });
    kinds >= 3 || length >= LONG_WORD_LEN || (mixes_letters_and_digits && length >= 12)
}

/// Checks whether a value looks like a path or a file name.
#[must_use]
pub fn is_like_path(value: &str) -> bool {
    begins_like_path(value) || ends_like_file(value) || begins_with_folder(value)
}

fn begins_like_path(value: &str) -> bool {
    let starts = ["/", "./", "../", "~/", "\\", ".\\", "..\\"];
    let drive = value.get(1..3);
    starts.iter().any(|start| value.starts_with(start)) || matches!(drive, Some(":\\" | ":/"))
}

fn ends_like_file(value: &str) -> bool {
    let Some((_, ending)) = value.rsplit_once('.') else {
        return false;
    };
    FILE_ENDINGS.contains(&ending.to_ascii_lowercase().as_str())
}

/// Checks whether a value begins with the name of a folder that is a word without digits. Base64 is
/// not a path.
fn begins_with_folder(value: &str) -> bool {
    let Some((folder, _)) = value.split_once(['/', '\\']) else {
        return false;
    };
    let is_word = !folder.is_empty() && !folder.contains(|c: char| c.is_ascii_digit());
    is_word && !value.contains(['+', '='])
}

/// Returns a value for a message: escaped, shortened, and not at all if it may be a secret.
#[must_use]
pub fn shown_value(value: &str) -> String {
    if may_be_secret(value) {
        NOT_SHOWN.to_owned()
    } else {
        shorten(&visible(value), 60)
    }
}

/// Returns a path for a message: escaped, and not at all if it may be a secret and there is no such
/// file.
#[must_use]
pub fn shown_path(path: &Path) -> String {
    let text = path.to_string_lossy();
    if may_be_secret(&text) && path.symlink_metadata().is_err() {
        NOT_SHOWN.to_owned()
    } else {
        visible(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn paths_that_may_be_secrets_are_shown_if_there_is_such_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("3f2b8c1d9e7a4506");
        std::fs::write(&path, "").unwrap();
        assert!(shown_path(&path).ends_with("3f2b8c1d9e7a4506"));
    }
}
