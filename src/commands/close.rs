//! `mfa-optout close`: ends an interrupted run without sending anything. `--fresh` ends the old run in the same way.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::closing::{as_a_word, in_a_shell, this_program};
use super::{job, reading};
use crate::cli::Close;
use crate::config::Key;
use crate::domain::{Change, Outcome, Record};
use crate::error::{Error, Exit, Kind, Result};
use crate::input::{Input, Source};
use crate::journal::{OnRecord, Paths, Run, Stop};
use crate::plan::{Action, Plan, Step};
use crate::report::{ClosedRow, Completion, Interrupted};
use crate::text::{visible, visible_path};
use crate::ui::ClosedView;
use crate::ui::say::{self, now};

/// The detail of a row for which no request was sent.
const NOT_SENT: &str = "not sent: the run was closed before this row's turn came";
/// The detail of a row for which a request may have been sent.
const IN_DOUBT: &str = "the run was interrupted while a request for this row may have been under way, and was closed without sending it again";

pub(super) fn close(args: &Close) -> Result<Exit> {
    let paths = Paths::of(report_of(&args.report));
    let Some(interrupted) = Interrupted::find(&paths)? else {
        return Err(nothing_to_close(&paths));
    };
    let overwrite = args.given.contains(Key::Overwrite);
    let Completion { summary, warning } =
        close_into(&interrupted, &paths, args.input.as_deref(), overwrite)?;
    if let Some(warning) = warning {
        let format = say::format_of(&args.given);
        say::error(format, &Error::new(Kind::MidRun, warning));
    }
    let retryable = summary.outcomes.count_where(Outcome::is_retryable);
    let view = ClosedView {
        tally: &summary.outcomes,
        next: (retryable > 0).then(|| command_on("retry", &paths.report)),
        report: visible_path(&paths.report),
    };
    say::closed(&args.given, &view);
    Ok(Exit::Done)
}

/// Returns the report that a path means, which may name its journal or its snapshot.
fn report_of(path: &Path) -> PathBuf {
    let text = path.as_os_str().to_string_lossy();
    for suffix in [".partial.input", ".partial"] {
        if text.ends_with(suffix) {
            let depth = suffix.matches('.').count();
            return (0..depth).fold(path.to_owned(), |path, _| path.with_extension(""));
        }
    }
    path.to_owned()
}

/// Returns the command that closes the run of this report, to be pasted.
pub(super) fn close_command(report: &Path) -> String {
    command_on("close", report)
}

fn command_on(command: &str, report: &Path) -> String {
    let words: [OsString; 3] = [this_program(), command.into(), as_a_word(report)];
    in_a_shell(words.into_iter())
}

fn nothing_to_close(paths: &Paths) -> Error {
    let message = format!(
        "there is nothing to close: {} is not there",
        visible_path(&paths.partial)
    );
    let help = if paths.report.exists() {
        "the run of this report has come to its end"
    } else {
        "give the report of the interrupted run, such as users.report.csv"
    };
    Error::new(Kind::Usage, message).help(help)
}

/// Gives every row that is not on record its outcome, and makes the report in the place that `report` names. `table` is
/// a file with the table of the run, for one that has lost its snapshot.
pub(super) fn close_into(
    interrupted: &Interrupted,
    report: &Paths,
    table: Option<&Path>,
    overwrite: bool,
) -> Result<Completion> {
    let at = now();
    let stop = Stop::of_closed(at);
    let run = interrupted.run();
    if interrupted.on_record().rows.len() == run.rows {
        return interrupted.close(report, std::iter::empty(), &stop, overwrite);
    }
    let plan = plan_of(run, &source_of(interrupted, table)?)?;
    if plan.counts().rows != run.rows {
        let message = format!(
            "the row counts do not match: the run had {} rows, and now {} are read",
            run.rows,
            plan.counts().rows
        );
        return Err(
            Error::new(Kind::Report, message).help("please report this as a fault of mfa-optout")
        );
    }
    let on_record = interrupted.on_record();
    let rows = plan
        .changes(&on_record.rows)?
        .filter_map(|step| closed_row(step, on_record, at));
    interrupted.close(report, rows, &stop, overwrite)
}

/// Returns the outcome that a row comes to when its run is closed; `None` for a step that is no row.
fn closed_row(
    step: Result<Step>,
    on_record: &OnRecord,
    now: Timestamp,
) -> Option<Result<ClosedRow>> {
    let step = match step {
        Ok(step) => step,
        Err(error) => return Some(Err(error)),
    };
    let (record, at) = match step.action {
        Action::Skipped => return None,
        Action::Settled(record) => (record, now),
        Action::Send(change) if on_record.in_doubt.contains(change.row) => {
            let mut record = closed(change, Outcome::Unknown, IN_DOUBT);
            // It is not known how many requests were sent; 0 would say that it was none.
            record.attempts = 1;
            (record, on_record.doubt_at.unwrap_or(now))
        }
        Action::Send(change) => (closed(change, Outcome::NotSent, NOT_SENT), now),
    };
    Some(Ok(ClosedRow {
        record,
        cells: step.cells,
        at,
    }))
}

fn closed(change: Change, outcome: Outcome, detail: &str) -> Record {
    Record::unsent(
        change.row,
        change.line,
        outcome,
        Some(change.flag),
        detail.to_owned(),
    )
}

/// Returns where the rows of an interrupted run are read from: its snapshot, or else a file with the same table.
fn source_of(interrupted: &Interrupted, table: Option<&Path>) -> Result<Source> {
    let run = interrupted.run();
    if let Some(snapshot) = interrupted.snapshot()?
        && let Some(mut copy) = job::private_copy(&snapshot)
    {
        copy.name.clone_from(&run.identity.input.name);
        return Ok(Source::Copy(copy));
    }
    if let Some(table) = table {
        return Ok(Source::Path(table.to_owned()));
    }
    let report = &interrupted.paths().report;
    let message = format!(
        "the copy of the table that the run made is missing or damaged: {}",
        visible_path(&interrupted.paths().snapshot)
    );
    Err(Error::new(Kind::Report, message).help(format!(
        "the table was {}; if that file is as it was then, run {} --input FILE with its name",
        visible(&run.identity.input.name),
        close_command(report)
    )))
}

/// Reads the table of a run as the run has read it.
fn plan_of(run: &Run, source: &Source) -> Result<Plan> {
    let options = reading::options_of(run);
    let input = Input::open(source, &options.input)?;
    if input.found().fingerprint.to_string() != run.identity.input.blake3 {
        let message = format!("{} is not the table of the interrupted run", source.name());
        let help = format!(
            "the table was {}, and its content must be the same",
            visible(&run.identity.input.name)
        );
        return Err(Error::new(Kind::Input, message).help(help));
    }
    Plan::check(input, options)
}
