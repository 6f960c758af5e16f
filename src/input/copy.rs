//! Rows of cells, put one after the other into a private file: as CSV, each with the row's number and notes on its cells in
//! front. Whoever reads a workbook hands the cells over in order; where they come from is not known here.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;

use csv::ByteRecord;

use super::bytes::unreadable;
use super::text::{MAX_ROW, bomb};
use super::{MAX_COLUMNS, Note, column_letters};
use crate::error::{Error, Kind, Result};

/// The text of a cell as it goes into the report, and what else there is to know of it.
pub(super) type Value = (String, Option<Note>);

/// Copies the cells of a sheet, row by row.
pub(super) struct Copier<'a> {
    name: &'a str,
    limit: u64,
    written: u64,
    out: csv::Writer<BufWriter<File>>,
    /// The row that is being taken in, from 0.
    row: u32,
    cells: BTreeMap<u32, Value>,
    bytes: u64,
    /// The first column of the table and how many it has, as its first row has them.
    window: Option<(u32, u32)>,
}

impl<'a> Copier<'a> {
    pub(super) fn new(name: &'a str, limit: u64) -> Result<Self> {
        let file = tempfile::tempfile().map_err(|error| cant_unpack(name, &error))?;
        let out = csv::WriterBuilder::new()
            .flexible(true)
            .from_writer(BufWriter::new(file));
        let limit = limit.max(1 << 20);
        Ok(Self {
            name,
            limit,
            written: 0,
            out,
            row: 0,
            cells: BTreeMap::new(),
            bytes: 0,
            window: None,
        })
    }

    /// Takes a cell of the row that is being taken in.
    pub(super) fn cell(&mut self, column: u64, value: Value) -> Result<()> {
        let Some(column) = u32::try_from(column)
            .ok()
            .filter(|column| (*column as usize) < MAX_COLUMNS)
        else {
            return Err(Error::new(
                Kind::Input,
                format!("{} has more than {MAX_COLUMNS} columns", self.name),
            )
            .help("no table of users has so many: is it the right sheet?"));
        };
        self.bytes += value.0.len() as u64 + 1;
        if self.bytes > MAX_ROW {
            return Err(Error::new(
                Kind::Input,
                format!(
                    "{}: row {} of the sheet is longer than {} MiB",
                    self.name,
                    self.number(),
                    MAX_ROW >> 20
                ),
            )
            .help("no table of users has such rows: is it the right sheet?"));
        }
        match self.cells.insert(column, value) {
            None => Ok(()),
            Some(_) => Err(self.disorder(column)),
        }
    }

    fn number(&self) -> u64 {
        u64::from(self.row) + 1
    }

    /// Goes on to another row, which is further down.
    pub(super) fn go_to(&mut self, row: u32, column: u32) -> Result<()> {
        if row == self.row {
            return Ok(());
        }
        if row < self.row {
            return Err(self.disorder(column));
        }
        self.put()?;
        self.cells.clear();
        self.bytes = 0;
        self.row = row;
        Ok(())
    }

    /// Goes on behind `times` rows that are all like the one that was taken in.
    pub(super) fn end_row(&mut self, times: u32) -> Result<()> {
        let next = self.row.saturating_add(times);
        if self.cells.values().any(|(text, _)| !text.trim().is_empty()) {
            while self.row + 1 < next {
                self.put()?;
                self.row += 1;
            }
        }
        self.go_to(next, 0)
    }

    /// The file, and the first column of the table.
    pub(super) fn finish(mut self) -> Result<(File, u32)> {
        self.put()?;
        let file = self
            .out
            .into_inner()
            .map_err(csv::IntoInnerError::into_error)
            .and_then(|out| Ok(out.into_inner()?));
        let file = file.map_err(|error| unreadable(self.name, &error))?;
        Ok((file, self.window.map_or(0, |(first, _)| first)))
    }

    fn disorder(&self, column: u32) -> Error {
        let cell = format!("{}{}", column_letters(column as usize), self.number());
        Error::new(
            Kind::Input,
            format!(
                "{}:{cell}: the cells of the workbook are not in order",
                self.name
            ),
        )
        .help("open it in a spreadsheet program and save it again")
    }

    fn put(&mut self) -> Result<()> {
        let cells = &self.cells;
        let filled = || {
            cells
                .iter()
                .filter(|(_, (text, _))| !text.trim().is_empty())
                .map(|(column, _)| *column)
        };
        let (Some(first), Some(last)) = (filled().next(), filled().next_back()) else {
            return Ok(());
        };
        let (first, width) = *self.window.get_or_insert((first, last - first + 1));
        let inside = first..first + width;
        let mut record = ByteRecord::new();
        record.push_field(self.number().to_string().as_bytes());
        record.push_field(notes(cells, first).as_bytes());
        for column in inside.clone() {
            record.push_field(cells.get(&column).map_or("", |(text, _)| text).as_bytes());
        }
        // A cell outside of the table makes its row too long, and is reported as that.
        for column in filled().filter(|column| !inside.contains(column)) {
            record.push_field(cells[&column].0.as_bytes());
        }
        self.written += record.as_slice().len() as u64 + record.len() as u64;
        if self.written > self.limit {
            return Err(bomb(self.name, self.limit));
        }
        self.out
            .write_byte_record(&record)
            .map_err(|error| cant_unpack(self.name, &error.into()))
    }
}

fn cant_unpack(name: &str, error: &std::io::Error) -> Error {
    Error::new(
        Kind::Input,
        format!("can't unpack {name} into the temporary folder: {error}"),
    )
}

/// `2d` for a date in the third cell, `0n` for a long number in the first.
fn notes(cells: &BTreeMap<u32, Value>, first: u32) -> String {
    let mark = |(column, (_, note)): (&u32, &Value)| {
        let letter = match (*note)? {
            Note::Date => 'd',
            Note::LongNumber => 'n',
        };
        Some(format!("{}{letter}", column.checked_sub(first)?))
    };
    cells.iter().filter_map(mark).collect::<Vec<_>>().join(" ")
}

/// A mark of [`notes`].
pub(super) fn read_note(mark: &str) -> Option<(usize, Note)> {
    let (column, letter) = mark.split_at_checked(mark.len().checked_sub(1)?)?;
    let note = if letter == "d" {
        Note::Date
    } else {
        Note::LongNumber
    };
    Some((column.parse().ok()?, note))
}
