//! Commands of this program that a person can paste into a shell.

use std::ffi::OsString;
use std::path::Path;

use super::Shell;

/// Returns a command of this program: its name as it was called, and these words, quoted where the
/// shell needs it.
#[must_use]
pub fn command_line(words: impl IntoIterator<Item = OsString>) -> String {
    let words = std::iter::once(this_program()).chain(words);
    let quoted: Vec<String> = words
        .map(|word| Shell::OF_THIS_SYSTEM.quote(&word.to_string_lossy()))
        .collect();
    quoted.join(" ")
}

/// Returns the name by which the program was called, because its folder may not be in `PATH`.
fn this_program() -> OsString {
    let called = std::env::args_os()
        .next()
        .filter(|called| cfg!(unix) && !called.is_empty());
    called.unwrap_or_else(|| "mfa-optout".into())
}

/// Returns a path as a word that is not mistaken for an option.
#[must_use]
pub fn path_word(path: &Path) -> OsString {
    let taken_for_an_option = path.as_os_str().as_encoded_bytes().starts_with(b"-");
    if taken_for_an_option {
        Path::new(".").join(path).into()
    } else {
        path.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)] // a POSIX shell; see `Shell` for the others
    #[test]
    fn shell_takes_the_words_as_they_were() {
        let words = [
            "users.csv",
            "all users.csv",
            "it's",
            "",
            "$HOME `x` !",
            "--rate=600/m",
            "a\"b\\",
        ];
        let line = command_line(words.into_iter().map(OsString::from));
        assert_eq!(shlex::split(&line).unwrap()[1..], words);
        assert!(line.contains(" users.csv 'all users.csv' "), "{line}");
    }

    #[test]
    fn path_that_looks_like_an_option_begins_with_its_folder() {
        let word = path_word(Path::new("-x.csv"));
        assert_eq!(Path::new(&word), Path::new("./-x.csv"));
        assert!(!word.to_string_lossy().starts_with('-'));
        assert_eq!(path_word(Path::new("x.csv")), "x.csv");
    }
}
