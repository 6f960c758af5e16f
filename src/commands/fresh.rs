//! Makes room for a run that starts over (`--fresh`): the interrupted run in its place is closed
//! into a report of its own.

use std::path::Path;

use super::close::close_run;
use super::say;
use crate::config::Settings;
use crate::error::{Error, Kind, Result};
use crate::journal::Paths;
use crate::plan::Plan;
use crate::report::Interrupted;
use crate::text::visible_path;

/// Returns what will become of the run that was interrupted in the same place, in words; `None` if
/// there is none.
pub(super) fn announcement(paths: &Paths) -> Option<String> {
    if !paths.partial.exists() {
        return None;
    }
    let partial = visible_path(&paths.partial);
    let interrupted = match Interrupted::find(paths) {
        Ok(Some(interrupted)) if interrupted.may_have_changed_anything() => interrupted,
        Err(error) if error.kind() == Kind::Busy => return None,
        Ok(_) => {
            return Some(format!(
                "--fresh renames {partial}, in which no row has an outcome"
            ));
        }
        Err(error) => {
            let why = error.message();
            return Some(format!("--fresh renames {partial}: {why}"));
        }
    };
    let on_record = interrupted.on_record();
    let began = interrupted.began();
    let report = visible_path(&paths.of_closed(began).report);
    let done = on_record.rows.len();
    let rows = interrupted.run().rows;
    let words = format!(
        "--fresh closes the interrupted run of {began:.0} into {report}: {done} of its {rows} rows \
         have an outcome"
    );
    let in_doubt = on_record.in_doubt.len();
    if in_doubt == 0 {
        return Some(words);
    }
    Some(format!(
        "{words}, and {in_doubt} may or may not have been changed"
    ))
}

/// Closes the interrupted run whose place this one takes into a report of its own. A run that got
/// nowhere, or a journal that can't be read, is left to be kept under another name. `table` is the
/// file that this run reads, if it has a name.
///
/// # Errors
/// [`Kind::Busy`] if the run is still active; the errors of writing the report.
pub(super) fn close_interrupted(
    settings: &Settings,
    paths: &Paths,
    plan: &Plan,
    table: Option<&Path>,
) -> Result<()> {
    let interrupted = match Interrupted::find(paths) {
        Ok(Some(interrupted)) if interrupted.may_have_changed_anything() => interrupted,
        Err(error) if error.kind() == Kind::Busy => return Err(error),
        Ok(_) | Err(_) => return Ok(()),
    };
    let is_same_table = interrupted.run().identity.input.blake3 == plan.fingerprint().to_string();
    let table = table.filter(|_| is_same_table);
    let closed = paths.of_closed(interrupted.began());
    let completion = close_run(&interrupted, &closed, table, false)?;
    if let Some(warning) = completion.warning {
        say::error(settings.talk.format, &Error::new(Kind::MidRun, warning));
    }
    say::note(
        settings,
        &format!(
            "the interrupted run is closed: {}",
            visible_path(&closed.report)
        ),
    );
    Ok(())
}
