//! What is known about the stream that text is shown on: whether it may be coloured, and at which
//! width it wraps.

use std::io::IsTerminal;
use std::sync::OnceLock;

use console::{Style, Term, measure_text_width};

use crate::config::ColorChoice;

/// The choice of `--color` for this process.
static CHOICE: OnceLock<ColorChoice> = OnceLock::new();

/// Sets the choice of `--color` for everything that is shown from now on. Only the first call has
/// an effect.
pub(crate) fn choose_color(choice: ColorChoice) {
    let _ = CHOICE.set(choice);
}

/// The properties of a stream that decide how text is shown on it.
#[derive(Clone, Copy, Debug)]
pub struct Screen<'a> {
    /// Whether the stream is a terminal.
    pub terminal: bool,
    /// Whether the terminal, if it is one, understands escape sequences.
    pub has_escapes: bool,
    /// The variable `TERM`.
    pub term: Option<&'a str>,
    /// The variable `NO_COLOR`; anything but an empty text asks for no colour (no-color.org).
    pub no_color: Option<&'a str>,
    /// The choice of `--color`, which overrides the variables.
    pub color: ColorChoice,
}

impl Screen<'_> {
    /// Checks whether a line can be drawn over.
    pub(super) fn can_redraw(&self) -> bool {
        self.terminal && self.term != Some("dumb")
    }

    /// Checks whether text may be coloured.
    #[must_use]
    pub fn has_color(&self) -> bool {
        if self.terminal && !self.has_escapes {
            return false;
        }
        match self.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => self.can_redraw() && self.no_color.unwrap_or_default().is_empty(),
        }
    }
}

/// Calls `ask` with the properties of standard error.
pub(crate) fn with_screen<T>(ask: impl FnOnce(Screen<'_>) -> T) -> T {
    with_stream(&Term::stderr(), std::io::stderr().is_terminal(), ask)
}

fn with_stream<T>(term: &Term, terminal: bool, ask: impl FnOnce(Screen<'_>) -> T) -> T {
    let kind = std::env::var("TERM").ok();
    let no_color = std::env::var("NO_COLOR").ok();
    ask(Screen {
        terminal,
        has_escapes: has_escapes(term),
        term: kind.as_deref(),
        no_color: no_color.as_deref(),
        color: CHOICE.get().copied().unwrap_or_default(),
    })
}

/// Checks whether a terminal understands escape sequences. A console of Windows is asked to do so
/// here, and very old ones can't. (console does not ask one if `NO_COLOR` is set; there is no
/// colour then, even with `--color always`.)
pub(super) fn has_escapes(term: &Term) -> bool {
    !cfg!(windows) || term.features().colors_supported()
}

/// The way in which text is laid out and coloured.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Whether there is colour.
    pub color: bool,
    /// The number of columns at which lines wrap; `None` for no wrapping.
    pub width: Option<usize>,
}

impl Look {
    /// Text for a file or a pipe.
    #[cfg(test)]
    pub const PLAIN: Self = Self {
        color: false,
        width: None,
    };

    /// Returns the look of text on standard output.
    #[must_use]
    pub fn of_standard_output() -> Self {
        Self::of_stream(&Term::stdout())
    }

    /// Returns the look of text on standard error.
    #[must_use]
    pub fn of_standard_error() -> Self {
        Self::of_stream(&Term::stderr())
    }

    fn of_stream(term: &Term) -> Self {
        let width = term.size_checked().map(|(_, columns)| usize::from(columns));
        Self {
            color: with_stream(term, term.is_term(), |screen| screen.has_color()),
            width: width.filter(|width| *width > 0),
        }
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.paint(text, Style::new().bold())
    }

    pub(super) fn red(self, text: &str) -> String {
        self.paint(text, Style::new().red())
    }

    pub(super) fn green(self, text: &str) -> String {
        self.paint(text, Style::new().green())
    }

    pub(super) fn yellow(self, text: &str) -> String {
        self.paint(text, Style::new().yellow())
    }

    pub(super) fn cyan(self, text: &str) -> String {
        self.paint(text, Style::new().cyan())
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.paint(text, Style::new().dim())
    }

    fn paint(self, text: &str, style: Style) -> String {
        style.force_styling(self.color).apply_to(text).to_string()
    }

    /// Wraps a line between words. Further lines begin with `indent` spaces. A word that is too
    /// wide stays whole.
    #[must_use]
    pub fn wrap(self, line: &str, indent: usize) -> String {
        let Some(width) = self.width else {
            return line.to_owned();
        };
        let mut wrapped = String::new();
        let mut column = 0;
        for word in line.split_inclusive(' ') {
            let end = column + measure_text_width(word.trim_end_matches(' '));
            if end > width && column > indent {
                wrapped.truncate(wrapped.trim_end_matches(' ').len());
                wrapped.push('\n');
                wrapped.push_str(&" ".repeat(indent));
                column = indent;
            }
            wrapped.push_str(word);
            column += measure_text_width(word);
        }
        wrapped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(width: usize) -> Look {
        Look {
            color: true,
            width: Some(width),
        }
    }

    #[test]
    fn lines_wrap_between_words_and_long_words_stay_whole() {
        assert_eq!(
            at(12).wrap("note: one two three", 6),
            "note: one\n      two\n      three"
        );
        assert_eq!(
            at(4).wrap("abc /very/long/path b", 2),
            "abc\n  /very/long/path\n  b"
        );
        assert_eq!(at(40).wrap("  rows      3", 12), "  rows      3");
        assert_eq!(Look::PLAIN.wrap("one two", 0), "one two");
    }

    #[test]
    fn colour_takes_no_width_when_a_line_wraps() {
        let red = at(7).red("one");
        assert_eq!(at(7).wrap(&format!("{red} two"), 0), format!("{red} two"));
    }

    #[test]
    fn color_option_overrides_terminal_and_no_color() {
        let screen = |color, terminal, no_color| Screen {
            terminal,
            has_escapes: true,
            term: Some("xterm"),
            no_color,
            color,
        };
        assert!(screen(ColorChoice::Always, false, Some("1")).has_color());
        assert!(!screen(ColorChoice::Never, true, None).has_color());
        assert!(screen(ColorChoice::Auto, true, None).has_color());
        assert!(!screen(ColorChoice::Auto, true, Some("1")).has_color());
        assert!(!screen(ColorChoice::Auto, false, None).has_color());
    }

    #[test]
    fn a_terminal_without_escape_sequences_has_no_color_and_a_file_may_have() {
        for (terminal, has_color) in [(true, false), (false, true)] {
            let screen = Screen {
                terminal,
                has_escapes: false,
                term: None,
                no_color: None,
                color: ColorChoice::Always,
            };
            assert_eq!(screen.has_color(), has_color);
        }
    }
}
