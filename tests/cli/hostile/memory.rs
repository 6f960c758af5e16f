//! Whatever a server answers, little of it is kept: memory stays small.

use std::io::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::common::hostile::{Hostile, Reply, Then};
use crate::common::ledger::{end, start};
use crate::common::{Cli, Ran, outcomes, table};

const MOST: u64 = 64 << 20;

/// 128 MiB in little more than a tenth of a megabyte.
fn bomb() -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let zeros = vec![0; 1 << 20];
    (0..128).for_each(|_| gzip.write_all(&zeros).unwrap());
    gzip.finish().unwrap()
}

/// Returns the most that was resident at once, in bytes. `None` where the system has no `/proc`.
fn peak(process: u32) -> Option<u64> {
    if cfg!(not(target_os = "linux")) {
        return None;
    }
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let (_, rest) = status.split_once("VmHWM:").unwrap();
    let kib: u64 = rest.split_whitespace().next().unwrap().parse().unwrap();
    Some(kib << 10)
}

/// Answers to the users from 2 on, each given once; asked again, the Org is well.
fn answers() -> Vec<Reply> {
    let length = |bytes: usize| format!("HTTP/1.1 500 No\r\ncontent-length: {bytes}\r\n\r\n");
    let headers = (0..10_000).fold("HTTP/1.1 500 No\r\n".to_owned(), |head, n| {
        head + &format!("x{n}: y\r\n")
    });
    vec![
        Reply::raw("HTTP/1.1 200 OK\r\n\r\n")
            .then(Then::Repeat(vec![b'x'; 1 << 20], Duration::ZERO)),
        Reply::raw(length(64 << 20)).then(Then::Repeat(vec![b'x'; 1 << 20], Duration::ZERO)),
        Reply::raw(length(1 << 40)).then(Then::Repeat(vec![b'x'; 100], Duration::from_millis(20))),
        Reply::new(500)
            .header("content-encoding", "gzip")
            .body("text/plain", bomb()),
        Reply::raw(format!(
            "HTTP/1.1 500 No\r\nx: {}\r\n\r\n",
            "y".repeat(1 << 20)
        ))
        .then(Then::Close),
        Reply::raw(format!("{headers}\r\n")).then(Then::Close),
        Reply::raw("HTTP/1.1 500 No\r\nx: ")
            .then(Then::Repeat(vec![b'y'; 1 << 20], Duration::ZERO)),
        Reply::raw("").then(Then::Repeat(
            b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(1000),
            Duration::ZERO,
        )),
    ]
}

#[test]
fn memory_stays_small_with_hostile_answers() {
    let answers = answers();
    let last = answers.len() as u64 + 2;
    let process = Arc::new(OnceLock::<u32>::new());
    let seen_peak = Arc::new(OnceLock::<Option<u64>>::new());
    let asked = std::sync::Mutex::new(std::collections::HashSet::new());
    let org = Hostile::start({
        let process = Arc::clone(&process);
        let seen_peak = Arc::clone(&seen_peak);
        move |seen| {
            let user = seen.user().unwrap();
            if user == last {
                let _ = seen_peak.set(peak(*process.wait()));
            }
            let first = asked.lock().unwrap().insert(user);
            let answer = usize::try_from(user)
                .unwrap()
                .checked_sub(2)
                .and_then(|number| answers.get(number));
            answer
                .filter(|_| first)
                .cloned()
                .unwrap_or_else(|| Reply::new(204))
        }
    });
    let cli = Cli::new();
    cli.write("users.csv", table(last));
    let options = [
        "--rate",
        "unlimited",
        "--concurrency",
        "1",
        "--timeout",
        "2s",
        "--address",
    ];
    let child = start(
        cli.command(
            &[
                &["apply", "users.csv", "--yes"],
                &options[..],
                &[&org.url()],
            ]
            .concat(),
        ),
    );
    process.set(child.id()).unwrap();
    Ran::of(end(child)).exits(0);
    let rows = cli.report();
    assert_eq!(outcomes(&rows, "applied") as u64, last);
    let again = rows.iter().filter(|row| row["attempts"] == "2").count();
    assert_eq!(
        (again, org.requests().len()),
        (7, rows.len() + 7),
        "all but the endless success are asked again"
    );
    let peak = *seen_peak.get().expect("the last row was asked for");
    if let Some(peak) = peak {
        assert!(peak < MOST, "{} MiB", peak >> 20);
    }
}
