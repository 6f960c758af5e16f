//! The command line: the commands with their arguments, and the help texts. The options come from
//! the settings table; what was given leaves here as [`CliOverrides`]. Reading files and doing
//! anything is for others.

mod cleansed;
mod manual;
mod options;
mod refused;
mod texts;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::config::{CliOverrides, values};
use crate::domain::Outcome;

pub use manual::manuals;

/// The version, and the commit it was built from where the build knew it.
const VERSION: &str = env!("VERSION_AND_COMMIT");

/// Switches MFA off, or back on, for many users of a Resolver Core Org.
///
/// Reads a table of user IDs and opt-out flags, checks the whole table before anything is sent,
/// sends the changes within a rate limit, retries requests that are worth retrying, and writes a
/// report with one row for every row of the table.
#[derive(Debug, Parser)]
// With a name of its own, no message shows the name by which the program was started.
#[command(name = "mfa-optout", bin_name = "mfa-optout")]
#[command(version = VERSION, after_help = texts::SEE_MORE, after_long_help = texts::EXIT_CODES)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Apply a table of user IDs and flags to an Org.
    #[command(after_long_help = texts::APPLY, after_help = texts::SEE_MORE)]
    Apply(Box<Apply>),
    /// Make an Org match a table of exceptions.
    ///
    /// The table is the list of everybody who should be opted out. Sends only what differs from the
    /// register, and opts people back in who have left the table. Made for scheduled jobs: after an
    /// interruption the next run needs no help.
    #[command(after_long_help = texts::SYNC, after_help = texts::SEE_MORE)]
    Sync(Box<Sync>),
    /// List who is opted out according to the register.
    #[command(after_long_help = texts::EXCEPTIONS)]
    Exceptions(Exceptions),
    /// Send again the rows of an earlier report that did not succeed.
    #[command(after_long_help = texts::RETRY, after_help = texts::SEE_MORE)]
    Retry(Box<Retry>),
    /// Send the opposite flag for every applied row of an earlier report.
    ///
    /// Opt-outs whose outcome is unknown are opted back in as well. The state before the earlier
    /// run is not known: a user who was already opted out then is opted back in, too.
    #[command(after_long_help = texts::UNDO, after_help = texts::SEE_MORE)]
    Undo(Box<Undo>),
    /// End an interrupted run without sending anything.
    ///
    /// Writes the report of a run that was interrupted or stopped early. Recorded rows keep their
    /// outcome, rows that were not sent are `not_sent`, and rows whose request may have been in
    /// flight are `unknown`. Needs no credentials and no network. `retry` and `undo` accept the
    /// report.
    #[command(after_long_help = texts::CLOSE, after_help = texts::SEE_MORE)]
    Close(Close),
    /// Serve a practice Org on this machine.
    ///
    /// It listens on the loopback address only and keeps its data in memory. It prints its address
    /// and an API key.
    #[command(after_long_help = texts::SANDBOX)]
    Sandbox(SandboxArgs),
    /// Show and check the settings that apply, and where each comes from.
    ///
    /// Takes the same options as `apply` and sends nothing. Secrets are not shown. The exit code is
    /// 2 if a value can't be used.
    #[command(after_long_help = texts::CONFIG)]
    Config(Box<Config>),
    /// Print completions for a shell.
    Completions {
        /// Name of the shell.
        shell: Shell,
    },
    /// Print the manual page, or write the pages of all commands into a folder.
    Man {
        /// The folder for the pages; it is created if it does not exist.
        folder: Option<PathBuf>,
    },
}

/// `mfa-optout apply`.
#[derive(Debug, Args)]
pub struct Apply {
    /// The table: CSV, TSV, .xlsx or .ods, also .gz; - for standard input.
    pub input: PathBuf,
    /// The options that were given.
    #[arg(skip)]
    pub given: CliOverrides,
}

/// `mfa-optout sync`.
#[derive(Debug, Args)]
pub struct Sync {
    /// The table of exceptions: CSV, TSV, .xlsx or .ods, also .gz; - for standard input.
    #[arg(value_name = "TABLE")]
    pub input: PathBuf,
    /// The options that were given.
    #[arg(skip)]
    pub given: CliOverrides,
}

/// `mfa-optout exceptions`.
#[derive(Debug, Args)]
pub struct Exceptions {
    /// List only those that end within this time, such as 14d or 2w.
    #[arg(long, value_name = "TIME", value_parser = days, conflicts_with = "without_end")]
    pub expiring: Option<i32>,
    /// List only those without an end date.
    #[arg(long)]
    pub without_end: bool,
    /// The form of the list.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = ListFormat::Table)]
    pub format: ListFormat,
    /// Exit with 1 if anybody is listed.
    #[arg(long)]
    pub fail_if_any: bool,
    /// The options that were given.
    #[arg(skip)]
    pub given: CliOverrides,
}

/// The form of the list of exceptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// Aligned columns for people.
    Table,
    /// CSV.
    Csv,
    /// A JSON array.
    Json,
}

/// Parses a number of days: `14d`, or `2w`.
fn days(text: &str) -> Result<i32, String> {
    const HOW: &str = "write a number of days or weeks, such as 14d or 2w";
    let text = text.trim();
    let (number, unit) = match text.strip_suffix('w') {
        Some(weeks) => (weeks, 7),
        None => (text.strip_suffix('d').ok_or(HOW)?, 1),
    };
    let number: u16 = number.parse().map_err(|_| HOW)?;
    Ok(i32::from(number) * unit)
}

/// `mfa-optout retry`.
#[derive(Debug, Args)]
pub struct Retry {
    /// The report of the earlier run.
    #[arg(value_name = "REPORT")]
    pub earlier: PathBuf,
    /// Only rows with these outcomes, separated by commas.
    #[arg(
        long,
        value_name = "OUTCOME",
        value_delimiter = ',',
        value_parser = parse_retryable,
        default_values = ["failed", "unknown", "not_sent"],
    )]
    pub only: Vec<Outcome>,
    /// The options that were given.
    #[arg(skip)]
    pub given: CliOverrides,
}

/// `mfa-optout undo`.
#[derive(Debug, Args)]
pub struct Undo {
    /// The report of the run to undo.
    #[arg(value_name = "REPORT")]
    pub earlier: PathBuf,
    /// The options that were given.
    #[arg(skip)]
    pub given: CliOverrides,
}

/// `mfa-optout close`.
#[derive(Debug, Args)]
pub struct Close {
    /// The report of the interrupted run, or its .partial file.
    #[arg(value_name = "REPORT")]
    pub report: PathBuf,
    /// The table of the interrupted run, needed only if the copy beside its journal is lost.
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// The options that were given.
    #[arg(skip)]
    pub given: CliOverrides,
}

/// `mfa-optout sandbox`.
#[derive(Debug, Args)]
pub struct SandboxArgs {
    /// The port to listen on; 0 for any free one.
    #[arg(long, value_name = "PORT", default_value_t = 8700)]
    pub port: u16,
    /// The API key that it accepts.
    #[arg(long, value_name = "KEY", default_value = "sandbox-key", value_parser = values::sandbox_key)]
    pub key: String,
    /// The options that were given.
    #[arg(skip)]
    pub given: CliOverrides,
}

/// `mfa-optout config`.
#[derive(Debug, Args)]
pub struct Config {
    /// Print only what is wrong: nothing if every value can be used.
    #[arg(long)]
    pub check: bool,
    /// The options that were given.
    #[arg(skip)]
    pub given: CliOverrides,
}

fn parse_retryable(word: &str) -> Result<Outcome, String> {
    match Outcome::from_word(word.trim()) {
        Some(outcome) if outcome.is_retryable() => Ok(outcome),
        _ => Err(
            "only rows that are failed, unknown or not_sent can be sent again, such as --only \
             failed,unknown"
                .into(),
        ),
    }
}

impl Cli {
    /// Parses a command line that begins with the program's name.
    ///
    /// # Errors
    /// The command line is invalid, or asks for help or the version. Clap's error has the text and
    /// the exit code.
    pub fn parse_words(words: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let matches = command()
            .try_get_matches_from(words)
            .map_err(cleansed::cleansed)?;
        let mut cli = Self::from_arg_matches(&matches).map_err(cleansed::cleansed)?;
        if let (Some((name, matches)), Some(given)) =
            (matches.subcommand(), cli.command.given_mut())
        {
            *given = options::given(name, matches);
        }
        Ok(cli)
    }
}

impl Command {
    /// Returns the options that were given, if the command takes options of the settings table.
    #[must_use]
    pub fn given(&self) -> Option<&CliOverrides> {
        match self {
            Self::Apply(apply) => Some(&apply.given),
            Self::Sync(sync) => Some(&sync.given),
            Self::Exceptions(exceptions) => Some(&exceptions.given),
            Self::Retry(retry) => Some(&retry.given),
            Self::Undo(undo) => Some(&undo.given),
            Self::Close(close) => Some(&close.given),
            Self::Config(config) => Some(&config.given),
            Self::Sandbox(sandbox) => Some(&sandbox.given),
            Self::Completions { .. } | Self::Man { .. } => None,
        }
    }

    fn given_mut(&mut self) -> Option<&mut CliOverrides> {
        match self {
            Self::Apply(apply) => Some(&mut apply.given),
            Self::Sync(sync) => Some(&mut sync.given),
            Self::Exceptions(exceptions) => Some(&mut exceptions.given),
            Self::Retry(retry) => Some(&mut retry.given),
            Self::Undo(undo) => Some(&mut undo.given),
            Self::Close(close) => Some(&mut close.given),
            Self::Config(config) => Some(&mut config.given),
            Self::Sandbox(sandbox) => Some(&mut sandbox.given),
            Self::Completions { .. } | Self::Man { .. } => None,
        }
    }
}

/// Returns the whole command line as clap knows it.
fn command() -> clap::Command {
    options::add_to_subcommands(Cli::command())
}

/// Returns the script that completes commands and options in `shell`.
#[must_use]
pub fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "mfa-optout", &mut script);
    if shell == Shell::Bash {
        corrected_for_bash(&script)
    } else {
        script
    }
}

/// Corrects the script for bash. `clap_complete` 4.6 treats the hyphen of the program's name as a
/// separator in one half of it and not in the other, so that it would not find the options of any
/// command.
fn corrected_for_bash(script: &[u8]) -> Vec<u8> {
    String::from_utf8_lossy(script)
        .replace("mfa__subcmd__optout", "mfa__optout")
        .into_bytes()
}

#[cfg(test)]
mod tests;
