//! What a run does before its first change is confirmed, fresh or continued.

use std::collections::BTreeMap;
use std::time::Duration;

use mfa_optout::testing::domain::{
    BodyKind, Change, Ending, Flag, Outcome, Rate, Reply, SendResult, Stop, Threshold,
    TransportError, TransportErrorKind,
};
use mfa_optout::testing::policy::Rules;
use proptest::prelude::*;

use super::world::*;

/// The rules of a run that continues one which had confirmed a change.
fn continued() -> Rules {
    Rules {
        confirmed_before: true,
        ..rules()
    }
}

/// A server that answers the first rows with this and confirms the others.
fn first_rows(
    rows: u64,
    answer: SendResult,
) -> impl FnMut(Duration, Change) -> (SendResult, Duration) {
    move |_, change| {
        let answer = if change.row <= rows {
            answer.clone()
        } else {
            status(204)
        };
        (answer, ms(10))
    }
}

#[track_caller]
fn assert_credentials_refused(trace: &Trace, requests: usize) {
    assert!(
        matches!(
            trace.ending,
            Ending::Stopped(Stop::CredentialsRefused {
                status: 403,
                accepted: 0,
                ..
            })
        ),
        "{:?}",
        trace.ending
    );
    assert_eq!((trace.sent.len(), trace.records.len()), (requests, 0));
}

#[track_caller]
fn assert_never_answered(trace: &Trace, requests: usize) {
    assert!(
        matches!(trace.ending, Ending::Stopped(Stop::NeverAnswered { .. })),
        "{:?}",
        trace.ending
    );
    assert_eq!((trace.sent.len(), trace.records.len()), (requests, 0));
}

#[test]
fn forbidden_first_rows_are_failed_once_a_later_row_succeeds() {
    for rules in [rules(), continued()] {
        for forbidden in 1..=3 {
            let trace = simulate(rules.clone(), 20, &mut first_rows(forbidden, status(403)));
            assert_eq!(trace.ending, Ending::Complete);
            for row in 1..=20 {
                let (outcome, code) = if row <= forbidden {
                    (Outcome::Failed, 403)
                } else {
                    (Outcome::Applied, 204)
                };
                let record = &trace.records[&row];
                assert_eq!((record.outcome, record.http_status), (outcome, Some(code)));
                assert_eq!(record.attempts, 1);
            }
            assert_eq!(trace.probes, 0, "nothing is repeated");
        }
    }
}

#[test]
fn four_forbidden_first_rows_stop_the_run_without_an_outcome_and_are_deferred() {
    for rules in [rules(), continued()] {
        let trace = simulate(rules, 1_000, &mut |_, _| (status(403), ms(10)));
        assert_credentials_refused(&trace, 4);
        assert_eq!(trace.deferred, [1, 2, 3, 4]);
    }
}

#[test]
fn forbidden_rows_with_no_other_row_left_stop_the_run() {
    for rows in 1..=3 {
        let trace = simulate(rules(), rows, &mut |_, _| (status(403), ms(10)));
        assert_credentials_refused(&trace, usize::try_from(rows).unwrap());
        assert_eq!(trace.deferred.len() as u64, rows);
    }
}

#[test]
fn only_403_in_a_row_count_against_the_credentials() {
    let server = &mut |_, change: Change| {
        let code = match change.row {
            2 | 4 | 6 => 404,
            1..8 => 403,
            _ => 204,
        };
        (status(code), ms(10))
    };
    let trace = simulate(rules(), 20, server);
    assert_eq!(trace.ending, Ending::Complete);
    assert_eq!(trace.outcomes(Outcome::Failed), 7);
}

#[test]
fn a_403_with_a_hint_is_no_throttling_before_the_first_success() {
    let hints = [(Some(s(1)), None), (None, Some(s(1)))];
    for (retry_after, quota_reset) in hints {
        let answer = SendResult::Reply(Reply {
            status: 403,
            retry_after,
            quota_reset,
            ..Reply::default()
        });
        let trace = simulate(rules(), 20, &mut |_, _| (answer.clone(), ms(10)));
        assert_credentials_refused(&trace, 4);
    }
}

#[test]
fn a_403_with_a_hint_after_a_success_costs_time_and_no_attempt() {
    let hints = [(Some(s(3)), None), (None, Some(s(3)))];
    for (retry_after, quota_reset) in hints {
        let mut told = None;
        let server = &mut |now: Duration, change: Change| {
            if change.row == 5 && told.is_none() {
                told = Some(now);
                let answer = SendResult::Reply(Reply {
                    status: 403,
                    retry_after,
                    quota_reset,
                    ..Reply::default()
                });
                return (answer, ms(10));
            }
            (status(204), ms(10))
        };
        let once = Rules {
            max_attempts: 1,
            ..rules()
        };
        let trace = simulate(once, 20, server);
        let told = told.expect("row 5 was sent") + ms(10);
        assert_eq!(trace.outcomes(Outcome::Applied), 20);
        assert_eq!(trace.records[&5].attempts, 2);
        assert_eq!(trace.sent_between(told + ms(1), told + s(3)), 0);
        assert_eq!(trace.probes, 0);
    }
}

#[test]
fn five_403_in_a_row_after_a_success_are_checked_with_a_change_of_this_run() {
    let mut repeated = Vec::new();
    let server = &mut |_, change: Change| {
        if change.row < 4 {
            repeated.push(change.row);
        }
        let code = if (4..9).contains(&change.row) {
            403
        } else {
            204
        };
        (status(code), ms(10))
    };
    let trace = simulate(continued(), 20, server);
    assert_eq!(trace.ending, Ending::Complete);
    assert_eq!((trace.outcomes(Outcome::Failed), trace.probes), (5, 1));
    assert_eq!(repeated, [1, 2, 3, 3]);
}

#[test]
fn a_continued_run_sends_the_good_rows_behind_rows_that_always_fail() {
    for answer in [status(500), status(503), reset()] {
        let trace = simulate(continued(), 147, &mut first_rows(4, answer.clone()));
        assert_eq!(trace.ending, Ending::Complete);
        assert_eq!(trace.outcomes(Outcome::Applied), 143, "{answer:?}");
        assert_eq!(trace.records.len(), 147);
        assert!(
            (1..=4).all(|row| trace.records[&row].attempts == 10),
            "they get their second pass"
        );
        assert_eq!(trace.deferred, [1, 2, 3, 4]);
    }
}

#[test]
fn a_fresh_run_sends_the_good_rows_behind_rows_that_always_fail() {
    let trace = simulate(rules(), 147, &mut first_rows(4, status(500)));
    assert_eq!(trace.ending, Ending::Complete);
    assert_eq!(trace.outcomes(Outcome::Applied), 143);
    assert_eq!(trace.outcomes(Outcome::Unknown), 4);
}

#[test]
fn a_fresh_run_whose_first_row_gets_no_answer_stops_and_defers_it() {
    let trace = simulate(rules(), 147, &mut first_rows(1, reset()));
    assert_never_answered(&trace, 5);
    assert_eq!(trace.deferred, [1], "the next run begins with another row");
}

#[test]
fn a_continued_run_stops_after_one_row_if_nobody_listens() {
    let refused = SendResult::TransportError(TransportError {
        cause: TransportErrorKind::Refused,
        sent: false,
        message: "refused".to_owned(),
    });
    let trace = simulate(continued(), 1_000, &mut |_, _| (refused.clone(), ms(1)));
    assert_never_answered(&trace, 5);
    assert!(trace.ended < s(8));
    assert!(trace.deferred.is_empty());
}

#[test]
fn a_fresh_run_in_which_every_row_fails_ends_when_no_row_is_left() {
    let trace = simulate(rules(), 3, &mut |_, _| (status(500), ms(10)));
    assert_never_answered(&trace, 15);
    assert_eq!(trace.deferred, [1, 2, 3]);
    assert_eq!(trace.open_rows, 3);
}

#[test]
fn a_continued_run_with_nothing_but_failing_rows_gives_them_up_after_their_second_pass() {
    for (code, outcome) in [(500, Outcome::Unknown), (503, Outcome::Failed)] {
        let trace = simulate(continued(), 4, &mut |_, _| (status(code), ms(10)));
        assert_eq!(trace.ending, Ending::Complete);
        assert_eq!(trace.outcomes(outcome), 4);
        assert_eq!((trace.sent.len(), trace.probes), (40, 0));
    }
}

#[test]
fn a_fresh_run_in_which_every_row_fails_stops_after_ten_rows_and_within_two_minutes() {
    for code in [500, 502, 503] {
        let trace = simulate(rules(), 100_000, &mut |_, _| (status(code), ms(10)));
        assert_never_answered(&trace, 50);
        assert!(trace.ended < s(120), "{:?}", trace.ended);
        assert_eq!(trace.deferred, (1..=10).collect::<Vec<_>>());
    }
}

#[test]
fn a_fresh_run_with_nine_failing_rows_comes_to_the_good_rows() {
    let trace = simulate(rules(), 30, &mut first_rows(9, status(500)));
    assert_eq!(trace.ending, Ending::Complete);
    assert_eq!(trace.outcomes(Outcome::Applied), 21);
}

#[test]
fn a_continued_run_leaves_a_server_that_only_fails_after_the_patience_of_an_outage() {
    let trace = simulate(continued(), 100_000, &mut |_, _| (status(502), ms(10)));
    assert!(
        matches!(
            trace.ending,
            Ending::Stopped(Stop::NeverAnswered {
                status: Some(502),
                ..
            })
        ),
        "{:?}",
        trace.ending
    );
    assert!((s(600)..s(611)).contains(&trace.ended), "{:?}", trace.ended);
    assert!(trace.records.is_empty());
    assert!(!trace.deferred.is_empty());
}

#[test]
fn requests_go_out_one_at_a_time_until_the_first_success() {
    let mut in_flight_until = Duration::ZERO;
    let server = &mut |now: Duration, change: Change| {
        assert!(now >= in_flight_until, "two at a time");
        if change.row <= 3 {
            in_flight_until = now + ms(700);
        }
        let code = if change.row <= 3 { 403 } else { 204 };
        (status(code), ms(700))
    };
    let fast = Rules {
        rate: Rate::Unlimited,
        ..rules()
    };
    assert_eq!(simulate(fast, 4, server).outcomes(Outcome::Applied), 1);
}

fn web_page() -> SendResult {
    SendResult::Reply(Reply {
        status: 200,
        body: BodyKind::WebPage,
        message: "Sign in".to_owned(),
        ..Reply::default()
    })
}

#[test]
fn a_web_page_before_the_first_success_stops_the_run_without_doubt() {
    for rules in [rules(), continued()] {
        let trace = simulate(rules, 40, &mut |_, _| (web_page(), ms(10)));
        let expected = Stop::WebPage {
            status: 200,
            title: "Sign in".to_owned(),
        };
        assert_eq!(trace.ending, Ending::Stopped(expected));
        assert_eq!((trace.sent.len(), trace.records.len()), (1, 0));
        assert!(!trace.leaves_doubt);
        assert_eq!(trace.open_rows, 0);
    }
}

#[test]
fn a_web_page_before_the_first_success_does_not_remove_earlier_doubt() {
    let mut answers = vec![web_page(), status(500)];
    let trace = simulate(rules(), 40, &mut |_, _| {
        (answers.pop().expect("two requests are sent"), ms(10))
    });
    assert!(matches!(
        trace.ending,
        Ending::Stopped(Stop::WebPage { .. })
    ));
    assert!(trace.leaves_doubt);
    assert_eq!(trace.open_rows, 1);
}

#[test]
fn a_web_page_for_one_row_after_a_success_makes_it_unknown_when_its_attempts_end() {
    let server = &mut |_, change: Change| {
        let answer = if change.row == 5 {
            web_page()
        } else {
            status(204)
        };
        (answer, ms(10))
    };
    let trace = simulate(rules(), 20, server);
    assert_eq!(trace.ending, Ending::Complete);
    let record = &trace.records[&5];
    assert_eq!((record.outcome, record.attempts), (Outcome::Unknown, 10));
    assert!(record.detail.contains("Sign in"), "{}", record.detail);
    assert_eq!(trace.outcomes(Outcome::Applied), 19);
}

#[test]
fn a_maintenance_page_for_every_row_is_an_outage_and_costs_no_row() {
    let server = &mut |now: Duration, _| {
        let is_down = (s(2)..s(60)).contains(&now);
        (if is_down { web_page() } else { status(204) }, ms(10))
    };
    let trace = simulate(rules(), 200, server);
    assert_eq!(trace.ending, Ending::Complete);
    assert_eq!(trace.outcomes(Outcome::Applied), 200);
    assert_eq!(trace.outages, 1);
}

fn contradiction(body: BodyKind) -> SendResult {
    SendResult::Reply(Reply {
        status: 200,
        body,
        ..Reply::default()
    })
}

#[test]
fn a_contradiction_before_the_first_success_stops_the_run_and_the_row_is_unknown() {
    for body in [BodyKind::Failure, BodyKind::Set(Flag::OptIn)] {
        let server = &mut |_, _| (contradiction(body), ms(10));
        let trace = simulate(continued(), 40, server);
        assert!(matches!(
            trace.ending,
            Ending::Stopped(Stop::Contradicted { status: 200, .. })
        ));
        assert_eq!((trace.sent.len(), trace.records.len()), (1, 1));
        assert_eq!(trace.records[&1].outcome, Outcome::Unknown);
        assert!(trace.leaves_doubt);
    }
}

#[test]
fn a_contradiction_after_a_success_makes_the_row_unknown_at_once() {
    for body in [BodyKind::Failure, BodyKind::Set(Flag::OptIn)] {
        let server = &mut |_, change: Change| {
            let answer = if change.row == 5 {
                contradiction(body)
            } else {
                contradiction(BodyKind::Set(Flag::OptOut))
            };
            (answer, ms(10))
        };
        let trace = simulate(rules(), 20, server);
        assert_eq!(trace.ending, Ending::Complete);
        assert_eq!(trace.outcomes(Outcome::Applied), 19);
        let record = &trace.records[&5];
        assert_eq!((record.outcome, record.attempts), (Outcome::Unknown, 1));
        assert!(record.detail.contains("contradicted"), "{}", record.detail);
    }
}

#[test]
fn rows_that_are_unknown_count_as_failures() {
    let server = &mut |_, change: Change| {
        let body = if change.row == 1 {
            BodyKind::Plain
        } else {
            BodyKind::Failure
        };
        (contradiction(body), ms(10))
    };
    let few = Rules {
        max_failures: Threshold::Count(7),
        concurrency: Some(1),
        ..rules()
    };
    let trace = simulate(few, 40, server);
    assert!(matches!(
        trace.ending,
        Ending::Stopped(Stop::TooManyFailures { .. })
    ));
    assert_eq!(trace.outcomes(Outcome::Unknown), 7);
}

/// What the Org does with a row, however often it is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Good,
    Forbidden,
    Missing,
    Failing,
    Silent,
}

impl Kind {
    fn answer(self) -> SendResult {
        match self {
            Self::Good => status(204),
            Self::Forbidden => status(403),
            Self::Missing => status(404),
            Self::Failing => status(500),
            Self::Silent => reset(),
        }
    }
}

/// What is on record after some runs, each of which continued the one before.
#[derive(Default)]
struct Journal {
    outcomes: BTreeMap<u64, Outcome>,
    /// Rows that were deferred, by the run that did so last.
    deferred: BTreeMap<u64, usize>,
}

impl Journal {
    /// Plays one more run over these rows, numbered from 1.
    fn continue_run(&mut self, run: usize, kinds: &[Kind]) {
        let rows = kinds.len() as u64;
        let mut open: Vec<u64> = (1..=rows)
            .filter(|row| !self.outcomes.contains_key(row))
            .collect();
        open.sort_by_key(|row| self.deferred.get(row).copied());
        let rules = Rules {
            confirmed_before: self
                .outcomes
                .values()
                .any(|outcome| *outcome == Outcome::Applied),
            ..rules()
        };
        let kind_of = |change: Change| kinds[usize::try_from(change.row - 1).unwrap()];
        let server = &mut |_: Duration, change: Change| (kind_of(change).answer(), ms(10));
        let mut simulation = Simulation::new(rules, rows, server);
        simulation.send_order = Some(open);
        let trace = simulation.run();
        for (row, record) in trace.records {
            assert_eq!(self.outcomes.insert(row, record.outcome), None, "row {row}");
        }
        for row in trace.deferred {
            self.deferred.insert(row, run);
        }
    }

    fn applied(&self) -> usize {
        self.outcomes
            .values()
            .filter(|outcome| **outcome == Outcome::Applied)
            .count()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// However the bad rows lie, the same command given again and again comes to every good row:
    /// each run that confirms nothing tries at least one row that no run before it has tried.
    #[test]
    fn continued_runs_come_to_every_good_row(
        kinds in prop::collection::vec(
            prop_oneof![
                1 => Just(Kind::Good),
                3 => Just(Kind::Forbidden),
                1 => Just(Kind::Missing),
                2 => Just(Kind::Failing),
                2 => Just(Kind::Silent),
            ],
            1..40,
        ),
    ) {
        let good = kinds.iter().filter(|kind| **kind == Kind::Good).count();
        let mut journal = Journal::default();
        for run in 1..=kinds.len() {
            if journal.applied() == good {
                break;
            }
            journal.continue_run(run, &kinds);
        }
        prop_assert_eq!(journal.applied(), good);
    }
}
