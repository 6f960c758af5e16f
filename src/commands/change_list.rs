//! The list of changes that `--dry-run --verbose` prints.

use roaring::RoaringTreemap;

use crate::config::Settings;
use crate::domain::RowLabels;
use crate::error::Result;
use crate::plan::{Action, Plan};
use crate::register::Register;
use crate::ui::say;

/// Prints every change that would be sent, one on each line. `on_record` holds the rows that an
/// interrupted run has recorded.
///
/// # Errors
/// The input can't be read again.
pub(super) fn print(
    settings: &Settings,
    plan: &Plan,
    on_record: &RoaringTreemap,
    register: Option<&Register>,
    labels: &RowLabels,
) -> Result<()> {
    for step in plan.changes(on_record)? {
        let step = step?;
        let Action::Send(change) = step.action else {
            continue;
        };
        let registered = match register {
            Some(register) => Some(match register.get(change.user) {
                Some(entry) => entry.flag.as_str(),
                None => "not registered",
            }),
            None => None,
        };
        say::planned_change(settings, &change, &labels.label(&step.cells), registered);
    }
    Ok(())
}
