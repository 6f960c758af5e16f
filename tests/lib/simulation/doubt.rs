//! Whether a change may have been made, and the attempts that a row gets to find out.

use std::time::Duration;

use mfa_optout::testing::domain::{Change, Ending, Outcome, Rate, SendResult};
use mfa_optout::testing::policy::Rules;

use super::world::*;

/// Sends 20 rows to a server that answers row 5 with these, one after the other, and with the last
/// one from then on.
fn outcome_after(answers: &[SendResult]) -> (Outcome, String) {
    let mut asked = 0;
    let server = &mut |_, change: Change| {
        if change.row != 5 {
            return (status(204), ms(10));
        }
        let answer = answers[asked.min(answers.len() - 1)].clone();
        asked += 1;
        (answer, ms(10))
    };
    let mut trace = simulate(rules(), 20, server);
    assert_eq!(trace.ending, Ending::Complete);
    let record = trace.records.remove(&5).expect("every row has a record");
    (record.outcome, record.detail)
}

#[test]
fn a_later_refusal_does_not_remove_doubt() {
    let in_doubt = [500, 502, 504, 512, 520, 599].map(status);
    for first in in_doubt.into_iter().chain([reset()]) {
        for refusal in [400, 404, 422] {
            let (outcome, detail) = outcome_after(&[first.clone(), status(refusal)]);
            assert_eq!(outcome, Outcome::Unknown, "{first:?}, then {refusal}");
            assert!(detail.contains("an earlier request"), "{detail}");
        }
        let (outcome, _) = outcome_after(&[first.clone(), status(503)]);
        assert_eq!(outcome, Outcome::Unknown, "{first:?}, then given up");
        let (outcome, _) = outcome_after(&[first.clone(), status(204)]);
        assert_eq!(outcome, Outcome::Applied, "{first:?}, then confirmed");
    }
}

#[test]
fn an_answer_that_came_before_the_change_was_begun_leaves_no_doubt() {
    for first in [408, 425, 429, 503] {
        for refusal in [400, 404, 422] {
            let (outcome, _) = outcome_after(&[status(first), status(refusal)]);
            assert_eq!(outcome, Outcome::Failed, "{first}, then {refusal}");
        }
    }
}

/// Eight requests are in flight when the Org goes, so that eight rows have spent their only attempt
/// of the first pass. Each of them fails once more afterwards; a row whose attempt was not given
/// back would be given up then.
#[test]
fn attempts_during_an_outage_are_refunded() {
    let mut failed_later = std::collections::BTreeSet::new();
    let mut in_outage = std::collections::BTreeSet::new();
    let server = &mut |now: Duration, change: Change| {
        if (s(2)..s(20)).contains(&now) {
            in_outage.insert(change.row);
            return (status(502), ms(500));
        }
        let fails = in_outage.contains(&change.row) && failed_later.insert(change.row);
        (status(if fails { 502 } else { 204 }), ms(500))
    };
    let once = Rules {
        max_attempts: 1,
        ..rules()
    };
    let trace = simulate(once, 100, server);
    assert_eq!(trace.ending, Ending::Complete);
    assert!(trace.outages >= 1);
    assert_eq!(trace.outcomes(Outcome::Applied), 100);
}

#[test]
fn the_second_pass_begins_thirty_seconds_after_the_last_answer_of_the_first() {
    let mut sent = Vec::new();
    let server = &mut |now: Duration, change: Change| {
        if change.row != 5 {
            return (status(204), ms(10));
        }
        sent.push(now);
        (status(503), ms(10))
    };
    let trace = simulate(rules(), 20, server);
    assert_eq!(trace.records[&5].attempts, 10);
    assert_eq!(sent.len(), 10);
    let first_pass_ended = sent[4] + ms(10);
    let second_pass = first_pass_ended + s(30)..first_pass_ended + s(31);
    assert!(second_pass.contains(&sent[5]), "{sent:?}");
}

#[test]
fn an_unlimited_rate_is_bounded_after_refusals_without_a_hint() {
    let server = &mut |now: Duration, _| {
        if now < s(2) {
            return (status(204), ms(640));
        }
        let code = if now < s(12) { 429 } else { 204 };
        (status(code), ms(1))
    };
    let unlimited = Rules {
        rate: Rate::Unlimited,
        concurrency: Some(64),
        ..rules()
    };
    let trace = simulate(unlimited, 2_000, server);
    assert_eq!(trace.ending, Ending::Complete);
    let while_refused = trace.sent_between(s(3), s(12));
    assert!(
        while_refused < 200,
        "{while_refused} requests in nine seconds"
    );
}
