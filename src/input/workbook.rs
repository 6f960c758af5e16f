//! Workbooks: measured before they are unpacked, then read as a stream of cells into rows of text
//! in a private file, from which every pass is served.

use std::fs::File;
use std::io::{BufReader, Read, Seek};

use csv::ByteRecord;
use roaring::RoaringBitmap;
use zip::ZipArchive;

use super::bytes::{BlockHashes, Blocks, Bytes, unreadable};
use super::container::{Book, Container, ContainerSize, SAVE_AS, measure};
use super::excel::ExcelBook;
use super::open_document::{DocumentContent, OdsError, copy_sheet};
use super::options::Options;
use super::row::{Place, Row};
use super::sheet_copy::{Copier, parse_note};
use super::sheet_list::{Sheet, SheetFit, choose_sheet, damaged, find_sheet};
use super::sheet_marks::{SheetMarks, rows_in_words};
use super::text::inflated_limit;
use crate::domain::{self, TableFormat};
use crate::error::{Error, Kind, Result};

/// A workbook of which one sheet has been copied, row by row, into a private file.
pub(super) struct Workbook {
    sheet: CopiedSheet,
    window: Option<ColumnSpan>,
    /// Rows of the sheet, from 0, that are not read.
    left_out: RoaringBitmap,
    raw: Bytes,
    raw_hashes: BlockHashes,
    book: Book,
    /// Number of sheets in the workbook.
    sheets: usize,
}

/// The columns of a sheet over which the table extends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ColumnSpan {
    pub(super) first_column: u32,
    pub(super) width: usize,
}

/// A sheet whose rows have been copied.
pub(super) struct CopiedSheet {
    name: String,
    rows: Bytes,
    hashes: BlockHashes,
    /// The columns in which cells are filled.
    bounds: Option<(u32, u32)>,
    marks: SheetMarks,
}

impl CopiedSheet {
    /// Returns the rows as they stand in the sheet, each from its first filled cell to its last.
    pub(super) fn rows(&self) -> SheetRows {
        let reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .buffer_capacity(1 << 16)
            .from_reader(self.rows.verified(&self.hashes));
        SheetRows {
            reader,
            name: self.rows.name.clone(),
            record: ByteRecord::new(),
            place: Place::Sheet {
                row: 1,
                first_column: 0,
            },
            window: None,
            left_out: RoaringBitmap::new(),
        }
    }

    /// Returns the columns in which cells are filled.
    pub(super) fn bounds(&self) -> Option<ColumnSpan> {
        let (first_column, width) = self.bounds?;
        Some(ColumnSpan {
            first_column,
            width: width as usize,
        })
    }
}

/// An opened workbook of either kind.
enum OpenBook {
    Excel(Box<ExcelBook>),
    OpenDocument(ZipArchive<BufReader<File>>),
}

impl Workbook {
    /// Opens a workbook and copies the sheet that is read. `assess` tells how well a sheet fits; it
    /// is asked if the user has not chosen a sheet and several are visible.
    pub(super) fn open(
        bytes: &Bytes,
        container: Container,
        options: &Options,
        assess: impl Fn(&CopiedSheet) -> Result<SheetFit>,
    ) -> Result<Self> {
        let name = &bytes.name;
        let limit = inflated_limit(bytes.size, options.max_input);
        // The copy has exactly the bytes that were hashed, even if the file changes now.
        let raw = bytes.private_copy()?;
        let raw_hashes = raw
            .hashed()
            .into_hashes()
            .map_err(|error| unreadable(name, &error))?;
        let mut file = raw.handle()?;
        if container == Container::Compound {
            return Err(compound(file, name));
        }
        let measured = measure(&mut file, name, limit, options.max_input)?;
        let mut book = OpenBook::open(file, measured.book, name)?;
        let sheets = book.sheets(name)?;
        let mut copy =
            |index: usize| book.copy(&sheets[index], Copier::new(name, limit)?, name, &measured);
        let sheet = match &options.sheet {
            Some(wanted) => copy(find_sheet(&sheets, wanted, name)?)?,
            None => copy_best(&sheets, name, &mut copy, assess)?,
        };
        Ok(Self {
            sheet,
            window: None,
            left_out: RoaringBitmap::new(),
            raw,
            raw_hashes,
            book: measured.book,
            sheets: sheets.len(),
        })
    }

    pub(super) fn raw(&self) -> (&Bytes, &BlockHashes) {
        (&self.raw, &self.raw_hashes)
    }

    pub(super) fn read_from(&mut self, copy: Bytes) {
        self.raw = copy;
    }

    pub(super) fn sheet(&self) -> &CopiedSheet {
        &self.sheet
    }

    /// Returns the name of the sheet if it is one of several.
    pub(super) fn sheet_of_several(&self) -> Option<&str> {
        if self.sheets > 1 {
            Some(&self.sheet.name)
        } else {
            None
        }
    }

    pub(super) fn format(&self) -> TableFormat {
        let workbook = match self.book {
            Book::Excel => domain::WorkbookKind::Excel,
            Book::OpenDocument => domain::WorkbookKind::OpenDocument,
        };
        TableFormat::Sheet {
            workbook,
            sheet: self.sheet.name.clone(),
            sheets: self.sheets,
        }
    }

    /// Limits the table to these columns of the sheet. Rows of totals are left out, and on demand
    /// hidden rows. `header_row` is the number of the header's row, from 1, and `id_column` the
    /// column of the IDs in the sheet.
    pub(super) fn set_table(
        &mut self,
        window: ColumnSpan,
        header_row: u32,
        id_column: u32,
        visible_only: bool,
    ) {
        self.window = Some(window);
        let marks = &mut self.sheet.marks;
        marks.hidden_rows.remove_range(..header_row);
        if visible_only {
            self.left_out |= &marks.hidden_rows;
        }
        marks.totals.retain(|range| range.has_column(id_column));
        for range in &marks.totals {
            let rows = header_row.max(range.first_row)..=range.last_row;
            self.left_out.insert_range(rows);
        }
    }

    /// Returns the hidden rows of the table that are left out.
    pub(super) fn hidden_left_out(&self) -> u64 {
        self.left_out
            .intersection_len(&self.sheet.marks.hidden_rows)
    }

    /// Returns the merged area to which a cell belongs that is not its first one.
    pub(super) fn merged_area(&self, place: Place, cell: usize) -> Option<String> {
        let Place::Sheet { row, first_column } = place else {
            return None;
        };
        let row = row.checked_sub(1)?;
        let column = first_column.checked_add(u32::try_from(cell).ok()?)?;
        let mut merged = self.sheet.marks.merged.iter();
        let area = merged.find(|area| area.contains(row, column))?;
        if (area.first_row, area.first_column) == (row, column) {
            return None;
        }
        Some(area.to_string())
    }

    pub(super) fn notes(&self) -> Vec<String> {
        let marks = &self.sheet.marks;
        let mut notes = Vec::new();
        if !marks.hidden_rows.is_empty() {
            let rows = rows_in_words(&marks.hidden_rows);
            if self.hidden_left_out() > 0 {
                notes.push(format!("hidden in the workbook and left out: {rows}"));
            } else {
                notes.push(format!(
                    "hidden in the workbook and read like all others: {rows}; --visible-only \
                     leaves them out"
                ));
            }
        }
        let mut totals = RoaringBitmap::new();
        for range in &marks.totals {
            totals.insert_range(range.first_row..=range.last_row);
        }
        if !totals.is_empty() {
            let rows = rows_in_words(&totals);
            notes.push(format!("left out as the totals of the table: {rows}"));
        }
        if marks.has_missing_results {
            notes.push(
                "the workbook has formulas without their results, which are read as empty; open it \
                 in a spreadsheet program and save it"
                    .to_owned(),
            );
        }
        notes
    }

    /// Returns the rows of the table.
    pub(super) fn rows(&self) -> SheetRows {
        SheetRows {
            window: self.window,
            left_out: self.left_out.clone(),
            ..self.sheet.rows()
        }
    }
}

impl OpenBook {
    fn open(mut file: File, kind: Book, name: &str) -> Result<Self> {
        match kind {
            Book::Excel => Ok(Self::Excel(Box::new(ExcelBook::open(file, name)?))),
            Book::OpenDocument => {
                file.rewind().map_err(|error| unreadable(name, &error))?;
                let archive = ZipArchive::new(BufReader::new(file))
                    .map_err(|error| damaged(name, &OdsError::from(error)))?;
                Ok(Self::OpenDocument(archive))
            }
        }
    }

    fn sheets(&mut self, name: &str) -> Result<Vec<Sheet>> {
        let sheets = match self {
            Self::Excel(book) => book.sheets()?,
            Self::OpenDocument(archive) => DocumentContent::open(archive)
                .and_then(DocumentContent::sheets)
                .map_err(|error| damaged(name, &error))?,
        };
        if sheets.is_empty() {
            let message = format!("{name} has no worksheet");
            return Err(Error::new(Kind::Input, message).help(SAVE_AS));
        }
        Ok(sheets)
    }

    fn copy(
        &mut self,
        sheet: &Sheet,
        copier: Copier<'_>,
        name: &str,
        measured: &ContainerSize,
    ) -> Result<CopiedSheet> {
        let mut marks;
        let copy = match self {
            Self::Excel(book) => {
                let path = book.path_of(&sheet.name).unwrap_or_default();
                marks = measured.sheets.get(&path).cloned().unwrap_or_default();
                marks.totals = book.totals_rows(&path);
                book.copy(&sheet.name, copier)?
            }
            Self::OpenDocument(archive) => {
                let (copy, found) = copy_sheet(archive, &sheet.name, copier, name)?;
                marks = found;
                marks.has_missing_results = measured
                    .sheets
                    .values()
                    .any(|marks| marks.has_missing_results);
                copy
            }
        };
        let rows = Bytes::of_file(copy.file, name.to_owned(), true)?;
        let hashes = rows
            .hashed()
            .into_hashes()
            .map_err(|error| unreadable(name, &error))?;
        Ok(CopiedSheet {
            name: sheet.name.clone(),
            rows,
            hashes,
            bounds: copy.bounds,
            marks,
        })
    }
}

/// Copies the visible sheets one after the other and returns the one that fits.
fn copy_best(
    sheets: &[Sheet],
    name: &str,
    mut copy: impl FnMut(usize) -> Result<CopiedSheet>,
    assess: impl Fn(&CopiedSheet) -> Result<SheetFit>,
) -> Result<CopiedSheet> {
    let mut visible: Vec<usize> = Vec::new();
    for (index, sheet) in sheets.iter().enumerate() {
        if sheet.is_visible {
            visible.push(index);
        }
    }
    if visible.len() < 2 {
        return copy(visible.first().copied().unwrap_or(0));
    }
    let mut fits = Vec::new();
    let mut best: Option<(SheetFit, CopiedSheet)> = None;
    for index in &visible {
        let copied = copy(*index)?;
        let fit = assess(&copied)?;
        fits.push(fit);
        if best.as_ref().is_none_or(|(best, _)| fit > *best) {
            best = Some((fit, copied));
        }
    }
    let listed: Vec<Sheet> = visible.iter().map(|index| sheets[*index].clone()).collect();
    let chosen = choose_sheet(&listed, &fits, name)?;
    match best {
        Some((_, copied)) if copied.name == listed[chosen].name => Ok(copied),
        _ => copy(visible[chosen]),
    }
}

/// Returns the error for a compound file, which is never a workbook that is read: calamine would
/// reserve as much memory for an old `.xls` as the file asks for, and panics on a damaged one.
fn compound(file: File, name: &str) -> Error {
    if is_encrypted(file) {
        return Error::new(Kind::Input, format!("{name} is protected by a password"))
            .help("open it, remove the password (File, Info, Protect Workbook) and save it again");
    }
    Error::new(
        Kind::Input,
        format!("{name} is in the old Excel format (.xls), which is not read"),
    )
    .help(SAVE_AS)
}

/// Checks whether the directory of a compound file names the encrypted workbook. The directory can
/// be anywhere in the file.
fn is_encrypted(mut file: File) -> bool {
    let name: Vec<u8> = "EncryptedPackage"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let mut seen = Vec::new();
    let mut piece = [0; 1 << 14];
    if file.rewind().is_err() {
        return false;
    }
    while let Ok(read @ 1..) = file.read(&mut piece) {
        seen.drain(..seen.len().saturating_sub(name.len()));
        seen.extend_from_slice(&piece[..read]);
        if memchr::memmem::find(&seen, &name).is_some() {
            return true;
        }
    }
    false
}

/// One pass over the rows of a sheet.
pub(super) struct SheetRows {
    reader: csv::Reader<Blocks>,
    name: String,
    record: ByteRecord,
    place: Place,
    window: Option<ColumnSpan>,
    left_out: RoaringBitmap,
}

impl SheetRows {
    /// Reads the next row; returns `false` after the last.
    pub(super) fn read(&mut self, row: &mut Row) -> Result<bool> {
        loop {
            let more = self.reader.read_byte_record(&mut self.record);
            let more = more.map_err(|error| {
                let message = format!("can't read {} again: {error}", self.name);
                Error::new(Kind::MidRun, message)
            })?;
            if !more {
                return Ok(false);
            }
            let number: u32 = self.prefix(0).parse().unwrap_or(1);
            if !self.left_out.contains(number.saturating_sub(1)) {
                self.fill(row, number);
                return Ok(true);
            }
        }
    }

    /// Returns one of the texts that stand in front of the cells.
    fn prefix(&self, index: usize) -> &str {
        let text = self.record.get(index).unwrap_or_default();
        std::str::from_utf8(text).unwrap_or_default()
    }

    fn fill(&mut self, row: &mut Row, number: u32) {
        const PREFIXES: usize = 3;
        let first: u32 = self.prefix(1).parse().unwrap_or(0);
        let filled = self.record.len().saturating_sub(PREFIXES);
        let window = self.window.unwrap_or(ColumnSpan {
            first_column: first,
            width: filled,
        });
        let start = i64::from(window.first_column) - i64::from(first);
        row.cells.clear();
        row.stray_column = None;
        for column in 0..window.width {
            let index = start + i64::try_from(column).unwrap_or(i64::MAX);
            let cell = usize::try_from(index)
                .ok()
                .and_then(|index| self.record.get(index + PREFIXES));
            row.cells.push_field(cell.unwrap_or_default());
        }
        // A cell outside of the table makes its row too long, and is reported as that.
        for (column, cell) in (i64::from(first)..).zip(self.record.iter().skip(PREFIXES)) {
            let inside = column - i64::from(window.first_column);
            let is_inside = usize::try_from(inside).is_ok_and(|inside| inside < window.width);
            if !is_inside && !cell.trim_ascii().is_empty() {
                row.cells.push_field(cell);
                let column = u32::try_from(column).unwrap_or(0);
                row.stray_column.get_or_insert(column);
            }
        }
        row.notes.clear();
        for (column, note) in self.prefix(2).split(' ').filter_map(parse_note) {
            if let Some(cell) = column.checked_sub(window.first_column)
                && (cell as usize) < window.width
            {
                row.notes.push((cell as usize, note));
            }
        }
        self.place = Place::Sheet {
            row: number,
            first_column: window.first_column,
        };
    }

    /// Returns where the row stands that was read last.
    pub(super) fn place(&self) -> Place {
        self.place
    }
}
