//! The page of a plan, for `--html` with `--dry-run`.

use roaring::RoaringTreemap;

use crate::domain::Outcome;
use crate::error::Result;
use crate::journal::Start;
use crate::output::Output;
use crate::plan::{Action, Plan};
use crate::report::{self, PlanPage, PlannedAction, PlannedRow};
use crate::ui::PlanView;

/// Writes the plan as a page, with one row for every row that is not in `on_record`.
pub(super) fn write(
    output: &Output,
    plan: &Plan,
    start: &Start,
    view: &PlanView,
    on_record: &RoaringTreemap,
) -> Result<()> {
    let mut facts = vec![
        ("Authentication", view.sign_in.clone()),
        ("Read as", view.found_out.join("; ")),
        ("Rate", view.rate.to_string()),
        ("Report", view.report.clone()),
    ];
    if view.on_record > 0 {
        let rows = crate::text::counted(view.on_record, "row", "rows");
        facts.push(("Recorded by the interrupted run", rows));
    }
    let page = PlanPage {
        start,
        counts: vec![
            (PlannedAction::OptOut, view.opt_out),
            (PlannedAction::OptIn, view.opt_in),
            (PlannedAction::Duplicate, view.duplicates),
            (PlannedAction::Unchanged, view.unchanged),
            (PlannedAction::Invalid, view.invalid),
        ],
        facts,
        notes: view.notes.clone(),
        warnings: view.warnings.clone(),
    };
    report::write_plan_page(output, &page, || {
        let steps = plan.changes(on_record)?;
        Ok(steps.filter_map(|step| match step {
            Ok(step) => planned_row(step.cells, step.action).map(Ok),
            Err(error) => Some(Err(error)),
        }))
    })
}

/// Returns the row of a step; `None` for a step that passes over rows.
fn planned_row(cells: Vec<u8>, action: Action) -> Option<PlannedRow> {
    let row = match action {
        Action::Send(change) => PlannedRow {
            cells,
            line: change.line,
            action: if change.flag.is_opt_out() {
                PlannedAction::OptOut
            } else {
                PlannedAction::OptIn
            },
            to: Some(change.flag),
            detail: change.cause.to_owned(),
        },
        Action::Settled(record) => PlannedRow {
            cells,
            line: record.line,
            action: match record.outcome {
                Outcome::Duplicate => PlannedAction::Duplicate,
                Outcome::Unchanged => PlannedAction::Unchanged,
                Outcome::Applied
                | Outcome::Failed
                | Outcome::Unknown
                | Outcome::Invalid
                | Outcome::NotSent => PlannedAction::Invalid,
            },
            to: record.wanted,
            detail: record.detail,
        },
        Action::Skipped => return None,
    };
    Some(row)
}
