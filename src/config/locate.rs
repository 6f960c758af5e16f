//! Finds and reads the config file: the one that was named, or the one in the working directory, or
//! the one in the user's configuration folder.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use crate::config::Settings;
use crate::config::file::File;
use crate::config::lookup::{named, nearest};
use crate::config::origin::{CliOverrides, Environment, Sources};
use crate::config::setting::VARIABLES;
use crate::config::table::{Key, TABLE};
use crate::error::{Error, Kind, Result};
use crate::text::{Reason, shown_path, shown_value, visible};
use crate::trusted_file::{self, ReadError};

const NAME: &str = "mfa-optout.toml";

/// Checks whether a file has the name of a config file, so that this run or another one would read
/// it.
#[must_use]
pub fn may_hold_settings(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == NAME)
}

/// The properties of this process that settings depend on.
#[derive(Clone, Debug)]
pub struct ProcessEnv {
    /// Whether a person can be asked at a terminal.
    pub terminal: bool,
    /// Folder that relative paths start from; empty for the working directory.
    pub working_folder: PathBuf,
    /// Names of the environment variables.
    pub variables: Vec<OsString>,
}

impl ProcessEnv {
    /// Returns the properties of this process. A person can be asked if standard input and standard
    /// error are terminals.
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

/// Finds and reads the config file, and passes everything to `then`, with notes about the origin of
/// the settings.
///
/// # Errors
/// The file can't be read or understood, or has no such profile; and those of `then`.
pub fn load<T>(
    given: &CliOverrides,
    environment: Environment<'_>,
    facts: &ProcessEnv,
    then: impl FnOnce(Sources<'_>, Vec<String>) -> Result<T>,
) -> Result<T> {
    refuse_unknown(&facts.variables)?;
    let without_file = Sources {
        given,
        environment,
        file: None,
    };
    let profile = without_file.only(Key::Profile)?.profile;
    let asked = without_file.only(Key::Config)?.config;
    let (file, notes) = open(asked, environment, facts)?;
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
    pub fn load(
        given: &CliOverrides,
        environment: Environment<'_>,
        facts: &ProcessEnv,
    ) -> Result<Self> {
        load(given, environment, facts, Settings::resolve)
    }
}

/// Refuses a variable that has the tool's prefix and is no option: a mistyped guard would be none
/// at all.
fn refuse_unknown(variables: &[OsString]) -> Result<()> {
    for name in variables {
        let name = name.to_string_lossy();
        let Some(suffix) = suffix_of(&name, cfg!(windows)) else {
            continue;
        };
        if is_set_by_others(&suffix) {
            continue;
        }
        if let Some(advice) = advice_on(&suffix) {
            let message = format!("there is no setting for the variable {}", visible(&name));
            return Err(Error::new(Kind::Usage, message).help(advice));
        }
    }
    Ok(())
}

/// Returns what follows [`VARIABLES`] in a variable's name, in upper case where the system ignores
/// the case of names.
fn suffix_of(name: &str, ignore_case: bool) -> Option<String> {
    let name = if ignore_case {
        name.to_uppercase()
    } else {
        name.to_owned()
    };
    name.strip_prefix(VARIABLES).map(str::to_owned)
}

/// Checks whether a variable was set by Kubernetes, which names variables after services such as
/// `mfa-optout`
/// (<https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>), or
/// by the build.
fn is_set_by_others(suffix: &str) -> bool {
    let suffix = format!("_{suffix}");
    suffix.ends_with("_SERVICE_HOST")
        || suffix.contains("_SERVICE_PORT")
        || suffix.ends_with("_PORT")
        || suffix.contains("_PORT_")
        || suffix.ends_with("_COMMIT")
}

/// Returns what to do about a variable, or nothing if it is one of an option's.
fn advice_on(suffix: &str) -> Option<String> {
    let variables = TABLE.iter().filter_map(|setting| setting.key.variable());
    let suffixes: Vec<String> = variables
        .map(|name| name[VARIABLES.len()..].to_owned())
        .collect();
    if suffixes.iter().any(|known| known == suffix) {
        return None;
    }
    if let Some(setting) = named(&suffix.to_lowercase()) {
        return Some(setting.where_it_counts());
    }
    Some(match nearest(suffix, suffixes.into_iter()) {
        Some(name) => format!("did you mean {VARIABLES}{name}?"),
        None => "remove it; `mfa-optout apply --help` lists the options".to_owned(),
    })
}

fn open(
    asked: Option<PathBuf>,
    environment: Environment<'_>,
    facts: &ProcessEnv,
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
        // Anyone who can create this file could send the key to another server, and no person sees
        // the plan. Therefore it is not even opened.
        notes.push(format!(
            "{} is ignored without a terminal; to use it, give --config {NAME}",
            shown_path(&here)
        ));
    }
    let Some(folder) = user_folder(environment) else {
        return Ok((None, notes));
    };
    let file = parse_if_there(&folder.join("mfa-optout").join(NAME), &mut notes)?;
    Ok((file, notes))
}

/// Reads a config file that nobody named. One that can't be reached, for instance because it lies
/// below another user's home, is only worth a note.
fn parse_if_there(path: &Path, notes: &mut Vec<String>) -> Result<Option<File>> {
    match trusted_file::read_text(path, trusted_file::MAX_BYTES) {
        Ok(text) => File::parse(path, &text).map(Some),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) if error.is_unreachable() => {
            notes.push(format!(
                "the config file {} is ignored: {}",
                shown_path(path),
                reason(&error)
            ));
            Ok(None)
        }
        Err(error) => Err(unreadable(path, &error)),
    }
}

/// `XDG_CONFIG_HOME`, else `~/.config` (XDG Base Directory Specification); on Windows `APPDATA`. A
/// relative path there does not count, as that specification has it.
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
        format!("can't read the config file {}: {error}", shown_path(path)),
    )
}

fn reason(error: &ReadError) -> String {
    match error {
        ReadError::Io(error) => format!("it can't be read ({})", Reason(error)),
        other => other.to_string(),
    }
}

fn no_file_for(profile: &str) -> Error {
    Error::new(
        Kind::Usage,
        format!(
            "there is no config file with the profile \"{}\"",
            shown_value(profile)
        ),
    )
    .help(format!(
        "name the file with --config, or put {NAME} into the configuration folder"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(variable: &str) -> Option<String> {
        let result = refuse_unknown(&[OsString::from(variable)]);
        result.err().map(|error| error.to_string())
    }

    #[test]
    fn unknown_variables_are_refused_except_those_of_kubernetes_and_of_the_build() {
        for allowed in [
            "MFA_OPTOUT_RATE",
            "MFA_OPTOUT_API_KEY",
            "MFA_OPTOUT_SERVICE_HOST",
            "MFA_OPTOUT_SERVICE_PORT",
            "MFA_OPTOUT_SERVICE_PORT_HTTP",
            "MFA_OPTOUT_PORT",
            "MFA_OPTOUT_PORT_80_TCP_ADDR",
            "MFA_OPTOUT_WEB_SERVICE_HOST",
            "MFA_OPTOUT_WEB_PORT_80_TCP",
            "MFA_OPTOUT_COMMIT",
            "MFA_OPTOUT",
            "MY_MFA_OPTOUT_FLAVOUR",
        ] {
            assert_eq!(complaint(allowed), None, "{allowed}");
        }
        for (refused, advice) in [
            (
                "MFA_OPTOUT_FLAVOUR",
                "`mfa-optout apply --help` lists the options",
            ),
            (
                "MFA_OPTOUT_MAX_OPT_OUT",
                "did you mean MFA_OPTOUT_MAX_OPT_OUTS?",
            ),
            ("MFA_OPTOUT_REPORTS", "did you mean MFA_OPTOUT_REPORT?"),
            (
                "MFA_OPTOUT_YES",
                "--yes can only be given on the command line",
            ),
            (
                "MFA_OPTOUT_REQUIRE_REASON",
                "require_reason can only be given in the config file",
            ),
            ("MFA_OPTOUT_", "`mfa-optout apply --help` lists the options"),
        ] {
            let complaint = complaint(refused).unwrap();
            assert!(
                complaint.contains(refused) && complaint.contains(advice),
                "{complaint}"
            );
        }
    }

    #[test]
    fn the_case_of_a_variable_is_ignored_only_where_the_system_ignores_it() {
        assert_eq!(suffix_of("Mfa_OptOut_Rate", true).as_deref(), Some("RATE"));
        assert_eq!(suffix_of("Mfa_OptOut_Rate", false), None);
        assert_eq!(suffix_of("MFA_OPTOUT_rate", false).as_deref(), Some("rate"));
        let counts = cfg!(windows);
        assert_eq!(complaint("MFA_OPTOUT_rate").is_none(), counts);
    }
}
