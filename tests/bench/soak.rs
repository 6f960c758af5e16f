//! Interrupts many runs and prints the results. The same code runs among the tests, for fewer
//! runs.
//!
//! - `cargo bench --bench soak -- 2000`: kills runs at random instants. A second number is the
//!   seed.
//! - `cargo bench --bench soak -- chaos 600`: runs against an Org with faults for 600 seconds, with
//!   kills, `retry` until nothing is left, and `undo`. A second number is the seed.
//! - `cargo bench --bench soak -- crash`: a small run is killed, or meets a full or a broken disk,
//!   at each of its calls on files. Linux on x86-64, as root.
//! - `cargo bench --bench soak -- crash-sync`: the same for a `sync` with arrivals and departures.

#[cfg(unix)]
#[path = "../common/mod.rs"]
mod common;

#[cfg(unix)]
#[expect(clippy::print_stdout, reason = "the program prints its results")]
fn main() {
    // Cargo itself adds `--bench`.
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let mut numbers = words.iter().filter_map(|word| word.parse::<u64>().ok());
    match words.first().map(String::as_str) {
        Some("chaos") => chaos(numbers.next().unwrap_or(60), numbers.next().unwrap_or(1)),
        Some("crash") => crash(),
        Some("crash-sync") => crash_sync(),
        _ => {
            let kills = numbers.next().unwrap_or(50);
            let seed = numbers.next().unwrap_or(1);
            let done = common::soak::soak(usize::try_from(kills).unwrap_or(usize::MAX), seed);
            println!("{done:#?}");
        }
    }
}

/// Rounds at a time: most of their time is waiting.
#[cfg(unix)]
const ABREAST: u64 = 6;

#[cfg(unix)]
#[expect(clippy::print_stdout, reason = "the program prints its results")]
#[expect(clippy::disallowed_methods, reason = "a soak goes by the clock")]
fn chaos(seconds: u64, seed: u64) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(seconds);
    let mut rounds = Vec::new();
    for lane in 0..ABREAST {
        rounds.push(std::thread::spawn(move || {
            let mut done = common::chaos::Done::default();
            let mut number = 0;
            while std::time::Instant::now() < end {
                done.add(common::chaos::round(60, seed + 1000 * lane + number));
                number += 1;
            }
            done
        }));
    }
    let mut done = common::chaos::Done::default();
    let mut broken = 0;
    for round in rounds {
        match round.join() {
            Ok(more) => done.add(more),
            Err(_) => broken += 1,
        }
    }
    println!("{done:#?}\n{broken} of {ABREAST} lanes ended with a broken promise");
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[expect(clippy::print_stdout, reason = "the program prints its results")]
fn crash() {
    println!("{:#?}", common::crash::crash_everywhere());
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[expect(clippy::print_stdout, reason = "the program prints its results")]
fn crash_sync() {
    println!("{:#?}", common::crash::crash_sync_everywhere());
}

#[cfg(all(unix, not(all(target_os = "linux", target_arch = "x86_64"))))]
fn crash() {}

#[cfg(all(unix, not(all(target_os = "linux", target_arch = "x86_64"))))]
fn crash_sync() {}

#[cfg(not(unix))]
fn main() {}
