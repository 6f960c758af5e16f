//! What a command says besides its progress: the plan, notes, the closing summary, and why it could not go on. For a
//! person as text, for a machine as one JSON object a line on standard error, each with `at` (UTC) and `event`.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::config::{self, CliOverrides, Key, LogFormat, Logging, ProcessEnv, Settings, Volume};
use crate::error::{Error, Exit};
use crate::text::visible;
use crate::ui::progress;
use crate::ui::{
    CLOSED, ClosedView, ClosingView, PlanView, attention_line, closed_text, closing_in_brief,
    closing_text, ending_text, error_text, plan_text,
};

/// The plan. Whoever is asked about it sees it, whatever is quiet and wherever standard output goes.
pub(crate) fn plan(settings: &Settings, plan: &PlanView, asked: bool) {
    say(settings.talk, || plan_text(plan), || plan_json(plan));
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
        to_standard_error(&plan_text(plan));
    }
}

/// One line that is worth knowing.
pub(crate) fn note(settings: &Settings, line: &str) {
    match settings.talk {
        Logging {
            volume: Volume::Quiet,
            ..
        } => {}
        Logging {
            format: LogFormat::Text,
            ..
        } => to_standard_error(line),
        Logging {
            format: LogFormat::Json,
            ..
        } => json_line(json!({"event": "note", "message": line})),
    }
}

/// What came of a run. That it could not come to its end is an error, which is said however quiet it has to be.
pub(crate) fn closing(settings: &Settings, closing: &ClosingView<'_>, exit: Exit) {
    let Logging { volume, format } = settings.talk;
    match format {
        _ if volume != Volume::Quiet => say(
            settings.talk,
            || closing_text(closing),
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

/// What came of closing a run.
pub(crate) fn closed(given: &CliOverrides, view: &ClosedView<'_>) {
    if given.contains(Key::Quiet) {
        return;
    }
    match format_of(given) {
        LogFormat::Text => {
            print(closed_text(view).as_bytes());
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

/// Why it could not go on; said whatever the volume.
pub(crate) fn error(format: LogFormat, error: &Error) {
    match format {
        LogFormat::Text => {
            to_standard_error(&error_text(error.message(), error.advice(), has_colour()));
        }
        LogFormat::Json => {
            let (message, help) = (error.message(), error.advice());
            json_line(
                json!({"event": "error", "message": message, "help": help, "exit_code": error.exit().code()}),
            );
        }
    }
}

/// Says what the person has to know although it changes nothing in what came of the run; said whatever the volume.
pub(crate) fn warning(format: LogFormat, words: &str) {
    match format {
        LogFormat::Text => to_standard_error(&format!("warning: {words}")),
        LogFormat::Json => json_line(json!({"event": "warning", "message": words})),
    }
}

fn has_colour() -> bool {
    with_screen(|screen| screen.has_colour())
}

/// Asks what standard error is like.
pub(crate) fn with_screen<T>(ask: impl FnOnce(progress::Screen<'_>) -> T) -> T {
    let (term, no_color) = (std::env::var("TERM").ok(), std::env::var("NO_COLOR").ok());
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    ask(progress::Screen {
        terminal,
        term: term.as_deref(),
        no_color: no_color.as_deref(),
    })
}

/// A command line that is not understood, for a machine; its words are clap's.
pub(crate) fn misunderstood(words: &str, exit_code: i32) {
    let message = words.trim().trim_start_matches("error: ");
    json_line(json!({"event": "error", "message": message, "help": null, "exit_code": exit_code}));
}

/// The form in which a command speaks. Where its settings can't be read, what was typed and the environment decide.
pub(crate) fn format_of(given: &CliOverrides) -> LogFormat {
    let environment = |name: &str| std::env::var_os(name);
    let found = config::load(
        given,
        &environment,
        &ProcessEnv::of_this_process(),
        |sources, _| Ok(sources.only(Key::LogFormat)?.talk.format),
    );
    found.unwrap_or_else(|_| asked_for(std::env::args_os()))
}

/// The form that the words of a command line or the environment ask for, understood or not.
pub(crate) fn asked_for(words: impl IntoIterator<Item = OsString>) -> LogFormat {
    let mut words = words.into_iter();
    let (flag, flag_with_value) = (Key::LogFormat.flag(), format!("{}=", Key::LogFormat.flag()));
    let value_of = |word: OsString, words: &mut dyn Iterator<Item = OsString>| {
        if word == *flag {
            words.next()
        } else {
            Some(word.to_str()?.strip_prefix(&flag_with_value)?.into())
        }
    };
    let mut typed = None;
    while let (None, Some(word)) = (&typed, words.next()) {
        typed = value_of(word, &mut words);
    }
    let variable = || Key::LogFormat.variable().and_then(std::env::var_os);
    let json = typed.or_else(variable).is_some_and(|value| value == "json");
    if json {
        LogFormat::Json
    } else {
        LogFormat::Text
    }
}

fn say(talk: Logging, text: impl FnOnce() -> String, json: impl FnOnce() -> Value) {
    match (talk.volume, talk.format) {
        (Volume::Quiet, _) => {}
        (_, LogFormat::Text) => {
            print(format!("{}\n", text()).as_bytes());
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

/// One line, whether or not anybody reads it.
fn to_standard_error(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Prints to standard output. A reader that is gone is not an error: the exit code says how the command ended.
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
