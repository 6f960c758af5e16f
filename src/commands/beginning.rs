//! What lies between a confirmed plan and the first request: the wait for late requests of an
//! earlier run, the lock on the register, the journal with its snapshot, and the marks in the
//! register.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use jiff::Timestamp;
use roaring::RoaringTreemap;

use super::consent::RemainingWork;
use super::job::{Job, mode, private_copy};
use super::registered::{OpenRegister, RegisterBegin, RegisterRun, run_name};
use crate::config::Settings;
use crate::domain::Signal;
use crate::error::{Exit, Result};
use crate::journal::{
    self, Journal, NewSection, OnRecord, Paths, Prepared, RegisterIdentity, Snapshot, Start,
};
use crate::output::Output;
use crate::plan::{Plan, RegisterRequests, SendOrder};
use crate::register::Register;
use crate::register::update::RunFacts;
use crate::report::{self, Unfinished};
use crate::ui::say::{self, now};

/// Time after which no request can arrive at the Org any more. Until then, no other request for the
/// same user is sent.
const MAX_DELAY_OF_REQUESTS: Duration = Duration::from_mins(1);

/// What a run is about to begin with.
pub(super) struct Beginning<'a> {
    pub(super) job: &'a Job,
    pub(super) settings: &'a Settings,
    pub(super) paths: &'a Paths,
    pub(super) start: Start,
    pub(super) register: Option<OpenRegister>,
    pub(super) requests: RegisterRequests,
    pub(super) plan: Plan,
}

/// A run whose journal is on the disk and whose users are marked in the register: it may send.
pub(super) struct Begun {
    pub(super) plan: Plan,
    pub(super) journal: Journal<File>,
    pub(super) on_record: OnRecord,
    pub(super) order: SendOrder,
    pub(super) register: Option<RegisterRun>,
}

impl Beginning<'_> {
    /// Checks whether there are no rows, or a `sync` has found neither a difference nor a row that
    /// needs attention.
    pub(super) fn has_nothing_to_do(&self, rest: &RemainingWork) -> bool {
        if self.job.command != "sync" {
            return rest.counts.rows == 0;
        }
        rest.counts.to_send() == 0
            && rest.counts.invalid == 0
            && self.plan.sync_counts().withheld == 0
    }

    /// Ends a run that has nothing to do: the register takes over what the table of a `sync` says
    /// about people, and no report is made.
    pub(super) fn end_without_report(self, metrics: Option<&Output>) -> Result<Exit> {
        let exceptions = match self.register {
            Some(register) if self.job.command == "sync" => {
                let facts = RunFacts {
                    run: run_name(self.start.at).into(),
                    list: self.start.identity.register.as_ref().and_then(list_of),
                };
                let today = self.plan.options().today;
                Some(register.bring_in_unsent(&facts, &self.requests, today)?)
            }
            _ => None,
        };
        if let Some(metrics) = metrics {
            let run = Unfinished {
                address: &self.start.identity.address,
                input: &self.start.identity.input.name,
                command: self.job.command,
                started: self.start.at,
                ended: now(),
                exit_code: Exit::Done.code(),
                exceptions,
            };
            report::write_metrics_of_unfinished(metrics, &run)?;
        }
        say::note(self.settings, &self.job.nothing_to_do());
        Ok(Exit::Done)
    }

    /// Waits until no request of an earlier run can arrive any more. Returns the signal that ended
    /// the wait, if one did.
    pub(super) async fn wait_for_late_requests(
        &self,
        signals: &mut BoxStream<'static, Signal>,
    ) -> Option<Signal> {
        let in_doubt_since = match &self.register {
            Some(register) => register.latest_doubt(&self.requests),
            None => None,
        };
        let unknown_at = self.plan.latest_unknown_at().max(in_doubt_since);
        wait_for_late_requests(self.settings, unknown_at, signals).await
    }

    /// Locks the register, makes the journal and the snapshot, and marks the users in the register,
    /// in this order.
    pub(super) fn begin(mut self) -> Result<Begun> {
        self.start.at = now();
        let mode = mode(self.settings);
        let lock = match &self.register {
            Some(register) => Some(register.lock(self.paths)?),
            None => None,
        };
        let prepared = journal::prepare(self.paths, self.job.input_path(), &self.start, mode)?;
        let snapshot = match make_snapshot(&prepared, &self.plan, self.register.as_ref()) {
            Ok(snapshot) => snapshot,
            Err(error) => {
                prepared.give_up();
                return Err(error);
            }
        };
        let former = match &self.register {
            Some(register) => Some(former_register(register, &snapshot)?),
            None => None,
        };
        if let Some(copy) = private_copy(&snapshot, journal::INPUT) {
            self.plan.read_from(copy);
        }
        let (journal, on_record) = prepared.begin(&self.start, mode)?;
        let failed_before = match &self.register {
            Some(register) => register.rows_that_failed(&self.requests),
            None => RoaringTreemap::new(),
        };
        let deferred = on_record.deferred.values().chain([&failed_before]);
        let order = SendOrder::new(self.plan.counts().rows, &on_record.rows, deferred);
        let register = match (self.register, lock, former) {
            (Some(register), Some(lock), Some(former)) => {
                let began = on_record.runs.first().map_or(self.start.at, |run| run.at);
                let what = RegisterBegin {
                    lock,
                    former,
                    facts: RunFacts {
                        run: run_name(began).into(),
                        list: self.start.identity.register.as_ref().and_then(list_of),
                    },
                    requests: self.requests,
                    today: self.plan.options().today,
                };
                Some(RegisterRun::begin(register, what)?)
            }
            _ => None,
        };
        Ok(Begun {
            plan: self.plan,
            journal,
            on_record,
            order,
            register,
        })
    }
}

fn list_of(register: &RegisterIdentity) -> Option<String> {
    register.list.clone()
}

/// Returns the register as it was before the run, which may have been begun by an earlier process.
fn former_register(opened: &OpenRegister, snapshot: &Snapshot) -> Result<Arc<Register>> {
    let section = snapshot.section(journal::REGISTER);
    if section.is_some_and(|section| section.hash != opened.hash)
        && let Some(bytes) = snapshot.read(journal::REGISTER)?
        && let Ok(register) = Register::parse(&bytes)
    {
        return Ok(Arc::new(register));
    }
    Ok(Arc::clone(&opened.register))
}

/// Makes the snapshot of the files that the run reads, or finds the one that an interrupted run
/// left.
fn make_snapshot(
    prepared: &Prepared<'_>,
    plan: &Plan,
    register: Option<&OpenRegister>,
) -> Result<Snapshot> {
    let (mut table, length) = plan.input().raw();
    let mut sections = vec![NewSection {
        name: journal::INPUT,
        length,
        hash: plan.fingerprint(),
        content: &mut table,
    }];
    let mut list;
    if let Some(directory) = plan.directory() {
        let length;
        (list, length) = directory.raw();
        sections.push(NewSection {
            name: journal::IDS,
            length,
            hash: directory.fingerprint(),
            content: &mut list,
        });
    }
    let mut unread;
    if let Some(register) = register {
        unread = register.csv.as_slice();
        sections.push(NewSection {
            name: journal::REGISTER,
            length: register.csv.len() as u64,
            hash: register.hash,
            content: &mut unread,
        });
    }
    prepared.snapshot(&mut sections)
}

/// Waits until no request of the earlier run can arrive any more. Returns the signal that ended the
/// wait, if one did.
async fn wait_for_late_requests(
    settings: &Settings,
    unknown_at: Option<Timestamp>,
    signals: &mut BoxStream<'static, Signal>,
) -> Option<Signal> {
    let left = time_to_wait(unknown_at?, now())?;
    let seconds = left.as_secs() + 1;
    say::note(
        settings,
        &format!("waiting {seconds} s for late requests of the earlier run"),
    );
    tokio::select! {
        () = tokio::time::sleep(left) => None,
        signal = signals.next() => signal,
    }
}

/// Returns how long to wait after a row became unknown at this time, so that no request for it can
/// arrive any more. `None` if that time has passed. A clock that was put back does not make the
/// wait longer.
fn time_to_wait(unknown_at: Timestamp, now: Timestamp) -> Option<Duration> {
    let end = unknown_at.checked_add(MAX_DELAY_OF_REQUESTS).ok()?;
    let left = Duration::try_from(end.duration_since(now)).ok()?;
    if left.is_zero() {
        return None;
    }
    Some(left.min(MAX_DELAY_OF_REQUESTS))
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn run_waits_until_a_minute_after_the_last_attempt_of_an_unknown_row() {
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
                time_to_wait(unknown_at, now),
                left.map(Duration::from_secs),
                "{seconds_later} s later"
            );
        }
    }
}
