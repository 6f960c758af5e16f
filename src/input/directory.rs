//! A directory of people: a file that gives the user IDs for e-mail addresses or other keys. The
//! file is a table in any form, or JSON as it is saved from the Org's Swagger page. It is read once
//! and held in memory.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::bytes::{BlockHashes, Bytes, Source};
use super::cell::{self, CellError};
use super::json::{EntryVisitor, MemberNames, Scalar};
use super::key_index::KeyIndex;
use super::options::{ColumnChoice, Content, Options};
use super::row::Row;
use super::table::Input;
use super::text::TextFormat;
use super::{container, json};
use crate::domain::{LineNumber, TableFormat, UserId};
use crate::error::{Error, Kind, Result};
use crate::text::{shorten, visible};

/// The size in bytes of a short entry of a file, from which the number of its entries is estimated.
const BYTES_PER_ENTRY: u64 = 32;

/// The largest number of entries for which memory is reserved before they are read.
const MAX_EXPECTED: usize = 1_500_000;

/// How a directory is to be read.
#[derive(Clone, Debug, Default)]
pub struct DirectoryOptions {
    /// The column of the keys, by which people are matched.
    pub key_column: Option<ColumnChoice>,
    /// The column of the user IDs.
    pub id_column: Option<ColumnChoice>,
    /// Largest size in bytes to which a compressed file may inflate.
    pub max_input: Option<u64>,
    /// The Org's host, on which a pasted address of a user must be.
    pub host: Option<String>,
}

/// The user IDs of a file by key.
#[derive(Debug)]
pub struct Directory {
    /// The name that messages use.
    name: String,
    /// A private copy of the file.
    bytes: Bytes,
    hashes: BlockHashes,
    /// The column of the keys in words.
    key_column: String,
    /// The numbers of the columns of the keys and of the IDs, from 1.
    column_numbers: [usize; 2],
    /// What a person should know about how the file is read.
    notes: Vec<String>,
    entry_kind: EntryKind,
    /// Number of entries in the file.
    entries: u64,
    users: KeyIndex<KeyEntry>,
}

/// What the entries of a directory are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EntryKind {
    /// Rows of a text, known by their line.
    Line,
    /// Rows of a sheet.
    SheetRow,
    /// Elements of a JSON array, counted from 1.
    Json,
}

/// What a directory says about a key. It is small, because there is one for every key.
#[derive(Clone, Debug, PartialEq, Eq)]
enum KeyEntry {
    /// All entries with the key have this ID. The number is that of the first entry.
    User(UserId, LineNumber),
    /// The entry with this number has an invalid ID.
    Invalid(CellError, LineNumber),
    /// Two entries with the key have different IDs.
    Several(Box<[(UserId, LineNumber); 2]>),
}

impl Directory {
    /// Reads a directory.
    ///
    /// # Errors
    ///
    /// Returns an error of [`Kind::Input`] if the file can't be read, or if its columns can't be
    /// told.
    pub fn open(source: &Source, options: &DirectoryOptions) -> Result<Self> {
        Self::read(source, options).map_err(Error::before_sending)
    }

    fn read(source: &Source, options: &DirectoryOptions) -> Result<Self> {
        let bytes = Bytes::open(source, options.max_input)?.private_copy()?;
        let json = match container::container(&bytes)? {
            Some(_) => None,
            None => json::detect(&bytes, options.max_input)?,
        };
        if let Some(format) = json {
            let mut directory = Self::new(bytes, format.hashes.clone());
            directory.read_json(&format, options)?;
            return Ok(directory);
        }
        let input_options = Options {
            id_column: options.id_column.clone(),
            content: Content::Directory {
                key: options.key_column.clone(),
            },
            max_input: options.max_input,
            ..Options::default()
        };
        let input = Input::open(&bytes.as_source(), &input_options).map_err(without_options)?;
        let mut directory = Self::new(bytes, input.hashes().clone());
        directory.read_table(&input, options)?;
        Ok(directory)
    }

    fn new(bytes: Bytes, hashes: BlockHashes) -> Self {
        Self {
            users: index_for(bytes.size),
            name: bytes.name.clone(),
            bytes,
            hashes,
            key_column: String::new(),
            column_numbers: [0; 2],
            notes: Vec::new(),
            entry_kind: EntryKind::Line,
            entries: 0,
        }
    }

    fn read_table(&mut self, input: &Input, options: &DirectoryOptions) -> Result<()> {
        let id_column = input.columns().id;
        let key_column = input.columns().key.unwrap_or(id_column);
        self.key_column = input.column_in_words(key_column);
        self.column_numbers = [key_column + 1, id_column + 1];
        let name = &self.name;
        let notes = input.found().notes.iter();
        self.notes = notes.map(|note| format!("{name}: {note}")).collect();
        self.entry_kind = match input.found().format {
            TableFormat::Text { .. } => EntryKind::Line,
            TableFormat::Sheet { .. } => EntryKind::SheetRow,
        };
        let mut rows = input.rows()?;
        let mut row = Row::default();
        while rows.read(&mut row)? {
            let key = row.cells.get(key_column).unwrap_or_default();
            let user = cell::user_id_of_row(&row, id_column, options.host.as_deref());
            self.entries += 1;
            self.add(key, user, || rows.place(&row).number());
        }
        Ok(())
    }

    fn read_json(&mut self, format: &TextFormat, options: &DirectoryOptions) -> Result<()> {
        let bytes = self.bytes.clone();
        let find_columns = |names: &MemberNames| {
            names.columns(options.key_column.as_ref(), options.id_column.as_ref())
        };
        let mut names = MemberNames::default();
        json::read_head(&format.head(&bytes)?, &mut names);
        // The first entries almost always have all members. If they have not, all entries are read
        // again.
        let mut columns = find_columns(&names).unwrap_or_default();
        loop {
            self.users = index_for(bytes.size);
            let mut entries = JsonEntries {
                directory: self,
                host: options.host.as_deref(),
                names: MemberNames::default(),
                key: SoughtMember::at(&columns.key),
                id: SoughtMember::at(&columns.id),
            };
            let elements = json::read(&bytes, format, &mut entries)?;
            let found = find_columns(&entries.names).map_err(|problem| {
                let message = format!("{}: {}", bytes.name, problem.message);
                Error::new(Kind::Input, message).help(problem.help)
            })?;
            self.entries = elements;
            let is_as_expected = found.key == columns.key && found.id == columns.id;
            columns = found;
            if is_as_expected {
                break;
            }
        }
        self.key_column = format!("\"{}\"", visible(&columns.key));
        self.column_numbers = columns.numbers;
        self.entry_kind = EntryKind::Json;
        if format.encoding.guessed {
            let name = &self.name;
            let encoding = format.encoding.encoding.name();
            self.notes.push(format!(
                "{name}: the text is not Unicode and does not say what it is: {encoding} is a guess"
            ));
        }
        Ok(())
    }

    fn add(
        &mut self,
        key: &[u8],
        user: std::result::Result<UserId, CellError>,
        number: impl Fn() -> LineNumber,
    ) {
        let key = comparable(key);
        if key.is_empty() {
            return;
        }
        let new = || match user {
            Ok(user) => KeyEntry::User(user, number()),
            Err(error) => KeyEntry::Invalid(error, number()),
        };
        let Some(found) = self.users.insert_new(&key, new) else {
            return;
        };
        match (&*found, user) {
            (KeyEntry::User(_, _), Err(error)) => {
                *found = KeyEntry::Invalid(error, number());
            }
            (KeyEntry::User(first, at), Ok(user)) if *first != user => {
                *found = KeyEntry::Several(Box::new([(*first, *at), (user, number())]));
            }
            _ => {}
        }
    }

    /// Returns the name that messages use.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns BLAKE3 of the raw bytes of the file.
    #[must_use]
    pub fn fingerprint(&self) -> blake3::Hash {
        self.hashes.fingerprint
    }

    /// Returns the number of entries in the file.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Returns the column of the keys in words.
    #[must_use]
    pub fn key_column(&self) -> &str {
        &self.key_column
    }

    /// Returns what a person should know about how the file is read.
    pub fn notes(&self) -> impl Iterator<Item = &String> {
        self.notes.iter()
    }

    /// Returns the raw bytes of the file, and their number.
    #[must_use]
    pub fn raw(&self) -> (Box<dyn std::io::Read>, u64) {
        (Box::new(self.bytes.verified(&self.hashes)), self.bytes.size)
    }

    /// Returns the numbers of the columns of the keys and of the IDs, from 1.
    #[must_use]
    pub fn column_numbers(&self) -> [usize; 2] {
        self.column_numbers
    }

    /// Returns the user ID for a key.
    ///
    /// # Errors
    ///
    /// Returns an error if the key is empty, if no entry has it, if entries have different IDs for
    /// it, or if the ID of an entry is invalid.
    pub fn find(&self, key: &[u8]) -> std::result::Result<UserId, CellError> {
        let key = comparable(key);
        user_of(&key, self.users.get(&key))
    }

    /// Returns the user IDs for some keys, as [`find`](Self::find) does for one, but faster.
    #[must_use]
    pub fn find_all(&self, keys: &[&[u8]]) -> Vec<std::result::Result<UserId, CellError>> {
        let keys: Vec<Cow<'_, str>> = keys.iter().map(|key| comparable(key)).collect();
        let found = self.users.get_all(&keys);
        let pairs = keys.iter().zip(found);
        pairs.map(|(key, entry)| user_of(key, entry)).collect()
    }

    /// Returns why there is no ID for a key, naming the entries of the file. With `suggests`, a
    /// similar key is mentioned, for which all keys have to be searched.
    #[must_use]
    pub fn explain(&self, key: &[u8], suggests: bool) -> String {
        let key = comparable(key);
        let name = &self.name;
        match self.users.get(&key) {
            Some(KeyEntry::Invalid(error, number)) => {
                format!("the user ID in {} {}", self.at(*number), error.message())
            }
            Some(KeyEntry::Several(two)) => {
                let [(first, first_number), (second, second_number)] = **two;
                format!(
                    "has several user IDs: {first} in {}, {second} in {}",
                    self.at(first_number),
                    self.at(second_number)
                )
            }
            Some(KeyEntry::User(user, _)) => format!("is user {user} in {name}"),
            None if key.is_empty() => CellError::EmptyKey.message().to_owned(),
            None => match suggests.then(|| self.near_miss(&key)).flatten() {
                Some(near) => format!(
                    "is not in {name}; \"{}\" is similar, but may be somebody else",
                    shorten(&visible(near), 100)
                ),
                None => format!("is not in {name}"),
            },
        }
    }

    /// Returns where an entry stands.
    fn at(&self, number: LineNumber) -> String {
        let name = &self.name;
        match self.entry_kind {
            EntryKind::Line => format!("{name}:{number}"),
            EntryKind::SheetRow => format!("{name}, row {number} of the sheet"),
            EntryKind::Json => format!("{name}, entry {number}"),
        }
    }

    /// Returns a key that is one letter away, or the same name at another domain.
    fn near_miss(&self, key: &str) -> Option<&str> {
        let name = key.split_once('@').map(|(name, _)| name);
        let mut nearest: Option<&str> = None;
        for known in self.users.keys() {
            let known_name = known.split_once('@').map(|(name, _)| name);
            let is_same_name = name.is_some() && name == known_name;
            // The order of the entries must not matter.
            let is_first = nearest.is_none_or(|nearest| known < nearest);
            if is_first && (is_same_name || is_one_edit_away(known, key)) {
                nearest = Some(known);
            }
        }
        nearest
    }
}

/// Returns what an entry says about its key; there is none for a key that no entry has.
fn user_of(key: &str, entry: Option<&KeyEntry>) -> std::result::Result<UserId, CellError> {
    match entry {
        _ if key.is_empty() => Err(CellError::EmptyKey),
        Some(KeyEntry::User(user, _)) => Ok(*user),
        Some(KeyEntry::Invalid(_, _)) => Err(CellError::InvalidEntry),
        Some(KeyEntry::Several(_)) => Err(CellError::SeveralEntries),
        None => Err(CellError::Unmatched),
    }
}

/// Returns an empty index for the entries of a file of this size in bytes.
fn index_for(size: u64) -> KeyIndex<KeyEntry> {
    let expected = usize::try_from(size / BYTES_PER_ENTRY).unwrap_or(MAX_EXPECTED);
    KeyIndex::with_capacity(expected.min(MAX_EXPECTED))
}

/// Takes the entries of a JSON list into a directory.
struct JsonEntries<'a> {
    directory: &'a mut Directory,
    /// The Org's host.
    host: Option<&'a str>,
    names: MemberNames,
    key: SoughtMember,
    id: SoughtMember,
}

impl EntryVisitor for JsonEntries<'_> {
    fn begin(&mut self) {
        self.names.begin();
        self.key.clear();
        self.id.clear();
    }

    fn member(&mut self, path: &str, value: Scalar<'_>) {
        self.names.member(path, value);
        for member in [&mut self.key, &mut self.id] {
            if member.path == path {
                member.set(value);
            }
        }
    }

    fn end(&mut self, number: u64) {
        let has_two = self.key.values > 1 || self.id.values > 1;
        let user = if has_two {
            Err(CellError::MemberTwice)
        } else {
            cell::user_id(self.id.text.as_bytes(), self.host)
        };
        for key in [&self.key.other, &self.key.text] {
            self.directory.add(key.as_bytes(), user, || number);
        }
    }
}

/// A member of an entry that is looked for.
struct SoughtMember {
    path: String,
    /// Its value in the current entry; empty if there is none.
    text: String,
    /// A value before that.
    other: String,
    /// Number of times that the value has changed.
    values: u32,
}

impl SoughtMember {
    fn at(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: String::new(),
            other: String::new(),
            values: 0,
        }
    }

    fn set(&mut self, value: Scalar<'_>) {
        std::mem::swap(&mut self.text, &mut self.other);
        self.text.clear();
        match value {
            Scalar::Text(text) => self.text.push_str(text),
            // Writing to a string does not fail.
            _ => drop(write!(self.text, "{value}")),
        }
        if self.values == 0 || self.text != self.other {
            self.values += 1;
        }
    }

    fn clear(&mut self) {
        self.text.clear();
        self.other.clear();
        self.values = 0;
    }
}

/// Replaces advice that names options of the table, which have no effect on a directory.
fn without_options(error: Error) -> Error {
    const OPTIONS: [&str; 6] = [
        "mfa_opt_out",
        "--sheet",
        "--delimiter",
        "--encoding",
        "--header-row",
        "--no-header",
    ];
    let advice = error.advice().unwrap_or_default();
    if !OPTIONS.iter().any(|option| advice.contains(option)) {
        return error;
    }
    error.help(
        "save the list of users by itself, with the names of the columns in its first row, such as \
         user_id and email, as .xlsx or CSV (UTF-8)",
    )
}

/// Checks whether two keys differ in one letter, or in the order of two letters beside each other.
fn is_one_edit_away(one: &str, other: &str) -> bool {
    if one.len().abs_diff(other.len()) > char::MAX.len_utf8() {
        return false;
    }
    let prefix = one
        .char_indices()
        .zip(other.chars())
        .find(|((_, left), right)| left != right)
        .map_or(one.len().min(other.len()), |((at, _), _)| at);
    let mut left: Vec<char> = one[prefix..].chars().collect();
    let mut right: Vec<char> = other[prefix..].chars().collect();
    while !left.is_empty() && left.last() == right.last() {
        left.pop();
        right.pop();
    }
    match (left.as_slice(), right.as_slice()) {
        ([], [_]) | ([_], [] | [_]) => true,
        ([a, b], [c, d]) => a == d && b == c,
        _ => false,
    }
}

/// Returns a key as it is compared: in lower case, without white space around it.
fn comparable(key: &[u8]) -> Cow<'_, str> {
    let Ok(text) = std::str::from_utf8(key) else {
        let text = String::from_utf8_lossy(key);
        return Cow::Owned(lower_case(text.trim()).into_owned());
    };
    lower_case(text.trim())
}

fn lower_case(text: &str) -> Cow<'_, str> {
    let is_lower = |byte: u8| byte.is_ascii() && !byte.is_ascii_uppercase();
    if text.bytes().all(is_lower) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.to_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    fn directory(text: &str, options: &DirectoryOptions) -> Result<Directory> {
        let mut file = tempfile::Builder::new().prefix("ids").tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        Directory::open(&Source::Path(file.path().to_owned()), options)
    }

    fn found(directory: &Directory, key: &str) -> std::result::Result<u64, CellError> {
        directory.find(key.as_bytes()).map(UserId::get)
    }

    #[test]
    fn people_are_found_without_regard_to_case_and_white_space() {
        for text in [
            "User ID;E-Mail\n1701; Jo@Example.com\n1702;ÄNNE@example.com\n",
            "Users of the Org\nname,id,mail\nJo,1701,jo@example.com\nÄ,1702,änne@example.com\n",
            r#"{"total": 2, "data": [
                {"id": 1701, "profile": {"email": "JO@example.com"}},
                {"id": "1702", "profile": {"email": "änne@example.com"}}]}"#,
        ] {
            let options = DirectoryOptions {
                key_column: text
                    .contains("profile")
                    .then(|| "profile.email".parse().unwrap()),
                ..DirectoryOptions::default()
            };
            let directory = directory(text, &options).unwrap();
            assert_eq!(directory.entries(), 2);
            assert_eq!(found(&directory, " jo@EXAMPLE.com\u{a0}"), Ok(1701));
            assert_eq!(found(&directory, "Änne@Example.com"), Ok(1702));
            assert_eq!(
                found(&directory, "jo@example.org"),
                Err(CellError::Unmatched)
            );
            assert_eq!(found(&directory, " "), Err(CellError::EmptyKey));
        }
    }

    #[test]
    fn odd_entries_matter_only_if_they_are_used() {
        let text = "id,email\n1701,jo@example.com\n1701,jo@example.com\nx,al@example.com\n\
            1703,bo@example.com\n1704,BO@example.com\n,\n0,\n";
        let directory = directory(text, &DirectoryOptions::default()).unwrap();
        assert_eq!(found(&directory, "jo@example.com"), Ok(1701));
        assert_eq!(
            found(&directory, "al@example.com"),
            Err(CellError::InvalidEntry)
        );
        assert_eq!(
            found(&directory, "bo@example.com"),
            Err(CellError::SeveralEntries)
        );
        let words = directory.explain(b"bo@example.com", true);
        assert!(
            words.contains("1703 in ") && words.contains(":5, 1704 in "),
            "{words}"
        );
        let words = directory.explain(b"al@example.com", true);
        assert!(words.contains(":4 is not a number"), "{words}");
    }

    #[test]
    fn a_member_that_only_a_late_entry_has_counts() {
        let late = r#"{"id": 6, "email": "d@e.f"}"#;
        let early = r#"{"id": 5, "name": "Jo Dahl"},"#.repeat(4000);
        let list = format!("[{early}{late}]");
        let people = directory(&list, &DirectoryOptions::default()).unwrap();
        assert_eq!(found(&people, "d@e.f"), Ok(6));
        assert_eq!(people.entries(), 4001);
        let list = list.replace("name", "mail");
        let error = directory(&list, &DirectoryOptions::default()).unwrap_err();
        assert!(
            error.to_string().contains("two columns could be"),
            "{error}"
        );
    }

    #[test]
    fn an_entry_with_a_member_twice_gives_no_id() {
        let text = r#"[{"id": 5, "email": "jo@b.c", "id": 6}, {"id": 7, "email": "al@b.c", "id": 7},
            {"email": "bo@b.c", "id": 8, "email": "cy@b.c"}, {"id": 9, "email": "jo@b.c"}]"#;
        let directory = directory(text, &DirectoryOptions::default()).unwrap();
        for key in ["jo@b.c", "bo@b.c", "cy@b.c"] {
            assert_eq!(
                found(&directory, key),
                Err(CellError::InvalidEntry),
                "{key}"
            );
        }
        assert_eq!(found(&directory, "al@b.c"), Ok(7));
        assert_eq!(directory.entries(), 4);
        let words = directory.explain(b"bo@b.c", true);
        assert!(
            words.contains("entry 3 is in an entry that has a member twice"),
            "{words}"
        );
    }

    #[test]
    fn a_similar_key_is_mentioned_and_never_taken() {
        let text = "id,email\n5,jo.dahl@example.com\n6,al@example.org\n";
        let directory = directory(text, &DirectoryOptions::default()).unwrap();
        for (key, near) in [
            ("jo.dahl@exmaple.com", Some("jo.dahl@example.com")),
            ("jo.dal@example.com", Some("jo.dahl@example.com")),
            ("al@example.com", Some("al@example.org")),
            ("sam@example.com", None),
        ] {
            assert_eq!(found(&directory, key), Err(CellError::Unmatched));
            let words = directory.explain(key.as_bytes(), true);
            match near {
                Some(near) => assert!(words.contains(near), "{words}"),
                None => assert!(!words.contains("similar"), "{words}"),
            }
            assert!(!directory.explain(key.as_bytes(), false).contains("similar"));
        }
    }

    #[test]
    fn columns_that_can_not_be_told_are_refused() {
        for (text, words) in [
            (
                "id,email,mail\n5,a@b.c,a@b.c\n",
                "two columns could be the e-mail address",
            ),
            ("id,name\n5,Jo\n", "no column for the e-mail address"),
            ("email,name\na@b.c,Jo\n", "no column for the user ID"),
            (r#"[{"email": "a@b.c"}]"#, "no column for the user ID"),
            (
                r#"[{"id": 5, "email": "a@b.c", "mail": "a@b.c"}]"#,
                "two columns could be",
            ),
            (r#"{"users": 5}"#, "no member is a list"),
        ] {
            let error = directory(text, &DirectoryOptions::default()).unwrap_err();
            assert!(error.to_string().contains(words), "{text}: {error}");
        }
        let error = directory("email\na@b.c\n", &DirectoryOptions::default()).unwrap_err();
        assert!(error.advice().unwrap().contains("--ids-column"), "{error}");
    }

    #[test]
    fn keys_one_letter_apart_are_recognised() {
        for (one, other) in [("abc", "abd"), ("abc", "ab"), ("bc", "abc"), ("abc", "acb")] {
            assert!(is_one_edit_away(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("abc", "abc"),
            ("abc", "a"),
            ("abc", "cba"),
            ("abcd", "badc"),
        ] {
            assert!(!is_one_edit_away(one, other), "{one} {other}");
        }
    }

    proptest! {
        #[test]
        fn only_an_id_that_stands_beside_the_key_is_found_in_any_order(
            entries in prop::collection::vec((0_u64..6, "[a-cA-C]{1,2}"), 1..20),
            asked in "[a-cA-C]{1,2}",
        ) {
            let text = |entries: &[(u64, String)]| {
                let rows = entries.iter().map(|(id, name)| format!("{id},{name}@x.y\n"));
                format!("id,email\n{}", rows.collect::<String>())
            };
            let options = DirectoryOptions::default();
            let forward = directory(&text(&entries), &options).unwrap();
            let mut turned = entries.clone();
            turned.reverse();
            let backward = directory(&text(&turned), &options).unwrap();
            let key = format!("{asked}@x.y");
            let result = found(&forward, &key);
            prop_assert_eq!(result.is_ok(), found(&backward, &key).is_ok());
            let beside: Vec<u64> = entries
                .iter()
                .filter(|(_, name)| name.eq_ignore_ascii_case(&asked))
                .map(|(id, _)| *id)
                .collect();
            match result {
                Ok(id) => {
                    prop_assert!(beside.iter().all(|other| *other == id));
                    prop_assert_eq!(found(&backward, &key), Ok(id));
                }
                Err(CellError::Unmatched) => prop_assert!(beside.is_empty()),
                Err(_) => prop_assert!(beside.contains(&0) || beside.len() > 1),
            }
        }
    }
}
