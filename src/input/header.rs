//! Which column is which: the user's ID, the flag, the day an opt-out ends, and the columns that an earlier report has
//! added. Pure; a header in which two columns fit is refused, never guessed at.

use std::str::FromStr;

use crate::domain::{REPORT_COLUMNS, REPORT_COLUMNS_OF_FORMAT_1, ReportColumn};
use crate::text::{shorten, shown_value, visible};

const ID_NAMES: [&str; 3] = ["userid", "id", "coreuserid"];
const FLAG_NAMES: [&str; 2] = ["mfaoptout", "optout"];
const UNTIL_NAMES: [&str; 1] = ["optoutuntil"];

/// A column that the user has named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnChoice {
    /// By its header, without regard to case, white space, `_` and `-`.
    Name(String),
    /// By its place, counted from 1.
    Number(usize),
}

impl FromStr for ColumnChoice {
    type Err = std::convert::Infallible;

    /// Digits are a number, everything else is a name.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.trim().parse() {
            Ok(number) if !text.contains('+') => Self::Number(number),
            _ => Self::Name(text.to_owned()),
        })
    }
}

/// What the caller says about the columns.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    pub(super) id: Option<ColumnChoice>,
    pub(super) flag: Option<ColumnChoice>,
    /// One flag for all rows: no column is needed.
    pub(super) flag_is_set: bool,
}

/// Where the columns are, counted from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    /// The user's ID.
    pub id: usize,
    /// The flag; `None` where one flag is set for all rows.
    pub flag: Option<usize>,
    /// The day from which an opt-out no longer counts, where there is such a column.
    pub until: Option<usize>,
    /// How many columns there are.
    pub width: usize,
    /// How many of them a new report carries: all, without the result columns of an earlier report.
    pub carried: usize,
}

impl Columns {
    /// Whether the table is an earlier report: it ends in the result columns.
    #[must_use]
    pub fn is_report(&self) -> bool {
        self.carried < self.width
    }

    /// Returns where the tool's column of an earlier report is; `None` in a table that is no report.
    #[must_use]
    pub fn result(&self, column: ReportColumn) -> Option<usize> {
        if self.is_report() {
            Some(self.carried + column.index())
        } else {
            None
        }
    }
}

/// Finds the columns in a header.
///
/// # Errors
///
/// The message, in words, where a column is missing, or two fit.
pub(super) fn find(header: &[String], wanted: &Wanted) -> Result<Columns, Problem> {
    if header.ends_with(&REPORT_COLUMNS_OF_FORMAT_1.map(str::to_owned)) {
        return Err(report_of_format_1());
    }
    let carried = carried(header);
    let names = &header[..carried];
    let id = choose(names, wanted.id.as_ref(), &ID_NAMES, "user ID")?
        .ok_or_else(|| missing(names, "user ID"))?;
    let is_report = carried < header.len();
    let flag = match choose(names, wanted.flag.as_ref(), &FLAG_NAMES, "flag") {
        Ok(Some(column)) if wanted.flag_is_set => return Err(set_twice(column, &names[column])),
        // The rows of a report tell in a column of their own which flag they wanted.
        Ok(None) if !wanted.flag_is_set && !is_report => return Err(missing(names, "flag")),
        Ok(flag) => flag,
        Err(_) if is_report && wanted.flag.is_none() => None,
        Err(problem) => return Err(problem),
    };
    if flag == Some(id) {
        return Err(Problem::new(
            "the user ID and the flag can't both be in the same column",
            "check the two options",
        ));
    }
    let until = choose(names, None, &UNTIL_NAMES, "end date")?;
    Ok(Columns {
        id,
        flag,
        until,
        width: header.len(),
        carried,
    })
}

/// The columns of a table without a header: they need numbers.
pub(super) fn by_number(width: usize, wanted: &Wanted) -> Result<Columns, Problem> {
    let place = |choice: &Option<ColumnChoice>, what: &str, option: &str| match choice {
        Some(ColumnChoice::Number(number)) => numbered(*number, width, what),
        _ => Err(Problem::new(
            format!("a table without a header needs the number of its {what} column"),
            format!("add {option} NUMBER, such as {option} 1"),
        )),
    };
    let id = place(&wanted.id, "user ID", "--id-column")?;
    let flag = match (wanted.flag_is_set, &wanted.flag) {
        (true, Some(_)) => {
            return Err(Problem::new(
                "--set and --flag-column exclude each other",
                "leave one of them out",
            ));
        }
        (true, None) => None,
        (false, _) => Some(place(&wanted.flag, "flag", "--flag-column")?),
    };
    if flag == Some(id) {
        return Err(Problem::new(
            "the user ID and the flag can't both be in the same column",
            "check the two numbers",
        ));
    }
    Ok(Columns {
        id,
        flag,
        until: None,
        width,
        carried: width,
    })
}

/// What is wrong with a header, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) message: String,
    pub(super) help: String,
}

impl Problem {
    fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: help.into(),
        }
    }
}

/// A flag set for all rows beside a column of flags: one of the two would be passed over in silence.
fn set_twice(column: usize, name: &str) -> Problem {
    Problem::new(
        format!(
            "--set gives one flag for all rows, and column {} \"{}\" gives each its own",
            column + 1,
            shown(name)
        ),
        "leave out --set, or take the column out of the table",
    )
}

fn report_of_format_1() -> Problem {
    Problem::new(
        "this is a report that was written by an earlier version of mfa-optout (format 1)",
        "use that version for its retry or undo, or run apply on the table that the report was made from",
    )
}

fn carried(header: &[String]) -> usize {
    match header.len().checked_sub(REPORT_COLUMNS.len()) {
        Some(start) if header[start..].iter().eq(&REPORT_COLUMNS) => start,
        _ => header.len(),
    }
}

/// Returns a header as it is compared with others.
pub fn plain(name: &str) -> String {
    name.chars()
        .filter(|c| !c.is_whitespace() && !matches!(c, '_' | '-'))
        .flat_map(char::to_lowercase)
        .collect()
}

fn choose(
    header: &[String],
    choice: Option<&ColumnChoice>,
    known: &[&str],
    what: &str,
) -> Result<Option<usize>, Problem> {
    let wanted = match choice {
        Some(ColumnChoice::Number(number)) => {
            return numbered(*number, header.len(), what).map(Some);
        }
        Some(ColumnChoice::Name(name)) => Some(plain(name)),
        None => None,
    };
    let fits = |name: &String| match &wanted {
        Some(wanted) => plain(name) == *wanted,
        None => known.contains(&plain(name).as_str()),
    };
    let found: Vec<usize> = (0..header.len())
        .filter(|place| fits(&header[*place]))
        .collect();
    match (found.as_slice(), choice) {
        ([], Some(ColumnChoice::Name(name))) => Err(not_there(header, name, what)),
        ([], _) => Ok(None),
        ([one], _) => Ok(Some(*one)),
        ([first, second, ..], _) => Err(ambiguous(header, [*first, *second], what)),
    }
}

fn numbered(number: usize, width: usize, what: &str) -> Result<usize, Problem> {
    number
        .checked_sub(1)
        .filter(|place| *place < width)
        .ok_or_else(|| {
            Problem::new(
                format!("there is no column {number} for the {what}: the table has {width}"),
                "columns are counted from 1",
            )
        })
}

fn ambiguous(header: &[String], places: [usize; 2], what: &str) -> Problem {
    let [first, second] =
        places.map(|place| format!("column {} \"{}\"", place + 1, shown(&header[place])));
    let option = option(what);
    Problem::new(
        format!("two columns could be the {what}: {first} and {second}"),
        format!("choose one with {option}, by its name or its number"),
    )
}

fn not_there(header: &[String], name: &str, what: &str) -> Problem {
    Problem::new(
        format!(
            "there is no column \"{}\" for the {what}; the header is {}",
            shown_value(name),
            list(header)
        ),
        nearest(header, &[&plain(name)])
            .unwrap_or_else(|| "give a name of the header, or the column's number".to_owned()),
    )
}

fn missing(header: &[String], what: &str) -> Problem {
    let (known, example) = if what == "flag" {
        (&FLAG_NAMES[..], "mfa_opt_out")
    } else {
        (&ID_NAMES[..], "user_id")
    };
    let option = option(what);
    let set = if what == "flag" {
        ", or set one flag for all rows with --set true or --set false"
    } else {
        ""
    };
    let message = format!("no column for the {what}; the header is {}", list(header));
    if is_data(header) {
        return Problem::new(
            message,
            "the first row looks like data: for a table without a header give --no-header, --id-column NUMBER and --flag-column NUMBER",
        );
    }
    let hint = nearest(header, known)
        .map(|hint| format!("{hint}; "))
        .unwrap_or_default();
    Problem::new(
        message,
        format!("{hint}name the column {example}, or say which one it is with {option}{set}"),
    )
}

fn option(what: &str) -> &'static str {
    match what {
        "flag" => "--flag-column",
        "user ID" => "--id-column",
        _ => "another header",
    }
}

/// A header cell that is a plain number, or says yes or no, is nobody's column name.
fn is_data(header: &[String]) -> bool {
    header
        .iter()
        .any(|name| super::cell::user_id(name.as_bytes(), None).is_ok() || name.contains('@'))
}

fn nearest(header: &[String], known: &[&str]) -> Option<String> {
    let score = |name: &String| {
        known
            .iter()
            .map(|known| strsim::jaro_winkler(&bare(name), known))
            .fold(0.0, f64::max)
    };
    let best = header
        .iter()
        .map(|name| (score(name), name))
        .max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 > 0.8).then(|| format!("\"{}\" comes nearest", shown(best.1)))
}

/// Without what nobody sees, so that the hint finds the name behind it.
fn bare(name: &str) -> String {
    plain(name)
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect()
}

fn list(header: &[String]) -> String {
    const MOST: usize = 20;
    let mut names: Vec<String> = header
        .iter()
        .take(MOST)
        .map(|name| format!("\"{}\"", shown(name)))
        .collect();
    if header.len() > MOST {
        names.push(format!("and {} more", header.len() - MOST));
    }
    names.join(", ")
}

fn shown(name: &str) -> String {
    shorten(&visible(name), 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn found(names: &[&str]) -> Columns {
        find(&header(names), &Wanted::default()).unwrap()
    }

    fn problem(names: &[&str]) -> Problem {
        find(&header(names), &Wanted::default()).unwrap_err()
    }

    #[test]
    fn names_are_matched_without_case_spaces_and_dashes() {
        for id in [
            "user_id",
            "userid",
            "ID",
            "Core User ID",
            "User\u{a0}Id",
            " user-id ",
        ] {
            for flag in [
                "mfa_opt_out",
                "mfaOptOut",
                "opt_out",
                "MFA Opt-Out",
                "OPTOUT",
            ] {
                let columns = found(&["name", flag, id]);
                assert_eq!(
                    (columns.id, columns.flag, columns.until),
                    (2, Some(1), None),
                    "{id} {flag}"
                );
            }
        }
        assert_eq!(found(&["id", "opt_out", "Opt Out Until"]).until, Some(2));
    }

    #[test]
    fn two_that_fit_are_named_both() {
        for names in [["id", "id", "opt_out"], ["id", "user_id", "opt_out"]] {
            let message = problem(&names).message;
            assert!(
                message.contains("column 1 \"id\" and column 2"),
                "{message}"
            );
        }
        assert!(
            problem(&["id", "opt_out", "mfaOptOut"])
                .message
                .contains("two columns could be the flag")
        );
    }

    #[test]
    fn what_nobody_sees_is_shown() {
        let problem = problem(&["user\u{200b}_id", "opt_out"]);
        assert!(
            problem.message.contains("\"user\\u{200b}_id\""),
            "{}",
            problem.message
        );
        assert!(problem.help.contains("comes nearest"), "{}", problem.help);
    }

    #[test]
    fn a_first_row_of_data_is_recognised() {
        assert!(problem(&["1732", "true"]).help.contains("--no-header"));
    }

    #[test]
    fn a_choice_wins_over_the_known_names() {
        let wanted = Wanted {
            id: Some("Member".parse().unwrap()),
            flag: Some("3".parse().unwrap()),
            flag_is_set: false,
        };
        let columns = find(&header(&["id", "member", "x"]), &wanted).unwrap();
        assert_eq!((columns.id, columns.flag), (1, Some(2)));
        let wanted = Wanted {
            id: Some(ColumnChoice::Number(4)),
            ..Wanted::default()
        };
        assert!(
            find(&header(&["id", "opt_out"]), &wanted)
                .unwrap_err()
                .message
                .contains("no column 4")
        );
        assert!(
            by_number(2, &wanted)
                .unwrap_err()
                .message
                .contains("the table has 2")
        );
    }

    #[test]
    fn a_set_flag_needs_no_column() {
        let wanted = Wanted {
            flag_is_set: true,
            ..Wanted::default()
        };
        assert!(
            find(&header(&["id", "opt_out"]), &wanted)
                .unwrap_err()
                .message
                .contains("gives each its own")
        );
        assert_eq!(find(&header(&["id"]), &wanted).unwrap().flag, None);
    }

    #[test]
    fn result_columns_make_a_report() {
        let mut names = vec!["id", "opt_out"];
        names.extend(REPORT_COLUMNS);
        let columns = found(&names);
        assert!(columns.is_report());
        assert_eq!(
            (columns.carried, columns.result(ReportColumn::Outcome)),
            (2, Some(3))
        );
        assert_eq!(
            found(&["id", "opt_out", "line", "outcome"]).result(ReportColumn::Outcome),
            None
        );
    }

    #[test]
    fn a_report_needs_no_flag_column_and_two_are_not_ambiguous() {
        for flags in [&[][..], &["opt_out", "mfa_opt_out"]] {
            let names = [&["id"], flags, &REPORT_COLUMNS[..]].concat();
            assert_eq!(found(&names).flag, None);
        }
    }

    #[test]
    fn a_report_of_format_1_is_refused_in_words() {
        let names = [&["id", "opt_out"], &REPORT_COLUMNS_OF_FORMAT_1[..]].concat();
        let problem = problem(&names);
        assert!(
            problem
                .message
                .contains("earlier version of mfa-optout (format 1)")
        );
        assert!(problem.help.contains("use that version"));
    }
}
