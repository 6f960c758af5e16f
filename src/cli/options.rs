//! The options that `apply`, `retry`, `undo` and `config` share. Each value is checked here for its form, so that a
//! mistake is reported beside the option; what it is worth is settled together with environment and file.

use std::convert::Infallible;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, StringValueParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{ArgAction, Args, Command, Error};

use super::practice::PracticeArgs;
use super::refused;
use crate::settings::values::{self, Parsed};
use crate::settings::{Given, Key};

/// The options of a run, as they were typed.
#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    guards: GuardArgs,
    #[command(flatten)]
    table: TableArgs,
    #[command(flatten)]
    sending: SendingArgs,
    #[command(flatten)]
    outputs: OutputArgs,
    #[command(flatten)]
    talk: TalkArgs,
    /// Run against a practice Org inside this process: no network, no credentials.
    #[arg(long, conflicts_with_all = ["address", "api_key_file", "email", "password_file"], help_heading = "Practice Org")]
    sandbox: bool,
    /// What the practice Org is like.
    #[command(flatten)]
    pub practice: PracticeArgs,
}

impl RunArgs {
    /// The settings that were given.
    #[must_use]
    pub fn given(&self) -> Given {
        let mut given = Given::default();
        self.connection.put(&mut given);
        self.guards.put(&mut given);
        self.table.put(&mut given);
        self.sending.put(&mut given);
        self.outputs.put(&mut given);
        self.talk.put(&mut given);
        given.switch(Key::Sandbox, self.sandbox);
        given
    }

    /// What clap can't say by itself: the practice Org's options need the practice Org.
    pub(super) fn check(&self, command: &mut Command) -> Result<(), Error> {
        match self.practice.first_given() {
            Some(option) if !self.sandbox => {
                let message = format!(
                    "{option} describes the practice Org; add --sandbox to run against one"
                );
                Err(command.error(ErrorKind::MissingRequiredArgument, message))
            }
            _ => Ok(()),
        }
    }
}

/// Takes a text that `parse` understands, and keeps the text.
fn checked<T: Send + Sync + 'static>(
    parse: fn(&str) -> Parsed<T>,
) -> impl TypedValueParser<Value = String> {
    StringValueParser::new().try_map(move |text| parse(&text).map(|_| text))
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Org")]
struct ConnectionArgs {
    #[arg(long, value_name = "ADDRESS", visible_alias = "url")]
    #[arg(help = "The Org's address, such as https://eu.core.resolver.com")]
    address: Option<String>,
    /// The file with the API key; - reads it from standard input.
    ///
    /// The key can also be in the variable `MFA_OPTOUT_API_KEY`. It is never taken from the command line.
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Sign in with this email address and a password, instead of an API key.
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// The file with the session's password; - reads it from standard input.
    ///
    /// The password can also be in the variable `MFA_OPTOUT_PASSWORD`. It is never taken from the command line.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The number of the Org that the session is for.
    #[arg(long, value_name = "NUMBER", value_parser = checked(values::org))]
    org: Option<String>,
    /// Also trust the authorities or server certificates in this PEM file.
    #[arg(long, value_name = "FILE")]
    ca_cert: Option<PathBuf>,
    /// The file of settings, instead of the mfa-optout.toml that is found.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The profile in the file of settings.
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "", value_parser = refused::api_key(),
        aliases = ["apikey", "key", "token"])]
    api_key: Option<Infallible>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "", value_parser = refused::password(),
        aliases = ["pass", "secret"])]
    password: Option<Infallible>,
}

impl ConnectionArgs {
    fn put(&self, given: &mut Given) {
        given.put(Key::Address, self.address.as_ref());
        given.put(Key::ApiKeyFile, self.api_key_file.as_ref());
        given.put(Key::Email, self.email.as_ref());
        given.put(Key::PasswordFile, self.password_file.as_ref());
        given.put(Key::Org, self.org.as_ref());
        given.put(Key::CaCert, self.ca_cert.as_ref());
        given.put(Key::Config, self.config.as_ref());
        given.put(Key::Profile, self.profile.as_ref());
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Guards")]
struct GuardArgs {
    /// Show the plan and send nothing.
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Do not ask whether the plan is right; needed where there is no terminal.
    #[arg(short, long)]
    yes: bool,
    /// Refuse a plan that opts out more people than this: 100, or 5% of the rows.
    ///
    /// It holds with --yes as well.
    #[arg(long, value_name = "LIMIT", value_parser = checked(values::limit))]
    max_opt_outs: Option<String>,
    /// Why these changes are made, for the run's record.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Send the good rows of a table that has bad ones; without it, one bad row stops everything.
    #[arg(long)]
    skip_invalid: bool,
    /// Write every problem of the table to this file, not only the first 20 to the screen; an earlier list is replaced.
    #[arg(long, value_name = "FILE")]
    problems: Option<PathBuf>,
}

impl GuardArgs {
    fn put(&self, given: &mut Given) {
        given.switch(Key::DryRun, self.dry_run);
        given.switch(Key::Yes, self.yes);
        given.put(Key::MaxOptOuts, self.max_opt_outs.as_ref());
        given.put(Key::Reason, self.reason.as_ref());
        given.switch(Key::SkipInvalid, self.skip_invalid);
        given.put(Key::Problems, self.problems.as_ref());
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Table")]
struct TableArgs {
    /// The column with the user IDs: its name, or its number from 1.
    #[arg(long, value_name = "COLUMN")]
    id_column: Option<String>,
    /// The column with the flags: its name, or its number from 1.
    #[arg(long, value_name = "COLUMN", conflicts_with = "set")]
    flag_column: Option<String>,
    /// One flag for all rows: true opts out, false opts back in.
    #[arg(long, value_name = "FLAG", value_parser = PossibleValuesParser::new(["true", "false"]))]
    set: Option<String>,
    /// The first row is data; columns are then given by number.
    #[arg(long)]
    no_header: bool,
    /// What separates the cells: , ; | tab or another character.
    #[arg(long, value_name = "CHARACTER", value_parser = checked(values::delimiter))]
    delimiter: Option<String>,
    /// How the text is encoded, such as utf-8 or windows-1252.
    #[arg(long, value_name = "NAME", value_parser = checked(values::encoding))]
    encoding: Option<String>,
    /// Which sheet of a workbook, instead of the first.
    #[arg(long, value_name = "NAME")]
    sheet: Option<String>,
    /// How large a compressed table or workbook may become when it is unpacked, such as 2GiB.
    #[arg(long, value_name = "SIZE", value_parser = checked(values::size))]
    max_input: Option<String>,
    /// The zone in which `opt_out_until` is meant, such as Europe/Berlin, instead of the system's.
    #[arg(long, value_name = "ZONE", value_parser = checked(values::timezone))]
    timezone: Option<String>,
    /// An earlier report: what it says is applied is unchanged and not sent again. Refused with --fresh, and while the
    /// record of another interrupted run lies beside it.
    #[arg(long, value_name = "REPORT")]
    baseline: Option<PathBuf>,
}

impl TableArgs {
    fn put(&self, given: &mut Given) {
        given.put(Key::IdColumn, self.id_column.as_ref());
        given.put(Key::FlagColumn, self.flag_column.as_ref());
        given.put(Key::Set, self.set.as_ref());
        given.switch(Key::NoHeader, self.no_header);
        given.put(Key::Delimiter, self.delimiter.as_ref());
        given.put(Key::Encoding, self.encoding.as_ref());
        given.put(Key::Sheet, self.sheet.as_ref());
        given.put(Key::MaxInput, self.max_input.as_ref());
        given.put(Key::Timezone, self.timezone.as_ref());
        given.put(Key::Baseline, self.baseline.as_ref());
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Sending")]
struct SendingArgs {
    /// How fast: 10/s, 600/m, unlimited, auto or auto:50 [default: 10/s].
    ///
    /// Every request counts, also those that try again. auto begins slowly, finds what the Org takes, and stays below
    /// 50/s or the number given.
    #[arg(long, value_name = "RATE", value_parser = checked(values::rate))]
    rate: Option<String>,
    /// Requests in flight at the same time [default: auto].
    #[arg(long, value_name = "N", value_parser = checked(values::concurrency))]
    concurrency: Option<String>,
    /// How long an answer may take [default: 30s].
    #[arg(long, value_name = "TIME", value_parser = checked(values::positive_duration))]
    timeout: Option<String>,
    /// Attempts for a row, and as many again in a second pass [default: 5].
    #[arg(long, value_name = "N", value_parser = checked(values::attempts))]
    max_attempts: Option<String>,
    /// Stop, resumable, when the Org asks for a longer pause than this [default: 5m].
    #[arg(long, value_name = "TIME", value_parser = checked(values::duration))]
    max_wait: Option<String>,
    /// Stop, resumable, when the Org has not answered for so long [default: 10m].
    #[arg(long, value_name = "TIME", value_parser = checked(values::duration))]
    outage_patience: Option<String>,
    /// Stop, resumable, after so many failures in a row, or this share of the last 1,000 [default: 100].
    #[arg(long, value_name = "LIMIT", value_parser = checked(values::limit))]
    max_failures: Option<String>,
    /// Stop, resumable, after this time.
    #[arg(long, value_name = "TIME", value_parser = checked(values::positive_duration))]
    max_duration: Option<String>,
}

impl SendingArgs {
    fn put(&self, given: &mut Given) {
        given.put(Key::Rate, self.rate.as_ref());
        given.put(Key::Concurrency, self.concurrency.as_ref());
        given.put(Key::Timeout, self.timeout.as_ref());
        given.put(Key::MaxAttempts, self.max_attempts.as_ref());
        given.put(Key::MaxWait, self.max_wait.as_ref());
        given.put(Key::OutagePatience, self.outage_patience.as_ref());
        given.put(Key::MaxFailures, self.max_failures.as_ref());
        given.put(Key::MaxDuration, self.max_duration.as_ref());
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Report")]
struct OutputArgs {
    /// Where the report goes, instead of beside the table (users.csv gives users.report.csv).
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Also write the report as a page to look at.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Also write the run's figures as a Prometheus text file, which every run replaces.
    #[arg(long, value_name = "FILE")]
    metrics: Option<PathBuf>,
    /// Replace a finished report, its record and its page.
    #[arg(long)]
    overwrite: bool,
    /// Start over instead of going on with an interrupted run, which is closed into a report of its own.
    #[arg(long)]
    fresh: bool,
    /// Go on with an interrupted run although the API key is another: it is the same Org's new one.
    #[arg(long)]
    new_key: bool,
}

impl OutputArgs {
    fn put(&self, given: &mut Given) {
        given.put(Key::Report, self.report.as_ref());
        given.put(Key::Html, self.html.as_ref());
        given.put(Key::Metrics, self.metrics.as_ref());
        given.switch(Key::Overwrite, self.overwrite);
        given.switch(Key::Fresh, self.fresh);
        given.switch(Key::NewKey, self.new_key);
    }
}

/// The options that say how much is said, and in which form.
#[derive(Debug, Args)]
#[command(next_help_heading = "Messages")]
pub struct TalkArgs {
    /// What lines on standard error look like [default: text].
    #[arg(long, value_name = "FORMAT", value_parser = PossibleValuesParser::new(["text", "json"]))]
    log_format: Option<String>,
    /// Say nothing but errors, and the plan to whoever is asked about it.
    #[arg(short, long, conflicts_with = "verbose", action = ArgAction::SetTrue)]
    quiet: bool,
    /// Also say what became of each row.
    #[arg(short, long)]
    verbose: bool,
}

impl TalkArgs {
    /// Returns the settings that were given.
    #[must_use]
    pub fn given(&self) -> Given {
        let mut given = Given::default();
        self.put(&mut given);
        given
    }

    /// Checks whether nothing but errors is to be said.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    fn put(&self, given: &mut Given) {
        given.put(Key::LogFormat, self.log_format.as_ref());
        given.switch(Key::Quiet, self.quiet);
        given.switch(Key::Verbose, self.verbose);
    }
}
