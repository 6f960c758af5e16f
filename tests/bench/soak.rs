//! Kills runs at random instants, as many as asked for, and says what came of it: `cargo bench --bench soak -- 2000`.
//! A second number is the seed. The same code runs in a small dose among the tests.

#[cfg(unix)]
#[path = "../common/mod.rs"]
mod common;

#[cfg(unix)]
#[expect(
    clippy::print_stdout,
    reason = "what came of it is for whoever started this"
)]
fn main() {
    // Cargo itself adds `--bench`.
    let mut numbers = std::env::args().filter_map(|word| word.parse().ok());
    let kills = numbers.next().unwrap_or(50);
    let seed = numbers.next().unwrap_or(1);
    let done = common::soak::soak(usize::try_from(kills).unwrap_or(usize::MAX), seed);
    println!("{done:#?}");
}

#[cfg(not(unix))]
fn main() {}
