//! The last run for Prometheus' textfile collector. Pure but for the writer.

use std::fmt::Write as _;
use std::path::Path;

use jiff::Timestamp;

use crate::domain::Outcome;
use crate::error::{Kind, Result};
use crate::output::{Existing, Output};
use crate::report::summary::Summary;

/// Writes the run's figures, for the node exporter to pick up.
///
/// # Errors
/// If the file can't be written, naming it.
pub fn write_metrics(output: &Output, summary: &Summary) -> Result<()> {
    let text = metrics(summary);
    output.write(|out| out.write_all(text.as_bytes()))
}

/// Checks, before anything is sent, that figures can be written to `place` later. Those of an earlier run are replaced,
/// another kind of file is not.
///
/// # Errors
/// Of [`Kind::Usage`], naming the file.
pub fn check_metrics_place(place: &Path) -> Result<Output> {
    let beginning = Existing::ReplaceIfBegins("# HELP mfa_optout_");
    Output::check(place, beginning, Kind::Usage)
}

/// A run that was refused before anything was sent, or that could not go on: all that is known is which, when, and that.
#[derive(Clone, Copy, Debug)]
pub struct Unfinished<'a> {
    /// The Org's address; empty where none is known.
    pub address: &'a str,
    /// The input's name.
    pub input: &'a str,
    /// `apply`, `retry` or `undo`.
    pub command: &'a str,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// What the process answers.
    pub exit_code: u8,
}

/// Writes that a run came to nothing, so that the figures of the one before are not taken for its own.
///
/// # Errors
/// If the file can't be written, naming it.
pub fn write_metrics_of_unfinished(output: &Output, run: &Unfinished<'_>) -> Result<()> {
    let mut out = Metrics::labelled(run.address, run.input, run.command);
    out.end(run.started, run.ended, Some(run.exit_code));
    output.write(|file| file.write_all(out.text.as_bytes()))
}

/// The figures in the text exposition format, version 0.0.4.
fn metrics(summary: &Summary) -> String {
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
    out.end(summary.started, summary.ended, summary.exit_code);
    out.text
}

/// Three decimals, as text: a float in exponent form is valid, but no person reads it.
fn unix_seconds(at: Timestamp) -> String {
    let ms = at.as_millisecond();
    format!("{}.{:03}", ms.div_euclid(1000), ms.rem_euclid(1000))
}

/// A label's value: backslash, quote and line feed escaped, as the format wants it.
fn label(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

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
