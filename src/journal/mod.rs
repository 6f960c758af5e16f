//! The journal: an append-only record of a run on disk, from which an interrupted run is resumed
//! and a report is made.
//!
//! [`prepare`] and [`open()`] begin a journal or recover the one of an interrupted run, [`Journal`]
//! appends to it, and [`look`] reads what it holds without changing it. [`Identity`] says which
//! input and which Org a run belongs to. The private copy of the input, [`Snapshot`], lies beside
//! the journal. No network; the time of day is an argument.

pub(crate) mod files;
pub(crate) mod identity;
pub(crate) mod line;
pub(crate) mod mark;
pub(crate) mod open;
pub(crate) mod recovery;
pub(crate) mod results;
pub(crate) mod run;
pub(crate) mod snapshot;
pub(crate) mod timestamp;
pub(crate) mod writer;

pub use files::{Paths, is_workbook, report_ending};
pub use identity::{
    ADDED_ID_COLUMN, CarriedColumn, Identity, InputFile, RegisterIdentity, TableReading, UserList,
};
pub use open::{Begin, Mode, Prepared, look, open, prepare};
pub use recovery::OnRecord;
pub use results::{RowResult, RowResults};
pub use run::{Access, Note, Provenance, Run, Start, Stop, Traffic};
pub use snapshot::{IDS, INPUT, NewSection, REGISTER, Snapshot};
pub use writer::{Journal, PendingSync, Storage};
