//! The journal of a run, and the report, record, page and figures that are made from it. No
//! network, and no async but for one future that waits for a sync. The time of day is an argument.

mod chart;
mod close;
mod draft;
mod files;
mod html;
mod identity;
mod journal;
mod line;
mod mark;
mod metrics;
mod moment;
mod open;
mod order;
mod reasons;
mod recover;
mod run;
mod snapshot;
mod summary;
mod timeline;
mod window;

pub use close::{ClosedRow, Interrupted};
pub use files::{Paths, Places};
pub use html::{check_page_place, write_page, write_page_so_far};
pub use identity::{CarriedColumn, Identity, InputFile, TableReading};
pub use journal::{Journal, PendingSync, SYNC_AFTER, SYNC_RECORDS, Storage};
pub use line::{Finished, MAX_RECORD, ReportCells};
pub use mark::MIN_ROWS_AHEAD;
pub use metrics::{Unfinished, check_metrics_place, write_metrics, write_metrics_of_unfinished};
pub use open::{Begin, Mode, Prepared, look, open, prepare};
pub use order::{Completion, finish, summarize};
pub use reasons::{Group, Reasons};
pub use recover::OnRecord;
pub use run::{Access, FORMAT, Mark, Note, Noted, Run, Start, Stop, Traffic, Who};
pub use snapshot::{INPUT, NewSection, Section, Snapshot};
pub use summary::{Latency, Summary};
pub use timeline::{Bar, Series, Span};

#[cfg(test)]
mod tests;
