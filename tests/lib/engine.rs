//! The engine alone: a scripted Org under a clock that the runtime moves, and a disk that fails on
//! demand. The tests check the order of actions: a record is on disk before its event, and nothing
//! is sent after a failed write.

use std::cell::{Cell, RefCell};
use std::io::{self, Write};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use mfa_optout::testing::api::Org;
use mfa_optout::testing::domain::{
    Change, Ending, Event, Flag, LoginResult, Outcome, Rate, Record, Reply, SendResult, Signal,
    Stop, Tally, Threshold, UserId,
};
use mfa_optout::testing::engine::{self, Alarm, Run, Sent};
use mfa_optout::testing::error::{Exit, Result};
use mfa_optout::testing::journal::{Journal, PendingSync, Storage};
use mfa_optout::testing::plan::{Action, Step};
use mfa_optout::testing::policy::{Policy, Rules};
use proptest::prelude::*;
use roaring::RoaringTreemap;

/// Answers after a while, as the script says.
struct Scripted<F> {
    script: F,
    latency: Duration,
    /// How long the first answer takes, where that differs.
    first: Option<Duration>,
    sent: RefCell<Vec<u64>>,
}

impl<F: Fn(u64) -> u16> Scripted<F> {
    fn new(latency: Duration, script: F) -> Self {
        Self {
            script,
            latency,
            first: None,
            sent: RefCell::default(),
        }
    }

    fn requests(&self) -> usize {
        self.sent.borrow().len()
    }
}

impl<F: Fn(u64) -> u16> Org for Scripted<F> {
    async fn set(&self, user: UserId, _flag: Flag) -> SendResult {
        self.sent.borrow_mut().push(user.get());
        let first = self.first.filter(|_| self.requests() == 1);
        tokio::time::sleep(first.unwrap_or(self.latency)).await;
        SendResult::Reply(Reply {
            status: (self.script)(user.get()),
            ..Reply::default()
        })
    }

    async fn log_in(&self) -> LoginResult {
        tokio::time::sleep(self.latency).await;
        LoginResult::Token {
            lifetime: Some(Duration::from_mins(15)),
        }
    }
}

/// A disk that keeps what it is given, and fails from the n-th call on.
#[derive(Clone, Default)]
struct Disk {
    bytes: Rc<RefCell<Vec<u8>>>,
    calls: Rc<Cell<usize>>,
    /// How many of the bytes outlive a power cut.
    synced: Rc<Cell<usize>>,
    fails_at: Option<usize>,
}

impl Disk {
    fn call(&self) -> io::Result<()> {
        self.calls.set(self.calls.get() + 1);
        match self.fails_at {
            Some(at) if self.calls.get() >= at => Err(io::Error::from(io::ErrorKind::StorageFull)),
            _ => Ok(()),
        }
    }

    /// The last row that a mark on the disk allows to be sent, as far as a power cut would leave
    /// it.
    fn mark(&self) -> u64 {
        last_mark(&self.bytes.borrow()[..self.synced.get()])
    }

    fn holds(&self, row: u64) -> bool {
        let text = String::from_utf8(self.bytes.borrow().clone()).unwrap();
        text.contains(&format!("user {row},{},", row + 1))
    }
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.call()?;
        self.bytes.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Storage for Disk {
    fn sync_data(&mut self) -> io::Result<()> {
        self.call()?;
        self.synced.set(self.bytes.borrow().len());
        Ok(())
    }
}

/// Reads the last mark in the bytes of a journal, without the tool's own code.
fn last_mark(bytes: &[u8]) -> u64 {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(bytes);
    let records = reader.records().map(|record| record.unwrap());
    let marks = records.filter(|record| &record[0] == "mfa-optout mark");
    marks.last().map_or(0, |mark| {
        let json: serde_json::Value = serde_json::from_str(&mark[1]).unwrap();
        json["row"].as_u64().unwrap()
    })
}

fn rules(rate: Rate) -> Rules {
    Rules {
        rate,
        concurrency: Some(8),
        max_attempts: 2,
        max_wait: Duration::from_mins(5),
        outage_patience: Duration::from_mins(10),
        max_failures: Threshold::Count(100),
        max_duration: None,
        confirmed_before: false,
        max_in_flight: usize::MAX,
        session: false,
        seed: 3,
    }
}

fn steps(rows: u64) -> impl Iterator<Item = Result<Step>> {
    (1..=rows).map(|row| {
        let cells = format!("user {row}").into_bytes();
        let action = if row.is_multiple_of(10) {
            Action::Settled(duplicate(row))
        } else {
            Action::Send(Change {
                row,
                line: Some(row + 1),
                user: UserId::new(row).unwrap(),
                flag: Flag::OptOut,
                in_doubt: false,
                cause: "",
            })
        };
        Ok(Step { cells, action })
    })
}

fn duplicate(row: u64) -> Record {
    Record::unsent(
        row,
        Some(row + 1),
        Outcome::Duplicate,
        Some(Flag::OptOut),
        String::new(),
    )
}

fn never() -> BoxStream<'static, Signal> {
    stream::pending().boxed()
}

async fn run<O: Org>(
    org: &O,
    rules: Rules,
    rows: u64,
    disk: &Disk,
    (mut stop, mut watch): (BoxStream<'static, Signal>, impl FnMut(&Event<'_>)),
) -> Result<Sent> {
    let mut journal = Journal::new(disk.clone(), PathBuf::from("users.report.csv.partial"), 0);
    let run = Run {
        policy: Policy::new(rules),
        org,
        changes: &mut steps(rows),
        journal: &mut journal,
        on_record: Tally::default(),
        in_doubt: RoaringTreemap::new(),
        alarm: Alarm::coarse(),
    };
    engine::run(run, &mut stop, &mut |_, event| {
        if let Some(event) = event {
            watch(event);
        }
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn every_record_is_on_disk_before_its_event() {
    let org = Scripted::new(
        Duration::from_millis(40),
        |user| if user == 7 { 404 } else { 204 },
    );
    let disk = Disk::default();
    let mut told = Vec::new();
    let watch = |event: &Event<'_>| {
        if let Event::Recorded { record, .. } = event {
            assert!(
                disk.holds(record.row),
                "row {} was told of before it was written",
                record.row
            );
            told.push(record.row);
        }
    };
    let sent = run(&org, rules(Rate::Unlimited), 200, &disk, (never(), watch))
        .await
        .unwrap();
    told.sort_unstable();
    assert_eq!(told, (1..=200).collect::<Vec<_>>());
    assert_eq!(sent.ending, Ending::Complete);
    assert_eq!(sent.traffic.requests, 180);
    let counts = [Outcome::Applied, Outcome::Failed, Outcome::Duplicate]
        .map(|outcome| sent.tally.count(outcome));
    assert_eq!(counts, [179, 1, 20]);
    assert_eq!(
        Exit::of_run(&sent.ending, &sent.tally),
        Exit::RowsNeedAttention
    );
}

#[tokio::test(start_paused = true)]
async fn a_settled_row_is_on_disk_while_requests_are_in_flight() {
    // Shorter than the time to the next event about the clock, which would also write the record.
    let org = Scripted::new(Duration::from_millis(20), |_| 204);
    let disk = Disk::default();
    let order = RefCell::new(Vec::new());
    let watch = |event: &Event<'_>| match event {
        Event::Answered { change, .. } => order.borrow_mut().push(("answered", change.row)),
        Event::Recorded { record, .. } => order.borrow_mut().push(("recorded", record.row)),
        _ => {}
    };
    let rules = Rules {
        concurrency: Some(10),
        ..rules(Rate::Unlimited)
    };
    run(&org, rules, 11, &disk, (never(), watch)).await.unwrap();
    assert_eq!(
        order.borrow()[..4],
        [
            ("answered", 1),
            ("recorded", 1),
            ("recorded", 10),
            ("answered", 2)
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_failed_write_ends_the_run_at_any_point() {
    for fails_at in 1..=60 {
        let org = Scripted::new(Duration::from_millis(40), |_| 204);
        let disk = Disk {
            fails_at: Some(fails_at),
            ..Disk::default()
        };
        let told = Cell::new(0_usize);
        let watch = |event: &Event<'_>| {
            if let Event::Recorded { record, .. } = event {
                assert!(disk.holds(record.row));
                told.set(told.get() + 1);
            }
        };
        let rate = Rate::Limited {
            requests: 100,
            per: Duration::from_secs(1),
        };
        match run(&org, rules(rate), 200, &disk, (never(), watch)).await {
            Ok(sent) => assert_eq!(
                sent.ending,
                Ending::Complete,
                "the disk was called {} times",
                disk.calls.get()
            ),
            Err(error) => {
                assert_eq!(error.exit(), Exit::StoppedEarly, "{error}");
                assert_eq!(
                    disk.calls.get(),
                    fails_at,
                    "the disk was used again after it had failed"
                );
                // Duplicates are told of without a request; at most eight requests were out and are
                // not on record.
                assert!(
                    org.requests() <= told.get() + 8 + 1,
                    "{} sent, {} told",
                    org.requests(),
                    told.get()
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_signal_waits_for_requests_in_flight_and_a_second_one_does_not() {
    let latency = Duration::from_secs(3);
    let org = Scripted::new(latency, |_| 204);
    let rate = Rate::Limited {
        requests: 10,
        per: Duration::from_secs(1),
    };
    let sent = run(
        &org,
        rules(rate),
        1_000,
        &Disk::default(),
        (terminated(&[20]), |_: &Event<'_>| ()),
    )
    .await
    .unwrap();
    assert_eq!(sent.ending, Ending::Interrupted(Signal::Terminate));
    assert_eq!(
        (sent.tally.count(Outcome::Applied), sent.rows_in_doubt.len()),
        (org.requests() as u64, 0)
    );

    let org = Scripted::new(latency, |_| 204);
    let sent = run(
        &org,
        rules(rate),
        1_000,
        &Disk::default(),
        (terminated(&[20, 1]), |_: &Event<'_>| ()),
    )
    .await
    .unwrap();
    assert_eq!(sent.ending, Ending::Interrupted(Signal::Terminate));
    let applied = sent.tally.count(Outcome::Applied);
    assert!(applied < org.requests() as u64);
    assert_eq!(sent.rows_in_doubt.len(), org.requests() as u64 - applied);
    assert_eq!(sent.elapsed, Duration::from_secs(21));
}

#[tokio::test(start_paused = true)]
async fn a_signal_ends_a_run_in_which_no_row_has_to_be_sent() {
    let made = |action| {
        Ok(Step {
            cells: Vec::new(),
            action,
        })
    };
    let settled = move |row| made(Action::Settled(duplicate(row)));
    let passed_over = move |_| made(Action::Skipped);
    for (many, kind) in [(1_000_000, 0), (1_000, 1)] {
        let org = Scripted::new(Duration::ZERO, |_| 204);
        let taken = Cell::new(0);
        let mut journal = Journal::new(
            Disk::default(),
            PathBuf::from("users.report.csv.partial"),
            0,
        );
        let changes = (1..=many).inspect(|row| taken.set(*row));
        let run = Run {
            policy: Policy::new(rules(Rate::Unlimited)),
            org: &org,
            changes: &mut changes.map(|row| {
                if kind == 0 {
                    settled(row)
                } else {
                    passed_over(row)
                }
            }),
            journal: &mut journal,
            on_record: Tally::default(),
            in_doubt: RoaringTreemap::new(),
            alarm: Alarm::coarse(),
        };
        let mut stop = stream::iter([Signal::Terminate]).chain(stream::pending());
        let sent = engine::run(run, &mut stop, &mut |_, _| ()).await.unwrap();
        assert_eq!(sent.ending, Ending::Interrupted(Signal::Terminate));
        assert!(
            taken.get() < many / 100,
            "{} of {many} were taken first",
            taken.get()
        );
    }
}

/// Gives tokens of 5 ms, and answers when that time of day has gone by while the run's own clock
/// stands still.
struct Asleep {
    log_ins: Cell<usize>,
}

impl Asleep {
    const LIFE: Duration = Duration::from_millis(5);
}

impl Org for Asleep {
    #[allow(
        clippy::disallowed_methods,
        reason = "the time of day is what this is about"
    )]
    async fn set(&self, _user: UserId, _flag: Flag) -> SendResult {
        let asked = std::time::SystemTime::now();
        while asked.elapsed().unwrap() < Self::LIFE {}
        SendResult::Reply(Reply {
            status: 204,
            ..Reply::default()
        })
    }

    async fn log_in(&self) -> LoginResult {
        self.log_ins.set(self.log_ins.get() + 1);
        LoginResult::Token {
            lifetime: Some(Self::LIFE),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_is_renewed_after_a_suspension_that_stopped_the_clock() {
    let org = Asleep {
        log_ins: Cell::new(0),
    };
    let rules = Rules {
        session: true,
        concurrency: Some(1),
        ..rules(Rate::Unlimited)
    };
    let sent = run(
        &org,
        rules,
        3,
        &Disk::default(),
        (never(), |_: &Event<'_>| ()),
    )
    .await
    .unwrap();
    assert_eq!(
        (sent.ending, sent.elapsed),
        (Ending::Complete, Duration::ZERO)
    );
    assert!(
        org.log_ins.get() >= 3,
        "{} log-ins: one before each row",
        org.log_ins.get()
    );
}

/// Returns a SIGTERM after each of these spans, in seconds, counted from the one before.
fn terminated(after: &'static [u64]) -> BoxStream<'static, Signal> {
    signals(after.iter().map(|seconds| (*seconds, Signal::Terminate)))
}

/// Returns signals, each of them the given number of seconds after the one before.
fn signals(
    after: impl Iterator<Item = (u64, Signal)> + Send + 'static,
) -> BoxStream<'static, Signal> {
    let signals = stream::iter(after).then(async |(seconds, signal)| {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        signal
    });
    signals.chain(stream::pending()).boxed()
}

#[tokio::test(start_paused = true)]
async fn only_a_second_sigint_or_sigterm_abandons_requests_in_flight() {
    use Signal::{HangUp, Interrupt, Terminate};
    let cases: [(&'static [Signal], Signal, bool); 6] = [
        (&[HangUp, HangUp, HangUp], HangUp, false),
        (&[HangUp, Interrupt], HangUp, false),
        (&[Terminate, HangUp, HangUp], Terminate, false),
        (&[HangUp, Interrupt, Terminate], Terminate, true),
        (&[Interrupt, HangUp, Interrupt], Interrupt, true),
        (&[Interrupt, Terminate], Terminate, true),
    ];
    for (received, ended_by, is_cut_off) in cases {
        let org = Scripted::new(Duration::from_secs(8), |_| 204);
        let rate = Rate::Limited {
            requests: 10,
            per: Duration::from_secs(1),
        };
        let stop = signals(received.iter().zip(0..).map(|(signal, place)| {
            let first = if place == 0 { 20 } else { 1 };
            (first, *signal)
        }));
        let watch = |_: &Event<'_>| ();
        let sent = run(&org, rules(rate), 1_000, &Disk::default(), (stop, watch))
            .await
            .unwrap();
        assert_eq!(sent.ending, Ending::Interrupted(ended_by), "{received:?}");
        assert_eq!(!sent.rows_in_doubt.is_empty(), is_cut_off, "{received:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_input_that_fails_during_the_run_ends_it_after_requests_in_flight_are_recorded() {
    // Answers come long after the input has failed, the last one not within the time that is
    // waited.
    for (latency, recorded) in [(2, 8), (9, 8), (11, 1)] {
        let org = Scripted {
            first: Some(Duration::from_millis(10)),
            ..Scripted::new(Duration::from_secs(latency), |_| 204)
        };
        let disk = Disk::default();
        let mut journal = Journal::new(disk.clone(), PathBuf::from("users.report.csv.partial"), 0);
        let broken = || {
            mfa_optout::testing::error::Error::new(
                mfa_optout::testing::error::Kind::Input,
                "row 9 can't be read",
            )
        };
        let run = Run {
            policy: Policy::new(rules(Rate::Limited {
                requests: 10,
                per: Duration::from_secs(1),
            })),
            org: &org,
            changes: &mut steps(8).chain(std::iter::once_with(|| Err(broken()))),
            journal: &mut journal,
            on_record: Tally::default(),
            in_doubt: RoaringTreemap::new(),
            alarm: Alarm::coarse(),
        };
        let sent = engine::run(run, &mut never(), &mut |_, _| ())
            .await
            .unwrap();
        let failed = Ending::Stopped(Stop::InputFailed {
            message: "row 9 can't be read".to_owned(),
        });
        assert_eq!(sent.ending, failed);
        assert_eq!(Exit::of_run(&sent.ending, &sent.tally), Exit::StoppedEarly);
        assert_eq!(org.requests(), 8);
        assert_eq!(sent.tally.count(Outcome::Applied), recorded);
        assert_eq!(sent.rows_in_doubt.len(), 8 - recorded);
        assert!((1..=recorded).all(|row| disk.holds(row)), "{latency} s");
        assert_eq!(
            disk.synced.get(),
            disk.bytes.borrow().len(),
            "and none is left to a power cut"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_signal_ends_the_wait_for_requests_in_flight_after_the_input_failed() {
    let org = Scripted {
        first: Some(Duration::from_millis(10)),
        ..Scripted::new(Duration::from_secs(9), |_| 204)
    };
    let mut journal = Journal::new(
        Disk::default(),
        PathBuf::from("users.report.csv.partial"),
        0,
    );
    let broken = || {
        mfa_optout::testing::error::Error::new(
            mfa_optout::testing::error::Kind::Input,
            "row 5 can't be read",
        )
    };
    let run = Run {
        policy: Policy::new(rules(Rate::Limited {
            requests: 10,
            per: Duration::from_secs(1),
        })),
        org: &org,
        changes: &mut steps(4).chain(std::iter::once_with(|| Err(broken()))),
        journal: &mut journal,
        on_record: Tally::default(),
        in_doubt: RoaringTreemap::new(),
        alarm: Alarm::coarse(),
    };
    let sent = engine::run(run, &mut terminated(&[2, 1]), &mut |_, _| ())
        .await
        .unwrap();
    assert_eq!(sent.ending, Ending::Interrupted(Signal::Terminate));
    assert_eq!(
        (sent.elapsed, sent.rows_in_doubt.len()),
        (Duration::from_secs(3), 3)
    );
}

/// An Org that knows what is on the disk, and holds every request against it.
struct Watchful {
    disk: Disk,
    latency: Duration,
    sent: Cell<u64>,
}

impl Org for Watchful {
    async fn set(&self, user: UserId, _flag: Flag) -> SendResult {
        let mark = self.disk.mark();
        assert!(
            user.get() <= mark,
            "row {user} is sent, and the mark on disk is {mark}"
        );
        self.sent.set(self.sent.get() + 1);
        tokio::time::sleep(self.latency).await;
        let is_refused = user.get() % 5 == 2 && self.sent.get().is_multiple_of(2);
        SendResult::Reply(Reply {
            status: if is_refused { 500 } else { 204 },
            ..Reply::default()
        })
    }

    async fn log_in(&self) -> LoginResult {
        LoginResult::Token { lifetime: None }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_row_beyond_the_mark_on_disk_is_ever_sent(
        rows in 1..600_u64,
        latency in 0..40_u64,
        per_second in prop::sample::select(vec![None, Some(50), Some(1000)]),
    ) {
        let rate = per_second.map_or(Rate::Unlimited, |requests| Rate::Limited {
            requests,
            per: Duration::from_secs(1),
        });
        let disk = Disk::default();
        let org = Watchful {
            disk: disk.clone(),
            latency: Duration::from_millis(latency),
            sent: Cell::new(0),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let sent = runtime.block_on(run(&org, rules(rate), rows, &disk, (never(), |_: &Event<'_>| ())));
        prop_assert_eq!(sent.unwrap().tally.total(), rows);
        let most = 20 + 2 * org.sent.get();
        prop_assert!(disk.calls.get() as u64 <= most, "at most two calls for each request");
    }
}

/// A disk whose syncs take until the test lets them end.
struct SlowDisk {
    bytes: Arc<Mutex<Vec<u8>>>,
    synced: Arc<AtomicUsize>,
    end_of_sync: Arc<Mutex<Receiver<()>>>,
}

impl Write for SlowDisk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Storage for SlowDisk {
    fn sync_data(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn sync_elsewhere(&self) -> Option<PendingSync> {
        let length = self.bytes.lock().unwrap().len();
        let synced = Arc::clone(&self.synced);
        let end = Arc::clone(&self.end_of_sync);
        Some(Box::new(move || {
            // Nobody lets the last ones end.
            let _ = end.lock().unwrap().recv_timeout(Duration::from_secs(1));
            synced.store(length, Ordering::SeqCst);
            Ok(())
        }))
    }
}

/// An Org that lets a sync end when it has seen the last row that may be sent.
struct Patient {
    bytes: Arc<Mutex<Vec<u8>>>,
    synced: Arc<AtomicUsize>,
    ends: Sender<()>,
    waits: Cell<u64>,
}

impl Org for Patient {
    async fn set(&self, user: UserId, _flag: Flag) -> SendResult {
        let length = self.synced.load(Ordering::SeqCst);
        let mark = last_mark(&self.bytes.lock().unwrap()[..length]);
        assert!(user.get() <= mark, "row {user} beyond {mark}");
        if user.get() + 10 > mark {
            self.waits.set(self.waits.get() + 1);
            self.ends.send(()).unwrap();
        }
        SendResult::Reply(Reply {
            status: 204,
            ..Reply::default()
        })
    }

    async fn log_in(&self) -> LoginResult {
        LoginResult::Token { lifetime: None }
    }
}

#[tokio::test]
async fn sending_waits_until_the_mark_is_on_disk() {
    let (ends, end) = channel();
    // The first mark is on disk soon.
    ends.send(()).unwrap();
    let disk = SlowDisk {
        bytes: Arc::default(),
        synced: Arc::default(),
        end_of_sync: Arc::new(Mutex::new(end)),
    };
    let org = Patient {
        bytes: Arc::clone(&disk.bytes),
        synced: Arc::clone(&disk.synced),
        ends,
        waits: Cell::new(0),
    };
    let mut journal = Journal::new(disk, PathBuf::from("users.report.csv.partial"), 0);
    let run = Run {
        policy: Policy::new(rules(Rate::Unlimited)),
        org: &org,
        changes: &mut steps(300),
        journal: &mut journal,
        on_record: Tally::default(),
        in_doubt: RoaringTreemap::new(),
        alarm: Alarm::coarse(),
    };
    let sent = engine::run(run, &mut never(), &mut |_, _| ())
        .await
        .unwrap();
    assert_eq!(sent.ending, Ending::Complete);
    assert_eq!(sent.tally.total(), 300);
    assert!(org.waits.get() > 0);
}

#[tokio::test(start_paused = true)]
async fn rows_in_doubt_since_an_interruption_stay_in_doubt_until_they_have_an_outcome() {
    // Row 3 was in doubt and is refused now, row 4 was not and is refused too, row 50 is not
    // reached.
    let org = Scripted::new(Duration::from_millis(100), |user| match user {
        3 | 4 => 404,
        _ => 204,
    });
    let mut journal = Journal::new(
        Disk::default(),
        PathBuf::from("users.report.csv.partial"),
        0,
    );
    let mut rules = rules(Rate::Limited {
        requests: 10,
        per: Duration::from_secs(1),
    });
    rules.max_duration = Some(Duration::from_secs(2));
    let mut outcomes = Vec::new();
    let run = Run {
        policy: Policy::new(rules),
        org: &org,
        changes: &mut steps(60),
        journal: &mut journal,
        on_record: Tally::default(),
        in_doubt: RoaringTreemap::from([3, 50]),
        alarm: Alarm::coarse(),
    };
    let sent = engine::run(run, &mut never(), &mut |_, event| {
        if let Some(Event::Recorded { record, .. }) = event
            && [3, 4].contains(&record.row)
        {
            outcomes.push((record.row, record.outcome));
        }
    })
    .await
    .unwrap();
    assert_eq!(outcomes, [(3, Outcome::Unknown), (4, Outcome::Failed)]);
    assert_eq!(sent.rows_in_doubt.iter().collect::<Vec<_>>(), [50]);
    assert!(sent.in_doubt);
}
