//! The file of settings, `mfa-optout.toml`: values that hold always, and profiles with values of
//! their own. Parsing is pure; what a value means is left to `values`, and which file counts to
//! `settings`.
//!
//! ```toml
//! rate = "10/s"
//! default_profile = "production"
//!
//! [profile.production]
//! address = "https://eu.core.resolver.com"
//! api_key_file = "production.key"
//! ```

use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::lookup::{named, nearest};
use crate::config::origin::Origin;
use crate::config::setting::Setting;
use crate::config::table::{Key, TABLE};
use crate::error::{Error, Kind, Result};
use crate::text::{one_line, shown_value, visible};

const PROFILES: &str = "profile";
const DEFAULT_PROFILE: &str = "default_profile";

/// The advice for a path such as `"C:\keys"`.
const ON_BACKSLASHES: &str = "a backslash has a meaning of its own between double quotes; write \
     paths between single quotes, such as 'C:\\keys\\key.txt'";

/// The number of profiles that a message lists by name.
const PROFILES_SHOWN: usize = 20;

/// A file of settings, read but not yet understood.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    entries: Vec<FileValue>,
    profiles: Vec<String>,
    default_profile: Option<String>,
}

/// One value in the file.
#[derive(Debug)]
struct FileValue {
    /// `None` for what holds for all profiles.
    profile: Option<String>,
    key: Key,
    text: String,
    line: usize,
}

/// The text of a config file, with the positions that its errors and settings name.
struct FileText<'a> {
    path: &'a Path,
    /// Byte offset of each line end, so that finding a line takes no pass over the text.
    line_ends: Vec<usize>,
}

impl File {
    /// Understands the shape of the file.
    ///
    /// # Errors
    /// What is not TOML, keys that are not known (the error names the nearest one that is), and
    /// values that are neither text nor number nor `true` or `false`; each with its line.
    pub fn parse(path: &Path, text: &str) -> Result<Self> {
        let reader = FileText {
            path,
            line_ends: memchr::memchr_iter(b'\n', text.as_bytes()).collect(),
        };
        let root = DeTable::parse(text).map_err(|error| {
            let span = error.span().unwrap_or_default();
            let complaint = reader.error(span.start, &one_line(error.message(), 200));
            if is_escape(text, span.start) {
                complaint.help(ON_BACKSLASHES)
            } else {
                complaint
            }
        })?;
        let mut file = Self {
            path: path.to_owned(),
            entries: Vec::new(),
            profiles: Vec::new(),
            default_profile: None,
        };
        for (name, value) in root.get_ref() {
            match name.get_ref().as_ref() {
                PROFILES => file.read_profiles(&reader, value)?,
                DEFAULT_PROFILE => {
                    file.default_profile = Some(reader.scalar(DEFAULT_PROFILE, value)?);
                }
                _ => file.entries.push(reader.entry(None, name, value)?),
            }
        }
        Ok(file)
    }

    fn read_profiles(&mut self, reader: &FileText<'_>, value: &Spanned<DeValue<'_>>) -> Result<()> {
        for (name, table) in reader.table(PROFILES, value)? {
            let profile = name.get_ref().to_string();
            for (key, value) in reader.table(&profile, table)? {
                self.entries.push(reader.entry(Some(&profile), key, value)?);
            }
            self.profiles.push(profile);
        }
        Ok(())
    }

    /// The profile that counts: the one asked for, else the file's `default_profile`, else none.
    ///
    /// # Errors
    /// There is no such profile; the error names those that there are.
    pub fn choose(&self, asked: Option<&str>) -> Result<Option<&str>> {
        let Some(name) = asked.or(self.default_profile.as_deref()) else {
            return Ok(None);
        };
        if let Some(found) = self.profiles.iter().find(|profile| *profile == name) {
            return Ok(Some(found));
        }
        let message = format!("{} has no profile \"{}\"", self.name(), shown_value(name));
        Err(Error::new(Kind::Usage, message).help(self.profiles_in_words()))
    }

    /// The profiles that there are, as a sentence.
    #[must_use]
    pub fn profiles_in_words(&self) -> String {
        match self.profiles.as_slice() {
            [] => "it has no profiles; write one as [profile.NAME]".to_owned(),
            profiles if profiles.len() > PROFILES_SHOWN => format!(
                "its profiles are {} and {} more; choose one with --profile",
                visible(&profiles[..PROFILES_SHOWN].join(", ")),
                profiles.len() - PROFILES_SHOWN
            ),
            profiles => format!(
                "its profiles are {}; choose one with --profile",
                visible(&profiles.join(", "))
            ),
        }
    }

    /// The text and the place of a setting: the profile's before the one for all.
    #[must_use]
    pub fn find(&self, key: Key, profile: Option<&str>) -> Option<(&str, Origin)> {
        let entry_of = |profile: Option<&str>| {
            self.entries
                .iter()
                .find(|entry| entry.key == key && entry.profile.as_deref() == profile)
        };
        let entry = profile
            .and_then(|name| entry_of(Some(name)))
            .or_else(|| entry_of(None))?;
        let place = format!("{}:{}", self.name(), entry.line);
        let origin = match &entry.profile {
            Some(name) => Origin::Profile {
                place,
                name: visible(name),
            },
            None => Origin::File { place },
        };
        Some((&entry.text, origin))
    }

    /// Where it lies, harmless for a terminal.
    #[must_use]
    pub fn name(&self) -> String {
        visible(&self.path.to_string_lossy())
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder it lies in; paths in it are meant from there.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }
}

impl FileText<'_> {
    fn entry(
        &self,
        profile: Option<&str>,
        name: &Spanned<impl AsRef<str>>,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<FileValue> {
        let word = name.get_ref().as_ref();
        let setting = named(word).filter(|setting| setting.may_be_in_file());
        let key = setting
            .ok_or_else(|| self.unknown(word, name.span().start))?
            .key;
        let text = self.scalar(word, value)?;
        Ok(FileValue {
            profile: profile.map(str::to_owned),
            key,
            text,
            line: self.line(name.span().start),
        })
    }

    fn unknown(&self, word: &str, offset: usize) -> Error {
        let error = self.error(
            offset,
            &format!("there is no setting \"{}\"", shown_value(word)),
        );
        if let Some(setting) = named(word) {
            return error.help(setting.where_it_counts());
        }
        let known = TABLE.iter().filter(|setting| setting.may_be_in_file());
        let others = [PROFILES, DEFAULT_PROFILE].map(str::to_owned);
        match nearest(word, known.map(Setting::file_key).chain(others)) {
            Some(name) => error.help(format!("did you mean \"{name}\"?")),
            None => error.help("`mfa-optout apply --help` lists the options"),
        }
    }

    fn table<'a, 'i>(
        &self,
        name: &str,
        value: &'a Spanned<DeValue<'i>>,
    ) -> Result<&'a DeTable<'i>> {
        let shown = visible(name);
        let message = || {
            self.error(
                value.span().start,
                &format!("\"{shown}\" must be a table; write [profile.NAME]"),
            )
        };
        value.get_ref().as_table().ok_or_else(message)
    }

    fn scalar(&self, name: &str, value: &Spanned<DeValue<'_>>) -> Result<String> {
        match value.get_ref() {
            DeValue::String(text) if text.contains(char::is_control) => {
                let message = format!("\"{}\" has a control character in it", visible(name));
                Err(self
                    .error(value.span().start, &message)
                    .help(ON_BACKSLASHES))
            }
            DeValue::String(text) => Ok(text.to_string()),
            DeValue::Boolean(on) => Ok(on.to_string()),
            DeValue::Integer(number) if number.radix() == 10 => Ok(number.as_str().to_owned()),
            DeValue::Float(number) => Ok(number.as_str().to_owned()),
            other => {
                let message = format!(
                    "\"{}\" must be a text, a number or true or false, not {}",
                    visible(name),
                    other.type_str()
                );
                Err(self.error(value.span().start, &message))
            }
        }
    }

    fn error(&self, offset: usize, message: &str) -> Error {
        let place = format!(
            "{}:{}",
            visible(&self.path.to_string_lossy()),
            self.line(offset)
        );
        Error::new(Kind::Usage, format!("{place}: {message}"))
    }

    fn line(&self, offset: usize) -> usize {
        1 + self.line_ends.partition_point(|end| *end < offset)
    }
}

/// Checks whether an error at this offset is about an escape sequence, of which the longest is
/// `\U0001F600`.
fn is_escape(text: &str, offset: usize) -> bool {
    const LONGEST: usize = 10;
    let end = text.len().min(offset + 1);
    let start = end.saturating_sub(LONGEST + 1);
    text.as_bytes()[start..end].contains(&b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<File> {
        File::parse(Path::new("mfa-optout.toml"), text)
    }

    fn complaint(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_profile_comes_before_what_holds_for_all() {
        let file = parse("rate = '5/s'\norg = 42\n[profile.test]\nrate = \"1/s\"\n").unwrap();
        let found = |key, profile| {
            file.find(key, profile)
                .map(|(text, origin)| format!("{text} {origin}"))
        };
        assert_eq!(
            found(Key::Rate, Some("test")).unwrap(),
            "1/s mfa-optout.toml:4 (profile test)"
        );
        assert_eq!(found(Key::Rate, None).unwrap(), "5/s mfa-optout.toml:1");
        assert_eq!(
            found(Key::Org, Some("test")).unwrap(),
            "42 mfa-optout.toml:2"
        );
        assert_eq!(found(Key::Timeout, Some("test")), None);
    }

    #[test]
    fn the_default_profile_counts_unless_another_is_asked_for() {
        let file = parse("default_profile = 'a'\n[profile.a]\n[profile.b]\n").unwrap();
        assert_eq!(file.choose(None).unwrap(), Some("a"));
        assert_eq!(file.choose(Some("b")).unwrap(), Some("b"));
        insta::assert_snapshot!(file.choose(Some("c")).unwrap_err(), @r#"
        mfa-optout.toml has no profile "c"
          help: its profiles are a, b; choose one with --profile
        "#);
    }

    #[test]
    fn a_file_full_of_profiles_names_the_line_of_each() {
        use std::fmt::Write as _;

        let mut text = String::new();
        for number in 0..30_000 {
            writeln!(text, "[profile.{number}]\nrate='1/s'").unwrap();
        }
        let file = parse(&text).unwrap();
        for number in [0, 1, 15_000, 29_999] {
            let name = number.to_string();
            let (_, origin) = file.find(Key::Rate, Some(&name)).unwrap();
            let line = 2 * number + 2;
            assert_eq!(
                origin.to_string(),
                format!("mfa-optout.toml:{line} (profile {name})")
            );
        }
        let complaint = file.choose(Some("none")).unwrap_err().to_string();
        assert!(complaint.contains(" and 29980 more"), "{complaint}");
        assert!(complaint.len() < 1000, "{complaint}");
    }

    #[test]
    fn a_mistyped_key_is_answered_with_the_right_one() {
        insta::assert_snapshot!(complaint("# first line\n\n[profile.test]\nadress = 'x'\n"), @r#"
        mfa-optout.toml:4: there is no setting "adress"
          help: did you mean "address"?
        "#);
        insta::assert_snapshot!(complaint("flavour = 'x'"), @r#"
        mfa-optout.toml:1: there is no setting "flavour"
          help: `mfa-optout apply --help` lists the options
        "#);
    }

    #[test]
    fn a_secret_in_the_file_is_refused_and_not_shown() {
        let complaint = complaint("api_key = 'hush-hush'");
        assert!(complaint.contains("api_key_file"), "{complaint}");
        assert!(!complaint.contains("hush"), "{complaint}");
    }

    #[test]
    fn a_backslash_between_double_quotes_is_answered_with_single_quotes() {
        for value in [r"C:\keys\key", r"C:\temp\key", r"C:\Users\me", r"C:\new"] {
            let text = format!("org = 1\napi_key_file = \"{value}\"");
            let complaint = complaint(&text);
            assert!(complaint.starts_with("mfa-optout.toml:2: "), "{complaint}");
            assert!(
                complaint.contains("between single quotes"),
                "{value}: {complaint}"
            );
            parse(&text.replace('"', "'")).unwrap();
        }
        assert!(!complaint("rate 10").contains("backslash"));
    }

    #[test]
    fn odd_files_are_errors_with_their_line() {
        for (text, words) in [
            ("rate = '10/s'\nrate = '5/s'", "mfa-optout.toml:2: "),
            ("rate 10", "mfa-optout.toml:1: "),
            (
                "rate = ['10/s']",
                "mfa-optout.toml:1: \"rate\" must be a text",
            ),
            (
                "\nprofile = 3",
                "mfa-optout.toml:2: \"profile\" must be a table",
            ),
            (
                "[profile]\ntest = 3",
                "mfa-optout.toml:2: \"test\" must be a table",
            ),
            (
                "[profile.test]\nyes = true",
                "mfa-optout.toml:2: there is no setting \"yes\"",
            ),
        ] {
            assert!(
                complaint(text).starts_with(words),
                "{text}: {}",
                complaint(text)
            );
        }
    }
}
