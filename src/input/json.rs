//! Reads a list of people from JSON: an array of objects, or an object in which exactly one member
//! is such an array. The entries are read one after the other and not held in memory. Nested
//! members are named with dots, such as `profile.email`.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, BufReader, Read};

use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use super::bytes::{Bytes, unreadable};
use super::header::{self, HeaderProblem};
use super::options::ColumnChoice;
use super::text::{self, TextFormat};
use crate::error::{Error, Kind, Result};
use crate::text::one_line;

/// The members of the entries that hold the keys and the IDs.
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
    /// Takes a member of the current entry. The path of a nested one has dots.
    fn member(&mut self, path: &str, value: Scalar<'_>);
    /// Ends the current element of the list, which may be something else than an entry.
    fn end(&mut self);
}

/// The largest number of different members of entries.
const MAX_MEMBERS: usize = 16_384;

/// The longest name of a member, in bytes. The names are held in memory.
const MAX_NAME: usize = 1024;

/// The longest text in bytes, because a text is held in memory.
const MAX_TEXT: usize = 1 << 20;

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

/// Returns the names of all members of the entries, in alphabetical order.
pub(super) fn members(bytes: &Bytes, format: &TextFormat) -> Result<Vec<String>> {
    struct Names(BTreeSet<String>);

    impl EntryVisitor for Names {
        fn member(&mut self, path: &str, _: Scalar<'_>) {
            let is_taken = self.0.len() < MAX_MEMBERS && path.len() <= MAX_NAME;
            if is_taken && !self.0.contains(path) {
                self.0.insert(path.to_owned());
            }
        }

        fn end(&mut self) {}
    }

    let mut names = Names(BTreeSet::new());
    read(bytes, format, &mut names)?;
    Ok(names.0.into_iter().collect())
}

/// Finds the members that hold the keys and the IDs.
pub(super) fn columns(
    members: &[String],
    key: Option<&ColumnChoice>,
    id: Option<&ColumnChoice>,
) -> std::result::Result<JsonColumns, HeaderProblem> {
    let found = header::find_directory(members, key, id)?;
    Ok(JsonColumns {
        key: members[found.key].clone(),
        id: members[found.id].clone(),
        numbers: [found.key + 1, found.id + 1],
    })
}

/// Reads the list and hands over its entries one after the other.
pub(super) fn read(
    bytes: &Bytes,
    format: &TextFormat,
    visitor: &mut dyn EntryVisitor,
) -> Result<()> {
    let text = format.text(bytes)?;
    read_list(BufReader::with_capacity(1 << 16, text), visitor).map_err(|error| {
        let message = format!("{}: {}", bytes.name, one_line(&error.to_string(), 200));
        Error::new(Kind::Input, message).help(
            "give a JSON file with one list of users, as the Org's Swagger page saves it, or a \
             table",
        )
    })
}

fn read_list(text: impl Read, visitor: &mut dyn EntryVisitor) -> serde_json::Result<()> {
    let text = BufReader::with_capacity(1 << 16, TextLimit::new(text));
    let mut deserializer = serde_json::Deserializer::from_reader(text);
    FileReader(visitor).deserialize(&mut deserializer)?;
    deserializer.end()
}

/// Refuses texts that are too long to be held in memory.
struct TextLimit<R> {
    inner: R,
    is_in_text: bool,
    is_escaped: bool,
    /// Length of the current text so far.
    length: usize,
}

impl<R> TextLimit<R> {
    fn new(inner: R) -> Self {
        Self {
            inner,
            is_in_text: false,
            is_escaped: false,
            length: 0,
        }
    }

    fn check(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while let Some((_, after_first)) = bytes.split_first() {
            if !self.is_in_text {
                let Some(quote) = memchr::memchr(b'"', bytes) else {
                    return Ok(());
                };
                self.is_in_text = true;
                self.length = 0;
                bytes = &bytes[quote + 1..];
            } else if self.is_escaped {
                self.is_escaped = false;
                self.length += 1;
                bytes = after_first;
            } else if let Some(place) = memchr::memchr2(b'"', b'\\', bytes) {
                self.length += place;
                self.is_in_text = bytes[place] == b'\\';
                self.is_escaped = self.is_in_text;
                bytes = &bytes[place + 1..];
            } else {
                self.length += bytes.len();
                bytes = &[];
            }
            if self.length > MAX_TEXT {
                let message = format!("a text is longer than {} MiB", MAX_TEXT >> 20);
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
        }
        Ok(())
    }
}

impl<R: Read> Read for TextLimit<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.check(&buffer[..read])?;
        Ok(read)
    }
}

/// The whole file.
struct FileReader<'a>(&'a mut dyn EntryVisitor);

impl<'de> DeserializeSeed<'de> for FileReader<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for FileReader<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of users, or an object with one list of users")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> std::result::Result<(), A::Error> {
        match visit_list(seq, self.0)? {
            JsonShape::ListOfObjects => Ok(()),
            JsonShape::Object | JsonShape::Other => {
                Err(A::Error::custom("the list has no objects"))
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
        let mut list: Option<String> = None;
        while let Some(name) = map.next_key::<String>()? {
            let mut path = String::new();
            let value = ValueReader {
                path: &mut path,
                visitor: &mut *self.0,
                may_be_list: true,
            };
            if map.next_value_seed(value)? != JsonShape::ListOfObjects {
                continue;
            }
            if let Some(first) = list.replace(name.clone()) {
                let message =
                    format!("both \"{first}\" and \"{name}\" are lists: which one has the users?");
                return Err(A::Error::custom(message));
            }
        }
        match list {
            Some(_) => Ok(()),
            None => Err(A::Error::custom("no member is a list of users")),
        }
    }
}

/// What a value turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum JsonShape {
    /// An array with at least one object.
    ListOfObjects,
    Object,
    Other,
}

/// Hands over the elements of an array.
fn visit_list<'de, A: SeqAccess<'de>>(
    mut seq: A,
    visitor: &mut dyn EntryVisitor,
) -> std::result::Result<JsonShape, A::Error> {
    let mut shape = JsonShape::Other;
    let mut path = String::new();
    loop {
        path.clear();
        let element = ValueReader {
            path: &mut path,
            visitor: &mut *visitor,
            may_be_list: false,
        };
        let Some(found) = seq.next_element_seed(element)? else {
            return Ok(shape);
        };
        visitor.end();
        if found == JsonShape::Object {
            shape = JsonShape::ListOfObjects;
        }
    }
}

/// A value at a path in an entry, a whole entry, or a value that may be the list.
struct ValueReader<'a> {
    /// The path; empty for a whole entry or list.
    path: &'a mut String,
    visitor: &'a mut dyn EntryVisitor,
    may_be_list: bool,
}

impl ValueReader<'_> {
    fn scalar(self, value: Scalar<'_>) -> JsonShape {
        if !self.path.is_empty() {
            self.visitor.member(self.path, value);
        }
        JsonShape::Other
    }
}

impl<'de> DeserializeSeed<'de> for ValueReader<'_> {
    type Value = JsonShape;

    fn deserialize<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> std::result::Result<JsonShape, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueReader<'_> {
    type Value = JsonShape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<JsonShape, A::Error> {
        if self.may_be_list {
            return visit_list(seq, self.visitor);
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(JsonShape::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<JsonShape, A::Error> {
        if self.may_be_list {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(JsonShape::Other);
        }
        let length = self.path.len();
        loop {
            self.path.truncate(length);
            if length > 0 {
                self.path.push('.');
            }
            if map.next_key_seed(NameReader(&mut *self.path))?.is_none() {
                return Ok(JsonShape::Object);
            }
            map.next_value_seed(ValueReader {
                path: &mut *self.path,
                visitor: &mut *self.visitor,
                may_be_list: false,
            })?;
        }
    }

    fn visit_bool<E>(self, value: bool) -> std::result::Result<JsonShape, E> {
        Ok(self.scalar(Scalar::Bool(value)))
    }

    fn visit_i64<E>(self, number: i64) -> std::result::Result<JsonShape, E> {
        Ok(self.scalar(Scalar::Signed(number)))
    }

    fn visit_u64<E>(self, number: u64) -> std::result::Result<JsonShape, E> {
        Ok(self.scalar(Scalar::Unsigned(number)))
    }

    fn visit_f64<E>(self, number: f64) -> std::result::Result<JsonShape, E> {
        Ok(self.scalar(Scalar::Float(number)))
    }

    fn visit_str<E>(self, text: &str) -> std::result::Result<JsonShape, E> {
        Ok(self.scalar(Scalar::Text(text)))
    }

    fn visit_unit<E>(self) -> std::result::Result<JsonShape, E> {
        Ok(self.scalar(Scalar::Null))
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
        fn member(&mut self, path: &str, value: Scalar<'_>) {
            self.entry.push(format!("{path}={value}"));
        }

        fn end(&mut self) {
            self.entries.push(std::mem::take(&mut self.entry));
        }
    }

    fn entries(text: &str) -> std::result::Result<Vec<Vec<String>>, String> {
        let mut lines = Lines::default();
        read_list(text.as_bytes(), &mut lines).map_err(|error| error.to_string())?;
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
    fn anything_else_is_refused() {
        let deep = format!("[{}", r#"{"a":"#.repeat(1000));
        let long = format!("[{{\"a\": \"{}\"}}]", "\\\"x".repeat(MAX_TEXT));
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
            (&long, "longer than 1 MiB"),
        ] {
            let error = entries(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
