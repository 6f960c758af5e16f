//! The end of a run: its last record, the report and everything that is made from it, and the
//! closing summary.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::Builder;

use futures::StreamExt;
use futures::channel::oneshot;
use futures::stream::BoxStream;
use jiff::Timestamp;
use roaring::RoaringTreemap;

use super::outputs::{ExtraOutputs, is_stream};
use super::registered::RegisterRun;
use crate::config::{CliOverrides, Form, Key, Settings};
use crate::domain::{Ending, Outcome, Signal, Tally};
use crate::engine::Sent;
use crate::error::{Error, Exit, Kind, Result};
use crate::journal::{Identity, Journal, Paths, RowResults, Stop};
use crate::report::{
    self, Completion, ExceptionFigures, Group, RunPageContext, Span, Summary, SyncOverview,
    Unfinished,
};
use crate::text::{command_line, path_word, visible_path};
use crate::ui::say::{self, now};
use crate::ui::{ClosingView, ending_text};

/// Everything that the end of a run needs.
pub(super) struct Closing {
    pub(super) settings: Settings,
    pub(super) paths: Paths,
    /// The page and the metrics, if they are wanted.
    pub(super) outputs: ExtraOutputs,
    /// The table as it was given.
    pub(super) table: PathBuf,
    /// Number of rows in the input.
    pub(super) rows: u64,
    /// Identity of the run.
    pub(super) identity: Identity,
    /// Time at which this process began to send.
    pub(super) started: Timestamp,
    /// The options that were given on the command line.
    pub(super) given: CliOverrides,
    /// Whether a signal has arrived since sending ended.
    pub(super) stop: Arc<AtomicBool>,
    /// The register, until the run has ended.
    pub(super) register: Mutex<Option<RegisterRun>>,
    /// Whether people who have left the table are not opted back in because it may not be all of
    /// the list.
    pub(super) is_incomplete: bool,
    /// How the table differs from the register, for the page of a `sync`.
    pub(super) sync: Option<SyncOverview>,
}

impl Closing {
    /// Closes the run and listens for signals. A signal during a long merge ends the merge; running
    /// the same command again then only makes the report.
    pub(super) async fn close_listening(
        self,
        journal: Journal<File>,
        sent: Sent,
        mut signals: BoxStream<'static, Signal>,
    ) -> Result<Exit> {
        let closing = Arc::new(self);
        let recorded = journal.recorded();
        let (done, mut work) = oneshot::channel();
        let begun = {
            let closing = Arc::clone(&closing);
            let sent = sent.clone();
            Builder::new()
                .name("closing".to_owned())
                .spawn(move || done.send(closing.close(journal, &sent)))
        };
        begun.map_err(|error| closing.unfinished(&format!("no thread can be started: {error}")))?;
        // If a first signal has ended the sending, one that arrives now is the second.
        let mut ended_by = match sent.ending {
            Ending::Interrupted(signal) => Some(signal),
            Ending::Complete | Ending::Stopped(_) => None,
        };
        let closed = loop {
            tokio::select! {
                biased;
                closed = &mut work => {
                    break closed.unwrap_or_else(|_| Err(closing.unfinished("it broke off")));
                }
                Some(signal) = signals.next() => {
                    let is_repeated_hang_up = signal == Signal::HangUp && ended_by.is_some();
                    if !is_repeated_hang_up {
                        ended_by.get_or_insert(signal);
                        closing.stop.store(true, Ordering::Relaxed);
                    }
                }
            }
        };
        match (closed, ended_by) {
            (Err(error), Some(signal)) if error.kind() == Kind::Interrupted => {
                Ok(closing.say_interrupted(&sent, signal, recorded))
            }
            (closed, _) => closed,
        }
    }

    /// Prints that a signal has ended the closing. The journal is complete, and the same command
    /// does the rest.
    fn say_interrupted(&self, sent: &Sent, signal: Signal, recorded: u64) -> Exit {
        if recorded == self.rows {
            let line = "every row has its outcome; running the same command again sends nothing \
                and only makes the report";
            say::note(&self.settings, line);
        }
        let exit = Exit::of_signal(signal);
        let ending = Ending::Interrupted(signal);
        let view = ClosingView {
            // The journal was complete before it was read again.
            is_recorded: true,
            ..self.view(sent, &ending, exit, None)
        };
        say::closing(&self.settings, &view, exit);
        exit
    }

    /// Returns the error for a report that could not be made.
    fn unfinished(&self, why: &str) -> Error {
        let partial = visible_path(&self.paths.partial);
        Error::new(Kind::MidRun, format!("the report could not be made: {why}")).help(format!(
            "everything done so far is recorded in {partial}; the same command continues from there"
        ))
    }

    /// Records the end, makes the report if every row has its outcome, and prints the summary.
    fn close(&self, mut journal: Journal<File>, sent: &Sent) -> Result<Exit> {
        let whole = journal.recorded() == self.rows;
        if sent.ending == Ending::Complete && !whole {
            return Err(self.unbalanced(journal.recorded()));
        }
        // A limit that is reached with the last row has nothing left to stop.
        let ending = if whole {
            Ending::Complete
        } else {
            sent.ending.clone()
        };
        let has_changed = sent.tally.count_where(Outcome::may_have_changed) > 0;
        let exit = match Exit::of_run(&ending, &sent.tally) {
            // Nothing may have been changed before an interruption either.
            Exit::NothingChanged if sent.in_doubt || has_changed => Exit::StoppedEarly,
            Exit::Done if self.is_incomplete => Exit::RowsNeedAttention,
            exit => exit,
        };
        let (words, _) = ending_text(&ending, &sent.tally);
        journal.stop(&Stop {
            at: now(),
            traffic: sent.traffic,
            ending: words,
            exit_code: exit.code(),
            in_doubt: sent.rows_in_doubt.iter().collect(),
            closed: false,
        })?;
        let mut register = match self.register.lock() {
            Ok(mut register) => register.take(),
            Err(_) => None,
        };
        let results = match &register {
            Some(_) => journal.results()?,
            None => RowResults::new(),
        };
        let summary = if whole {
            let settle = || match &mut register {
                Some(register) => register.settle(&results, &RoaringTreemap::new()),
                None => Ok(()),
            };
            let Completion { summary, rows, .. } = self.finished(journal, settle)?;
            if let Some(page) = &self.outputs.html {
                let context = self.page_context(exit, &summary, register.as_ref());
                let report = &self.paths.report;
                let rows = rows.as_ref();
                self.warn_on_error(report::write_page(page, &summary, rows, report, &context));
            }
            Some(summary)
        } else {
            if let Some(register) = &mut register {
                register.settle(&results, &sent.rows_in_doubt)?;
            }
            self.stopped(journal, (exit, sent.in_doubt), register.as_ref())?
        };
        let exceptions = register.as_ref().map(RegisterRun::figures);
        self.write_metrics(summary.as_ref(), exit, exceptions);
        // A journal that could not be removed stays named in the lock file, and the next run
        // removes it.
        let is_journal_gone = !self.paths.partial.exists();
        if let (Some(register), true) = (register, whole && is_journal_gone) {
            self.warn_on_error(register.end(&results));
        }
        let view = self.view(sent, &ending, exit, summary.as_ref());
        say::closing(&self.settings, &view, exit);
        Ok(exit)
    }

    /// Returns what is shown at the end of a run.
    fn view<'a>(
        &self,
        sent: &'a Sent,
        ending: &'a Ending,
        exit: Exit,
        summary: Option<&'a Summary>,
    ) -> ClosingView<'a> {
        let groups: &[Group] = match summary {
            Some(summary) => &summary.failures,
            None => &[],
        };
        let outages: &[Span] = match summary {
            Some(summary) => &summary.outages,
            None => &[],
        };
        let whole = *ending == Ending::Complete;
        let place = if whole {
            &self.paths.report
        } else {
            &self.paths.partial
        };
        let report = if place.exists() {
            visible_path(place)
        } else if whole {
            format!("{}, which is not there any more", visible_path(place))
        } else {
            "none, because no row has an outcome".to_owned()
        };
        ClosingView {
            ending,
            is_recorded: summary.is_some(),
            rows_in_doubt: sent.rows_in_doubt.len(),
            not_sent_yet: self
                .rows
                .saturating_sub(sent.tally.total())
                .saturating_sub(sent.rows_in_doubt.len()),
            tally: &sent.tally,
            requests: sent.traffic.requests,
            retries: sent.traffic.retries,
            elapsed: sent.elapsed,
            throttled: sent.traffic.throttled(),
            outages: outages.iter().map(|outage| outage.lasted()).collect(),
            rate: self.settings.sending.rate,
            concurrency: self.settings.sending.concurrency,
            pace: sent.pace,
            groups,
            next: self.next_command(exit, &sent.tally, groups),
            report,
        }
    }

    fn write_metrics(
        &self,
        summary: Option<&Summary>,
        exit: Exit,
        exceptions: Option<ExceptionFigures>,
    ) {
        let Some(metrics) = &self.outputs.metrics else {
            return;
        };
        let written = match summary {
            Some(summary) => report::write_metrics(metrics, summary, exceptions),
            None => report::write_metrics_of_unfinished(
                metrics,
                &Unfinished {
                    address: &self.identity.address,
                    input: &self.identity.input.name,
                    command: &self.identity.command,
                    started: self.started,
                    ended: now(),
                    exit_code: exit.code(),
                    exceptions,
                },
            ),
        };
        self.warn_on_error(written);
    }

    /// Makes the report, then brings the register up to date with `settle`, then removes the
    /// journal.
    fn finished(
        &self,
        journal: Journal<File>,
        settle: impl FnOnce() -> Result<()>,
    ) -> Result<Completion> {
        if let Some(warning) = journal.removal() {
            self.warn(&warning);
        }
        let completion = report::finish(journal, &self.paths, self.rows, &self.stop, settle)?;
        if let Some(warning) = &completion.warning {
            self.warn(warning);
        }
        Ok(completion)
    }

    /// Sums up a run that stopped early. Returns `None` if its journal can't be read again, which
    /// does not change the result of the run.
    fn stopped(
        &self,
        mut journal: Journal<File>,
        (exit, in_doubt): (Exit, bool),
        register: Option<&RegisterRun>,
    ) -> Result<Option<Summary>> {
        let summary = match report::summarize(&mut journal, &self.stop) {
            Ok(summary) => Some(summary),
            Err(error) if error.kind() == Kind::Interrupted => return Err(error),
            Err(error) => {
                let advice = match error.advice() {
                    Some(advice) => format!("; {advice}"),
                    None => String::new(),
                };
                let why = error.message();
                self.warn(&format!("the run can't be summed up: {why}{advice}"));
                None
            }
        };
        if let (Some(page), Some(summary)) = (&self.outputs.html, &summary) {
            self.warn_on_error(report::write_page_so_far(
                page,
                summary,
                &journal,
                &self.paths.report,
                &self.page_context(exit, summary, register),
            ));
        }
        let is_needless = matches!(exit, Exit::NothingChanged | Exit::CredentialsRefused)
            && !in_doubt
            && journal.recorded() == 0;
        if is_needless {
            if let Err(error) = journal.discard_if_empty(&self.paths) {
                self.warn(error.message());
            }
        } else if let Some(warning) = journal.ensure_saved()? {
            self.warn(&warning);
        }
        Ok(summary)
    }

    fn page_context(
        &self,
        exit: Exit,
        summary: &Summary,
        register: Option<&RegisterRun>,
    ) -> RunPageContext {
        let mut sync = self.sync.clone();
        if let (Some(sync), Some(register)) = (&mut sync, register) {
            sync.ending_soon = register.ending_soon();
        }
        RunPageContext {
            next: self.next_command(exit, &summary.outcomes, &summary.failures),
            rate: self.settings.sending.rate,
            sync,
        }
    }

    /// Prints a warning about something that does not affect the outcomes of the rows.
    fn warn(&self, words: &str) {
        say::warning(self.settings.talk.format, words);
    }

    /// Reports an error that does not affect the outcomes of the rows: the page or the metrics
    /// can't be written.
    fn warn_on_error(&self, written: Result<()>) {
        if let Err(error) = written {
            say::error(self.settings.talk.format, &error);
        }
    }

    /// Returns the error for a run in which rows are missing.
    fn unbalanced(&self, recorded: u64) -> Error {
        let rows = self.rows;
        let partial = visible_path(&self.paths.partial);
        Error::new(
            Kind::MidRun,
            format!("row counts do not match: {rows} rows planned, {recorded} recorded"),
        )
        .help(format!(
            "{partial} is kept as it is; please report this as a fault of mfa-optout"
        ))
    }

    /// Returns the next command, if there is one that can help. `retry` is not suggested if every
    /// failure is permanent.
    fn next_command(&self, exit: Exit, tally: &Tally, groups: &[Group]) -> Option<String> {
        let to_retry = tally.count_where(Outcome::is_retryable);
        let permanent: u64 = groups
            .iter()
            .filter(|group| group.is_permanent())
            .map(|group| group.count)
            .sum();
        match exit {
            Exit::Done | Exit::NothingChanged | Exit::Busy => None,
            Exit::RowsNeedAttention if to_retry <= permanent => self.command_when_corrected(tally),
            Exit::RowsNeedAttention => {
                let words = ["retry".into(), path_word(&self.paths.report)];
                let options = self.given.carried_words();
                Some(command_line(words.into_iter().chain(options)))
            }
            Exit::CredentialsRefused
            | Exit::StoppedEarly
            | Exit::HungUp
            | Exit::Interrupted
            | Exit::Terminated => {
                words_without(&NOT_REPEATED, std::env::args_os().skip(1)).map(command_line)
            }
        }
    }

    /// Returns the command for the table once its invalid rows are corrected, if there are any. Its
    /// report and page get names of their own, so that those of this run stay.
    fn command_when_corrected(&self, tally: &Tally) -> Option<String> {
        let is_table = matches!(self.identity.command.as_str(), "apply" | "sync");
        if tally.count(Outcome::Invalid) == 0 || !is_table || is_stream(&self.table) {
            return None;
        }
        let words = std::env::args_os().skip(1);
        let mut words = words_without(&NOT_REPEATED_WHEN_CORRECTED, words)?;
        let outputs = &self.settings.outputs;
        if self.identity.command == "apply" || outputs.report.is_some() {
            words.push("--report".into());
            words.push(path_word(&next_name(&self.paths.report)?));
        }
        if let Some(page) = &outputs.html {
            words.push("--html".into());
            words.push(path_word(&next_name(page)?));
        }
        Some(command_line(words))
    }
}

/// Returns a free name for the next file of a kind: `users.report.csv` gives `users.2.report.csv`.
/// `None` if the name is not Unicode.
fn next_name(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let end = name.rfind(".report.").or_else(|| name.rfind('.'));
    let (stem, suffix) = name.split_at(end.unwrap_or(name.len()));
    let base = match stem.rsplit_once('.') {
        Some((base, number)) if number.parse::<u32>().is_ok() => base,
        _ => stem,
    };
    let mut names =
        (2..u32::MAX).map(|number| path.with_file_name(format!("{base}.{number}{suffix}")));
    names.find(|path| !path.exists() && !Paths::of(path.clone()).partial.exists())
}

/// Options of this run that the command that continues it does not repeat: `--fresh` would start
/// over, and `--limit` would stop the rest of the run as well.
const NOT_REPEATED: [Key; 2] = [Key::Fresh, Key::Limit];

/// Options of this run that the command for the corrected table does not repeat. Its outputs have
/// other names.
const NOT_REPEATED_WHEN_CORRECTED: [Key; 4] = [Key::Fresh, Key::Overwrite, Key::Report, Key::Html];

/// Returns the words with which a run was started, without these options. Returns `None` if one of
/// them is `-`: what came from standard input can't be pasted.
fn words_without(options: &[Key], words: impl Iterator<Item = OsString>) -> Option<Vec<OsString>> {
    let mut kept = Vec::new();
    let mut is_value_left_out = false;
    for word in words {
        if is_value_left_out {
            is_value_left_out = false;
            continue;
        }
        if word == "-" {
            return None;
        }
        let text = word.to_string_lossy();
        let (flag, value) = match text.split_once('=') {
            Some((flag, value)) => (flag, Some(value)),
            None => (&*text, None),
        };
        let left_out = options.iter().find(|key| key.flag() == flag);
        match left_out {
            Some(key) => {
                is_value_left_out = value.is_none() && key.setting().form != Form::Switch;
            }
            None => kept.push(word),
        }
    }
    Some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn continued(words: &str) -> Option<String> {
        let words = words.split(' ').map(OsString::from);
        let kept = words_without(&NOT_REPEATED, words)?;
        let kept: Vec<_> = kept.iter().map(|word| word.to_string_lossy()).collect();
        Some(kept.join(" "))
    }

    #[test]
    fn the_next_file_of_a_kind_has_a_free_name_with_the_next_number() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let next = |name: &str| next_name(&at(name)).unwrap();
        assert_eq!(next("users.report.csv"), at("users.2.report.csv"));
        assert_eq!(next("a.b.report.xlsx"), at("a.b.2.report.xlsx"));
        assert_eq!(next("page.html"), at("page.2.html"));
        assert_eq!(next("page"), at("page.2"));
        std::fs::write(at("users.2.report.csv"), "").unwrap();
        std::fs::write(at("users.3.report.csv.partial"), "").unwrap();
        assert_eq!(next("users.report.csv"), at("users.4.report.csv"));
        assert_eq!(next("users.2.report.csv"), at("users.4.report.csv"));
    }

    #[test]
    fn command_that_continues_neither_stops_again_nor_starts_over() {
        let apply = "apply users.csv --yes";
        for (given, repeated) in [
            ("apply users.csv --yes", Some(apply)),
            ("apply --limit 5 users.csv --fresh --yes", Some(apply)),
            ("apply users.csv --limit=5 --yes", Some(apply)),
            (
                "apply users.csv --rate=5/s --max-wait 5m",
                Some("apply users.csv --rate=5/s --max-wait 5m"),
            ),
            ("apply - --yes", None),
        ] {
            assert_eq!(continued(given).as_deref(), repeated, "{given}");
        }
    }
}
