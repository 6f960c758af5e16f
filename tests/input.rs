//! The tables that administrators have, held against the plan or the messages they give. Each file of `corpus` has a
//! snapshot; a file `NAME.options` beside one holds its options, one `key=value` a line.

#![expect(clippy::unwrap_used, reason = "in a test, what can't be had is a failure")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::civil::date;
use mfa_optout::domain::{Flag, Outcome};
use mfa_optout::error::Result;
use mfa_optout::input::{Input, Options as InputOptions, Source};
use mfa_optout::plan::{Baseline, Options, Plan, Selection, What};
use roaring::RoaringTreemap;

const CORPUS: &str = "tests/corpus";

fn read_options(path: &Path) -> Options {
    let mut options = Options::on(date(2026, 11, 24));
    let beside = PathBuf::from(format!("{}.options", path.display()));
    for line in fs::read_to_string(beside).unwrap_or_default().lines() {
        let (key, value) = line.split_once('=').unwrap();
        let flag = || Some(Flag::from_opt_out(value == "true"));
        let InputOptions { delimiter, encoding, sheet, id_column, flag_column, set, header, .. } = &mut options.input;
        match key {
            "delimiter" => *delimiter = Some(value.as_bytes()[0]),
            "encoding" => *encoding = encoding_rs::Encoding::for_label(value.as_bytes()),
            "sheet" => *sheet = Some(value.to_owned()),
            "id-column" => *id_column = value.parse().ok(),
            "flag-column" => *flag_column = value.parse().ok(),
            "set" => *set = flag(),
            "header" => *header = value == "true",
            "host" => options.host = Some(value.to_owned()),
            "retry" => {
                options.selection = Selection::Retry(value.split(' ').filter_map(Outcome::from_word).collect());
            }
            "undo" => options.selection = Selection::Undo,
            "baseline" => options.baseline = Some(Baseline { path: Path::new(CORPUS).join(value), set: None }),
            "baseline-set" => options.baseline.as_mut().unwrap().set = flag(),
            other => panic!("{other} is no option"),
        }
    }
    options
}

fn plan(path: &Path, options: &Options) -> Result<Plan> {
    Plan::check(Input::open(&Source::Path(path.to_owned()), &options.input)?, options.clone())
}

fn show(plan: &Plan) -> String {
    let mut text = String::new();
    let found = plan.input().found();
    let until = found.until_column.as_ref().map(|until| format!(", until {until}")).unwrap_or_default();
    let flag = found.flag_column.as_deref().unwrap_or("as set");
    writeln!(text, "{}; user {}, flag {flag}{until}", found.form, found.id_column).unwrap();
    for note in &found.notes {
        writeln!(text, "note: {note}").unwrap();
    }
    writeln!(text, "{:?}", plan.counts()).unwrap();
    if let Some(at) = plan.latest_unknown_at() {
        writeln!(text, "latest unknown at {at}").unwrap();
    }
    writeln!(text, "{:?}", plan.header()).unwrap();
    for step in plan.changes(&RoaringTreemap::new()).unwrap().take(40) {
        let step = step.unwrap();
        let what = match step.what {
            What::Send(change) => format!("send {:?} for {} as row {}", change.flag, change.user, change.row),
            What::Settled(record) => format!("row {} is {}: {}", record.row, record.outcome, record.detail),
        };
        writeln!(text, "{:?} -> {what}", String::from_utf8(step.cells).unwrap()).unwrap();
    }
    text
}

/// The plan, or what is refused and then what is left of it when invalid rows are skipped.
fn outcome_of(path: &Path) -> String {
    let options = read_options(path);
    let error = match plan(path, &options) {
        Ok(plan) => return show(&plan),
        Err(error) => error,
    };
    match plan(path, &Options { skip_invalid: true, ..options }) {
        Ok(plan) => format!("error: {error}\n--- with invalid rows skipped\n{}", show(&plan)),
        Err(second) if second.to_string() == error.to_string() => format!("error: {error}\n"),
        Err(second) => format!("error: {error}\n--- with invalid rows skipped\nerror: {second}\n"),
    }
}

#[test]
fn every_file_of_the_corpus_is_understood_or_refused_as_before() {
    let mut files: Vec<PathBuf> = fs::read_dir(CORPUS).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension != "options"));
    files.sort();
    assert!(files.len() >= 100, "only {} files", files.len());
    insta::with_settings!({ prepend_module_to_snapshot => false, snapshot_path => "corpus/snapshots", omit_expression => true }, {
        for path in files {
            let name = path.file_name().unwrap().to_str().unwrap();
            insta::assert_snapshot!(name, outcome_of(&path));
        }
    });
}
