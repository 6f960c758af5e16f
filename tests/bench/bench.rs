//! What the tool costs, as ratios to the barest loops that do the same work, measured by turns in
//! the same run: `cargo bench`, or `cargo bench -- --quick` for a first impression, or
//! `cargo bench -- --only pace` for one part. Seconds differ from machine to machine and from hour
//! to hour; ratios of one run tell something.

#![allow(
    missing_docs,
    unreachable_pub,
    reason = "a program without a public face"
)]
#![allow(
    clippy::expect_used,
    reason = "a benchmark that can't go on has nothing better to do than to say so"
)]
#![allow(clippy::print_stdout, reason = "its table is what it is for")]
#![allow(clippy::disallowed_methods, reason = "it measures time")]
#![allow(
    clippy::cast_precision_loss,
    reason = "counts far below 2^52 become ratios"
)]

mod arrival;
mod baseline;
mod bed;
mod cases;
mod process;
mod server;
mod table;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::bed::Bed;
use crate::table::Line;

/// A key that opens nothing.
const KEY: &str = "a-key-for-nobody";

/// Measures the tool against the barest loops that do the same work.
#[derive(Parser)]
struct Options {
    /// Small sizes and few rounds.
    #[arg(long)]
    quick: bool,
    /// Only these parts.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// How often each duel is fought.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Rows of the table that is sent.
    #[arg(long, default_value_t = 200_000)]
    send_rows: u64,
    /// Rows of the table that is checked.
    #[arg(long, default_value_t = 10_000_000)]
    check_rows: u64,
    /// People whose IDs come from a list of as many users.
    #[arg(long, default_value_t = 1_000_000)]
    people: u64,
    /// Entries of the register with which a table is compared.
    #[arg(long, default_value_t = 100_000)]
    register_entries: u64,
    /// Rows of the journal that is recovered.
    #[arg(long, default_value_t = 1_000_000)]
    journal_rows: u64,
    /// How many seconds each pace is kept.
    #[arg(long, default_value_t = 10)]
    pace_seconds: u64,
    /// The largest table whose growth is looked at, up to ten million rows.
    #[arg(long, default_value_t = 1_000_000)]
    most_rows: u64,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Part {
    Sending,
    Checking,
    Ids,
    Register,
    Pace,
    Recovery,
    Start,
    Growth,
}

/// What this program is when it starts itself.
#[derive(Subcommand)]
#[command(hide = true)]
enum Role {
    #[command(hide = true)]
    Serve {
        #[arg(long)]
        exact: bool,
        #[arg(long)]
        hold: Option<u64>,
    },
    #[command(hide = true)]
    Send {
        address: String,
        concurrency: usize,
        table: PathBuf,
    },
    #[command(hide = true)]
    Check { table: PathBuf },
}

fn main() {
    let options = Options::parse().sized();
    match &options.role {
        Some(Role::Serve { exact, hold }) => server::serve(*exact, *hold),
        Some(Role::Send {
            address,
            concurrency,
            table,
        }) => baseline::send(table, address, *concurrency),
        Some(Role::Check { table }) => baseline::check(table),
        None if options.bench => measure(&options),
        None => println!("nothing is measured: this is for `cargo bench`"),
    }
}

impl Options {
    fn sized(self) -> Self {
        if !self.quick {
            return self;
        }
        let send_rows = 20_000;
        let check_rows = 500_000;
        let people = 100_000;
        let register_entries = 20_000;
        let journal_rows = 50_000;
        Self {
            rounds: 3,
            send_rows,
            check_rows,
            people,
            register_entries,
            journal_rows,
            pace_seconds: 3,
            most_rows: 100_000,
            ..self
        }
    }
}

fn measure(options: &Options) {
    let bed = Bed::new();
    println!("{}", table::heading());
    for part in Part::value_variants() {
        if options.only.is_empty() || options.only.contains(part) {
            part.measure(&bed, options)
                .iter()
                .for_each(|line| println!("{line}"));
        }
    }
}

impl Part {
    fn measure(self, bed: &Bed, options: &Options) -> Vec<Line> {
        match self {
            Self::Sending => cases::sending(bed, options.send_rows, options.rounds),
            Self::Checking => cases::checking(bed, options.check_rows, options.rounds),
            Self::Ids => cases::ids(bed, options.people, options.rounds),
            Self::Register => cases::register(bed, options.register_entries, options.rounds),
            Self::Pace => cases::pace(bed, options.pace_seconds),
            Self::Recovery => cases::recovery(bed, options.journal_rows),
            Self::Start => cases::start(bed, 4 * options.rounds),
            Self::Growth => cases::growth(bed, options.most_rows),
        }
    }
}
