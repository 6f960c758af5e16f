//! The report page: one file that needs nothing else, no script and no network, for people who would rather look. Writes
//! what the summary says and every row that is not applied; decides nothing. Everything that came from outside is escaped.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use crate::domain::{Outcome, REPORT_COLUMNS};
use crate::error::{Error, Kind, Result};
use crate::journal::files;
use crate::journal::line::{CELLS_BEHIND_A_ROW, Finished};
use crate::journal::run::Run;
use crate::journal::writer::Journal;
use crate::output::{Existing, Output};
use crate::report::chart::{self, duration, moment};
use crate::report::reasons::Group;
use crate::report::summary::Summary;
use crate::text::{self, grouped};

const PAGE: &str = include_str!("page.html");

/// How the page begins.
const BEGINNING: &str = "<!doctype html>";
const STYLE: &str = include_str!("page.css");

/// Rows in one table: of full tables, a browser lays out only those that are in view.
const ROWS_PER_TABLE: usize = 500;

/// So much of a row's own cells is shown, in characters.
const MAX_INPUT: usize = 200;

/// Checks, before anything is sent, that a page can be written to `place` later. With `overwrite`, an earlier page is
/// replaced; without it, only the page that this report's run left when it was interrupted. No other kind of file is.
///
/// # Errors
/// Of [`Kind::Usage`], naming the file.
pub fn check_page_place(place: &Path, report: &Path, overwrite: bool) -> Result<Output> {
    let replaced = Output::check(place, Existing::ReplaceIfBegins(BEGINNING), Kind::Usage)?;
    if overwrite {
        return Ok(replaced);
    }
    let unfinished = beginning_of_unfinished(report);
    Output::check(
        place,
        Existing::RefuseUnlessBegins(&unfinished),
        Kind::Usage,
    )
}

/// Returns how the page of an interrupted run begins, so that the run that continues it knows the page as its own.
fn beginning_of_unfinished(report: &Path) -> String {
    let report = std::path::absolute(report).unwrap_or_else(|_| report.to_owned());
    let hash = blake3::hash(report.as_os_str().as_encoded_bytes()).to_hex();
    format!("{BEGINNING}\n<!-- unfinished run {} -->", &hash[..16])
}

/// Writes the page of a finished run, with the rows of its report.
///
/// # Errors
/// Of [`Kind::MidRun`], if the report can't be read or the page not be written.
pub fn write_page(output: &Output, summary: &Summary, report: &Path) -> Result<()> {
    let rows = File::open(report).map_err(|error| {
        Error::new(
            Kind::MidRun,
            format!(
                "{} can't be read for the page: {error}",
                files::name(report)
            ),
        )
    })?;
    output.write(|out| page(out, summary, rows, Source::Report))
}

/// Writes the page of a run that stopped early, with the rows that its journal has. `report` is where its report will be.
///
/// # Errors
/// As [`write_page`].
pub fn write_page_so_far(
    output: &Output,
    summary: &Summary,
    journal: &Journal<File>,
    report: &Path,
) -> Result<()> {
    let mut rows = journal.storage();
    output.write(|out| {
        rows.rewind()?;
        page(out, summary, rows, Source::Journal(report))
    })
}

/// Where the rows come from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source<'a> {
    Report,
    /// The journal of the report at this path. It has a number and a check behind each row, and other records between them.
    Journal(&'a Path),
}

fn page(
    out: &mut dyn Write,
    summary: &Summary,
    rows: impl Read,
    source: Source<'_>,
) -> io::Result<()> {
    let page = PAGE.strip_prefix(BEGINNING).unwrap_or(PAGE);
    match source {
        Source::Report => write!(out, "{BEGINNING}")?,
        Source::Journal(report) => write!(out, "{}", beginning_of_unfinished(report))?,
    }
    let (head, rest) = page.split_once("<!-- style -->").unwrap_or((page, ""));
    let (middle, tail) = rest.split_once("<!-- content -->").unwrap_or((rest, ""));
    write!(out, "{head}{STYLE}{middle}")?;
    verdict(out, summary)?;
    counts(out, summary)?;
    reasons(out, &summary.failures)?;
    charts(out, summary)?;
    let listed = summary
        .outcomes
        .total()
        .saturating_sub(summary.outcomes.count(Outcome::Applied));
    writeln!(
        out,
        "<h2>Rows that are not applied: {}</h2>",
        if listed > 0 {
            grouped(listed)
        } else {
            "none".to_owned()
        }
    )?;
    table(out, rows, source)?;
    settings(out, summary)?;
    write!(out, "{tail}")
}

/// Text from outside as HTML text or attribute: nothing in it is markup, nothing moves or hides what is read.
fn escaped(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    for c in text::visible(raw).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

fn verdict(out: &mut dyn Write, summary: &Summary) -> io::Result<()> {
    let ms = summary
        .ended
        .as_millisecond()
        .saturating_sub(summary.started.as_millisecond());
    let applied = summary.outcomes.count(Outcome::Applied);
    let left = summary.rows.saturating_sub(summary.outcomes.total());
    writeln!(
        out,
        r#"<p class="eyebrow">mfa-optout {} report</p>"#,
        escaped(&summary.command)
    )?;
    match summary.rows {
        0 => writeln!(out, "<h1>The table has no rows</h1>")?,
        rows => writeln!(
            out,
            "<h1>{} of {} rows applied</h1>",
            grouped(applied),
            grouped(rows)
        )?,
    }
    writeln!(
        out,
        "<p>{} to {}</p>",
        escaped(&summary.input),
        escaped(&summary.address)
    )?;
    writeln!(
        out,
        r#"<p class="soft num">{} to {}, {}</p>"#,
        moment(summary.started),
        moment(summary.ended),
        duration(u64::try_from(ms).unwrap_or(0))
    )?;
    let ending = summary
        .ending
        .as_deref()
        .unwrap_or("the process ended without a word");
    let code = summary
        .exit_code
        .map(|code| format!(" (exit code {code})"))
        .unwrap_or_default();
    writeln!(out, "<p>How it ended: {}{code}</p>", escaped(ending))?;
    if left > 0 {
        writeln!(
            out,
            "<p><b>{} rows have no outcome yet; the same command goes on with them.</b></p>",
            grouped(left)
        )?;
    }
    Ok(())
}

fn counts(out: &mut dyn Write, summary: &Summary) -> io::Result<()> {
    share(out, summary)?;
    writeln!(out, r#"<ul class="counts">"#)?;
    for outcome in Outcome::ALL {
        let count = summary.outcomes.count(outcome);
        let none = if count == 0 { " none" } else { "" };
        writeln!(
            out,
            r#"<li class="{outcome}{none}"><b>{}</b>{outcome}</li>"#,
            grouped(count)
        )?;
    }
    writeln!(out, "</ul>")
}

/// The outcomes as one bar, each as wide as its share.
fn share(out: &mut dyn Write, summary: &Summary) -> io::Result<()> {
    let rows = summary.rows.max(1);
    write!(
        out,
        r#"<div class="share"><svg viewBox="0 0 10000 10" preserveAspectRatio="none" aria-hidden="true">"#
    )?;
    let mut before = 0;
    for outcome in Outcome::ALL {
        let count = summary.outcomes.count(outcome);
        let place = |rows_before: u64| u128::from(rows_before) * 10_000 / u128::from(rows);
        let (x, end) = (place(before), place(before + count));
        // Even one row of very many is seen.
        let width = if count > 0 { (end - x).max(20) } else { 0 };
        write!(
            out,
            r#"<rect class="fill {outcome}" x="{x}" y="0" width="{width}" height="10"/>"#
        )?;
        before += count;
    }
    writeln!(out, "</svg></div>")
}

fn reasons(out: &mut dyn Write, groups: &[Group]) -> io::Result<()> {
    if groups.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        r#"<h2>Why rows were not applied</h2><div class="reasons">"#
    )?;
    for group in groups {
        let status = group
            .http_status
            .map(|status| format!("{status} "))
            .unwrap_or_default();
        let reason = if group.reason.is_empty() {
            "no message"
        } else {
            &group.reason
        };
        let lines: Vec<String> = group.lines.iter().map(ToString::to_string).collect();
        let more = match group.count.saturating_sub(group.lines.len() as u64) {
            0 => String::new(),
            more => format!(" and {} more", grouped(more)),
        };
        let (counted, label) = if group.count == 1 {
            ("row", "Line")
        } else {
            ("rows", "Lines")
        };
        writeln!(
            out,
            r#"<section class="card reason {}"><div class="head"><h3>{status}{}</h3><b>{} {counted} {}</b></div>"#,
            group.outcome,
            escaped(reason),
            grouped(group.count),
            group.outcome,
        )?;
        writeln!(
            out,
            "<p>What it means: {}.</p><p>What to do: {}.</p>",
            escaped(group.meaning),
            escaped(group.next)
        )?;
        writeln!(
            out,
            r#"<p class="soft num">{label} {}{more}</p></section>"#,
            lines.join(", ")
        )?;
    }
    writeln!(out, "</div>")
}

fn charts(out: &mut dyn Write, summary: &Summary) -> io::Result<()> {
    if summary.series.bars.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        r#"<h2>How it went</h2><div class="charts"><figure class="card">"#
    )?;
    writeln!(out, "<figcaption>Requests and finished rows</figcaption>")?;
    chart::over_time(out, summary)?;
    write!(
        out,
        r#"<ul class="legend"><li class="applied">applied</li><li class="failed">not applied</li>"#
    )?;
    write!(out, r#"<li class="requests">requests</li>"#)?;
    if !summary.throttled.is_empty() {
        write!(out, r#"<li class="throttled">held back by the Org</li>"#)?;
    }
    if !summary.outages.is_empty() {
        write!(out, r#"<li class="outage">no answers from the Org</li>"#)?;
    }
    writeln!(out, "</ul></figure>")?;
    if let Some(latency) = &summary.latency {
        writeln!(
            out,
            r#"<figure class="card"><figcaption>How long answers took</figcaption>"#
        )?;
        chart::latencies(out, latency)?;
        write!(out, r#"<ul class="quick">"#)?;
        let figures = [
            ("half within", latency.p50_ms),
            ("90 % within", latency.p90_ms),
            ("95 % within", latency.p95_ms),
            ("99 % within", latency.p99_ms),
            ("the slowest", latency.max_ms),
        ];
        for (what, ms) in figures {
            // Whole milliseconds are counted: what took less than one took none of them.
            let ms = ms.max(1);
            write!(out, "<li>{what} <b>{ms} ms</b></li>")?;
        }
        writeln!(out, "</ul></figure>")?;
    }
    writeln!(out, "</div>")
}

/// Every row that is not applied, in the order of the file, written table by table as it is read.
fn table(out: &mut dyn Write, rows: impl Read, source: Source<'_>) -> io::Result<()> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(rows);
    let (mut bytes, mut body, mut held) = (csv::ByteRecord::new(), Vec::new(), 0);
    while reader
        .read_byte_record(&mut bytes)
        .map_err(io::Error::from)?
    {
        let record = csv::StringRecord::from_byte_record_lossy(bytes.clone());
        let Some((own, row)) =
            take_apart(&record, source).filter(|(_, row)| row.outcome != Outcome::Applied)
        else {
            continue;
        };
        table_row(&mut body, &own, &row)?;
        held += 1;
        if held == ROWS_PER_TABLE {
            one_table(out, "chunk full", &body)?;
            (body, held) = (Vec::new(), 0);
        }
    }
    if held > 0 {
        one_table(out, "chunk", &body)
    } else {
        Ok(())
    }
}

/// The row's own cells as one text, and ours; `None` for a record that is no row.
fn take_apart<'r>(
    record: &'r csv::StringRecord,
    source: Source<'_>,
) -> Option<(String, Finished<'r>)> {
    let behind = match source {
        Source::Report => 0,
        Source::Journal(_) => CELLS_BEHIND_A_ROW,
    };
    let own = record.len().checked_sub(REPORT_COLUMNS.len() + behind)?;
    let mut ours = [""; REPORT_COLUMNS.len()];
    for (offset, cell) in ours.iter_mut().enumerate() {
        *cell = record.get(own + offset)?;
    }
    let cells: Vec<&str> = record
        .iter()
        .take(own)
        .filter(|cell| !cell.trim().is_empty())
        .collect();
    Some((
        text::one_line(&cells.join(" · "), MAX_INPUT),
        Finished::from_cells(&ours)?,
    ))
}

fn one_table(out: &mut dyn Write, class: &str, body: &[u8]) -> io::Result<()> {
    writeln!(
        out,
        r#"<div class="{class}"><table><thead><tr><th class="w-row" scope="col">Line</th>"#
    )?;
    writeln!(
        out,
        concat!(
            r#"<th class="w-input" scope="col">Input</th><th class="w-outcome" scope="col">Outcome</th>"#,
            r#"<th class="w-small" scope="col">Status</th><th class="w-small" scope="col">Tries</th>"#,
            r#"<th scope="col">Detail</th></tr></thead><tbody>"#
        )
    )?;
    out.write_all(body)?;
    writeln!(out, "</tbody></table></div>")
}

fn table_row(out: &mut dyn Write, own: &str, row: &Finished<'_>) -> io::Result<()> {
    let status = row
        .http_status
        .map(|status| status.to_string())
        .unwrap_or_default();
    let line = row.line.map(|line| line.to_string()).unwrap_or_default();
    writeln!(
        out,
        concat!(
            r#"<tr><td class="row">{}</td><td class="input">{}</td><td class="word {}">{}</td>"#,
            r#"<td class="small">{}</td><td class="small tries">{}</td><td class="detail">{}</td></tr>"#
        ),
        line,
        escaped(own),
        row.outcome,
        row.outcome,
        status,
        row.attempts,
        escaped(row.detail),
    )
}

fn settings(out: &mut dyn Write, summary: &Summary) -> io::Result<()> {
    let traffic = &summary.traffic;
    let at_least = if summary.traffic_is_complete {
        ""
    } else {
        "at least "
    };
    writeln!(out, r#"<h2>The run</h2><section class="card"><dl>"#)?;
    entry(out, "Input", &summary.input)?;
    entry(out, "BLAKE3", &summary.input_blake3)?;
    entry(out, "Address", &summary.address)?;
    entry(
        out,
        "Requests",
        format_args!(
            "{at_least}{}, of these {} retries, {} log-ins",
            traffic.requests, traffic.retries, traffic.log_ins
        ),
    )?;
    entry(out, "Held back", duration(traffic.throttled_ms))?;
    if let Some(rate) = traffic.rate_per_second {
        entry(
            out,
            "Pace at the end",
            format_args!("{rate:.1} requests a second"),
        )?;
    }
    for (name, value) in summary.identity.options_in_words() {
        entry(out, name, value)?;
    }
    writeln!(out, "</dl></section>")?;
    for (index, run) in summary.runs.iter().enumerate() {
        one_start(out, index, run)?;
    }
    Ok(())
}

fn one_start(out: &mut dyn Write, index: usize, run: &Run) -> io::Result<()> {
    let what = if index == 0 {
        "Started"
    } else {
        "Taken up again"
    };
    writeln!(
        out,
        r#"<section class="card"><h3>{what} {}</h3><dl>"#,
        moment(run.at)
    )?;
    entry(
        out,
        "By",
        format_args!("{} on {}, process {}", run.who.user, run.who.host, run.pid),
    )?;
    entry(
        out,
        "Authenticated",
        run.access.words()
            + if run.new_key {
                ", said to be the same Org's new one"
            } else {
                ""
            },
    )?;
    entry(
        out,
        "Reason",
        run.who.reason.as_deref().unwrap_or("none given"),
    )?;
    entry(out, "Confirmed", &run.who.confirmation)?;
    entry(out, "Version", &run.who.version)?;
    entries(out, &run.who.options)?;
    writeln!(out, "</dl></section>")
}

fn entries(out: &mut dyn Write, all: &BTreeMap<String, String>) -> io::Result<()> {
    all.iter()
        .try_for_each(|(name, value)| entry(out, name, value))
}

fn entry(out: &mut dyn Write, name: &str, value: impl Display) -> io::Result<()> {
    writeln!(
        out,
        "<dt>{}</dt><dd>{}</dd>",
        escaped(name),
        escaped(&value.to_string())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_becomes_markup() {
        for hostile in [
            "<script>alert(1)</script>",
            "\" onload=\"x",
            "' x='",
            "</style>",
            "a&lt;b",
            "\u{202e}<b>",
        ] {
            let safe = escaped(hostile);
            assert!(!safe.contains(['<', '>', '"', '\'', '\u{202e}']), "{safe}");
        }
        assert_eq!(escaped("a&lt;"), "a&amp;lt;");
    }

    #[test]
    fn the_page_has_a_place_for_style_and_content_and_allows_no_script() {
        assert_eq!(PAGE.matches("<!-- style -->").count(), 1);
        assert_eq!(PAGE.matches("<!-- content -->").count(), 1);
        assert!(PAGE.contains("default-src 'none'") && !PAGE.contains("script-src"));
        assert!(!STYLE.contains("url(") && !STYLE.contains("@import"));
    }
}
