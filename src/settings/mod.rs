//! What a run is told: the command line over the environment over a profile of `mfa-optout.toml` become one typed
//! [`Settings`]. No network and no input rows; of the disk only the file of settings and, when asked, a secret.

mod file;
mod key;
mod origin;
mod place;
mod secret;
mod show;
pub mod values;

use std::path::PathBuf;
use std::time::Duration;

use encoding_rs::Encoding;
use jiff::tz::TimeZone;

use crate::domain::{Flag, Rate, Threshold};
use crate::error::{Error, Kind, Result};
use crate::policy::Rules;

pub use file::File;
pub use key::{Key, Scope, Setting, TABLE};
pub use origin::{Environment, Given, Origin, Sources};
pub use place::{Facts, load, may_hold_settings};
pub use secret::{SecretPlace, SignIn};
pub use show::config_text;

/// All that a run is told, understood and within its bounds.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where and as whom.
    pub connection: Connection,
    /// How fast, how often, how long.
    pub sending: Sending,
    /// How the input is read.
    pub reading: Reading,
    /// What must hold before anything is sent.
    pub guards: Guards,
    /// What is written and where.
    pub outputs: Outputs,
    /// What is said while it goes on.
    pub talk: Talk,
    /// The file of settings that counts.
    pub file: Option<PathBuf>,
    /// What a person should know about where the settings come from, for the plan.
    pub notes: Vec<String>,
}

/// Where and as whom.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The Org's base address as it was written, unchecked; `None` where nobody gave one.
    pub address: Option<String>,
    /// How to sign in; `None` where nobody gave credentials.
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
}

/// How the input is read. What is `None` is found out from the input itself.
#[derive(Clone, Debug)]
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
    /// One flag for all rows, instead of a column.
    pub set: Option<Flag>,
    /// Whether the first row names the columns.
    pub header: bool,
    /// How many bytes an input may inflate to.
    pub max_input: Option<u64>,
    /// In which zone `opt_out_until` is meant; `None` for the system's.
    pub timezone: Option<TimeZone>,
    /// An earlier report: rows that it says are applied are not sent again.
    pub baseline: Option<PathBuf>,
    /// Whether bad rows are reported and the others sent, or nothing is.
    pub bad_rows: BadRows,
    /// Where the complete list of bad rows goes.
    pub problems: Option<PathBuf>,
}

/// What happens to an input with bad rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadRows {
    /// Nothing is sent.
    Refuse,
    /// They are reported as invalid, the others are sent.
    Skip,
}

/// What must hold before anything is sent.
#[derive(Clone, Debug)]
pub struct Guards {
    /// How many people, or which share of the rows, may be opted out.
    pub max_opt_outs: Option<Threshold>,
    /// Why the run is made, for its record.
    pub reason: Option<String>,
    /// Who says yes to the plan.
    pub consent: Consent,
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
#[derive(Clone, Debug)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EarlierRun {
    /// The run goes on where it was.
    Resume,
    /// It is kept under another name and the run starts over.
    StartOver,
}

/// What is said while the run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Talk {
    /// In which form.
    pub format: LogFormat,
    /// How much.
    pub volume: Volume,
}

/// The form of the lines on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Volume {
    /// Errors only.
    Quiet,
    /// Progress.
    Normal,
    /// Also a line for each row.
    Verbose,
}

impl Settings {
    /// Understands what was given. Reads nothing and asks nobody.
    ///
    /// # Errors
    /// A value that means nothing, named with its place; credentials that contradict each other or are incomplete; a
    /// missing reason where the file demands one.
    pub fn resolve(sources: Sources<'_>, notes: Vec<String>) -> Result<Self> {
        Ok(Self {
            connection: connection(sources)?,
            sending: sending(sources)?,
            reading: reading(sources)?,
            guards: guards(sources)?,
            outputs: outputs(sources)?,
            talk: talk(sources)?,
            file: sources.file.map(|(file, _)| file.path().to_owned()),
            notes,
        })
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

fn connection(sources: Sources<'_>) -> Result<Connection> {
    let org = sources.get(Key::Org, values::org)?;
    Ok(Connection {
        address: sources.get(Key::Address, values::words)?,
        sign_in: sign_in(sources, org)?,
        org,
        timeout: sources.need(Key::Timeout, values::positive_duration)?,
        ca_cert: sources.path(Key::CaCert),
        sandbox: sources.need(Key::Sandbox, values::switch)?,
    })
}

fn sending(sources: Sources<'_>) -> Result<Sending> {
    Ok(Sending {
        rate: sources.need(Key::Rate, values::rate)?,
        concurrency: sources.need(Key::Concurrency, values::concurrency)?,
        max_attempts: sources.need(Key::MaxAttempts, values::attempts)?,
        max_wait: sources.need(Key::MaxWait, values::duration)?,
        outage_patience: sources.need(Key::OutagePatience, values::duration)?,
        max_failures: sources.need(Key::MaxFailures, values::limit)?,
        max_duration: sources.get(Key::MaxDuration, values::positive_duration)?,
    })
}

fn reading(sources: Sources<'_>) -> Result<Reading> {
    let skip_bad_rows = sources.need(Key::SkipInvalid, values::switch)?;
    Ok(Reading {
        delimiter: sources.get(Key::Delimiter, values::delimiter)?,
        encoding: sources.get(Key::Encoding, values::encoding)?,
        sheet: sources.get(Key::Sheet, values::words)?,
        id_column: sources.get(Key::IdColumn, values::words)?,
        flag_column: sources.get(Key::FlagColumn, values::words)?,
        set: sources.get(Key::Set, values::flag)?,
        header: !sources.need(Key::NoHeader, values::switch)?,
        max_input: sources.get(Key::MaxInput, values::size)?,
        timezone: sources.get(Key::Timezone, values::timezone)?,
        baseline: sources.path(Key::Baseline),
        bad_rows: if skip_bad_rows {
            BadRows::Skip
        } else {
            BadRows::Refuse
        },
        problems: sources.path(Key::Problems),
    })
}

fn guards(sources: Sources<'_>) -> Result<Guards> {
    let reason = sources.get(Key::Reason, values::words)?;
    if reason.is_none() && sources.need(Key::RequireReason, values::switch)? {
        let message = "a reason is required by the file of settings";
        return Err(Error::new(Kind::Usage, message).help("say why with --reason \"TEXT\""));
    }
    let consent = match (
        sources.need(Key::DryRun, values::switch)?,
        sources.need(Key::Yes, values::switch)?,
    ) {
        (true, _) => Consent::DryRun,
        (false, true) => Consent::Given,
        (false, false) => Consent::Ask,
    };
    Ok(Guards {
        max_opt_outs: sources.get(Key::MaxOptOuts, values::limit)?,
        reason,
        consent,
    })
}

fn outputs(sources: Sources<'_>) -> Result<Outputs> {
    let start_over = sources.need(Key::Fresh, values::switch)?;
    Ok(Outputs {
        report: sources.path(Key::Report),
        html: sources.path(Key::Html),
        metrics: sources.path(Key::Metrics),
        overwrite: sources.need(Key::Overwrite, values::switch)?,
        earlier_run: if start_over {
            EarlierRun::StartOver
        } else {
            EarlierRun::Resume
        },
        new_key: sources.need(Key::NewKey, values::switch)?,
    })
}

fn talk(sources: Sources<'_>) -> Result<Talk> {
    let volume = match (
        sources.need(Key::Quiet, values::switch)?,
        sources.need(Key::Verbose, values::switch)?,
    ) {
        (true, _) => Volume::Quiet,
        (false, true) => Volume::Verbose,
        (false, false) => Volume::Normal,
    };
    Ok(Talk {
        format: sources.need(Key::LogFormat, values::log_format)?,
        volume,
    })
}

/// A secret's place, and how strongly it was asked for.
type Placed = (SecretPlace, Origin);

/// The stronger of an API key and a session; the two given equally strongly contradict each other.
fn sign_in(sources: Sources<'_>, org: Option<u64>) -> Result<Option<SignIn>> {
    let key = place(sources, Key::ApiKey, Key::ApiKeyFile)?;
    let password = place(sources, Key::Password, Key::PasswordFile)?;
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
        (_, Some(_)) => session_of(sources, password, org).map(Some),
    }
}

fn session_of(sources: Sources<'_>, password: Option<Placed>, org: Option<u64>) -> Result<SignIn> {
    match (sources.get(Key::Email, values::words)?, password, org) {
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

fn place(sources: Sources<'_>, in_variable: Key, in_file: Key) -> Result<Option<Placed>> {
    let secret = sources.secret(in_variable)?;
    let file = sources
        .find(in_file)
        .map(|found| found.origin)
        .zip(sources.path(in_file));
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
