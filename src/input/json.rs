//! Reads a list of people from JSON: an array of objects, or an object in which exactly one member
//! is such an array. The entries are read one after the other and not held in memory. Nested
//! members are named with dots, such as `profile.email`.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{BufReader, Read};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::bytes::Bytes;
use super::header::{self, HeaderProblem};
use super::options::ColumnChoice;
use super::text::{self, TextFormat};
use crate::error::{Error, Kind, Result};
use crate::text::one_line;

/// An entry of the list.
pub(super) type JsonEntry = Map<String, Value>;

/// The members of the entries that hold the keys and the IDs.
pub(super) struct JsonColumns {
    pub(super) key: String,
    pub(super) id: String,
    /// The numbers of both among all members, from 1.
    pub(super) numbers: [usize; 2],
}

/// The largest number of different members of entries.
const MAX_MEMBERS: usize = 16_384;

/// Returns the form of a text that begins as JSON does; `None` for any other text.
pub(super) fn detect(bytes: &Bytes, max_input: Option<u64>) -> Result<Option<TextFormat>> {
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
    let mut names = BTreeSet::new();
    read(bytes, format, |entry| {
        if names.len() < MAX_MEMBERS {
            collect_names("", entry, &mut names);
        }
    })?;
    Ok(names.into_iter().collect())
}

fn collect_names(prefix: &str, entry: &JsonEntry, names: &mut BTreeSet<String>) {
    for (name, value) in entry {
        let path = format!("{prefix}{name}");
        match value {
            Value::Object(nested) => collect_names(&format!("{path}."), nested, names),
            Value::Array(_) => {}
            _ => {
                names.insert(path);
            }
        }
    }
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

/// Returns the text of a member, which may be nested; empty if there is none.
pub(super) fn text_at(entry: &JsonEntry, path: &str) -> String {
    if let Some(value) = entry.get(path) {
        return match value {
            Value::Null | Value::Array(_) | Value::Object(_) => String::new(),
            Value::String(text) => text.clone(),
            Value::Bool(_) | Value::Number(_) => value.to_string(),
        };
    }
    for (dot, _) in path.match_indices('.') {
        if let Some(Value::Object(nested)) = entry.get(&path[..dot]) {
            return text_at(nested, &path[dot + 1..]);
        }
    }
    String::new()
}

/// Reads the list and hands over its entries one after the other.
pub(super) fn read(
    bytes: &Bytes,
    format: &TextFormat,
    mut take: impl FnMut(&JsonEntry),
) -> Result<()> {
    let text = format.text(bytes)?;
    read_list(BufReader::with_capacity(1 << 16, text), &mut take).map_err(|error| {
        let message = format!("{}: {}", bytes.name, one_line(&error.to_string(), 200));
        Error::new(Kind::Input, message).help(
            "give a JSON file with one list of users, as the Org's Swagger page saves it, or a \
             table",
        )
    })
}

fn read_list(text: impl Read, take: &mut dyn FnMut(&JsonEntry)) -> serde_json::Result<()> {
    let mut deserializer = serde_json::Deserializer::from_reader(text);
    Top(take).deserialize(&mut deserializer)?;
    deserializer.end()
}

/// The whole file.
struct Top<'a>(&'a mut dyn FnMut(&JsonEntry));

impl<'de> DeserializeSeed<'de> for Top<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Top<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of users, or an object with one list of users")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> std::result::Result<(), A::Error> {
        match (List { take: self.0 }).visit_seq(seq)? {
            ListKind::Entries | ListKind::Empty => Ok(()),
            ListKind::Other => Err(serde::de::Error::custom("the list has no objects")),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
        let mut list: Option<String> = None;
        while let Some(name) = map.next_key::<String>()? {
            let kind = map.next_value_seed(List { take: &mut *self.0 })?;
            if kind != ListKind::Entries {
                continue;
            }
            if let Some(first) = list.replace(name.clone()) {
                let message =
                    format!("both \"{first}\" and \"{name}\" are lists: which one has the users?");
                return Err(serde::de::Error::custom(message));
            }
        }
        match list {
            Some(_) => Ok(()),
            None => Err(serde::de::Error::custom("no member is a list of users")),
        }
    }
}

/// What a value turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ListKind {
    /// An array with at least one object.
    Entries,
    /// An array without elements.
    Empty,
    /// Anything else.
    Other,
}

/// A value that may be the list.
struct List<'a> {
    take: &'a mut dyn FnMut(&JsonEntry),
}

impl<'de> DeserializeSeed<'de> for List<'_> {
    type Value = ListKind;

    fn deserialize<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> std::result::Result<ListKind, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = ListKind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<ListKind, A::Error> {
        let mut kind = ListKind::Empty;
        while let Some(element) = seq.next_element::<Value>()? {
            match element {
                Value::Object(entry) => {
                    (self.take)(&entry);
                    kind = ListKind::Entries;
                }
                _ if kind == ListKind::Empty => kind = ListKind::Other,
                _ => {}
            }
        }
        Ok(kind)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<ListKind, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(ListKind::Other)
    }

    fn visit_bool<E>(self, _: bool) -> std::result::Result<ListKind, E> {
        Ok(ListKind::Other)
    }

    fn visit_i64<E>(self, _: i64) -> std::result::Result<ListKind, E> {
        Ok(ListKind::Other)
    }

    fn visit_u64<E>(self, _: u64) -> std::result::Result<ListKind, E> {
        Ok(ListKind::Other)
    }

    fn visit_f64<E>(self, _: f64) -> std::result::Result<ListKind, E> {
        Ok(ListKind::Other)
    }

    fn visit_str<E>(self, _: &str) -> std::result::Result<ListKind, E> {
        Ok(ListKind::Other)
    }

    fn visit_unit<E>(self) -> std::result::Result<ListKind, E> {
        Ok(ListKind::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> std::result::Result<Vec<JsonEntry>, String> {
        let mut entries = Vec::new();
        let mut take = |entry: &JsonEntry| entries.push(entry.clone());
        read_list(text.as_bytes(), &mut take).map_err(|error| error.to_string())?;
        Ok(entries)
    }

    #[test]
    fn a_list_is_found_by_itself_and_in_one_member() {
        let list = r#"[{"id": 5, "profile": {"email": "a@b.c"}, "tags": ["x"]}]"#;
        let members = r#"{"total": 1, "next": null, "links": {"self": []}, "data": LIST}"#;
        for text in [list, &members.replace("LIST", list)] {
            let entries = entries(text).unwrap();
            assert_eq!(entries.len(), 1);
            assert_eq!(text_at(&entries[0], "id"), "5");
            assert_eq!(text_at(&entries[0], "profile.email"), "a@b.c");
            assert_eq!(text_at(&entries[0], "profile"), "");
            assert_eq!(text_at(&entries[0], "profile.name"), "");
        }
        assert!(entries("[]").unwrap().is_empty());
    }

    #[test]
    fn anything_else_is_refused() {
        for (text, words) in [
            (r#"{"a": [{}], "b": [{}]}"#, "which one has the users"),
            (r#"{"a": 1, "b": [1, 2]}"#, "no member is a list"),
            ("[1, 2]", "no objects"),
            ("7", "list of users"),
            ("[{}", "EOF"),
            ("[{}] x", "trailing"),
        ] {
            let error = entries(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
