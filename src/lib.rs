//! Switches multi-factor authentication off, or back on, for many users of a Resolver Core Org at
//! once.
//!
//! # Glossary
//!
//! - **[Attempt](policy::Attempt)**: the permission to send one request for a row, which only the
//!   policy can give.
//! - **[Change](domain::Change)**: a row that may be sent: a user, and the flag that is wanted.
//! - **Confirmed**: answered by a 2xx response that is not a web page and does not contradict the
//!   change.
//! - **Deferred row**: a row that kept failing before anything was confirmed. The next run sends it
//!   last.
//! - **Departure**: a user who is in the register but not in the table of `sync` any more, and is
//!   opted back in.
//! - **Doubt**: a row is in doubt if a request for it was sent and may have made the change,
//!   without being confirmed.
//! - **[Flag](domain::Flag)**: the value of `mfaOptOut`. `true` is an opt-out, which lowers
//!   security; `false` is an opt-in.
//! - **Journal**: the file to which every outcome is appended during a run, and from which a killed
//!   run is resumed.
//! - **Line** and **row**: the line is the place in the input that people see; the row is the
//!   number within the run.
//! - **List**: the name of a table that `sync` keeps the Org in step with. A user can be on several
//!   lists.
//! - **Mark**: an entry of the journal that names the last row that may be sent.
//! - **Org**: the organisation whose users are changed, and the server that stands for it.
//! - **Outage**: nothing answers any more. One probe at a time is sent until something does.
//! - **[Outcome](domain::Outcome)**: the outcome of a row, such as `applied` or `unknown`.
//! - **Probe**: a repetition of a confirmed change of the same run, sent to find out whether the
//!   Org answers again.
//! - **[Record](domain::Record)**: the outcome of one row with its details, as it is written to the
//!   journal.
//! - **[Register](register)**: a file with what was last confirmed for each user, over all runs.
//! - **[Report](report)**: the table that a run leaves behind: the input with the outcome of each
//!   row.
//! - **Second pass**: the attempts of rows that have failed, after all other rows were sent.
//! - **Settled**: having an outcome. Rows can be settled without being sent, as duplicates are.
//! - **Snapshot**: the private copy of the input that a run reads.
//! - **Throttling**: the Org asks for fewer requests. It costs time and never an attempt.
//! - **Verdict**: what a send result means for the row and for the run.
//!
#![doc = include_str!("../ARCHITECTURE.md")]
#![allow(
    rustdoc::private_intra_doc_links,
    reason = "the docs are for people who change the tool, and are built with private items"
)]

mod api;
mod cli;
mod commands;
mod config;
mod domain;
mod engine;
mod error;
mod hardening;
mod input;
mod journal;
mod output;
mod plan;
mod policy;
mod register;
mod report;
mod sandbox;
mod text;
mod trusted_file;
mod ui;

pub use self::cli::Cli;
pub use self::commands::{print_usage_error, run};
pub use self::hardening::keep_memory_private;

/// The parts of the modules that tests, benchmarks and fuzz targets use. Not an interface for
/// others.
///
/// Everything else is private to the crate, so that the compiler finds code that nothing uses.
#[doc(hidden)]
pub mod testing {
    pub mod api {
        pub use crate::api::{Address, ConnectOptions, HttpOrg, Org};
    }
    pub mod domain {
        pub use crate::domain::{
            BodyKind, Change, Condition, Credentials, Ending, Event, Flag, LineEnd, LoginResult,
            Outcome, PaceFound, REPORT_COLUMNS, Rate, Record, Reply, SendResult, Signal, Stop,
            TableFormat, Tally, Threshold, TransportError, TransportErrorKind, UserId,
        };
    }
    pub mod engine {
        pub use crate::engine::{Alarm, Run, Sent, run};
    }
    pub mod error {
        pub use crate::error::{Error, Exit, Kind, Result};
    }
    pub mod input {
        pub use crate::input::{
            Content, Directory, DirectoryOptions, HeaderChoice, Input, Options, Row, Source,
        };
    }
    pub mod journal {
        pub use crate::journal::{
            Access, CarriedColumn, Identity, InputFile, Journal, Mode, Paths, PendingSync,
            Provenance, Start, Storage, TableReading, open,
        };
    }
    pub mod plan {
        pub use crate::plan::{Action, Options, Plan, Selection, Step, check_problems_place};
    }
    pub mod policy {
        pub use crate::policy::{Attempt, Next, Policy, Rules};
    }
    pub mod register {
        pub use crate::register::{Owner, Register, RegisteredFlag};
        pub mod comparison {
            pub use crate::register::comparison::{RowAction, SyncRules};
        }
        pub mod update {
            pub use crate::register::update::{Request, RequestOrigin, RequestOutcome, RunFacts};
        }
    }
    pub mod report {
        pub use crate::report::finish;
    }
    pub mod sandbox {
        pub use crate::sandbox::{Faults, Sandbox, SandboxOptions};
    }
}
