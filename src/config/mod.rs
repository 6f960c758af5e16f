//! What a run is told: the command line over the environment over a profile of `mfa-optout.toml` become one typed
//! [`Settings`]. No network and no input rows; of the disk only the file of settings and, when asked, a secret.

mod file;
mod locate;
mod lookup;
mod origin;
mod secret;
mod setting;
mod show;
mod table;
pub mod values;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use encoding_rs::Encoding;
use jiff::tz::TimeZone;

use crate::domain::{Flag, Rate, Threshold};
use crate::error::{Error, Kind, Result};
use crate::policy::Rules;

pub use file::File;
pub use locate::{ProcessEnv, load, may_hold_settings};
pub use origin::{CliOverrides, Environment, Origin, Sources};
pub use secret::{SecretPlace, SignIn};
pub use setting::{Form, Scope, Setting};
pub use show::{config_text, faults};
pub use table::{Key, TABLE};

/// All that a run is told, understood and within its bounds.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where and as whom.
    pub connection: Connection,
    /// How fast, how often, how long.
    pub sending: Sending,
    /// How the input is read.
    pub reading: Reading,
    /// The register of what was last confirmed for each user.
    pub register: RegisterSettings,
    /// What must hold before anything is sent.
    pub guards: Guards,
    /// What is written and where.
    pub outputs: Outputs,
    /// What is said while it goes on.
    pub talk: Logging,
    /// The properties of the practice Org.
    pub practice: Practice,
    /// The config file that was named.
    pub config: Option<PathBuf>,
    /// The profile that was named.
    pub profile: Option<String>,
    /// Every option that is in effect, with its text as it was given, for the run's record. No secrets.
    pub options: BTreeMap<String, String>,
    /// The file of settings that counts.
    pub file: Option<PathBuf>,
    /// What a person should know about where the settings come from, for the plan.
    pub notes: Vec<String>,
}

/// Where and as whom.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// The Org's base address as it was written, unchecked; `None` where nobody gave one.
    pub address: Option<String>,
    /// The file with the API key.
    pub api_key_file: Option<PathBuf>,
    /// E-mail address of the account that signs in.
    pub email: Option<String>,
    /// The file with the password.
    pub password_file: Option<PathBuf>,
    /// How to sign in, made of the above and of the secrets in the environment; `None` where nobody gave credentials.
    pub sign_in: Option<SignIn>,
    /// The Org's number, where given; a session needs it, a key knows it.
    pub org: Option<u64>,
    /// How long one whole answer may take, more than zero.
    pub timeout: Duration,
    /// Certificates to trust besides the system's, a PEM file.
    pub ca_cert: Option<PathBuf>,
    /// Whether the run goes to a practice Org in the same process; address and credentials then do not count.
    pub sandbox: bool,
}

/// How fast, how often, how long.
#[derive(Clone, Debug)]
pub struct Sending {
    /// Requests in a time, retries and log-ins included.
    pub rate: Rate,
    /// Requests in flight, 1 to 1,000; `None` to let it follow from rate and latency.
    pub concurrency: Option<usize>,
    /// Attempts of a row in the main pass, and again in the second-chance pass; 1 to 100.
    pub max_attempts: u32,
    /// The longest pause that the Org may ask for.
    pub max_wait: Duration,
    /// How long an outage may last.
    pub outage_patience: Duration,
    /// How many failures in a row, or which share of the last 1,000, end the run.
    pub max_failures: Threshold,
    /// How long the run may last, more than zero.
    pub max_duration: Option<Duration>,
    /// Number of changes after which the run ends.
    pub limit: Option<u64>,
}

/// How the input is read. What is `None` is found out from the input itself.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// The byte between cells.
    pub delimiter: Option<u8>,
    /// How bytes become text.
    pub encoding: Option<&'static Encoding>,
    /// The sheet of a workbook.
    pub sheet: Option<String>,
    /// The column with the IDs: its name, or its number from 1.
    pub id_column: Option<String>,
    /// The column with the flags: its name, or its number from 1.
    pub flag_column: Option<String>,
    /// The column with the end dates: its name, its number from 1, or `none`.
    pub until_column: Option<String>,
    /// The line of the file, or row of the sheet, in which the header is.
    pub header_row: Option<u64>,
    /// Whether rows that are hidden in a workbook are left out.
    pub visible_only: bool,
    /// Whether the last row is sent even if it looks like a row of totals.
    pub keep_last_row: bool,
    /// One flag for all rows, instead of a column.
    pub set: Option<Flag>,
    /// Whether the first row names the columns.
    pub header: bool,
    /// How many bytes an input may inflate to.
    pub max_input: Option<u64>,
    /// In which zone `opt_out_until` is meant; `None` for the system's.
    pub timezone: Option<TimeZone>,
    /// Whether bad rows are reported and the others sent, or nothing is.
    pub bad_rows: BadRows,
    /// Where the complete list of bad rows goes.
    pub problems: Option<PathBuf>,
}

/// What happens to an input with bad rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BadRows {
    /// Nothing is sent.
    #[default]
    Refuse,
    /// They are reported as invalid, the others are sent.
    Skip,
}

/// The register of what was last confirmed for each user, and how `sync` uses it.
#[derive(Clone, Debug, Default)]
pub struct RegisterSettings {
    /// The file.
    pub path: Option<PathBuf>,
    /// The name of the list; `None` for the path of the table.
    pub list: Option<String>,
    /// Whether every row is sent.
    pub full: bool,
    /// Whether people who have left the table are left as they are.
    pub keep_missing: bool,
    /// How many people of the list may be missing from the table; `None` for the default.
    pub max_missing: Option<Threshold>,
}

/// What must hold before anything is sent.
#[derive(Clone, Debug, Default)]
pub struct Guards {
    /// How many people, or which share of the rows, may be opted out.
    pub max_opt_outs: Option<Threshold>,
    /// Why the run is made, for its record.
    pub reason: Option<String>,
    /// Whether a reason must be given.
    pub require_reason: bool,
    /// Whether the plan is shown and nothing is sent.
    pub dry_run: bool,
    /// Whether the plan was confirmed beforehand.
    pub yes: bool,
}

impl Guards {
    /// Returns who confirms the plan. A dry run stays one whatever else is given.
    #[must_use]
    pub fn consent(&self) -> Consent {
        if self.dry_run {
            Consent::DryRun
        } else if self.yes {
            Consent::Given
        } else {
            Consent::Ask
        }
    }
}

/// Who says yes to the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    /// The person at the terminal is asked.
    Ask,
    /// `--yes` said it beforehand.
    Given,
    /// Nobody: the plan is shown and nothing is sent.
    DryRun,
}

/// What is written and where.
#[derive(Clone, Debug, Default)]
pub struct Outputs {
    /// The report; `None` for beside the input.
    pub report: Option<PathBuf>,
    /// The page.
    pub html: Option<PathBuf>,
    /// The Prometheus text file.
    pub metrics: Option<PathBuf>,
    /// Whether a finished report may be replaced.
    pub overwrite: bool,
    /// Whether an interrupted run is picked up or put aside.
    pub earlier_run: EarlierRun,
    /// Whether another API key than the interrupted run's is the same Org's new one.
    pub new_key: bool,
}

/// What becomes of an interrupted run's record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EarlierRun {
    /// The run goes on where it was.
    #[default]
    Resume,
    /// It is kept under another name and the run starts over.
    StartOver,
}

/// How messages are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Logging {
    /// Form of the messages.
    pub format: LogFormat,
    /// Amount of the messages.
    pub volume: Volume,
    /// Whether messages are coloured.
    pub color: ColorChoice,
}

/// Whether messages are coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColorChoice {
    /// Colour at a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Colour everywhere.
    Always,
    /// No colour.
    Never,
}

/// The form of the lines on standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How much is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Volume {
    /// Errors only.
    Quiet,
    /// Progress.
    #[default]
    Normal,
    /// Also a line for each row.
    Verbose,
}

/// The properties of a practice Org. What is `None` is left to the sandbox.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Practice {
    /// Number of users.
    pub members: Option<u64>,
    /// Time that each response takes.
    pub latency: Option<Duration>,
    /// Requests a second that are accepted.
    pub rate_limit: Option<u32>,
    /// Share of responses that are a server error, in percent.
    pub error_percent: Option<f64>,
    /// Share of responses that are a 429, in percent.
    pub throttle_percent: Option<f64>,
    /// Time in which it does not answer, counted from its start.
    pub outage: Option<Range<Duration>>,
    /// Lifetime of a session's token.
    pub token_life: Option<Duration>,
}

impl Settings {
    /// Parses what was given. Reads nothing and asks nobody.
    ///
    /// # Errors
    /// A value that can't be used, named with its place; credentials that contradict each other or are incomplete; a
    /// missing reason where the config file demands one.
    pub fn resolve(sources: Sources<'_>, notes: Vec<String>) -> Result<Self> {
        let mut settings = Self::unset();
        for setting in TABLE {
            sources.apply(setting.key, &mut settings)?;
        }
        if settings.guards.reason.is_none() && settings.guards.require_reason {
            let message = "the config file requires a reason";
            return Err(Error::new(Kind::Usage, message).help("say why with --reason \"TEXT\""));
        }
        settings.connection.sign_in = sign_in(sources, &settings.connection)?;
        settings.options = show::in_effect(sources);
        settings.file = sources.file.map(|(file, _)| file.path().to_owned());
        settings.notes = notes;
        Ok(settings)
    }

    /// Returns settings before any option, even a default, has been applied. Where a field needs some value, it is the
    /// most careful one.
    pub(super) fn unset() -> Self {
        Self {
            connection: Connection::default(),
            sending: Sending {
                rate: Rate::Auto { ceiling: 1 },
                concurrency: Some(1),
                max_attempts: 1,
                max_wait: Duration::ZERO,
                outage_patience: Duration::ZERO,
                max_failures: Threshold::Count(1),
                max_duration: None,
                limit: None,
            },
            register: RegisterSettings::default(),
            reading: Reading::default(),
            guards: Guards::default(),
            outputs: Outputs::default(),
            talk: Logging::default(),
            practice: Practice::default(),
            config: None,
            profile: None,
            options: BTreeMap::new(),
            file: None,
            notes: Vec::new(),
        }
    }

    /// The rules of the policy. `seed` is the seed of the jitter.
    #[must_use]
    pub fn rules(&self, seed: u64) -> Rules {
        let sending = &self.sending;
        Rules {
            rate: sending.rate,
            concurrency: sending.concurrency,
            max_attempts: sending.max_attempts,
            max_wait: sending.max_wait,
            outage_patience: sending.outage_patience,
            max_failures: sending.max_failures,
            max_duration: sending.max_duration,
            confirmed_before: false,
            max_in_flight: usize::MAX,
            session: !self.connection.sandbox
                && matches!(self.connection.sign_in, Some(SignIn::Session { .. })),
            seed,
        }
    }
}

/// A secret's place, and how strongly it was asked for.
type Placed = (SecretPlace, Origin);

/// The stronger of an API key and a session; the two given equally strongly contradict each other.
fn sign_in(sources: Sources<'_>, connection: &Connection) -> Result<Option<SignIn>> {
    let key = place(
        sources,
        Key::ApiKey,
        (Key::ApiKeyFile, connection.api_key_file.as_ref()),
    )?;
    let password = place(
        sources,
        Key::Password,
        (Key::PasswordFile, connection.password_file.as_ref()),
    )?;
    let email = sources.find(Key::Email).map(|found| found.origin);
    let session = [email, password.as_ref().map(|(_, origin)| origin.clone())]
        .into_iter()
        .flatten()
        .min();
    match (key, session) {
        (None, None) => Ok(None),
        (Some((place, _)), None) => Ok(Some(SignIn::Key(place))),
        (Some((place, origin)), Some(other)) if origin.rank() < other.rank() => {
            Ok(Some(SignIn::Key(place)))
        }
        (Some((_, origin)), Some(other)) if origin.rank() == other.rank() => {
            Err(two_ways(&origin, &other))
        }
        (_, Some(_)) => session_of(connection, password).map(Some),
    }
}

fn session_of(connection: &Connection, password: Option<Placed>) -> Result<SignIn> {
    match (connection.email.clone(), password, connection.org) {
        (Some(email), Some((password, _)), Some(org)) => Ok(SignIn::Session {
            email,
            password,
            org,
        }),
        (email, password, org) => {
            let missing = [
                ("MFA_OPTOUT_EMAIL or --email", email.is_none()),
                ("MFA_OPTOUT_PASSWORD or --password-file", password.is_none()),
                ("MFA_OPTOUT_ORG or --org", org.is_none()),
            ];
            let missing: Vec<_> = missing
                .iter()
                .filter(|(_, missing)| *missing)
                .map(|(name, _)| *name)
                .collect();
            let message = "a session needs an email address, a password and the number of the Org";
            Err(Error::new(Kind::Usage, message)
                .help(format!("still missing: {}", missing.join("; "))))
        }
    }
}

fn place(
    sources: Sources<'_>,
    in_variable: Key,
    (in_file, path): (Key, Option<&PathBuf>),
) -> Result<Option<Placed>> {
    let secret = sources.secret(in_variable)?;
    let origin = sources.find(in_file).map(|found| found.origin);
    let file = origin.zip(path.cloned());
    match (secret, file) {
        (Some((_, origin)), Some((other, _))) if origin.rank() == other.rank() => {
            Err(two_ways(&origin, &other))
        }
        (Some((_, origin)), Some((other, path))) if other.rank() < origin.rank() => {
            Ok(Some((SecretPlace::file(path), other)))
        }
        (Some((secret, origin)), _) => Ok(Some((
            SecretPlace::Variable(origin.to_string(), secret),
            origin,
        ))),
        (None, Some((origin, path))) => Ok(Some((SecretPlace::file(path), origin))),
        (None, None) => Ok(None),
    }
}

fn two_ways(one: &Origin, other: &Origin) -> Error {
    Error::new(
        Kind::Usage,
        format!("{one} and {other} are two ways to sign in"),
    )
    .help("keep one of them")
}

#[cfg(test)]
mod tests;
