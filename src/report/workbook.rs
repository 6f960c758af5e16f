//! Writes the report as a workbook (`.xlsx`) of one sheet. Every cell of the input is text, so that
//! a spreadsheet program changes none; the numbers that the tool adds are numbers.
//!
//! A workbook can't hold every table. [`WorkbookLimits`] finds that out before anything is sent.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use csv::{ByteRecord, StringRecord};
use jiff::Timestamp;
use rust_xlsxwriter::{
    DocProperties, ExcelDateTime, Format, IgnoreError, Workbook, Worksheet, XlsxError,
};
use tempfile::NamedTempFile;

use crate::domain::{LineNumber, REPORT_COLUMNS, ReportColumn};
use crate::error::{Error, Kind, Result};
use crate::journal::identity::CarriedColumn;
use crate::output::folder_of;
use crate::report::writer::HashedFile;
use crate::text::{counted, grouped, shown_value, visible_path};

/// The number of rows of a sheet, with its header.
const MAX_ROWS: u64 = 1_048_576;
/// The number of columns of a sheet.
const MAX_COLUMNS: usize = 16_384;
/// The length limit of a cell in UTF-16 code units, which is what spreadsheet programs count.
const MAX_CELL: usize = 32_767;
/// A number of bytes that is greater than what the tags of a row or a cell take.
const TAG_BYTES: u64 = 100;
/// The name of the sheet.
const SHEET: &str = "report";
/// The number of rows whose cells decide how wide the columns are.
const ROWS_FOR_WIDTHS: u32 = 200;
/// The smallest and the largest width of a column, in characters.
const WIDTHS: std::ops::RangeInclusive<u16> = 8..=60;

/// Checks whether a report fits into a workbook.
pub struct WorkbookLimits {
    header: Vec<String>,
    /// The name that the report could have as CSV.
    as_csv: PathBuf,
}

impl WorkbookLimits {
    /// Checks the size and the header of a report.
    ///
    /// # Errors
    /// [`Kind::Report`] if it does not fit.
    pub fn check(report: &Path, header: &[CarriedColumn], rows: u64) -> Result<Self> {
        let names = header.iter().map(|column| column.name.clone());
        let limits = Self {
            header: names.collect(),
            as_csv: report.with_extension("csv"),
        };
        if rows >= MAX_ROWS {
            let rows = grouped(rows);
            return Err(limits.exceeded(&format!(
                "it has {rows} rows and a header, and a sheet has {} rows",
                grouped(MAX_ROWS)
            )));
        }
        let columns = header.len() + REPORT_COLUMNS.len();
        if columns > MAX_COLUMNS {
            let columns = grouped(columns as u64);
            return Err(limits.exceeded(&format!(
                "it has {columns} columns, and a sheet has {}",
                grouped(MAX_COLUMNS as u64)
            )));
        }
        for name in &limits.header {
            if let Some(problem) = problem_of(name) {
                return Err(limits.exceeded(&format!("a cell of its header {problem}")));
            }
        }
        Ok(limits)
    }

    /// Checks the cells that the report carries of a row, given as CSV. `line` is where the row
    /// stands in the input.
    ///
    /// # Errors
    /// [`Kind::Report`] if one of them does not fit.
    pub fn check_row(&self, line: Option<LineNumber>, cells: &[u8]) -> Result<()> {
        let may_have_escape = memchr::memmem::find(cells, b"_x").is_some();
        if cells.len() <= MAX_CELL && !may_have_escape {
            return Ok(());
        }
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .from_reader(cells);
        let mut row = StringRecord::new();
        if !reader.read_record(&mut row).unwrap_or(false) {
            return Ok(());
        }
        for (cell, name) in row.iter().zip(&self.header) {
            if let Some(problem) = problem_of(cell) {
                let column = shown_value(name);
                return Err(self.exceeded(&match line {
                    Some(line) => format!("line {line}, column {column} {problem}"),
                    None => format!("column {column} of an added row {problem}"),
                }));
            }
        }
        Ok(())
    }

    fn exceeded(&self, why: &str) -> Error {
        let message = format!("the report does not fit into a workbook (.xlsx): {why}");
        let as_csv = visible_path(&self.as_csv);
        Error::new(Kind::Report, message).help(format!(
            "nothing was sent; write the report as CSV: --report {as_csv}"
        ))
    }
}

/// Returns why a cell can't be written to a workbook, as the end of a sentence that begins with the
/// cell; `None` if it can.
fn problem_of(cell: &str) -> Option<String> {
    let length = cell.encode_utf16().count();
    if length > MAX_CELL {
        let length = counted(length as u64, "character", "characters");
        let limit = grouped(MAX_CELL as u64);
        return Some(format!("has {length}, and a cell holds {limit}"));
    }
    if has_ambiguous_escape(cell) {
        return Some("has a control character behind text that looks like another one".to_owned());
    }
    None
}

/// Checks whether a control character follows `_xHHHH`. XML can't hold control characters, so
/// workbooks have `_x0001_` instead, and `_x005F_` for an underscore that could be mistaken for the
/// beginning of one. The crate overlooks an underscore that only a following control character
/// makes one: `_x0041` and U+0001 would be read back as `A` and `x0001_`.
fn has_ambiguous_escape(cell: &str) -> bool {
    let is_escaped = |c: char| match c {
        '\t' | '\n' => false,
        c => c < ' ' || matches!(c, '\u{fffe}' | '\u{ffff}'),
    };
    let escaped = cell.char_indices().filter(|(_, c)| is_escaped(*c));
    for (place, _) in escaped {
        let before = &cell.as_bytes()[..place];
        if let Some([b'_', b'x', digits @ ..]) = before.last_chunk::<6>()
            && digits.iter().all(u8::is_ascii_hexdigit)
        {
            return true;
        }
    }
    false
}

/// Writes a workbook of the rows of a report, which are given as CSV with a byte order mark and the
/// header, to a temporary file. Returns the file and the BLAKE3 hash of its content, which depends
/// on nothing but the rows and the time `created`.
///
/// # Errors
/// Errors of the operating system, and those of `check_stop`, which is called for every row.
pub(super) fn write(
    mut rows: &File,
    created: Timestamp,
    file: NamedTempFile,
    check_stop: impl Fn() -> io::Result<()>,
) -> io::Result<(NamedTempFile, blake3::Hash)> {
    let folder = folder_of(file.path());
    check_room(rows, folder)?;
    rows.rewind()?;
    let mut workbook = Workbook::new();
    workbook.set_tempdir(folder).map_err(in_workbook)?;
    let created = ExcelDateTime::from_timestamp(created.as_second()).map_err(in_workbook)?;
    workbook.set_properties(&DocProperties::new().set_creation_datetime(&created));
    let sheet = workbook
        .add_worksheet_with_constant_memory()
        .map_err(in_workbook)?;
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(rows);
    let mut writer = SheetWriter::new(sheet).map_err(in_workbook)?;
    let mut row = ByteRecord::new();
    while reader.read_byte_record(&mut row)? {
        check_stop()?;
        writer.write_row(&row).map_err(in_workbook)?;
    }
    writer.finish().map_err(in_workbook)?;
    let mut out = HashedFile::new(file);
    workbook.save_to_writer(&mut out).map_err(in_workbook)?;
    Ok(out.finish())
}

/// Checks that the disk has room for the sheet as it is before it is compressed. The crate writes
/// it to a temporary file and panics if that fails.
fn check_room(mut rows: &File, folder: &Path) -> io::Result<()> {
    rows.rewind()?;
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(rows);
    let mut row = ByteRecord::new();
    let mut size = 0;
    while reader.read_byte_record(&mut row)? {
        let cells = row.iter().map(|cell| TAG_BYTES + escaped_length(cell));
        size += TAG_BYTES + cells.sum::<u64>();
    }
    let mut room = tempfile::tempfile_in(folder)?;
    io::copy(&mut io::repeat(0).take(size), &mut room)?;
    Ok(())
}

/// Returns the largest number of bytes that a cell takes in XML.
fn escaped_length(cell: &[u8]) -> u64 {
    let length_of = |byte: &u8| match byte {
        b'&' | b'<' | b'>' | b'_' | 0xef | ..b' ' => "_x0000_".len() as u64,
        _ => 1,
    };
    cell.iter().map(length_of).sum()
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it is the argument of `map_err`"
)]
fn in_workbook(error: XlsxError) -> io::Error {
    io::Error::other(error.to_string())
}

/// Writes the rows of a sheet, from the header on.
struct SheetWriter<'a> {
    sheet: &'a mut Worksheet,
    /// The format of cells that stay text when somebody edits them.
    text: Format,
    header: Format,
    /// The next row of the sheet, from 0.
    row: u32,
    /// The number of columns that the report carries.
    carried: u16,
    /// The width of each column in characters.
    widths: Vec<u16>,
}

impl<'a> SheetWriter<'a> {
    fn new(sheet: &'a mut Worksheet) -> std::result::Result<Self, XlsxError> {
        sheet.set_name(SHEET)?.set_freeze_panes(1, 0)?;
        let text = Format::new().set_num_format("@");
        Ok(Self {
            sheet,
            header: text.clone().set_bold(),
            text,
            row: 0,
            carried: 0,
            widths: Vec::new(),
        })
    }

    fn write_row(&mut self, row: &ByteRecord) -> std::result::Result<(), XlsxError> {
        let columns = u16::try_from(row.len()).unwrap_or(u16::MAX);
        self.widths.resize(row.len(), *WIDTHS.start());
        let carried = row.len().saturating_sub(REPORT_COLUMNS.len());
        self.carried = u16::try_from(carried).unwrap_or(u16::MAX);
        for (column, cell) in (0..columns).zip(row) {
            self.write_cell(column, &String::from_utf8_lossy(cell))?;
        }
        self.row += 1;
        Ok(())
    }

    fn write_cell(&mut self, column: u16, cell: &str) -> std::result::Result<(), XlsxError> {
        if cell.is_empty() {
            return Ok(());
        }
        if self.row < ROWS_FOR_WIDTHS {
            let width = &mut self.widths[usize::from(column)];
            let length = u16::try_from(cell.chars().count() + 2).unwrap_or(u16::MAX);
            *width = length.clamp(*width, *WIDTHS.end());
        }
        if self.is_number(column)
            && let Ok(number) = cell.parse::<u32>()
        {
            self.sheet.write_number(self.row, column, number)?;
            return Ok(());
        }
        let format = if self.row == 0 {
            &self.header
        } else {
            &self.text
        };
        self.sheet
            .write_string_with_format(self.row, column, cell, format)?;
        Ok(())
    }

    /// Checks whether a column has numbers that the tool has added.
    fn is_number(&self, column: u16) -> bool {
        let numbers = [
            ReportColumn::Line,
            ReportColumn::HttpStatus,
            ReportColumn::Attempts,
            ReportColumn::ElapsedMs,
        ];
        let Some(added) = column.checked_sub(self.carried) else {
            return false;
        };
        numbers
            .iter()
            .any(|number| number.index() == usize::from(added))
    }

    /// Sets what concerns whole columns.
    fn finish(self) -> std::result::Result<(), XlsxError> {
        for (column, width) in (0..).zip(&self.widths) {
            self.sheet.set_column_width(column, *width)?;
        }
        if self.row > 1 && self.carried > 0 {
            // Without this, Excel marks every ID as a number that is stored as text.
            let last = (self.row - 1, self.carried - 1);
            let kind = IgnoreError::NumberStoredAsText;
            self.sheet.ignore_error_range(1, 0, last.0, last.1, kind)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::input::{ColumnChoice, Input, Options, Row, Source};
    use crate::report::tests::at;
    use crate::text::push_csv_cell;

    fn columns(names: &[String]) -> Vec<CarriedColumn> {
        names
            .iter()
            .map(|name| CarriedColumn::of_input(name))
            .collect()
    }

    fn csv_row(cells: &[String]) -> Vec<u8> {
        let mut row = Vec::new();
        for (number, cell) in cells.iter().enumerate() {
            if number > 0 {
                row.push(b',');
            }
            push_csv_cell(&mut row, cell.as_bytes());
        }
        row
    }

    /// Writes a report of these rows, the header first, in which every row was applied.
    fn workbook(folder: &Path, rows: &[Vec<String>]) -> (NamedTempFile, blake3::Hash) {
        let mut text = "\u{feff}".as_bytes().to_vec();
        for (number, cells) in rows.iter().enumerate() {
            text.extend(csv_row(cells));
            let added = match number {
                0 => format!(",{}", REPORT_COLUMNS.join(",")),
                _ => format!(",{number},applied,true,204,1,50,2026-11-28T03:00:00.000Z,"),
            };
            text.extend(added.as_bytes());
            text.push(b'\n');
        }
        let mut csv = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut csv, &text).unwrap();
        let file = NamedTempFile::with_suffix_in(".xlsx", folder).unwrap();
        write(&csv, at(0), file, || Ok(())).unwrap()
    }

    /// Reads the cells that a report carries, the header first. The last column has the IDs.
    fn read_back(path: &Path, columns: usize) -> Vec<Vec<String>> {
        let options = Options {
            id_column: Some(ColumnChoice::Number(columns)),
            ..Options::default()
        };
        let input = Input::open(&Source::Path(path.to_owned()), &options).unwrap();
        let mut read = vec![input.header()[..columns].to_vec()];
        let mut rows = input.rows().unwrap();
        let mut row = Row::default();
        while rows.read(&mut row).unwrap() {
            let cells = row.cells.iter().map(|cell| str::from_utf8(cell).unwrap());
            read.push(cells.take(columns).map(str::to_owned).collect());
        }
        read
    }

    /// Cells that spreadsheet programs, XML or CSV treat in a special way.
    fn odd_cell() -> impl Strategy<Value = String> {
        let chosen = prop::sample::select(vec![
            "",
            " ",
            "  two ",
            "007",
            "1e5",
            "=1+1",
            "+1",
            "-1",
            "@x",
            "'1701",
            "=\"1701\"",
            "2026-11-28",
            "1/2",
            "12:30",
            "TRUE",
            "false",
            "#N/A",
            "#REF!",
            "1,5",
            "1.50",
            "a\nb",
            "a\r\nb",
            "\r",
            "\n",
            "\t",
            "😀",
            "e\u{301}",
            "\u{feff}x",
            "\u{1}",
            "\u{0}",
            "\u{b}",
            "\u{1b}[2J",
            "\u{fffe}",
            "\u{ffff}",
            "\u{85}",
            "\u{2028}",
            "\u{202e}",
            "_x0041_",
            "_x005F_",
            "_x000D_",
            "_x0041",
            "x0041_",
            "_",
            "<b>&amp;</b>",
            "]]>",
            "\"",
            ";",
            ",",
            "900719925474099312345",
            "\u{a0}",
        ]);
        prop_oneof![
            3 => chosen.prop_map(str::to_owned),
            1 => "[_x0-9A-F\u{1}\u{d} ]{0,9}",
            1 => any::<String>(),
        ]
    }

    proptest! {
        #[test]
        fn every_cell_of_a_workbook_reads_back_as_the_same_text_unless_it_was_refused(
            odd in prop::collection::vec(prop::collection::vec(odd_cell(), 3), 1..5),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let mut rows: Vec<Vec<String>> = odd;
            rows[0].push("user_id".to_owned());
            for row in &mut rows[1..] {
                row.push("1701".to_owned());
            }
            let limits = WorkbookLimits::check(Path::new("r.xlsx"), &columns(&rows[0]), 1);
            let fits = |row: &Vec<String>| {
                let limits = limits.as_ref().unwrap();
                limits.check_row(Some(1), &csv_row(row)).is_ok()
            };
            // A header with a zero byte is taken for that of a binary file.
            prop_assume!(limits.is_ok() && !rows[0].concat().contains('\0'));
            rows.retain(fits);
            let (file, _) = workbook(folder.path(), &rows);
            prop_assert_eq!(read_back(file.path(), 4), rows);
        }
    }

    fn rows(cells: &[&[&str]]) -> Vec<Vec<String>> {
        let row = |cells: &&[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect();
        cells.iter().map(row).collect()
    }

    #[test]
    fn the_same_rows_make_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let table = rows(&[&["user_id", "name"], &["1701", "Zoë"]]);
        let (first, hash) = workbook(folder.path(), &table);
        let (second, same_hash) = workbook(folder.path(), &table);
        let bytes = std::fs::read(first.path()).unwrap();
        assert!(bytes == std::fs::read(second.path()).unwrap());
        assert_eq!(hash, same_hash);
        assert_eq!(hash, blake3::hash(&bytes));
    }

    #[test]
    fn the_tools_own_numbers_are_numbers_and_all_other_cells_are_text() {
        use calamine::{Data, Reader};

        let folder = tempfile::tempdir().unwrap();
        let (file, _) = workbook(folder.path(), &rows(&[&["user_id"], &["1701"]]));
        let mut book: calamine::Xlsx<_> = calamine::open_workbook(file.path()).unwrap();
        let sheet = book.worksheet_range(SHEET).unwrap();
        let row = sheet.rows().nth(1).unwrap();
        let text = |text: &str| Data::String(text.to_owned());
        let wanted = [
            text("1701"),
            Data::Float(1.0),
            text("applied"),
            text("true"),
            Data::Float(204.0),
            Data::Float(1.0),
            Data::Float(50.0),
            text("2026-11-28T03:00:00.000Z"),
            Data::Empty,
        ];
        assert_eq!(row, wanted);
    }

    #[test]
    fn a_report_whose_first_columns_have_no_names_keeps_them() {
        let folder = tempfile::tempdir().unwrap();
        let table = rows(&[&["", "", "user_id"], &["1", "", "7"], &["", "", "8"]]);
        let (file, _) = workbook(folder.path(), &table);
        assert_eq!(read_back(file.path(), 3), table);
    }

    #[test]
    fn writing_ends_when_it_is_to_stop() {
        let csv = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut &csv, b"a,b\n1,2\n").unwrap();
        let file = NamedTempFile::new().unwrap();
        let written = write(&csv, at(0), file, || Err(io::Error::other("stop")));
        assert_eq!(written.unwrap_err().to_string(), "stop");
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_way_on() {
        let names = |count: usize| columns(&vec!["x".to_owned(); count]);
        let report = Path::new("d/users.report.xlsx");
        let check = |columns: &[CarriedColumn], rows| WorkbookLimits::check(report, columns, rows);
        let most = MAX_COLUMNS - REPORT_COLUMNS.len();
        let limits = check(&names(most), MAX_ROWS - 1).unwrap();
        let longest = "😀".repeat(MAX_CELL / 2) + "x";
        limits.check_row(Some(3), longest.as_bytes()).unwrap();
        let failed = |result: Result<()>| {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), Kind::Report);
            error.to_string()
        };
        let cases = [
            (
                check(&names(2), MAX_ROWS).map(drop),
                "it has 1,048,576 rows and a header, and a sheet has 1,048,576 rows",
            ),
            (
                check(&names(most + 1), 2).map(drop),
                "it has 16,385 columns, and a sheet has 16,384",
            ),
            (
                check(&columns(&[longest.clone() + "y"]), 2).map(drop),
                "a cell of its header has 32,768 characters",
            ),
            (
                limits.check_row(Some(3), (longest.clone() + "y").as_bytes()),
                "line 3, column x has 32,768 characters, and a cell holds 32,767",
            ),
            (
                limits.check_row(None, b"1,_x0041\x01"),
                "column x of an added row has a control character behind",
            ),
        ];
        for (result, why) in cases {
            let said = failed(result);
            assert!(said.contains(why), "{said}");
        }
        let error = check(&names(2), MAX_ROWS).map(drop).unwrap_err();
        let advice = error.advice().unwrap();
        assert!(advice.ends_with("--report d/users.report.csv"), "{advice}");
    }
}
