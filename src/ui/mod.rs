//! Everything that people and log readers see: the plan, the question, progress, the closing
//! summary, JSON lines and errors. The texts are pure functions of plain figures; [`say`] and
//! [`progress`] are the only modules that print.

mod closing;
mod ending;
mod plan;
mod problem;
pub mod progress;
mod question;
pub(crate) mod say;
mod screen;

pub use closing::{
    CLOSED, ClosedView, ClosingView, attention_line, closed_text, closing_in_brief, closing_text,
};
pub use ending::ending_text;
pub use plan::{PlanView, plan_text, planned_change_text};
pub use problem::error_text;
pub use question::{Answer, Question};
pub use screen::Look;
pub(crate) use screen::with_screen;

#[cfg(test)]
mod tests;
