//! A small dose of the chaos that the soak makes a large one of.
use crate::common::chaos::round;

#[test]
fn on_a_bad_day_with_kills_the_reports_are_true_and_undo_leaves_nobody_opted_out() {
    let done = round(30, 7);
    assert_eq!(done.rounds, 1, "{done:?}");
}
