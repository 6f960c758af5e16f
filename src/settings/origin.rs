//! Where a value comes from and which of several counts: the command line before the environment before the profile
//! before the rest of the file. Nothing here touches the process; the environment is a function that is passed in.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

use secrecy::SecretString;

use crate::error::{Error, Kind, Result};
use crate::settings::file::File;
use crate::settings::key::{Key, Scope};
use crate::settings::values::Parsed;
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

/// What was typed: settings with the text they were given, from the command line.
#[derive(Clone, Debug, Default)]
pub struct Given(Vec<(Key, OsString)>);

impl Given {
    /// Adds a value, where one was given.
    pub fn put(&mut self, key: Key, value: Option<&(impl AsRef<OsStr> + ?Sized)>) {
        self.0
            .extend(value.map(|value| (key, value.as_ref().to_owned())));
    }

    /// Adds a switch, where it is on.
    pub fn switch(&mut self, key: Key, on: bool) {
        self.put(key, on.then_some("true"));
    }

    /// The words that were typed for these settings, for another command line.
    #[must_use]
    pub fn typed(&self, keys: &[Key]) -> Vec<OsString> {
        keys.iter()
            .filter_map(|key| Some(words(*key, self.get(*key)?)))
            .flatten()
            .collect()
    }

    fn get(&self, key: Key) -> Option<&OsString> {
        self.0
            .iter()
            .find(|(given, _)| *given == key)
            .map(|(_, value)| value)
    }
}

/// A setting as it is typed. A value that would be taken for an option itself stands in one word with its flag.
fn words(key: Key, value: &OsStr) -> Vec<OsString> {
    let mut flag = OsString::from(key.flag());
    if key.setting().scope == Scope::Flag && key.setting().default == Some("false") {
        vec![flag]
    } else if value.as_encoded_bytes().starts_with(b"-") {
        flag.push("=");
        flag.push(value);
        vec![flag]
    } else {
        vec![flag, value.to_owned()]
    }
}

/// Looks up an environment variable.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// A value as text, with where it comes from.
#[derive(Clone, Debug)]
pub struct Found {
    /// As it was written.
    pub text: OsString,
    /// Where.
    pub origin: Origin,
}

/// All the places that settings come from.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// The command line.
    pub given: &'a Given,
    /// The environment.
    pub environment: Environment<'a>,
    /// The file, where there is one that counts, and the profile chosen in it.
    pub file: Option<(&'a File, Option<&'a str>)>,
}

impl Sources<'_> {
    /// The text that counts for a setting; the default where nobody gave one. An empty variable counts as not set.
    /// Never finds a secret.
    #[must_use]
    pub fn find(&self, key: Key) -> Option<Found> {
        if key.setting().scope == Scope::Secret {
            return None;
        }
        let default = || {
            Some(Found {
                text: key.setting().default?.into(),
                origin: Origin::Default,
            })
        };
        self.on_command_line(key)
            .or_else(|| self.in_environment(key))
            .or_else(|| self.in_file(key))
            .or_else(default)
    }

    fn on_command_line(&self, key: Key) -> Option<Found> {
        self.given.get(key).map(|text| Found {
            text: text.clone(),
            origin: Origin::Flag(key.flag()),
        })
    }

    fn in_environment(&self, key: Key) -> Option<Found> {
        let name = key.variable()?;
        let text = (self.environment)(&name).filter(|text| !text.is_empty())?;
        Some(Found {
            text,
            origin: Origin::Variable(name),
        })
    }

    fn in_file(&self, key: Key) -> Option<Found> {
        let (file, profile) = self.file?;
        let (text, origin) = file.find(key, profile)?;
        Some(Found {
            text: text.into(),
            origin,
        })
    }

    /// What a setting is worth, `None` where it is not given and has no default.
    ///
    /// # Errors
    /// The text means nothing; the error says where it stands.
    pub fn get<T>(&self, key: Key, parse: fn(&str) -> Parsed<T>) -> Result<Option<T>> {
        self.find(key)
            .map(|found| found.parse(key, parse))
            .transpose()
    }

    /// What a setting with a default is worth.
    ///
    /// # Errors
    /// As [`Sources::get`].
    pub fn need<T>(&self, key: Key, parse: fn(&str) -> Parsed<T>) -> Result<T> {
        self.get(key, parse)?
            .ok_or_else(|| Error::new(Kind::Usage, format!("{} is not given", key.setting().name)))
    }

    /// A path. One that stands in the file is meant from the file's own folder.
    #[must_use]
    pub fn path(&self, key: Key) -> Option<PathBuf> {
        let found = self.find(key)?;
        let path = PathBuf::from(found.text);
        match (&found.origin, self.file) {
            (Origin::Profile { .. } | Origin::File { .. }, Some((file, _))) => {
                Some(file.folder().join(path))
            }
            _ => Some(path),
        }
    }

    /// A secret and the variable that holds it; an empty variable counts as not set.
    ///
    /// # Errors
    /// The variable is not UTF-8.
    pub fn secret(&self, key: Key) -> Result<Option<(SecretString, Origin)>> {
        let Some(Found { text, origin }) = self.in_environment(key) else {
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

impl Found {
    fn parse<T>(&self, key: Key, parse: fn(&str) -> Parsed<T>) -> Result<T> {
        let lossy = self.text.to_string_lossy();
        let parsed = self
            .text
            .to_str()
            .map_or_else(|| Err("is not UTF-8 text".to_owned()), parse);
        parsed.map_err(|why| {
            let message = format!(
                "{}: \"{}\" can't be used as {}",
                self.origin,
                shown_value(&lossy),
                key.setting().name
            );
            Error::new(Kind::Usage, message).help(why)
        })
    }
}
