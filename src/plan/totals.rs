//! Recognises a row of totals at the end of a table: its ID is the sum or the number of the IDs
//! above it. Everything here is pure.

use crate::domain::UserId;
use crate::input::Row;

/// Words that mark a row of totals in the languages in which spreadsheet programs are used most.
const TOTAL_WORDS: [&str; 50] = [
    "total",
    "totals",
    "totale",
    "totales",
    "totali",
    "totaal",
    "totalt",
    "totaux",
    "totalsumme",
    "subtotal",
    "subtotale",
    "subtotaal",
    "sum",
    "sums",
    "suma",
    "summa",
    "summe",
    "somma",
    "somme",
    "soma",
    "som",
    "zwischensumme",
    "gesamt",
    "gesamtsumme",
    "gesamtzahl",
    "insgesamt",
    "count",
    "anzahl",
    "conteo",
    "recuento",
    "conteggio",
    "contagem",
    "compte",
    "aantal",
    "antal",
    "antall",
    "yhteensä",
    "ialt",
    "razem",
    "celkem",
    "součet",
    "összesen",
    "toplam",
    "итого",
    "всего",
    "сумма",
    "合计",
    "合計",
    "总计",
    "총계",
];

/// Number of different IDs that must stand above a row whose ID is their sum, if no cell says that
/// it is a total.
const MIN_DISTINCT_IDS: u64 = 3;

/// What is known about the IDs that have been read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TotalCheck {
    sum: u128,
    count: u64,
    /// Position of the last row with an ID, if it looks like a row of totals.
    suspect: Option<u64>,
}

impl TotalCheck {
    /// Takes the next row with an ID into account. `distinct` is the number of different IDs above
    /// it; `is_flag_set` tells whether the flag is the same for all rows, so that the row has no
    /// flag of its own.
    pub(super) fn take(
        &mut self,
        user: UserId,
        row: &CheckedRow<'_>,
        distinct: u64,
        is_flag_set: bool,
    ) {
        let id = user.get();
        let is_sum = u128::from(id) == self.sum;
        let is_count = id == self.count;
        self.suspect = None;
        if is_sum || is_count {
            let is_sum_of_several = is_sum && is_flag_set && distinct >= MIN_DISTINCT_IDS;
            if is_sum_of_several || row.says_total() {
                self.suspect = Some(row.position);
            }
        }
        self.sum += u128::from(id);
        self.count += 1;
    }

    /// Returns the position of the row of totals, if the last row with an ID is one.
    pub(super) fn total_row(&self) -> Option<u64> {
        self.suspect
    }
}

/// A row that may be a row of totals.
pub(super) struct CheckedRow<'a> {
    /// The row's position among the rows of the table, from 1.
    pub(super) position: u64,
    /// The row.
    pub(super) row: &'a Row,
    /// The column of the IDs.
    pub(super) id_column: usize,
}

impl CheckedRow<'_> {
    /// Returns whether a cell besides the ID says that the row is a total.
    fn says_total(&self) -> bool {
        let others = self.row.cells.iter().enumerate();
        others
            .filter(|(column, _)| *column != self.id_column)
            .any(|(_, cell)| says_total(cell))
    }
}

fn says_total(cell: &[u8]) -> bool {
    let text = String::from_utf8_lossy(cell).to_lowercase();
    text.split(|c: char| !c.is_alphanumeric())
        .any(|word| TOTAL_WORDS.contains(&word))
}

#[cfg(test)]
mod tests {
    use csv::ByteRecord;
    use proptest::prelude::*;

    use super::*;

    /// Checks rows of an ID and a name.
    fn total_row(rows: &[(u64, &str)], is_flag_set: bool) -> Option<u64> {
        let mut check = TotalCheck::default();
        let mut seen = std::collections::BTreeSet::new();
        for (position, (id, name)) in (1..).zip(rows) {
            let row = Row {
                cells: ByteRecord::from_iter([&id.to_string(), *name]),
                ..Row::default()
            };
            let row = CheckedRow {
                position,
                row: &row,
                id_column: 0,
            };
            check.take(
                UserId::new(*id).unwrap(),
                &row,
                seen.len() as u64,
                is_flag_set,
            );
            seen.insert(*id);
        }
        check.total_row()
    }

    #[test]
    fn a_last_row_that_says_total_is_one_if_its_id_is_the_sum_or_the_number() {
        for word in [
            "Total",
            "Grand total:",
            "SUMME",
            "Итого",
            "合計",
            "Sum of IDs",
        ] {
            assert_eq!(
                total_row(&[(5, "Jo"), (7, "Al"), (12, word)], false),
                Some(3)
            );
            assert_eq!(
                total_row(&[(5, "Jo"), (7, "Al"), (2, word)], false),
                Some(3)
            );
            assert_eq!(total_row(&[(5, "Jo"), (7, "Al"), (13, word)], false), None);
        }
        assert_eq!(
            total_row(&[(5, "Jo"), (7, "Al"), (12, "Totaleigh")], false),
            None
        );
    }

    #[test]
    fn without_a_word_the_sum_of_three_different_ids_counts_only_if_the_flag_is_set() {
        let rows = [(5, "a"), (7, "b"), (9, "c"), (21, "d")];
        assert_eq!(total_row(&rows, true), Some(4));
        assert_eq!(total_row(&rows, false), None);
        assert_eq!(
            total_row(&[(5, ""), (5, ""), (5, ""), (15, "")], true),
            None
        );
        assert_eq!(total_row(&[(5, ""), (7, ""), (12, "")], true), None);
        assert_eq!(total_row(&[(1732, ""), (1732, "")], true), None);
        assert_eq!(total_row(&[(5, ""), (7, ""), (9, ""), (3, "")], true), None);
    }

    #[test]
    fn only_the_last_row_is_a_total() {
        let rows = [(5, "a"), (7, "b"), (12, "Total"), (9, "d")];
        assert_eq!(total_row(&rows, true), None);
    }

    proptest! {
        #[test]
        fn the_sum_of_any_ids_is_found_and_nothing_else(
            ids in prop::collection::btree_set(1_u64..1_000_000, 3..40),
            other in 1_u64..50_000_000,
        ) {
            let sum: u64 = ids.iter().sum();
            let mut rows: Vec<(u64, &str)> = ids.iter().map(|id| (*id, "")).collect();
            rows.push((sum, ""));
            prop_assert_eq!(total_row(&rows, true), Some(rows.len() as u64));
            rows.pop();
            rows.push((other, ""));
            prop_assert_eq!(total_row(&rows, true).is_some(), other == sum);
        }
    }
}
