//! Reads a list of people from JSON: an array of objects, or an object in which exactly one member
//! is such an array. The entries are read one after the other and not held in memory. Nested
//! members are named with dots, such as `profile.email`.
//!
//! The text is read in pieces, and each piece is parsed as a slice. That is several times as fast as
//! parsing byte by byte from a reader.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::de::SliceRead;

use super::bytes::{Bytes, unreadable};
use super::header::{self, HeaderProblem};
use super::options::ColumnChoice;
use super::text::{self, TextFormat};
use crate::error::{Error, Kind, Result};
use crate::text::one_line;

/// The members of the entries that hold the keys and the IDs.
#[derive(Default)]
pub(super) struct JsonColumns {
    pub(super) key: String,
    pub(super) id: String,
    /// The numbers of both among all members, from 1.
    pub(super) numbers: [usize; 2],
}

/// A value that is neither an object nor an array.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scalar<'a> {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(&'a str),
}

impl fmt::Display for Scalar<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => Ok(()),
            Self::Bool(value) => value.fmt(f),
            Self::Unsigned(number) => number.fmt(f),
            Self::Signed(number) => number.fmt(f),
            // With a decimal point, so that it is not taken for a whole number.
            Self::Float(number) => write!(f, "{number:?}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// Takes the entries of a list.
pub(super) trait EntryVisitor {
    /// Begins an element of the list. One that goes beyond the piece of the text that is in memory
    /// is begun again.
    fn begin(&mut self);
    /// Takes a member of the current entry. The path of a nested one has dots.
    fn member(&mut self, path: &str, value: Scalar<'_>);
    /// Ends the current element, which may be something else than an entry. `number` is its number
    /// in the list, from 1.
    fn end(&mut self, number: u64);
}

/// The largest number of different members of entries.
const MAX_MEMBERS: usize = 16_384;

/// The longest name of a member, in bytes. The names are held in memory.
const MAX_NAME: usize = 1024;

/// Size in bytes of a piece of the text.
const PIECE: usize = 1 << 18;

/// The longest value in bytes, because an entry or a value beside the list is held in memory.
const MAX_VALUE: usize = 8 << 20;

/// Checks whether a text may begin as JSON does. Only its first bytes are read, because a table is
/// read as a whole later.
fn may_be_json(bytes: &Bytes) -> Result<bool> {
    let mut head = Vec::new();
    let read = bytes.hashed().take(256).read_to_end(&mut head);
    read.map_err(|error| unreadable(&bytes.name, &error))?;
    if head.starts_with(&[0x1f, 0x8b]) {
        // What a gzip file holds is not known yet.
        return Ok(true);
    }
    // A byte order mark and white space, also as UTF-16, may stand before it.
    let is_before = |byte: &&u8| {
        let is_mark = matches!(**byte, 0xef | 0xbb | 0xbf | 0xfe | 0xff);
        is_mark || **byte == 0 || byte.is_ascii_whitespace()
    };
    let first = head.iter().find(|byte| !is_before(byte));
    Ok(matches!(first, None | Some(b'{' | b'[')))
}

/// Returns the form of a text that begins as JSON does; `None` for any other text.
pub(super) fn detect(bytes: &Bytes, max_input: Option<u64>) -> Result<Option<TextFormat>> {
    if !may_be_json(bytes)? {
        return Ok(None);
    }
    let format = text::survey(bytes, None, max_input)?;
    let head = format.head(bytes)?;
    let start = String::from_utf8_lossy(&head);
    if start.trim_start().starts_with(['{', '[']) {
        Ok(Some(format))
    } else {
        Ok(None)
    }
}

/// The names of the members of all entries.
#[derive(Default)]
pub(super) struct MemberNames {
    /// The names in the order in which they were found first.
    names: Vec<String>,
    /// The position of each name in `names`.
    positions: BTreeMap<String, usize>,
    /// The position of the name that is expected next, because most entries have the same members
    /// in the same order.
    next: usize,
}

impl EntryVisitor for MemberNames {
    fn begin(&mut self) {
        self.next = 0;
    }

    fn member(&mut self, path: &str, _: Scalar<'_>) {
        if self.names.get(self.next).is_some_and(|name| name == path) {
            self.next += 1;
        } else if let Some(position) = self.positions.get(path) {
            self.next = position + 1;
        } else if self.names.len() < MAX_MEMBERS && path.len() <= MAX_NAME {
            self.positions.insert(path.to_owned(), self.names.len());
            self.names.push(path.to_owned());
            self.next = self.names.len();
        }
    }

    fn end(&mut self, _: u64) {}
}

impl MemberNames {
    /// Finds the members that hold the keys and the IDs.
    pub(super) fn columns(
        &self,
        key: Option<&ColumnChoice>,
        id: Option<&ColumnChoice>,
    ) -> std::result::Result<JsonColumns, HeaderProblem> {
        let names: Vec<String> = self.positions.keys().cloned().collect();
        let found = header::find_directory(&names, key, id)?;
        Ok(JsonColumns {
            key: names[found.key].clone(),
            id: names[found.id].clone(),
            numbers: [found.key + 1, found.id + 1],
        })
    }
}

/// Reads the list, hands over its entries one after the other, and returns the number of its
/// elements.
pub(super) fn read(
    bytes: &Bytes,
    format: &TextFormat,
    visitor: &mut dyn EntryVisitor,
) -> Result<u64> {
    let text = format.text(bytes)?;
    read_list(text, visitor).map_err(|problem| {
        let message = format!("{}: {}", bytes.name, one_line(&problem, 200));
        Error::new(Kind::Input, message).help(
            "give a JSON file with one list of users, as the Org's Swagger page saves it, or a \
             table",
        )
    })
}

/// Reads the beginning of a list and hands over its first entries.
pub(super) fn read_head(head: &[u8], visitor: &mut dyn EntryVisitor) {
    // That the text is cut off is no matter here.
    let _ = read_list(head, visitor);
}

fn read_list(text: impl Read, visitor: &mut dyn EntryVisitor) -> JsonResult<u64> {
    let mut text = JsonText::new(text);
    let elements = match text.peek()? {
        Some(b'[') => text.list(visitor)?.ok_or("the list has no objects")?,
        Some(b'{') => text.list_in_object(visitor)?,
        _ => return Err(text.problem("expected a list of users")),
    };
    match text.peek()? {
        None => Ok(elements),
        Some(_) => Err(text.problem("trailing characters")),
    }
}

/// The result of reading JSON, or what is wrong with the text.
type JsonResult<T> = std::result::Result<T, String>;

/// A text of JSON, of which a piece is in memory.
struct JsonText<R> {
    inner: R,
    piece: Vec<u8>,
    /// Number of bytes of the piece that have been read.
    used: usize,
    /// Whether the piece is the last one.
    is_last: bool,
    /// Number of line ends before the piece.
    line_ends: usize,
    /// Number of bytes between the last line end and the piece.
    column: usize,
}

impl<R: Read> JsonText<R> {
    fn new(inner: R) -> Self {
        Self {
            inner,
            piece: Vec::new(),
            used: 0,
            is_last: false,
            line_ends: 0,
            column: 0,
        }
    }

    /// Replaces what has been read of the piece by more of the text.
    fn fill(&mut self) -> JsonResult<()> {
        (self.line_ends, self.column) = self.place(self.used);
        self.piece.drain(..self.used);
        self.used = 0;
        let length = self.piece.len();
        let room = MAX_VALUE.saturating_sub(length);
        if room == 0 {
            let problem = format!("a value is longer than {} MiB", MAX_VALUE >> 20);
            return Err(self.problem(&problem));
        }
        // A long value is parsed again each time, so the piece has to grow by more than a little.
        let wanted = length.max(PIECE).min(room);
        let read = (&mut self.inner)
            .take(wanted as u64)
            .read_to_end(&mut self.piece);
        self.is_last = read.map_err(|error| error.to_string())? < wanted;
        Ok(())
    }

    /// Skips white space and returns the byte behind it; `None` at the end of the text.
    fn peek(&mut self) -> JsonResult<Option<u8>> {
        loop {
            let rest = &self.piece[self.used..];
            let space = |byte: &u8| matches!(byte, b' ' | b'\n' | b'\t' | b'\r');
            if let Some(length) = rest.iter().position(|byte| !space(byte)) {
                self.used += length;
                return Ok(Some(self.piece[self.used]));
            }
            self.used = self.piece.len();
            if self.is_last {
                return Ok(None);
            }
            self.fill()?;
        }
    }

    /// Parses a value. `parse` is called again if the value goes beyond the piece.
    fn value<T>(
        &mut self,
        mut parse: impl FnMut(&mut JsonDeserializer<'_>) -> serde_json::Result<T>,
    ) -> JsonResult<T> {
        loop {
            let rest = &self.piece[self.used..];
            let mut deserializer = JsonDeserializer::from_slice(rest);
            let parsed = parse(&mut deserializer);
            let length = deserializer.into_iter::<IgnoredAny>().byte_offset();
            // A number at the end of a piece may go on in the next.
            let is_cut = length == rest.len();
            match parsed {
                Ok(value) if !is_cut || self.is_last => {
                    self.used += length;
                    return Ok(value);
                }
                Err(error) if !error.is_eof() || self.is_last => {
                    self.used += length;
                    let words = error.to_string();
                    let words = words.split(" at line ").next().unwrap_or_default();
                    return Err(self.problem(words));
                }
                _ => self.fill()?,
            }
        }
    }

    /// Hands over the elements of an array, and returns their number; `None` if none is an object.
    fn list(&mut self, visitor: &mut dyn EntryVisitor) -> JsonResult<Option<u64>> {
        let mut path = String::new();
        let mut elements = 0;
        let mut has_objects = false;
        let mut is_open = self.open(b']')?;
        while is_open {
            has_objects |= self.peek()? == Some(b'{');
            self.value(|deserializer| {
                path.clear();
                visitor.begin();
                let element = ValueReader {
                    path: &mut path,
                    visitor: &mut *visitor,
                };
                element.deserialize(deserializer)
            })?;
            elements += 1;
            visitor.end(elements);
            is_open = self.goes_on(b']')?;
        }
        if has_objects {
            Ok(Some(elements))
        } else {
            Ok(None)
        }
    }

    /// Hands over the elements of the one list in an object, and returns their number.
    fn list_in_object(&mut self, visitor: &mut dyn EntryVisitor) -> JsonResult<u64> {
        let mut list: Option<(String, u64)> = None;
        let mut is_open = self.open(b'}')?;
        while is_open {
            let name = self.value(|deserializer| String::deserialize(deserializer))?;
            if self.peek()? != Some(b':') {
                return Err(self.problem("expected `:`"));
            }
            self.used += 1;
            if self.peek()? != Some(b'[') {
                self.value(|deserializer| IgnoredAny::deserialize(deserializer))?;
            } else if let Some(elements) = self.list(visitor)? {
                if let Some((first, _)) = list {
                    return Err(self.problem(&format!(
                        "both \"{first}\" and \"{name}\" are lists: which one has the users?"
                    )));
                }
                list = Some((name, elements));
            }
            is_open = self.goes_on(b'}')?;
        }
        match list {
            Some((_, elements)) => Ok(elements),
            None => Err(self.problem("no member is a list of users")),
        }
    }

    /// Skips the first byte of an array or object; returns `false` if it ends there.
    fn open(&mut self, end: u8) -> JsonResult<bool> {
        self.used += 1;
        if self.peek()? == Some(end) {
            self.used += 1;
            return Ok(false);
        }
        Ok(true)
    }

    /// Skips the byte behind an element; returns `false` if it is the end.
    fn goes_on(&mut self, end: u8) -> JsonResult<bool> {
        match self.peek()? {
            Some(byte) if byte == end || byte == b',' => {
                self.used += 1;
                Ok(byte == b',')
            }
            Some(_) => Err(self.problem(&format!("expected `,` or `{}`", char::from(end)))),
            None => Err(self.problem("EOF while parsing a list or an object")),
        }
    }

    /// Returns the number of line ends before a byte of the piece, and the number of bytes between
    /// the last of them and that byte.
    fn place(&self, offset: usize) -> (usize, usize) {
        let before = &self.piece[..offset];
        let line_ends = self.line_ends + memchr::memchr_iter(b'\n', before).count();
        match memchr::memrchr(b'\n', before) {
            Some(last) => (line_ends, offset - last - 1),
            None => (line_ends, self.column + offset),
        }
    }

    /// Returns what is wrong with the text at the place that has been reached.
    fn problem(&self, words: &str) -> String {
        let (line_ends, column) = self.place(self.used);
        format!("{words} at line {} column {}", line_ends + 1, column + 1)
    }
}

/// Parses what is in memory.
type JsonDeserializer<'a> = serde_json::Deserializer<SliceRead<'a>>;

/// A value at a path in an entry, or a whole element of the list.
struct ValueReader<'a> {
    /// The path; empty for a whole element.
    path: &'a mut String,
    visitor: &'a mut dyn EntryVisitor,
}

impl ValueReader<'_> {
    fn scalar(self, value: Scalar<'_>) {
        if !self.path.is_empty() {
            self.visitor.member(self.path, value);
        }
    }
}

impl<'de> DeserializeSeed<'de> for ValueReader<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueReader<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
        let length = self.path.len();
        loop {
            self.path.truncate(length);
            if length > 0 {
                self.path.push('.');
            }
            if map.next_key_seed(NameReader(&mut *self.path))?.is_none() {
                return Ok(());
            }
            map.next_value_seed(ValueReader {
                path: &mut *self.path,
                visitor: &mut *self.visitor,
            })?;
        }
    }

    fn visit_bool<E>(self, value: bool) -> std::result::Result<(), E> {
        self.scalar(Scalar::Bool(value));
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> std::result::Result<(), E> {
        self.scalar(Scalar::Signed(number));
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> std::result::Result<(), E> {
        self.scalar(Scalar::Unsigned(number));
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> std::result::Result<(), E> {
        self.scalar(Scalar::Float(number));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> std::result::Result<(), E> {
        self.scalar(Scalar::Text(text));
        Ok(())
    }

    fn visit_unit<E>(self) -> std::result::Result<(), E> {
        self.scalar(Scalar::Null);
        Ok(())
    }
}

/// The name of a member, which is added to the path.
struct NameReader<'a>(&'a mut String);

impl<'de> DeserializeSeed<'de> for NameReader<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NameReader<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> std::result::Result<(), E> {
        self.0.push_str(name);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The entries as lines of `path=value`.
    #[derive(Default)]
    struct Lines {
        entry: Vec<String>,
        entries: Vec<Vec<String>>,
    }

    impl EntryVisitor for Lines {
        fn begin(&mut self) {
            self.entry.clear();
        }

        fn member(&mut self, path: &str, value: Scalar<'_>) {
            self.entry.push(format!("{path}={value}"));
        }

        fn end(&mut self, _: u64) {
            self.entries.push(std::mem::take(&mut self.entry));
        }
    }

    fn entries(text: &str) -> JsonResult<Vec<Vec<String>>> {
        let mut lines = Lines::default();
        read_list(text.as_bytes(), &mut lines)?;
        Ok(lines.entries)
    }

    #[test]
    fn a_list_is_found_by_itself_and_in_one_member() {
        let list = r#"[{"id": 5, "profile": {"email": "a@b.c", "x": {"y": null}}, "tags": ["x"]},
            7, {"id": 5.0, "ok": true, "low": -1}]"#;
        let members = r#"{"total": 1, "next": null, "links": {"self": [{}]}, "data": LIST}"#;
        for text in [list, &members.replace("LIST", list)] {
            let entries = entries(text).unwrap();
            assert_eq!(entries[0], ["id=5", "profile.email=a@b.c", "profile.x.y="]);
            assert!(entries[1].is_empty());
            assert_eq!(entries[2], ["id=5.0", "ok=true", "low=-1"]);
        }
    }

    #[test]
    fn entries_are_the_same_wherever_a_piece_of_the_text_ends() {
        let list = r#"[{"id": 1234, "é": "\ud83d\ude00\"é", "b": {"x": 1.5e3}}, 5678, {"id": -1}]"#;
        let expected = [
            vec!["id=1234", "é=😀\"é", "b.x=1500.0"],
            vec![],
            vec!["id=-1"],
        ];
        let members = format!("{{\"n\": 12, \"users\": {list}, \"m\": null}}");
        for text in [list, &members] {
            for before in 0..text.len() {
                let padded = " ".repeat(PIECE - before) + text;
                assert_eq!(entries(&padded).unwrap(), expected, "cut at {before}");
            }
        }
    }

    #[test]
    fn an_error_names_line_and_column() {
        let lines = "\n".repeat(PIECE) + "  [{\"a\": x}]";
        let error = entries(&lines).unwrap_err();
        let place = format!("expected value at line {} column 10", PIECE + 1);
        assert_eq!(error, place);
        let error = entries("{\"n\": [],\n \"users\": [{} {}]}").unwrap_err();
        assert_eq!(error, "expected `,` or `]` at line 2 column 15");
    }

    #[test]
    fn elements_of_another_list_are_not_counted() {
        let text = r#"{"pages": [1, 2, 3], "users": [{"id": 5}, {"id": 6}]}"#;
        let elements = read_list(text.as_bytes(), &mut Lines::default());
        assert_eq!(elements, Ok(2));
    }

    #[test]
    fn anything_else_is_refused() {
        let deep = format!("[{}", r#"{"a":"#.repeat(1000));
        let long = format!("[{{\"a\": \"{}\"}}]", "\\\"x".repeat(MAX_VALUE));
        for (text, words) in [
            (r#"{"a": [{}], "b": [{}]}"#, "which one has the users"),
            (r#"{"a": [{}], "a": [{}]}"#, "which one has the users"),
            (r#"{"a": 1, "b": [1, 2]}"#, "no member is a list"),
            ("[1, 2]", "no objects"),
            ("[]", "no objects"),
            ("7", "list of users"),
            ("[{}", "EOF"),
            ("[{}] x", "trailing"),
            (&deep, "recursion limit"),
            ("[{} {}]", "expected `,` or `]`"),
            ("[{},]", "expected value"),
            ("{\"a\" [{}]}", "expected `:`"),
            ("{\"a\": [{}]", "EOF"),
            ("{1: [{}]}", "expected a string"),
            ("[{\"a\": 1", "EOF"),
            (&long, "longer than 8 MiB"),
        ] {
            let error = entries(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
