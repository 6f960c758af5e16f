//! Writes the cells of a sheet, row by row, into a private file: as CSV, each row with its number,
//! its first column and notes on its cells in front. Every reader of sheets hands its cells over in
//! order.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;

use csv::ByteRecord;

use super::row::{CellNote, MAX_COLUMNS, column_letters};
use super::text::{MAX_ROW, bomb};
use crate::error::{Error, Kind, Result};

/// The text of a cell as it goes into the report, and what is noted about it.
pub(super) type CellText = (String, Option<CellNote>);

/// The finished copy of a sheet.
pub(super) struct SheetCopy {
    pub(super) file: File,
    /// The first column that has a filled cell, and the number of columns up to the last that has
    /// one.
    pub(super) bounds: Option<(u32, u32)>,
}

/// Copies the cells of a sheet, row by row.
pub(super) struct Copier<'a> {
    name: &'a str,
    limit: u64,
    written: u64,
    out: csv::Writer<BufWriter<File>>,
    /// The current row, from 0.
    row: u32,
    cells: BTreeMap<u32, CellText>,
    bytes: u64,
    /// The first and the last column that has a filled cell.
    filled: Option<(u32, u32)>,
}

impl<'a> Copier<'a> {
    pub(super) fn new(name: &'a str, limit: u64) -> Result<Self> {
        let file = tempfile::tempfile().map_err(|error| cant_unpack(name, &error))?;
        let out = csv::WriterBuilder::new()
            .flexible(true)
            .from_writer(BufWriter::new(file));
        Ok(Self {
            name,
            limit: limit.max(1 << 20),
            written: 0,
            out,
            row: 0,
            cells: BTreeMap::new(),
            bytes: 0,
            filled: None,
        })
    }

    /// Adds a cell to the current row.
    pub(super) fn cell(&mut self, column: u64, value: CellText) -> Result<()> {
        let column = match u32::try_from(column) {
            Ok(column) if (column as usize) < MAX_COLUMNS => column,
            _ => {
                let message = format!("{} has more than {MAX_COLUMNS} columns", self.name);
                return Err(Error::new(Kind::Input, message)
                    .help("no table of users has that many: is this the right sheet?"));
            }
        };
        self.bytes += value.0.len() as u64 + 1;
        if self.bytes > MAX_ROW {
            let message = format!(
                "{}: row {} of the sheet is longer than {} MiB",
                self.name,
                self.number(),
                MAX_ROW >> 20
            );
            return Err(Error::new(Kind::Input, message)
                .help("no table of users has such rows: is this the right sheet?"));
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

    /// Writes the current row `times` times and goes on behind these rows.
    pub(super) fn end_row(&mut self, times: u32) -> Result<()> {
        let next = self.row.saturating_add(times);
        if self.cells.values().any(is_filled) {
            while self.row + 1 < next {
                self.put()?;
                self.row += 1;
            }
        }
        self.go_to(next, 0)
    }

    /// Writes the last row and returns the copy.
    pub(super) fn finish(mut self) -> Result<SheetCopy> {
        self.put()?;
        let buffered = self
            .out
            .into_inner()
            .map_err(|error| cant_unpack(self.name, &error.into_error()))?;
        let file = buffered
            .into_inner()
            .map_err(|error| cant_unpack(self.name, &error.into_error()))?;
        let bounds = self.filled.map(|(first, last)| (first, last - first + 1));
        Ok(SheetCopy { file, bounds })
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
        let mut filled = self.cells.iter().filter(|(_, cell)| is_filled(cell));
        let Some((first, _)) = filled.next() else {
            return Ok(());
        };
        let last = filled.next_back().map_or(first, |(last, _)| last);
        let (low, high) = self.filled.unwrap_or((*first, *last));
        self.filled = Some((low.min(*first), high.max(*last)));
        // Cells of white space are copied as well, so that the report has the same texts.
        let first = self.cells.keys().next().unwrap_or(first);
        let last = *self.cells.keys().next_back().unwrap_or(last);
        let mut record = ByteRecord::new();
        record.push_field(self.number().to_string().as_bytes());
        record.push_field(first.to_string().as_bytes());
        record.push_field(notes_text(&self.cells).as_bytes());
        for column in *first..=last {
            let text = self.cells.get(&column).map_or("", |(text, _)| text);
            record.push_field(text.as_bytes());
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

fn is_filled(cell: &CellText) -> bool {
    !cell.0.trim().is_empty()
}

fn cant_unpack(name: &str, error: &std::io::Error) -> Error {
    Error::new(
        Kind::Input,
        format!("can't unpack {name} into the temporary folder: {error}"),
    )
}

/// Returns the notes of a row: `2d` for a date in the third column of the sheet, `0n` for a long
/// number in the first.
fn notes_text(cells: &BTreeMap<u32, CellText>) -> String {
    let mut notes = Vec::new();
    for (column, (_, note)) in cells {
        if let Some(note) = note {
            notes.push(format!("{column}{}", note.letter()));
        }
    }
    notes.join(" ")
}

/// Parses one note, such as `2d`.
pub(super) fn parse_note(text: &str) -> Option<(u32, CellNote)> {
    let (column, letter) = text.split_at_checked(text.len().checked_sub(1)?)?;
    Some((column.parse().ok()?, CellNote::from_letter(letter)?))
}
