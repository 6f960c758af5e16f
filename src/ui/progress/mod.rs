//! Shows a run in progress: a bar, plain lines, JSON lines, or nothing. This is the only module
//! that prints during a run. Errors of writing are ignored on purpose, because the run goes on
//! without its terminal.

mod json;
mod output;
mod state;
mod words;

use std::time::Duration;

use console::Term;
use jiff::Timestamp;

use self::output::ProgressOutput;
use super::screen::{Look, Screen};
use crate::config::{LogFormat, Logging, Volume};
use crate::domain::{Event, RowLabels, Wait};
use crate::text::rough;

pub use state::ProgressState;
pub use words::{bar, line};

/// Minimum time between two frames of the bar.
const FRAME: Duration = Duration::from_millis(100);
/// Time between two regular lines, where there is no bar.
const PERIOD: Duration = Duration::from_secs(10);

/// The form in which progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A bar that is redrawn in place.
    Bar {
        /// Whether the bar is coloured.
        color: bool,
    },
    /// A line every ten seconds.
    Lines,
    /// JSON lines.
    Json,
    /// Nothing.
    Silent,
}

impl Style {
    /// Chooses the form for the given options and screen.
    #[must_use]
    pub fn choose(logging: Logging, screen: Screen<'_>) -> Self {
        match (logging.volume, logging.format) {
            (Volume::Quiet, _) => Self::Silent,
            (_, LogFormat::Json) => Self::Json,
            _ if !screen.can_redraw() => Self::Lines,
            _ => Self::Bar {
                color: screen.has_color(),
            },
        }
    }
}

/// Length from which a pause is always reported.
const LONG: Duration = Duration::from_secs(5);

/// The view of a run in progress.
#[derive(Debug)]
pub struct Progress {
    style: Style,
    verbose: bool,
    began: Timestamp,
    labels: RowLabels,
    state: ProgressState,
    next_frame: Duration,
    next_line: Duration,
    next_pause: Duration,
    /// The last pause that was reported. The engine may report the same pause repeatedly.
    last_pause: Option<(Wait, Duration)>,
    output: ProgressOutput,
}

impl Progress {
    /// Creates the view of a run that `began` at this time of day. `labels` name its rows.
    #[must_use]
    pub fn new(
        style: Style,
        volume: Volume,
        began: Timestamp,
        state: ProgressState,
        labels: RowLabels,
    ) -> Self {
        Self {
            style,
            verbose: volume == Volume::Verbose,
            began,
            labels,
            state,
            next_frame: Duration::ZERO,
            next_line: PERIOD,
            next_pause: Duration::ZERO,
            last_pause: None,
            output: ProgressOutput::standard_error(),
        }
    }

    /// Updates the view after an event, `now` since the run began.
    pub fn on(&mut self, now: Duration, event: &Event<'_>) {
        self.state.update(now, event);
        if !self.is_news(event) {
            return self.tick(now);
        }
        match self.style {
            Style::Json if self.needs_line(event) => {
                let label = self.label(event);
                if let Some(line) = json::event(&self.state, self.began, (now, event), &label) {
                    self.output.line(&line);
                }
            }
            Style::Lines | Style::Bar { .. } => self.report(now, event),
            Style::Json | Style::Silent => {}
        }
        self.tick(now);
    }

    /// Shows the state if it is due. Called several times a second, so that countdowns go on.
    pub fn tick(&mut self, now: Duration) {
        match self.style {
            Style::Bar { color } if now >= self.next_frame => {
                self.next_frame = now + FRAME;
                // Some terminals wrap when the last column is written to.
                let width = usize::from(Term::stderr().size().1)
                    .saturating_sub(1)
                    .max(1);
                let look = Look { color, width: None };
                self.output.bar(bar(&self.state, now, width, look));
            }
            Style::Lines if now >= self.next_line => {
                self.next_line = now + PERIOD;
                self.output.line(&line(&self.state, now));
            }
            Style::Json if now >= self.next_line => {
                self.next_line = now + PERIOD;
                self.output
                    .line(&json::progress(&self.state, self.began, now));
            }
            Style::Bar { .. } | Style::Lines | Style::Json | Style::Silent => {}
        }
    }

    /// Removes the bar, so that further output begins on a clean line.
    pub fn finish(&mut self) {
        self.output.finish();
    }

    fn is_news(&mut self, event: &Event<'_>) -> bool {
        match event {
            Event::Waiting {
                why: Wait::Pace, ..
            } => false,
            Event::Waiting { why, until } => {
                self.last_pause.replace((*why, *until)) != Some((*why, *until))
            }
            _ => true,
        }
    }

    fn needs_line(&self, event: &Event<'_>) -> bool {
        match event {
            Event::Recorded { record, .. } => self.verbose || record.outcome.is_failure(),
            _ => true,
        }
    }

    /// Returns ID and name of the user that an event is about; empty for other events.
    fn label(&self, event: &Event<'_>) -> String {
        match event {
            Event::Recorded { cells, .. } => self.labels.label(cells),
            _ => String::new(),
        }
    }

    /// Prints a line about an event: with `--verbose` about every row, and without a bar about
    /// pauses and outages.
    fn report(&mut self, now: Duration, event: &Event<'_>) {
        let lines = self.style == Style::Lines;
        let words = match event {
            Event::Recorded { record, .. } if self.verbose => {
                words::row(record, &self.label(event))
            }
            Event::OutageBegan if lines => {
                "the Org stopped responding; probing until it is back".to_owned()
            }
            Event::OutageOver { lasted } if lines => {
                format!("the Org is back after {}", rough(*lasted))
            }
            // The regular line shows rows that wait for a retry.
            Event::Waiting { why, until }
                if lines && *why != Wait::Retry && self.is_worth_reporting(now, *until) =>
            {
                match words::waiting(&self.state, now) {
                    Some(words) => words,
                    None => return,
                }
            }
            // The closing summary says how the run ended.
            _ => return,
        };
        self.output.line(&words);
    }

    /// Checks whether a pause is reported: a long one always, a short one at most once in a period,
    /// so that an Org that throttles often does not fill the log.
    fn is_worth_reporting(&mut self, now: Duration, until: Duration) -> bool {
        let is_worth_reporting = until >= now + LONG || now >= self.next_pause;
        if is_worth_reporting {
            self.next_pause = now + PERIOD;
        }
        is_worth_reporting
    }
}

#[cfg(test)]
mod tests;
