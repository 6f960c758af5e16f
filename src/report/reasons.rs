//! Causes: rows that need attention, grouped by outcome, status and message, with what it means and
//! what to do.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::Serialize;

use crate::domain::{LineNumber, Outcome, StatusClass, row_name};
use crate::journal::line::RecordedRow;
use crate::text::grouped;

/// Largest number of groups; further messages are counted together.
const MAX_GROUPS: usize = 100;

/// Number of rows that each group names.
const MAX_EXAMPLES: usize = 5;

/// The reason of the groups that hold all further messages.
const OTHER_MESSAGES: &str = "(many other messages)";

/// Rows that need attention for the same reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Outcome of the rows.
    pub outcome: Outcome,
    /// Status of the last response, if there was one.
    pub http_status: Option<u16>,
    /// The message, with `…` for each word that differs from row to row.
    pub reason: String,
    /// Number of rows.
    pub count: u64,
    /// The first of these rows, in the order of the input.
    pub examples: Vec<RowExample>,
    /// What it means.
    pub meaning: &'static str,
    /// What to do about it.
    pub next: &'static str,
}

/// A row that a group names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RowExample {
    /// Line of the row in the input; `None` for a row that is not in it.
    pub line: Option<LineNumber>,
    /// ID and name of the user.
    pub user: String,
}

impl RowExample {
    /// Returns the place by which rows are ordered. Rows that are not in the input come last.
    fn place(&self) -> LineNumber {
        self.line.unwrap_or(LineNumber::MAX)
    }
}

impl fmt::Display for RowExample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&row_name(self.line, &self.user))
    }
}

/// What the rows of a group have in common: outcome, status and reason.
type GroupKey = (Outcome, Option<u16>, String);

/// Collects groups, row by row.
#[derive(Clone, Debug, Default)]
pub struct Reasons(BTreeMap<GroupKey, GroupRows>);

#[derive(Clone, Debug, Default)]
struct GroupRows {
    count: u64,
    examples: Vec<RowExample>,
}

impl GroupRows {
    fn add(&mut self, line: Option<LineNumber>, user: impl FnOnce() -> String) {
        self.count += 1;
        let place = line.unwrap_or(LineNumber::MAX);
        let index = self
            .examples
            .partition_point(|known| known.place() <= place);
        if index < MAX_EXAMPLES {
            let user = user();
            self.examples.insert(index, RowExample { line, user });
            self.examples.truncate(MAX_EXAMPLES);
        }
    }
}

impl Group {
    /// Returns the names of the first rows, and the number of further ones.
    #[must_use]
    pub fn row_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.examples.iter().map(RowExample::to_string).collect();
        let more = self.count.saturating_sub(names.len() as u64);
        if more > 0 {
            names.push(format!("and {} more", grouped(more)));
        }
        names
    }

    /// Checks whether the rows would fail again in the same way, so that sending them again can't
    /// help.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        self.outcome == Outcome::Failed
            && self
                .http_status
                .is_some_and(|status| StatusClass::of(status).is_permanent_refusal())
    }
}

impl Reasons {
    /// Counts a row if it needs attention. `user` returns its user's ID and name.
    pub fn add(&mut self, row: &RecordedRow<'_>, user: impl FnOnce() -> String) {
        let Some(mut key) = key_of(row) else {
            return;
        };
        if self.0.len() >= MAX_GROUPS && !self.0.contains_key(&key) {
            OTHER_MESSAGES.clone_into(&mut key.2);
        }
        self.0.entry(key).or_default().add(row.line, user);
    }

    /// Returns the groups, the largest first.
    #[must_use]
    pub fn groups(&self) -> Vec<Group> {
        let mut groups: Vec<Group> = self.0.iter().map(|(key, rows)| group(key, rows)).collect();
        let places = |group: &Group| -> Vec<LineNumber> {
            group.examples.iter().map(RowExample::place).collect()
        };
        groups.sort_by_key(|group| (Reverse(group.count), places(group)));
        groups
    }
}

fn group((outcome, status, reason): &GroupKey, rows: &GroupRows) -> Group {
    let (meaning, next) = advice(*outcome, *status);
    Group {
        outcome: *outcome,
        http_status: *status,
        reason: reason.clone(),
        count: rows.count,
        examples: rows.examples.clone(),
        meaning,
        next,
    }
}

/// Finds the group that a row was counted in.
pub(super) struct GroupIndex(HashMap<GroupKey, usize>);

impl GroupIndex {
    pub(super) fn of(groups: &[Group]) -> Self {
        let keys = groups.iter().map(|group| {
            let reason = group.reason.clone();
            (group.outcome, group.http_status, reason)
        });
        Self(keys.zip(0..).collect())
    }

    /// Returns the index of the row's group; `None` if the row does not need attention.
    pub(super) fn find(&self, row: &RecordedRow<'_>) -> Option<usize> {
        let mut key = key_of(row)?;
        if let Some(index) = self.0.get(&key) {
            return Some(*index);
        }
        OTHER_MESSAGES.clone_into(&mut key.2);
        self.0.get(&key).copied()
    }
}

/// Returns the key of the row's group; `None` if the row does not need attention.
fn key_of(row: &RecordedRow<'_>) -> Option<GroupKey> {
    if !row.outcome.needs_attention() {
        return None;
    }
    let message = match row.outcome {
        Outcome::Invalid => cell_problem(row.detail),
        _ => row.detail,
    };
    Some((row.outcome, row.http_status, without_differences(message)))
}

/// The beginning of the detail of a row that contradicts another one. Both places and the user
/// follow it.
const CONTRADICTION: &str = "contradiction: ";

/// Returns the problem in `line 3: column NAME: problem; what to do: "the cell"`.
fn cell_problem(detail: &str) -> &str {
    if detail.starts_with(CONTRADICTION) {
        return "the same user has another flag in another row";
    }
    let message = match detail.split_once(": ") {
        Some((place, message)) if place.starts_with("line ") || place.starts_with("cell ") => {
            message
        }
        _ => detail,
    };
    let end = message.find("; ").or_else(|| message.find(": \""));
    &message[..end.unwrap_or(message.len())]
}

/// Replaces what differs from row to row by `…`: words with a digit, and quoted text. A message
/// that has nothing else stays as it is.
fn without_differences(message: &str) -> String {
    let has_pairs_of_quotes = message.matches('"').count().is_multiple_of(2);
    let mut is_in_quotes = false;
    let mut shown = Vec::new();
    for word in message.split_whitespace() {
        let quotes = word.matches('"').count();
        let is_quoted = has_pairs_of_quotes && (is_in_quotes || quotes > 0);
        if !is_quoted && !word.contains(|c: char| c.is_ascii_digit()) {
            shown.push(word);
        } else if shown.last() != Some(&"…") {
            shown.push("…");
        }
        is_in_quotes ^= quotes % 2 == 1;
    }
    if shown == ["…"] {
        message.to_owned()
    } else {
        shown.join(" ")
    }
}

/// Returns what an outcome means and what to do about it. `status` is that of the last response, if
/// there was one.
fn advice(outcome: Outcome, status: Option<u16>) -> (&'static str, &'static str) {
    let class = status.map(StatusClass::of);
    match outcome {
        Outcome::Invalid => (
            "the row is not valid, and nothing was sent for it",
            "correct these rows in the table and run it again with another --report",
        ),
        Outcome::Unknown => advice_in_doubt(class),
        Outcome::NotSent if class.is_none() => (
            "the run ended before these rows were sent",
            "retry this report",
        ),
        Outcome::Failed
        | Outcome::NotSent
        | Outcome::Applied
        | Outcome::Duplicate
        | Outcome::Unchanged => advice_after_refusal(class),
    }
}

fn advice_in_doubt(class: Option<StatusClass>) -> (&'static str, &'static str) {
    match class {
        None => (
            "a request was sent and no answer came back: the change may or may not have been made",
            "retry this report; sending a row again is harmless",
        ),
        Some(StatusClass::ServerFailed) => (
            "the Org or a server in front of it failed at every attempt: the change may or may not \
             have been made",
            "retry this report later; sending a row again is harmless",
        ),
        Some(StatusClass::Success) => (
            "the answer was a web page or contradicted the change: the change may or may not have \
             been made",
            "read the message and look one of these users up in the Org, then retry this report",
        ),
        Some(_) => (
            "the change may or may not have been made by an earlier request",
            "retry this report; sending a row again is harmless",
        ),
    }
}

fn advice_after_refusal(class: Option<StatusClass>) -> (&'static str, &'static str) {
    let Some(class) = class else {
        return (
            "the Org was not reached, and nothing was changed for these users",
            "check the connection, then retry this report",
        );
    };
    match class {
        StatusClass::InvalidRequest => (
            "the Org did not accept the request for these users",
            "read the message; if the rows are correct, show it to the Org's administrator",
        ),
        StatusClass::Unauthorized => (
            "the credentials were not accepted",
            "check the key or log-in, then retry this report",
        ),
        StatusClass::Forbidden => (
            "the credentials may not change these users",
            "check the permissions of the key's user and whether these users belong to this Org",
        ),
        StatusClass::NotFound => (
            "the Org does not know these users",
            "compare the IDs with the address of each user's Edit User page, and check that this \
             is the right Org",
        ),
        StatusClass::Conflict => (
            "the Org refused because something else changed the user at the same time",
            "retry this report",
        ),
        StatusClass::RepeatRequest
        | StatusClass::TooManyRequests
        | StatusClass::ServerFailed
        | StatusClass::Unavailable
        | StatusClass::NotSupported
        | StatusClass::NetworkAuthRequired
        | StatusClass::OtherServerError => (
            "the Org was not able to make the change at any attempt",
            "retry this report later",
        ),
        StatusClass::Success
        | StatusClass::NotModified
        | StatusClass::Redirect
        | StatusClass::ProxyAuthRequired
        | StatusClass::Other => (
            "the Org refused",
            "read the message, then retry this report",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::domain::Flag;

    fn failed(line: LineNumber, detail: &str) -> RecordedRow<'_> {
        RecordedRow {
            line: Some(line),
            outcome: Outcome::Failed,
            wanted: Some(Flag::OptOut),
            http_status: Some(404),
            attempts: 1,
            elapsed: Duration::ZERO,
            finished_at: Timestamp::UNIX_EPOCH,
            detail,
        }
    }

    fn lines(group: &Group) -> Vec<Option<LineNumber>> {
        group.examples.iter().map(|row| row.line).collect()
    }

    #[test]
    fn groups_messages_that_differ_in_ids_only() {
        let mut reasons = Reasons::default();
        for row in [9, 2, 7, 4, 1, 8] {
            reasons.add(&failed(row, &format!("user {row} not found")), || {
                format!("{row} Ada")
            });
        }
        reasons.add(&failed(3, "gone"), String::new);
        let groups = reasons.groups();
        assert_eq!(groups.len(), 2);
        assert_eq!(
            (groups[0].reason.as_str(), groups[0].count),
            ("user … not found", 6)
        );
        assert_eq!(lines(&groups[0]), [1, 2, 4, 7, 8].map(Some));
        assert_eq!(groups[0].row_names()[4..], ["line 8: 8 Ada", "and 1 more"]);
    }

    #[test]
    fn keeps_the_whole_message_and_hides_what_differs() {
        let long = "the membership of this user cannot be changed because the Org is being moved \
            to another region";
        for (message, reason) in [
            (long, long),
            ("user \"Ada B. Almeida\" is locked", "user … is locked"),
            ("an open \" quote stays", "an open \" quote stays"),
            ("request 7 of 9 failed", "request … of … failed"),
            ("e0f1 7 8", "e0f1 7 8"),
            ("", ""),
        ] {
            assert_eq!(without_differences(message), reason);
        }
    }

    #[test]
    fn finds_the_group_of_each_row() {
        let mut reasons = Reasons::default();
        let mut rows = Vec::new();
        for line in 1..=300 {
            let word: String = format!("{line}")
                .chars()
                .map(|digit| char::from(digit as u8 + 49))
                .collect();
            rows.push((line, word));
        }
        for (line, word) in &rows {
            reasons.add(&failed(*line, word), String::new);
        }
        let groups = reasons.groups();
        let index = GroupIndex::of(&groups);
        for (line, word) in &rows {
            let found = &groups[index.find(&failed(*line, word)).unwrap()];
            assert!(
                found.reason == *word || found.reason == OTHER_MESSAGES,
                "{word}"
            );
        }
        let applied = RecordedRow {
            outcome: Outcome::Applied,
            ..failed(1, "")
        };
        assert_eq!(index.find(&applied), None);
    }

    #[test]
    fn keeps_unknown_and_failed_rows_apart() {
        let mut reasons = Reasons::default();
        let detail = "there is no such user in this Org";
        for (line, outcome) in [
            (1, Outcome::Failed),
            (3, Outcome::Unknown),
            (2, Outcome::Unknown),
        ] {
            let row = RecordedRow {
                outcome,
                line: Some(line).filter(|line| *line != 3),
                ..failed(line, detail)
            };
            reasons.add(&row, String::new);
        }
        let told: Vec<_> = reasons
            .groups()
            .iter()
            .map(|group| (group.outcome, lines(group)))
            .collect();
        assert_eq!(
            told,
            [
                (Outcome::Unknown, vec![Some(2), None]),
                (Outcome::Failed, vec![Some(1)])
            ]
        );
    }

    #[test]
    fn groups_invalid_rows_by_problem_without_the_cell() {
        let mut reasons = Reasons::default();
        let details = [
            "line 3: column user_id: is not a number; the numeric user ID is needed: \"zoë; or: \"",
            "line 12: column user_id: is not a number; the numeric user ID is needed: \"x\"",
            "cell B3: column end date: is a date that does not exist: \"2026-02-30\"",
            "line 9: the row has more cells than the header",
            "contradiction: line 3 opts user 7 out, line 5 opts the same user back in",
            "contradiction: cell A12 opts user 1700 out, cell A4 opts the same user back in",
        ];
        for (row, detail) in (1..).zip(details) {
            let row = RecordedRow {
                outcome: Outcome::Invalid,
                http_status: None,
                ..failed(row, detail)
            };
            reasons.add(&row, String::new);
        }
        let told: Vec<_> = reasons
            .groups()
            .into_iter()
            .map(|group| (group.reason, group.count))
            .collect();
        let wanted = [
            ("column user_id: is not a number", 2),
            ("the same user has another flag in another row", 2),
            ("column end date: is a date that does not exist", 1),
            ("the row has more cells than the header", 1),
        ];
        assert_eq!(
            told,
            wanted.map(|(reason, count)| (reason.to_owned(), count))
        );
    }

    #[test]
    fn every_end_has_a_meaning_and_something_to_do() {
        for status in (100..600).map(Some).chain([None]) {
            for outcome in Outcome::ALL {
                let (meaning, next) = advice(outcome, status);
                assert!(!meaning.is_empty() && !next.is_empty());
                assert!(
                    !meaning.ends_with('.') && !next.ends_with('.'),
                    "the sentence is ended where it is shown"
                );
            }
        }
        assert!(
            advice(Outcome::Failed, Some(404))
                .0
                .contains("does not know")
        );
        assert!(advice(Outcome::Unknown, Some(200)).0.contains("web page"));
        assert!(
            advice(Outcome::Unknown, Some(503))
                .0
                .contains("may or may not")
        );
    }

    #[test]
    fn limits_the_number_of_groups() {
        let mut reasons = Reasons::default();
        for row in 1..=2000_u64 {
            let word: String = row
                .to_string()
                .chars()
                .map(|digit| char::from(b'a' + (digit as u8 - b'0')))
                .collect();
            reasons.add(&failed(row, &word), String::new);
        }
        assert_eq!(reasons.groups().len(), MAX_GROUPS + 1);
        assert_eq!(
            reasons
                .groups()
                .iter()
                .map(|group| group.count)
                .sum::<u64>(),
            2000
        );
    }
}
