//! A map from texts to values for millions of texts that are asked for in any order. It is small,
//! because memory that is visited at random is slow: all texts stand in one string, and the hash
//! table holds only the numbers of the entries.

use std::borrow::Cow;
use std::hash::BuildHasher;
use std::ops::Range;

use hashbrown::DefaultHashBuilder;
use hashbrown::hash_table::{Entry, HashTable};

/// Values by key, in the order in which they were inserted.
#[derive(Debug)]
pub(super) struct KeyIndex<T> {
    /// Seeded at random, so that nobody can prepare keys that slow the search down.
    hasher: DefaultHashBuilder,
    /// The positions in `values`.
    positions: HashTable<usize>,
    values: Vec<Value<T>>,
    /// All keys, one after the other.
    keys: String,
}

#[derive(Debug)]
struct Value<T> {
    value: T,
    /// Where the key ends in the text of all keys.
    key_end: usize,
}

impl<T> KeyIndex<T> {
    /// Returns an index for about this number of keys. Searching for the place of each key again is
    /// slow, so the number should not be too low.
    pub(super) fn with_capacity(keys: usize) -> Self {
        Self {
            hasher: DefaultHashBuilder::default(),
            positions: HashTable::with_capacity(keys),
            values: Vec::new(),
            keys: String::new(),
        }
    }

    /// Returns the value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&T> {
        let hash = self.hasher.hash_one(key);
        let position = self.positions.find(hash, |position| {
            key_at(&self.values, &self.keys, *position) == key
        })?;
        Some(&self.values[*position].value)
    }

    /// Returns the values of some keys. This is several times as fast as asking for one key after
    /// the other: in each step, no key waits until the memory of another has arrived.
    pub(super) fn get_all(&self, keys: &[Cow<'_, str>]) -> Vec<Option<&T>> {
        let hashes = keys.iter().map(|key| self.hasher.hash_one(key.as_ref()));
        let hashes: Vec<u64> = hashes.collect();
        // The first key with a similar hash is almost always the right one.
        let similar = |hash: &u64| self.positions.find(*hash, |_| true).copied();
        let positions: Vec<Option<usize>> = hashes.iter().map(similar).collect();
        let ranges = positions.iter().map(|position| match position {
            Some(position) => key_range(&self.values, *position),
            None => 0..0,
        });
        let ranges: Vec<Range<usize>> = ranges.collect();
        let mut values = Vec::with_capacity(keys.len());
        for ((key, position), range) in keys.iter().zip(positions).zip(ranges) {
            values.push(match position {
                Some(position) if self.keys[range] == **key => Some(&self.values[position].value),
                Some(_) => self.get(key),
                None => None,
            });
        }
        values
    }

    /// Inserts a value if the key has none. Otherwise returns the value that the key has.
    pub(super) fn insert_new(&mut self, key: &str, value: impl FnOnce() -> T) -> Option<&mut T> {
        let Self {
            hasher,
            positions,
            values,
            keys,
        } = self;
        let hash = hasher.hash_one(key);
        let found = positions.entry(
            hash,
            |position| key_at(values, keys, *position) == key,
            |position| hasher.hash_one(key_at(values, keys, *position)),
        );
        match found {
            Entry::Occupied(found) => Some(&mut values[*found.get()].value),
            Entry::Vacant(vacant) => {
                vacant.insert(values.len());
                keys.push_str(key);
                values.push(Value {
                    value: value(),
                    key_end: keys.len(),
                });
                None
            }
        }
    }

    /// Returns all keys.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        (0..self.values.len()).map(|position| key_at(&self.values, &self.keys, position))
    }
}

fn key_at<'a, T>(values: &[Value<T>], keys: &'a str, position: usize) -> &'a str {
    &keys[key_range(values, position)]
}

/// Returns where a key is in the text of all keys.
fn key_range<T>(values: &[Value<T>], position: usize) -> Range<usize> {
    let start = match position.checked_sub(1) {
        Some(before) => values[before].key_end,
        None => 0,
    };
    start..values[position].key_end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_their_first_value_while_the_index_grows() {
        let mut index = KeyIndex::with_capacity(0);
        for number in 0..5000 {
            assert!(index.insert_new(&number.to_string(), || number).is_none());
        }
        assert_eq!(index.insert_new("17", || 0), Some(&mut 17));
        assert!(index.insert_new("", || 7).is_none());
        for number in 0..5000 {
            assert_eq!(index.get(&number.to_string()), Some(&number));
        }
        assert_eq!(index.get(""), Some(&7));
        assert_eq!(index.get("5000"), None);
        let keys = ["4999", "", "x", "0"].map(Cow::Borrowed);
        let values = [Some(&4999), Some(&7), None, Some(&0)];
        assert_eq!(index.get_all(&keys), values);
        assert_eq!(KeyIndex::<u8>::with_capacity(0).get_all(&keys), [None; 4]);
        assert_eq!(index.keys().count(), 5001);
        assert_eq!(index.keys().nth(12), Some("12"));
    }
}
