//! Checks, before anything is read or sent, that no output of a run is also one of its inputs or
//! another of its outputs. Files are compared by identity, so other names of a file are recognised.

use std::path::{Path, PathBuf};

use super::is_standard_input;
use crate::config::Consent;
use crate::config::Outputs;
use crate::config::Settings;
use crate::config::SignIn;
use crate::config::may_hold_settings;
use crate::error::{Error, Kind, Result};
use crate::journal::Paths;
use crate::output::{self, FileId, Output, is_same_file};
use crate::plan;
use crate::report::{self};
use crate::text::visible_path;

/// The files that a run writes besides its report and that report's record.
#[derive(Clone, Debug, Default)]
pub(super) struct ExtraOutputs {
    /// The page.
    pub(super) html: Option<Output>,
    /// The figures for Prometheus.
    pub(super) metrics: Option<Output>,
    /// The list of invalid rows.
    pub(super) problems: Option<Output>,
}

/// The files that a run reads besides those that its settings name.
pub(super) struct RunInputs<'a> {
    pub(super) table: &'a Path,
    /// The record of the run whose report is the table.
    pub(super) earlier_record: Option<&'a Path>,
}

/// The endings of tables in which no report is written.
const OTHER_TABLES: [&str; 6] = ["gz", "ods", "xls", "xlsb", "xlsm", "zip"];

/// A file of the run, and what it is to the person.
struct Named<'a> {
    what: &'static str,
    path: &'a Path,
}

/// Returns the paths of the report: those that were given, or else the `default` beside the table.
///
/// # Errors
/// Of [`Kind::Usage`] if the table is a pipe or a device, beside which no report can be, and no
/// path was given.
pub(super) fn report_of(table: &Path, settings: &Settings, default: Paths) -> Result<Paths> {
    if let Some(report) = &settings.outputs.report {
        return Ok(Paths::of(report.clone()));
    }
    if is_standard_input(table) || !is_stream(table) {
        return Ok(default);
    }
    let message = format!("no report can be put beside {}", visible_path(table));
    Err(Error::new(Kind::Usage, message)
        .help("give the report a place with --report, such as --report users.report.csv"))
}

/// Checks whether a path is standard input, a pipe or a device, such as `/dev/fd/63`, which a shell
/// makes of `<(command)`. Also a file that is opened through such a path has no folder for a
/// report.
pub(super) fn is_stream(path: &Path) -> bool {
    let folder = path.parent().unwrap_or(path);
    let is_special = match path.metadata() {
        Ok(found) => !found.is_file() && !found.is_dir(),
        Err(_) => false,
    };
    is_special
        || is_standard_input(path)
        || ["/dev", "/proc"]
            .iter()
            .any(|special| folder.starts_with(special))
}

/// Checks that an output is a file and not `-`, which elsewhere means the standard streams.
fn check_is_file(output: &Named<'_>) -> Result<()> {
    if !is_standard_input(output.path) {
        return Ok(());
    }
    let message = format!("{} can't be written to standard output", output.what);
    Err(Error::new(Kind::Usage, message).help("give the name of a file; ./- is a file named -"))
}

/// Checks that the run's outputs are different files from each other and from its inputs, and that
/// they can be written.
pub(super) fn check_output_conflicts(
    inputs: &RunInputs<'_>,
    settings: &Settings,
    paths: &Paths,
) -> Result<ExtraOutputs> {
    check_ending(&paths.report)?;
    let Outputs { html, metrics, .. } = &settings.outputs;
    let problems = &settings.reading.problems;
    check_is_no_secret(inputs.table, settings)?;
    let inputs = inputs_of(inputs, settings);
    let optional = [
        ("--html", html),
        ("--metrics", metrics),
        ("--problems", problems),
    ];
    let mut outputs = vec![
        named("the report", &paths.report),
        named("the run's journal", &paths.partial),
        named("the run's copy of the table", &paths.snapshot),
        named("the run's record", &paths.json),
    ];
    for (what, path) in optional {
        if let Some(path) = path {
            outputs.push(named(what, path));
        }
    }
    if let Some(register) = &settings.register.path {
        check_is_file(&named("the register", register))?;
    }
    for (number, output) in outputs.iter().enumerate() {
        check_is_file(output)?;
        if may_hold_settings(output.path) {
            return Err(conflict(output, "the name of a config file"));
        }
        let mut others = inputs.iter().chain(&outputs[..number]);
        if let Some(other) = others.find(|other| is_same_place(other.path, output.path)) {
            return Err(conflict(output, other.what));
        }
    }
    let extra = ExtraOutputs {
        html: check(html.as_ref(), |place| {
            report::check_page_place(place, &paths.report, settings.outputs.overwrite)
        })?,
        metrics: check(metrics.as_ref(), report::check_metrics_place)?,
        problems: check(problems.as_ref(), plan::check_problems_place)?,
    };
    // A dry run writes no metrics.
    let metrics = extra.metrics.as_ref();
    let metrics = metrics.filter(|_| settings.guards.consent() != Consent::DryRun);
    for output in extra.html.iter().chain(metrics) {
        output::probe_folder(output.path(), Kind::Usage)?;
    }
    Ok(extra)
}

/// Refuses a report whose name says that it is a table of a kind that is not written.
fn check_ending(report: &Path) -> Result<()> {
    let ending = report.extension().unwrap_or_default();
    if !OTHER_TABLES
        .iter()
        .any(|other| ending.eq_ignore_ascii_case(other))
    {
        return Ok(());
    }
    let message = format!("the report can't be {}", visible_path(report));
    Err(Error::new(Kind::Usage, message)
        .help("give it a name that ends in .csv or .xlsx, which are the two forms of a report"))
}

/// Checks that neither the table nor the list of users is the file with the key or password, whose
/// content would be shown as that of a table.
fn check_is_no_secret(table: &Path, settings: &Settings) -> Result<()> {
    let sign_in = settings.connection.sign_in.as_ref();
    let Some(secret) = sign_in.and_then(SignIn::file) else {
        return Ok(());
    };
    let list_of_users = settings.reading.ids.as_deref();
    let inputs = [
        ("the table", Some(table)),
        ("the list of users", list_of_users),
    ];
    for (what, path) in inputs {
        if let Some(path) = path
            && is_same_place(path, secret)
        {
            let path = visible_path(path);
            let message =
                format!("{what} can't be {path}: that is the file with the key or password");
            return Err(Error::new(Kind::Usage, message).help("check the names of the files"));
        }
    }
    Ok(())
}

fn inputs_of<'a>(run: &RunInputs<'a>, settings: &'a Settings) -> Vec<Named<'a>> {
    let connection = &settings.connection;
    let secret = connection.sign_in.as_ref().and_then(SignIn::file);
    let list_of_users = settings.reading.ids.as_deref();
    let list_of_users = list_of_users.filter(|path| !is_standard_input(path));
    let optional = [
        ("the file with the key or password", secret),
        ("the CA certificate", connection.ca_cert.as_deref()),
        ("the config file", settings.file.as_deref()),
        ("the register", settings.register.path.as_deref()),
        ("the list of users", list_of_users),
        ("the record of the earlier run", run.earlier_record),
    ];
    let mut inputs = Vec::new();
    if !is_standard_input(run.table) {
        inputs.push(named("the table", run.table));
    }
    for (what, path) in optional {
        if let Some(path) = path {
            inputs.push(named(what, path));
        }
    }
    inputs
}

fn named<'a>(what: &'static str, path: &'a Path) -> Named<'a> {
    Named { what, path }
}

fn conflict(output: &Named<'_>, other: &str) -> Error {
    let message = format!(
        "{} can't be {}: that is {other}",
        output.what,
        visible_path(output.path)
    );
    let help = if output.what.starts_with("--") {
        "give it a name of its own"
    } else {
        "give the report another name with --report"
    };
    Error::new(Kind::Usage, message).help(help)
}

fn check(
    path: Option<&PathBuf>,
    check_place: impl FnOnce(&Path) -> Result<Output>,
) -> Result<Option<Output>> {
    match path {
        Some(path) => check_place(path).map(Some),
        None => Ok(None),
    }
}

/// Checks whether two paths are the same file, or will be once they are created.
///
/// Two files that are not there yet are told apart by folder and name. Names that differ in case
/// only count as the same, because many file systems take them for that.
fn is_same_place(one: &Path, other: &Path) -> bool {
    match (one.exists(), other.exists()) {
        (true, true) => is_same_file(one, other),
        (false, false) => {
            let name = |path: &Path| {
                path.file_name()
                    .map(|name| name.to_string_lossy().to_lowercase())
            };
            let folder = |path| FileId::at(output::folder_of(path)).ok();
            name(one) == name(other) && folder(one).is_some() && folder(one) == folder(other)
        }
        (true, false) | (false, true) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn two_paths_of_one_file_are_the_same_place_also_before_it_is_created() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("inner")).unwrap();
        fs::write(at("table.csv"), "").unwrap();
        fs::hard_link(at("table.csv"), at("second-name.csv")).unwrap();
        for (one, other) in [
            ("table.csv", "second-name.csv"),
            ("table.csv", "inner/../table.csv"),
            ("new.csv", "inner/../new.csv"),
            ("new.csv", "NEW.csv"),
        ] {
            assert!(is_same_place(&at(one), &at(other)), "{one} {other}");
        }
        for (one, other) in [
            ("table.csv", "new.csv"),
            ("new.csv", "inner/new.csv"),
            ("missing/new.csv", "missing/new.html"),
        ] {
            assert!(!is_same_place(&at(one), &at(other)), "{one} {other}");
        }
    }
}
