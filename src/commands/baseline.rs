//! Refuses a baseline that does not tell the whole truth. Rows of a run that was interrupted and
//! then set aside were changed at the Org, and no report that a baseline could be says so.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config::EarlierRun;
use crate::config::Settings;
use crate::error::{Error, Kind, Result};
use crate::journal::Paths;
use crate::text::visible_path;

/// Checks that no interrupted run has changed what the baseline tells of.
///
/// # Errors
/// Of [`Kind::Refused`] where `--fresh` sets a run aside now, or one that was set aside or is not
/// finished lies beside the baseline or beside the report.
pub(super) fn check(settings: &Settings, paths: &Paths) -> Result<()> {
    let Some(baseline) = &settings.reading.baseline else {
        return Ok(());
    };
    if settings.outputs.earlier_run == EarlierRun::StartOver {
        let message = "--baseline can't be used with --fresh: what the run that is set aside has changed is not in the baseline";
        return Err(Error::new(Kind::Refused, message)
            .help("run it once without --baseline: then every row of the table is sent"));
    }
    for report in [baseline, &paths.report] {
        if let Some(record) = record_beside(report, &paths.partial)? {
            let message = format!(
                "--baseline can't be used while {} is there: what that run has changed is not in the baseline",
                visible_path(&record)
            );
            return Err(Error::new(Kind::Refused, message).help(
                "run it once without --baseline, so that every row is sent, and move that file elsewhere",
            ));
        }
    }
    Ok(())
}

/// Finds the record of an interrupted run beside a report, other than `own`, with which this run
/// goes on.
fn record_beside(report: &Path, own: &Path) -> Result<Option<PathBuf>> {
    let folder = match report.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let name = report.file_name().unwrap_or_default().to_string_lossy();
    let unreadable = |error: std::io::Error| {
        Error::new(
            Kind::Refused,
            format!("{} can't be read: {error}", visible_path(folder)),
        )
    };
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let found = entry.file_name();
        if is_record_of(&name, &found.to_string_lossy()) && !is_same(&entry.path(), own) {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

/// Returns whether a file is the journal of this report, a journal that was set aside, or the report
/// of a run that was closed to make room, such as `users.report.20261128T030000Z.csv`.
fn is_record_of(report: &str, name: &str) -> bool {
    if let Some(rest) = name.strip_prefix(report) {
        return rest == ".partial" || rest.starts_with(".partial.old-");
    }
    let (stem, extension) = report.rsplit_once('.').unwrap_or((report, ""));
    let time = name
        .strip_prefix(stem)
        .and_then(|rest| rest.strip_prefix('.'))
        .and_then(|rest| rest.strip_suffix(extension))
        .and_then(|rest| rest.strip_suffix('.'));
    time.is_some_and(is_time)
}

/// Returns whether this is a time such as `20261128T030000Z`, or the second one of that time, `20261128T030000Z-2`.
fn is_time(text: &str) -> bool {
    let text = match text.split_once('-') {
        Some((time, number)) if number.parse::<u32>().is_ok() => time,
        _ => text,
    };
    let pattern = b"00000000T000000Z";
    text.len() == pattern.len()
        && text
            .bytes()
            .zip(pattern)
            .all(|(byte, wanted)| match wanted {
                b'0' => byte.is_ascii_digit(),
                letter => byte == *letter,
            })
}

fn is_same(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_interrupted_runs_are_told_from_other_files() {
        let report = "users.report.csv";
        for name in [
            "users.report.csv.partial",
            "users.report.csv.partial.old-1",
            "users.report.csv.partial.old-12",
            "users.report.20261128T030000Z.csv",
            "users.report.20261128T030000Z-2.csv",
        ] {
            assert!(is_record_of(report, name), "{name}");
        }
        for name in [
            "users.report.csv",
            "users.report.json",
            "users.report.csv.bak",
            "users.retry-1.report.csv",
            "users.20261128T030000Z.report.csv",
            "users.report.20261128.csv",
            "other.report.csv.partial",
        ] {
            assert!(!is_record_of(report, name), "{name}");
        }
    }
}
