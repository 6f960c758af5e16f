//! What is recorded about a run besides its rows: its identity, who started it and why, and its
//! options. No secrets.

use jiff::fmt::temporal::DateTimePrinter;
use jiff::tz::TimeZone;

use super::target::Target;
use crate::config::{BadRows, Reading, Settings};
use crate::domain::{Flag, Outcome};
use crate::input::Directory;
use crate::journal::{
    ADDED_ID_COLUMN, CarriedColumn, Identity, InputFile, Provenance, RegisterIdentity, Start,
    TableReading, UserList,
};
use crate::plan::REGISTERED_COLUMN;
use crate::plan::{Plan, Selection};
use crate::ui::say::now;

/// The request for a run, as given on the command line.
pub(super) struct RunRequest<'a> {
    pub(super) command: &'static str,
    pub(super) selection: &'a Selection,
    /// The one flag for all rows, if there is one.
    pub(super) set: Option<Flag>,
    /// The register, if there is one.
    pub(super) register: Option<RegisterIdentity>,
}

/// Returns everything that is known before a run starts. How it is confirmed is not known yet.
pub(super) fn of(
    request: &RunRequest<'_>,
    settings: &Settings,
    target: &Target,
    plan: &Plan,
) -> Start {
    Start {
        identity: identity(request, settings, target, plan),
        rows: plan.counts().rows,
        credentials: target.credentials.clone(),
        who: Provenance {
            user: whoami::username().unwrap_or_else(|_| "unknown".to_owned()),
            host: whoami::hostname().unwrap_or_else(|_| "unknown".to_owned()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            reason: settings.guards.reason.clone(),
            confirmation: String::new(),
            options: settings.options.clone(),
        },
        pid: std::process::id(),
        at: now(),
    }
}

/// Returns what has to be the same for an interrupted run to be taken up: the input, how it is
/// read, and what is sent for a row.
fn identity(
    request: &RunRequest<'_>,
    settings: &Settings,
    target: &Target,
    plan: &Plan,
) -> Identity {
    let found = plan.input().found();
    let columns = plan.input().columns();
    let until_column = columns.until;
    let time_zone = until_column.map(|_| time_zone_name(&zone(settings)));
    Identity {
        command: request.command.to_owned(),
        input: InputFile {
            name: found.name.clone(),
            bytes: found.bytes,
            blake3: plan.fingerprint().to_string(),
        },
        table: TableReading {
            format: found.format.clone(),
            header_line: found.header_line,
            id_column: number(columns.id),
            flag_column: columns.flag.map(number),
            until_column: until_column.map(number),
            visible_only: plan.options().input.visible_only,
            keep_last_row: plan.options().keep_last_row,
        },
        ids: plan
            .directory()
            .map(|directory| user_list(directory, &settings.reading)),
        header: header(request, plan),
        set: request.set.map(Flag::is_opt_out),
        skip_invalid: settings.reading.bad_rows == BadRows::Skip,
        time_zone,
        outcomes: outcomes(request.selection),
        register: request.register.clone(),
        address: target.name(),
    }
}

/// Returns the columns that the report carries.
fn header(request: &RunRequest<'_>, plan: &Plan) -> Vec<CarriedColumn> {
    let mut header: Vec<CarriedColumn> = plan
        .header()
        .iter()
        .map(|name| CarriedColumn::of_input(name))
        .collect();
    if plan.options().has_registered_column
        && let Some(last) = header.last_mut()
    {
        last.added = true;
    }
    if plan.directory().is_some() {
        header.push(CarriedColumn::added(ADDED_ID_COLUMN));
    }
    if request.command == "sync" {
        header.push(CarriedColumn::added(REGISTERED_COLUMN));
    }
    header
}

/// Returns the list that gives the user IDs and how it is read.
fn user_list(directory: &Directory, reading: &Reading) -> UserList {
    let [key_column, id_column] = directory.column_numbers();
    let columns = reading.match_columns.as_ref();
    UserList {
        file: InputFile {
            name: directory.name().to_owned(),
            bytes: directory.raw().1,
            blake3: directory.fingerprint().to_string(),
        },
        key_column,
        id_column,
        key_choice: columns.map(|columns| columns.in_list.clone()),
        id_choice: reading.ids_column.clone(),
    }
}

/// Returns the number of a column as people count, from 1.
fn number(column: usize) -> usize {
    column + 1
}

/// Returns the time zone of the end dates.
pub(super) fn zone(settings: &Settings) -> TimeZone {
    settings
        .reading
        .timezone
        .clone()
        .unwrap_or_else(TimeZone::system)
}

/// Returns the zone's name, or its offset or rule. Only a zone that the system keeps without a name
/// has none of them.
fn time_zone_name(zone: &TimeZone) -> String {
    DateTimePrinter::new()
        .time_zone_to_string(zone)
        .unwrap_or_else(|_| "unknown".to_owned())
}

/// Returns the outcomes of the earlier report whose rows are sent again, without regard to the
/// order in which they were given.
fn outcomes(selection: &Selection) -> Vec<Outcome> {
    match selection {
        Selection::All | Selection::Undo => Vec::new(),
        Selection::Retry(outcomes) => Outcome::ALL
            .into_iter()
            .filter(|outcome| outcomes.contains(outcome))
            .collect(),
    }
}
