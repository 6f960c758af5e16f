//! What a person reads before and after a run: the plan, the question, the closing summary. Pure text from plain
//! figures; nothing is printed and nothing decided here.

mod closing;
mod ending;
mod plan;
mod problem;
mod question;

pub use closing::{CLOSED, ClosedView, ClosingView, closed_text, closing_in_brief, closing_text};
pub use ending::ending_text;
pub use plan::{PlanView, plan_text};
pub use problem::error_text;
pub use question::Question;

#[cfg(test)]
mod tests;
