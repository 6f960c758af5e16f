//! Which file of settings counts, and reading it: the one that was asked for, else the one in the working directory,
//! else the one in the user's configuration folder.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};
use crate::settings::file::File;
use crate::settings::key::{Key, Setting, TABLE, VARIABLES};
use crate::settings::origin::{Environment, Given, Sources};
use crate::settings::{Settings, values};
use crate::text::{shown_path, shown_value, visible};
use crate::trusted_file::{self, ReadError};

const NAME: &str = "mfa-optout.toml";

/// Whether a file is named so that it is found as the file of settings, in this run or another.
#[must_use]
pub fn may_hold_settings(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == NAME)
}

/// What is so about the process that was started.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Whether a person sits at a terminal.
    pub terminal: bool,
    /// The folder that relative paths are meant from; the empty path stands for it as well.
    pub working_folder: PathBuf,
    /// The names of its environment's variables.
    pub variables: Vec<OsString>,
}

impl Facts {
    /// Those of this process. A person counts as present where both the question and the answer can be seen: standard
    /// input and standard error are terminals.
    #[must_use]
    pub fn of_this_process() -> Self {
        let terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        Self {
            terminal,
            working_folder: PathBuf::new(),
            variables: std::env::vars_os().map(|(name, _)| name).collect(),
        }
    }
}

/// Finds and reads the file of settings and hands everything to `then`, with notes on where the settings come from.
///
/// # Errors
/// The file can't be read or understood, or has no such profile; and those of `then`.
pub fn load<T>(
    given: &Given,
    environment: Environment<'_>,
    facts: &Facts,
    then: impl FnOnce(Sources<'_>, Vec<String>) -> Result<T>,
) -> Result<T> {
    refuse_mistyped(&facts.variables)?;
    let without_file = Sources {
        given,
        environment,
        file: None,
    };
    let profile = without_file.get(Key::Profile, values::words)?;
    let (file, notes) = open(without_file.path(Key::Config), environment, facts)?;
    let Some(file) = file else {
        return match profile {
            None => then(without_file, notes),
            Some(name) => Err(no_file_for(&name)),
        };
    };
    let chosen = file.choose(profile.as_deref())?;
    then(
        Sources {
            file: Some((&file, chosen)),
            ..without_file
        },
        notes,
    )
}

impl Settings {
    /// Finds, reads and understands everything.
    ///
    /// # Errors
    /// Those of [`load`] and [`Settings::resolve`].
    pub fn load(given: &Given, environment: Environment<'_>, facts: &Facts) -> Result<Self> {
        load(given, environment, facts, Settings::resolve)
    }
}

/// A mistyped guard would be none at all. What is like no setting is somebody else's, be it the build's or a cluster's,
/// which names its variables after its services.
fn refuse_mistyped(variables: &[OsString]) -> Result<()> {
    let mut suffixes = variables
        .iter()
        .filter_map(|name| name.to_str()?.strip_prefix(VARIABLES));
    let Some((name, advice)) = suffixes.find_map(|suffix| Some((suffix, mistyped(suffix)?))) else {
        return Ok(());
    };
    let message = format!(
        "there is no setting for the variable {VARIABLES}{}",
        visible(name)
    );
    Err(Error::new(Kind::Usage, message).help(advice))
}

/// What to do about a variable with this name behind [`VARIABLES`], if it was meant to be a setting and is none.
fn mistyped(suffix: &str) -> Option<String> {
    let named = |setting: &&Setting| setting.name.to_uppercase() == suffix;
    if let Some(setting) = TABLE.iter().find(named) {
        let typed_only = setting.key.variable().is_none();
        return typed_only
            .then(|| format!("{} counts on the command line only", setting.key.flag()));
    }
    let known = TABLE.iter().filter_map(|setting| setting.key.variable());
    let is_near = |known: &String| {
        let name = &known[VARIABLES.len()..];
        strsim::damerau_levenshtein(suffix, name) <= name.len() / 6
    };
    known
        .into_iter()
        .find(is_near)
        .map(|known| format!("did you mean {known}?"))
}

fn open(
    asked: Option<PathBuf>,
    environment: Environment<'_>,
    facts: &Facts,
) -> Result<(Option<File>, Vec<String>)> {
    if let Some(path) = asked {
        let text = trusted_file::read_text(&path, trusted_file::MAX_BYTES)
            .map_err(|error| unreadable(&path, &error))?;
        return Ok((Some(File::parse(&path, &text)?), Vec::new()));
    }
    let mut notes = Vec::new();
    let here = facts.working_folder.join(NAME);
    if facts.terminal {
        if let Some(file) = parse_if_there(&here, &mut notes)? {
            notes.push(format!(
                "settings come from {}, found in the working directory",
                file.name()
            ));
            return Ok((Some(file), notes));
        }
    } else if here.symlink_metadata().is_ok() {
        // Whoever can put a file there could send the key elsewhere, and nobody is watching. It is not even opened.
        notes.push(format!(
            "{} does not count without a terminal; name it with --config {NAME} if it should",
            shown_path(&here)
        ));
    }
    let Some(folder) = user_folder(environment) else {
        return Ok((None, notes));
    };
    let file = parse_if_there(&folder.join("mfa-optout").join(NAME), &mut notes)?;
    Ok((file, notes))
}

/// Reads a config file that nobody named. One that can't be reached, for instance because it lies below another user's
/// home, is only worth a note.
fn parse_if_there(path: &Path, notes: &mut Vec<String>) -> Result<Option<File>> {
    match trusted_file::read_text(path, trusted_file::MAX_BYTES) {
        Ok(text) => File::parse(path, &text).map(Some),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) if error.is_unreachable() => {
            notes.push(format!(
                "the config file {} does not count: {}",
                shown_path(path),
                reason(&error)
            ));
            Ok(None)
        }
        Err(error) => Err(unreadable(path, &error)),
    }
}

/// `XDG_CONFIG_HOME`, else `~/.config` (XDG Base Directory Specification); on Windows `APPDATA`. A relative path there
/// does not count, as that specification has it.
fn user_folder(environment: Environment<'_>) -> Option<PathBuf> {
    let folder = |name: &str| {
        environment(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    if cfg!(windows) {
        return folder("APPDATA");
    }
    folder("XDG_CONFIG_HOME").or_else(|| folder("HOME").map(|home| home.join(".config")))
}

fn unreadable(path: &Path, error: &ReadError) -> Error {
    Error::new(
        Kind::Usage,
        format!(
            "can't read the file of settings {}: {error}",
            shown_path(path)
        ),
    )
}

fn reason(error: &ReadError) -> String {
    match error {
        ReadError::Io(error) => format!("it can't be read ({error})"),
        other => other.to_string(),
    }
}

fn no_file_for(profile: &str) -> Error {
    Error::new(
        Kind::Usage,
        format!(
            "there is no file of settings that could have the profile \"{}\"",
            shown_value(profile)
        ),
    )
    .help(format!(
        "name the file with --config, or put {NAME} into the configuration folder"
    ))
}
