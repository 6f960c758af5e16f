//! What is made of a journal for people and machines: the report in input order, the summary with
//! its advice, and one file per output format. No network, no clock.

mod close;
mod form;
mod html;
mod merge;
mod prometheus;
mod reasons;
mod summary;
mod timeline;
mod window;
mod workbook;
mod writer;

pub use close::{ClosedRow, Interrupted};
pub use html::{
    PlanPage, PlannedAction, PlannedRow, RunPageContext, SyncFact, SyncKind, SyncOverview,
    check_page_place, write_page, write_page_so_far, write_plan_page,
};
pub use merge::{Completion, finish, summarize};
pub use prometheus::{
    ExceptionFigures, Unfinished, check_metrics_place, write_metrics, write_metrics_of_unfinished,
};
pub use reasons::Group;
#[cfg(test)]
pub(crate) use reasons::RowExample;
pub use summary::Summary;
pub use timeline::Span;
pub use workbook::WorkbookLimits;

#[cfg(test)]
pub(crate) mod tests;
