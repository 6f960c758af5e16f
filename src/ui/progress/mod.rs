//! Shows a run while it goes on: a bar, plain lines, JSON lines, or nothing. The only room that prints during a run;
//! whatever becomes of the terminal, the run goes on, so that errors of writing are dropped on purpose.

mod json;
mod out;
mod state;
mod words;

use std::time::Duration;

use console::Term;
use jiff::Timestamp;

use self::out::Out;
use crate::config::{LogFormat, Logging, Volume};
use crate::domain::Event;
use crate::domain::Wait;
use crate::text::rough;

pub use state::State;
pub use words::{bar, line};

/// How often the bar is drawn at most.
const FRAME: Duration = Duration::from_millis(100);
/// How often there is a line where there is no bar.
const PERIOD: Duration = Duration::from_secs(10);

/// The form that progress takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A bar that is drawn over and over.
    Bar {
        /// Whether it is coloured.
        colour: bool,
    },
    /// A line every ten seconds.
    Lines,
    /// JSON lines.
    Json,
    /// Nothing.
    Silent,
}

/// What is so about standard error and the wishes of whoever looks at it.
#[derive(Clone, Copy, Debug)]
pub struct Screen<'a> {
    /// Whether it is a terminal.
    pub terminal: bool,
    /// The variable `TERM`.
    pub term: Option<&'a str>,
    /// The variable `NO_COLOR`; anything but an empty text asks for no colour (no-color.org).
    pub no_color: Option<&'a str>,
}

impl Style {
    /// The form that suits what was asked for and where it is shown.
    #[must_use]
    pub fn choose(talk: Logging, screen: Screen<'_>) -> Self {
        match (talk.volume, talk.format) {
            (Volume::Quiet, _) => Self::Silent,
            (_, LogFormat::Json) => Self::Json,
            _ if !screen.can_draw() => Self::Lines,
            _ => Self::Bar {
                colour: screen.has_colour(),
            },
        }
    }
}

impl Screen<'_> {
    fn can_draw(self) -> bool {
        self.terminal && self.term != Some("dumb")
    }

    /// Whether there may be colour.
    #[must_use]
    pub fn has_colour(&self) -> bool {
        self.can_draw() && self.no_color.unwrap_or_default().is_empty()
    }
}

/// A pause that is always told of.
const LONG: Duration = Duration::from_secs(5);

/// Shows a run while it goes on.
#[derive(Debug)]
pub struct Progress {
    style: Style,
    verbose: bool,
    began: Timestamp,
    state: State,
    next_frame: Duration,
    next_line: Duration,
    next_pause: Duration,
    /// The last pause that was told of: the engine may come to the same one again and again.
    told: Option<(Wait, Duration)>,
    out: Out,
}

impl Progress {
    /// A view on a run of `rows` rows that `began` at this time of day.
    #[must_use]
    pub fn new(style: Style, volume: Volume, rows: u64, began: Timestamp) -> Self {
        Self {
            style,
            verbose: volume == Volume::Verbose,
            began,
            state: State::of(rows),
            next_frame: Duration::ZERO,
            next_line: PERIOD,
            next_pause: Duration::ZERO,
            told: None,
            out: Out::standard_error(),
        }
    }

    /// Takes in what happened, `now` since the run began, and shows it when it is time to.
    pub fn on(&mut self, now: Duration, event: &Event<'_>) {
        self.state.on(now, event);
        if !self.is_news(event) {
            return self.tick(now);
        }
        match self.style {
            Style::Json if self.worth_a_line(event) => {
                if let Some(line) = json::event(&self.state, self.began, now, event) {
                    self.out.line(&line);
                }
            }
            Style::Lines | Style::Bar { .. } => self.say(now, event),
            Style::Json | Style::Silent => {}
        }
        self.tick(now);
    }

    /// Shows the state when it is time to. Called several times a second, it keeps a countdown going.
    pub fn tick(&mut self, now: Duration) {
        match self.style {
            Style::Bar { colour } if now >= self.next_frame => {
                self.next_frame = now + FRAME;
                // One column is kept free: some terminals wrap when the last one is written to.
                let width = usize::from(Term::stderr().size().1)
                    .saturating_sub(1)
                    .max(1);
                self.out.bar(bar(&self.state, now, width, colour));
            }
            Style::Lines if now >= self.next_line => {
                self.next_line = now + PERIOD;
                self.out.line(&line(&self.state, now));
            }
            Style::Json if now >= self.next_line => {
                self.next_line = now + PERIOD;
                self.out.line(&json::progress(&self.state, self.began, now));
            }
            Style::Bar { .. } | Style::Lines | Style::Json | Style::Silent => {}
        }
    }

    /// Takes the bar away, so that what follows stands on a clean line.
    pub fn finish(&mut self) {
        self.out.finish();
    }

    /// The figures so far.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    fn is_news(&mut self, event: &Event<'_>) -> bool {
        match event {
            Event::Waiting {
                why: Wait::Pace, ..
            } => false,
            Event::Waiting { why, until } => {
                self.told.replace((*why, *until)) != Some((*why, *until))
            }
            _ => true,
        }
    }

    fn worth_a_line(&self, event: &Event<'_>) -> bool {
        match event {
            Event::Recorded(record) => self.verbose || record.outcome.is_failure(),
            _ => true,
        }
    }

    /// What is said in words besides the regular line: rows for those who asked for them, and, where no bar shows it,
    /// that the run is held back or goes on.
    fn say(&mut self, now: Duration, event: &Event<'_>) {
        let lines = self.style == Style::Lines;
        let words = match event {
            Event::Recorded(record) if self.verbose => words::row(record),
            Event::OutageBegan if lines => {
                "the Org stopped answering; probing until it is back".to_owned()
            }
            Event::OutageOver { lasted } if lines => {
                format!("the Org is back after {}", rough(*lasted))
            }
            // Of rows that wait for another try the regular line tells.
            Event::Waiting { why, until }
                if lines && *why != Wait::Retry && self.is_worth_saying(now, *until) =>
            {
                match words::waiting(&self.state, now) {
                    Some(words) => words,
                    None => return,
                }
            }
            // How it ended is the closing summary's to say.
            _ => return,
        };
        self.out.line(&words);
    }

    /// A long pause always is. Of short ones, one in a period: an Org that throttles often would fill the log.
    fn is_worth_saying(&mut self, now: Duration, until: Duration) -> bool {
        let worth = until >= now + LONG || now >= self.next_pause;
        if worth {
            self.next_pause = now + PERIOD;
        }
        worth
    }
}

#[cfg(test)]
mod tests;
