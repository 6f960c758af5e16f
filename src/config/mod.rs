//! The settings of a run. The command line outranks the environment, which outranks a profile of
//! `mfa-optout.toml`; together they become one typed [`Settings`]. Of the disk, only the config
//! file and secrets are read.

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

pub use locate::{ProcessEnv, load, may_hold_settings};
pub use origin::{CliOverrides, Origin, Sources};
pub use secret::{SecretPlace, SignIn};
pub use setting::{Form, Scope, Setting};
pub use show::{config_text, faults};
pub use table::{Key, TABLE};

/// The settings of a run, parsed and within their bounds.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The Org and the credentials.
    pub connection: Connection,
    /// Rate, retries and limits.
    pub sending: Sending,
    /// Options for reading the input.
    pub reading: Reading,
    /// The register of what was last confirmed for each user.
    pub register: RegisterSettings,
    /// Conditions for sending.
    pub guards: Guards,
    /// Files that are written.
    pub outputs: Outputs,
    /// How messages are shown.
    pub talk: Logging,
    /// The properties of the practice Org.
    pub practice: Practice,
    /// The config file that was named with `--config`.
    pub config: Option<PathBuf>,
    /// The profile that was named with `--profile`.
    pub profile: Option<String>,
    /// Every option that is in effect, with its text as it was given, for the run's record. No
    /// secrets.
    pub options: BTreeMap<String, String>,
    /// The config file that is in effect.
    pub file: Option<PathBuf>,
    /// Notes for the plan about the origin of the settings.
    pub notes: Vec<String>,
}

/// The Org and the credentials.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// Base address of the Org as it was written, unchecked.
    pub address: Option<String>,
    /// File with the API key.
    pub api_key_file: Option<PathBuf>,
    /// E-mail address of the account that signs in.
    pub email: Option<String>,
    /// File with the password.
    pub password_file: Option<PathBuf>,
    /// Credentials, made from the options above and the secrets in the environment.
    pub sign_in: Option<SignIn>,
    /// Number of the Org, which only a session needs.
    pub org: Option<u64>,
    /// Maximum time of a request, more than zero.
    pub timeout: Duration,
    /// PEM file with certificates to trust in addition to the system's.
    pub ca_cert: Option<PathBuf>,
    /// Whether the run uses a practice Org in the same process. Address and credentials are ignored
    /// then.
    pub sandbox: bool,
}

/// Rate, retries and limits.
#[derive(Clone, Debug)]
pub struct Sending {
    /// Rate of requests, including retries and logins.
    pub rate: Rate,
    /// Maximum number of requests in flight, 1 to 1,000; `None` to derive it from rate and latency.
    pub concurrency: Option<usize>,
    /// Maximum number of attempts for a row in each of the two passes, 1 to 100.
    pub max_attempts: u32,
    /// Longest wait that the Org may ask for.
    pub max_wait: Duration,
    /// Longest outage that the run waits for.
    pub outage_patience: Duration,
    /// Number of failures in a row, or share of the last 1,000 rows, that ends the run.
    pub max_failures: Threshold,
    /// Maximum time of the run, more than zero.
    pub max_duration: Option<Duration>,
    /// Number of changes after which the run ends.
    pub limit: Option<u64>,
}

/// Options for reading the input. What is `None` is detected.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// Byte between cells.
    pub delimiter: Option<u8>,
    /// Encoding of the text.
    pub encoding: Option<&'static Encoding>,
    /// Sheet of a workbook.
    pub sheet: Option<String>,
    /// Column with the IDs, by name or by number from 1.
    pub id_column: Option<String>,
    /// Column with the flags, by name or by number from 1.
    pub flag_column: Option<String>,
    /// The column with the end dates: its name, its number from 1, or `none`.
    pub until_column: Option<String>,
    /// The line of the file, or row of the sheet, in which the header is.
    pub header_row: Option<u64>,
    /// Whether rows that are hidden in a workbook are left out.
    pub visible_only: bool,
    /// Whether the last row is sent even if it looks like a row of totals.
    pub keep_last_row: bool,
    /// File with the users and their IDs.
    pub ids: Option<PathBuf>,
    /// Columns by which people are matched with the users of that file.
    pub match_columns: Option<MatchColumns>,
    /// Column of that file with the IDs, by name or by number from 1.
    pub ids_column: Option<String>,
    /// One flag for all rows, instead of a column.
    pub set: Option<Flag>,
    /// Whether the first row names the columns.
    pub header: bool,
    /// Maximum size of the inflated input in bytes.
    pub max_input: Option<u64>,
    /// Time zone of the end dates; `None` for the system's.
    pub timezone: Option<TimeZone>,
    /// Treatment of invalid rows.
    pub bad_rows: BadRows,
    /// File for the complete list of invalid rows.
    pub problems: Option<PathBuf>,
}

/// The columns by which people are matched with the users of a list, each by name or by number
/// from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatchColumns {
    /// The column of the table.
    pub in_table: String,
    /// The column of the list.
    pub in_list: String,
}

/// The treatment of invalid rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BadRows {
    /// Nothing is sent.
    #[default]
    Refuse,
    /// Invalid rows are reported, and the others are sent.
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

/// Conditions for sending.
#[derive(Clone, Debug, Default)]
pub struct Guards {
    /// Maximum number or share of the rows that may be opted out.
    pub max_opt_outs: Option<Threshold>,
    /// Reason for the run, for its record.
    pub reason: Option<String>,
    /// Whether a reason must be given.
    pub require_reason: bool,
    /// Whether the plan is shown without sending anything.
    pub dry_run: bool,
    /// Whether the plan is confirmed by `--yes`.
    pub yes: bool,
}

impl Guards {
    /// Returns how the plan is confirmed. A dry run outranks `--yes`.
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

/// How the plan is confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    /// The person at the terminal is asked.
    Ask,
    /// `--yes` confirms it.
    Given,
    /// The plan is shown, and nothing is sent.
    DryRun,
}

/// Files that are written.
#[derive(Clone, Debug, Default)]
pub struct Outputs {
    /// The report; `None` for a file beside the input.
    pub report: Option<PathBuf>,
    /// The page.
    pub html: Option<PathBuf>,
    /// The Prometheus text file.
    pub metrics: Option<PathBuf>,
    /// Whether a finished report may be replaced.
    pub overwrite: bool,
    /// Treatment of an interrupted run.
    pub earlier_run: EarlierRun,
    /// Whether a different API key than before is a new key of the same Org.
    pub new_key: bool,
}

/// The treatment of an interrupted run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EarlierRun {
    /// The interrupted run is continued.
    #[default]
    Resume,
    /// The interrupted run is closed, and this one starts over.
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
    /// Parses the options that were given. Performs no I/O.
    ///
    /// # Errors
    /// A value that can't be used, named with its place; credentials that contradict each other or
    /// are incomplete; a missing reason where the config file demands one.
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

    /// Returns settings to which no option and no default has been applied. Fields that need a
    /// value have the most careful one.
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

    /// Returns the rules of the policy. `seed` is the seed of the jitter.
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

/// The place of a secret, and the origin that decides its rank.
type Placed = (SecretPlace, Origin);

/// Returns the credentials of higher rank: API key or session.
///
/// # Errors
/// Both have the same rank, or a session is incomplete.
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
        (Some(email), password, Some(org)) => Ok(SignIn::Session {
            email,
            password: match password {
                Some((place, _)) => place,
                None => SecretPlace::Terminal,
            },
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
