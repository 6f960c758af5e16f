//! The figures of the last run as a file for the textfile collector of Prometheus' node exporter.

use std::fmt::Write as _;
use std::path::Path;

use jiff::Timestamp;

use crate::domain::Outcome;
use crate::error::{Kind, Result};
use crate::output::{Existing, Output};
use crate::report::summary::Summary;

/// The number of people who are opted out according to the register, or may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExceptionFigures {
    /// All of them.
    pub total: u64,
    /// Those without an end date.
    pub without_end: u64,
    /// Those that end within a week.
    pub ending_soon: u64,
}

/// Writes the figures of a run.
///
/// # Errors
/// [`Kind::MidRun`], naming the file, if it can't be written.
pub fn write_metrics(
    output: &Output,
    summary: &Summary,
    exceptions: Option<ExceptionFigures>,
) -> Result<()> {
    let text = metrics(summary, exceptions);
    output.write(|out| out.write_all(text.as_bytes()))
}

/// Checks, before anything is sent, that figures can be written to `place` later. Figures of an
/// earlier run are replaced, another kind of file is not.
///
/// # Errors
/// [`Kind::Usage`], naming the file.
pub fn check_metrics_place(place: &Path) -> Result<Output> {
    let beginning = Existing::ReplaceIfBegins("# HELP mfa_optout_");
    Output::check(place, beginning, Kind::Usage)
}

/// A run that ended without a summary.
#[derive(Clone, Copy, Debug)]
pub struct Unfinished<'a> {
    /// The Org's address; empty if it is not known.
    pub address: &'a str,
    /// The input's name.
    pub input: &'a str,
    /// `apply`, `retry` or `undo`.
    pub command: &'a str,
    /// Time at which it began.
    pub started: Timestamp,
    /// Time at which it ended.
    pub ended: Timestamp,
    /// Exit code of the process.
    pub exit_code: u8,
    /// The exceptions in the register, if it was read.
    pub exceptions: Option<ExceptionFigures>,
}

/// Writes the little that is known of a run without a summary, so that the figures of the previous
/// run are not taken for its own.
///
/// # Errors
/// [`Kind::MidRun`], naming the file, if it can't be written.
pub fn write_metrics_of_unfinished(output: &Output, run: &Unfinished<'_>) -> Result<()> {
    let mut out = Metrics::labelled(run.address, run.input, run.command);
    if let Some(exceptions) = run.exceptions {
        out.exceptions(exceptions);
    }
    out.end(run.started, run.ended, Some(run.exit_code));
    output.write(|file| file.write_all(out.text.as_bytes()))
}

/// Returns the figures in the text exposition format, version 0.0.4.
fn metrics(summary: &Summary, exceptions: Option<ExceptionFigures>) -> String {
    let mut out = Metrics::labelled(&summary.address, &summary.input, &summary.command);
    out.help("rows", "Rows of the input by outcome.");
    for outcome in Outcome::ALL {
        out.sample(
            "rows",
            &format!(",outcome=\"{outcome}\""),
            summary.outcomes.count(outcome),
        );
    }
    let traffic = &summary.traffic;
    out.single(
        "requests",
        "Requests sent, retries, log-ins and probes included.",
        traffic.requests,
    );
    out.single(
        "retries",
        "Requests that repeated an earlier one.",
        traffic.retries,
    );
    out.single(
        "throttled_seconds",
        "Time the Org held back all requests.",
        traffic.throttled().as_secs_f64(),
    );
    if let Some(exceptions) = exceptions {
        out.exceptions(exceptions);
    }
    out.end(summary.started, summary.ended, summary.exit_code);
    out.text
}

/// Returns seconds with three decimals. A float in exponent form would be valid but hard to read.
fn unix_seconds(at: Timestamp) -> String {
    let ms = at.as_millisecond();
    format!("{}.{:03}", ms.div_euclid(1000), ms.rem_euclid(1000))
}

/// Returns the value of a label with backslash, quote and line feed escaped.
fn label(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// The text of the figures, which all have the same labels.
struct Metrics {
    text: String,
    labels: String,
}

impl Metrics {
    fn labelled(address: &str, input: &str, command: &str) -> Self {
        let [address, input, command] = [address, input, command].map(label);
        Self {
            text: String::new(),
            labels: format!("address=\"{address}\",input=\"{input}\",command=\"{command}\""),
        }
    }

    fn exceptions(&mut self, exceptions: ExceptionFigures) {
        self.single(
            "exceptions",
            "People who are opted out according to the register, or may be.",
            exceptions.total,
        );
        self.single(
            "exceptions_without_end",
            "Exceptions without an end date.",
            exceptions.without_end,
        );
        self.single(
            "exceptions_ending_within_a_week",
            "Exceptions that end within a week.",
            exceptions.ending_soon,
        );
    }

    fn end(&mut self, started: Timestamp, ended: Timestamp, exit_code: Option<u8>) {
        self.single(
            "start_time_seconds",
            "When the run began, in Unix time.",
            unix_seconds(started),
        );
        self.single(
            "end_time_seconds",
            "When the run ended, in Unix time.",
            unix_seconds(ended),
        );
        if let Some(code) = exit_code {
            self.single(
                "exit_code",
                "What the process answered; 0 is all well.",
                code,
            );
        }
    }

    fn help(&mut self, name: &str, help: &str) {
        self.line(format_args!("# HELP mfa_optout_last_run_{name} {help}"));
        self.line(format_args!("# TYPE mfa_optout_last_run_{name} gauge"));
    }

    fn sample(&mut self, name: &str, more_labels: &str, value: impl std::fmt::Display) {
        let labels = std::mem::take(&mut self.labels);
        self.line(format_args!(
            "mfa_optout_last_run_{name}{{{labels}{more_labels}}} {value}"
        ));
        self.labels = labels;
    }

    fn single(&mut self, name: &str, help: &str, value: impl std::fmt::Display) {
        self.help(name, help);
        self.sample(name, "", value);
    }

    #[expect(clippy::expect_used, reason = "writing to a String can't fail")]
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.text, "{line}").expect("a String takes every text");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_cannot_end_their_label() {
        assert_eq!(label("a\"} 1\nb\\"), "a\\\"} 1\\nb\\\\");
    }

    #[test]
    fn times_keep_their_milliseconds() {
        assert_eq!(
            unix_seconds(Timestamp::from_millisecond(1_700_000_000_050).unwrap()),
            "1700000000.050"
        );
    }
}
