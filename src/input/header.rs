//! Finds the columns of a table by its header: the user's ID, the flag, the end date, and the
//! columns that an earlier report has added. A header in which two columns fit is refused.
//! Everything here is pure.

use super::cell;
use super::options::{ColumnChoice, Content, UntilChoice};
use crate::domain::{REPORT_COLUMNS, REPORT_COLUMNS_OF_FORMAT_1, ReportColumn};
use crate::text::{shorten, shown_value, visible};

const ID_NAMES: [&str; 3] = ["userid", "coreuserid", "resolveruserid"];
/// The name that many programs give to a counter of their own. It counts only if no other name
/// fits.
const GENERIC_ID_NAME: &str = "id";
const KEY_NAMES: [&str; 3] = ["email", "mail", "emailaddress"];
const FLAG_NAMES: [&str; 2] = ["mfaoptout", "optout"];
/// The name of the column of end dates as it is compared.
pub(super) const UNTIL_NAME: &str = "optoutuntil";

/// What the user says about the columns.
#[derive(Clone, Debug, Default)]
pub(super) struct ColumnRequest {
    /// What the table holds.
    pub(super) content: Content,
    /// The column of the user IDs.
    pub(super) id: Option<ColumnChoice>,
    /// The column of the flags.
    pub(super) flag: Option<ColumnChoice>,
    /// The column of the end dates.
    pub(super) until: UntilChoice,
    /// Whether one flag is set for all rows, so that no column of flags is needed.
    pub(super) flag_is_set: bool,
}

impl ColumnRequest {
    /// Returns what identifies the users of the table.
    fn identifier(&self) -> &'static WantedColumn {
        match self.content {
            Content::People { .. } => &KEY,
            Content::Users | Content::Directory { .. } => &ID,
        }
    }

    /// Returns the next step if the row that should be the header looks like data.
    pub(super) fn no_header_help(&self) -> String {
        no_header_help(self.identifier().option)
    }

    /// Returns the user's choice of the column that identifies the users of the table.
    pub(super) fn identifier_choice(&self) -> Option<&ColumnChoice> {
        match &self.content {
            Content::People { key } => key.as_ref(),
            Content::Users | Content::Directory { .. } => self.id.as_ref(),
        }
    }

    /// Checks whether a cell identifies a user of the table, so that it is no header.
    pub(super) fn identifies_user(&self, cell: &str) -> bool {
        match self.content {
            Content::People { .. } => cell.contains('@'),
            Content::Users | Content::Directory { .. } => cell::is_user_id(cell.as_bytes()),
        }
    }
}

/// The positions of the columns, counted from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    /// The column of the user IDs, or of the keys if the IDs are in a directory.
    pub id: usize,
    /// The column of the keys in a directory.
    pub(super) key: Option<usize>,
    /// Whether the users are identified by keys instead of IDs.
    pub(super) has_keys: bool,
    /// The column of the flags; `None` if one flag is set for all rows.
    pub flag: Option<usize>,
    /// The column of the days up to which opt-outs last, if there is one.
    pub until: Option<usize>,
    /// Number of columns.
    pub width: usize,
    /// Number of columns that a new report carries: all but the result columns of an earlier
    /// report.
    pub carried: usize,
    /// Whether the column of the user IDs was found by the name `id`, which may as well be a
    /// counter.
    pub(super) has_generic_id: bool,
}

impl Columns {
    /// Returns whether the table is an earlier report, which ends in the result columns.
    #[must_use]
    pub fn is_report(&self) -> bool {
        self.carried < self.width
    }

    /// Returns the position of a result column of an earlier report; `None` in a table that is no
    /// report.
    #[must_use]
    pub fn result(&self, column: ReportColumn) -> Option<usize> {
        if self.is_report() {
            Some(self.carried + column.index())
        } else {
            None
        }
    }
}

/// A reason why a header is refused, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HeaderProblem {
    /// The reason.
    pub(super) message: String,
    /// The next step.
    pub(super) help: String,
    /// Whether a needed column is missing, so that the row may not be the header.
    pub(super) is_missing: bool,
}

impl HeaderProblem {
    pub(super) fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: help.into(),
            is_missing: false,
        }
    }

    fn missing(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            is_missing: true,
            ..Self::new(message, help)
        }
    }
}

/// A column that is looked for in a header.
#[derive(Clone, Copy)]
struct WantedColumn {
    /// What messages call it.
    what: &'static str,
    /// The names by which it is found, as they are compared.
    names: &'static [&'static str],
    /// The name that messages propose.
    example: &'static str,
    /// The option that chooses it.
    option: &'static str,
}

const ID: WantedColumn = WantedColumn {
    what: "user ID",
    names: &ID_NAMES,
    example: "user_id",
    option: "--id-column",
};
const KEY: WantedColumn = WantedColumn {
    what: "e-mail address",
    names: &KEY_NAMES,
    example: "email",
    option: "--match TABLE_COLUMN=FILE_COLUMN",
};
const FLAG: WantedColumn = WantedColumn {
    what: "flag",
    names: &FLAG_NAMES,
    example: "mfa_opt_out",
    option: "--flag-column",
};
const UNTIL: WantedColumn = WantedColumn {
    what: "end date",
    names: &[UNTIL_NAME],
    example: "opt_out_until",
    option: "--until-column",
};

/// Finds the columns in a header.
///
/// # Errors
///
/// Returns the reason if a needed column is missing, or if two columns fit.
pub(super) fn find(header: &[String], request: &ColumnRequest) -> Result<Columns, HeaderProblem> {
    if header.ends_with(&REPORT_COLUMNS_OF_FORMAT_1.map(str::to_owned)) {
        return Err(report_of_format_1());
    }
    let carried = carried(header);
    let names = &header[..carried];
    let is_report = carried < header.len();
    if let Content::Directory { key } = &request.content {
        let found = find_directory(names, key.as_ref(), request.id.as_ref())?;
        return Ok(Columns {
            id: found.id,
            key: Some(found.key),
            has_keys: false,
            flag: None,
            until: None,
            width: header.len(),
            carried,
            has_generic_id: false,
        });
    }
    let id = match &request.content {
        Content::People { key } => find_key(names, key.as_ref()),
        Content::Users | Content::Directory { .. } => {
            find_id(names, request.id.as_ref()).map_err(|problem| match request.id {
                Some(_) => problem,
                None => with_ids_help(names, problem),
            })
        }
    };
    let id = id.map_err(|problem| with_flag_help(names, request, problem))?;
    let has_keys = matches!(request.content, Content::People { .. });
    let flag = match choose(names, request.flag.as_ref(), &FLAG) {
        Ok(Some(column)) if request.flag_is_set => return Err(set_twice(column, &names[column])),
        // The rows of a report have the wanted flag in a column of their own.
        Ok(None) if !request.flag_is_set && !is_report => return Err(missing(names, &FLAG)),
        Ok(flag) => flag,
        Err(_) if is_report && request.flag.is_none() => None,
        Err(problem) => return Err(problem),
    };
    let until = match &request.until {
        UntilChoice::Nothing => None,
        UntilChoice::Detect => choose(names, None, &UNTIL)?,
        UntilChoice::Column(choice) => choose(names, Some(choice), &UNTIL)?,
    };
    check_distinct(id, flag, until)?;
    let is_generic = request.id.is_none() && plain(&names[id]) == GENERIC_ID_NAME;
    Ok(Columns {
        id,
        key: None,
        has_keys,
        flag,
        until,
        width: header.len(),
        carried,
        has_generic_id: is_generic && !has_keys,
    })
}

/// The positions of the columns of a directory, counted from 0.
pub(super) struct DirectoryColumns {
    /// The column of the keys.
    pub(super) key: usize,
    /// The column of the user IDs.
    pub(super) id: usize,
}

/// Finds the columns of a directory.
///
/// # Errors
///
/// Returns the reason if a column is missing, or if two columns fit.
pub(super) fn find_directory(
    names: &[String],
    key: Option<&ColumnChoice>,
    id: Option<&ColumnChoice>,
) -> Result<DirectoryColumns, HeaderProblem> {
    let in_directory = |problem: HeaderProblem| HeaderProblem {
        help: problem.help.replace(ID.option, "--ids-column"),
        ..problem
    };
    let id = find_id(names, id).map_err(in_directory)?;
    let key = choose(names, key, &KEY)?.ok_or_else(|| missing(names, &KEY))?;
    check_distinct(id, Some(key), None)?;
    Ok(DirectoryColumns { key, id })
}

/// Returns the columns of a table without a header, which are chosen by number.
pub(super) fn by_number(width: usize, request: &ColumnRequest) -> Result<Columns, HeaderProblem> {
    let id = numbered_choice(request.identifier_choice(), width, request.identifier())?;
    let flag = match (request.flag_is_set, &request.flag) {
        (true, Some(_)) => {
            return Err(HeaderProblem::new(
                "--set and --flag-column exclude each other",
                "leave one of them out",
            ));
        }
        (true, None) => None,
        (false, flag) => Some(numbered_choice(flag.as_ref(), width, &FLAG)?),
    };
    let until = match &request.until {
        UntilChoice::Nothing | UntilChoice::Detect => None,
        UntilChoice::Column(choice) => Some(numbered_choice(Some(choice), width, &UNTIL)?),
    };
    check_distinct(id, flag, until)?;
    Ok(Columns {
        id,
        key: None,
        has_keys: matches!(request.content, Content::People { .. }),
        flag,
        until,
        width,
        carried: width,
        has_generic_id: false,
    })
}

/// Returns how many cells of a row have the name of a column that is looked for.
pub(super) fn known_names(row: &[String], request: &ColumnRequest) -> usize {
    let until = match &request.until {
        UntilChoice::Column(choice) => Some(choice),
        UntilChoice::Nothing | UntilChoice::Detect => None,
    };
    let identifier = request.identifier_choice();
    let chosen: Vec<String> = [identifier, request.flag.as_ref(), until]
        .into_iter()
        .flatten()
        .filter_map(|choice| match choice {
            ColumnChoice::Name(name) => Some(plain(name)),
            ColumnChoice::Number(_) => None,
        })
        .collect();
    let is_known = |cell: &&String| {
        let name = plain(cell);
        let known = [request.identifier().names, FLAG.names, UNTIL.names].concat();
        known.contains(&name.as_str()) || name == GENERIC_ID_NAME || chosen.contains(&name)
    };
    row.iter().filter(is_known).count()
}

/// Finds the column of the keys in a table of people, which must not have user IDs as well.
fn find_key(names: &[String], choice: Option<&ColumnChoice>) -> Result<usize, HeaderProblem> {
    let is_id = |name: &String| ID_NAMES.contains(&plain(name).as_str());
    if let Some(id) = names.iter().position(is_id) {
        return Err(HeaderProblem::new(
            format!(
                "{} holds user IDs, and --ids gives others",
                in_words(names, id)
            ),
            "leave out --ids or the setting ids, or take the column out of the table",
        ));
    }
    choose(names, choice, &KEY)?.ok_or_else(|| missing(names, &KEY))
}

/// Adds the way that leads from e-mail addresses to user IDs, if the column of IDs is missing.
fn with_ids_help(names: &[String], problem: HeaderProblem) -> HeaderProblem {
    if !problem.is_missing {
        return problem;
    }
    let addresses = names.iter().position(|name| {
        let is_address = name.contains('@');
        is_address || plain(name).contains("mail")
    });
    let way = match addresses {
        Some(column) => {
            let option = if KEY_NAMES.contains(&plain(&names[column]).as_str()) {
                String::new()
            } else {
                format!(" --match {}=email", column + 1)
            };
            format!(
                "to find the IDs by {}, save the list of users from the Org's Swagger page (button \
                 Download) and give it with --ids FILE{option}",
                in_words(names, column)
            )
        }
        None if is_data(names) => return problem,
        None => {
            "if the table has e-mail addresses instead of IDs, give a list of users with --ids \
            FILE"
                .to_owned()
        }
    };
    HeaderProblem {
        help: format!("{}; {way}", problem.help),
        ..problem
    }
}

/// Adds that the column of the flags is missing as well, so that both are named at once.
fn with_flag_help(
    names: &[String],
    request: &ColumnRequest,
    problem: HeaderProblem,
) -> HeaderProblem {
    let finds_flag = request.flag_is_set || request.flag.is_some();
    if !problem.is_missing || finds_flag || is_data(names) {
        return problem;
    }
    match choose(names, None, &FLAG) {
        Ok(None) => HeaderProblem {
            help: format!(
                "{}; there is no column for the flag either: {}",
                problem.help,
                naming_help(&FLAG)
            ),
            ..problem
        },
        Ok(Some(_)) | Err(_) => problem,
    }
}

fn find_id(names: &[String], choice: Option<&ColumnChoice>) -> Result<usize, HeaderProblem> {
    const GENERIC: WantedColumn = WantedColumn {
        names: &[GENERIC_ID_NAME],
        ..ID
    };
    if let Some(column) = choose(names, choice, &ID)? {
        return Ok(column);
    }
    choose(names, None, &GENERIC)?.ok_or_else(|| missing(names, &ID))
}

fn check_distinct(
    id: usize,
    flag: Option<usize>,
    until: Option<usize>,
) -> Result<(), HeaderProblem> {
    let same = if flag == Some(id) {
        "the user ID and the flag"
    } else if until == Some(id) {
        "the user ID and the end date"
    } else if until.is_some() && until == flag {
        "the flag and the end date"
    } else {
        return Ok(());
    };
    Err(HeaderProblem::new(
        format!("{same} can't both be in the same column"),
        "check the options that choose the columns",
    ))
}

/// Refuses a flag for all rows beside a column of flags, since one of them would be ignored.
fn set_twice(column: usize, name: &str) -> HeaderProblem {
    HeaderProblem::new(
        format!(
            "--set gives one flag for all rows, and column {} \"{}\" gives each its own",
            column + 1,
            shown(name)
        ),
        "leave out --set, or take the column out of the table",
    )
}

fn report_of_format_1() -> HeaderProblem {
    HeaderProblem::new(
        "this is a report that was written by an earlier version of mfa-optout (format 1)",
        "use that version for its retry or undo, or run apply on the table that the report was \
         made from",
    )
}

/// Checks whether a header is that of a report.
pub(super) fn is_of_report(header: &[String]) -> bool {
    carried(header) < header.len()
}

fn carried(header: &[String]) -> usize {
    match header.len().checked_sub(REPORT_COLUMNS.len()) {
        Some(start) if header[start..].iter().eq(&REPORT_COLUMNS) => start,
        _ => header.len(),
    }
}

/// Returns a header as it is compared: in lower case, without white space, `_` and `-`.
pub fn plain(name: &str) -> String {
    name.chars()
        .filter(|c| !c.is_whitespace() && !matches!(c, '_' | '-'))
        .flat_map(char::to_lowercase)
        .collect()
}

fn choose(
    header: &[String],
    choice: Option<&ColumnChoice>,
    target: &WantedColumn,
) -> Result<Option<usize>, HeaderProblem> {
    let chosen = match choice {
        Some(ColumnChoice::Number(number)) => {
            return numbered(*number, header.len(), target).map(Some);
        }
        Some(ColumnChoice::Name(name)) => Some(plain(name)),
        None => None,
    };
    let fits = |name: &String| match &chosen {
        Some(chosen) => plain(name) == *chosen,
        None => target.names.contains(&plain(name).as_str()),
    };
    let found: Vec<usize> = (0..header.len())
        .filter(|place| fits(&header[*place]))
        .collect();
    match (found.as_slice(), choice) {
        ([], Some(ColumnChoice::Name(name))) => Err(not_there(header, name, target)),
        ([], _) => Ok(None),
        ([one], _) => Ok(Some(*one)),
        ([first, second, ..], _) => Err(ambiguous(header, [*first, *second], target)),
    }
}

fn numbered_choice(
    choice: Option<&ColumnChoice>,
    width: usize,
    target: &WantedColumn,
) -> Result<usize, HeaderProblem> {
    if let Some(ColumnChoice::Number(number)) = choice {
        return numbered(*number, width, target);
    }
    let help = if target.option == KEY.option {
        "add --match NUMBER=FILE_COLUMN, such as --match 1=email".to_owned()
    } else {
        format!("add {0} NUMBER, such as {0} 1", target.option)
    };
    let what = target.what;
    Err(HeaderProblem::new(
        format!("a table without a header needs the number of its {what} column"),
        help,
    ))
}

fn numbered(number: usize, width: usize, target: &WantedColumn) -> Result<usize, HeaderProblem> {
    match number.checked_sub(1) {
        Some(place) if place < width => Ok(place),
        _ => Err(HeaderProblem::missing(
            format!(
                "there is no column {number} for the {}: the table has {width}",
                target.what
            ),
            "columns are counted from 1",
        )),
    }
}

fn ambiguous(header: &[String], places: [usize; 2], target: &WantedColumn) -> HeaderProblem {
    let [first, second] = places.map(|place| in_words(header, place));
    HeaderProblem::new(
        format!(
            "two columns could be the {}: {first} and {second}",
            target.what
        ),
        format!(
            "choose one with {}, by its name or its number",
            target.option
        ),
    )
}

fn not_there(header: &[String], name: &str, target: &WantedColumn) -> HeaderProblem {
    let hint = nearest(header, &[&plain(name)]).map(|column| comes_nearest(header, column));
    HeaderProblem::missing(
        format!(
            "there is no column \"{}\" for the {}; the header is {}",
            shown_value(name),
            target.what,
            list(header)
        ),
        hint.unwrap_or_else(|| "give a name of the header, or the column's number".to_owned()),
    )
}

fn missing(header: &[String], target: &WantedColumn) -> HeaderProblem {
    let message = format!(
        "no column for the {}; the header is {}",
        target.what,
        list(header)
    );
    if is_data(header) {
        return HeaderProblem::missing(message, no_header_help(target.option));
    }
    let help = naming_help(target);
    let help = match nearest(header, target.names) {
        Some(column) if target.option == KEY.option => format!(
            "{}; {help}, such as --match {}=email",
            comes_nearest(header, column),
            column + 1
        ),
        Some(column) => format!("{}; {help}", comes_nearest(header, column)),
        None => help,
    };
    HeaderProblem::missing(message, help)
}

/// Returns how a column that is missing can be given.
fn naming_help(target: &WantedColumn) -> String {
    let set = if target.what == FLAG.what {
        ", or set one flag for all rows with --set true or --set false"
    } else {
        ""
    };
    format!(
        "name the column {}, or choose it with {}{set}",
        target.example, target.option
    )
}

/// Returns the next step if the row that should be the header looks like data. `option` chooses the
/// column of the users.
fn no_header_help(option: &str) -> String {
    let users = if option == KEY.option {
        "--match NUMBER=email"
    } else {
        "--id-column NUMBER"
    };
    format!(
        "the first row looks like data: if the table has no header, give --no-header with {users} \
         and --flag-column NUMBER (or --set); if the header is further down, give its line with \
         --header-row"
    )
}

/// Checks whether a row has a cell that is a user ID or an e-mail address, and so is not a header.
fn is_data(header: &[String]) -> bool {
    header
        .iter()
        .any(|name| cell::is_user_id(name.as_bytes()) || name.contains('@'))
}

/// Returns the column whose name is most like one of the known names.
fn nearest(header: &[String], known: &[&str]) -> Option<usize> {
    let score = |name: &String| {
        known
            .iter()
            .map(|known| strsim::jaro_winkler(&bare(name), known))
            .fold(0.0, f64::max)
    };
    let best = header
        .iter()
        .map(score)
        .enumerate()
        .max_by(|a, b| a.1.total_cmp(&b.1))?;
    if best.1 > 0.8 { Some(best.0) } else { None }
}

fn comes_nearest(header: &[String], column: usize) -> String {
    format!("\"{}\" comes nearest", shown(&header[column]))
}

/// Returns a name without invisible characters, so that the hint finds the name behind them.
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

/// Returns a column in words, such as `column 1 "user_id"`.
pub(super) fn in_words(header: &[String], column: usize) -> String {
    format!("column {} \"{}\"", column + 1, shown(&header[column]))
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
        find(&header(names), &ColumnRequest::default()).unwrap()
    }

    fn problem(names: &[&str]) -> HeaderProblem {
        find(&header(names), &ColumnRequest::default()).unwrap_err()
    }

    #[test]
    fn names_are_matched_without_case_spaces_and_dashes() {
        for id in [
            "user_id",
            "userid",
            "ID",
            "Core User ID",
            "Resolver user ID",
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
    fn two_columns_that_fit_are_both_named() {
        for names in [
            ["id", "id", "opt_out"],
            ["user_id", "core user id", "opt_out"],
        ] {
            let message = problem(&names).message;
            let expected = format!("column 1 \"{}\" and column 2", names[0]);
            assert!(message.contains(&expected), "{message}");
        }
        let message = problem(&["id", "opt_out", "mfaOptOut"]).message;
        assert!(message.contains("two columns could be the flag"));
    }

    #[test]
    fn a_specific_name_outranks_id() {
        let columns = found(&["id", "User ID", "opt_out"]);
        assert_eq!((columns.id, columns.has_generic_id), (1, false));
        assert!(found(&["ID", "opt_out"]).has_generic_id);
    }

    #[test]
    fn an_invisible_character_is_shown() {
        let problem = problem(&["user\u{200b}_id", "opt_out"]);
        assert!(problem.message.contains("\"user\\u{200b}_id\""));
        assert!(problem.help.contains("comes nearest"), "{}", problem.help);
    }

    #[test]
    fn a_first_row_of_data_is_recognised() {
        let help = problem(&["1732", "true"]).help;
        assert!(help.contains("--no-header") && help.contains("--header-row"));
    }

    #[test]
    fn a_choice_wins_over_the_known_names() {
        let request = ColumnRequest {
            id: Some("Member".parse().unwrap()),
            flag: Some("3".parse().unwrap()),
            ..ColumnRequest::default()
        };
        let columns = find(&header(&["id", "member", "x"]), &request).unwrap();
        assert_eq!((columns.id, columns.flag), (1, Some(2)));
        let request = ColumnRequest {
            id: Some(ColumnChoice::Number(4)),
            ..ColumnRequest::default()
        };
        let problem = find(&header(&["id", "opt_out"]), &request).unwrap_err();
        assert!(problem.message.contains("no column 4"));
        let problem = by_number(2, &request).unwrap_err();
        assert!(problem.message.contains("the table has 2"));
    }

    #[test]
    fn the_end_date_can_be_chosen_and_ruled_out() {
        let with = |until: &str| {
            let request = ColumnRequest {
                until: until.parse().unwrap(),
                ..ColumnRequest::default()
            };
            find(
                &header(&["id", "opt_out", "opt_out_until", "Ends"]),
                &request,
            )
        };
        assert_eq!(with("ends").unwrap().until, Some(3));
        assert_eq!(with("3").unwrap().until, Some(2));
        assert_eq!(with("none").unwrap().until, None);
        let message = with("1").unwrap_err().message;
        assert!(message.contains("the user ID and the end date"));
    }

    #[test]
    fn a_set_flag_needs_no_column() {
        let request = ColumnRequest {
            flag_is_set: true,
            ..ColumnRequest::default()
        };
        let problem = find(&header(&["id", "opt_out"]), &request).unwrap_err();
        assert!(problem.message.contains("gives each its own"));
        assert_eq!(find(&header(&["id"]), &request).unwrap().flag, None);
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
    fn a_report_of_format_1_is_refused() {
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
