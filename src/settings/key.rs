//! The table of settings: what each is called, where it may be given, and what applies when nobody gives it. What a
//! value means is written in `values`.

/// One setting. Its row in the table says what it is called on the command line, in the environment and in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// The Org's base address.
    Address,
    /// The API key itself; never on a command line and never in a file of settings.
    ApiKey,
    /// The file with the API key.
    ApiKeyFile,
    /// Whose session.
    Email,
    /// The password itself; never on a command line and never in a file of settings.
    Password,
    /// The file with the password.
    PasswordFile,
    /// The Org that the session is for.
    Org,
    /// A file with certificates of a private authority.
    CaCert,
    /// The file of settings.
    Config,
    /// The profile in it.
    Profile,
    /// How fast requests may leave.
    Rate,
    /// Requests in flight.
    Concurrency,
    /// How long an answer may take.
    Timeout,
    /// Attempts of a row.
    MaxAttempts,
    /// The longest pause that the Org may ask for.
    MaxWait,
    /// How long an outage may last.
    OutagePatience,
    /// How many failures end the run.
    MaxFailures,
    /// How long the run may last.
    MaxDuration,
    /// How many people may be opted out.
    MaxOptOuts,
    /// Why the run is made.
    Reason,
    /// Whether a reason must be given.
    RequireReason,
    /// Consent given beforehand.
    Yes,
    /// The plan only.
    DryRun,
    /// Sends the good rows of a file that has bad ones.
    SkipInvalid,
    /// Where the complete list of bad rows goes.
    Problems,
    /// Where the report goes.
    Report,
    /// Where the page goes.
    Html,
    /// Where the Prometheus text goes.
    Metrics,
    /// Replaces a finished report.
    Overwrite,
    /// Starts over.
    Fresh,
    /// Another key of the same Org.
    NewKey,
    /// An earlier report, whose applied rows are not sent again.
    Baseline,
    /// In which zone a day ends.
    Timezone,
    /// What separates cells.
    Delimiter,
    /// How bytes become text.
    Encoding,
    /// Which sheet of a workbook.
    Sheet,
    /// Which column has the IDs.
    IdColumn,
    /// Which column has the flags.
    FlagColumn,
    /// One flag for all rows.
    Set,
    /// The first row is data.
    NoHeader,
    /// How large an input may become.
    MaxInput,
    /// Runs against a practice Org in the same process.
    Sandbox,
    /// Text or JSON lines.
    LogFormat,
    /// Errors only.
    Quiet,
    /// A line for each row.
    Verbose,
}

/// Where a setting may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Command line, environment and file.
    Everywhere,
    /// Command line and environment: it belongs to one run, and a file is for many.
    Run,
    /// The command line only: nobody should meet it by surprise.
    Flag,
    /// The file only.
    File,
    /// The environment only, and its value is never shown.
    Secret,
}

/// A row of the table.
#[derive(Debug)]
pub struct Setting {
    /// Which setting.
    pub key: Key,
    /// Its name in the file; the flag and the variable are made from it.
    pub name: &'static str,
    /// Where it may be given.
    pub scope: Scope,
    /// What applies when it is not given, `None` for nothing.
    pub default: Option<&'static str>,
}

/// How the names of the tool's variables begin.
pub(super) const VARIABLES: &str = "MFA_OPTOUT_";

/// All settings, in the order in which they are shown; that of [`Key`].
pub const TABLE: [Setting; 45] = [
    row(Key::Address, "address", Scope::Everywhere, None),
    row(Key::ApiKey, "api_key", Scope::Secret, None),
    row(Key::ApiKeyFile, "api_key_file", Scope::Everywhere, None),
    row(Key::Email, "email", Scope::Everywhere, None),
    row(Key::Password, "password", Scope::Secret, None),
    row(Key::PasswordFile, "password_file", Scope::Everywhere, None),
    row(Key::Org, "org", Scope::Everywhere, None),
    row(Key::CaCert, "ca_cert", Scope::Everywhere, None),
    row(Key::Config, "config", Scope::Run, None),
    row(Key::Profile, "profile", Scope::Run, None),
    row(Key::Rate, "rate", Scope::Everywhere, Some("10/s")),
    row(
        Key::Concurrency,
        "concurrency",
        Scope::Everywhere,
        Some("auto"),
    ),
    row(Key::Timeout, "timeout", Scope::Everywhere, Some("30s")),
    row(
        Key::MaxAttempts,
        "max_attempts",
        Scope::Everywhere,
        Some("5"),
    ),
    row(Key::MaxWait, "max_wait", Scope::Everywhere, Some("5m")),
    row(
        Key::OutagePatience,
        "outage_patience",
        Scope::Everywhere,
        Some("10m"),
    ),
    row(
        Key::MaxFailures,
        "max_failures",
        Scope::Everywhere,
        Some("100"),
    ),
    row(Key::MaxDuration, "max_duration", Scope::Everywhere, None),
    row(Key::MaxOptOuts, "max_opt_outs", Scope::Everywhere, None),
    row(Key::Reason, "reason", Scope::Run, None),
    row(
        Key::RequireReason,
        "require_reason",
        Scope::File,
        Some("false"),
    ),
    row(Key::Yes, "yes", Scope::Flag, Some("false")),
    row(Key::DryRun, "dry_run", Scope::Flag, Some("false")),
    row(Key::SkipInvalid, "skip_invalid", Scope::Flag, Some("false")),
    row(Key::Problems, "problems", Scope::Run, None),
    row(Key::Report, "report", Scope::Run, None),
    row(Key::Html, "html", Scope::Run, None),
    row(Key::Metrics, "metrics", Scope::Everywhere, None),
    row(Key::Overwrite, "overwrite", Scope::Flag, Some("false")),
    row(Key::Fresh, "fresh", Scope::Flag, Some("false")),
    row(Key::NewKey, "new_key", Scope::Flag, Some("false")),
    row(Key::Baseline, "baseline", Scope::Run, None),
    row(Key::Timezone, "timezone", Scope::Everywhere, None),
    row(Key::Delimiter, "delimiter", Scope::Everywhere, None),
    row(Key::Encoding, "encoding", Scope::Everywhere, None),
    row(Key::Sheet, "sheet", Scope::Everywhere, None),
    row(Key::IdColumn, "id_column", Scope::Everywhere, None),
    row(Key::FlagColumn, "flag_column", Scope::Everywhere, None),
    row(Key::Set, "set", Scope::Flag, None),
    row(Key::NoHeader, "no_header", Scope::Everywhere, Some("false")),
    row(Key::MaxInput, "max_input", Scope::Everywhere, None),
    row(Key::Sandbox, "sandbox", Scope::Flag, Some("false")),
    row(
        Key::LogFormat,
        "log_format",
        Scope::Everywhere,
        Some("text"),
    ),
    row(Key::Quiet, "quiet", Scope::Flag, Some("false")),
    row(Key::Verbose, "verbose", Scope::Flag, Some("false")),
];

const fn row(key: Key, name: &'static str, scope: Scope, default: Option<&'static str>) -> Setting {
    Setting {
        key,
        name,
        scope,
        default,
    }
}

impl Key {
    /// Its row of the table.
    #[must_use]
    pub fn setting(self) -> &'static Setting {
        &TABLE[self as usize]
    }

    /// The flag, such as `--max-wait`.
    #[must_use]
    pub fn flag(self) -> String {
        format!("--{}", self.setting().name.replace('_', "-"))
    }

    /// The environment variable, such as `MFA_OPTOUT_MAX_WAIT`; `None` where the environment does not count.
    #[must_use]
    pub fn variable(self) -> Option<String> {
        let Setting { name, scope, .. } = self.setting();
        let counts = matches!(scope, Scope::Everywhere | Scope::Run | Scope::Secret);
        counts.then(|| format!("{VARIABLES}{}", name.to_uppercase()))
    }

    /// The setting with this name, where the file may have it.
    #[must_use]
    pub fn in_file(name: &str) -> Option<Self> {
        Self::all_in_file().find(|key| key.setting().name == name)
    }

    /// The settings that the file may have.
    pub fn all_in_file() -> impl Iterator<Item = Self> {
        TABLE
            .iter()
            .filter(|row| matches!(row.scope, Scope::Everywhere | Scope::File))
            .map(|row| row.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_keys() {
        for (position, row) in TABLE.iter().enumerate() {
            assert_eq!(row.key as usize, position, "{}", row.name);
        }
    }

    #[test]
    fn names_follow_from_the_table() {
        assert_eq!(Key::MaxWait.flag(), "--max-wait");
        assert_eq!(
            Key::MaxWait.variable().as_deref(),
            Some("MFA_OPTOUT_MAX_WAIT")
        );
        assert_eq!(
            Key::ApiKey.variable().as_deref(),
            Some("MFA_OPTOUT_API_KEY")
        );
        assert_eq!(
            Key::Yes.variable(),
            None,
            "consent is given for one run, not left lying in an environment"
        );
        assert_eq!(Key::in_file("rate"), Some(Key::Rate));
        assert_eq!(
            Key::in_file("api_key"),
            None,
            "a secret has no place in the file"
        );
        assert_eq!(Key::in_file("yes"), None);
    }
}
