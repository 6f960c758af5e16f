//! Which columns of a table say who a user is and why that user is opted out. They are shown and
//! kept in the register, and nothing is decided by them.

use std::borrow::Cow;

use csv::ByteRecord;

use crate::domain::LineNumber;
use crate::text::one_line;

/// Longest label of a row, in characters.
const MAX_LABEL: usize = 80;

const NAMES: [&str; 6] = [
    "name",
    "fullname",
    "displayname",
    "username",
    "membername",
    "person",
];
const FIRST_NAMES: [&str; 4] = ["firstname", "givenname", "forename", "vorname"];
const LAST_NAMES: [&str; 5] = [
    "lastname",
    "surname",
    "familyname",
    "nachname",
    "familienname",
];
const EMAILS: [&str; 4] = ["email", "mail", "emailaddress", "useremail"];
const REASONS: [&str; 4] = ["reason", "justification", "grund", "begründung"];

/// The columns that describe a person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct People {
    name: Vec<usize>,
    reason: Option<usize>,
}

impl People {
    /// Finds the columns in a header.
    #[must_use]
    pub fn find<'a>(header: impl IntoIterator<Item = &'a str>) -> Self {
        let plain: Vec<String> = header.into_iter().map(plain).collect();
        let column_of = |names: &[&str]| plain.iter().position(|name| names.contains(&&**name));
        let mut name: Vec<usize> = column_of(&NAMES).into_iter().collect();
        if name.is_empty() {
            name = [column_of(&FIRST_NAMES), column_of(&LAST_NAMES)]
                .into_iter()
                .flatten()
                .collect();
        }
        if name.is_empty() {
            name = column_of(&EMAILS).into_iter().collect();
        }
        Self {
            name,
            reason: column_of(&REASONS),
        }
    }

    /// Returns the person's name; empty if the table does not tell.
    #[must_use]
    pub fn name<'a>(&self, cells: &'a ByteRecord) -> Cow<'a, str> {
        if let Some(column) = self.only_name_column() {
            return text(cells, column);
        }
        let parts = self.name.iter().map(|column| text(cells, *column));
        let name = parts.collect::<Vec<_>>().join(" ");
        Cow::Owned(name.trim().to_owned())
    }

    /// Returns why the person is opted out; empty if the table does not tell.
    #[must_use]
    pub fn reason<'a>(&self, cells: &'a ByteRecord) -> Cow<'a, str> {
        match self.reason {
            Some(column) => text(cells, column),
            None => Cow::Borrowed(""),
        }
    }

    /// Returns the column that has the whole name, if one has.
    #[must_use]
    pub fn only_name_column(&self) -> Option<usize> {
        match self.name[..] {
            [column] => Some(column),
            _ => None,
        }
    }
}

/// Names the rows of a run for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowLabels {
    /// Index of the column of IDs.
    id_column: Option<usize>,
    people: People,
}

impl RowLabels {
    /// Finds the columns of the names in a header.
    #[must_use]
    pub fn new<'a>(id_column: Option<usize>, header: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            id_column,
            people: People::find(header),
        }
    }

    /// Returns the ID and the name in a row, such as `1404 Bjørn Dahl`. `row` is a record of CSV.
    #[must_use]
    pub fn label(&self, row: &[u8]) -> String {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .from_reader(row);
        let mut cells = ByteRecord::new();
        // A row that can't be read has no label.
        let _ = reader.read_byte_record(&mut cells);
        let id = match self.id_column {
            Some(column) => bare_number(&text(&cells, column)).to_owned(),
            None => String::new(),
        };
        one_line(&format!("{id} {}", self.people.name(&cells)), MAX_LABEL)
    }
}

/// Returns the name of a row for people, such as `line 406: 1404 Bjørn Dahl`. `label` may be empty.
#[must_use]
pub fn row_name(line: Option<LineNumber>, label: &str) -> String {
    let place = match line {
        Some(line) => format!("line {line}"),
        None => "not in the table".to_owned(),
    };
    if label.is_empty() {
        place
    } else {
        format!("{place}: {label}")
    }
}

/// Returns a number without what protects it from a spreadsheet program, as in `="1701"` and
/// `'1701`. Returns every other text as it is.
fn bare_number(text: &str) -> &str {
    let bare = text.trim_matches(['\'', '=', '"']);
    if !bare.is_empty() && bare.bytes().all(|byte| byte.is_ascii_digit()) {
        bare
    } else {
        text
    }
}

fn text(cells: &ByteRecord, column: usize) -> Cow<'_, str> {
    match String::from_utf8_lossy(cells.get(column).unwrap_or_default()) {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
        Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
    }
}

/// Returns a header in the form in which it is compared.
fn plain(name: &str) -> String {
    let kept = name.chars().filter(|c| c.is_alphanumeric());
    kept.flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(header: &[&str], cells: &[&str]) -> (String, String) {
        let people = People::find(header.iter().copied());
        let cells = ByteRecord::from(cells);
        let name = people.name(&cells).into_owned();
        (name, people.reason(&cells).into_owned())
    }

    #[test]
    fn the_name_is_that_of_the_best_column() {
        let cases: [(&[&str], &str); 4] = [
            (&["id", "Full Name", "E-mail"], "b"),
            (&["Last name", "First_Name", "E-mail"], "b a"),
            (&["id", "x", "E-mail"], "c"),
            (&["id", "x", "y"], ""),
        ];
        for (header, name) in cases {
            let found = find(header, &["a", " b ", "c"]).0;
            assert_eq!(found, name, "{header:?}");
        }
    }

    #[test]
    fn the_reason_is_that_of_its_column() {
        let found = find(&["id", "Reason"], &["1", "sick leave"]);
        assert_eq!(found.1, "sick leave");
        assert_eq!(find(&["id", "Reasons"], &["1", "x"]).1, "");
    }

    #[test]
    fn label_has_id_and_name_and_nothing_that_acts_on_a_terminal() {
        let labels = RowLabels::new(Some(1), ["Name", "User ID", "x"]);
        assert_eq!(
            labels.label("Bjørn Dahl,1404,yes".as_bytes()),
            "1404 Bjørn Dahl"
        );
        assert_eq!(labels.label(b"\"\x1b[31m a\",7,\"\""), "7 \\u{1b}[31m a");
        let without_names = RowLabels::new(Some(0), ["User ID"]);
        assert_eq!(without_names.label(b"1404"), "1404");
        assert_eq!(without_names.label(b"'1404"), "1404");
        assert_eq!(without_names.label(b"\"=\"\"1404\"\"\""), "1404");
        assert_eq!(without_names.label(b"'a'"), "'a'");
        assert_eq!(RowLabels::default().label(b"1404,x"), "");
    }
}
