//! What `retry` and `undo` need to know of an earlier run besides its report: which Org it was, and
//! where theirs goes.

use std::path::Path;

use super::close::close_command;
use crate::error::{Error, Kind, Result};
use crate::input::{self, ColumnChoice, UntilChoice};
use crate::journal::{self, ADDED_ID_COLUMN, Identity, Paths};
use crate::plan::REGISTERED_COLUMN;
use crate::text::{Shell, visible, visible_path};
use crate::trusted_file;

/// Checks that a report is not from another Org, whose users are other people. The record beside
/// the report decides, even if it may belong to another report, because a refusal does no harm.
///
/// # Errors
/// [`Kind::Refused`] if the record names another Org.
pub(super) fn ensure_same_org(report: &Path, org: &str) -> Result<()> {
    let run = run_of(report);
    let earlier = run
        .as_ref()
        .and_then(|run| run["address"].as_str())
        .filter(|earlier| *earlier != org);
    let Some(earlier) = earlier else {
        return Ok(());
    };
    let message = format!(
        "{} is the report of a run against {}, and this one is against {org}",
        visible_path(report),
        visible(earlier)
    );
    Err(Error::new(Kind::Refused, message)
        .help("name the Org of that report with --address, or another report"))
}

/// Checks that a report is finished: that it is not the journal of an interrupted run, and that no
/// interrupted run is about to replace it.
///
/// # Errors
/// [`Kind::Usage`] if there is a journal at this path or beside this report.
pub(super) fn must_be_finished(report: &Path) -> Result<()> {
    let is_partial = report
        .extension()
        .is_some_and(|extension| extension == "partial");
    let finished = if is_partial {
        report.with_extension("")
    } else {
        report.to_owned()
    };
    let partial = Paths::of(finished.clone()).partial;
    if !is_partial && !partial.exists() {
        return Ok(());
    }
    let message = if !is_partial && finished.exists() {
        format!(
            "a run that replaces {} was interrupted: its journal is {}",
            visible_path(&finished),
            visible_path(&partial)
        )
    } else {
        format!(
            "{} is the journal of an unfinished run, not a report",
            visible_path(&partial)
        )
    };
    let close = close_command(&finished);
    Err(Error::new(Kind::Usage, message).help(format!(
        "to continue that run, run its command again; to end it, close it: {}{}",
        visible(&close),
        Shell::OF_THIS_SYSTEM.note_after(&close)
    )))
}

/// The columns of the report of an earlier run.
pub(super) struct RecordedColumns {
    /// The column of the user IDs.
    pub(super) id: Option<ColumnChoice>,
    /// The column of the flags.
    pub(super) flag: Option<ColumnChoice>,
    /// The column of the end dates.
    pub(super) until: UntilChoice,
}

/// Returns the columns that the record of a report names; `None` if there is no record.
pub(super) fn columns_of(report: &Path) -> Option<RecordedColumns> {
    let run = run_of(report)?;
    let identity: Identity = serde_json::from_value(run.get("identity")?.clone()).ok()?;
    let table = &identity.table;
    let id = match &identity.ids {
        Some(_) => Some(ColumnChoice::Name(ADDED_ID_COLUMN.to_owned())),
        None => column_of(&identity, table.id_column),
    };
    let flag = match table.flag_column {
        Some(number) => column_of(&identity, number),
        None => None,
    };
    let until = match table.until_column {
        Some(number) => {
            column_of(&identity, number).map_or(UntilChoice::Detect, UntilChoice::Column)
        }
        None => UntilChoice::Nothing,
    };
    Some(RecordedColumns { id, flag, until })
}

/// Returns a column by its header, or by its number if several columns have the same header.
fn column_of(identity: &Identity, number: usize) -> Option<ColumnChoice> {
    let column = identity.header.get(number.checked_sub(1)?)?;
    let name = input::plain(&column.name);
    let same_name = identity
        .header
        .iter()
        .filter(|other| input::plain(&other.name) == name);
    if same_name.count() == 1 {
        Some(ColumnChoice::Name(column.name.clone()))
    } else {
        Some(ColumnChoice::Number(number))
    }
}

/// Checks whether a report is one of `sync`, or of a retry of one, whose last carried column says
/// what the register said before. `carried` are the columns that the report carries.
///
/// # Errors
/// Of [`Kind::Refused`] if that can't be known because the run's record is missing.
pub(super) fn has_registered_column(report: &Path, carried: &[String]) -> Result<bool> {
    if carried.last().is_none_or(|name| name != REGISTERED_COLUMN) {
        return Ok(false);
    }
    let Some(run) = run_of(report) else {
        let message = format!(
            "the record of the run beside {} is missing: without it, it is not known what its \
             column {REGISTERED_COLUMN} means",
            visible_path(report)
        );
        return Err(
            Error::new(Kind::Refused, message).help("restore the .json file of this report")
        );
    };
    let columns = run["identity"]["header"].as_array();
    let last = columns.and_then(|columns| columns.last());
    Ok(last.is_some_and(|column| column["added"] == true))
}

/// Reads the record beside a report, if there is one. A workbook that was saved as one of another
/// kind has the record of the one that was written.
fn run_of(report: &Path) -> Option<serde_json::Value> {
    let report = match journal::report_ending(report) {
        "csv" => report.to_owned(),
        ending => report.with_extension(ending),
    };
    let json = Paths::of(report).json;
    let bytes = trusted_file::read(&json, trusted_file::MAX_BYTES).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Returns the paths for a `retry` or `undo`: `users.report.csv` gives `users.retry-1.report.csv`,
/// then `users.retry-2…`, and `users.report.xlsx` gives workbooks. An interrupted one is continued.
pub(super) fn report_after(earlier: &Path, command: &str) -> Paths {
    let ending = journal::report_ending(earlier);
    // A report that was saved as another kind of workbook is still a report.
    let is_table = ending != "csv" || earlier.extension().is_some_and(|found| found == ending);
    let name = match earlier.file_stem() {
        Some(stem) if is_table => stem,
        _ => earlier.file_name().unwrap_or_default(),
    };
    let name = name.to_string_lossy();
    let stem = name.strip_suffix(".report").unwrap_or(&name);
    let stem = stem
        .rsplit_once('.')
        .filter(|(_, tail)| is_follow_up(tail))
        .map_or(stem, |(stem, _)| stem);
    let mut number = 1_u32;
    loop {
        let paths =
            Paths::of(earlier.with_file_name(format!("{stem}.{command}-{number}.report.{ending}")));
        if paths.partial.exists() || !paths.report.exists() || number == u32::MAX {
            return paths;
        }
        number += 1;
    }
}

fn is_follow_up(tail: &str) -> bool {
    ["retry-", "undo-"].iter().any(|word| {
        tail.strip_prefix(word)
            .is_some_and(|number| number.parse::<u32>().is_ok())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follow_ups_are_numbered_from_the_first_report_on() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let at = |name: &str| folder.path().join(name);
        let next = |earlier: &str, command| {
            let report = report_after(&at(earlier), command).report;
            report
                .file_name()
                .expect("a report has a name")
                .to_string_lossy()
                .into_owned()
        };
        assert_eq!(
            next("users.report.csv", "retry"),
            "users.retry-1.report.csv"
        );
        std::fs::write(at("users.retry-1.report.csv"), "").expect("the folder can be written to");
        assert_eq!(
            next("users.report.csv", "retry"),
            "users.retry-2.report.csv"
        );
        assert_eq!(
            next("users.retry-1.report.csv", "retry"),
            "users.retry-2.report.csv"
        );
        assert_eq!(
            next("users.retry-1.report.csv", "undo"),
            "users.undo-1.report.csv"
        );
        for (earlier, report) in [
            ("list.report.xlsx", "list.undo-1.report.xlsx"),
            ("list.retry-2.report.xlsx", "list.undo-1.report.xlsx"),
            ("list.xlsx", "list.undo-1.report.xlsx"),
            ("list.report.ods", "list.undo-1.report.xlsx"),
            ("list", "list.undo-1.report.csv"),
            ("list.csv", "list.undo-1.report.csv"),
        ] {
            assert_eq!(next(earlier, "undo"), report);
        }
        std::fs::write(at("users.retry-1.report.csv.partial"), "")
            .expect("the folder can be written to");
        assert_eq!(
            next("users.report.csv", "retry"),
            "users.retry-1.report.csv",
            "an interrupted one goes on"
        );
    }
}
