//! Secrets: their places, reading them once, and the checks on files that hold one. Messages never
//! contain a secret.

use std::fs::Metadata;
use std::io::Read;
use std::path::{Path, PathBuf};

use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};

use crate::domain::Credentials;
use crate::error::{Error, Kind, Result};
use crate::text::{Reason, Shell, is_like_path, may_be_secret, visible, visible_path};
use crate::trusted_file::{self, ReadError};

/// Maximum length of a key or password in bytes. Anything longer is another file.
const MAX_BYTES: usize = 4096;

/// The place of a secret.
#[derive(Clone, Debug)]
pub enum SecretPlace {
    /// An environment variable with this name and value.
    Variable(String, SecretString),
    /// A file.
    File(PathBuf),
    /// Standard input.
    StandardInput,
    /// The terminal, at which it is asked for.
    Terminal,
}

/// Asks for a secret at the terminal by its name, such as `API key`.
pub type Ask<'a> = &'a dyn Fn(&str) -> Result<SecretString>;

/// Credentials whose secret has not been read yet.
pub type SignIn = Credentials<SecretPlace>;

impl SignIn {
    /// Reads the secret. `ask` asks for it at the terminal by its name. The second value is a
    /// warning if others can read the file.
    ///
    /// # Errors
    /// The file can't be read or can't be a secret, or the key has characters that no key has; and
    /// the errors of `ask`.
    pub fn read(
        self,
        standard_input: impl Read,
        ask: Ask<'_>,
    ) -> Result<(Credentials<SecretString>, Option<String>)> {
        match self {
            Self::Key(place) => {
                let (secret, warning) = place.read(standard_input, "API key", ask)?;
                check_key(&secret)?;
                Ok((Credentials::Key(secret), warning))
            }
            Self::Session {
                email,
                password,
                org,
            } => {
                let (password, warning) = password.read(standard_input, "Password", ask)?;
                Ok((
                    Credentials::Session {
                        email,
                        password,
                        org,
                    },
                    warning,
                ))
            }
        }
    }

    /// Returns the file with the secret, if it is in one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self.secret() {
            SecretPlace::File(path) => Some(path),
            SecretPlace::Variable(..) | SecretPlace::StandardInput | SecretPlace::Terminal => None,
        }
    }

    /// Returns the method of authentication for the plan, such as `API key from key.txt`.
    #[must_use]
    pub fn in_words(&self) -> String {
        match self {
            Self::Key(place) => format!("API key from {}", place.in_words()),
            Self::Session {
                email,
                password,
                org,
            } => {
                format!(
                    "session of {} in Org {org}, password from {}",
                    visible(email),
                    password.in_words()
                )
            }
        }
    }

    /// Returns a note on systems where this tool can't check who can read the file with the secret.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        if cfg!(windows) {
            self.file().map(unchecked_permissions)
        } else {
            None
        }
    }

    /// Checks whether the secret is read from standard input, which can't be the table then.
    #[must_use]
    pub fn reads_standard_input(&self) -> bool {
        matches!(self.secret(), SecretPlace::StandardInput)
    }
}

impl SecretPlace {
    /// Returns the place for a path, of which `-` means standard input.
    #[must_use]
    pub fn file(path: PathBuf) -> Self {
        if path.as_os_str() == "-" {
            Self::StandardInput
        } else {
            Self::File(path)
        }
    }

    fn in_words(&self) -> String {
        match self {
            Self::Variable(name, _) => name.clone(),
            Self::File(path) => visible_path(path),
            Self::StandardInput => "standard input".to_owned(),
            Self::Terminal => "the terminal".to_owned(),
        }
    }

    fn read(
        self,
        standard_input: impl Read,
        name: &str,
        ask: Ask<'_>,
    ) -> Result<(SecretString, Option<String>)> {
        match self {
            Self::Variable(name, secret) => {
                Ok((trimmed(secret.expose_secret().as_bytes(), &name)?, None))
            }
            Self::Terminal => {
                let secret = ask(name)?;
                Ok((trimmed(secret.expose_secret().as_bytes(), name)?, None))
            }
            Self::StandardInput => Ok((read_from(standard_input, "standard input")?, None)),
            Self::File(path) => read_file(&path),
        }
    }
}

fn read_file(path: &Path) -> Result<(SecretString, Option<String>)> {
    let name = visible_path(path);
    let (file, metadata) = trusted_file::open(path).map_err(|error| match error {
        ReadError::Io(error) => not_there(path, &error),
        other => unreadable(&name, &other),
    })?;
    Ok((
        read_from(file, &name)?,
        readable_by_others(&metadata, &name),
    ))
}

fn unreadable(name: &str, error: &impl std::fmt::Display) -> Error {
    Error::new(
        Kind::Usage,
        format!("can't read the secret from {name}: {error}"),
    )
}

/// The error for a file that can't be looked at. People type the secret itself where its file
/// belongs; what does not look like the name of a file is not repeated.
fn not_there(path: &Path, error: &std::io::Error) -> Error {
    let text = path.to_string_lossy();
    let is_plain_name = text
        .chars()
        .all(|c| c.is_ascii_lowercase() || matches!(c, '-' | '_' | '.'));
    if !may_be_secret(&text) && (is_like_path(&text) || (is_plain_name && text.len() < 16)) {
        return unreadable(&visible(&text), &Reason(error));
    }
    let message = format!(
        "can't read the secret from the given file: {}",
        Reason(error)
    );
    Error::new(Kind::Usage, message).help(
        "give the name of the file that holds the secret, not the secret itself; the name is not \
         shown here because it may be a secret",
    )
}

fn read_from(reader: impl Read, name: &str) -> Result<SecretString> {
    // Room for all of it from the start: growing would leave copies behind that nobody wipes.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BYTES + 1));
    reader
        .take(MAX_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(name, &Reason(&error)))?;
    trimmed(&bytes, name)
}

/// Takes away a byte order mark and one line end; all else must be the secret.
fn trimmed(bytes: &[u8], name: &str) -> Result<SecretString> {
    let wrong = |what: &str| Error::new(Kind::Usage, format!("{name} {what}"));
    if bytes.len() > MAX_BYTES {
        return Err(wrong("is longer than 4 KiB and can't be a secret"));
    }
    let text =
        str::from_utf8(bytes).map_err(|_| wrong("is not UTF-8 text and can't be a secret"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = text
        .strip_suffix('\n')
        .map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    if text.trim().is_empty() {
        return Err(wrong(
            "is empty; it should hold the secret and nothing else",
        ));
    }
    if text.contains(['\n', '\r']) {
        return Err(wrong(
            "has more than one line; it should hold the secret and nothing else",
        ));
    }
    Ok(SecretString::from(text))
}

/// A key travels in a header, where only visible characters are safe (RFC 9110 section 5.5).
fn check_key(key: &SecretString) -> Result<()> {
    if key
        .expose_secret()
        .bytes()
        .all(|byte| byte.is_ascii_graphic())
    {
        return Ok(());
    }
    let message = "this can't be an API key: it contains spaces, control characters or non-ASCII \
        letters";
    Err(Error::new(Kind::Usage, message)
        .help("copy the API key again, without anything before or after it"))
}

#[cfg(unix)]
fn readable_by_others(metadata: &Metadata, name: &str) -> Option<String> {
    use std::os::unix::fs::MetadataExt;

    let mode = metadata.mode() & 0o777;
    let owner = metadata.uid();
    if mode & 0o077 != 0 {
        return Some(format!(
            "{name} can be read by other users (mode {mode:04o}, user {owner}): chmod 600 {}",
            Shell::Posix.quote(name)
        ));
    }
    owned_by_another(owner, rustix::process::geteuid().as_raw(), name)
}

/// Returns a warning if a file belongs neither to the account of this process nor to root: its
/// owner can read and change it.
#[cfg(unix)]
fn owned_by_another(owner: u32, account: u32, name: &str) -> Option<String> {
    const ROOT: u32 = 0;
    if owner == account || owner == ROOT {
        return None;
    }
    Some(format!(
        "{name} belongs to another user (number {owner}), who can read and change it"
    ))
}

/// Returns the note on a file with a secret on Windows, where there is no safe way to read its
/// access control list.
fn unchecked_permissions(path: &Path) -> String {
    let name = path.to_string_lossy();
    let restrict = format!(
        "icacls {} /inheritance:r /grant:r \"ACCOUNT:R\"",
        Shell::Windows.quote(&name)
    );
    format!(
        "who can read {} is not checked on Windows; `{}`{} lets only the account ACCOUNT read it, \
         whose name `whoami` shows",
        visible(&name),
        visible(&restrict),
        Shell::Windows.note_after(&restrict)
    )
}

#[cfg(not(unix))]
fn readable_by_others(_: &Metadata, _: &str) -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nobody(name: &str) -> Result<SecretString> {
        panic!("nobody is to be asked for the {name}");
    }

    fn key(bytes: &[u8]) -> Result<String> {
        let (credentials, _) = SignIn::Key(SecretPlace::StandardInput).read(bytes, &nobody)?;
        let Credentials::Key(key) = credentials else {
            unreachable!()
        };
        Ok(key.expose_secret().to_owned())
    }

    #[test]
    fn one_line_end_and_a_byte_order_mark_are_no_part_of_the_secret() {
        for bytes in ["k3y", "k3y\n", "k3y\r\n", "\u{feff}k3y\r\n"] {
            assert_eq!(key(bytes.as_bytes()).unwrap(), "k3y", "{bytes:?}");
        }
    }

    #[test]
    fn what_can_not_be_a_key_is_refused_without_showing_it() {
        let long = "hush".repeat(1025);
        for (bytes, words) in [
            (b"".as_slice(), "is empty"),
            (b"\n", "is empty"),
            (b"hush\nhush\n", "more than one line"),
            (b"hush\n\n", "more than one line"),
            (b"\xff\xfeh\0", "not UTF-8"),
            (long.as_bytes(), "longer than 4 KiB"),
            (b"hush hush", "can't be an API key"),
            (b"hush\x07", "can't be an API key"),
            (b"hush\r", "more than one line"),
            ("hüsh".as_bytes(), "can't be an API key"),
        ] {
            let complaint = key(bytes).unwrap_err().to_string();
            assert!(
                complaint.contains(words) && !complaint.contains("sh\n"),
                "{complaint}"
            );
            assert!(!complaint.contains("hush"), "{complaint}");
        }
    }

    #[test]
    fn a_password_may_have_any_characters_on_its_line() {
        let session = SignIn::Session {
            email: "a@b".into(),
            password: SecretPlace::StandardInput,
            org: 4,
        };
        let (credentials, _) = session.read(" pä ss \n".as_bytes(), &nobody).unwrap();
        assert!(
            matches!(&credentials, Credentials::Session { password, .. } if password.expose_secret() == " pä ss ")
        );
        assert!(
            !format!("{credentials:?}").contains("pä"),
            "Debug shows nothing"
        );
    }

    /// Gives a few bytes at a time and notes where the buffer begins that they end up in.
    struct Drip {
        given: usize,
        buffers: std::collections::BTreeSet<usize>,
    }

    impl Read for &mut Drip {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let count = buffer.len().min(7).min(2000 - self.given);
            buffer[..count].fill(b'k');
            self.buffers.insert(buffer.as_ptr() as usize - self.given);
            self.given += count;
            Ok(count)
        }
    }

    #[test]
    fn a_secret_is_read_into_one_place_and_not_moved() {
        let mut drip = Drip {
            given: 0,
            buffers: std::collections::BTreeSet::new(),
        };
        let secret = read_from(&mut drip, "a test").unwrap();
        assert_eq!(
            (secret.expose_secret().len(), drip.buffers.len()),
            (2000, 1)
        );
    }

    #[test]
    fn only_a_regular_file_holds_a_secret() {
        let folder = tempfile::tempdir().unwrap();
        let read =
            |path: PathBuf| SignIn::Key(SecretPlace::file(path)).read(std::io::empty(), &nobody);
        assert!(
            read(folder.path().to_owned())
                .unwrap_err()
                .to_string()
                .contains("not a regular file")
        );
        assert!(
            read(folder.path().join("none"))
                .unwrap_err()
                .to_string()
                .contains("can't read the secret")
        );
    }

    #[test]
    fn a_secret_where_its_file_belongs_is_not_repeated() {
        for secret in [
            "hunter2",
            "Hunter",
            "k3y-that-must-never-be-seen-9f27",
            "correct-horse-battery-staple",
            "p\u{e4}ss word",
            "aGVsbG8/d29ybGQ+Zm9v",
        ] {
            let place = SecretPlace::file(PathBuf::from(secret));
            let error = SignIn::Key(place)
                .read(std::io::empty(), &nobody)
                .unwrap_err();
            let text = format!("{error}{error:?}");
            assert!(text.contains("not the secret itself"), "{text}");
            assert!(!text.contains(secret), "{text}");
        }
        for path in [
            "none",
            "key.txt",
            "keys/Production2",
            "/run/secrets/Key2026",
        ] {
            let place = SecretPlace::file(PathBuf::from(path));
            let error = SignIn::Key(place)
                .read(std::io::empty(), &nobody)
                .unwrap_err();
            assert!(error.to_string().contains(path), "{error}");
        }
    }

    #[test]
    fn the_note_on_an_unchecked_file_says_how_to_restrict_it() {
        let note = unchecked_permissions(Path::new(r"C:\my keys\key.txt"));
        let command = r#"`icacls "C:\my keys\key.txt" /inheritance:r /grant:r "ACCOUNT:R"`"#;
        assert!(note.contains("not checked"), "{note}");
        assert!(note.contains(command), "{note}");
        for place in [SecretPlace::StandardInput, SecretPlace::file("key".into())] {
            let is_noted = SignIn::Key(place.clone()).note().is_some();
            let is_file = matches!(place, SecretPlace::File(_));
            assert_eq!(is_noted, is_file && cfg!(windows));
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_of_neither_this_account_nor_root_is_a_warning() {
        for (owner, account, is_warned_of) in [
            (1000, 1000, false),
            (0, 1000, false),
            (0, 0, false),
            (1000, 0, true),
            (1000, 1001, true),
        ] {
            let warning = owned_by_another(owner, account, "key");
            assert_eq!(warning.is_some(), is_warned_of, "{owner} {account}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_can_read_is_a_warning() {
        use std::fs;
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "hush\n").unwrap();
        let warning_at = |mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            SignIn::Key(SecretPlace::file(path.clone()))
                .read(std::io::empty(), &nobody)
                .unwrap()
                .1
        };
        assert_eq!(warning_at(0o600), None);
        let warning = warning_at(0o644).unwrap();
        assert!(
            warning.contains("0644") && !warning.contains("hush"),
            "{warning}"
        );
    }
}
