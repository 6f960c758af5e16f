//! The one path of `apply`, `retry` and `undo`: read and check everything, show the plan, have it confirmed, send it,
//! report. Each step is a room's; here is their order.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use jiff::{Timestamp, Unit};

use super::closing::Closing;
use super::consent::{Confirming, Rest};
use super::earlier::{self, must_be_of};
use super::outputs::{ExtraOutputs, check_output_conflicts};
use super::start::{self, Asked};
use super::target::Target;
use super::{baseline, fresh, is_standard_input, plan_page, signals};
use crate::api::Address;
use crate::config::{BadRows, CliOverrides, Consent, EarlierRun, Key, ProcessEnv, Settings};
use crate::domain::{Ending, Event, Outcome, Signal};
use crate::engine::{self, Alarm, Run, Sent};
use crate::error::{Exit, Kind, Result};
use crate::input::{self, ColumnChoice, HeaderChoice, Input, PrivateCopy, Source};
use crate::journal::{self, Begin, Journal, Mode, NewSection, OnRecord, Paths, Prepared, Snapshot};
use crate::output::Output;
use crate::plan::{self, Plan, Selection, SendOrder};
use crate::policy::{Policy, Rules};
use crate::report::{self, Unfinished};
use crate::text::visible_path;
use crate::ui::PlanView;
use crate::ui::progress::{Progress, Style};
use crate::ui::say::{self, now};

/// A row without an answer may still be on its way to the Org; nothing overtakes it for so long.
const SETTLE: Duration = Duration::from_mins(1);

/// A run that was asked for.
pub(super) struct Job {
    command: &'static str,
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
        let paths = settings.outputs.report.clone().map_or(default, Paths::of);
        let outputs = check_output_conflicts(&self.input, &settings, &paths)?;
        baseline::check(&settings, &paths)?;
        let unfinished = self.for_the_metrics(&settings, outputs.metrics.clone());
        let ended = Box::pin(self.go(settings, paths, outputs, &facts)).await;
        if let (Err(error), Some(write)) = (&ended, unfinished)
            && error.kind() != Kind::Busy
        {
            write(error.exit());
        }
        ended
    }

    /// What writes to the metrics, where they are wanted, that the run ended before it had figures of its own.
    fn for_the_metrics(
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
        let (address, input) = (
            address
                .map(|address| address.to_string())
                .unwrap_or_default(),
            visible_path(&self.input),
        );
        let (command, format, started) = (self.command, settings.talk.format, now());
        Some(move |exit: Exit| {
            let (address, input, exit_code) = (&address, &input, exit.code());
            let run = Unfinished {
                address,
                input,
                command,
                started,
                ended: now(),
                exit_code,
            };
            if let Err(error) = report::write_metrics_of_unfinished(&place, &run) {
                say::error(format, &error);
            }
        })
    }

    async fn go(
        self,
        settings: Settings,
        paths: Paths,
        outputs: ExtraOutputs,
        facts: &ProcessEnv,
    ) -> Result<Exit> {
        let target = Target::of(&settings, &self.input).await?;
        let mut plan = self.plan(&settings, &target, outputs.problems.clone())?;
        let asked = Asked {
            command: self.command,
            selection: &self.selection,
            set: settings.reading.set,
        };
        let mut start = start::of(&asked, &settings, &target, &plan);
        let found = journal::look(&paths, self.input_path(), &start, mode(&settings));
        let rest = Rest::of(&plan, found.as_ref().unwrap_or(&OnRecord::default()))?;
        let confirming = Confirming::of(&settings, facts, &rest);
        let mut view = self.view(&settings, &target, (&plan, &rest), &paths);
        if settings.outputs.earlier_run == EarlierRun::StartOver {
            view.notes.extend(fresh::announcement(&paths));
        }
        view.warnings.extend(
            found
                .as_ref()
                .err()
                .filter(|_| view.dry_run)
                .map(|error| error.message().to_owned()),
        );
        say::plan(&settings, &view, confirming.asks());
        if let Some(limit) = settings.guards.max_opt_outs {
            plan.opt_out_guard(limit)?;
        }
        if settings.guards.consent() == Consent::DryRun {
            if let Some(page) = &outputs.html {
                let on_record = found.map(|found| found.rows).unwrap_or_default();
                plan_page::write(page, &plan, &start, &view, &on_record)?;
            }
            return Ok(Exit::Done);
        }
        found?;
        start.who.confirmation = confirming.confirm()?;
        let mut signals = signals::listen()?;
        if let Some(signal) = let_it_settle(&settings, &plan, &mut signals).await {
            return Ok(Exit::of_run(
                &Ending::Interrupted(signal),
                &crate::domain::Tally::default(),
            ));
        }

        if settings.outputs.earlier_run == EarlierRun::StartOver {
            fresh::close_interrupted(&settings, &paths, &plan, self.input_path())?;
        }
        start.at = now();
        let prepared = journal::prepare(&paths, self.input_path(), &start, mode(&settings))?;
        if let Err(error) = read_from_snapshot(&prepared, &mut plan) {
            prepared.give_up();
            return Err(error);
        }
        let (mut journal, on_record) = prepared.begin(&start, mode(&settings))?;
        say_what_was_found(&settings, &on_record, plan.counts().rows);
        let sent = send(
            &settings,
            &target,
            &plan,
            (&mut journal, &on_record),
            &mut signals,
        )
        .await?;
        let closing = Closing {
            identity: start.identity.clone(),
            started: start.at,
            settings,
            paths,
            outputs,
            rows: plan.counts().rows,
            given: self.given,
            stop: Arc::default(),
        };
        closing.close_listening(journal, sent, signals).await
    }

    fn plan(&self, settings: &Settings, target: &Target, problems: Option<Output>) -> Result<Plan> {
        let source = if is_standard_input(&self.input) {
            Source::Stdin
        } else {
            Source::Path(self.input.clone())
        };
        let reading = &settings.reading;
        // The settings say how tables are written. A report is written by this tool: for it only what was typed counts.
        let holds = |key: Key| self.selection == Selection::All || self.given.contains(key);
        let options = input::Options {
            delimiter: reading.delimiter.filter(|_| holds(Key::Delimiter)),
            encoding: reading.encoding.filter(|_| holds(Key::Encoding)),
            sheet: reading.sheet.clone(),
            id_column: self.id_column(settings),
            flag_column: reading
                .flag_column
                .as_deref()
                .and_then(|text| text.parse().ok()),
            set: reading.set,
            header: if reading.header || !holds(Key::NoHeader) {
                HeaderChoice::Detect
            } else {
                HeaderChoice::Absent
            },
            max_input: reading.max_input,
            ..input::Options::default()
        };
        let earlier = (self.selection != Selection::All).then_some(&self.input);
        for report in earlier.into_iter().chain(&reading.baseline) {
            must_be_of(report, &target.name())?;
        }
        let input = Input::open(&source, &options)?;
        Plan::check(
            input,
            plan::Options {
                input: options,
                host: target.host(),
                skip_invalid: reading.bad_rows == BadRows::Skip,
                keep_last_row: false,
                selection: self.selection.clone(),
                baseline: reading.baseline.clone(),
                today: start::zone(settings).to_datetime(now()).date(),
                problems,
            },
        )
    }

    /// Returns the column of the IDs that was chosen. For a report of an earlier run, its record says it unless somebody has
    /// typed another.
    fn id_column(&self, settings: &Settings) -> Option<ColumnChoice> {
        let is_typed = self.given.contains(Key::IdColumn);
        if self.selection != Selection::All
            && !is_typed
            && let Some(recorded) = earlier::id_column_of(&self.input)
        {
            return Some(recorded);
        }
        let chosen = settings.reading.id_column.as_deref()?;
        chosen.parse().ok()
    }

    /// The input's path, where it has one.
    fn input_path(&self) -> Option<&Path> {
        (!is_standard_input(&self.input)).then_some(self.input.as_path())
    }

    fn view(
        &self,
        settings: &Settings,
        target: &Target,
        (plan, rest): (&Plan, &Rest),
        paths: &Paths,
    ) -> PlanView {
        let (counts, found) = (&rest.counts, plan.input().found());
        let columns = [
            Some(&found.id_column),
            found.flag_column.as_ref(),
            found.until_column.as_ref(),
        ];
        let labels = ["IDs in ", "flags in ", "end dates in "];
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
                .cloned()
                .chain(self.what_undo_means())
                .collect(),
            warnings: target
                .warnings
                .iter()
                .cloned()
                .chain(warnings(plan))
                .collect(),
            dry_run: settings.guards.consent() == Consent::DryRun,
        }
    }

    fn what_undo_means(&self) -> Option<String> {
        (self.selection == Selection::Undo).then(|| {
            "what was set before the earlier run is not known; every user it changed gets the opposite of what it sent"
                .to_owned()
        })
    }
}

/// Sends what the plan asks for, showing how it goes.
async fn send(
    settings: &Settings,
    target: &Target,
    plan: &Plan,
    (journal, on_record): (&mut Journal<std::fs::File>, &OnRecord),
    signals: &mut BoxStream<'static, Signal>,
) -> Result<Sent> {
    let style = say::with_screen(|screen| Style::choose(settings.talk, screen));
    let mut progress = Progress::new(style, settings.talk.volume, plan.counts().rows, now());
    progress.on(
        Duration::ZERO,
        &Event::Planned {
            rows: plan.counts().rows,
            on_record: &on_record.tally,
        },
    );
    let order = SendOrder::new(
        plan.counts().rows,
        &on_record.rows,
        on_record.deferred.values(),
    );
    let run = Run {
        // The one seed that nobody chose: runs on two machines must not wait in step.
        policy: Policy::new(Rules {
            confirmed_before: on_record.tally.count(Outcome::Applied) > 0,
            max_in_flight: target.max_in_flight,
            ..settings.rules(fastrand::u64(..))
        }),
        org: &target.org,
        changes: plan.changes_in(&order)?,
        journal,
        on_record: on_record.tally,
        in_doubt: on_record.in_doubt.clone(),
        alarm: Alarm::fine(),
    };
    let sent = engine::run(run, signals, |now, event| match event {
        Some(event) => progress.on(now, event),
        None => progress.tick(now),
    })
    .await;
    progress.finish();
    sent
}

/// Makes the snapshot of the input, or finds the one that an interrupted run left, and has the plan read it from now on.
fn read_from_snapshot(prepared: &Prepared<'_>, plan: &mut Plan) -> Result<()> {
    let (mut content, length) = plan.input().raw();
    let snapshot = prepared.snapshot(NewSection {
        name: journal::INPUT,
        length,
        hash: plan.fingerprint(),
        content: &mut content,
    })?;
    if let Some(copy) = private_copy(&snapshot) {
        plan.read_from(copy);
    }
    Ok(())
}

/// Returns the input's part of a snapshot.
pub(super) fn private_copy(snapshot: &Snapshot) -> Option<PrivateCopy> {
    let section = snapshot.section(journal::INPUT)?;
    Some(PrivateCopy {
        name: snapshot.name.clone(),
        file: Arc::clone(&snapshot.file),
        start: section.start,
        length: section.length,
    })
}

fn mode(settings: &Settings) -> Mode {
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

fn warnings(plan: &Plan) -> impl Iterator<Item = String> {
    let counts = plan.counts();
    let empty =
        (counts.rows == 0).then(|| "the table has no rows: there is nothing to do".to_owned());
    let formulas = (counts.formula_cells > 0).then(|| {
        format!(
            "{} cells look like formulas to a spreadsheet; they are carried unchanged",
            counts.formula_cells
        )
    });
    let lapsed = (counts.lapsed > 0).then(|| {
        format!(
            "{} opt-outs have reached their end date and are opted back in",
            counts.lapsed
        )
    });
    [empty, formulas, lapsed].into_iter().flatten()
}

/// Waits until no request of the earlier run can arrive any more. Gives the signal that ended the wait, if one did.
async fn let_it_settle(
    settings: &Settings,
    plan: &Plan,
    signals: &mut BoxStream<'static, Signal>,
) -> Option<Signal> {
    let left = time_to_settle(plan.latest_unknown_at()?, now())?;
    let seconds = left.as_secs() + 1;
    say::note(
        settings,
        &format!("waiting {seconds} s, so that no late request of the earlier run is overtaken"),
    );
    tokio::select! {
        () = tokio::time::sleep(left) => None,
        signal = signals.next() => signal,
    }
}

/// Returns how long to wait after a row became unknown at this time, so that no request for it can arrive any more.
/// `None` if that time has passed. A clock that was put back does not make the wait longer.
fn time_to_settle(unknown_at: Timestamp, now: Timestamp) -> Option<Duration> {
    let settled = unknown_at.checked_add(SETTLE).ok()?;
    let left = Duration::try_from(settled.duration_since(now)).ok()?;
    if left.is_zero() {
        return None;
    }
    Some(left.min(SETTLE))
}

fn say_what_was_found(settings: &Settings, on_record: &OnRecord, rows: u64) {
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
            "going on with the run of {began}: {done} of {rows} rows are on record and are not sent again"
        ),
    );
    let in_doubt = on_record.in_doubt.len();
    if in_doubt > 0 {
        say::note(
            settings,
            &format!(
                "it may have changed up to {in_doubt} of the other rows without having recorded it; they are sent again"
            ),
        );
    }
    if on_record.torn > 0 {
        say::note(
            settings,
            "its last record was torn and was cut off; what it told of is done again",
        );
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn a_row_that_is_unknown_is_waited_for_until_a_minute_after_its_last_attempt() {
        let unknown_at = Timestamp::from_second(1_800_000_000).unwrap();
        for (seconds_later, left) in [
            (0, Some(60)),
            (1, Some(59)),
            (59, Some(1)),
            (60, None),
            (61, None),
            (86_400, None),
            (-30, Some(60)),
            (-86_400, Some(60)),
        ] {
            let now = unknown_at + SignedDuration::from_secs(seconds_later);
            assert_eq!(
                time_to_settle(unknown_at, now),
                left.map(Duration::from_secs),
                "{seconds_later} s later"
            );
        }
    }
}
