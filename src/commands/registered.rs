//! The register of a run: it is read and brought up to date before the plan is made, its users are
//! marked as unknown before the first request, and their entries are settled when the run ends.
//!
//! A run that was interrupted has left its journal, which the lock file names. The next run that
//! uses the register brings the outcomes of that journal in, and closes the interrupted run into a
//! report of its own. No person is needed for that.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use roaring::RoaringTreemap;

use super::close::{self, Leftover};
use super::sync;
use super::target::{Target, with_notes};
use crate::config::{Consent, EarlierRun, Settings};
use crate::domain::{Outcome, RowNumber, StatusClass};
use crate::error::{Error, Kind, Result};
use crate::journal::{Access, Paths};
use crate::journal::{RegisterIdentity, RowResult, RowResults};
use crate::output::absolute;
use crate::plan::{Plan, RegisterRequests, RegisterUse};
use crate::register::update::{Request, RequestOutcome, RunFacts};
use crate::register::{LockState, Owner, Register, RegisterFile, RegisterLock};
use crate::report::{ExceptionFigures, Interrupted};
use crate::text::visible_path;
use crate::ui::say::{self, now};

/// A register as it was when the plan was made.
pub(super) struct OpenRegister {
    file: RegisterFile,
    pub(super) register: Arc<Register>,
    /// The register as CSV.
    pub(super) csv: Vec<u8>,
    /// Hash of `csv`.
    pub(super) hash: blake3::Hash,
    /// Whether the file is there, with these bytes.
    is_stored: bool,
    /// What the lock file said.
    state: LockState,
    /// The credentials that the register names once the run begins.
    access: Access,
}

/// A run that wants to use a register.
#[derive(Clone, Copy)]
pub(super) struct RegisterUser<'a> {
    pub(super) settings: &'a Settings,
    pub(super) target: &'a Target,
    pub(super) command: &'a str,
    pub(super) paths: &'a Paths,
}

impl RegisterUser<'_> {
    fn is_sync(&self) -> bool {
        self.command == "sync"
    }

    fn is_dry_run(&self) -> bool {
        self.settings.guards.consent() == Consent::DryRun
    }

    /// Checks whether the run goes on with this journal instead of closing it.
    fn resumes(&self, journal: &Path) -> bool {
        !self.is_sync()
            && self.settings.outputs.earlier_run == EarlierRun::Resume
            && absolute(&self.paths.partial) == *journal
    }

    /// Returns the register of the run and its bytes. There are neither entries nor bytes if there
    /// is none yet.
    fn read(&self, file: &RegisterFile, state: &LockState) -> Result<(Register, Option<Vec<u8>>)> {
        let path = visible_path(file.path());
        let credentials = &self.target.credentials;
        let address = self.target.name();
        let Some(stored) = file.read()? else {
            let may_create = if self.is_sync() {
                self.settings.register.full
            } else {
                !state.was_written
            };
            if !may_create {
                let message = format!("the register {path} is not there");
                return Err(Error::new(Kind::Refused, message).help(
                    "run `sync` with --full once: it sends every row and creates the register",
                ));
            }
            let access = Access::of(credentials);
            return Ok((Register::new(Owner { address, access }), None));
        };
        let register = stored.register;
        let new_key = self.settings.outputs.new_key;
        if let Some(difference) = register.owner.difference(&address, credentials, new_key) {
            let message =
                format!("the register {path} belongs to another Org; what differs is {difference}");
            return Err(Error::new(Kind::Refused, message).help(
                "name the register of this Org with --register; if its API key was replaced, \
                    add --new-key once",
            ));
        }
        Ok((register, Some(stored.bytes)))
    }

    /// Returns the credentials that a register names once the run begins: those that it names
    /// already, unless `--new-key` has brought others.
    fn access(&self, register: &Register) -> Access {
        let credentials = &self.target.credentials;
        let former = &register.owner.access;
        if former.difference(credentials, false).is_some() {
            Access::of(credentials)
        } else {
            former.clone()
        }
    }
}

impl OpenRegister {
    /// Reads the register that the settings name, and brings in what an interrupted run has left.
    /// Returns `None` if no register is configured.
    ///
    /// # Errors
    /// [`Kind::Busy`] if another run uses the register; [`Kind::Report`] if it is damaged;
    /// [`Kind::Refused`] if it belongs to another Org, or is missing and may not be created.
    pub(super) fn open(user: RegisterUser<'_>) -> Result<Option<Self>> {
        let Some(path) = &user.settings.register.path else {
            if user.is_sync() {
                let message = "sync needs a register, which records what was set for whom";
                let help = "name its file with --register, or with `register` in a profile; `sync \
                    --full` creates it";
                let help = with_notes(help, &user.settings.notes);
                return Err(Error::new(Kind::Usage, message).help(help));
            }
            return Ok(None);
        };
        let file = RegisterFile::at(path)?;
        let mut lock = file.lock_existing()?;
        let state = match &lock {
            Some(lock) => lock.state().clone(),
            None => LockState::default(),
        };
        let (register, bytes) = user.read(&file, &state)?;
        let is_stored = bytes.is_some();
        let csv = bytes.unwrap_or_else(|| register.to_csv());
        let mut opened = Self {
            file,
            access: user.access(&register),
            register: Arc::new(register),
            hash: blake3::hash(&csv),
            csv,
            is_stored,
            state,
        };
        if let Some(journal) = opened.state.journal.clone()
            && let Some(lock) = &mut lock
            && !user.resumes(&journal)
        {
            opened.bring_in(&journal, lock, user)?;
        }
        Ok(Some(opened))
    }

    /// Brings the outcomes of an interrupted run in, and closes that run.
    fn bring_in(
        &mut self,
        journal: &Path,
        lock: &mut RegisterLock,
        user: RegisterUser<'_>,
    ) -> Result<()> {
        let paths = Paths::of_journal(journal);
        let interrupted = match Interrupted::find(&paths) {
            Ok(Some(interrupted)) if is_of_register(&interrupted, &self.file) => interrupted,
            Ok(None) if !user.is_dry_run() => {
                Interrupted::remove_false_start(&paths);
                return Ok(());
            }
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == Kind::Busy => return Err(error),
            Err(error) => {
                keep_unusable(&paths, &error, user);
                return Ok(());
            }
        };
        let leftover = match Leftover::read(&interrupted) {
            Ok(leftover) => leftover,
            Err(_) if is_over(&interrupted) && user.is_dry_run() => return Ok(()),
            Err(_) if is_over(&interrupted) => {
                close::close_into(&interrupted, None, &paths, false)?;
                self.state.journal = None;
                return lock.set_state(self.state.clone());
            }
            Err(error) => {
                drop(interrupted);
                keep_unusable(&paths, &error, user);
                return Ok(());
            }
        };
        let mut register = Register::clone(&self.register);
        leftover.settle(&mut register);
        let journal = self.state.journal.take();
        self.state = leftover.lock_state(&self.state);
        self.csv = register.to_csv();
        self.hash = blake3::hash(&self.csv);
        self.register = Arc::new(register);
        if user.is_dry_run() {
            self.state.journal = journal;
            return Ok(());
        }
        self.file
            .write(&self.csv)
            .map_err(|error| nothing_sent(&error))?;
        self.is_stored = true;
        let report = if interrupted.can_be_closed_into(&paths) && paths != *user.paths {
            paths
        } else {
            paths.of_closed(interrupted.began())
        };
        let completion = leftover.close(&interrupted, &report)?;
        if let Some(warning) = completion.warning {
            say::warning(user.settings.talk.format, &warning);
        }
        let line = format!(
            "an interrupted run was brought into the register and closed: {}",
            visible_path(&report.report)
        );
        say::note(user.settings, &line);
        lock.set_state(self.state.clone())
    }

    /// Returns the register with the credentials of this run.
    fn of_this_run(&self) -> Register {
        let mut register = Register::clone(&self.register);
        register.owner.access = self.access.clone();
        register
    }

    /// Returns the rows whose user failed last time.
    pub(super) fn rows_that_failed(&self, requests: &RegisterRequests) -> RoaringTreemap {
        let failed: RoaringTreemap = self.state.failed.iter().copied().collect();
        let sent = requests.sent.iter();
        sent.filter(|(_, request)| failed.contains(request.user.get()))
            .map(|(row, _)| *row)
            .collect()
    }

    /// Returns the latest time at which a request may have been sent that is now to be overtaken by
    /// the opposite flag.
    pub(super) fn latest_doubt(&self, requests: &RegisterRequests) -> Option<Timestamp> {
        let mut latest = None;
        for (_, request) in &requests.sent {
            let doubt = self.state.doubts.get(&request.user.get());
            let is_same_flag = doubt == Some(&request.flag.is_opt_out());
            if let Some(entry) = self.register.get(request.user)
                && entry.flag.known().is_none()
                && !is_same_flag
            {
                latest = latest.max(Some(entry.since));
            }
        }
        latest
    }

    /// Returns what the journal records about the register.
    pub(super) fn identity(&self, plan: &Plan) -> RegisterIdentity {
        let path = self.file.path().to_string_lossy().into_owned();
        match &plan.options().register {
            RegisterUse::Sync(sync) => RegisterIdentity {
                path,
                list: Some(sync.rules.list.clone()),
                full: sync.rules.full,
                keep_missing: sync.keep_missing,
            },
            RegisterUse::None | RegisterUse::FollowUp(_) => RegisterIdentity {
                path,
                list: None,
                full: false,
                keep_missing: false,
            },
        }
    }

    /// Brings in what needs no request, for a run that sends nothing. Returns the number of
    /// exceptions.
    ///
    /// # Errors
    /// As [`lock`](Self::lock), and if the register can't be written.
    pub(super) fn bring_in_unsent(
        &self,
        facts: &RunFacts,
        requests: &RegisterRequests,
        today: Date,
    ) -> Result<ExceptionFigures> {
        let has_same_access = self.access == self.register.owner.access;
        let is_changed = !requests.kept.is_empty() || !requests.leaving.is_empty();
        if self.is_stored && has_same_access && !is_changed {
            return Ok(figures(&self.register, today));
        }
        let mut register = self.of_this_run();
        register.bring_in_unsent(facts, &requests.kept, requests.leaving.iter().copied());
        let csv = register.to_csv();
        if !self.is_stored || csv != self.csv {
            let mut lock = self.lock_unchanged()?;
            self.file
                .write(&csv)
                .map_err(|error| nothing_sent(&error))?;
            lock.set_state(LockState {
                was_written: true,
                ..self.state.clone()
            })?;
        }
        Ok(figures(&register, today))
    }

    /// Takes the lock for the run, and names its journal in the lock file.
    ///
    /// # Errors
    /// [`Kind::Busy`] if another run uses the register; [`Kind::Refused`] if the register has
    /// changed since the plan was made.
    pub(super) fn lock(&self, paths: &Paths) -> Result<RegisterLock> {
        let mut lock = self.lock_unchanged()?;
        let journal = absolute(&paths.partial);
        if journal.to_str().is_none() {
            let message = format!(
                "with a register, the path of the report must be Unicode text: {}",
                visible_path(&journal)
            );
            return Err(Error::new(Kind::Usage, message).help("give another one with --report"));
        }
        lock.set_state(LockState {
            journal: Some(journal),
            ..self.state.clone()
        })?;
        Ok(lock)
    }

    /// Takes the lock if the register is still as it was when the plan was made.
    fn lock_unchanged(&self) -> Result<RegisterLock> {
        let lock = self.file.lock()?;
        let is_same = match self.file.hash()? {
            Some(hash) => self.is_stored && hash == self.hash,
            None => !self.is_stored,
        };
        let journal = lock.state().journal.as_ref();
        let is_same_journal = journal == self.state.journal.as_ref()
            || journal.is_none_or(|journal| !journal.exists());
        if !is_same || !is_same_journal {
            let message = format!(
                "nothing was sent: the register {} has changed since the plan was made",
                visible_path(self.file.path())
            );
            return Err(Error::new(Kind::Refused, message).help("run the same command again"));
        }
        Ok(lock)
    }
}

/// A register that is locked for a run, its users marked as unknown.
pub(super) struct RegisterRun {
    file: RegisterFile,
    lock: RegisterLock,
    former: Arc<Register>,
    /// The register as it was written last.
    register: Register,
    /// Hash of the file as it was written last.
    hash: blake3::Hash,
    facts: RunFacts,
    requests: Vec<(RowNumber, Request)>,
    today: Date,
    figures: ExceptionFigures,
    /// Whose exception ends soon, in words.
    ending_soon: Option<String>,
}

/// What a run needs to begin with a register.
pub(super) struct RegisterBegin {
    pub(super) lock: RegisterLock,
    /// The register as it was before an earlier process of this run has marked its users.
    pub(super) former: Arc<Register>,
    pub(super) facts: RunFacts,
    pub(super) requests: RegisterRequests,
    pub(super) today: Date,
}

impl RegisterRun {
    /// Marks every user that may change as unknown, and brings in what needs no request. Returns
    /// when that is on the disk.
    ///
    /// # Errors
    /// Of [`Kind::Report`] if the register can't be written.
    pub(super) fn begin(opened: OpenRegister, begin: RegisterBegin) -> Result<Self> {
        let RegisterBegin {
            lock,
            former,
            facts,
            requests,
            today,
        } = begin;
        let mut register = opened.of_this_run();
        let kept = &requests.kept;
        register.bring_in_unsent(&facts, kept, requests.leaving.iter().copied());
        let sent = requests.sent.iter().map(|(_, request)| request);
        register.mark(&facts, sent, now());
        let csv = register.to_csv();
        opened
            .file
            .write(&csv)
            .map_err(|error| nothing_sent(&error))?;
        Ok(Self {
            file: opened.file,
            lock,
            former,
            hash: blake3::hash(&csv),
            facts,
            requests: requests.sent,
            today,
            figures: figures(&register, today),
            ending_soon: sync::expiry_note(&register, today),
            register,
        })
    }

    /// Gives every user the entry that the outcome calls for; `in_doubt` are the rows without an
    /// outcome whose change may have been made.
    ///
    /// # Errors
    /// Of [`Kind::MidRun`] if the register can't be read or written.
    pub(super) fn settle(&mut self, results: &RowResults, in_doubt: &RoaringTreemap) -> Result<()> {
        let mid_run = |error: Error| Error::new(Kind::MidRun, error.message());
        let Some(hash) = self.file.hash().map_err(mid_run)? else {
            let path = visible_path(self.file.path());
            let message = format!("the register {path} was removed during the run");
            return Err(Error::new(Kind::MidRun, message).help(
                "restore it; the next run with this register then adds what this one has done",
            ));
        };
        if hash != self.hash
            && let Some(stored) = self.file.read().map_err(mid_run)?
        {
            self.register = stored.register;
        }
        let register = &mut self.register;
        let outcomes = outcomes(&self.requests, results, (in_doubt, now()));
        register.settle(&self.facts, &self.former, outcomes);
        let csv = register.to_csv();
        self.file.write(&csv)?;
        self.hash = blake3::hash(&csv);
        self.figures = figures(register, self.today);
        self.ending_soon = sync::expiry_note(register, self.today);
        Ok(())
    }

    /// Says whose exception ends soon; `None` if nobody's does.
    pub(super) fn ending_soon(&self) -> Option<String> {
        self.ending_soon.clone()
    }

    /// Returns the number of exceptions in the register.
    pub(super) fn figures(&self) -> ExceptionFigures {
        self.figures
    }

    /// Takes note of failures and doubts in the lock file, once the journal is gone.
    pub(super) fn end(mut self, results: &RowResults) -> Result<()> {
        let nothing = RoaringTreemap::new();
        let in_doubt = (&nothing, now());
        let state = state_after(self.lock.state(), &self.requests, results, in_doubt);
        self.lock.set_state(state)
    }
}

/// Returns the name of a run in the register.
pub(super) fn run_name(began: Timestamp) -> String {
    format!("{began:.0}")
}

/// Returns the outcome of each request. `in_doubt` are the rows without an outcome whose change may
/// have been made, and the latest time at which a request for one of them may have been sent.
pub(super) fn outcomes<'a>(
    requests: &'a [(RowNumber, Request)],
    results: &'a RowResults,
    in_doubt: (&'a RoaringTreemap, Timestamp),
) -> impl Iterator<Item = (&'a Request, RequestOutcome)> {
    requests.iter().map(move |(row, request)| {
        let outcome = match results.get(row) {
            Some(result) => request_outcome(result),
            None if in_doubt.0.contains(*row) => RequestOutcome::InDoubt(in_doubt.1),
            None => RequestOutcome::NotMade,
        };
        (request, outcome)
    })
}

fn request_outcome(result: &RowResult) -> RequestOutcome {
    match result.outcome {
        Outcome::Applied => RequestOutcome::Confirmed(result.finished_at),
        Outcome::Unknown => RequestOutcome::InDoubt(result.finished_at),
        Outcome::Failed if is_not_found(result) => RequestOutcome::NoSuchUser,
        Outcome::Failed
        | Outcome::Invalid
        | Outcome::Duplicate
        | Outcome::Unchanged
        | Outcome::NotSent => RequestOutcome::NotMade,
    }
}

fn is_not_found(result: &RowResult) -> bool {
    let class = result.http_status.map(StatusClass::of);
    class == Some(StatusClass::NotFound)
}

/// Returns what the lock file says after a run whose journal is gone, if it said `before` while the
/// run went on.
pub(super) fn state_after(
    before: &LockState,
    requests: &[(RowNumber, Request)],
    results: &RowResults,
    in_doubt: (&RoaringTreemap, Timestamp),
) -> LockState {
    let mut failed: BTreeSet<u64> = before.failed.iter().copied().collect();
    for (row, request) in requests {
        let user = request.user.get();
        match results.get(row) {
            Some(result) if result.outcome.is_failure() => failed.insert(user),
            Some(_) => failed.remove(&user),
            None => false,
        };
    }
    let mut doubts = before.doubts.clone();
    for (request, outcome) in outcomes(requests, results, in_doubt) {
        let user = request.user.get();
        match outcome {
            RequestOutcome::Confirmed(_) => doubts.remove(&user),
            RequestOutcome::InDoubt(_) => doubts.insert(user, request.flag.is_opt_out()),
            RequestOutcome::NotMade | RequestOutcome::NoSuchUser => None,
        };
    }
    LockState {
        journal: None,
        was_written: true,
        failed: failed.into_iter().collect(),
        doubts,
    }
}

/// Counts the exceptions in a register.
fn figures(register: &Register, today: Date) -> ExceptionFigures {
    let counts = register.count_exceptions(today);
    ExceptionFigures {
        total: counts.total,
        without_end: counts.without_end,
        ending_soon: counts.ending_soon,
    }
}

fn is_of_register(interrupted: &Interrupted, file: &RegisterFile) -> bool {
    let register = interrupted.run().identity.register.as_ref();
    register.is_some_and(|register| Path::new(&register.path) == file.path())
}

/// Checks whether a run has ended but for the removal of its journal. The snapshot is removed once
/// the report and the register are up to date.
fn is_over(interrupted: &Interrupted) -> bool {
    interrupted.is_complete() && matches!(interrupted.snapshot(), Ok(None))
}

/// Gives a journal that can't be brought in another name. Its users stay unknown in the register
/// and are sent again.
fn keep_unusable(paths: &Paths, error: &Error, user: RegisterUser<'_>) {
    let why = error.message();
    let words = if user.is_dry_run() {
        format!("an interrupted run can't be brought into the register: {why}")
    } else {
        match Interrupted::set_aside(paths) {
            Ok(kept) => format!(
                "an interrupted run can't be brought into the register: {why}; its journal is kept \
                 as {}",
                visible_path(&kept)
            ),
            Err(second) => format!(
                "an interrupted run can't be brought into the register: {why}; {}",
                second.message()
            ),
        }
    };
    say::warning(user.settings.talk.format, &words);
}

/// Says of an error that nothing was sent.
fn nothing_sent(error: &Error) -> Error {
    Error::new(
        Kind::Report,
        format!("nothing was sent: {}", error.message()),
    )
}
