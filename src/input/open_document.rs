//! Reads the sheets of an `OpenDocument` spreadsheet as a stream of events. A cell or row that is
//! repeated a million times is one event with a number.

use std::collections::HashSet;
use std::fs::File;
use std::io::BufReader;

use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use zip::ZipArchive;
use zip::read::ZipFile;

use super::cell_text::{boolean_text, iso_text, number_text};
use super::formula::is_aggregate;
use super::row::CellNote;
use super::sheet_copy::{CellText, Copier, SheetCopy};
use super::sheet_list::{MAX_NAME, Sheet, damaged};
use super::sheet_marks::{CellRange, MAX_ROWS, SheetMarks};
use super::text::MAX_ROW;
use crate::error;

/// A reason why a spreadsheet can't be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum OdsError {
    #[error(transparent)]
    Zip(#[from] zip::result::ZipError),
    #[error(transparent)]
    Xml(#[from] quick_xml::Error),
    #[error(transparent)]
    Attribute(#[from] quick_xml::events::attributes::AttrError),
    #[error("it ends in the middle")]
    CutOff,
    #[error("{0:?} is no number")]
    Number(String),
    #[error("it has more than {SHEETS} sheets")]
    TooMany,
    #[error("a sheet or style has a name longer than {} bytes", MAX_NAME)]
    LongName,
    #[error("a cell has more than {} MiB of text", MAX_ROW >> 20)]
    LongText,
}

/// The next thing in a sheet.
#[derive(Debug, PartialEq)]
enum SheetEvent {
    /// A row begins.
    Row {
        /// Number of rows that are the same, including this one.
        times: u32,
        /// Whether the row is not shown.
        is_hidden: bool,
    },
    /// A cell of the row.
    Cell {
        /// Number of cells that are the same, including this one.
        times: u32,
        /// The number of rows and columns over which the cell is merged.
        span: (u32, u32),
        /// Its text; `None` for an empty cell.
        text: Option<CellText>,
    },
    /// The row ends.
    RowEnd,
}

/// Copies the cells of a sheet and returns the copy with what the sheet says about its rows and
/// cells.
pub(super) fn copy_sheet(
    archive: &mut ZipArchive<BufReader<File>>,
    sheet: &str,
    mut copier: Copier<'_>,
    book: &str,
) -> error::Result<(SheetCopy, SheetMarks)> {
    let failed = |error: OdsError| damaged(book, &error);
    let mut content = DocumentContent::open(archive).map_err(failed)?;
    content.find(sheet).map_err(failed)?;
    let mut marks = SheetMarks::default();
    let mut row = 0_u32;
    let mut rows = 1_u32;
    let mut column = 0_u64;
    while let Some(event) = content.next_in_sheet().map_err(failed)? {
        match event {
            SheetEvent::Row { times, is_hidden } => {
                (rows, column) = (times, 0);
                if is_hidden {
                    let end = row.saturating_add(times).min(MAX_ROWS);
                    marks.hidden_rows.insert_range(row.min(end)..end);
                }
            }
            SheetEvent::Cell { times, span, text } => {
                if let Some(range) = merged_range(row, column, span) {
                    marks.add_merged(range);
                }
                let next = column + u64::from(times);
                if let Some(text) = text {
                    for column in column..next {
                        copier.cell(column, text.clone())?;
                    }
                }
                column = next;
            }
            SheetEvent::RowEnd => {
                copier.end_row(rows)?;
                row = row.saturating_add(rows);
            }
        }
    }
    Ok((copier.finish()?, marks))
}

fn merged_range(row: u32, column: u64, span: (u32, u32)) -> Option<CellRange> {
    let (rows, columns) = span;
    if rows <= 1 && columns <= 1 {
        return None;
    }
    let column = u32::try_from(column).ok()?;
    Some(CellRange {
        first_row: row,
        last_row: row.saturating_add(rows.saturating_sub(1)),
        first_column: column,
        last_column: column.saturating_add(columns.saturating_sub(1)),
    })
}

/// The content of a spreadsheet, read as a stream.
pub(super) struct DocumentContent<'a> {
    xml: quick_xml::Reader<BufReader<ZipFile<'a, BufReader<File>>>>,
    buffer: Vec<u8>,
    /// Elements that are open.
    depth: usize,
}

/// The most sheets; their names are held in memory.
const SHEETS: usize = 10_000;

/// How deep a sheet is, below `document-content`, `body` and `spreadsheet`.
const SHEET: usize = 3;

impl<'a> DocumentContent<'a> {
    pub(super) fn open(archive: &'a mut ZipArchive<BufReader<File>>) -> Result<Self, OdsError> {
        let mut xml =
            quick_xml::Reader::from_reader(BufReader::new(archive.by_name("content.xml")?));
        xml.config_mut().expand_empty_elements = true;
        Ok(Self {
            xml,
            buffer: Vec::new(),
            depth: 0,
        })
    }

    fn next(&mut self) -> Result<Event<'static>, OdsError> {
        self.buffer.clear();
        let event = self.xml.read_event_into(&mut self.buffer)?.into_owned();
        match &event {
            Event::Start(_) => self.depth += 1,
            Event::End(_) => self.depth = self.depth.saturating_sub(1),
            Event::Eof => return Err(OdsError::CutOff),
            _ => {}
        }
        Ok(event)
    }

    /// Returns all sheets in their order.
    pub(super) fn sheets(mut self) -> Result<Vec<Sheet>, OdsError> {
        let mut sheets = Vec::new();
        let mut hidden = HashSet::new();
        let mut style = None;
        loop {
            match self.next()? {
                Event::Start(tag) if tag.name().as_ref() == "style:style" => {
                    style = name_attribute(&tag, "style:name")?;
                }
                Event::Start(tag)
                    if tag.name().as_ref() == "style:table-properties"
                        && attribute(&tag, "table:display")?.as_deref() == Some("false") =>
                {
                    hidden.extend(style.take());
                }
                Event::Start(tag) if self.is_sheet(&tag) => {
                    let look = name_attribute(&tag, "table:style-name")?;
                    sheets.push(Sheet {
                        name: name_attribute(&tag, "table:name")?.unwrap_or_default(),
                        is_visible: !look.is_some_and(|look| hidden.contains(&look)),
                    });
                }
                Event::End(_) if self.depth == 0 => return Ok(sheets),
                _ if sheets.len().max(hidden.len()) > SHEETS => return Err(OdsError::TooMany),
                _ => {}
            }
        }
    }

    fn is_sheet(&self, tag: &BytesStart<'_>) -> bool {
        self.depth == SHEET + 1 && tag.name().as_ref() == "table:table"
    }

    /// Goes to the sheet of this name.
    fn find(&mut self, name: &str) -> Result<(), OdsError> {
        loop {
            match self.next()? {
                Event::Start(tag)
                    if self.is_sheet(&tag)
                        && attribute(&tag, "table:name")?.as_deref() == Some(name) =>
                {
                    return Ok(());
                }
                _ => {}
            }
        }
    }

    /// Returns the next event of the sheet; `None` at its end.
    fn next_in_sheet(&mut self) -> Result<Option<SheetEvent>, OdsError> {
        loop {
            match self.next()? {
                Event::Start(tag) => match tag.name().as_ref() {
                    "table:table-row" => {
                        let visibility = attribute(&tag, "table:visibility")?;
                        return Ok(Some(SheetEvent::Row {
                            times: repeated(&tag, "table:number-rows-repeated")?,
                            is_hidden: matches!(visibility.as_deref(), Some("collapse" | "filter")),
                        }));
                    }
                    "table:table-cell" | "table:covered-table-cell" => {
                        return self.cell(&tag).map(Some);
                    }
                    _ => {}
                },
                Event::End(tag) if tag.name().as_ref() == "table:table-row" => {
                    return Ok(Some(SheetEvent::RowEnd));
                }
                Event::End(_) if self.depth == SHEET => return Ok(None),
                _ => {}
            }
        }
    }

    fn cell(&mut self, tag: &BytesStart<'_>) -> Result<SheetEvent, OdsError> {
        let value = CellValue::of(tag)?;
        let times = repeated(tag, "table:number-columns-repeated")?;
        let rows = repeated(tag, "table:number-rows-spanned")?;
        let columns = repeated(tag, "table:number-columns-spanned")?;
        let formula = attribute(tag, "table:formula")?;
        let paragraphs = self.text()?;
        let mut text = value.text(paragraphs)?;
        if let Some((_, note)) = &mut text
            && formula.is_some_and(|formula| is_aggregate(&formula))
        {
            *note = Some(CellNote::Aggregate);
        }
        Ok(SheetEvent::Cell {
            times,
            span: (rows, columns),
            text,
        })
    }

    /// Returns the text of the cell that has just begun: its own paragraphs, without those of notes
    /// and drawings in it.
    fn text(&mut self) -> Result<String, OdsError> {
        let mut text = String::new();
        let outside = self.depth - 1;
        let mut paragraphs = 0;
        let mut inside = false;
        loop {
            match self.next()? {
                Event::End(_) if self.depth == outside => return Ok(text),
                Event::End(_) if self.depth == outside + 1 => inside = false,
                Event::Start(tag) if self.depth == outside + 2 => {
                    inside = tag.name().as_ref() == "text:p";
                    paragraphs += usize::from(inside);
                    if inside && paragraphs > 1 {
                        text.push('\n');
                    }
                }
                Event::Start(tag) if inside => push_space(&mut text, &tag)?,
                Event::Text(piece) if inside => text.push_str(&piece.xml10_content()),
                Event::CData(piece) if inside => text.push_str(&piece.xml10_content()),
                Event::GeneralRef(reference) if inside => match reference.resolve_char_ref()? {
                    Some(c) => text.push(c),
                    None => text.extend(quick_xml::escape::resolve_predefined_entity(&reference)),
                },
                _ => {}
            }
            // A few bytes of XML can stand for a thousand spaces, so the size of the file is no
            // bound.
            if text.len() as u64 > MAX_ROW {
                return Err(OdsError::LongText);
            }
        }
    }
}

/// Adds the white space that an element stands for.
fn push_space(text: &mut String, tag: &BytesStart<'_>) -> Result<(), OdsError> {
    const MOST: u32 = 1024;
    match tag.name().as_ref() {
        "text:s" => {
            let count = repeated(tag, "text:c")?.min(MOST);
            text.extend(std::iter::repeat_n(' ', count as usize));
        }
        "text:tab" => text.push('\t'),
        "text:line-break" => text.push('\n'),
        _ => {}
    }
    Ok(())
}

/// Returns an attribute that is kept for as long as the sheets are listed.
fn name_attribute(tag: &BytesStart<'_>, name: &str) -> Result<Option<String>, OdsError> {
    let value = attribute(tag, name)?;
    if value.as_ref().is_some_and(|value| value.len() > MAX_NAME) {
        return Err(OdsError::LongName);
    }
    Ok(value)
}

fn attribute(tag: &BytesStart<'_>, name: &str) -> Result<Option<String>, OdsError> {
    let Some(attribute) = tag.try_get_attribute(name)? else {
        return Ok(None);
    };
    Ok(Some(
        attribute
            .normalized_value(XmlVersion::Implicit1_0)?
            .into_owned(),
    ))
}

fn repeated(tag: &BytesStart<'_>, name: &str) -> Result<u32, OdsError> {
    match attribute(tag, name)? {
        Some(times) => times.trim().parse().map_err(|_| OdsError::Number(times)),
        None => Ok(1),
    }
}

/// The value of a cell apart from its text (ODF 1.3, part 3, 19.385).
enum CellValue {
    Empty,
    Number(String),
    Boolean(String),
    Date(String),
    Text(Option<String>),
}

impl CellValue {
    fn of(tag: &BytesStart<'_>) -> Result<Self, OdsError> {
        let value = |name: &str| attribute(tag, name);
        // An error has its name as text, and an empty value.
        if value("calcext:value-type")?.as_deref() == Some("error") {
            return Ok(Self::Text(None));
        }
        Ok(match value("office:value-type")?.as_deref() {
            Some("float" | "percentage" | "currency") => {
                Self::Number(value("office:value")?.unwrap_or_default())
            }
            Some("boolean") => Self::Boolean(value("office:boolean-value")?.unwrap_or_default()),
            Some("date") => Self::Date(value("office:date-value")?.unwrap_or_default()),
            Some("time") => Self::Date(value("office:time-value")?.unwrap_or_default()),
            Some(_) => Self::Text(value("office:string-value")?),
            None => Self::Empty,
        })
    }

    fn text(self, paragraphs: String) -> Result<Option<CellText>, OdsError> {
        Ok(Some(match self {
            Self::Empty => return Ok(None),
            Self::Number(digits) => match digits.trim().parse() {
                Ok(number) => number_text(number),
                Err(_) => return Err(OdsError::Number(digits)),
            },
            Self::Boolean(value) => boolean_text(&value),
            Self::Date(date) => iso_text(&date),
            Self::Text(value) => (value.unwrap_or(paragraphs), None),
        }))
    }
}
