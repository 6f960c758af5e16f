//! Looks for columns whose names and cells contradict the choice of columns: another column that
//! holds the user IDs although `id` was found, and end dates under a name that is almost the right
//! one. Everything here is pure.

use std::ops::ControlFlow;

use super::cell;
use super::header::{self, Columns, HeaderProblem, UNTIL_NAME};
use super::options::UntilChoice;
use super::row::{CellNote, Row};
use crate::text::{shorten, visible};

/// Number of rows in which columns of dates are looked for that are only mentioned.
const SAMPLE: u64 = 200;

/// What is counted in the cells of a column.
#[derive(Clone, Copy, Debug, Default)]
struct ColumnCounts {
    filled: u64,
    ids: u64,
    dates: u64,
}

/// The examination of a table's columns, which is shown one row after the other.
#[derive(Debug)]
pub(super) struct ColumnCheck<'a> {
    header: &'a [String],
    columns: &'a Columns,
    counts: Vec<ColumnCounts>,
    rows: u64,
    /// Whether the generic ID column has counted 1, 2, 3 and so on so far.
    is_counter: bool,
    /// Columns whose names say that they hold the IDs of users.
    rivals: Vec<usize>,
    /// Columns whose names are almost that of the end date.
    near_misses: Vec<usize>,
}

impl<'a> ColumnCheck<'a> {
    /// Starts the examination of a table with this header.
    pub(super) fn new(header: &'a [String], columns: &'a Columns, until: &UntilChoice) -> Self {
        let others: Vec<usize> = (0..columns.carried)
            .filter(|column| {
                *column != columns.id
                    && Some(*column) != columns.flag
                    && Some(*column) != columns.until
            })
            .collect();
        let with_names = |fits: fn(&str) -> bool| -> Vec<usize> {
            let columns = others.iter().copied();
            columns.filter(|column| fits(&header[*column])).collect()
        };
        let mut check = Self {
            header,
            columns,
            counts: vec![ColumnCounts::default(); columns.carried],
            rows: 0,
            is_counter: columns.has_generic_id,
            rivals: Vec::new(),
            near_misses: Vec::new(),
        };
        if columns.has_generic_id {
            check.rivals = with_names(is_user_number);
        }
        if columns.until.is_none() && *until == UntilChoice::Detect {
            check.near_misses = with_names(is_almost_until);
        }
        check
    }

    /// Takes the next row into account. Breaks off when further rows can't change the result.
    pub(super) fn take(&mut self, row: &Row) -> ControlFlow<()> {
        self.rows += 1;
        for (column, counts) in self.counts.iter_mut().enumerate() {
            let cell = row.cells.get(column).unwrap_or_default();
            if cell.trim_ascii().is_empty() {
                continue;
            }
            counts.filled += 1;
            counts.ids += u64::from(cell::is_user_id(cell));
            counts.dates += u64::from(is_date(cell, row.note(column)));
        }
        let id = row.cells.get(self.columns.id).unwrap_or_default();
        self.is_counter &= id == self.rows.to_string().as_bytes();
        let awaits_date = |column: &usize| self.counts[*column].dates == 0;
        let is_open = self.is_counter
            || !self.rivals.is_empty()
            || self.near_misses.iter().any(awaits_date)
            || self.rows < SAMPLE;
        if is_open {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    }

    /// Returns the columns of dates that are not read as end dates, in words.
    ///
    /// # Errors
    ///
    /// Returns the reason if another column may hold the user IDs or the end dates.
    pub(super) fn finish(self) -> Result<Vec<String>, HeaderProblem> {
        if let Some(rival) = self.rival() {
            return Err(self.two_ids(rival));
        }
        let has_date = |column: &&usize| self.counts[**column].dates > 0;
        if let Some(column) = self.near_misses.iter().find(has_date) {
            return Err(self.almost_until(*column));
        }
        let is_ignored = |column: &usize| {
            Some(*column) != self.columns.until
                && *column != self.columns.id
                && Some(*column) != self.columns.flag
                && self.counts[*column].dates > 0
        };
        Ok((0..self.columns.carried)
            .filter(is_ignored)
            .map(|column| format!("\"{}\"", shorten(&visible(&self.header[column]), 60)))
            .collect())
    }

    /// Returns the column that may hold the user IDs instead of the column `id`.
    fn rival(&self) -> Option<usize> {
        let is_mostly_ids = |column: &&usize| {
            let counts = self.counts[**column];
            counts.ids * 2 > counts.filled
        };
        if let Some(rival) = self.rivals.iter().find(is_mostly_ids) {
            return Some(*rival);
        }
        if !self.is_counter || self.rows == 0 {
            return None;
        }
        let holds_only_ids = |column: &usize| {
            *column != self.columns.id
                && Some(*column) != self.columns.flag
                && Some(*column) != self.columns.until
                && self.counts[*column].ids == self.rows
        };
        let mut found = (0..self.columns.carried).filter(holds_only_ids);
        match (found.next(), found.next()) {
            (Some(only), None) => Some(only),
            _ => None,
        }
    }

    fn two_ids(&self, rival: usize) -> HeaderProblem {
        let id = self.columns.id;
        HeaderProblem::new(
            format!(
                "two columns could be the user ID: {} and {}",
                header::in_words(self.header, id),
                header::in_words(self.header, rival)
            ),
            format!(
                "give --id-column {} for the first or --id-column {} for the second",
                id + 1,
                rival + 1
            ),
        )
    }

    fn almost_until(&self, column: usize) -> HeaderProblem {
        HeaderProblem::new(
            format!(
                "{} holds dates and is almost called opt_out_until: are these the days on which \
                 opt-outs end?",
                header::in_words(self.header, column)
            ),
            format!(
                "if they are, give --until-column {}; if opt-outs don't end, give --until-column \
                 none",
                column + 1
            ),
        )
    }
}

fn is_date(cell: &[u8], note: Option<CellNote>) -> bool {
    note == Some(CellNote::Date) || cell::is_date(cell)
}

/// Words of a header that say whose number it is.
const PERSONS: [&str; 5] = ["user", "member", "person", "benutzer", "resolver"];
/// Words at the end of a header that say that it is a number.
const NUMBERS: [&str; 6] = ["id", "no", "nr", "number", "nummer", "num"];
/// Words of a header that say that the number is somebody else's, or of something else.
const OTHER_ROLES: [&str; 64] = [
    "account",
    "admin",
    "administrator",
    "approved",
    "approver",
    "assigned",
    "assignee",
    "assistant",
    "author",
    "backup",
    "badge",
    "boss",
    "by",
    "card",
    "cell",
    "changed",
    "contact",
    "created",
    "creator",
    "customer",
    "delegate",
    "department",
    "deputy",
    "desk",
    "device",
    "editor",
    "emergency",
    "fax",
    "former",
    "group",
    "head",
    "invoice",
    "lead",
    "leader",
    "legacy",
    "license",
    "manager",
    "mobile",
    "modified",
    "old",
    "order",
    "owner",
    "parent",
    "phone",
    "previous",
    "reported",
    "reporter",
    "reports",
    "requested",
    "requester",
    "requestor",
    "reviewer",
    "room",
    "sponsor",
    "substitute",
    "supervisor",
    "team",
    "telefon",
    "telephone",
    "ticket",
    "updated",
    "vertreter",
    "vorgesetzter",
    "vorgesetzten",
];

/// Checks whether a header says that the column holds numbers of users, such as `Your Resolver user
/// ID`.
fn is_user_number(name: &str) -> bool {
    let words = words(name);
    let names_person = |word: &String| PERSONS.iter().any(|person| word.contains(person));
    let names_other = |word: &String| {
        OTHER_ROLES.contains(&word.as_str())
            // Such as "Managers", "phoneno" and "ownerid".
            || OTHER_ROLES
                .iter()
                .any(|role| role.len() > 4 && word.starts_with(role))
    };
    let ends_in_number = words.last().is_some_and(|last| {
        NUMBERS.contains(&last.as_str())
            || NUMBERS.iter().any(|number| {
                let stem = last.strip_suffix(number);
                stem.is_some_and(|stem| PERSONS.iter().any(|person| stem.ends_with(person)))
            })
    });
    ends_in_number && words.iter().any(names_person) && !words.iter().any(names_other)
}

/// Checks whether a header is almost that of the end date, such as `mfa_opt_out_until` or
/// `opt_out_untill`.
fn is_almost_until(name: &str) -> bool {
    const NEVER_LAST: [&str; 4] = ["reason", "by", "old", "comment"];
    const ADDED: [&str; 4] = ["mfa", "user", "date", "end"];
    const MAX_DISTANCE: usize = 2;
    if words(name)
        .last()
        .is_some_and(|last| NEVER_LAST.contains(&last.as_str()))
    {
        return false;
    }
    let mut name: String = header::plain(name)
        .chars()
        .filter(|c| c.is_alphanumeric())
        .collect();
    if strsim::levenshtein(&name, UNTIL_NAME) <= MAX_DISTANCE {
        return true;
    }
    for word in ADDED {
        name = name.replace(word, "");
    }
    strsim::levenshtein(&name, UNTIL_NAME) <= MAX_DISTANCE
}

/// Returns the words of a header in lower case; `userId` is two words.
fn words(name: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut after_lower_case = false;
    for c in name.chars() {
        let begins_word = c.is_uppercase() && after_lower_case;
        if (begins_word || !c.is_alphanumeric()) && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
        }
        after_lower_case = c.is_lowercase();
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::header::ColumnRequest;
    use super::*;

    fn check(table: &str, request: &ColumnRequest) -> Result<Vec<String>, HeaderProblem> {
        let mut lines = table.lines().map(|line| line.split(','));
        let header: Vec<String> = lines.next().unwrap().map(ToOwned::to_owned).collect();
        let columns = header::find(&header, request)?;
        let mut check = ColumnCheck::new(&header, &columns, &request.until);
        for line in lines {
            let row = Row {
                cells: line.collect(),
                ..Row::default()
            };
            if check.take(&row).is_break() {
                break;
            }
        }
        check.finish()
    }

    fn refusal(table: &str) -> String {
        let problem = check(table, &ColumnRequest::default()).unwrap_err();
        format!("{} / {}", problem.message, problem.help)
    }

    fn ignored_dates(table: &str) -> Vec<String> {
        check(table, &ColumnRequest::default()).unwrap()
    }

    #[test]
    fn id_is_refused_beside_a_column_that_names_the_users_number() {
        for name in [
            "Your Resolver user ID",
            "user number",
            "UserNo",
            "member_nr",
            "Person ID",
            "Benutzernummer",
            "Benutzer-ID",
            "Core member id",
        ] {
            let error = refusal(&format!("id,{name},opt_out\n7,1701,yes\n9,1702,no"));
            assert!(error.contains("column 1 \"id\" and column 2"), "{error}");
            assert!(error.contains("--id-column 1"), "{error}");
            assert!(error.contains("--id-column 2"), "{error}");
        }
    }

    #[test]
    fn id_is_refused_if_it_counts_and_one_other_column_holds_ids() {
        let error = refusal("id,staff,opt_out\n1,1701,yes\n2,1702,no");
        assert!(error.contains("column 2 \"staff\""), "{error}");
        // Two such columns, or a cell that is no ID, say nothing.
        assert!(ignored_dates("id,staff,age,opt_out\n1,1701,30,yes\n2,1702,40,no").is_empty());
        assert!(ignored_dates("id,staff,opt_out\n1,1701,yes\n2,,no").is_empty());
        assert!(ignored_dates("id,staff,opt_out\n1,1701,yes\n3,1702,no").is_empty());
        assert!(ignored_dates("id,opt_out\n1,1\n2,1").is_empty());
    }

    #[test]
    fn other_numbers_beside_id_are_ordinary_columns() {
        for name in [
            "Manager user ID",
            "User phone number",
            "Created by user ID",
            "userManagerId",
            "Member card no",
            "Owner (user ID)",
            "paid",
            "User notes",
        ] {
            let table = format!("id,{name},opt_out\n1701,1600,yes\n1702,1601,no");
            assert!(ignored_dates(&table).is_empty(), "{name}");
        }
        let club = "ID,Member number,opt_out\n1701,A-1,yes\n1702,A-2,no";
        assert!(ignored_dates(club).is_empty());
    }

    #[test]
    fn a_named_id_column_is_not_questioned() {
        let request = ColumnRequest {
            id: Some("id".parse().unwrap()),
            ..ColumnRequest::default()
        };
        assert!(check("id,user number,opt_out\n1,1701,yes", &request).is_ok());
    }

    #[test]
    fn dates_under_almost_the_right_name_are_refused() {
        for name in [
            "mfa_opt_out_until",
            "opt_out_untill",
            "opt out til",
            "User opt-out until",
            "opt_out_until_date",
            "MFA opt-out until (end date)",
            "optOutUntl",
        ] {
            for date in ["2026-01-31", "31.01.2026", "1/31/26"] {
                let error = refusal(&format!(
                    "user_id,opt_out,{name}\n1701,yes,\n1702,yes,{date}"
                ));
                assert!(error.contains("--until-column 3"), "{name}: {error}");
                assert!(error.contains("--until-column none"), "{name}: {error}");
            }
        }
    }

    #[test]
    fn other_columns_of_dates_are_mentioned() {
        for name in [
            "opt_out_until_old",
            "mfa_opt_out_reason",
            "opt_out_date",
            "opt_out_by",
            "opt_out_until_comment",
            "expires",
            "valid until",
        ] {
            let table = format!("user_id,opt_out,{name}\n1701,yes,2026-01-31");
            assert_eq!(ignored_dates(&table), [format!("\"{name}\"")]);
        }
        assert!(ignored_dates("user_id,opt_out,opt_out_untill\n1701,yes,soon").is_empty());
        assert!(ignored_dates("user_id,opt_out,opt_out_until\n1701,yes,2026-01-31").is_empty());
    }

    #[test]
    fn a_date_far_down_is_found() {
        let rows = "1701,yes,\n".repeat(1_000);
        let error = refusal(&format!(
            "user_id,opt_out,opt_out_untill\n{rows}1702,yes,2026-01-31"
        ));
        assert!(error.contains("--until-column"), "{error}");
    }

    #[test]
    fn headers_are_split_into_words() {
        assert_eq!(
            words("Your userID, no. 7"),
            ["your", "user", "id", "no", "7"]
        );
        assert_eq!(words("opt_out-Until"), ["opt", "out", "until"]);
        assert!(words(" _ ").is_empty());
    }

    proptest! {
        #[test]
        fn a_counter_never_outranks_the_one_column_of_ids(
            ids in prop::collection::vec(1_u64..100_000, 1..30),
            names in prop::sample::subsequence(vec!["name", "mail", "team"], 0..=3),
            place in 0..4_usize,
        ) {
            let mut header: Vec<&str> = names.clone();
            header.insert(place.min(header.len()), "staff");
            let mut rows = vec![format!("id,{},opt_out", header.join(","))];
            for (counter, id) in (1..).zip(&ids) {
                let cells: Vec<String> = header.iter().map(|name| {
                    if *name == "staff" { id.to_string() } else { "x".to_owned() }
                }).collect();
                rows.push(format!("{counter},{},yes", cells.join(",")));
            }
            let table = rows.join("\n");
            let refused = check(&table, &ColumnRequest::default()).unwrap_err();
            prop_assert!(refused.message.contains("\"staff\""));
        }
    }
}
