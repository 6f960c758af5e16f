//! Which columns of a table say who a user is and why that user is opted out. They are shown and
//! kept in the register, and nothing is decided by them.

use crate::input::Row;

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
pub(super) struct People {
    name: Vec<usize>,
    reason: Option<usize>,
}

impl People {
    /// Finds the columns in a header.
    pub(super) fn find(header: &[String]) -> Self {
        let plain: Vec<String> = header.iter().map(|name| plain(name)).collect();
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
    pub(super) fn name(&self, row: &Row) -> String {
        let parts: Vec<String> = self.name.iter().map(|column| text(row, *column)).collect();
        parts.join(" ").trim().to_owned()
    }

    /// Returns why the person is opted out; empty if the table does not tell.
    pub(super) fn reason(&self, row: &Row) -> String {
        match self.reason {
            Some(column) => text(row, column),
            None => String::new(),
        }
    }

    /// Returns the column that has the whole name, if one has.
    pub(super) fn only_name_column(&self) -> Option<usize> {
        match self.name[..] {
            [column] => Some(column),
            _ => None,
        }
    }
}

fn text(row: &Row, column: usize) -> String {
    let cell = row.cells.get(column).unwrap_or_default();
    String::from_utf8_lossy(cell).trim().to_owned()
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
        let header: Vec<String> = header.iter().map(|name| (*name).to_owned()).collect();
        let people = People::find(&header);
        let row = Row {
            cells: csv::ByteRecord::from(cells),
            ..Row::default()
        };
        (people.name(&row), people.reason(&row))
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
}
