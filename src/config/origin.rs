//! Where a value comes from and which of several counts: the command line before the environment
//! before the profile before the rest of the file. Nothing here touches the process; the
//! environment is a function that is passed in.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use crate::config::Settings;
use crate::config::file::File;
use crate::config::setting::{Form, Scope, Setting};
use crate::config::table::{Key, TABLE};
use crate::config::values::{self, Parsed};
use crate::error::{Error, Kind, Result};
use crate::text::shown_value;

/// Where a value comes from. The order is the order of precedence, the strongest first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The command line.
    Flag(String),
    /// The environment.
    Variable(String),
    /// The chosen profile of the file.
    Profile {
        /// The file and the line in it.
        place: String,
        /// The profile's name.
        name: String,
    },
    /// The part of the file that holds for all profiles.
    File {
        /// The file and the line in it.
        place: String,
    },
    /// Nobody said anything.
    Default,
}

impl Origin {
    /// How strong it is, regardless of which flag or variable it is: smaller wins.
    #[must_use]
    pub fn rank(&self) -> u8 {
        match self {
            Self::Flag(_) => 0,
            Self::Variable(_) => 1,
            Self::Profile { .. } => 2,
            Self::File { .. } => 3,
            Self::Default => 4,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) | Self::Variable(name) => f.write_str(name),
            Self::Profile { place, name } => write!(f, "{place} (profile {name})"),
            Self::File { place } => f.write_str(place),
            Self::Default => f.write_str("default"),
        }
    }
}

/// The options given on the command line, with their text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CliOverrides(Vec<(Key, OsString)>);

impl CliOverrides {
    /// Adds an option. The text of a switch that is on is `true`.
    pub fn insert(&mut self, key: Key, text: impl Into<OsString>) {
        self.0.push((key, text.into()));
    }

    /// Checks whether an option was given.
    #[must_use]
    pub fn contains(&self, key: Key) -> bool {
        self.get(key).is_some()
    }

    /// Returns the options in the record of a run, by the names of their flags. Options that have
    /// their default value are left out, and those of `except`.
    #[must_use]
    pub fn of_record(options: &BTreeMap<String, String>, except: &[Key]) -> Self {
        let mut given = Self::default();
        for setting in TABLE {
            let Some(text) = options.get(&setting.label()) else {
                continue;
            };
            let is_default = setting.default() == Some(text.as_str());
            if !is_default && !except.contains(&setting.key) {
                given
                    .0
                    .retain(|(other, _)| !setting.conflicts.contains(other));
                given.insert(setting.key, text);
            }
        }
        given
    }

    /// Returns the words of the options that the suggested next command repeats, as they were
    /// given. What came from standard input can't be repeated.
    #[must_use]
    pub fn carried_words(&self) -> Vec<OsString> {
        let carried = self
            .0
            .iter()
            .filter(|(key, text)| key.setting().carried && text != "-");
        carried.flat_map(|(key, text)| words(*key, text)).collect()
    }

    fn get(&self, key: Key) -> Option<&OsString> {
        let (_, text) = self.0.iter().find(|(given, _)| *given == key)?;
        Some(text)
    }
}

/// Returns an option as it is typed. A value that would be taken for an option itself stands in one
/// word with its flag.
fn words(key: Key, text: &OsStr) -> Vec<OsString> {
    let mut flag = OsString::from(key.flag());
    if key.setting().form == Form::Switch {
        vec![flag]
    } else if text.as_encoded_bytes().starts_with(b"-") {
        flag.push("=");
        flag.push(text);
        vec![flag]
    } else {
        vec![flag, text.to_owned()]
    }
}

/// The text of one option on its way to a field of [`Settings`].
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a> {
    text: &'a OsStr,
    /// The folder that a relative path is meant from; the working directory if there is none.
    folder: Option<&'a Path>,
}

impl<'a> Raw<'a> {
    /// Takes the text from the command line or the environment.
    #[must_use]
    pub fn new(text: &'a OsStr) -> Self {
        Self { text, folder: None }
    }

    /// Parses the text into a field.
    ///
    /// # Errors
    /// The text is not UTF-8, or `parse` refuses it. The field stays as it is.
    pub fn store<T>(&self, field: &mut T, parse: fn(&str) -> Parsed<T>) -> Parsed<()> {
        let text = self.text.to_str().ok_or("is not UTF-8 text")?;
        *field = parse(text)?;
        Ok(())
    }

    /// Parses the text into an optional field.
    ///
    /// # Errors
    /// As [`Raw::store`].
    pub fn store_some<T>(&self, field: &mut Option<T>, parse: fn(&str) -> Parsed<T>) -> Parsed<()> {
        let text = self.text.to_str().ok_or("is not UTF-8 text")?;
        *field = Some(parse(text)?);
        Ok(())
    }

    /// Stores `value` in a field if the text switches it on.
    ///
    /// # Errors
    /// The text is neither `true` nor `false`.
    pub fn store_if_on<T>(&self, field: &mut T, value: T) -> Parsed<()> {
        let mut on = false;
        self.store(&mut on, values::switch)?;
        if on {
            *field = value;
        }
        Ok(())
    }

    /// Stores a path. One from the config file is meant from that file's own folder, but for `-`,
    /// which means a standard stream.
    ///
    /// # Errors
    /// The text is empty.
    pub fn store_path(&self, field: &mut Option<PathBuf>) -> Parsed<()> {
        if self.text.is_empty() {
            return Err("must not be empty".to_owned());
        }
        let folder = self.folder.filter(|_| self.text != "-");
        let path = folder.unwrap_or(Path::new("")).join(self.text);
        *field = Some(path);
        Ok(())
    }
}

impl Setting {
    /// Checks a value that was given on the command line.
    ///
    /// # Errors
    /// Says what is wrong with it and how to write it.
    pub fn check(&self, text: &OsStr) -> Parsed<()> {
        (self.set)(&mut Settings::unset(), &Raw::new(text))
    }
}

/// Looks up an environment variable.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// A value as text, with where it comes from.
#[derive(Clone, Debug)]
pub struct FoundValue {
    /// As it was written.
    pub text: OsString,
    /// Where.
    pub origin: Origin,
}

/// All the places that settings come from.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// The command line.
    pub given: &'a CliOverrides,
    /// The environment.
    pub environment: Environment<'a>,
    /// The file, where there is one that counts, and the profile chosen in it.
    pub file: Option<(&'a File, Option<&'a str>)>,
}

impl Sources<'_> {
    /// The text that counts for a setting; the default where nobody gave one. An empty variable
    /// counts as not set. Never finds a secret.
    #[must_use]
    pub fn find(&self, key: Key) -> Option<FoundValue> {
        if key.setting().scope == Scope::Secret {
            return None;
        }
        let default = || {
            Some(FoundValue {
                text: key.setting().default()?.into(),
                origin: Origin::Default,
            })
        };
        self.on_command_line(key)
            .or_else(|| self.in_environment(key))
            .or_else(|| self.in_file(key))
            .or_else(default)
    }

    fn on_command_line(&self, key: Key) -> Option<FoundValue> {
        self.given.get(key).map(|text| FoundValue {
            text: text.clone(),
            origin: Origin::Flag(key.flag()),
        })
    }

    fn in_environment(&self, key: Key) -> Option<FoundValue> {
        let name = key.variable()?;
        let text = (self.environment)(&name).filter(|text| !text.is_empty())?;
        Some(FoundValue {
            text,
            origin: Origin::Variable(name),
        })
    }

    fn in_file(&self, key: Key) -> Option<FoundValue> {
        let (file, profile) = self.file?;
        let (text, origin) = file.find(key, profile)?;
        Some(FoundValue {
            text: text.into(),
            origin,
        })
    }

    /// Parses one option, where it is given or has a default, into its field of `settings`.
    ///
    /// # Errors
    /// The text can't be used; the error says where it stands.
    pub fn apply(&self, key: Key, settings: &mut Settings) -> Result<()> {
        let Some(found) = self.find(key) else {
            return Ok(());
        };
        let set = key.setting().set;
        set(settings, &self.raw(&found)).map_err(|why| found.unusable(key, why))
    }

    /// Returns a path as it is meant: one from the config file from that file's own folder.
    #[must_use]
    pub fn path(&self, key: Key) -> Option<PathBuf> {
        let found = self.find(key)?;
        let mut path = None;
        self.raw(&found).store_path(&mut path).ok()?;
        path
    }

    fn raw<'b>(&'b self, found: &'b FoundValue) -> Raw<'b> {
        let folder = match found.origin {
            Origin::Profile { .. } | Origin::File { .. } => {
                self.file.map(|(file, _)| file.folder())
            }
            Origin::Flag(_) | Origin::Variable(_) | Origin::Default => None,
        };
        Raw {
            text: &found.text,
            folder,
        }
    }

    /// Returns settings in which only one option has its value, for what is needed before all of
    /// them can be read.
    ///
    /// # Errors
    /// As [`Sources::apply`].
    pub fn only(&self, key: Key) -> Result<Settings> {
        let mut settings = Settings::unset();
        self.apply(key, &mut settings)?;
        Ok(settings)
    }

    /// Returns the variable that holds a secret.
    #[must_use]
    pub fn secret_origin(&self, key: Key) -> Option<Origin> {
        self.in_environment(key).map(|found| found.origin)
    }

    /// A secret and the variable that holds it; an empty variable counts as not set.
    ///
    /// # Errors
    /// The variable is not UTF-8.
    pub fn secret(&self, key: Key) -> Result<Option<(SecretString, Origin)>> {
        let Some(FoundValue { text, origin }) = self.in_environment(key) else {
            return Ok(None);
        };
        match text.into_string() {
            Ok(text) => Ok(Some((SecretString::from(text), origin))),
            Err(_) => Err(Error::new(
                Kind::Usage,
                format!("{origin} is not UTF-8 text"),
            )),
        }
    }
}

impl FoundValue {
    fn unusable(&self, key: Key, why: String) -> Error {
        let shown = shown_value(&self.text.to_string_lossy());
        let message = format!(
            "{}: \"{shown}\" can't be used as {}",
            self.origin,
            key.setting().file_key()
        );
        Error::new(Kind::Usage, message).help(why)
    }
}
