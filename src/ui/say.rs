//! Prints what a command says besides its progress: the plan, notes, the closing summary and
//! errors. With `--log-format json`, each is one JSON object on a line of standard error, with `at`
//! (UTC) and `event`.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use console::Term;
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::config::{
    self, CliOverrides, ColorChoice, Key, LogFormat, Logging, ProcessEnv, Settings, Sources, Volume,
};
use crate::domain::Change;
use crate::error::{Error, Exit, Result};
use crate::text::visible;
use crate::ui::screen::choose_color;
use crate::ui::{
    CLOSED, ClosedView, ClosingView, Look, PlanView, attention_line, closed_text, closing_in_brief,
    closing_text, ending_text, error_text, plan_text, planned_change_text,
};

/// Prints the plan. If the user is asked to confirm it, it also goes to standard error, unless it
/// is seen already.
pub(crate) fn plan(settings: &Settings, plan: &PlanView, asked: bool) {
    say(
        settings.talk,
        |look| plan_text(plan, look),
        || plan_json(plan),
    );
    let seen = match settings.talk {
        Logging {
            volume: Volume::Quiet,
            ..
        } => false,
        Logging {
            format: LogFormat::Json,
            ..
        } => true,
        Logging {
            format: LogFormat::Text,
            ..
        } => std::io::stdout().is_terminal(),
    };
    if asked && !seen {
        to_standard_error(&plan_text(plan, Look::of_standard_error()));
    }
}

/// Prints a note.
pub(crate) fn note(settings: &Settings, line: &str) {
    match settings.talk {
        Logging {
            volume: Volume::Quiet,
            ..
        } => {}
        Logging {
            format: LogFormat::Text,
            ..
        } => to_standard_error(&Look::of_standard_error().wrap(line, 2)),
        Logging {
            format: LogFormat::Json,
            ..
        } => json_line(json!({"event": "note", "message": line})),
    }
}

/// Prints the closing summary. With `--quiet`, it is printed only for a run that ended early, and
/// short.
pub(crate) fn closing(settings: &Settings, closing: &ClosingView<'_>, exit: Exit) {
    let Logging { volume, format, .. } = settings.talk;
    match format {
        _ if volume != Volume::Quiet => say(
            settings.talk,
            |look| closing_text(closing, look),
            || closing_json(closing, exit),
        ),
        _ if exit == Exit::Done => {}
        LogFormat::Text if exit == Exit::RowsNeedAttention => {
            to_standard_error(&attention_line(closing));
        }
        LogFormat::Text => to_standard_error(closing_in_brief(closing).trim_end()),
        LogFormat::Json => json_line(closing_json(closing, exit)),
    }
}

/// Prints the summary of a run that was closed.
pub(crate) fn closed(given: &CliOverrides, view: &ClosedView<'_>) {
    if given.contains(Key::Quiet) {
        return;
    }
    match format_of(given) {
        LogFormat::Text => {
            print(closed_text(view, Look::of_standard_output()).as_bytes());
        }
        LogFormat::Json => json_line(json!({
            "event": "closed",
            "exit_code": Exit::Done.code(),
            "ending": CLOSED,
            "next": view.next,
            "report": view.report,
        })),
    }
}

/// Prints an error, also with `--quiet`.
pub(crate) fn error(format: LogFormat, error: &Error) {
    match format {
        LogFormat::Text => {
            let look = Look::of_standard_error();
            to_standard_error(&error_text(error.message(), error.advice(), look));
        }
        LogFormat::Json => {
            json_line(json!({
                "event": "error",
                "message": error.message(),
                "help": error.advice(),
                "exit_code": error.exit().code(),
            }));
        }
    }
}

/// Prints a warning, also with `--quiet`.
pub(crate) fn warning(format: LogFormat, words: &str) {
    match format {
        LogFormat::Text => {
            let line = format!("warning: {words}");
            to_standard_error(&Look::of_standard_error().wrap(&line, 2));
        }
        LogFormat::Json => json_line(json!({"event": "warning", "message": words})),
    }
}

/// Prints clap's message about an invalid command line as JSON.
pub(crate) fn usage_error(words: &str, exit_code: i32) {
    let message = words.trim().trim_start_matches("error: ");
    json_line(json!({"event": "error", "message": message, "help": null, "exit_code": exit_code}));
}

/// Returns the form of a command's messages. If its settings can't be read, the command line and
/// the environment decide.
pub(crate) fn format_of(given: &CliOverrides) -> LogFormat {
    let found = read_early(given, |sources| {
        Ok(sources.only(Key::LogFormat)?.talk.format)
    });
    found.unwrap_or_else(|_| format_in(std::env::args_os()))
}

/// Sets whether messages are coloured from now on, as `--color` says. Settings that can't be read
/// change nothing here; the command itself reports them.
pub(crate) fn apply_color_option(given: &CliOverrides) {
    let found: Result<ColorChoice> =
        read_early(given, |sources| Ok(sources.only(Key::Color)?.talk.color));
    if let Ok(choice) = found {
        choose_color(choice);
    }
}

/// Reads a single option before all settings are read.
fn read_early<T>(given: &CliOverrides, read: impl FnOnce(Sources<'_>) -> Result<T>) -> Result<T> {
    let environment = |name: &str| std::env::var_os(name);
    config::load(
        given,
        &environment,
        &ProcessEnv::of_this_process(),
        |sources, _| read(sources),
    )
}

/// Returns the form that a command line, valid or not, or the environment asks for.
pub(crate) fn format_in(words: impl IntoIterator<Item = OsString>) -> LogFormat {
    let mut words = words.into_iter();
    let flag = Key::LogFormat.flag();
    let mut value = None;
    while value.is_none() {
        let Some(word) = words.next() else {
            break;
        };
        if word == *flag {
            value = words.next();
        } else if let Some(("", rest)) = word.to_str().and_then(|word| word.split_once(&flag)) {
            value = rest.strip_prefix('=').map(OsString::from);
        }
    }
    let variable = Key::LogFormat.variable().and_then(std::env::var_os);
    match value.or(variable) {
        Some(value) if value == "json" => LogFormat::Json,
        _ => LogFormat::Text,
    }
}

fn say(logging: Logging, text: impl FnOnce(Look) -> String, json: impl FnOnce() -> Value) {
    match (logging.volume, logging.format) {
        (Volume::Quiet, _) => {}
        (_, LogFormat::Text) => {
            let text = text(Look::of_standard_output());
            print(format!("{text}\n").as_bytes());
        }
        (_, LogFormat::Json) => json_line(json()),
    }
}

fn plan_json(plan: &PlanView) -> Value {
    json!({
        "event": "plan",
        "address": plan.address,
        "sign_in": visible(&plan.sign_in),
        "input": visible(&plan.input),
        "rows": plan.rows,
        "opt_out": plan.opt_out,
        "opt_in": plan.opt_in,
        "duplicate": plan.duplicates,
        "invalid": plan.invalid,
        "unchanged": plan.unchanged,
        "on_record": plan.on_record,
        "seconds_expected": plan.expected.map(|time| time.as_secs()),
        "reason": plan.reason.as_deref().map(visible),
        "report": plan.report,
        "notes": plan.notes,
        "warnings": plan.warnings,
        "dry_run": plan.dry_run,
    })
}

fn closing_json(closing: &ClosingView<'_>, exit: Exit) -> Value {
    let (ending, help) = ending_text(closing.ending, closing.tally);
    json!({
        "event": "closed",
        "exit_code": exit.code(),
        "ending": ending,
        "help": help,
        "requests": closing.requests,
        "retries": closing.retries,
        "seconds": closing.elapsed.as_secs_f64(),
        "seconds_throttled": closing.throttled.as_secs_f64(),
        "seconds_of_outages": closing.outages.iter().sum::<Duration>().as_secs_f64(),
        "rate_found": closing.pace.rate,
        "limit_found": closing.pace.limit,
        "failures": closing.groups,
        "next": closing.next,
        "report": closing.report,
    })
}

fn json_line(mut line: Value) {
    line["at"] = Value::String(format!("{:.3}", now()));
    to_standard_error(&line.to_string());
}

/// Prints a line to standard error. A reader that is gone is not an error.
fn to_standard_error(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Prints a change that a dry run would send. `label` names the user; `registered` is what the
/// register says about the user.
pub(crate) fn planned_change(
    settings: &Settings,
    change: &Change,
    label: &str,
    registered: Option<&str>,
) {
    match settings.talk.format {
        LogFormat::Text => {
            let line = format!("{}\n", planned_change_text(change, label, registered));
            print(line.as_bytes());
        }
        LogFormat::Json => json_line(json!({
            "event": "planned_change",
            "line": change.line,
            "user": label,
            "user_id": change.user.to_string(),
            "from": registered,
            "to": change.flag.is_opt_out(),
        })),
    }
}

/// Asks for a secret at the terminal and reads it without echo. Returns `None` if nothing is typed.
pub(crate) fn read_hidden(prompt: &str) -> Option<SecretString> {
    let _ = std::io::stderr().lock().write_all(prompt.as_bytes());
    let line = Term::stderr().read_secure_line().ok()?;
    let is_empty = line.trim().is_empty();
    let secret = SecretString::from(line);
    if is_empty { None } else { Some(secret) }
}

/// Prints to standard output. A reader that is gone is not an error: the exit code says how the
/// command ended.
pub(crate) fn print(text: &[u8]) -> Exit {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text).and_then(|()| out.flush());
    Exit::Done
}

/// Returns the time of day.
#[expect(
    clippy::disallowed_methods,
    reason = "the time of day of a message, and of a run's beginning and end"
)]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}
