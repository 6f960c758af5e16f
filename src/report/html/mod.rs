//! The HTML pages of a run and of a plan: one file each that loads nothing and allows no script but
//! its own.
//!
//! The templates in `templates/report` escape every value. A page is rendered as a whole, except
//! for its rows, which are written one by one into their place.

mod chart;
mod frame;
mod plan;
mod rows;
mod run;
mod sync;
mod time;

pub use self::frame::check_page_place;
pub use self::plan::{PlanPage, PlannedAction, PlannedRow, write_plan_page};
pub use self::run::{RunPageContext, write_page, write_page_so_far};
pub use self::sync::{SyncFact, SyncKind, SyncOverview};
