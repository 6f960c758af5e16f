//! The charts of the report page as HTML with inline SVG: rows and requests over time, and the
//! times of answers.
//!
//! The shapes stretch with the page, so the SVG holds no text. Numbers of axes and legends are HTML
//! around it.

use askama::Template;
use jiff::Timestamp;

use crate::domain::Rate;
use crate::report::html::time::{PageTime, duration};
use crate::report::summary::{Latency, Summary};
use crate::report::timeline::{Bar, Series, Span};
use crate::text::grouped;

/// Width and height of a plot, in its own units.
const SIZE: f64 = 1000.0;

/// Smallest width of a span, in units of the plot, so that it is visible.
const MIN_SPAN_WIDTH: f64 = 2.0;

/// Share of its width that a bar fills.
const BAR_FILL: f64 = 0.86;

/// An asked rate above this multiple of the highest bar is left out of the chart, because it would
/// flatten the rest.
const MAX_RATE_FACTOR: f64 = 4.0;

/// Largest number of intervals on an axis.
const MAX_INTERVALS: f64 = 5.0;

/// Converts a number for plotting. Counts and times here are far below where an `f64` loses whole
/// numbers.
#[expect(
    clippy::cast_precision_loss,
    reason = "a plot has a thousand units in each direction"
)]
fn real(number: u64) -> f64 {
    number as f64
}

/// A vertical axis from zero to a round number.
struct AxisY {
    top: f64,
    /// Labels from top to bottom.
    labels: Vec<String>,
    /// Positions of the grid lines, in units of the plot.
    grid: Vec<String>,
}

impl AxisY {
    /// Returns an axis that reaches `highest`, with intervals of 1, 2 or 5 times a power of ten.
    fn up_to(highest: f64) -> Self {
        let rough = (highest / MAX_INTERVALS).max(f64::MIN_POSITIVE);
        let magnitude = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .map(|factor| factor * magnitude)
            .into_iter()
            .find(|step| *step >= rough * 0.999)
            .unwrap_or(rough);
        let decimals = usize::from(step < 1.0);
        let mut labels = vec!["0".to_owned()];
        let mut value = 0.0;
        while value < highest * 0.999 {
            value += step;
            labels.push(number_label(value, decimals));
        }
        let intervals = labels.len().saturating_sub(1).max(1);
        labels.reverse();
        let grid = (0..intervals).map(|line| {
            let position = real(line as u64) / real(intervals as u64) * SIZE;
            format!("{position:.1}")
        });
        Self {
            top: value.max(step),
            labels,
            grid: grid.collect(),
        }
    }

    /// Returns the height of a value, in units of the plot.
    fn height(&self, value: f64) -> f64 {
        value / self.top * SIZE
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a label is a count that fits"
)]
fn number_label(value: f64, decimals: usize) -> String {
    if decimals > 0 {
        format!("{value:.decimals$}")
    } else {
        grouped(value.round() as u64)
    }
}

/// The chart of rows and requests over time.
#[derive(Template)]
#[template(path = "report/timeline.html")]
struct Timeline {
    y: AxisY,
    x: Vec<PageTime>,
    spans: Vec<SpanShape>,
    /// Class and label of the kinds of spans that occur.
    span_kinds: Vec<(&'static str, &'static str)>,
    bars: Vec<StackedBar>,
    /// Points of the line of requests.
    requests: String,
    rate: Option<RateLine>,
    note: String,
}

struct SpanShape {
    class: &'static str,
    x: String,
    width: String,
    title: String,
}

struct StackedBar {
    x: String,
    width: String,
    title: String,
    parts: Vec<BarPart>,
}

struct BarPart {
    class: &'static str,
    y: String,
    height: String,
}

struct RateLine {
    x: String,
    y: String,
    label: String,
}

/// Returns the chart of rows and requests over time, as HTML; `None` if nothing was sent.
pub(super) fn timeline(summary: &Summary, rate: Rate) -> Option<String> {
    let series = &summary.series;
    let bar_seconds = real(series.bar_ms) / 1000.0;
    let highest = series
        .bars
        .iter()
        .map(|bar| bar.requests.max(bar.applied + bar.not_applied))
        .max()?;
    let highest = real(highest.max(1)) / bar_seconds;
    let asked = rate.per_second();
    let fits = asked.is_some_and(|rate| rate <= highest * MAX_RATE_FACTOR);
    let axis = AxisY::up_to(asked.filter(|_| fits).unwrap_or(0.0).max(highest));
    let frame = TimeFrame::of(series, summary.ended);
    let mut spans = Vec::new();
    let mut span_kinds = Vec::new();
    let kinds = [
        (&summary.throttled, "throttled", "throttled by the Org"),
        (&summary.outages, "outage", "no answers from the Org"),
    ];
    for (found, class, label) in kinds {
        spans.extend(found.iter().map(|span| frame.span(*span, class, label)));
        if !found.is_empty() {
            span_kinds.push((class, label));
        }
    }
    let bars = series.bars.iter().zip(0..);
    let chart = Timeline {
        x: frame.ticks(),
        spans,
        span_kinds,
        bars: bars
            .map(|(bar, index)| frame.bar(index, *bar, bar_seconds, &axis))
            .collect(),
        requests: frame.request_line(&series.bars, bar_seconds, &axis),
        rate: asked
            .filter(|_| fits)
            .map(|asked| frame.rate_line(asked, rate, summary, &axis)),
        note: timeline_note(series.bar_ms, asked.filter(|_| !fits)),
        y: axis,
    };
    chart.render().ok()
}

fn timeline_note(bar_ms: u64, rate_above: Option<f64>) -> String {
    let mut note = format!(
        "Each bar is {}. Rows count when they are finished, requests when they are sent.",
        duration(bar_ms)
    );
    if let Some(rate) = rate_above {
        let rate =
            format!(" The rate that was asked for, {rate:.0} per second, is above this chart.");
        note.push_str(&rate);
    }
    note
}

/// Maps times to the horizontal axis of a plot.
struct TimeFrame {
    /// Start of the axis, in milliseconds since the Unix epoch.
    from: i64,
    /// Length of the axis, in milliseconds.
    length: u64,
    bar_width: f64,
}

impl TimeFrame {
    /// Returns the frame that ends with the run, within the last bar; if the clock was set back,
    /// with the last bar.
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
        Self {
            from,
            length,
            bar_width: real(series.bar_ms) / real(length) * SIZE,
        }
    }

    /// Returns the horizontal position of a time, in units of the plot.
    fn position(&self, ms: i64) -> f64 {
        let after = u64::try_from(ms.saturating_sub(self.from)).unwrap_or(0);
        (real(after) / real(self.length) * SIZE).min(SIZE)
    }

    /// Returns the times at the start, in the middle and at the end; fewer for a run that is too
    /// short for different ones.
    fn ticks(&self) -> Vec<PageTime> {
        let ticks = [0, self.length / 2, self.length].map(|after| {
            let ms = self
                .from
                .saturating_add(i64::try_from(after).unwrap_or(i64::MAX));
            PageTime::of(Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX))
        });
        let mut ticks = Vec::from(ticks);
        ticks.dedup_by(|tick, before| tick.clock == before.clock);
        ticks
    }

    fn span(&self, span: Span, class: &'static str, label: &str) -> SpanShape {
        let x = self.position(span.from.as_millisecond());
        let width = real(span.lasted_ms) / real(self.length) * SIZE;
        let width = width.clamp(MIN_SPAN_WIDTH, (SIZE - x).max(MIN_SPAN_WIDTH));
        let at = PageTime::of(span.from);
        SpanShape {
            class,
            x: format!("{x:.1}"),
            width: format!("{width:.1}"),
            title: format!("{label} for {} from {}", duration(span.lasted_ms), at.utc),
        }
    }

    fn bar(&self, index: u64, bar: Bar, bar_seconds: f64, axis: &AxisY) -> StackedBar {
        let x = (real(index) * self.bar_width).min(SIZE - MIN_SPAN_WIDTH);
        let width = (self.bar_width * BAR_FILL).min(SIZE - x).max(0.5);
        let bad = axis.height(real(bar.not_applied) / bar_seconds);
        let good = axis.height(real(bar.applied) / bar_seconds);
        let mut parts = Vec::new();
        for (class, y, height) in [
            ("failed", SIZE - bad, bad),
            ("applied", SIZE - bad - good, good),
        ] {
            if height > 0.0 {
                parts.push(BarPart {
                    class,
                    y: format!("{y:.1}"),
                    height: format!("{height:.1}"),
                });
            }
        }
        StackedBar {
            x: format!("{x:.1}"),
            width: format!("{width:.1}"),
            title: format!(
                "{} applied, {} need attention, {} requests",
                bar.applied, bar.not_applied, bar.requests
            ),
            parts,
        }
    }

    /// Returns the points of a line that stays level within each bar.
    fn request_line(&self, bars: &[Bar], bar_seconds: f64, axis: &AxisY) -> String {
        let points = bars.iter().zip(0..).map(|(bar, index)| {
            let x = real(index) * self.bar_width;
            let end = (x + self.bar_width).min(SIZE);
            let y = SIZE - axis.height(real(bar.requests) / bar_seconds);
            format!("{x:.1},{y:.1} {end:.1},{y:.1}")
        });
        points.collect::<Vec<_>>().join(" ")
    }

    /// Returns the line of the rate that was asked for, from the last start of the run.
    fn rate_line(&self, asked: f64, rate: Rate, summary: &Summary, axis: &AxisY) -> RateLine {
        let start = match summary.runs.last() {
            Some(run) if summary.runs.len() > 1 => self.position(run.at.as_millisecond()),
            _ => 0.0,
        };
        let decimals = usize::from(asked.fract() > 0.0);
        let label = match rate {
            Rate::Auto { .. } => format!("highest rate allowed: {asked:.0} per second"),
            Rate::Limited { .. } | Rate::Unlimited => {
                format!("rate that was asked for: {asked:.decimals$} per second")
            }
        };
        RateLine {
            x: format!("{start:.1}"),
            y: format!("{:.1}", SIZE - axis.height(asked)),
            label,
        }
    }
}

/// The chart of how long answers took.
#[derive(Template)]
#[template(path = "report/latencies.html")]
struct LatencyChart {
    y: AxisY,
    x: Vec<String>,
    bars: Vec<LatencyBar>,
    marks: [LatencyMark; 2],
    note: String,
}

struct LatencyBar {
    x: String,
    y: String,
    width: String,
    height: String,
    title: String,
}

struct LatencyMark {
    class: &'static str,
    x: String,
    label: String,
}

/// Returns the chart of how long answers took, as HTML. Its last column is for all that were slower
/// than the others.
pub(super) fn latencies(latency: &Latency) -> Option<String> {
    let columns = &latency.histogram;
    let highest = columns.iter().map(|(_, count)| *count).max()?;
    // Answers are counted in whole numbers.
    let axis = AxisY::up_to(real(highest).max(MAX_INTERVALS));
    let width = SIZE / real(columns.len() as u64);
    let mut bars = Vec::new();
    for (index, (up_to, count)) in columns.iter().enumerate() {
        let height = axis.height(real(*count));
        bars.push(LatencyBar {
            x: format!("{:.1}", real(index as u64) * width),
            y: format!("{:.1}", SIZE - height),
            width: format!("{:.1}", width * BAR_FILL),
            height: format!("{height:.1}"),
            title: format!("{} answers within {} ms", grouped(*count), whole_ms(*up_to)),
        });
    }
    let mark = |class, label: &str, value: u64| {
        let column = columns.iter().position(|(up_to, _)| *up_to >= value);
        let x = (real(column.unwrap_or(0) as u64) + BAR_FILL / 2.0) * width;
        LatencyMark {
            class,
            x: format!("{x:.1}"),
            label: format!("{label} {} ms", grouped(whole_ms(value))),
        }
    };
    let mut ticks = vec![columns[0].0, columns[columns.len() / 2].0, latency.max_ms];
    ticks.dedup();
    let chart = LatencyChart {
        y: axis,
        x: ticks
            .into_iter()
            .map(|ms| format!("{} ms", grouped(whole_ms(ms))))
            .collect(),
        bars,
        marks: [
            mark("median", "half within", latency.p50_ms),
            mark("slow", "99 % within", latency.p99_ms),
        ],
        note: format!(
            "90 % within {} ms, 95 % within {} ms, the slowest {} ms. The last column holds all \
             slower answers.",
            grouped(whole_ms(latency.p90_ms)),
            grouped(whole_ms(latency.p95_ms)),
            grouped(whole_ms(latency.max_ms)),
        ),
    };
    chart.render().ok()
}

/// Rounds a latency up to at least 1 ms: whole milliseconds are counted, and no answer takes no
/// time.
fn whole_ms(ms: u64) -> u64 {
    ms.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(bars: usize) -> Series {
        Series {
            bars: vec![Bar::default(); bars],
            ..Series::starting(Timestamp::UNIX_EPOCH)
        }
    }

    fn frame(bars: usize, ended_ms: i64) -> TimeFrame {
        let ended = Timestamp::from_millisecond(ended_ms).unwrap();
        TimeFrame::of(&series(bars), ended)
    }

    #[test]
    fn time_axis_ends_with_the_run() {
        for (bars, ended_ms) in [(3, 2001), (3, 2500), (3, 9000), (1, 9)] {
            let length = frame(bars, ended_ms).length;
            assert_eq!(i64::try_from(length).unwrap(), ended_ms);
        }
    }

    #[test]
    fn time_axis_ends_with_the_last_bar_after_the_clock_was_set_back() {
        let lengths = [(3, 2000), (3, -50), (1, 0)].map(|(bars, ended)| frame(bars, ended).length);
        assert_eq!(lengths, [3000, 3000, 1000]);
    }

    #[test]
    fn last_bar_fits_into_the_plot() {
        let bar = Bar {
            applied: 1,
            ..Bar::default()
        };
        for ended in [2001, 2500, 9000] {
            let shape = frame(3, ended).bar(2, bar, 1.0, &AxisY::up_to(1.0));
            let x: f64 = shape.x.parse().unwrap();
            let width: f64 = shape.width.parse().unwrap();
            assert!(x + width <= SIZE && width > 0.4, "{x} {width}");
        }
    }

    #[test]
    fn axis_has_round_numbers_and_reaches_the_highest_value() {
        for (highest, labels) in [
            (1.0, &["1.0", "0.8", "0.6", "0.4", "0.2", "0"][..]),
            (10.0, &["10", "8", "6", "4", "2", "0"]),
            (140.0, &["150", "100", "50", "0"]),
            (
                23_000.0,
                &["25,000", "20,000", "15,000", "10,000", "5,000", "0"],
            ),
        ] {
            let axis = AxisY::up_to(highest);
            assert_eq!(axis.labels, labels);
            assert!(axis.top >= highest && axis.grid.len() == labels.len() - 1);
        }
    }
}
