//! Runs that are killed at random instants until they are complete: during requests, during
//! recovery, while the report is made, and with a second process that starts around the end. After
//! each kill the journal is compared with what the Org has received. A few of them are a test, many
//! are `bench/soak`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use super::ledger::{Ledger, PATIENCE, Signal, end, key_of, on_record, send, start, was_killed};
use super::{Cli, apply_words, report};

/// Rows of a table; few, so that many runs come to their end.
const ROWS: u64 = 120;
const COLUMNS: usize = 3;
const CONCURRENCY: usize = 8;

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Soaked {
    /// Tables that were completed.
    pub tables: usize,
    /// Processes killed.
    pub kills: usize,
    /// Of these, before they had sent anything.
    pub before_sending: usize,
    /// Of these, when every row had been sent.
    pub after_sending: usize,
    /// Second processes that were started around the end of a run.
    pub overlaps: usize,
    /// Of these, the ones that found the report taken.
    pub found_busy: usize,
}

/// Runs tables until `kills` processes have been killed. Panics with the seed if a report is not
/// true.
pub fn soak(kills: usize, seed: u64) -> Soaked {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut done = Soaked::default();
    while done.kills < kills {
        let round = Round::new(random.u64(..), &mut done);
        round.finish();
        done.tables += 1;
    }
    done
}

/// When a process is killed.
enum Instant {
    /// After it has sent this number of requests.
    Sent(usize),
    /// This time after its start, most likely while it recovers.
    Started(Duration),
    /// This time after everything was sent.
    AllSent(Duration),
}

struct Round<'a> {
    seed: u64,
    random: fastrand::Rng,
    cli: Cli,
    org: Ledger,
    /// Rows on record, and since the end of which life.
    known: BTreeMap<u64, usize>,
    lives: usize,
    done: &'a mut Soaked,
}

impl<'a> Round<'a> {
    fn new(seed: u64, done: &'a mut Soaked) -> Self {
        let cli = Cli::new();
        cli.write("users.csv", table());
        let mut random = fastrand::Rng::with_seed(seed);
        let org = Ledger::start(Duration::from_micros(random.u64(0..4000)));
        Self {
            seed,
            random,
            cli,
            org,
            known: BTreeMap::new(),
            lives: 0,
            done,
        }
    }

    fn finish(mut self) {
        while !self.is_over() {
            self.lives += 1;
            if self.random.u8(..) < 60 {
                self.overlap();
            } else {
                self.kill();
            }
            self.look();
        }
        self.check();
    }

    fn is_over(&self) -> bool {
        self.cli.path("users.report.csv").exists()
            && !self.cli.path("users.report.csv.partial").exists()
    }

    fn command(&self) -> Command {
        let concurrency = CONCURRENCY.to_string();
        let url = self.org.url();
        let words = apply_words(&url, &concurrency, &["--new-key"]);
        let mut command = self.cli.command(&words);
        command.env("MFA_OPTOUT_API_KEY", key_of(self.lives));
        command
    }

    fn left(&self) -> usize {
        usize::try_from(ROWS).expect("few rows") - self.known.len()
    }

    fn kill(&mut self) {
        let before = self.org.count();
        let left = self.left();
        let mut child = start(self.command());
        match self.instant() {
            Instant::Sent(puts) => drop(self.org.wait_for(before + puts, &mut child, PATIENCE)),
            Instant::Started(after) => drop(self.org.wait_for(usize::MAX, &mut child, after)),
            Instant::AllSent(after) => {
                self.org.wait_for(before + left, &mut child, PATIENCE);
                self.org.wait_for(usize::MAX, &mut child, after);
            }
        }
        send(&mut child, Signal::KILL);
        let status = child.wait().expect("a child can be waited for");
        if was_killed(status) {
            self.done.kills += 1;
            self.done.before_sending += usize::from(self.org.count() == before);
            self.done.after_sending += usize::from(self.org.count() >= before + left);
        } else {
            self.expect(status, &[0]);
        }
    }

    fn instant(&mut self) -> Instant {
        match self.random.u8(0..4) {
            0 => Instant::Started(Duration::from_micros(self.random.u64(0..12_000))),
            1 => Instant::AllSent(Duration::from_micros(self.random.u64(0..6_000))),
            _ => Instant::Sent(self.random.usize(1..40)),
        }
    }

    /// A second process starts when the first is about to end, and whichever comes to it finishes
    /// the run.
    fn overlap(&mut self) {
        let before = self.org.count();
        let mut first = start(self.command());
        let near_the_end = before + self.left().saturating_sub(self.random.usize(0..3));
        self.org.wait_for(near_the_end, &mut first, PATIENCE);
        self.org.wait_for(
            usize::MAX,
            &mut first,
            Duration::from_micros(self.random.u64(0..6_000)),
        );
        let second = end(start(self.command())).status;
        let first = end(first).status;
        self.done.overlaps += 1;
        // Either may be the one; for the other the report is taken, or is there already.
        let (one, other) = if first.success() {
            (first, second)
        } else {
            (second, first)
        };
        self.done.found_busy += usize::from(other.code() == Some(4));
        self.expect(one, &[0]);
        self.expect(other, &[4, 2]);
    }

    #[track_caller]
    fn expect(&self, status: ExitStatus, codes: &[i32]) {
        let fits = status.code().is_some_and(|code| codes.contains(&code));
        assert!(fits, "seed {}, life {}: {status}", self.seed, self.lives);
    }

    /// Holds the journal against what the Org has seen.
    fn look(&mut self) {
        let now = if self.is_over() {
            (1..=ROWS).collect()
        } else {
            on_record(&self.cli.path("users.report.csv.partial"), COLUMNS)
        };
        let lost: Vec<_> = self.known.keys().filter(|row| !now.contains(row)).collect();
        assert!(
            lost.is_empty(),
            "seed {}, life {}: {lost:?} were on record",
            self.seed,
            self.lives
        );
        if !self.is_over() {
            for row in now {
                self.known.entry(row).or_insert(self.lives);
            }
        }
    }

    fn check(self) {
        let Self {
            seed,
            cli,
            org,
            known,
            lives,
            ..
        } = self;
        let puts = org.puts();
        let again = puts
            .iter()
            .find(|put| known.get(&put.user).is_some_and(|life| *life < put.life));
        assert_eq!(again, None, "seed {seed}: sent again although on record");
        let senders: BTreeSet<_> = puts.iter().map(|put| (put.life, put.user)).collect();
        assert_eq!(
            senders.len(),
            puts.len(),
            "seed {seed}: sent twice by one process, or by two at a time"
        );
        let repeated = puts.len() - usize::try_from(ROWS).expect("few rows");
        assert!(
            repeated <= lives * CONCURRENCY,
            "seed {seed}: {repeated} repeated in {lives} lives"
        );

        let rows = report(&cli.path("users.report.csv"));
        assert_eq!(rows.len() as u64, ROWS, "seed {seed}");
        let mut line = 2;
        for (row, user) in rows.iter().zip(1..) {
            let last = puts
                .iter()
                .rfind(|put| put.user == user)
                .map(|put| put.flag);
            assert_eq!(
                (row["line"].as_str(), row["outcome"].as_str()),
                (line.to_string().as_str(), "applied")
            );
            line += 1 + note(user).matches('\n').count();
            assert_eq!(
                (last, row["note"].as_str()),
                (Some(wanted(user)), note(user).as_str()),
                "seed {seed}"
            );
        }
        assert!(
            cli.path("users.report.json").exists(),
            "seed {seed}: the run's own record is there"
        );
    }
}

fn table() -> String {
    let quoted = |user| note(user).replace('"', "\"\"");
    (1..=ROWS).fold("user_id,mfa_opt_out,note\n".to_owned(), |text, user| {
        text + &format!("{user},{},\"{}\"\n", wanted(user), quoted(user))
    })
}

fn wanted(user: u64) -> bool {
    !user.is_multiple_of(3)
}

/// Line breaks, quotes and commas, so that a record ends elsewhere than a line.
fn note(user: u64) -> String {
    format!(
        "first, of {user}\nsecond \"{user}\"\n{}",
        "third\n".repeat(usize::try_from(user % 5).unwrap_or(0))
    )
}
