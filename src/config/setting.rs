//! One option as the settings table declares it, and the names that follow from it.

use crate::config::Settings;
use crate::config::origin::Raw;
use crate::config::table::{Key, TABLE};
use crate::config::values::Parsed;

/// The prefix of the environment variables.
pub(super) const VARIABLES: &str = "MFA_OPTOUT_";

/// The places where an option may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Command line, environment and config file.
    Everywhere,
    /// Command line and environment: it belongs to one run, and a config file is for many.
    Run,
    /// The command line only, so that it never applies by surprise.
    Flag,
    /// The config file only.
    File,
    /// The environment only; the value is never shown or recorded.
    Secret,
}

/// The form of an option's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// On or off; a flag without a value on the command line.
    Switch,
    /// Text, with the name that the help shows for it.
    Text(&'static str),
    /// A path, with the name that the help shows for it.
    Path(&'static str),
    /// One of a few words, with the name that the help shows for it.
    OneOf(&'static str, &'static [&'static str]),
}

/// One option.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The name in code.
    pub key: Key,
    /// The long flag without its hyphens. The name in the config file and the environment variable
    /// are made from it.
    pub name: &'static str,
    /// The letter of the short flag.
    pub short: Option<char>,
    /// Other names of the flag.
    pub aliases: &'static [&'static str],
    /// Where it may be given.
    pub scope: Scope,
    /// The form of the value.
    pub form: Form,
    /// The value that applies when none is given. A switch is off then.
    pub default: Option<&'static str>,
    /// The heading in the help.
    pub heading: &'static str,
    /// The help: one sentence without a full stop.
    pub help: &'static str,
    /// A paragraph that `--help` adds; empty for none.
    pub more: &'static str,
    /// Options that can't be given together with this one.
    pub conflicts: &'static [Key],
    /// The option without which this one has no meaning.
    pub requires: Option<Key>,
    /// The commands that take it.
    pub commands: &'static [&'static str],
    /// Whether the suggested `retry` command repeats it.
    pub carried: bool,
    /// Checks a value and stores it in its field.
    pub set: fn(&mut Settings, &Raw<'_>) -> Parsed<()>,
}

impl Key {
    /// Returns the row of the table.
    #[must_use]
    pub fn setting(self) -> &'static Setting {
        &TABLE[self as usize]
    }

    /// Returns the flag, such as `--max-wait`.
    #[must_use]
    pub fn flag(self) -> String {
        format!("--{}", self.setting().name)
    }

    /// Returns the environment variable, such as `MFA_OPTOUT_MAX_WAIT`, if the environment counts
    /// for this option.
    #[must_use]
    pub fn variable(self) -> Option<String> {
        let setting = self.setting();
        match setting.scope {
            Scope::Everywhere | Scope::Run | Scope::Secret => {
                Some(format!("{VARIABLES}{}", setting.file_key().to_uppercase()))
            }
            Scope::Flag | Scope::File => None,
        }
    }
}

impl Setting {
    /// Returns the name in the config file, such as `max_wait`.
    #[must_use]
    pub fn file_key(&self) -> String {
        self.name.replace('-', "_")
    }

    /// Returns the value that applies when none is given.
    #[must_use]
    pub fn default(&self) -> Option<&'static str> {
        match self.form {
            Form::Switch => Some("false"),
            Form::Text(_) | Form::Path(_) | Form::OneOf(..) => self.default,
        }
    }

    /// Checks whether the config file may have this option.
    #[must_use]
    pub fn may_be_in_file(&self) -> bool {
        matches!(self.scope, Scope::Everywhere | Scope::File)
    }

    /// Checks whether this option may be given as a flag.
    #[must_use]
    pub fn may_be_flag(&self) -> bool {
        matches!(self.scope, Scope::Everywhere | Scope::Run | Scope::Flag)
    }

    /// Checks whether `command` takes this option.
    #[must_use]
    pub fn is_taken_by(&self, command: &str) -> bool {
        self.commands.contains(&command)
    }

    /// Returns the name that the run's record uses: the flag, or the name in the config file.
    #[must_use]
    pub fn label(&self) -> String {
        if self.may_be_flag() {
            self.key.flag()
        } else {
            self.file_key()
        }
    }

    /// Says where this option may be given, to somebody who gave it elsewhere.
    pub(super) fn where_it_counts(&self) -> String {
        let flag = self.key.flag();
        match (self.scope, self.key.variable()) {
            (Scope::Secret, _) => format!(
                "a secret does not belong here; name the file that holds it with {}_file",
                self.file_key()
            ),
            (Scope::File, _) => format!("{} can only be given in the config file", self.file_key()),
            (_, Some(variable)) => format!("give it with {flag} or the variable {variable}"),
            (_, None) => format!("{flag} can only be given on the command line"),
        }
    }
}
