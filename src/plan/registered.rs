//! What a register adds to a plan: rows that need no request, rows for people who have left the
//! table, and for each user what the run wants, so that the register can be brought up to date.

use std::sync::Arc;

use jiff::civil::Date;
use roaring::RoaringTreemap;

use super::row_check::{RowCheck, RowRequest};
use super::{Action, Counts, Plan, Step};
use crate::domain::{Change, Flag, Outcome, People, Record, RowNumber, Threshold, UserId};
use crate::error::{Error, Kind, Result};
use crate::register::comparison::{Absent, RowAction, SyncRules};
use crate::register::update::{Request, RequestOrigin};
use crate::register::{Register, kept_text};
use crate::text::push_csv_cell;

/// The name of the column in a report of `sync` that says what the register said before.
pub const REGISTERED_COLUMN: &str = "registered";

/// How a run uses the register.
#[derive(Clone, Debug, Default)]
pub enum RegisterUse {
    /// The register does not change what is sent.
    #[default]
    None,
    /// Only differences are sent.
    Sync(Arc<SyncUse>),
    /// Rows of an earlier report are not sent if the register confirms the user after the report.
    FollowUp(Arc<Register>),
}

/// How `sync` uses the register.
#[derive(Debug)]
pub struct SyncUse {
    /// The register.
    pub register: Arc<Register>,
    /// The rules of the comparison.
    pub rules: SyncRules,
    /// Whether people who have left the table are listed only.
    pub keep_missing: bool,
}

/// Why a row that is understood is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skip {
    /// The register says what the row wants.
    AlreadySet,
    /// The row's end date has passed, and another list wants the user opted out.
    OnAnotherList,
    /// A later run has changed the user.
    ConfirmedLater,
    /// The earlier run changed nothing.
    NothingToRestore,
    /// It is not known to what the user has to be set back.
    NotRestorable,
}

impl Skip {
    pub(super) fn detail(self) -> &'static str {
        match self {
            Self::AlreadySet => "already set according to the register",
            Self::OnAnotherList => {
                "the end date has passed, but the user is on another list as well"
            }
            Self::ConfirmedLater => {
                "not sent: according to the register a later run has changed this user"
            }
            Self::NothingToRestore => "not sent: the register said the same before",
            Self::NotRestorable => "not undone: it is not certain what the user was set to before",
        }
    }
}

/// A row that stands behind those of the table.
#[derive(Clone, Debug)]
pub(super) struct Appended {
    user: UserId,
    name: String,
    registered: &'static str,
    origin: RequestOrigin,
    /// Why nothing is sent; `None` if the user is opted back in.
    withheld: Option<&'static str>,
}

impl Appended {
    /// Returns why the user is opted back in.
    fn cause(&self) -> &'static str {
        match self.origin {
            RequestOrigin::Row | RequestOrigin::Departure => "left the table",
            RequestOrigin::Expiry => "the end date in the register has passed",
        }
    }
}

/// How a table differs from the register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncCounts {
    /// Rows of users who are not in the register.
    pub arrivals: u64,
    /// Rows of users with another flag in the register, or all others that are sent with `--full`.
    pub changes: u64,
    /// Users to send whose flag in the register is unknown.
    pub doubts: u64,
    /// Users who have left the table and are opted back in.
    pub departures: u64,
    /// Users who have left the table and are left as they are.
    pub withheld: u64,
    /// Users on no list whose end date has passed.
    pub expiries: u64,
    /// Users who leave this list and are on another one.
    pub leaving: u64,
    /// Rows of an earlier report whose user a later run has changed.
    pub changed_later: u64,
    /// Rows of an earlier report that an undo can't take back.
    pub not_restorable: u64,
}

/// What a plan makes of the register.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    pub(super) usage: RegisterUse,
    pub(super) counts: SyncCounts,
    pub(super) absent: Absent,
    pub(super) appended: Vec<Appended>,
}

impl Comparison {
    pub(super) fn new(usage: RegisterUse) -> Self {
        Self {
            usage,
            ..Self::default()
        }
    }

    /// Returns why a row is not sent; `None` if it is.
    pub(super) fn skip(&self, ask: &RowRequest) -> Option<Skip> {
        match &self.usage {
            RegisterUse::Sync(sync) => {
                let has_lapsed = ask.lapsed.is_some();
                match sync
                    .register
                    .action_for(ask.user, ask.flag, has_lapsed, &sync.rules)
                {
                    RowAction::Send => None,
                    RowAction::Keep => Some(Skip::AlreadySet),
                    RowAction::LeaveList => Some(Skip::OnAnotherList),
                }
            }
            RegisterUse::None | RegisterUse::FollowUp(_) => ask.skip,
        }
    }

    /// Checks whether a row that is not sent would change nothing in the register.
    fn is_up_to_date(&self, user: UserId, until: Option<Date>, name: &str, reason: &str) -> bool {
        match &self.usage {
            RegisterUse::Sync(sync) => {
                let entry = sync.register.get(user);
                entry
                    .is_some_and(|entry| entry.is_up_to_date(&sync.rules.list, until, name, reason))
            }
            RegisterUse::None | RegisterUse::FollowUp(_) => false,
        }
    }

    /// Takes note of a row that is not sent.
    pub(super) fn count_skipped(skip: Skip, counts: &mut SyncCounts) {
        match skip {
            Skip::ConfirmedLater => counts.changed_later += 1,
            Skip::NotRestorable => counts.not_restorable += 1,
            Skip::AlreadySet | Skip::OnAnotherList | Skip::NothingToRestore => {}
        }
    }

    /// Takes note of a row that is sent.
    pub(super) fn count_sent(&self, ask: &RowRequest, counts: &mut SyncCounts) {
        let RegisterUse::Sync(sync) = &self.usage else {
            return;
        };
        match sync.register.get(ask.user) {
            None => counts.arrivals += 1,
            Some(entry) if entry.flag.known().is_none() => counts.doubts += 1,
            Some(_) => counts.changes += 1,
        }
    }

    /// Finds the users who are not in the table, and adds their rows to the counts.
    pub(super) fn find_absent(
        &mut self,
        in_table: &RoaringTreemap,
        rows_left_out: bool,
        counts: &mut Counts,
    ) {
        let RegisterUse::Sync(sync) = &self.usage else {
            return;
        };
        let withheld = if sync.keep_missing {
            Some("left as it is because of --keep-missing")
        } else if counts.invalid > 0 {
            Some("left as it is because rows of the table are invalid")
        } else if rows_left_out {
            Some("left as it is because hidden rows are left out")
        } else {
            None
        };
        let absent = sync.register.absent(in_table, &sync.rules);
        self.counts.leaving = absent.leaving.len() as u64;
        self.appended.clear();
        for user in &absent.departures {
            let row = appended(&sync.register, *user, RequestOrigin::Departure, withheld);
            self.appended.push(row);
        }
        for user in &absent.expiries {
            let row = appended(&sync.register, *user, RequestOrigin::Expiry, None);
            self.appended.push(row);
        }
        for row in &self.appended {
            counts.rows += 1;
            if row.withheld.is_some() {
                counts.unchanged += 1;
                self.counts.withheld += 1;
                continue;
            }
            counts.opt_in += 1;
            match row.origin {
                RequestOrigin::Row | RequestOrigin::Departure => self.counts.departures += 1,
                RequestOrigin::Expiry => self.counts.expiries += 1,
            }
            if row.registered == "unknown" {
                self.counts.doubts += 1;
            }
        }
        self.absent = absent;
    }

    /// Returns what the register says about a user, for the report's column; `None` if the report
    /// has no such column.
    pub(super) fn registered(&self, user: Option<UserId>) -> Option<&'static str> {
        let RegisterUse::Sync(sync) = &self.usage else {
            return None;
        };
        let entry = user.and_then(|user| sync.register.get(user));
        Some(entry.map_or("", |entry| entry.flag.as_str()))
    }
}

fn appended(
    register: &Register,
    user: UserId,
    origin: RequestOrigin,
    withheld: Option<&'static str>,
) -> Appended {
    let entry = register.get(user);
    Appended {
        user,
        name: entry.map(|entry| entry.name.clone()).unwrap_or_default(),
        registered: entry.map_or("", |entry| entry.flag.as_str()),
        origin,
        withheld,
    }
}

/// What a run wants for the users in a register.
#[derive(Debug, Default)]
pub struct RegisterRequests {
    /// Rows that are sent, in their order.
    pub sent: Vec<(RowNumber, Request)>,
    /// Rows that need no request because the register says the same.
    pub kept: Vec<Request>,
    /// Users whose entry leaves the list without a request.
    pub leaving: Vec<UserId>,
}

impl Plan {
    /// Returns how the table differs from the register.
    #[must_use]
    pub fn sync_counts(&self) -> &SyncCounts {
        &self.comparison.counts
    }

    /// Checks whether people who have left the table are left as they are because hidden rows are
    /// left out, so that the table may not be all of the list.
    #[must_use]
    pub fn holds_back_departures(&self) -> bool {
        match &self.comparison.usage {
            RegisterUse::Sync(sync) => {
                let has_hidden_rows = self.input.found().hidden_left_out > 0;
                has_hidden_rows && !sync.keep_missing && self.comparison.counts.withheld > 0
            }
            RegisterUse::None | RegisterUse::FollowUp(_) => false,
        }
    }

    /// Checks that not too many people of the list are missing from the table; `None` stands for
    /// the default limit.
    ///
    /// # Errors
    /// Of [`Kind::Refused`] if there are, and if the table is empty unless `limit` is 100 %.
    pub fn check_missing(&self, limit: Option<Threshold>) -> Result<()> {
        let RegisterUse::Sync(_) = &self.comparison.usage else {
            return Ok(());
        };
        let rows_of_table = self.counts.rows - self.comparison.appended.len() as u64;
        if rows_of_table == 0 && limit != Some(Threshold::Percent(100.0)) {
            let message = "the table has no rows: everybody on this list would be opted back in";
            return Err(Error::new(Kind::Refused, message)
                .help("check the table; if it is right, give --max-missing 100% for this run"));
        }
        self.comparison.absent.check_missing(limit)
    }

    /// Returns what the run wants for each user. `reason` is the reason of users for whom the table
    /// gives none.
    ///
    /// # Errors
    /// If the input can't be read any more, or was changed.
    pub fn register_requests(&self, reason: Option<&str>) -> Result<RegisterRequests> {
        let mut requests = RegisterRequests::default();
        let people = self.people();
        let mut seen = RoaringTreemap::new();
        let mut number = 0;
        let mut rows = self.row_reader()?;
        while let Some(check) = rows.next()? {
            let ask = match check {
                RowCheck::NotSelected => continue,
                RowCheck::Invalid(_) => {
                    number += 1;
                    continue;
                }
                RowCheck::Request(request) => request,
            };
            number += 1;
            let id = ask.user.get();
            if self.ids.contradicted.contains(id) || !seen.insert(id) {
                continue;
            }
            let until = rows.reading.until_of_opt_out(&rows.row, &ask);
            let name = people.name(&rows.row.cells);
            let name = kept_text(&name);
            let in_table = people.reason(&rows.row.cells);
            let reason = match reason {
                Some(reason) if in_table.is_empty() => kept_text(reason),
                _ => kept_text(&in_table),
            };
            let request = || Request {
                user: ask.user,
                flag: ask.flag,
                origin: RequestOrigin::Row,
                until,
                name: name.clone().into_owned(),
                reason: reason.clone().into_owned(),
            };
            match self.comparison.skip(&ask) {
                None => requests.sent.push((number, request())),
                Some(Skip::AlreadySet) => {
                    if !self
                        .comparison
                        .is_up_to_date(ask.user, until, &name, &reason)
                    {
                        requests.kept.push(request());
                    }
                }
                Some(Skip::OnAnotherList) => requests.leaving.push(ask.user),
                Some(Skip::ConfirmedLater | Skip::NothingToRestore | Skip::NotRestorable) => {}
            }
        }
        for appended in &self.comparison.appended {
            number += 1;
            if appended.withheld.is_none() {
                let request = Request {
                    user: appended.user,
                    flag: Flag::OptIn,
                    origin: appended.origin,
                    until: None,
                    name: String::new(),
                    reason: String::new(),
                };
                requests.sent.push((number, request));
            }
        }
        requests.leaving.extend(&self.comparison.absent.leaving);
        Ok(requests)
    }

    /// Returns the step of a row that stands behind those of the table.
    pub(super) fn appended_step(&self, index: usize, number: RowNumber) -> Option<Step> {
        let appended = self.comparison.appended.get(index)?;
        let cause = appended.cause();
        let action = match appended.withheld {
            Some(withheld) => Action::Settled(Record::unsent(
                number,
                None,
                Outcome::Unchanged,
                Some(Flag::OptIn),
                format!("{cause}; {withheld}"),
            )),
            None => Action::Send(Change {
                row: number,
                line: None,
                user: appended.user,
                flag: Flag::OptIn,
                in_doubt: false,
                cause,
            }),
        };
        Some(Step {
            cells: self.appended_cells(appended),
            action,
        })
    }

    fn people(&self) -> People {
        People::find(self.header().iter().map(String::as_str))
    }

    fn appended_cells(&self, appended: &Appended) -> Vec<u8> {
        let columns = self.input.columns();
        let name_column = self.people().only_name_column();
        let id_is_added = self.directory().is_some();
        let user = appended.user.to_string();
        let mut out = Vec::new();
        for column in 0..columns.carried {
            if column == columns.id && !id_is_added {
                out.extend_from_slice(user.as_bytes());
            } else if Some(column) == columns.flag {
                out.extend_from_slice(b"false");
            } else if Some(column) == name_column {
                push_csv_cell(&mut out, appended.name.as_bytes());
            }
            out.push(b',');
        }
        if id_is_added {
            out.extend_from_slice(user.as_bytes());
            out.push(b',');
        }
        out.extend_from_slice(appended.registered.as_bytes());
        out
    }
}
