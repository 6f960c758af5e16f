//! The end of a run: its last record, the report and everything that is made from it, and what the person is told.

use std::fs::File;
use std::path::Path;

use super::target::Target;
use super::{now, say, shown};
use crate::domain::{Ending, Outcome, Tally};
use crate::engine::Sent;
use crate::error::{Error, Exit, Kind, Result};
use crate::report::{self, Journal, Paths, Stop, Summary};
use crate::screen::{ClosingView, ending_text};
use crate::settings::Settings;

/// What the end of a run works with.
pub(super) struct Closing<'a> {
    pub(super) settings: &'a Settings,
    pub(super) paths: &'a Paths,
    /// Rows of the input.
    pub(super) rows: u64,
    pub(super) target: &'a Target,
}

impl Closing<'_> {
    /// Puts the end on record, makes the report if every row has its outcome, and says what came of it.
    pub(super) fn close(&self, mut journal: Journal<File>, sent: Sent) -> Result<Exit> {
        let whole = journal.recorded() == self.rows;
        if sent.ending == Ending::Complete && !whole {
            return Err(self.unbalanced(journal.recorded()));
        }
        // A limit that is reached with the last row has nothing left to stop.
        let ending = if whole { Ending::Complete } else { sent.ending };
        let exit = Exit::of_run(&ending, &sent.tally);
        let (words, _) = ending_text(&ending, &sent.tally);
        journal.stop(&Stop { at: now(), traffic: sent.traffic, ending: words, exit_code: exit.code() })?;
        let (summary, place) = if whole {
            (self.finished(journal)?, &self.paths.report)
        } else {
            (self.stopped(journal, exit)?, &self.paths.partial)
        };
        if let Some(metrics) = &self.settings.outputs.metrics {
            self.besides(report::write_metrics(metrics, &summary));
        }
        let closing = ClosingView {
            ending: &ending,
            tally: &sent.tally,
            requests: sent.traffic.requests,
            retries: sent.traffic.retries,
            elapsed: sent.elapsed,
            throttled: sent.traffic.throttled(),
            settled: sent.traffic.rate_per_second,
            groups: &summary.failures,
            next: self.next_command(exit, &sent.tally),
            report: if place.exists() { shown(place) } else { "none, for no row came to an outcome".to_owned() },
        };
        say::closing(self.settings, &closing, exit);
        Ok(exit)
    }

    fn finished(&self, journal: Journal<File>) -> Result<Summary> {
        let outputs = &self.settings.outputs;
        let summary = report::finish(journal, self.paths, self.rows, outputs.overwrite)?;
        if let Some(page) = &outputs.html {
            self.besides(report::write_page(page, &summary, &self.paths.report));
        }
        Ok(summary)
    }

    fn stopped(&self, mut journal: Journal<File>, exit: Exit) -> Result<Summary> {
        let summary = report::summarize(&mut journal)?;
        if let Some(page) = &self.settings.outputs.html {
            self.besides(report::write_page_so_far(page, &summary, &journal));
        }
        if matches!(exit, Exit::NothingChanged | Exit::CredentialsRefused) {
            journal.discard_if_empty()?;
        }
        Ok(summary)
    }

    /// Says that a page or metrics could not be written. What came of the rows is not changed by that.
    fn besides(&self, written: Result<()>) {
        if let Err(error) = written {
            say::error(self.settings.talk.format, &error);
        }
    }

    /// The law of the report is broken, and nobody may believe otherwise.
    fn unbalanced(&self, recorded: u64) -> Error {
        let (rows, partial) = (self.rows, shown(&self.paths.partial));
        Error::new(
            Kind::MidRun,
            format!("the books do not balance: {rows} rows were planned, {recorded} are on record"),
        )
        .help(format!("{partial} is kept as it is; please report this as a fault of mfa-optout"))
    }

    /// What to type next, where that is plain.
    fn next_command(&self, exit: Exit, tally: &Tally) -> Option<String> {
        let to_retry = tally.count(Outcome::Failed) + tally.count(Outcome::Unknown);
        match exit {
            Exit::Done | Exit::NothingChanged | Exit::Busy => None,
            Exit::RowsNeedAttention if to_retry == 0 => None,
            Exit::RowsNeedAttention => {
                let report = quoted(&self.paths.report.to_string_lossy());
                Some(format!("mfa-optout retry {report} {}", self.target.option()))
            }
            Exit::CredentialsRefused | Exit::StoppedEarly | Exit::Interrupted | Exit::Terminated => {
                // `--fresh` would start over instead of going on.
                let words = std::env::args_os().filter(|word| word != "--fresh").enumerate();
                Some(words.map(word_of_this_command).collect::<Vec<_>>().join(" "))
            }
        }
    }
}

/// The words of this very command; the program by its name, however it was found.
fn word_of_this_command((place, word): (usize, std::ffi::OsString)) -> String {
    let name = Path::new(&word).file_name().filter(|_| place == 0).unwrap_or(&word);
    quoted(&name.to_string_lossy())
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=@%+,~".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_take_them_apart() {
        assert_eq!(quoted("users.csv"), "users.csv");
        assert_eq!(quoted("all users.csv"), "'all users.csv'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
