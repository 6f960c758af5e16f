//! The path of `apply`, `sync`, `retry` and `undo`: read and check everything, show the plan, get
//! it confirmed, send it, report.

use std::cell::Cell;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::stream::BoxStream;
use jiff::Unit;
use roaring::RoaringTreemap;

use super::beginning::{Beginning, Begun};
use super::closing::Closing;
use super::consent::{Confirmation, RemainingWork};
use super::earlier::{ensure_same_org, has_registered_column};
use super::outputs::{ExtraOutputs, RunInputs, check_output_conflicts, report_of};
use super::registered::{OpenRegister, RegisterUser};
use super::start::{self, RunRequest};
use super::table_request::TableRequest;
use super::target::Target;
use super::{change_list, fresh, is_standard_input, plan_page, signals, sync};
use crate::api::Address;
use crate::config::{BadRows, CliOverrides, Consent, EarlierRun, ProcessEnv, Settings, Volume};
use crate::domain::{Ending, Event, Outcome, RowLabels, Signal, Stop};
use crate::engine::{self, Alarm, Run, Sent};
use crate::error::{Exit, Kind, Result};
use crate::input::{Directory, Input, PrivateCopy};
use crate::journal::{self, Begin, Journal, Mode, OnRecord, Paths, Snapshot, Start};
use crate::output::Output;
use crate::plan::{self, Action, Plan, RegisterRequests, RegisterUse, Selection, SendOrder, Step};
use crate::policy::{Policy, Rules};
use crate::report::{self, Unfinished, WorkbookLimits};
use crate::text::{counted, visible_path};
use crate::ui::progress::{Progress, ProgressState, Style};
use crate::ui::say::{self, now};
use crate::ui::{PlanView, with_screen};

/// A run as it was requested.
pub(super) struct Job {
    pub(super) command: &'static str,
    input: PathBuf,
    selection: Selection,
    /// The options that were given on the command line.
    given: CliOverrides,
}

impl Job {
    pub(super) fn new(
        command: &'static str,
        input: PathBuf,
        selection: Selection,
        given: CliOverrides,
    ) -> Self {
        Self {
            command,
            input,
            selection,
            given,
        }
    }

    pub(super) async fn run(self, default: Paths) -> Result<Exit> {
        let facts = ProcessEnv::of_this_process();
        let settings = Settings::load(&self.given, &|name| std::env::var_os(name), &facts)?;
        let paths = report_of(&self.input, &settings, default)?;
        let earlier = match self.selection {
            Selection::All => None,
            Selection::Retry(_) | Selection::Undo => Some(Paths::of(self.input.clone()).json),
        };
        let inputs = RunInputs {
            table: &self.input,
            earlier_record: earlier.as_deref(),
        };
        let outputs = check_output_conflicts(&inputs, &settings, &paths)?;
        let unfinished = self.metrics_of_unfinished(&settings, outputs.metrics.clone());
        let ended = Box::pin(self.execute(settings, paths, outputs, &facts)).await;
        if let (Err(error), Some(write)) = (&ended, unfinished)
            && error.kind() != Kind::Busy
        {
            write(error.exit());
        }
        ended
    }

    /// Returns a function that writes metrics for a run that ended before it had figures, if
    /// metrics are wanted.
    fn metrics_of_unfinished(
        &self,
        settings: &Settings,
        metrics: Option<Output>,
    ) -> Option<impl FnOnce(Exit) + use<>> {
        let place = metrics.filter(|_| settings.guards.consent() != Consent::DryRun)?;
        // An address that can't be used may have a secret in it.
        let address = settings
            .connection
            .address
            .as_deref()
            .and_then(|text| Address::parse(text).ok());
        let address = address
            .map(|address| address.to_string())
            .unwrap_or_default();
        let input = visible_path(&self.input);
        let command = self.command;
        let format = settings.talk.format;
        let started = now();
        Some(move |exit: Exit| {
            let address = &address;
            let input = &input;
            let exit_code = exit.code();
            let run = Unfinished {
                address,
                input,
                command,
                started,
                ended: now(),
                exit_code,
                exceptions: None,
            };
            if let Err(error) = report::write_metrics_of_unfinished(&place, &run) {
                say::error(format, &error);
            }
        })
    }

    /// Runs the job, step by step.
    async fn execute(
        self,
        settings: Settings,
        paths: Paths,
        outputs: ExtraOutputs,
        facts: &ProcessEnv,
    ) -> Result<Exit> {
        let target = Target::of(&settings, &self.input).await?;
        let context = Context {
            settings: &settings,
            paths: &paths,
            target: &target,
            outputs: &outputs,
            facts,
        };
        let (mut beginning, confirmation) = match self.check(context)? {
            AfterPlan::Ends(exit) => return Ok(exit),
            AfterPlan::Goes(beginning, confirmation) => (*beginning, confirmation),
        };
        beginning.start.who.confirmation = confirmation.confirm()?;
        let mut signals = signals::listen()?;
        if let Some(signal) = beginning.wait_for_late_requests(&mut signals).await {
            return Ok(Exit::of_run(
                &Ending::Interrupted(signal),
                &crate::domain::Tally::default(),
            ));
        }
        if settings.outputs.earlier_run == EarlierRun::StartOver {
            fresh::close_interrupted(&settings, &paths, &beginning.plan, self.input_path())?;
        }
        let identity = beginning.start.identity.clone();
        let started = now();
        let Begun {
            plan,
            mut journal,
            on_record,
            order,
            register,
        } = beginning.begin()?;
        say_what_is_resumed(&settings, &on_record, plan.counts().rows);
        let sending = SendContext {
            settings: &settings,
            target: &target,
            plan: &plan,
            on_record: &on_record,
            order: &order,
            labels: identity.row_labels(),
        };
        let sent = send(&sending, &mut journal, &mut signals).await?;
        let rows = plan.counts().rows;
        let closing = Closing {
            identity,
            started,
            settings,
            paths,
            outputs,
            table: self.input,
            rows,
            given: self.given,
            stop: Arc::default(),
            register: Mutex::new(register),
            is_incomplete: plan.holds_back_departures(),
            sync: sync::overview(&plan),
        };
        closing.close_listening(journal, sent, signals).await
    }

    /// Reads the register and the table, shows the plan, and checks it against the guards.
    fn check<'a>(&'a self, context: Context<'a>) -> Result<AfterPlan<'a>> {
        let Context {
            settings,
            paths,
            target,
            outputs,
            facts,
        } = context;
        let user = RegisterUser {
            settings,
            target,
            command: self.command,
            paths,
        };
        let register = OpenRegister::open(user)?;
        let problems = outputs.problems.clone();
        let plan = self.plan(settings, target, register.as_ref(), problems)?;
        let requests = match &register {
            Some(_) => plan.register_requests(settings.guards.reason.as_deref())?,
            None => RegisterRequests::default(),
        };
        let request = RunRequest {
            command: self.command,
            selection: &self.selection,
            set: settings.reading.set,
            register: register.as_ref().map(|register| register.identity(&plan)),
        };
        let start = start::of(&request, settings, target, &plan);
        let found = journal::look(paths, self.input_path(), &start, mode(settings));
        let rest = RemainingWork::of(&plan, found.as_ref().unwrap_or(&OnRecord::default()))?;
        let confirmation = Confirmation::of(settings, facts, &rest);
        let mut view = self.view(settings, target, (&plan, &rest), paths);
        if settings.outputs.earlier_run == EarlierRun::StartOver {
            view.notes.extend(fresh::announcement(paths));
        }
        if let (Err(error), true) = (&found, view.dry_run) {
            view.warnings.push(match error.advice() {
                Some(advice) => format!("{}; {advice}", error.message()),
                None => error.message().to_owned(),
            });
        }
        if let Some(register) = &register {
            let today = plan.options().today;
            view.notes
                .extend(sync::expiry_note(&register.register, today));
        }
        if !self.is_empty(&plan, settings) {
            say::plan(settings, &view, confirmation.is_question());
        }
        if let Some(limit) = settings.guards.max_opt_outs {
            plan.opt_out_guard(limit)?;
        }
        plan.check_missing(settings.register.max_missing)?;
        check_workbook_limits(&plan, &start, paths)?;
        if settings.guards.consent() == Consent::DryRun {
            let on_record = found.map(|found| found.rows).unwrap_or_default();
            if settings.talk.volume == Volume::Verbose {
                let register = register.as_ref().map(|open| &*open.register);
                let labels = start.identity.row_labels();
                change_list::print(settings, &plan, &on_record, register, &labels)?;
            }
            if let Some(page) = &outputs.html {
                plan_page::write(page, &plan, &start, &view, &on_record)?;
            }
            return Ok(AfterPlan::Ends(Exit::Done));
        }
        found?;
        let beginning = Beginning {
            job: self,
            settings,
            paths,
            start,
            register,
            requests,
            plan,
        };
        if beginning.has_nothing_to_do(&rest) {
            let exit = beginning.end_without_report(outputs.metrics.as_ref())?;
            return Ok(AfterPlan::Ends(exit));
        }
        Ok(AfterPlan::Goes(Box::new(beginning), confirmation))
    }

    /// Checks whether the plan has no rows, so that one line says all about it.
    fn is_empty(&self, plan: &Plan, settings: &Settings) -> bool {
        let is_dry_run = settings.guards.consent() == Consent::DryRun;
        plan.counts().rows == 0 && self.command != "sync" && !is_dry_run
    }

    /// Says that the run has nothing to do.
    pub(super) fn nothing_to_do(&self) -> String {
        let input = visible_path(&self.input);
        match &self.selection {
            Selection::All if self.command == "sync" => {
                "nothing to do: according to the register the Org matches the table; no report is \
                 made"
                    .to_owned()
            }
            Selection::All => format!("nothing to do: {input} has no rows; no report is made"),
            Selection::Retry(outcomes) => {
                let words: Vec<&str> = outcomes.iter().map(|outcome| outcome.as_str()).collect();
                format!(
                    "nothing to retry: no row of {input} is {}; no report is made",
                    words.join(" or ")
                )
            }
            Selection::Undo => {
                format!("nothing to undo: no row of {input} has changed anybody; no report is made")
            }
        }
    }

    fn plan(
        &self,
        settings: &Settings,
        target: &Target,
        register: Option<&OpenRegister>,
        problems: Option<Output>,
    ) -> Result<Plan> {
        let request = TableRequest {
            input: &self.input,
            selection: &self.selection,
            given: &self.given,
            reading: &settings.reading,
        };
        let is_follow_up = self.selection != Selection::All;
        if is_follow_up {
            ensure_same_org(&self.input, &target.name())?;
        }
        let today = start::zone(settings).to_datetime(now()).date();
        let register = match register {
            Some(register) if self.command == "sync" => {
                sync::register_use(register, settings, &self.input, today)?
            }
            Some(register) if is_follow_up => RegisterUse::FollowUp(Arc::clone(&register.register)),
            _ => RegisterUse::None,
        };
        let directory = request.directory(target.host())?;
        let options = request.input_options();
        let input = Input::open(&request.source(), &options)?;
        let carried = &input.header()[..input.columns().carried];
        let has_registered_column = is_follow_up && has_registered_column(&self.input, carried)?;
        Plan::check(
            input,
            plan::Options {
                input: options,
                host: target.host(),
                skip_invalid: settings.reading.bad_rows == BadRows::Skip,
                keep_last_row: settings.reading.keep_last_row,
                directory,
                selection: self.selection.clone(),
                register,
                has_registered_column,
                today,
                problems,
            },
        )
    }

    /// The input's path, where it has one.
    pub(super) fn input_path(&self) -> Option<&Path> {
        (!is_standard_input(&self.input)).then_some(self.input.as_path())
    }

    fn view(
        &self,
        settings: &Settings,
        target: &Target,
        (plan, rest): (&Plan, &RemainingWork),
        paths: &Paths,
    ) -> PlanView {
        let counts = &rest.counts;
        let found = plan.input().found();
        let columns = [
            Some(&found.id_column),
            found.flag_column.as_ref(),
            found.until_column.as_ref(),
        ];
        let users = match plan.directory() {
            Some(_) => "people in ",
            None => "IDs in ",
        };
        let labels = [users, "flags in ", "end dates in "];
        let columns = labels
            .iter()
            .zip(columns)
            .filter_map(|(label, column)| Some(format!("{label}{}", column?)));
        let set = settings
            .reading
            .set
            .map(|flag| format!("every row sets mfaOptOut to {}", flag.is_opt_out()));
        let per_second = settings.sending.rate.per_second();
        #[expect(
            clippy::cast_precision_loss,
            reason = "an estimate, and no table has 2^52 rows"
        )]
        let expected =
            per_second.map(|rate| Duration::from_secs_f64(counts.to_send() as f64 / rate));
        PlanView {
            address: target.address.to_string(),
            sign_in: target.sign_in.clone(),
            input: found.name.clone(),
            found_out: std::iter::once(found.format.to_string())
                .chain(columns)
                .chain(plan.directory().map(|list| matched(plan, list)))
                .chain(set)
                .collect(),
            rows: counts.rows,
            opt_out: counts.opt_out,
            opt_in: counts.opt_in,
            duplicates: counts.duplicate,
            invalid: counts.invalid,
            unchanged: counts.unchanged,
            on_record: rest.on_record,
            rate: settings.sending.rate,
            expected,
            reason: settings.guards.reason.clone(),
            report: visible_path(&paths.report),
            notes: settings
                .notes
                .iter()
                .chain(&target.notes)
                .chain(&found.notes)
                .chain(plan.directory().into_iter().flat_map(Directory::notes))
                .cloned()
                .chain(self.note_on_undo(plan))
                .chain(sync::comparison_note(plan))
                .chain(sync::new_list_note(plan))
                .collect(),
            warnings: target
                .warnings
                .iter()
                .cloned()
                .chain(warnings(plan))
                .chain(sync::warnings(plan))
                .collect(),
            dry_run: settings.guards.consent() == Consent::DryRun,
        }
    }

    fn note_on_undo(&self, plan: &Plan) -> Option<String> {
        if self.selection != Selection::Undo {
            return None;
        }
        let note = if plan.options().has_registered_column {
            "every user gets back what the register said before that sync; the next sync of the \
             same list will change it again"
        } else {
            "what was set before the earlier run is not known; every user it changed gets the \
             opposite of what it sent"
        };
        Some(note.to_owned())
    }
}

/// What a run knows before it reads its table.
#[derive(Clone, Copy)]
struct Context<'a> {
    settings: &'a Settings,
    paths: &'a Paths,
    target: &'a Target,
    outputs: &'a ExtraOutputs,
    facts: &'a ProcessEnv,
}

/// A run whose plan was shown.
enum AfterPlan<'a> {
    /// The run ends here.
    Ends(Exit),
    /// The run continues once it is confirmed.
    Goes(Box<Beginning<'a>>, Confirmation),
}

/// Everything that sending needs.
struct SendContext<'a> {
    settings: &'a Settings,
    target: &'a Target,
    plan: &'a Plan,
    on_record: &'a OnRecord,
    order: &'a SendOrder,
    labels: RowLabels,
}

/// Sends what the plan asks for, showing how it goes.
async fn send(
    sending: &SendContext<'_>,
    journal: &mut Journal<File>,
    signals: &mut BoxStream<'static, Signal>,
) -> Result<Sent> {
    let SendContext {
        settings,
        target,
        plan,
        on_record,
        order,
        labels: _,
    } = sending;
    let style = with_screen(|screen| Style::choose(settings.talk, screen));
    let mut progress = Progress::new(
        style,
        settings.talk.volume,
        now(),
        ProgressState::of(plan.counts().rows, settings.sending.outage_patience),
        sending.labels.clone(),
    );
    progress.on(
        Duration::ZERO,
        &Event::Planned {
            rows: plan.counts().rows,
            on_record: &on_record.tally,
        },
    );
    let limit = settings.sending.limit.unwrap_or(u64::MAX);
    let is_cut = Cell::new(false);
    let mut sent_before = 0;
    let mut changes = plan.changes_in(order)?.filter(|step| {
        let is_change = matches!(
            step,
            Ok(Step {
                action: Action::Send(_),
                ..
            })
        );
        let is_beyond = is_change && sent_before == limit;
        sent_before += u64::from(is_change && !is_beyond);
        is_cut.set(is_cut.get() || is_beyond);
        !is_beyond
    });
    let run = Run {
        // A random seed: runs on two machines must not wait in step.
        policy: Policy::new(Rules {
            confirmed_before: on_record.tally.count(Outcome::Applied) > 0,
            max_in_flight: target.max_in_flight,
            ..settings.rules(fastrand::u64(..))
        }),
        org: &target.org,
        changes: &mut changes,
        journal,
        on_record: on_record.tally,
        in_doubt: on_record.in_doubt.clone(),
        alarm: Alarm::fine(),
    };
    let sent = engine::run(run, signals, &mut |now, event| match event {
        Some(event) => progress.on(now, event),
        None => progress.tick(now),
    })
    .await;
    progress.finish();
    let mut sent = sent?;
    if is_cut.get() && sent.ending == Ending::Complete {
        sent.ending = Ending::Stopped(Stop::LimitReached { changes: limit });
    }
    Ok(sent)
}

/// Returns a section of a snapshot.
pub(super) fn private_copy(snapshot: &Snapshot, section: &str) -> Option<PrivateCopy> {
    let section = snapshot.section(section)?;
    Some(PrivateCopy {
        name: snapshot.name.clone(),
        file: Arc::clone(&snapshot.file),
        start: section.start,
        length: section.length,
    })
}

pub(super) fn mode(settings: &Settings) -> Mode {
    let outputs = &settings.outputs;
    let begin = match outputs.earlier_run {
        EarlierRun::Resume => Begin::Resume,
        EarlierRun::StartOver => Begin::Fresh,
    };
    Mode {
        begin,
        new_key: outputs.new_key,
        overwrite: outputs.overwrite,
    }
}

/// Says by what the people of the table were matched with the list of users.
fn matched(plan: &Plan, list: &Directory) -> String {
    format!(
        "IDs from {}, which has {} by {}: {} matched",
        list.name(),
        counted(list.entries(), "entry", "entries"),
        list.key_column(),
        counted(plan.known_users(), "row", "rows")
    )
}

/// Checks that the report fits into a workbook, if it will be one.
fn check_workbook_limits(plan: &Plan, start: &Start, paths: &Paths) -> Result<()> {
    if !journal::is_workbook(&paths.report) {
        return Ok(());
    }
    let limits = WorkbookLimits::check(&paths.report, &start.identity.header, start.rows)?;
    for step in plan.changes(&RoaringTreemap::new())? {
        let step = step?;
        let line = match &step.action {
            Action::Send(change) => change.line,
            Action::Settled(record) => record.line,
            Action::Skipped => continue,
        };
        limits.check_row(line, &step.cells)?;
    }
    Ok(())
}

fn warnings(plan: &Plan) -> impl Iterator<Item = String> {
    let counts = plan.counts();
    let is_sync = matches!(plan.options().register, RegisterUse::Sync(_));
    let empty = (counts.rows == 0 && !is_sync)
        .then(|| "the table has no rows: there is nothing to do".to_owned());
    let formulas = (counts.formula_cells > 0).then(|| {
        let cells = counted(
            counts.formula_cells,
            "cell looks like a formula to a spreadsheet and is",
            "cells look like formulas to a spreadsheet and are",
        );
        format!("{cells} copied unchanged")
    });
    let lapsed = (counts.lapsed > 0).then(|| {
        let opt_outs = counted(
            counts.lapsed,
            "opt-out has reached its end date and is",
            "opt-outs have reached their end date and are",
        );
        format!("{opt_outs} opted back in")
    });
    [empty, formulas, lapsed].into_iter().flatten()
}

fn say_what_is_resumed(settings: &Settings, on_record: &OnRecord, rows: u64) {
    if let Some(kept) = &on_record.kept {
        say::note(
            settings,
            &format!(
                "the journal of an earlier run is kept as {}",
                visible_path(kept)
            ),
        );
    }
    if on_record.runs.is_empty() {
        return;
    }
    let began = on_record.runs.last().map(|run| run.at);
    let began = began
        .and_then(|at| at.round(Unit::Second).ok())
        .map(|at| at.to_string())
        .unwrap_or_default();
    let done = on_record.rows.len();
    say::note(
        settings,
        &format!(
            "continuing the run of {began}: {done} of {rows} rows are recorded and are not sent \
             again"
        ),
    );
    let in_doubt = on_record.in_doubt.len();
    if in_doubt > 0 {
        say::note(
            settings,
            &format!(
                "up to {in_doubt} of the other rows may have been changed without being recorded; \
                 they are sent again"
            ),
        );
    }
    if on_record.torn > 0 {
        say::note(
            settings,
            "its last record was incomplete and was removed; that row is sent again",
        );
    }
}
