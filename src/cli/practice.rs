//! What a practice Org can be told to be like; shared by `sandbox` and by `--sandbox` of the other commands.

use std::ffi::OsString;
use std::ops::Range;
use std::time::Duration;

use clap::Args;
use jiff::SignedDuration;

use crate::domain::Rate;
use crate::settings::values;

/// A stretch of time, counted from the start of the practice Org.
pub type Window = Range<Duration>;

/// Largest number of members: IDs are below 2^63.
const MAX_MEMBERS: u64 = i64::MAX.unsigned_abs();

/// What a practice Org is like.
#[derive(Clone, Debug, PartialEq, Args)]
#[command(next_help_heading = "Practice Org")]
pub struct PracticeArgs {
    /// Number of users; their IDs are 1 to N [default: 20000].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MAX_MEMBERS))]
    pub members: Option<u64>,
    /// Time that each answer takes [default: 0s].
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub latency: Option<Duration>,
    /// Requests served per second; further ones get 429 [default: no limit].
    #[arg(long, value_name = "N/s", value_parser = per_second)]
    pub rate_limit: Option<u32>,
    /// Percentage of answers that are a server error: 500, 502, 503 or 504 [default: 0].
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub error_percent: Option<f64>,
    /// Percentage of answers that are a 429 with Retry-After [default: 0].
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub throttle_percent: Option<f64>,
    /// Period after its start in which it answers 503, such as 10s..40s [default: none].
    #[arg(long, value_name = "FROM..TO", value_parser = window)]
    pub outage: Option<Window>,
    /// Lifetime of a session token [default: 15m].
    #[arg(long, value_name = "TIME", value_parser = values::positive_duration)]
    pub token_life: Option<Duration>,
}

impl PracticeArgs {
    /// The first option that was given, such as `--latency`.
    pub(super) fn first_given(&self) -> Option<&'static str> {
        self.options().next().map(|(option, _)| option)
    }

    /// The words that say the same on another command line.
    #[must_use]
    pub fn typed(&self) -> Vec<OsString> {
        self.options()
            .flat_map(|(option, value)| [option.into(), value.into()])
            .collect()
    }

    fn options(&self) -> impl Iterator<Item = (&'static str, String)> {
        let options = [
            ("--members", self.members.map(|members| members.to_string())),
            ("--latency", self.latency.map(time)),
            (
                "--rate-limit",
                self.rate_limit.map(|requests| format!("{requests}/s")),
            ),
            (
                "--error-percent",
                self.error_percent.map(|share| share.to_string()),
            ),
            (
                "--throttle-percent",
                self.throttle_percent.map(|share| share.to_string()),
            ),
            (
                "--outage",
                self.outage
                    .clone()
                    .map(|Range { start, end }| format!("{}..{}", time(start), time(end))),
            ),
            ("--token-life", self.token_life.map(time)),
        ];
        options
            .into_iter()
            .filter_map(|(option, value)| Some((option, value?)))
    }
}

/// A time as it may be typed, and to the nanosecond the same one.
fn time(time: Duration) -> String {
    SignedDuration::try_from(time).map_or_else(
        |_| format!("{}s", time.as_secs()),
        |time| format!("{time:#}"),
    )
}

/// Parses an API key: visible ASCII characters, because it travels in a header.
pub(super) fn key(text: &str) -> Result<String, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err("write letters, digits and signs, without spaces".to_owned())
    }
}

fn per_second(text: &str) -> Result<u32, String> {
    match values::rate(text)? {
        Rate::Limited { requests, per } if per == Duration::from_secs(1) => Ok(requests),
        _ => Err("write requests a second, such as 20/s".to_owned()),
    }
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.trim().trim_end_matches('%').trim_end().parse().ok();
    number
        .filter(|share| (0.0..=100.0).contains(share))
        .ok_or_else(|| "write a number from 0 to 100".to_owned())
}

fn window(text: &str) -> Result<Window, String> {
    const HOW: &str = "write when it begins and when it ends, such as 10s..40s";
    let (from, to) = text.split_once("..").ok_or_else(|| HOW.to_owned())?;
    let window = values::duration(from)?..values::duration(to)?;
    if window.is_empty() {
        Err(format!("it must end after it begins; {HOW}"))
    } else {
        Ok(window)
    }
}
