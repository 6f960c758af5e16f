//! Prints how well `--rate auto:500` finds each hidden limit of the table:
//! `cargo bench --bench pace`, or with the number of seeds: `cargo bench --bench pace -- 8`. A cell
//! reads `share refused`, both in percent; `<` and `!` mark what falls short.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    unreachable_pub,
    dead_code,
    missing_docs,
    reason = "a program without a public face whose table is what it is for"
)]

#[path = "../common/limiter.rs"]
mod limiter;

use limiter::{Cell, KINDS, LIMITS, ROUND_TRIPS, Refusal};

fn main() {
    // Cargo itself adds `--bench`.
    let mut numbers = std::env::args().filter_map(|word| word.parse().ok());
    let seeds: u64 = numbers.next().unwrap_or(8);
    for refusal in [
        Refusal::TooMany,
        Refusal::TooManyWithHint,
        Refusal::Unavailable,
    ] {
        let mut met = 0;
        println!("{refusal:?}, round trips of {ROUND_TRIPS:?} ms");
        for kind in KINDS {
            print!("{:12}", kind.to_string());
            for limit in LIMITS {
                print!(" | {limit:3}/s");
                for round_trip in ROUND_TRIPS {
                    let cell = Cell {
                        kind,
                        limit,
                        round_trip,
                        refusal,
                    };
                    met += u32::from(print_cell(cell, seeds));
                }
            }
            println!();
        }
        println!("{met} of 120 cells\n");
    }
}

/// Prints a cell. Returns whether it reaches what it has to.
fn print_cell(cell: Cell, seeds: u64) -> bool {
    let mut share = 0.0;
    let mut refused = 0.0;
    for seed in 1..=seeds {
        let (accepted, not_accepted) = cell.run(seed).shares(cell);
        share += accepted;
        refused += not_accepted;
    }
    #[expect(clippy::cast_precision_loss, reason = "a few seeds")]
    let runs = seeds as f64;
    let share = share / runs;
    let refused = refused / runs;
    let wanted = cell.wanted();
    let is_share_met = share >= wanted.share;
    let is_refused_met = refused < wanted.refused;
    let low = if is_share_met { ' ' } else { '<' };
    let high = if is_refused_met { ' ' } else { '!' };
    print!(" {:5.1}{low}{:4.1}{high}", 100.0 * share, 100.0 * refused);
    is_share_met && is_refused_met
}
