//! Tables of e-mail addresses with a list of users, as properties: what is sent follows from the
//! list by exactly the key of the row, the order of the list does not matter, and no row is lost.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use jiff::civil::date;
use mfa_optout::testing::domain::Outcome;
use mfa_optout::testing::input::{Content, Directory, DirectoryOptions, Input, Options, Source};
use mfa_optout::testing::plan::{self, Action, Plan, Step};
use proptest::prelude::*;
use roaring::RoaringTreemap;
use tempfile::NamedTempFile;

/// An entry of a list: an ID, which 0 makes invalid, and a key.
type ListEntry = (u64, String);

fn file(content: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(content.as_bytes()).unwrap();
    file
}

fn as_csv(entries: &[ListEntry]) -> String {
    let rows = entries.iter().map(|(id, key)| format!("{key};{id}\n"));
    format!("email;user_id\n{}", rows.collect::<Vec<_>>().concat())
}

fn as_json(entries: &[ListEntry]) -> String {
    let entries = entries
        .iter()
        .map(|(id, key)| serde_json::json!({"email": key, "id": id}).to_string());
    format!("{{\"users\": [{}]}}", entries.collect::<Vec<_>>().join(","))
}

/// Returns the steps for these people, invalid rows included.
fn steps(people: &[String], list: &str) -> Vec<Step> {
    let rows: Vec<String> = people.iter().map(|key| format!("{key},x\n")).collect();
    let table = file(&format!("email,note\n{}", rows.concat()));
    let list = file(list);
    let source = |file: &Path| Source::Path(file.to_owned());
    let directory = Directory::open(&source(list.path()), &DirectoryOptions::default()).unwrap();
    let input = Options {
        content: Content::People { key: None },
        set: Some(mfa_optout::testing::domain::Flag::OptOut),
        ..Options::default()
    };
    let options = plan::Options {
        input: input.clone(),
        directory: Some(Arc::new(directory)),
        skip_invalid: true,
        ..plan::Options::on(date(2026, 11, 28))
    };
    let input = Input::open(&source(table.path()), &input).unwrap();
    let plan = Plan::check(input, options).unwrap();
    let nothing = RoaringTreemap::new();
    let steps = plan.changes(&nothing).unwrap();
    steps.map(|step| step.unwrap()).collect()
}

/// What is decided about a row: the user to whom it is sent, or its outcome.
fn decision(step: &Step) -> Result<u64, Outcome> {
    match &step.action {
        Action::Send(change) => Ok(change.user.get()),
        Action::Settled(record) => Err(record.outcome),
        Action::Skipped => panic!("no row is skipped"),
    }
}

/// Returns the only ID that the list has for a key, if all its entries have this one.
fn expected(key: &str, entries: &[ListEntry]) -> Option<u64> {
    let same_key = entries
        .iter()
        .filter(|(_, other)| other.trim().to_lowercase() == key.trim().to_lowercase());
    let ids: BTreeSet<u64> = same_key.map(|(id, _)| *id).collect();
    match ids.iter().collect::<Vec<_>>()[..] {
        [id] if *id > 0 => Some(*id),
        _ => None,
    }
}

fn keys() -> impl Strategy<Value = String> {
    "[ ]?[aAäÄbß]{1,3}@(x|X)[.]y[ ]?"
}

#[test]
fn rows_that_are_read_ahead_keep_their_users_and_lines() {
    let people: Vec<String> = (1..=200).map(|id| format!("u{id}@x.y")).collect();
    let entries = (1..).zip(people.clone()).filter(|(id, _)| id % 70 != 0);
    let steps = steps(&people, &as_csv(&entries.collect::<Vec<_>>()));
    assert_eq!(steps.len(), people.len());
    for (id, step) in (1..).zip(&steps) {
        let is_listed = id % 70 != 0;
        let wanted = if is_listed {
            Ok(id)
        } else {
            Err(Outcome::Invalid)
        };
        assert_eq!(decision(step), wanted);
        let line = match &step.action {
            Action::Send(change) => change.line,
            Action::Settled(record) => record.line,
            Action::Skipped => None,
        };
        assert_eq!(line, Some(id + 1));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn ids_are_those_beside_exactly_the_key_in_any_order_and_no_row_is_lost(
        entries in prop::collection::vec((0_u64..5, keys()), 1..25),
        people in prop::collection::vec(keys(), 1..25),
        seed in any::<u64>(),
    ) {
        let found = steps(&people, &as_csv(&entries));
        prop_assert_eq!(found.len(), people.len());
        let mut seen = BTreeSet::new();
        for (step, key) in found.iter().zip(&people) {
            let wanted = match expected(key, &entries) {
                None => Err(Outcome::Invalid),
                Some(id) if seen.insert(id) => Ok(id),
                Some(_) => Err(Outcome::Duplicate),
            };
            prop_assert_eq!(decision(step), wanted, "{}", key);
            let cells = String::from_utf8(step.cells.clone()).unwrap();
            let id = expected(key, &entries).map(|id| id.to_string()).unwrap_or_default();
            prop_assert_eq!(cells, format!("{key},x,{id}"));
        }
        let mut shuffled = entries.clone();
        fastrand::Rng::with_seed(seed).shuffle(&mut shuffled);
        for list in [as_csv(&shuffled), as_json(&entries), as_json(&shuffled)] {
            let again = steps(&people, &list);
            let decisions = |steps: &[Step]| steps.iter().map(decision).collect::<Vec<_>>();
            prop_assert_eq!(decisions(&again), decisions(&found));
        }
    }
}
