//! Laws that hold whatever the server does.

use std::time::Duration;

use mfa_optout::testing::domain::{Change, Ending, Outcome, Rate, Threshold};
use mfa_optout::testing::policy::Rules;
use proptest::prelude::*;

use super::world::*;

prop_compose! {
    fn any_rules()(
        rate in prop_oneof![
            (1_u32..2_000).prop_map(per_second),
            (1_u32..600).prop_map(|requests| Rate::Limited { requests, per: s(60) }),
            Just(Rate::Unlimited),
            (1_u32..500).prop_map(|ceiling| Rate::Auto { ceiling }),
        ],
        concurrency in 1_usize..40,
        max_attempts in 1_u32..7,
        session in any::<bool>(),
        confirmed_before in any::<bool>(),
        seed in any::<u64>(),
    ) -> Rules {
        Rules { rate, concurrency: Some(concurrency), max_attempts, session, confirmed_before, seed, max_failures: Threshold::Percent(100.0), ..rules() }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever the server does: the run ends, no row has two records, a complete run has one for
    /// each row, no request is unaccounted for, and no second sees more requests than the rate
    /// allows.
    #[test]
    fn the_laws_hold_whatever_the_server_does(
        rules in any_rules(),
        rows in 0_u64..300,
        throttled in 0.0..30.0,
        trouble in 0.0..40.0,
        reset in 0.0..30.0,
        latency in 0_u64..3_000,
        lateness in 0_u64..3,
        stalls in prop::option::of(1_u32..300),
        interrupt_at in prop::option::of(0_u64..100),
        server_seed in any::<u64>(),
    ) {
        let random = fastrand::Rng::with_seed(server_seed);
        let mut server = Chance { random, throttled, trouble, reset, latency: ms(latency) };
        let mut simulation = Simulation::new(rules.clone(), rows, &mut server);
        simulation.lateness = ms(lateness);
        simulation.stalls = stalls.map(|one_in| Stalls { random: fastrand::Rng::with_seed(!server_seed), one_in });
        simulation.interrupt_at = interrupt_at.map(s);
        let trace = simulation.run();

        let booked: u32 = trace.records.values().map(|record| record.attempts).sum();
        let out: u32 = trace.rows_sent.values().sum();
        let log_ins = u32::try_from(trace.log_ins.len()).expect("log-ins are few");
        prop_assert_eq!(out + trace.probes + log_ins, u32::try_from(trace.sent.len()).expect("requests are few"));
        if trace.ending == Ending::Complete {
            prop_assert_eq!(trace.records.len() as u64, rows);
            prop_assert_eq!(booked, out);
        }
        if let Some(most) = rules.rate.per_second() {
            let busiest = u32::try_from(trace.busiest_second()).expect("requests are few");
            prop_assert!(f64::from(busiest) <= most.floor() + 1.0, "{} in a second at {:?}", busiest, rules.rate);
        }
    }

    /// However long the Org is away, as long as that is within the patience: no row is lost for it.
    #[test]
    fn an_outage_within_patience_costs_no_row(
        rate in 1_u32..1_000,
        concurrency in 1_usize..40,
        begins in 500_u64..8_000,
        lasts in 1_u64..500_000,
        latency in 1_u64..2_000,
        broken in 0_u64..60,
        seed in any::<u64>(),
    ) {
        let rules = Rules { rate: per_second(rate), concurrency: Some(concurrency), seed, ..rules() };
        let rows = 300;
        let server = &mut |now: Duration, change: Change| {
            let away = (ms(begins)..ms(begins + lasts)).contains(&now);
            let answer = if away { reset() } else if change.row == broken { status(400) } else { status(204) };
            (answer, ms(latency))
        };
        // Before anything has succeeded there is no patience; the first answer has to arrive.
        prop_assume!(latency + 100 < begins && broken != 1);
        let trace = simulate(rules, rows, server);
        prop_assert_eq!(trace.ending, Ending::Complete);
        let expected = if (1..=rows).contains(&broken) { rows - 1 } else { rows };
        let applied = trace.records.values().filter(|record| record.outcome == Outcome::Applied).count();
        prop_assert_eq!(applied as u64, expected);
    }

    /// While the Org's `Retry-After` lasts, nothing is sent at all.
    #[test]
    fn retry_after_holds_back_every_request_under_any_rules(rules in any_rules(), wait in 1_u64..200, when in 1_u64..50) {
        let mut count = 0;
        let mut closed: Option<(Duration, Duration)> = None;
        let server = &mut |now: Duration, _| {
            count += 1;
            if count == when {
                closed = Some((now + ms(5), now + ms(5) + s(wait)));
                return (throttled(s(wait)), ms(5));
            }
            (status(204), ms(5))
        };
        let trace = simulate(rules, 100, server);
        prop_assert_eq!(trace.records.len(), 100);
        if let Some((from, to)) = closed {
            prop_assert_eq!(trace.sent_between(from + Duration::from_nanos(1), to), 0);
        }
    }
}

/// A request may leave milliseconds after its turn, when the machine has done something else in
/// between.
#[test]
fn requests_that_leave_late_never_exceed_the_rate() {
    for rate in [50, 500, 5_000] {
        let mut server = |_: Duration, _: Change| (status(204), ms(1));
        let exact = Rules {
            rate: per_second(rate),
            concurrency: Some(64),
            ..rules()
        };
        let mut simulation = Simulation::new(exact, u64::from(rate) * 20, &mut server);
        simulation.stalls = Some(Stalls {
            random: fastrand::Rng::with_seed(1),
            one_in: 4 * rate,
        });
        let trace = simulation.run();
        let lateness = |(sent, left): (&Duration, &Duration)| left.saturating_sub(*sent);
        let most = trace
            .sent
            .iter()
            .zip(&trace.left)
            .map(lateness)
            .max()
            .expect("requests were sent");
        assert!(most > ms(5), "{most:?} is no test");
        assert!(
            trace.busiest_second() <= rate as usize + 1,
            "{} at {rate}/s",
            trace.busiest_second()
        );
    }
}
