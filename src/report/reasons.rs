//! Groups the rows that were not applied by reason, and says what each reason means and what to do
//! about it. No I/O.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::domain::{LineNumber, Outcome, StatusClass};
use crate::journal::line::Finished;
use crate::text;

/// The maximum number of groups. Rows with other reasons are counted in one more.
const MAX_GROUPS: usize = 100;

/// The number of lines that are kept for each group.
const EXAMPLES: usize = 5;

/// The number of words of a message by which its kind is known.
const WORDS_OF_KIND: usize = 10;

/// Rows that were not applied for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Outcome of the rows.
    pub outcome: Outcome,
    /// HTTP status of the last response.
    pub http_status: Option<u16>,
    /// The message, without what differs from row to row.
    pub reason: String,
    /// Number of rows.
    pub count: u64,
    /// Lines of the first few rows, in order.
    pub lines: Vec<LineNumber>,
    /// What the reason means.
    pub meaning: &'static str,
    /// What to do about it.
    pub next: &'static str,
}

type Key = (Outcome, Option<u16>, String);

/// Groups that are being collected.
#[derive(Clone, Debug, Default)]
pub struct Reasons(BTreeMap<Key, Members>);

#[derive(Clone, Debug, Default)]
struct Members {
    count: u64,
    first: Vec<LineNumber>,
}

impl Members {
    fn add(&mut self, line: Option<LineNumber>) {
        self.count += 1;
        let Some(line) = line else {
            return;
        };
        let place = self.first.partition_point(|known| *known < line);
        if place < EXAMPLES {
            self.first.insert(place, line);
            self.first.truncate(EXAMPLES);
        }
    }
}

impl Reasons {
    /// Counts a row if its outcome needs attention.
    pub fn add(&mut self, row: &Finished<'_>) {
        if !row.outcome.needs_attention() {
            return;
        }
        let reason = match row.outcome {
            Outcome::Invalid => kind_of(fault(row.detail)),
            _ => kind_of(row.detail),
        };
        let mut key = (row.outcome, row.http_status, reason);
        if self.0.len() >= MAX_GROUPS && !self.0.contains_key(&key) {
            key = (
                row.outcome,
                row.http_status,
                "(many other messages)".to_owned(),
            );
        }
        self.0.entry(key).or_default().add(row.line);
    }

    /// Returns the groups, the largest first.
    #[must_use]
    pub fn groups(&self) -> Vec<Group> {
        let mut groups: Vec<Group> = self
            .0
            .iter()
            .map(|(key, members)| group(key, members))
            .collect();
        groups.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.lines.cmp(&b.lines)));
        groups
    }
}

fn group((outcome, status, reason): &Key, members: &Members) -> Group {
    let (meaning, next) = advice(*outcome, *status);
    Group {
        outcome: *outcome,
        http_status: *status,
        reason: reason.clone(),
        count: members.count,
        lines: members.first.clone(),
        meaning,
        next,
    }
}

/// The beginning of the detail of a row that contradicts another row. Both places and the user
/// follow.
const CONTRADICTION: &str = "contradiction: ";

/// Returns what is wrong with a cell, given a detail such as
/// `line 3: column NAME: what is wrong; what to do: "the cell"`.
fn fault(detail: &str) -> &str {
    if detail.starts_with(CONTRADICTION) {
        return "the same user has another flag in another row";
    }
    let place = |text: &str| text.starts_with("line ") || text.starts_with("cell ");
    let behind = detail
        .split_once(": ")
        .filter(|(before, _)| place(before))
        .map_or(detail, |(_, behind)| behind);
    let end = behind
        .find("; ")
        .or_else(|| behind.find(": \""))
        .unwrap_or(behind.len());
    &behind[..end]
}

/// Returns the first words of a message, with `…` for every word that contains a digit or a quote,
/// such as an ID, a time or a name. A message that has only such words stays as it is.
fn kind_of(detail: &str) -> String {
    let differs = |word: &str| word.contains(|c: char| c.is_ascii_digit() || c == '"');
    let mut words: Vec<&str> = detail.split_whitespace().take(WORDS_OF_KIND).collect();
    if !words.iter().all(|word| differs(word)) {
        for word in &mut words {
            if differs(word) {
                *word = "…";
            }
        }
    }
    let cut = if detail.split_whitespace().nth(WORDS_OF_KIND).is_some() {
        " …"
    } else {
        ""
    };
    text::shorten(&(words.join(" ") + cut), 100)
}

/// Returns what an outcome means and what to do about it. `status` is that of the last response, if
/// there was one.
fn advice(outcome: Outcome, status: Option<u16>) -> (&'static str, &'static str) {
    let class = status.map(StatusClass::of);
    match outcome {
        Outcome::Invalid => (
            "the row could not be understood, and nothing was sent for it",
            "correct the rows in the input and run it again",
        ),
        Outcome::Unknown => advice_in_doubt(class),
        Outcome::NotSent if class.is_none() => (
            "the run ended before these rows were sent",
            "run `mfa-optout retry` on this report",
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
            "a request went out and no answer came back: the change may or may not have been made",
            "run `mfa-optout retry` on this report; sending a row again is harmless",
        ),
        Some(StatusClass::ServerFailed) => (
            "the Org or a server in front of it failed, and the attempts ran out: the change may or may not have been made",
            "run `mfa-optout retry` on this report later; sending a row again is harmless",
        ),
        Some(StatusClass::Success) => (
            "the answer was a web page, or contradicted the change: the change may or may not have been made",
            "read the message and look one of these users up in the Org, then run `mfa-optout retry` on this report",
        ),
        Some(_) => (
            "the change may or may not have been made by an earlier request",
            "run `mfa-optout retry` on this report; sending a row again is harmless",
        ),
    }
}

fn advice_after_refusal(class: Option<StatusClass>) -> (&'static str, &'static str) {
    let Some(class) = class else {
        return (
            "the Org was not reached, and nothing was changed for these users",
            "check the connection, then run `mfa-optout retry` on this report",
        );
    };
    match class {
        StatusClass::InvalidRequest => (
            "the Org did not accept the request for these users",
            "read the message; if it is no fault of the rows, show it to the Org's administrator",
        ),
        StatusClass::Unauthorized => (
            "the credentials were not accepted",
            "check the key or log-in, then run `mfa-optout retry`",
        ),
        StatusClass::Forbidden => (
            "the credentials may not change these users",
            "check what the key's user may do and whether these users belong to this Org",
        ),
        StatusClass::NotFound => (
            "the Org does not know these users",
            "check the IDs against the address of each user's Edit User page, and that it is the right Org",
        ),
        StatusClass::Conflict => (
            "the Org refused because something else changed the user at the same time",
            "run `mfa-optout retry` on this report",
        ),
        StatusClass::RepeatRequest
        | StatusClass::TooManyRequests
        | StatusClass::ServerFailed
        | StatusClass::Unavailable
        | StatusClass::NotSupported
        | StatusClass::NetworkAuthRequired
        | StatusClass::OtherServerError => (
            "the Org could not do it at the time, and the attempts ran out",
            "run `mfa-optout retry` on this report later",
        ),
        StatusClass::Success
        | StatusClass::NotModified
        | StatusClass::Redirect
        | StatusClass::ProxyAuthRequired
        | StatusClass::Other => (
            "the Org refused",
            "read the message; then run `mfa-optout retry` on this report",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::domain::Flag;

    fn failed(line: LineNumber, detail: &str) -> Finished<'_> {
        Finished {
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

    #[test]
    fn rows_whose_messages_differ_in_ids_only_are_one_group() {
        let mut reasons = Reasons::default();
        for row in [9, 2, 7, 4, 1, 8] {
            reasons.add(&failed(row, &format!("user {row} not found")));
        }
        reasons.add(&failed(3, "gone"));
        let groups = reasons.groups();
        assert_eq!(groups.len(), 2);
        assert_eq!(
            (groups[0].reason.as_str(), groups[0].count),
            ("user … not found", 6)
        );
        assert_eq!(groups[0].lines, [1, 2, 4, 7, 8]);
    }

    #[test]
    fn unknown_and_failed_rows_are_two_groups() {
        let mut reasons = Reasons::default();
        let detail = "there is no such user in this Org";
        for (line, outcome) in [
            (1, Outcome::Failed),
            (2, Outcome::Unknown),
            (3, Outcome::Unknown),
        ] {
            reasons.add(&Finished {
                outcome,
                ..failed(line, detail)
            });
        }
        let told: Vec<_> = reasons
            .groups()
            .into_iter()
            .map(|group| (group.outcome, group.lines))
            .collect();
        assert_eq!(
            told,
            [(Outcome::Unknown, vec![2, 3]), (Outcome::Failed, vec![1])]
        );
    }

    #[test]
    fn invalid_cells_are_grouped_by_what_is_wrong() {
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
            reasons.add(&Finished {
                outcome: Outcome::Invalid,
                http_status: None,
                ..failed(row, detail)
            });
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
    fn every_outcome_and_status_has_a_meaning_and_advice() {
        for status in (100..600).map(Some).chain([None]) {
            for outcome in Outcome::ALL {
                let (meaning, next) = advice(outcome, status);
                assert!(!meaning.is_empty() && !next.is_empty());
                assert!(
                    !meaning.ends_with('.') && !next.ends_with('.'),
                    "whoever shows it ends the sentence"
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
    fn rows_with_very_many_messages_make_101_groups_at_most() {
        let mut reasons = Reasons::default();
        for row in 1..=2000_u64 {
            let word: String = row
                .to_string()
                .chars()
                .map(|digit| char::from(b'a' + (digit as u8 - b'0')))
                .collect();
            reasons.add(&failed(row, &word));
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
