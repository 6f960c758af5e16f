//! The run as a whole: all records of its journal, added up one by one into a [`Summary`], and its
//! JSON form. Memory does not grow with the number of rows.

use std::collections::BTreeMap;
use std::io;

use hdrhistogram::Histogram;
use jiff::Timestamp;
use serde::Serialize;

use crate::domain::{Outcome, RowLabels, Tally};
use crate::journal::identity::Identity;
use crate::journal::line::{JournalEntry, RecordedRow, report_row};
use crate::journal::run::{FORMAT, Note, Noted, Run, Stop, Traffic};
use crate::report::reasons::{Group, Reasons};
use crate::report::timeline::{Series, Span, add_span};

/// The longest latency that is measured, in milliseconds. A longer one counts as this.
const MAX_LATENCY_MS: u64 = 3_600_000;

/// The number of columns in the histogram of latencies, without the last one.
const HISTOGRAM_COLUMNS: u64 = 28;

/// A run, as its journal tells it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// [`FORMAT`] of the tool that wrote this.
    pub format: u32,
    /// The tool's version that wrote this.
    pub version: String,
    /// The input's name.
    pub input: String,
    /// BLAKE3 of the input, hexadecimal.
    pub input_blake3: String,
    /// BLAKE3 of the report, hexadecimal; `None` while there is none.
    pub report_blake3: Option<String>,
    /// `apply`, `retry` or `undo`.
    pub command: String,
    /// The Org's address.
    pub address: String,
    /// The facts that must be the same for the run to be continued.
    pub identity: Identity,
    /// Every option that was in effect when the run was started or last continued, with its text as
    /// it was given.
    pub options: BTreeMap<String, String>,
    /// Time at which the run began.
    pub started: Timestamp,
    /// Time at which it ended, or the time of the last record.
    pub ended: Timestamp,
    /// Number of rows of the input.
    pub rows: u64,
    /// Number of rows by outcome.
    pub outcomes: Tally,
    /// Number of rows by the HTTP status of their last response.
    pub statuses: BTreeMap<u16, u64>,
    /// What was sent.
    pub traffic: Traffic,
    /// Whether `traffic` is complete. A process that was killed did not record what it had sent for
    /// rows without an outcome.
    pub traffic_is_complete: bool,
    /// Latency of rows that took one request, if there are any.
    pub latency: Option<Latency>,
    /// The times in which the Org asked for a pause.
    pub throttled: Vec<Span>,
    /// The times in which the Org did not answer.
    pub outages: Vec<Span>,
    /// Requests and rows over time.
    pub series: Series,
    /// The rows that were not applied, by reason.
    pub failures: Vec<Group>,
    /// The records of the process that began the run and of each one that continued it.
    pub runs: Vec<Run>,
    /// How the run ended, in words; `None` if it was killed.
    pub ending: Option<String>,
    /// Exit code of the process; `None` if it was killed.
    pub exit_code: Option<u8>,
    /// Whether the run was closed: rows without an outcome were given one without being sent.
    pub closed: bool,
}

/// Latency of responses in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// Number of responses that were counted.
    pub samples: u64,
    /// Median.
    pub p50_ms: u64,
    /// 90th percentile.
    pub p90_ms: u64,
    /// 95th percentile.
    pub p95_ms: u64,
    /// 99th percentile.
    pub p99_ms: u64,
    /// Maximum.
    pub max_ms: u64,
    /// Histogram: the upper bound of each column in milliseconds, and its number of responses.
    pub histogram: Vec<(u64, u64)>,
}

impl Summary {
    /// Writes the content of `users.report.json`.
    ///
    /// # Errors
    /// Any error of `out`.
    pub fn write_json(&self, mut out: impl io::Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut out, self).map_err(io::Error::from)?;
        out.write_all(b"\n")
    }
}

/// A summary that is being added up.
#[derive(Debug, Default)]
pub(crate) struct SummaryBuilder {
    runs: Vec<Run>,
    tally: Tally,
    statuses: BTreeMap<u16, u64>,
    /// What earlier processes have sent: according to their stop records, or to their rows if they
    /// were killed.
    earlier: Traffic,
    /// What the current process has sent, according to rows and log-ins.
    current: Traffic,
    /// Number of requests of the current process, according to its notes.
    noted_requests: u64,
    /// Whether a process was killed.
    was_killed: bool,
    latency: Latencies,
    throttled: Vec<Span>,
    outages: Vec<Span>,
    series: Option<Series>,
    reasons: Reasons,
    labels: RowLabels,
    /// Time of the last record.
    last: Option<Timestamp>,
    /// The stop record, if it is the last record of a process.
    stop: Option<Stop>,
}

/// A histogram of latencies in milliseconds.
#[derive(Debug)]
struct Latencies(Histogram<u64>);

impl Default for Latencies {
    #[expect(
        clippy::expect_used,
        reason = "the bounds and the precision are constants that the crate accepts"
    )]
    fn default() -> Self {
        Self(
            Histogram::new_with_bounds(1, MAX_LATENCY_MS, 3)
                .expect("1 ms to an hour at 3 digits is a possible histogram"),
        )
    }
}

impl SummaryBuilder {
    /// Adds one record of the journal, in the journal's order. `frame` are its bytes.
    pub(crate) fn add(&mut self, entry: &JournalEntry<'_>, frame: &[u8]) {
        match entry {
            JournalEntry::Run(run) => self.add_run(run),
            JournalEntry::Note(noted) => self.add_note(*noted),
            JournalEntry::Stop(stop) => self.add_stop(stop),
            JournalEntry::Row(_, row) => self.add_row(row, frame),
            JournalEntry::Mark(_) | JournalEntry::OtherFormat(_) => {}
        }
    }

    fn add_run(&mut self, run: &Run) {
        if !self.runs.is_empty() && self.stop.is_none() {
            self.was_killed = true;
            self.earlier = self.earlier.plus(self.current_traffic());
        }
        self.begin_count();
        self.stop = None;
        self.series.get_or_insert_with(|| Series::starting(run.at));
        self.labels = run.identity.row_labels();
        self.last = Some(run.at);
        self.runs.push(run.clone());
    }

    fn add_stop(&mut self, stop: &Stop) {
        if stop.closed && self.stop.is_none() {
            // The process was killed and could not record what it had sent.
            self.was_killed = true;
            self.earlier = self.earlier.plus(self.current);
        }
        self.earlier = self.earlier.plus(stop.traffic);
        self.begin_count();
        self.last = Some(stop.at);
        self.stop = Some(stop.clone());
    }

    fn begin_count(&mut self) {
        self.current = Traffic::default();
        self.noted_requests = 0;
    }

    /// Returns what the current process has sent. Rows count every request for them, also in the
    /// last second before a kill, and notes count requests for rows without an outcome.
    fn current_traffic(&self) -> Traffic {
        Traffic {
            requests: self.current.requests.max(self.noted_requests),
            ..self.current
        }
    }

    fn add_note(&mut self, noted: Noted) {
        self.last = Some(noted.at);
        match noted.note {
            Note::Throttled { for_ms } => {
                self.current.throttled_ms = self.current.throttled_ms.saturating_add(for_ms);
                add_span(
                    &mut self.throttled,
                    Span {
                        from: noted.at,
                        lasted_ms: for_ms,
                    },
                );
            }
            Note::OutageBegan => add_span(
                &mut self.outages,
                Span {
                    from: noted.at,
                    lasted_ms: 0,
                },
            ),
            Note::OutageOver { lasted_ms } => {
                if let Some(outage) = self.outages.last_mut() {
                    outage.lasted_ms = outage.lasted_ms.max(lasted_ms);
                }
            }
            Note::LoggedIn => {
                self.current.log_ins += 1;
                self.current.requests += 1;
            }
            Note::Deferred { .. } => {}
            Note::Requests { second, count } => {
                self.noted_requests = self.noted_requests.saturating_add(count);
                if let Some(series) = &mut self.series {
                    series.add_requests(second, count);
                }
            }
        }
    }

    fn add_row(&mut self, row: &RecordedRow<'_>, frame: &[u8]) {
        self.tally.add(row.outcome);
        self.last = self.last.max(Some(row.finished_at));
        self.current.requests += u64::from(row.attempts);
        self.current.retries += u64::from(row.attempts.saturating_sub(1));
        if let Some(status) = row.http_status {
            *self.statuses.entry(status).or_default() += 1;
            if row.attempts == 1 {
                self.latency.add(row);
            }
        }
        let labels = &self.labels;
        self.reasons.add(row, || labels.label(report_row(frame)));
        if let Some(series) = &mut self.series
            && row.outcome != Outcome::NotSent
        {
            series.add(row);
        }
    }

    /// Returns the summary, or `None` if there was no run.
    pub(crate) fn finish(self) -> Option<Summary> {
        let first = self.runs.first()?.clone();
        let options = self.runs.last()?.who.options.clone();
        let is_open = self.stop.is_none();
        let traffic = if is_open {
            self.earlier.plus(self.current_traffic())
        } else {
            self.earlier
        };
        Some(Summary {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            input: first.identity.input.name.clone(),
            input_blake3: first.identity.input.blake3.clone(),
            report_blake3: None,
            command: first.identity.command.clone(),
            address: first.identity.address.clone(),
            identity: first.identity,
            options,
            started: first.at,
            ended: self.last.unwrap_or(first.at),
            rows: first.rows,
            outcomes: self.tally,
            statuses: self.statuses,
            traffic,
            traffic_is_complete: !self.was_killed && !is_open,
            latency: self.latency.finish(),
            throttled: self.throttled,
            outages: self.outages,
            series: self.series.unwrap_or_else(|| Series::starting(first.at)),
            failures: self.reasons.groups(),
            runs: self.runs,
            ending: self.stop.as_ref().map(|stop| stop.ending.clone()),
            closed: self.stop.as_ref().is_some_and(|stop| stop.closed),
            exit_code: self.stop.map(|stop| stop.exit_code),
        })
    }
}

impl Latencies {
    fn add(&mut self, row: &RecordedRow<'_>) {
        self.0
            .saturating_record(u64::try_from(row.elapsed.as_millis()).unwrap_or(MAX_LATENCY_MS));
    }

    fn finish(self) -> Option<Latency> {
        let times = self.0;
        if times.is_empty() {
            return None;
        }
        let at = |quantile| times.value_at_quantile(quantile);
        Some(Latency {
            samples: times.len(),
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p95_ms: at(0.95),
            p99_ms: at(0.99),
            max_ms: times.max(),
            histogram: histogram_columns(&times),
        })
    }
}

/// Returns columns of equal width up to the 99th percentile, and one for the rest, so that a few
/// slow responses do not squeeze all others into one column. Empty columns at the front are left
/// out.
fn histogram_columns(times: &Histogram<u64>) -> Vec<(u64, u64)> {
    let most = times.value_at_quantile(0.99);
    let width = (most.saturating_sub(times.min()) / HISTOGRAM_COLUMNS).max(1);
    let mut columns: Vec<(u64, u64)> = Vec::new();
    for step in times.iter_linear(width) {
        let up_to = step.value_iterated_to();
        let count = step.count_since_last_iteration();
        match columns.last_mut() {
            Some(last) if last.0 >= most => *last = (up_to, last.1 + count),
            None if count == 0 => {}
            _ => columns.push((up_to, count)),
        }
    }
    columns
}
