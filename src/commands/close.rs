//! `mfa-optout close`: ends an interrupted run without sending anything. `--fresh` ends the old run
//! in the same way.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use roaring::RoaringTreemap;

use super::registered::{outcomes, run_name, state_after};
use super::{job, reading};
use crate::cli::Close;
use crate::config::{CliOverrides, Key};
use crate::domain::{Change, Outcome, Record};
use crate::error::{Error, Exit, Kind, Result};
use crate::input::{Directory, Input, Source};
use crate::journal::{self, Access, OnRecord, Paths, RowResults, Run, Stop};
use crate::plan::{self, Action, Plan, RegisterRequests, Step};
use crate::register::update::RunFacts;
use crate::register::{LockState, Owner, Register, RegisterFile};
use crate::report::{ClosedRow, Completion, Interrupted};
use crate::text::{Shell, command_line, path_word, visible, visible_path};
use crate::ui::ClosedView;
use crate::ui::say::{self, now};

/// The detail of a row for which no request was sent.
const NOT_SENT: &str = "not sent: the run was closed before this row was reached";
/// The detail of a row for which a request may have been sent.
const IN_DOUBT: &str = "the run was interrupted while a request for this row may have been in \
    flight, and was closed without sending it again";

pub(super) fn close(args: &Close) -> Result<Exit> {
    let paths = Paths::of(report_of(&args.report));
    let Some(interrupted) = Interrupted::find(&paths)? else {
        return Err(nothing_to_close(&paths));
    };
    let overwrite = args.given.contains(Key::Overwrite);
    let Completion {
        summary, warning, ..
    } = close_run(&interrupted, &paths, args.input.as_deref(), overwrite)?;
    if let Some(warning) = warning {
        let format = say::format_of(&args.given);
        say::error(format, &Error::new(Kind::MidRun, warning));
    }
    let retryable = summary.outcomes.count_where(Outcome::is_retryable);
    let view = ClosedView {
        tally: &summary.outcomes,
        next: if retryable > 0 {
            Some(retry_command(&paths.report, interrupted.run()))
        } else {
            None
        },
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
    command_line(["close".into(), path_word(report)])
}

/// Returns the command that sends the rest of a run that was closed, with the options that the run
/// has recorded.
fn retry_command(report: &Path, run: &Run) -> String {
    let other_sign_in: &[Key] = match run.access {
        Access::ApiKey { .. } => &[Key::Email, Key::PasswordFile, Key::Org],
        Access::Session { .. } => &[Key::ApiKeyFile],
    };
    let options = CliOverrides::of_record(&run.who.options, other_sign_in);
    let words = ["retry".into(), path_word(report)];
    command_line(words.into_iter().chain(options.carried_words()))
}

fn nothing_to_close(paths: &Paths) -> Error {
    let message = format!(
        "there is nothing to close: {} is not there",
        visible_path(&paths.partial)
    );
    let help = if paths.report.exists() {
        "the run of this report is finished"
    } else {
        "give the report of the interrupted run, such as users.report.csv"
    };
    Error::new(Kind::Usage, message).help(help)
}

/// Gives every row that is not recorded its outcome, and makes the report in the place that
/// `report` names. `plan` is needed unless all rows are recorded.
pub(super) fn close_into(
    interrupted: &Interrupted,
    plan: Option<&Plan>,
    report: &Paths,
    overwrite: bool,
) -> Result<Completion> {
    let at = now();
    let stop = Stop::of_closed(at);
    let Some(plan) = plan else {
        return interrupted.close(report, std::iter::empty(), &stop, overwrite);
    };
    let on_record = interrupted.on_record();
    let rows = plan
        .changes(&on_record.rows)?
        .filter_map(|step| closed_row(step, on_record, at));
    interrupted.close(report, rows, &stop, overwrite)
}

/// Closes an interrupted run into the report that `report` names, and brings its outcomes into its
/// register. `table` is a file with the table of the run, for one that has lost its snapshot.
pub(super) fn close_run(
    interrupted: &Interrupted,
    report: &Paths,
    table: Option<&Path>,
    overwrite: bool,
) -> Result<Completion> {
    let run = interrupted.run();
    let former = former_register(interrupted)?;
    if let (Some(register), Some(_)) = (&run.identity.register, &former) {
        let file = RegisterFile::at(Path::new(&register.path))?;
        let mut lock = file.lock()?;
        let leftover = Leftover::read(interrupted)?;
        let mut register = match file.read()? {
            Some(stored) => stored.register,
            None => Register::new(Owner {
                address: run.identity.address.clone(),
                access: run.access.clone(),
            }),
        };
        leftover.settle(&mut register);
        file.write(&register.to_csv())?;
        let completion = close_into(interrupted, Some(&leftover.plan), report, overwrite)?;
        let state = leftover.lock_state(lock.state());
        lock.set_state(state)?;
        return Ok(completion);
    }
    if interrupted.is_complete() {
        return close_into(interrupted, None, report, overwrite);
    }
    let plan = plan_of(interrupted, table, None)?;
    close_into(interrupted, Some(&plan), report, overwrite)
}

/// A run that was interrupted and uses a register, read again as it was planned.
pub(super) struct Leftover {
    plan: Plan,
    /// The register as it was before the run.
    former: Register,
    facts: RunFacts,
    requests: RegisterRequests,
    results: RowResults,
    in_doubt: RoaringTreemap,
    doubt_at: Timestamp,
}

impl Leftover {
    /// Reads what a run has left.
    ///
    /// # Errors
    /// Of [`Kind::Report`] or [`Kind::Input`] if the copy of the table or of the register is
    /// missing or damaged.
    pub(super) fn read(interrupted: &Interrupted) -> Result<Self> {
        let former = former_register(interrupted)?.ok_or_else(|| no_snapshot(interrupted))?;
        let plan = plan_of(interrupted, None, Some(&former))?;
        let run = interrupted.run();
        let on_record = interrupted.on_record();
        let list = run.identity.register.as_ref();
        Ok(Self {
            requests: plan.register_requests(run.who.reason.as_deref())?,
            plan,
            former,
            facts: RunFacts {
                run: run_name(interrupted.began()).into(),
                list: list.and_then(|register| register.list.clone()),
            },
            results: interrupted.results()?,
            in_doubt: on_record.in_doubt.clone(),
            doubt_at: on_record.doubt_at.unwrap_or(run.at),
        })
    }

    /// Brings the outcomes of the run into a register.
    pub(super) fn settle(&self, register: &mut Register) {
        let in_doubt = (&self.in_doubt, self.doubt_at);
        let outcomes = outcomes(&self.requests.sent, &self.results, in_doubt);
        register.settle(&self.facts, &self.former, outcomes);
    }

    /// Returns what the lock file says after the run, if it said `before` while the run went on.
    pub(super) fn lock_state(&self, before: &LockState) -> LockState {
        let in_doubt = (&self.in_doubt, self.doubt_at);
        state_after(before, &self.requests.sent, &self.results, in_doubt)
    }

    /// Closes the run into a report.
    pub(super) fn close(&self, interrupted: &Interrupted, report: &Paths) -> Result<Completion> {
        close_into(interrupted, Some(&self.plan), report, false)
    }
}

/// Returns the register as it was before the run; `None` if the snapshot does not have it.
fn former_register(interrupted: &Interrupted) -> Result<Option<Register>> {
    let Some(snapshot) = interrupted.snapshot()? else {
        return Ok(None);
    };
    let bytes = snapshot.read(journal::REGISTER)?;
    Ok(bytes.and_then(|bytes| Register::parse(&bytes).ok()))
}

/// Returns the outcome that a row comes to when its run is closed; `None` for a step that is no
/// row.
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

/// Returns where the rows of an interrupted run are read from: its snapshot, or else a file with
/// the same table.
fn source_of(interrupted: &Interrupted, table: Option<&Path>) -> Result<Source> {
    let run = interrupted.run();
    if let Some(snapshot) = interrupted.snapshot()?
        && let Some(mut copy) = job::private_copy(&snapshot, journal::INPUT)
    {
        copy.name.clone_from(&run.identity.input.name);
        return Ok(Source::Copy(copy));
    }
    if let Some(table) = table {
        return Ok(Source::Path(table.to_owned()));
    }
    Err(no_snapshot(interrupted))
}

fn no_snapshot(interrupted: &Interrupted) -> Error {
    let report = &interrupted.paths().report;
    let message = format!(
        "the copy of the table that the run made is missing or damaged: {}",
        visible_path(&interrupted.paths().snapshot)
    );
    let close = close_command(report);
    Error::new(Kind::Report, message).help(format!(
        "the table was {}; if that file is as it was then, run {} --input FILE with its name{}",
        visible(&interrupted.run().identity.input.name),
        visible(&close),
        Shell::OF_THIS_SYSTEM.note_after(&close)
    ))
}

/// Reads the list of users as the run has read it: from the snapshot, or else the file itself if it
/// is unchanged. `None` if the table has the user IDs.
fn directory_of(interrupted: &Interrupted) -> Result<Option<Arc<Directory>>> {
    let run = interrupted.run();
    let Some(list) = &run.identity.ids else {
        return Ok(None);
    };
    let snapshot = interrupted.snapshot()?;
    let copy = snapshot.and_then(|snapshot| job::private_copy(&snapshot, journal::IDS));
    let source = match copy {
        Some(mut copy) => {
            copy.name.clone_from(&list.file.name);
            Source::Copy(copy)
        }
        None => Source::Path(list.file.name.clone().into()),
    };
    let directory = Directory::open(&source, &reading::directory_options_of(list, run))?;
    let is_same = directory.fingerprint().to_string() == list.file.blake3
        && directory.column_numbers() == [list.key_column, list.id_column];
    if is_same {
        return Ok(Some(Arc::new(directory)));
    }
    let name = visible(&list.file.name);
    let message = format!("{name} is not the list of users of the interrupted run");
    Err(Error::new(Kind::Input, message).help("put the file back as it was then"))
}

/// Reads the table of a run as the run has read it, and compares it with the same register. `table`
/// is a file with the table, for a run that has lost its snapshot.
fn plan_of(
    interrupted: &Interrupted,
    table: Option<&Path>,
    former: Option<&Register>,
) -> Result<Plan> {
    let run = interrupted.run();
    let source = source_of(interrupted, table)?;
    let options = plan::Options {
        directory: directory_of(interrupted)?,
        ..reading::options_of(run, former)
    };
    let input = Input::open(&source, &options.input)?;
    if input.found().fingerprint.to_string() != run.identity.input.blake3 {
        let message = format!("{} is not the table of the interrupted run", source.name());
        let help = format!(
            "the table was {}, and its content must be the same",
            visible(&run.identity.input.name)
        );
        return Err(Error::new(Kind::Input, message).help(help));
    }
    let plan = Plan::check(input, options)?;
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
    Ok(plan)
}
