//! The order in which rows are handed out: that of the input, with the rows that earlier runs have
//! deferred at the end.

use std::slice;

use roaring::RoaringTreemap;

use super::{Changes, Plan, Step};
use crate::error::Result;

/// The passes over the input in which a run hands out its rows.
#[derive(Clone, Debug)]
pub struct SendOrder {
    /// Of each pass, the rows that it leaves out.
    passes: Vec<RoaringTreemap>,
}

impl SendOrder {
    /// Returns the order for an input of `rows` rows. Rows `on_record` are left out; each
    /// group of `deferred` rows comes after all others and after the groups before it.
    #[must_use]
    pub fn new<'a>(
        rows: u64,
        on_record: &RoaringTreemap,
        deferred: impl IntoIterator<Item = &'a RoaringTreemap>,
    ) -> Self {
        let mut left_out_first = on_record.clone();
        let mut later = Vec::new();
        for group in deferred {
            let group = group - on_record;
            if group.is_empty() {
                continue;
            }
            left_out_first |= &group;
            let mut others = RoaringTreemap::new();
            others.insert_range(1..=rows);
            others -= group;
            later.push(others);
        }
        let mut passes = vec![left_out_first];
        passes.append(&mut later);
        Self { passes }
    }
}

/// The steps of all rows in the order of a [`SendOrder`].
pub struct OrderedChanges<'a> {
    plan: &'a Plan,
    /// The passes to come, by the rows that they leave out.
    passes: slice::Iter<'a, RoaringTreemap>,
    current: Option<Changes<'a>>,
}

impl Plan {
    /// Returns one step for each row in this order.
    ///
    /// # Errors
    ///
    /// Where the input can't be read any more, or was changed.
    pub fn changes_in<'a>(&'a self, order: &'a SendOrder) -> Result<OrderedChanges<'a>> {
        let mut passes = order.passes.iter();
        let current = match passes.next() {
            Some(left_out) => Some(self.changes(left_out)?),
            None => None,
        };
        Ok(OrderedChanges {
            plan: self,
            passes,
            current,
        })
    }
}

impl Iterator for OrderedChanges<'_> {
    type Item = Result<Step>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(step) = self.current.as_mut()?.next() {
                return Some(step);
            }
            let left_out = self.passes.next()?;
            match self.plan.changes(left_out) {
                Ok(changes) => self.current = Some(changes),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of each pass over ten rows.
    fn passes(on_record: &[u64], deferred: &[&[u64]]) -> Vec<Vec<u64>> {
        let on_record = RoaringTreemap::from_iter(on_record);
        let groups: Vec<_> = deferred
            .iter()
            .map(|rows| RoaringTreemap::from_iter(*rows))
            .collect();
        let order = SendOrder::new(10, &on_record, &groups);
        let rows_of =
            |left_out: &RoaringTreemap| (1..=10).filter(|row| !left_out.contains(*row)).collect();
        order.passes.iter().map(rows_of).collect()
    }

    #[test]
    fn without_deferred_rows_there_is_one_pass() {
        assert_eq!(passes(&[], &[]), [(1..=10).collect::<Vec<u64>>()]);
        assert_eq!(passes(&[1, 2, 3], &[]), [(4..=10).collect::<Vec<u64>>()]);
        assert_eq!(
            passes(&[1, 2], &[&[1, 2]]),
            [(3..=10).collect::<Vec<u64>>()]
        );
    }

    #[test]
    fn deferred_rows_come_last_and_the_most_recently_deferred_at_the_very_end() {
        let expected: [&[u64]; 3] = [&[9, 10], &[1, 3, 4], &[5, 6, 7, 8]];
        assert_eq!(passes(&[2], &[&[1, 2, 3, 4], &[5, 6, 7, 8]]), expected);
    }
}
