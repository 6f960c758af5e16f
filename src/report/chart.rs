//! The report page's pictures as inline SVG: rows over time, and how long answers took. Pure but for the writer.
//!
//! Shapes stretch with the page, so no text stands inside a picture; scales are HTML beneath it.

use std::io::{self, Write};

use jiff::Timestamp;

use crate::report::summary::{Latency, Summary};
use crate::report::timeline::{Bar, Series, Span};
use crate::text::grouped;

/// A picture's own units, in both directions.
const SIZE: f64 = 1000.0;

/// What is as wide as this is still seen.
const THINNEST: f64 = 2.0;

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
#[expect(
    clippy::cast_precision_loss,
    reason = "a picture has a thousand units in each direction"
)]
fn real(number: u64) -> f64 {
    number as f64
}

/// Rows by when they finished, requests, and what held the run back.
pub(crate) fn over_time(out: &mut dyn Write, summary: &Summary) -> io::Result<()> {
    let series = &summary.series;
    let top = series
        .bars
        .iter()
        .map(|bar| bar.requests.max(bar.applied + bar.not_applied))
        .max()
        .unwrap_or(0)
        .max(1);
    let frame = Frame::of(series, summary.ended);
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
    /// It ends with the run, amid the last bar. Where a clock went back, the last bar ends it.
    fn of(series: &Series, ended: Timestamp) -> Self {
        let bars = series.bars.len().max(1) as u64;
        let from = series.from.as_millisecond();
        let run_ms = u64::try_from(ended.as_millisecond().saturating_sub(from)).unwrap_or(0);
        let reaches_the_last_bar = run_ms > series.bar_ms.saturating_mul(bars - 1);
        let length = if reaches_the_last_bar {
            run_ms
        } else {
            series.bar_ms.saturating_mul(bars)
        };
        let until = from.saturating_add(i64::try_from(length).unwrap_or(0));
        Self {
            from,
            until: Timestamp::from_millisecond(until).unwrap_or(ended),
            length: real(length),
            bar_width: real(series.bar_ms) / real(length) * SIZE,
        }
    }

    fn span(&self, out: &mut dyn Write, span: Span, class: &str, what: &str) -> io::Result<()> {
        let after =
            u64::try_from(span.from.as_millisecond().saturating_sub(self.from)).unwrap_or(0);
        let x = real(after) / self.length * SIZE;
        let width =
            (real(span.lasted_ms) / self.length * SIZE).clamp(THINNEST, (SIZE - x).max(THINNEST));
        writeln!(
            out,
            r#"<rect class="fill {class}" x="{x:.1}" y="0" width="{width:.1}" height="1000"><title>{what} for {} from {}</title></rect>"#,
            duration(span.lasted_ms),
            moment(span.from),
        )
    }

    fn bar(&self, out: &mut dyn Write, index: u64, bar: Bar, top: f64) -> io::Result<()> {
        let x = (real(index) * self.bar_width).min(SIZE - THINNEST);
        let width = (self.bar_width * 0.86).min(SIZE - x).max(0.5);
        let (bad, good) = (
            real(bar.not_applied) / top * SIZE,
            real(bar.applied) / top * SIZE,
        );
        for (class, y, height) in [
            ("failed", SIZE - bad, bad),
            ("applied", SIZE - bad - good, good),
        ] {
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
            let x = ((real(index as u64) + 0.43) * self.bar_width).min(SIZE);
            write!(
                out,
                "{x:.1},{:.1} ",
                SIZE - real(bar.requests) / top * (SIZE - 6.0)
            )?;
        }
        writeln!(out, r#""/>"#)
    }
}

/// How many answers took how long. The last column is for the slowest.
pub(crate) fn latencies(out: &mut dyn Write, latency: &Latency) -> io::Result<()> {
    let columns = &latency.histogram;
    let top = columns
        .iter()
        .map(|(_, count)| *count)
        .max()
        .unwrap_or(0)
        .max(1);
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
        let column = columns
            .iter()
            .position(|(up_to, _)| *up_to >= value)
            .unwrap_or(0);
        let x = (real(column as u64) + 0.43) * width;
        writeln!(
            out,
            r#"<line class="mark" x1="{x:.1}" x2="{x:.1}" y1="0" y2="1000"/>"#
        )?;
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
pub(crate) fn moment(at: Timestamp) -> String {
    format!("{at:.0}").replace('T', " ").replace('Z', " UTC")
}

/// A length of time for people, such as `1h 5m 3s` or `250ms`.
pub(crate) fn duration(ms: u64) -> String {
    let whole = if ms >= 10_000 { ms / 1000 * 1000 } else { ms };
    let span = jiff::SignedDuration::from_millis(i64::try_from(whole).unwrap_or(i64::MAX));
    format!("{span:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_ends_with_the_run_and_shows_all_bars() {
        let series = |bars| Series {
            bars: vec![Bar::default(); bars],
            ..Series::starting(Timestamp::UNIX_EPOCH)
        };
        let frame = |bars, ended_ms| {
            Frame::of(
                &series(bars),
                Timestamp::from_millisecond(ended_ms).unwrap(),
            )
        };
        let until = |bars, ended_ms| frame(bars, ended_ms).until.as_millisecond();
        assert_eq!(
            [until(3, 2001), until(3, 2500), until(3, 9000), until(1, 9)],
            [2001, 2500, 9000, 9]
        );
        assert_eq!(
            [until(3, 2000), until(3, -50), until(1, 0)],
            [3000, 3000, 1000],
            "a clock went back"
        );
        for ended in [2001, 2500, 9000] {
            let mut picture = Vec::new();
            frame(3, ended)
                .bar(
                    &mut picture,
                    2,
                    Bar {
                        applied: 1,
                        ..Bar::default()
                    },
                    1.0,
                )
                .unwrap();
            let picture = String::from_utf8(picture).unwrap();
            let number = |name: &str| -> f64 {
                let (_, rest) = picture.split_once(&format!("{name}=\"")).unwrap();
                rest.split_once('"').unwrap().0.parse().unwrap()
            };
            assert!(
                number(" x") + number("width") <= SIZE && number("width") > 1.0,
                "{picture}"
            );
        }
    }

    #[test]
    fn figures_are_for_people() {
        assert_eq!(["250ms", "1h 5m 3s"], [250, 3_903_400].map(duration));
        assert_eq!(
            moment(Timestamp::from_millisecond(1_700_000_000_050).unwrap()),
            "2023-11-14 22:13:20 UTC"
        );
    }
}
