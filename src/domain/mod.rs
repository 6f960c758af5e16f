//! The nouns that all modules share, one file each: users, changes, results of requests, outcomes,
//! records, events.
//!
//! Plain data with `Display` and conversions from and to text; no I/O, no clock, no async. A type
//! that only one module needs lives in that module.

mod change;
mod credentials;
mod ending;
mod event;
mod outcome;
mod people;
mod rate;
mod record;
mod report_column;
mod send_result;
mod status;
mod table_format;
mod tally;
mod threshold;
mod user;

pub use self::change::{Change, Flag, LineNumber, RowNumber};
pub use self::credentials::Credentials;
pub use self::ending::{Ending, Signal, Stop};
pub use self::event::{Condition, Event, Wait};
pub use self::outcome::Outcome;
pub use self::people::{People, RowLabels, row_name};
pub use self::rate::{PaceFound, Rate};
pub use self::record::{MAX_DETAIL, Record};
pub use self::report_column::{REPORT_COLUMNS, REPORT_COLUMNS_OF_FORMAT_1, ReportColumn};
pub use self::send_result::{
    BodyKind, LoginResult, Reply, SendResult, TransportError, TransportErrorKind,
};
pub use self::status::StatusClass;
pub use self::table_format::{LineEnd, TableFormat, WorkbookKind};
pub use self::tally::Tally;
pub use self::threshold::Threshold;
pub use self::user::UserId;
