//! Words of commands that people paste into a shell.

use std::borrow::Cow;

/// Characters that cmd or PowerShell replaces even between double quotes, or takes for a quote.
const CHANGED_IN_QUOTES: [char; 6] = ['$', '%', '`', '\u{201c}', '\u{201d}', '\u{201e}'];

/// The shells for which a command is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    /// A POSIX shell.
    Posix,
    /// cmd and PowerShell. What is written means the same in both.
    Windows,
}

impl Shell {
    /// The shells of this system.
    pub const OF_THIS_SYSTEM: Self = if cfg!(windows) {
        Self::Windows
    } else {
        Self::Posix
    };

    /// Returns a word of a command, quoted if necessary.
    ///
    /// On Windows, some words mean the same in cmd and PowerShell however they are quoted; see
    /// [`note_on`](Self::note_on) for the others.
    #[must_use]
    pub fn quote(self, word: &str) -> String {
        match self {
            // Only NUL, which no command line can contain, can't be quoted.
            Self::Posix => shlex::try_quote(word)
                .map(Cow::into_owned)
                .unwrap_or_default(),
            Self::Windows if is_plain_on_windows(word) => word.to_owned(),
            Self::Windows => format!("\"{}\"", word.replace('"', "\\\"")),
        }
    }

    /// Returns a sentence for a command with a word that has to be quoted by hand, because cmd and
    /// PowerShell read it in different ways. Returns `None` for any other command.
    #[must_use]
    pub fn note_on(self, command: &str) -> Option<&'static str> {
        let has_last_backslash =
            command.ends_with('\\') || command.contains("\\ ") || command.contains("\\\"");
        if self == Self::Windows && (has_last_backslash || command.contains(CHANGED_IN_QUOTES)) {
            Some(
                "quote this command by hand: cmd and PowerShell read $, %, a backtick, a quotation \
                 mark and a final backslash in different ways",
            )
        } else {
            None
        }
    }

    /// Returns the note on a command in parentheses, to follow the command in a sentence, or an
    /// empty text.
    #[must_use]
    pub fn note_after(self, command: &str) -> String {
        match self.note_on(command) {
            Some(note) => format!(" ({note})"),
            None => String::new(),
        }
    }
}

/// Checks whether cmd and PowerShell leave a word as it is without quotes. PowerShell takes more
/// than cmd for syntax, such as commas, braces and `@` or `~` at the start.
fn is_plain_on_windows(word: &str) -> bool {
    let is_plain = |c: char| c.is_alphanumeric() || r"-_.:\/=+".contains(c);
    !word.is_empty() && word.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_posix_shell_reads_back_each_word() {
        for word in [
            "users.csv",
            "all users.csv",
            "it's",
            "",
            "$HOME `x` !",
            "a\"b\\",
        ] {
            let quoted = Shell::Posix.quote(word);
            assert_eq!(shlex::split(&quoted).unwrap(), [word]);
            assert_eq!(Shell::Posix.note_on(&quoted), None);
        }
    }

    #[test]
    fn on_windows_only_words_that_need_them_get_double_quotes() {
        for word in [
            "users.report.csv",
            r"C:\Users\Bjørn\users.report.csv",
            r"\\server\share\users.csv",
            r"..\users.csv",
            "--rate=600/m",
        ] {
            assert_eq!(Shell::Windows.quote(word), word);
            assert_eq!(Shell::Windows.note_on(word), None, "{word}");
        }
        for word in [
            "",
            "R&D.report.csv",
            r"C:\all users\users.csv",
            "it's.csv",
            "a,b.csv",
            "@users.csv",
            "users(1).csv",
            "a^b.csv",
            r"\\?\C:\users.csv",
        ] {
            let quoted = Shell::Windows.quote(word);
            assert_eq!(quoted, format!("\"{word}\""));
            assert_eq!(Shell::Windows.note_on(&quoted), None, "{word}");
        }
    }

    #[test]
    fn words_that_cmd_and_powershell_read_differently_are_to_be_quoted_by_hand() {
        for word in [
            "100%.csv",
            "$users.csv",
            "a`b.csv",
            r"C:\reports\",
            r"C:\all reports\",
            "say \"x\"",
            "\u{201c}x\u{201d}.csv",
        ] {
            let command = format!("mfa-optout retry {} --yes", Shell::Windows.quote(word));
            assert!(Shell::Windows.note_on(&command).is_some(), "{command}");
            assert_eq!(Shell::Posix.note_on(&command), None, "{command}");
        }
    }
}
