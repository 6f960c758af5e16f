//! Finds the row that holds the header: a title may stand above it, or the table may have none.
//! Everything here is pure.

use super::header::{self, ColumnRequest, Columns, HeaderProblem};
use super::options::{ColumnChoice, Content, HeaderChoice, UntilChoice};
use super::row::Place;
use crate::text::{shorten, visible};

/// Number of rows in which the header is looked for. Blank rows do not count.
pub(super) const ROWS_SEARCHED: usize = 20;

/// One of the first rows of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HeadRow {
    /// Where the row stands.
    pub(super) place: Place,
    /// Its cells; in a sheet from the first that is filled to the last.
    pub(super) cells: Vec<String>,
}

impl HeadRow {
    /// Returns a row; in a sheet without the blank cells at both ends, unless it is the header of a
    /// report, which begins in the first column of the sheet even if that has no name.
    pub(super) fn new(place: Place, mut cells: Vec<String>) -> Self {
        let Place::Sheet { row, first_column } = place else {
            return Self { place, cells };
        };
        let is_filled = |cell: &String| !cell.trim().is_empty();
        let last = cells.iter().rposition(is_filled);
        cells.truncate(last.map_or(0, |last| last + 1));
        if header::is_of_report(&cells) {
            let unnamed = std::iter::repeat_n(String::new(), first_column as usize);
            cells.splice(0..0, unnamed);
            return Self {
                place: Place::Sheet {
                    row,
                    first_column: 0,
                },
                cells,
            };
        }
        let blank = cells.iter().position(is_filled).unwrap_or(0);
        cells.drain(..blank);
        let first_column = first_column.saturating_add(u32::try_from(blank).unwrap_or(u32::MAX));
        Self {
            place: Place::Sheet { row, first_column },
            cells,
        }
    }

    fn filled(&self) -> usize {
        let is_filled = |cell: &&String| !cell.trim().is_empty();
        self.cells.iter().filter(is_filled).count()
    }

    fn first_column(&self) -> usize {
        match self.place {
            Place::Line(_) => 0,
            Place::Sheet { first_column, .. } => first_column as usize,
        }
    }

    /// Returns the cell in a column that is counted in another row.
    fn cell_below(&self, other: &Self, column: usize) -> Option<&str> {
        let column = (other.first_column() + column).checked_sub(self.first_column())?;
        self.cells.get(column).map(String::as_str)
    }
}

/// The position of the header and the columns that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LocatedHeader {
    /// The index of the row that holds the header; `None` if the table has no header.
    pub(super) row: Option<usize>,
    /// The columns.
    pub(super) columns: Columns,
}

/// Finds the header in the first rows of a table.
///
/// # Errors
///
/// Returns the reason if no row names the needed columns, if two columns of the header fit, or if
/// the header or a row above it has a user ID where the IDs are, so that a person would be left
/// out.
pub(super) fn locate(
    rows: &[HeadRow],
    choice: HeaderChoice,
    request: &ColumnRequest,
) -> Result<LocatedHeader, HeaderProblem> {
    let width = rows.first().map_or(0, |row| row.cells.len());
    let row = match choice {
        HeaderChoice::Absent => return without_header(width, request),
        HeaderChoice::At(number) => rows
            .iter()
            .position(|row| row.place.number() == number)
            .ok_or_else(|| no_such_row(rows, number))?,
        HeaderChoice::Detect if is_list_of_ids(rows, request) => {
            return without_header(width, &with_first_column(request));
        }
        HeaderChoice::Detect => detect(rows, request),
    };
    let Some(header) = rows.get(row) else {
        return Err(HeaderProblem::new("the table has no rows", ""));
    };
    let columns = header::find(&header.cells, request)?;
    if request.identifies_user(&header.cells[columns.id]) {
        return Err(id_in_header(header, &columns, request));
    }
    for above in &rows[..row] {
        let cell = above.cell_below(header, columns.id);
        if cell.is_some_and(|cell| request.identifies_user(cell)) {
            return Err(id_above_header(header, above, &columns));
        }
    }
    Ok(LocatedHeader {
        row: Some(row),
        columns,
    })
}

/// Returns the request with the first column as that of the users.
fn with_first_column(request: &ColumnRequest) -> ColumnRequest {
    let first = Some(ColumnChoice::Number(1));
    let mut request = request.clone();
    match &mut request.content {
        Content::People { key } => *key = first,
        Content::Users | Content::Directory { .. } => request.id = first,
    }
    request
}

fn without_header(width: usize, request: &ColumnRequest) -> Result<LocatedHeader, HeaderProblem> {
    Ok(LocatedHeader {
        row: None,
        columns: header::by_number(width, request)?,
    })
}

/// Checks whether the table is nothing but a list of user IDs, for which the flag is set.
fn is_list_of_ids(rows: &[HeadRow], request: &ColumnRequest) -> bool {
    let is_first_column = matches!(
        request.identifier_choice(),
        None | Some(ColumnChoice::Number(1))
    );
    let is_directory = matches!(request.content, Content::Directory { .. });
    let needs_one_column = request.flag_is_set
        && request.flag.is_none()
        && is_first_column
        && !is_directory
        && !matches!(request.until, UntilChoice::Column(_));
    let is_one_id = |row: &HeadRow| match row.cells.as_slice() {
        [cell] => request.identifies_user(cell),
        _ => false,
    };
    needs_one_column && !rows.is_empty() && rows.iter().all(is_one_id)
}

/// Returns the index of the row that is most likely to be the header.
fn detect(rows: &[HeadRow], request: &ColumnRequest) -> usize {
    let searched = &rows[..rows.len().min(ROWS_SEARCHED)];
    // A title fills fewer cells than the row below it.
    let is_below_title = |row: &usize| match rows.get(row + 1) {
        Some(next) => rows[*row].filled() >= next.filled(),
        None => true,
    };
    let first_below_title = (0..searched.len()).find(is_below_title).unwrap_or(0);
    if is_by_number(request) {
        return first_below_title;
    }
    let names_columns = |row: &HeadRow| match header::find(&row.cells, request) {
        Ok(_) => true,
        Err(problem) => !problem.is_missing,
    };
    if let Some(row) = searched.iter().position(names_columns) {
        return row;
    }
    // The message is about the row that names the most of the columns, or else about the first that
    // is no title.
    let mut best = first_below_title;
    let mut most = 0;
    for (number, row) in searched.iter().enumerate() {
        let known = header::known_names(&row.cells, request);
        if known > most {
            (best, most) = (number, known);
        }
    }
    best
}

fn is_by_number(request: &ColumnRequest) -> bool {
    let is_number = |choice: Option<&ColumnChoice>| match choice {
        Some(ColumnChoice::Number(_)) => true,
        Some(ColumnChoice::Name(_)) | None => false,
    };
    let is_until_needed = matches!(request.until, UntilChoice::Column(ColumnChoice::Name(_)));
    let is_flag_by_number = match &request.content {
        Content::Directory { key } => is_number(key.as_ref()),
        Content::Users | Content::People { .. } => {
            request.flag_is_set || is_number(request.flag.as_ref())
        }
    };
    is_number(request.identifier_choice()) && is_flag_by_number && !is_until_needed
}

fn id_in_header(header: &HeadRow, columns: &Columns, request: &ColumnRequest) -> HeaderProblem {
    HeaderProblem::new(
        format!(
            "{} should be the header, but has the user \"{}\" in column {}",
            header.place,
            shown(&header.cells[columns.id]),
            columns.id + 1
        ),
        request.no_header_help(),
    )
}

fn id_above_header(header: &HeadRow, above: &HeadRow, columns: &Columns) -> HeaderProblem {
    let id = above.cell_below(header, columns.id).unwrap_or_default();
    HeaderProblem::new(
        format!(
            "{} is above the header in {} and has the user \"{}\" in the column of the users",
            above.place,
            header.place,
            shown(id)
        ),
        "move the row below the header or delete it; if the header is elsewhere, give its line \
         with --header-row",
    )
}

fn no_such_row(rows: &[HeadRow], number: u64) -> HeaderProblem {
    let unit = match rows.first().map(|row| row.place) {
        Some(Place::Sheet { .. }) => "row",
        _ => "line",
    };
    HeaderProblem::new(
        format!("--header-row {number}: no row begins in {unit} {number}, or it is blank"),
        format!("give the {unit} of the header, counted from 1"),
    )
}

fn shown(cell: &str) -> String {
    shorten(&visible(cell), 60)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(text: &str) -> Vec<HeadRow> {
        let rows = (1..).zip(text.lines()).map(|(line, text)| HeadRow {
            place: Place::Line(line),
            cells: text.split(',').map(ToOwned::to_owned).collect(),
        });
        rows.collect()
    }

    fn request(id: Option<&str>, flag: Option<&str>, flag_is_set: bool) -> ColumnRequest {
        ColumnRequest {
            id: id.map(|id| id.parse().unwrap()),
            flag: flag.map(|flag| flag.parse().unwrap()),
            flag_is_set,
            ..ColumnRequest::default()
        }
    }

    fn header_of(text: &str, request: &ColumnRequest) -> Result<Option<usize>, String> {
        let located = locate(&rows(text), HeaderChoice::Detect, request);
        located
            .map(|located| located.row)
            .map_err(|problem| format!("{} / {}", problem.message, problem.help))
    }

    #[test]
    fn a_title_above_the_header_is_skipped() {
        let named = ColumnRequest::default();
        let table = "Exceptions 2026,,\nfor the audit,,\nuser_id,opt_out,name\n1701,yes,Jo";
        assert_eq!(header_of(table, &named), Ok(Some(2)));
        let numbered = request(Some("1"), Some("2"), false);
        let table = "Exceptions 2026,,\nNumber,Exempt,Name\n1701,yes,Jo";
        assert_eq!(header_of(table, &numbered), Ok(Some(1)));
        assert_eq!(header_of("user_id,opt_out\n1701,yes", &named), Ok(Some(0)));
    }

    #[test]
    fn an_error_about_missing_columns_names_the_row_below_the_title_and_all_of_them() {
        let named = ColumnRequest::default();
        let table = "Exceptions 2026,,\nNr.,Benutzer,Ausnahme\n1,1701,ja";
        let error = header_of(table, &named).unwrap_err();
        assert!(
            error.contains("the header is \"Nr.\", \"Benutzer\""),
            "{error}"
        );
        assert!(error.contains("--id-column"), "{error}");
        assert!(error.contains("--flag-column"), "{error}");
        let set = request(None, None, true);
        let error = header_of(table, &set).unwrap_err();
        assert!(!error.contains("--flag-column"), "{error}");
    }

    #[test]
    fn the_header_is_looked_for_in_twenty_rows_only() {
        let named = ColumnRequest::default();
        let table = |above: usize| "title,\n".repeat(above) + "user_id,opt_out\n1701,yes";
        assert_eq!(header_of(&table(19), &named), Ok(Some(19)));
        assert!(header_of(&table(20), &named).is_err());
    }

    #[test]
    fn a_header_row_that_holds_an_id_is_refused_on_every_path() {
        for (table, request) in [
            ("1701,yes\n1702,yes", request(Some("1"), Some("2"), false)),
            ("1701,Jo\n1702,Al", request(Some("1"), None, true)),
            (
                "opt_out,1701\nyes,1702",
                request(Some("2"), Some("opt_out"), false),
            ),
            ("1701,yes\n1702,yes", ColumnRequest::default()),
            ("1701,Jo\n1702,Al", request(None, None, true)),
        ] {
            let error = header_of(table, &request).unwrap_err();
            assert!(error.contains("--no-header"), "{error}");
            assert!(error.contains("--header-row"), "{error}");
        }
    }

    #[test]
    fn a_list_of_ids_needs_no_header_if_the_flag_is_set() {
        for id in [None, Some("1")] {
            assert_eq!(
                header_of("1701\n1702\n1703", &request(id, None, true)),
                Ok(None)
            );
        }
        assert!(header_of("1701\n1702", &request(Some("1"), Some("1"), false)).is_err());
        assert!(header_of("2026\nuser_id\n1701", &request(None, None, true)).is_err());
    }

    #[test]
    fn an_id_above_the_header_is_refused() {
        let named = ColumnRequest::default();
        let error = header_of("1700,yes\nuser_id,opt_out\n1701,yes", &named).unwrap_err();
        assert!(error.contains("line 1 is above the header in line 2"));
        // In another column it is part of a title.
        let table = "Year,2026\nuser_id,opt_out\n1701,yes";
        assert_eq!(header_of(table, &named), Ok(Some(1)));
    }

    #[test]
    fn a_given_header_row_overrides_the_search() {
        let table = rows("user_id,opt_out\nuser_id,mfa_opt_out\n1701,yes");
        let at = |line| {
            let located = locate(&table, HeaderChoice::At(line), &ColumnRequest::default());
            located.map(|located| located.row)
        };
        assert_eq!(at(2), Ok(Some(1)));
        assert!(at(7).unwrap_err().message.contains("--header-row 7"));
    }

    #[test]
    fn the_message_is_about_the_row_that_names_most_columns() {
        let table = "Exceptions\nuser_id,optt_out,name\n1701,yes,Jo";
        let error = header_of(table, &ColumnRequest::default()).unwrap_err();
        assert!(
            error.contains("no column for the flag; the header is \"user_id\""),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn no_row_with_an_id_in_the_id_column_is_taken_for_header_or_title(
            above in prop::collection::vec(("[A-Z]{0,5}|[1-9][0-9]{0,5}", "[a-z]{0,5}"), 0..5),
            by_number: bool,
        ) {
            let mut lines: Vec<String> = above
                .iter()
                .map(|(first, second)| format!("{first},{second}"))
                .collect();
            lines.push("user_id,opt_out\n1701,yes".to_owned());
            let table = lines.join("\n");
            let request = if by_number {
                request(Some("1"), Some("2"), false)
            } else {
                ColumnRequest::default()
            };
            let rows = rows(&table);
            if let Ok(located) = locate(&rows, HeaderChoice::Detect, &request) {
                let header = located.row.unwrap();
                prop_assert!(rows[..=header].iter().all(|row| !request.identifies_user(&row.cells[0])));
            }
        }
    }
}
