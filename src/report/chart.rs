//! The report page's pictures as inline SVG: rows over time, and how long answers took. Pure but for the writer.
//!
//! Shapes stretch with the page, so no text stands inside a picture; scales are HTML beneath it.

use std::io::{self, Write};

use jiff::Timestamp;

use crate::report::summary::{Latency, Summary};
use crate::report::timeline::{Bar, Span};

/// A picture's own units, in both directions.
const SIZE: f64 = 1000.0;

/// Opens a picture; `what` is read out by a screen reader.
fn open(out: &mut dyn Write, what: &str) -> io::Result<()> {
    writeln!(
        out,
        r#"<svg class="plot" viewBox="0 0 1000 1000" preserveAspectRatio="none" role="img" aria-label="{what}">"#
    )
}

fn close(out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "</svg>")
}

/// A figure that fits a picture; counts and times here stay far below where an `f64` loses whole numbers.
#[expect(clippy::cast_precision_loss, reason = "a picture has a thousand units in each direction")]
fn real(number: u64) -> f64 {
    number as f64
}

/// Rows by when they finished, requests, and what held the run back.
pub(super) fn over_time(out: &mut dyn Write, summary: &Summary) -> io::Result<()> {
    let series = &summary.series;
    let top = series.bars.iter().map(|bar| bar.requests.max(bar.applied + bar.not_applied)).max().unwrap_or(0).max(1);
    let frame = Frame::of(summary);
    open(out, "Requests and finished rows over time")?;
    for span in &summary.throttled {
        frame.span(out, *span, "throttled", "held back by the Org")?;
    }
    for span in &summary.outages {
        frame.span(out, *span, "outage", "no answers from the Org")?;
    }
    for (index, bar) in series.bars.iter().enumerate() {
        frame.bar(out, index as u64, *bar, real(top))?;
    }
    frame.line(out, &series.bars, real(top))?;
    close(out)?;
    let (from, until) = (summary.started, frame.until);
    writeln!(
        out,
        r#"<div class="axis"><span>{}</span><span>up to {} in {}</span><span>{}</span></div>"#,
        moment(from),
        grouped(top),
        duration(series.bar_ms),
        moment(until),
    )
}

/// How time falls onto the picture.
struct Frame {
    from: i64,
    until: Timestamp,
    length: f64,
    bar_width: f64,
}

impl Frame {
    fn of(summary: &Summary) -> Self {
        let series = &summary.series;
        let bars_ms = series.bar_ms.saturating_mul(series.bars.len().max(1) as u64);
        let from = series.from.as_millisecond();
        let run_ms = u64::try_from(summary.ended.as_millisecond().saturating_sub(from)).unwrap_or(0);
        let length = bars_ms.max(run_ms);
        let until = from.saturating_add(i64::try_from(length).unwrap_or(0));
        Self {
            from,
            until: Timestamp::from_millisecond(until).unwrap_or(summary.ended),
            length: real(length),
            bar_width: real(series.bar_ms) / real(length) * SIZE,
        }
    }

    fn span(&self, out: &mut dyn Write, span: Span, class: &str, what: &str) -> io::Result<()> {
        let after = u64::try_from(span.from.as_millisecond().saturating_sub(self.from)).unwrap_or(0);
        let x = real(after) / self.length * SIZE;
        let width = (real(span.lasted_ms) / self.length * SIZE).clamp(2.0, (SIZE - x).max(2.0));
        writeln!(
            out,
            r#"<rect class="fill {class}" x="{x:.1}" y="0" width="{width:.1}" height="1000"><title>{what} for {} from {}</title></rect>"#,
            duration(span.lasted_ms),
            moment(span.from),
        )
    }

    fn bar(&self, out: &mut dyn Write, index: u64, bar: Bar, top: f64) -> io::Result<()> {
        let (x, width) = (real(index) * self.bar_width, (self.bar_width * 0.86).max(0.5));
        let (bad, good) = (real(bar.not_applied) / top * SIZE, real(bar.applied) / top * SIZE);
        for (class, y, height) in [("failed", SIZE - bad, bad), ("applied", SIZE - bad - good, good)] {
            if height > 0.0 {
                writeln!(
                    out,
                    r#"<rect class="fill {class}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}"><title>{} applied, {} not, {} requests</title></rect>"#,
                    bar.applied, bar.not_applied, bar.requests,
                )?;
            }
        }
        Ok(())
    }

    fn line(&self, out: &mut dyn Write, bars: &[Bar], top: f64) -> io::Result<()> {
        write!(out, r#"<polyline class="line" points=""#)?;
        for (index, bar) in bars.iter().enumerate() {
            let x = (real(index as u64) + 0.43) * self.bar_width;
            write!(out, "{x:.1},{:.1} ", SIZE - real(bar.requests) / top * (SIZE - 6.0))?;
        }
        writeln!(out, r#""/>"#)
    }
}

/// How many answers took how long. The last column is for the slowest.
pub(super) fn latencies(out: &mut dyn Write, latency: &Latency) -> io::Result<()> {
    let columns = &latency.histogram;
    let top = columns.iter().map(|(_, count)| *count).max().unwrap_or(0).max(1);
    let width = SIZE / real(columns.len().max(1) as u64);
    open(out, "How long answers took")?;
    for (index, (up_to, count)) in columns.iter().enumerate() {
        let (x, height) = (real(index as u64) * width, real(*count) / real(top) * SIZE);
        writeln!(
            out,
            r#"<rect class="fill requests" x="{x:.1}" y="{:.1}" width="{:.1}" height="{height:.1}"><title>{count} answers within {up_to} ms</title></rect>"#,
            SIZE - height,
            width * 0.86,
            up_to = (*up_to).max(1),
        )?;
    }
    for value in [latency.p50_ms, latency.p99_ms] {
        let column = columns.iter().position(|(up_to, _)| *up_to >= value).unwrap_or(0);
        let x = (real(column as u64) + 0.43) * width;
        writeln!(out, r#"<line class="mark" x1="{x:.1}" x2="{x:.1}" y1="0" y2="1000"/>"#)?;
    }
    close(out)?;
    let first = columns.first().map_or(0, |(up_to, _)| *up_to);
    writeln!(
        out,
        r#"<div class="axis"><span>{first} ms</span><span>up to {} answers</span><span>{} ms</span></div>"#,
        grouped(top),
        latency.max_ms.max(1)
    )
}

/// A moment for people, in UTC.
pub(super) fn moment(at: Timestamp) -> String {
    format!("{at:.0}").replace('T', " ").replace('Z', " UTC")
}

/// A count with its thousands set apart.
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let (head, groups) = digits.split_at(digits.len() % 3);
    let groups = groups.as_bytes().chunks(3).map(|three| String::from_utf8_lossy(three).into_owned());
    let parts: Vec<String> = std::iter::once(head.to_owned()).filter(|head| !head.is_empty()).chain(groups).collect();
    parts.join(",")
}

/// A length of time for people, such as `1h 5m 3s` or `250ms`.
pub(super) fn duration(ms: u64) -> String {
    let whole = if ms >= 10_000 { ms / 1000 * 1000 } else { ms };
    let span = jiff::SignedDuration::from_millis(i64::try_from(whole).unwrap_or(i64::MAX));
    format!("{span:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_for_people() {
        assert_eq!(["0", "999", "1,000", "12,345", "1,234,567"], [0, 999, 1000, 12_345, 1_234_567].map(grouped));
        assert_eq!(["250ms", "1h 5m 3s"], [250, 3_903_400].map(duration));
        assert_eq!(moment(Timestamp::from_millisecond(1_700_000_000_050).unwrap()), "2023-11-14 22:13:20 UTC");
    }
}
