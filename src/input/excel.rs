//! Reads the sheets of an Excel workbook: their names, the parts that belong to them, and their
//! cells as a stream.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Seek};

use calamine::{Reader, SheetType, SheetVisible, Xlsx, XlsxError, XlsxFormulaMetadata};
use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use roaring::RoaringTreemap;
use zip::ZipArchive;

use super::cell_text::excel_text;
use super::container::entry_path;
use super::formula::is_aggregate;
use super::row::CellNote;
use super::sheet_copy::{Copier, SheetCopy};
use super::sheet_list::{MAX_NAME, Sheet, damaged};
use super::sheet_marks::CellRange;
use crate::error::Result;

/// The parts of a workbook that name its sheets and their tables.
const WORKBOOK: &str = "xl/workbook.xml";

/// An opened Excel workbook.
pub(super) struct ExcelBook {
    book: Xlsx<BufReader<File>>,
    parts: ZipArchive<BufReader<File>>,
    name: String,
}

impl ExcelBook {
    pub(super) fn open(mut file: File, name: &str) -> Result<Self> {
        let failed = |error: std::io::Error| damaged(name, &error);
        file.rewind().map_err(failed)?;
        // Both readers move the one position of the file, but never at the same time.
        let second = file.try_clone().map_err(failed)?;
        let parts =
            ZipArchive::new(BufReader::new(second)).map_err(|error| damaged(name, &error))?;
        let book = Xlsx::new(BufReader::new(file)).map_err(|error| damaged(name, &error))?;
        Ok(Self {
            book,
            parts,
            name: name.to_owned(),
        })
    }

    /// Returns the worksheets in their order.
    pub(super) fn sheets(&self) -> Result<Vec<Sheet>> {
        let mut sheets = Vec::new();
        for sheet in self.book.sheets_metadata() {
            if sheet.typ != SheetType::WorkSheet {
                continue;
            }
            if sheet.name.len() > MAX_NAME {
                let message = format!("a sheet has a name longer than {MAX_NAME} bytes");
                return Err(damaged(&self.name, &message));
            }
            sheets.push(Sheet {
                name: sheet.name.clone(),
                is_visible: sheet.visible == SheetVisible::Visible,
            });
        }
        Ok(sheets)
    }

    /// Returns the path of a sheet's part, as paths are compared; `None` if the workbook does not
    /// name it.
    pub(super) fn path_of(&mut self, sheet: &str) -> Option<String> {
        let mut id = None;
        self.read_tags(WORKBOOK, "sheet", |tag| {
            if attribute(tag, "name").as_deref() == Some(sheet) {
                id = relation_id(tag);
            }
        });
        let id = id?;
        let target = self.targets(WORKBOOK, None).remove(&id)?;
        Some(target)
    }

    /// Returns the rows of totals that the tables of a sheet declare.
    pub(super) fn totals_rows(&mut self, sheet_path: &str) -> Vec<CellRange> {
        let mut totals = Vec::new();
        for table in self.targets(sheet_path, Some("/table")).into_values() {
            self.read_tags(&table, "table", |tag| {
                let range = attribute(tag, "ref").and_then(|range| CellRange::parse(&range));
                let count = attribute(tag, "totalsRowCount").and_then(|count| count.parse().ok());
                if let (Some(range), Some(count @ 1..)) = (range, count) {
                    let first_row = range.last_row.saturating_sub(count - 1);
                    totals.push(CellRange { first_row, ..range });
                }
            });
        }
        totals
    }

    /// Copies the cells of a sheet.
    pub(super) fn copy(&mut self, sheet: &str, mut copier: Copier<'_>) -> Result<SheetCopy> {
        let name = &self.name;
        let failed = |error: XlsxError| damaged(name, &error);
        let mut reader = self.book.worksheet_cells_reader(sheet).map_err(failed)?;
        let mut shared_aggregates = RoaringTreemap::new();
        while let Some(cell) = reader.next_cell_with_formula_metadata().map_err(failed)? {
            let (row, column) = cell.pos;
            copier.go_to(row, column)?;
            let Some((text, mut note)) = excel_text(&cell.value) else {
                continue;
            };
            if is_computed_total(cell.formula.as_ref(), &mut shared_aggregates) {
                note = Some(CellNote::Aggregate);
            }
            copier.cell(column.into(), (text, note))?;
        }
        copier.finish()
    }

    /// Returns the parts to which a part refers, by the ID of the relation.
    fn targets(&mut self, part: &str, kind: Option<&str>) -> BTreeMap<String, String> {
        let (folder, file) = part.rsplit_once('/').unwrap_or(("", part));
        let mut targets = BTreeMap::new();
        self.read_tags(
            &entry_path(&format!("{folder}/_rels/{file}.rels")),
            "Relationship",
            |tag| {
                let fits = match kind {
                    Some(kind) => attribute(tag, "Type").is_some_and(|found| found.ends_with(kind)),
                    None => true,
                };
                let target = attribute(tag, "Target").filter(|_| fits);
                if let (Some(id), Some(target)) = (attribute(tag, "Id"), target) {
                    targets.insert(id, resolve(folder, &target));
                }
            },
        );
        targets
    }

    /// Calls `use_tag` with each element of this name in a part. A part that is missing or damaged
    /// has none: the cells are read by another reader, which reports damage.
    fn read_tags(&mut self, path: &str, name: &str, mut use_tag: impl FnMut(&BytesStart<'_>)) {
        let is_part = |entry: &std::borrow::Cow<'_, str>| entry_path(entry) == path;
        let entry = self.parts.file_names().flatten().find(is_part);
        let Some(entry) = entry.map(std::borrow::Cow::into_owned) else {
            return;
        };
        let Ok(part) = self.parts.by_name(&entry) else {
            return;
        };
        let mut xml = quick_xml::Reader::from_reader(BufReader::new(part));
        let mut buffer = Vec::new();
        loop {
            buffer.clear();
            match xml.read_event_into(&mut buffer) {
                Ok(Event::Start(tag) | Event::Empty(tag)) => {
                    if tag.local_name().as_ref() == name {
                        use_tag(&tag);
                    }
                }
                Ok(Event::Eof) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }
}

/// Checks whether a cell is computed by an aggregate. `shared` holds the numbers of the shared
/// formulas that are one.
fn is_computed_total(formula: Option<&XlsxFormulaMetadata>, shared: &mut RoaringTreemap) -> bool {
    match formula {
        None => false,
        Some(XlsxFormulaMetadata::Normal { formula }) => is_aggregate(formula),
        Some(XlsxFormulaMetadata::Shared {
            formula,
            shared_index,
            ..
        }) => {
            let is_total = is_aggregate(formula);
            if is_total {
                shared.insert(*shared_index as u64);
            }
            is_total
        }
        Some(XlsxFormulaMetadata::SharedDerived { shared_index, .. }) => {
            shared.contains(*shared_index as u64)
        }
        // A kind of formula that is not known yet may be a total.
        Some(_) => true,
    }
}

fn attribute(tag: &BytesStart<'_>, name: &str) -> Option<String> {
    let attribute = tag.try_get_attribute(name).ok()??;
    let value = attribute.normalized_value(XmlVersion::Implicit1_0).ok()?;
    Some(value.into_owned())
}

/// Returns the relation to which a tag refers: its attribute `id`, in any namespace.
fn relation_id(tag: &BytesStart<'_>) -> Option<String> {
    for attribute in tag.attributes().flatten() {
        if attribute.key.prefix().is_some() && attribute.key.local_name().as_ref() == "id" {
            let value = attribute.normalized_value(XmlVersion::Implicit1_0).ok()?;
            return Some(value.into_owned());
        }
    }
    None
}

/// Returns the path of a target that is written relative to a folder, or from the root of the
/// archive.
fn resolve(folder: &str, target: &str) -> String {
    if let Some(path) = target.strip_prefix('/') {
        return entry_path(path);
    }
    let mut path: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split(['/', '\\']) {
        match part {
            ".." => {
                path.pop();
            }
            "." | "" => {}
            part => path.push(part),
        }
    }
    entry_path(&path.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_resolved_against_the_folder_of_the_part() {
        for (target, path) in [
            ("worksheets/Sheet1.xml", "xl/worksheets/sheet1.xml"),
            ("/xl/worksheets/sheet1.xml", "xl/worksheets/sheet1.xml"),
            ("..\\tables\\table1.xml", "tables/table1.xml"),
            ("../xl/./tables/table1.xml", "xl/tables/table1.xml"),
        ] {
            assert_eq!(resolve("xl", target), path);
        }
    }
}
