//! What is kept of a run besides its rows: which run it is, who made it and why, with which options. Never a secret.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::fmt::temporal::DateTimePrinter;
use jiff::tz::TimeZone;

use super::target::Target;
use crate::domain::{Flag, Limit, Rate};
use crate::plan::{Plan, Selection};
use crate::report::{Identity, Start, Who};
use crate::settings::{BadRows, Settings};

/// What was asked for on the command line.
pub(super) struct Asked<'a> {
    pub(super) command: &'static str,
    pub(super) selection: &'a Selection,
    /// The one flag for all rows, if there is one.
    pub(super) set: Option<Flag>,
}

/// Everything that is known before a run starts. How it is confirmed is not known yet.
pub(super) fn of<'a>(
    asked: &Asked<'_>,
    settings: &Settings,
    target: &'a Target,
    plan: &Plan,
) -> Start<'a> {
    Start {
        identity: Identity {
            command: asked.command.to_owned(),
            input_blake3: plan.fingerprint().to_string(),
            baseline_blake3: plan.baseline_fingerprint().map(|hash| hash.to_string()),
            address: target.name(),
            header: String::from_utf8_lossy(&header(plan)).into_owned(),
            meaning: meaning(asked, settings, plan),
        },
        input_name: plan.input().found().name.clone(),
        rows: plan.counts().rows,
        credential: target.credential(),
        who: Who {
            user: whoami::username().unwrap_or_else(|_| "unknown".to_owned()),
            host: whoami::hostname().unwrap_or_else(|_| "unknown".to_owned()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            reason: settings.guards.reason.clone(),
            confirmation: String::new(),
            guards: guards(settings),
            options: options(settings),
        },
        pid: std::process::id(),
        at: super::now(),
    }
}

/// The header's cells as CSV, without a line end.
fn header(plan: &Plan) -> Vec<u8> {
    let mut line = csv::WriterBuilder::new()
        .quote_style(csv::QuoteStyle::Necessary)
        .from_writer(Vec::new());
    // Writing to memory does not fail, and an empty header can't be: there is a column of IDs.
    let _ = line.write_record(plan.header());
    let mut line = line.into_inner().unwrap_or_default();
    line.pop();
    line
}

/// The options that change what is sent for a row. How the table is read is told by what was found: the form names
/// encoding, delimiter and sheet.
fn meaning(asked: &Asked<'_>, settings: &Settings, plan: &Plan) -> BTreeMap<String, String> {
    let found = plan.input().found();
    let reading = &settings.reading;
    let mut meaning = BTreeMap::from([
        ("form".to_owned(), found.form.clone()),
        ("ID column".to_owned(), found.id_column.clone()),
        ("--no-header".to_owned(), (!reading.header).to_string()),
        (
            "--skip-invalid".to_owned(),
            (reading.bad_rows == BadRows::Skip).to_string(),
        ),
    ]);
    let optional = [
        ("flag column", found.flag_column.clone()),
        ("end date column", found.until_column.clone()),
        ("--set", asked.set.map(|flag| flag.is_opt_out().to_string())),
        (
            "--baseline",
            reading.baseline.as_ref().map(|path| super::shown(path)),
        ),
        (
            "--timezone",
            found
                .until_column
                .as_ref()
                .map(|_| zone_in_words(&zone(settings))),
        ),
        ("rows", rows_in_words(asked.selection)),
    ];
    meaning.extend(
        optional
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?))),
    );
    meaning
}

/// The zone in which end dates are meant.
pub(super) fn zone(settings: &Settings) -> TimeZone {
    settings
        .reading
        .timezone
        .clone()
        .unwrap_or_else(TimeZone::system)
}

/// The zone's name, or its offset or rule; only a zone that the system keeps without a name has none of them.
fn zone_in_words(zone: &TimeZone) -> String {
    DateTimePrinter::new()
        .time_zone_to_string(zone)
        .unwrap_or_else(|_| "the system's".to_owned())
}

fn rows_in_words(selection: &Selection) -> Option<String> {
    match selection {
        Selection::All | Selection::Undo => None,
        Selection::Retry(outcomes) => {
            let mut words: Vec<&str> = outcomes.iter().map(|outcome| outcome.as_str()).collect();
            words.sort_unstable();
            Some(words.join(", "))
        }
    }
}

fn guards(settings: &Settings) -> BTreeMap<String, String> {
    let limit = settings.guards.max_opt_outs.map(limit_in_words);
    limit
        .map(|limit| ("--max-opt-outs".to_owned(), limit))
        .into_iter()
        .collect()
}

/// Every other option, so that an auditor sees how the run was made.
fn options(settings: &Settings) -> BTreeMap<String, String> {
    let sending = &settings.sending;
    let duration = |duration: Duration| format!("{} s", duration.as_secs_f64());
    let mut options = BTreeMap::from([
        ("--rate", rate_in_words(sending.rate)),
        ("--concurrency", sending.concurrency.to_string()),
        ("--timeout", duration(settings.connection.timeout)),
        ("--max-attempts", sending.max_attempts.to_string()),
        ("--max-wait", duration(sending.max_wait)),
        ("--outage-patience", duration(sending.outage_patience)),
        ("--max-failures", limit_in_words(sending.max_failures)),
    ]);
    options.extend(
        sending
            .max_duration
            .map(|most| ("--max-duration", duration(most))),
    );
    options
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn limit_in_words(limit: Limit) -> String {
    match limit {
        Limit::Count(count) => count.to_string(),
        Limit::Percent(share) => format!("{share}%"),
    }
}

fn rate_in_words(rate: Rate) -> String {
    match rate {
        Rate::Limited { requests, per } => format!("{requests} in {} s", per.as_secs_f64()),
        Rate::Auto { ceiling } => format!("auto:{ceiling}"),
        Rate::Unlimited => "unlimited".to_owned(),
    }
}
