//! The one declaration of every option: its names, where it may be given, its default, its help and
//! the typed field that it fills. The command line, the help, the manual pages, `config`, the run's
//! record and the suggested next command are made from this table. A new option is a [`Key`], a row
//! of [`TABLE`] and a field of [`Settings`](super::Settings).

use crate::config::setting::{Form, Scope, Setting};
use crate::config::{BadRows, EarlierRun, Volume, values};

/// The name of an option in code. Its row of [`TABLE`] says everything else about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    clippy::enum_variant_names,
    reason = "two options of the tool are named for keys"
)]
pub enum Key {
    Address,
    ApiKey,
    ApiKeyFile,
    Email,
    Password,
    PasswordFile,
    Org,
    CaCert,
    Config,
    Profile,
    DryRun,
    Yes,
    MaxOptOuts,
    Reason,
    RequireReason,
    SkipInvalid,
    Problems,
    IdColumn,
    FlagColumn,
    UntilColumn,
    Set,
    NoHeader,
    HeaderRow,
    Delimiter,
    Encoding,
    Sheet,
    VisibleOnly,
    KeepLastRow,
    Ids,
    Match,
    IdsColumn,
    MaxInput,
    Timezone,
    Register,
    List,
    Full,
    KeepMissing,
    MaxMissing,
    Rate,
    Concurrency,
    Timeout,
    MaxAttempts,
    MaxWait,
    OutagePatience,
    MaxFailures,
    MaxDuration,
    Limit,
    Report,
    Html,
    Metrics,
    Overwrite,
    Fresh,
    NewKey,
    LogFormat,
    Color,
    Quiet,
    Verbose,
    Sandbox,
    Members,
    Latency,
    RateLimit,
    ErrorPercent,
    ThrottlePercent,
    Outage,
    TokenLife,
}

const RUNS: &[&str] = &["apply", "sync", "retry", "undo", "config"];
const RUNS_AND_CLOSE: &[&str] = &["apply", "sync", "retry", "undo", "config", "close"];
const RUNS_AND_SANDBOX: &[&str] = &["apply", "sync", "retry", "undo", "config", "sandbox"];
const RUNS_AND_EXCEPTIONS: &[&str] = &["apply", "sync", "retry", "undo", "config", "exceptions"];
const SYNC: &[&str] = &["sync", "config"];
/// The commands that read a table of people. The report of an earlier run has the user IDs.
const TABLE_RUNS: &[&str] = &["apply", "sync", "config"];

const ORG: &str = "Org";
const GUARDS: &str = "Guards";
const TABLES: &str = "Table";
const REGISTER: &str = "Register";
const SENDING: &str = "Sending";
const REPORT: &str = "Report";
const MESSAGES: &str = "Messages";
const PRACTICE: &str = "Practice Org";

/// What most options have in common. A row names what differs.
const OPTION: Setting = Setting {
    key: Key::Address,
    name: "",
    short: None,
    aliases: &[],
    scope: Scope::Everywhere,
    form: Form::Switch,
    default: None,
    heading: "",
    help: "",
    more: "",
    conflicts: &[],
    requires: None,
    commands: RUNS,
    carried: false,
    set: |_, _| Ok(()),
};

/// What the options of the practice Org have in common.
const PRACTICE_OPTION: Setting = Setting {
    scope: Scope::Flag,
    heading: PRACTICE,
    requires: Some(Key::Sandbox),
    commands: RUNS_AND_SANDBOX,
    carried: true,
    ..OPTION
};

/// All options, in the order of [`Key`] and of the help.
pub const TABLE: &[Setting] = &[
    Setting {
        key: Key::Address,
        name: "address",
        aliases: &["url"],
        form: Form::Text("ADDRESS"),
        heading: ORG,
        help: "The Org's address, such as https://eu.core.resolver.com",
        carried: true,
        set: |to, raw| raw.store_some(&mut to.connection.address, values::words),
        ..OPTION
    },
    Setting {
        key: Key::ApiKey,
        name: "api-key",
        aliases: &["apikey", "key", "token"],
        scope: Scope::Secret,
        form: Form::Text("KEY"),
        heading: ORG,
        help: "The API key",
        ..OPTION
    },
    Setting {
        key: Key::ApiKeyFile,
        name: "api-key-file",
        form: Form::Path("FILE"),
        heading: ORG,
        help: "The file with the API key; - reads it from standard input",
        more: "The key can also be in the variable MFA_OPTOUT_API_KEY. It is never taken from the \
            command line.",
        carried: true,
        set: |to, raw| raw.store_path(&mut to.connection.api_key_file),
        ..OPTION
    },
    Setting {
        key: Key::Email,
        name: "email",
        form: Form::Text("ADDRESS"),
        heading: ORG,
        help: "Sign in with this email address and a password, instead of an API key",
        carried: true,
        set: |to, raw| raw.store_some(&mut to.connection.email, values::words),
        ..OPTION
    },
    Setting {
        key: Key::Password,
        name: "password",
        aliases: &["pass", "secret"],
        scope: Scope::Secret,
        form: Form::Text("PASSWORD"),
        heading: ORG,
        help: "The session's password",
        ..OPTION
    },
    Setting {
        key: Key::PasswordFile,
        name: "password-file",
        form: Form::Path("FILE"),
        heading: ORG,
        help: "The file with the session's password; - reads it from standard input",
        more: "The password can also be in the variable MFA_OPTOUT_PASSWORD. It is never taken \
            from the command line.",
        carried: true,
        set: |to, raw| raw.store_path(&mut to.connection.password_file),
        ..OPTION
    },
    Setting {
        key: Key::Org,
        name: "org",
        form: Form::Text("NUMBER"),
        heading: ORG,
        help: "The number of the Org to sign in to with --email",
        carried: true,
        set: |to, raw| raw.store_some(&mut to.connection.org, values::org),
        ..OPTION
    },
    Setting {
        key: Key::CaCert,
        name: "ca-cert",
        form: Form::Path("FILE"),
        heading: ORG,
        help: "Also trust the authorities or server certificates in this PEM file",
        carried: true,
        set: |to, raw| raw.store_path(&mut to.connection.ca_cert),
        ..OPTION
    },
    Setting {
        key: Key::Config,
        name: "config",
        scope: Scope::Run,
        form: Form::Path("FILE"),
        heading: ORG,
        help: "The config file, instead of the mfa-optout.toml that is found",
        carried: true,
        commands: RUNS_AND_EXCEPTIONS,
        set: |to, raw| raw.store_path(&mut to.config),
        ..OPTION
    },
    Setting {
        key: Key::Profile,
        name: "profile",
        scope: Scope::Run,
        form: Form::Text("NAME"),
        heading: ORG,
        help: "The profile in the config file",
        carried: true,
        commands: RUNS_AND_EXCEPTIONS,
        set: |to, raw| raw.store_some(&mut to.profile, values::words),
        ..OPTION
    },
    Setting {
        key: Key::DryRun,
        name: "dry-run",
        short: Some('n'),
        scope: Scope::Flag,
        heading: GUARDS,
        help: "Show the plan and send nothing; --verbose lists every change",
        set: |to, raw| raw.store(&mut to.guards.dry_run, values::switch),
        ..OPTION
    },
    Setting {
        key: Key::Yes,
        name: "yes",
        short: Some('y'),
        scope: Scope::Flag,
        heading: GUARDS,
        help: "Do not ask for confirmation; required where there is no terminal",
        set: |to, raw| raw.store(&mut to.guards.yes, values::switch),
        ..OPTION
    },
    Setting {
        key: Key::MaxOptOuts,
        name: "max-opt-outs",
        form: Form::Text("LIMIT"),
        heading: GUARDS,
        help: "Refuse a plan that opts out more people than this: 100, or 5% of the rows",
        more: "It also applies with --yes.",
        set: |to, raw| raw.store_some(&mut to.guards.max_opt_outs, values::limit),
        ..OPTION
    },
    Setting {
        key: Key::Reason,
        name: "reason",
        scope: Scope::Run,
        form: Form::Text("TEXT"),
        heading: GUARDS,
        help: "Why these changes are made, for the run's record",
        carried: true,
        set: |to, raw| raw.store_some(&mut to.guards.reason, values::words),
        ..OPTION
    },
    Setting {
        key: Key::RequireReason,
        name: "require-reason",
        scope: Scope::File,
        heading: GUARDS,
        help: "Refuse to run without --reason",
        set: |to, raw| raw.store(&mut to.guards.require_reason, values::switch),
        ..OPTION
    },
    Setting {
        key: Key::SkipInvalid,
        name: "skip-invalid",
        scope: Scope::Flag,
        heading: GUARDS,
        help: "Send the valid rows of a table that also has invalid ones; without this, one \
            invalid row stops everything",
        set: |to, raw| raw.store_if_on(&mut to.reading.bad_rows, BadRows::Skip),
        ..OPTION
    },
    Setting {
        key: Key::Problems,
        name: "problems",
        scope: Scope::Run,
        form: Form::Path("FILE"),
        heading: GUARDS,
        help: "Write every problem of the table to this file, not only the first 20 to the screen; \
            an earlier list is replaced",
        set: |to, raw| raw.store_path(&mut to.reading.problems),
        ..OPTION
    },
    Setting {
        key: Key::IdColumn,
        name: "id-column",
        form: Form::Text("COLUMN"),
        heading: TABLES,
        help: "The column with the user IDs: its name, or its number from 1",
        set: |to, raw| raw.store_some(&mut to.reading.id_column, values::words),
        ..OPTION
    },
    Setting {
        key: Key::FlagColumn,
        name: "flag-column",
        form: Form::Text("COLUMN"),
        heading: TABLES,
        help: "The column with the flags: its name, or its number from 1",
        conflicts: &[Key::Set],
        set: |to, raw| raw.store_some(&mut to.reading.flag_column, values::words),
        ..OPTION
    },
    Setting {
        key: Key::UntilColumn,
        name: "until-column",
        form: Form::Text("COLUMN"),
        heading: TABLES,
        help: "The column with the end dates: its name, its number from 1, or none",
        carried: true,
        set: |to, raw| raw.store_some(&mut to.reading.until_column, values::words),
        ..OPTION
    },
    Setting {
        key: Key::Set,
        name: "set",
        scope: Scope::Flag,
        form: Form::Text("FLAG"),
        heading: TABLES,
        help: "One flag for all rows: true opts out, false opts back in",
        set: |to, raw| raw.store_some(&mut to.reading.set, values::flag),
        ..OPTION
    },
    Setting {
        key: Key::NoHeader,
        name: "no-header",
        heading: TABLES,
        help: "The first row is data; columns are then given by number",
        set: |to, raw| raw.store(&mut to.reading.header, values::switched_off),
        ..OPTION
    },
    Setting {
        key: Key::HeaderRow,
        name: "header-row",
        form: Form::Text("N"),
        heading: TABLES,
        help: "The line of the file, or row of the sheet, in which the header is",
        conflicts: &[Key::NoHeader],
        set: |to, raw| raw.store_some(&mut to.reading.header_row, values::line),
        ..OPTION
    },
    Setting {
        key: Key::Delimiter,
        name: "delimiter",
        form: Form::Text("CHARACTER"),
        heading: TABLES,
        help: "The character between the cells: , ; | tab or another one",
        set: |to, raw| raw.store_some(&mut to.reading.delimiter, values::delimiter),
        ..OPTION
    },
    Setting {
        key: Key::Encoding,
        name: "encoding",
        form: Form::Text("NAME"),
        heading: TABLES,
        help: "How the text is encoded, such as utf-8 or windows-1252",
        set: |to, raw| raw.store_some(&mut to.reading.encoding, values::encoding),
        ..OPTION
    },
    Setting {
        key: Key::Sheet,
        name: "sheet",
        form: Form::Text("NAME"),
        heading: TABLES,
        help: "The sheet of a workbook; needed if several sheets have the columns",
        set: |to, raw| raw.store_some(&mut to.reading.sheet, values::words),
        ..OPTION
    },
    Setting {
        key: Key::VisibleOnly,
        name: "visible-only",
        heading: TABLES,
        help: "Leave out rows that are hidden in a workbook",
        set: |to, raw| raw.store(&mut to.reading.visible_only, values::switch),
        ..OPTION
    },
    Setting {
        key: Key::KeepLastRow,
        name: "keep-last-row",
        scope: Scope::Flag,
        heading: TABLES,
        help: "Send the last row even if it looks like a row of totals",
        set: |to, raw| raw.store(&mut to.reading.keep_last_row, values::switch),
        ..OPTION
    },
    Setting {
        key: Key::Ids,
        name: "ids",
        form: Form::Path("FILE"),
        heading: TABLES,
        help: "A list of the Org's users, which gives the user IDs for a table of e-mail addresses",
        more: "The list is a table in any form, or JSON as saved from the Org's Swagger page. \
            People are matched by e-mail address, without regard to case and surrounding white \
            space. - reads the list from standard input.",
        commands: TABLE_RUNS,
        conflicts: &[Key::IdColumn],
        set: |to, raw| raw.store_path(&mut to.reading.ids),
        ..OPTION
    },
    Setting {
        key: Key::Match,
        name: "match",
        form: Form::Text("COLUMN"),
        heading: TABLES,
        help: "With --ids, the column by which people are matched, instead of the e-mail address: \
            COLUMN, or TABLE_COLUMN=FILE_COLUMN",
        commands: TABLE_RUNS,
        set: |to, raw| raw.store_some(&mut to.reading.match_columns, values::match_columns),
        ..OPTION
    },
    Setting {
        key: Key::IdsColumn,
        name: "ids-column",
        form: Form::Text("COLUMN"),
        heading: TABLES,
        help: "With --ids, the column of FILE with the user IDs: its name, or its number from 1",
        commands: TABLE_RUNS,
        set: |to, raw| raw.store_some(&mut to.reading.ids_column, values::words),
        ..OPTION
    },
    Setting {
        key: Key::MaxInput,
        name: "max-input",
        form: Form::Text("SIZE"),
        heading: TABLES,
        help: "Maximum size of a table or list that comes from a pipe (1GiB unless this is given) \
            or is unpacked, such as 2GiB",
        set: |to, raw| raw.store_some(&mut to.reading.max_input, values::size),
        ..OPTION
    },
    Setting {
        key: Key::Timezone,
        name: "timezone",
        form: Form::Text("ZONE"),
        heading: TABLES,
        help: "The time zone of opt_out_until, such as Europe/Berlin, instead of the system's",
        carried: true,
        commands: RUNS_AND_EXCEPTIONS,
        set: |to, raw| raw.store_some(&mut to.reading.timezone, values::timezone),
        ..OPTION
    },
    Setting {
        key: Key::Register,
        name: "register",
        form: Form::Path("FILE"),
        heading: REGISTER,
        help: "The register: what was last confirmed for each user",
        more: "`sync` needs it, and `sync --full` creates it. `apply`, `retry` and `undo` bring it \
            up to date.",
        commands: RUNS_AND_EXCEPTIONS,
        carried: true,
        set: |to, raw| raw.store_path(&mut to.register.path),
        ..OPTION
    },
    Setting {
        key: Key::List,
        name: "list",
        scope: Scope::Run,
        form: Form::Text("NAME"),
        heading: REGISTER,
        help: "The name of this list of exceptions, instead of the path of the table; needed for \
            standard input and for file names with a date",
        commands: SYNC,
        set: |to, raw| raw.store_some(&mut to.register.list, values::words),
        ..OPTION
    },
    Setting {
        key: Key::Full,
        name: "full",
        scope: Scope::Flag,
        heading: REGISTER,
        help: "Send every row, including unchanged ones; creates the register if it is missing",
        commands: SYNC,
        set: |to, raw| raw.store(&mut to.register.full, values::switch),
        ..OPTION
    },
    Setting {
        key: Key::KeepMissing,
        name: "keep-missing",
        scope: Scope::Flag,
        heading: REGISTER,
        help: "List people who have left the table, and do not opt them back in",
        commands: SYNC,
        set: |to, raw| raw.store(&mut to.register.keep_missing, values::switch),
        ..OPTION
    },
    Setting {
        key: Key::MaxMissing,
        name: "max-missing",
        form: Form::Text("LIMIT"),
        heading: REGISTER,
        help: "Send nothing if more people of the list than this are missing from the table: 10, \
            or 20% of the list",
        more: "Without it, 20% of the list may be missing, at least 5 people, and never more than \
            half.",
        commands: SYNC,
        set: |to, raw| raw.store_some(&mut to.register.max_missing, values::limit),
        ..OPTION
    },
    Setting {
        key: Key::Rate,
        name: "rate",
        form: Form::Text("RATE"),
        default: Some("10/s"),
        heading: SENDING,
        help: "Maximum rate of requests: 10/s, 600/m, unlimited, auto or auto:50",
        more: "Every request counts, retries included. auto begins slowly, finds the rate that \
            the Org accepts, and stays below 50/s or the number given.",
        carried: true,
        set: |to, raw| raw.store(&mut to.sending.rate, values::rate),
        ..OPTION
    },
    Setting {
        key: Key::Concurrency,
        name: "concurrency",
        form: Form::Text("N"),
        default: Some("auto"),
        heading: SENDING,
        help: "Requests in flight at the same time; auto follows rate and latency",
        carried: true,
        set: |to, raw| raw.store(&mut to.sending.concurrency, values::concurrency),
        ..OPTION
    },
    Setting {
        key: Key::Timeout,
        name: "timeout",
        form: Form::Text("TIME"),
        default: Some("30s"),
        heading: SENDING,
        help: "How long a response may take",
        carried: true,
        set: |to, raw| raw.store(&mut to.connection.timeout, values::positive_duration),
        ..OPTION
    },
    Setting {
        key: Key::MaxAttempts,
        name: "max-attempts",
        form: Form::Text("N"),
        default: Some("5"),
        heading: SENDING,
        help: "Attempts per row, and as many again in a second pass",
        carried: true,
        set: |to, raw| raw.store(&mut to.sending.max_attempts, values::attempts),
        ..OPTION
    },
    Setting {
        key: Key::MaxWait,
        name: "max-wait",
        form: Form::Text("TIME"),
        default: Some("5m"),
        heading: SENDING,
        help: "Longest pause that the Org may ask for; at a longer one, the run stops",
        carried: true,
        set: |to, raw| raw.store(&mut to.sending.max_wait, values::duration),
        ..OPTION
    },
    Setting {
        key: Key::OutagePatience,
        name: "outage-patience",
        form: Form::Text("TIME"),
        default: Some("10m"),
        heading: SENDING,
        help: "How long the Org may fail to respond before the run stops",
        carried: true,
        set: |to, raw| raw.store(&mut to.sending.outage_patience, values::duration),
        ..OPTION
    },
    Setting {
        key: Key::MaxFailures,
        name: "max-failures",
        form: Form::Text("LIMIT"),
        default: Some("100"),
        heading: SENDING,
        help: "Failures in a row, or share of the last 1,000 rows, at which the run stops",
        carried: true,
        set: |to, raw| raw.store(&mut to.sending.max_failures, values::limit),
        ..OPTION
    },
    Setting {
        key: Key::MaxDuration,
        name: "max-duration",
        form: Form::Text("TIME"),
        heading: SENDING,
        help: "Time after which the run stops; the same command continues it",
        carried: true,
        set: |to, raw| raw.store_some(&mut to.sending.max_duration, values::positive_duration),
        ..OPTION
    },
    Setting {
        key: Key::Limit,
        name: "limit",
        scope: Scope::Flag,
        form: Form::Text("N"),
        heading: SENDING,
        help: "Number of changes after which the run stops; the command without it continues",
        set: |to, raw| raw.store_some(&mut to.sending.limit, values::changes),
        ..OPTION
    },
    Setting {
        key: Key::Report,
        name: "report",
        scope: Scope::Run,
        form: Form::Path("FILE"),
        heading: REPORT,
        help: "The path of the report, instead of beside the table (users.csv gives \
            users.report.csv, users.xlsx gives users.report.xlsx). The ending .xlsx makes it a \
            workbook, every other one text",
        set: |to, raw| raw.store_path(&mut to.outputs.report),
        ..OPTION
    },
    Setting {
        key: Key::Html,
        name: "html",
        scope: Scope::Run,
        form: Form::Path("FILE"),
        heading: REPORT,
        help: "Also write the report as an HTML page",
        more: "With --dry-run it writes the plan: who would be changed, from what to what.",
        set: |to, raw| raw.store_path(&mut to.outputs.html),
        ..OPTION
    },
    Setting {
        key: Key::Metrics,
        name: "metrics",
        form: Form::Path("FILE"),
        heading: REPORT,
        help: "Also write the run's figures as a Prometheus text file, which every run replaces",
        set: |to, raw| raw.store_path(&mut to.outputs.metrics),
        ..OPTION
    },
    Setting {
        key: Key::Overwrite,
        name: "overwrite",
        scope: Scope::Flag,
        heading: REPORT,
        help: "Replace a finished report, its record and its page",
        set: |to, raw| raw.store(&mut to.outputs.overwrite, values::switch),
        commands: RUNS_AND_CLOSE,
        ..OPTION
    },
    Setting {
        key: Key::Fresh,
        name: "fresh",
        scope: Scope::Flag,
        heading: REPORT,
        help: "Start over instead of continuing an interrupted run, which is closed with a report \
            of its own",
        set: |to, raw| raw.store_if_on(&mut to.outputs.earlier_run, EarlierRun::StartOver),
        ..OPTION
    },
    Setting {
        key: Key::NewKey,
        name: "new-key",
        scope: Scope::Flag,
        heading: REPORT,
        help: "Continue an interrupted run, or use a register, although the API key has changed: \
            it is a new key of the same Org",
        set: |to, raw| raw.store(&mut to.outputs.new_key, values::switch),
        ..OPTION
    },
    Setting {
        key: Key::LogFormat,
        name: "log-format",
        form: Form::OneOf("FORMAT", &["text", "json"]),
        default: Some("text"),
        heading: MESSAGES,
        help: "The format of the lines on standard error",
        carried: true,
        set: |to, raw| raw.store(&mut to.talk.format, values::log_format),
        commands: RUNS_AND_CLOSE,
        ..OPTION
    },
    Setting {
        key: Key::Color,
        name: "color",
        form: Form::OneOf("WHEN", &["auto", "always", "never"]),
        default: Some("auto"),
        heading: MESSAGES,
        help: "Whether messages are coloured: auto colours them at a terminal unless NO_COLOR is \
            set",
        commands: RUNS_AND_CLOSE,
        set: |to, raw| raw.store(&mut to.talk.color, values::color),
        ..OPTION
    },
    Setting {
        key: Key::Quiet,
        name: "quiet",
        short: Some('q'),
        scope: Scope::Flag,
        heading: MESSAGES,
        help: "Print only errors, one line if rows need attention, and the plan when a person is \
            asked to confirm it",
        conflicts: &[Key::Verbose],
        set: |to, raw| raw.store_if_on(&mut to.talk.volume, Volume::Quiet),
        commands: RUNS_AND_CLOSE,
        ..OPTION
    },
    Setting {
        key: Key::Verbose,
        name: "verbose",
        short: Some('v'),
        scope: Scope::Flag,
        heading: MESSAGES,
        help: "Also print the outcome of each row",
        set: |to, raw| raw.store_if_on(&mut to.talk.volume, Volume::Verbose),
        commands: RUNS_AND_CLOSE,
        ..OPTION
    },
    Setting {
        key: Key::Sandbox,
        name: "sandbox",
        scope: Scope::Flag,
        heading: PRACTICE,
        help: "Run against a practice Org inside this process: no network, no credentials",
        conflicts: &[Key::Address, Key::ApiKeyFile, Key::Email, Key::PasswordFile],
        carried: true,
        set: |to, raw| raw.store(&mut to.connection.sandbox, values::switch),
        ..OPTION
    },
    Setting {
        key: Key::Members,
        name: "members",
        form: Form::Text("N"),
        help: "Number of users; their IDs are 1 to N [default: 20000]",
        set: |to, raw| raw.store_some(&mut to.practice.members, values::members),
        ..PRACTICE_OPTION
    },
    Setting {
        key: Key::Latency,
        name: "latency",
        form: Form::Text("TIME"),
        help: "Time that each response takes [default: 0s]",
        set: |to, raw| raw.store_some(&mut to.practice.latency, values::duration),
        ..PRACTICE_OPTION
    },
    Setting {
        key: Key::RateLimit,
        name: "rate-limit",
        form: Form::Text("N/s"),
        help: "Requests served per second; further ones get 429 [default: no limit]",
        set: |to, raw| raw.store_some(&mut to.practice.rate_limit, values::per_second),
        ..PRACTICE_OPTION
    },
    Setting {
        key: Key::ErrorPercent,
        name: "error-percent",
        form: Form::Text("PERCENT"),
        help: "Percentage of responses that are a server error: 500, 502, 503 or 504 [default: 0]",
        set: |to, raw| raw.store_some(&mut to.practice.error_percent, values::percent),
        ..PRACTICE_OPTION
    },
    Setting {
        key: Key::ThrottlePercent,
        name: "throttle-percent",
        form: Form::Text("PERCENT"),
        help: "Percentage of responses that are a 429 with Retry-After [default: 0]",
        set: |to, raw| raw.store_some(&mut to.practice.throttle_percent, values::percent),
        ..PRACTICE_OPTION
    },
    Setting {
        key: Key::Outage,
        name: "outage",
        form: Form::Text("FROM..TO"),
        help: "Period after its start in which it answers 503, such as 10s..40s [default: none]",
        set: |to, raw| raw.store_some(&mut to.practice.outage, values::window),
        ..PRACTICE_OPTION
    },
    Setting {
        key: Key::TokenLife,
        name: "token-life",
        form: Form::Text("TIME"),
        help: "Lifetime of a session token [default: 15m]",
        set: |to, raw| raw.store_some(&mut to.practice.token_life, values::positive_duration),
        ..PRACTICE_OPTION
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flag_variable_and_file_key_follow_from_the_name() {
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
        assert!(Key::Rate.setting().may_be_in_file());
        assert!(!Key::ApiKey.setting().may_be_in_file());
        assert!(!Key::Yes.setting().may_be_in_file());
    }

    #[test]
    fn names_are_unique_and_every_row_has_help() {
        for (index, setting) in TABLE.iter().enumerate() {
            assert!(!setting.help.is_empty(), "{}", setting.name);
            assert!(!setting.heading.is_empty(), "{}", setting.name);
            assert!(!setting.help.ends_with('.'), "{}", setting.name);
            for other in &TABLE[..index] {
                assert_ne!(setting.name, other.name);
                assert!(!other.aliases.contains(&setting.name), "{}", setting.name);
                assert!(
                    setting.short.is_none() || setting.short != other.short,
                    "{}",
                    setting.name
                );
            }
        }
    }
}
