//! What an error of the operating system means for a person.

use std::fmt::{self, Display, Formatter};
use std::io;

/// The words of an error of the operating system.
///
/// On Windows, the system's own text for the most frequent obstacles does not say what to do: a
/// file that a spreadsheet holds open gives "Access is denied". Elsewhere, and for all other
/// errors, these are the system's words.
#[derive(Debug)]
pub struct Reason<'a>(pub &'a io::Error);

impl Display for Reason<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let code = self.0.raw_os_error();
        match code.filter(|_| cfg!(windows)).and_then(windows_words) {
            Some(words) => f.write_str(words),
            None => self.0.fmt(f),
        }
    }
}

/// Returns the words for a code of Windows that needs some. Codes:
/// <https://learn.microsoft.com/windows/win32/debug/system-error-codes--0-499->.
fn windows_words(code: i32) -> Option<&'static str> {
    const ACCESS_DENIED: i32 = 5;
    const WRITE_PROTECT: i32 = 19;
    const SHARING_VIOLATION: i32 = 32;
    const LOCK_VIOLATION: i32 = 33;
    const DISK_FULL: i32 = 112;
    const INVALID_NAME: i32 = 123;
    const NAME_TOO_LONG: i32 = 206;
    const DELETE_PENDING: i32 = 303;
    match code {
        ACCESS_DENIED => Some(
            "access is denied: it is write-protected, open in another program, or not for this \
             account",
        ),
        WRITE_PROTECT => Some("the disk is write-protected"),
        SHARING_VIOLATION | LOCK_VIOLATION => {
            Some("it is open in another program; close it there and try again")
        }
        DISK_FULL => Some("the disk is full"),
        INVALID_NAME => Some("a file's name can't have these characters"),
        NAME_TOO_LONG => Some("its path is too long"),
        DELETE_PENDING => Some("it was removed but is still open in another program"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_another_program_holds_open_is_described_without_a_code() {
        for code in [32, 33] {
            let words = windows_words(code).unwrap();
            assert!(
                words.starts_with("it is open in another program"),
                "{words}"
            );
        }
        assert!(windows_words(5).unwrap().contains("write-protected"));
        assert_eq!(windows_words(2), None);
    }

    #[test]
    fn other_errors_keep_the_words_of_the_system() {
        for error in [io::Error::other("no more"), io::Error::from_raw_os_error(2)] {
            assert_eq!(Reason(&error).to_string(), error.to_string());
        }
    }
}
