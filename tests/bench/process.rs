//! Runs one process to its end and says what it took: time, CPU time, peak memory, as the kernel
//! counted them for that process alone. What is run, and what the figures are held against, is not
//! known here.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use wait4::Wait4;

/// What a process took.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    /// From its start to its exit.
    pub wall: Duration,
    /// User and system time.
    pub cpu: Duration,
    /// The most memory that was resident at once, in bytes.
    pub peak: u64,
}

/// Runs `command`, which must end with exit code `code`: a figure of something that failed would be
/// worse than none.
pub fn measure(command: &mut Command, code: i32) -> Used {
    measure_with(command, code, |_| ())
}

/// The same, and does `meanwhile` once the process has been started.
pub fn measure_with(command: &mut Command, code: i32, meanwhile: impl FnOnce(&Child)) -> Used {
    let began = Instant::now();
    let child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?} can't be started: {error}"));
    meanwhile(&child);
    let ended = child
        .wait4()
        .unwrap_or_else(|error| panic!("{command:?} can't be waited for: {error}"));
    assert_eq!(
        ended.status.code(),
        Some(code),
        "the exit code of {command:?}"
    );
    let used = ended.rusage;
    Used {
        wall: began.elapsed(),
        cpu: used.utime + used.stime,
        peak: used.maxrss,
    }
}

/// The middle one; of an even number the higher of the two.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
