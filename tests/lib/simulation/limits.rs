//! `--rate auto` and fixed rates against limiters that they know nothing of. All cells of the
//! table: `cargo bench --bench pace`.

use mfa_optout::testing::domain::Rate;

use super::per_second;
use crate::limiter::{Cell, Disturbance, Kind, Refusal};

fn cell(kind: Kind, limit: u32, round_trip: u32, refusal: Refusal) -> Cell {
    Cell {
        kind,
        limit,
        round_trip,
        refusal,
    }
}

/// Holds the mean of two runs to what the cell has to reach.
fn hold(cells: &[Cell]) {
    let mut wrong = Vec::new();
    for cell in cells {
        let wanted = cell.wanted();
        let (first_share, first_refused) = cell.run(1).shares(*cell);
        let (second_share, second_refused) = cell.run(2).shares(*cell);
        let share = f64::midpoint(first_share, second_share);
        let refused = f64::midpoint(first_refused, second_refused);
        if share < wanted.share || refused >= wanted.refused {
            wrong.push(format!(
                "{cell}: {share:.3} and {refused:.4}, not {wanted:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The cells of these kinds at these limits, at every round trip.
fn cells(kinds: &[Kind], limits: &[u32], refusal: Refusal) -> Vec<Cell> {
    let mut cells = Vec::new();
    for kind in kinds {
        for limit in limits {
            for round_trip in crate::limiter::ROUND_TRIPS {
                cells.push(cell(*kind, *limit, round_trip, refusal));
            }
        }
    }
    cells
}

#[test]
fn a_hidden_limit_is_found_and_kept() {
    let kinds = [
        Kind::Bucket(5),
        Kind::Bucket(50),
        Kind::Sliding(10),
        Kind::Fixed(1),
    ];
    hold(&cells(&kinds, &[20, 60], Refusal::TooMany));
}

#[test]
fn a_limit_without_burst_is_reached_as_far_as_jitter_allows() {
    let kinds = [Kind::Bucket(0), Kind::Concurrency];
    hold(&cells(&kinds, &[20, 60], Refusal::TooMany));
}

#[test]
fn a_closed_window_is_filled_without_many_refusals() {
    hold(&cells(&[Kind::Fixed(10)], &[20, 60], Refusal::TooMany));
    hold(&cells(&[Kind::Fixed(60)], &[60], Refusal::TooMany));
    hold(&[
        cell(Kind::Fixed(60), 20, 0, Refusal::TooMany),
        cell(Kind::Fixed(60), 20, 50, Refusal::TooMany),
    ]);
}

#[test]
fn a_limit_with_retry_after_is_found() {
    let kinds = [
        Kind::Bucket(5),
        Kind::Sliding(10),
        Kind::Fixed(10),
        Kind::Fixed(60),
    ];
    hold(&cells(&kinds, &[20], Refusal::TooManyWithHint));
}

#[test]
fn the_lowest_and_the_highest_limit_are_found() {
    hold(&[
        cell(Kind::Bucket(5), 2, 50, Refusal::TooMany),
        cell(Kind::Fixed(60), 2, 50, Refusal::TooMany),
        cell(Kind::Bucket(5), 400, 0, Refusal::TooMany),
        cell(Kind::Bucket(50), 400, 300, Refusal::TooMany),
        cell(Kind::Fixed(10), 150, 50, Refusal::TooMany),
    ]);
}

/// Some APIs say with 403 that a quota is used up.
#[test]
fn a_limit_that_answers_403_is_found() {
    hold(&[
        cell(Kind::Bucket(5), 20, 50, Refusal::ForbiddenWithHint),
        cell(Kind::Sliding(10), 20, 50, Refusal::ForbiddenWithHint),
        cell(Kind::Fixed(60), 60, 50, Refusal::ForbiddenWithHint),
    ]);
}

/// nginx refuses with 503 unless it is configured otherwise.
#[test]
fn a_limit_that_answers_503_is_found() {
    hold(&cells(
        &[Kind::Bucket(50), Kind::Sliding(10)],
        &[20, 150],
        Refusal::Unavailable,
    ));
    hold(&[
        cell(Kind::Bucket(5), 400, 0, Refusal::Unavailable),
        cell(Kind::Concurrency, 60, 50, Refusal::Unavailable),
        cell(Kind::Bucket(5), 20, 0, Refusal::Unavailable),
        cell(Kind::Bucket(5), 60, 50, Refusal::Unavailable),
        cell(Kind::Bucket(5), 150, 0, Refusal::Unavailable),
        cell(Kind::Bucket(0), 20, 0, Refusal::Unavailable),
        cell(Kind::Bucket(0), 60, 0, Refusal::Unavailable),
        cell(Kind::Bucket(0), 150, 0, Refusal::Unavailable),
        cell(Kind::Bucket(0), 60, 300, Refusal::Unavailable),
        cell(Kind::Bucket(0), 400, 300, Refusal::Unavailable),
    ]);
}

/// Returns how many seconds after a gap from second 60 to 90 the following five seconds reach 90 %
/// of the former rate.
fn recovery(cell: Cell, rate: Rate, seed: u64) -> usize {
    let counts = cell.run_with(rate, Disturbance::Gap { from: 60.0 }, seed);
    let before = counts.mean(40, 60);
    let back = (90..280).find(|second| counts.mean(*second, second + 5) >= 0.9 * before);
    back.expect("the former rate comes back") - 90
}

#[test]
fn the_former_rate_comes_back_after_half_a_minute_of_refusals() {
    let auto = Rate::Auto { ceiling: 500 };
    let low_auto = Rate::Auto { ceiling: 50 };
    for refusal in [Refusal::TooMany, Refusal::TooManyWithHint] {
        for rate in [per_second(10), per_second(50), auto, low_auto] {
            let limited = cell(Kind::Bucket(50), 100, 50, refusal);
            let mut took: Vec<usize> = (1..=5).map(|seed| recovery(limited, rate, seed)).collect();
            took.sort_unstable();
            assert!(
                took[2] <= 25 && took[4] <= 60,
                "{rate:?}, {refusal:?}: {took:?}"
            );
        }
    }
}

#[test]
fn requests_that_are_late_by_chance_do_not_end_the_slow_start() {
    let stalls = Disturbance::Stalls {
        share: 0.03,
        until: 15.0,
    };
    for limit in [60, 150, 400] {
        let limited = cell(Kind::Bucket(0), limit, 0, Refusal::TooMany);
        let frontier = limited.wanted().share / 0.95;
        let wanted = 0.85 * frontier * f64::from(limit);
        for seed in 1..=3 {
            let counts = limited.run_with(Rate::Auto { ceiling: 500 }, stalls, seed);
            let found = counts.mean(30, 120);
            assert!(found >= wanted, "{limited}, seed {seed}: {found:.1}/s");
        }
    }
}

/// What helps against a limiter that answers 503 must not slow down a run against a server that
/// fails now and then.
#[test]
fn random_503_responses_do_not_lower_the_rate() {
    for share in [0.02, 0.05, 0.1, 0.2] {
        for (rate, asked) in [
            (per_second(10), 10.0),
            (per_second(50), 50.0),
            (Rate::Auto { ceiling: 50 }, 50.0),
        ] {
            let unlimited = cell(Kind::Bucket(50), 400, 50, Refusal::Unavailable);
            for seed in 1..=3 {
                let counts = unlimited.run_with(rate, Disturbance::Faults { share }, seed);
                let sent = counts.mean(30, 290) / (1.0 - share);
                assert!(
                    sent >= 0.97 * asked,
                    "{rate:?}, {share} fail, seed {seed}: {sent:.1}/s"
                );
            }
        }
    }
}

#[test]
fn a_fixed_rate_below_the_limit_is_kept() {
    for rate in [10, 50] {
        let limited = cell(Kind::Bucket(50), 100, 50, Refusal::TooMany);
        let counts = limited.run_fixed(per_second(rate), 1);
        let mean = counts.mean(10, 290);
        let asked = f64::from(rate);
        assert!(
            (0.995 * asked..=asked * 1.001).contains(&mean),
            "{mean} at {rate}/s"
        );
    }
}

/// Eight in flight send 160 a second where nothing holds them back.
#[test]
fn an_unlimited_rate_keeps_to_a_limit_after_the_first_refusal() {
    for refusal in [Refusal::TooMany, Refusal::TooManyWithHint] {
        let limited = cell(Kind::Bucket(5), 60, 50, refusal);
        let counts = limited.run_fixed(Rate::Unlimited, 1);
        let (share, refused) = counts.shares(limited);
        assert!(
            share >= 0.90 && refused < 0.01,
            "{refusal:?}: {share:.3}, {refused:.4}"
        );
    }
}
