//! The cells of an `OpenDocument` spreadsheet, read one after the other as they stand in it: what it says is repeated a
//! million times is a number here, not a million cells. What becomes of the cells is not known here.

use std::collections::HashSet;
use std::fs::File;
use std::io::BufReader;

use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use zip::ZipArchive;
use zip::read::ZipFile;

use super::copy::Value;
use super::sheet::{MAX_NAME, Sheet, iso_text, number_text};
use super::text::MAX_ROW;

/// What makes a file one that can't be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
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

/// What comes next in a sheet.
#[derive(Debug, PartialEq)]
pub(super) enum Piece {
    /// A row begins, and so many rows are the same.
    Row(u32),
    /// A cell, and so many cells are the same; without a value they are empty.
    Cell {
        times: u32,
        value: Option<Value>,
    },
    RowEnds,
}

/// The content of a spreadsheet, read as a stream.
pub(super) struct Content<'a> {
    xml: quick_xml::Reader<BufReader<ZipFile<'a, BufReader<File>>>>,
    buffer: Vec<u8>,
    /// Elements that are open.
    depth: usize,
}

/// The most sheets; their names are held in memory.
const SHEETS: usize = 10_000;

/// How deep a sheet is, below `document-content`, `body` and `spreadsheet`.
const SHEET: usize = 3;

impl<'a> Content<'a> {
    pub(super) fn open(archive: &'a mut ZipArchive<BufReader<File>>) -> Result<Self, Broken> {
        let mut xml =
            quick_xml::Reader::from_reader(BufReader::new(archive.by_name("content.xml")?));
        xml.config_mut().expand_empty_elements = true;
        Ok(Self {
            xml,
            buffer: Vec::new(),
            depth: 0,
        })
    }

    fn next(&mut self) -> Result<Event<'static>, Broken> {
        self.buffer.clear();
        let event = self.xml.read_event_into(&mut self.buffer)?.into_owned();
        match &event {
            Event::Start(_) => self.depth += 1,
            Event::End(_) => self.depth = self.depth.saturating_sub(1),
            Event::Eof => return Err(Broken::CutOff),
            _ => {}
        }
        Ok(event)
    }

    /// All sheets, in their order.
    pub(super) fn sheets(mut self) -> Result<Vec<Sheet>, Broken> {
        let (mut sheets, mut hidden, mut style) = (Vec::new(), HashSet::new(), None);
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
                        shown: !look.is_some_and(|look| hidden.contains(&look)),
                    });
                }
                Event::End(_) if self.depth == 0 => return Ok(sheets),
                _ if sheets.len().max(hidden.len()) > SHEETS => return Err(Broken::TooMany),
                _ => {}
            }
        }
    }

    fn is_sheet(&self, tag: &BytesStart<'_>) -> bool {
        self.depth == SHEET + 1 && tag.name().as_ref() == "table:table"
    }

    /// Goes to the sheet of this name.
    pub(super) fn find(&mut self, name: &str) -> Result<(), Broken> {
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

    /// The next piece of the sheet; `None` at its end.
    pub(super) fn piece(&mut self) -> Result<Option<Piece>, Broken> {
        loop {
            match self.next()? {
                Event::Start(tag) => match tag.name().as_ref() {
                    "table:table-row" => {
                        return Ok(Some(Piece::Row(repeated(
                            &tag,
                            "table:number-rows-repeated",
                        )?)));
                    }
                    "table:table-cell" | "table:covered-table-cell" => {
                        return self.cell(&tag).map(Some);
                    }
                    _ => {}
                },
                Event::End(tag) if tag.name().as_ref() == "table:table-row" => {
                    return Ok(Some(Piece::RowEnds));
                }
                Event::End(_) if self.depth == SHEET => return Ok(None),
                _ => {}
            }
        }
    }

    fn cell(&mut self, tag: &BytesStart<'_>) -> Result<Piece, Broken> {
        let said = Said::of(tag)?;
        let times = repeated(tag, "table:number-columns-repeated")?;
        let text = self.text()?;
        Ok(Piece::Cell {
            times,
            value: said.value(text)?,
        })
    }

    /// The text of the cell that has just begun: its own paragraphs, without those of notes and drawings in it.
    fn text(&mut self) -> Result<String, Broken> {
        let (mut text, outside) = (String::new(), self.depth - 1);
        let (mut paragraphs, mut inside) = (0, false);
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
            // A few bytes of XML can stand for a thousand spaces, so the size of the file is no bound.
            if text.len() as u64 > MAX_ROW {
                return Err(Broken::LongText);
            }
        }
    }
}

/// Adds the white space that an element stands for.
fn push_space(text: &mut String, tag: &BytesStart<'_>) -> Result<(), Broken> {
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
fn name_attribute(tag: &BytesStart<'_>, name: &str) -> Result<Option<String>, Broken> {
    let value = attribute(tag, name)?;
    if value.as_ref().is_some_and(|value| value.len() > MAX_NAME) {
        return Err(Broken::LongName);
    }
    Ok(value)
}

fn attribute(tag: &BytesStart<'_>, name: &str) -> Result<Option<String>, Broken> {
    let Some(attribute) = tag.try_get_attribute(name)? else {
        return Ok(None);
    };
    Ok(Some(
        attribute
            .normalized_value(XmlVersion::Implicit1_0)?
            .into_owned(),
    ))
}

fn repeated(tag: &BytesStart<'_>, name: &str) -> Result<u32, Broken> {
    match attribute(tag, name)? {
        Some(times) => times.trim().parse().map_err(|_| Broken::Number(times)),
        None => Ok(1),
    }
}

/// What a cell says of its value, apart from its text (ODF 1.3, part 3, 19.385).
enum Said {
    Empty,
    Number(String),
    Bool(bool),
    Date(String),
    Text(Option<String>),
}

impl Said {
    fn of(tag: &BytesStart<'_>) -> Result<Self, Broken> {
        let value = |name: &str| attribute(tag, name);
        // An error has its name as text, and an empty value.
        if value("calcext:value-type")?.as_deref() == Some("error") {
            return Ok(Self::Text(None));
        }
        Ok(match value("office:value-type")?.as_deref() {
            Some("float" | "percentage" | "currency") => {
                Self::Number(value("office:value")?.unwrap_or_default())
            }
            Some("boolean") => {
                Self::Bool(value("office:boolean-value")?.as_deref() == Some("true"))
            }
            Some("date") => Self::Date(value("office:date-value")?.unwrap_or_default()),
            Some("time") => Self::Date(value("office:time-value")?.unwrap_or_default()),
            Some(_) => Self::Text(value("office:string-value")?),
            None => Self::Empty,
        })
    }

    fn value(self, text: String) -> Result<Option<Value>, Broken> {
        Ok(Some(match self {
            Self::Empty => return Ok(None),
            Self::Number(digits) => {
                number_text(digits.trim().parse().map_err(|_| Broken::Number(digits))?)
            }
            Self::Bool(yes) => (if yes { "TRUE" } else { "FALSE" }.to_owned(), None),
            Self::Date(date) => iso_text(&date),
            Self::Text(value) => (value.unwrap_or(text), None),
        }))
    }
}
