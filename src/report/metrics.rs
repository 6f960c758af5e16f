//! The last run for Prometheus' textfile collector. Pure but for the writer.

use std::fmt::Write as _;
use std::path::Path;

use jiff::Timestamp;

use crate::domain::Outcome;
use crate::error::Result;
use crate::report::summary::Summary;
use crate::report::whole::{check_place, write_atomically};

/// Writes the run's figures to `place`, for the node exporter to pick up.
///
/// # Errors
/// If the file can't be written, naming it.
pub fn write_metrics(place: &Path, summary: &Summary) -> Result<()> {
    let text = metrics(summary);
    write_atomically(place, |out| out.write_all(text.as_bytes()))
}

/// Finds out, before anything is sent, whether figures can be written to `place` later. Those of an earlier run are
/// replaced, another kind of file is not.
///
/// # Errors
/// Of [`Kind::Usage`](crate::error::Kind::Usage), naming the file.
pub fn check_metrics_place(place: &Path) -> Result<()> {
    check_place(place, "# HELP mfa_optout_")
}

/// The figures in the text exposition format, version 0.0.4.
fn metrics(summary: &Summary) -> String {
    let mut out = Metrics { text: String::new(), labels: run_labels(summary) };
    out.help("rows", "Rows of the input by outcome.");
    for outcome in Outcome::ALL {
        out.sample("rows", &format!(",outcome=\"{outcome}\""), summary.outcomes.count(outcome));
    }
    let traffic = &summary.traffic;
    out.single("requests", "Requests sent, retries, log-ins and probes included.", traffic.requests);
    out.single("retries", "Requests that repeated an earlier one.", traffic.retries);
    out.single("throttled_seconds", "Time the Org held back all requests.", traffic.throttled().as_secs_f64());
    out.single("start_time_seconds", "When the run began, in Unix time.", unix_seconds(summary.started));
    out.single("end_time_seconds", "When the run ended, in Unix time.", unix_seconds(summary.ended));
    if let Some(code) = summary.exit_code {
        out.single("exit_code", "What the process answered; 0 is all well.", code);
    }
    out.text
}

/// Three decimals, as text: a float in exponent form is valid, but no person reads it.
fn unix_seconds(at: Timestamp) -> String {
    let ms = at.as_millisecond();
    format!("{}.{:03}", ms.div_euclid(1000), ms.rem_euclid(1000))
}

fn run_labels(summary: &Summary) -> String {
    format!(
        "address=\"{}\",input=\"{}\",command=\"{}\"",
        label(&summary.address),
        label(&summary.input),
        label(&summary.command)
    )
}

/// A label's value: backslash, quote and line feed escaped, as the format wants it.
fn label(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

struct Metrics {
    text: String,
    labels: String,
}

impl Metrics {
    fn help(&mut self, name: &str, help: &str) {
        self.line(format_args!("# HELP mfa_optout_last_run_{name} {help}"));
        self.line(format_args!("# TYPE mfa_optout_last_run_{name} gauge"));
    }

    fn sample(&mut self, name: &str, more_labels: &str, value: impl std::fmt::Display) {
        let labels = std::mem::take(&mut self.labels);
        self.line(format_args!("mfa_optout_last_run_{name}{{{labels}{more_labels}}} {value}"));
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
        assert_eq!(unix_seconds(Timestamp::from_millisecond(1_700_000_000_050).unwrap()), "1700000000.050");
    }
}
